//! An endpoint hears of what it did, and not of what befell a request before it was sent, or between its attempts.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::clusters::{EJECTED, NOBODY, outlier, put_under, scraped, throwing_out};
use common::engine::Engine;
use common::policed::{Policed, policy, routes};
use common::world::client::{Client, get, read};
use common::world::raw::RawUpstream;
use common::world::upstream::{Upstream, full};
use common::world::{Http, SOON, one_service, rule, run, soon, split_rule};
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use weir::snapshot::{
    Action, BackOff, FailurePercentage, Outlier, RetryCondition, RetryPolicy, Route, TrafficPolicy,
};
use weir::upstream::cluster::EndpointCounts;

/// Of the requests that are to be late.
const SHORT: Duration = Duration::from_millis(60);

/// So many failures in a row, and everybody may be out, for an hour.
fn in_a_row(failures: u32) -> TrafficPolicy {
    throwing_out(outlier(failures))
}

/// A proxy before one endpoint. `say` is told the route of all requests but those below `/held`, which is plain.
fn proxy(up: Http, at: &str, settings: &str, traffic: &TrafficPolicy, say: impl Fn(&mut Route)) -> Policed {
    let yaml = one_service(&[&format!("protocol: {}", up.protocol()), settings], &[(at, "v1")]);
    let matches = "{request: {headers: {uri: {prefix: \"/held\"}}}}";
    let rules = rule("held", 2, matches, &[("v1", 100)]) + "---\n" + &split_rule(&[("v1", 100)]);
    Policed::serving(&yaml, &rules, |snapshot| {
        put_under(snapshot, traffic);
        routes(snapshot).filter(|route| route.matches.is_catch_all()).for_each(say);
    })
}

fn bound(route: &mut Route, timeout: Duration) {
    if let Action::Forward(forward) = &mut route.action {
        forward.timeout = Some(timeout);
    }
}

fn retried(route: &mut Route, retry: RetryPolicy) {
    policy(route).retry = Some(retry);
}

/// What `/clusters` tells of all endpoints.
fn counted(engine: &Engine, count: impl Fn(&EndpointCounts) -> &AtomicU64) -> u64 {
    let plane = engine.shared.plane.load_full().expect("a plane");
    let members = plane.clusters.iter().flat_map(|cluster| &cluster.state.members);
    members.map(|member| count(&member.state.counts).load(Ordering::Relaxed)).max().expect("an endpoint")
}

/// An upstream that keeps `/held` waiting until it is told to go on.
async fn holding(goes_on: &Rc<(Cell<bool>, Notify)>) -> Upstream {
    let goes_on = goes_on.clone();
    Upstream::handling(move |request: Request<Incoming>| {
        let goes_on = goes_on.clone();
        async move {
            while request.uri().path() == "/held" && !goes_on.0.get() {
                goes_on.1.notified().await;
            }
            Response::new(full("ok"))
        }
    })
    .await
}

#[test]
fn who_runs_out_of_time_in_our_own_waiting_line_is_no_fault_of_the_endpoint() {
    run(async || {
        for (down, up) in Http::matrix() {
            let goes_on: Rc<(Cell<bool>, Notify)> = Rc::default();
            let upstream = holding(&goes_on).await;
            // One request at a time, as before one GPU.
            let traffic = TrafficPolicy { streams_per_connection: Some(1), ..in_a_row(2) };
            let settings = "circuit_breakers: {connections: 1}";
            // An attempt's own time does not run yet (`policy_time_begins.rs`).
            let proxy = proxy(up, &upstream.at(), settings, &traffic, |route| {
                bound(route, SHORT);
                let per_try_timeout = Some(SHORT / 2);
                retried(route, RetryPolicy { per_try_timeout, ..RetryPolicy::default() });
            });
            let mut first = Client::connect(down, proxy.addr()).await;
            let held = spawn_local(async move { first.send(get("/held")).await });
            upstream.wait_begun(1).await;
            let mut second = Client::connect(down, proxy.addr()).await;
            for turn in 0..4 {
                let answer = second.get("/m").await;
                let told = (answer.status.as_u16(), answer.text());
                assert_eq!(told, (504, "upstream request timeout"), "{down:?} {up:?} {turn}");
            }
            assert_eq!(upstream.begun(), 1, "they waited");
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_timeout"), 4.0);
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_per_try_timeout"), 0.0);
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_cancelled"), 4.0);
            assert_eq!(counted(&proxy.engine, |counts| &counts.rq_timeout), 0, "{down:?} {up:?}");
            assert_eq!(scraped(&proxy.engine, EJECTED), 0.0, "{down:?} {up:?}");
            goes_on.0.set(true);
            goes_on.1.notify_one();
            assert_eq!(held.await.expect("it ends").text(), "ok");
            assert_eq!(second.get("/held").await.text(), "ok", "{down:?} {up:?}");
        }
    });
}

#[test]
fn who_was_sent_the_request_and_is_late_is_thrown_out() {
    run(async || {
        for (down, up) in Http::matrix() {
            for per_try in [false, true] {
                let upstream = Upstream::holding().await;
                let proxy = proxy(up, &upstream.at(), "", &in_a_row(2), |route| match per_try {
                    false => bound(route, SHORT),
                    true => {
                        let per_try_timeout = Some(SHORT);
                        retried(route, RetryPolicy { per_try_timeout, ..RetryPolicy::default() });
                    }
                });
                let mut client = Client::connect(down, proxy.addr()).await;
                client.get_until("it is thrown out", |answer| answer.text() == NOBODY).await;
                for count in [
                    counted(&proxy.engine, |counts| &counts.rq_timeout),
                    counted(&proxy.engine, |counts| &counts.rq_error),
                ] {
                    assert_eq!(count, 2, "{down:?} {up:?} {per_try}");
                }
            }
        }
    });
}

#[test]
fn who_has_answered_is_not_late_when_the_requests_time_ends_before_another_attempt() {
    run(async || {
        // All at once, as each waits for its time to end.
        let each = |down, up, resets| async move {
            let upstream = match resets {
                false => Answers::Whole(Upstream::failing(503).await),
                true => Answers::Cut(RawUpstream::resetting(up).await),
            };
            let proxy = proxy(up, &upstream.at(), "", &in_a_row(2), |route| {
                bound(route, Duration::from_secs(2));
                // So long a pause is not drawn short.
                let long = Duration::from_secs(100_000_000);
                let retry = RetryPolicy {
                    on: [RetryCondition::ServerError].into_iter().collect(),
                    back_off: BackOff { base: long, max: long },
                    ..RetryPolicy::default()
                };
                retried(route, retry);
            });
            let mut client = Client::connect(down, proxy.addr()).await;
            let answer = client.get("/m").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (504, "upstream request timeout"));
            assert_eq!(proxy.last_log(1).await, "504 UT response_timeout 1 v1", "{down:?} {up:?}");
            assert_eq!(scraped(&proxy.engine, EJECTED), 0.0, "{down:?} {up:?}: it failed once");
            assert_eq!(counted(&proxy.engine, |counts| &counts.rq_timeout), 0);
            assert_eq!(counted(&proxy.engine, |counts| &counts.rq_error), 1);
        };
        let all = Http::matrix().flat_map(|(down, up)| [false, true].map(|resets| each(down, up, resets)));
        join_all(all).await;
    });
}

enum Answers {
    Whole(Upstream),
    Cut(RawUpstream),
}

impl Answers {
    fn at(&self) -> String {
        match self {
            Answers::Whole(upstream) => upstream.at(),
            Answers::Cut(upstream) => upstream.at(),
        }
    }
}

/// One that breaks off each answer behind its head and a piece, when `gate` opens.
async fn cutting(up: Http, gate: &Rc<Notify>) -> RawUpstream {
    let gate = gate.clone();
    match up {
        Http::One => {
            RawUpstream::start(move |mut raw, _| {
                let gate = gate.clone();
                async move {
                    raw.read_head().await;
                    raw.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
                    gate.notified().await;
                    String::new()
                }
            })
            .await
        }
        Http::Two => {
            RawUpstream::start_h2(move |mut request, _| {
                let gate = gate.clone();
                async move {
                    let head = Response::builder().body(()).expect("a response");
                    let mut stream = request.respond.send_response(head, false).expect("a stream");
                    stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
                    gate.notified().await;
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
            })
            .await
        }
    }
}

#[test]
fn an_answer_that_breaks_off_behind_its_head_counts_as_a_failure_beside_its_status() {
    run(async || {
        for (down, up) in Http::matrix() {
            let gate = Rc::new(Notify::new());
            let upstream = cutting(up, &gate).await;
            let mut traffic = in_a_row(1_000);
            // Of two results, a status and a cut, one is a failure.
            traffic.outlier = traffic.outlier.map(|outlier| Outlier {
                interval: Duration::from_millis(20),
                failure_percentage: Some(FailurePercentage {
                    threshold: 40,
                    enforcing: 100,
                    minimum_hosts: 1,
                    request_volume: 1,
                }),
                ..outlier
            });
            let proxy = proxy(up, &upstream.at(), "", &traffic, |_| {});
            let start = Instant::now();
            let mut cuts = 0;
            loop {
                let mut client = Client::connect(down, proxy.addr()).await;
                let mut response = soon("a head", client.begin(get("/m"))).await.expect("a head");
                if response.status() == 503 {
                    break;
                }
                soon("a piece", response.body_mut().frame()).await.expect("a piece").expect("no error");
                gate.notify_one();
                soon("the cut", read(response)).await.expect_err("a cut");
                cuts += 1;
                assert!(start.elapsed() < SOON, "{down:?} {up:?}: it is never thrown out");
            }
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_rx_reset"), f64::from(cuts));
            let enforced = "envoy_cluster_outlier_detection_ejections_enforced_failure_percentage";
            assert_eq!(scraped(&proxy.engine, enforced), 1.0);
        }
    });
}
