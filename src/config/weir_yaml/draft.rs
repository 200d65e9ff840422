//! What a `weir.yaml` says, one object at a time, names unresolved.
//!
//! Law: every value in a draft is legal on its own; whether they fit together is found out by checking and linking.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::diagnostic::Place;
use crate::config::draft::ClusterDraft;
use crate::snapshot::route::OrdName;
use crate::snapshot::{
    AccessLog, Address, Admin, BindAddress, CircuitBreakers, Dimension, Drain, Labels, LbPolicy, Limits,
    Node, PeerFilter, Tracing, UpstreamProtocol, Workers,
};

/// A whole file.
#[derive(Clone, Debug)]
pub(crate) struct WeirDraft {
    pub(crate) node: Node,
    pub(crate) admin: Admin,
    pub(crate) admin_place: Place,
    pub(crate) workers: Workers,
    pub(crate) access_log: Option<AccessLog>,
    /// And where its endpoint stands.
    pub(crate) tracing: Option<(Tracing, Place)>,
    pub(crate) drain: Drain,
    pub(crate) limits: Limits,
    pub(crate) internal_cidrs: Vec<IpNet>,
    pub(crate) callers: Vec<CallerDraft>,
    pub(crate) dimensions: Vec<Dimension>,
    pub(crate) grpc_as_http: bool,
    pub(crate) listeners: Vec<ListenerDraft>,
    pub(crate) services: Vec<ServiceDraft>,
}

/// One of `callers:`.
#[derive(Clone, Debug)]
pub(crate) struct CallerDraft {
    pub(crate) place: Place,
    pub(crate) cidr: IpNet,
    /// Any form of a host.
    pub(crate) service: String,
    pub(crate) labels: Labels,
}

/// One of `listeners:`.
#[derive(Clone, Debug)]
pub(crate) struct ListenerDraft {
    pub(crate) place: Place,
    pub(crate) name: Arc<str>,
    pub(crate) address: BindAddress,
    pub(crate) address_place: Place,
    /// Any form of a service's host, and where it stands.
    pub(crate) service: Option<(String, Place)>,
    pub(crate) mode: ListenerMode,
    /// The gateways that it stands for; `None`: all.
    pub(crate) gateways: Option<Vec<Arc<str>>>,
    pub(crate) use_remote_address: bool,
}

impl ListenerDraft {
    /// Whether rules hold for its requests.
    pub(crate) fn is_split(&self) -> bool {
        matches!(self.mode, ListenerMode::Split)
    }
}

/// `mode:` with `allow:`.
#[derive(Clone, Debug)]
pub(crate) enum ListenerMode {
    Split,
    Deliver { peers: PeerFilter },
}

/// One of `services:`.
#[derive(Clone, Debug)]
pub(crate) struct ServiceDraft {
    pub(crate) place: Place,
    pub(crate) host: ServiceHost,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) repeatable: bool,
    pub(crate) timeout: Option<Duration>,
    /// `None`: nothing is said.
    pub(crate) lb: Option<LbPolicy>,
    pub(crate) local_bias: u32,
    pub(crate) circuit_breakers: CircuitBreakers,
    pub(crate) dns_refresh: Duration,
    /// What few services say of their clusters.
    pub(crate) settings: Option<Box<ClusterDraft>>,
    /// Protocols that callers may switch to.
    pub(crate) upgrades: Vec<Arc<str>>,
    /// The answer's field that names the chosen version.
    pub(crate) version_header: Option<OrdName>,
    pub(crate) endpoints: Vec<EndpointDraft>,
}

impl ServiceDraft {
    /// Whether an endpoint has this port.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        let mut addresses = self.endpoints.iter().flat_map(|endpoint| endpoint.targets.addresses());
        addresses.any(|address| address.port() == Some(port))
    }
}

/// What a service is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceHost {
    /// `name:` and `namespace:`
    Named { name: Arc<str>, namespace: Arc<str> },
    /// `host:`
    Full(Arc<str>),
}

/// One of `endpoints:`.
#[derive(Clone, Debug)]
pub(crate) struct EndpointDraft {
    pub(crate) place: Place,
    pub(crate) targets: Targets,
    pub(crate) labels: Labels,
    pub(crate) local: bool,
    pub(crate) weight: u32,
}

/// Where an endpoint listens.
#[derive(Clone, Debug)]
pub(crate) enum Targets {
    /// `address:`, for every request.
    Both(Address),
    /// `grpc:` and `http:`, at least one.
    ByProtocol { grpc: Option<Address>, http: Option<Address> },
}

impl Targets {
    /// Each address that it has.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        let pair = match self {
            Targets::Both(address) => [Some(address), None],
            Targets::ByProtocol { grpc, http } => [grpc.as_ref(), http.as_ref()],
        };
        pair.into_iter().flatten()
    }
}
