//! Whom objects are about, whom their shares lead to, and what their rules are called: over a running proxy, by both HTTPs.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::clusters::caller;
use common::dialects::{Served, gateway_route, route_rule, to, virtual_service};
use common::engine::Engine;
use common::world::client::{Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, free_port, one_service, run, until};
use weir::telemetry::Page;

#[test]
fn a_route_rule_is_about_the_service_that_it_names_in_any_form() {
    run(async || {
        for (form, of_web) in [
            ("name: x", false),
            ("name: x, namespace: default", false),
            ("name: x, namespace: web", true),
            ("name: x, namespace: web, domain: svc.cluster.local", true),
            ("service: x.web.svc.cluster.local", true),
            ("service: x.default.svc.cluster.local", false),
        ] {
            for (down, up) in Http::matrix() {
                let (own, other) = (Upstream::start("own").await, Upstream::start("other").await);
                let protocol = up.protocol();
                let yaml = format!(
                    "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x.default}}\n\
                     - {{name: other, address: \"127.0.0.1:{}\", service: x.web}}\nservices:\n\
                     - {{name: x, protocol: {protocol}, endpoints: [{{address: \"{}\"}}]}}\n\
                     - {{name: x, protocol: {protocol}, namespace: web, endpoints: [{{address: \"{}\"}}]}}\n",
                    free_port(),
                    own.at(),
                    other.at()
                );
                let rules =
                    route_rule("appendHeaders: {x-rule: r}").replace("{name: x}", &format!("{{{form}}}"));
                let engine = Engine::start(1, &yaml, &rules);
                for (listener, upstream, wanted) in [("in", &own, !of_web), ("other", &other, of_web)] {
                    Client::connect(down, engine.address(listener)).await.get("/").await;
                    let is_ruled = upstream.last().header("x-rule").is_some();
                    assert_eq!(is_ruled, wanted, "{form} {listener} {down:?} {up:?}");
                }
            }
        }
    });
}

#[test]
fn the_port_of_a_share_chooses_none_of_the_endpoints() {
    run(async || {
        for (down, up) in Http::matrix() {
            let all = [Upstream::start("a").await, Upstream::start("b").await];
            let at = all.each_ref().map(Upstream::at);
            let settings = format!("protocol: {}", up.protocol());
            let yaml = one_service(&[&settings, "lb: round_robin"], &[(&at[0], "v1"), (&at[1], "v1")]);
            let port = all[0].addr().port();
            let share = format!("route: [{{destination: {{host: x, port: {{number: {port}}}}}}}]");
            let engine = Engine::start(1, &yaml, &virtual_service(&format!("{{{share}}}")));
            let mut client = caller(down, &engine).await;
            for _ in 0..4 {
                client.get("/").await;
            }
            assert_eq!(all.each_ref().map(Upstream::begun), [2, 2], "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_rule_is_called_by_its_object_and_its_own_name() {
    run(async || {
        let rule = "{name: canary, backendRefs: [{name: x-v1, port: 80}]}";
        for (rules, name, is_grpc) in [
            (virtual_service(&format!("{{name: canary, {}}}", to("v1"))), "x.default/canary", false),
            (gateway_route("HTTPRoute", rule), "r.default/canary", false),
            (gateway_route("GRPCRoute", rule), "r.default/canary", true),
        ] {
            for (down, up) in Http::matrix().filter(|&hops| !is_grpc || hops == (Http::Two, Http::Two)) {
                let served = Served::under(up, &rules).await;
                let asked = if is_grpc { grpc_call("/s.S/M", b"1") } else { get("/") };
                assert_eq!(served.send(down, asked).await.upstream(), "v1");
                let rule = format!("rule=\"{name}\"");
                until("it is counted", || {
                    let page = served.engine.shared.recorder.render(Page::Metrics);
                    let mut counts = page.lines().filter(|line| line.starts_with("weir_requests_total{"));
                    counts.find(|line| line.contains(&rule) && line.ends_with(" 1")).map(str::to_owned)
                })
                .await;
            }
        }
    });
}
