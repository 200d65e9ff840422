//! HTTP/2 upstreams by their connection: those that never begin to speak, that change their mind about limits, and
//! that leave while nobody asks them.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}
mod wire_upstream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use common::world::client::{Client, grpc_call, post};
use common::world::raw::RawUpstream;
use common::world::{Http, World, one_service, run, soon, until};
use tokio::sync::Notify;
use wire_upstream::http1_server::Peer;
use wire_upstream::http2_server::{
    DATA, END, HEADERS, PING, SETTINGS, data, frame, goaway, greet, next_frame, next_request, ok, ping_ack,
    setting, window_update,
};

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const NO_ERROR: u32 = 0;
/// The client's preface, RFC 9113 section 3.4.
const PREFACE: usize = 24;

fn answer(stream: u32, body: &str) -> Vec<u8> {
    [ok(stream), data(stream, body, true)].concat()
}

async fn world(upstream: &RawUpstream) -> World {
    World::start(&one_service(&["protocol: http2"], &[(&upstream.at(), "v1")])).await
}

/// How an upstream fails before its SETTINGS.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    Silent,
    Closes,
    Resets,
    ClosesAfterPreface,
    Http1,
    Garbage,
    OtherFrame,
    HalfSettings,
    BadSettings,
    Goaway,
}

async fn begin(mut peer: Peer, how: Beginning) {
    let bytes = match how {
        Beginning::Closes => return,
        Beginning::Resets => {
            peer.stream.set_zero_linger().expect("linger");
            return;
        }
        Beginning::ClosesAfterPreface => {
            let _ = peer.exactly(PREFACE).await;
            return;
        }
        Beginning::Silent => Vec::new(),
        Beginning::Http1 => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nevil".to_vec(),
        Beginning::Garbage => vec![0xff; 64],
        Beginning::OtherFrame => frame(PING, 0, 0, [0; 8]),
        Beginning::HalfSettings => frame(SETTINGS, 0, 0, setting(MAX_CONCURRENT_STREAMS, 1))[..12].to_vec(),
        Beginning::BadSettings => frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, u32::MAX)),
        Beginning::Goaway => [frame(SETTINGS, 0, 0, []), goaway(0, 11)].concat(),
    };
    let _ = peer.write(&bytes).await;
    peer.drain().await;
}

#[test]
fn an_upstream_that_does_not_begin_to_speak_http2_is_no_connection() {
    run(async || {
        use Beginning as B;
        const FAILURE: &str = "remote_connection_failure";
        const TIMEOUT: &str = "connection_timeout";
        let rows = [
            (B::Silent, TIMEOUT),
            (B::HalfSettings, TIMEOUT),
            // RFC 9113 section 3.4 wants SETTINGS first.
            (B::OtherFrame, FAILURE),
            (B::Closes, FAILURE),
            (B::Resets, FAILURE),
            (B::ClosesAfterPreface, FAILURE),
            (B::Http1, FAILURE),
            (B::Garbage, FAILURE),
            (B::BadSettings, FAILURE),
        ];
        let mut faults = Vec::new();
        for (how, why) in rows {
            let upstream = RawUpstream::start(move |raw, _| async move {
                begin(Peer::over(raw.into_stream()), how).await;
                String::new()
            })
            .await;
            let yaml = one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]);
            let world = World::start(&(yaml + "\nlimits: {connect_timeout: 300ms}\n")).await;
            let text = format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {}",
                why.replace('_', " ")
            );
            for down in Http::BOTH {
                let seen = Client::connect(down, world.addr("in")).await.send(post("/m", "{}")).await;
                if (seen.status.as_u16(), seen.text()) != (503, &*text) {
                    faults.push(format!("{how:?} {down:?}: {} {}", seen.status, seen.text()));
                }
            }
            let seen = Client::connect(Http::Two, world.addr("in")).await.send(grpc_call("/s/m", b"")).await;
            if (seen.grpc_status(), seen.header("grpc-message")) != (Some("14"), Some(&text)) {
                faults.push(format!("{how:?} gRPC: {seen:?}"));
            }
            let details = format!(" UF upstream_reset_before_response_started{{{why}}} 1 ");
            let lines = world.log(3).await;
            if !lines.iter().all(|line| line.contains(&details)) {
                faults.push(format!("{how:?}: logged {lines:?}"));
            }
            world.counts("cluster_upstream_rq_pending_active", 0.0).await;
            world.counts("cluster_upstream_cx_active", 0.0).await;
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}

#[test]
fn an_upstream_that_greets_with_goaway_gets_no_request_and_the_caller_an_answer() {
    run(async || {
        let upstream = RawUpstream::start(|raw, _| async move {
            begin(Peer::over(raw.into_stream()), Beginning::Goaway).await;
            String::new()
        })
        .await;
        let world = world(&upstream).await;
        for down in Http::BOTH {
            let seen = Client::connect(down, world.addr("in")).await.send(post("/m", "{}")).await;
            assert_eq!(seen.status, 503, "{down:?}: {seen:?}");
        }
        // It must not dial as fast as it can for as long as the request lasts.
        assert!(upstream.connections() <= 10, "{} connections for two requests", upstream.connections());
    });
}

#[test]
fn streams_wait_while_the_upstream_allows_none_and_go_one_by_one_when_it_allows_one() {
    run(async || {
        for down in Http::BOTH {
            let open = Rc::new(Notify::new());
            let opened = open.clone();
            let most = Rc::new(Cell::new(0));
            let of_script = most.clone();
            let upstream = RawUpstream::start(move |raw, _| {
                let (open, most) = (opened.clone(), of_script.clone());
                async move {
                    let mut peer = Peer::over(raw.into_stream());
                    greet(&mut peer, &setting(MAX_CONCURRENT_STREAMS, 0)).await;
                    open.notified().await;
                    open.notify_one();
                    let _ = peer.write(&frame(SETTINGS, 0, 0, setting(MAX_CONCURRENT_STREAMS, 1))).await;
                    let mut last = 0;
                    while let Some(stream) = next_request(&mut peer, last, || false).await {
                        most.set(most.get().max((stream - last) / 2));
                        last = stream;
                        let _ = peer.write(&answer(stream, "served")).await;
                    }
                    String::new()
                }
            })
            .await;
            let world = world(&upstream).await;
            let calls: Vec<_> = (0..3)
                .map(|_| {
                    let to = world.addr("in");
                    tokio::task::spawn_local(async move {
                        Client::connect(down, to).await.send(post("/m", "{}")).await
                    })
                })
                .collect();
            until("a connection", || (upstream.connections() > 0).then_some(())).await;
            world.counts("http_downstream_rq_active", 3.0).await;
            assert!(calls.iter().all(|call| !call.is_finished()), "{down:?}: answered by nobody");
            open.notify_one();
            for call in calls {
                let seen = soon("an answer", call).await.expect("no panic");
                assert_eq!((seen.status.as_u16(), seen.text()), (200, "served"), "{down:?}");
            }
            assert_eq!(most.get(), 1, "{down:?}: never two streams at once on one connection");
            world.counts("cluster_upstream_rq_pending_active", 0.0).await;
        }
    });
}

/// Reads DATA of one stream until `count` bytes have come or it ends; the bytes and whether it has ended.
async fn read_data(peer: &mut Peer, bytes: &mut Vec<u8>, count: usize) -> bool {
    while bytes.len() < count {
        let Some(frame) = next_frame(peer).await else { return false };
        if frame.kind == DATA {
            bytes.extend(&frame.payload);
            if frame.flags & END != 0 {
                return true;
            }
        }
    }
    false
}

#[test]
fn a_body_waits_for_the_window_however_the_upstream_changes_it() {
    run(async || {
        let body: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        let expected = Rc::new(body.clone());
        for down in Http::BOTH {
            let expected = expected.clone();
            let upstream = RawUpstream::start(move |raw, _| {
                let expected = expected.clone();
                async move {
                    let mut peer = Peer::over(raw.into_stream());
                    greet(&mut peer, &setting(INITIAL_WINDOW_SIZE, 0)).await;
                    let head = loop {
                        let Some(frame) = next_frame(&mut peer).await else { return "no head".into() };
                        if frame.kind == HEADERS {
                            break frame;
                        }
                    };
                    // No byte may come before the window opens: the answer to PING is behind whatever was sent.
                    let _ = peer.write(&frame(PING, 0, 0, [1; 8])).await;
                    if !ping_ack(&mut peer).await {
                        return "no ACK".into();
                    }
                    let mut read = Vec::new();
                    let window = |size| frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, size));
                    let _ = peer.write(&window(10)).await;
                    read_data(&mut peer, &mut read, 10).await;
                    if read.len() != 10 {
                        return format!("{} bytes for a window of 10", read.len());
                    }
                    // Below zero now; it takes 15 to have 5.
                    let _ = peer.write(&[window(0), window_update(head.stream, 15)].concat()).await;
                    read_data(&mut peer, &mut read, 15).await;
                    if read.len() != 15 {
                        return format!("{} bytes for a window of 15", read.len());
                    }
                    let more = [window_update(head.stream, 200_000), window_update(0, 200_000)].concat();
                    let _ = peer.write(&more).await;
                    let ended = read_data(&mut peer, &mut read, usize::MAX).await;
                    let verdict = if ended && read == *expected { "whole" } else { "broken" };
                    let _ = peer.write(&answer(head.stream, verdict)).await;
                    peer.drain().await;
                    verdict.into()
                }
            })
            .await;
            let world = world(&upstream).await;
            let seen = Client::connect(down, world.addr("in")).await.send(post("/m", body.clone())).await;
            assert_eq!(seen.text(), "whole", "{down:?}: {:?}", upstream.notes());
        }
    });
}

/// What an upstream says while no stream is open.
#[derive(Clone, Copy, Debug)]
enum Idle {
    Closes,
    Resets,
    Goaway,
    GoawayWithError,
    Garbage,
    OrphanData,
    Push,
}

#[test]
fn a_connection_on_which_the_upstream_says_or_does_something_while_idle_costs_no_request() {
    run(async || {
        let mut faults = Vec::new();
        for what in [
            Idle::Closes,
            Idle::Resets,
            Idle::Goaway,
            Idle::GoawayWithError,
            Idle::Garbage,
            Idle::OrphanData,
            Idle::Push,
        ] {
            for down in Http::BOTH {
                let asked: Rc<RefCell<Vec<usize>>> = Rc::default();
                let (of_script, act) = (asked.clone(), Rc::new(Notify::new()));
                let acts = act.clone();
                let upstream = RawUpstream::start(move |raw, number| {
                    let (asked, act) = (of_script.clone(), acts.clone());
                    async move {
                        let mut peer = Peer::over(raw.into_stream());
                        greet(&mut peer, &[]).await;
                        let mut last = 0;
                        while let Some(stream) = next_request(&mut peer, last, || false).await {
                            last = stream;
                            asked.borrow_mut().push(number);
                            let _ = peer.write(&answer(stream, "served")).await;
                            if number > 0 {
                                continue;
                            }
                            act.notified().await;
                            let bytes = match what {
                                Idle::Closes => return String::new(),
                                Idle::Resets => {
                                    peer.stream.set_zero_linger().expect("linger");
                                    return String::new();
                                }
                                Idle::Goaway => goaway(stream, NO_ERROR),
                                Idle::GoawayWithError => goaway(stream, 2),
                                Idle::Garbage => b"HTTP/1.1 408 Request Timeout\r\n\r\n".to_vec(),
                                Idle::OrphanData => data(stream + 2000, "evil", true),
                                Idle::Push => frame(5, 4, stream, [0, 0, 0, 2, 0x82]),
                            };
                            let _ = peer.write(&bytes).await;
                        }
                        String::new()
                    }
                })
                .await;
                let world = world(&upstream).await;
                let mut client = Client::connect(down, world.addr("in")).await;
                let first = client.send(post("/m", "{}")).await;
                act.notify_one();
                // It is there before the next request: the proxy has closed the connection that it makes unfit.
                world.counts("cluster_upstream_cx_active", 0.0).await;
                let second = client.send(post("/m", "{}")).await;
                if (first.text(), second.text()) != ("served", "served") || *asked.borrow() != [0, 1] {
                    faults.push(format!("{what:?} {down:?}: {first:?} {second:?}, asked {asked:?}"));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}

#[test]
fn a_connection_of_which_nothing_is_heard_takes_no_further_request_and_one_that_is_only_slow_does() {
    run(async || {
        for silent in [true, false] {
            for down in Http::BOTH {
                let asked: Rc<RefCell<Vec<usize>>> = Rc::default();
                let of_script = asked.clone();
                let upstream = RawUpstream::start(move |raw, number| {
                    let asked = of_script.clone();
                    async move {
                        let mut peer = Peer::over(raw.into_stream());
                        greet(&mut peer, &[]).await;
                        let mut last = 0;
                        while let Some(stream) = next_request(&mut peer, last, || false).await {
                            last = stream;
                            asked.borrow_mut().push(number);
                            if asked.borrow().len() > 1 {
                                let _ = peer.write(&answer(stream, "served")).await;
                            } else if silent {
                                peer.drain().await;
                            } else {
                                // Slow, but there: something comes again and again.
                                for _ in 0..10 {
                                    let _ = peer.write(&frame(PING, 0, 0, [0; 8])).await;
                                    tokio::time::sleep(Duration::from_millis(190)).await;
                                }
                            }
                        }
                        String::new()
                    }
                })
                .await;
                let yaml = one_service(&["protocol: http2", "timeout: 2s"], &[(&upstream.at(), "v1")]);
                let world = World::start(&yaml).await;
                let first = Client::connect(down, world.addr("in")).await.send(post("/m", "{}")).await;
                assert_eq!(first.status, 504, "{down:?}");
                let second = Client::connect(down, world.addr("in")).await.send(post("/m", "{}")).await;
                let by = if silent { 1 } else { 0 };
                assert_eq!((second.text(), &asked.borrow()[..]), ("served", &[0, by][..]), "{down:?}");
            }
        }
    });
}

#[test]
fn a_ping_is_answered_while_nobody_asks() {
    run(async || {
        let upstream = RawUpstream::start(|raw, _| async move {
            let mut peer = Peer::over(raw.into_stream());
            greet(&mut peer, &[]).await;
            let Some(stream) = next_request(&mut peer, 0, || false).await else { return "none".into() };
            let _ = peer.write(&answer(stream, "served")).await;
            let _ = peer.write(&frame(PING, 0, 0, *b"are you?")).await;
            let acknowledged = ping_ack(&mut peer).await;
            peer.drain().await;
            acknowledged.to_string()
        })
        .await;
        let yaml = one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]);
        let world = World::start(&(yaml + "\nlimits: {upstream_idle: {http2: 500ms}}\n")).await;
        let seen = Client::connect(Http::Two, world.addr("in")).await.send(post("/m", "{}")).await;
        assert_eq!(seen.text(), "served");
        until("the connection's end", || (!upstream.notes().is_empty()).then_some(())).await;
        assert_eq!(upstream.notes(), ["true"]);
    });
}
