//! `/clusters`: every cluster with its limits, every endpoint with its counts, in Envoy's two shapes.
//!
//! Law: names and order are Envoy's, so that its tools can read them; what Envoy has no name for (`version`) is a line
//! more in the text, and not in the JSON, whose readers know a closed set. A cluster is told when those before it have
//! gone out: thousands of them take no more memory than one.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::Admin;
use super::reply::{JSON, Query, Reply, TEXT, filter, in_rooms};
use crate::proxy::plane::ClusterPlane;
use crate::snapshot::CircuitBreakers;
use crate::transport::dial::Target;
use crate::upstream::cluster::{ClusterState, EndpointState, Member};

/// See the module.
pub(super) fn clusters(admin: &Admin, query: &Query) -> Reply {
    page(admin, query).unwrap_or_else(Reply::refusal)
}

fn page(admin: &Admin, query: &Query) -> Result<Reply, String> {
    let is_json = query.json_or_text("/clusters")?;
    let filter = query.get("filter").map(filter).transpose()?;
    let plane = admin.plane.load_full();
    let all = plane.iter().flat_map(|plane| &plane.clusters);
    let is_wanted = |cluster: &&Arc<ClusterPlane>| {
        filter.as_ref().is_none_or(|filter| filter.is_match(&cluster.state.config.name))
    };
    let clusters: Vec<Arc<ClusterPlane>> = all.filter(is_wanted).cloned().collect();
    let clusters = clusters.into_iter();
    if !is_json {
        return Ok(Reply::in_pieces(TEXT, in_rooms(clusters.map(|cluster| lines_of(&cluster.state)))));
    }
    let mut comma = "";
    let statuses = clusters
        .map(move |cluster| format!("{}{}", std::mem::replace(&mut comma, ","), status(&cluster.state)));
    let whole =
        std::iter::once("{\"cluster_statuses\":[".to_owned()).chain(statuses).chain(["]}\n".to_owned()]);
    Ok(Reply::in_pieces(JSON, in_rooms(whole)))
}

fn lines_of(cluster: &ClusterState) -> String {
    let mut text = String::new();
    let name = &cluster.config.name;
    let _ = writeln!(text, "{name}::observability_name::{name}");
    if let Some(compared) = cluster.guard.as_ref().and_then(|guard| guard.compared()) {
        for (scope, compared) in ["", "local_origin_"].into_iter().zip(compared) {
            let (average, least) = compared.unwrap_or((-1.0, -1.0));
            let _ = writeln!(text, "{name}::outlier::{scope}success_rate_average::{average}");
            let _ = writeln!(text, "{name}::outlier::{scope}success_rate_ejection_threshold::{least}");
        }
    }
    // There is no high priority; Envoy prints its defaults for it, and so do we.
    let limits = [
        ("default_priority", cluster.config.circuit_breakers),
        ("high_priority", CircuitBreakers::default()),
    ];
    for (priority, limits) in limits {
        for (key, limit) in thresholds(limits) {
            let _ = writeln!(text, "{name}::{priority}::{key}::{limit}");
        }
    }
    let _ = writeln!(text, "{name}::added_via_api::false");
    for member in &cluster.members {
        for (key, value) in lines(cluster, member) {
            let _ = writeln!(text, "{name}::{}::{key}::{value}", member.state.name);
        }
    }
    text
}

fn thresholds(limits: CircuitBreakers) -> [(&'static str, u32); 4] {
    [
        ("max_connections", limits.connections),
        ("max_pending_requests", limits.pending),
        ("max_requests", limits.requests),
        ("max_retries", limits.retries),
    ]
}

/// Name, value, and whether it moves both ways.
fn counts(endpoint: &EndpointState) -> [(&'static str, u64, bool); 9] {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &endpoint.counts;
    [
        ("cx_active", read(&counts.cx_active), true),
        ("cx_connect_fail", read(&counts.cx_connect_fail), false),
        ("cx_total", read(&counts.cx_total), false),
        ("rq_active", u64::from(endpoint.in_flight()), true),
        ("rq_error", read(&counts.rq_error), false),
        ("rq_pending_active", read(&counts.rq_pending_active), true),
        ("rq_success", read(&counts.rq_success), false),
        ("rq_timeout", read(&counts.rq_timeout), false),
        ("rq_total", read(&counts.rq_total), false),
    ]
}

fn lines(cluster: &ClusterState, member: &Member) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> =
        counts(&member.state).into_iter().map(|(name, value, _)| (name, value.to_string())).collect();
    let [success, answered] = success_rates(member);
    let rate = |rate: Option<f64>| rate.map_or("-1".to_owned(), |rate| rate.to_string());
    let fixed = [
        ("hostname", String::new()),
        ("health_flags", health_flags(member)),
        ("weight", member.weight.to_string()),
        ("region", String::new()),
        ("zone", String::new()),
        ("sub_zone", String::new()),
        ("canary", "false".to_owned()),
        ("priority", priority(cluster).to_string()),
        ("success_rate", rate(success)),
        ("local_origin_success_rate", rate(answered)),
        ("version", member.version.to_string()),
        ("local", member.local.to_string()),
    ];
    lines.extend(fixed);
    lines
}

/// As Envoy writes what is wrong with an endpoint.
fn health_flags(member: &Member) -> String {
    let Some(watch) = &member.watch else { return "healthy".to_owned() };
    let flags =
        [("/failed_active_hc", watch.has_failed_check()), ("/failed_outlier_check", watch.is_ejected())];
    let raised: String = flags.iter().filter(|(_, is_raised)| *is_raised).map(|(name, _)| *name).collect();
    if raised.is_empty() { "healthy".to_owned() } else { raised }
}

/// Percentages of successes, and of requests that were answered at all.
fn success_rates(member: &Member) -> [Option<f64>; 2] {
    member.watch.as_ref().map_or([None, None], |watch| watch.success_rates())
}

/// All localities have one priority until there is routing by it.
fn priority(cluster: &ClusterState) -> u32 {
    cluster.config.localities.first().map_or(0, |locality| locality.priority)
}

/// As Envoy's `ClusterStatus`: zero values left out, 64-bit numbers as strings.
fn status(cluster: &ClusterState) -> Value {
    let name = &cluster.config.name;
    let thresholds = |limits| -> Map<String, Value> {
        thresholds(limits).into_iter().map(|(key, limit)| (key.to_owned(), limit.into())).collect()
    };
    let mut high = thresholds(CircuitBreakers::default());
    high.insert("priority".to_owned(), "HIGH".into());
    let mut status = json!({
        "name": name,
        "observability_name": name,
        "circuit_breakers": {"thresholds": [thresholds(cluster.config.circuit_breakers), high]},
    });
    let compared = cluster.guard.as_ref().and_then(|guard| guard.compared()).unwrap_or_default();
    for (scope, compared) in ["", "local_origin_"].into_iter().zip(compared) {
        // As in Envoy, none that is below everything.
        if let Some((_, least)) = compared.filter(|(_, least)| *least > 0.0) {
            status[format!("{scope}success_rate_ejection_threshold")] = json!({"value": least});
        }
    }
    if !cluster.members.is_empty() {
        status["host_statuses"] = cluster.members.iter().map(host_status).collect();
    }
    status
}

fn host_status(member: &Member) -> Value {
    let address = match &member.state.target {
        Target::Tcp(address) => {
            json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
        }
        Target::Unix(path) => json!({"pipe": {"path": path}}),
    };
    let (gauges, counters): (Vec<_>, Vec<_>) =
        counts(&member.state).into_iter().partition(|(_, _, is_gauge)| *is_gauge);
    let stats = counters.into_iter().chain(gauges).map(|(name, value, is_gauge)| {
        let mut stat = Map::new();
        if is_gauge {
            stat.insert("type".to_owned(), "GAUGE".into());
        }
        if value > 0 {
            stat.insert("value".to_owned(), value.to_string().into());
        }
        stat.insert("name".to_owned(), name.into());
        Value::Object(stat)
    });
    let mut health = Map::new();
    if let Some(watch) = &member.watch {
        let flags = [
            ("failed_active_health_check", watch.has_failed_check()),
            ("failed_outlier_check", watch.is_ejected()),
        ];
        let raised = flags.into_iter().filter(|&(_, is_raised)| is_raised);
        health.extend(raised.map(|(name, is_raised)| (name.to_owned(), is_raised.into())));
    }
    health.insert("eds_health_status".to_owned(), "HEALTHY".into());
    let mut status = json!({
        "address": address,
        "stats": stats.collect::<Vec<_>>(),
        "health_status": health,
        "weight": member.weight,
        "locality": {},
    });
    for (name, rate) in ["success_rate", "local_origin_success_rate"].into_iter().zip(success_rates(member)) {
        if let Some(rate) = rate {
            status[name] = json!({"value": rate});
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{HealthCheck, HealthCheckKind, LbPolicy, Outlier, TrafficPolicy};
    use crate::upstream::cluster::tests::{config, running};
    use crate::upstream::guard::Outcome;

    /// The line `health_flags`, and what the JSON says of health.
    fn told(cluster: &ClusterState, member: usize) -> (String, Value) {
        let member = &cluster.members[member];
        let flags = lines(cluster, member).into_iter().find(|(key, _)| *key == "health_flags");
        (flags.expect("a line").1, host_status(member)["health_status"].clone())
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_is_told_as_envoy_does() {
        let outlier = Outlier { consecutive_5xx: 1, max_ejection_percent: 100, ..Outlier::default() };
        let mut config = config(LbPolicy::RoundRobin, &[(1, false), (1, false)]);
        config.traffic = Some(Box::new(TrafficPolicy { outlier: Some(outlier), ..TrafficPolicy::default() }));
        let cluster = running(config.clone(), None);
        cluster.note(&cluster.members[1], Outcome::Status(500));
        let well = json!({"eds_health_status": "HEALTHY"});
        assert_eq!(told(&cluster, 0), ("healthy".to_owned(), well));
        let out = json!({"failed_outlier_check": true, "eds_health_status": "HEALTHY"});
        assert_eq!(told(&cluster, 1), ("/failed_outlier_check".to_owned(), out));
        let lines = lines_of(&cluster);
        for scope in ["", "local_origin_"] {
            for key in ["average", "ejection_threshold"] {
                assert!(lines.contains(&format!("::outlier::{scope}success_rate_{key}::-1\n")), "{lines}");
            }
        }
        if let Some(traffic) = &mut config.traffic {
            traffic.health_checks = vec![HealthCheck::new(HealthCheckKind::Tcp)];
        }
        let checked = running(config, None);
        checked.note(&checked.members[1], Outcome::Status(500));
        assert_eq!(told(&checked, 0).0, "/failed_active_hc");
        assert_eq!(told(&checked, 1).0, "/failed_active_hc/failed_outlier_check");
        assert_eq!(told(&checked, 1).1["failed_active_health_check"], true);
    }
}
