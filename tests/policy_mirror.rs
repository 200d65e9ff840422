//! Copies of requests: what they are, and that nothing that becomes of them reaches the caller.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::policed::{Policed, mirror};
use common::world::client::{Client, get, grpc_call, post, request};
use common::world::raw::RawUpstream;
use common::world::upstream::{Upstream, channel, full};
use common::world::{Http, free_port, run, soon, until};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use weir::snapshot::{BackOff, Forward, Fraction, RetryCondition, RetryPolicy, RoutePolicy, TargetPolicy};

/// Every request to `v1` is copied to `v2`.
fn mirrored(up: Http, v1: &str, v2: &str, more: &str) -> Policed {
    let copies = |forward: &mut Forward, policy: &mut RoutePolicy| policy.mirrors = vec![mirror(forward)];
    Policed::split(&[&format!("protocol: {}", up.protocol())], &[(v1, "v1"), (v2, "v2")], more, copies)
}

/// Bytes that no two places share.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 7 % 251) as u8).collect()
}

/// Reads a body at once, and tells its length and whether every byte was right.
async fn judge(request: Request<Incoming>) -> String {
    let mut body = request.into_body();
    let (mut at, mut right) = (0, true);
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            right &= data.iter().enumerate().all(|(n, &byte)| usize::from(byte) == (at + n) / 7 % 251);
            at += data.len();
        }
    }
    format!("{at} {right}")
}

/// An upstream that says what it thinks of each body.
async fn judging(said: Rc<RefCell<Vec<String>>>) -> Upstream {
    Upstream::handling(move |request| {
        let said = said.clone();
        async move {
            let verdict = judge(request).await;
            said.borrow_mut().push(verdict.clone());
            Response::new(full(verdict))
        }
    })
    .await
}

async fn nothing_is_kept(proxy: &Policed) {
    let shared = &proxy.engine.shared;
    let kept = || shared.replay.load(Ordering::Relaxed) + shared.copied.load(Ordering::Relaxed);
    until("nothing is kept", || (kept() == 0).then_some(())).await;
}

#[test]
fn a_copy_is_the_request_with_the_hosts_name_changed_and_the_caller_sees_nothing_of_it() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let proxy = mirrored(up, &v1.at(), &v2.at(), "");
            let mut caller = proxy.caller(down).await;
            let mut sent = post("/m?q=1", "body");
            sent.headers_mut().insert("x-own", "1".parse().expect("a value"));
            assert_eq!(caller.send(sent).await.upstream(), "v1");
            proxy.copied("sent", 1.0).await;
            let (first, copy) = (v1.only(), v2.only());
            assert_eq!(copy.host(), "x.default.svc.cluster.local-shadow", "{down:?} {up:?}");
            assert_eq!(first.host(), "x.default.svc.cluster.local");
            assert_eq!(
                (copy.target(), &copy.head.method, &copy.body),
                ("/m?q=1", &Method::POST, &Bytes::from("body"))
            );
            assert_eq!(copy.header("x-request-id"), first.header("x-request-id"));
            assert_eq!(copy.header("x-own"), Some("1"));
            assert_eq!(copy.header("x-weir-hop"), Some("1;x.default.svc.cluster.local;version=v2"));
            assert_eq!(caller.send(get("/m")).await.upstream(), "v1");
            proxy.copied("sent", 2.0).await;
            assert_eq!(proxy.metric("weir_split_choices_total"), 2.0, "a copy is no choice");
            assert_eq!(proxy.log(2).await.len(), 2, "nor a line in the log");
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_total"), 4.0, "but it counts on its cluster");
            nothing_is_kept(&proxy).await;
        }
    });
}

#[test]
fn a_copy_speaks_its_own_clusters_http() {
    run(async || {
        for down in Http::BOTH {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let proxy = mirrored(Http::One, &v1.at(), &v2.at(), "");
            proxy.caller(down).await.send(grpc_call("/s.S/M", b"hi")).await;
            proxy.copied("sent", 1.0).await;
            assert_eq!(v2.only().body, v1.only().body);
        }
    });
}

#[test]
fn a_shadow_that_refuses_resets_or_hangs_neither_delays_nor_fails_the_request() {
    run(async || {
        for (down, up) in Http::matrix() {
            let resets = RawUpstream::resetting(up).await;
            let mute = RawUpstream::mute().await;
            let holds = Upstream::holding().await;
            let refuses = format!("127.0.0.1:{}", free_port());
            for shadow in [refuses, resets.at(), mute.at(), holds.at()] {
                let v1 = Upstream::start("v1").await;
                let protocol = format!("protocol: {}", up.protocol());
                let endpoints = [(&*v1.at(), "v1"), (&*shadow, "v2")];
                let proxy = Policed::split(&[&protocol], &endpoints, "", |forward, policy| {
                    // Only what hangs meets it.
                    forward.timeout = Some(Duration::from_secs(3));
                    policy.mirrors = vec![mirror(forward)];
                });
                let mut caller = proxy.caller(down).await;
                for _ in 0..3 {
                    assert_eq!(caller.send(post("/m", "{}")).await.text(), "v1", "{down:?} {up:?} {shadow}");
                }
                proxy.copied("failed", 3.0).await;
                assert!(proxy.log(3).await.iter().all(|line| line == "200 - via_upstream 1"));
                nothing_is_kept(&proxy).await;
            }
        }
    });
}

#[test]
fn a_large_body_streams_to_both_byte_for_byte() {
    run(async || {
        for (down, up) in Http::matrix() {
            let said: Rc<RefCell<Vec<String>>> = Rc::default();
            let (v1, v2) = (judging(Rc::default()).await, judging(said.clone()).await);
            let proxy = mirrored(up, &v1.at(), &v2.at(), "");
            let answer = proxy.caller(down).await.send(post("/m", pattern(3_000_000))).await;
            assert_eq!(answer.text(), "3000000 true", "{down:?} {up:?}");
            proxy.copied("sent", 1.0).await;
            assert_eq!(*said.borrow(), ["3000000 true"]);
            nothing_is_kept(&proxy).await;
        }
    });
}

#[test]
fn a_body_without_an_end_in_sight_reaches_the_shadow_as_it_passes() {
    run(async || {
        for (down, up) in Http::matrix() {
            let said: Rc<RefCell<Vec<String>>> = Rc::default();
            let (v1, v2) = (judging(Rc::default()).await, judging(said.clone()).await);
            let proxy = mirrored(up, &v1.at(), &v2.at(), "");
            let (sender, body) = channel();
            let all = pattern(50_000);
            let pieces: Vec<Bytes> = all.chunks(9_973).map(Bytes::copy_from_slice).collect();
            let feed = async {
                for piece in pieces {
                    sender.send(Frame::data(piece)).expect("the proxy reads");
                    tokio::task::yield_now().await;
                }
                // Both have begun before the end is sent.
                until("both have begun", || (v1.begun() + v2.begun() == 2).then_some(())).await;
                drop(sender);
            };
            let sent = request(Method::POST, "/m").body(body).expect("a request");
            let mut caller = proxy.caller(down).await;
            let (answer, ()) = tokio::join!(caller.send(sent), feed);
            assert_eq!(answer.text(), "50000 true", "{down:?} {up:?}");
            proxy.copied("sent", 1.0).await;
            assert_eq!(*said.borrow(), ["50000 true"]);
        }
    });
}

#[test]
fn a_shadow_that_does_not_read_is_skipped_at_the_budget_and_the_request_goes_on() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = judging(Rc::default()).await;
            let blind = Upstream::blind().await;
            let limits = "limits: {replay_bytes: 256KiB, replay_budget: 256KiB}\n";
            let proxy = mirrored(up, &v1.at(), &blind.at(), limits);
            let answer = proxy.caller(down).await.send(post("/m", pattern(20_000_000))).await;
            assert_eq!(answer.text(), "20000000 true", "{down:?} {up:?}");
            proxy.copied("skipped", 1.0).await;
            assert_eq!((proxy.copies("sent"), proxy.copies("failed")), (0.0, 0.0));
            nothing_is_kept(&proxy).await;
            let met = proxy.metric("weir_limit_exceeded_total{limit=\"replay_bytes\"}")
                + proxy.metric("weir_limit_exceeded_total{limit=\"replay_budget\"}");
            assert!(met > 0.0);
        }
    });
}

#[test]
fn a_copy_and_a_retry_share_what_is_kept() {
    run(async || {
        for (down, up) in Http::matrix() {
            let turn = Cell::new(0);
            let v1 = Upstream::remembering(move |seen| {
                let status = if turn.replace(turn.get() + 1) % 2 == 0 { 503 } else { 200 };
                Response::builder().status(status).body(full(seen.body)).expect("a response")
            })
            .await;
            let said: Rc<RefCell<Vec<String>>> = Rc::default();
            let v2 = judging(said.clone()).await;
            // Room for one body, and not for two.
            let limits = "limits: {replay_bytes: 700KiB, replay_budget: 700KiB}\n";
            let protocol = format!("protocol: {}", up.protocol());
            let proxy = Policed::split(
                &[&protocol],
                &[(&v1.at(), "v1"), (&v2.at(), "v2")],
                limits,
                |forward, policy| {
                    policy.mirrors = vec![mirror(forward)];
                    policy.retry = Some(RetryPolicy {
                        on: [RetryCondition::ServerError].into_iter().collect(),
                        back_off: BackOff { base: Duration::ZERO, max: Duration::ZERO },
                        ..RetryPolicy::default()
                    });
                },
            );
            let body = pattern(600_000);
            let answer = proxy.caller(down).await.send(post("/m", body.clone())).await;
            assert!(answer.status == 200 && answer.body == body, "{down:?} {up:?} {}", answer.status);
            proxy.copied("sent", 1.0).await;
            assert_eq!(*said.borrow(), ["600000 true"], "it is copied once, and whole");
            assert_eq!(v1.seen().len(), 2);
            nothing_is_kept(&proxy).await;
        }
    });
}

#[test]
fn a_request_that_breaks_off_does_not_look_whole_to_the_shadow() {
    run(async || {
        for (down, up) in Http::matrix() {
            let whole: Rc<RefCell<Vec<bool>>> = Rc::default();
            let note = whole.clone();
            let v1 = Upstream::start("v1").await;
            let v2 = Upstream::handling(move |request: Request<Incoming>| {
                let note = note.clone();
                async move {
                    let ended = request.into_body().collect().await.is_ok();
                    note.borrow_mut().push(ended);
                    Response::new(full(""))
                }
            })
            .await;
            let proxy = mirrored(up, &v1.at(), &v2.at(), "");
            let (sender, body) = channel();
            sender.send(Frame::data("half".into())).expect("sent");
            let sent = request(Method::POST, "/m").body(body).expect("a request");
            let mut caller = proxy.caller(down).await;
            let begun = tokio::task::spawn_local(async move { caller.begin(sent).await.is_ok() });
            v2.wait_begun(1).await;
            begun.abort();
            drop(sender);
            proxy.copied("skipped", 1.0).await;
            until("the shadow knows", || (v2.cancelled() + whole.borrow().len() == 1).then_some(())).await;
            assert!(!whole.borrow().contains(&true), "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_copy_outlives_its_request_and_is_bounded_by_the_routes_timeout() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::holding().await);
        let proxy = Policed::split(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")], "", |forward, policy| {
            forward.timeout = Some(Duration::from_millis(400));
            policy.mirrors = vec![mirror(forward)];
        });
        let mut caller = proxy.caller(Http::One).await;
        caller.send(get("/m")).await;
        drop(caller);
        v2.wait_begun(1).await;
        proxy.copied("failed", 1.0).await;
        until("it is cancelled", || (v2.cancelled() == 1).then_some(())).await;
        until("it is no longer active", || {
            (proxy.metric("envoy_cluster_upstream_rq_active") == 0.0).then_some(())
        })
        .await;
    });
}

#[test]
fn no_more_copies_are_under_way_than_a_worker_may_have() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::holding().await);
        let proxy = mirrored(Http::Two, &v1.at(), &v2.at(), "");
        let mut caller = proxy.caller(Http::Two).await;
        for _ in 0..130 {
            assert_eq!(caller.send(get("/m")).await.text(), "v1");
        }
        proxy.copied("overflow", 2.0).await;
        assert_eq!(proxy.metric("weir_limit_exceeded_total{limit=\"mirrors\"}"), 2.0);
        assert_eq!(proxy.copies("sent"), 0.0);
    });
}

#[test]
fn an_open_breaker_of_the_shadow_costs_copies_alone() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::holding().await);
        let settings = ["circuit_breakers: {requests: 2}"];
        let proxy =
            Policed::split(&settings, &[(&v1.at(), "v1"), (&v2.at(), "v2")], "", |forward, policy| {
                policy.mirrors = vec![mirror(forward)];
            });
        let mut caller = proxy.caller(Http::One).await;
        for _ in 0..5 {
            assert_eq!(caller.send(get("/m")).await.text(), "v1");
        }
        proxy.copied("overflow", 3.0).await;
        v2.wait_begun(2).await;
    });
}

#[test]
fn a_share_of_the_requests_is_copied() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let half = |numerator| {
            Policed::split(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")], "", move |forward, policy| {
                let fraction = Fraction { numerator, denominator: 2 };
                policy.mirrors = vec![weir::snapshot::Mirror { fraction, ..mirror(forward) }];
            })
        };
        let proxy = half(1);
        let mut caller = proxy.caller(Http::One).await;
        for _ in 0..400 {
            caller.send(get("/m")).await;
        }
        until("no copy is on its way", || {
            (proxy.metric("envoy_cluster_upstream_rq_active") == 0.0).then_some(())
        })
        .await;
        // Ten standard deviations.
        let copies = proxy.copies("sent");
        assert!((100.0..300.0).contains(&copies), "{copies}");
        let proxy = half(0);
        proxy.caller(Http::One).await.send(get("/m")).await;
        assert_eq!(proxy.copies("sent") + proxy.copies("failed"), 0.0);
    });
}

#[test]
fn one_share_of_the_split_may_have_copies_of_its_own() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let proxy = Policed::split(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")], "", |forward, _| {
            let mirrors = vec![mirror(forward), mirror(forward)];
            forward.versions[0].policy =
                Some(std::sync::Arc::new(TargetPolicy { mirrors, ..TargetPolicy::default() }));
        });
        proxy.caller(Http::One).await.send(post("/m", "body")).await;
        until("two copies", || (v2.seen().len() == 2).then_some(())).await;
        assert!(v2.seen().iter().all(|seen| seen.body == "body"));
    });
}

#[test]
fn copies_of_a_call_that_is_reloaded_away_go_on() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::holding().await);
        let proxy = mirrored(Http::One, &v1.at(), &v2.at(), "");
        let mut caller: Client = proxy.caller(Http::One).await;
        caller.send(get("/m")).await;
        v2.wait_begun(1).await;
        let snapshot = proxy.engine.shared.plane.load_full().expect("a plane").snapshot.clone();
        proxy.engine.publish(snapshot);
        assert_eq!(soon("an answer", caller.send(get("/m"))).await.text(), "v1");
        v2.wait_begun(2).await;
        assert_eq!(v2.cancelled(), 0);
    });
}
