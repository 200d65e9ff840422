//! One generation as all workers share it: the snapshot, and what runs beside it (splits, clusters, meters).
//!
//! Law: a `Plane` is never changed, only replaced, by one store. A request holds one to its end. Indexes are within
//! one plane: a route's targets name clusters by index, so a request looks nothing up by name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use super::census::VersionEndpoints;
use super::dimensions::Dimensions;
use super::split::Split;
use crate::router::RouteTable;
use crate::snapshot::{
    BindAddress, FilterChain, Fraction, Labels, Listener, Mode, PathMatch, Route, RoutePolicy, Service,
    Snapshot, TargetPolicy,
};
use crate::telemetry::trace::Tracer;
use crate::telemetry::{
    AccessLog, ClusterMeter, Counter, GuardMeter, HopMeter, HttpMeter, ListenerMeter, MirrorMeter,
};
use crate::upstream::breaker::Limit;
use crate::upstream::cluster::ClusterState;
use crate::upstream::guard::Watch;
use crate::words::Protocol;

/// See the module.
#[derive(Debug)]
pub struct Plane {
    /// Counts up from 1 with every plane.
    pub number: u64,
    /// Counts up from 1 with every accepted configuration; planes that differ in endpoints only share it.
    pub generation: u64,
    /// What was configured.
    pub snapshot: Arc<Snapshot>,
    /// In the snapshot's order.
    pub listeners: Vec<Arc<ListenerPlane>>,
    /// One for each route configuration.
    pub routes: Vec<Arc<RoutesPlane>>,
    /// One for each cluster, in the order of their names.
    pub clusters: Vec<Arc<ClusterPlane>>,
    /// For the metrics.
    pub endpoints: Vec<VersionEndpoints>,
    /// What requests are counted by beside their versions, if anything.
    pub dimensions: Option<Dimensions>,
    /// Where requests are logged.
    pub access_log: Option<AccessLog>,
    /// What begins traces, and takes their spans.
    pub tracer: Option<Arc<Tracer>>,
}

/// A listener that serves.
#[derive(Debug)]
pub struct ListenerPlane {
    /// What was configured.
    pub listener: Arc<Listener>,
    /// Index of its routes in [`Plane::routes`].
    pub routes: usize,
    /// The peers that a delivery listener takes; `None`: everybody.
    pub peers: Option<Peers>,
    /// Labels of the local endpoints, of a delivery listener.
    pub local_labels: Vec<Labels>,
    /// Of its HTTP connection manager.
    pub http: Arc<HttpMeter>,
    /// Of the listener itself.
    pub meter: Arc<ListenerMeter>,
}

/// Who may hand requests to a delivery listener.
#[derive(Debug)]
pub struct Peers {
    /// Addresses of the service's endpoints, sorted.
    pub endpoints: Vec<IpAddr>,
    /// `allow:`
    pub allowed: Vec<IpNet>,
}

/// The routes of one configuration, with what runs beside them.
#[derive(Debug)]
pub struct RoutesPlane {
    /// Finds a route's index.
    pub table: RouteTable,
    /// By that index.
    pub routes: Vec<RoutePlane>,
}

/// Where a route stands in its plane, for whoever holds that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitPlace {
    config: usize,
    route: usize,
}

/// One route that serves.
#[derive(Debug)]
pub struct RoutePlane {
    /// What was configured.
    pub route: Arc<Route>,
    /// Its service, for labels.
    pub service: Arc<Service>,
    /// Which version is next.
    pub split: Arc<Split>,
    /// By the version's index.
    pub targets: Vec<TargetPlane>,
    /// Of the whole request, as configured.
    pub timeout: Option<Duration>,
    /// Whether a POST may be sent again when the connection failed.
    pub repeatable: bool,
    /// What its requests meet beside the split; nothing for a plain one.
    pub filters: Option<Box<Filters>>,
}

/// What the requests of a route meet beside the split. Whoever answers himself has one too, if an empty one.
#[derive(Debug)]
pub struct Filters {
    /// What is said of the route.
    pub policy: Arc<RoutePolicy>,
    /// What of the path was matched: what a rewrite replaces.
    pub path: PathMatch,
    /// What is said of each version alone, by its index.
    pub targets: Vec<Option<Arc<TargetPolicy>>>,
    /// Where copies of every request go.
    pub mirrors: Vec<MirrorPlane>,
    /// Where copies of one version's requests go, by its index.
    pub target_mirrors: Vec<Vec<MirrorPlane>>,
    /// Whether an endpoint is chosen by a hash of the request in some of its clusters.
    pub hash: bool,
    /// What sets the versions apart for sticky choices, by their index; none where the schedule chooses.
    pub sticky: Vec<u64>,
}

/// Where copies go.
#[derive(Debug)]
pub struct MirrorPlane {
    /// Indexes in [`Plane::clusters`], by [`Protocol::index`].
    pub clusters: [Option<usize>; 2],
    /// What tells the next Weir which service and version is meant.
    pub hop_value: HeaderValue,
    /// How many of the requests.
    pub fraction: Fraction,
    /// Its service, for labels.
    pub service: Arc<Service>,
    /// Its version, for labels; `unknown` where the selection names none.
    pub version: Arc<str>,
    /// What became of them.
    pub meter: MirrorMeter,
}

/// One version of a route.
#[derive(Debug)]
pub struct TargetPlane {
    /// Indexes in [`Plane::clusters`], by [`Protocol::index`]; `None`: the route names a cluster that is not there.
    pub clusters: [Option<usize>; 2],
    /// The version for labels; `unknown` where the selection names none, so that the endpoint's own counts.
    pub version: Arc<str>,
    /// Its service, for labels: mostly the route's.
    pub service: Arc<Service>,
    /// Times the split chose it.
    pub choices: Counter,
    /// Requests handed to other pods.
    pub hop: Arc<HopMeter>,
    /// What tells the next Weir which service and version is meant, for a first hop.
    pub hop_value: HeaderValue,
    /// Whether this process takes deliveries for the service itself, as the pods of its other endpoints then do.
    pub is_delivered: bool,
}

/// One cluster that serves.
#[derive(Debug)]
pub struct ClusterPlane {
    /// Members, load, breakers.
    pub state: Arc<ClusterState>,
    /// Its metrics.
    pub meter: Arc<ClusterMeter>,
    /// Those of whatever watches its endpoints.
    pub guard_meter: Option<Arc<GuardMeter>>,
}

impl Plane {
    /// The listener at `address`, if this generation has it.
    pub fn listener(&self, address: &BindAddress) -> Option<&Arc<ListenerPlane>> {
        self.listeners.iter().find(|plane| plane.listener.address == *address)
    }

    /// The routes by which this process splits, each once: two listeners of one service have the same rules, which are
    /// counted together.
    pub fn splits(&self) -> impl Iterator<Item = (SplitPlace, &RoutePlane)> {
        let splits = |listener: &&Arc<ListenerPlane>| listener.chain().mode == Mode::Split;
        let configs: BTreeSet<usize> =
            self.listeners.iter().filter(splits).map(|listener| listener.routes).collect();
        let configs = configs.into_iter().filter_map(|index| Some((index, self.routes.get(index)?)));
        let placed = configs.flat_map(|(config, routes)| {
            let placed = move |(route, plane)| (SplitPlace { config, route }, plane);
            routes.routes.iter().enumerate().map(placed)
        });
        let mut seen = BTreeSet::new();
        placed.filter(move |(_, route)| seen.insert((&route.service.host, &route.route.name)))
    }

    /// One of them by its place.
    pub fn split_at(&self, place: SplitPlace) -> Option<&RoutePlane> {
        self.routes.get(place.config)?.routes.get(place.route)
    }
}

impl ClusterPlane {
    /// Brings the gauges of the endpoints and of the circuit breakers up to date. For the control thread, before each
    /// scrape.
    pub fn refresh(&self) {
        if let (Some(guard), Some(meter)) = (&self.state.guard, &self.guard_meter) {
            let count = |is: fn(&Watch) -> bool| {
                self.state
                    .members
                    .iter()
                    .filter_map(|member| member.watch.as_deref())
                    .filter(|&watch| is(watch))
                    .count()
            };
            meter.refresh(guard.counts(), count(Watch::is_ejected), count(|watch| !watch.has_failed_check()));
        }
        let Some(meter) = self.meter.declared() else { return };
        meter.membership_total.set(self.state.members.len() as f64);
        meter.membership_healthy.set(self.state.healthy() as f64);
        let weights = self.state.members.iter().map(|member| member.weight);
        meter.max_host_weight.set(weights.max().unwrap_or(0).into());
        let open = [&meter.cx_open, &meter.rq_pending_open, &meter.rq_open, &meter.rq_retry_open];
        let remaining =
            [&meter.remaining_cx, &meter.remaining_pending, &meter.remaining_rq, &meter.remaining_retries];
        for ((limit, open), remaining) in Limit::ALL.into_iter().zip(open).zip(remaining) {
            let left = self.state.breakers.remaining(limit);
            open.set(if left == 0 { 1.0 } else { 0.0 });
            remaining.set(left.into());
        }
    }
}

impl ListenerPlane {
    /// The chain that takes a connection; there is one kind of match, so it is the first.
    pub fn chain(&self) -> &FilterChain {
        &self.listener.filter_chains[0]
    }
}

impl Peers {
    /// Whether `peer` may hand over requests.
    pub fn allow(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.endpoints.binary_search(&peer).is_ok() || self.allowed.iter().any(|range| range.contains(&peer))
    }
}

impl TargetPlane {
    /// Whether an endpoint of another pod that has never answered is taken for a Weir. Reads a counter of all workers: for
    /// what failed.
    pub fn expects_weirs(&self) -> bool {
        self.is_delivered || self.hop.requests.get() > 0
    }

    /// The cluster of requests of `protocol`.
    pub fn cluster(&self, protocol: Protocol) -> Option<usize> {
        self.clusters[protocol.index()]
    }
}
