//! Every way in which an attempt can end, before the real Envoy and before Weir: what the caller gets, what the log says,
//! and what is counted of the cluster and of the endpoint.
//!
//! Law: `differential_ends/differences.md` says what differs and why, as for `differential.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod parts;
    pub(crate) mod world;
}
#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential_ends/upstreams.rs"]
mod upstreams;
#[path = "differential_ends/written.rs"]
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use common::parts::part;
use common::world::client::Client;
use common::world::raw::{Raw, header_of};
use common::world::{Http, SOON, World, lines_of, run, until};
use differences::Difference;
use envoy::Envoy;
use tokio::task::spawn_local;
use upstreams::{Kind, Leaves};

/// Of both.
const LOG_FORMAT: &str = "%REQ(:AUTHORITY)% %REQ(:PATH)% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
    %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n";
/// Requests of each kind, one after the other.
const REQUESTS: usize = 3;

/// As Envoy names them, of a cluster.
const OF_CLUSTER: [&str; 22] = [
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_2xx",
    "upstream_rq_5xx",
    "upstream_rq_503",
    "retry.upstream_rq_completed",
    "retry.upstream_rq_5xx",
    "retry.upstream_rq_503",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_rx_reset",
    "upstream_rq_tx_reset",
    "upstream_rq_cancelled",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_pending_active",
    "upstream_rq_pending_overflow",
    "upstream_rq_retry",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_limit_exceeded",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_none_healthy",
];
/// Of an endpoint.
const OF_ENDPOINT: [&str; 4] = ["rq_error", "rq_success", "rq_timeout", "cx_connect_fail"];

#[test]
fn every_difference_to_envoy_in_the_ends_of_attempts_over_http_1_is_listed_and_explained() {
    compare("Ends over HTTP/1", Http::One);
}

#[test]
fn every_difference_to_envoy_in_the_ends_of_attempts_over_http_2_is_listed_and_explained() {
    compare("Ends over HTTP/2", Http::Two);
}

/// What came of the requests of one kind.
#[derive(Debug, PartialEq)]
struct Told {
    answers: Vec<String>,
    logged: Vec<String>,
    counted: BTreeMap<String, u64>,
}

fn compare(title: &str, up: Http) {
    let Some(program) = part("envoy") else { return };
    let found = run(async || {
        // One set of upstreams each, so that neither sees what the other did to them.
        let (of_envoy, of_weir) = (upstreams::all(up).await, upstreams::all(up).await);
        let envoy = Envoy::with(&program, |log| written::for_envoy(&of_envoy, up, log));
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        let (yaml, rules) = written::for_weir(&of_weir, up, &log);
        let weir = World::with_rules(&yaml, &[("rules.yaml", &rules)]).await;
        let mut found = Vec::new();
        for (kind, again) in of_envoy.iter().zip(&of_weir) {
            let counted =
                async || written::counted_by_envoy(&pages(envoy.admin, ["/stats", "/clusters"]).await, kind);
            let answers = ask(envoy.address, kind, &counted).await;
            let envoy = told(answers, kind, &envoy.log, counted).await;
            let counted = async || {
                let page =
                    Client::connect(Http::One, weir.metrics()).await.get("/metrics").await.text().to_owned();
                let [clusters] = pages(weir.admin(), ["/clusters"]).await;
                written::counted_by_weir(&[page, clusters], again)
            };
            let answers = ask(weir.addr("in"), again, &counted).await;
            let weir = told(answers, again, &log, counted).await;
            found.extend(difference(kind.name, &envoy, &weir));
        }
        found
    });
    differences::check("differential_ends/differences.md", title, &found);
}

async fn pages<const N: usize>(admin: SocketAddr, paths: [&str; N]) -> [String; N] {
    let mut client = Client::connect(Http::One, admin).await;
    let mut pages = [(); N].map(|()| String::new());
    for (page, path) in pages.iter_mut().zip(paths) {
        *page = client.get(path).await.text().to_owned();
    }
    pages
}

/// What differs, and only that.
fn difference(kind: &str, envoy: &Told, weir: &Told) -> Option<Difference> {
    let lists = [(&envoy.answers, &weir.answers), (&envoy.logged, &weir.logged)];
    let lists = lists.map(|(envoy, weir)| (String::new(), envoy.join(", "), weir.join(", ")));
    let counts = envoy.counted.iter().map(|(name, count)| {
        let other = weir.counted.get(name).copied().unwrap_or_default();
        (format!("{name} "), count.to_string(), other.to_string())
    });
    let (envoy, weir) = differences::apart(lists.into_iter().chain(counts))?;
    Some(Difference::new(kind, &envoy, &weir))
}

/// Waits until the log has all lines and the counters stay as they are.
async fn told(
    answers: Vec<String>,
    kind: &Kind,
    log: &Path,
    counted: impl AsyncFn() -> BTreeMap<String, u64>,
) -> Told {
    let start = format!("{}.example /m ", kind.name);
    let logged = until(&format!("the log of {}", kind.name), || {
        let whole = lines_of(log);
        let of_kind = whole.iter().filter_map(|line| line.strip_prefix(&start));
        let lines: Vec<String> = of_kind.map(without_cause).collect();
        (lines.len() >= REQUESTS).then_some(lines)
    })
    .await;
    let mut last = counted().await;
    let counted = loop {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let now = counted().await;
        if now == last {
            break now;
        }
        last = now;
    };
    Told { answers: distinct(answers), logged: distinct(logged), counted }
}

/// All are mostly the same; those that are not stand in their order.
fn distinct(mut all: Vec<String>) -> Vec<String> {
    all.dedup();
    all
}

/// Envoy adds what the system said of a connection.
fn without_cause(line: &str) -> String {
    match (line.find('|'), line.find('}')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to..]),
        _ => line.to_owned(),
    }
}

/// Sends the requests of a kind, and tells in words what came back.
async fn ask(to: SocketAddr, kind: &Kind, counted: &impl AsyncFn() -> BTreeMap<String, u64>) -> Vec<String> {
    let request = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: {}.example\r\ncontent-length: 0\r\n\r\n", kind.name)
    };
    let held = request("/held");
    // Takes what it gets for as long as it lasts.
    let hold = || {
        let held = held.clone();
        spawn_local(async move {
            let mut raw = Raw::connect(to).await;
            raw.write(&held).await;
            std::future::pending::<()>().await;
            drop(raw);
        })
    };
    let mut holds = Vec::new();
    if kind.held {
        holds.push(hold());
        until("the connection is taken", || (kind.begun.get() > 0).then_some(())).await;
    }
    if kind.in_line {
        holds.push(hold());
        until_in_line(counted, 1).await;
    }
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        let begun = kind.begun.get();
        let mut raw = Raw::connect(to).await;
        raw.write(request("/m")).await;
        match kind.leaves {
            Some(Leaves::BeforeTheHead) => {
                until("it is asked", || (kind.begun.get() > begun).then_some(())).await;
                answers.push("left".into());
            }
            Some(Leaves::InTheBody) => {
                raw.read_until(b"half").await.expect("the beginning");
                answers.push("left".into());
            }
            None => answers.push(answer(&mut raw, kind).await),
        }
    }
    // Who waits leaves first, or it would have its turn.
    while let Some(last) = holds.pop() {
        last.abort();
        if !holds.is_empty() {
            until_in_line(counted, 0).await;
        }
    }
    answers
}

/// Waits until so many requests wait for a connection.
async fn until_in_line(counted: &impl AsyncFn() -> BTreeMap<String, u64>, count: u64) {
    let start = Instant::now();
    while counted().await["upstream_rq_pending_active"] != count {
        assert!(start.elapsed() < SOON, "there are not {count} requests in the line");
    }
}

async fn answer(raw: &mut Raw, kind: &Kind) -> String {
    let Some(head) = raw.read_head().await else { return "closed".into() };
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let overloaded = if header_of(&head, "x-envoy-overloaded").is_some() { " overloaded" } else { "" };
    let length = header_of(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = String::new();
    if let Some(gate) = &kind.gate {
        body = raw.read_at_most("half".len()).await;
        gate.notify_one();
    }
    body += &match length {
        Some(length) => raw.read_at_most(length - body.len()).await,
        None => raw.read_to_end().await,
    };
    let whole = if length.is_some_and(|length: usize| length > body.len()) { ", cut" } else { "" };
    // Whether the text says that it was tried again is for a test of retries; the attempts stand in the log.
    let body = body.replace(" retried and the latest reset", " reset");
    // Envoy adds what the system said of a connection.
    let body = body.split(", transport failure reason").next().unwrap_or_default();
    format!("{status}{overloaded} {body:?}{whole}")
}
