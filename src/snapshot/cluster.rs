//! Clusters: the endpoints of one version of a service that speak one protocol, and how to choose among them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Labels;
use super::traffic::{RetryBudget, TrafficPolicy};

/// A group of endpoints that may stand in for each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// `out.<host>|<port name>[|label=value,…]` as Istio 0.x named them; `in.<host>|<port name>` for local delivery.
    pub name: Arc<str>,
    /// Full host of the service.
    pub service: Arc<str>,
    /// The labels that its endpoints share by selection; empty for the whole service.
    pub labels: Labels,
    /// What its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How an endpoint is chosen.
    pub lb: LbPolicy,
    /// Least request only: the local endpoint wins unless its requests in flight exceed the other's by this.
    pub local_bias: u32,
    /// From dial to established.
    pub connect_timeout: Duration,
    /// How often names are resolved again.
    pub dns_refresh: Duration,
    /// Limits over all workers.
    pub circuit_breakers: CircuitBreakers,
    /// By priority, then in the order given. Length one until locality routing exists.
    pub localities: Vec<Locality>,
    /// What few clusters have: outlier detection, health checks, slow start, bounds of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Box<TrafficPolicy>>,
}

impl Cluster {
    /// All endpoints of all localities.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.localities.iter().flat_map(|locality| &locality.endpoints)
    }
}

/// Endpoints in one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Locality {
    /// 0 is used first.
    pub priority: u32,
    /// In the order given.
    pub endpoints: Vec<Endpoint>,
}

/// One address that serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoint {
    /// Where to dial.
    pub address: Address,
    /// Labels of the workload.
    pub labels: Labels,
    /// The label `version`, or `unknown`.
    pub version: Arc<str>,
    /// Whether it is this pod's own model server.
    pub local: bool,
    /// Share among the endpoints of its cluster, at least 1.
    pub weight: u32,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Address {
    /// IP and port.
    Socket(SocketAddr),
    /// A DNS name and a port: every address it resolves to is an endpoint.
    Dns {
        /// The name, lower case.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A path in the file system.
    Unix(PathBuf),
}

impl Address {
    /// A socket in the file system has none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Socket(address) => Some(address.port()),
            Address::Dns { port, .. } => Some(*port),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(address) => address.fmt(f),
            Address::Dns { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What the endpoints of a cluster speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum UpstreamProtocol {
    /// What the request came in: HTTP/2 for gRPC and HTTP/2 requests, HTTP/1.1 for the rest.
    AsRequest,
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LbPolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The less loaded of two drawn at random, load being counted by weight.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// By the request's hash ([`TrafficPolicy::hash`]), on a ring with as many points; without a hash at random.
    RingHash {
        /// At least so many points in all.
        minimum: u32,
        /// At most so many.
        maximum: u32,
    },
    /// By the request's hash, from a table of this prime size; without a hash at random.
    Maglev {
        /// Prime.
        table: u32,
    },
}

impl LbPolicy {
    /// Envoy's ring: 1,024 to 8 Mi points.
    pub const RING_HASH: LbPolicy = LbPolicy::RingHash { minimum: 1_024, maximum: 8 << 20 };
    /// Envoy's table.
    pub const MAGLEV: LbPolicy = LbPolicy::Maglev { table: 65_537 };
}

/// Limits of a cluster over all workers; beyond them 503, flag UO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CircuitBreakers {
    /// Connections. A worker without one to an endpoint may always open one.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Retries in flight. Not looked at where there is a budget.
    pub retries: u32,
    /// In place of `retries`: a share of the requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
}

impl Default for CircuitBreakers {
    fn default() -> CircuitBreakers {
        CircuitBreakers { connections: 1024, pending: 1024, requests: 1024, retries: 3, retry_budget: None }
    }
}
