//! Rules -> the routes of each service, in the order in which Istio 0.7.1 emitted them.
//!
//! Law: precedence falling, then namespace, then name; nothing behind a catch-all; without one, `default-route`
//! to the whole service. A rule that can have no effect is told of, never dropped in silence.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::clusters::{Clusters, selected};
use super::hosts::{Known, Registry};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::names::nearest;
use crate::config::route_rule::{Entry, RouteRuleDraft, ServiceRef};
use crate::config::weir_yaml::Targets;
use crate::snapshot::{
    Action, Caller, Forward, Labels, Node, PathMatch, Route, RouteMatch, SourceMatch, VersionTarget,
};

/// Rules by the full host that they are about, each list in order of precedence.
pub(super) type RulesByHost<'d> = HashMap<String, Vec<&'d RouteRuleDraft>>;

/// One error for each rule whose name another has already.
pub(crate) fn duplicates(rules: &[RouteRuleDraft]) -> Vec<Diagnostic> {
    let mut first: HashMap<(&str, &str), &Place> = HashMap::new();
    let mut found = Vec::new();
    for rule in rules {
        let key: (&str, &str) = (&rule.namespace, &rule.name);
        match first.get(&key) {
            None => drop(first.insert(key, &rule.place)),
            Some(other) => {
                let place = other.origin.file_and_line();
                let reason = format!("the rule `{}` stands at {place} already", rule_name(rule));
                found.push(rule.place.error("duplicate-rule", reason));
            }
        }
    }
    found
}

/// Sorts rules to their hosts; tells of rules about hosts that nobody declared.
pub(super) fn by_host<'d>(
    rules: &'d [RouteRuleDraft],
    registry: &Registry<'_>,
    node: &Node,
    found: &mut Vec<Diagnostic>,
) -> RulesByHost<'d> {
    let mut by_host = RulesByHost::new();
    for rule in rules {
        let host = rule.destination.host.resolve(&rule.namespace, &node.domain);
        if registry.get(&host).is_none() {
            found.push(unknown_host(rule, &host, registry));
            continue;
        }
        by_host.entry(host).or_default().push(rule);
    }
    for rules in by_host.values_mut() {
        rules.sort_by_key(|rule| (Reverse(rule.precedence), rule.namespace.clone(), rule.name.clone()));
    }
    by_host
}

fn unknown_host(rule: &RouteRuleDraft, host: &str, registry: &Registry<'_>) -> Diagnostic {
    let reason = format!("no service is `{host}`: the rule has no effect");
    let warning = rule.destination.place.warning("unknown-service", reason);
    match nearest(host, registry.iter().map(|known| known.host.as_ref())) {
        Some(near) => warning.with_help(format!("did you mean `{near}`?")),
        None => warning,
    }
}

fn rule_name(rule: &RouteRuleDraft) -> String {
    format!("{}.{}", rule.name, rule.namespace)
}

/// What routes are built from.
pub(super) struct Builder<'b> {
    pub(super) node: &'b Node,
    pub(super) callers: &'b [Arc<Caller>],
    pub(super) clusters: Clusters,
    pub(super) found: Vec<Diagnostic>,
}

impl Builder<'_> {
    /// The routes of a service under the rules about it.
    pub(super) fn routes(&mut self, service: &Known<'_>, rules: &[&RouteRuleDraft]) -> Vec<Arc<Route>> {
        let mut routes: Vec<Arc<Route>> = Vec::with_capacity(rules.len() + 1);
        let mut catch_all: Option<&RouteRuleDraft> = None;
        for rule in rules {
            if let Some(winner) = catch_all {
                // A duplicate is told of already.
                if rule_name(rule) != rule_name(winner) {
                    self.found.push(shadowed(rule, winner));
                }
                continue;
            }
            let Some(route) = self.route(service, rule) else { continue };
            if route.matches.is_catch_all() {
                catch_all = Some(rule);
            }
            routes.push(Arc::new(route));
        }
        if catch_all.is_none() {
            let whole = self.clusters.select(service, &Labels::new(), 100);
            routes.push(Arc::new(plain_route("default-route", service, whole)));
        }
        routes
    }

    fn route(&mut self, service: &Known<'_>, rule: &RouteRuleDraft) -> Option<Route> {
        let versions = match &rule.route {
            None => vec![self.clusters.select(service, &Labels::new(), 100)],
            Some(entries) => self.versions(service, rule, entries)?,
        };
        let matches = RouteMatch {
            path: rule.path.clone().unwrap_or_else(|| PathMatch::Prefix("/".into())),
            headers: rule.headers.clone(),
            source: rule.source.as_ref().map(|source| self.source(rule, source)),
            runtime_fraction: None,
            more: None,
        };
        let action = Action::Forward(Forward { versions, ..forward(service) });
        let origin = rule.place.origin.file_and_line().into();
        Some(Route { name: rule_name(rule).into(), origin, matches, action, policy: None })
    }

    fn versions(
        &mut self,
        service: &Known<'_>,
        rule: &RouteRuleDraft,
        entries: &[Entry],
    ) -> Option<Vec<VersionTarget>> {
        let mut whole = true;
        let mut versions = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(other) = &entry.destination {
                let host = other.host.resolve(&rule.namespace, &self.node.domain);
                if host != *service.host {
                    let reason = format!("a share for another service (`{host}`) is not supported yet");
                    self.found.push(other.place.error("not-supported", reason));
                    whole = false;
                    continue;
                }
            }
            self.found.extend(unserved(service, entry));
            versions.push(self.clusters.select(service, &entry.labels, entry.weight));
        }
        whole.then_some(versions)
    }

    fn source(&mut self, rule: &RouteRuleDraft, source: &ServiceRef) -> SourceMatch {
        let service = source.host.resolve(&rule.namespace, &self.node.domain);
        let is_source = |caller: &Arc<Caller>| {
            *caller.service == *service
                && source.labels.iter().all(|(key, value)| caller.labels.get(key) == Some(value))
        };
        if !self.callers.iter().any(is_source) {
            let reason =
                format!("none of `callers` is `{service}` with these labels: the rule never applies");
            self.found.push(source.place.warning("unknown-caller", reason));
        }
        SourceMatch { service: Some(service.into()), namespace: None, labels: source.labels.clone() }
    }
}

/// A share that will get 503: nobody has its labels, or nobody of them the port that other endpoints have.
fn unserved(service: &Known<'_>, entry: &Entry) -> Option<Diagnostic> {
    let labels: Vec<_> = entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (host, labels, weight) = (&service.host, labels.join(","), entry.weight);
    let missing = |port: &str, what: &str| {
        let warning =
            entry.place.warning("no-endpoints", format!("no endpoint of `{host}` with {labels} has {port}"));
        warning.with_help(format!("{weight} % of {what} get 503"))
    };
    let any = |serves: fn(&Targets) -> bool| {
        let all = service.draft.endpoints.iter().any(|endpoint| serves(&endpoint.targets));
        all && !selected(service.draft, &entry.labels).any(|endpoint| serves(&endpoint.targets))
    };
    if weight == 0 || service.draft.endpoints.is_empty() {
        return None;
    }
    if selected(service.draft, &entry.labels).next().is_none() {
        let warning = entry.place.warning("no-endpoints", format!("no endpoint of `{host}` has {labels}"));
        return Some(warning.with_help(format!("{weight} % of the requests get 503")));
    }
    if any(|targets| !matches!(targets, Targets::ByProtocol { grpc: None, .. })) {
        return Some(missing("`grpc:`", "the gRPC requests"));
    }
    any(|targets| !matches!(targets, Targets::ByProtocol { http: None, .. }))
        .then(|| missing("`http:`", "the other requests"))
}

fn shadowed(rule: &RouteRuleDraft, winner: &RouteRuleDraft) -> Diagnostic {
    let (name, place) = (rule_name(winner), winner.place.origin.file_and_line());
    let reason =
        format!("the rule `{}` is never reached: `{name}` ({place}) matches every request", rule_name(rule));
    rule.place.warning("shadowed", reason).with_help(format!("a precedence over {}", winner.precedence))
}

/// One route for everything.
pub(super) fn plain_route(name: &str, service: &Known<'_>, target: VersionTarget) -> Route {
    let origin = service.draft.place.origin.file_and_line().into();
    let action = Action::Forward(Forward { versions: vec![target], ..forward(service) });
    Route { name: name.into(), origin, matches: RouteMatch::any(), action, policy: None }
}

fn forward(service: &Known<'_>) -> Forward {
    Forward {
        service: service.host.clone(),
        timeout: service.draft.timeout,
        repeatable: service.draft.repeatable,
        ..Forward::default()
    }
}
