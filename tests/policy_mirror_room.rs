//! What copies of requests may hold: never what a retry of another request needs.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::policed::{Policed, mirror};
use common::world::client::post;
use common::world::raw::RawUpstream;
use common::world::upstream::{Upstream, full};
use common::world::{Http, run, until};
use futures_util::future::join_all;
use http::Response;
use weir::snapshot::{BackOff, RetryCondition, RetryPolicy};

const BODY: usize = 60 << 10;

fn bytes(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

#[test]
fn a_shadow_that_hangs_takes_nothing_of_what_retries_may_keep() {
    run(async || {
        for (down, up) in Http::matrix() {
            let fails = Cell::new(true);
            let v1 = Upstream::remembering(move |seen| {
                let status = if seen.header("x-fail").is_some() && fails.replace(false) { 503 } else { 200 };
                Response::builder().status(status).body(full(seen.body)).expect("a response")
            })
            .await;
            // By HTTP/2 a copy waits for SETTINGS, by HTTP/1 for the only connection.
            let shadow = RawUpstream::mute().await;
            let settings = [&*format!("protocol: {}", up.protocol()), "circuit_breakers: {connections: 1}"];
            let limits = "limits: {replay_bytes: 100KiB, replay_budget: 200KiB, connect_timeout: 1h}\n";
            let proxy = Policed::split(
                &settings,
                &[(&v1.at(), "v1"), (&shadow.at(), "v2")],
                limits,
                |forward, policy| {
                    forward.timeout = Some(Duration::from_secs(3_600));
                    policy.mirrors = vec![mirror(forward)];
                    policy.retry = Some(RetryPolicy {
                        on: [RetryCondition::ServerError].into_iter().collect(),
                        back_off: BackOff { base: Duration::ZERO, max: Duration::ZERO },
                        ..RetryPolicy::default()
                    });
                },
            );
            let mut caller = proxy.caller(down).await;
            for _ in 0..6 {
                assert_eq!(caller.send(post("/m", vec![7; BODY])).await.status, 200);
            }
            let shared = &proxy.engine.shared;
            // There is room for one, and each of the others cuts the slowest of its own request: itself.
            until("copies beyond their room are skipped", || (proxy.copies("skipped") >= 4.0).then_some(()))
                .await;
            assert!((BODY..=100 << 10).contains(&bytes(&shared.copied)), "{}", bytes(&shared.copied));
            assert_eq!(bytes(&shared.replay), 0, "no answer is waited for: {down:?} {up:?}");
            let mut fails = post("/m", vec![7; BODY]);
            fails.headers_mut().insert("x-fail", "1".parse().expect("a value"));
            let answer = caller.send(fails).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, BODY), "{down:?} {up:?}");
            assert_eq!(proxy.metric("weir_retries_total"), 1.0);
            assert_eq!(proxy.metric("weir_replay_exceeded_total"), 0.0);
        }
    });
}

#[test]
fn the_time_of_a_copy_begins_when_its_request_is_whole() {
    run(async || {
        let trials = Http::matrix().map(|(down, up)| async move {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let protocol = format!("protocol: {}", up.protocol());
            let endpoints = [(&*v1.at(), "v1"), (&*v2.at(), "v2")];
            let proxy = Policed::split(&[&protocol], &endpoints, "", |forward, policy| {
                forward.timeout = Some(Duration::from_millis(1_000));
                policy.mirrors = vec![mirror(forward)];
            });
            let silence = Duration::from_millis(2_200); // longer than it may take
            let answer = proxy.caller(down).await.post_slowly("/m", silence).await;
            assert_eq!(answer.text(), "v1", "{down:?} {up:?}");
            proxy.copied("sent", 1.0).await;
            assert_eq!(v2.only().body, "first last", "{down:?} {up:?}");
        });
        join_all(trials).await;
    });
}
