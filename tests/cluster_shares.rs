//! `lb:` and `weight:` of weir.yaml through the whole proxy: which part of the requests an endpoint gets.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Client, get};
use common::world::upstream::Upstream;
use common::world::{Http, World, free_port, run, until};
use tokio::task::spawn_local;

/// A service of endpoints with their weights, balanced by `lb`.
async fn serve(lb: &str, up: Http, endpoints: &[(String, u32)]) -> World {
    let mut yaml = format!(
        "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\nservices:\n- name: x\n  lb: {lb}\n  protocol: {}\n  \
         endpoints:\n",
        up.protocol()
    );
    for (at, weight) in endpoints {
        yaml.push_str(&format!("  - {{address: \"{at}\", weight: {weight}}}\n"));
    }
    World::start(&yaml).await
}

#[test]
fn each_policy_gives_an_endpoint_its_weight_of_the_requests_one_after_the_other() {
    run(async || {
        for lb in ["round_robin", "least_request", "random", "ring_hash", "maglev"] {
            for (down, up) in Http::matrix() {
                let (light, heavy) = (Upstream::start("light").await, Upstream::start("heavy").await);
                let world = serve(lb, up, &[(light.at(), 10), (heavy.at(), 30)]).await;
                let mut client = Client::connect(down, world.addr("in")).await;
                for _ in 0..400 {
                    assert_eq!(client.get("/m").await.status, 200);
                }
                // Of what is drawn, seven standard deviations.
                let slack = if lb == "round_robin" { 0 } else { 61 };
                let share = light.seen().len();
                assert!(share.abs_diff(100) <= slack, "{lb} {down:?} {up:?}: {share} of 400");
            }
        }
    });
}

#[test]
fn equal_endpoints_have_their_turns_in_the_order_in_which_they_are_listed() {
    run(async || {
        for (down, up) in Http::matrix() {
            let all = [Upstream::start("a").await, Upstream::start("b").await, Upstream::start("c").await];
            let endpoints: Vec<_> = all.iter().map(|upstream| (upstream.at(), 7)).collect();
            let world = serve("round_robin", up, &endpoints).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let mut met = String::new();
            for _ in 0..9 {
                met.push_str(client.get("/m").await.upstream());
            }
            assert_eq!(met, "abcabcabc", "{down:?} {up:?}");
        }
    });
}

#[test]
fn least_request_sends_nothing_to_an_endpoint_that_is_busier_for_its_weight() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (busy, free) = (Upstream::holding().await, Upstream::start("free").await);
            let world = serve("least_request", up, &[(busy.at(), 2), (free.at(), 1)]).await;
            let at = world.addr("in");
            // Whoever meets the busy one stays with it.
            let mut held = Vec::new();
            while busy.begun() < 1 {
                let mut client = Client::connect(down, at).await;
                held.push(spawn_local(async move { drop(client.begin(get("/m")).await) }));
                let seen = free.seen().len();
                until("it is somewhere", || (busy.begun() > 0 || free.seen().len() > seen).then_some(()))
                    .await;
            }
            let mut client = Client::connect(down, at).await;
            for _ in 0..20 {
                assert_eq!(client.get("/m").await.upstream(), "free", "{down:?} {up:?}");
            }
            assert_eq!(busy.begun(), 1);
        }
    });
}

#[test]
fn an_endpoint_that_has_just_failed_is_left_to_rest_by_least_request() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (gone, free) = (format!("127.0.0.1:{}", free_port()), Upstream::start("free").await);
            let world = serve("least_request", up, &[(gone, 1), (free.at(), 1)]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            // Drawn at random until it was once the first of two that are equally idle.
            let failed = "envoy_cluster_upstream_cx_connect_fail";
            let began = std::time::Instant::now();
            while world.metric(failed, &[]).await == 0.0 {
                assert!(began.elapsed() < common::world::SOON, "{down:?} {up:?}: it never was tried");
                assert_eq!(client.get("/m").await.upstream(), "free", "a retry finds the other");
            }
            for _ in 0..20 {
                assert_eq!(client.get("/m").await.upstream(), "free");
            }
            let fails = world.metric(failed, &[]).await;
            assert!(fails == 1.0 || began.elapsed().as_secs() >= 5, "{down:?} {up:?}: {fails} times");
        }
    });
}
