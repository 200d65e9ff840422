//! Drafts -> a linked, checked, sorted [`Snapshot`], with every diagnostic at once.
//!
//! Law: what comes out has no dangling name; precedence is settled here, so that the hot path knows only "best host,
//! then first match". Only what a listener uses is built.

mod check;
mod claims;
mod clusters;
mod hosts;
mod routes;
mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};
use super::input::Environment;
use super::objects::Objects;
use super::weir_yaml::{ListenerDraft, ListenerMode, WeirDraft};
use crate::snapshot::{
    Action, Caller, ChainMatch, Domain, FilterChain, Listener, Mode, Route, RouteConfig, Service, Snapshot,
    VirtualHost,
};
use claims::Claims;
use clusters::Clusters;
use hosts::{Known, Registry};
use routes::Builder;

pub(crate) use claims::duplicates;

/// The name of the route configuration that listeners without a service share.
const BY_HOST: &str = "hosts";

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
    let clusters = Clusters::new(draft.limits.connect_timeout, claims.dialects());
    let mut linker = Linker {
        registry: &registry,
        claims,
        used: BTreeSet::new(),
        routes: BTreeMap::new(),
        route_configs: BTreeMap::new(),
        builder: Builder { registry: &registry, callers: &callers, clusters, found },
    };
    let mut listeners: Vec<_> =
        draft.listeners.iter().filter_map(|one| linker.listener(one)).map(Arc::new).collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    linker.use_targets();
    linker.tell_of_unused();
    let services = linker.used_services();
    let Linker { route_configs, builder: Builder { clusters, found, .. }, .. } = linker;
    if found.iter().any(|one| one.severity == Severity::Error) {
        return (None, found);
    }
    let snapshot = Snapshot {
        node: draft.node.clone(),
        admin: draft.admin.clone(),
        workers: draft.workers,
        access_log: draft.access_log.clone(),
        drain: draft.drain,
        limits: draft.limits,
        internal_cidrs: draft.internal_cidrs.clone(),
        callers,
        listeners,
        route_configs,
        clusters: clusters.built,
        services,
    };
    (Some(snapshot), found)
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

/// Gathers what the listeners need.
struct Linker<'l, 'd> {
    registry: &'l Registry<'d>,
    claims: Claims<'l>,
    /// The services that a listener is for, by full host.
    used: BTreeSet<Arc<str>>,
    /// The routes of each service, by host.
    routes: BTreeMap<Arc<str>, Vec<Arc<Route>>>,
    route_configs: BTreeMap<Arc<str>, Arc<RouteConfig>>,
    builder: Builder<'l, 'd>,
}

impl<'l, 'd> Linker<'l, 'd> {
    fn listener(&mut self, draft: &ListenerDraft) -> Option<Listener> {
        let service = match &draft.service {
            None => None,
            Some((reference, place)) => match self.registry.resolve(reference) {
                Ok(known) => Some(known),
                Err(error) => {
                    self.builder.found.push(place.error(error.code, error.reason).with_help(error.help));
                    return None;
                }
            },
        };
        let (mode, route_config) = match (&draft.mode, service) {
            (ListenerMode::Split, None) => (Mode::Split, self.by_host()),
            (ListenerMode::Split, Some(known)) => (Mode::Split, self.split(known)),
            (ListenerMode::Deliver { .. }, None) => return None,
            (ListenerMode::Deliver { peers }, Some(known)) => {
                let mode = Mode::Deliver { service: known.host.clone(), peers: peers.clone() };
                (mode, self.deliver(draft, known))
            }
        };
        let chain = FilterChain {
            matches: ChainMatch::Any,
            stat_prefix: draft.name.clone(),
            route_config,
            mode,
            use_remote_address: draft.use_remote_address,
        };
        Some(Listener {
            name: draft.name.clone(),
            address: draft.address.clone(),
            filter_chains: vec![chain],
        })
    }

    /// Every service, by each of its hosts.
    fn by_host(&mut self) -> Arc<str> {
        let name: Arc<str> = BY_HOST.into();
        if !self.route_configs.contains_key(&name) {
            let domains = self.registry.domains();
            let hosts: Vec<_> = self.registry.iter().collect();
            let virtual_hosts = hosts.into_iter().map(|known| VirtualHost {
                name: known.host.clone(),
                domains: domains.get(&known.host).into_iter().flatten().cloned().map(Domain::Exact).collect(),
                routes: self.routes(known),
            });
            let virtual_hosts = virtual_hosts.collect();
            self.add(RouteConfig { name: name.clone(), virtual_hosts });
        }
        name
    }

    /// One service, whatever the host.
    fn split(&mut self, known: &Known<'_>) -> Arc<str> {
        let routes = self.routes(known);
        self.one_host(format!("service:{}", known.host), known, routes)
    }

    /// The local endpoints of one service.
    fn deliver(&mut self, listener: &ListenerDraft, known: &Known<'_>) -> Arc<str> {
        if !known.draft.endpoints.iter().any(|endpoint| endpoint.local) {
            let reason = format!("`{}` has no endpoint with `local: true` to deliver to", known.host);
            self.builder.found.push(listener.place.error("no-local-endpoint", reason));
        }
        self.used.insert(known.host.clone());
        let target = self.builder.clusters.local(known);
        let mut route = routes::plain_route("deliver", known, target);
        if let Action::Forward(forward) = &mut route.action {
            forward.timeout = None; // whoever split the request holds its time limit
        }
        self.one_host(format!("deliver:{}", known.host), known, vec![Arc::new(route)])
    }

    fn one_host(&mut self, name: String, known: &Known<'_>, routes: Vec<Arc<Route>>) -> Arc<str> {
        let name: Arc<str> = name.into();
        let host = VirtualHost { name: known.host.clone(), domains: vec![Domain::Any], routes };
        self.add(RouteConfig { name: name.clone(), virtual_hosts: vec![host] });
        name
    }

    fn add(&mut self, config: RouteConfig) {
        self.route_configs.entry(config.name.clone()).or_insert_with(|| Arc::new(config));
    }

    /// The routes of a service; built once, so that listeners share them and nothing is told twice.
    fn routes(&mut self, known: &Known<'_>) -> Vec<Arc<Route>> {
        if let Some(routes) = self.routes.get(&known.host) {
            return routes.clone();
        }
        self.used.insert(known.host.clone());
        let won = self.claims.of_service(known, &mut self.builder.found);
        let routes = self.builder.routes(Some(known), &won);
        self.routes.insert(known.host.clone(), routes.clone());
        routes
    }

    /// Services that a listener is for, and those that their rules lead to.
    fn use_targets(&mut self) {
        let targets = self.builder.clusters.built.values();
        self.used.extend(targets.map(|cluster| cluster.service.clone()));
    }

    fn used_services(&self) -> BTreeMap<Arc<str>, Arc<Service>> {
        let used = self.used.iter().filter_map(|host| self.registry.get(host));
        used.map(|known| (known.host.clone(), Arc::new(service(known)))).collect()
    }

    fn tell_of_unused(&mut self) {
        for known in self.registry.iter().filter(|known| !self.used.contains(&known.host)) {
            let reason = format!("no listener leads to `{}`", known.host);
            self.builder.found.push(known.draft.place.warning("unused-service", reason));
        }
    }
}
