//! Panic: where too few are well, all are asked, as the few could not bear it.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::clusters::{NOBODY, caller, outlier, scraped, serve, throwing_out};
use common::world::upstream::Upstream;
use common::world::{Http, run};
use weir::snapshot::TrafficPolicy;

fn policy(panic_threshold: u32) -> TrafficPolicy {
    TrafficPolicy { panic_threshold, ..throwing_out(outlier(1)) }
}

#[test]
fn below_the_threshold_all_are_asked_and_at_it_only_those_that_are_well() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (bad, worse, good) =
                (Upstream::failing(500).await, Upstream::failing(500).await, Upstream::start("good").await);
            // One of three is left: 33 %.
            for (threshold, panics) in [(34, true), (33, false)] {
                let engine = serve(up, &[&bad.at(), &worse.at(), &good.at()], &policy(threshold));
                let mut client = caller(down, &engine).await;
                for _ in 0..3 {
                    client.get("/m").await;
                }
                let mut failed = 0;
                for _ in 0..12 {
                    failed += usize::from(client.get("/m").await.status == 500);
                }
                let (expected, panic) = if panics { (8, 12.0) } else { (0, 0.0) };
                assert_eq!(failed, expected, "{down:?} {up:?} {threshold}");
                assert_eq!(scraped(&engine, "envoy_cluster_lb_healthy_panic"), panic);
            }
        }
    });
}

#[test]
fn a_threshold_of_zero_asks_nobody_when_nobody_is_well() {
    run(async || {
        for down in Http::BOTH {
            let bad = Upstream::failing(500).await;
            let engine = serve(Http::One, &[&bad.at()], &policy(0));
            let mut client = caller(down, &engine).await;
            assert_eq!(client.get("/m").await.text(), "bad");
            let answer = client.get("/m").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, NOBODY));
            assert_eq!(bad.seen().len(), 1);
        }
    });
}
