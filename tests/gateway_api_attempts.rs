//! An HTTPRoute's and a GRPCRoute's times, retries and mirrors, seen from both ends of a running proxy.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::cell::Cell;
use std::rc::Rc;

use common::world::client::{Answer, Client, grpc_call, post};
use common::world::upstream::{Upstream, full};
use common::world::{Http, World, one_service, run, soon, until};
use http::Response;
use tokio::sync::Notify;
use tokio::task::spawn_local;

/// A route of the service `x` with rules in YAML's flow style.
fn route(kind: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: x}}]\n  rules: {rules}\n"
    )
}

/// A proxy for the service `x` with these upstreams as its versions, and an HTTPRoute with these rules.
async fn world(settings: &[&str], versions: &[(&Upstream, &str)], rules: &str) -> World {
    let addresses: Vec<_> = versions.iter().map(|(upstream, version)| (upstream.at(), *version)).collect();
    let endpoints: Vec<_> = addresses.iter().map(|(at, version)| (at.as_str(), *version)).collect();
    World::with_rules(&one_service(settings, &endpoints), &[("r.yaml", &route("HTTPRoute", rules))]).await
}

const BACKEND: &str = "backendRefs: [{name: x, port: 80}]";

/// An upstream that answers its first requests with these statuses, and all others with 200.
async fn answering(statuses: &'static [u16]) -> Upstream {
    let turn = Cell::new(0);
    Upstream::remembering(move |_| {
        let status = statuses.get(turn.replace(turn.get() + 1)).copied().unwrap_or(200);
        Response::builder().status(status).body(full(status.to_string())).expect("a response")
    })
    .await
}

async fn ask(http: Http, world: &World, path: &str) -> Answer {
    Client::connect(http, world.addr("in")).await.get(path).await
}

#[test]
fn a_request_that_outlasts_its_timeout_gets_504_and_zero_turns_the_services_own_off() {
    run(async || {
        for http in Http::BOTH {
            let release = Rc::new(Notify::new());
            let waiting = release.clone();
            let x = Upstream::handling(move |_| {
                let waiting = waiting.clone();
                async move {
                    waiting.notified().await;
                    Response::new(full("late"))
                }
            })
            .await;
            let rules = format!(
                "[{{timeouts: {{request: 0s}}, {BACKEND}}}, {{matches: [{{path: {{value: /bounded}}}}], \
                 timeouts: {{request: 150ms}}, {BACKEND}}}]"
            );
            let world = world(&["timeout: 100ms"], &[(&x, "v1")], &rules).await;
            let addr = world.addr("in");
            let unbounded = spawn_local(async move { Client::connect(http, addr).await.get("/").await });
            soon("the first request is there", x.wait_begun(1)).await;
            // It came later and its bound is longer than the service's own: when it has passed, so has the other.
            assert_eq!(ask(http, &world, "/bounded").await.status, 504, "{http:?}");
            release.notify_one();
            let answer = soon("the first answer", unbounded).await.expect("it ends");
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "late"), "{http:?}");
        }
    });
}

#[test]
fn an_attempt_that_outlasts_backend_request_is_made_again_if_retries_are_asked_for() {
    run(async || {
        for http in Http::BOTH {
            for (retry, status, begun) in [("retry: {attempts: 2}, ", 200, 2), ("", 504, 1)] {
                let turn = Cell::new(0);
                let x = Upstream::handling(move |_| {
                    let first = turn.replace(turn.get() + 1) == 0;
                    async move {
                        if first {
                            std::future::pending::<()>().await;
                        }
                        Response::new(full("second"))
                    }
                })
                .await;
                let rules = format!("[{{timeouts: {{backendRequest: 100ms}}, {retry}{BACKEND}}}]");
                let world = world(&[], &[(&x, "v1")], &rules).await;
                let answer = ask(http, &world, "/").await;
                assert_eq!((answer.status.as_u16(), x.begun()), (status, begun), "{http:?} {retry}");
            }
        }
    });
}

#[test]
fn a_status_that_is_listed_is_retried_as_often_as_is_said_and_no_other() {
    run(async || {
        for http in Http::BOTH {
            for (retry, statuses, status, attempts) in [
                ("{codes: [503]}", &[503][..], 200, 2),
                ("{codes: [503]}", &[503, 503], 503, 2),
                ("{codes: [500, 503], attempts: 2}", &[503, 500], 200, 3),
                ("{codes: [500]}", &[503], 503, 1),
                ("{codes: [503], attempts: 0}", &[503], 503, 1),
                ("{codes: [429], backoff: 1ms}", &[429], 200, 2),
                ("{}", &[503], 503, 1),
            ] {
                let x = answering(statuses).await;
                let world = world(&[], &[(&x, "v1")], &format!("[{{retry: {retry}, {BACKEND}}}]")).await;
                let got = ask(http, &world, "/").await;
                assert_eq!((got.status.as_u16(), x.seen().len()), (status, attempts), "{http:?} {retry}");
            }
        }
    });
}

#[test]
fn a_retry_stays_with_the_backend_that_was_chosen() {
    run(async || {
        for http in Http::BOTH {
            let (v1, v2) = (answering(&[503, 503]).await, answering(&[]).await);
            let rules = "[{retry: {codes: [503], attempts: 2, backoff: 1ms}, backendRefs: [{name: x-v1, port: 80}, \
                          {name: x-v2, port: 80, weight: 0}]}]";
            let world = world(&[], &[(&v1, "v1"), (&v2, "v2")], rules).await;
            assert_eq!(ask(http, &world, "/").await.status, 200);
            assert_eq!((v1.seen().len(), v2.seen().len()), (3, 0), "{http:?}");
        }
    });
}

#[test]
fn a_mirror_gets_a_copy_of_each_request_of_its_rule_or_of_its_backend() {
    run(async || {
        let mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x-v2, port: 80}}}]";
        let rules = format!(
            "[{{matches: [{{path: {{value: /rule}}}}], {mirror}, backendRefs: [{{name: x-v1, port: 80}}]}}, \
             {{matches: [{{path: {{value: /backend}}}}], backendRefs: [{{name: x-v1, port: 80, {mirror}}}]}}, \
             {{backendRefs: [{{name: x-v1, port: 80}}]}}]"
        );
        for http in Http::BOTH {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let world = world(&[], &[(&v1, "v1"), (&v2, "v2")], &rules).await;
            for path in ["/", "/rule", "/backend"] {
                let request = post(path, "payload");
                let answer = Client::connect(http, world.addr("in")).await.send(request).await;
                assert_eq!(answer.upstream(), "v1", "{path} {http:?}");
            }
            let copies = until("both copies", || Some(v2.seen()).filter(|seen| seen.len() == 2)).await;
            let mut targets: Vec<_> = copies.iter().map(|seen| seen.target().to_owned()).collect();
            targets.sort();
            assert_eq!(targets, ["/backend", "/rule"], "{http:?}");
            assert!(copies.iter().all(|seen| seen.body == "payload"), "{http:?}");
        }
    });
}

#[test]
fn a_grpcroute_mirrors_calls() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let rules = "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x-v2, port: 80}, fraction: \
                      {numerator: 3, denominator: 3}}}], backendRefs: [{name: x-v1, port: 80}]}]";
        let world = World::with_rules(&yaml, &[("r.yaml", &route("GRPCRoute", rules))]).await;
        let call = grpc_call("/a.B/C", b"hello");
        let answer = Client::connect(Http::Two, world.addr("in")).await.send(call).await;
        assert_eq!((answer.upstream(), answer.grpc_status()), ("v1", Some("0")));
        let copy = until("the copy", || v2.seen().pop()).await;
        assert_eq!((copy.target(), &copy.body), ("/a.B/C", &v1.only().body));
    });
}
