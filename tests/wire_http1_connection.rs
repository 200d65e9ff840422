//! HTTP/1 connections: what follows what, who leaves when, and that no answer is lost.
//!
//! Source: RFC 9112 sections 8, 9.3, 9.3.2, 9.5 and 9.6; `docs/wire.md`, Decisions.

// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::caller::{Caller, Delivery, Ended};
use common::wire::recorder::Recorder;
use common::wire::table::{Case, Want, passes, prove, refused, want};
use common::world::{Http, World, one_service, run, until};

const PIPELINE: &str = "RFC 9112 section 9.3.2";
const PERSIST: &str = "RFC 9112 section 9.3";
const CLOSE: &str = "RFC 9112 section 9.6";

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn chunks(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let a = get("/a", "");
    let mixed =
        [a.clone(), post("/b", "body"), chunks("/c"), get("/chunked", ""), get("/none", ""), post("/d", "")]
            .concat();
    let wanted = [
        want("GET", "/a"),
        want("POST", "/b").body("body"),
        want("POST", "/c").chunks("ab"),
        want("GET", "/chunked").answered(200, "hello again"),
        want("GET", "/none").answered(204, ""),
        want("POST", "/d").body(""),
    ];
    let hundred: String = (0..100).map(|number| get(&format!("/{number}"), "")).collect();
    let of_hundred: Vec<Want> = (0..100).map(|number| want("GET", &format!("/{number}"))).collect();
    prove(&[
        passes("two", PIPELINE, a.repeat(2), [want("GET", "/a"), want("GET", "/a")]),
        passes("six, with bodies of every kind", PIPELINE, &mixed, wanted.clone()),
        passes("six, byte by byte", PIPELINE, &mixed, wanted).delivered(Delivery::EachByte),
        passes("a hundred", PIPELINE, hundred, of_hundred),
        passes(
            "HEAD and GET",
            PIPELINE,
            format!("HEAD /chunked HTTP/1.1\r\nhost: x\r\n\r\n{a}"),
            [want("HEAD", "/chunked"), want("GET", "/a")],
        ),
        passes(
            "one of them lets the upstream close",
            PIPELINE,
            format!("{}{a}", get("/close", "")),
            [want("GET", "/close").answered(200, "hello"), want("GET", "/a")],
        ),
        passes(
            "HTTP/1.0 kept alive, then HTTP/1.1",
            PERSIST,
            format!("GET /a HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n{a}"),
            [want("GET", "/a"), want("GET", "/a")],
        ),
    ]);
}

#[test]
fn behind_a_request_that_closes_nothing_is_served() {
    let next = get("/smuggled", "");
    prove(&[
        passes(
            "connection: close",
            CLOSE,
            get("/a", "connection: close\r\n") + &next,
            want("GET", "/a").answer_has("connection", "close"),
        )
        .closes(),
        passes(
            "with a body",
            CLOSE,
            format!("POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab{next}"),
            want("POST", "/a").body("ab"),
        )
        .closes(),
        passes("HTTP/1.0", PERSIST, format!("GET /a HTTP/1.0\r\nhost: x\r\n\r\n{next}"), want("GET", "/a"))
            .closes(),
        passes(
            "HTTP/1.0 and close",
            PERSIST,
            format!("GET /a HTTP/1.0\r\nhost: x\r\nconnection: close\r\n\r\n{next}"),
            want("GET", "/a"),
        )
        .closes(),
        passes(
            "HTTP/1.0, keep-alive and close",
            PERSIST,
            format!("GET /a HTTP/1.0\r\nhost: x\r\nconnection: keep-alive, close\r\n\r\n{next}"),
            want("GET", "/a"),
        )
        .closes(),
        passes(
            "HTTP/1.0 and keep-alive",
            PERSIST,
            "GET /a HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n",
            want("GET", "/a"),
        ),
        passes(
            "HTTP/1.0 and Keep-Alive",
            PERSIST,
            "GET /a HTTP/1.0\r\nhost: x\r\nconnection: Keep-Alive\r\n\r\n",
            want("GET", "/a"),
        ),
        passes(
            "HTTP/1.0 and a proxy's keep-alive",
            PERSIST,
            "GET /a HTTP/1.0\r\nhost: x\r\nproxy-connection: keep-alive\r\n\r\n",
            want("GET", "/a"),
        )
        .closes(),
        passes(
            "close by the second of three",
            CLOSE,
            [get("/a", ""), get("/b", "connection: close\r\n"), next.clone()].concat(),
            [want("GET", "/a"), want("GET", "/b")],
        )
        .closes(),
    ]);
}

#[test]
fn behind_a_message_that_is_refused_nothing_is_served() {
    let next = get("/smuggled", "");
    let bad = [
        ("two spaces in the line", "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", get("/", "host: x\r\n")),
        ("two lengths", get("/", "content-length: 0\r\ncontent-length: 0\r\n")),
        ("gzip", get("/", "transfer-encoding: gzip\r\n")),
        ("an escaped slash", get("/%2f", "")),
        ("a fold", get("/", "x-a: 1\r\n 2\r\n")),
        ("garbage", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned()),
    ];
    let alone = bad.iter().map(|(name, bytes)| refused(name, CLOSE, format!("{bytes}{next}")));
    let behind = bad.iter().map(|(name, bytes)| {
        let wants = [want("GET", "/a"), want("POST", "/b").body("ab")];
        let bytes = [get("/a", ""), post("/b", "ab"), bytes.clone(), next.clone()].concat();
        passes(&format!("{name}, behind two good ones"), CLOSE, bytes, wants).then_refused("")
    });
    let cases: Vec<Case> = alone.chain(behind).collect();
    prove(&cases);
}

#[test]
fn a_refusal_is_read_by_a_caller_that_still_sends() {
    let megabyte = "a".repeat(1 << 20);
    prove(&[
        refused(
            "a bad line before a megabyte",
            CLOSE,
            format!("GET  / HTTP/1.1\r\nhost: x\r\n\r\n{megabyte}"),
        ),
        refused(
            "a bad host before a body",
            CLOSE,
            format!("POST / HTTP/1.1\r\nhost: a@b\r\ncontent-length: 1048576\r\n\r\n{megabyte}"),
        ),
        refused(
            "a bad path before a body",
            CLOSE,
            format!("POST /%2f HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n{megabyte}"),
        ),
        refused(
            "two lengths before a body",
            CLOSE,
            format!(
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\ncontent-length: 1048576\r\n\r\n{megabyte}"
            ),
        ),
        refused(
            "a bad chunk before a megabyte",
            CLOSE,
            format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{megabyte}"),
        )
        .late(),
        refused("binary", CLOSE, vec![0xab; 1 << 20]),
    ]);
}

/// A proxy with one upstream, and a caller.
async fn world(up: Http, settings: &str) -> (World, Recorder, Caller) {
    let recorder = Recorder::start().await;
    let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&recorder.at(), "v1")]);
    let world = World::start(&(yaml + settings)).await;
    let caller = Caller::connect(None, world.addr("in")).await;
    (world, recorder, caller)
}

async fn held(recorder: &Recorder) {
    until("the upstream holds its answer", || (recorder.held() > 0).then_some(())).await;
}

#[test]
fn a_caller_that_only_half_closes_gets_its_answer() {
    run(async || {
        for up in Http::BOTH {
            for (version, body) in [("1.1", ""), ("1.0", ""), ("1.1", "ab"), ("1.0", "ab")] {
                let (world, recorder, mut caller) = world(up, "").await;
                let fields = if body.is_empty() { "" } else { "content-length: 2\r\n" };
                let request = format!("POST /hold HTTP/{version}\r\nhost: x\r\n{fields}\r\n{body}");
                caller.send(request.as_bytes(), Delivery::AtOnce).await;
                held(&recorder).await;
                caller.shut_down().await;
                let row = format!("HTTP/{version} with {body:?}, upstream {up:?}");
                if version == "1.1" {
                    // The probe, which only a caller that has gone would answer with a reset.
                    let interim = caller.head().await.unwrap_or_else(|fault| panic!("{row}: {fault}"));
                    assert!(interim.starts_with("HTTP/1.1 100 "), "{row}: {interim}");
                }
                recorder.release();
                let answer = caller.answer("POST").await.unwrap_or_else(|fault| panic!("{row}: {fault}"));
                assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()), "{row}");
                assert_eq!(caller.end().await, Ok(Ended::Fin), "{row}");
                assert_eq!((recorder.given_up(), recorder.got().len()), (0, 1), "{row}");
                assert!(world.log(1).await[0].starts_with("200 - "), "{row}: {:?}", world.log(1).await);
            }
        }
    });
}

#[test]
fn a_caller_that_has_gone_is_found_out_and_its_request_given_up() {
    run(async || {
        for up in Http::BOTH {
            let (world, recorder, mut caller) = world(up, "").await;
            caller.send(get("/hold", "").as_bytes(), Delivery::AtOnce).await;
            held(&recorder).await;
            drop(caller);
            until("the request is given up upstream", || (recorder.given_up() == 1).then_some(())).await;
            let log = world.log(1).await;
            assert!(log[0].starts_with("0 DC downstream_remote_disconnect"), "{up:?}: {log:?}");
        }
    });
}

/// However much stands in its pipeline, unread in the kernel: RFC 9112 section 9.3.2.
#[test]
fn a_caller_with_a_long_pipeline_is_found_out_too_and_nothing_of_it_goes_upstream() {
    run(async || {
        for up in Http::BOTH {
            let (world, recorder, mut caller) = world(up, "").await;
            let pipeline = get("/hold", "") + &get("/behind", "").repeat(2_000);
            assert!(pipeline.len() > 64 << 10, "{}", pipeline.len());
            caller.send(pipeline.as_bytes(), Delivery::AtOnce).await;
            held(&recorder).await;
            drop(caller);
            until("the request is given up upstream", || (recorder.given_up() == 1).then_some(())).await;
            let log = world.log(1).await;
            assert!(log[0].starts_with("0 DC downstream_remote_disconnect"), "{up:?}: {log:?}");
            let behind = recorder.got().iter().filter(|got| got.target == "/behind").count();
            assert_eq!(behind, 0, "{up:?}");
        }
    });
}

#[test]
fn once_the_answer_has_begun_a_half_close_is_leaving() {
    run(async || {
        for up in Http::BOTH {
            for version in ["1.1", "1.0"] {
                let (world, recorder, mut caller) = world(up, "").await;
                let request = format!("GET /half HTTP/{version}\r\nhost: x\r\n\r\n");
                caller.send(request.as_bytes(), Delivery::AtOnce).await;
                let head = caller.head().await.expect("the head of the answer");
                assert!(head.contains(" 200 "), "{head}");
                caller.shut_down().await;
                until("the request is given up upstream", || (recorder.given_up() == 1).then_some(())).await;
                let log = world.log(1).await;
                assert!(
                    log[0].starts_with("200 DC downstream_remote_disconnect"),
                    "{up:?} {version}: {log:?}"
                );
            }
        }
    });
}

#[test]
fn a_half_close_inside_a_request_is_leaving_and_ends_nothing_upstream() {
    run(async || {
        for up in Http::BOTH {
            let inside_a_head = [
                "G",
                "GET / HTTP/1.1",
                "GET / HTTP/1.1\r\n",
                "GET / HTTP/1.1\r\nhost: x\r\n",
                "GET / HTTP/1.1\r\nhost: x\r\n\r",
            ];
            let inside_a_body = [
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcd",
                "POST / HTTP/1.0\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcd",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-a: 1\r\n",
            ];
            for bytes in inside_a_head.iter().chain(&inside_a_body) {
                let (world, recorder, mut caller) = world(up, "").await;
                caller.send(bytes.as_bytes(), Delivery::AtOnce).await;
                caller.shut_down().await;
                let (came, ended) = caller.rest().await;
                let row = format!("{bytes:?}, upstream {up:?}");
                let came = String::from_utf8_lossy(&came).into_owned();
                assert!(came.is_empty() && ended.is_some(), "{row}: {came:?} {ended:?}");
                let got = recorder.settled().await;
                assert!(got.iter().all(|got| !got.whole), "{row}: {got:?}");
                if inside_a_body.contains(bytes) {
                    let log = world.log(1).await;
                    assert!(log[0].starts_with("0 DC downstream_remote_disconnect"), "{row}: {log:?}");
                } else {
                    assert_eq!(recorder.begun(), 0, "{row}");
                }
            }
        }
    });
}

#[test]
fn a_cut_answer_is_never_a_good_end() {
    run(async || {
        for up in Http::BOTH {
            for version in ["1.1", "1.0"] {
                let (_world, _recorder, mut caller) = world(up, "").await;
                let request = format!("GET /cut HTTP/{version}\r\nhost: x\r\n\r\n");
                caller.send(request.as_bytes(), Delivery::AtOnce).await;
                let (came, ended) = caller.rest().await;
                let text = String::from_utf8_lossy(&came);
                let row = format!("HTTP/{version}, upstream {up:?}: {text:?}, {ended:?}");
                assert!(ended.is_some(), "{row}");
                // What was cut before its head went down is an answer of the proxy's own, which is whole.
                let told = text.contains("content-length: ") && text.contains(" 50");
                let visible =
                    ended == Some(Ended::Reset) || (version == "1.1" && !text.contains("\r\n0\r\n"));
                assert!(told || visible, "{row}");
            }
        }
    });
}

#[test]
fn a_head_that_does_not_end_is_given_up_with_408() {
    run(async || {
        for up in Http::BOTH {
            for bytes in ["G", "GET / HTTP/1.1\r\nhost: x\r\n", "\r\n\r\n\r\nGET /"] {
                let (_world, recorder, mut caller) = world(up, "limits: {head_timeout: 300ms}\n").await;
                caller.send(bytes.as_bytes(), Delivery::AtOnce).await;
                let row = format!("{bytes:?}, upstream {up:?}");
                let answer = caller.answer("GET").await.unwrap_or_else(|fault| panic!("{row}: {fault}"));
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!((answer.status, body.as_str()), (408, "request header timeout"), "{row}");
                assert!(answer.says_close(), "{row}");
                assert_eq!(caller.end().await, Ok(Ended::Fin), "{row}");
                assert_eq!(recorder.begun(), 0, "{row}");
            }
        }
    });
}

/// RFC 9110 section 15.5.9.
#[test]
fn a_body_that_stops_coming_is_given_up_with_408() {
    run(async || {
        for up in Http::BOTH {
            for bytes in [
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcd",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
            ] {
                let (world, recorder, mut caller) = world(up, "limits: {stream_idle: 300ms}\n").await;
                caller.send(bytes.as_bytes(), Delivery::AtOnce).await;
                let row = format!("{bytes:?}, upstream {up:?}");
                let answer = caller.answer("POST").await.unwrap_or_else(|fault| panic!("{row}: {fault}"));
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!((answer.status, body.as_str()), (408, "stream timeout"), "{row}");
                assert!(answer.says_close(), "{row}");
                assert_eq!(caller.end().await, Ok(Ended::Fin), "{row}");
                let got = recorder.settled().await;
                assert!(got.iter().all(|got| !got.whole), "{row}: {got:?}");
                let log = world.log(1).await;
                assert!(log[0].starts_with("408 SI stream_idle_timeout"), "{row}: {log:?}");
            }
        }
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_good_order() {
    run(async || {
        let (world, recorder, mut caller) = world(Http::One, "limits: {downstream_idle: 1s}\n").await;
        assert_eq!(caller.end().await, Ok(Ended::Fin), "before its first request");
        let mut caller = Caller::connect(None, world.addr("in")).await;
        caller.send(get("/", "").as_bytes(), Delivery::AtOnce).await;
        assert_eq!(caller.answer("GET").await.expect("an answer").status, 200);
        assert_eq!(caller.end().await, Ok(Ended::Fin), "behind a request");
        assert_eq!(recorder.begun(), 1);
    });
}
