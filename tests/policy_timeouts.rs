//! How long a request, one attempt, and a silence may last; what gRPC's own deadline does, and what upstreams are told.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::time::Duration;

use common::policed::Policed;
use common::world::client::{Client, get, grpc, post, read};
use common::world::raw::RawUpstream;
use common::world::upstream::{Upstream, channel, full, grpc_message};
use common::world::{Http, run, soon, until};
use http::{Method, Request};
use http_body::Frame;
use weir::snapshot::{RetryCondition, RetryPolicy, RoutePolicy};

const SHORT: Duration = Duration::from_millis(60);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

fn call(timeout: &str) -> Request<common::world::upstream::BoxBody> {
    grpc("/s.S/M").header("grpc-timeout", timeout).body(full(grpc_message(b"hello"))).expect("a request")
}

fn ms_of(grpc_timeout: &str) -> f64 {
    let (count, unit) = grpc_timeout.split_at(grpc_timeout.len() - 1);
    let count: f64 = count.parse().expect("digits");
    count
        * match unit {
            "u" => 0.001,
            "m" => 1.0,
            "S" => 1_000.0,
            other => panic!("the unit {other}"),
        }
}

#[test]
fn a_request_whose_time_is_up_gets_504_whatever_its_retries_still_allow() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::holding().await;
            let protocol = format!("protocol: {}", up.protocol());
            let proxy = Policed::split(&[&protocol], &[(&upstream.at(), "v1")], "", |forward, policy| {
                forward.timeout = Some(3 * SHORT);
                let on = [RetryCondition::Reset].into_iter().collect();
                policy.retry = Some(RetryPolicy {
                    on,
                    retries: 1_000,
                    per_try_timeout: Some(SHORT),
                    ..RetryPolicy::default()
                });
            });
            let answer = proxy.caller(down).await.send(post("/m", "{}")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (504, "upstream request timeout"));
            assert!(
                proxy.log(1).await[0].starts_with("504 UT response_timeout "),
                "{:?}",
                proxy.log(1).await
            );
            until("the upstream hears of it", || (upstream.cancelled() == upstream.begun()).then_some(()))
                .await;
        }
    });
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up_and_one_that_is_allowed_made_elsewhere() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (slow, v1) = (Upstream::holding().await, Upstream::start("v1").await);
            let retry = RetryPolicy {
                on: [RetryCondition::GatewayError].into_iter().collect(),
                per_try_timeout: Some(SHORT),
                ..RetryPolicy::default()
            };
            let proxy = Policed::retrying(up, &[&slow.at(), &v1.at()], retry.clone());
            let mut caller = proxy.caller(down).await;
            while slow.begun() == 0 {
                assert_eq!(caller.send(post("/m", "{}")).await.text(), "v1");
            }
            assert_eq!(v1.seen().last().map(|seen| seen.body.clone()), Some("{}".into()));
            assert_eq!(proxy.metric("weir_retries_total{reason=\"per_try_timeout\""), 1.0);
            until("the slow one hears of it", || (slow.cancelled() == 1).then_some(())).await;
            // Where nothing else is there, the second is the last.
            let proxy = Policed::retrying(up, &[&slow.at()], retry);
            let answer = proxy.caller(down).await.send(get("/m")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (504, "upstream request timeout"));
            assert_eq!(proxy.log(1).await, ["504 URX,UT upstream_per_try_timeout 2"]);
        }
    });
}

#[test]
fn an_attempt_on_which_nothing_moves_is_given_up_but_not_one_that_is_only_long() {
    run(async || {
        let idle = Duration::from_millis(400);
        for up in Http::BOTH {
            let silent = Upstream::holding().await;
            let idle_only = |_: &mut _, policy: &mut RoutePolicy| {
                let retry =
                    RetryPolicy { per_try_idle_timeout: Some(idle), retries: 0, ..RetryPolicy::default() };
                policy.retry = Some(retry);
            };
            let protocol = format!("protocol: {}", up.protocol());
            let proxy = Policed::split(&[&protocol], &[(&silent.at(), "v1")], "", idle_only);
            let answer = proxy.caller(Http::One).await.send(get("/m")).await;
            assert_eq!(answer.status, 504);
            assert_eq!(proxy.log(1).await, ["504 UT upstream_per_try_idle_timeout 1"]);
            // A body that moves every fourth part of that, for thrice as long in all.
            let v1 = Upstream::start("v1").await;
            let proxy = Policed::split(&[&protocol], &[(&v1.at(), "v1")], "", idle_only);
            let (sender, body) = channel();
            let moves = async {
                for _ in 0..12 {
                    tokio::time::sleep(idle / 4).await;
                    sender.send(Frame::data("piece".into())).expect("the proxy reads");
                }
                drop(sender);
            };
            let request = common::world::client::request(Method::POST, "/m").body(body).expect("a request");
            let mut caller = proxy.caller(Http::Two).await;
            let (answer, ()) = tokio::join!(caller.send(request), moves);
            assert_eq!((answer.text(), v1.only().body.len()), ("v1", 12 * 5), "{up:?}");
        }
    });
}

#[test]
fn a_grpc_deadline_is_honoured_told_reduced_and_its_end_is_deadline_exceeded() {
    run(async || {
        let held = Upstream::holding().await;
        let proxy = Policed::split(&[], &[(&held.at(), "v1")], "", |_, _| {});
        let answer = proxy.caller(Http::Two).await.send(call("60m")).await;
        assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some("4")));
        assert_eq!(answer.header("grpc-message"), Some("upstream request timeout"));
        assert_eq!(proxy.log(1).await, ["200 UT response_timeout 1"]);
        until("the upstream hears of it", || (held.cancelled() == 1).then_some(())).await;

        let v1 = Upstream::start("v1").await;
        let proxy = Policed::split(&[], &[(&v1.at(), "v1")], "", |_, _| {});
        assert_eq!(proxy.caller(Http::Two).await.send(call("1000S")).await.grpc_status(), Some("0"));
        let seen = v1.only();
        let told = ms_of(seen.header("grpc-timeout").expect("it is passed on"));
        assert!((900_000.0..1_000_000.0).contains(&told), "{told}");
        assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), None, "it is the caller's own bound");
    });
}

#[test]
fn the_routes_timeout_counts_where_it_is_shorter_and_is_no_deadline_of_grpcs() {
    run(async || {
        let held = Upstream::holding().await;
        let timed = |endpoint: &str, timeout, grpc_max| {
            Policed::split(&[], &[(endpoint, "v1")], "", move |forward, policy| {
                forward.timeout = timeout;
                policy.timeouts.grpc_max = grpc_max;
            })
        };
        let proxy = timed(&held.at(), Some(SHORT), None);
        assert_eq!(proxy.caller(Http::Two).await.send(call("1H")).await.grpc_status(), Some("14"));
        // The longest that is honoured.
        let proxy = timed(&held.at(), None, Some(SHORT));
        assert_eq!(proxy.caller(Http::Two).await.send(call("1H")).await.grpc_status(), Some("4"));
        let v1 = Upstream::start("v1").await;
        let proxy = timed(&v1.at(), Some(LONG / 2), None);
        assert_eq!(proxy.caller(Http::Two).await.send(call("3600S")).await.grpc_status(), Some("0"));
        let told = ms_of(v1.only().header("grpc-timeout").expect("it is passed on"));
        assert!((1_700_000.0..=1_800_000.0).contains(&told), "the route's: {told}");
    });
}

#[test]
fn what_is_no_grpc_deadline_is_passed_on_as_it_is_and_bounds_nothing() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let proxy = Policed::split(&[], &[(&v1.at(), "v1")], "", |_, _| {});
        let mut caller = proxy.caller(Http::Two).await;
        for unreadable in ["1s", "123456789S", "soon", "-1S"] {
            assert_eq!(caller.send(call(unreadable)).await.grpc_status(), Some("0"), "{unreadable}");
            let seen = v1.last();
            assert_eq!(seen.header("grpc-timeout"), Some(unreadable));
            assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), None);
        }
        // Nor is one of a request that is not gRPC.
        let mut request = get("/m");
        request.headers_mut().insert("grpc-timeout", "0m".parse().expect("a value"));
        assert_eq!(caller.send(request).await.text(), "v1");
        assert_eq!(v1.last().header("grpc-timeout"), Some("0m"));
    });
}

#[test]
fn a_plain_route_honours_a_grpc_deadline_too() {
    run(async || {
        let held = Upstream::holding().await;
        let world =
            common::world::World::start(&common::world::one_service(&[], &[(&held.at(), "v1")])).await;
        let mut caller = Client::connect(Http::Two, world.addr("in")).await;
        assert_eq!(caller.send(call("60m")).await.grpc_status(), Some("4"));
        until("the upstream hears of it", || (held.cancelled() == 1).then_some(())).await;

        let v1 = Upstream::start("v1").await;
        let world = common::world::World::start(&common::world::one_service(&[], &[(&v1.at(), "v1")])).await;
        let mut caller = Client::connect(Http::Two, world.addr("in")).await;
        assert_eq!(caller.send(call("1000S")).await.grpc_status(), Some("0"));
        let told = ms_of(v1.only().header("grpc-timeout").expect("it is passed on"));
        assert!((900_000.0..1_000_000.0).contains(&told), "{told}");
    });
}

#[test]
fn a_plain_route_tells_its_own_timeout_only_where_that_is_the_shorter() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = common::world::one_service(&["timeout: 2000s"], &[(&v1.at(), "v1")]);
        let world = common::world::World::start(&yaml).await;
        let mut caller = Client::connect(Http::Two, world.addr("in")).await;
        for (grpc, expected) in [("1000S", None), ("1H", Some("2000000"))] {
            assert_eq!(caller.send(call(grpc)).await.grpc_status(), Some("0"));
            let seen = v1.seen().pop().expect("seen");
            assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), expected, "{grpc}");
        }
    });
}

#[test]
fn each_attempt_is_told_what_its_own_bound_and_the_requests_leave() {
    run(async || {
        for up in Http::BOTH {
            let upstream = Upstream::remembering(|seen| {
                let told = seen.header("x-envoy-expected-rq-timeout-ms").expect("told").to_owned();
                let status = if told == "700" { 503 } else { 200 };
                http::Response::builder().status(status).body(full(told)).expect("a response")
            })
            .await;
            let per_try = |per_try: u64, total: u64| {
                let protocol = format!("protocol: {}", up.protocol());
                Policed::split(&[&protocol], &[(&upstream.at(), "v1")], "", move |forward, policy| {
                    forward.timeout = Some(Duration::from_secs(total));
                    policy.retry = Some(RetryPolicy {
                        per_try_timeout: Some(Duration::from_millis(per_try)),
                        ..RetryPolicy::default()
                    });
                })
            };
            let proxy = per_try(700, 3_600);
            assert_eq!(proxy.caller(Http::One).await.send(get("/m")).await.text(), "700");
            let proxy = per_try(7_200_000, 3_600);
            let told: u64 =
                proxy.caller(Http::One).await.send(get("/m")).await.text().parse().expect("milliseconds");
            assert!((3_000_000..=3_600_000).contains(&told), "{told}");
        }
    });
}

#[test]
fn an_internal_caller_bounds_one_attempt_and_another_does_not() {
    run(async || {
        let held = Upstream::holding().await;
        for (internal, more) in [(true, "internal_cidrs: [127.0.0.1/32]\n"), (false, "")] {
            let proxy = Policed::split(&[], &[(&held.at(), "v1")], more, |forward, _| {
                forward.timeout = Some(5 * SHORT);
            });
            let mut request = get("/m");
            let name = "x-envoy-upstream-rq-per-try-timeout-ms";
            request.headers_mut().insert(name, "30".parse().expect("a value"));
            assert_eq!(proxy.caller(Http::One).await.send(request).await.status, 504);
            let details = if internal { "upstream_per_try_timeout" } else { "response_timeout" };
            assert_eq!(proxy.log(1).await, [format!("504 UT {details} 1")]);
        }
    });
}

#[test]
fn the_times_that_an_internal_caller_asks_for_stand_in_place_of_the_routes_and_go_no_further() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let more = "internal_cidrs: [127.0.0.1/32]\n";
        let proxy = Policed::split(&[], &[(&v1.at(), "v1")], more, |forward, policy| {
            forward.timeout = Some(LONG);
            policy.retry = Some(RetryPolicy { per_try_timeout: Some(LONG / 2), ..RetryPolicy::default() });
        });
        let mut caller = proxy.caller(Http::One).await;
        let (whole, per_try) = ("x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms");
        for (fields, told) in [
            (&[(whole, "70000")][..], Some("70000")),
            (&[(per_try, "60000")], Some("60000")),
            (&[(whole, "0"), (per_try, "50000")], Some("50000")),
            (&[(whole, "70000"), (per_try, "0")], Some("70000")),
            (&[(whole, "0"), (per_try, "0")], None),
        ] {
            let mut request = get("/m");
            for (name, value) in fields {
                request.headers_mut().insert(*name, value.parse().expect("a value"));
            }
            assert_eq!(caller.send(request).await.text(), "v1");
            let seen = v1.seen().pop().expect("seen");
            assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), told, "{fields:?}");
            assert_eq!((seen.header(whole), seen.header(per_try)), (None, None), "{fields:?}");
        }
    });
}

#[test]
fn a_routes_idle_time_holds_in_place_of_the_process_on_either_side_of_it() {
    run(async || {
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let idle = |limit: &str, own: Duration| {
                let limits = format!("limits: {{stream_idle: {limit}}}\n");
                let protocol = format!("protocol: {}", up.protocol());
                Policed::split(&[&protocol], &[(&held.at(), "v1")], &limits, move |_, policy| {
                    policy.timeouts.idle = Some(own);
                })
            };
            let proxy = idle("1h", Duration::from_millis(150));
            let answer = proxy.caller(down).await.send(get("/m")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (504, "stream timeout"), "{down:?} {up:?}");
            // Turned off, it outlives the process's by ten times, and is answered.
            for off in [Duration::ZERO, LONG] {
                let v1 = RawUpstream::start(|mut raw, _| async move {
                    raw.read_head().await.expect("a request");
                    // It shows that nothing happens for so long.
                    tokio::time::sleep(Duration::from_millis(1_000)).await;
                    raw.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await;
                    String::new()
                })
                .await;
                let limits = "limits: {stream_idle: 100ms}\n";
                let proxy =
                    Policed::split(&["protocol: http1"], &[(&v1.at(), "v1")], limits, move |_, policy| {
                        policy.timeouts.idle = Some(off);
                    });
                assert_eq!(proxy.caller(down).await.send(get("/m")).await.text(), "late", "{down:?} {off:?}");
            }
        }
    });
}

#[test]
fn an_answer_that_outlasts_the_deadline_is_cut() {
    run(async || {
        let slow = RawUpstream::start_h2(|mut request, _| async move {
            let response = http::Response::builder().header("content-type", "application/grpc").body(());
            let stream =
                request.respond.send_response(response.expect("a response"), false).expect("a stream");
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let proxy = Policed::split(&[], &[(&slow.at(), "v1")], "", |_, _| {});
        let mut caller = proxy.caller(Http::Two).await;
        let response = soon("the head", caller.begin(call("300m"))).await.expect("a head");
        assert!(soon("the end", read(response)).await.is_err(), "it is no whole answer");
        assert!(proxy.log(1).await[0].starts_with("200 UT "), "{:?}", proxy.log(1).await);
    });
}
