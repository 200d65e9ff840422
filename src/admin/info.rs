//! What runs and with what: `/server_info`, `/listeners` and what is small in Envoy's shapes, `/config_dump` in our own.
//!
//! The shape of `/config_dump`: `{"generation": N, "plane": N, "snapshot": {…}, "verdicts": […]}`. The generation counts
//! accepted configurations, the plane also changes of endpoints; the snapshot is what serves, `null` before the first;
//! the verdicts are the last ones, oldest first; `?verdicts` leaves the snapshot out. Law: no page holds a secret.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::reply::{Query, Reply};
use super::{About, Admin, Reloads, logging};
use crate::proxy::plane::Plane;
use crate::runtime::readiness::State;
use crate::snapshot::BindAddress;

/// What Envoy says where there is no hot restart.
const HOT_RESTART_VERSION: &str = "disabled";

/// `/hot_restart_version`.
pub(super) fn hot_restart_version(_: &Admin, _: &Query) -> Reply {
    Reply::text(HOT_RESTART_VERSION)
}

/// `/certs`: there is no TLS, so none.
pub(super) fn certs(_: &Admin, _: &Query) -> Reply {
    Reply::json(&json!({"certificates": []}))
}

/// `/init_dump`, as Envoy's `UnreadyTargetsDumps`: what the start still waits for.
pub(super) fn init_dump(admin: &Admin, _: &Query) -> Reply {
    match admin.readiness.waiting_for() {
        none if none.is_empty() => Reply::json(&json!({})),
        parts => Reply::json(&json!({"unready_targets_dumps": [{"name": "weir", "target_names": parts}]})),
    }
}

/// `/runtime`: there are no runtime layers, so no entries.
pub(super) fn runtime(_: &Admin, _: &Query) -> Reply {
    Reply::json(&json!({"layers": [], "entries": {}}))
}

/// As Envoy's `ServerInfo`.
pub(super) fn server_info(admin: &Admin, _: &Query) -> Reply {
    let uptime = format!("{}s", admin.start.elapsed().as_secs());
    let about = &admin.about;
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    let plane = admin.plane.load_full();
    let state = match (&plane, admin.readiness.state()) {
        (None, State::Initializing) => "PRE_INITIALIZING",
        (_, state) => state.as_str(),
    };
    Reply::json(&json!({
        // Envoy's five parts: revision, version, state of the sources, build, TLS. "Distribution" says that the state is
        // not known.
        "version": format!("weir/{}/Distribution/{build}/none", env!("CARGO_PKG_VERSION")),
        "state": state,
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": HOT_RESTART_VERSION,
        "hot_restart_initializing": false,
        "command_line_options": options(admin, plane.as_deref()),
        "node": node(about, build),
    }))
}

/// Under Envoy's names alone, whose readers know a closed set. What Weir has not is empty, zero, or what it does always.
fn options(admin: &Admin, plane: Option<&Plane>) -> Value {
    let (about, directives) = (&admin.about, admin.levels.directives());
    json!({
        "concurrency": about.concurrency,
        "config_path": about.config_path,
        "config_yaml": "",
        "admin_address_path": "",
        "local_address_ip_version": "v4",
        "log_level": logging::level_in_force(&directives, "default"),
        "component_log_level": logging::components(&directives),
        "log_format": about.log_format,
        "log_path": "",
        "service_cluster": about.node.cluster,
        "service_node": about.node.id,
        "service_zone": "",
        "mode": "Serve",
        // All callers are told at once; nothing is shut down but this process.
        "drain_strategy": "Immediate",
        "drain_time": plane.map_or("0s".to_owned(), |plane| {
            format!("{}s", plane.snapshot.drain.grace.as_secs_f64())
        }),
        "parent_shutdown_time": "0s",
        "disable_hot_restart": true,
        "restart_epoch": 0,
        "cpuset_threads": false,
        "disabled_extensions": [],
        "stats_tag": [],
    })
}

/// As Envoy's `Node`; what only Weir has is in its metadata.
fn node(about: &About, build: &str) -> Value {
    let number = |part: &str| part.parse::<u32>().unwrap_or_default();
    json!({
        "id": about.node.id,
        "cluster": about.node.cluster,
        "metadata": {
            "NAMESPACE": about.node.namespace,
            "WORKLOAD_NAME": about.node.workload,
            "LABELS": about.node.labels,
            "LAST_GOOD": about.last_good,
        },
        "user_agent_name": "weir",
        "user_agent_build_version": {
            "version": {
                "major_number": number(env!("CARGO_PKG_VERSION_MAJOR")),
                "minor_number": number(env!("CARGO_PKG_VERSION_MINOR")),
                "patch": number(env!("CARGO_PKG_VERSION_PATCH")),
            },
            "metadata": {"build.type": build, "revision.status": "Distribution", "ssl.version": "none"},
        },
        "extensions": [],
        "client_features": [],
        "dynamic_parameters": {},
        "listening_addresses": [],
    })
}

#[derive(Serialize)]
struct Dump {
    generation: u64,
    plane: u64,
    /// Left out where the verdicts alone are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Option<Serving>>,
    verdicts: Reloads,
}

/// The snapshot of a plane, which stays until it is told.
struct Serving(Arc<Plane>);

impl Serialize for Serving {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.snapshot.serialize(serializer)
    }
}

/// See the module.
pub(super) fn config_dump(admin: &Admin, query: &Query) -> Reply {
    let plane = admin.plane.load_full();
    let is_whole = query.get("verdicts").is_none();
    let dump = Dump {
        generation: plane.as_ref().map_or(0, |plane| plane.generation),
        plane: plane.as_ref().map_or(0, |plane| plane.number),
        snapshot: is_whole.then(|| plane.map(Serving)),
        verdicts: admin.reloads.borrow().clone(),
    };
    if is_whole { Reply::json_written(dump) } else { Reply::json(&dump) }
}

/// `name::address` lines, or Envoy's `Listeners`.
pub(super) fn listeners(admin: &Admin, query: &Query) -> Reply {
    let is_json = match query.json_or_text("/listeners") {
        Ok(is_json) => is_json,
        Err(reason) => return Reply::refusal(reason),
    };
    let plane = admin.plane.load_full();
    let listeners = plane.iter().flat_map(|plane| &plane.listeners).map(|plane| &plane.listener);
    if is_json {
        let statuses: Vec<Value> = listeners
            .map(|listener| json!({"name": listener.name, "local_address": bound(&listener.address)}))
            .collect();
        return Reply::json(&json!({"listener_statuses": statuses}));
    }
    let mut text = String::new();
    for listener in listeners {
        let _ = writeln!(text, "{}::{}", listener.name, listener.address);
    }
    Reply::text(text)
}

/// As Envoy's `Address`.
fn bound(address: &BindAddress) -> Value {
    match address {
        BindAddress::Socket(address) => {
            json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
        }
        BindAddress::Unix(path) => json!({"pipe": {"path": path}}),
    }
}
