//! The frozen configuration: every name resolved, everything checked, sorted, comparable and printable.
//!
//! Law: a `Snapshot` that exists is right. Nothing here parses, nothing here is live: what a file says is a
//! draft (`config`), what counts and connects is a plane (`proxy`). The shape is Envoy's: listeners with filter
//! chains, named route configurations, virtual hosts, routes, clusters with localities and endpoints. What Envoy
//! has no field for (versions of a split, `deliver`, `local`) stands beside it under Weir's own names.

pub mod access_log;
pub mod cluster;
pub mod content;
pub mod dimension;
pub mod edit;
pub mod hash;
pub mod labels;
pub mod listener;
pub mod pattern;
pub mod policy;
pub mod retry;
pub mod route;
pub mod settings;
pub mod substitution;
pub mod tracing;
pub mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

pub use access_log::{AccessLog, LogFilter, LogFormat};
pub use cluster::{Address, CircuitBreakers, Cluster, Endpoint, LbPolicy, Locality, UpstreamProtocol};
pub use dimension::Dimension;
pub use edit::{DirectResponse, HeaderEdit, HeaderEdits, PathRewrite, Redirect, RedirectPort, Rewrite};
pub use hash::{Cookie, HashKey, Sticky};
pub use labels::Labels;
pub use listener::{BindAddress, ChainMatch, FilterChain, Listener, Mode, PeerFilter};
pub use pattern::Pattern;
pub use policy::{
    Abort, AbortStatus, Cors, Delay, Fault, Mirror, RoutePolicy, TargetPolicy, Timeouts, UnmatchedPreflights,
};
pub use retry::{BackOff, RetryCondition, RetryOn, RetryPolicy};
pub use route::{
    Action, Domain, Forward, Fraction, HeaderMatch, HeaderName, MoreMatch, OrdName, PathMatch, QueryMatch,
    Route, RouteConfig, RouteMatch, SourceMatch, StringMatch, VersionTarget, VirtualHost,
};
pub use settings::{Admin, Caller, Drain, IdleTimeouts, Limits, Node, Workers};
pub use substitution::Substitution;
pub use tracing::{OtlpProtocol, Tracing};
pub use traffic::{
    FailurePercentage, HealthCheck, HealthCheckKind, KeepAlive, Outlier, RetryBudget, SlowStart, SuccessRate,
    TrafficPolicy,
};

/// One whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Who this proxy is. Fixed for the life of the process.
    pub node: Node,
    /// Where the admin pages listen. Fixed for the life of the process.
    pub admin: Admin,
    /// How many workers. Fixed for the life of the process.
    pub workers: Workers,
    /// The access log, if one is wanted.
    pub access_log: Option<AccessLog>,
    /// Which requests are traced, if any are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// How to leave.
    pub drain: Drain,
    /// Every bound, by the name of its key.
    pub limits: Limits,
    /// Peers whose `x-envoy-*` request headers count.
    pub internal_cidrs: Vec<ipnet::IpNet>,
    /// Who a peer address is, in the order of the file; the longest prefix wins.
    pub callers: Vec<Arc<Caller>>,
    /// What requests are counted by beside their versions, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<Dimension>,
    /// Whether Istio's old metrics show a failure of gRPC by the code that HTTP has for it; else as the 200 that it came by.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub grpc_as_http: bool,
    /// Sorted by name.
    pub listeners: Vec<Arc<Listener>>,
    /// By name; listeners refer to them.
    pub route_configs: BTreeMap<Arc<str>, Arc<RouteConfig>>,
    /// By name; routes refer to them. A route may name a cluster that is not here: 503, flag NC.
    pub clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
    /// By host; what the labels of metrics and the admin pages are made of.
    pub services: BTreeMap<Arc<str>, Arc<Service>>,
}

/// A service as callers know it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// The full host, such as `inception.kubeflow.svc.cluster.local`; the key of the map.
    pub host: Arc<str>,
    /// The short name, such as `inception`; the whole host for services declared by `host:`.
    pub name: Arc<str>,
    /// The namespace; `unknown` for services declared by `host:`.
    pub namespace: Arc<str>,
    /// Every value that the label `version` has among the endpoints, sorted. Endpoints without one are `unknown`.
    pub versions: Vec<Arc<str>>,
}
