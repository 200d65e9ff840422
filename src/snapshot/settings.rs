//! Settings that belong to the whole proxy: who it is, its limits, its admin pages.
//!
//! Defaults and their reasons: the table of limits in `docs/limits.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Labels;

/// Who this proxy is: metric labels, match.source, the xDS node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // the fields are the keys of `node:`
pub struct Node {
    pub id: Arc<str>,
    pub cluster: Arc<str>,
    pub namespace: Arc<str>,
    pub workload: Arc<str>,
    pub labels: Labels,
    /// The DNS domain of the Kubernetes cluster, `cluster.local`.
    pub domain: Arc<str>,
}

/// Where the admin pages listen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Admin {
    /// Everything, loopback by default.
    pub address: SocketAddr,
    /// Only `/metrics`, `/stats/prometheus` and `/ready`; `None` when the file says so.
    pub metrics_address: Option<SocketAddr>,
}

/// How many worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Workers {
    /// The quota of the cgroup rounded up; without one 2.
    Auto,
    /// As many as said.
    Fixed(usize),
}

/// How the proxy leaves: `grace` of going on, then an end before `deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Drain {
    pub grace: Duration,
    pub deadline: Duration,
}

/// Who sits behind a range of peer addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Caller {
    /// The peers.
    pub cidr: ipnet::IpNet,
    /// Full host of the caller's service, such as `frontend.web.svc.cluster.local`.
    pub service: Arc<str>,
    /// The short name and the namespace of that service.
    pub name: Arc<str>,
    /// The namespace of that service.
    pub namespace: Arc<str>,
    /// Labels of the calling workload.
    pub labels: Labels,
}

/// Every bound, by the name of its key in `limits:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub head_count: usize,
    /// A request head, from its first byte to its end.
    pub head_timeout: Duration,
    /// A downstream connection without a request.
    pub downstream_idle: Duration,
    /// A pooled upstream connection without a request.
    pub upstream_idle: IdleTimeouts,
    /// A stream without a byte either way; zero turns it off.
    pub stream_idle: Duration,
    /// HTTP/2 streams open at once on a downstream connection.
    pub streams: u32,
    /// Downstream connections of the whole process.
    pub connections: usize,
    /// Unread bytes and buffers of the whole process.
    pub buffer_budget: usize,
    /// Bytes of one request kept for a retry.
    pub replay_bytes: usize,
    /// Bytes of all requests kept for retries.
    pub replay_budget: usize,
    /// A new upstream connection, from dial to established.
    pub connect_timeout: Duration,
}

/// Idle time of pooled upstream connections by protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct IdleTimeouts {
    pub http1: Duration,
    pub http2: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 60 << 10,
            head_count: 100,
            head_timeout: Duration::from_secs(10),
            downstream_idle: Duration::from_secs(300),
            upstream_idle: IdleTimeouts { http1: Duration::from_secs(4), http2: Duration::from_secs(60) },
            stream_idle: Duration::from_secs(300),
            streams: 256,
            connections: 10_000,
            buffer_budget: 64 << 20,
            replay_bytes: 4 << 20,
            replay_budget: 16 << 20,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { grace: Duration::from_secs(5), deadline: Duration::from_secs(30) }
    }
}
