//! Whose rules hold at which host, whatever the dialect: the laws of `claims` and `listeners`, on drafts written by hand.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Origin, Place};
use crate::config::draft::{
    ActionDraft, Claim, Dialect, GatewayRef, HostRef, Order, RouteDraft, RuleDraft, Select, ShareDraft,
    Specificity,
};
use crate::config::{weir_yaml, yaml};
use crate::snapshot::{Domain, HeaderMatch, HeaderName, Labels, LbPolicy, RouteConfig, StringMatch};

const SERVICES: &str = "services:\n- {name: a, endpoints: [{address: \"10.0.0.1:80\"}]}\n\
                        - {name: b, endpoints: [{address: \"10.0.0.2:80\"}]}\n";
const BY_HOST: &str = "listeners: [{name: l, address: \"0.0.0.0:80\"}]\n";
const ONLY_A: &str = "listeners: [{name: l, address: \"0.0.0.0:80\", service: a}]\n";

fn place(line: u32) -> Place {
    Place { origin: Origin { file: "r.yaml".into(), line, column: 1 }, path: String::new() }
}

/// An object whose rules forward to `to`, one for each order.
fn object(dialect: Dialect, name: &str, claim: &str, to: &str, orders: &[Order]) -> RouteDraft {
    let domain = |text: &str| match text.strip_prefix('*') {
        Some("") => Domain::Any,
        Some(end) => Domain::Suffix(end.into()),
        None => Domain::Exact(text.into()),
    };
    let short = |text: &str| HostRef::Short { text: text.into(), namespace: None };
    let claim = match claim.contains(['.', '*']) {
        true => Claim::Domain(domain(claim), place(name.len() as u32)),
        false => Claim::Service(short(claim), place(name.len() as u32)),
    };
    let share = ShareDraft {
        place: place(1),
        destination: Some(short(to)),
        select: Select::Labels(Labels::new()),
        port: None,
        weight: 1,
        policy: None,
    };
    let rule = |(index, order): (usize, &Order)| RuleDraft {
        place: place(1),
        label: Some(format!("#{index}").into()),
        gateways: None,
        order: *order,
        path: None,
        headers: vec![HeaderMatch { name: HeaderName::Method, value: StringMatch::Exact(name.into()) }],
        more: None,
        source: None,
        action: ActionDraft::Shares(vec![share.clone()]),
        timeout: None,
        repeatable: None,
        upgrades: Vec::new(),
        policy: None,
    };
    RouteDraft {
        place: place(1),
        dialect,
        kind: "Kind",
        name: name.into(),
        namespace: "default".into(),
        created: None,
        claims: vec![claim],
        gateways: None,
        rules: orders.iter().enumerate().map(rule).collect(),
    }
}

fn listed(name: &str, claim: &str, to: &str) -> RouteDraft {
    object(Dialect::VirtualService, name, claim, to, &[Order::Listed])
}

fn linked(listeners: &str, routes: Vec<RouteDraft>) -> (Snapshot, Vec<String>) {
    let scope = Scope::new("weir.yaml");
    let environment = Environment::default();
    let nodes = yaml::parse(format!("{listeners}{SERVICES}").as_bytes()).expect("is YAML");
    let draft = weir_yaml::decode(&nodes[0], &scope, &environment).expect("is right");
    let (snapshot, found) = link(&draft, &Objects { routes, traffic: Vec::new() }, &environment);
    let codes = found.iter().filter(|one| one.code != "unused-service");
    (snapshot.expect("links"), codes.map(|one| format!("{} {}", one.code, one.reason)).collect())
}

fn config(snapshot: &Snapshot) -> &RouteConfig {
    snapshot.route_configs.values().next().expect("one")
}

/// The names of the routes of a virtual host.
fn names(snapshot: &Snapshot, host: &str) -> Vec<String> {
    let hosts = &config(snapshot).virtual_hosts;
    let host = hosts.iter().find(|one| *one.name == *host).unwrap_or_else(|| panic!("{host}: {hosts:?}"));
    host.routes.iter().map(|route| route.name.to_string()).collect()
}

const A: &str = "a.default.svc.cluster.local";

#[test]
fn a_host_is_of_the_newest_dialect_and_the_others_are_told() {
    let rule = object(Dialect::RouteRule, "older", "a", "a", &[Order::Precedence(0)]);
    let (snapshot, found) = linked(ONLY_A, vec![rule.clone()]);
    assert_eq!(
        (names(&snapshot, A), found.len()),
        (vec!["older.default#0".into(), "default-route".into()], 0)
    );

    let (snapshot, found) = linked(ONLY_A, vec![rule.clone(), listed("new", "a", "a")]);
    assert_eq!(names(&snapshot, A), ["new.default#0"], "what no rule of a VirtualService takes gets 404");
    assert_eq!(
        found,
        [
            "host-claimed `a.default.svc.cluster.local` has the Kind `new.default` (r.yaml:3): this one has no say"
        ]
    );

    let newest = object(
        Dialect::GatewayApi,
        "newest",
        "a",
        "a",
        &[
            Order::Specificity(Specificity([1, 0, 0, 0, 0, 0])),
            Order::Specificity(Specificity([2, 0, 0, 0, 0, 0])),
        ],
    );
    let (snapshot, found) = linked(ONLY_A, vec![rule, newest, listed("new", "a", "a")]);
    assert_eq!(names(&snapshot, A), ["newest.default#1", "newest.default#0"], "the more specific first");
    assert_eq!(found.len(), 2);
}

#[test]
fn of_two_virtual_services_the_older_has_a_host_whole() {
    let mut older = listed("z", "a", "a");
    older.created = Some("2026-01-01T00:00:00Z".into());
    let (snapshot, found) = linked(ONLY_A, vec![listed("y", "a", "a"), older]);
    assert_eq!(names(&snapshot, A), ["z.default#0"]);
    assert!(found.len() == 1 && found[0].starts_with("host-claimed"), "{found:?}");
}

#[test]
fn an_endpoint_is_chosen_as_the_dialect_about_the_service_has_it_by_default() {
    let lb = |routes| linked(ONLY_A, routes).0.clusters.values().map(|one| one.lb).collect::<Vec<_>>();
    assert_eq!(lb(Vec::new()), [LbPolicy::RoundRobin]);
    assert_eq!(lb(vec![listed("v", "a", "a")]), [LbPolicy::LeastRequest]);
}

#[test]
fn a_host_that_no_service_has_is_a_virtual_host_of_its_own() {
    let (snapshot, found) = linked(BY_HOST, vec![listed("v", "models.example.com", "b")]);
    assert_eq!((names(&snapshot, "models.example.com"), found.len()), (vec!["v.default#0".into()], 0));
    assert_eq!(names(&snapshot, A), ["default-route"]);
    let host = config(&snapshot).virtual_hosts.last().expect("one");
    assert_eq!(host.domains, [Domain::Exact("models.example.com".into())]);
    assert_eq!(&*host.routes[0].service(), "b.default.svc.cluster.local");
    assert_eq!(host.routes[0].versions()[0].weight, 100, "a lone share has all");
}

#[test]
fn a_host_that_a_service_has_in_any_form_is_that_service() {
    let (snapshot, _) = linked(BY_HOST, vec![listed("v", "a.default", "b")]);
    assert_eq!(names(&snapshot, A), ["v.default#0"]);
    assert_eq!(config(&snapshot).virtual_hosts.len(), 2);
    let route = &config(&snapshot).virtual_hosts[0].routes[0];
    assert_eq!(route.versions()[0].service.as_deref(), Some("b.default.svc.cluster.local"));
    assert!(snapshot.services.len() == 2, "its versions are known too");
}

#[test]
fn a_star_holds_for_services_that_nobody_claims_and_the_narrowest_wins() {
    let stars =
        vec![listed("any", "*", "b"), listed("local", "*.cluster.local", "b"), listed("own", "b", "b")];
    let (snapshot, found) = linked(BY_HOST, stars);
    assert_eq!((names(&snapshot, A), found.len()), (vec!["local.default#0".into()], 0));
    assert_eq!(names(&snapshot, "b.default.svc.cluster.local"), ["own.default#0"]);
    assert_eq!(names(&snapshot, "*"), ["any.default#0"]);
}

#[test]
fn a_listener_for_one_service_takes_the_objects_that_lead_to_it() {
    let objects = || {
        vec![
            listed("star", "*", "a"),
            listed("elsewhere", "*", "b"),
            listed("host", "m.example.com", "a"),
            listed("far", "n.example.com", "b"),
        ]
    };
    let (snapshot, found) = linked(ONLY_A, objects());
    assert_eq!((names(&snapshot, A), found.len()), (vec!["star.default#0".into()], 0));
    assert_eq!(names(&snapshot, "m.example.com"), ["host.default#0"]);
    assert_eq!(config(&snapshot).virtual_hosts.len(), 2);
    let rule = object(Dialect::RouteRule, "rule", "a", "a", &[Order::Precedence(0)]);
    let (snapshot, found) = linked(ONLY_A, objects().into_iter().chain([rule]).collect());
    assert_eq!(names(&snapshot, A), ["star.default#0"]);
    assert!(found.len() == 1 && found[0].starts_with("host-claimed"), "{found:?}");
}

#[test]
fn objects_of_a_gateway_hold_at_the_listeners_that_stand_for_it() {
    let both = "listeners:\n- {name: edge, address: \"0.0.0.0:80\", service: a, gateways: [edge]}\n\
                - {name: mesh, address: \"0.0.0.0:81\", service: a, gateways: [mesh]}\n";
    let of = |name: &str, gateway: &str| {
        let gateway = GatewayRef { name: gateway.into(), section: None, port: None };
        RouteDraft { gateways: Some(Box::new([gateway])), ..listed(name, "a", "a") }
    };
    let (snapshot, found) = linked(both, vec![of("x", "infra/edge"), of("y", "mesh"), of("z", "other")]);
    let of_listener = |name: &str| {
        let config = &snapshot.route_configs[format!("service:{A}@{name}").as_str()];
        config.virtual_hosts[0].routes.iter().map(|route| route.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of_listener("edge"), ["x.default#0"]);
    assert_eq!(of_listener("mesh"), ["y.default#0"]);
    assert_eq!(found, ["unknown-gateway no listener stands for `other`: no rule of it has an effect"]);
}

#[test]
fn a_share_for_a_service_that_nobody_declared_keeps_its_part_and_has_no_cluster() {
    let mut split = listed("v", "a", "a");
    let ActionDraft::Shares(shares) = &mut split.rules[0].action else { unreachable!("it is a split") };
    shares.push(ShareDraft { destination: Some(HostRef::Whole("gone.example".into())), ..shares[0].clone() });
    shares.push(ShareDraft { select: Select::Subset("v9".into()), ..shares[0].clone() });
    let (snapshot, found) = linked(ONLY_A, vec![split]);
    let versions = config(&snapshot).virtual_hosts[0].routes[0].versions();
    assert_eq!(versions.iter().map(|one| one.weight).collect::<Vec<_>>(), [1, 1, 1]);
    let there = |index: usize| snapshot.clusters.contains_key(&versions[index].http_cluster);
    assert_eq!([0, 1, 2].map(there), [true, false, false]);
    assert_eq!(versions[1].service.as_deref(), Some("gone.example"));
    let codes: Vec<_> = found.iter().filter_map(|one| one.split(' ').next()).collect();
    assert_eq!(codes, ["unknown-service", "unknown-subset"]);
}
