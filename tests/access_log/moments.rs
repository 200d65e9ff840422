//! Moments, connections and trailers, whichever HTTP is spoken on either side.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::common::world::client::{Client, grpc_call, post};
use super::common::world::http2::flag;
use super::common::world::http2::kind::{DATA, HEADERS, SETTINGS};
use super::common::world::raw::{Raw, RawUpstream, header_of};
use super::common::world::upstream::{self, Upstream};
use super::common::world::{Http, World, logged, one_service, run};

const FORMAT: &str = "{connection: \"%CONNECTION_ID%\", local: \"%UPSTREAM_LOCAL_ADDRESS%\", \
    remote: \"%UPSTREAM_REMOTE_ADDRESS%\", status: \"%TRAILER(grpc-status)%\", times: [\"%REQUEST_DURATION%\", \
    \"%REQUEST_TX_DURATION%\", \"%RESPONSE_DURATION%\", \"%DURATION%\"], rest: \"%RESPONSE_TX_DURATION%\", \
    wire: [\"%UPSTREAM_WIRE_BYTES_SENT%\", \"%UPSTREAM_WIRE_BYTES_RECEIVED%\"]}";

/// A world before the endpoint `at`, and where it logs.
async fn world(at: &str, up: Http, folder: &std::path::Path) -> (World, std::path::PathBuf) {
    let log = folder.join("log");
    let access_log = format!("access_log: {{path: '{}', format: {{json: {FORMAT}}}}}\n", log.display());
    let protocol = format!("protocol: {}", up.protocol());
    let yaml = one_service(&[&protocol], &[(at, "v1")]);
    (World::start(&format!("{access_log}{yaml}")).await, log)
}

async fn lines(log: &std::path::Path, count: usize) -> Vec<Value> {
    let lines = logged(log, count).await;
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn moments_are_in_their_order_and_connections_are_told_apart_whichever_http_is_spoken() {
    run(async || {
        for (down, up) in Http::matrix() {
            let case = format!("{down:?} to {up:?}");
            let folder = tempfile::tempdir().expect("a folder");
            let upstream = Upstream::start("v1").await;
            let (world, log) = world(&upstream.at(), up, folder.path()).await;
            let mut caller = Client::connect(down, world.addr("in")).await;
            for _ in 0..2 {
                assert_eq!(caller.send(post("/a", "a body")).await.status, 200, "{case}");
            }
            let mut another = Client::connect(down, world.addr("in")).await;
            another.send(post("/a", "a body")).await;
            let lines = lines(&log, 3).await;
            let connections: Vec<u64> =
                lines.iter().map(|line| line["connection"].as_u64().expect("a number")).collect();
            assert!(
                connections[0] == connections[1] && connections[1] != connections[2],
                "{case}: {lines:?}"
            );
            for line in &lines {
                assert_eq!(line["remote"], upstream.at(), "{case}");
                let local: std::net::SocketAddr =
                    line["local"].as_str().expect("a text").parse().expect("an address");
                assert!(local.ip().is_loopback() && local != upstream.addr(), "{case}: {line}");
                let times: Vec<u64> = line["times"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|time| time.as_u64().expect("a number"))
                    .collect();
                assert!(times.is_sorted() && line["rest"].as_u64() <= Some(times[3]), "{case}: {line}");
            }
            assert_eq!(lines[0]["local"], lines[1]["local"], "{case}: one connection upstream");
        }
    });
}

#[test]
fn trailers_of_a_call_are_logged() {
    run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::handling(async |request| {
            http::Response::new(upstream::echoed(request, Some(upstream::grpc_ok())))
        })
        .await;
        let (world, log) = world(&upstream.at(), Http::Two, folder.path()).await;
        let mut caller = Client::connect(Http::Two, world.addr("in")).await;
        let answer = caller.send(grpc_call("/p.S/M", b"payload")).await;
        assert_eq!(answer.grpc_status(), Some("0"));
        assert_eq!(lines(&log, 1).await[0]["status"], "0");
    });
}

/// What an upstream read and wrote for each request: frames of its stream, or all of HTTP/1.
type Told = Rc<RefCell<Vec<[usize; 2]>>>;

async fn http1_upstream(mut raw: Raw, told: Told) -> String {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    while let Some(head) = raw.read_head().await {
        let length = header_of(&head, "content-length").expect("a length").parse().expect("a number");
        raw.read_exact(length).await;
        told.borrow_mut().push([head.len() + length, ANSWER.len()]);
        raw.write(ANSWER).await;
    }
    String::new()
}

async fn http2_upstream(raw: Raw, told: Told) -> String {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut stream = raw.into_stream();
    let mut head = [0; 24];
    let (mut read, mut awaited) = (0, 24);
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.expect("written");
    // The connection stays to the end of the test.
    while stream.read_exact(&mut head[..awaited]).await.is_ok() {
        if std::mem::replace(&mut awaited, 9) == 24 {
            continue; // the preface
        }
        let [_, _, length, kind, flags, _, _, _, number, ..] = head;
        stream.read_exact(&mut vec![0; length.into()]).await.expect("a payload");
        match kind {
            SETTINGS if flags & flag::ACK == 0 => {
                stream.write_all(&frame(SETTINGS, flag::ACK, 0, b"")).await.expect("written");
            }
            DATA | HEADERS => read += 9 + usize::from(length),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & flag::END_STREAM != 0 {
            // `:status: 200` in one byte of HPACK's table.
            let head = frame(HEADERS, flag::END_HEADERS, number, b"\x88");
            let answer = [head, frame(DATA, flag::END_STREAM, number, b"hello")].concat();
            told.borrow_mut().push([std::mem::take(&mut read), answer.len()]);
            stream.write_all(&answer).await.expect("written");
        }
    }
    String::new()
}

#[test]
fn bytes_on_the_wire_are_those_that_the_upstream_read_and_wrote() {
    run(async || {
        for up in Http::BOTH {
            let folder = tempfile::tempdir().expect("a folder");
            let told = Told::default();
            let known = told.clone();
            let upstream = RawUpstream::start(move |raw, _| {
                let told = known.clone();
                async move {
                    match up {
                        Http::One => http1_upstream(raw, told).await,
                        Http::Two => http2_upstream(raw, told).await,
                    }
                }
            })
            .await;
            let (world, log) = world(&upstream.at(), up, folder.path()).await;
            let mut caller = Client::connect(Http::One, world.addr("in")).await;
            for body in ["a body", "and a longer one"] {
                assert_eq!(caller.send(post("/a", body)).await.status, 200, "{up:?}");
            }
            let logged: Vec<[usize; 2]> = lines(&log, 2)
                .await
                .iter()
                .map(|line| serde_json::from_value(line["wire"].clone()).expect("two numbers"))
                .collect();
            assert_eq!(logged, *told.borrow(), "{up:?}");
        }
    });
}
