//! Floods and peers that take their time, against Weir as a process of its own.
//!
//! The law of docs/limits.md, for each: a well-formed request on a new connection is answered within 2 s, memory grows
//! by at most 64 MiB, and afterwards all is back: connections, requests in flight, descriptors.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "common"]
mod common {
    pub(crate) mod child;
    pub(crate) mod frames;
    pub(crate) mod loopback;
    pub(crate) mod world;
}
#[path = "wire_floods/poured.rs"]
mod poured;
#[path = "wire_floods/unread.rs"]
mod unread;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::child::Weir;
use common::frames::{
    self as wire, Frames, Outcome, PREFACE, code, continuation, flag, get, head, headers, kind, open, ping,
    setting, settings, whole, window_update,
};
use common::world::client::{Client, get as get_request};
use common::world::upstream::{Upstream, full};
use common::world::{Http, rule, run, until, within};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use poured::{Ends, POURED, POURED_HTTP1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use weir::runtime::worker::local_runtime;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const MAY_GROW: u64 = 64 << 20;
/// Attackers at once.
const ATTACKERS: usize = 4;
/// Well-formed requests during each flood, at least.
const REQUESTS: usize = 8;
/// How long each flood lasts at least.
const LASTS: Duration = Duration::from_secs(2);
/// What each attacker sends in that time at least: pieces of fifty frames or more, or connections.
const PIECES: u64 = 10;
/// The body of `/large`.
const LARGE: &[u8] = &[b'y'; 1 << 20];

/// The address of an upstream with a thread of its own, which leaves with the process.
fn upstream() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        local_runtime().expect("a runtime").block_on(async {
            tell.send(serve().await.addr()).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("an upstream")
}

/// An upstream that never answers `/held`, has a large body for `/large`, reads all for `/sink`, and answers all else.
async fn serve() -> Upstream {
    Upstream::handling(|request| async move {
        match request.uri().path() {
            "/held" => std::future::pending().await,
            "/large" => http::Response::new(full(LARGE)),
            "/sink" => {
                let _ = request.into_body().collect().await;
                http::Response::new(full("ok"))
            }
            _ => http::Response::new(full("ok")),
        }
    })
    .await
}

/// A proxy with one worker. The well-formed requests go to a version of their own, so that it is Weir that is measured,
/// not an upstream nor its breakers. Upstreams speak HTTP/1; what is cancelled on an HTTP/2 connection that callers share
/// is tried in `wire_shared.rs`.
fn start_within(descriptors: Option<u32>, limits: &str) -> Weir {
    let versions = [upstream(), upstream()].map(|at| format!("{{http: '{at}'"));
    let main = format!(
        "workers: 1\nlimits: {{upstream_idle: {{http1: 1s}}{limits}}}\nservices:\n- name: m\n  \
         endpoints:\n  - {}, labels: {{version: v1}}}}\n  \
         - {}, labels: {{version: v2}}}}\n",
        versions[0], versions[1]
    );
    let calm = rule("calm", 2, "{request: {headers: {uri: {prefix: /calm}}}}", &[("v2", 100)]);
    let rules =
        format!("{calm}---\n{}", rule("attacked", 1, "", &[("v1", 100)])).replace("{name: x}", "{name: m}");
    Weir::start_within(descriptors, &main, &rules)
}

fn start(limits: &str) -> Weir {
    start_within(None, limits)
}

/// One well-formed request on a new connection.
async fn ask(to: SocketAddr, http: Http) {
    let what = format!("an answer by {http:?} on a new connection");
    within(ANSWER_WITHIN, &what, async {
        let mut client = Client::connect(http, to).await;
        let mut request = get_request("http://m/calm");
        if http == Http::One {
            request.headers_mut().insert("host", http::HeaderValue::from_static("m"));
        }
        let answer = client.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    })
    .await;
}

/// Requests one after the other while something else goes on.
async fn ask_on(weir: &Weir) {
    let start = Instant::now();
    let mut turn = 0;
    while turn < REQUESTS || start.elapsed() < LASTS {
        ask(weir.address, Http::BOTH[turn % 2]).await;
        turn += 1;
        sleep(Duration::from_millis(20)).await; // so that the flood has its turn
    }
}

/// The gauges that must be 0 when nobody is there.
async fn gauges(weir: &Weir) -> Vec<String> {
    let page = weir.page("/metrics").await.1;
    let gauges = [
        "envoy_http_downstream_cx_active",
        "envoy_http_downstream_rq_active",
        "envoy_cluster_upstream_rq_active",
    ];
    let of = |gauge: &str| {
        let lines: Vec<&str> = page
            .lines()
            .filter(|line| line.strip_prefix(gauge).is_some_and(|rest| rest.starts_with('{')))
            .collect();
        assert!(!lines.is_empty(), "there is no series of {gauge}");
        lines.into_iter().filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect::<Vec<_>>()
    };
    gauges.into_iter().flat_map(of).collect()
}

async fn all_is_back(name: &str, weir: &Weir, descriptors: usize) {
    let start = Instant::now();
    loop {
        let (gauges, open) = (gauges(weir).await, weir.descriptors());
        // Of the connections to the upstream one or the other may stay for a while.
        if gauges.is_empty() && open <= descriptors + 4 {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{name}: {open} descriptors, {descriptors} before; {gauges:#?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// A flood as its attackers see it.
#[derive(Default)]
struct Flood {
    over: Cell<bool>,
    pieces: Cell<u64>,
}

impl Flood {
    fn goes_on(&self) -> bool {
        !self.over.get()
    }

    fn sent(&self) {
        self.pieces.set(self.pieces.get() + 1);
    }
}

/// Lets attackers repeat `flood` on connection after connection while others ask. A flood ends when its connection does.
async fn withstands(weir: &Weir, name: &str, attack: impl AsyncFn(SocketAddr, &Flood)) {
    let (memory, descriptors) = (weir.watch_memory(), weir.descriptors());
    let (flood, rounds, start) = (Flood::default(), Cell::new(0), Instant::now());
    let attacks = async || {
        while flood.goes_on() {
            attack(weir.address, &flood).await;
            rounds.set(rounds.get() + 1);
        }
    };
    let others = async {
        ask_on(weir).await;
        flood.over.set(true);
    };
    tokio::join!(join_all((0..ATTACKERS).map(|_| attacks())), others);
    let (pieces, lasted, grown) = (flood.pieces.get(), start.elapsed(), memory.grown());
    println!(
        "{name}: {pieces} pieces, {} connections in {lasted:?}, memory grew by {} KiB",
        rounds.get(),
        grown >> 10
    );
    assert!(
        lasted >= LASTS && pieces >= PIECES * ATTACKERS as u64,
        "{name}: {pieces} pieces in {lasted:?} are no flood"
    );
    assert!(grown <= MAY_GROW, "{name}: memory grew by {} KiB", grown >> 10);
    all_is_back(name, weir, descriptors).await;
}

/// Writes `piece(round)` until the connection or the flood ends; what is answered is not read.
async fn pour(mut caller: Frames, flood: &Flood, mut piece: impl FnMut(u32) -> Vec<u8>) {
    for round in 0.. {
        if !flood.goes_on() || !caller.write_within(Duration::from_millis(500), piece(round)).await {
            return;
        }
        flood.sent();
        tokio::task::yield_now().await;
    }
}

fn poured(rows: std::ops::Range<usize>) {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::Two).await;
        for (name, _, piece) in &POURED[rows] {
            withstands(&weir, name, async |to, flood| {
                pour(Frames::connect(to).await, flood, piece).await;
            })
            .await;
        }
    });
}

#[test]
fn streams_that_are_opened_to_be_reset_harm_nobody() {
    poured(0..6);
}

#[test]
fn heads_and_control_frames_without_end_harm_nobody() {
    poured(6..14);
}

#[test]
fn data_and_windows_without_end_harm_nobody() {
    poured(14..POURED.len());
}

/// RFC 7541 section 7.3: a field of 4 KB in the table, named in each byte of a block.
#[test]
fn a_block_that_unfolds_to_megabytes_harms_nobody() {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::Two).await;
        for (name, field) in [("a field", &b"x-bomb"[..]), ("a cookie", b"cookie")] {
            withstands(&weir, &format!("HPACK bomb of {name}"), async |to, flood| {
                let mut caller = Frames::connect(to).await;
                let seed = wire::remembered(field, &vec![b'a'; 4_000]);
                caller.write(whole(1, &[get("/"), seed].concat())).await;
                let bomb = whole(3, &[get("/"), vec![0xbe; 16_000]].concat());
                caller.write([&bomb[..], &whole(5, &get("/"))].concat()).await;
                assert_eq!(caller.read_to_end().await, Some(code::ENHANCE_YOUR_CALM), "{name}");
                flood.sent();
            })
            .await;
        }
    });
}

/// What ends a connection that resets without end is a limit of the engine; it must not be lost.
#[test]
fn a_caller_that_floods_is_told_to_calm_down() {
    run(async || {
        let weir = start("");
        let mut failures = Vec::new();
        for (name, _, piece) in POURED.into_iter().filter(|(_, ends, _)| *ends == Ends::IsTold) {
            let mut caller = Frames::connect(weir.address).await;
            let start = Instant::now();
            let mut round = 0;
            let told = loop {
                let open = caller.write_within(Duration::from_millis(500), piece(round)).await;
                round += 1;
                match caller.next_within(Duration::ZERO).await {
                    Some(Some(frame)) if frame.kind == kind::GOAWAY => break Some(frame.code()),
                    Some(None) => break None,
                    _ if !open => break caller.read_to_end().await,
                    _ => {}
                }
                if start.elapsed() > Duration::from_secs(10) {
                    break Some(code::NO_ERROR);
                }
            };
            // A socket that is closed with bytes unread may lose the GOAWAY.
            if !matches!(
                told,
                None | Some(code::ENHANCE_YOUR_CALM | code::PROTOCOL_ERROR | code::COMPRESSION_ERROR)
            ) {
                failures.push(format!("{name}: {told:?} after {round} rounds"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

/// What is slowed at most goes on: it hears an answer to its PING behind a hundred rounds.
#[test]
fn a_caller_that_only_bothers_keeps_its_connection() {
    run(async || {
        let weir = start("");
        let mut failures = Vec::new();
        for (name, _, piece) in POURED.into_iter().filter(|(_, ends, _)| *ends == Ends::GoesOn) {
            let mut caller = Frames::connect(weir.address).await;
            let goes_on = async {
                for round in 0..20 {
                    caller.try_write(piece(round)).await;
                    while let Some(frame) = caller.next_within(Duration::ZERO).await {
                        if frame.as_ref().is_none_or(|frame| frame.kind == kind::GOAWAY) {
                            return Err(frame);
                        }
                    }
                }
                caller.write(ping(*b"are you?")).await;
                loop {
                    match caller.next().await {
                        Some(frame) if frame.kind == kind::PING && frame.payload == b"are you?" => {
                            return Ok(());
                        }
                        frame if frame.as_ref().is_none_or(|frame| frame.kind == kind::GOAWAY) => {
                            return Err(frame);
                        }
                        _ => {}
                    }
                }
            };
            if let Err(end) = goes_on.await {
                failures.push(format!("{name}: {end:?}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

#[test]
fn http1_without_end_harms_nobody() {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::One).await;
        for (name, begin, piece, reads) in POURED_HTTP1 {
            let (begin, piece) = (begin.as_bytes(), piece.repeat(100).into_bytes());
            withstands(&weir, name, async |to, flood| {
                let socket = TcpSocket::new_v4().expect("a socket");
                // What the kernel has taken of the flood goes with its caller.
                socket.set_zero_linger().expect("an option");
                let Ok(stream) = socket.connect(to).await else { return };
                let (mut reader, mut writer) = stream.into_split();
                let read = async {
                    let mut some = [0; 16 << 10];
                    while reads && matches!(reader.read(&mut some).await, Ok(1..)) {}
                };
                let write = async {
                    let mut next = begin;
                    loop {
                        let written =
                            tokio::time::timeout(Duration::from_millis(500), writer.write_all(next)).await;
                        if !flood.goes_on() || !matches!(written, Ok(Ok(()))) {
                            break;
                        }
                        flood.sent();
                        next = &piece;
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    () = write => {}
                    () = read, if reads => {}
                }
            })
            .await;
        }
    });
}

/// Answers that cost Weir more than their requests cost the caller, who does not read them: then it is not read either.
#[test]
fn a_caller_that_reads_no_heads_is_not_read_and_goes_on_when_it_does() {
    run(async || unread::heads().await);
}

/// Connections that are closed as soon as they are there, in order or by a reset. Every so often an attacker waits for
/// Weir to close one: what the kernel does with callers when its queue is full is not what is tested.
#[test]
fn connections_that_come_only_to_go_harm_nobody() {
    const UNHEARD: u64 = 32;
    run(async || {
        let weir = start("");
        ask(weir.address, Http::One).await;
        for (name, resets) in [("connect and reset", true), ("connect and close", false)] {
            withstands(&weir, name, async |to, flood| {
                let socket = TcpSocket::new_v4().expect("a socket");
                let waits = flood.pieces.get() % UNHEARD == 0;
                if resets && !waits {
                    socket.set_zero_linger().expect("an option");
                }
                // There may be no port left for a while.
                let Ok(mut stream) = socket.connect(to).await else { return tokio::task::yield_now().await };
                flood.sent();
                if waits && stream.shutdown().await.is_ok() {
                    let _ = stream.read(&mut [0]).await;
                }
            })
            .await;
        }
    });
}

/// RFC 9113 section 6.9: windows of nothing, then of a byte at a time.
#[test]
fn answers_that_are_taken_byte_by_byte_hold_up_nobody() {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::Two).await;
        withstands(&weir, "windows of a byte", async |to, flood| {
            let mut caller = Frames::with_settings(to, &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
            let streams: Vec<u32> = (0..100).map(|n| 2 * n + 1).collect();
            caller.write(streams.iter().flat_map(|&id| whole(id, &get("/large"))).collect::<Vec<u8>>()).await;
            for _ in 0..50 {
                let updates: Vec<u8> = streams.iter().flat_map(|&id| window_update(id, 1)).collect();
                if !flood.goes_on() || !caller.try_write(updates).await {
                    return;
                }
                flood.sent();
                while let Some(Some(_)) = caller.next_within(Duration::from_millis(1)).await {}
            }
        })
        .await;
    });
}

/// Opens `count` connections that each send `bytes`, and asks beside them until they are closed by the limit.
async fn slow(name: &str, weir: &Weir, count: usize, bytes: &[u8]) {
    let (memory, descriptors) = (weir.watch_memory(), weir.descriptors());
    let mut held = Vec::new();
    let is_answered = bytes.starts_with(b"GET /large ");
    for _ in 0..count {
        let socket = TcpSocket::new_v4().expect("a socket");
        // What is not read stays with the sender, not in the kernel.
        socket.set_recv_buffer_size(4 << 10).expect("an option");
        let mut stream = socket.connect(weir.address).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        if is_answered {
            // It has begun, and is not read on.
            stream.read_exact(&mut [0]).await.expect("an answer");
        }
        held.push(stream);
    }
    ask_on(weir).await;
    let grown = memory.grown();
    println!("{name}: {count} connections, memory grew by {} KiB", grown >> 10);
    assert!(grown <= MAY_GROW, "{name}: memory grew by {} KiB", grown >> 10);
    within(Duration::from_secs(15), &format!("{name}: all are closed"), async {
        // To read what is left of an answer would be to go on with it.
        while is_answered && !gauges(weir).await.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        for stream in held.iter_mut().filter(|_| !is_answered) {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    })
    .await;
    drop(held);
    all_is_back(name, weir, descriptors).await;
}

#[test]
fn callers_that_do_not_finish_a_head_are_let_go_in_time_and_harm_nobody() {
    run(async || {
        let weir = start(", head_timeout: 1s, downstream_idle: 2s");
        ask(weir.address, Http::Two).await;
        let begun = [PREFACE, &settings(&[])].concat();
        let block = get("/");
        let rows = [
            ("nothing at all", Vec::new()),
            ("half a preface", PREFACE[..12].to_vec()),
            ("a preface alone", PREFACE.to_vec()),
            ("a preface and SETTINGS", begun.clone()),
            ("half of HEADERS", [&begun[..], &whole(1, &block)[..20]].concat()),
            ("HEADERS that go on", [&begun[..], &headers(1, flag::END_STREAM, &block)].concat()),
            ("half of a head of HTTP/1", b"POST / HTTP/1.1\r\nhost: m\r\nx-a: ".to_vec()),
        ];
        // Two side by side, as they take their time and little else.
        for pair in rows.chunks(2) {
            join_all(pair.iter().map(|(name, bytes)| slow(name, &weir, 500, bytes))).await;
        }
    });
}

/// HTTP/1 callers that send a body, or take an answer, as slowly as they may.
#[test]
fn slow_bodies_and_slow_readers_of_http1_harm_nobody() {
    run(async || {
        let weir = start(", stream_idle: 2s");
        ask(weir.address, Http::One).await;
        for (name, count, bytes) in [
            (
                "a body that does not come",
                500,
                &b"POST /held HTTP/1.1\r\nhost: m\r\ncontent-length: 1000000\r\n\r\nab"[..],
            ),
            (
                "a chunk that does not end",
                500,
                b"POST /held HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\nff\r\nab",
            ),
            (
                "an answer that is not read",
                1_000,
                b"GET /large HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n",
            ),
        ] {
            slow(name, &weir, count, bytes).await;
        }
    });
}

/// Of a connection that is in use as well: a second head, unfinished, is due like the first.
#[test]
fn a_later_head_of_a_connection_is_due_in_time_whatever_else_goes_on() {
    run(async || {
        let weir = start(", head_timeout: 1s");
        let block = get("/");
        for (name, unfinished) in [
            ("no CONTINUATION", headers(5, flag::END_STREAM, &block)),
            ("half a frame", whole(5, &block)[..15].to_vec()),
            (
                "CONTINUATION now and then",
                [headers(5, flag::END_STREAM, &block), continuation(5, 0, &[])].concat(),
            ),
            (
                "half a frame of trailers",
                headers(1, flag::WHOLE, &wire::literal(b"x-t", b"1"))[..10].to_vec(),
            ),
        ] {
            let mut caller = Frames::connect(weir.address).await;
            caller.write([open(1, &head("POST", "/held", &[])), whole(3, &block)].concat()).await;
            assert!(matches!(caller.outcome(3).await, Outcome::Answer { status: 200, .. }), "{name}");
            let start = Instant::now();
            caller.write(unfinished).await;
            caller.read_to_end().await;
            assert!(start.elapsed() >= Duration::from_millis(700), "{name}: {:?}", start.elapsed());
        }
        all_is_back("unfinished heads", &weir, weir.descriptors()).await;
        let page = weir.page("/metrics").await.1;
        let counted =
            page.lines().find(|line| line.starts_with("weir_limit_exceeded_total{limit=\"head_timeout\"}"));
        assert!(counted.is_some_and(|line| line.ends_with(" 4")), "{counted:?}");
    });
}

/// docs/limits.md: accepting pauses at 80 % of the descriptors and goes on when there is room; it never spins.
#[test]
fn descriptors_that_run_out_are_waited_for_without_spinning() {
    run(async || {
        let weir = start_within(Some(256), ", head_timeout: 30s, downstream_idle: 30s");
        ask(weir.address, Http::One).await;
        let descriptors = weir.descriptors();
        let connect = |_| async {
            let mut stream = TcpStream::connect(weir.address).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n").await?;
            std::io::Result::Ok(stream)
        };
        let flood: Vec<_> = join_all((0..1_000).map(connect)).await;
        let open = flood.iter().filter(|stream| stream.is_ok()).count();
        until("accepting pauses", || (weir.descriptors() >= 200).then_some(())).await;
        let (start, used) = (Instant::now(), weir.cpu_time());
        sleep(Duration::from_secs(2)).await; // the time over which it is measured
        let (waited, used) = (start.elapsed(), weir.cpu_time().saturating_sub(used));
        println!("{open} connections, {} descriptors, {used:?} of CPU in {waited:?}", weir.descriptors());
        assert!(weir.descriptors() <= 256 && used < waited / 10, "{used:?} of CPU in {waited:?}");
        drop(flood);
        let recovered = Instant::now();
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(2), async {
                let mut client = Client::connect(Http::One, weir.address).await;
                client.begin(get_request("/calm")).await
            });
            if answer.await.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() == 200)) {
                break;
            }
            assert!(recovered.elapsed() < Duration::from_secs(15), "it does not recover");
        }
        all_is_back("1,000 connections", &weir, descriptors).await;
    });
}
