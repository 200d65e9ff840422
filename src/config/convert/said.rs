//! What both newer dialects say alike: annotations, times, lists, names of versions.
//!
//! Law: a value is written so that both Istio's and the Gateway API's own readers take it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::draft::RuleDraft;
use crate::config::values::print_duration;
use crate::snapshot::{Fraction, HashKey, HeaderName, Labels, StringMatch};

/// What a rule's annotations have said, as annotations again.
pub(super) fn annotations(rule: &RuleDraft) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(repeatable) = rule.repeatable {
        all.insert("weir/repeatable".into(), repeatable.to_string().into());
    }
    let Some(policy) = rule.policy.as_deref().map(|draft| &draft.policy) else { return all };
    if let Some(sticky) = &policy.sticky {
        let keys: Vec<String> = sticky.keys.iter().map(key).collect();
        all.insert("weir/sticky".into(), keys.join(",").into());
        // The default is the rule's name, which is another now.
        all.insert("weir/sticky-salt".into(), (*sticky.salt).into());
    }
    if let Some(name) = &policy.version_header {
        all.insert("weir/version-header".into(), name.0.as_str().into());
    }
    let retry = policy.retry.as_ref();
    let times = [
        ("weir/idle-timeout", policy.timeouts.idle),
        ("weir/max-grpc-timeout", policy.timeouts.grpc_max),
        ("weir/per-try-idle-timeout", retry.and_then(|retry| retry.per_try_idle_timeout)),
    ];
    for (name, time) in times {
        all.extend(time.map(|time| (name.to_owned(), print_duration(time).into())));
    }
    let headers = retry.into_iter().flat_map(|retry| &retry.headers);
    let names: Vec<&str> = headers
        .filter_map(|header| match &header.name {
            HeaderName::Header(name) => Some(name.0.as_str()),
            _ => None, // no annotation says it
        })
        .collect();
    if !names.is_empty() {
        all.insert("weir/retriable-headers".into(), names.join(",").into());
    }
    all
}

fn key(key: &HashKey) -> String {
    let cookie = match key {
        HashKey::Header(name) => return format!("header:{}", name.0),
        HashKey::Query(name) => return format!("query:{name}"),
        HashKey::SourceAddress => return "source".into(),
        HashKey::Cookie(cookie) => cookie,
    };
    let mut text = format!("cookie:{}", cookie.name);
    if let Some(set) = cookie.set {
        text.push_str(&format!(";set={}s", set.as_secs()));
    }
    for (before, value) in [(";path=", &cookie.path), (";", &cookie.attributes)] {
        if let Some(value) = value {
            text.push_str(before);
            text.push_str(&value.replace("; ", ";"));
        }
    }
    text
}

/// In protobuf's form: `1.5s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// In the Gateway API's form (GEP-2257), which has no fractions and at most five digits: `1h2s500ms`.
pub(super) fn whole(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(time.subsec_millis()), "ms"),
    ];
    let said = parts.iter().filter(|(number, _)| *number > 0);
    let text: String = said.map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

/// 0 to 100.
pub(super) fn percent(fraction: Fraction) -> Value {
    let percent = f64::from(fraction.numerator) * 100.0 / f64::from(fraction.denominator.max(1));
    match percent.fract() == 0.0 {
        true => (percent as u64).into(),
        false => percent.into(),
    }
}

/// A list that is sent joined by commas, as a list again.
pub(super) fn list(joined: Option<&str>) -> Vec<Value> {
    joined.map_or_else(Vec::new, |joined| joined.split(',').map(Value::from).collect())
}

/// `exact`, `prefix` or `regex`; nothing where any value will do.
pub(super) fn condition(value: &StringMatch) -> Value {
    let (key, text) = match value {
        StringMatch::Exact(text) => ("exact", &**text),
        StringMatch::Prefix(text) => ("prefix", &**text),
        StringMatch::Regex(pattern) => ("regex", pattern.as_str()),
        StringMatch::Present => return Value::Object(Map::new()),
    };
    Value::Object([(key.to_owned(), Value::from(text))].into_iter().collect())
}

/// A name made of labels, such as `version-v1` or, of the values alone, `v1`.
pub(super) fn slug(labels: &Labels, with_keys: bool) -> String {
    let part = |(key, value): (&std::sync::Arc<str>, &std::sync::Arc<str>)| match with_keys {
        true => format!("{key}-{value}"),
        false => value.to_string(),
    };
    let joined: Vec<String> = labels.iter().map(part).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = joined.join("-").chars().map(plain).collect();
    slug.trim_matches('-').to_owned()
}
