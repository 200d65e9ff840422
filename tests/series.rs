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

/// Requests of each kind; there are seven.
const EACH: usize = 15_000;
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

/// 105,000 of them.
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
        let (before, start) = (series(&world).await, Instant::now());
        let sent = all(&world, 1_000_000, 1_000_000 + EACH).await;
        println!("{sent} requests in {:?}; {} lines", start.elapsed(), before.len());
        assert_eq!(sent, EACH * (PLAIN.len() + GRPC.len()));
        assert!(sent >= 100_000 && before.len() > 100);
        let after = series(&world).await;
        let new: Vec<&String> = after.difference(&before).collect();
        assert!(new.is_empty(), "new series: {new:#?}");
        assert_eq!(
            world.metric("envoy_http_downstream_rq_total", &[]).await as usize,
            sent + 4 * AT_ONCE * 7,
            "all are counted"
        );
        // Each request for a version counts in each dimension, and what nobody listed is one value.
        let of = async |dimension: &str, value: &str| {
            let labels = [format!("dimension=\"{dimension}\""), format!("value=\"{value}\"")];
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            world.metric("weir_dimension_requests_total", &labels).await as usize
        };
        let each = EACH + 4 * AT_ONCE;
        assert_eq!((of("tenant", "other").await, of("tenant", "acme").await), (each, 0));
        assert_eq!((of("agent", "other").await, of("kind", "other").await), (2 * each, 3 * each));
    });
}
