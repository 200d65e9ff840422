//! What runs and with what: `/server_info`, `/listeners` and what is small in Envoy's shapes, `/config_dump` in our own.
//!
//! The shape of `/config_dump`: `{"generation": N, "plane": N, "snapshot": {…}, "verdicts": […]}`. The generation counts
//! accepted configurations, the plane also changes of endpoints; the snapshot is what serves, `null` before the first;
//! the verdicts are the last ones, oldest first; `?verdicts` leaves the snapshot out. Law: no page holds a secret.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::reply::{Query, Reply};
use super::{Admin, Reloads};
use crate::runtime::readiness::State;
use crate::snapshot::{BindAddress, Snapshot};

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
        "command_line_options": {
            "concurrency": about.concurrency,
            "config_path": about.config_path,
            "last_good": about.last_good,
            "log_level": admin.levels.directives(),
            "log_format": about.log_format,
            "drain_time": plane.map(|plane| format!("{}s", plane.snapshot.drain.grace.as_secs_f64())),
        },
        "node": {
            "id": about.node.id,
            "cluster": about.node.cluster,
            "metadata": {
                "NAMESPACE": about.node.namespace,
                "WORKLOAD_NAME": about.node.workload,
                "LABELS": about.node.labels,
            },
            "user_agent_name": "weir",
            "user_agent_version": env!("CARGO_PKG_VERSION"),
        },
    }))
}

#[derive(Serialize)]
struct Dump<'a> {
    generation: u64,
    plane: u64,
    /// Left out where the verdicts alone are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Option<&'a Snapshot>>,
    verdicts: &'a Reloads,
}

/// See the module.
pub(super) fn config_dump(admin: &Admin, query: &Query) -> Reply {
    let plane = admin.plane.load_full();
    let is_whole = query.get("verdicts").is_none();
    Reply::json(&Dump {
        generation: plane.as_ref().map_or(0, |plane| plane.generation),
        plane: plane.as_ref().map_or(0, |plane| plane.number),
        snapshot: is_whole.then(|| plane.as_ref().map(|plane| &*plane.snapshot)),
        verdicts: &admin.reloads.borrow(),
    })
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
