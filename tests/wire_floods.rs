//! Floods and peers that take their time, against Weir as a process of its own.
//!
//! The law of docs/limits.md, for each: a well-formed request on a new connection is answered within 2 s, memory grows
//! by at most 64 MiB, and afterwards all is back: connections, requests in flight, descriptors.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod child;
    pub(crate) mod frames;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::child::Weir;
use common::frames::{
    self as wire, Frames, Outcome, PREFACE, code, continuation, data, flag, frame, get, head, headers, kind,
    open, ping, priority, reset, setting, settings, whole, window_update,
};
use common::world::client::{Client, get as get_request};
use common::world::upstream::{Upstream, full};
use common::world::{Http, rule, run, until, within};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use weir::runtime::worker::local_runtime;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const MAY_GROW: u64 = 64 << 20;
/// Attackers at once.
const ATTACKERS: usize = 4;
/// Well-formed requests during each flood.
const REQUESTS: usize = 8;
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

/// An upstream that never answers `/held`, has a large body for `/large`, and answers all else.
async fn serve() -> Upstream {
    Upstream::handling(|request| async move {
        match request.uri().path() {
            "/held" => std::future::pending().await,
            "/large" => http::Response::new(full(LARGE)),
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

/// Requests one after the other while something else goes on; the most that memory grew.
async fn ask_on(weir: &Weir, before: u64) -> u64 {
    let mut grown = 0;
    for turn in 0..REQUESTS {
        ask(weir.address, Http::BOTH[turn % 2]).await;
        grown = grown.max(weir.memory().saturating_sub(before));
        sleep(Duration::from_millis(20)).await; // so that the flood spans them all
    }
    grown
}

/// The gauges that must be 0 when nobody is there.
async fn gauges(weir: &Weir) -> Vec<String> {
    let page = weir.page("/metrics").await.1;
    let gauges = [
        "envoy_http_downstream_cx_active",
        "envoy_http_downstream_rq_active",
        "envoy_cluster_upstream_rq_active",
    ];
    let of = |line: &&str| {
        gauges.iter().any(|gauge| line.strip_prefix(gauge).is_some_and(|rest| rest.starts_with('{')))
    };
    page.lines().filter(of).filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
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

/// Lets attackers repeat `flood` on connection after connection while others ask. A flood ends when its connection does.
async fn withstands(weir: &Weir, name: &str, flood: impl AsyncFn(SocketAddr, &Cell<bool>)) {
    let (before, descriptors) = (weir.memory(), weir.descriptors());
    let (goes_on, rounds) = (Cell::new(true), Cell::new(0));
    let attack = async || {
        while goes_on.get() {
            flood(weir.address, &goes_on).await;
            rounds.set(rounds.get() + 1);
        }
    };
    let others = async {
        let grown = ask_on(weir, before).await;
        goes_on.set(false);
        grown
    };
    let (_, grown) = tokio::join!(join_all((0..ATTACKERS).map(|_| attack())), others);
    println!("{name}: {} rounds, memory grew by {} KiB", rounds.get(), grown >> 10);
    assert!(grown <= MAY_GROW, "{name}: memory grew by {} KiB", grown >> 10);
    all_is_back(name, weir, descriptors).await;
}

/// Writes `piece(round)` until the connection or the flood ends; what is answered is not read.
async fn pour(mut caller: Frames, goes_on: &Cell<bool>, mut piece: impl FnMut(u32) -> Vec<u8>) {
    for round in 0.. {
        if !goes_on.get() || !caller.write_within(Duration::from_millis(500), piece(round)).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// `count` times the same bytes.
fn times(count: usize, bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(count)
}

/// The frames of the streams that belong to a round of 50.
fn each(round: u32, mut frames: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    (0..50).flat_map(|n| frames((round * 50 + n) * 2 + 1)).collect()
}

type Piece = fn(u32) -> Vec<u8>;

/// Frames without end; each row a name and what is poured in its rounds.
const POURED: [(&str, Piece); 19] = [
    ("rapid reset (CVE-2023-44487)", |round| {
        each(round, |id| [whole(id, &get("/held")), reset(id, code::CANCEL)].concat())
    }),
    ("MadeYouReset (CVE-2025-8671), by windows", |round| {
        each(round, |id| [whole(id, &get("/held")), window_update(id, (1 << 31) - 1)].concat())
    }),
    ("MadeYouReset, by lengths", |round| {
        each(round, |id| {
            [open(id, &head("POST", "/held", &[("content-length", "1")])), data(id, 0, b"ab")].concat()
        })
    }),
    ("MadeYouReset, by dependencies", |round| {
        each(round, |id| [whole(id, &get("/held")), priority(id, id)].concat())
    }),
    ("malformed heads", |round| each(round, |id| whole(id, &head("GET", "/", &[("connection", "close")])))),
    ("empty heads", |round| each(round, |id| whole(id, &[]))),
    ("empty CONTINUATION", |round| {
        let first = if round == 0 { headers(1, flag::END_STREAM, &get("/")) } else { Vec::new() };
        [first, times(500, &continuation(1, 0, &[]))].concat()
    }),
    ("large CONTINUATION", |round| {
        let first = if round == 0 { headers(1, flag::END_STREAM, &get("/")) } else { Vec::new() };
        [first, continuation(1, 0, &wire::literal(b"x-a", &vec![b'a'; 16_000]))].concat()
    }),
    ("PING", |_| times(1_000, &ping(*b"01234567"))),
    ("SETTINGS", |_| times(1_000, &settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]))),
    ("empty SETTINGS", |_| times(1_000, &settings(&[]))),
    ("PRIORITY", |round| {
        (0..1_000).flat_map(|n| priority((round * 1_000 + n) % 100_000 * 2 + 1, 0)).collect()
    }),
    ("WINDOW_UPDATE", |_| times(1_000, &window_update(0, 1))),
    ("unknown frames", |_| times(1_000, &frame(0xbe, 0xff, 1, b"anything"))),
    ("empty DATA", |round| {
        let first = if round == 0 { open(1, &head("POST", "/", &[])) } else { Vec::new() };
        [first, times(1_000, &data(1, 0, b""))].concat()
    }),
    ("DATA of one byte", |round| {
        let first = if round == 0 { open(1, &head("POST", "/", &[])) } else { Vec::new() };
        [first, times(1_000, &data(1, 0, b"x"))].concat()
    }),
    ("DATA of padding", |round| {
        let first = if round == 0 { open(1, &head("POST", "/held", &[])) } else { Vec::new() };
        let padding = frame(kind::DATA, flag::PADDED, 1, &[&[255_u8][..], &[0; 255]].concat());
        [first, times(100, &padding)].concat()
    }),
    ("streams beyond the limit", |round| each(round, |id| open(id, &head("POST", "/held", &[])))),
    ("windows that change", |round| {
        let first = if round == 0 {
            (0..50).flat_map(|n| whole(2 * n + 1, &get("/large"))).collect()
        } else {
            Vec::new()
        };
        let change = [0, 65_535, 1, 1 << 20].map(|size| settings(&[(setting::INITIAL_WINDOW_SIZE, size)]));
        [first, times(50, &change.concat())].concat()
    }),
];

fn poured(rows: std::ops::Range<usize>) {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::Two).await;
        for (name, piece) in &POURED[rows] {
            withstands(&weir, name, async |to, goes_on| {
                pour(Frames::connect(to).await, goes_on, piece).await;
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
            withstands(&weir, &format!("HPACK bomb of {name}"), async |to, _| {
                let mut caller = Frames::connect(to).await;
                let seed = wire::remembered(field, &vec![b'a'; 4_000]);
                caller.write(whole(1, &[get("/"), seed].concat())).await;
                let bomb = whole(3, &[get("/"), vec![0xbe; 16_000]].concat());
                caller.write([&bomb[..], &whole(5, &get("/"))].concat()).await;
                assert_eq!(caller.read_to_end().await, Some(code::ENHANCE_YOUR_CALM), "{name}");
            })
            .await;
        }
    });
}

/// What ends a connection that resets without end is h2's limit; it must not be lost.
#[test]
fn a_caller_that_floods_is_told_to_calm_down() {
    run(async || {
        let weir = start("");
        let mut failures = Vec::new();
        for row in [0, 1, 2, 3, 4, 5, 6, 7, 14, 16] {
            let (name, piece) = POURED[row];
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

/// RFC 9113 section 6.9: windows of nothing, then of a byte at a time.
#[test]
fn answers_that_are_taken_byte_by_byte_hold_up_nobody() {
    run(async || {
        let weir = start("");
        ask(weir.address, Http::Two).await;
        withstands(&weir, "windows of a byte", async |to, goes_on| {
            let mut caller = Frames::with_settings(to, &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
            let streams: Vec<u32> = (0..100).map(|n| 2 * n + 1).collect();
            caller.write(streams.iter().flat_map(|&id| whole(id, &get("/large"))).collect::<Vec<u8>>()).await;
            for _ in 0..50 {
                let updates: Vec<u8> = streams.iter().flat_map(|&id| window_update(id, 1)).collect();
                if !goes_on.get() || !caller.try_write(updates).await {
                    return;
                }
                while let Some(Some(_)) = caller.next_within(Duration::from_millis(1)).await {}
            }
        })
        .await;
    });
}

/// Opens `count` connections that each send `bytes`, and asks beside them until they are closed by the limit.
async fn slow(name: &str, weir: &Weir, count: usize, bytes: &[u8]) {
    let (before, descriptors) = (weir.memory(), weir.descriptors());
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(weir.address).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        held.push(stream);
    }
    let grown = ask_on(weir, before).await;
    println!("{name}: {count} connections, memory grew by {} KiB", grown >> 10);
    assert!(grown <= MAY_GROW, "{name}: memory grew by {} KiB", grown >> 10);
    within(Duration::from_secs(15), &format!("{name}: all are closed"), async {
        for stream in &mut held {
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
        for (name, bytes) in [
            ("nothing at all", Vec::new()),
            ("half a preface", PREFACE[..12].to_vec()),
            ("a preface alone", PREFACE.to_vec()),
            ("a preface and SETTINGS", begun.clone()),
            ("half of HEADERS", [&begun[..], &whole(1, &block)[..20]].concat()),
            ("HEADERS that go on", [&begun[..], &headers(1, flag::END_STREAM, &block)].concat()),
            ("half of a head of HTTP/1", b"POST / HTTP/1.1\r\nhost: m\r\nx-a: ".to_vec()),
        ] {
            slow(name, &weir, 500, &bytes).await;
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
                500,
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
