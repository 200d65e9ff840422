//! `/rules`: the rules by which this process splits, in the order in which they are tried, in plain words.
//!
//! Law: what serves, not what is written: precedence is settled, and what no request can reach is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use serde::{Serialize, Serializer};

use super::Admin;
use super::reply::{Query, Reply, filter};
use crate::proxy::plane::{ListenerPlane, Plane};
use crate::router::rule as told;
use crate::snapshot::{Domain, Mode, Route, VirtualHost};

#[derive(Serialize)]
struct View {
    generation: u64,
    /// Those that split, whatever is asked for.
    listeners: Vec<Arc<str>>,
    hosts: Hosts,
    /// Rules beyond `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
}

/// The hosts with rules that are asked for. Told from the plane as they are written, so that they take no memory.
struct Hosts {
    plane: Option<Arc<Plane>>,
    filter: Option<Regex>,
    limit: usize,
}

/// The rules of a host.
#[derive(Serialize)]
struct HostRow<'p> {
    /// The listeners that have them.
    listeners: Vec<Arc<str>>,
    host: &'p str,
    /// What it answers to.
    domains: Vec<String>,
    rules: Rules<'p>,
}

/// Of a host, those that are asked for.
struct Rules<'p> {
    host: &'p VirtualHost,
    filter: Option<&'p Regex>,
    limit: usize,
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
    let plane = admin.plane.load_full();
    let listeners = plane.iter().flat_map(|plane| splitting(plane));
    let listeners = listeners.map(|listener| listener.listener.name.clone()).collect();
    let generation = plane.as_ref().map_or(0, |plane| plane.generation);
    let limited = limit.filter(|_| plane.is_some());
    let hosts = Hosts { plane, filter, limit: limit.unwrap_or(usize::MAX) };
    let left_out = limited.map(|limit| hosts.count().saturating_sub(limit));
    Reply::json_written(View { generation, listeners, hosts, left_out })
}

impl Hosts {
    /// Each with its rules, whatever the limit.
    fn all(&self) -> impl Iterator<Item = (Vec<Arc<str>>, Rules<'_>)> {
        let hosts = self.plane.iter().flat_map(|plane| virtual_hosts(plane));
        hosts.map(|(listeners, host)| {
            (listeners, Rules { host, filter: self.filter.as_ref(), limit: usize::MAX })
        })
    }

    /// How many rules.
    fn count(&self) -> usize {
        self.all().map(|(_, rules)| rules.wanted().count()).sum()
    }
}

impl Serialize for Hosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut left = self.limit;
        serializer.collect_seq(self.all().filter_map(|(listeners, rules)| {
            let rules = Rules { limit: left, ..rules };
            let told = rules.wanted().count();
            left -= told;
            let host = rules.host;
            (told > 0).then(|| HostRow {
                listeners,
                host: &host.name,
                domains: host.domains.iter().map(domain).collect(),
                rules,
            })
        }))
    }
}

impl<'p> Rules<'p> {
    fn wanted(&self) -> impl Iterator<Item = &'p Arc<Route>> {
        let (name, filter) = (&self.host.name, self.filter);
        let is_wanted = move |route: &&Arc<Route>| {
            filter.is_none_or(|filter| filter.is_match(&format!("{name} {}", route.name)))
        };
        self.host.routes.iter().filter(is_wanted).take(self.limit)
    }
}

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.wanted().map(told))
    }
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
