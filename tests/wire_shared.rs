//! Callers that share one HTTP/2 connection to an upstream: what one of them cancels, breaks off or gets wrong costs the
//! others nothing, and all of it is still heard of upstream.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod frames;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::frames::{
    AUTHORITY, Frames, Outcome, Then, block, code, continuation, data, flag, get, head, headers, literal,
    open, remembered, reset, whole, window_update,
};
use common::world::client::{Client, get as get_request};
use common::world::raw::Raw;
use common::world::upstream::{Seen, Upstream, empty, full};
use common::world::{Http, World, free_port, one_service, run, until};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;
use weir::runtime::worker::local_runtime;

/// How long an attack lasts.
const ATTACK: Duration = Duration::from_secs(3);
/// Streams that are opened and reset together, and the time between the two.
const BATCH: u32 = 90;
const RESET_AFTER: Duration = Duration::from_millis(5);
/// Callers beside the attack, each of which waits for slow answers.
const BYSTANDERS: usize = 8;
/// The time of a slow answer.
const SLOW: Duration = Duration::from_millis(200);
/// How often the server looks at its connections: one that is busy in between. Whatever is opened and reset within
/// that time it sees at once.
const LOOKS_EACH: Duration = Duration::from_millis(8);
/// A server that did not run for so long has seen what no proxy could have kept apart: the attack is begun anew.
const STALLED: Duration = Duration::from_millis(35);
const ROUNDS: usize = 5;

/// An HTTP/2 server with h2's own limits, on a thread of its own.
struct Server {
    address: SocketAddr,
    seen: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    /// Connections that it ended as a flood, or that broke the protocol.
    lost: AtomicUsize,
    requests: AtomicUsize,
    /// Milliseconds: the longest time between two looks.
    pause: AtomicU64,
}

impl Server {
    fn start() -> Server {
        let seen = Arc::<Counts>::default();
        let (tell, told) = std::sync::mpsc::channel();
        let of_thread = seen.clone();
        std::thread::spawn(move || {
            local_runtime().expect("a runtime").block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("an address")).expect("the test waits");
                while let Ok((stream, _)) = listener.accept().await {
                    of_thread.connections.fetch_add(1, Ordering::Relaxed);
                    spawn_local(serve(stream, of_thread.clone()));
                }
            });
        });
        Server { address: told.recv().expect("a server"), seen }
    }

    fn stalled(&self) -> bool {
        Duration::from_millis(self.seen.pause.load(Ordering::Relaxed)) >= STALLED
    }
}

async fn serve(stream: TcpStream, seen: Arc<Counts>) {
    stream.set_nodelay(true).expect("no delay");
    let Ok(mut server) = h2::server::handshake(stream).await else { return };
    let mut looked = Instant::now();
    loop {
        sleep(LOOKS_EACH).await;
        let pause = u64::try_from(looked.elapsed().as_millis()).expect("milliseconds");
        seen.pause.fetch_max(pause, Ordering::Relaxed);
        looked = Instant::now();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(next) = server.poll_accept(&mut context) {
            match next {
                Some(Ok((request, respond))) => {
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                    spawn_local(answer(request, respond));
                }
                Some(Err(error)) if !error.is_io() => {
                    seen.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                _ => return,
            }
        }
    }
}

/// `/slow` is answered in time, all else never.
async fn answer(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    if request.uri().path() == "/slow" {
        sleep(SLOW).await;
        let _ = respond.send_response(http::Response::new(()), true);
    } else {
        let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
    }
}

/// Asks for slow answers, one after the other, while it goes on; what was not one is told.
async fn stand_by(to: SocketAddr, http: Http, goes_on: &Cell<bool>) -> (usize, Vec<String>) {
    let (mut answers, mut faults) = (0, Vec::new());
    let mut client = Client::connect(http, to).await;
    while goes_on.get() {
        let answer = client.send(get_request("/slow")).await;
        answers += 1;
        if answer.status != 200 {
            faults.push(format!("a bystander by {http:?}: {} {}", answer.status, answer.text()));
        }
    }
    (answers, faults)
}

/// Bystanders wait for slow answers while `attack` lasts. What became of them.
async fn attacked(to: SocketAddr, attack: impl AsyncFn(&Cell<bool>)) -> Vec<String> {
    let goes_on = Cell::new(true);
    let bystanders = (0..BYSTANDERS).map(|n| stand_by(to, Http::BOTH[n % 2], &goes_on));
    let ends = async {
        sleep(ATTACK).await; // the time over which nothing may happen
        goes_on.set(false);
    };
    let (stood_by, (), ()) = tokio::join!(join_all(bystanders), attack(&goes_on), ends);
    assert!(stood_by.iter().all(|(answers, _)| *answers > 0), "a bystander was never answered");
    let mut faults: Vec<String> = stood_by.into_iter().flat_map(|(_, faults)| faults).collect();
    faults.dedup(); // the first of each kind says it
    faults
}

/// Opens streams and resets them a moment later, again and again; where Weir ends the connection, on another.
async fn resets_rapidly(to: SocketAddr, goes_on: &Cell<bool>) {
    let block = get("/held");
    while goes_on.get() {
        let mut caller = Frames::connect(to).await;
        for first in (1..).step_by(2 * BATCH as usize) {
            let ids = (first..first + 2 * BATCH).step_by(2);
            let opened: Vec<u8> = ids.clone().flat_map(|id| whole(id, &block)).collect();
            let resets: Vec<u8> = ids.flat_map(|id| reset(id, code::CANCEL)).collect();
            if !goes_on.get() || !caller.try_write(opened).await {
                break;
            }
            sleep(RESET_AFTER).await; // as the attack has it
            if !caller.try_write(resets).await {
                break;
            }
        }
    }
}

/// Breaks its body behind a good beginning, again and again, each time on a new connection.
async fn breaks_bodies(to: SocketAddr, goes_on: &Cell<bool>) {
    while goes_on.get() {
        let mut caller = Raw::connect(to).await;
        caller
            .write("POST /held HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
        sleep(Duration::from_millis(2)).await; // as the attack has it
        caller.write("zz\r\n").await;
        let answer = caller.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    }
}

type Attack = (&'static str, usize, AttackBy);

#[derive(Clone, Copy)]
enum AttackBy {
    Resets,
    Bodies,
}

/// Enough of each that h2's limit, 20 streams that were reset before the server saw them, is passed in one look.
const ATTACKS: [Attack; 2] = [("rapid resets", 1, AttackBy::Resets), ("broken bodies", 40, AttackBy::Bodies)];

async fn attack_by(by: AttackBy, attackers: usize, to: SocketAddr, goes_on: &Cell<bool>) {
    match by {
        AttackBy::Resets => join_all((0..attackers).map(|_| resets_rapidly(to, goes_on))).await,
        AttackBy::Bodies => join_all((0..attackers).map(|_| breaks_bodies(to, goes_on))).await,
    };
}

/// One connection, so that all share it.
const SHARED: &str = "circuit_breakers: {connections: 1}";

/// CVE-2023-44487 by way of a proxy: the server cannot tell who of those behind it floods.
#[test]
fn what_one_caller_cancels_at_once_ends_no_connection_that_others_share() {
    run(async || {
        for (name, attackers, by) in ATTACKS {
            for round in 1.. {
                let server = Server::start();
                let settings = ["protocol: http2", SHARED];
                let world =
                    World::start(&one_service(&settings, &[(&server.address.to_string(), "v1")])).await;
                let to = world.addr("in");
                let faults = attacked(to, async |goes_on| attack_by(by, attackers, to, goes_on).await).await;
                let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
                let (connections, lost) = (of(&server.seen.connections), of(&server.seen.lost));
                let requests = of(&server.seen.requests);
                let pause = server.seen.pause.load(Ordering::Relaxed);
                println!("{name}: {requests} requests, {connections} connections, {lost} lost, {pause} ms");
                assert!(requests > 200, "{name}: no attack: {requests} requests");
                if faults.is_empty() && lost == 0 && connections == 1 {
                    break;
                }
                let excused = server.stalled() && round < ROUNDS;
                assert!(excused, "{name}: {lost} of {connections} connections lost: {faults:#?}");
            }
        }
    });
}

/// The same with the delivery listener of another Weir, whose worker is busy with all that.
#[test]
fn what_one_caller_cancels_at_once_harms_nobody_behind_another_weir() {
    run(async || {
        for (name, attackers, by) in ATTACKS {
            let model = Upstream::handling(|request| async move {
                if request.uri().path() != "/slow" {
                    return std::future::pending().await;
                }
                sleep(SLOW).await;
                http::Response::new(full("ok"))
            })
            .await;
            let port = free_port();
            let there = World::start(&format!(
                "listeners:\n- {{name: delivery, address: \"127.0.0.1:{port}\", service: x, mode: deliver}}\n\
                 services:\n- name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: v1}}, local: true}}\n",
                model.at()
            ))
            .await;
            let settings = ["protocol: http2", SHARED];
            let here =
                World::start(&one_service(&settings, &[(&there.addr("delivery").to_string(), "v1")])).await;
            let to = here.addr("in");
            let faults = attacked(to, async |goes_on| attack_by(by, attackers, to, goes_on).await).await;
            assert!(faults.is_empty(), "{name}: {faults:#?}");
            there.counts("http_downstream_rq_active", 0.0).await;
            here.counts("http_downstream_rq_active", 0.0).await;
            let connections = there.metric("envoy_http_downstream_cx_http2_total", &[]).await;
            assert!(connections <= 1.0, "{name}: {connections} connections between the two");
        }
    });
}

/// TCP does not tell a caller that only closes its sending side from one that has gone, and no HTTP/2 caller has a
/// reason to do the former: it could not even take back a window.
#[test]
fn an_http2_caller_that_closes_its_sending_side_has_left() {
    run(async || {
        for up in Http::BOTH {
            let cut = Rc::new(Cell::new(0));
            let of_upstream = cut.clone();
            let upstream = Upstream::handling(move |request| {
                let cut = of_upstream.clone();
                async move {
                    if request.into_body().collect().await.is_ok() {
                        std::future::pending().await
                    }
                    cut.set(cut.get() + 1);
                    http::Response::new(empty())
                }
            })
            .await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await;
            let rows = [
                ("a whole request", whole(1, &get("/"))),
                ("in its upload", [open(1, &head("POST", "/", &[])), data(1, 0, b"begun")].concat()),
            ];
            for (n, (name, request)) in rows.into_iter().enumerate() {
                let mut caller = Frames::connect(world.addr("in")).await;
                caller.write(request).await;
                upstream.wait_begun(n + 1).await;
                caller.finish().await;
                let what = format!("{name} {up:?} is cancelled upstream");
                until(&what, || (upstream.cancelled() + cut.get() == n + 1).then_some(())).await;
                let line = world.log(n + 1).await.swap_remove(n);
                assert!(line.starts_with("0 DC downstream_remote_disconnect 1 "), "{name} {up:?}: {line}");
                caller.read_to_end().await;
            }
        }
    });
}

/// What becomes of a request with odd trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// The stream is reset.
    Refused,
    /// There is nothing odd in them.
    Passed,
}

/// Trailers for stream 1: a field of their own, and a pseudo-header in a way that is seen only by who decodes them.
fn odd_trailers() -> [(&'static str, Odd, Vec<u8>); 7] {
    let field = literal(b"x-checksum", b"1");
    let path = literal(b":path", b"/other");
    let known = [0x85]; // `:path: /index.html` of the static table
    let newest = [0xbe]; // of the dynamic table: the `:path` of the head
    let (end, last) = (flag::END_STREAM, flag::END_HEADERS);
    let in_two =
        |first: &[u8], second: &[u8]| [headers(1, end, first), continuation(1, last, second)].concat();
    [
        ("none", Odd::Passed, headers(1, flag::WHOLE, &field)),
        ("in CONTINUATION", Odd::Refused, in_two(&[], &[&path[..], &field].concat())),
        ("in CONTINUATION, by index", Odd::Refused, in_two(&[], &[&known[..], &field].concat())),
        ("cut by CONTINUATION", Odd::Refused, in_two(&path[..4], &[&path[4..], &field].concat())),
        ("in the dynamic table", Odd::Refused, headers(1, flag::WHOLE, &[&newest[..], &field].concat())),
        ("in CONTINUATION, behind a field", Odd::Refused, in_two(&field, &path)),
        (
            "in the dynamic table, behind a field",
            Odd::Refused,
            headers(1, flag::WHOLE, &[&field[..], &newest].concat()),
        ),
    ]
}

/// RFC 9113 section 8.1: trailers hold no pseudo-header fields. Those that do are refused, and nothing of them is taken
/// for the request's.
#[test]
fn pseudo_headers_in_trailers_never_reach_the_upstream() {
    run(async || {
        let mut faults = Vec::new();
        for (up, (name, becomes, trailers)) in
            Http::BOTH.into_iter().flat_map(|up| odd_trailers().map(|row| (up, row)))
        {
            let upstream = Upstream::start("v1").await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await;
            let mut caller = Frames::connect(world.addr("in")).await;
            let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", AUTHORITY)];
            let rest = block(&[&pseudo[..], &[("te", "trailers")]].concat());
            let begin = open(1, &[remembered(b":path", b"/mine"), rest].concat());
            let windows = [window_update(0, 1 << 20), window_update(1, 1 << 20)].concat();
            caller.write([&begin[..], &data(1, 0, b"body"), &trailers, &windows].concat()).await;
            let outcome = caller.outcome(1).await;
            let seen = upstream.seen();
            let right = match becomes {
                Odd::Refused => {
                    outcome == Outcome::Reset(code::PROTOCOL_ERROR)
                        && seen.iter().all(|seen| seen.trailers.is_none() && seen.target() == "/mine")
                }
                Odd::Passed => {
                    let passed = |seen: &Seen| {
                        let trailers = seen.trailers.as_ref();
                        let checksum = trailers.and_then(|trailers| trailers.get("x-checksum"));
                        trailers.is_some_and(|trailers| trailers.len() == 1)
                            && checksum.is_some_and(|checksum| checksum == "1")
                            && (seen.target(), &seen.body[..]) == ("/mine", b"body")
                    };
                    matches!(outcome, Outcome::Answer { status: 200, then: Then::End, .. })
                        && seen.len() == 1
                        && seen.iter().all(passed)
                }
            };
            if !right {
                faults.push(format!("{name}, {up:?}: {outcome:?}, {seen:?}"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}
