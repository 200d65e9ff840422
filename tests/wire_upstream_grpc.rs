//! gRPC messages larger than any buffer: they are streamed, whatever length they announce.
//!
//! The message has 2^31 - 1 bytes, the most that gRPC's libraries take, and all of them pass each way.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use common::world::client::connect_from;
use common::world::raw::RawUpstream;
use common::world::{World, one_service, run, soon, within};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::task::spawn_local;

/// The message's bytes behind its prefix, sent each way.
const BYTES: usize = i32::MAX as usize;
const PIECE: usize = 32 << 10;
/// docs/limits.md: whatever the size of bodies, memory grows by no more.
const GROWTH: usize = 16 << 20;
/// Bytes after which the message repeats itself: a prime, so that nothing that anybody buffers by is a multiple of it.
const PERIOD: usize = 65_521;
/// All of it takes some 6 s on a quiet machine, without optimisation.
const PATIENCE: Duration = Duration::from_secs(100);

/// The bytes from `at` on, at most `PERIOD` of them: each depends on its place.
fn bytes_at(at: usize, length: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        let byte = |i: usize| ((i % PERIOD) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        (0..2 * PERIOD).map(byte).collect::<Vec<u8>>().into()
    });
    pattern.slice(at % PERIOD..at % PERIOD + length)
}

/// Sends `piece` when the stream's window has room for it.
async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.expect("the stream lives").expect("no error");
        stream.send_data(piece.split_to(room.min(piece.len())), false).expect("sent");
    }
}

/// The next piece, whose window is given back.
async fn receive(body: &mut RecvStream) -> Option<Bytes> {
    let piece = body.data().await?.expect("whole");
    body.flow_control().release_capacity(piece.len()).expect("released");
    Some(piece)
}

/// Sends back what comes.
async fn answer(mut body: RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let response = http::Response::builder().header("content-type", "application/grpc");
    let mut down = respond.send_response(response.body(()).expect("a response"), false).expect("a stream");
    while let Some(piece) = receive(&mut body).await {
        send(&mut down, piece).await;
    }
    let status = (http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"));
    down.send_trailers(HeaderMap::from_iter([status])).expect("sent");
}

/// Bytes of this process that are in memory: proxy, upstream and caller together.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn a_message_of_two_gibibytes_passes_both_ways_and_is_never_gathered() {
    run(async || {
        let echo = RawUpstream::start(|raw, _| async move {
            let stream = raw.into_stream();
            stream.set_nodelay(true).expect("no delay");
            let mut server = h2::server::handshake(stream).await.expect("a handshake");
            while let Some(Ok((request, respond))) = server.accept().await {
                spawn_local(answer(request.into_body(), respond));
            }
            String::new()
        })
        .await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&echo.at(), "v1")])).await;
        let (sender, connection) =
            h2::client::handshake(connect_from(None, world.addr("in")).await).await.expect("a handshake");
        spawn_local(async move { drop(connection.await) });
        let request = http::Request::post("http://x.default.svc.cluster.local/s/m")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut sender = soon("room for a stream", sender.ready()).await.expect("ready");
        let (response, mut up) = sender.send_request(request, false).expect("a stream");
        // Not compressed, 2^31 - 1 bytes.
        send(&mut up, Bytes::from_static(&[0, 0x7f, 0xff, 0xff, 0xff])).await;
        let mut down = soon("a head", response).await.expect("a head").into_body();
        let mut prefix = Vec::new();
        while prefix.len() < 5 {
            prefix.extend(soon("the prefix", receive(&mut down)).await.expect("more"));
        }
        assert_eq!(prefix, [0, 0x7f, 0xff, 0xff, 0xff], "passed on while the rest has not come");
        let sending = spawn_local(async move {
            for at in (0..BYTES).step_by(PIECE) {
                send(&mut up, bytes_at(at, PIECE.min(BYTES - at))).await;
            }
            up.send_data(Bytes::new(), true).expect("sent");
        });
        let (mut received, mut settled, mut most) = (0, 0, 0);
        within(PATIENCE, "all of it", async {
            while let Some(piece) = receive(&mut down).await {
                let before = received;
                for part in piece.chunks(PIECE) {
                    assert!(part == bytes_at(received, part.len()), "a byte is wrong behind {received}");
                    received += part.len();
                }
                // What buffers and allocator take to begin with is had by then.
                if received < BYTES / 16 {
                    settled = resident();
                } else if received >> 20 != before >> 20 {
                    most = most.max(resident());
                }
            }
        })
        .await;
        assert_eq!(received, BYTES);
        let trailers = soon("trailers", down.trailers()).await.expect("whole").expect("some");
        assert_eq!(trailers["grpc-status"], "0");
        sending.await.expect("all was sent");
        assert!(most > 0 && most < settled + GROWTH, "grew from {settled} to {most} bytes");
        world.counts("http_downstream_rq_active", 0.0).await;
    });
}
