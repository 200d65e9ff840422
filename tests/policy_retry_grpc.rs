//! Retries of gRPC calls by their status, in the head, and in the trailers of an answer of which no message has gone down.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::time::Duration;

use bytes::Bytes;
use common::policed::Policed;
use common::world::client::{Answer, grpc, grpc_call, read};
use common::world::raw::{H2Request, RawUpstream};
use common::world::upstream::{channel, frames, full, grpc_message};
use common::world::{Http, run, soon};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::watch;
use weir::snapshot::{BackOff, RetryCondition as On, RetryPolicy};

fn on(conditions: &[On], retries: u32) -> RetryPolicy {
    RetryPolicy {
        on: conditions.iter().copied().collect(),
        back_off: BackOff { base: Duration::ZERO, max: Duration::ZERO },
        retries,
        ..RetryPolicy::default()
    }
}

fn status(code: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(code).expect("a value"));
    trailers
}

/// Initial metadata, which comes before anything is known of the end.
fn head() -> Response<()> {
    Response::builder()
        .header("content-type", "application/grpc")
        .header("x-initial", "1")
        .body(())
        .expect("a head")
}

/// What an upstream does with one call.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// A status in the head, which ends it.
    TrailersOnly(&'static str),
    /// A head, then a status in the trailers.
    Trailers(&'static str),
    /// A head, a message, then a status.
    Message(&'static str),
    /// A head, then a reset.
    Reset,
}

async fn act(mut request: H2Request, does: Does) {
    request.body().await;
    match does {
        Does::TrailersOnly(code) => {
            let mut head = head();
            head.headers_mut().extend(status(code));
            request.respond.send_response(head, true).expect("a stream");
        }
        Does::Trailers(code) => {
            let mut stream = request.respond.send_response(head(), false).expect("a stream");
            stream.send_trailers(status(code)).expect("sent");
        }
        Does::Message(code) => {
            let mut stream = request.respond.send_response(head(), false).expect("a stream");
            stream.send_data(grpc_message(b"hello"), false).expect("sent");
            stream.send_trailers(status(code)).expect("sent");
        }
        Does::Reset => {
            let mut stream = request.respond.send_response(head(), false).expect("a stream");
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    }
}

/// An upstream that does `first` with its first calls, and answers the others.
async fn scripted(first: &'static [Does]) -> RawUpstream {
    RawUpstream::start_h2(move |request, number| {
        act(request, first.get(number).copied().unwrap_or(Does::Message("0")))
    })
    .await
}

async fn called(first: &'static [Does], retry: RetryPolicy) -> (Answer, String) {
    let upstream = scripted(first).await;
    let proxy = Policed::retrying(Http::Two, &[&upstream.at()], retry);
    let answer = proxy.caller(Http::Two).await.send(grpc_call("/s.S/M", b"hi")).await;
    (answer, proxy.log(1).await.remove(0))
}

#[test]
fn a_status_in_the_head_is_asked_for_again() {
    run(async || {
        let (answer, log) = called(&[Does::TrailersOnly("14")], on(&[On::Unavailable], 1)).await;
        assert_eq!((answer.grpc_status(), &answer.body), (Some("0"), &grpc_message(b"hello")));
        assert_eq!(log, "200 - via_upstream 2");
        let (answer, log) = called(&[Does::TrailersOnly("14")], on(&[On::Cancelled], 1)).await;
        assert_eq!((answer.grpc_status(), log), (Some("14"), "200 - via_upstream 1".into()));
    });
}

#[test]
fn a_status_in_the_trailers_is_asked_for_again_while_no_message_has_come() {
    run(async || {
        const FIRST: &[Does] = &[Does::Trailers("14"), Does::Trailers("8"), Does::TrailersOnly("14")];
        let (answer, log) = called(FIRST, on(&[On::Unavailable, On::ResourceExhausted], 3)).await;
        assert_eq!((answer.grpc_status(), &answer.body), (Some("0"), &grpc_message(b"hello")));
        assert_eq!(answer.headers.get_all("x-initial").iter().count(), 1, "of the last attempt alone");
        assert_eq!(log, "200 - via_upstream 4");
    });
}

#[test]
fn each_of_the_five_statuses_has_its_condition() {
    run(async || {
        const CASES: [(&[Does], On); 5] = [
            (&[Does::Trailers("1")], On::Cancelled),
            (&[Does::Trailers("4")], On::DeadlineExceeded),
            (&[Does::Trailers("13")], On::Internal),
            (&[Does::Trailers("8")], On::ResourceExhausted),
            (&[Does::Trailers("14")], On::Unavailable),
        ];
        for (first, condition) in CASES {
            assert_eq!(called(first, on(&[condition], 1)).await.0.grpc_status(), Some("0"), "{first:?}");
            let others: Vec<On> =
                CASES.map(|(_, other)| other).into_iter().filter(|on| *on != condition).collect();
            assert_ne!(called(first, on(&others, 1)).await.0.grpc_status(), Some("0"), "{first:?}");
        }
    });
}

#[test]
fn the_last_attempt_is_not_waited_for_and_its_trailers_go_down_as_they_came() {
    run(async || {
        const FIRST: &[Does] = &[Does::Trailers("14"), Does::Trailers("14"), Does::Trailers("14")];
        let (answer, log) = called(FIRST, on(&[On::Unavailable], 2)).await;
        assert_eq!((answer.grpc_status(), answer.header("x-initial")), (Some("14"), Some("1")));
        assert!(answer.trailers.is_some() && answer.body.is_empty());
        assert_eq!(log, "200 - via_upstream 3");
    });
}

#[test]
fn once_a_message_has_come_the_call_is_passed_on_whatever_its_status() {
    run(async || {
        let (answer, log) = called(&[Does::Message("14")], on(&[On::Unavailable], 3)).await;
        assert_eq!((answer.grpc_status(), &answer.body), (Some("14"), &grpc_message(b"hello")));
        assert_eq!(log, "200 - via_upstream 1");
    });
}

#[test]
fn a_reset_between_the_head_and_the_first_message_is_one_before_the_answer() {
    run(async || {
        let (answer, log) = called(&[Does::Reset], on(&[On::Unavailable, On::Reset], 1)).await;
        assert_eq!((answer.grpc_status(), log), (Some("0"), "200 - via_upstream 2".into()));
        let (answer, log) = called(&[Does::Reset], on(&[On::Unavailable], 1)).await;
        assert_eq!(answer.grpc_status(), Some("14"));
        assert_eq!(log, "200 UR upstream_reset_before_response_started{remote_reset} 1");
    });
}

#[test]
fn a_message_that_comes_is_not_held_back_for_the_status() {
    run(async || {
        let upstream = RawUpstream::start_h2(|mut request, _| async move {
            request.body().await;
            let mut stream = request.respond.send_response(head(), false).expect("a stream");
            stream.send_data(grpc_message(b"first"), false).expect("sent");
            std::future::pending::<()>().await;
        })
        .await;
        let proxy = Policed::retrying(Http::Two, &[&upstream.at()], on(&[On::Unavailable], 1));
        let mut caller = proxy.caller(Http::Two).await;
        let response = soon("the head", caller.begin(grpc_call("/s.S/M", b"hi"))).await.expect("a head");
        let mut body = response.into_body();
        let message = soon("the message", body.frame()).await.expect("a frame").expect("no error");
        assert_eq!(message.into_data().ok(), Some(grpc_message(b"first")));
    });
}

#[test]
fn the_head_of_a_call_that_still_sends_is_not_held_back() {
    run(async || {
        for messages in [1, 2] {
            let upstream = RawUpstream::start_h2(|mut request, _| async move {
                let stream = request.respond.send_response(head(), false).expect("a stream");
                request.body().await;
                std::future::pending::<()>().await;
                drop(stream);
            })
            .await;
            let proxy = Policed::retrying(Http::Two, &[&upstream.at()], on(&[On::Unavailable], 1));
            let mut caller = proxy.caller(Http::Two).await;
            // One message and no end yet; or two, and the end.
            let (sender, body) = channel();
            let body = if messages == 1 {
                sender.send(Frame::data(grpc_message(b"one"))).expect("sent");
                body
            } else {
                frames(vec![Frame::data(Bytes::from([grpc_message(b"one"), grpc_message(b"two")].concat()))])
            };
            let call = grpc("/s.S/M").body(body).expect("a request");
            let response = soon("the head", caller.begin(call)).await.expect("a head");
            assert_eq!(response.headers()["x-initial"], "1", "{messages}");
            drop(sender);
        }
    });
}

#[test]
fn the_head_of_a_stream_is_not_held_back_until_its_first_message_and_ends_the_attempts_own_time() {
    run(async || {
        let (open, gate) = watch::channel(false);
        let upstream = RawUpstream::start_h2(move |mut request, _| {
            let mut gate = gate.clone();
            async move {
                request.body().await;
                let mut stream = request.respond.send_response(head(), false).expect("a stream");
                gate.wait_for(|open| *open).await.expect("the test is there");
                stream.send_data(grpc_message(b"late"), false).expect("sent");
                stream.send_trailers(status("0")).expect("sent");
            }
        })
        .await;
        let time = Duration::from_millis(1_000);
        for per_try_timeout in [Some(time), None] {
            open.send_replace(false);
            let retry = RetryPolicy { per_try_timeout, ..on(&[On::Unavailable, On::Reset], 1) };
            let proxy = Policed::retrying(Http::Two, &[&upstream.at()], retry);
            let mut caller = proxy.caller(Http::Two).await;
            let response = soon("the head", caller.begin(grpc_call("/s.S/M", b"hi"))).await.expect("a head");
            assert_eq!(response.headers()["x-initial"], "1");
            // It outlives what one attempt may take to its head.
            tokio::time::sleep(2 * time).await;
            open.send_replace(true);
            let answer = soon("the rest", read(response)).await.expect("a whole answer");
            assert_eq!((answer.grpc_status(), &answer.body), (Some("0"), &grpc_message(b"late")));
            assert_eq!(proxy.log(1).await, ["200 - via_upstream 1"]);
        }
    });
}

#[test]
fn an_attempts_own_time_bounds_its_head() {
    run(async || {
        let upstream = RawUpstream::start_h2(|mut request, number| async move {
            if number > 0 {
                return act(request, Does::Message("0")).await;
            }
            request.body().await;
            std::future::pending::<()>().await;
        })
        .await;
        let retry = RetryPolicy {
            per_try_timeout: Some(Duration::from_millis(200)),
            ..on(&[On::Unavailable, On::Reset], 1)
        };
        let proxy = Policed::retrying(Http::Two, &[&upstream.at()], retry);
        let answer = proxy.caller(Http::Two).await.send(grpc_call("/s.S/M", b"hi")).await;
        assert_eq!(answer.grpc_status(), Some("0"));
        assert_eq!(proxy.log(1).await, ["200 - via_upstream 2"]);
    });
}

#[test]
fn a_call_without_a_condition_on_statuses_is_not_looked_into() {
    run(async || {
        let upstream = RawUpstream::start_h2(|mut request, _| async move {
            request.body().await;
            let stream = request.respond.send_response(head(), false).expect("a stream");
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let proxy = Policed::retrying(Http::Two, &[&upstream.at()], on(&[On::ServerError], 1));
        let mut caller = proxy.caller(Http::Two).await;
        let call = grpc("/s.S/M").body(full(grpc_message(b"hi"))).expect("a request");
        assert_eq!(soon("the head", caller.begin(call)).await.expect("a head").headers()["x-initial"], "1");
    });
}
