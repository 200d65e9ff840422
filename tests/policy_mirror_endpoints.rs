//! What becomes of copies, as the shadow's endpoints and the counters get to know it: what they did themselves counts
//! against them, what was refused here does not.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::clusters::{EJECTED, outlier, put_under, scraped, throwing_out};
use common::policed::{Policed, mirror};
use common::world::client::get;
use common::world::raw::RawUpstream;
use common::world::upstream::{Upstream, full};
use common::world::{Http, SOON, free_port, run};
use http::Response;
use weir::snapshot::{Snapshot, TrafficPolicy};

/// Every request to `v1` is copied to `v2`, whose endpoint is thrown out after three failures in a row and takes one
/// request at a time on a connection.
fn mirrored(up: Http, v1: &str, v2: &str, settings: &str, timeout: Option<Duration>) -> Policed {
    let protocol = format!("protocol: {}", up.protocol());
    let proxy = Policed::split(&[&protocol, settings], &[(v1, "v1"), (v2, "v2")], "", |forward, policy| {
        policy.mirrors = vec![mirror(forward)];
        forward.timeout = timeout;
    });
    let plane = proxy.engine.shared.plane.load_full().expect("a plane");
    let mut snapshot = Snapshot::clone(&plane.snapshot);
    put_under(&mut snapshot, &TrafficPolicy { streams_per_connection: Some(1), ..throwing_out(outlier(3)) });
    proxy.engine.publish(Arc::new(snapshot));
    proxy
}

/// Failures of the endpoint `at`, as `/clusters` tells them.
fn errors(proxy: &Policed, at: &str) -> u64 {
    let plane = proxy.engine.shared.plane.load_full().expect("a plane");
    let members = plane.clusters.iter().flat_map(|cluster| &cluster.state.members);
    let of_it = members.filter(|member| &*member.state.name == at);
    of_it.map(|member| member.state.counts.rq_error.load(Ordering::Relaxed)).max().expect("the endpoint")
}

/// A family that has no series counts nothing either.
fn is_zero(proxy: &Policed, series: &str) -> bool {
    let count = proxy.metric(series);
    count == 0.0 || count.is_nan()
}

#[test]
fn copies_that_our_own_breakers_refuse_say_nothing_of_the_shadow_and_refuse_no_caller() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (breakers, overflow) in [("connections: 1, pending: 1", 6.0), ("requests: 2", 6.0)] {
                let (v1, v2) = (Upstream::start("v1").await, Upstream::holding().await);
                let settings = format!("circuit_breakers: {{{breakers}}}");
                let proxy = mirrored(up, &v1.at(), &v2.at(), &settings, None);
                let mut caller = proxy.caller(down).await;
                for _ in 0..8 {
                    assert_eq!(caller.get("/m").await.text(), "v1", "{down:?} {up:?} {breakers}");
                }
                proxy.copied("overflow", overflow).await;
                assert_eq!(proxy.copies("failed"), 0.0);
                assert_eq!(scraped(&proxy.engine, EJECTED), 0.0, "{down:?} {up:?} {breakers}");
                assert_eq!(errors(&proxy, &v2.at()), 0);
                for limit in ["max_requests", "max_pending_requests", "max_connections"] {
                    let series = format!("weir_limit_exceeded_total{{limit=\"{limit}\"");
                    assert!(is_zero(&proxy, &series), "{limit}: no caller was refused");
                }
                if breakers.starts_with("requests") {
                    assert!(is_zero(&proxy, "envoy_cluster_upstream_rq_pending_overflow"));
                }
            }
        }
    });
}

/// Takes the endpoints at `addresses` away.
fn remove_endpoints(proxy: &Policed, addresses: &[&str]) {
    let plane = proxy.engine.shared.plane.load_full().expect("a plane");
    let mut snapshot = Snapshot::clone(&plane.snapshot);
    for cluster in snapshot.clusters.values_mut() {
        for locality in &mut Arc::make_mut(cluster).localities {
            locality.endpoints.retain(|endpoint| !addresses.contains(&&*endpoint.address.to_string()));
        }
    }
    proxy.engine.publish(Arc::new(snapshot));
}

#[test]
fn a_request_that_finds_no_endpoint_has_no_copies() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let proxy = mirrored(up, &v1.at(), &v2.at(), "", None);
            // A copy that finds no endpoint is counted before its request has an answer.
            remove_endpoints(&proxy, &[&v2.at()]);
            let mut caller = proxy.caller(down).await;
            assert_eq!(caller.get("/m").await.text(), "v1", "{down:?} {up:?}");
            assert_eq!(proxy.copies("failed"), 1.0, "{down:?} {up:?}");
            remove_endpoints(&proxy, &[&v1.at(), &v2.at()]);
            assert_eq!(caller.get("/m").await.text(), "no healthy upstream", "{down:?} {up:?}");
            assert_eq!(proxy.copies("failed"), 1.0, "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_weir_that_does_not_take_a_copy_says_nothing_of_its_model_server() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, refusing().await);
            let proxy = mirrored(up, &v1.at(), &v2.at(), "", None);
            let mut caller = proxy.caller(down).await;
            for turn in 1..=6 {
                assert_eq!(caller.get("/m").await.text(), "v1");
                proxy.copied("failed", f64::from(turn)).await;
            }
            assert_eq!(v2.seen().len(), 6, "{down:?} {up:?}: it is asked on");
            assert_eq!(scraped(&proxy.engine, EJECTED), 0.0, "{down:?} {up:?}");
        }
    });
}

/// Another Weir that sees a loop.
async fn refusing() -> Upstream {
    Upstream::remembering(|_| {
        let head = Response::builder().status(508).header("x-weir-refusal", "loop");
        head.body(full("too many hops")).expect("a response")
    })
    .await
}

enum Bad {
    Served(Upstream),
    Raw(RawUpstream),
    Nobody(String),
}

impl Bad {
    /// Answers 500, hangs, breaks off, takes no connection.
    async fn all(up: Http) -> Vec<Bad> {
        let resets = RawUpstream::resetting(up).await;
        vec![
            Bad::Served(Upstream::failing(500).await),
            Bad::Served(Upstream::holding().await),
            Bad::Raw(resets),
            Bad::Nobody(format!("127.0.0.1:{}", free_port())),
        ]
    }

    fn at(&self) -> String {
        match self {
            Bad::Served(upstream) => upstream.at(),
            Bad::Raw(upstream) => upstream.at(),
            Bad::Nobody(at) => at.clone(),
        }
    }
}

#[test]
fn a_shadow_that_fails_copies_is_thrown_out_as_for_any_other_request() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (kind, bad) in Bad::all(up).await.into_iter().enumerate() {
                let v1 = Upstream::start("v1").await;
                let proxy = mirrored(up, &v1.at(), &bad.at(), "", Some(Duration::from_millis(200)));
                let mut caller = proxy.caller(down).await;
                let start = Instant::now();
                while scraped(&proxy.engine, EJECTED) == 0.0 {
                    caller.send(get("/m")).await;
                    assert!(start.elapsed() < SOON, "{down:?} {up:?}: {kind} is never thrown out");
                }
                assert!(errors(&proxy, &bad.at()) >= 3, "{down:?} {up:?}: {kind}");
            }
        }
    });
}
