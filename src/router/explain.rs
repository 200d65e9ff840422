//! Why a request takes the route it takes, in plain words.
//!
//! Law: it asks every route in order the same questions as the search, those behind the choice too. For people and for
//! tests; the request path never comes here.

mod conditions;
mod policies;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Head;
use super::condition::first_miss;
use super::hosts::Hosts;
use crate::snapshot::{Action, Labels, Route, RouteConfig, VersionTarget};

/// What was tried, and what was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The name of the route configuration.
    pub route_config: Arc<str>,
    /// The host asked for, in normal form.
    pub host: String,
    /// The virtual host that answers to it; `None`: 404.
    pub virtual_host: Option<Arc<str>>,
    /// Its routes in order, to the last.
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
    /// Its first condition that does not hold, or that an earlier one matches; `None`: it is the choice.
    pub why_not: Option<String>,
}

/// Where the request goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The rule, `<name>.<namespace>`.
    pub name: Arc<str>,
    /// Where it is written.
    pub origin: Arc<str>,
    /// The service whose versions share the requests; empty where they are answered here.
    pub service: Arc<str>,
    /// In the order of the rule.
    pub versions: Vec<Share>,
    /// What the rule answers itself, in place of a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What else is done to its requests, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The route itself.
    #[serde(skip)]
    pub route: Arc<Route>,
}

/// A version's share of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Its service, where that is another than the rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
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
    /// What is done to this share's requests alone, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// A rule that is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// What must hold for a request, a line each; none: it takes all that come so far.
    pub when: Vec<String>,
    /// Where its requests go.
    #[serde(flatten)]
    pub choice: Choice,
}

/// What `route` is, in words.
pub fn rule(route: &Arc<Route>) -> Rule {
    Rule { when: conditions::of(&route.matches), choice: Choice::of(route) }
}

/// Tries the routes of the best host in `config` one after the other.
pub fn explain(config: &RouteConfig, head: &Head<'_>, draw: u64) -> Explanation {
    let host =
        Hosts::build(&config.virtual_hosts).find(head.host).and_then(|place| config.virtual_hosts.get(place));
    let mut tried = Vec::new();
    let mut choice: Option<&Arc<Route>> = None;
    for route in host.into_iter().flat_map(|host| config.routes_of(host)) {
        let miss = first_miss(&route.matches, head, draw).map(|miss| miss.to_string());
        let why_not = match (choice, miss) {
            (None, miss) => miss,
            (Some(_), None) => Some("an earlier rule matches, else this one would".to_owned()),
            (Some(_), Some(miss)) => Some(format!("an earlier rule matches; {miss}")),
        };
        if why_not.is_none() {
            choice = Some(route);
        }
        tried.push(Tried { name: route.name.clone(), origin: route.origin.clone(), why_not });
    }
    Explanation {
        route_config: config.name.clone(),
        host: head.host.to_owned(),
        virtual_host: host.map(|host| host.name.clone()),
        tried,
        choice: choice.map(Choice::of),
    }
}

impl Choice {
    fn of(route: &Arc<Route>) -> Choice {
        let sum: u64 = route.versions().iter().map(|version| u64::from(version.weight)).sum();
        let share = |version: &VersionTarget| Share {
            service: version.service.clone(),
            version: version.version.clone(),
            labels: version.labels.clone(),
            weight: version.weight,
            percent: f64::from(version.weight) * 100.0 / (sum.max(1) as f64),
            grpc_cluster: version.grpc_cluster.clone(),
            http_cluster: version.http_cluster.clone(),
            policies: policies::of_share(version),
        };
        Choice {
            name: route.name.clone(),
            origin: route.origin.clone(),
            service: route.service(),
            versions: route.versions().iter().map(share).collect(),
            answer: match &route.action {
                Action::Forward(_) => None,
                Action::Redirect(redirect) => Some(policies::redirect(redirect)),
                Action::DirectResponse(response) => Some(policies::direct(response)),
            },
            policies: policies::of_route(route),
            route: route.clone(),
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
        match &self.answer {
            Some(answer) => writeln!(f, "{} answers: {answer}", self.name)?,
            None => writeln!(f, "{} sends to {}:", self.name, self.service)?,
        }
        for share in &self.versions {
            let version = share.version.as_deref().unwrap_or("all versions");
            write!(f, "  {:>6.2} % {version}", share.percent)?;
            if let Some(service) = &share.service {
                write!(f, " of {service}")?;
            }
            writeln!(f, "{}", selection(&share.labels))?;
            share.policies.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        self.policies.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// ` [version=v1, app=a]`, or nothing.
fn selection(labels: &Labels) -> String {
    let listed: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if listed.is_empty() { String::new() } else { format!(" [{}]", listed.join(", ")) }
}
