//! What a route's policy has made again, and what it does not, against upstreams that fail in every way.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::policed::Policed;
use common::world::client::{Client, get, post};
use common::world::raw::RawUpstream;
use common::world::upstream::{BoxBody, Upstream, channel, full};
use common::world::{Http, free_port, run, soon, until};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use weir::snapshot::{
    BackOff, HeaderMatch, HeaderName, OrdName, RetryCondition as On, RetryPolicy, StringMatch,
};

fn no_pause() -> BackOff {
    BackOff { base: Duration::ZERO, max: Duration::ZERO }
}

fn on(conditions: &[On]) -> RetryPolicy {
    RetryPolicy {
        on: conditions.iter().copied().collect(),
        status_codes: vec![418],
        headers: vec![HeaderMatch {
            name: HeaderName::Header(OrdName("x-again".parse().expect("a name"))),
            value: StringMatch::Exact("yes".into()),
        }],
        back_off: no_pause(),
        ..RetryPolicy::default()
    }
}

/// An answer that says what it has to.
fn answer(status: u16, fields: &[(&str, &str)]) -> Response<BoxBody> {
    let builder = fields
        .iter()
        .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    builder.body(full(status.to_string())).expect("a response")
}

/// An upstream whose answers are `first`, then 200.
async fn first(status: u16, fields: &'static [(&'static str, &'static str)]) -> Upstream {
    let turn = Cell::new(0);
    Upstream::remembering(move |_| match turn.replace(turn.get() + 1) {
        0 => answer(status, fields),
        _ => answer(200, &[]),
    })
    .await
}

/// An upstream that takes a request and fails it, then answers 200.
async fn fails_first(up: Http, reset: h2::Reason) -> RawUpstream {
    let turn = Rc::new(Cell::new(0));
    match up {
        Http::One => {
            RawUpstream::start(move |mut raw, _| {
                let turn = turn.clone();
                async move {
                    while raw.read_head().await.is_some() {
                        if turn.replace(turn.get() + 1) == 0 {
                            return String::new();
                        }
                        raw.write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n200").await;
                    }
                    String::new()
                }
            })
            .await
        }
        Http::Two => {
            RawUpstream::start_h2(move |mut request, number| async move {
                match number {
                    0 => request.reset(reset),
                    _ => request.answer("200"),
                }
            })
            .await
        }
    }
}

#[test]
fn each_answer_is_asked_for_again_by_the_conditions_that_name_it_and_by_no_other() {
    const CASES: [(u16, &[(&str, &str)], &[On]); 7] = [
        (500, &[], &[On::ServerError]),
        (503, &[], &[On::ServerError, On::GatewayError]),
        (409, &[], &[On::Retriable4xx]),
        (418, &[], &[On::RetriableStatusCodes]),
        (200, &[("x-again", "yes")], &[On::RetriableHeaders]),
        (429, &[("x-envoy-ratelimited", "true")], &[On::EnvoyRateLimited]),
        (404, &[], &[]),
    ];
    run(async || {
        for (index, (status, fields, conditions)) in CASES.into_iter().enumerate() {
            // Each case by one of the four, each of the four by some case.
            let (down, up) = Http::matrix().nth(index % 4).expect("four");
            for condition in On::ALL.iter().copied() {
                let upstream = first(status, fields).await;
                let proxy = Policed::retrying(up, &[&upstream.at()], on(&[condition]));
                let answer = proxy.caller(down).await.send(get("/m")).await;
                let again = conditions.contains(&condition);
                let expected = if again { (200, 2) } else { (status, 1) };
                let seen = (answer.status.as_u16(), upstream.seen().len());
                assert_eq!(seen, expected, "{status} {fields:?} by {}", condition.as_str());
            }
        }
    });
}

#[test]
fn a_lost_connection_and_a_reset_stream_are_made_up_for_whatever_the_method() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (condition, again) in [
                (On::ServerError, true),
                (On::GatewayError, true),
                (On::Reset, true),
                (On::ConnectFailure, false),
                (On::RefusedStream, false),
                (On::ResetBeforeRequest, false),
                (On::RetriableStatusCodes, false),
            ] {
                let upstream = fails_first(up, h2::Reason::INTERNAL_ERROR).await;
                let proxy = Policed::retrying(up, &[&upstream.at()], on(&[condition]));
                let answer = proxy.caller(down).await.send(post("/m", "")).await;
                let expected = if again { 200 } else { 503 };
                assert_eq!(answer.status, expected, "{down:?} {up:?} {}", condition.as_str());
                let retried = proxy.metric("weir_retries_total{reason=\"reset\"");
                assert_eq!(retried, f64::from(u8::from(again)));
            }
        }
    });
}

#[test]
fn where_a_route_wants_no_retries_none_is_made_of_what_may_have_been_processed_though_its_method_is_safe() {
    run(async || {
        for (down, up) in Http::matrix() {
            let none = RetryPolicy { retries: 0, ..RetryPolicy::default() };
            for (policy, status) in [(Some(none), 503), (None, 200)] {
                let upstream = fails_first(up, h2::Reason::INTERNAL_ERROR).await;
                let protocol = format!("protocol: {}", up.protocol());
                let at = upstream.at();
                let proxy = Policed::split(&[&protocol], &[(&at, "v1")], "", |_, route| {
                    route.retry.clone_from(&policy)
                });
                let answer = proxy.caller(down).await.send(get("/m")).await;
                assert_eq!(answer.status, status, "{down:?} {up:?}");
            }
        }
    });
}

#[test]
fn a_refused_stream_is_made_again_with_and_without_its_condition() {
    run(async || {
        for condition in [On::RefusedStream, On::Retriable4xx] {
            let upstream = fails_first(Http::Two, h2::Reason::REFUSED_STREAM).await;
            let proxy = Policed::retrying(Http::Two, &[&upstream.at()], on(&[condition]));
            assert_eq!(proxy.caller(Http::Two).await.send(post("/m", "{}")).await.status, 200);
            assert_eq!(proxy.log(1).await, ["200 - via_upstream 2"]);
        }
    });
}

#[test]
fn a_connection_that_cannot_be_made_is_tried_again_even_where_nothing_else_is_there() {
    run(async || {
        for (down, up) in Http::matrix() {
            let nobody = format!("127.0.0.1:{}", free_port());
            for (condition, attempts) in [(On::ConnectFailure, 4), (On::Retriable4xx, 1)] {
                let retry = RetryPolicy { retries: 3, ..on(&[condition]) };
                let proxy = Policed::retrying(up, &[&nobody], retry);
                let answer = proxy.caller(down).await.send(get("/m")).await;
                assert_eq!(answer.status, 503);
                assert!(answer.text().contains("remote connection failure"), "{}", answer.text());
                let flags = if attempts > 1 { "URX,UF" } else { "UF" };
                let details = "upstream_reset_before_response_started{remote_connection_failure}";
                assert_eq!(proxy.log(1).await, [format!("503 {flags} {details} {attempts}")]);
            }
        }
    });
}

#[test]
fn when_all_retries_are_used_the_upstreams_own_answer_goes_down() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::remembering(|_| answer(503, &[("x-own", "1")])).await;
            let proxy = Policed::retrying(
                up,
                &[&upstream.at()],
                RetryPolicy { retries: 3, ..on(&[On::ServerError]) },
            );
            let answer = proxy.caller(down).await.send(post("/m", "{}")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.header("x-own")),
                (503, "503", Some("1"))
            );
            assert_eq!(proxy.log(1).await, ["503 URX via_upstream 4"]);
            assert!(upstream.seen().iter().all(|seen| seen.body == "{}") && upstream.seen().len() == 4);
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry_limit_exceeded"), 1.0);
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry"), 3.0);
            assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry_success"), 0.0);
            if up == Http::One {
                assert_eq!(upstream.connections(), 1, "an answer that is whole leaves its connection in use");
            }
        }
    });
}

#[test]
fn an_endpoint_that_was_tried_is_not_tried_again_while_there_is_another() {
    run(async || {
        for up in Http::BOTH {
            let bad = [
                Upstream::remembering(|_| answer(503, &[])).await,
                Upstream::remembering(|_| answer(503, &[])).await,
                Upstream::remembering(|_| answer(503, &[])).await,
            ];
            let good = Upstream::start("good").await;
            let at = [bad[0].at(), bad[1].at(), bad[2].at(), good.at()];
            let at = at.each_ref().map(String::as_str);
            let proxy = Policed::retrying(up, &at, RetryPolicy { retries: 3, ..on(&[On::GatewayError]) });
            let mut caller = proxy.caller(Http::One).await;
            for n in 1..=20 {
                assert_eq!(caller.send(get("/m")).await.text(), "good");
                assert!(bad.iter().all(|bad| bad.seen().len() <= n), "at most once for each request");
            }
            assert_eq!(good.seen().len(), 20);
        }
    });
}

#[test]
fn retries_stay_within_the_version_that_was_chosen() {
    run(async || {
        let (v1, v2) = (Upstream::remembering(|_| answer(503, &[])).await, Upstream::start("v2").await);
        let endpoints = [(&*v1.at(), "v1"), (&*v2.at(), "v2")];
        let proxy = Policed::split(&[], &endpoints, "", |_, policy| {
            policy.retry = Some(RetryPolicy { retries: 5, ..on(&[On::ServerError]) });
        });
        assert_eq!(proxy.caller(Http::One).await.send(get("/m")).await.status, 503);
        assert_eq!((v1.seen().len(), v2.seen().len()), (6, 0));
        assert_eq!(proxy.metric("weir_split_choices_total"), 1.0, "a choice counts once");
    });
}

#[test]
fn a_pause_that_outlasts_the_request_ends_with_its_time() {
    run(async || {
        let upstream = Upstream::remembering(|_| answer(503, &[])).await;
        let hour = Duration::from_secs(3_600);
        let proxy = Policed::split(&[], &[(&upstream.at(), "v1")], "", |forward, policy| {
            forward.timeout = Some(Duration::from_millis(80));
            let back_off = BackOff { base: hour, max: hour };
            policy.retry = Some(RetryPolicy { back_off, ..on(&[On::ServerError]) });
        });
        assert_eq!(proxy.caller(Http::One).await.send(get("/m")).await.status, 504);
        assert_eq!(
            (upstream.seen().len(), proxy.log(1).await),
            (1, vec!["504 UT response_timeout 1".into()])
        );
    });
}

#[test]
fn a_caller_that_leaves_in_a_pause_is_not_served_any_further() {
    run(async || {
        for down in Http::BOTH {
            let upstream = Upstream::remembering(|_| answer(503, &[])).await;
            let hour = Duration::from_secs(3_600);
            let back_off = BackOff { base: hour, max: hour };
            let retry = RetryPolicy { back_off, ..on(&[On::ServerError]) };
            let proxy = Policed::retrying(Http::One, &[&upstream.at()], retry);
            let mut caller = proxy.caller(down).await;
            let begun = tokio::task::spawn_local(async move { caller.begin(get("/m")).await.is_ok() });
            until("the first attempt", || (upstream.seen().len() == 1).then_some(())).await;
            begun.abort();
            assert_eq!(proxy.log(1).await.len(), 1, "it is over");
            until("no permit stays out", || {
                (proxy.metric("envoy_cluster_upstream_rq_active") == 0.0).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_body_is_sent_again_as_it_was_from_its_first_byte() {
    run(async || {
        let whole: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
        for (down, up) in Http::matrix() {
            let turn = Cell::new(0);
            let expected = whole.clone();
            let upstream = Upstream::remembering(move |seen| {
                let right = seen.body == expected;
                let status = if turn.replace(turn.get() + 1) < 2 { 503 } else { 200 };
                Response::builder().status(status).body(full(format!("{right}"))).expect("a response")
            })
            .await;
            let proxy = Policed::retrying(
                up,
                &[&upstream.at()],
                RetryPolicy { retries: 2, ..on(&[On::ServerError]) },
            );
            let answer = proxy.caller(down).await.send(post("/m", whole.clone())).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "true"), "{down:?} {up:?}");
            let replay = &proxy.engine.shared.replay;
            until("nothing is kept", || {
                (replay.load(std::sync::atomic::Ordering::Relaxed) == 0).then_some(())
            })
            .await;
        }
    });
}

/// An upstream that fails the first request, and begins its answer to the second before it has read any of it.
async fn answers_early() -> Upstream {
    let turn = Cell::new(0);
    Upstream::handling(move |request: Request<hyper::body::Incoming>| {
        let number = turn.replace(turn.get() + 1);
        async move {
            let (sender, body) = channel();
            tokio::task::spawn_local(async move {
                let whole =
                    request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let sum: u64 = whole.iter().map(|&byte| u64::from(byte)).sum();
                let _ = sender.send(Frame::data(format!("{} bytes, sum {sum}", whole.len()).into()));
            });
            let status = if number == 0 { 503 } else { 200 };
            Response::builder().status(status).body(body).expect("a response")
        }
    })
    .await
}

#[test]
fn an_answer_that_begins_while_the_body_is_sent_again_loses_none_of_it() {
    run(async || {
        let whole = vec![1_u8; 900_000];
        for (down, up) in Http::matrix() {
            // All of it has come before the first answer, so that all of it is sent again.
            let gone = Upstream::remembering(|_| answer(503, &[])).await;
            let early = answers_early().await;
            // Its first turn is spent.
            Client::connect(up, early.addr()).await.send(post("/m", "x")).await;
            let at = [gone.at(), early.at()];
            let at = at.each_ref().map(String::as_str);
            let proxy = Policed::retrying(up, &at, on(&[On::ServerError]));
            let mut caller = proxy.caller(down).await;
            for _ in 0..2 {
                let answer = caller.send(post("/m", whole.clone())).await;
                assert_eq!(answer.text(), "900000 bytes, sum 900000", "{down:?} {up:?}");
            }
            assert!(!gone.seen().is_empty(), "one of two went there first");
        }
    });
}

#[test]
fn a_body_beyond_what_is_kept_is_sent_once_and_its_answer_passed_on() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::remembering(|_| answer(503, &[])).await;
            let protocol = format!("protocol: {}", up.protocol());
            let limits = "limits: {replay_bytes: 100KiB}\n";
            let proxy = Policed::split(&[&protocol], &[(&upstream.at(), "v1")], limits, |_, policy| {
                policy.retry = Some(on(&[On::ServerError]));
            });
            let mut caller = proxy.caller(down).await;
            let answer = caller.send(post("/m", vec![7; 101 << 10])).await;
            assert_eq!((answer.text(), upstream.seen().len()), ("503", 1), "{down:?} {up:?}");
            assert_eq!(proxy.metric("weir_replay_exceeded_total"), 1.0);
            assert_eq!(caller.send(post("/m", vec![7; 99 << 10])).await.text(), "503");
            assert_eq!(upstream.seen().len(), 3, "one that fits is sent again");
        }
    });
}

#[test]
fn an_answer_that_is_asked_for_again_counts_as_retried_and_the_one_that_is_passed_on_as_answered() {
    run(async || {
        for (down, up) in Http::matrix() {
            let turn = Cell::new(0);
            let upstream = Upstream::remembering(move |_| {
                answer([503, 502, 200][turn.replace(turn.get() + 1).min(2)], &[])
            })
            .await;
            let retry = RetryPolicy { retries: 2, ..on(&[On::ServerError]) };
            let proxy = Policed::retrying(up, &[&upstream.at()], retry);
            assert_eq!(proxy.caller(down).await.send(get("/m")).await.status, 200);
            assert_eq!(proxy.log(1).await, ["200 - via_upstream 3"]);
            for (family, count) in [
                ("retry_upstream_rq_completed", 2.0),
                ("retry_upstream_rq_xx{envoy_response_code_class=\"5\"", 2.0),
                ("retry_upstream_rq{envoy_response_code=\"503\"", 1.0),
                ("retry_upstream_rq{envoy_response_code=\"502\"", 1.0),
                ("upstream_rq_completed", 1.0),
                ("upstream_rq_xx", 1.0),
                ("upstream_rq{envoy_response_code=\"200\"", 1.0),
                ("upstream_rq_time_count", 1.0),
                ("upstream_rq_total", 3.0),
            ] {
                let counted = proxy.metric(&format!("envoy_cluster_{family}"));
                assert_eq!(counted, count, "{down:?} {up:?} {family}");
            }
        }
    });
}

#[test]
fn beyond_the_limit_of_retries_the_answer_is_passed_on() {
    run(async || {
        let upstream = Upstream::remembering(|_| answer(503, &[("x-own", "1")])).await;
        let settings = ["circuit_breakers: {retries: 0}"];
        let proxy = Policed::split(&settings, &[(&upstream.at(), "v1")], "", |_, policy| {
            policy.retry = Some(on(&[On::ServerError]));
        });
        let answer = proxy.caller(Http::One).await.send(get("/m")).await;
        assert_eq!((answer.header("x-own"), upstream.seen().len()), (Some("1"), 1));
        assert_eq!(proxy.log(1).await, ["503 UO via_upstream 1"]);
        assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry_overflow"), 1.0);
        assert_eq!(proxy.metric("weir_limit_exceeded_total{limit=\"max_retries\"}"), 1.0);
    });
}

#[test]
fn an_open_breaker_is_no_reason_to_try_again() {
    run(async || {
        let held = Upstream::holding().await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1, pending: 0}"];
        let proxy = Policed::split(&settings, &[(&held.at(), "v1")], "", |_, policy| {
            policy.retry = Some(RetryPolicy { retries: 9, ..on(&[On::ServerError, On::Reset]) });
        });
        let (mut one, mut two) = (proxy.caller(Http::One).await, proxy.caller(Http::One).await);
        let answers = async {
            tokio::select! {
                answer = one.send(get("/m")) => answer,
                answer = two.send(get("/m")) => answer,
            }
        };
        let answer = soon("one is refused", answers).await;
        assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
        assert!(proxy.log(1).await[0].ends_with("{overflow} 1"), "{:?}", proxy.log(1).await);
    });
}

#[test]
fn an_internal_caller_asks_for_retries_on_a_plain_route_and_another_does_not() {
    run(async || {
        const INTERNAL: &str = "internal_cidrs: [127.0.0.1/32]\n";
        // Without a number, and with what is none, it is one.
        let asked = [
            (INTERNAL, "2", "URX", 3),
            (INTERNAL, "0", "URX", 1),
            (INTERNAL, "2,3", "URX", 2),
            ("", "2", "-", 1),
        ];
        for ((internal, number, flags, attempts), down) in
            asked.into_iter().flat_map(|asked| Http::BOTH.map(|down| (asked, down)))
        {
            let upstream = Upstream::remembering(|_| answer(503, &[])).await;
            let yaml = common::world::one_service(&[], &[(&upstream.at(), "v1")]) + internal;
            let world = common::world::World::start(&yaml).await;
            let mut request = get("/m");
            request.headers_mut().insert("x-envoy-retry-on", "5xx".parse().expect("a value"));
            request.headers_mut().insert("x-envoy-max-retries", number.parse().expect("a value"));
            let mut caller = common::world::client::Client::connect(down, world.addr("in")).await;
            assert_eq!(caller.send(request).await.status, 503);
            assert_eq!(upstream.seen().len(), attempts, "{down:?} {internal:?} {number}");
            let told = format!("503 {flags} via_upstream {attempts} ");
            let line = world.log(1).await.remove(0);
            assert!(line.starts_with(&told), "{down:?} {internal:?} {number}: {line}");
            let told = |seen: &common::world::upstream::Seen| seen.header("x-envoy-retry-on").is_some();
            assert!(!upstream.seen().iter().any(told), "that is between the caller and its proxy");
        }
    });
}

#[test]
fn pods_that_are_not_the_one_meant_are_no_endpoints_though_nothing_was_kept_for_such() {
    run(async || {
        for down in Http::BOTH {
            let changed = Rc::new(Cell::new(false));
            let pod = async || {
                let changed = changed.clone();
                Upstream::remembering(move |_| match changed.get() {
                    // No Weir, so that nothing is kept for one.
                    false => answer(200, &[]),
                    true => answer(421, &[("x-weir-refusal", "misdirected")]),
                })
                .await
            };
            let (one, two) = (pod().await, pod().await);
            let endpoints = [(&*one.at(), "v1"), (&*two.at(), "v1")];
            let proxy = Policed::split(&["protocol: http1"], &endpoints, "", |_, policy| {
                policy.retry = Some(RetryPolicy { retries: 0, ..RetryPolicy::default() });
            });
            let mut caller = proxy.caller(down).await;
            let mut sent = 0;
            while one.begun() == 0 || two.begun() == 0 {
                assert_eq!(caller.send(post("/m", "")).await.status, 200);
                sent += 1;
            }
            changed.set(true);
            let answer = caller.send(post("/m", "")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"));
            let line = proxy.log(sent + 1).await.pop().expect("a line");
            assert!(line.starts_with("503 UH no_healthy_upstream "), "{line}");
        }
    });
}
