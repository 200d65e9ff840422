//! Slow start through the whole proxy: an endpoint that comes new gets its share little by little.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::clusters::{caller, scraped, snapshot};
use common::engine::{Engine, eventually, linked};
use common::world::client::Client;
use common::world::upstream::{Upstream, full};
use common::world::{Http, one_service, run};
use http::Response;
use weir::snapshot::{SlowStart, Snapshot, TrafficPolicy};

fn with(up: Http, window: Duration, upstreams: &[&Upstream]) -> Arc<Snapshot> {
    let slow_start = SlowStart { window, ..SlowStart::default() };
    let traffic = TrafficPolicy { slow_start: Some(slow_start), ..TrafficPolicy::default() };
    let at: Vec<String> = upstreams.iter().map(|upstream| upstream.at()).collect();
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    snapshot(up, &at, |cluster| cluster.traffic = Some(Box::new(traffic.clone())))
}

#[test]
fn an_endpoint_that_comes_new_gets_less_than_its_share_until_the_window_is_over() {
    run(async || {
        // By each HTTP on each side.
        for (down, up) in [(Http::One, Http::One), (Http::Two, Http::Two)] {
            let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
            let window = Duration::from_millis(1500);
            let engine = Engine::serving(1, with(up, window, &[&old]));
            let mut client = caller(down, &engine).await;
            let began = std::time::Instant::now();
            eventually("the old one is in for long", || began.elapsed() > window).await;
            engine.publish(with(up, window, &[&old, &new]));
            let mut of_each = async || {
                let before = new.seen().len();
                for _ in 0..20 {
                    client.get("/m").await;
                }
                new.seen().len() - before
            };
            let first = of_each().await;
            assert!(first < 10 || began.elapsed() > window * 2, "{first} of 20 at first, {down:?} {up:?}");
            let mut last = first;
            while last != 10 {
                assert!(began.elapsed() < Duration::from_secs(20), "its share never is whole");
                last = of_each().await;
            }
        }
    });
}

/// A service `x` of `upstreams`, with more of its settings.
fn said(settings: &[&str], upstreams: &[&Upstream]) -> Arc<Snapshot> {
    let at: Vec<String> = upstreams.iter().map(|upstream| upstream.at()).collect();
    let endpoints: Vec<_> = at.iter().map(|at| (at.as_str(), "v1")).collect();
    linked(&one_service(settings, &endpoints), "")
}

/// How many of so many requests `upstream` gets.
async fn share(client: &mut Client, upstream: &Upstream, requests: usize) -> usize {
    let served = || upstream.seen().iter().filter(|seen| seen.target() == "/m").count();
    let before = served();
    for _ in 0..requests {
        assert_eq!(client.get("/m").await.status, 200);
    }
    served() - before
}

#[test]
fn who_comes_new_has_exactly_the_least_share_and_who_was_there_his_whole() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (slow_start, period, least) in [
                ("slow_start: {window: 10h}", 110, 10),
                ("slow_start: {window: 10h, min_weight_percent: 25}", 125, 25),
                ("slow_start: {window: 10h, min_weight_percent: 50, aggression: 1.5}", 150, 50),
            ] {
                let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
                let protocol = format!("protocol: {}", up.protocol());
                let engine = Engine::serving(1, said(&[&protocol], &[&old]));
                let mut client = caller(down, &engine).await;
                client.get("/m").await;
                engine.publish(said(&[&protocol, slow_start], &[&old, &new]));
                let shares = share(&mut client, &new, period).await;
                assert_eq!(shares, least, "{down:?} {up:?} {slow_start}");
            }
        }
    });
}

#[test]
fn who_is_well_again_by_his_health_check_starts_anew() {
    run(async || {
        for (down, up) in Http::matrix() {
            let is_well = Rc::new(Cell::new(true));
            let now = is_well.clone();
            let stays = Upstream::start("stays").await;
            let falls = Upstream::remembering(move |seen| {
                let status = if seen.target() == "/m" || now.get() { 200 } else { 503 };
                Response::builder().status(status).body(full("falls")).expect("a response")
            })
            .await;
            let check =
                "health_check: {http: {path: /h}, interval: 10ms, no_traffic_interval: 10ms, timeout: 10s}";
            let protocol = format!("protocol: {}", up.protocol());
            let engine = Engine::serving(1, said(&[&protocol, check], &[&stays, &falls]));
            let healthy = "envoy_cluster_membership_healthy";
            eventually("both are well", || scraped(&engine, healthy) == 2.0).await;
            engine.publish(said(&[&protocol, check, "slow_start: {window: 10h}"], &[&stays, &falls]));
            let mut client = caller(down, &engine).await;
            assert_eq!(share(&mut client, &falls, 20).await, 10, "{down:?} {up:?}: who was there is not new");
            is_well.set(false);
            eventually("one is ill", || scraped(&engine, healthy) == 1.0).await;
            assert_eq!(share(&mut client, &falls, 20).await, 0);
            is_well.set(true);
            eventually("it is well again", || scraped(&engine, healthy) == 2.0).await;
            assert_eq!(share(&mut client, &falls, 110).await, 10, "{down:?} {up:?}: it starts anew");
        }
    });
}
