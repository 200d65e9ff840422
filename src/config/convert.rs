//! RouteRules and DestinationPolicies -> the dialects that came after them.
//!
//! Law: what is written says the same, and what has no equal is told of, never dropped in silence. No condition is ever
//! made wider: a rule whose condition cannot be said is left out, and whom its requests fall to is told. Works on drafts, so
//! that every spelling of a rule comes out the same.

mod http_route;
mod said;
mod virtual_service;
mod yaml;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use super::draft::{Claim, Dialect, HostRef, Order, RouteDraft, RuleDraft, TrafficDraft};
use super::input::Document;
use super::link;
use super::names::is_dns_label;
use crate::snapshot::{PathMatch, StringMatch};

/// What RouteRules become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// VirtualService and DestinationRule, `networking.istio.io/v1`.
    VirtualService,
    /// HTTPRoute, `gateway.networking.k8s.io/v1`, with a Service for each version.
    HttpRoute,
}

/// How to convert.
#[derive(Clone, Debug)]
pub struct Settings<'s> {
    /// What rules become.
    pub target: Target,
    /// What stands behind `svc.` in the hosts of services.
    pub domain: &'s str,
    /// What an HTTPRoute's backends have as their port, which RouteRules do not name.
    pub port: u16,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Converted {
    /// YAML; empty if there was nothing to convert.
    pub text: String,
    /// How many objects stand in it.
    pub objects: usize,
    /// What has no equal (`no-equal`), and what was found when reading; by file and line.
    pub notes: Diagnostics,
}

/// Converts what `rules` hold. The error says why they cannot be read.
pub fn convert(rules: &[Document], settings: &Settings<'_>) -> Result<Converted, Diagnostics> {
    let mut found = Diagnostics::new();
    let objects = super::read_rules(rules, &mut found);
    found.extend(link::duplicates(&objects));
    if found.has_errors() {
        return Err(found.sorted());
    }
    let mut notes = Notes::default();
    let newer = objects.routes.iter().map(|one| (one.dialect, &one.place));
    let newer = newer.chain(objects.traffic.iter().map(|one| (one.dialect, &one.place)));
    for (_, place) in newer.filter(|(dialect, _)| *dialect != Dialect::RouteRule) {
        notes.tell(place, "it is of a newer dialect already: it is left as it is", "");
    }
    let hosts = hosts(&objects.routes, settings.domain);
    let policies = objects.traffic.iter().filter(|one| one.dialect == Dialect::RouteRule);
    let policies: Vec<&TrafficDraft> = policies.collect();
    let written = match settings.target {
        Target::VirtualService => virtual_service::write(&hosts, &policies, settings, &mut notes),
        Target::HttpRoute => http_route::write(&hosts, &policies, settings, &mut notes),
    };
    found.extend(notes.0);
    let text = written.iter().enumerate().map(|(place, one)| yaml::document(one, place == 0)).collect();
    Ok(Converted { text, objects: written.len(), notes: found.sorted() })
}

/// What has no equal.
#[derive(Debug, Default)]
struct Notes(Vec<Diagnostic>);

impl Notes {
    fn tell(&mut self, place: &Place, reason: impl Into<String>, help: &str) {
        let note = place.warning("no-equal", reason);
        self.0.push(if help.is_empty() { note } else { note.with_help(help) });
    }
}

/// A host and the rules about it, in the order in which RouteRules are tried.
#[derive(Debug)]
struct Host<'d> {
    name: Name,
    rules: Vec<(&'d RouteDraft, &'d RuleDraft)>,
}

impl Host<'_> {
    /// Tells whom the requests of rules fall to that were left out; `lost`: their places.
    fn tell_of_lost(&self, lost: &[usize], notes: &mut Notes) {
        for (place, (object, rule)) in lost.iter().filter_map(|&place| Some((place, self.rules.get(place)?)))
        {
            let behind = self.rules.iter().enumerate().skip(place + 1);
            let heir = behind
                .filter(|(other, (_, later))| !lost.contains(other) && !excludes(rule, later))
                .map(|(_, (object, _))| format!("`{}`", object.full_name()))
                .next()
                .unwrap_or_else(|| "what the service has for requests without a rule".into());
            let refuses = rule
                .policy
                .as_ref()
                .is_some_and(|draft| draft.policy.fault.as_ref().is_some_and(|fault| fault.abort.is_some()));
            let name = object.full_name();
            let reason = match refuses {
                true => format!("what `{name}` aborted is served from now on, first by {heir}"),
                false => format!("the requests of `{name}` fall to {heir} first"),
            };
            notes.tell(&rule.place, reason, "write by hand what keeps them apart, before you take the rest");
        }
    }
}

/// A host as objects of its namespace call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    full: String,
    /// Short, unless only the whole host will do.
    short: String,
    namespace: String,
}

impl Name {
    fn of(host: &HostRef, own_namespace: &str, domain: &str) -> Name {
        let full = host.resolve(own_namespace, domain);
        match host {
            HostRef::Parts { name, namespace, domain: None } => Name {
                full,
                short: name.clone(),
                namespace: namespace.as_deref().unwrap_or(own_namespace).to_owned(),
            },
            _ => {
                // `name.namespace.svc.domain` is a service that has a short name, too.
                let parts = full.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc."));
                match parts.and_then(|rest| rest.split_once('.')).filter(|(_, space)| is_dns_label(space)) {
                    Some((name, space)) => {
                        let (short, namespace) = (name.to_owned(), space.to_owned());
                        Name { full, short, namespace }
                    }
                    None => Name { short: full.clone(), full, namespace: own_namespace.to_owned() },
                }
            }
        }
    }

    /// As an object of `namespace` has to call it.
    fn from(&self, namespace: &str) -> &str {
        if self.namespace == namespace { &self.short } else { &self.full }
    }

    /// Whether it is a service of the cluster, and not some other host.
    fn is_service(&self) -> bool {
        self.short != self.full
    }
}

/// Every host that a RouteRule is about.
fn hosts<'d>(routes: &'d [RouteDraft], domain: &str) -> Vec<Host<'d>> {
    let mut hosts: BTreeMap<Name, Vec<(&RouteDraft, &RuleDraft)>> = BTreeMap::new();
    for object in routes.iter().filter(|one| one.dialect == Dialect::RouteRule) {
        for claim in &object.claims {
            let Claim::Service(host, _) = claim else { continue };
            let name = Name::of(host, &object.namespace, domain);
            hosts.entry(name).or_default().extend(object.rules.iter().map(|rule| (object, rule)));
        }
    }
    let sorted = |(name, mut rules): (Name, Vec<(&'d RouteDraft, &'d RuleDraft)>)| {
        rules.sort_by_key(|(object, rule)| {
            let Order::Precedence(rank) = rule.order else { return (Reverse(0), "", "") };
            (Reverse(rank), &*object.namespace, &*object.name)
        });
        Host { name, rules }
    };
    hosts.into_iter().map(sorted).collect()
}

/// What operators have called a rule, as a name within one object.
fn label(object: &RouteDraft, namespace: &str) -> String {
    match *object.namespace == *namespace {
        true => object.name.to_string(),
        false => format!("{}.{}", object.name, object.namespace),
    }
}

/// Whether no request can satisfy both, as far as exact values tell.
fn excludes(a: &RuleDraft, b: &RuleDraft) -> bool {
    let paths = match (&a.path, &b.path) {
        (Some(PathMatch::Exact(a)), Some(PathMatch::Exact(b))) => a != b,
        _ => false,
    };
    let differ = |a: &StringMatch, b: &StringMatch| match (a, b) {
        (StringMatch::Exact(a), StringMatch::Exact(b)) => a != b,
        _ => false,
    };
    let pairs = a.headers.iter().flat_map(|one| b.headers.iter().map(move |other| (one, other)));
    paths || pairs.into_iter().any(|(one, other)| one.name == other.name && differ(&one.value, &other.value))
}

/// An object with its first keys.
fn object(version: &str, kind: &str, name: &str, namespace: &str, annotations: Map<String, Value>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), name.into());
    metadata.insert("namespace".into(), namespace.into());
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    let mut object = Map::new();
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    object.insert("metadata".into(), metadata.into());
    Value::Object(object)
}

/// Why a reader of the newer dialect would not take `object`, which it might be stricter about than RouteRule's.
fn why_refused(object: &Value) -> Option<String> {
    let mut found = Diagnostics::new();
    let document = Document { name: String::new(), bytes: yaml::document(object, true).into_bytes() };
    super::read_rules(&[document], &mut found);
    let error = found.iter().find(|one| one.severity == Severity::Error)?;
    Some(format!("{}: {}", error.path, error.reason))
}

/// `value` under `key`, if there is something to say.
fn put(into: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let nothing = match &value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    if !nothing {
        into.insert(key.into(), value);
    }
}

#[cfg(test)]
mod tests;
