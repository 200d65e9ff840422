//! What a route carries into a plane: nothing beside its split, unless something is said.

use super::*;
use crate::proxy::plane::RoutePlane;
use crate::snapshot::{
    Action, Admin, CircuitBreakers, Cluster, DirectResponse, Domain, Drain, Forward, Fraction, HashKey,
    Labels, LbPolicy, Limits, Mirror, Node, Route, RouteConfig, RouteMatch, RoutePolicy, Service,
    TargetPolicy, TrafficPolicy, UpstreamProtocol, VersionTarget, VirtualHost, Workers,
};
use std::time::Duration;

fn cluster(service: &str, traffic: Option<TrafficPolicy>) -> Cluster {
    Cluster {
        name: format!("out.{service}").into(),
        service: service.into(),
        labels: Labels::new(),
        protocol: UpstreamProtocol::AsRequest,
        lb: LbPolicy::RoundRobin,
        local_bias: 0,
        connect_timeout: Duration::from_secs(5),
        dns_refresh: Duration::from_secs(5),
        circuit_breakers: CircuitBreakers::default(),
        localities: Vec::new(),
        traffic: traffic.map(Box::new),
    }
}

/// A version of `service`, which is the rule's own if it is `a`.
fn target(service: &str) -> VersionTarget {
    VersionTarget {
        service: (service != "a").then(|| service.into()),
        version: Some("v1".into()),
        weight: 1,
        grpc_cluster: format!("out.{service}").into(),
        http_cluster: format!("out.{service}").into(),
        ..VersionTarget::default()
    }
}

fn forward(versions: Vec<VersionTarget>) -> Action {
    Action::Forward(Forward { service: "a".into(), versions, repeatable: true, ..Forward::default() })
}

fn snapshot(route: Route, clusters: Vec<Cluster>) -> Snapshot {
    let name: Arc<str> = "model".into();
    let (domain, labels) = (name.clone(), Labels::new());
    let host = VirtualHost {
        name: name.clone(),
        domains: vec![Domain::Any],
        after: None,
        routes: vec![Arc::new(route)],
    };
    let routes = RouteConfig { name: name.clone(), virtual_hosts: vec![host] };
    let service = |host: &str| {
        let (host, namespace) = (Arc::<str>::from(host), "n".into());
        (host.clone(), Arc::new(Service { name: host.clone(), host, namespace, versions: Vec::new() }))
    };
    Snapshot {
        node: Node {
            id: name.clone(),
            cluster: name.clone(),
            namespace: name.clone(),
            workload: name,
            labels,
            domain,
        },
        admin: Admin { address: ([127, 0, 0, 1], 0).into(), metrics_address: None },
        workers: Workers::Fixed(1),
        access_log: None,
        tracing: None,
        drain: Drain::default(),
        limits: Limits::default(),
        internal_cidrs: Vec::new(),
        callers: Vec::new(),
        dimensions: Vec::new(),
        grpc_as_http: true,
        listeners: Vec::new(),
        route_configs: BTreeMap::from([(routes.name.clone(), Arc::new(routes))]),
        clusters: clusters.into_iter().map(|cluster| (cluster.name.clone(), Arc::new(cluster))).collect(),
        services: ["a", "b"].map(service).into(),
    }
}

/// Publishes one route over the clusters of `a` and `b` and looks at it.
fn planned(
    action: Action,
    policy: Option<RoutePolicy>,
    of_b: Option<TrafficPolicy>,
    look: impl Fn(&RoutePlane),
) {
    let recorder = Recorder::new(1);
    let process = ProcessMeter::new(&recorder);
    let mut planner = Planner::new(recorder, process, Arc::new(ArcSwapOption::empty()));
    let (name, origin) = ("rule".into(), "a.yaml:1".into());
    let route = Route { name, origin, matches: RouteMatch::any(), action, policy: policy.map(Arc::new) };
    let snapshot = snapshot(route, vec![cluster("a", None), cluster("b", of_b)]);
    let plane = planner.publish(Arc::new(snapshot)).expect("there is no log to open");
    look(&plane.routes[0].routes[0]);
}

#[test]
fn a_plain_split_meets_no_filters_and_everything_else_does() {
    let plain = || vec![target("a")];
    let said = || vec![VersionTarget { policy: Some(Arc::new(TargetPolicy::default())), ..target("a") }];
    let hashed = TrafficPolicy { hash: vec![HashKey::SourceAddress], ..TrafficPolicy::default() };
    let direct = DirectResponse { status: 200, body: None, content_type: None };
    planned(forward(plain()), None, Some(hashed.clone()), |route| {
        assert!(route.filters.is_none() && route.repeatable, "another cluster's hash is nothing to it");
    });
    planned(forward(vec![target("b")]), None, Some(TrafficPolicy::default()), |route| {
        assert!(route.filters.is_none(), "its endpoints' health is the cluster's affair");
    });
    let has = |route: &RoutePlane| assert!(route.filters.as_ref().is_some_and(|filters| !filters.hash));
    planned(forward(plain()), Some(RoutePolicy::default()), None, has);
    planned(forward(said()), None, None, has);
    planned(Action::DirectResponse(Box::new(direct)), None, None, has);
    planned(forward(vec![target("a"), target("b")]), None, Some(hashed), |route| {
        assert!(route.filters.as_ref().is_some_and(|filters| filters.hash && filters.targets.len() == 2));
    });
}

#[test]
fn a_share_and_a_mirror_may_be_another_services() {
    let mirror = Mirror { target: target("b"), fraction: Fraction::ALWAYS };
    let absent = Mirror { target: target("c"), fraction: Fraction::of_percent(1.5) };
    let of_share = TargetPolicy { mirrors: vec![mirror.clone()], ..TargetPolicy::default() };
    let policy = RoutePolicy { mirrors: vec![mirror, absent], ..RoutePolicy::default() };
    let share = VersionTarget { policy: Some(Arc::new(of_share)), ..target("b") };
    planned(forward(vec![target("a"), share]), Some(policy), None, |route| {
        let hosts: Vec<&str> = route.targets.iter().map(|target| &*target.service.host).collect();
        assert_eq!((&*route.service.host, hosts), ("a", vec!["a", "b"]));
        assert_eq!(route.targets[1].clusters, [Some(1), Some(1)]);
        let filters = route.filters.as_ref().expect("there is a policy");
        let [first, second] = &filters.mirrors[..] else { panic!("{:?}", filters.mirrors) };
        assert_eq!((&*first.service.host, first.clusters), ("b", [Some(1), Some(1)]));
        assert_eq!(second.clusters, [None, None], "nobody declared it");
        assert!(second.fraction.holds(14_999) && !second.fraction.holds(15_000));
        assert_eq!(filters.target_mirrors.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(first.hop_value, route.targets[1].hop_value);
    });
}
