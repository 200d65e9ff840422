//! `/rules`: the rules by which this process splits, in the order in which they are tried, in plain words.
//!
//! Law: what serves, not what is written: precedence is settled, and what no request can reach is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::Admin;
use super::reply::{Query, Reply, filter};
use crate::proxy::plane::{ListenerPlane, Plane};
use crate::router::{Rule, rules as told};
use crate::snapshot::{Domain, Mode, VirtualHost};

#[derive(Serialize)]
struct View {
    generation: u64,
    /// Those that split, whatever is asked for.
    listeners: Vec<Arc<str>>,
    hosts: Vec<HostRow>,
    /// Rules beyond `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
}

/// The rules of a host.
#[derive(Serialize)]
struct HostRow {
    /// The listeners that have them.
    listeners: Vec<Arc<str>>,
    host: Arc<str>,
    /// What it answers to.
    domains: Vec<String>,
    rules: Vec<Rule>,
}

/// See the module.
pub(super) fn rules(admin: &Admin, query: &Query) -> Reply {
    let limit = match query.get("limit").map(str::parse::<usize>).transpose() {
        Ok(limit) => limit,
        Err(error) => return Reply::refusal(format!("`limit`: {error}\n")),
    };
    let filter = match query.get("filter").map(filter).transpose() {
        Ok(filter) => filter,
        Err(reason) => return Reply::refusal(reason),
    };
    let Some(plane) = admin.plane.load_full() else {
        return Reply::json(&View {
            generation: 0,
            listeners: Vec::new(),
            hosts: Vec::new(),
            left_out: None,
        });
    };
    let (mut hosts, mut left, mut left_out) = (Vec::new(), limit.unwrap_or(usize::MAX), 0);
    for (listeners, host) in virtual_hosts(&plane) {
        let wanted = host.routes.iter().filter(|route| {
            filter.as_ref().is_none_or(|filter| filter.is_match(&format!("{} {}", host.name, route.name)))
        });
        let mut wanted = wanted.cloned().collect::<Vec<_>>();
        left_out += wanted.len().saturating_sub(left);
        wanted.truncate(left);
        left -= wanted.len();
        if !wanted.is_empty() {
            hosts.push(HostRow {
                listeners,
                host: host.name.clone(),
                domains: host.domains.iter().map(domain).collect(),
                rules: told(&wanted).collect(),
            });
        }
    }
    let listeners = splitting(&plane).map(|listener| listener.listener.name.clone()).collect();
    let left_out = limit.map(|_| left_out);
    Reply::json(&View { generation: plane.generation, listeners, hosts, left_out })
}

fn splitting(plane: &Plane) -> impl Iterator<Item = &Arc<ListenerPlane>> {
    plane.listeners.iter().filter(|listener| listener.chain().mode == Mode::Split)
}

/// Those of listeners that split, each route configuration once.
fn virtual_hosts(plane: &Plane) -> impl Iterator<Item = (Vec<Arc<str>>, &VirtualHost)> {
    let configs: BTreeSet<&Arc<str>> =
        splitting(plane).map(|listener| &listener.chain().route_config).collect();
    configs.into_iter().flat_map(move |name| {
        let listeners: Vec<Arc<str>> = splitting(plane)
            .filter(|listener| listener.chain().route_config == *name)
            .map(|listener| listener.listener.name.clone())
            .collect();
        let config = plane.snapshot.route_configs.get(name);
        let hosts = config.into_iter().flat_map(|config| &config.virtual_hosts);
        hosts.map(move |host| (listeners.clone(), host))
    })
}

fn domain(domain: &Domain) -> String {
    match domain {
        Domain::Exact(host) => host.to_string(),
        Domain::Suffix(end) => format!("*{end}"),
        Domain::Prefix(start) => format!("{start}*"),
        Domain::Any => "*".to_owned(),
    }
}
