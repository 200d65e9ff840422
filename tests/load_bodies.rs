//! Bodies are streamed, never gathered.
//!
//! The proxy is a process of its own, so its memory is its own. Every byte of a body depends on its place in it, so
//! one that is lost, doubled or moved shows.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/child.rs"]
mod child;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/traffic.rs"]
mod traffic;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::Weir;
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use traffic::{Upstream, Wire, answer};
use weir::runtime::worker::local_runtime;

const BYTES: u64 = 500 << 20;
const PIECE: usize = 64 << 10;
/// limits.md: memory grows by at most 16 MiB.
const MAY_GROW: u64 = 16 << 20;

/// `BYTES` bytes, made as they are asked for, and for gRPC the status behind them.
struct Long {
    at: u64,
    status: bool,
}

impl Long {
    fn new(wire: Wire) -> Long {
        Long { at: 0, status: wire == Wire::Http2 }
    }
}

/// Bytes after which a body repeats itself: a prime, so that nothing that anybody buffers by is a multiple of it.
const PERIOD: usize = 1_048_573;

/// What the bytes from `at` on are, at most `PIECE`.
fn bytes_at(at: u64, length: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        let word = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        let period: Vec<u8> = (0..PERIOD as u64).map(word).collect();
        [&period[..], &period[..PIECE]].concat().into()
    });
    let from = (at % PERIOD as u64) as usize;
    pattern.slice(from..from + length)
}

impl Body for Long {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(if self.at < BYTES {
            let piece = bytes_at(self.at, PIECE);
            self.at += PIECE as u64;
            Some(Ok(Frame::data(piece)))
        } else if std::mem::take(&mut self.status) {
            let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            Some(Ok(Frame::trailers(status)))
        } else {
            None
        })
    }
}

/// Checks pieces of a long body as they come.
#[derive(Default)]
struct Checked {
    at: u64,
}

impl Checked {
    fn take(&mut self, piece: &[u8]) {
        for part in piece.chunks(PIECE) {
            assert!(part == bytes_at(self.at, part.len()), "a byte is wrong behind {}", self.at);
            self.at += part.len() as u64;
        }
    }

    async fn all(mut body: impl Body<Data = Bytes, Error: std::fmt::Debug> + Unpin) -> (u64, HeaderMap) {
        let (mut checked, mut trailers) = (Checked::default(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(piece) => checked.take(&piece),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
        (checked.at, trailers)
    }
}

/// Takes a long body, says how long it was, and sends one back.
fn upstream(wire: Wire) -> Upstream {
    Upstream::start(wire, move |request| {
        Box::pin(async move {
            let long = request.headers().contains_key("x-long");
            let received = Checked::all(request.into_body()).await.0.to_string();
            let answer = answer(wire, &[("x-received", &received)], "short");
            if long { answer.map(|_| Long::new(wire).boxed_unsync()) } else { answer }
        })
    })
}

fn start() -> (Weir, [Upstream; 2]) {
    let upstreams = [upstream(Wire::Http1), upstream(Wire::Http2)];
    let [http, grpc] = upstreams.each_ref().map(|upstream| upstream.address);
    let services = format!(
        "services: [{{name: m, endpoints: [{{http: '{http}', grpc: '{grpc}', labels: {{version: v1}}}}]}}]\n"
    );
    (Weir::start(&format!("workers: 1\n{services}"), ""), upstreams)
}

/// Sends a long body and reads a long answer; `long`: only then.
async fn exchange(wire: Wire, weir: &Weir, long: bool) {
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(weir.address).await.unwrap());
    let body = if long {
        Long::new(Wire::Http1).boxed_unsync()
    } else {
        http_body_util::Empty::new().boxed_unsync()
    };
    let mut request =
        Request::post("http://m/tensorflow.serving.PredictionService/Predict").header("host", "m");
    if wire == Wire::Http2 {
        request = request.header("content-type", "application/grpc").header("te", "trailers");
    }
    if long {
        request = request.header("x-long", "1");
    }
    let request = request.body(body).unwrap();
    let response = match wire {
        Wire::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            spawn_local(connection);
            sender.send_request(request).await.unwrap()
        }
        Wire::Http2 => {
            let (mut sender, connection) =
                hyper::client::conn::http2::Builder::new(traffic::Here).handshake(io).await.unwrap();
            spawn_local(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    assert_eq!(response.status(), 200);
    let wanted = if long { BYTES } else { 0 };
    assert_eq!(response.headers()["x-received"], wanted.to_string().as_str(), "what went up is what arrived");
    if long {
        let (received, trailers) = Checked::all(response.into_body()).await;
        assert_eq!(received, BYTES, "what was sent is what came down");
        if wire == Wire::Http2 {
            assert_eq!(trailers["grpc-status"], "0");
        }
    }
}

fn long_bodies_pass_in_little_memory(wire: Wire) {
    local_runtime().unwrap().block_on(async {
        let (weir, _upstreams) = start();
        exchange(wire, &weir, false).await;
        let (before, most) = (weir.memory(), Rc::new(Cell::new(0)));
        let started = Instant::now();
        let mut passing = std::pin::pin!(exchange(wire, &weir, true));
        loop {
            tokio::select! {
                () = &mut passing => break,
                () = tokio::time::sleep(Duration::from_millis(20)) => most.set(most.get().max(weir.memory())),
            }
        }
        let grown = most.get().saturating_sub(before);
        println!(
            "{wire:?}: 500 MiB up, 500 MiB down in {:?}; memory grew by {} KiB",
            started.elapsed(),
            grown >> 10
        );
        assert!(grown <= MAY_GROW, "memory grew by {} KiB", grown >> 10);
    });
}

#[test]
fn half_a_gigabyte_each_way_passes_unchanged_over_http1() {
    long_bodies_pass_in_little_memory(Wire::Http1);
}

#[test]
fn half_a_gigabyte_each_way_passes_unchanged_over_grpc() {
    long_bodies_pass_in_little_memory(Wire::Http2);
}
