//! Proof of our own I/O type: the deadlines of a connection, and its bytes, as a caller sees them.
//!
//! Deadlines are configured short. A proof that something does not happen waits for several times the deadline.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/engine.rs"]
mod engine;
#[path = "common/traffic.rs"]
mod traffic;

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{DEADLINE, Engine, eventually, on_control_thread};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use traffic::{Answering, Upstream, Wire, answer, grpc_call};
use weir::runtime::clock::SWEEP;

/// Bounds that a test sets. Coarse time may take a sweep from them and adds at most two.
const SHORT: Duration = Duration::from_millis(300);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: m\r\n\r\n";

/// A proxy with `limits`, an access log of flags and details, and one upstream a wire.
struct World {
    engine: Engine,
    log: tempfile::NamedTempFile,
    _upstreams: [Upstream; 2],
}

impl World {
    fn start(limits: &str, answering: fn(Wire) -> Answering) -> World {
        let log = tempfile::NamedTempFile::new().unwrap();
        let upstreams =
            [Wire::Http1, Wire::Http2].map(|wire| Upstream::start(wire, move |_| answering(wire)));
        let main = format!(
            "listeners: [{{name: predict, address: '127.0.0.1:0', service: m}}]\nlimits: {{{limits}}}\n\
             access_log: {{path: '{}', format: \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"}}\n\
             services: [{{name: m, endpoints: [{{http: '{}', grpc: '{}', labels: {{version: v1}}}}]}}]\n",
            log.path().display(),
            upstreams[0].address,
            upstreams[1].address
        );
        World { engine: Engine::start(1, &main, ""), log, _upstreams: upstreams }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.engine.address("predict")).await.unwrap()
    }

    async fn dial_http2(&self) -> h2::client::SendRequest<Bytes> {
        let (sender, connection) = h2::client::handshake(self.dial().await).await.unwrap();
        tokio::task::spawn_local(connection);
        sender
    }

    async fn logged(&self, line: &str) {
        let read = || std::fs::read_to_string(self.log.path()).unwrap();
        eventually(&format!("the log says {line}"), || read().lines().any(|logged| logged == line)).await;
    }
}

fn at_once(wire: Wire) -> Answering {
    Box::pin(async move { answer(wire, &[("x-padding", "0123456789")], "body") })
}

fn never(_: Wire) -> Answering {
    Box::pin(std::future::pending())
}

/// A head and some bytes, and then nothing more.
fn stalls(wire: Wire) -> Answering {
    Box::pin(async move {
        let first =
            futures_util::stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"some"))) });
        let more = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        answer(wire, &[], "").map(|_| http_body_util::StreamBody::new(more).boxed_unsync())
    })
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut all = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut all)).await.expect("an end in time").unwrap();
    all
}

/// Reads one whole answer with `content-length`, and no byte more.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\nbody") {
        let byte = timeout(DEADLINE, stream.read_u8()).await.expect("an answer in time").unwrap();
        all.push(byte);
    }
    String::from_utf8(all).unwrap()
}

#[test]
fn a_head_that_stalls_or_trickles_gets_408_and_a_close_counted_from_its_first_byte() {
    on_control_thread(async {
        let world = World::start("head_timeout: 300ms", at_once);
        for trickle in [false, true] {
            let mut stream = world.dial().await;
            let started = Instant::now();
            stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
            let (mut read, mut write) = stream.split();
            let trickling = async {
                // A byte now and then must not help; writing fails once the other side has closed.
                while trickle && write.write_all(b"P").await.is_ok() {
                    sleep(SHORT / 6).await;
                }
                std::future::pending::<()>().await;
            };
            let mut reply = Vec::new();
            tokio::select! {
                () = trickling => {}
                // A reset after the reply is as good as an end: bytes of ours were still on their way.
                _ = timeout(DEADLINE, read.read_to_end(&mut reply)) => {}
            }
            let reply = String::from_utf8(reply).unwrap();
            assert!(reply.starts_with("HTTP/1.1 408 "), "trickle {trickle}: {reply:?}");
            assert!(reply.contains("connection: close\r\n"), "{reply}");
            assert!(started.elapsed() >= SHORT - SWEEP, "not before its time: {:?}", started.elapsed());
            assert!(started.elapsed() < Duration::from_secs(2));
        }
        assert_eq!(
            world.engine.metric("weir_limit_exceeded_total{limit=\"head_timeout\""),
            2.0,
            "each counted once"
        );
    });
}

#[test]
fn idle_connections_outlive_the_head_deadline_by_far() {
    on_control_thread(async {
        let world = World::start("head_timeout: 100ms", at_once);
        let (mut used, mut unused) = (world.dial().await, world.dial().await);
        let mut http2 = world.dial_http2().await;
        for _ in 0..2 {
            used.write_all(GET).await.unwrap();
            assert!(read_answer(&mut used).await.starts_with("HTTP/1.1 200"));
            let got = grpc_call(&mut http2, &[], &Bytes::from_static(b"\0\0\0\0\0")).await.unwrap();
            assert_eq!(got.trailers["grpc-status"], "0");
            let closed = timeout(SHORT * 3, used.read_u8()).await;
            assert!(closed.is_err(), "closed while idle: {closed:?}");
        }
        unused.write_all(GET).await.unwrap();
        assert!(
            read_answer(&mut unused).await.starts_with("HTTP/1.1 200"),
            "silence before a head is no head"
        );
    });
}

#[test]
fn an_http2_preface_without_a_request_is_held_to_the_head_deadline() {
    on_control_thread(async {
        let world = World::start("head_timeout: 300ms", at_once);
        let mut stream = world.dial().await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut all = Vec::new();
        timeout(Duration::from_secs(2), stream.read_to_end(&mut all)).await.expect("closed in time").unwrap();
        assert!(!all.starts_with(b"HTTP/1.1"), "no HTTP/1 words for a caller that speaks HTTP/2");
    });
}

#[test]
fn an_idle_connection_is_closed_after_its_idle_time_and_not_before() {
    on_control_thread(async {
        let world = World::start("downstream_idle: 500ms", at_once);
        let mut http1 = world.dial().await;
        http1.write_all(GET).await.unwrap();
        read_answer(&mut http1).await;
        let mut http2 = world.dial_http2().await;
        grpc_call(&mut http2, &[], &Bytes::from_static(b"\0\0\0\0\0")).await.unwrap();
        let started = Instant::now();
        assert_eq!(read_to_end(&mut http1).await, "", "a plain end");
        assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
        let gone = async {
            loop {
                match http2.clone().ready().await {
                    Ok(_) => sleep(SHORT / 10).await,
                    Err(error) => return error,
                }
            }
        };
        let error = timeout(Duration::from_secs(2), gone).await.expect("the HTTP/2 connection ends too");
        let polite = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        assert!(polite, "{error:?}");
        eventually("both are counted", || {
            world.engine.metric("envoy_http_downstream_cx_idle_timeout") == 2.0
        })
        .await;
        eventually("none is open", || world.engine.server.borrow().load() == (0, 0)).await;
    });
}

#[test]
fn a_request_without_progress_gets_504_stream_timeout_and_the_flag_si() {
    on_control_thread(async {
        let world = World::start("stream_idle: 300ms", never);
        let mut http1 = world.dial().await;
        http1.write_all(b"GET / HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n").await.unwrap();
        let reply = read_to_end(&mut http1).await;
        assert!(reply.starts_with("HTTP/1.1 504 ") && reply.ends_with("\r\n\r\nstream timeout"), "{reply}");
        world.logged("504 SI stream_idle_timeout").await;
        let mut http2 = world.dial_http2().await;
        let got = grpc_call(&mut http2, &[], &Bytes::from_static(b"\0\0\0\0\0")).await.unwrap();
        assert_eq!(
            (&got.headers["grpc-status"], &got.headers["grpc-message"]),
            (&"14".parse().unwrap(), &"stream timeout".parse().unwrap())
        );
        world.logged("200 SI stream_idle_timeout").await;
        assert_eq!(world.engine.metric("weir_limit_exceeded_total{limit=\"stream_idle\""), 2.0);
        eventually("upstreams are let go", || world.engine.metric("envoy_cluster_upstream_rq_active") == 0.0)
            .await;
    });
}

#[test]
fn a_caller_whose_body_stalls_gets_408_and_the_connections_end() {
    on_control_thread(async {
        let world = World::start("stream_idle: 300ms", never);
        let mut stream = world.dial().await;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: m\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
        let reply = read_to_end(&mut stream).await;
        assert!(reply.starts_with("HTTP/1.1 408 ") && reply.ends_with("\r\n\r\nstream timeout"), "{reply}");
        assert!(reply.contains("\r\nconnection: close\r\n"), "{reply}");
        world.logged("408 SI stream_idle_timeout").await;
    });
}

#[test]
fn an_answer_that_stalls_is_cut_visibly() {
    on_control_thread(async {
        let world = World::start("stream_idle: 300ms", stalls);
        let mut http1 = world.dial().await;
        http1.write_all(GET).await.unwrap();
        let reply = read_to_end(&mut http1).await;
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("4\r\nsome\r\n"), "{reply}");
        assert!(!reply.ends_with("0\r\n\r\n"), "no clean end: {reply:?}");
        world.logged("200 SI stream_idle_timeout").await;
        let mut http2 = world.dial_http2().await;
        let cut = grpc_call(&mut http2, &[], &Bytes::from_static(b"\0\0\0\0\0")).await.err().unwrap();
        assert!(cut.is_reset() && cut.is_remote(), "{cut:?}");
    });
}

#[test]
fn bytes_are_counted_exactly_both_ways() {
    on_control_thread(async {
        let world = World::start("", at_once);
        let mut stream = world.dial().await;
        let mut received = 0;
        for _ in 0..5 {
            stream.write_all(GET).await.unwrap();
            received += read_answer(&mut stream).await.len();
        }
        drop(stream);
        let sent = (GET.len() * 5) as f64;
        eventually("all is counted", || {
            let engine = &world.engine;
            let count = |way: &str| engine.metric(&format!("envoy_http_downstream_cx_{way}_bytes_total"));
            (count("rx"), count("tx")) == (sent, received as f64)
        })
        .await;
    });
}
