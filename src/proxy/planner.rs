//! Makes planes, on the control thread: carries over what must outlive a reload, retires what nobody holds any more.
//!
//! Law: the new plane is published by one store, whole; an old one is dropped here, never on a worker (dropping ten
//! thousand regexes takes tens of milliseconds).

mod clusters;
mod log;
mod names;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::census::census;
use super::dimensions::Dimensions;
use super::plane::{ClusterPlane, ListenerPlane, Peers, Plane, RoutesPlane};
use crate::runtime::sync;
use crate::snapshot::{self, Listener, Mode, PeerFilter, Snapshot};
use crate::telemetry::families::envoy_server::PlannerSeries;
use crate::telemetry::families::{SpanMeter, levels};
use crate::telemetry::trace::{Rate, Tracer};
use crate::telemetry::{
    AccessLog, AccessLogs, Counter, GaugeSet, HttpMeter, ListenerMeter, ProcessMeter, Recorder, VersionMeter,
};
use crate::transport::dial::Target;
use crate::upstream::cluster::EndpointState;
use crate::upstream::guard::Guards;
use crate::upstream::resolve::{Names, Resolver};
use crate::upstream::spans::Exporters;
use names::LookUps;
use routes::Splits;

/// Versions of routes whose series may stand at zero, and clusters: they take about 40 KiB each, and 7 KiB.
const DECLARED: usize = 1_000;

/// See the module.
pub struct Planner {
    recorder: Recorder,
    process: ProcessMeter,
    meter: PlannerSeries,
    published: Arc<ArcSwapOption<Plane>>,
    /// What DNS names of endpoints resolve to.
    pub names: Names,
    look_ups: LookUps,
    endpoints: HashMap<(Arc<str>, Target), Weak<EndpointState>>,
    /// What looks after the present plane's clusters.
    guards: Guards,
    retired: Vec<Arc<Plane>>,
    log: Option<(snapshot::AccessLog, AccessLog)>,
    tracer: Option<(snapshot::Tracing, Arc<Tracer>)>,
    /// Whoever sends spans.
    pub spans: Exporters,
    /// Who is asked for the collector's name.
    pub resolver: Resolver,
    /// Whatever is written to the log's files, to be told of rotation and of the end.
    pub logs: AccessLogs,
    /// The version series of the present plane: held so that they stay, at zero until the first request.
    declared: Vec<VersionMeter>,
    /// What the present plane's versions are given, and have.
    weights: GaugeSet,
    endpoints_by_state: GaugeSet,
    hashes: GaugeSet,
    next_number: u64,
    generation: u64,
}

impl Planner {
    /// Nothing published yet.
    pub fn new(recorder: Recorder, process: ProcessMeter, published: Arc<ArcSwapOption<Plane>>) -> Planner {
        Planner {
            meter: PlannerSeries::new(&recorder),
            weights: GaugeSet::new(&recorder, &levels::SPLIT_WEIGHT),
            endpoints_by_state: GaugeSet::new(&recorder, &levels::ENDPOINTS),
            hashes: GaugeSet::new(&recorder, &levels::CONFIG_HASH),
            recorder,
            process,
            published,
            names: Names::default(),
            look_ups: LookUps::default(),
            endpoints: HashMap::new(),
            guards: Guards::default(),
            retired: Vec::new(),
            log: None,
            tracer: None,
            spans: Exporters::default(),
            resolver: Resolver::default(),
            logs: AccessLogs::default(),
            declared: Vec::new(),
            next_number: 1,
            generation: 0,
        }
    }

    /// The version series of the present plane, for the admin pages.
    pub fn declared(&self) -> &[VersionMeter] {
        &self.declared
    }

    /// Publishes a new generation.
    ///
    /// # Errors
    /// The access log cannot be opened; the old plane stays.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) -> io::Result<Arc<Plane>> {
        let previous = self.published.load_full();
        let outlets = Outlets {
            access_log: self.open_log(snapshot.access_log.as_ref())?,
            tracer: self.open_tracer(&snapshot)?,
        };
        let clusters = self.clusters(&snapshot, previous.as_deref());
        let mut splits = Splits::kept(previous.as_deref());
        let routes: Vec<_> = snapshot
            .route_configs
            .values()
            .map(|config| Arc::new(self.routes(config, &snapshot, &clusters, &mut splits)))
            .collect();
        self.declared = self.declare(&routes, &clusters, &snapshot);
        self.look_ups.adopt(&self.recorder, &snapshot);
        self.generation += 1;
        self.count_changes(previous.as_ref().map(|plane| &*plane.snapshot), &snapshot);
        let plane = self.swap(snapshot, clusters, routes, outlets, previous);
        self.show_weights(&plane);
        self.show_hashes(&plane.snapshot);
        self.process.buffer_budget.set(plane.snapshot.limits.buffer_budget as f64);
        Ok(plane)
    }

    fn count_changes(&self, old: Option<&Snapshot>, new: &Snapshot) {
        let meter = &self.meter;
        let count = |[added, modified, removed]: [&Counter; 3], by: [u64; 3]| {
            added.increment(by[0]);
            modified.increment(by[1]);
            removed.increment(by[2]);
        };
        let listeners = |snapshot: &Snapshot| -> BTreeMap<Arc<str>, Arc<Listener>> {
            snapshot.listeners.iter().map(|listener| (listener.name.clone(), listener.clone())).collect()
        };
        count(
            [&meter.listener_added, &meter.listener_modified, &meter.listener_removed],
            changes(&old.map(listeners).unwrap_or_default(), &listeners(new)),
        );
        let none = BTreeMap::new();
        count(
            [&meter.cluster_added, &meter.cluster_modified, &meter.cluster_removed],
            changes(old.map_or(&none, |old| &old.clusters), &new.clusters),
        );
    }

    /// Publishes the present generation with the endpoints that names resolve to now. Relinks no routes.
    pub fn publish_endpoints(&mut self) -> Option<Arc<Plane>> {
        let previous = self.published.load_full()?;
        let snapshot = previous.snapshot.clone();
        let clusters = self.clusters(&snapshot, Some(&previous));
        let routes = previous.routes.clone();
        let outlets = Outlets { access_log: previous.access_log.clone(), tracer: previous.tracer.clone() };
        self.declared = self.declare(&routes, &clusters, &snapshot); // new endpoints may bring new versions
        Some(self.swap(snapshot, clusters, routes, outlets, Some(previous)))
    }

    /// Drops the planes that nobody holds any more. Returns how many are alive, the present one included.
    pub fn collect(&mut self) -> usize {
        self.retired.retain(|plane| Arc::strong_count(plane) > 1);
        self.endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        let alive = self.retired.len() + 1;
        self.process.planes_alive.set(alive as f64);
        alive
    }

    fn swap(
        &mut self,
        snapshot: Arc<Snapshot>,
        clusters: Vec<Arc<ClusterPlane>>,
        routes: Vec<Arc<RoutesPlane>>,
        outlets: Outlets,
        previous: Option<Arc<Plane>>,
    ) -> Arc<Plane> {
        let listeners = snapshot
            .listeners
            .iter()
            .map(|listener| Arc::new(self.listener(listener, &snapshot, &clusters, previous.as_deref())))
            .collect();
        let plane = Arc::new(Plane {
            number: self.next_number,
            generation: self.generation,
            dimensions: Dimensions::of(&snapshot),
            snapshot,
            listeners,
            routes,
            endpoints: census(&clusters, &mut self.endpoints_by_state),
            clusters,
            access_log: outlets.access_log,
            tracer: outlets.tracer,
        });
        self.next_number += 1;
        sync::step();
        self.published.store(Some(plane.clone()));
        sync::step();
        self.guards.want(plane.clusters.iter().map(|cluster| &cluster.state));
        self.retired.extend(previous);
        self.process.config_generation.set(self.generation as f64);
        self.collect();
        plane
    }

    fn listener(
        &self,
        listener: &Arc<Listener>,
        snapshot: &Snapshot,
        clusters: &[Arc<ClusterPlane>],
        previous: Option<&Plane>,
    ) -> ListenerPlane {
        let chain = &listener.filter_chains[0];
        let old = previous
            .and_then(|plane| plane.listener(&listener.address))
            .filter(|old| old.chain().stat_prefix == chain.stat_prefix);
        let address = listener.address.to_string();
        let (http, meter) = match old {
            Some(old) => (old.http.clone(), old.meter.clone()),
            None => (
                Arc::new(HttpMeter::new(&self.recorder, &chain.stat_prefix)),
                Arc::new(ListenerMeter::new(&self.recorder, &address, &chain.stat_prefix)),
            ),
        };
        ListenerPlane {
            routes: snapshot
                .route_configs
                .keys()
                .position(|name| *name == chain.route_config)
                .unwrap_or_default(),
            peers: peers(&chain.mode, clusters),
            local_labels: local_labels(&chain.mode, clusters),
            listener: listener.clone(),
            http,
            meter,
        }
    }

    fn open_tracer(&mut self, snapshot: &Snapshot) -> io::Result<Option<Arc<Tracer>>> {
        let Some(wanted) = &snapshot.tracing else {
            self.tracer = None;
            return Ok(None);
        };
        if let Some((open, tracer)) = &self.tracer
            && open == wanted
        {
            return Ok(Some(tracer.clone()));
        }
        let meter = SpanMeter::new(&self.recorder);
        let queue = self.spans.start(wanted, &snapshot.node, self.resolver.clone(), meter)?;
        let rate = Rate::new(wanted.sample.numerator, wanted.sample.denominator);
        let tracer = Arc::new(Tracer { rate, queue });
        self.tracer = Some((wanted.clone(), tracer.clone()));
        Ok(Some(tracer))
    }
}

/// Where a plane's requests are told of, one by one.
struct Outlets {
    access_log: Option<AccessLog>,
    tracer: Option<Arc<Tracer>>,
}

/// How many were added, modified and removed.
fn changes<T: PartialEq>(old: &BTreeMap<Arc<str>, T>, new: &BTreeMap<Arc<str>, T>) -> [u64; 3] {
    let (mut added, mut modified) = (0, 0);
    for (name, item) in new {
        match old.get(name) {
            None => added += 1,
            Some(known) if known != item => modified += 1,
            Some(_) => {}
        }
    }
    let removed = old.keys().filter(|name| !new.contains_key(*name)).count();
    [added, modified, removed as u64]
}

fn peers(mode: &Mode, clusters: &[Arc<ClusterPlane>]) -> Option<Peers> {
    let Mode::Deliver { service, peers: PeerFilter::EndpointsAnd(allowed) } = mode else { return None };
    let endpoints: BTreeSet<IpAddr> = members_of(service, clusters)
        .filter_map(|member| match &member.state.target {
            Target::Tcp(address) => Some(address.ip().to_canonical()),
            Target::Unix(_) => None,
        })
        .collect();
    Some(Peers { endpoints: endpoints.into_iter().collect(), allowed: allowed.clone() })
}

fn members_of<'a>(
    service: &'a str,
    clusters: &'a [Arc<ClusterPlane>],
) -> impl Iterator<Item = &'a crate::upstream::cluster::Member> {
    clusters
        .iter()
        .filter(move |plane| *plane.state.config.service == *service)
        .flat_map(|plane| &plane.state.members)
}

fn local_labels(mode: &Mode, clusters: &[Arc<ClusterPlane>]) -> Vec<snapshot::Labels> {
    let Mode::Deliver { service, .. } = mode else { return Vec::new() };
    let mut labels: Vec<_> = clusters
        .iter()
        .filter(|plane| plane.state.config.service == *service)
        .flat_map(|plane| plane.state.config.endpoints())
        .filter(|endpoint| endpoint.local)
        .map(|endpoint| endpoint.labels.clone())
        .collect();
    labels.sort();
    labels.dedup();
    labels
}

/// A header value that says `text`, or nothing where it cannot.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
