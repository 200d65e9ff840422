//! Circuit breakers are limits of the cluster: two workers have them together, not each for itself.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::rc::Rc;

use common::world::client::{Answer, Client, get};
use common::world::raw::RawUpstream;
use common::world::upstream::Upstream;
use common::world::{Http, World, one_service, run, soon, until};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

/// Two workers before one upstream.
async fn serve(up: Http, breakers: &str, at: &str) -> World {
    let settings = [&*format!("protocol: {}", up.protocol()), &format!("circuit_breakers: {{{breakers}}}")];
    World::start(&(one_service(&settings, &[(at, "v1")]) + "workers: 2\n")).await
}

/// A request by a connection of its own. The worker with the fewest open streams takes it: while one is under way the
/// next is the other worker's.
fn begin(down: Http, world: &World) -> JoinHandle<()> {
    let at = world.addr("in");
    spawn_local(async move { drop(Client::connect(down, at).await.begin(get("/m")).await) })
}

async fn ask(down: Http, world: &World) -> Answer {
    Client::connect(down, world.addr("in")).await.get("/m").await
}

fn assert_overflow(answer: &Answer, what: &str) {
    let told = (answer.status.as_u16(), answer.header("x-envoy-overloaded"));
    assert_eq!(told, (503, Some("true")), "{what}: {answer:?}");
    assert!(answer.text().ends_with("reset reason: overflow"), "{what}: {answer:?}");
}

#[test]
fn requests_of_both_workers_count_against_one_limit_and_make_room_for_each_other() {
    run(async || {
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let world = serve(up, "requests: 3", &held.at()).await;
            let mut under_way = Vec::new();
            for begun in 1..=3 {
                under_way.push(begin(down, &world));
                held.wait_begun(begun).await;
            }
            // By HTTP/2 a worker needs but one connection.
            assert_eq!(
                held.connections(),
                if up == Http::Two { 2 } else { 3 },
                "{down:?} {up:?}: both workers serve"
            );
            for _ in 0..4 {
                assert_overflow(&ask(down, &world).await, &format!("{down:?} {up:?}"));
            }
            world.counts("cluster_circuit_breakers_default_rq_open", 1.0).await;
            under_way.remove(0).abort();
            until("one is left", || (held.cancelled() == 1).then_some(())).await;
            world.counts("cluster_circuit_breakers_default_rq_open", 0.0).await;
            let _next = begin(down, &world);
            held.wait_begun(4).await;
            assert_overflow(&ask(down, &world).await, &format!("{down:?} {up:?}: that room is used"));
        }
    });
}

#[test]
fn connections_of_both_workers_count_against_one_limit_and_so_do_those_who_wait_for_one() {
    run(async || {
        for down in Http::BOTH {
            let held = Upstream::holding().await;
            let world = serve(Http::One, "connections: 2, pending: 1", &held.at()).await;
            let mut under_way = Vec::new();
            for begun in 1..=2 {
                under_way.push(begin(down, &world));
                held.wait_begun(begun).await;
            }
            under_way.push(begin(down, &world));
            world.counts("cluster_upstream_rq_pending_active", 1.0).await;
            for _ in 0..2 {
                assert_overflow(
                    &ask(down, &world).await,
                    &format!("{down:?}: one waits, at whichever worker"),
                );
            }
            assert_eq!(held.connections(), 2, "{down:?}");
            assert_eq!(held.begun(), 2, "{down:?}");
        }
    });
}

#[test]
fn a_worker_without_a_connection_opens_one_whatever_the_limit() {
    run(async || {
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let world = serve(up, "connections: 1", &held.at()).await;
            let _first = begin(down, &world);
            held.wait_begun(1).await;
            let _second = begin(down, &world);
            held.wait_begun(2).await;
            assert_eq!(held.connections(), 2, "{down:?} {up:?}: or it could not serve at all");
        }
    });
}

#[test]
fn retries_of_both_workers_count_against_one_limit() {
    run(async || {
        for (down, up) in Http::matrix() {
            let kept = Rc::new(Notify::new());
            let upstream = RawUpstream::refusing_but_the_second(up, &kept).await;
            let world = serve(up, "retries: 1", &upstream.at()).await;
            let _first = begin(down, &world);
            soon("a retry is under way", kept.notified()).await;
            for _ in 0..2 {
                let answer = ask(down, &world).await;
                assert_eq!(answer.status, 503, "{down:?} {up:?}: {answer:?}");
            }
            world.counts("cluster_upstream_rq_retry_overflow", 2.0).await;
            world.counts("cluster_upstream_rq_retry", 1.0).await;
        }
    });
}
