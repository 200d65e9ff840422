//! What a DestinationRule says of clusters, over a running proxy: bounds, hashes, ejection.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Client, get};
use common::world::upstream::{Upstream, full};
use common::world::{Http, World, one_service, run};
use http::Response;
use weir::config::{self, Document, Environment};

/// A proxy for the service `x` with these endpoints, all of one version, under a traffic policy.
async fn under(policy: &str, endpoints: &[&Upstream]) -> World {
    let mut yaml =
        "listeners: [{name: in, address: \"127.0.0.1:0\", service: x}]\nservices:\n- name: x\n  endpoints:\n"
            .to_owned();
    for endpoint in endpoints {
        yaml += &format!("  - {{address: \"{}\", labels: {{version: v1}}}}\n", endpoint.at());
    }
    let rules = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\nspec:\n  host: x\n  trafficPolicy: {{{policy}}}\n"
    );
    World::with_rules(&yaml, &[("x.yaml", &rules)]).await
}

#[test]
fn an_upgrade_to_http_2_is_spoken_whatever_the_caller_speaks() {
    run(async || {
        for (policy, wanted) in [("UPGRADE", [true, true]), ("DO_NOT_UPGRADE", [false, true])] {
            let v1 = Upstream::start("v1").await;
            let world =
                under(&format!("connectionPool: {{http: {{h2UpgradePolicy: {policy}}}}}"), &[&v1]).await;
            for down in Http::BOTH {
                Client::connect(down, world.addr("in")).await.get("/").await;
            }
            let versions: Vec<_> =
                v1.seen().iter().map(|seen| seen.head.version == http::Version::HTTP_2).collect();
            assert_eq!(versions, wanted, "{policy}");
        }
    });
}

#[test]
fn one_request_at_a_time_is_one_request_at_a_time() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::holding().await;
            let world = under("connectionPool: {http: {http2MaxRequests: 1}}", &[&v1]).await;
            let mut first = Client::connect(down, world.addr("in")).await;
            let held = first.begin(get("/"));
            tokio::pin!(held);
            tokio::select! {
                answer = &mut held => panic!("nobody answers: {answer:?}"),
                () = v1.wait_begun(1) => {}
            }
            let refused = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!(refused.status, 503, "{down:?}");
            let log = world.log(1).await;
            assert!(log[0].starts_with("503 UO "), "{log:?}");
        }
    });
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_left_out() {
    run(async || {
        for down in Http::BOTH {
            let good = Upstream::start("good").await;
            let bad = Upstream::remembering(|_| {
                Response::builder().status(500).header("x-upstream", "bad").body(full("")).expect("an answer")
            })
            .await;
            let policy = "loadBalancer: {simple: ROUND_ROBIN}, \
                          outlierDetection: {consecutive5xxErrors: 3, interval: 1h, baseEjectionTime: 1h, maxEjectionPercent: 50}";
            let world = under(policy, &[&good, &bad]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..40 {
                client.get("/").await;
            }
            assert_eq!(bad.seen().len(), 3, "{down:?}");
            assert_eq!(good.seen().len(), 37);
        }
    });
}

#[test]
fn a_connection_serves_no_more_requests_than_it_may() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let world = under("connectionPool: {http: {maxRequestsPerConnection: 2}}", &[&v1]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..6 {
                client.get("/").await;
            }
            assert_eq!(v1.connections(), 3, "{down:?}");
        }
    });
}

#[test]
fn a_hash_sends_what_is_alike_to_one_endpoint_and_the_rest_elsewhere() {
    run(async || {
        for algorithm in ["ringHash: {minimumRingSize: 1024}", "maglev: {tableSize: 1009}"] {
            let all = [Upstream::start("a").await, Upstream::start("b").await, Upstream::start("c").await];
            let policy = format!("loadBalancer: {{consistentHash: {{httpHeaderName: x-user, {algorithm}}}}}");
            let world = under(&policy, &[&all[0], &all[1], &all[2]]).await;
            let mut seen = std::collections::BTreeSet::new();
            for user in 0..40 {
                let mut own = std::collections::BTreeSet::new();
                for down in Http::BOTH {
                    let mut client = Client::connect(down, world.addr("in")).await;
                    for _ in 0..2 {
                        let mut request = get("/");
                        let value = format!("user-{user}").parse().expect("a value");
                        request.headers_mut().insert("x-user", value);
                        own.insert(client.send(request).await.upstream().to_owned());
                    }
                }
                assert_eq!(own.len(), 1, "{algorithm} {user}: {own:?}");
                seen.extend(own);
            }
            assert_eq!(seen.len(), 3, "{algorithm}: {seen:?}");
        }
    });
}

/// Code, file, line and path of each warning about the service `x`, which has two ports, with more keys of its own.
fn warnings(keys: &str, rules: &[(&str, String)]) -> Vec<String> {
    let main = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", service: x}}]\nservices:\n- name: x\n{keys}  endpoints:\n  \
         - {{address: \"127.0.0.1:19001\"}}\n  - {{address: \"127.0.0.1:19002\"}}\n"
    );
    let document = |name: &str, text: &str| Document { name: name.into(), bytes: text.into() };
    let rules: Vec<_> = rules.iter().map(|(name, text)| document(name, text)).collect();
    let loaded = config::load(&document("weir.yaml", &main), &rules, &Environment::default());
    let found = loaded.expect("loads").warnings;
    let told = |one: &config::Diagnostic| format!("{} {} {}", one.code, one.origin.file_and_line(), one.path);
    found.iter().map(told).collect()
}

/// A DestinationRule for `x` with more metadata and a traffic policy.
fn rule(metadata: &str, policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{{metadata}}}\nspec:\n  host: x\n  \
         trafficPolicy: {{{policy}}}\n"
    )
}

/// A cluster has one set of settings: those for a port that only some of its endpoints have are told of.
#[test]
fn settings_for_a_port_that_only_some_endpoints_have_are_told_of() {
    for (port, code) in [(19001, "never-acts"), (19003, "no-port")] {
        let policy =
            format!("portLevelSettings: [{{port: {{number: {port}}}, loadBalancer: {{simple: RANDOM}}}}]");
        let found = warnings("", &[("x.yaml", rule("name: x", &policy))]);
        assert_eq!(found, [format!("{code} x.yaml:6 spec.trafficPolicy.portLevelSettings[0]")]);
    }
}

/// What can only be seen when all is put together is told where it stands, and once.
#[test]
fn a_setting_that_never_acts_is_told_where_it_stands_whoever_says_it() {
    let outlier = "outlierDetection: {consecutive5xxErrors: 3}";
    let warmup = "loadBalancer: {warmup: {duration: 30s}}";
    let told = |path: &str| vec![format!("never-acts {path}")];
    let found = |keys: &str, policy: &str| warnings(keys, &[("x.yaml", rule("name: x", policy))]);
    assert_eq!(found("", outlier), told("x.yaml:6 spec.trafficPolicy.outlierDetection"));
    assert_eq!(
        found("  lb: maglev\n  hash: [{header: x-user}]\n", warmup),
        told("x.yaml:6 spec.trafficPolicy.loadBalancer.warmup"),
        "the rule says when endpoints are new, and weir.yaml how they are chosen"
    );
    assert!(found("", warmup).is_empty());
    let keys = "  outlier: {consecutive_5xx: 3}\n";
    assert_eq!(warnings(keys, &[]), told("weir.yaml:4 services[0].outlier"));
    assert_eq!(found(keys, "connectionPool: {}"), told("weir.yaml:4 services[0].outlier"), "not the rule");
    let slow = "  slow_start: {window: 30s}\n";
    assert_eq!(warnings(&format!("  lb: random\n{slow}"), &[]), told("weir.yaml:5 services[0].slow_start"));
    assert!(warnings(slow, &[]).is_empty());
    assert_eq!(warnings("  hash: [{header: x-user}]\n", &[]), told("weir.yaml:4 services[0].hash"));
}

#[test]
fn of_two_rules_about_a_host_the_older_holds() {
    let policy = "loadBalancer: {simple: RANDOM}";
    let young = rule("name: a, creationTimestamp: \"2026-02-01T00:00:00Z\"", policy);
    let old = rule("name: z, creationTimestamp: \"2026-01-01T00:00:00Z\"", policy);
    let found = warnings("", &[("young.yaml", young), ("old.yaml", old)]);
    assert_eq!(found, ["host-claimed young.yaml:1 "]);
}

#[test]
fn a_protocol_that_weir_yaml_names_is_not_undone_in_silence() {
    let policy = "connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}";
    let found = |keys: &str| warnings(keys, &[("x.yaml", rule("name: x", policy))]);
    let path = "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy";
    assert_eq!(found("  protocol: http2\n"), [format!("never-acts x.yaml:6 {path}")]);
    assert!(found("").is_empty());
}

#[test]
fn the_protocol_of_the_caller_is_spoken_upstream_where_a_rule_asks_for_it() {
    run(async || {
        let policy = "connectionPool: {http: {useClientProtocol: true}}";
        for protocol in ["http1", "http2"] {
            let upstream = Upstream::start("a").await;
            let settings = format!("protocol: {protocol}");
            let yaml = one_service(&[&settings], &[(&upstream.at(), "v1")]);
            let world = World::with_rules(&yaml, &[("x.yaml", &rule("name: x", policy))]).await;
            for http in Http::BOTH {
                Client::connect(http, world.addr("in")).await.get("/").await;
                let seen = upstream.last();
                assert_eq!(
                    seen.head.version == http::Version::HTTP_2,
                    http == Http::Two,
                    "{protocol} {http:?}"
                );
            }
        }
    });
}
