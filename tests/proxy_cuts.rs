//! Who leaves early: the other side hears of it at once, a cut is never a clean end, and no broken connection is used again.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::cell::Cell;
use std::error::Error as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::world::client::{Client, get, grpc, post, read, request};
use common::world::raw::{Raw, RawUpstream};
use common::world::upstream::{Upstream, channel, full};
use common::world::{Http, World, one_service, run, soon, until, within};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{Notify, watch};

/// How soon the other side hears that one has left.
const PROMPT: Duration = Duration::from_secs(2);

async fn world_before(address: &str, up: Http) -> World {
    World::start(&one_service(&[&format!("protocol: {}", up.protocol())], &[(address, "v1")])).await
}

/// The reason of the RST_STREAM that ended a body.
fn reset_reason(error: &hyper::Error) -> Option<h2::Reason> {
    error.source()?.downcast_ref::<h2::Error>()?.reason()
}

#[test]
fn who_is_given_up_is_counted_by_how_far_it_got() {
    run(async || {
        let held = Upstream::holding().await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1}"];
        let world = World::start(&one_service(&settings, &[(&held.at(), "v1")])).await;
        let begin = |to| async move { drop(Client::connect(Http::One, to).await.begin(get("/")).await) };
        let sent = tokio::task::spawn_local(begin(world.addr("in")));
        held.wait_begun(1).await;
        let waits = tokio::task::spawn_local(begin(world.addr("in")));
        world.counts("listener_manager_workers_started", 1.0).await;
        world.counts("http_rq_total", 2.0).await;
        world.counts("cluster_upstream_rq_pending_active", 1.0).await;
        world.counts("cluster_circuit_breakers_default_cx_open", 1.0).await;
        world.counts("cluster_circuit_breakers_default_rq_open", 0.0).await;
        waits.abort();
        world.counts("cluster_upstream_rq_cancelled", 1.0).await;
        world.counts("cluster_upstream_rq_tx_reset", 0.0).await;
        sent.abort();
        world.counts("cluster_upstream_rq_tx_reset", 1.0).await;
        world.counts("cluster_upstream_rq_cancelled", 1.0).await;
        world.counts("cluster_circuit_breakers_default_cx_open", 0.0).await;
        world.counts("http_downstream_rq_rx_reset", 2.0).await;
        world.counts("http_downstream_rq_tx_reset", 0.0).await;
    });
}

#[test]
fn an_upstream_hears_at_once_that_nobody_waits_for_its_answer() {
    run(async || {
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let world = world_before(&held.at(), up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            {
                let mut call = std::pin::pin!(client.begin(get("/")));
                tokio::select! {
                    _ = &mut call => panic!("it is answered"),
                    () = held.wait_begun(1) => {}
                }
            }
            drop(client);
            let heard = until("the upstream hears", || (held.cancelled() == 1).then_some(()));
            within(PROMPT, "the upstream hears of it", heard).await;
            assert_eq!(held.open_connections(), usize::from(up == Http::Two), "{down:?} {up:?}");
            assert!(world.log(1).await[0].starts_with("0 DC "), "{down:?} {up:?}: {:?}", world.log(1).await);
        }
    });
}

#[test]
fn an_upstream_hears_at_once_that_nobody_reads_on() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let upstream = Upstream::handling(move |_| {
                let (sender, body) = channel();
                sender.send(Frame::data(Bytes::from_static(b"first"))).expect("sent");
                tell.send(sender).expect("the test listens");
                async move { Response::new(body) }
            })
            .await;
            let world = world_before(&upstream.at(), up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let mut response = soon("a head", client.begin(get("/"))).await.expect("a head");
            soon("a piece", response.body_mut().frame()).await.expect("a piece").expect("whole");
            let sender = told.recv().await.expect("a request");
            drop((response, client));
            let heard = until("the upstream hears", || sender.is_closed().then_some(()));
            within(PROMPT, "the upstream hears of it", heard).await;
            assert!(
                world.log(1).await[0].starts_with("200 DC "),
                "{down:?} {up:?}: {:?}",
                world.log(1).await
            );
        }
    });
}

#[test]
fn a_request_body_that_is_cut_is_never_a_whole_one_upstream() {
    run(async || {
        for (down, up) in Http::matrix() {
            let outcome = Rc::new(Cell::new(None));
            let note = outcome.clone();
            let upstream = Upstream::handling(move |request| {
                let note = note.clone();
                async move {
                    note.set(Some(request.into_body().collect().await.is_ok()));
                    Response::new(full("read"))
                }
            })
            .await;
            let world = world_before(&upstream.at(), up).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let (sender, body) = channel();
            sender.send(Frame::data(Bytes::from_static(b"begun"))).expect("sent");
            {
                let mut call =
                    std::pin::pin!(client.begin(request(Method::POST, "/").body(body).expect("a request")));
                tokio::select! {
                    _ = &mut call => panic!("it is answered"),
                    () = upstream.wait_begun(1) => {}
                }
            }
            drop(client);
            // The body outlives the call on purpose: had it ended, it would be whole.
            let heard = until("the upstream hears", || {
                outcome.get().or((upstream.cancelled() == 1).then_some(false))
            });
            assert!(!within(PROMPT, "the upstream hears of it", heard).await, "{down:?} {up:?}");
            drop(sender);
        }
    });
}

#[test]
fn one_cancelled_call_leaves_the_others_of_its_connections_alone() {
    run(async || {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::handling(move |_| {
            let (sender, body) = channel();
            tell.send(sender).expect("the test listens");
            async move { Response::new(body) }
        })
        .await;
        let world = world_before(&upstream.at(), Http::Two).await;
        let client = Client::connect(Http::Two, world.addr("in")).await;
        let Client::Two(sender) = client else { unreachable!() };
        let call = async || Client::Two(sender.clone()).begin(get("/")).await.expect("a head");
        let (kept, to_kept) = (soon("a head", call()).await, told.recv().await.expect("a call"));
        let (dropped, to_dropped) = (soon("a head", call()).await, told.recv().await.expect("a call"));
        drop(dropped);
        within(PROMPT, "the reset arrives", until("it", || to_dropped.is_closed().then_some(()))).await;
        to_kept.send(Frame::data(Bytes::from_static(b"whole"))).expect("sent");
        drop(to_kept);
        assert_eq!(soon("the other", read(kept)).await.expect("whole").body, "whole");
        assert_eq!(upstream.connections(), 1);
    });
}

#[test]
fn an_answer_that_the_upstream_cuts_is_cut_for_the_caller_too() {
    run(async || {
        let heads = [
            "content-length: 100\r\n\r\n0123456789",
            "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n",
        ];
        for head in heads {
            let gate = Rc::new(Notify::new());
            let opened = gate.clone();
            let cutting = RawUpstream::start(move |mut raw, _| {
                let gate = opened.clone();
                async move {
                    raw.read_head().await;
                    raw.write(format!("HTTP/1.1 200 OK\r\n{head}")).await;
                    gate.notified().await;
                    String::new()
                }
            })
            .await;
            let world = world_before(&cutting.at(), Http::One).await;
            is_cut_for_everybody(&world, &gate, "200 UC ").await;
            assert_eq!(cutting.connections(), 3, "no connection serves again");
        }
    });
}

/// HTTP/1.0 knows no chunks: only a reset tells a cut from the end of an answer whose length nobody told.
#[test]
fn an_answer_that_is_cut_resets_the_connection_of_an_http_1_0_caller() {
    run(async || {
        for rest in ["transfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n", "\r\nbegun"] {
            let gate = Rc::new(Notify::new());
            let opened = gate.clone();
            let cutting = RawUpstream::start(move |mut raw, _| {
                let gate = opened.clone();
                async move {
                    raw.read_head().await;
                    raw.write(format!("HTTP/1.1 200 OK\r\n{rest}")).await;
                    gate.notified().await;
                    raw.into_stream().set_zero_linger().expect("linger");
                    String::new()
                }
            })
            .await;
            let world = world_before(&cutting.at(), Http::One).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("GET / HTTP/1.0\r\nhost: x\r\n\r\n").await;
            raw.read_until(b"begun").await.expect("the beginning");
            gate.notify_one();
            let mut stream = raw.into_stream();
            let end = soon("the end", tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64])).await;
            let reset = end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(reset, "{rest:?}: {end:?}");
        }
    });
}

/// To a caller that gets no byte at all the close looks like one of an idle connection, and it may send again by itself.
#[test]
fn an_answer_that_is_cut_at_once_still_begins_for_its_caller() {
    run(async || {
        let heads = [
            "content-length: 100\r\n\r\n0123456789",
            "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n",
        ];
        for head in heads {
            let cutting = RawUpstream::start(move |mut raw, _| async move {
                raw.read_head().await;
                raw.write(format!("HTTP/1.1 200 OK\r\n{head}")).await;
                String::new()
            })
            .await;
            let world = world_before(&cutting.at(), Http::One).await;
            let mut caller = Raw::connect(world.addr("in")).await;
            caller.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let answer = caller.read_to_end().await;
            let begins = answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("0123456789");
            assert!(begins && !answer.ends_with("0\r\n\r\n"), "{answer:?}");
        }
    });
}

#[test]
fn an_answer_that_an_http2_upstream_resets_is_cut_for_the_caller_too() {
    run(async || {
        let gate = Rc::new(Notify::new());
        let opened = gate.clone();
        let cutting = RawUpstream::start_h2(move |mut request, _| {
            let gate = opened.clone();
            async move {
                let response = Response::builder().body(()).expect("a response");
                let mut stream = request.respond.send_response(response, false).expect("a stream");
                stream.send_data(Bytes::from_static(b"0123456789"), false).expect("sent");
                gate.notified().await;
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        })
        .await;
        let world = world_before(&cutting.at(), Http::Two).await;
        is_cut_for_everybody(&world, &gate, "200 UR ").await;
        assert_eq!(cutting.connections(), 1, "a stream that was reset ends no connection");
    });
}

/// Reads ten bytes of an answer whose upstream goes when `gate` opens: by HTTP/1.1, then twice on one HTTP/2 connection.
async fn is_cut_for_everybody(world: &World, gate: &Notify, logged: &str) {
    let mut raw = Raw::connect(world.addr("in")).await;
    raw.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = raw.read_head().await.expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw.read_until(b"0123456789").await.expect("the beginning");
    gate.notify_one();
    let rest = raw.read_to_end().await;
    assert!(!rest.contains("0\r\n\r\n"), "a clean end: {rest:?}");
    let mut client = Client::connect(Http::Two, world.addr("in")).await;
    for _ in 0..2 {
        let mut response = soon("a head", client.begin(get("/"))).await.expect("a head");
        assert_eq!(response.status(), 200);
        let piece =
            soon("the beginning", response.body_mut().frame()).await.expect("more").expect("no error");
        assert_eq!(piece.into_data().expect("data"), "0123456789");
        gate.notify_one();
        let error = soon("the cut", read(response)).await.expect_err("a cut");
        assert_eq!(reset_reason(&error), Some(h2::Reason::INTERNAL_ERROR), "{error:?}");
    }
    for line in world.log(3).await {
        assert!(line.starts_with(logged), "{line}");
    }
    world.counts("http_downstream_rq_tx_reset", 3.0).await;
    world.counts("cluster_upstream_rq_tx_reset", 0.0).await;
}

#[test]
fn bytes_behind_an_answer_never_answer_the_next_request() {
    run(async || {
        let evil = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await;
            raw.read_to_end().await
        })
        .await;
        let world = world_before(&evil.at(), Http::One).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..20 {
                assert_eq!(client.get("/").await.text(), "ok", "{down:?}");
            }
        }
        assert_eq!(evil.connections(), 40);
    });
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection_which_serves_no_more() {
    run(async || {
        let upstream = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
            String::new()
        })
        .await;
        let world = world_before(&upstream.at(), Http::One).await;
        for down in Http::BOTH {
            assert_eq!(Client::connect(down, world.addr("in")).await.get("/").await.text(), "until the end");
        }
        assert_eq!(upstream.connections(), 2);
    });
}

#[test]
fn interim_answers_are_not_the_answer() {
    run(async || {
        let upstream = RawUpstream::start(|mut raw, _| async move {
            while raw.read_head().await.is_some() {
                raw.write("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await;
                raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
            String::new()
        })
        .await;
        let world = world_before(&upstream.at(), Http::One).await;
        for down in Http::BOTH {
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
        }
    });
}

#[test]
fn an_upstream_that_never_ends_its_head_is_given_up_when_the_time_is_up() {
    run(async || {
        let endless = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 200 OK\r\nx-endless: ").await;
            for _ in 0..2000 {
                raw.write("a").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            raw.read_to_end().await
        })
        .await;
        let yaml = one_service(&["protocol: http1", "timeout: 300ms"], &[(&endless.at(), "v1")]);
        let world = World::start(&yaml).await;
        for down in Http::BOTH {
            assert_eq!(Client::connect(down, world.addr("in")).await.get("/").await.status, 504);
        }
    });
}

#[test]
fn a_body_that_outlasts_the_time_of_its_request_is_cut() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::handling(|_| {
                let (sender, body) = channel();
                sender.send(Frame::data(Bytes::from_static(b"first"))).expect("sent");
                tokio::task::spawn_local(async move { sender.closed().await });
                async move { Response::new(body) }
            })
            .await;
            let settings = ["timeout: 300ms", &format!("protocol: {}", up.protocol())];
            let world = World::start(&one_service(&settings, &[(&upstream.at(), "v1")])).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let call = grpc("/s/list").body(full("")).expect("a request");
            let response = soon("a head", client.begin(call)).await.expect("a head");
            assert!(within(PROMPT, "the cut", read(response)).await.is_err(), "{down:?} {up:?}");
            assert!(world.log(1).await[0].starts_with("200 UT "), "{:?}", world.log(1).await);
            world.counts("http_downstream_rq_tx_reset", 1.0).await;
            world.counts("cluster_upstream_rq_tx_reset", 1.0).await;
            world.counts("cluster_upstream_rq_timeout", 1.0).await;
        }
    });
}

#[test]
fn a_body_that_is_still_on_its_way_when_the_time_is_up_is_cut_upstream() {
    run(async || {
        for (down, up) in Http::matrix() {
            let outcome = Rc::new(Cell::new(None));
            let (open, gate) = watch::channel(false);
            let note = outcome.clone();
            // It reads nothing for so long; who sends slowly has all the time (`policy_time_begins.rs`).
            let upstream = Upstream::handling(move |request| {
                let (note, mut gate) = (note.clone(), gate.clone());
                async move {
                    gate.wait_for(|open| *open).await.expect("the test is there");
                    note.set(Some(request.into_body().collect().await.is_ok()));
                    Response::new(full("read"))
                }
            })
            .await;
            let settings = ["timeout: 200ms", &format!("protocol: {}", up.protocol())];
            let world = World::start(&one_service(&settings, &[(&upstream.at(), "v1")])).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = client.send(post("/", vec![7; 20_000_000])).await;
            assert_eq!(answer.status, 504, "{down:?} {up:?}");
            open.send_replace(true);
            let heard = until("the upstream hears", || {
                outcome.get().or((upstream.cancelled() == 1).then_some(false))
            });
            assert!(!within(PROMPT, "the upstream hears of it", heard).await, "{down:?} {up:?}");
        }
    });
}
