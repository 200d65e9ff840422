//! Outlier detection by rates of success, from weir.yaml to the wire: who succeeds less often than the others is thrown out,
//! though he never fails often in a row.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::time::Instant;

use common::clusters::{EJECTED, caller, scraped};
use common::engine::Engine;
use common::world::client::Client;
use common::world::upstream::{Upstream, full};
use common::world::{Http, SOON, one_service, run};
use http::Response;

const ENFORCED: &str = "envoy_cluster_outlier_detection_ejections_enforced_success_rate";

/// Three endpoints, of which the first fails every other request.
struct Scene {
    engine: Engine,
    client: Client,
    bad: Upstream,
    _good: [Upstream; 2],
}

impl Scene {
    async fn under((down, up): (Http, Http), rates: &str) -> Scene {
        let fails = Cell::new(false);
        let bad = Upstream::remembering(move |_| {
            let status = if fails.replace(!fails.get()) { 500 } else { 200 };
            Response::builder().status(status).body(full("bad")).expect("an answer")
        })
        .await;
        let good = [Upstream::start("good").await, Upstream::start("better").await];
        let outlier = format!(
            "outlier: {{consecutive_5xx: 1000, interval: 250ms, base_ejection_time: 1h, max_ejection_percent: 50, {rates}}}"
        );
        let settings = [&*format!("protocol: {}", up.protocol()), &outlier];
        let at = [bad.at(), good[0].at(), good[1].at()];
        let engine = Engine::start(1, &one_service(&settings, &at.each_ref().map(|at| (&**at, "v1"))), "");
        let client = caller(down, &engine).await;
        Scene { engine, client, bad, _good: good }
    }

    fn ejected(&self) -> f64 {
        scraped(&self.engine, EJECTED)
    }
}

#[test]
fn who_succeeds_less_often_than_the_others_by_so_much_is_thrown_out_where_enough_are_compared() {
    run(async || {
        // Of three rates of which two are alike the third is always 1.41 deviations away from their mean.
        let rates = |hosts: u32, volume: u32, factor: u32, enforcing: u32| {
            format!(
                "success_rate_minimum_hosts: {hosts}, success_rate_request_volume: {volume}, \
                 success_rate_stdev_factor: {factor}, enforcing_success_rate: {enforcing}"
            )
        };
        for hops in Http::matrix() {
            let mut all = Vec::new();
            // The last begins last: when its interval ends, one of each other has.
            for rates in [
                rates(4, 5, 1400, 100),
                rates(3, 1_000_000, 1400, 100),
                rates(3, 5, 1500, 100),
                rates(3, 5, 1400, 0),
                rates(3, 5, 1400, 100),
            ] {
                all.push(Scene::under(hops, &rates).await);
            }
            let start = Instant::now();
            while all[4].ejected() == 0.0 {
                for scene in &mut all {
                    scene.client.get("/m").await;
                }
                assert!(start.elapsed() < 2 * SOON, "{hops:?}: it is never thrown out");
            }
            let out: Vec<_> = all.iter().map(Scene::ejected).collect();
            assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 1.0], "{hops:?}");
            let scene = &mut all[4];
            assert_eq!(scraped(&scene.engine, ENFORCED), 1.0, "{hops:?}");
            let before = scene.bad.begun();
            for _ in 0..6 {
                assert_eq!(scene.client.get("/m").await.status, 200);
            }
            assert_eq!(scene.bad.begun(), before, "{hops:?}: it is left alone");
        }
    });
}
