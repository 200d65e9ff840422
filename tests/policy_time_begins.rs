//! When the time of a request, and of one attempt, begins: not before the request has come whole, nor for as long as its
//! caller is waited for; an attempt's not before it has a connection. So it is in Envoy.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use common::policed::Policed;
use common::world::client::{Client, grpc, post, read, request};
use common::world::raw::RawUpstream;
use common::world::upstream::{BoxBody, Upstream, channel, echoed, full, grpc_message, grpc_ok};
use common::world::{Http, World, one_service, run, soon, until};
use futures_util::future::join_all;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use weir::snapshot::{Forward, RetryCondition, RetryPolicy, RoutePolicy};

/// A time that is allowed, and one for which a caller says nothing: the sleeps of this file show that nothing happens.
const ALLOWED: Duration = Duration::from_millis(1_000);
const SILENCE: Duration = Duration::from_millis(2_200);
const SHORT: Duration = Duration::from_millis(200);

/// What a route says of time.
#[derive(Clone, Copy, Debug)]
enum Says {
    Route,
    PerTry,
    PerTryIdle,
}

fn says(what: Says, time: Duration) -> impl FnOnce(&mut Forward, &mut RoutePolicy) {
    move |forward, policy| match what {
        Says::Route => forward.timeout = Some(time),
        Says::PerTry => {
            policy.retry = Some(RetryPolicy { per_try_timeout: Some(time), ..of_any_failure() });
        }
        Says::PerTryIdle => {
            policy.retry = Some(RetryPolicy { per_try_idle_timeout: Some(time), ..of_any_failure() });
        }
    }
}

fn of_any_failure() -> RetryPolicy {
    RetryPolicy { on: [RetryCondition::ServerError].into_iter().collect(), ..RetryPolicy::default() }
}

#[test]
fn a_request_that_comes_slowly_has_all_its_time_when_it_is_whole() {
    run(async || {
        let mut trials = Vec::new();
        for (down, up) in Http::matrix() {
            for what in [Says::Route, Says::PerTry, Says::PerTryIdle] {
                trials.push(async move {
                    let v1 = Upstream::start("v1").await;
                    let protocol = format!("protocol: {}", up.protocol());
                    let proxy = Policed::split(&[&protocol], &[(&v1.at(), "v1")], "", says(what, ALLOWED));
                    let answer = proxy.caller(down).await.post_slowly("/m", SILENCE).await;
                    assert_eq!(answer.text(), "v1", "{down:?} {up:?} {what:?}");
                    assert_eq!(v1.only().body, "first last");
                    assert_eq!(proxy.log(1).await, ["200 - via_upstream 1"], "{down:?} {up:?} {what:?}");
                });
            }
        }
        join_all(trials).await;
    });
}

#[test]
fn so_has_one_on_a_plain_route() {
    run(async || {
        let trials = Http::matrix().map(|(down, up)| async move {
            let v1 = Upstream::start("v1").await;
            let settings = [&*format!("protocol: {}", up.protocol()), "timeout: 1s"];
            let world = World::start(&one_service(&settings, &[(&v1.at(), "v1")])).await;
            let mut caller = Client::connect(down, world.addr("in")).await;
            assert_eq!(caller.post_slowly("/m", SILENCE).await.text(), "v1", "{down:?} {up:?}");
            assert_eq!(v1.only().body, "first last");
        });
        join_all(trials).await;
    });
}

/// Reads a request whole, says so, and never answers.
async fn reading(whole: Rc<Cell<bool>>) -> Upstream {
    Upstream::handling(move |request: Request<Incoming>| {
        let whole = whole.clone();
        async move {
            whole.set(request.into_body().collect().await.is_ok());
            std::future::pending::<Response<BoxBody>>().await
        }
    })
    .await
}

#[test]
fn when_it_is_whole_its_time_runs() {
    run(async || {
        for (down, up) in Http::matrix() {
            for what in [Says::Route, Says::PerTry, Says::PerTryIdle] {
                let whole = Rc::new(Cell::new(false));
                let v1 = reading(whole.clone()).await;
                let protocol = format!("protocol: {}", up.protocol());
                let proxy = Policed::split(&[&protocol], &[(&v1.at(), "v1")], "", |forward, policy| {
                    says(what, SHORT)(forward, policy);
                    policy.retry.iter_mut().for_each(|retry| retry.retries = 0);
                });
                let answer = proxy.caller(down).await.post_slowly("/m", 3 * SHORT).await;
                assert_eq!((answer.status.as_u16(), whole.get()), (504, true), "{down:?} {up:?} {what:?}");
            }
        }
    });
}

#[test]
fn an_upstream_that_takes_no_more_of_a_request_is_late_though_that_is_not_whole() {
    run(async || {
        for (down, up) in Http::matrix() {
            for what in [Says::Route, Says::PerTry] {
                let blind = Upstream::blind().await;
                let protocol = format!("protocol: {}", up.protocol());
                let proxy = Policed::split(&[&protocol], &[(&blind.at(), "v1")], "", |forward, policy| {
                    says(what, SHORT)(forward, policy);
                    policy.retry.iter_mut().for_each(|retry| retry.retries = 0);
                });
                let answer = proxy.caller(down).await.send(post("/m", vec![7; 20_000_000])).await;
                assert_eq!(answer.status, 504, "{down:?} {up:?} {what:?}");
            }
        }
    });
}

/// An upstream of one connection that keeps its first request until it is told, and answers the others at once.
async fn keeping() -> (Upstream, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let turn = Cell::new(0);
    let upstream = Upstream::handling(move |request: Request<Incoming>| {
        let (number, mut gate) = (turn.replace(turn.get() + 1), gate.clone());
        async move {
            let _ = request.into_body().collect().await;
            if number == 0 {
                gate.wait_for(|open| *open).await.expect("the test is there");
            }
            Response::new(full("answered"))
        }
    })
    .await;
    (upstream, open)
}

/// A proxy that may have one connection, which a request has taken, and callers that may ask for a time.
struct Busy {
    proxy: Policed,
    v1: Upstream,
    /// Lets go of the connection.
    open: watch::Sender<bool>,
    /// What the request gets then.
    first: JoinHandle<String>,
}

impl Busy {
    async fn start(down: Http) -> Busy {
        let (v1, open) = keeping().await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1}"];
        let internal = "internal_cidrs: [127.0.0.1/32]\n";
        let proxy = Policed::split(&settings, &[(&v1.at(), "v1")], internal, |_, _| {});
        let mut caller = proxy.caller(down).await;
        let first = spawn_local(async move { caller.send(post("/m", "1")).await.text().to_owned() });
        v1.wait_begun(1).await;
        Busy { proxy, v1, open, first }
    }
}

/// A request with a time that it asks for itself.
fn asking(name: &'static str, time: Duration, mut request: Request<BoxBody>) -> Request<BoxBody> {
    let ms = time.as_millis().to_string();
    request.headers_mut().insert(name, ms.parse().expect("a value"));
    request
}

#[test]
fn an_attempts_time_begins_when_it_has_a_connection() {
    run(async || {
        for down in Http::BOTH {
            let Busy { proxy, v1, open, first } = Busy::start(down).await;
            let mut two = proxy.caller(down).await;
            let name = "x-envoy-upstream-rq-per-try-timeout-ms";
            let second = two.send(asking(name, ALLOWED, post("/m", "2")));
            let waits = async {
                tokio::time::sleep(SILENCE).await;
                open.send(true).expect("the upstream waits");
            };
            let (second, ()) = tokio::join!(second, waits);
            assert_eq!((second.text(), v1.begun()), ("answered", 2), "{down:?}");
            assert_eq!(first.await.expect("it ends"), "answered");
        }
    });
}

#[test]
fn the_time_of_a_request_runs_while_it_waits_for_a_connection_whole_or_not() {
    run(async || {
        for down in Http::BOTH {
            let Busy { proxy, v1, open, first } = Busy::start(down).await;
            let mut two = proxy.caller(down).await;
            let name = "x-envoy-upstream-rq-timeout-ms";
            assert_eq!(two.send(asking(name, SHORT, post("/m", "2"))).await.status, 504, "{down:?}");
            let mut two = proxy.caller(down).await;
            let (sender, body) = channel();
            sender.send(Frame::data("a part".into())).expect("sent");
            let part = request(Method::POST, "/m").body(body).expect("a request");
            let answer = soon("an answer", two.begin(asking(name, SHORT, part))).await.expect("a head");
            assert_eq!((answer.status().as_u16(), v1.begun()), (504, 1), "{down:?}");
            drop(sender);
            open.send(true).expect("the upstream waits");
            assert_eq!(first.await.expect("it ends"), "answered");
        }
    });
}

#[test]
fn a_grpc_deadline_counts_from_the_head_whatever_has_come() {
    run(async || {
        for route in [None, Some(Duration::from_millis(150)), Some(Duration::from_secs(3_600))] {
            let v1 = Upstream::holding().await;
            let proxy = Policed::split(&[], &[(&v1.at(), "v1")], "", |forward, policy| {
                forward.timeout = route;
                policy.retry = Some(of_any_failure());
            });
            let (sender, body) = channel();
            sender.send(Frame::data(grpc_message(b"one"))).expect("sent");
            let call = grpc("/s.S/M").header("grpc-timeout", "300m").body(body).expect("a request");
            let answer = soon("an answer", proxy.caller(Http::Two).await.send(call)).await;
            assert_eq!(answer.grpc_status(), Some("4"), "{route:?}");
            drop(sender);
        }
    });
}

/// Sends back what comes, as it comes.
async fn echoing() -> Upstream {
    Upstream::handling(|request| async move {
        let body = echoed(request, Some(grpc_ok()));
        Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
    })
    .await
}

#[test]
fn a_call_that_still_sends_is_not_cut_and_one_that_has_ended_is() {
    run(async || {
        let plain = async |time: &str, at: &str| {
            let world = World::start(&one_service(&[time], &[(at, "v1")])).await;
            (world.addr("in"), Box::new(world) as Box<dyn std::any::Any>)
        };
        let policed = async |time: Duration, at: &str| {
            let proxy = Policed::split(&[], &[(at, "v1")], "", says(Says::Route, time));
            (proxy.addr(), Box::new(proxy) as Box<dyn std::any::Any>)
        };
        let echo = echoing().await;
        for (address, _held) in [plain("timeout: 200ms", &echo.at()).await, policed(SHORT, &echo.at()).await]
        {
            let (sender, body) = channel();
            let mut caller = Client::connect(Http::Two, address).await;
            sender.send(Frame::data(grpc_message(b"one"))).expect("sent");
            let call = grpc("/s.S/M").body(body).expect("a request");
            let mut answer = soon("the head", caller.begin(call)).await.expect("a head").into_body();
            for text in [&b"one"[..], b"two", b"three"] {
                let piece = soon("a message", answer.frame()).await.expect("a frame").expect("no error");
                assert_eq!(piece.into_data().ok(), Some(grpc_message(text)));
                tokio::time::sleep(3 * SHORT).await;
                let next = if text == b"one" { "two" } else { "three" };
                sender.send(Frame::data(grpc_message(next.as_bytes()))).expect("the proxy reads");
            }
        }
        // An answer without an end, to a request that has one.
        let endless = RawUpstream::start_h2(|mut request, _| async move {
            request.body().await;
            let head = Response::builder().header("content-type", "application/grpc").body(());
            let stream = request.respond.send_response(head.expect("a head"), false).expect("a stream");
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let at = endless.at();
        for (address, _held) in [plain("timeout: 200ms", &at).await, policed(SHORT, &at).await] {
            let (sender, body) = channel();
            sender.send(Frame::data(grpc_message(b"one"))).expect("sent");
            let call = grpc("/s.S/M").body(body).expect("a request");
            let mut caller = Client::connect(Http::Two, address).await;
            let ends = async {
                tokio::time::sleep(3 * SHORT).await;
                drop(sender);
            };
            let (answer, ()) = tokio::join!(caller.begin(call), ends);
            assert!(soon("the end", read(answer.expect("a head"))).await.is_err(), "it is cut");
        }
    });
}

#[test]
fn a_call_that_is_sent_again_is_told_what_is_left_by_then() {
    run(async || {
        let told: Rc<RefCell<Vec<(f64, Option<u64>)>>> = Rc::default();
        let note = told.clone();
        let refuses_first = RawUpstream::start_h2(move |mut request, number| {
            let note = note.clone();
            async move {
                let field = |name: &str| {
                    let value = request.request.headers().get(name)?;
                    Some(value.to_str().expect("text").to_owned())
                };
                let grpc = field("grpc-timeout").expect("it is told");
                let (count, unit) = grpc.split_at(grpc.len() - 1);
                let ms = count.parse::<f64>().expect("digits") / if unit == "u" { 1_000.0 } else { 1.0 };
                assert!(unit == "u" || unit == "m", "{grpc}");
                let expected = field("x-envoy-expected-rq-timeout-ms");
                note.borrow_mut().push((ms, expected.map(|ms| ms.parse().expect("milliseconds"))));
                request.body().await;
                if number % 2 == 0 {
                    tokio::time::sleep(2 * SHORT).await; // time passes
                    return request.reset(h2::Reason::REFUSED_STREAM);
                }
                request.answer("taken");
            }
        })
        .await;
        let called = async |address| {
            let call = grpc("/s.S/M").header("grpc-timeout", "50S").body(full(grpc_message(b"hi")));
            let answer = Client::connect(Http::Two, address).await.send(call.expect("a request")).await;
            assert_eq!(answer.upstream(), "taken");
            let told = std::mem::take(&mut *told.borrow_mut());
            assert_eq!(told.len(), 2);
            assert!(told[0].0 - told[1].0 >= (2 * SHORT).as_secs_f64() * 1_000.0, "{told:?}");
            told
        };
        let endpoints = [(&*refuses_first.at(), "v1")];
        let world = World::start(&one_service(&[], &endpoints)).await;
        let told = called(world.addr("in")).await;
        assert!(told.iter().all(|(_, expected)| expected.is_none()), "{told:?}");
        // The route's is the shorter.
        let world = World::start(&one_service(&["timeout: 40s"], &endpoints)).await;
        let told = called(world.addr("in")).await;
        assert_eq!((told[0].0, told[0].1), (40_000.0, Some(40_000)));
        assert!(told[1].1.is_some_and(|ms| ms <= 40_000 - 2 * SHORT.as_millis() as u64), "{told:?}");
        let proxy = Policed::split(&[], &endpoints, "", says(Says::Route, Duration::from_secs(40)));
        let told = called(proxy.addr()).await;
        assert_eq!((told[0].0, told[0].1), (40_000.0, Some(40_000)));
        assert!(told[1].1.is_some_and(|ms| ms <= 40_000 - 2 * SHORT.as_millis() as u64), "{told:?}");
        until("nothing is active", || {
            (proxy.metric("envoy_cluster_upstream_rq_active") == 0.0).then_some(())
        })
        .await;
    });
}
