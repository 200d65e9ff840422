//! Where routes of the Gateway API hold, and whose endpoints they lead to: parents by name, part and namespace, host names,
//! and backends in another namespace; what their rules are called. HTTPRoutes by both HTTPs, GRPCRoutes by calls.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::dialects::with;
use common::engine::Engine;
use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, free_port, one_service, run, until};
use weir::telemetry::Page;

/// How requests come that a kind of route is about.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Request(Http),
    Call,
}

/// Each kind of route, and how it is asked.
const KINDS: [(&str, &[Asks]); 2] =
    [("HTTPRoute", &[Asks::Request(Http::One), Asks::Request(Http::Two)]), ("GRPCRoute", &[Asks::Call])];

impl Asks {
    /// One request for `host` at a listener.
    async fn ask(self, engine: &Engine, listener: &str, host: &str) -> Answer {
        let (http, request) = match self {
            Asks::Request(http) => (http, get("/m")),
            Asks::Call => (Http::Two, grpc_call("/s.S/M", b"1")),
        };
        let mut client = Client::connect(http, engine.address(listener)).await;
        client.send(with(request, &[("host", host)])).await
    }

    /// Whether nobody took a request.
    fn is_lost(self, answer: &Answer) -> bool {
        match self {
            Asks::Request(_) => answer.status == 404,
            Asks::Call => answer.grpc_status() == Some("12"),
        }
    }
}

/// A route whose `spec` begins with `head`, all of which goes to one backend.
fn route(kind: &str, name: &str, head: &str, backend: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
         spec: {{{head}, rules: [{{backendRefs: [{{{backend}, port: 80}}]}}]}}\n"
    )
}

/// The service `x` in two versions.
async fn two() -> (Upstream, Upstream) {
    (Upstream::start("v1").await, Upstream::start("v2").await)
}

/// Listeners `in`, `edge` and `side` for the service `x`, the latter two of the gateway `public`, and their ports.
fn edges(v1: &Upstream, v2: &Upstream) -> (String, [u16; 2]) {
    let ports = [free_port(), free_port()];
    let edge = |name: &str, port: u16| {
        format!("- {{name: {name}, address: \"127.0.0.1:{port}\", service: x, gateways: [default/public]}}\n")
    };
    let both = edge("edge", ports[0]) + &edge("side", ports[1]);
    let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")])
        .replace("service: x}\n", &format!("service: x, gateways: [mesh]}}\n{both}"));
    (yaml, ports)
}

#[test]
fn a_part_of_a_gateway_is_the_listener_of_that_name_or_port() {
    run(async || {
        for (kind, asks) in KINDS {
            for by_port in [false, true] {
                let (v1, v2) = two().await;
                let (yaml, ports) = edges(&v1, &v2);
                let part = |name: &str, port: u16| match by_port {
                    true => format!("parentRefs: [{{name: public, port: {port}}}]"),
                    false => format!("parentRefs: [{{name: public, sectionName: {name}}}]"),
                };
                let rules = route(kind, "one", &part("edge", ports[0]), "name: x-v1")
                    + &route(kind, "two", &part("side", ports[1]), "name: x-v2");
                let engine = Engine::start(1, &yaml, &rules);
                for ask in asks {
                    for (listener, wanted) in [("edge", "v1"), ("side", "v2")] {
                        for _ in 0..3 {
                            let answer = ask.ask(&engine, listener, "a.example").await;
                            assert_eq!(answer.upstream(), wanted, "{kind} {ask:?} {listener}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_gateway_of_another_namespace_is_another_gateway() {
    run(async || {
        for (kind, asks) in KINDS {
            let (v1, v2) = two().await;
            let (yaml, _) = edges(&v1, &v2);
            let yaml = yaml.replacen("[default/public]", "[web/public]", 1);
            let rules = route(kind, "one", "parentRefs: [{name: public, namespace: web}]", "name: x-v1")
                + &route(kind, "two", "parentRefs: [{name: public}]", "name: x-v2");
            let engine = Engine::start(1, &yaml, &rules);
            for ask in asks {
                for (listener, wanted) in [("edge", "v1"), ("side", "v2")] {
                    for _ in 0..3 {
                        let answer = ask.ask(&engine, listener, "a.example").await;
                        assert_eq!(answer.upstream(), wanted, "{kind} {ask:?} {listener}");
                    }
                }
            }
        }
    });
}

/// Two services `x`, one in `default` with the endpoint `own` and one in `web` with `other`, each with a listener.
fn namesakes(own: &Upstream, other: &Upstream) -> String {
    format!(
        "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\n\
         - {{name: other, address: \"127.0.0.1:{}\", service: x.web}}\nservices:\n\
         - {{name: x, endpoints: [{{address: \"{}\"}}]}}\n\
         - {{name: x, namespace: web, endpoints: [{{address: \"{}\"}}]}}\n\
         - {{name: y, endpoints: [{{address: \"127.0.0.1:9\"}}]}}\n",
        free_port(),
        own.at(),
        other.at()
    )
}

#[test]
fn a_service_as_parent_is_that_of_its_namespace() {
    run(async || {
        for (kind, asks) in KINDS {
            // Each goes to the other one: what nobody has taken goes to its own.
            for (said, of_own, of_other) in [("", "other", "other"), (", namespace: web", "own", "own")] {
                let (own, other) = (Upstream::start("own").await, Upstream::start("other").await);
                let parent = format!("parentRefs: [{{group: \"\", kind: Service, name: x{said}}}]");
                let backend = if said.is_empty() { "name: x, namespace: web" } else { "name: x" };
                let rules = route(kind, "r", &parent, backend);
                let engine = Engine::start(1, &namesakes(&own, &other), &rules);
                for ask in asks {
                    for (listener, wanted) in [("in", of_own), ("other", of_other)] {
                        let answer = ask.ask(&engine, listener, "a.example").await;
                        assert_eq!(answer.upstream(), wanted, "{kind} {ask:?} {listener} {said}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_backend_is_the_service_of_its_namespace() {
    run(async || {
        for (kind, asks) in KINDS {
            for (said, wanted) in [
                ("", "own"),
                (", namespace: default", "own"),
                (", namespace: web", "other"),
                (", namespace: web, group: \"\", kind: Service", "other"),
            ] {
                let (own, other) = (Upstream::start("own").await, Upstream::start("other").await);
                let parent = "parentRefs: [{group: \"\", kind: Service, name: y}]";
                let rules = route(kind, "r", parent, &format!("name: x{said}"));
                let yaml = namesakes(&own, &other).replace("service: x}", "service: y}");
                let engine = Engine::start(1, &yaml, &rules);
                for ask in asks {
                    let answer = ask.ask(&engine, "in", "a.example").await;
                    assert_eq!(answer.upstream(), wanted, "{kind} {ask:?} {said}");
                }
            }
        }
    });
}

#[test]
fn host_names_choose_the_route_and_what_none_names_is_lost() {
    run(async || {
        for (kind, asks) in KINDS {
            let (v1, v2) = two().await;
            let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]).replace(", service: x", "");
            let rules = route(kind, "one", "hostnames: [a.example.com]", "name: x-v1")
                + &route(kind, "star", "hostnames: [\"*.example.com\"]", "name: x-v2");
            let engine = Engine::start(1, &yaml, &rules);
            for ask in asks {
                for (host, wanted) in [
                    ("a.example.com", Some("v1")),
                    ("A.Example.com:8500", Some("v1")),
                    ("b.example.com", Some("v2")),
                    ("x.y.example.com", Some("v2")),
                    ("example.com", None),
                    ("other.com", None),
                ] {
                    let answer = ask.ask(&engine, "in", host).await;
                    match wanted {
                        Some(upstream) => assert_eq!(answer.upstream(), upstream, "{kind} {ask:?} {host}"),
                        None => assert!(ask.is_lost(&answer), "{kind} {ask:?} {host}: {answer:?}"),
                    }
                }
            }
        }
    });
}

#[test]
fn a_rule_is_called_by_its_route_and_its_own_name() {
    run(async || {
        for (kind, asks) in KINDS {
            for ask in asks {
                let (v1, v2) = two().await;
                let parent = "parentRefs: [{group: \"\", kind: Service, name: x}]";
                let rules = route(kind, "r", parent, "name: x-v1")
                    .replace("{backendRefs", "{name: canary, backendRefs");
                let engine =
                    Engine::start(1, &one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]), &rules);
                assert_eq!(ask.ask(&engine, "in", "a.example").await.upstream(), "v1");
                until(&format!("{kind} {ask:?} is counted"), || {
                    let page = engine.shared.recorder.render(Page::Metrics);
                    let mut counts = page.lines().filter(|line| line.starts_with("weir_requests_total{"));
                    let is_it =
                        |line: &str| line.contains("rule=\"r.default/canary\"") && line.ends_with(" 1");
                    counts.any(is_it).then_some(())
                })
                .await;
            }
        }
    });
}
