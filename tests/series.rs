//! What callers send makes no series: `/metrics` has the lines that it had, whatever paths, hosts, methods, fields (also
//! those that dimensions are read from) and gRPC methods have been asked for.
//!
//! Each kind is sent once before, so that the series of its outcome are there.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod frames;
    pub(crate) mod world;
}

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use common::frames::{Frames, flag, head, kind, whole};
use common::world::client::Client;
use common::world::raw::Raw;
use common::world::upstream::{Upstream, empty};
use common::world::{Http, World, run, soon};
use futures_util::future::join_all;
use weir::runtime::worker::local_runtime;

/// Requests of each kind alone; there are seven.
const EACH: usize = 15_000;
/// Requests of which each differs from all others in everything at once: a path, a host, a method and fields of its own.
const OF_ALL: usize = 100_000;
/// At a time on a connection.
const AT_ONCE: usize = 50;

/// The address of an upstream for both HTTPs, with a thread of its own that leaves with the process.
fn upstream() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        local_runtime().expect("a runtime").block_on(async {
            let answer = |_| async {
                let response = http::Response::builder().header("grpc-status", "0");
                response.header("content-type", "application/grpc").body(empty()).expect("a response")
            };
            tell.send(Upstream::handling(answer).await.addr()).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("an upstream")
}

/// Whom the requests of a kind go to: a listener for one service, or one that knows services by their hosts.
type Kind = (&'static str, &'static str, fn(usize) -> String);

/// HTTP/1, each number another request.
const PLAIN: [Kind; 5] = [
    ("paths and queries", "in", |n| format!("GET /p/{n}/{n}?q{n}={n} HTTP/1.1\r\nhost: x\r\n\r\n")),
    ("hosts of one service", "in", |n| {
        format!("GET / HTTP/1.1\r\nhost: h{n}.example:{}\r\n\r\n", n % 60_000 + 1)
    }),
    ("hosts of no service", "all", |n| format!("GET / HTTP/1.1\r\nhost: h{n}.example\r\n\r\n")),
    ("methods", "in", |n| format!("M{n} / HTTP/1.1\r\nhost: x\r\n\r\n")),
    ("fields", "in", |n| {
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\nuser-agent: agent/{n}\r\nx-tenant: t{n}\r\nx-{n}: {n}\r\nx-request-id: {n}\r\n\
             x-forwarded-for: 10.{}.{}.1\r\nx-envoy-downstream-service-cluster: c{n}\r\n\
             x-envoy-downstream-service-node: n{n}\r\nx-envoy-peer-metadata-id: {n}\r\ncookie: c={n}\r\n\
             content-type: application/{n}\r\nreferer: http://{n}/\r\n\r\n",
            n / 250 % 250,
            n % 250
        )
    }),
];

/// All of [`PLAIN`] that the listener for one service takes, in one request.
const ALL_AT_ONCE: Kind = ("everything", "in", |n| {
    format!(
        "M{n} /p/{n}/{n}?q{n}={n} HTTP/1.1\r\nhost: h{n}.example\r\nuser-agent: agent/{n}\r\nx-tenant: t{n}\r\nx-{n}: {n}\r\n\
         content-type: application/{n}\r\n\r\n"
    )
});

/// The same of a gRPC call, whose method is its path.
fn call_of_all(n: usize) -> Vec<u8> {
    let kind = format!("application/grpc+k{n}");
    let fields = [("content-type", &*kind), ("te", "trailers"), ("user-agent", &*kind), ("x-tenant", &*kind)];
    head("POST", &format!("/pkg.S{n}/M{n}"), &fields)
}

/// Asks for each number of `numbers` on one connection; every answer is `status`.
async fn plain(to: SocketAddr, status: &str, kind: Kind, numbers: impl Iterator<Item = usize>) -> usize {
    let (mut raw, mut numbers, mut asked) = (Raw::connect(to).await, numbers.peekable(), 0);
    while numbers.peek().is_some() {
        let requests: Vec<String> = numbers.by_ref().take(AT_ONCE).map(kind.2).collect();
        raw.write(requests.concat()).await;
        for request in &requests {
            let answer = raw.read_head().await.expect("an answer");
            assert_eq!(answer.split(' ').nth(1), Some(status), "{}: {request}{answer}", kind.0);
        }
        asked += requests.len();
    }
    asked
}

/// gRPC: a method of a service for each number of `numbers`, or a host.
async fn calls(to: SocketAddr, block: fn(usize) -> Vec<u8>, numbers: impl Iterator<Item = usize>) -> usize {
    let (mut caller, mut numbers, mut asked) = (Frames::connect(to).await, numbers.peekable(), 0);
    while numbers.peek().is_some() {
        let blocks: Vec<Vec<u8>> = numbers.by_ref().take(AT_ONCE).map(block).collect();
        let stream = |n: usize| (2 * (asked + n) + 1) as u32;
        caller
            .write(
                blocks.iter().enumerate().flat_map(|(n, block)| whole(stream(n), block)).collect::<Vec<u8>>(),
            )
            .await;
        let mut open = blocks.len();
        while open > 0 {
            let frame = caller.next().await.expect("answers");
            let ends = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM);
            assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{frame:?}");
            open -= usize::from(ends);
        }
        asked += blocks.len();
    }
    asked
}

const GRPC: [(&str, fn(usize) -> Vec<u8>); 2] = [
    ("gRPC methods", |n| {
        head("POST", &format!("/pkg.S{n}/M{n}"), &[("content-type", "application/grpc"), ("te", "trailers")])
    }),
    ("gRPC subtypes and fields", |n| {
        let kind = format!("application/grpc+k{n}");
        let fields =
            [("content-type", &*kind), ("te", "trailers"), ("grpc-encoding", &*kind), ("user-agent", &*kind)];
        head("POST", "/s/m", &fields)
    }),
];

/// Sends the numbers from `from` to `to` of each kind, each kind on two connections.
async fn all(world: &World, from: usize, to: usize) -> usize {
    let middle = (from + to).div_ceil(2);
    let mut sent = 0;
    for kind in PLAIN {
        let status = if kind.1 == "all" { "404" } else { "200" };
        let address = world.addr(kind.1);
        let two = [from..middle, middle..to].map(|numbers| plain(address, status, kind, numbers));
        sent += join_all(two).await.into_iter().sum::<usize>();
    }
    for (_, block) in GRPC {
        let two = [from..middle, middle..to].map(|numbers| calls(world.addr("in"), block, numbers));
        sent += join_all(two).await.into_iter().sum::<usize>();
    }
    sent
}

/// Sends the numbers from `from` to `to`, each in requests that differ in everything.
async fn all_at_once(world: &World, from: usize, to: usize) -> usize {
    let middle = (from + to).div_ceil(2);
    let address = world.addr("in");
    let two = [from..middle, middle..to].map(|numbers| plain(address, "200", ALL_AT_ONCE, numbers));
    let sent = join_all(two).await.into_iter().sum::<usize>();
    let two = [from..middle, middle..to].map(|numbers| calls(address, call_of_all, numbers));
    sent + join_all(two).await.into_iter().sum::<usize>()
}

/// The names and labels of every line, without the values.
async fn series(world: &World) -> BTreeSet<String> {
    let page =
        soon("metrics", async { Client::connect(Http::One, world.metrics()).await.get("/metrics").await })
            .await;
    page.text()
        .lines()
        .map(|line| line.rsplit_once(' ').map_or(line, |(series, _)| series).to_owned())
        .collect()
}

/// 105,000 that differ in one thing each, and 200,000 that differ in everything.
#[test]
fn a_hundred_thousand_requests_that_differ_in_all_that_callers_choose_make_no_series() {
    run(async || {
        let at = upstream();
        let world = World::start(&format!(
            "metrics: {{dimensions: [{{name: tenant, header: x-tenant, values: [acme, globex]}},\n\
             \x20 {{name: agent, header: user-agent, values: [curl]}}, {{name: kind, header: content-type, values: [a]}}]}}\n\
             listeners:\n- {{name: in, address: '127.0.0.1:0', service: x}}\n- {{name: all, address: '127.0.0.2:0'}}\n\
             services: [{{name: x, endpoints: [{{http: '{at}', grpc: '{at}', labels: {{version: v1}}}}]}}]\n\
             access_log: off\n"
        ))
        .await;
        // More than one each, so that both connections of a kind and their pools are there.
        all(&world, 0, 4 * AT_ONCE).await;
        let more = all_at_once(&world, 0, 4 * AT_ONCE).await;
        let (before, start) = (series(&world).await, Instant::now());
        let sent = all(&world, 1_000_000, 1_000_000 + EACH).await;
        println!("{sent} requests in {:?}; {} lines", start.elapsed(), before.len());
        assert_eq!(sent, EACH * (PLAIN.len() + GRPC.len()));
        assert!(sent >= 100_000 && before.len() > 100);
        let of_all = all_at_once(&world, 2_000_000, 2_000_000 + OF_ALL).await;
        println!("{of_all} more after {:?}", start.elapsed());
        assert_eq!(of_all, 2 * OF_ALL);
        let after = series(&world).await;
        let new: Vec<&String> = after.difference(&before).collect();
        assert!(new.is_empty(), "new series: {new:#?}");
        assert_eq!(
            world.metric("envoy_http_downstream_rq_total", &[]).await as usize,
            sent + of_all + more + 4 * AT_ONCE * 7,
            "all are counted"
        );
        // Each request for a version counts in each dimension, and what nobody listed is one value.
        let of = async |dimension: &str, value: &str| {
            let labels = [format!("dimension=\"{dimension}\""), format!("value=\"{value}\"")];
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            world.metric("weir_dimension_requests_total", &labels).await as usize
        };
        let each = EACH + 4 * AT_ONCE;
        let both = of_all + more;
        assert_eq!((of("tenant", "other").await, of("tenant", "acme").await), (each + both, 0));
        assert_eq!(
            (of("agent", "other").await, of("kind", "other").await),
            (2 * each + both, 3 * each + both)
        );
    });
}

/// An upstream whose answers have the status that the path asks for, and the gRPC status that a field asks for.
fn obeying() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        local_runtime().expect("a runtime").block_on(async {
            let answer = |request: http::Request<_>| async move {
                let mut response = http::Response::builder().status(&request.uri().path()[1..]);
                if let Some(status) = request.headers().get("x-status") {
                    response =
                        response.header("grpc-status", status).header("content-type", "application/grpc");
                }
                response.body(empty()).expect("a response")
            };
            tell.send(Upstream::handling(answer).await.addr()).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("an upstream")
}

#[test]
fn whatever_statuses_model_servers_answer_with_those_that_are_none_share_one_series() {
    run(async || {
        let at = obeying();
        let world = World::start(&format!(
            "listeners: [{{name: in, address: '127.0.0.1:0', service: x}}]\n\
             services: [{{name: x, endpoints: [{{http: '{at}', grpc: '{at}', labels: {{version: v1}}}}]}}]\n\
             access_log: off\n"
        ))
        .await;
        let mut plain = Client::connect(Http::One, world.addr("in")).await;
        let mut calls = Client::connect(Http::Two, world.addr("in")).await;
        let mut ask = async |status: usize| {
            plain.send(common::world::client::get(&format!("/{status}"))).await;
        };
        let mut call = async |status: String| {
            let call = common::world::client::grpc("/200").header("x-status", status);
            calls.send(call.body(empty()).expect("a request")).await;
        };
        // All that are HTTP's and gRPC's, and one of each that is not.
        for status in (200..=599).chain([600]) {
            ask(status).await;
        }
        for status in 0..=17 {
            call(status.to_string()).await;
        }
        let before = series(&world).await;
        for status in 601..=999 {
            ask(status).await;
        }
        for status in 18..2_000 {
            call(status.to_string()).await;
        }
        for status in ["-1", "00", "1 2", "zero", "4294967296", "99999999999999999999"] {
            call(status.to_owned()).await;
        }
        let after = series(&world).await;
        let new: Vec<&String> = after.difference(&before).collect();
        assert!(new.is_empty(), "new series: {new:#?}");
        let codes = |page: &BTreeSet<String>| {
            let code =
                |line: &String| Some(line.split_once("response_code=\"")?.1.split('"').next()?.to_owned());
            page.iter().filter_map(code).collect::<BTreeSet<_>>()
        };
        let codes = codes(&after);
        assert!(codes.contains("unknown") && !codes.contains("600"), "{codes:?}");
    });
}
