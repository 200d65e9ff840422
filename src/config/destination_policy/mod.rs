//! DestinationPolicy `config.istio.io/v1alpha2`: documents -> drafts.
//!
//! Law: what Istio 0.7.1's validator refused is refused, and what its translator did not write is not said: a number of 0
//! and a time under a second stand for Envoy's default. Any `simpleCb` turns outlier detection on.

mod fields;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::decode::Field;
use super::draft::{ClusterDraft, Dialect, SubsetDraft, TrafficDraft};
use super::metadata::Metadata;
use super::route_rule::{CUSTOM, service_ref, source};
use super::table::{Keys, Table, maybe};
use crate::snapshot::{LbPolicy, Outlier};

pub(crate) use fields::FIELDS;

/// One policy, by its `spec:`.
pub(crate) fn decode(spec: &Field<'_>, metadata: &Metadata) -> Option<TrafficDraft> {
    const KEYS: Keys =
        Keys { proto: true, ..Keys::of(&["destination", "source", "loadBalancing", "circuitBreaker"]) };
    let table = Table::new(spec, &KEYS)?;
    let destination = match table.get("destination") {
        Some(field) => service_ref(&field),
        None => {
            let help = "the service that the policy is about";
            spec.fault_with("destination-missing", "`destination` is missing", help);
            None
        }
    };
    let source = maybe(&table, "source", |field| service_ref(field).map(source));
    let mut settings = ClusterDraft::default();
    let balancing = table.get("loadBalancing").map_or(Some(()), |field| {
        settings.lb = Some(load_balancing(&field)?);
        Some(())
    });
    let breaker =
        table.get("circuitBreaker").map_or(Some(()), |field| circuit_breaker(&field, &mut settings));
    let (destination, source) = (destination?, source?);
    balancing.and(breaker)?;
    if table.get("loadBalancing").is_none() && table.get("circuitBreaker").is_none() {
        spec.warn_with("never-acts", "it says nothing of the service", "`loadBalancing` or `circuitBreaker`");
    }
    let mut draft = TrafficDraft {
        place: metadata.place.clone(),
        dialect: Dialect::RouteRule,
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        created: metadata.created.clone(),
        host: destination.host,
        source,
        all: ClusterDraft::default(),
        subsets: Vec::new(),
    };
    if destination.labels.is_empty() {
        draft.all = settings;
    } else {
        let (place, labels) = (destination.place, destination.labels);
        draft.subsets.push(SubsetDraft { place, name: None, labels, settings });
    }
    Some(draft)
}

fn load_balancing(field: &Field<'_>) -> Option<LbPolicy> {
    let table = Table::new(field, &Keys { never: &[CUSTOM], proto: true, ..Keys::of(&["name"]) })?;
    let name = table.require("name")?;
    use LbPolicy::{LeastRequest, Random, RoundRobin};
    name.word(&[("ROUND_ROBIN", RoundRobin), ("LEAST_CONN", LeastRequest), ("RANDOM", Random)])
}

fn circuit_breaker(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    let table = Table::new(field, &Keys { never: &[CUSTOM], proto: true, ..Keys::of(&["simpleCb"]) })?;
    match table.get("simpleCb") {
        Some(field) => simple_breaker(&field, settings),
        None => {
            field.warn_with("never-acts", "it says nothing", "`simpleCb`");
            Some(())
        }
    }
}

fn simple_breaker(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    const KEYS: Keys = Keys {
        proto: true,
        ..Keys::of(&[
            "maxConnections",
            "httpMaxPendingRequests",
            "httpMaxRequests",
            "sleepWindow",
            "httpConsecutiveErrors",
            "httpDetectionInterval",
            "httpMaxRequestsPerConnection",
            "httpMaxEjectionPercent",
            "httpMaxRetries",
        ])
    };
    let table = Table::new(field, &KEYS)?;
    let number = |key, most: i32| -> Option<Option<u32>> {
        let read =
            table.get(key).map_or(Some(0), |field| field.integer_as("circuit-breaker", 0..=most.into()))?;
        Some((read > 0).then_some(read as u32))
    };
    let connections = number("maxConnections", i32::MAX);
    let pending = number("httpMaxPendingRequests", i32::MAX);
    let requests = number("httpMaxRequests", i32::MAX);
    let retries = number("httpMaxRetries", i32::MAX);
    let per_connection = number("httpMaxRequestsPerConnection", i32::MAX);
    let errors = number("httpConsecutiveErrors", i32::MAX);
    let percent = number("httpMaxEjectionPercent", 100);
    let default = Outlier::default();
    let interval = table.require("httpDetectionInterval").and_then(|field| time(&field, default.interval));
    let sleep = table.require("sleepWindow").and_then(|field| time(&field, default.base_ejection_time));
    settings.connections = connections?;
    settings.pending = pending?;
    settings.requests = requests?;
    settings.retries = retries?;
    settings.traffic.requests_per_connection = per_connection?;
    settings.traffic.outlier = Some(Outlier {
        consecutive_5xx: errors?.unwrap_or(default.consecutive_5xx),
        max_ejection_percent: percent?.unwrap_or(default.max_ejection_percent),
        interval: interval?,
        base_ejection_time: sleep?,
        ..default
    });
    settings.at.outlier = Some(field.place());
    Some(())
}

/// Istio looked at the whole seconds alone, and wrote nothing where there were none.
fn time(field: &Field<'_>, default: Duration) -> Option<Duration> {
    let time = field.whole_ms()?;
    if time.as_secs() == 0 {
        let reason = "less than a second was not written in Istio: Envoy's default holds";
        field.warn_with("never-acts", reason, "1s or more");
        return Some(default);
    }
    Some(time)
}
