//! The admin pages that Envoy's tools read: `/stats`, `/stats/prometheus`, `/clusters`, `/listeners`, `/memory`,
//! `/server_info`, `/logging`, `/reset_counters`; of a whole proxy over real sockets, and beside the real Envoy.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod child;
    pub(crate) mod loopback;
    pub(crate) mod many;
    pub(crate) mod parts;
    pub(crate) mod world;
}
#[path = "admin_stats/beside_envoy.rs"]
mod beside_envoy;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "admin_stats/large.rs"]
mod large;
#[path = "admin_stats/packed.rs"]
mod packed;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::world::client::{Answer, Client, get, request};
use common::world::upstream::{Upstream, empty, full};
use common::world::{Http, SOON, World, one_service, run, split_rule};
use http::{Method, Response};
use serde_json::Value;
use tokio::task::spawn_local;

/// An upstream that answers `/404` with that status, and so on.
async fn upstream() -> Upstream {
    Upstream::handling(|request: http::Request<hyper::body::Incoming>| async move {
        let status: u16 = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        Response::builder().status(status).body(full("")).expect("a response")
    })
    .await
}

async fn world(upstream: &Upstream) -> World {
    let rules = split_rule(&[("v1", 100)]);
    World::with_rules(&one_service(&[], &[(&upstream.at(), "v1")]), &[("rules.yaml", &rules)]).await
}

/// One request each, on one connection.
async fn ask(to: SocketAddr, paths: &[&str]) {
    let mut client = Client::connect(Http::One, to).await;
    for path in paths {
        client.get(path).await;
    }
}

async fn page(admin: SocketAddr, path: &str) -> Answer {
    Client::connect(Http::One, admin).await.get(path).await
}

async fn post(admin: SocketAddr, path: &str) -> Answer {
    let request = request(Method::POST, path).body(empty()).expect("a request");
    Client::connect(Http::One, admin).await.send(request).await
}

/// The lines `name: value` of a page of text.
fn values(page: &Answer) -> BTreeMap<String, String> {
    assert_eq!(page.status, 200, "{}", page.text());
    let line = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        (name.to_owned(), value.to_owned())
    };
    page.text().lines().map(line).collect()
}

const CLUSTER: &str = "cluster.out.x.default.svc.cluster.local|version=v1";

#[test]
fn the_page_tells_what_was_asked_of_the_proxy_and_agrees_with_the_one_for_prometheus() {
    run(async || {
        let upstream = upstream().await;
        let world = world(&upstream).await;
        ask(world.addr("in"), &["/m", "/m", "/404", "/500"]).await;
        world.counts("http_downstream_rq_completed", 4.0).await;

        let text = values(&page(world.admin(), "/stats").await);
        for (name, value) in [
            (&*format!("{CLUSTER}.upstream_rq_total"), "4"),
            (&*format!("{CLUSTER}.upstream_rq_2xx"), "2"),
            (&*format!("{CLUSTER}.upstream_rq_404"), "1"),
            (&*format!("{CLUSTER}.upstream_cx_active"), "1"),
            ("http.in.downstream_rq_total", "4"),
            ("server.live", "1"),
            (
                "weir.split_choices_total.service.x.default.svc.cluster.local.rule.split.default.version.v1",
                "4",
            ),
        ] {
            assert_eq!(text.get(name).map(String::as_str), Some(value), "{name}");
        }
        let time = &text[&format!("{CLUSTER}.upstream_rq_time")];
        assert!(time.starts_with("P0(nan,") && time.contains(" P99.9(nan,"), "{time}");

        let json = page(world.admin(), "/stats?format=json&type=Counters").await;
        assert_eq!(json.header("content-type"), Some("application/json"));
        let json: Value = serde_json::from_str(json.text()).expect("JSON");
        let counters = json["stats"].as_array().expect("a list");
        let total = format!("{CLUSTER}.upstream_rq_total");
        let total = counters.iter().find(|stat| stat["name"] == *total).expect("a counter");
        assert_eq!(total["value"], 4);
        assert!(counters.iter().all(|stat| stat["name"].is_string() && stat["value"].is_number()));

        // A name for each series: as many lines as the other page has series.
        let metrics = page(world.admin(), "/metrics").await;
        let is_series = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            !line.starts_with('#') && !name.ends_with("_bucket") && !name.ends_with("_sum")
        };
        assert_eq!(text.len(), metrics.text().lines().filter(is_series).count());
    });
}

#[test]
fn a_parameter_that_is_not_supported_is_refused_by_its_name() {
    run(async || {
        let upstream = upstream().await;
        let world = world(&upstream).await;
        for (path, named) in [
            ("/stats?loud", "loud"),
            ("/stats?usedonly&hidden=include", "hidden"),
            ("/stats?format=html", "html"),
            ("/stats?format=active-html", "active-html"),
            ("/stats?type=counters", "counters"),
            ("/stats?histogram_buckets=prometheusnative", "prometheusnative"),
            ("/stats?filter=(", "Invalid regex"),
            ("/stats?filter=%28a%7B999%7D%29%7B999%7D", "Invalid regex"),
            ("/stats?invert_filter", "invert_filter"),
            ("/stats?format=prometheus&pretty", "pretty"),
            ("/stats/prometheus?format=json", "json"),
            ("/stats/prometheus?histogram_buckets=disjoint", "disjoint"),
            ("/stats/prometheus?loud=1", "loud"),
            ("/clusters?format=xml", "xml"),
            ("/clusters?include_eds", "include_eds"),
            ("/clusters?filter=(", "Invalid regex"),
            ("/listeners?filter=x", "filter"),
            ("/listeners?format=yaml", "yaml"),
            ("/memory?format=json", "format"),
        ] {
            let answer = page(world.admin(), path).await;
            assert!(answer.status == 400 && answer.text().contains(named), "{path}: {answer:?}");
        }
        let answer = post(world.admin(), "/reset_counters?cluster=x").await;
        assert!(answer.status == 400 && answer.text().contains("cluster"), "{answer:?}");
        for path in
            ["/stats?text_readouts", "/stats?type=&format=", "/stats/prometheus?usedonly&text_readouts"]
        {
            assert_eq!(page(world.admin(), path).await.status, 200, "{path}");
        }
        assert_eq!(page(world.admin(), "/stats?type=TextReadouts").await.text(), "");
    });
}

#[test]
fn a_reset_begins_the_counts_of_the_page_anew_and_no_counter_of_prometheus_falls() {
    run(async || {
        let upstream = upstream().await;
        let world = world(&upstream).await;
        let total = format!("{CLUSTER}.upstream_rq_total");
        ask(world.addr("in"), &["/m"; 5]).await;
        assert_eq!(values(&page(world.admin(), "/stats").await)[&total], "5");
        let answer = post(world.admin(), "/reset_counters").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "OK\n"));
        let after = values(&page(world.admin(), "/stats?usedonly").await);
        assert_eq!((&*after[&total], &*after["server.live"]), ("0", "1"));
        ask(world.addr("in"), &["/m"; 2]).await;
        assert_eq!(values(&page(world.admin(), "/stats").await)[&total], "2");
        assert_eq!(world.metric("envoy_cluster_upstream_rq_total", &[]).await, 7.0);
        assert_eq!(page(world.admin(), "/reset_counters").await.status, 405);
    });
}

#[test]
fn who_waits_for_a_connection_is_told_of_the_endpoint() {
    run(async || {
        let held = Upstream::holding().await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1}"];
        let yaml = "workers: 1\n".to_owned() + &one_service(&settings, &[(&held.at(), "v1")]);
        let world = World::start(&yaml).await;
        let begin = |to| async move { drop(Client::connect(Http::One, to).await.begin(get("/")).await) };
        let _sent = spawn_local(begin(world.addr("in")));
        held.wait_begun(1).await;
        let waits = spawn_local(begin(world.addr("in")));
        let told = async |count: &str| {
            let start = Instant::now();
            let line = format!("::{}::rq_pending_active::{count}", held.at());
            while !page(world.admin(), "/clusters").await.text().lines().any(|told| told.ends_with(&line)) {
                assert!(start.elapsed() < SOON, "no {line}");
                tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
            }
        };
        told("1").await;
        let json = page(world.admin(), "/clusters?format=json").await;
        let gauge = r#"{"type":"GAUGE","value":"1","name":"rq_pending_active"}"#;
        assert!(json.text().contains(gauge), "{}", json.text());
        waits.abort();
        told("0").await;
    });
}

/// The clock of the control thread ends an interval of its own accord.
#[test]
fn the_last_interval_is_there_a_few_seconds_after_somebody_first_looked() {
    run(async || {
        let upstream = upstream().await;
        let world = world(&upstream).await;
        let time = format!("{CLUSTER}.upstream_rq_time");
        let start = Instant::now();
        loop {
            ask(world.addr("in"), &["/m"]).await;
            let seen =
                values(&page(world.admin(), "/stats?histogram_buckets=cumulative").await)[&time].clone();
            // `B3.6e+06(interval,total)`
            let last = seen.rsplit_once('(').and_then(|(_, last)| last.strip_suffix(')')?.split_once(','));
            let (interval, total) = last.unwrap_or(("0", "0"));
            if interval != "0" {
                let [interval, total] = [interval, total].map(|count| count.parse::<u64>().expect("a count"));
                assert!(interval < total, "the first look begins the interval: {seen}");
                break;
            }
            assert!(start.elapsed() < SOON * 2, "{seen}");
            tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
        }
    });
}
