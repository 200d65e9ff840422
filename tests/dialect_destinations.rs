//! Which service an object means, and what it is called where operators look: each form of a destination, its port, and
//! the names of rules, over a running proxy.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, World, free_port, run};

/// The services beside `front`: what stands in weir.yaml, the full host, and its upstream's name.
const SERVICES: [(&str, &str, &str); 4] = [
    ("name: x", "x.default.svc.cluster.local", "default"),
    ("name: x, namespace: models", "x.models.svc.cluster.local", "models"),
    ("host: x.models.example.com", "x.models.example.com", "domain"),
    ("host: models.example.org", "models.example.org", "whole"),
];

/// A RouteRule's namespace, its destination, and the upstream of the service that this means.
const DESTINATIONS: [(&str, &str, &str); 8] = [
    ("default", "{name: x}", "default"),
    ("models", "{name: x}", "models"),
    ("default", "{name: x, namespace: models}", "models"),
    ("models", "{name: x, namespace: default}", "default"),
    ("default", "{name: x, namespace: models, domain: svc.cluster.local}", "models"),
    ("default", "{name: x, namespace: models, domain: example.com}", "domain"),
    ("default", "{service: models.example.org}", "whole"),
    ("models", "{service: x.default.svc.cluster.local}", "default"),
];

fn rule(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r, namespace: {namespace}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// All services, each before its upstream, behind a listener for every host, under one RouteRule.
async fn under(rule: &str) -> (World, Vec<Upstream>) {
    let mut yaml = "listeners: [{name: in, address: \"127.0.0.1:0\"}]\nservices:\n".to_owned();
    let mut upstreams = Vec::new();
    for (said, _, name) in SERVICES.into_iter().chain([("name: front", "", "front")]) {
        let upstream = Upstream::start(name).await;
        yaml += &format!("- {{{said}, endpoints: [{{address: \"{}\"}}]}}\n", upstream.at());
        upstreams.push(upstream);
    }
    (World::with_rules(&yaml, &[("r.yaml", rule)]).await, upstreams)
}

#[test]
fn a_route_rule_is_about_the_service_that_its_destination_names_in_any_form_and_about_no_other() {
    run(async || {
        for (namespace, destination, meant) in DESTINATIONS {
            let rule = rule(namespace, &format!("destination: {destination}, redirect: {{uri: /moved}}"));
            let (world, _upstreams) = under(&rule).await;
            for down in Http::BOTH {
                let mut client = Client::connect(down, world.addr("in")).await;
                for (_, host, name) in SERVICES {
                    let mut request = get("/m");
                    request.headers_mut().insert("host", host.parse().expect("a host"));
                    let answer = client.send(request).await;
                    if name == meant {
                        let location = format!("http://{host}/moved");
                        assert_eq!(answer.header("location"), Some(&*location), "{down:?} {destination}");
                    } else {
                        assert_eq!(answer.upstream(), name, "{down:?} {destination} of {namespace}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_share_goes_to_the_service_that_its_destination_names_in_any_form() {
    run(async || {
        for (namespace, destination, meant) in DESTINATIONS {
            let to = format!("route: [{{destination: {destination}}}]");
            let front = "destination: {service: front.default.svc.cluster.local}";
            let (world, _upstreams) = under(&rule(namespace, &format!("{front}, {to}"))).await;
            for down in Http::BOTH {
                let mut client = Client::connect(down, world.addr("in")).await;
                let mut request = get("/m");
                request.headers_mut().insert("host", "front".parse().expect("a host"));
                assert_eq!(client.send(request).await.upstream(), meant, "{down:?} {destination}");
            }
            let mut call = grpc_call("/s/m", b"1");
            call.headers_mut().insert("host", "front.default".parse().expect("a host"));
            let answer = Client::connect(Http::Two, world.addr("in")).await.send(call).await;
            assert_eq!((answer.upstream(), answer.grpc_status()), (meant, Some("0")), "{destination}");
        }
    });
}

fn virtual_service(rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: vs, namespace: models}}\n\
         spec: {{hosts: [x.default.svc.cluster.local], http: [{rules}]}}\n"
    )
}

#[test]
fn the_name_of_a_rule_stands_in_the_log_and_in_the_metrics() {
    run(async || {
        for down in Http::BOTH {
            let upstream = Upstream::start("x").await;
            let to = "route: [{destination: {host: x.default.svc.cluster.local}}]";
            let rules = virtual_service(&format!(
                "{{name: canary, match: [{{uri: {{prefix: /new}}}}], {to}}}, {{name: stable, {to}}}"
            ));
            let yaml = format!(
                "listeners: [{{name: in, address: \"127.0.0.1:0\", service: x}}]\n\
                 services: [{{name: x, endpoints: [{{address: \"{}\"}}]}}]\n",
                upstream.at()
            );
            let world = World::with_rules(&yaml, &[("r.yaml", &rules)]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for path in ["/new", "/old", "/new/m"] {
                assert_eq!(client.get(path).await.status, 200);
            }
            let names: Vec<String> = world
                .log(3)
                .await
                .iter()
                .map(|line| line.split(' ').nth(4).expect("a route").to_owned())
                .collect();
            assert_eq!(names, ["vs.models/canary", "vs.models/stable", "vs.models/canary"], "{down:?}");
            for (rule, count) in [("canary", 2.0), ("stable", 1.0)] {
                let label = format!("rule=\"vs.models/{rule}\"");
                assert_eq!(world.metric("weir_requests_total", &[&label]).await, count, "{down:?} {rule}");
            }
        }
    });
}

#[test]
fn a_request_goes_to_its_protocols_port_of_an_endpoint_whichever_port_the_destination_names() {
    run(async || {
        let (rest, grpc) = (Upstream::start("rest").await, Upstream::start("grpc").await);
        for port in [rest.addr().port(), grpc.addr().port(), free_port()] {
            let rules = virtual_service(&format!(
                "{{route: [{{destination: {{host: x.default.svc.cluster.local, port: {{number: {port}}}}}}}]}}"
            ));
            let yaml = format!(
                "listeners: [{{name: in, address: \"127.0.0.1:0\", service: x}}]\n\
                 services: [{{name: x, endpoints: [{{http: \"{}\", grpc: \"{}\"}}]}}]\n",
                rest.at(),
                grpc.at()
            );
            let world = World::with_rules(&yaml, &[("r.yaml", &rules)]).await;
            for down in Http::BOTH {
                let mut client = Client::connect(down, world.addr("in")).await;
                assert_eq!(client.get("/m").await.upstream(), "rest", "{down:?} {port}");
            }
            let call = grpc_call("/s/m", b"1");
            let answer = Client::connect(Http::Two, world.addr("in")).await.send(call).await;
            assert_eq!((answer.upstream(), answer.grpc_status()), ("grpc", Some("0")), "{port}");
            assert!(world.log(3).await.iter().all(|line| line.contains(" vs.models")), "{port}");
        }
    });
}
