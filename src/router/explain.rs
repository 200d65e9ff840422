//! Why a request takes the route it takes, in plain words.
//!
//! Law: it tries every route in order and asks the same questions as the search. For people and for tests; the
//! request path never comes here.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Head;
use super::condition::first_miss;
use super::hosts::Hosts;
use crate::snapshot::{Labels, Route, RouteConfig};

/// What was tried, and what was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The name of the route configuration.
    pub route_config: Arc<str>,
    /// The host asked for, in normal form.
    pub host: String,
    /// The virtual host that answers to it; `None`: 404.
    pub virtual_host: Option<Arc<str>>,
    /// Its routes in order, up to the one that matched.
    pub tried: Vec<Tried>,
    /// The route that matched; `None`: 404.
    pub choice: Option<Choice>,
}

/// A route that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// The rule, `<name>.<namespace>`.
    pub name: Arc<str>,
    /// Where it is written.
    pub origin: Arc<str>,
    /// Its first condition that does not hold; `None`: it matched.
    pub why_not: Option<String>,
}

/// Where the request goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The rule, `<name>.<namespace>`.
    pub name: Arc<str>,
    /// Where it is written.
    pub origin: Arc<str>,
    /// The service whose versions share the requests.
    pub service: Arc<str>,
    /// In the order of the rule.
    pub versions: Vec<Share>,
}

/// A version's share of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The version; `None`: whatever the endpoint is.
    pub version: Option<Arc<str>>,
    /// The labels that select its endpoints.
    pub labels: Labels,
    /// As the rule says it.
    pub weight: u32,
    /// Of the requests of this route, 0 to 100.
    pub percent: f64,
    /// The cluster of gRPC requests.
    pub grpc_cluster: Arc<str>,
    /// The cluster of all other requests.
    pub http_cluster: Arc<str>,
}

/// Tries the routes of the best host in `config` one after the other.
pub fn explain(config: &RouteConfig, head: &Head<'_>, draw: u64) -> Explanation {
    let host =
        Hosts::build(&config.virtual_hosts).find(head.host).and_then(|place| config.virtual_hosts.get(place));
    let mut tried = Vec::new();
    let mut choice = None;
    for route in host.into_iter().flat_map(|host| &host.routes) {
        let why_not = first_miss(&route.matches, head, draw).map(|miss| miss.to_string());
        let matched = why_not.is_none();
        tried.push(Tried { name: route.name.clone(), origin: route.origin.clone(), why_not });
        if matched {
            choice = Some(Choice::of(route));
            break;
        }
    }
    let virtual_host = host.map(|host| host.name.clone());
    Explanation { route_config: config.name.clone(), host: head.host.to_owned(), virtual_host, tried, choice }
}

impl Choice {
    fn of(route: &Route) -> Choice {
        let sum: u64 = route.versions().iter().map(|version| u64::from(version.weight)).sum();
        let share = |version: &crate::snapshot::VersionTarget| Share {
            version: version.version.clone(),
            labels: version.labels.clone(),
            weight: version.weight,
            percent: f64::from(version.weight) * 100.0 / (sum.max(1) as f64),
            grpc_cluster: version.grpc_cluster.clone(),
            http_cluster: version.http_cluster.clone(),
        };
        Choice {
            name: route.name.clone(),
            origin: route.origin.clone(),
            service: route.service(),
            versions: route.versions().iter().map(share).collect(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(virtual_host) = &self.virtual_host else {
            return writeln!(f, "no virtual host answers to {}: 404, flag NR", self.host);
        };
        writeln!(f, "host {}: virtual host {virtual_host}", self.host)?;
        for tried in &self.tried {
            let verdict =
                tried.why_not.as_deref().map_or("matches".to_owned(), |reason| format!("no: {reason}"));
            writeln!(f, "  {} ({}): {verdict}", tried.name, tried.origin)?;
        }
        match &self.choice {
            Some(choice) => choice.fmt(f),
            None => writeln!(f, "no route matches: 404, flag NR"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} sends to {}:", self.name, self.service)?;
        for share in &self.versions {
            let version = share.version.as_deref().unwrap_or("all versions");
            write!(f, "  {:>6.2} % {version}", share.percent)?;
            for (place, (key, value)) in share.labels.iter().enumerate() {
                write!(f, "{}{key}={value}", if place == 0 { " [" } else { ", " })?;
            }
            writeln!(f, "{}", if share.labels.is_empty() { "" } else { "]" })?;
        }
        Ok(())
    }
}
