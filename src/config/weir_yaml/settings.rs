//! The keys of `weir.yaml` that belong to the whole proxy: node, admin, workers, drain, limits.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::decode::Field;
use crate::config::input::Environment;
use crate::config::names::{is_fqdn, is_istio_label_part};
use crate::config::table::{Keys, Table};
use crate::config::values::MAX_DURATION;
use crate::snapshot::{Admin, Drain, IdleTimeouts, Labels, Limits, Node, Workers};

/// What is right for time that must pass: at least a millisecond.
const POSITIVE: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DURATION;
/// What is right for time that zero turns off.
const OR_OFF: RangeInclusive<Duration> = Duration::ZERO..=MAX_DURATION;

/// Labels of workloads, as in Kubernetes and Istio.
pub(super) fn labels(field: &Field<'_>) -> Option<Labels> {
    field.labels(is_istio_label_part)
}

/// `node:`, completed from the environment.
pub(super) fn node(field: Option<&Field<'_>>, environment: &Environment) -> Node {
    const KEYS: Keys = Keys::of(&["id", "cluster", "namespace", "workload", "labels", "domain"]);
    let table = field.and_then(|field| Table::new(field, &KEYS));
    let text = |key: &'static str| Some(table.as_ref()?.get(key)?.filled()?.to_owned());
    let labels = table.as_ref().and_then(|table| labels(&table.get("labels")?));
    let labels = labels.unwrap_or_else(|| environment.labels.clone());
    let domain = table.as_ref().and_then(|table| {
        let field = table.get("domain")?;
        let domain = field.filled()?;
        match is_fqdn(domain) {
            true => Some(domain.to_owned()),
            false => {
                field.fault_with("dns-name", format!("`{domain}` is no DNS name"), "such as cluster.local");
                None
            }
        }
    });
    let unknown = || "unknown".to_owned();
    let app = labels.get("app").map(|app| app.to_string());
    let id = text("id").or_else(|| environment.pod_name.clone()).or_else(|| environment.hostname.clone());
    Node {
        id: id.unwrap_or_else(unknown).into(),
        cluster: text("cluster")
            .or_else(|| environment.cluster.clone())
            .or(app)
            .unwrap_or_else(unknown)
            .into(),
        namespace: text("namespace")
            .or_else(|| environment.pod_namespace.clone())
            .unwrap_or("default".into())
            .into(),
        workload: text("workload").or_else(|| environment.workload.clone()).unwrap_or_else(unknown).into(),
        labels,
        domain: domain.unwrap_or_else(|| "cluster.local".into()).into(),
    }
}

/// `admin:`
pub(super) fn admin(field: Option<&Field<'_>>) -> Admin {
    let table = field.and_then(|field| Table::new(field, &Keys::of(&["address", "metrics_address"])));
    let get = |key| table.as_ref().and_then(|table| table.get(key));
    let address = get("address").and_then(|field| field.socket());
    let metrics_address = match get("metrics_address") {
        Some(field) if is_off(&field) => None,
        Some(field) => Some(field.socket().unwrap_or_else(default_metrics_address)),
        None => Some(default_metrics_address()),
    };
    Admin { address: address.unwrap_or_else(|| ([127, 0, 0, 1], 15000).into()), metrics_address }
}

fn default_metrics_address() -> std::net::SocketAddr {
    ([0, 0, 0, 0], 15090).into()
}

/// Whether it is the word `off`, which needs no other reading.
pub(super) fn is_off(field: &Field<'_>) -> bool {
    matches!(&field.node.value, crate::config::tree::Value::Scalar { text, .. } if text == "off")
}

/// `workers:`
pub(super) fn workers(field: Option<&Field<'_>>) -> Workers {
    let auto = |field: &Field<'_>| field.node.kind_name() == "a string" && field.text() == Some("auto");
    match field {
        Some(field) if !auto(field) => match field.integer(1..=1024) {
            Some(count) => Workers::Fixed(count as usize),
            None => Workers::Auto,
        },
        _ => Workers::Auto,
    }
}

/// `drain:`
pub(super) fn drain(field: Option<&Field<'_>>) -> Drain {
    let default = Drain::default();
    let Some(table) = field.and_then(|field| Table::new(field, &Keys::of(&["grace", "deadline"]))) else {
        return default;
    };
    let read =
        |key, range, default| table.get(key).and_then(|field| field.duration_in(range)).unwrap_or(default);
    let drain = Drain {
        grace: read("grace", OR_OFF, default.grace),
        deadline: read("deadline", POSITIVE, default.deadline),
    };
    if drain.grace >= drain.deadline {
        table.field.fault_with("drain", "`grace` does not end before `deadline`", "grace < deadline");
    }
    drain
}

const LIMIT_KEYS: Keys = Keys::of(&[
    "head_bytes",
    "head_count",
    "head_timeout",
    "downstream_idle",
    "upstream_idle",
    "stream_idle",
    "streams",
    "connections",
    "buffer_budget",
    "replay_bytes",
    "replay_budget",
    "connect_timeout",
]);

/// `limits:`
pub(super) fn limits(field: Option<&Field<'_>>) -> Limits {
    let default = Limits::default();
    let Some(table) = field.and_then(|field| Table::new(field, &LIMIT_KEYS)) else { return default };
    let size = |key, range, default| table.get(key).and_then(|field| field.size_in(range)).unwrap_or(default);
    let time =
        |key, range, default| table.get(key).and_then(|field| field.duration_in(range)).unwrap_or(default);
    let count = |key, max: i64, default: usize| {
        table.get(key).and_then(|field| field.integer(1..=max)).map_or(default, |count| count as usize)
    };
    let limits = Limits {
        // A read of HTTP/1 asks for 8 KiB: below that, a head that came whole would still be refused.
        head_bytes: size("head_bytes", 8 << 10..=16 << 20, default.head_bytes),
        head_count: count("head_count", 10_000, default.head_count),
        head_timeout: time("head_timeout", POSITIVE, default.head_timeout),
        downstream_idle: time("downstream_idle", POSITIVE, default.downstream_idle),
        upstream_idle: upstream_idle(table.get("upstream_idle").as_ref()),
        stream_idle: time("stream_idle", OR_OFF, default.stream_idle),
        streams: count("streams", 1 << 20, default.streams as usize) as u32,
        connections: count("connections", 10_000_000, default.connections),
        buffer_budget: size("buffer_budget", 1 << 20..=1 << 40, default.buffer_budget),
        replay_bytes: size("replay_bytes", 0..=1 << 40, default.replay_bytes),
        replay_budget: size("replay_budget", 0..=1 << 40, default.replay_budget),
        connect_timeout: time("connect_timeout", POSITIVE, default.connect_timeout),
    };
    if limits.replay_bytes > limits.replay_budget {
        let reason = "`replay_bytes` of one request is more than `replay_budget` of all";
        table.field.fault_with("limits", reason, "replay_bytes <= replay_budget");
    }
    limits
}

fn upstream_idle(field: Option<&Field<'_>>) -> IdleTimeouts {
    let default = Limits::default().upstream_idle;
    let Some(table) = field.and_then(|field| Table::new(field, &Keys::of(&["http1", "http2"]))) else {
        return default;
    };
    let read = |key, default| table.get(key).and_then(|field| field.duration_in(POSITIVE)).unwrap_or(default);
    IdleTimeouts { http1: read("http1", default.http1), http2: read("http2", default.http2) }
}
