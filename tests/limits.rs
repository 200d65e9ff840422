//! The table of docs/limits.md, row by row: a limit is set low and passed over sockets; the caller gets what the table
//! says, and `weir_limit_exceeded_total` counts that limit and no other.
//!
//! Law: every value of `limit` has a row here, or stands in [`WITHOUT_A_ROW`] with the reason.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod frames;
    pub(crate) mod world;
}
#[path = "limits/rows.rs"]
mod rows;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::rc::Rc;

use common::engine::{Engine, eventually, on_control_thread};
use common::world::client::Client;
use common::world::raw::{Raw, RawUpstream, header_of};
use common::world::{Http, World, one_service, run, until};
use futures_util::future::LocalBoxFuture;
use rows::{of_bytes, of_clusters, of_connections, of_heads, of_time};
use tokio::task::spawn_local;
use weir::telemetry::families::Limit;

/// Limits that no caller meets here, and why.
const WITHOUT_A_ROW: [(Limit, &str); 3] = [
    (
        Limit::Memory,
        "to be near its cgroup's bound takes a cgroup of one's own; what follows has its own test below",
    ),
    (
        Limit::MaxConnections,
        "met by a bound of 0 alone, which weir.yaml does not take; above it, requests wait",
    ),
    (Limit::Mirrors, "no caller meets it, but copies do: `policy_mirror.rs` has its test"),
];

/// What a limit is tried on.
struct Scene {
    world: World,
    /// Requests that the upstream has read whole.
    taken: Rc<Cell<usize>>,
}

struct Row {
    name: &'static str,
    limit: Limit,
    /// Within `limits: {}`.
    limits: &'static str,
    /// Further settings of the service.
    service: &'static [&'static str],
    /// How often the limit is met.
    times: RangeInclusive<u64>,
    /// The families that count it as well.
    also: &'static [&'static str],
    act: fn(Rc<Scene>) -> LocalBoxFuture<'static, String>,
    /// What `act` tells.
    effect: &'static str,
}

#[test]
fn every_limit_does_what_its_table_says_and_is_counted_by_its_name() {
    let rows: Vec<Row> =
        [of_heads(), of_connections(), of_time(), of_bytes(), of_clusters()].into_iter().flatten().collect();
    let tried: BTreeSet<&str> = rows.iter().map(|row| row.limit.as_str()).collect();
    let named: BTreeSet<&str> =
        WITHOUT_A_ROW.iter().map(|(limit, _)| limit.as_str()).chain(tried.iter().copied()).collect();
    let all: BTreeSet<&str> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
    assert_eq!(named, all, "a limit has neither a row nor a reason to have none");
    run(async || {
        let mut trials = Vec::new();
        for row in rows {
            trials.push((row.name, spawn_local(tried_on(row))));
        }
        let mut faults = Vec::new();
        for (name, trial) in trials {
            match trial.await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => faults.push(format!("{name}: {fault}")),
                Err(panicked) => faults.push(format!("{name}: {panicked}")),
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}

async fn tried_on(row: Row) -> Result<(), String> {
    let taken = Rc::<Cell<usize>>::default();
    let upstream = upstream(taken.clone()).await;
    let settings = one_service(row.service, &[(&upstream.at(), "v1")]);
    let world = World::start(&format!("{settings}limits: {{{}}}\n", row.limits)).await;
    let scene = Rc::new(Scene { world, taken });
    let effect = (row.act)(scene.clone()).await;
    let counts = counts(&scene.world).await;
    let unexpected: Vec<_> =
        counts.iter().filter(|(limit, count)| **limit != row.limit.as_str() && **count > 0).collect();
    let met = counts[row.limit.as_str()];
    let mut also = Vec::new();
    for family in row.also {
        also.push(scene.world.metric(family, &[]).await as u64);
    }
    if effect == row.effect
        && unexpected.is_empty()
        && row.times.contains(&met)
        && also.iter().all(|&count| count == met)
    {
        return Ok(());
    }
    Err(format!(
        "{effect:?}, not {:?}; counted {met} times, not {:?}; {:?} say {also:?}; counted beside: {unexpected:?}",
        row.effect, row.times, row.also
    ))
}

/// Every `limit` and how often it was met.
async fn counts(world: &World) -> BTreeMap<String, u64> {
    let page = Client::connect(Http::One, world.metrics()).await.get("/metrics").await;
    let lines =
        page.text().lines().filter_map(|line| line.strip_prefix("weir_limit_exceeded_total{limit=\""));
    let counts: BTreeMap<String, u64> = lines
        .map(|line| line.split_once("\"} ").expect("one label"))
        .map(|(limit, count)| (limit.to_owned(), count.parse().expect("a count")))
        .collect();
    assert_eq!(counts.len(), Limit::ALL.len(), "{counts:?}");
    counts
}

/// By the path: `/hold` is read and never answered, `/begin` gets a part of an answer, `/drop` none; the rest gets `ok`.
async fn upstream(taken: Rc<Cell<usize>>) -> RawUpstream {
    RawUpstream::start(move |mut raw, _| {
        let taken = taken.clone();
        async move {
            while let Some(head) = raw.read_head().await {
                let length =
                    header_of(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
                raw.read_exact(length).await;
                taken.set(taken.get() + 1);
                let target = head.split(' ').nth(1).unwrap_or_default();
                match target {
                    "/drop" => break,
                    "/begin" => raw.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\na").await,
                    "/" => raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await,
                    _ => {}
                }
                if target != "/" {
                    // Also where what was read is the preface of HTTP/2.
                    std::future::pending::<()>().await;
                }
            }
            String::new()
        }
    })
    .await
}

impl Scene {
    async fn connect(&self) -> Raw {
        Raw::connect(self.world.addr("in")).await
    }

    /// A request that has no answer yet.
    async fn begin(&self, path: &str) -> Raw {
        let mut raw = self.connect().await;
        raw.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        raw
    }

    /// [`Scene::begin`] with a body, which the upstream has when this returns.
    async fn post(&self, path: &str, length: usize) -> Raw {
        let (mut raw, before) = (self.connect().await, self.taken.get());
        raw.write(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")).await;
        raw.write(vec![b'x'; length]).await;
        until("a request upstream", || (self.taken.get() > before).then_some(())).await;
        raw
    }

    async fn until_taken(&self, count: usize) {
        until("requests upstream", || (self.taken.get() >= count).then_some(())).await;
    }

    /// The flags of the first line in the access log.
    async fn flags(&self) -> String {
        self.world.log(1).await[0].split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

/// The next answer: status and body, or what came of it before the end.
async fn told(raw: &mut Raw) -> String {
    let Some(head) = raw.read_head().await else { return "closed".into() };
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let length = header_of(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = String::new();
    while body.len() < length {
        match raw.read_some().await {
            some if some.is_empty() => return format!("{status} {body} cut"),
            some => body.push_str(&some),
        }
    }
    format!("{status} {body}").trim_end().to_owned()
}

/// [`told`], and that the connection closes.
async fn told_and_closed(raw: &mut Raw) -> String {
    let answer = told(raw).await;
    raw.read_to_end().await;
    format!("{answer}, closed")
}

/// That memory is short is told to the server as its watch over the cgroup does.
#[test]
fn while_memory_is_short_accepting_pauses_and_it_is_counted_once() {
    on_control_thread(async {
        let main = "listeners: [{name: in, address: '127.0.0.1:0', service: x}]\nservices: [{name: x, endpoints: []}]\n";
        let engine = Engine::start(1, main, "");
        let met = || engine.metric("weir_limit_exceeded_total{limit=\"memory\"");
        engine.server.borrow().set_memory_is_short(true);
        let mut waits = Raw::connect(engine.address("in")).await;
        waits.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        eventually("it is counted", || met() == 1.0).await;
        assert_eq!(engine.metric("envoy_listener_downstream_cx_overflow"), 1.0);
        assert_eq!(engine.metric("envoy_http_downstream_cx_total"), 0.0, "nobody is accepted");
        engine.server.borrow().set_memory_is_short(false);
        assert_eq!(told(&mut waits).await, "503 no healthy upstream");
        assert_eq!(met(), 1.0);
    });
}
