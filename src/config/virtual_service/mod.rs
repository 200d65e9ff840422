//! VirtualService: `spec:` -> [`RouteDraft`].
//!
//! Law: `http:` whole, as Istio 1.29 means it, and nothing beside it: routes of connections are refused by name. Where
//! the mesh would have had a say (retries that nobody asked for) nothing is added.
//!
//! Source: istio/api `networking/v1alpha3/virtual_service.proto`, Istio's `validation.go` and `route.go`.

mod action;
mod edits;
mod fault;
mod fields;
mod http;
mod matches;
mod policy;
#[cfg(test)]
mod tests;

pub(super) use fields::FIELDS;

use std::collections::HashSet;
use std::sync::Arc;

use super::decode::Field;
use super::draft::{Claim, Dialect, GatewayRef, RouteDraft, RuleDraft};
use super::metadata::Metadata;
use super::names::{is_dns_label, is_fqdn};
use super::networking;
use super::patterns::Patterns;
use super::table::{Keys, Table, each};
use crate::snapshot::Domain;

/// The gateway that means sidecars.
const MESH: &str = "mesh";

/// What the readers of one object need to know.
struct Context<'c> {
    namespace: &'c str,
    patterns: &'c Patterns,
}

/// One VirtualService; `None` when something cannot be made out.
pub(super) fn decode(field: &Field<'_>, metadata: &Metadata, patterns: &Patterns) -> Option<RouteDraft> {
    const KEYS: Keys = Keys {
        known: &["hosts", "gateways", "http", "exportTo"],
        later: &[],
        never: &[
            ("tcp", "requests are routed here, not connections"),
            ("tls", "requests are routed here, not connections"),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let context = Context { namespace: &metadata.namespace, patterns };
    let claims = hosts(&table);
    let gateways = gateways(&table, &context);
    let exported = networking::export_to(&table);
    let rules = rules(&table, &context);
    let gateways = Some(gateways?.unwrap_or_else(|| Box::from([gateway(MESH.into())])));
    exported?;
    Some(RouteDraft { claims: claims?, gateways, rules: rules?, ..metadata.routes(Dialect::VirtualService) })
}

fn hosts(table: &Table<'_>) -> Option<Vec<Claim>> {
    let field = table.require("hosts")?;
    let items = field.items()?;
    if items.is_empty() {
        field.fault_with("missing", "it needs one entry at least", "a delegate is not supported");
        return None;
    }
    let mut seen = HashSet::new();
    let all: Vec<_> = items.iter().map(|field| claim(field, &mut seen)).collect();
    all.into_iter().collect()
}

fn claim(field: &Field<'_>, seen: &mut HashSet<String>) -> Option<Claim> {
    let text = field.filled()?.to_ascii_lowercase();
    if !seen.insert(text.clone()) {
        field.fault("duplicate-host", format!("`{text}` stands twice"));
        return None;
    }
    let Some(end) = text.strip_prefix('*') else {
        return networking::host(field).map(|host| Claim::Service(host, field.place()));
    };
    let domain = match end {
        "" => Domain::Any,
        _ if is_fqdn(end.strip_prefix(['.', '-']).unwrap_or(end)) => Domain::Suffix(end.into()),
        _ => {
            let reason = format!("`{text}` is no host");
            field.fault_with("service-host", reason, "such as *.example.com, without a port");
            return None;
        }
    };
    Some(Claim::Domain(domain, field.place()))
}

/// Gateways in full: `mesh` or `namespace/name`; nothing if there are none.
#[allow(clippy::option_option)] // the outer one is the fault
fn gateways(table: &Table<'_>, context: &Context<'_>) -> Option<Option<Box<[GatewayRef]>>> {
    let all = each(table, "gateways", |field| {
        let text = field.filled()?;
        if text == MESH {
            return Some(gateway(MESH.into()));
        }
        let (namespace, name) = text.split_once('/').unwrap_or((context.namespace, text));
        if !is_dns_label(namespace) || !is_fqdn(name) {
            let reason = format!("`{text}` is no gateway");
            field.fault_with("unknown-gateway", reason, "mesh, NAME or NAMESPACE/NAME");
            return None;
        }
        Some(gateway(format!("{namespace}/{name}").into()))
    })?;
    Some((!all.is_empty()).then(|| all.into()))
}

fn gateway(name: Arc<str>) -> GatewayRef {
    GatewayRef { name, section: None, port: None }
}

/// The rules as they stand, one of [`RuleDraft`] for each of their alternatives.
fn rules(table: &Table<'_>, context: &Context<'_>) -> Option<Vec<RuleDraft>> {
    let field = table.require("http")?;
    let items = field.items()?;
    if items.is_empty() {
        field.fault("missing", "it needs one entry at least");
        return None;
    }
    let several = items.len() > 1;
    let mut names = HashSet::new();
    let read = |(index, field): (usize, &Field<'_>)| {
        let mut label = |name: Option<Arc<str>>| match name {
            Some(name) if names.insert(name.clone()) => Some(name),
            // Rules are told apart by their names.
            Some(name) => {
                let mut own: Arc<str> = format!("{name}#{}", index + 1).into();
                while !names.insert(own.clone()) {
                    own = format!("{own}#{}", index + 1).into();
                }
                Some(own)
            }
            None => several.then(|| format!("#{}", index + 1).into()),
        };
        http::rule(field, context, &mut label)
    };
    let all: Vec<_> = items.iter().enumerate().map(read).collect();
    let all: Vec<Vec<RuleDraft>> = all.into_iter().collect::<Option<_>>()?;
    Some(all.into_iter().flatten().collect())
}
