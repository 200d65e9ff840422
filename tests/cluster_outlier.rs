//! Outlier detection through the whole proxy: whom it throws out, over all workers, and whom it lets in again.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use common::clusters::{self, EJECTED, NOBODY, caller, scraped, serve, snapshot, throwing_out};
use common::engine::{Engine, eventually};
use common::world::client::{get, grpc_call, read};
use common::world::upstream::{Upstream, channel, empty, full};
use common::world::{Http, free_port, run, soon};
use http::Response;
use weir::snapshot::Outlier;

/// Three in a row, half may be out, and for an hour.
fn outlier() -> Outlier {
    Outlier { max_ejection_percent: 50, interval: Duration::from_millis(20), ..clusters::outlier(3) }
}

/// An upstream that says `status` for as long as that is set.
async fn saying(status: &Rc<Cell<u16>>) -> Upstream {
    let status = status.clone();
    Upstream::remembering(move |_| {
        let body = full(if status.get() < 500 { "bad is good" } else { "bad" });
        Response::builder().status(status.get()).body(body).expect("a response")
    })
    .await
}

#[test]
fn who_fails_as_often_in_a_row_as_it_says_gets_nothing_any_more() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (bad, good) = (saying(&Rc::new(Cell::new(500))).await, Upstream::start("good").await);
            let engine = serve(up, &[&bad.at(), &good.at()], &throwing_out(outlier()));
            let mut client = caller(down, &engine).await;
            for _ in 0..20 {
                client.get("/m").await;
            }
            assert_eq!(
                bad.seen().len(),
                3,
                "{down:?} {up:?}: an upstream's answer is passed on, and counted"
            );
            assert_eq!(good.seen().len(), 17);
            assert_eq!(scraped(&engine, EJECTED), 1.0);
            let enforced = "envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx";
            assert_eq!(scraped(&engine, enforced), 1.0);
            assert_eq!(scraped(&engine, "envoy_cluster_membership_healthy"), 1.0);
        }
    });
}

#[test]
fn who_was_thrown_out_comes_back_when_its_time_is_over() {
    run(async || {
        for up in Http::BOTH {
            let status = Rc::new(Cell::new(500));
            let (bad, good) = (saying(&status).await, Upstream::start("good").await);
            let short = Duration::from_millis(50);
            let outlier = Outlier { base_ejection_time: short, max_ejection_time: short, ..outlier() };
            let engine = serve(up, &[&bad.at(), &good.at()], &throwing_out(outlier));
            let mut client = caller(Http::One, &engine).await;
            for _ in 0..6 {
                client.get("/m").await;
            }
            status.set(200);
            client.get_until("it comes back", |answer| answer.text() == "bad is good").await;
            eventually("nobody is out", || scraped(&engine, EJECTED) == 0.0).await;
        }
    });
}

#[test]
fn failures_count_over_all_workers_and_when_nobody_is_left_the_answer_is_ours() {
    run(async || {
        for (down, up) in Http::matrix() {
            let bad = saying(&Rc::new(Cell::new(503))).await;
            let outlier = Outlier { consecutive_5xx: 8, max_ejection_percent: 100, ..outlier() };
            let traffic = throwing_out(outlier);
            let change =
                |cluster: &mut weir::snapshot::Cluster| cluster.traffic = Some(Box::new(traffic.clone()));
            let engine = Engine::serving(4, snapshot(up, &[&bad.at()], change));
            let mut clients = Vec::new();
            for _ in 0..4 {
                clients.push(caller(down, &engine).await);
            }
            for turn in 0..8 {
                assert_eq!(clients[turn % 4].get("/m").await.text(), "bad", "{down:?} {up:?} {turn}");
            }
            for client in &mut clients {
                let answer = client.get("/m").await;
                assert_eq!((answer.status.as_u16(), answer.text()), (503, NOBODY), "{down:?} {up:?}");
            }
            assert_eq!(bad.seen().len(), 8, "{down:?} {up:?}");
            assert_eq!(scraped(&engine, "envoy_cluster_upstream_cx_none_healthy"), 4.0);
        }
    });
}

#[test]
fn who_takes_no_connection_is_thrown_out_too() {
    run(async || {
        for up in Http::BOTH {
            let (gone, good) = (format!("127.0.0.1:{}", free_port()), Upstream::start("good").await);
            let engine = serve(up, &[&gone, &good.at()], &throwing_out(outlier()));
            let mut client = caller(Http::One, &engine).await;
            for _ in 0..20 {
                assert_eq!(client.get("/m").await.text(), "good", "a retry finds the other");
            }
            assert_eq!(scraped(&engine, "envoy_cluster_upstream_cx_connect_fail"), 3.0, "{up:?}");
        }
    });
}

#[test]
fn a_grpc_status_in_the_head_counts_as_the_http_status_that_it_stands_for() {
    run(async || {
        // UNAVAILABLE is a server's fault, INVALID_ARGUMENT is not.
        for (status, is_thrown_out) in [("14", true), ("3", false)] {
            let upstream = Upstream::remembering(move |_| {
                let head = Response::builder().header("content-type", "application/grpc");
                head.header("grpc-status", status).body(empty()).expect("a response")
            })
            .await;
            let outlier = Outlier { max_ejection_percent: 100, ..outlier() };
            let engine = serve(Http::Two, &[&upstream.at()], &throwing_out(outlier));
            let mut client = caller(Http::Two, &engine).await;
            for _ in 0..3 {
                assert_eq!(client.send(grpc_call("/s/m", b"hi")).await.grpc_status(), Some(status));
            }
            let answer = client.send(grpc_call("/s/m", b"hi")).await;
            let ours = answer.header("grpc-message") == Some(NOBODY);
            assert_eq!((ours, upstream.seen().len()), (is_thrown_out, if is_thrown_out { 3 } else { 4 }));
        }
    });
}

#[test]
fn a_reload_lets_nobody_in_again() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (bad, good) = (saying(&Rc::new(Cell::new(500))).await, Upstream::start("good").await);
            let at = [&*bad.at(), &*good.at()];
            let engine = serve(up, &at, &throwing_out(outlier()));
            let mut client = caller(down, &engine).await;
            for _ in 0..6 {
                client.get("/m").await;
            }
            assert_eq!(bad.seen().len(), 3);
            let other = throwing_out(Outlier { consecutive_5xx: 4, ..outlier() });
            engine.publish(snapshot(up, &at, |cluster| cluster.traffic = Some(Box::new(other.clone()))));
            for _ in 0..10 {
                assert_eq!(client.get("/m").await.text(), "good", "{down:?} {up:?}");
            }
            assert_eq!(scraped(&engine, EJECTED), 1.0);
        }
    });
}

#[test]
fn who_leaves_while_he_is_out_makes_room_at_once_though_a_long_answer_still_holds_him() {
    run(async || {
        for (down, up) in Http::matrix() {
            let failing = || Rc::new(Cell::new(500));
            let (first, second) = (saying(&failing()).await, saying(&failing()).await);
            let (sender, body) = channel();
            let body = RefCell::new(Some(body));
            // Its first answer has no end.
            let good = Upstream::remembering(move |_| {
                Response::new(body.borrow_mut().take().unwrap_or_else(|| full("good")))
            })
            .await;
            // One of two may be out.
            let engine = serve(up, &[&first.at(), &good.at()], &throwing_out(outlier()));
            let mut long = caller(down, &engine).await;
            let mut answers = Vec::new();
            while answers.is_empty() {
                let response = soon("a head", long.begin(get("/m"))).await.expect("a head");
                if response.status() == 200 {
                    answers.push(response);
                } else {
                    read(response).await.expect("whole");
                }
            }
            let mut client = caller(down, &engine).await;
            client.get_until("the first is thrown out", |_| first.seen().len() == 3).await;
            assert_eq!(scraped(&engine, EJECTED), 1.0);
            let at = [&*second.at(), &*good.at()];
            let traffic = throwing_out(outlier());
            engine.publish(snapshot(up, &at, |cluster| cluster.traffic = Some(Box::new(traffic.clone()))));
            for _ in 0..20 {
                client.get("/m").await;
            }
            assert_eq!(second.seen().len(), 3, "{down:?} {up:?}: there is room for it");
            assert_eq!(scraped(&engine, EJECTED), 1.0);
            drop((sender, answers));
        }
    });
}
