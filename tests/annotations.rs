//! Annotations over a running proxy: what they say of all rules of an object or of one holds, in each dialect.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::cell::Cell;

use common::world::client::{Client, get, grpc};
use common::world::upstream::{Upstream, full, grpc_message};
use common::world::{Http, World, one_service, run};
use http::Response;

const TIMED: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: x
  annotations:
    weir/idle-timeout.idle: 150ms
    weir/per-try-idle-timeout.tries: 100ms
    weir/retriable-headers.again: X-Again
    weir/max-grpc-timeout: 100ms
spec:
  hosts: [x]
  http:
  - {name: idle, match: [{uri: {prefix: /idle}}], route: [{destination: {host: x}}]}
  - name: tries
    match: [{uri: {prefix: /tries}}]
    retries: {attempts: 1, retryOn: gateway-error}
    route: [{destination: {host: x}}]
  - name: again
    match: [{uri: {prefix: /again}}]
    retries: {attempts: 3, retryOn: gateway-error}
    route: [{destination: {host: again}}]
  - route: [{destination: {host: x}}]
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: y, annotations: {weir/idle-timeout: 150ms}}
spec: {destination: {name: y}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: z, annotations: {weir/idle-timeout.2: 150ms}}
spec:
  parentRefs: [{group: '', kind: Service, name: z}]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /other}}], backendRefs: [{name: z, port: 80}]}
  - backendRefs: [{name: z, port: 80}]
";

#[test]
fn times_and_headers_of_tries_hold_for_the_rules_that_they_are_said_of() {
    run(async || {
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let asked = Cell::new(0);
            let again = Upstream::remembering(move |_| {
                asked.set(asked.get() + 1);
                let response =
                    Response::builder().header(if asked.get() == 2 { "x-done" } else { "x-again" }, "1");
                response.body(full("again")).expect("a response")
            })
            .await;
            let service = |name: &str, at: String| {
                format!(
                    "- {{name: {name}, protocol: {}, endpoints: [{{address: \"{at}\"}}]}}\n",
                    up.protocol()
                )
            };
            let services: String = ["x", "y", "z"].map(|name| service(name, held.at())).concat();
            let yaml = format!(
                "listeners:\n- {{name: x, address: \"127.0.0.1:0\", service: x}}\n\
                 - {{name: y, address: \"127.0.0.2:0\", service: y}}\n- {{name: z, address: \"127.0.0.3:0\", service: z}}\n\
                 services:\n{services}{}",
                service("again", again.at())
            );
            let world = World::with_rules(&yaml, &[("x.yaml", TIMED)]).await;
            let ask = async |listener: &str, path: &str| {
                Client::connect(down, world.addr(listener)).await.send(get(path)).await
            };
            for (listener, path) in [("x", "/idle"), ("y", "/"), ("z", "/")] {
                let answer = ask(listener, path).await;
                let told = (answer.status.as_u16(), answer.text());
                assert_eq!(told, (504, "stream timeout"), "{listener} {down:?} {up:?}");
            }
            let begun = held.begun();
            assert_eq!(ask("x", "/tries").await.text(), "upstream request timeout", "{down:?} {up:?}");
            assert_eq!(held.begun() - begun, 2, "two tries, each until it was idle for too long");
            let answer = ask("x", "/again").await;
            assert_eq!((answer.status.as_u16(), again.seen().len()), (200, 2), "{down:?} {up:?}");
            assert!(answer.header("x-done").is_some(), "the second has no such field");
            if down == Http::Two {
                let call = grpc("/s.S/M").header("grpc-timeout", "1H").body(full(grpc_message(b"hello")));
                let mut caller = Client::connect(down, world.addr("x")).await;
                let answer = caller.send(call.expect("a call")).await;
                assert_eq!(answer.grpc_status(), Some("4"), "an hour counts as a tenth of a second");
            }
        }
    });
}

#[test]
fn one_rule_of_an_object_sticks_and_another_does_not_and_salts_set_rules_apart() {
    let rules = |salts: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: x\n  annotations:\n    \
             weir/sticky.a: header:x-user\n    weir/sticky.b: header:x-user\n{salts}\
             spec:\n  hosts: [x]\n  http:\n  - {{name: a, match: [{{uri: {{prefix: /a}}}}], route: &both \
             [{{destination: {{host: x, subset: v1}}, weight: 50}}, {{destination: {{host: x, subset: v2}}, weight: 50}}]}}\n  \
             - {{name: b, match: [{{uri: {{prefix: /b}}}}], route: *both}}\n  - {{name: c, route: *both}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\nspec: {{host: x, subsets: \
             [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}\n"
        )
    };
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        for (salts, alike) in [
            ("", false),
            ("    weir/sticky-salt.a: s\n    weir/sticky-salt.b: s\n", true),
            ("    weir/sticky-salt.a: s\n    weir/sticky-salt.b: t\n", false),
        ] {
            let world = World::with_rules(&yaml, &[("x.yaml", &rules(salts))]).await;
            let mut caller = Client::connect(Http::Two, world.addr("in")).await;
            let mut differ = 0;
            for user in 0..40 {
                let mut versions = Vec::new();
                for path in ["/a", "/b", "/a", "/b"] {
                    let mut request = get(path);
                    request.headers_mut().insert("x-user", user.into());
                    versions.push(caller.send(request).await.upstream().to_owned());
                }
                assert_eq!(versions[..2], versions[2..], "each sticks");
                differ += usize::from(versions[0] != versions[1]);
            }
            assert_eq!(differ == 0, alike, "{salts:?}: {differ} of 40 differ");
            let mut versions = Vec::new();
            for _ in 0..10 {
                let mut request = get("/c");
                request.headers_mut().insert("x-user", 1.into());
                versions.push(caller.send(request).await.upstream().to_owned());
            }
            assert!(
                versions.iter().any(|one| one == "v1") && versions.iter().any(|one| one == "v2"),
                "{versions:?}"
            );
        }
    });
}
