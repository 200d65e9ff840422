//! Bodies on their way: nothing is gathered, nothing is lost, and what is cut is seen to be cut.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use common::world::client::{Client, grpc, grpc_call, read, request};
use common::world::raw::Raw;
use common::world::upstream::{BoxBody, Upstream, channel, empty, frames, full, grpc_message, grpc_ok};
use common::world::{Http, World, one_service, run, soon, until};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;

async fn world_before(upstream: &Upstream, up: Http) -> World {
    World::start(&one_service(&[&format!("protocol: {}", up.protocol())], &[(&upstream.at(), "v1")])).await
}

/// Sends back each frame as it comes, trailers too, under a head that comes at once.
async fn echo() -> Upstream {
    Upstream::handling(|request| async move {
        let (head, body) = request.into_parts();
        let mut response = Response::builder();
        for name in ["content-type", "content-length", "trailer"] {
            if let Some(value) = head.headers.get(name) {
                response = response.header(name, value);
            }
        }
        let mut body = Some(body);
        let echoed = futures_util::stream::poll_fn(move |cx| {
            let Some(from) = &mut body else { return std::task::Poll::Ready(None) };
            let frame = std::task::ready!(std::pin::Pin::new(from).poll_frame_of(cx));
            if frame.is_none() {
                body = None;
            }
            std::task::Poll::Ready(frame.map(Ok::<_, Infallible>))
        });
        response.body(StreamBody::new(echoed).boxed_unsync()).expect("a response")
    })
    .await
}

/// The next frame; a body that fails is one that ends, here.
trait PollFrame {
    fn poll_frame_of(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Frame<Bytes>>>;
}

impl PollFrame for Incoming {
    fn poll_frame_of(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Frame<Bytes>>> {
        http_body::Body::poll_frame(self, cx).map(|frame| frame.and_then(Result::ok))
    }
}

async fn next_data(body: &mut Incoming) -> Bytes {
    let frame = soon("a piece of the answer", body.frame()).await.expect("more").expect("no error");
    frame.into_data().expect("data")
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn a_unary_grpc_call_arrives_with_its_message_and_ends_with_its_trailers() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = world_before(&v1, Http::Two).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        let answer = client.send(grpc_call("/tensorflow.serving.PredictionService/Predict", b"input")).await;
        assert_eq!((answer.grpc_status(), &answer.body), (Some("0"), &grpc_message(b"v1")));
        assert!(answer.headers.get("grpc-status").is_none(), "trailers are not merged into the head");
        let seen = v1.only();
        assert_eq!((&seen.body, seen.header("te")), (&grpc_message(b"input"), Some("trailers")));
        assert_eq!(seen.target(), "/tensorflow.serving.PredictionService/Predict");
    });
}

#[test]
fn a_grpc_status_that_comes_with_the_head_alone_stays_there() {
    run(async || {
        let upstream = Upstream::remembering(|_| {
            let response =
                Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
            response.header("grpc-message", "no%20model").body(empty()).expect("a response")
        })
        .await;
        let world = world_before(&upstream, Http::Two).await;
        let answer = Client::connect(Http::Two, world.addr("in")).await.send(grpc_call("/s/m", b"1")).await;
        assert_eq!(
            (answer.header("grpc-status"), answer.header("grpc-message")),
            (Some("5"), Some("no%20model"))
        );
        assert!(answer.trailers.is_none() && answer.body.is_empty());
    });
}

#[test]
fn messages_of_a_call_that_streams_both_ways_interleave() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = echo().await;
            let world = world_before(&upstream, up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let (sender, body) = channel();
            sender.send(Frame::data(grpc_message(b"0"))).expect("sent");
            let call = grpc("/s/chat").body(body).expect("a request");
            let response = soon("a head before the body ends", client.begin(call)).await.expect("a head");
            let mut body = response.into_body();
            assert_eq!(next_data(&mut body).await, grpc_message(b"0"), "{down:?} {up:?}");
            for n in 1..50 {
                let message = grpc_message(n.to_string().as_bytes());
                sender.send(Frame::data(message.clone())).expect("sent");
                assert_eq!(next_data(&mut body).await, message, "{down:?} {up:?}");
            }
            if (down, up) == (Http::Two, Http::Two) {
                sender.send(Frame::trailers(grpc_ok())).expect("sent");
            }
            drop(sender);
            let rest = soon("the end", body.collect()).await.expect("a clean end");
            assert_eq!(rest.trailers().is_some(), (down, up) == (Http::Two, Http::Two));
            assert!(rest.to_bytes().is_empty());
        }
    });
}

#[test]
fn a_server_that_streams_is_read_message_by_message() {
    run(async || {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::handling(move |_| {
            let (to_client, body) = channel();
            sender.send(to_client).expect("the test listens");
            async move {
                Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
            }
        })
        .await;
        let world = world_before(&upstream, Http::Two).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        let mut body =
            soon("a head", client.begin(grpc_call("/s/list", b"1"))).await.expect("a head").into_body();
        let to_client = receiver.recv().await.expect("a call");
        for n in 0..20u8 {
            to_client.send(Frame::data(grpc_message(&[n]))).expect("sent");
            assert_eq!(next_data(&mut body).await, grpc_message(&[n]));
        }
        to_client.send(Frame::trailers(grpc_ok())).expect("sent");
        drop(to_client);
        let rest = body.collect().await.expect("a clean end");
        assert_eq!(rest.trailers().expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn a_large_body_is_the_same_bytes_at_the_other_end_both_ways() {
    run(async || {
        let piece = |n: usize| Bytes::from((0..100_000).map(|i| (i * 7 + n * 13) as u8).collect::<Vec<_>>());
        let whole: Vec<u8> = (0..60).flat_map(piece).collect();
        for (down, up) in Http::matrix() {
            let upstream = echo().await;
            let world = world_before(&upstream, up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let pieces = || frames((0..60).map(|n| Frame::data(piece(n))).collect());
            for (body, told) in [(full(whole.clone()), true), (pieces(), false)] {
                let answer = client.send(request(Method::POST, "/echo").body(body).expect("a request")).await;
                assert!(answer.body == whole, "{down:?} {up:?}: {} bytes", answer.body.len());
                assert_eq!(answer.header("content-length").is_some(), told, "{down:?} {up:?}");
            }
            for line in world.log(2).await {
                assert!(line.starts_with("200 - "), "{line}");
            }
        }
    });
}

#[test]
fn a_get_with_a_body_and_no_length_keeps_its_body() {
    run(async || {
        for up in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let world = world_before(&v1, up).await;
            let body = frames(vec![Frame::data(Bytes::from_static(b"query"))]);
            let get = request(Method::GET, "/search").body(body).expect("a request");
            Client::connect(Http::Two, world.addr("in")).await.send(get).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("GET /search HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n").await;
            raw.read_answer().await;
            for seen in v1.seen() {
                assert_eq!(&seen.body[..], b"query", "{:?} to {up:?}", seen.head);
            }
            assert_eq!(v1.seen().len(), 2);
        }
    });
}

#[test]
fn a_post_without_a_body_is_complete_at_once() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = world_before(&v1, up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for body in [empty(), frames(vec![]), full("")] {
                let post = request(Method::POST, "/").body(body).expect("a request");
                assert_eq!(client.send(post).await.status, 200, "{down:?} {up:?}");
            }
            assert!(v1.seen().iter().all(|seen| seen.body.is_empty()));
        }
    });
}

#[test]
fn trailers_pass_both_ways_but_not_those_that_could_deceive() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = echo().await;
            let world = world_before(&upstream, up).await;
            let sent = trailers(&[("x-sum", "7"), ("content-length", "99"), ("authorization", "me")]);
            let body: BoxBody = frames(vec![Frame::data(Bytes::from_static(b"data")), Frame::trailers(sent)]);
            let post = request(Method::POST, "/").header("te", "trailers").header("trailer", "x-sum");
            let post = post.body(body).expect("a request");
            let answer = Client::connect(down, world.addr("in")).await.send(post).await;
            assert_eq!(answer.body, "data");
            assert_eq!(answer.trailers, Some(trailers(&[("x-sum", "7")])), "{down:?} {up:?}");
            assert!(answer.header("x-sum").is_none());
        }
    });
}

#[test]
fn an_answer_before_the_end_of_the_body_is_passed_on_and_its_connection_is_not_used_again() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::handling(|request| async move {
                // The body is left unread.
                let whole = request.uri().path() == "/whole";
                Response::new(full(if whole { "whole" } else { "early" }))
            })
            .await;
            let world = world_before(&upstream, up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let (sender, body) = channel();
            sender.send(Frame::data(Bytes::from_static(b"begun"))).expect("sent");
            let post = request(Method::POST, "/").body(body).expect("a request");
            let response = soon("an early answer", client.begin(post)).await.expect("an answer");
            let answer = soon("its body", read(response)).await.expect("whole");
            assert_eq!(answer.body, "early", "{down:?} {up:?}");
            drop(sender);
            let mut next = Client::connect(down, world.addr("in")).await;
            assert_eq!(next.get("/whole").await.text(), "whole");
            assert_eq!(upstream.connections(), if up == Http::One { 2 } else { 1 }, "{down:?} {up:?}");
        }
    });
}

#[test]
fn what_is_left_of_a_body_when_its_answer_is_whole_goes_nowhere() {
    run(async || {
        for (down, up) in Http::matrix() {
            let outcome = Rc::new(Cell::new(None));
            let note = outcome.clone();
            let upstream = Upstream::handling(move |request| {
                let note = note.clone();
                // It answers at once, and would read on.
                tokio::task::spawn_local(async move {
                    note.set(Some(request.into_body().collect().await.is_ok()))
                });
                async { Response::new(full("early")) }
            })
            .await;
            let world = world_before(&upstream, up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let (sender, body) = channel();
            sender.send(Frame::data(Bytes::from_static(b"begun"))).expect("sent");
            let answer = client.send(request(Method::POST, "/").body(body).expect("a request")).await;
            assert_eq!(answer.body, "early");
            let whole = until("the upstream is told", || outcome.get()).await;
            assert!(!whole, "{down:?} {up:?}: a body without an end");
            drop(sender);
        }
    });
}

#[test]
fn many_streams_of_one_connection_are_served_at_the_same_time() {
    run(async || {
        for up in Http::BOTH {
            let gate = Rc::new(tokio::sync::Notify::new());
            let opened = gate.clone();
            let upstream = Upstream::handling(move |request| {
                let gate = opened.clone();
                async move {
                    if request.uri().path() == "/slow" {
                        gate.notified().await;
                    }
                    Response::new(full(request.uri().path().to_owned()))
                }
            })
            .await;
            let world = world_before(&upstream, up).await;
            let mut client = Client::connect(Http::Two, world.addr("in")).await;
            let Client::Two(sender) = &client else { unreachable!() };
            let mut slow_client = Client::Two(sender.clone());
            let slow =
                tokio::task::spawn_local(async move { slow_client.get("/slow").await.text().to_owned() });
            upstream.wait_begun(1).await;
            assert_eq!(client.get("/quick").await.text(), "/quick", "{up:?}");
            gate.notify_one();
            assert_eq!(soon("the slow answer", slow).await.expect("no panic"), "/slow");
        }
    });
}
