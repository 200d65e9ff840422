//! Proof of the HTTP/2 fan-in: callers that do not read stop nobody else, and cost a bounded amount of memory.
//!
//! The proxy is a process of its own, so its memory is its own.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/child.rs"]
mod child;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/traffic.rs"]
mod traffic;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::Weir;
use engine::{DEADLINE, on_control_thread, sum_of};
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use traffic::{Upstream, Wire, answer, grpc_call, made_as_read};

/// limits.md: a request on another connection completes its body within 2 s.
const BODY_WITHIN: Duration = Duration::from_secs(2);
/// limits.md: memory grows by at most 64 MiB.
const MAY_GROW: u64 = 64 << 20;
/// The body of a prediction with an image in it.
const BODY: usize = 602 << 10;

fn upstream(wire: Wire) -> Upstream {
    Upstream::start(wire, move |request| {
        Box::pin(async move {
            if request.headers().contains_key("x-unread") {
                std::future::pending::<()>().await; // its body stays in the windows
            }
            if request.headers().contains_key("x-endless") {
                return answer(wire, &[], "").map(|_| made_as_read(None, 16 << 10));
            }
            answer(wire, &[], vec![b'y'; BODY])
        })
    })
}

fn start() -> (Weir, [Upstream; 2]) {
    let upstreams = [upstream(Wire::Http1), upstream(Wire::Http2)];
    let [http, grpc] = upstreams.each_ref().map(|upstream| upstream.address);
    let services = format!(
        "services: [{{name: m, endpoints: [{{http: '{http}', grpc: '{grpc}', labels: {{version: v1}}}}]}}]\n"
    );
    (Weir::start(&format!("workers: 2\n{services}"), ""), upstreams)
}

/// How a caller does not read.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Unread {
    /// Its connection reads, but its streams are never asked for: their windows stay shut.
    Streams,
    /// It grants all that HTTP/2 can, then reads nothing off its socket.
    Socket,
}

/// A connection whose answers nobody reads.
struct Reluctant {
    heads: Vec<Result<http::Response<RecvStream>, h2::Error>>,
    _sender: SendRequest<Bytes>,
    _reads: Rc<Cell<bool>>,
}

impl Reluctant {
    async fn open(address: SocketAddr, streams: usize, how: Unread) -> Reluctant {
        let mut builder = h2::client::Builder::new();
        if how == Unread::Socket {
            builder.initial_window_size((1 << 31) - 1).initial_connection_window_size((1 << 31) - 1);
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let reads = Rc::new(Cell::new(true));
        let (goes_on, mut connection) = (reads.clone(), Box::pin(connection));
        spawn_local(std::future::poll_fn(move |cx| {
            if !goes_on.get() {
                return std::task::Poll::Pending;
            }
            connection.as_mut().poll(cx).map(drop)
        }));
        let mut waiting: Vec<ResponseFuture> = Vec::new();
        for _ in 0..streams {
            sender = sender.ready().await.unwrap();
            let request = Request::post("http://m/tensorflow.serving.PredictionService/Predict")
                .header("content-type", "application/grpc")
                .header("x-endless", "1");
            waiting.push(sender.send_request(request.body(()).unwrap(), true).unwrap().0);
        }
        let mut heads = Vec::new();
        for response in waiting {
            heads.push(timeout(DEADLINE, response).await.expect("a head in time"));
        }
        reads.set(how == Unread::Streams);
        Reluctant { heads, _sender: sender, _reads: reads }
    }
}

/// Whole bodies on connections of their own, one after the other, each within its time.
async fn others_are_served(weir: &Weir) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let started = Instant::now();
        let stream = TcpStream::connect(weir.address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let (mut sender, connection) = builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 20)
            .handshake(stream)
            .await
            .unwrap();
        spawn_local(connection);
        let message = Bytes::from_static(b"\0\0\0\0\0");
        let got = timeout(BODY_WITHIN, grpc_call(&mut sender, &[], &message)).await;
        let got = got.expect("a body within 2 s").unwrap_or_else(|error| panic!("{error}, {}", weir.log()));
        let whole =
            got.body.len() == BODY && got.trailers.get("grpc-status").is_some_and(|status| status == "0");
        assert!(whole, "{} bytes, {:?} {:?}", got.body.len(), got.headers, got.trailers);
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

fn unread_streams_stop_nobody(how: Unread) {
    on_control_thread(async {
        let (weir, _upstreams) = start();
        others_are_served(&weir).await;
        let before = weir.memory();
        let mut reluctant = vec![Reluctant::open(weir.address, 24, how).await];
        let slowest = others_are_served(&weir).await;
        let grown = weir.memory().saturating_sub(before) >> 10;
        println!("{how:?}: 24 streams: others took {slowest:?} at most, memory grew by {grown} KiB");
        for _ in 0..10 {
            reluctant.push(Reluctant::open(weir.address, 100, how).await);
        }
        let mut most = 0;
        let mut slowest = Duration::ZERO;
        for _ in 0..3 {
            slowest = slowest.max(others_are_served(&weir).await);
            most = most.max(weir.memory().saturating_sub(before));
        }
        println!(
            "{how:?}: 1,024 streams: others took {slowest:?} at most, memory grew by {} KiB",
            most >> 10
        );
        assert!(most <= MAY_GROW, "memory grew by {} KiB", most >> 10);
        let until = Instant::now() + DEADLINE;
        loop {
            let page = weir.page("/metrics").await.1;
            let (resets, held) =
                (sum_of(&page, "weir_buffer_resets_total"), sum_of(&page, "weir_buffered_bytes"));
            // The gauge is brought up to date every second.
            if resets > 0.0 && held > 0.0 && held <= (64 << 20) as f64 {
                println!("{how:?}: {resets} streams reset, {held} bytes held");
                break;
            }
            assert!(Instant::now() < until, "{resets} streams reset, {held} bytes held");
            sleep(Duration::from_millis(50)).await;
        }
        let answered = reluctant.iter().flat_map(|one| &one.heads).filter(|head| head.is_ok()).count();
        assert!(answered > 500, "{answered} of 1,024 streams began: that is no proof");
    });
}

#[test]
fn streams_that_are_never_read_stop_no_other_body_and_are_bounded() {
    unread_streams_stop_nobody(Unread::Streams);
}

#[test]
fn connections_that_are_never_read_stop_no_other_body_and_are_bounded() {
    unread_streams_stop_nobody(Unread::Socket);
}

/// As much as a caller may send ahead, on every stream of ten connections.
#[test]
fn uploads_that_the_upstream_does_not_read_stop_no_other_and_are_bounded() {
    on_control_thread(async {
        let (weir, _upstreams) = start();
        others_are_served(&weir).await;
        let before = weir.memory();
        let (mut open, mut senders) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let stream = TcpStream::connect(weir.address).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
            spawn_local(connection);
            for _ in 0..100 {
                sender = sender.ready().await.unwrap();
                let request = Request::post("http://m/tensorflow.serving.PredictionService/Predict")
                    .header("content-type", "application/grpc")
                    .header("x-unread", "1");
                let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
                body.send_data(Bytes::from_static(&[0; 250 << 10]), false).unwrap();
                open.push((response, body));
            }
            senders.push(sender);
        }
        let (mut most, mut slowest) = (0, Duration::ZERO);
        for _ in 0..3 {
            slowest = slowest.max(others_are_served(&weir).await);
            most = most.max(weir.memory().saturating_sub(before));
        }
        println!("1,000 uploads: others took {slowest:?} at most, memory grew by {} KiB", most >> 10);
        assert!(most <= MAY_GROW, "memory grew by {} KiB", most >> 10);
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Three uploads in pieces of so many bytes, behind each of which so much follows that says nothing that both fill a read.
/// All of it has been read when this returns.
async fn uploads_in_pieces(to: SocketAddr, pieces: [usize; 3]) -> TcpStream {
    let mut caller = TcpStream::connect(to).await.unwrap();
    let mut all = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    // POST http://m/ with two fields.
    let head = b"\x83\x86\x84\x01\x01m\x0f\x10\x10application/grpc\x00\x08x-unread\x011";
    let nothing = frame(0x77, 0, 0, &[0; 13 << 10]).repeat(4);
    for (id, piece) in [1, 3, 5].into_iter().zip(pieces) {
        all.extend(frame(1, 4, id, head));
        let count = (240 << 10) / piece;
        let piece = frame(0, 0, id, &vec![0; piece]);
        for _ in 0..count {
            all.extend_from_slice(&piece);
            all.extend_from_slice(&nothing);
        }
    }
    all.extend(frame(6, 0, 0, b"all read"));
    let (mut reader, mut writer) = caller.split();
    let read = async {
        let mut read = Vec::new();
        while !read.windows(8).any(|part| part == b"all read") {
            assert!(reader.read_buf(&mut read).await.unwrap() > 0, "the connection has ended: {read:x?}");
        }
    };
    let both = async { tokio::join!(read, writer.write_all(&all)).1.unwrap() };
    timeout(DEADLINE, both).await.expect("all is read in time");
    caller
}

/// What is read at once is one buffer: a piece of it that stays must not keep the rest.
fn pieces_that_stay_keep_little_more_than_themselves(pieces: [usize; 3]) {
    const CALLERS: usize = 16;
    on_control_thread(async {
        let (weir, _upstreams) = start();
        others_are_served(&weir).await;
        let before = weir.memory();
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            callers.push(uploads_in_pieces(weir.address, pieces).await);
        }
        let sent = (CALLERS * 3 * (239 << 10)) as f64;
        let until = Instant::now() + DEADLINE;
        loop {
            let held = sum_of(&weir.page("/metrics").await.1, "weir_buffered_bytes");
            // The upstream's windows have taken some of it.
            if held > sent / 2.0 {
                let grown = weir.memory().saturating_sub(before);
                println!("{held} bytes of {sent} held, memory grew by {} KiB", grown >> 10);
                assert!(grown <= 3 * (sent as u64), "memory grew by {} KiB", grown >> 10);
                break;
            }
            assert!(Instant::now() < until, "{held} bytes of {sent} held: that is no proof");
            sleep(Duration::from_millis(50)).await;
        }
        others_are_served(&weir).await;
    });
}

#[test]
fn small_pieces_that_the_upstream_does_not_read_keep_little_more_than_themselves() {
    pieces_that_stay_keep_little_more_than_themselves([4 << 10, 8 << 10, (12 << 10) - 1]);
}

#[test]
fn large_pieces_that_the_upstream_does_not_read_keep_little_more_than_themselves() {
    pieces_that_stay_keep_little_more_than_themselves([12 << 10, 14 << 10, 16 << 10]);
}
