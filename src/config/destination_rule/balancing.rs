//! `loadBalancer:`: how an endpoint is chosen, what the hash is of, and how new endpoints begin.
//!
//! Law: Istio's names, Envoy's meaning. `LEAST_CONN` is the old name of `LEAST_REQUEST`.

use std::time::Duration;

use crate::config::decode::Field;
use crate::config::draft::ClusterDraft;
use crate::config::networking::{header_name, plain_name};
use crate::config::table::{Keys, Table, each, filled, maybe};
use crate::snapshot::hash::Cookie;
use crate::snapshot::{HashKey, LbPolicy, SlowStart};

/// Maglev's largest table in Envoy.
const MAX_TABLE: i64 = 5_000_011;
/// The largest ring in Envoy.
const MAX_RING: u32 = 8 << 20;

/// Reads `loadBalancer:` into `settings`.
pub(super) fn read(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    const KEYS: Keys = Keys {
        known: &["simple", "consistentHash", "warmup", "warmupDurationSecs", "localityLbSetting"],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let simple = table.get("simple").map_or(Some(None), |field| simple(&field));
    let hash = maybe(&table, "consistentHash", consistent_hash);
    let warmup = maybe(&table, "warmup", warmup);
    let old = maybe(&table, "warmupDurationSecs", Field::whole_ms);
    let locality = maybe(&table, "localityLbSetting", locality);
    let (simple, hash, warmup, old) = (simple?, hash?, warmup?, old?);
    locality?;
    if let (true, Some(field)) = (table.get("simple").is_some(), table.get("consistentHash")) {
        field.fault_with("hash", "`simple` and `consistentHash` exclude each other", "one of the two");
        return None;
    }
    if let (Some(_), Some(_), Some(field)) = (warmup, old, table.get("warmupDurationSecs")) {
        field.fault_with(
            "slow-start",
            "`warmup` and `warmupDurationSecs` exclude each other",
            "`warmup.duration`",
        );
        return None;
    }
    settings.lb = simple;
    if let Some((lb, key)) = hash {
        settings.lb = Some(lb);
        settings.traffic.hash = Some(vec![key]);
    }
    settings.traffic.slow_start =
        warmup.or_else(|| old.map(|window| SlowStart { window, ..SlowStart::default() }));
    let said = table.get("warmup").or_else(|| table.get("warmupDurationSecs"));
    match settings.lb {
        None | Some(LbPolicy::RoundRobin | LbPolicy::LeastRequest) => {
            settings.at.slow_start = said.map(|field| field.place());
        }
        Some(_) => {
            if let Some(field) = said {
                let help = "ROUND_ROBIN or LEAST_REQUEST";
                field.warn_with("never-acts", "this way to choose knows no warm-up", help);
            }
        }
    }
    Some(())
}

/// `localityLbSetting:` asks for nothing where it is switched off, whatever else stands in it. Left out, `enabled` is true.
/// Source: Istio's `GetLocalityLbSetting`.
fn locality(field: &Field<'_>) -> Option<()> {
    const KEYS: Keys = Keys {
        known: &["enabled", "distribute", "failover", "failoverPriority"],
        later: &[],
        never: &[],
        proto: true,
    };
    const HELP: &str = "`enabled: false` alone, or nothing";
    let table = Table::new(field, &KEYS)?;
    let off = maybe(&table, "enabled", Field::boolean)? == Some(false);
    let parts: Vec<_> = KEYS.known[1..].iter().filter_map(|key| table.get(key)).collect();
    if off {
        parts.iter().for_each(|part| part.warn_with("never-acts", "`enabled` is false", HELP));
        return Some(());
    }
    let whole = table.get("enabled").unwrap_or_else(|| field.clone());
    let asks = if parts.is_empty() { vec![whole] } else { parts };
    for part in asks {
        let reason = "balancing by locality is not supported: endpoints have no localities here";
        part.fault_with("not-supported", reason, HELP);
    }
    None
}

#[allow(clippy::option_option)] // the outer one is the fault
fn simple(field: &Field<'_>) -> Option<Option<LbPolicy>> {
    if field.text()? == "PASSTHROUGH" {
        let reason = "`PASSTHROUGH` is not supported: the address that a caller dialled is this proxy's";
        field.fault_with("not-supported", reason, "LEAST_REQUEST, ROUND_ROBIN or RANDOM");
        return None;
    }
    field.word(&[
        ("LEAST_REQUEST", Some(LbPolicy::LeastRequest)),
        ("ROUND_ROBIN", Some(LbPolicy::RoundRobin)),
        ("RANDOM", Some(LbPolicy::Random)),
        ("LEAST_CONN", Some(LbPolicy::LeastRequest)),
        ("UNSPECIFIED", None),
    ])
}

fn consistent_hash(field: &Field<'_>) -> Option<(LbPolicy, HashKey)> {
    const KEYS: Keys = Keys {
        known: &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
            "ringHash",
            "maglev",
            "minimumRingSize",
        ],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let key = hash_key(&table);
    let ring = maybe(&table, "ringHash", |field| {
        let keys = Keys { known: &["minimumRingSize"], later: &[], never: &[], proto: true };
        ring_size(&Table::new(field, &keys)?)
    });
    let old = ring_size(&table);
    let maglev = maybe(&table, "maglev", |field| {
        let keys = Keys { known: &["tableSize"], later: &[], never: &[], proto: true };
        table_size(&Table::new(field, &keys)?)
    });
    let (key, ring, old, maglev) = (key?, ring?, old?, maglev?);
    if let (Some(_), Some(_), Some(field)) = (ring, maglev, table.get("maglev")) {
        field.fault_with("hash", "`ringHash` and `maglev` exclude each other", "one of the two");
        return None;
    }
    let lb = match maglev {
        Some(size) => size.map_or(LbPolicy::MAGLEV, |table| LbPolicy::Maglev { table }),
        None => ring
            .flatten()
            .or(old)
            .map_or(LbPolicy::RING_HASH, |minimum| LbPolicy::RingHash { minimum, maximum: MAX_RING }),
    };
    Some((lb, key))
}

fn hash_key(table: &Table<'_>) -> Option<HashKey> {
    let header = match filled(table, "httpHeaderName") {
        None => Some(None),
        Some((field, text)) => header_name(&field, text).map(|name| Some(HashKey::Header(name))),
    };
    let cookie = maybe(table, "httpCookie", |field| cookie(field).map(HashKey::Cookie));
    let query = filled(table, "httpQueryParameterName").map(|(_, text)| HashKey::Query(text.into()));
    let address = table.get("useSourceIp").map_or(Some(false), |field| field.boolean());
    let address = address?.then_some(HashKey::SourceAddress);
    let mut keys: Vec<_> = [header?, cookie?, query, address].into_iter().flatten().collect();
    let only = keys.pop().filter(|_| keys.is_empty());
    if only.is_none() {
        let help = "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
        table.field.fault_with("hash", "it has not one key", help);
    }
    only
}

fn cookie(field: &Field<'_>) -> Option<Cookie> {
    let table = Table::new(field, &Keys::of(&["name", "path", "ttl", "attributes"]))?;
    let name = table.require("name").and_then(|field| token(&field));
    let path = match filled(&table, "path") {
        None => Some(None),
        Some((field, text)) => attribute(&field, text).map(Some),
    };
    let set = maybe(&table, "ttl", |field| field.duration());
    let attributes = each(&table, "attributes", |field| {
        let table = Table::new(field, &Keys::of(&["name", "value"]))?;
        let name = table.require("name").and_then(|field| token(&field))?;
        match filled(&table, "value") {
            None => Some(name.to_string()),
            Some((field, value)) => attribute(&field, value).map(|value| format!("{name}={value}")),
        }
    });
    let (attributes, set): (_, Option<Duration>) = (attributes?, set?);
    let attributes = (!attributes.is_empty()).then(|| attributes.join("; ").into());
    Some(Cookie { name: name?, set, path: path?, attributes })
}

/// A name that a cookie may have (RFC 6265, section 4.1.1): what may name a header may.
pub(in crate::config) fn token(field: &Field<'_>) -> Option<std::sync::Arc<str>> {
    let text = field.filled()?;
    if http::HeaderName::from_bytes(text.as_bytes()).is_err() {
        field.fault_with("cookie", format!("`{text}` is no name of a cookie"), "letters, digits, - and _");
        return None;
    }
    Some(text.into())
}

/// A value of an attribute of a cookie.
pub(in crate::config) fn attribute(field: &Field<'_>, text: &str) -> Option<std::sync::Arc<str>> {
    if text.contains([';', ',']) || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        field.fault_with("cookie", format!("`{text}` cannot stand in a cookie"), "no `;` and no `,`");
        return None;
    }
    plain_name(field, text)
}

#[allow(clippy::option_option)] // the outer one is the fault
fn ring_size(table: &Table<'_>) -> Option<Option<u32>> {
    let size = maybe(table, "minimumRingSize", |field| field.integer(0..=i64::from(MAX_RING)))?;
    Some(size.filter(|size| *size > 0).map(|size| size as u32))
}

#[allow(clippy::option_option)] // the outer one is the fault
fn table_size(table: &Table<'_>) -> Option<Option<u32>> {
    let size = maybe(table, "tableSize", |field| prime(field).map(Some))?.flatten();
    Some(size.filter(|size| *size > 0))
}

/// A prime that a table may have; 0 for the default.
pub(in crate::config) fn prime(field: &Field<'_>) -> Option<u32> {
    let size = field.integer(0..=MAX_TABLE)? as u32;
    let is_prime = size > 1 && (2..).take_while(|one| one * one <= size).all(|one| !size.is_multiple_of(one));
    if size != 0 && !is_prime {
        field.fault_with("hash", format!("{size} is no prime"), "such as 65537");
        return None;
    }
    Some(size)
}

fn warmup(field: &Field<'_>) -> Option<SlowStart> {
    const KEYS: Keys =
        Keys { known: &["duration", "minimumPercent", "aggression"], later: &[], never: &[], proto: true };
    let table = Table::new(field, &KEYS)?;
    let default = SlowStart::default();
    let window = table.require("duration").and_then(|field| field.whole_ms());
    let least = maybe(&table, "minimumPercent", Field::percent);
    let aggression = maybe(&table, "aggression", aggression);
    Some(SlowStart {
        window: window?,
        min_weight_percent: least?.map_or(default.min_weight_percent, |least| least.round() as u32),
        aggression: aggression?.unwrap_or(default.aggression),
    })
}

/// A number from 1 on.
pub(in crate::config) fn aggression(field: &Field<'_>) -> Option<f64> {
    field.number_in(1.0..=1_000.0, "out-of-range", "out of range")
}
