//! Makes planes, on the control thread: carries over what must outlive a reload, retires what nobody holds any more.
//!
//! Law: the new plane is published by one store, whole; an old one is dropped here, never on a worker (dropping ten
//! thousand regexes takes tens of milliseconds).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::hop;
use super::plane::{ClusterPlane, ListenerPlane, Peers, Plane, RoutePlane, RoutesPlane, TargetPlane};
use super::split::Split;
use crate::router::RouteTable;
use crate::runtime::sync;
use crate::snapshot::{
    self, Address, Listener, LogFormat, Mode, PeerFilter, Route, RouteConfig, Service, Snapshot,
};
use crate::telemetry::families::envoy_server::PlannerSeries;
use crate::telemetry::{
    AccessLog, AccessLogs, ClusterMeter, Counter, Format, HopMeter, HttpMeter, ListenerMeter, ProcessMeter,
    Recorder, VersionMeter, families,
};
use crate::transport::dial::Target;
use crate::upstream::cluster::{ClusterState, EndpointState};
use crate::upstream::resolve::Names;

/// Versions of routes whose series may stand at zero, and clusters: they take about 40 KiB each, and 6 KiB.
const DECLARED: usize = 1_000;

/// See the module.
pub struct Planner {
    recorder: Recorder,
    process: ProcessMeter,
    meter: PlannerSeries,
    published: Arc<ArcSwapOption<Plane>>,
    /// What DNS names of endpoints resolve to.
    pub names: Names,
    endpoints: HashMap<(Arc<str>, Target), Weak<EndpointState>>,
    retired: Vec<Arc<Plane>>,
    log: Option<(snapshot::AccessLog, AccessLog)>,
    /// Whatever is written to the log's files, to be told of rotation and of the end.
    pub logs: AccessLogs,
    /// The version series of the present plane: held so that they stay, at zero until the first request.
    declared: Vec<VersionMeter>,
    next_number: u64,
    generation: u64,
}

impl Planner {
    /// Nothing published yet.
    pub fn new(recorder: Recorder, process: ProcessMeter, published: Arc<ArcSwapOption<Plane>>) -> Planner {
        Planner {
            meter: PlannerSeries::new(&recorder),
            recorder,
            process,
            published,
            names: Names::default(),
            endpoints: HashMap::new(),
            retired: Vec::new(),
            log: None,
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
        let access_log = self.open_log(snapshot.access_log.as_ref())?;
        let clusters = self.clusters(&snapshot, previous.as_deref());
        let mut splits = Splits::kept(previous.as_deref());
        let routes: Vec<_> = snapshot
            .route_configs
            .values()
            .map(|config| Arc::new(self.routes(config, &snapshot, &clusters, &mut splits)))
            .collect();
        self.declared = self.declare(&routes, &clusters, &snapshot);
        self.generation += 1;
        self.count_changes(previous.as_ref().map(|plane| &*plane.snapshot), &snapshot);
        Ok(self.swap(snapshot, clusters, routes, access_log, previous))
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
        let (routes, log) = (previous.routes.clone(), previous.access_log.clone());
        self.declared = self.declare(&routes, &clusters, &snapshot); // new endpoints may bring new versions
        Some(self.swap(snapshot, clusters, routes, log, Some(previous)))
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
        access_log: Option<AccessLog>,
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
            snapshot,
            listeners,
            routes,
            clusters,
            access_log,
        });
        self.next_number += 1;
        sync::step();
        self.published.store(Some(plane.clone()));
        sync::step();
        self.retired.extend(previous);
        self.process.config_generation.set(self.generation as f64);
        self.collect();
        plane
    }

    fn clusters(&mut self, snapshot: &Snapshot, previous: Option<&Plane>) -> Vec<Arc<ClusterPlane>> {
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        for config in snapshot.clusters.values() {
            let old = previous.and_then(|plane| {
                let index =
                    plane.clusters.binary_search_by(|old| old.state.config.name.cmp(&config.name)).ok()?;
                plane.clusters.get(index)
            });
            clusters.push(match old {
                Some(old) if old.state.config == *config && self.is_current(&old.state) => old.clone(),
                _ => self.cluster(config, old),
            });
        }
        if clusters.len() <= DECLARED {
            for cluster in &clusters {
                cluster.meter.declare();
            }
        }
        clusters
    }

    /// Whether the members are what the names resolve to now.
    fn is_current(&self, state: &ClusterState) -> bool {
        let targets = state.config.endpoints().flat_map(|endpoint| self.names.targets(&endpoint.address));
        targets.eq(state.members.iter().map(|member| member.state.target.clone()))
    }

    fn cluster(
        &mut self,
        config: &Arc<snapshot::Cluster>,
        old: Option<&Arc<ClusterPlane>>,
    ) -> Arc<ClusterPlane> {
        let (names, endpoints) = (&self.names, &mut self.endpoints);
        let endpoint = |target: Target| {
            let key = (config.service.clone(), target.clone());
            if let Some(known) = endpoints.get(&key).and_then(Weak::upgrade) {
                return known;
            }
            let new = Arc::new(EndpointState::new(target));
            endpoints.insert(key, Arc::downgrade(&new));
            new
        };
        let addresses = |address: &Address| names.targets(address);
        let state =
            Arc::new(ClusterState::new(config.clone(), addresses, endpoint, old.map(|old| &*old.state)));
        let meter = match old {
            Some(old) => old.meter.clone(),
            None => Arc::new(ClusterMeter::new(&self.recorder, config.name.clone())),
        };
        if let Some(series) = meter.declared().filter(|_| old.is_some()) {
            series.membership_change.increment(1);
        }
        Arc::new(ClusterPlane { state, meter })
    }

    fn routes(
        &self,
        config: &Arc<RouteConfig>,
        snapshot: &Snapshot,
        clusters: &[Arc<ClusterPlane>],
        splits: &mut Splits,
    ) -> RoutesPlane {
        let table = RouteTable::build(config);
        let delivers = delivers(snapshot, config);
        let mut hops = Hops::new();
        let routes = table
            .routes()
            .map(|route| self.route(route, snapshot, clusters, splits.of(route, delivers), &mut hops))
            .collect();
        RoutesPlane { table, routes }
    }

    fn route(
        &self,
        route: &Arc<Route>,
        snapshot: &Snapshot,
        clusters: &[Arc<ClusterPlane>],
        split: Arc<Split>,
        hops: &mut Hops,
    ) -> RoutePlane {
        let find = |name: &str| clusters.binary_search_by(|plane| (*plane.state.config.name).cmp(name)).ok();
        let service = service_of(snapshot, &route.forward.service);
        let targets = route.forward.versions.iter().map(|version| {
            let label = version.version.as_deref().unwrap_or(crate::telemetry::UNKNOWN);
            let (hop, hop_value) = hops
                .entry((service.host.clone(), version.labels.clone()))
                .or_insert_with(|| {
                    let meter = Arc::new(HopMeter::new(&self.recorder, &service.host, label));
                    (meter, hop::first_hop(&service.host, &version.labels))
                })
                .clone();
            let choices = families::weir::split_choices(&self.recorder, &service.host, &route.name, label);
            TargetPlane {
                clusters: [find(&version.grpc_cluster), find(&version.http_cluster)],
                choices,
                hop,
                hop_value,
            }
        });
        RoutePlane { targets: targets.collect(), split, service, route: route.clone() }
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

    /// The series that each version of each route starts with, at zero; none where they are too many, as each version
    /// has some hundreds: there they come with the first request.
    fn declare(
        &self,
        routes: &[Arc<RoutesPlane>],
        clusters: &[Arc<ClusterPlane>],
        snapshot: &Snapshot,
    ) -> Vec<VersionMeter> {
        let configs = routes.iter().zip(snapshot.route_configs.values());
        let versions = configs.flat_map(|(routes, config)| {
            let delivers = delivers(snapshot, config);
            let of_route =
                move |route| versions_of(route, clusters).into_iter().map(move |version| (route, version));
            routes.routes.iter().flat_map(of_route).map(move |(route, version)| (route, version, delivers))
        });
        // Counted before the first is made: what nobody holds would stay for a quarter of an hour.
        let versions: Vec<_> = versions.take(DECLARED + 1).collect();
        if versions.len() > DECLARED {
            return Vec::new();
        }
        let declared = versions.into_iter().map(|(route, version, delivers)| {
            let labels = super::lane::version_labels(snapshot, route, &version, None, delivers);
            VersionMeter::declare(&self.recorder, &labels)
        });
        declared.collect()
    }

    fn open_log(&mut self, wanted: Option<&snapshot::AccessLog>) -> io::Result<Option<AccessLog>> {
        let Some(wanted) = wanted else {
            self.log = None;
            return Ok(None);
        };
        if let Some((open, log)) = &self.log
            && open == wanted
        {
            return Ok(Some(log.clone()));
        }
        let format = match &wanted.format {
            LogFormat::Envoy => "envoy",
            LogFormat::Json => "json",
            LogFormat::Custom(format) => format,
        };
        let format = Format::parse(format).map_err(|error| io::Error::other(error.to_string()))?;
        let dropped = self.process.access_log_dropped.clone();
        let log = self.logs.open(&wanted.path, format, dropped)?;
        self.log = Some((wanted.clone(), log.clone()));
        Ok(Some(log))
    }
}

/// What the rules of a service share: the meter and the header value of a hop to some of its endpoints.
type Hops = HashMap<(Arc<str>, snapshot::Labels), (Arc<HopMeter>, HeaderValue)>;

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

/// The splits of a plane by service, rule, whether it delivers, and entries with their weights: one schedule for each
/// rule, however many listeners reach it, that goes on over reloads while all of that is what it was.
#[derive(Default)]
struct Splits(HashMap<SplitKey, Arc<Split>>);

type SplitKey = (Arc<str>, Arc<str>, bool, Vec<(snapshot::Labels, u32)>);

impl Splits {
    fn kept(previous: Option<&Plane>) -> Splits {
        let mut kept = HashMap::new();
        if let Some(plane) = previous {
            for (config, routes) in plane.snapshot.route_configs.values().zip(&plane.routes) {
                let delivers = delivers(&plane.snapshot, config);
                kept.extend(
                    routes.routes.iter().map(|old| (split_key(&old.route, delivers), old.split.clone())),
                );
            }
        }
        Splits(kept)
    }

    fn of(&mut self, route: &Route, delivers: bool) -> Arc<Split> {
        let new = || {
            let weights = route.forward.versions.iter().map(|version| version.weight).collect();
            Arc::new(Split::new(weights, rand::random()))
        };
        self.0.entry(split_key(route, delivers)).or_insert_with(new).clone()
    }
}

fn split_key(route: &Route, delivers: bool) -> SplitKey {
    let entries = route.forward.versions.iter().map(|version| (version.labels.clone(), version.weight));
    (route.forward.service.clone(), route.name.clone(), delivers, entries.collect())
}

/// Whether requests by `config` end in this pod: they were split before.
fn delivers(snapshot: &Snapshot, config: &RouteConfig) -> bool {
    let mut chains = snapshot.listeners.iter().flat_map(|listener| &listener.filter_chains);
    chains.any(|chain| chain.route_config == config.name && matches!(chain.mode, Mode::Deliver { .. }))
}

/// The versions that a route's requests may be counted under: those it names, or those of its endpoints.
pub(super) fn versions_of(route: &RoutePlane, clusters: &[Arc<ClusterPlane>]) -> BTreeSet<Arc<str>> {
    let mut versions = BTreeSet::new();
    for (target, plane) in route.route.forward.versions.iter().zip(&route.targets) {
        match &target.version {
            Some(version) => drop(versions.insert(version.clone())),
            None => versions.extend(
                plane
                    .clusters
                    .iter()
                    .flatten()
                    .flat_map(|&cluster| &clusters[cluster].state.members)
                    .map(|member| member.version.clone()),
            ),
        }
    }
    versions
}

fn service_of(snapshot: &Snapshot, host: &Arc<str>) -> Arc<Service> {
    snapshot.services.get(host).cloned().unwrap_or_else(|| {
        let unknown: Arc<str> = crate::telemetry::UNKNOWN.into();
        Arc::new(Service { host: host.clone(), name: host.clone(), namespace: unknown, versions: Vec::new() })
    })
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
