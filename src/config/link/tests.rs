//! Whose rules hold at which host, whatever the dialect: the laws of `claims` and `listeners`, on drafts written by hand.

mod stars;

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Origin, Place};
use crate::config::draft::{
    ActionDraft, Claim, Dialect, GatewayRef, HostRef, Order, RouteDraft, RuleDraft, Select, ShareDraft,
    Specificity,
};
use crate::config::{weir_yaml, yaml};
use crate::snapshot::{
    DirectResponse, Domain, HeaderMatch, HeaderName, Labels, LbPolicy, MoreMatch, RouteConfig, StringMatch,
};
use crate::words::Protocol;

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
    linked_with(&format!("{listeners}{SERVICES}"), routes)
}

fn linked_with(main: &str, routes: Vec<RouteDraft>) -> (Snapshot, Vec<String>) {
    let scope = Scope::new("weir.yaml");
    let environment = Environment::default();
    let nodes = yaml::parse(main.as_bytes()).expect("is YAML");
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
    config(snapshot).routes_of(host).map(|route| route.name.to_string()).collect()
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

/// The routes that a request for `host` meets at the listener `name`.
fn at(snapshot: &Snapshot, name: &str, host: &str) -> Vec<String> {
    let listener = snapshot.listeners.iter().find(|one| &*one.name == name).expect("a listener");
    let config = &snapshot.route_configs[&listener.filter_chains[0].route_config];
    let rank = |domain: &Domain| match domain {
        Domain::Exact(own) => (**own == *host).then_some((3, 0)),
        Domain::Suffix(end) => host.ends_with(&**end).then_some((2, end.len())),
        Domain::Prefix(start) => host.starts_with(&**start).then_some((1, start.len())),
        Domain::Any => Some((0, 0)),
    };
    let ranked =
        config.virtual_hosts.iter().filter_map(|one| Some((one.domains.iter().filter_map(rank).max()?, one)));
    let found = ranked.max_by_key(|(rank, _)| *rank).map(|(_, one)| one);
    let names = |one| config.routes_of(one).map(|route| route.name.to_string()).collect();
    found.map(names).unwrap_or_default()
}

const BOTH: &str = "listeners:\n- {name: hosts, address: \"0.0.0.0:80\"}\n\
                    - {name: one, address: \"0.0.0.0:81\", service: a}\n";
const FORMS: [&str; 4] = ["a", "a.default", "a.default.svc", A];

/// An object that answers by itself.
fn answering(name: &str, claim: &str) -> RouteDraft {
    let mut object = listed(name, claim, "a");
    let response = DirectResponse { status: 403, body: None, content_type: None };
    object.rules[0].action = ActionDraft::Direct(Box::new(response));
    object
}

fn by_gateway(object: RouteDraft) -> RouteDraft {
    let gateway = GatewayRef { name: "edge".into(), section: None, port: None };
    RouteDraft { gateways: Some(Box::new([gateway])), ..object }
}

fn of_mesh(object: RouteDraft) -> RouteDraft {
    let gateway = GatewayRef { name: "mesh".into(), section: None, port: None };
    RouteDraft { gateways: Some(Box::new([gateway])), ..object }
}

#[test]
fn every_form_of_a_services_host_meets_the_same_rules_at_every_listener() {
    let rule = || object(Dialect::RouteRule, "rule", "a", "a", &[Order::Precedence(0)]);
    let worlds = [
        vec![listed("own", "a", "a"), listed("star", "*.default.svc.cluster.local", "a")],
        vec![rule(), listed("star", "*", "a")],
        vec![rule(), listed("star", "*.cluster.local", "a"), answering("deny", "*")],
        vec![listed("star", "*.default.svc.cluster.local", "a")],
        vec![by_gateway(listed("star", "*", "a")), listed("other", "m.example.com", "a")],
        vec![answering("deny", "*"), answering("host", "m.example.com")],
    ];
    for (index, objects) in worlds.into_iter().enumerate() {
        let (snapshot, _) = linked(BOTH, objects);
        for form in FORMS {
            let both = ["hosts", "one"].map(|listener| at(&snapshot, listener, form));
            assert!(both[0] == both[1] && !both[0].is_empty(), "{index} {form}: {both:?}");
        }
    }
}

#[test]
fn the_rules_of_a_services_own_host_go_before_those_of_a_star() {
    let objects = vec![listed("own", "a", "a"), listed("star", "*.default.svc.cluster.local", "a")];
    let (snapshot, found) = linked(BOTH, objects);
    for (listener, form) in ["hosts", "one"].into_iter().flat_map(|one| FORMS.map(|form| (one, form))) {
        assert_eq!(at(&snapshot, listener, form), ["own.default#0"], "{listener} {form}");
    }
    assert_eq!(at(&snapshot, "one", "localhost"), ["own.default#0"]);
    assert_eq!(at(&snapshot, "one", "z.default.svc.cluster.local"), ["star.default#0"]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_only_answers_holds_at_a_listener_of_one_service_and_leaves_it_the_rest() {
    let objects = vec![answering("deny", "m.example.com"), listed("own", "a", "a")];
    let (snapshot, found) = linked(BOTH, objects);
    assert_eq!(at(&snapshot, "hosts", "m.example.com"), ["deny.default#0"]);
    assert_eq!(at(&snapshot, "one", "m.example.com"), ["deny.default#0", "own.default#0"]);
    assert_eq!(at(&snapshot, "one", "localhost"), ["own.default#0"]);
    assert!(found.is_empty(), "{found:?}");

    let rule = object(Dialect::RouteRule, "rule", "a", "a", &[Order::Precedence(0)]);
    let (snapshot, found) = linked(BOTH, vec![answering("deny", "*"), rule]);
    assert_eq!(at(&snapshot, "one", "localhost"), ["deny.default#0", "rule.default#0", "default-route"]);
    assert_eq!(at(&snapshot, "one", "a"), ["rule.default#0", "default-route"], "a host of its own");
    assert!(found.is_empty(), "{found:?}");

    let mut mixed = answering("mixed", "m.example.com");
    mixed.rules.extend(listed("mixed", "a", "b").rules);
    let (snapshot, _) = linked(BOTH, vec![mixed]);
    assert_eq!(at(&snapshot, "one", "m.example.com"), ["default-route"], "it leads to another service");
}

#[test]
fn a_star_that_is_for_a_gateway_takes_nothing_from_callers_that_pass_none() {
    let star = || listed("star", "*", "a");
    let named = "listeners:\n- {name: hosts, address: \"0.0.0.0:80\", gateways: [edge]}\n";
    let (snapshot, found) = linked(BOTH, vec![by_gateway(star())]);
    for listener in ["hosts", "one"] {
        assert_eq!(at(&snapshot, listener, "a"), ["star.default#0", "default-route"], "{listener}");
    }
    assert_eq!(at(&snapshot, "hosts", "m.example.com"), ["star.default#0"]);
    assert!(found.is_empty(), "{found:?}");
    let (snapshot, _) = linked(BOTH, vec![of_mesh(star())]);
    assert_eq!(at(&snapshot, "hosts", "a"), ["star.default#0"], "what it leaves gets 404, as in Istio");
    let (snapshot, _) = linked(named, vec![by_gateway(star())]);
    assert_eq!(at(&snapshot, "hosts", "a"), ["star.default#0"], "a gateway shows what its routes say");
}

#[test]
fn an_object_without_rules_takes_a_host_from_nobody() {
    let rule = object(Dialect::RouteRule, "rule", "a", "a", &[Order::Precedence(0)]);
    let empty = object(Dialect::GatewayApi, "empty", "a", "a", &[]);
    let (snapshot, found) = linked(BOTH, vec![rule, empty]);
    for listener in ["hosts", "one"] {
        assert_eq!(at(&snapshot, listener, "a"), ["rule.default#0", "default-route"]);
    }
    assert!(found.is_empty(), "{found:?}");
}

/// A GRPCRoute of `a`.
fn calls(name: &str) -> RouteDraft {
    let mut calls =
        object(Dialect::GatewayApi, name, "a", "a", &[Order::Specificity(Specificity::default())]);
    calls.kind = "GRPCRoute";
    let grpc = MoreMatch { protocol: Some(Protocol::Grpc), ..MoreMatch::default() };
    calls.rules[0].more = Some(Box::new(grpc));
    calls
}

#[test]
fn a_grpc_route_leaves_other_requests_to_the_next_dialect() {
    let protocols = |snapshot: &Snapshot| -> Vec<(String, Option<Protocol>)> {
        let routes = &config(snapshot).virtual_hosts[0].routes;
        let of =
            |route: &Arc<crate::snapshot::Route>| route.matches.more.as_ref().and_then(|more| more.protocol);
        routes.iter().map(|route| (route.name.to_string(), of(route))).collect()
    };
    let (grpc, http) = (Some(Protocol::Grpc), Some(Protocol::Http));
    let (snapshot, found) = linked(ONLY_A, vec![calls("c")]);
    assert_eq!(protocols(&snapshot), [("c.default#0".into(), grpc), ("default-route".into(), http)]);
    assert!(found.is_empty(), "{found:?}");

    let mut whole =
        object(Dialect::RouteRule, "rule", "a", "a", &[Order::Precedence(1), Order::Precedence(0)]);
    whole.rules[0].headers.clear();
    let (snapshot, found) = linked(ONLY_A, vec![calls("c"), whole]);
    assert_eq!(protocols(&snapshot), [("c.default#0".into(), grpc), ("rule.default#0".into(), http)]);
    assert!(found[0].starts_with("host-claimed gRPC requests of"), "{found:?}");
    assert!(found.len() == 2 && found[1].starts_with("shadowed"), "{found:?}");

    let (snapshot, found) = linked(ONLY_A, vec![calls("c"), listed("v", "a", "a")]);
    assert_eq!(protocols(&snapshot), [("c.default#0".into(), grpc), ("v.default#0".into(), http)]);
    assert_eq!(found.len(), 1, "{found:?}");

    let specific = Order::Specificity(Specificity([1, 0, 0, 0, 0, 0]));
    let http_route = object(Dialect::GatewayApi, "h", "a", "a", &[specific]);
    let (snapshot, _) = linked(ONLY_A, vec![calls("c"), http_route]);
    assert_eq!(protocols(&snapshot), [("h.default#0".into(), None), ("c.default#0".into(), grpc)]);
}

#[test]
fn rules_of_two_kinds_with_one_name_are_told_apart() {
    let mut http_route =
        object(Dialect::GatewayApi, "m", "a", "a", &[Order::Specificity(Specificity::default())]);
    http_route.kind = "HTTPRoute";
    http_route.rules[0].headers.clear();
    let (snapshot, found) = linked(ONLY_A, vec![http_route.clone(), calls("m")]);
    assert_eq!(names(&snapshot, A), ["httproute:m.default#0"]);
    assert!(
        found.len() == 1 && found[0].starts_with("shadowed"),
        "told, though the names are alike: {found:?}"
    );
    let (snapshot, _) = linked(ONLY_A, vec![http_route, calls("z")]);
    assert_eq!(names(&snapshot, A), ["m.default#0"]);
}

#[test]
fn a_part_of_a_gateway_is_the_listener_of_that_name_or_port() {
    let part = |name: &str, section: Option<&str>, port| {
        let gateway = GatewayRef { name: "edge".into(), section: section.map(Into::into), port };
        RouteDraft { gateways: Some(Box::new([gateway])), ..listed(name, "m.example.com", "a") }
    };
    let both =
        "listeners:\n- {name: http, address: \"0.0.0.0:80\"}\n- {name: https, address: \"0.0.0.0:443\"}\n";
    let (snapshot, found) =
        linked(both, vec![part("redirect", Some("http"), None), part("shop", None, Some(443))]);
    assert_eq!(at(&snapshot, "http", "m.example.com"), ["redirect.default#0"]);
    assert_eq!(at(&snapshot, "https", "m.example.com"), ["shop.default#0"]);
    assert!(found.is_empty(), "{found:?}");
    let (_, found) = linked(both, vec![part("lost", Some("other"), Some(8))]);
    assert_eq!(
        found,
        [
            "unknown-gateway no listener stands for `edge`, section `other`, port 8: no rule of it has an effect"
        ]
    );
}
