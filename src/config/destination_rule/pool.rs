//! `connectionPool:`: bounds of connections and requests.
//!
//! Law: as Istio hands them to Envoy: 0 is what was left out. What is left out is Envoy's default, not Istio's endless
//! one; the documents say so.

use crate::config::decode::Field;
use crate::config::draft::{ClusterDraft, Speaks};
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::KeepAlive;

/// Reads `connectionPool:` into `settings`.
pub(super) fn read(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    let table = Table::new(field, &Keys::of(&["tcp", "http"]))?;
    let tcp = maybe(&table, "tcp", |field| tcp(field, settings));
    let http = maybe(&table, "http", |field| http(field, settings));
    tcp?;
    http?;
    Some(())
}

/// A count; 0 is one that was left out.
#[allow(clippy::option_option)] // the outer one is the fault
fn count(table: &Table<'_>, key: &'static str) -> Option<Option<u32>> {
    let count = maybe(table, key, |field| field.integer(0..=i32::MAX.into()))?;
    Some(count.filter(|count| *count > 0).map(|count| count as u32))
}

fn tcp(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    const KEYS: Keys = Keys {
        known: &["maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration"],
        later: &[],
        never: &[("idleTimeout", "it is for connections of other protocols; write `http.idleTimeout`")],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let connections = count(&table, "maxConnections");
    let connect_timeout = maybe(&table, "connectTimeout", Field::whole_ms);
    let keep_alive = maybe(&table, "tcpKeepalive", keep_alive);
    let life = maybe(&table, "maxConnectionDuration", Field::whole_ms);
    settings.connections = connections?;
    settings.connect_timeout = connect_timeout?;
    settings.traffic.keep_alive = keep_alive?;
    settings.traffic.connection_life = life?;
    Some(())
}

fn keep_alive(field: &Field<'_>) -> Option<KeepAlive> {
    let table = Table::new(field, &Keys::of(&["probes", "time", "interval"]))?;
    let probes = count(&table, "probes");
    // Counted in seconds by the system.
    let seconds = |key| maybe(&table, key, Field::whole_seconds);
    let (time, interval) = (seconds("time"), seconds("interval"));
    Some(KeepAlive { probes: probes?, time: time?, interval: interval? })
}

fn http(field: &Field<'_>, settings: &mut ClusterDraft) -> Option<()> {
    const KEYS: Keys = Keys {
        known: &[
            "http1MaxPendingRequests",
            "http2MaxRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "idleTimeout",
            "h2UpgradePolicy",
            "useClientProtocol",
            "maxConcurrentStreams",
        ],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let pending = count(&table, "http1MaxPendingRequests");
    let requests = count(&table, "http2MaxRequests");
    let per_connection = count(&table, "maxRequestsPerConnection");
    let retries = count(&table, "maxRetries");
    let streams = count(&table, "maxConcurrentStreams");
    let idle = maybe(&table, "idleTimeout", Field::whole_ms);
    let speaks = speaks(&table, settings);
    settings.pending = pending?;
    settings.requests = requests?;
    settings.retries = retries?;
    settings.traffic.requests_per_connection = per_connection?;
    settings.traffic.streams_per_connection = streams?;
    settings.traffic.idle = idle?;
    speaks
}

/// `h2UpgradePolicy` and `useClientProtocol`, which goes before it.
fn speaks(table: &Table<'_>, settings: &mut ClusterDraft) -> Option<()> {
    let policy = table.get("h2UpgradePolicy");
    let upgrade = policy.as_ref().map_or(Some(None), |field| {
        use Speaks::{AsService, Http2};
        field.word(&[("DEFAULT", None), ("DO_NOT_UPGRADE", Some(AsService)), ("UPGRADE", Some(Http2))])
    });
    let client = table.get("useClientProtocol");
    let as_client = client.as_ref().map_or(Some(false), Field::boolean);
    let (upgrade, as_client) = (upgrade?, as_client?);
    if let (true, Some(Speaks::Http2), Some(policy)) = (as_client, upgrade, &policy) {
        let help = "leave one of the two out";
        policy.warn_with("never-acts", "`useClientProtocol` undoes `h2UpgradePolicy`", help);
    }
    settings.speaks = if as_client { Some(Speaks::AsRequest) } else { upgrade };
    let said = if as_client { client } else { policy.filter(|_| upgrade.is_some()) };
    settings.at.speaks = said.map(|field| field.place());
    Some(())
}
