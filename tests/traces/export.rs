//! On the way to the collector: what is sent again, what is lost, and that nobody waits.

use std::fs;
use std::net::SocketAddr;

use futures_util::FutureExt as _;
use http::{Method, Response};
use weir::app::sidecar::Leave;
use weir::upstream::resolve::Resolver;

use crate::common::child::Weir;
use crate::common::otlp::{Collector, Via, taken};
use crate::common::world::client::{Client, get, request};
use crate::common::world::upstream::{BoxBody, Seen, Upstream, empty};
use crate::common::world::{Http, SOON, World, one_service, run, until, within};

/// A proxy before `v1` that tells `at` of every request.
async fn world(v1: &Upstream, via: Via, at: &str) -> World {
    World::start(&(one_service(&[], &[(&v1.at(), "v1")]) + &via.tracing(at, 100))).await
}

async fn send(world: &World, requests: usize) {
    let mut client = Client::connect(Http::One, world.addr("in")).await;
    for _ in 0..requests {
        assert_eq!(client.get("/m").await.status, 200);
    }
}

/// Waits until so many spans are counted in `family`, under `reason` where there is one.
pub(super) async fn counted(world: &World, family: &str, reason: &str, spans: f64) {
    within(SOON, &format!("{spans} in {family} {reason}"), async {
        while world.metric(family, &[reason]).await != spans {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(super) const EXPORTED: &str = "weir_spans_exported_total";
const DROPPED: &str = "weir_spans_dropped_total";

/// What says "later", or "never", by either protocol.
fn says(seen: &Seen, status: u16, grpc_status: &'static str) -> Response<BoxBody> {
    let is_call = seen.header("content-type") == Some("application/grpc");
    let response = Response::builder().header("content-type", "application/grpc");
    let response =
        if is_call { response.header("grpc-status", grpc_status) } else { response.status(status) };
    response.body(empty()).expect("a response")
}

#[test]
fn a_batch_that_the_collector_asks_for_again_is_sent_again_and_counts_once() {
    run(async || {
        for via in Via::BOTH {
            let v1 = Upstream::start("v1").await;
            let collector = Collector::answering(|number, seen| match number {
                0 => says(seen, 503, "14"),
                _ => taken(seen),
            })
            .await;
            let world = world(&v1, via, &collector.at()).await;
            send(&world, 3).await;
            counted(&world, EXPORTED, "", 6.0).await;
            let batches = collector.batches();
            assert!(batches.len() >= 2 && batches[0].body == batches[1].body, "{via:?}");
            assert_eq!(world.metric(DROPPED, &[]).await, 0.0);
        }
    });
}

#[test]
fn what_the_collector_will_not_have_is_lost_and_counted_and_not_sent_again() {
    run(async || {
        for via in Via::BOTH {
            let v1 = Upstream::start("v1").await;
            let collector = Collector::answering(|_, seen| says(seen, 400, "3")).await;
            let world = world(&v1, via, &collector.at()).await;
            send(&world, 1).await;
            counted(&world, DROPPED, "reason=\"refused\"", 2.0).await;
            send(&world, 1).await;
            counted(&world, DROPPED, "reason=\"refused\"", 4.0).await;
            assert_eq!(collector.batches().len(), 2, "{via:?}");
        }
    });
}

#[test]
fn a_collector_that_says_nothing_delays_nobody_and_what_does_not_fit_is_counted() {
    run(async || {
        const REQUESTS: usize = 1_100;
        let (v1, silent) = (Upstream::start("v1").await, Upstream::holding().await);
        let tracing = Via::Http.tracing(&silent.at(), 100).replace("protocol", "timeout: 1m, protocol");
        let drain = "drain: {grace: 0s, deadline: 1s}\n";
        let world = World::start(&(one_service(&[], &[(&v1.at(), "v1")]) + &tracing + drain)).await;
        send(&world, REQUESTS).await;
        counted(&world, DROPPED, "reason=\"queue_full\"", 2.0 * REQUESTS as f64 - 2_048.0).await;
        assert_eq!(world.metric(EXPORTED, &[]).await, 0.0);
        assert_eq!(world.leave(Leave::Quit).await, 0);
    });
}

#[test]
fn spans_that_wait_take_little_memory_however_long_the_heads_are_that_callers_have_recorded() {
    run(async || {
        const MIB: u64 = 1 << 20;
        let silent = Upstream::holding().await;
        let tracing = Via::Http.tracing(&silent.at(), 0).replace("protocol", "timeout: 1m, protocol");
        let weir =
            Weir::start(&("workers: 1\nservices: [{name: m, endpoints: []}]\n".to_owned() + &tracing), "");
        let mut client = Client::connect(Http::One, weir.address).await;
        let path = format!("/{}", "a".repeat(55_000));
        let mut ask = async |number: usize| {
            let asked = request(Method::GET, &path).header("user-agent", format!("caller/{number}"));
            let asked = asked.header("traceparent", crate::spans::PARENT);
            assert_eq!(client.send(asked.body(empty()).expect("a request")).await.status, 503);
        };
        ask(0).await; // so that what such a head takes by itself is there
        let memory = weir.watch_memory();
        for number in 1..2_100 {
            ask(number).await;
        }
        assert!(memory.grown() <= 16 * MIB, "{} MiB", memory.grown() / MIB);
        let (_, page) = weir.page("/metrics").await;
        let lost = page
            .lines()
            .find_map(|line| line.strip_prefix(DROPPED)?.strip_prefix("{reason=\"queue_full\"} "));
        assert!(lost.is_some_and(|lost| lost != "0"), "the queue is full");
    });
}

#[test]
fn who_leaves_has_the_last_spans_sent_first() {
    run(async || {
        for (via, leave) in [(Via::Grpc, Leave::Drain), (Via::Http, Leave::Quit)] {
            let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
            let world = world(&v1, via, &collector.at()).await;
            send(&world, 700).await;
            assert_eq!(world.leave(leave).await, 0);
            let spans = collector.spans();
            let requests = spans.iter().filter(|span| span.is_server).count();
            assert_eq!((requests, spans.len()), (700, 1_400), "{via:?}");
        }
    });
}

#[test]
fn tracing_begins_and_ends_with_a_reload() {
    run(async || {
        let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
        let world = World::start(&one_service(&[], &[(&v1.at(), "v1")])).await;
        let config = world.folder().join("weir.yaml");
        let plain = fs::read_to_string(&config).expect("a configuration");
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        client.send(get("/m")).await;
        assert_eq!(v1.last().header("traceparent"), None);
        fs::write(&config, format!("{plain}\n{}", Via::Grpc.tracing(&collector.at(), 100))).expect("written");
        within(SOON, "a trace", async {
            while v1.last().header("traceparent").is_none() {
                client.send(get("/m")).await;
            }
        })
        .await;
        until("a span", || (!collector.spans().is_empty()).then_some(())).await;
        fs::write(&config, plain).expect("written");
        within(SOON, "no trace", async {
            while v1.last().header("traceparent").is_some() {
                client.send(get("/m")).await;
            }
        })
        .await;
    });
}

#[test]
fn a_collector_has_a_name_or_a_path_in_the_file_system() {
    run(async || {
        let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
        let SocketAddr::V4(at) = collector.at().parse().expect("an address") else { panic!("no IPv4") };
        let port = at.port();
        let resolver = Resolver::new(move |(host, port)| {
            async move {
                match &*host {
                    "otel.observability" => Ok(vec![(*at.ip(), port).into()]),
                    _ => Err(std::io::Error::other("nobody knows it")),
                }
            }
            .boxed_local()
        });
        let tracing = Via::Grpc.tracing(&format!("otel.observability:{port}"), 100);
        let yaml = one_service(&[], &[(&v1.at(), "v1")]) + &tracing;
        let world = World::with_resolver(&yaml, &[], resolver).await;
        send(&world, 1).await;
        collector.wait(2).await;
        assert_eq!(collector.batches()[0].host(), format!("otel.observability:{port}"));

        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("otlp.sock");
        let there = Upstream::start_unix("collector", &socket).await;
        let tracing = format!(
            "tracing: {{endpoint: \"unix:{}\", protocol: http, sample_percent: 100}}\n",
            socket.display()
        );
        let world = World::start(&(one_service(&[], &[(&v1.at(), "v1")]) + &tracing)).await;
        send(&world, 1).await;
        counted(&world, EXPORTED, "", 2.0).await;
        assert_eq!(there.only().target(), "/v1/traces");
    });
}
