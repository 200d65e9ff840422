//! Listeners: an address, and filter chains that say what becomes of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

/// One listening address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Unique.
    pub name: Arc<str>,
    /// Unique. A socket is kept while any generation has its address.
    pub address: BindAddress,
    /// The first chain whose match holds takes the connection.
    pub filter_chains: Vec<FilterChain>,
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum BindAddress {
    /// IP and port.
    Socket(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl BindAddress {
    /// A socket in the file system has none.
    pub fn port(&self) -> Option<u16> {
        match self {
            BindAddress::Socket(address) => Some(address.port()),
            BindAddress::Unix(_) => None,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Socket(address) => address.fmt(f),
            BindAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What becomes of a connection: which routes, and how much its peer is trusted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterChain {
    /// When this chain takes a connection.
    pub matches: ChainMatch,
    /// `envoy_http_conn_manager_prefix` of its metrics.
    pub stat_prefix: Arc<str>,
    /// The name of a route configuration of the snapshot.
    pub route_config: Arc<str>,
    /// Whether versions are chosen here.
    pub mode: Mode,
    /// Whether a request must name its host: no service is known without.
    pub needs_host: bool,
    /// Whether the peer's address is the client's: x-forwarded-for is appended, x-request-id replaced.
    pub use_remote_address: bool,
}

/// When a filter chain takes a connection. TLS names and destination ports come with TLS and capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ChainMatch {
    /// Every connection.
    Any,
}

/// Whether versions are chosen here, or were chosen by whoever sent the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Mode {
    /// Choose the version by rule, then an endpoint among all of that version.
    Split,
    /// Hand the request to the local model server of `service`, whatever any rule says.
    Deliver {
        /// Full host of the service whose local endpoints serve.
        service: Arc<str>,
        /// The peers taken.
        peers: PeerFilter,
    },
}

/// The peers that a delivery listener takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PeerFilter {
    /// `allow: any`.
    Any,
    /// Addresses of the service's endpoints, and these.
    EndpointsAnd(Vec<ipnet::IpNet>),
}
