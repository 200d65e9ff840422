//! Slow start through the whole proxy: an endpoint that comes new gets its share little by little.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::sync::Arc;
use std::time::Duration;

use common::clusters::{caller, snapshot};
use common::engine::{Engine, eventually};
use common::world::upstream::Upstream;
use common::world::{Http, run};
use weir::snapshot::{SlowStart, Snapshot, TrafficPolicy};

fn with(window: Duration, upstreams: &[&Upstream]) -> Arc<Snapshot> {
    let slow_start = SlowStart { window, ..SlowStart::default() };
    let traffic = TrafficPolicy { slow_start: Some(slow_start), ..TrafficPolicy::default() };
    let at: Vec<String> = upstreams.iter().map(|upstream| upstream.at()).collect();
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    snapshot(Http::One, &at, |cluster| cluster.traffic = Some(Box::new(traffic.clone())))
}

#[test]
fn an_endpoint_that_comes_new_gets_less_than_its_share_until_the_window_is_over() {
    run(async || {
        let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
        let window = Duration::from_millis(1500);
        let engine = Engine::serving(1, with(window, &[&old]));
        let mut client = caller(Http::One, &engine).await;
        let began = std::time::Instant::now();
        eventually("the old one is in for long", || began.elapsed() > window).await;
        engine.publish(with(window, &[&old, &new]));
        let mut of_each = async || {
            let before = new.seen().len();
            for _ in 0..20 {
                client.get("/m").await;
            }
            new.seen().len() - before
        };
        let first = of_each().await;
        assert!(first < 10 || began.elapsed() > window * 2, "{first} of 20 at first");
        let mut last = first;
        while last != 10 {
            assert!(began.elapsed() < Duration::from_secs(20), "its share never is whole");
            last = of_each().await;
        }
    });
}
