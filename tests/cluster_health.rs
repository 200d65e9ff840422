//! Active health checks through the whole proxy: who is asked, how, and what comes of the answer.
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

use bytes::Bytes;
use common::clusters::{NOBODY, caller, outlier, scraped, serve, snapshot};
use common::engine::eventually;
use common::world::raw::{Raw, RawUpstream};
use common::world::upstream::{BoxBody, Seen, Upstream, channel, frames, full, grpc_message, grpc_ok};
use common::world::{Http, free_port, run};
use http::{HeaderName, Response};
use http_body::Frame;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use weir::snapshot::route::OrdName;
use weir::snapshot::{HeaderEdit, HealthCheck, HealthCheckKind, TrafficPolicy};

/// Asked every few milliseconds.
fn check(kind: HealthCheckKind) -> HealthCheck {
    HealthCheck {
        interval: Duration::from_millis(10),
        no_traffic_interval: Duration::from_millis(10),
        timeout: Duration::from_secs(10),
        ..HealthCheck::new(kind)
    }
}

/// Nobody is asked who is not well.
fn policy(check: HealthCheck) -> TrafficPolicy {
    TrafficPolicy { health_checks: vec![check], panic_threshold: 0, ..TrafficPolicy::default() }
}

fn http(path: &str) -> HealthCheckKind {
    HealthCheckKind::Http { path: path.into(), host: None, expected: Vec::new(), headers: Vec::new() }
}

/// An upstream that answers `/m`, and everything else with what `answer` makes of whether it is well.
async fn upstream(
    is_well: &Rc<Cell<bool>>,
    answer: impl Fn(&Seen, bool) -> Response<BoxBody> + 'static,
) -> Upstream {
    let is_well = is_well.clone();
    Upstream::remembering(move |seen| match seen.target() {
        "/m" => Response::new(full("served")),
        _ => answer(&seen, is_well.get()),
    })
    .await
}

fn status(status: u16) -> Response<BoxBody> {
    Response::builder().status(status).body(full("health")).expect("a response")
}

/// The questions that it was asked.
fn questions(upstream: &Upstream) -> Vec<Seen> {
    upstream.seen().into_iter().filter(|seen| seen.target() != "/m").collect()
}

/// A single endpoint that is ill, well and ill again, and answers accordingly.
async fn ill_well_ill(
    up: Http,
    kind: HealthCheckKind,
    answer: impl Fn(&Seen, bool) -> Response<BoxBody> + 'static,
) -> Upstream {
    let is_well = Rc::new(Cell::new(false));
    let upstream = upstream(&is_well, answer).await;
    let engine = serve(up, &[&upstream.at()], &policy(check(kind)));
    let mut client = caller(Http::One, &engine).await;
    eventually("it is asked", || questions(&upstream).len() > 1).await;
    assert_eq!(client.get("/m").await.text(), NOBODY, "{up:?}: nobody has found it well yet");
    assert_eq!(scraped(&engine, "envoy_cluster_health_check_healthy"), 0.0);
    is_well.set(true);
    client.get_until("it is well", |answer| answer.text() == "served").await;
    assert_eq!(scraped(&engine, "envoy_cluster_membership_healthy"), 1.0);
    is_well.set(false);
    client.get_until("it is ill again", |answer| answer.text() == NOBODY).await;
    assert!(scraped(&engine, "envoy_cluster_health_check_failure") >= 2.0);
    assert!(scraped(&engine, "envoy_cluster_health_check_success") >= 1.0);
    upstream
}

#[test]
fn an_endpoint_is_well_while_a_get_of_it_is_answered_with_200() {
    run(async || {
        for up in Http::BOTH {
            let upstream = ill_well_ill(up, http("/health?deep=1"), |_, is_well| {
                status(if is_well { 200 } else { 503 })
            })
            .await;
            let asked = &questions(&upstream)[0];
            assert_eq!((asked.head.method.as_str(), asked.target()), ("GET", "/health?deep=1"));
            let host = asked.header("host").or(asked.head.uri.host()).expect("a host");
            assert!(host.starts_with('x'), "the service's own: {host}");
            assert_eq!(asked.header("user-agent"), Some("weir-health-check"));
        }
    });
}

#[test]
fn host_fields_statuses_and_port_are_as_it_is_said() {
    run(async || {
        for up in Http::BOTH {
            let (serving, health) =
                (Upstream::start("served").await, Upstream::remembering(|_| status(404)).await);
            let field = HeaderEdit { name: OrdName(HeaderName::from_static("x-probe")), value: "yes".into() };
            let kind = HealthCheckKind::Http {
                path: "/h".into(),
                host: Some("health.test".into()),
                expected: vec![(200, 300), (404, 405)],
                headers: vec![field],
            };
            let check = HealthCheck { port: Some(health.addr().port()), ..check(kind) };
            let engine = serve(up, &[&serving.at()], &policy(check));
            let mut client = caller(Http::One, &engine).await;
            client.get_until("it is well", |answer| answer.text() == "served").await;
            let asked = &health.seen()[0];
            let host = asked.header("host").or(asked.head.uri.host());
            assert_eq!((host, asked.header("x-probe")), (Some("health.test"), Some("yes")), "{up:?}");
            assert!(serving.seen().iter().all(|seen| seen.target() == "/m"), "the port itself is not asked");
        }
    });
}

/// A unary answer of gRPC.
fn grpc(message: &[u8]) -> Response<BoxBody> {
    let body = frames(vec![Frame::data(grpc_message(message)), Frame::trailers(grpc_ok())]);
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}

#[test]
fn an_endpoint_is_well_while_grpc_health_says_serving() {
    run(async || {
        // SERVING is 1, NOT_SERVING 2.
        let kind = HealthCheckKind::Grpc {
            service: Some("tensorflow.serving.PredictionService".into()),
            authority: None,
        };
        let upstream =
            ill_well_ill(Http::Two, kind, |_, is_well| grpc(&[8, if is_well { 1 } else { 2 }])).await;
        let asked = &questions(&upstream)[0];
        assert_eq!(asked.target(), "/grpc.health.v1.Health/Check");
        assert_eq!(
            (asked.header("content-type"), asked.header("te")),
            (Some("application/grpc"), Some("trailers"))
        );
        let service = b"tensorflow.serving.PredictionService";
        let message = [&[10, service.len() as u8][..], service].concat();
        assert_eq!(asked.body, grpc_message(&message));
    });
}

#[test]
fn an_endpoint_that_has_no_grpc_health_is_ill() {
    run(async || {
        let unimplemented = |_: &Seen, is_well: bool| {
            if is_well {
                return grpc(&[8, 1]);
            }
            let head =
                Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
            head.body(common::world::upstream::empty()).expect("a response")
        };
        ill_well_ill(
            Http::Two,
            HealthCheckKind::Grpc { service: None, authority: Some("a.test".into()) },
            unimplemented,
        )
        .await;
    });
}

#[test]
fn an_endpoint_is_well_while_its_model_is_available_by_rest() {
    run(async || {
        let kind = HealthCheckKind::Model { name: "half plus/two".into(), version: Some(3) };
        let answer = |_: &Seen, is_well: bool| {
            let state = if is_well { "AVAILABLE" } else { "LOADING" };
            Response::new(full(format!(
                r#"{{"model_version_status": [{{"version": "3", "state": "{state}"}}]}}"#
            )))
        };
        let upstream = ill_well_ill(Http::One, kind, answer).await;
        assert_eq!(questions(&upstream)[0].target(), "/v1/models/half%20plus%2Ftwo/versions/3");
    });
}

#[test]
fn an_endpoint_is_well_while_its_model_is_available_by_grpc() {
    run(async || {
        let kind = HealthCheckKind::Model { name: "half".into(), version: None };
        // `ModelVersionStatus{version: 7, state: AVAILABLE}`, or LOADING.
        let answer = |_: &Seen, is_well: bool| grpc(&[10, 4, 8, 7, 16, if is_well { 30 } else { 20 }]);
        let upstream = ill_well_ill(Http::Two, kind, answer).await;
        let asked = &questions(&upstream)[0];
        assert_eq!(asked.target(), "/tensorflow.serving.ModelService/GetModelStatus");
        assert_eq!(asked.body, grpc_message(&[10, 6, 10, 4, b'h', b'a', b'l', b'f']));
    });
}

#[test]
fn where_a_connection_is_all_that_is_asked_for_who_takes_none_gets_no_request() {
    run(async || {
        for up in Http::BOTH {
            let (gone, good) = (format!("127.0.0.1:{}", free_port()), Upstream::start("good").await);
            let engine = serve(up, &[&gone, &good.at()], &policy(check(HealthCheckKind::Tcp)));
            eventually("one is well", || scraped(&engine, "envoy_cluster_membership_healthy") == 1.0).await;
            let mut client = caller(Http::One, &engine).await;
            for _ in 0..10 {
                assert_eq!(client.get("/m").await.text(), "good");
            }
            assert_eq!(scraped(&engine, "envoy_cluster_upstream_cx_connect_fail"), 0.0, "{up:?}");
            assert!(scraped(&engine, "envoy_cluster_health_check_network_failure") >= 1.0);
        }
    });
}

#[test]
fn who_says_nothing_or_nothing_that_can_be_read_is_ill_and_nobody_waits_for_him() {
    run(async || {
        let silent = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            std::future::pending::<String>().await
        })
        .await;
        let babbling = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write(b"SSH-2.0-OpenSSH_9.6\r\n").await;
            String::new()
        })
        .await;
        let good = Upstream::start("good").await;
        for up in Http::BOTH {
            let check = HealthCheck { timeout: Duration::from_millis(100), ..check(http("/h")) };
            let engine = serve(up, &[&silent.at(), &babbling.at(), &good.at()], &policy(check));
            eventually("one is well", || scraped(&engine, "envoy_cluster_membership_healthy") == 1.0).await;
            eventually("two say nothing", || {
                scraped(&engine, "envoy_cluster_health_check_network_failure") >= 2.0
            })
            .await;
            let mut client = caller(Http::One, &engine).await;
            for _ in 0..10 {
                assert_eq!(client.get("/m").await.text(), "good");
            }
        }
    });
}

#[test]
fn a_reload_keeps_what_was_found_and_asks_whoever_is_new() {
    run(async || {
        let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
        let rare = HealthCheck {
            interval: Duration::from_secs(3600),
            no_traffic_interval: Duration::from_secs(3600),
            ..check(http("/h"))
        };
        let engine = serve(Http::One, &[&old.at()], &policy(rare.clone()));
        let mut client = caller(Http::One, &engine).await;
        client.get_until("it is well", |answer| answer.text() == "old").await;
        let asked = questions(&old).len();
        let again = snapshot(Http::One, &[&old.at(), &new.at()], |cluster| {
            cluster.traffic = Some(Box::new(policy(rare.clone())));
        });
        engine.publish(again);
        assert_eq!(client.get("/m").await.text(), "old", "it stays well");
        client.get_until("the new one is well", |answer| answer.text() == "new").await;
        assert_eq!((questions(&old).len(), questions(&new).len()), (asked, 1), "nobody is asked again");
        engine.publish(snapshot(Http::One, &[&old.at()], |cluster| cluster.traffic = None));
        assert_eq!(client.get("/m").await.text(), "old");
    });
}

#[test]
fn who_was_thrown_out_for_failures_is_let_in_by_a_good_answer() {
    run(async || {
        let fails = Rc::new(Cell::new(true));
        let failing = fails.clone();
        let upstream = Upstream::remembering(move |seen| match seen.target() {
            "/m" if failing.get() => status(500),
            _ => Response::new(full("well")),
        })
        .await;
        let traffic = TrafficPolicy { outlier: Some(outlier(1)), ..policy(check(http("/h"))) };
        let engine = serve(Http::One, &[&upstream.at()], &traffic);
        let mut client = caller(Http::One, &engine).await;
        client.get_until("it is thrown out", |answer| answer.status == 500).await;
        fails.set(false);
        client.get_until("it is let in", |answer| answer.text() == "well").await;
    });
}

/// More than is kept of an answer, and what a model that is available is told by.
fn endless() -> Response<BoxBody> {
    let frames = (0..64).map(|_| Frame::data(Bytes::from(vec![b' '; 4 << 10])));
    let available = r#"{"model_version_status": [{"version": "3", "state": "AVAILABLE"}]}"#;
    let frames = frames.chain([Frame::data(Bytes::from(available))]).collect();
    Response::new(common::world::upstream::frames(frames))
}

#[test]
fn an_http_check_is_decided_by_the_head_however_long_the_body_is_and_whether_it_ends() {
    run(async || {
        for up in Http::BOTH {
            let (good, bad) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
            let never_ends = bad.clone();
            let answer = move |_: &Seen, is_well: bool| {
                let (sender, body) = channel();
                never_ends.borrow_mut().push(sender);
                let status = if is_well { 200 } else { 503 };
                Response::builder().status(status).body(body).expect("a response")
            };
            let (without_end, long) =
                (upstream(&good, answer).await, upstream(&good, |_, _| endless()).await);
            let engine = serve(up, &[&without_end.at(), &long.at()], &policy(check(http("/h"))));
            let healthy = "envoy_cluster_membership_healthy";
            eventually("the long one is well", || scraped(&engine, healthy) == 1.0).await;
            good.set(true);
            eventually("the other is too", || scraped(&engine, healthy) == 2.0).await;
            assert_eq!(scraped(&engine, "envoy_cluster_health_check_network_failure"), 0.0, "{up:?}");
            eventually("whoever has told its status is left", || {
                // One question may be open at each.
                without_end.open_connections() <= 1 && questions(&without_end).len() > 2
            })
            .await;
        }
    });
}

#[test]
fn an_answer_about_a_model_that_is_longer_than_such_an_answer_is_none() {
    run(async || {
        let endless = Upstream::remembering(|_| endless()).await;
        let kind = HealthCheckKind::Model { name: "half".into(), version: None };
        let engine = serve(Http::One, &[&endless.at()], &policy(check(kind)));
        eventually("it is asked", || scraped(&engine, "envoy_cluster_health_check_failure") >= 2.0).await;
        assert_eq!(scraped(&engine, "envoy_cluster_health_check_success"), 0.0);
    });
}

/// Endpoints at one socket, each with an address of its own; every connection waits there to be let go on.
struct Crowd {
    at: Vec<String>,
    waiting: Rc<RefCell<Vec<Raw>>>,
    asked: Rc<Cell<usize>>,
}

impl Crowd {
    /// `count` endpoints. On Linux all of 127/8 is loopback.
    async fn of(count: usize) -> Crowd {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let address = |n: usize| format!("127.0.{}.{}:{port}", 1 + n / 200, 1 + n % 200);
        let crowd =
            Crowd { at: (0..count).map(address).collect(), waiting: Rc::default(), asked: Rc::default() };
        let (waiting, asked) = (crowd.waiting.clone(), crowd.asked.clone());
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (waiting, asked) = (waiting.clone(), asked.clone());
                spawn_local(async move {
                    let mut raw = Raw::over(stream);
                    raw.read_head().await.expect("a question");
                    asked.set(asked.get() + 1);
                    waiting.borrow_mut().push(raw);
                });
            }
        });
        crowd
    }

    /// Answers whoever waits.
    async fn answer(&self) {
        let waiting = self.waiting.take();
        for mut raw in waiting {
            raw.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    }
}

#[test]
fn only_so_many_endpoints_of_a_cluster_are_asked_at_once_and_each_has_its_turn() {
    run(async || {
        const ENDPOINTS: usize = 300;
        const AT_ONCE: usize = 128;
        let crowd = Crowd::of(ENDPOINTS).await;
        let at: Vec<&str> = crowd.at.iter().map(String::as_str).collect();
        let hour = Duration::from_secs(3600);
        let rare = HealthCheck { interval: hour, no_traffic_interval: hour, ..check(http("/h")) };
        let engine = serve(Http::One, &at, &policy(rare));
        let mut answered = 0;
        while answered < ENDPOINTS {
            let due = AT_ONCE.min(ENDPOINTS - answered);
            eventually("as many as may be are asked, none waits for an interval", || {
                crowd.waiting.borrow().len() >= due
            })
            .await;
            assert_eq!(crowd.waiting.borrow().len(), due, "and no more");
            answered += due;
            crowd.answer().await;
            let healthy = "envoy_cluster_membership_healthy";
            eventually("they are well", || scraped(&engine, healthy) == answered as f64).await;
        }
        assert_eq!(crowd.asked.get(), ENDPOINTS, "each once");
    });
}
