//! Drafts -> a linked, checked, sorted [`Snapshot`], with every diagnostic at once.
//!
//! Law: a share names a cluster that is there, or one that was told of and answers an error; precedence is settled here,
//! so that the hot path knows only "best host, then first match". Only what a listener uses is built.

mod backends;
mod check;
mod claims;
mod clusters;
mod hosts;
mod listeners;
mod overlay;
mod precedence;
mod routes;
mod shares;
mod stars;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::HashSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};
use super::input::Environment;
use super::objects::Objects;
use super::weir_yaml::WeirDraft;
use crate::snapshot::{Caller, Service, Snapshot};
use claims::Claims;
use clusters::Clusters;
use hosts::{Known, Registry};
use listeners::Linker;
use routes::Builder;
use traffic::Settings;

pub(crate) use claims::duplicates;

/// Links all drafts. There is a snapshot exactly when no diagnostic is an error.
pub(crate) fn link(
    draft: &WeirDraft,
    objects: &Objects,
    environment: &Environment,
) -> (Option<Snapshot>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    check::check(draft, environment, &mut found);
    let registry = Registry::new(&draft.services, &draft.node);
    let callers = callers(draft, &registry);
    found.extend(duplicates(objects));
    let claims = Claims::new(&objects.routes, &registry, &mut found);
    let settings = Settings::new(&objects.traffic, &registry, &mut found);
    let clusters = Clusters::new(draft.limits.connect_timeout, claims.dialects(), settings);
    found.extend(claims.unreachable(&objects.routes, &draft.listeners));
    let builder = Builder { registry: &registry, callers: &callers, clusters, found };
    let mut linker = Linker::new(&registry, claims, builder);
    let mut listeners: Vec<_> =
        draft.listeners.iter().filter_map(|one| linker.listener(one)).map(Arc::new).collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    linker.use_targets();
    linker.tell_of_unused();
    let services = linker.used_services();
    let Linker { route_configs, builder: Builder { clusters, mut found, .. }, .. } = linker;
    let Clusters { built: clusters, settings, .. } = clusters;
    found.extend(settings.found);
    once(&mut found);
    if found.iter().any(|one| one.severity == Severity::Error) {
        return (None, found);
    }
    let snapshot = Snapshot {
        node: draft.node.clone(),
        admin: draft.admin.clone(),
        workers: draft.workers,
        access_log: draft.access_log.clone(),
        tracing: draft.tracing.as_ref().map(|(tracing, _)| tracing.clone()),
        drain: draft.drain,
        limits: draft.limits,
        internal_cidrs: draft.internal_cidrs.clone(),
        callers,
        dimensions: draft.dimensions.clone(),
        grpc_as_http: draft.grpc_as_http,
        listeners,
        route_configs,
        clusters,
        services,
    };
    (Some(snapshot), found)
}

/// What two listeners led to is told once.
fn once(found: &mut Vec<Diagnostic>) {
    let mut known = HashSet::new();
    let key = |one: &Diagnostic| (one.origin.clone(), one.path.clone(), one.code, one.reason.clone());
    found.retain(|one| known.insert(key(one)));
}

fn callers(draft: &WeirDraft, registry: &Registry<'_>) -> Vec<Arc<Caller>> {
    let caller = |caller: &super::weir_yaml::CallerDraft| {
        let (service, name, namespace) = registry.caller(&caller.service);
        Arc::new(Caller { cidr: caller.cidr, service, name, namespace, labels: caller.labels.clone() })
    };
    draft.callers.iter().map(caller).collect()
}

fn service(known: &Known<'_>) -> Service {
    let mut versions: Vec<_> = known.draft.endpoints.iter().map(clusters::version).collect();
    versions.sort();
    versions.dedup();
    Service {
        host: known.host.clone(),
        name: known.name.clone(),
        namespace: known.namespace.clone(),
        versions,
    }
}
