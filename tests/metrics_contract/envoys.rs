//! Envoy's families that tell of clusters: room before a breaker opens, weights, who ends connections, look-ups of names,
//! bodies too long to be kept.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use http::Response;

use crate::common::metrics::{Sample, Scrape};
use crate::common::names::Names;
use crate::common::world::client::{Client, get, post, request};
use crate::common::world::upstream::{Upstream, channel, full};
use crate::common::world::{Http, SOON, World, one_service, run, split_rule, until};

async fn scrape(world: &World) -> Scrape {
    Scrape::read(Client::connect(Http::One, world.metrics()).await.get("/metrics").await.text())
}

/// The sum over the clusters.
async fn sum(world: &World, name: &str) -> f64 {
    let page = scrape(world).await;
    let mut values = page.series(name, &[]).map(|sample| sample.value).peekable();
    assert!(values.peek().is_some(), "there is no series of {name}");
    values.sum()
}

/// Waits until `name` is `wanted`.
async fn becomes(world: &World, name: &str, wanted: f64) {
    let start = Instant::now();
    loop {
        let seen = sum(world, name).await;
        if seen == wanted {
            return;
        }
        assert!(start.elapsed() < SOON, "{name} is {seen}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await; // between two scrapes
    }
}

#[test]
fn what_remains_before_a_breaker_opens_falls_with_each_request_in_flight() {
    run(async || {
        let upstream = Upstream::holding().await;
        let limits = "circuit_breakers: {connections: 7, pending: 5, requests: 3, retries: 2}";
        let world = World::start(&one_service(&["protocol: http1", limits], &[(&upstream.at(), "v1")])).await;
        let remaining = |of: &str| format!("envoy_cluster_circuit_breakers_default_remaining_{of}");
        for (of, all) in [("cx", 7.0), ("pending", 5.0), ("rq", 3.0), ("retries", 2.0)] {
            assert_eq!(sum(&world, &remaining(of)).await, all, "{of}");
        }
        let mut clients = Vec::new();
        for left in [2.0, 1.0, 0.0] {
            let mut client = Client::connect(Http::One, world.addr("in")).await;
            clients.push(tokio::task::spawn_local(async move { drop(client.begin(get("/")).await) }));
            becomes(&world, &remaining("rq"), left).await;
            let open = sum(&world, "envoy_cluster_circuit_breakers_default_rq_open").await;
            assert_eq!(open, if left == 0.0 { 1.0 } else { 0.0 });
        }
        becomes(&world, &remaining("cx"), 4.0).await;
        clients.iter().for_each(tokio::task::JoinHandle::abort);
        becomes(&world, &remaining("rq"), 3.0).await;
    });
}

#[test]
fn the_greatest_weight_is_that_of_the_heaviest_endpoint() {
    run(async || {
        let yaml = "listeners: [{name: in, address: '127.0.0.1:0', service: x}]\n\
            services: [{name: x, endpoints: [{address: '127.0.0.1:9', weight: 3}, {address: '127.0.0.1:10', weight: 17}]}]\n";
        let world = World::start(yaml).await;
        assert_eq!(sum(&world, "envoy_cluster_max_host_weight").await, 17.0);
    });
}

#[test]
fn a_connection_is_ended_by_the_upstream_or_by_weir() {
    run(async || {
        for (http, ends, local, remote) in
            [(Http::One, true, 0.0, 1.0), (Http::One, false, 1.0, 0.0), (Http::Two, false, 1.0, 0.0)]
        {
            let upstream = Upstream::remembering(move |_| {
                let answer = Response::builder();
                let answer = if ends { answer.header("connection", "close") } else { answer };
                answer.body(full("ok")).expect("a response")
            })
            .await;
            let yaml = one_service(&[&format!("protocol: {}", http.protocol())], &[(&upstream.at(), "v1")])
                + "limits: {upstream_idle: {http1: 200ms, http2: 200ms}}\n";
            let world = World::start(&yaml).await;
            Client::connect(Http::One, world.addr("in")).await.get("/").await;
            becomes(&world, "envoy_cluster_upstream_cx_destroy", 1.0).await;
            let seen = [
                sum(&world, "envoy_cluster_upstream_cx_destroy_local").await,
                sum(&world, "envoy_cluster_upstream_cx_destroy_remote").await,
            ];
            assert_eq!(seen.iter().sum::<f64>(), 1.0, "{http:?} {ends}");
            // An answer that says goodbye may be obeyed before its sender's end has come.
            if !ends {
                assert_eq!(seen, [local, remote], "{http:?} {ends}");
            }
        }
    });
}

#[test]
fn an_upstream_that_goes_away_has_ended_its_idle_connections() {
    run(async || {
        for http in Http::BOTH {
            let (gone, left) = tokio::sync::oneshot::channel::<()>();
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = server.local_addr().expect("an address").to_string();
            let upstream = Upstream::start("a").await;
            // A pipe that can be cut: what stands behind it is a real server.
            let behind = upstream.addr();
            tokio::task::spawn_local(async move {
                let (mut near, _) = server.accept().await.expect("a connection");
                let mut far = tokio::net::TcpStream::connect(behind).await.expect("connected");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = left => {}
                }
            });
            let protocol = format!("protocol: {}", http.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&at, "v1")])).await;
            let answer = Client::connect(Http::One, world.addr("in")).await.get("/").await;
            assert_eq!(answer.upstream(), "a");
            gone.send(()).expect("the pipe is there");
            becomes(&world, "envoy_cluster_upstream_cx_destroy_remote", 1.0).await;
            assert_eq!(sum(&world, "envoy_cluster_upstream_cx_destroy_local").await, 0.0, "{http:?}");
        }
    });
}

#[test]
fn look_ups_of_names_are_counted_in_each_cluster_that_has_the_name() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let names = Names::default();
        names.say("models.test", &[Ipv4Addr::LOCALHOST.into()]);
        let endpoint = format!("models.test:{}", upstream.addr().port());
        let yaml = one_service(&["dns_refresh: 100ms"], &[(&endpoint, "v1")]);
        let world = World::with_resolver(&yaml, &[], names.resolver()).await;
        let count = async |what: &str| sum(&world, &format!("envoy_cluster_update_{what}")).await;
        let clusters = scrape(&world).await.series("envoy_cluster_update_attempt", &[]).count() as f64;
        assert!(count("attempt").await >= clusters, "the first was before the clusters were there");
        let grows = async |what: &str| {
            let (before, start) = (count(what).await, Instant::now());
            while count(what).await <= before {
                assert!(start.elapsed() < SOON, "{what} does not grow");
                tokio::time::sleep(Duration::from_millis(5)).await; // between two scrapes
            }
        };
        grows("no_rebuild").await;
        assert_eq!((count("failure").await, count("empty").await), (0.0, 0.0));
        names.fail("models.test");
        grows("failure").await;
        names.say("models.test", &[]);
        grows("empty").await;
        names.say("models.test", &[Ipv4Addr::new(127, 0, 0, 2).into()]);
        grows("success").await;
        let page = scrape(&world).await;
        let [attempt, success, failure, empty] = ["attempt", "success", "failure", "empty"]
            .map(|what| page.count(&format!("envoy_cluster_update_{what}"), &[]));
        assert_eq!(attempt, success + failure + empty);
    });
}

#[test]
fn a_cluster_of_addresses_looks_nothing_up() {
    run(async || {
        let world = World::start(&one_service(&[], &[("127.0.0.1:9", "v1")])).await;
        assert_eq!(scrape(&world).await.series("envoy_cluster_update_attempt", &[]).count(), 0);
    });
}

/// With a copy of each request, and without.
#[test]
fn a_body_that_is_too_long_to_be_kept_is_told_of_its_cluster() {
    for mirror in ["", "  mirror: {name: x, labels: {version: v2}}\n"] {
        long_bodies(mirror);
    }
}

fn long_bodies(mirror: &str) {
    run(async || {
        let (upstream, other) = (Upstream::start("a").await, Upstream::start("b").await);
        let yaml = one_service(&["repeatable: true"], &[(&upstream.at(), "v1"), (&other.at(), "v2")])
            + "limits: {replay_bytes: 1KiB, replay_budget: 1MiB}\n";
        let rule = split_rule(&[("v1", 100)]) + mirror;
        let world = World::with_rules(&yaml, &[("x.yaml", &rule)]).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        client.send(post("/", vec![0; 1000])).await;
        assert_eq!(sum(&world, "envoy_cluster_retry_or_shadow_abandoned").await, 0.0);
        let (sender, body) = channel();
        for piece in [vec![0; 1000], vec![1; 1000]] {
            sender.send(http_body::Frame::data(piece.into())).expect("sent");
        }
        drop(sender);
        client.send(request(http::Method::POST, "/").body(body).expect("a request")).await;
        until("both came", || (upstream.seen().len() == 2).then_some(())).await;
        becomes(&world, "weir_replay_exceeded_total", 1.0).await;
        let page = scrape(&world).await;
        let of_v1 = |sample: &&Sample| sample.labels["envoy_cluster_name"].ends_with("version=v1");
        let told = page.series("envoy_cluster_retry_or_shadow_abandoned", &[]).filter(of_v1);
        assert!(told.map(|sample| sample.value).sum::<f64>() >= 1.0, "{mirror}");
    });
}

#[test]
fn the_time_to_the_first_configuration_is_told_once() {
    run(async || {
        let world = World::start(&one_service(&[], &[("127.0.0.1:9", "v1")])).await;
        assert_eq!(sum(&world, "envoy_server_initialization_time_ms_count").await, 1.0);
        assert!(sum(&world, "envoy_server_initialization_time_ms_sum").await > 0.0);
    });
}
