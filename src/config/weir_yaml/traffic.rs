//! What few services say of their clusters: health, outliers, hashes, slow start, budgets.
//!
//! Law: names and defaults are Envoy's where Envoy has them. The same draft comes out of them as of a DestinationRule,
//! which goes before it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::health;
use crate::config::decode::Field;
use crate::config::destination_rule::{aggression, attribute, prime, token};
use crate::config::draft::ClusterDraft;
use crate::config::networking::header_name;
use crate::config::table::{Keys, Table, filled, maybe};
use crate::config::values::MAX_DURATION;
use crate::snapshot::hash::Cookie;
use crate::snapshot::{
    FailurePercentage, Fraction, HashKey, LbPolicy, Outlier, RetryBudget, SlowStart, SuccessRate,
};

/// What is right for time that must pass: at least a millisecond.
const POSITIVE: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DURATION;

/// Everything but `lb:`; nothing if nothing is said. What is at fault is told of and left out.
pub(super) fn settings(table: &Table<'_>, lb: Option<LbPolicy>) -> Option<Box<ClusterDraft>> {
    let mut draft = ClusterDraft::default();
    let traffic = &mut draft.traffic;
    let field = said(table, "outlier");
    traffic.outlier = field.as_ref().and_then(outlier);
    draft.at.outlier = field.map(|field| field.place());
    traffic.health_checks = said(table, "health_check").and_then(|field| health::checks(&field));
    traffic.hash = table.get("hash").and_then(|field| hash(&field));
    let field = table.get("slow_start");
    traffic.slow_start = field.as_ref().and_then(slow_start);
    draft.at.slow_start = field.map(|field| field.place());
    traffic.panic_threshold = table.get("panic_threshold").and_then(|field| percent(&field));
    draft.retry_budget = table.get("retry_budget").and_then(|field| retry_budget(&field));
    let hashes = matches!(lb, Some(LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. }));
    // A DestinationRule that hashes says of what itself.
    if let (Some(field), Some(_), false) = (table.get("hash"), &draft.traffic.hash, hashes) {
        field.warn_with("never-acts", "nothing hashes", "`lb: ring_hash` or `lb: maglev`");
    }
    if let (None, true, Some(field)) = (table.get("hash"), hashes, table.get("lb")) {
        field.warn_with("never-acts", "nothing says what the hash is of", "`hash: [{header: NAME}]`");
    }
    (draft != ClusterDraft::default()).then(|| Box::new(draft))
}

/// The value of `key`, unless it is an empty mapping, which says nothing.
fn said<'n>(table: &Table<'n>, key: &'static str) -> Option<Field<'n>> {
    use crate::config::tree::Value;
    table.get(key).filter(|field| !matches!(&field.node.value, Value::Mapping(all) if all.is_empty()))
}

/// `lb:`, a word, or a mapping with the size of a ring or a table.
pub(super) fn lb(field: &Field<'_>) -> Option<LbPolicy> {
    use LbPolicy::{LeastRequest, Random, RoundRobin};
    if field.node.kind_name() == "a string" {
        return field.word(&[
            ("round_robin", RoundRobin),
            ("least_request", LeastRequest),
            ("random", Random),
            ("ring_hash", LbPolicy::RING_HASH),
            ("maglev", LbPolicy::MAGLEV),
        ]);
    }
    let table = Table::new(field, &Keys::of(&["ring_hash", "maglev"]))?;
    match (table.get("ring_hash"), table.get("maglev")) {
        (Some(ring), None) => {
            let table = Table::new(&ring, &Keys::of(&["minimum", "maximum"]))?;
            let read = |key| maybe(&table, key, |field| field.integer(1..=8 << 20));
            let (least, most) = (read("minimum"), read("maximum"));
            let (minimum, maximum) = (least?.unwrap_or(1_024) as u32, most?.unwrap_or(8 << 20) as u32);
            if minimum > maximum {
                ring.fault("hash", "`minimum` is over `maximum`");
                return None;
            }
            Some(LbPolicy::RingHash { minimum, maximum })
        }
        (None, Some(maglev)) => {
            let table = Table::new(&maglev, &Keys::of(&["table"]))?;
            let size = maybe(&table, "table", prime)?.filter(|size| *size > 0);
            Some(size.map_or(LbPolicy::MAGLEV, |table| LbPolicy::Maglev { table }))
        }
        _ => {
            field.fault_with("hash", "it has not one way to choose", "ring_hash or maglev");
            None
        }
    }
}

/// Keys, the first of which that a request has counts.
fn hash(field: &Field<'_>) -> Option<Vec<HashKey>> {
    let all: Vec<_> = field.items()?.iter().map(hash_key).collect();
    if all.is_empty() {
        field.fault_with("hash", "it has no key", "such as [{header: x-user}]");
        return None;
    }
    all.into_iter().collect()
}

fn hash_key(field: &Field<'_>) -> Option<HashKey> {
    let table = Table::new(field, &Keys::of(&["header", "cookie", "query", "source_address"]))?;
    let header = maybe(&table, "header", |field| header_name(field, field.filled()?).map(HashKey::Header));
    let cookie = maybe(&table, "cookie", |field| cookie(field).map(HashKey::Cookie));
    let query = maybe(&table, "query", |field| field.filled().map(|name| HashKey::Query(name.into())));
    let address = table.get("source_address").map_or(Some(false), |field| field.boolean());
    let address = address?.then_some(HashKey::SourceAddress);
    let mut keys: Vec<_> = [header?, cookie?, query?, address].into_iter().flatten().collect();
    let only = keys.pop().filter(|_| keys.is_empty());
    if only.is_none() {
        field.fault_with("hash", "it is not one key", "header, cookie, query or source_address");
    }
    only
}

fn cookie(field: &Field<'_>) -> Option<Cookie> {
    let table = Table::new(field, &Keys::of(&["name", "ttl", "path"]))?;
    let name = table.require("name").and_then(|field| token(&field));
    let set = maybe(&table, "ttl", |field| field.duration());
    let path = match filled(&table, "path") {
        None => Some(None),
        Some((field, text)) => attribute(&field, text).map(Some),
    };
    Some(Cookie { name: name?, set: set?, path: path?, attributes: None })
}

fn slow_start(field: &Field<'_>) -> Option<SlowStart> {
    let table = Table::new(field, &Keys::of(&["window", "aggression", "min_weight_percent"]))?;
    let default = SlowStart::default();
    let window = maybe(&table, "window", |field| field.duration_in(POSITIVE));
    let aggression = maybe(&table, "aggression", aggression);
    let least = maybe(&table, "min_weight_percent", percent);
    Some(SlowStart {
        window: window?.unwrap_or(default.window),
        aggression: aggression?.unwrap_or(default.aggression),
        min_weight_percent: least?.unwrap_or(default.min_weight_percent),
    })
}

fn retry_budget(field: &Field<'_>) -> Option<RetryBudget> {
    let table = Table::new(field, &Keys::of(&["budget_percent", "min_retry_concurrency"]))?;
    let default = RetryBudget::default();
    let share = maybe(&table, "budget_percent", Field::percent);
    let least = maybe(&table, "min_retry_concurrency", count);
    Some(RetryBudget {
        share: share?.map_or(default.share, Fraction::of_percent),
        min_concurrency: least?.unwrap_or(default.min_concurrency),
    })
}

fn count(field: &Field<'_>) -> Option<u32> {
    field.integer(0..=i64::from(u32::MAX)).map(|count| count as u32)
}

/// A whole percentage.
fn percent(field: &Field<'_>) -> Option<u32> {
    field.integer(0..=100).map(|percent| percent as u32)
}

/// `outlier:`, by Envoy's names and defaults.
fn outlier(field: &Field<'_>) -> Option<Outlier> {
    const KEYS: Keys = Keys::of(&[
        "consecutive_5xx",
        "enforcing_consecutive_5xx",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "interval",
        "base_ejection_time",
        "max_ejection_time",
        "max_ejection_time_jitter",
        "max_ejection_percent",
        "always_eject_one_host",
        "enforcing_success_rate",
        "success_rate_minimum_hosts",
        "success_rate_request_volume",
        "success_rate_stdev_factor",
        "failure_percentage_threshold",
        "enforcing_failure_percentage",
        "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume",
    ]);
    let table = Table::new(field, &KEYS)?;
    let number = |key, to: &mut u32, read: fn(&Field<'_>) -> Option<u32>| {
        *to = maybe(&table, key, read)?.unwrap_or(*to);
        Some(())
    };
    let time = |key, to: &mut Duration, range: RangeInclusive<Duration>| {
        *to = maybe(&table, key, |field| field.duration_in(range))?.unwrap_or(*to);
        Some(())
    };
    let flag = |key, to: &mut bool| {
        *to = maybe(&table, key, |field| field.boolean())?.unwrap_or(*to);
        Some(())
    };
    let positive: fn(&Field<'_>) -> Option<u32> =
        |field| field.integer(1..=i64::from(u32::MAX)).map(|count| count as u32);
    let mut it = Outlier::default();
    let mut rate = SuccessRate::default();
    let mut failures = FailurePercentage::default();
    let read = [
        number("consecutive_5xx", &mut it.consecutive_5xx, positive),
        number("enforcing_consecutive_5xx", &mut it.enforcing_consecutive_5xx, percent),
        number("consecutive_gateway_failure", &mut it.consecutive_gateway_failure, positive),
        number(
            "enforcing_consecutive_gateway_failure",
            &mut it.enforcing_consecutive_gateway_failure,
            percent,
        ),
        flag("split_external_local_origin_errors", &mut it.split_external_local_origin_errors),
        number("consecutive_local_origin_failure", &mut it.consecutive_local_origin_failure, positive),
        number(
            "enforcing_consecutive_local_origin_failure",
            &mut it.enforcing_consecutive_local_origin_failure,
            percent,
        ),
        time("interval", &mut it.interval, POSITIVE),
        time("base_ejection_time", &mut it.base_ejection_time, POSITIVE),
        time("max_ejection_time", &mut it.max_ejection_time, POSITIVE),
        time("max_ejection_time_jitter", &mut it.max_ejection_time_jitter, Duration::ZERO..=MAX_DURATION),
        number("max_ejection_percent", &mut it.max_ejection_percent, percent),
        flag("always_eject_one_host", &mut it.always_eject_one_host),
        number("enforcing_success_rate", &mut rate.enforcing, percent),
        number("success_rate_minimum_hosts", &mut rate.minimum_hosts, count),
        number("success_rate_request_volume", &mut rate.request_volume, count),
        number("success_rate_stdev_factor", &mut rate.stdev_factor, count),
        number("failure_percentage_threshold", &mut failures.threshold, percent),
        number("enforcing_failure_percentage", &mut failures.enforcing, percent),
        number("failure_percentage_minimum_hosts", &mut failures.minimum_hosts, count),
        number("failure_percentage_request_volume", &mut failures.request_volume, count),
    ];
    // Envoy's longest ejection is at least the shortest.
    it.max_ejection_time = it.max_ejection_time.max(it.base_ejection_time);
    it.success_rate = (rate.enforcing > 0).then_some(rate);
    it.failure_percentage = (failures.enforcing > 0).then_some(failures);
    read.into_iter().all(|one| one.is_some()).then_some(it)
}
