//! The routes of a plane: their targets, schedules, what runs beside the few that have more than that, and the series of
//! their versions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::HeaderValue;

use super::{DECLARED, Planner};
use crate::filters::sticky;
use crate::proxy::plane::{ClusterPlane, Filters, MirrorPlane, Plane, RoutePlane, RoutesPlane, TargetPlane};
use crate::proxy::split::Split;
use crate::proxy::{hop, lane};
use crate::router::RouteTable;
use crate::snapshot::{self, Mirror, Mode, Route, RouteConfig, Service, Snapshot, VersionTarget, content};
use crate::telemetry::{HopMeter, Labels, MirrorMeter, UNKNOWN, VersionMeter, families};

/// What the rules of a service share: the meter and the header value of a hop to some of its endpoints.
type Hops = HashMap<(Arc<str>, snapshot::Labels), (Arc<HopMeter>, HeaderValue)>;

impl Planner {
    pub(super) fn routes(
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
        let service = service_of(snapshot, &route.service());
        let targets = route.versions().iter().map(|version| {
            let label = version.version.as_deref().unwrap_or(UNKNOWN);
            let service = version.service.as_ref().map_or(service.clone(), |host| service_of(snapshot, host));
            let (hop, hop_value) = hops
                .entry((service.host.clone(), version.labels.clone()))
                .or_insert_with(|| {
                    let meter = Arc::new(HopMeter::new(&self.recorder, &service.host, label));
                    (meter, hop::first_hop(&service.host, &version.labels))
                })
                .clone();
            let choices = families::weir::split_choices(&self.recorder, &service.host, &route.name, label);
            TargetPlane {
                clusters: clusters_of(version, clusters),
                version: version.version.clone().unwrap_or_else(|| UNKNOWN.into()),
                is_delivered: is_delivered(snapshot, &service.host),
                service,
                choices,
                hop,
                hop_value,
            }
        });
        let targets: Vec<_> = targets.collect();
        RoutePlane {
            split,
            timeout: route.forward().and_then(|forward| forward.timeout),
            repeatable: route.forward().is_some_and(|forward| forward.repeatable),
            filters: self.filters(route, &targets, &service, snapshot, clusters),
            targets,
            service,
            route: route.clone(),
        }
    }

    /// The series that each version of each route starts with, at zero; none where they are too many, as each version
    /// has some hundreds: there they come with the first request.
    pub(super) fn declare(
        &mut self,
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
        // Most are the last plane's: looking up all series of a version by their labels takes longer than all the rest
        // of a small reload.
        let mut before: HashMap<(Arc<str>, Arc<str>), Vec<VersionMeter>> = HashMap::new();
        for meter in std::mem::take(&mut self.declared) {
            let key = (meter.labels().rule.clone(), meter.labels().version.clone());
            before.entry(key).or_default().push(meter);
        }
        let declared = versions.into_iter().map(|(route, ((_, version), service), delivers)| {
            let labels =
                lane::version_labels(snapshot, &service, &route.route.name, &version, None, delivers);
            let known = before.get_mut(&(labels.rule.clone(), labels.version.clone()));
            let known = known.and_then(|known| {
                let place = known.iter().position(|meter| *meter.labels() == labels)?;
                Some(known.swap_remove(place))
            });
            known.unwrap_or_else(|| {
                let meter = VersionMeter::declare(&self.recorder, &labels);
                meter.declare_dimensions();
                meter
            })
        });
        declared.collect()
    }

    /// The weights of the versions that `plane` splits to, under the labels of their choices. Where an entry names no
    /// version, what each version gets is nobody's word, so the rule has none.
    pub(super) fn show_weights(&mut self, plane: &Plane) {
        let mut weights: BTreeMap<Labels, f64> = BTreeMap::new();
        for (_, route) in plane.splits() {
            let versions = route.route.versions();
            if versions.iter().any(|version| version.version.is_none()) {
                continue;
            }
            let mut of_rule: BTreeMap<Labels, f64> = BTreeMap::new();
            for (version, target) in versions.iter().zip(&route.targets) {
                *of_rule.entry(target.choices.labels().clone()).or_default() += f64::from(version.weight);
            }
            // A rule for several hosts is one rule: its weights are not added up over them.
            for (labels, weight) in of_rule {
                weights.entry(labels).or_insert(weight);
            }
        }
        let gauges = self.weights.replace(weights.keys().cloned());
        gauges.iter().zip(weights.into_values()).for_each(|(gauge, weight)| gauge.set(weight));
    }

    pub(super) fn show_hashes(&mut self, snapshot: &Snapshot) {
        let hashes = content::hashes(snapshot);
        let gauges =
            self.hashes.replace(hashes.keys().map(|host| Labels::new(&[("service", host.as_ref())])));
        // 48 bits: a float holds them.
        gauges.iter().zip(hashes.into_values()).for_each(|(gauge, hash)| gauge.set(hash as f64));
    }

    /// What a request of `route` meets beside the split; nothing for a plain one.
    fn filters(
        &self,
        route: &Route,
        targets: &[TargetPlane],
        service: &Arc<Service>,
        snapshot: &Snapshot,
        clusters: &[Arc<ClusterPlane>],
    ) -> Option<Box<Filters>> {
        let versions = route.versions();
        let hashed = |&cluster: &usize| {
            let traffic = clusters[cluster].state.config.traffic.as_deref();
            traffic.is_some_and(|traffic| !traffic.hash.is_empty())
        };
        let hash = targets.iter().flat_map(|target| &target.clusters).flatten().any(hashed);
        let answers = route.forward().is_none();
        if !hash
            && !answers
            && route.policy.is_none()
            && versions.iter().all(|version| version.policy.is_none())
        {
            return None;
        }
        let mirrors = |mirrors: &[Mirror]| -> Vec<MirrorPlane> {
            mirrors.iter().map(|mirror| self.mirror(mirror, route, service, snapshot, clusters)).collect()
        };
        let of_target = |version: &VersionTarget| {
            version.policy.as_ref().map(|policy| mirrors(&policy.mirrors)).unwrap_or_default()
        };
        let policy = route.policy.clone().unwrap_or_default();
        Some(Box::new(Filters {
            path: route.matches.path.clone(),
            targets: versions.iter().map(|version| version.policy.clone()).collect(),
            mirrors: mirrors(&policy.mirrors),
            target_mirrors: versions.iter().map(of_target).collect(),
            hash,
            sticky: policy
                .sticky
                .as_ref()
                .map(|rule| sticky::seeds(&rule.salt, versions))
                .unwrap_or_default(),
            policy,
        }))
    }

    fn mirror(
        &self,
        mirror: &Mirror,
        route: &Route,
        service: &Arc<Service>,
        snapshot: &Snapshot,
        clusters: &[Arc<ClusterPlane>],
    ) -> MirrorPlane {
        let target = &mirror.target;
        let service = target.service.as_ref().map_or(service.clone(), |host| service_of(snapshot, host));
        let version: Arc<str> = target.version.clone().unwrap_or_else(|| UNKNOWN.into());
        MirrorPlane {
            clusters: clusters_of(target, clusters),
            meter: MirrorMeter::new(&self.recorder, &service.host, &route.name, &version),
            hop_value: hop::first_hop(&service.host, &target.labels),
            fraction: mirror.fraction,
            version,
            service,
        }
    }
}

/// The splits of a plane by service, rule, whether it delivers, and entries with their weights: one schedule for each
/// rule, however many listeners reach it, that goes on over reloads while all of that is what it was.
#[derive(Default)]
pub(super) struct Splits(HashMap<SplitKey, Arc<Split>>);

type SplitKey = (Arc<str>, Arc<str>, bool, Vec<Entry>);

/// Another service, labels, weight.
type Entry = (Option<Arc<str>>, snapshot::Labels, u32);

impl Splits {
    pub(super) fn kept(previous: Option<&Plane>) -> Splits {
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
            let weights = route.versions().iter().map(|version| version.weight).collect();
            Arc::new(Split::new(weights, rand::random()))
        };
        self.0.entry(split_key(route, delivers)).or_insert_with(new).clone()
    }
}

fn split_key(route: &Route, delivers: bool) -> SplitKey {
    let entry = |version: &VersionTarget| (version.service.clone(), version.labels.clone(), version.weight);
    let entries = route.versions().iter().map(entry).collect();
    (route.service(), route.name.clone(), delivers, entries)
}

/// Whether requests by `config` end in this pod: they were split before.
fn delivers(snapshot: &Snapshot, config: &RouteConfig) -> bool {
    let mut chains = snapshot.listeners.iter().flat_map(|listener| &listener.filter_chains);
    chains.any(|chain| chain.route_config == config.name && matches!(chain.mode, Mode::Deliver { .. }))
}

/// Whether a listener of this process hands requests for `service` to its own endpoints.
fn is_delivered(snapshot: &Snapshot, service: &str) -> bool {
    let mut chains = snapshot.listeners.iter().flat_map(|listener| &listener.filter_chains);
    chains.any(|chain| matches!(&chain.mode, Mode::Deliver { service: own, .. } if **own == *service))
}

/// The versions that a route's requests may be counted under, by service and version: those it names, or those of its
/// endpoints.
fn versions_of(
    route: &RoutePlane,
    clusters: &[Arc<ClusterPlane>],
) -> BTreeMap<(Arc<str>, Arc<str>), Arc<Service>> {
    let mut versions = BTreeMap::new();
    for (target, plane) in route.route.versions().iter().zip(&route.targets) {
        let mut add = |version: &Arc<str>| {
            versions.insert((plane.service.host.clone(), version.clone()), plane.service.clone());
        };
        match &target.version {
            Some(version) => add(version),
            None => plane
                .clusters
                .iter()
                .flatten()
                .flat_map(|&cluster| &clusters[cluster].state.members)
                .for_each(|member| add(&member.version)),
        }
    }
    versions
}

/// The indexes of a target's clusters, by protocol.
fn clusters_of(target: &VersionTarget, clusters: &[Arc<ClusterPlane>]) -> [Option<usize>; 2] {
    let find = |name: &str| clusters.binary_search_by(|plane| (*plane.state.config.name).cmp(name)).ok();
    [find(&target.grpc_cluster), find(&target.http_cluster)]
}

fn service_of(snapshot: &Snapshot, host: &Arc<str>) -> Arc<Service> {
    snapshot.services.get(host).cloned().unwrap_or_else(|| {
        let unknown: Arc<str> = crate::telemetry::UNKNOWN.into();
        Arc::new(Service { host: host.clone(), name: host.clone(), namespace: unknown, versions: Vec::new() })
    })
}
