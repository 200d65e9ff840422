//! Injected faults: delays, aborts, and both, for a share of the requests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::time::{Duration, Instant};

use common::policed::{Policed, policy};
use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, run, until};
use weir::snapshot::{Abort, AbortStatus, Delay, Fault, Fraction, RoutePolicy};
use weir::words::GrpcStatus;

const SHORT: Duration = Duration::from_millis(150);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn delay(fixed: Duration, fraction: Fraction) -> Option<Delay> {
    Some(Delay { fixed, fraction })
}

fn abort(status: AbortStatus) -> impl Fn(&mut RoutePolicy) {
    let abort = Abort { status, fraction: Fraction::ALWAYS };
    move |policy| policy.fault = Some(Fault { delay: None, abort: Some(abort) })
}

async fn call(down: Http, world: &Policed) -> Answer {
    Client::connect(down, world.addr()).await.send(grpc_call("/s/m", b"1")).await
}

#[test]
fn an_aborted_request_gets_the_status_and_reaches_nobody() {
    run(async || {
        for status in [400, 418, 503, 599] {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(Http::One, &v1, abort(AbortStatus::Http(status)));
            for down in Http::BOTH {
                let answer = Client::connect(down, world.addr()).await.get("/").await;
                assert_eq!((answer.status.as_u16(), answer.text()), (status, "fault filter abort"));
            }
            assert_eq!(v1.begun(), 0);
            assert_eq!(world.metric("envoy_http_fault_aborts_injected"), 2.0);
            for line in world.log(2).await {
                assert_eq!(line, format!("{status} FI fault_filter_abort 0 -"));
            }
        }
    });
}

#[test]
fn a_grpc_caller_gets_a_grpc_status_either_way() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        for (status, told) in [
            (AbortStatus::Grpc(GrpcStatus::ResourceExhausted), "8"),
            (AbortStatus::Http(503), "14"),
            (AbortStatus::Http(404), "12"),
            (AbortStatus::Http(418), "2"),
        ] {
            let world = Policed::one(Http::Two, &v1, abort(status));
            for down in Http::BOTH {
                let answer = call(down, &world).await;
                assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some(told)));
                assert_eq!(answer.header("grpc-message"), Some("fault filter abort"));
            }
        }
        assert_eq!(v1.begun(), 0);
    });
}

#[test]
fn a_delayed_request_waits_and_then_goes_on() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.fault = Some(Fault { delay: delay(SHORT, Fraction::ALWAYS), abort: None });
            });
            let start = Instant::now();
            let answer = Client::connect(down, world.addr()).await.get("/").await;
            assert_eq!(answer.upstream(), "v1");
            assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
            assert_eq!(world.last_log(1).await, "200 DI via_upstream 1 v1");
            assert_eq!(world.metric("envoy_http_fault_delays_injected"), 1.0);
        }
    });
}

#[test]
fn a_delay_comes_before_the_abort_and_both_flags_stand() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::Two, &v1, |policy| {
            let abort = Abort { status: AbortStatus::Http(500), fraction: Fraction::ALWAYS };
            policy.fault = Some(Fault { delay: delay(SHORT, Fraction::ALWAYS), abort: Some(abort) });
        });
        for down in Http::BOTH {
            let start = Instant::now();
            assert_eq!(Client::connect(down, world.addr()).await.get("/").await.status, 500);
            assert!(start.elapsed() >= SHORT);
        }
        assert!(world.log(2).await.iter().all(|line| line == "500 DI,FI fault_filter_abort 0 -"));
    });
}

/// Two thousand requests at a half: 150 off is passed once in a hundred thousand million runs.
#[test]
fn a_fraction_of_the_requests_is_hit() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::One, &v1, |policy| {
            let abort =
                Abort { status: AbortStatus::Http(500), fraction: Fraction { numerator: 1, denominator: 2 } };
            policy.fault = Some(Fault { delay: None, abort: Some(abort) });
        });
        let mut client = Client::connect(Http::Two, world.addr()).await;
        let mut hit = 0;
        for _ in 0..2000 {
            hit += i32::from(client.get("/").await.status == 500);
        }
        assert!((850..1150).contains(&hit), "{hit}");
        assert_eq!(world.metric("envoy_http_fault_aborts_injected"), f64::from(hit));
    });
}

#[test]
fn a_fraction_of_nothing_hits_nothing() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::One, &v1, |policy| {
            let none = Fraction::of_percent(0.0);
            let abort = Abort { status: AbortStatus::Http(500), fraction: none };
            policy.fault = Some(Fault { delay: delay(LONG, none), abort: Some(abort) });
        });
        let mut client = Client::connect(Http::Two, world.addr()).await;
        for _ in 0..200 {
            assert_eq!(client.get("/").await.upstream(), "v1");
        }
    });
}

#[test]
fn a_caller_that_leaves_during_the_delay_ends_it() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::One, &v1, |policy| {
            policy.fault = Some(Fault { delay: delay(LONG, Fraction::ALWAYS), abort: None });
        });
        for (place, down) in Http::BOTH.into_iter().enumerate() {
            let mut client = Client::connect(down, world.addr()).await;
            {
                let mut asked = std::pin::pin!(client.begin(get("/")));
                until("the request waits", || {
                    let waker = std::task::Waker::noop();
                    let _ = asked.as_mut().poll(&mut std::task::Context::from_waker(waker));
                    (world.metric("envoy_http_fault_delays_injected") == place as f64 + 1.0).then_some(())
                })
                .await;
            }
            drop(client);
            let line = world.last_log(place + 1).await;
            assert!(line.starts_with("0 DI,DC downstream_remote_disconnect"), "{line}");
        }
        assert_eq!((v1.begun(), world.metric("envoy_http_downstream_rq_active")), (0, 0.0));
    });
}

#[test]
fn a_delay_does_not_outlast_the_idle_limit_of_the_stream() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = common::world::one_service(&[], &[(&v1.at(), "v1")]) + "limits: {stream_idle: 200ms}\n";
        let world = Policed::start(&yaml, &common::world::split_rule(&[("v1", 100)]), |route| {
            let fault = Fault { delay: delay(LONG, Fraction::ALWAYS), abort: None };
            policy(route).fault = Some(fault);
        });
        for down in Http::BOTH {
            assert_eq!(Client::connect(down, world.addr()).await.get("/").await.status, 504);
        }
        assert!(world.log(2).await.iter().all(|line| line == "504 DI,SI stream_idle_timeout 0 -"));
    });
}
