//! `weir.yaml`, the native configuration: a document -> [`WeirDraft`].
//!
//! Law: an unknown key is refused with the nearest known one; a key that does not work yet is refused by name.

mod access_log;
mod draft;
mod health;
mod listeners;
mod metrics;
mod services;
mod settings;
#[cfg(test)]
mod tests;
mod tracing;
mod traffic;

use std::path::PathBuf;

use super::decode::{Field, Scope};
use super::input::Environment;
use super::table::{Keys, Table};
use super::tree::{Node, Value};

pub(crate) use draft::{
    CallerDraft, EndpointDraft, ListenerDraft, ListenerMode, ServiceDraft, ServiceHost, Targets, WeirDraft,
};

const KEYS: Keys = Keys::of(&[
    "node",
    "admin",
    "access_log",
    "tracing",
    "workers",
    "drain",
    "limits",
    "internal_cidrs",
    "callers",
    "metrics",
    "listeners",
    "services",
    "rules",
]);

/// Whether the document is an Envoy v3 bootstrap.
pub(crate) fn is_envoy_bootstrap(document: &Node) -> bool {
    let has = |key| document.get(key).is_some();
    let nested = |path: &[&str]| path.iter().try_fold(document, |node, key| node.get(key)).is_some();
    ["static_resources", "dynamic_resources", "staticResources", "dynamicResources"].into_iter().any(has)
        || nested(&["node", "cluster"]) && nested(&["admin", "address", "socket_address"])
}

/// Reads a whole document. `None` when something that others refer to could not be made out; then, and whenever the
/// scope has errors, it must not be used.
pub(crate) fn decode(document: &Node, scope: &Scope, environment: &Environment) -> Option<WeirDraft> {
    let root = Field::root(document, scope);
    if is_envoy_bootstrap(document) {
        root.fault("not-supported", "an Envoy bootstrap is not supported yet");
        return None;
    }
    let table = Table::new(&root, &KEYS)?;
    let get = |key| table.get(key);
    let node = settings::node(get("node").as_ref(), environment);
    let admin = settings::admin(get("admin").as_ref());
    let workers = settings::workers(get("workers").as_ref());
    let access_log = access_log::access_log(get("access_log").as_ref(), environment);
    let tracing = tracing::tracing(get("tracing").as_ref());
    let drain = settings::drain(get("drain").as_ref());
    let limits = settings::limits(get("limits").as_ref());
    let internal_cidrs = each(get("internal_cidrs").as_ref(), |field| field.cidr());
    let callers = each(get("callers").as_ref(), listeners::caller);
    let metrics = metrics::metrics(get("metrics").as_ref());
    let listeners = required(&table, "listeners", listeners::listener);
    let services = required(&table, "services", services::service);
    // Read here for its faults only: whoever called has read the files already, by `rule_paths`.
    let _ = get("rules").as_ref().and_then(rules);
    let (dimensions, grpc_as_http) = metrics?;
    Some(WeirDraft {
        node,
        admin_place: get("admin").unwrap_or(root).place(),
        admin,
        workers,
        access_log,
        tracing,
        drain,
        limits,
        internal_cidrs: internal_cidrs?,
        callers: callers?,
        dimensions,
        grpc_as_http,
        listeners: listeners?,
        services: services?,
    })
}

/// The paths under `rules:` as written. Everything else in the document is left alone.
pub(crate) fn rule_paths(document: &Node, scope: &Scope) -> Vec<PathBuf> {
    let root = Field::root(document, scope);
    let found = document.get("rules").filter(|node| !node.is_null());
    found.and_then(|node| rules(&root.child("rules", node))).unwrap_or_default()
}

fn rules(field: &Field<'_>) -> Option<Vec<PathBuf>> {
    each(Some(field), |field| field.filled().map(PathBuf::from))
}

/// A list that may be left out. `None` when one entry cannot be made out; all are read.
fn each<T>(field: Option<&Field<'_>>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    let Some(field) = field else { return Some(Vec::new()) };
    let all: Vec<_> = field.items()?.iter().map(read).collect();
    all.into_iter().collect()
}

/// A list that needs one entry at least.
fn required<T>(
    table: &Table<'_>,
    key: &'static str,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let field = table.require(key)?;
    if matches!(&field.node.value, Value::Sequence(items) if items.is_empty()) {
        field.fault("missing", "it needs one entry at least");
        return None;
    }
    each(Some(&field), read)
}
