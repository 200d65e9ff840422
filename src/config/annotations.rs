//! `metadata.annotations` under `weir/`: what no dialect has a field for. The same for every kind.
//!
//! Law: `weir/` is ours, so an unknown one is refused; all others are somebody else's and are left alone.

mod key;
mod said;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::Field;
use super::diagnostic::Place;
use super::draft::{ActionDraft, RouteDraft, RuleDraft};
use super::names::{is_dns_label, is_istio_label_part, nearest};
use crate::snapshot::Labels;
use said::Said;

const PREFIX: &str = "weir/";
/// Followed by a service's name.
const BACKEND: &str = "backend.";

/// What an object's annotations say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Annotations {
    /// Of all its rules: `weir/NAME`.
    all: Said,
    /// Of one rule, by its name or number: `weir/NAME.RULE`. It goes before what is said of all.
    of_rules: BTreeMap<Box<str>, Said>,
    /// `weir/backend.NAME`: the endpoints that a backend of this name means.
    pub(crate) backends: Vec<Backend>,
}

/// What an annotation says of backends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    /// Where it stands.
    pub(crate) place: Place,
    /// Theirs.
    pub(crate) name: Arc<str>,
    /// What the endpoints have.
    pub(crate) labels: Labels,
}

impl Annotations {
    /// Those of `metadata.annotations` of a `kind`. They are about routes, so that an object about clusters has none;
    /// backends have a name in the Gateway API alone.
    pub(crate) fn read(field: &Field<'_>, kind: &str) -> Annotations {
        let traffic = matches!(kind, "DestinationRule" | "DestinationPolicy");
        let gateway_api = matches!(kind, "HTTPRoute" | "GRPCRoute");
        let mut own = Annotations::default();
        let mut salts = Vec::new();
        for (key, value) in field.pairs().unwrap_or_default() {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let Some(text) = value.filled() else { continue };
            if traffic {
                elsewhere(&value, name, "the object with the routes");
            } else if let Some(service) = name.strip_prefix(BACKEND).filter(|service| is_dns_label(service)) {
                if !gateway_api {
                    elsewhere(&value, name, "an HTTPRoute or a GRPCRoute");
                    continue;
                }
                let (place, name) = (value.place(), service.into());
                let labels = labels(&value, text);
                own.backends.extend(labels.map(|labels| Backend { place, name, labels }));
            } else {
                let (kind, rule) = parts(name);
                if !said::KNOWN.contains(&kind) {
                    unknown(&value, name);
                    continue;
                }
                let said = match rule {
                    None => &mut own.all,
                    Some(rule) => own.of_rules.entry(rule.into()).or_default(),
                };
                said.read(kind, &value, text);
                if kind == said::SALT {
                    salts.push((rule, value));
                }
            }
        }
        let sticky = |rule: Option<&str>| match rule {
            None => own.all.is_sticky() || own.of_rules.values().any(Said::is_sticky),
            Some(rule) => own.all.is_sticky() || own.of_rules.get(rule).is_some_and(Said::is_sticky),
        };
        for (_, salt) in salts.iter().filter(|(rule, _)| !sticky(*rule)) {
            salt.fault_with("annotation", "a salt without `weir/sticky`", key::HELP);
        }
        own
    }

    /// Adds what they say to each rule of the object. `object` is where one is told of that no rule takes.
    pub(crate) fn apply(&self, draft: &mut RouteDraft, object: &Field<'_>) {
        let mut rules = std::mem::take(&mut draft.rules);
        self.tell_of_what_never_acts(&rules, object);
        for rule in rules.iter_mut().filter(|rule| forwards(rule)) {
            let own = self.of_rules.iter().find(|(name, _)| is_called(rule, name));
            let said = own.map_or_else(|| self.all.clone(), |(_, own)| own.clone().or(&self.all));
            said.apply(rule, draft);
        }
        draft.rules = rules;
    }

    /// Tells of rules that are not there, and of what concerns no request.
    fn tell_of_what_never_acts(&self, rules: &[RuleDraft], object: &Field<'_>) {
        if *self == Annotations::default() {
            return;
        }
        for (key, value) in own(object) {
            let (kind, named) = parts(key.strip_prefix(PREFIX).unwrap_or_default());
            let concerned = || rules.iter().filter(|rule| named.is_none_or(|name| is_called(rule, name)));
            if named.is_some() && concerned().next().is_none() {
                let names: Vec<&str> = rules.iter().filter_map(|rule| rule.label.as_deref()).collect();
                let help = match names.is_empty() {
                    true => format!("its rule has no name: `{PREFIX}{kind}`"),
                    false => format!("its rules: {}", names.join(", ").replace('#', "")),
                };
                value.fault_with("annotation", "the object has no rule of that name", help);
            } else if !rules.is_empty() && !concerned().any(forwards) {
                let help = format!("leave `{key}` out");
                let reason = match named {
                    None => "no request of this object is forwarded",
                    Some(_) => "no request of this rule is forwarded",
                };
                value.warn_with("never-acts", reason, help);
            } else if said::is_of_retries(kind) && !concerned().any(retries) {
                value.warn_with("never-acts", "nothing is tried again here", "retries beside it");
            }
        }
    }
}

/// The annotations of `object` that are about its rules.
fn own<'n>(object: &Field<'n>) -> Vec<(&'n str, Field<'n>)> {
    let Some(node) = object.node.get("metadata") else { return Vec::new() };
    let metadata = object.child("metadata", node);
    let Some(node) = node.get("annotations") else { return Vec::new() };
    let mut pairs = metadata.child("annotations", node).pairs().unwrap_or_default();
    pairs.retain(|(key, _)| key.strip_prefix(PREFIX).is_some_and(|name| !name.starts_with(BACKEND)));
    pairs
}

/// `NAME` or `NAME.RULE`.
fn parts(name: &str) -> (&str, Option<&str>) {
    match name.split_once('.') {
        Some((kind, rule)) if !rule.is_empty() => (kind, Some(rule)),
        _ => (name, None),
    }
}

/// Whether an annotation means `rule` by `name`. A rule without a name of its own has a number, which stands behind a `#` in
/// the names of rules.
fn is_called(rule: &RuleDraft, name: &str) -> bool {
    let of_number = |label: &str| label.rsplit_once('#').is_some_and(|(_, number)| number == name);
    rule.label.as_deref().is_some_and(|label| label == name || of_number(label))
}

fn forwards(rule: &RuleDraft) -> bool {
    matches!(rule.action, ActionDraft::Whole | ActionDraft::Shares(_))
}

fn retries(rule: &RuleDraft) -> bool {
    let policy = rule.policy.as_deref().and_then(|draft| draft.policy.retry.as_ref());
    policy.is_some_and(|retry| retry.retries > 0)
}

fn elsewhere(field: &Field<'_>, name: &str, whose: &str) {
    let reason = format!("`{PREFIX}{name}` has no effect here");
    field.fault_with("unknown-annotation", reason, format!("it belongs to {whose}"));
}

fn unknown(field: &Field<'_>, name: &str) {
    let known = said::KNOWN.iter().copied().chain([BACKEND]);
    let help = match nearest(parts(name).0, known.clone()) {
        Some(BACKEND) => "weir/backend.NAME, where NAME is a Service's".into(),
        Some(near) => format!("did you mean `{PREFIX}{near}`?"),
        None => {
            format!("known: {}", known.map(|name| format!("{PREFIX}{name}")).collect::<Vec<_>>().join(", "))
        }
    };
    field.fault_with("unknown-annotation", format!("`{PREFIX}{name}` is not known"), help);
}

/// `key=value`, joined by commas.
fn labels(field: &Field<'_>, text: &str) -> Option<Labels> {
    let pair = |one: &str| {
        let (key, value) = one.trim().split_once('=')?;
        let good = !key.is_empty() && is_istio_label_part(key) && is_istio_label_part(value);
        good.then(|| (Arc::from(key), Arc::from(value)))
    };
    let all: Option<Labels> =
        text.split(',').map(pair).collect::<Option<Vec<_>>>().map(|all| all.into_iter().collect());
    if all.is_none() {
        field.fault_with("annotation", format!("`{text}` is no list of labels"), "such as version=v1");
    }
    all
}
