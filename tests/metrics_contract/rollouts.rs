//! A version's first error is seen, and rollouts do not add up.

use std::fs;
use std::time::{Duration, Instant};

use weir::app::sidecar::Leave;

use crate::common::engine::{Engine, linked, on_control_thread};
use crate::common::metrics::Scrape;
use crate::common::world::client::{Client, get, grpc_call, request};
use crate::common::world::upstream::{Upstream, empty};
use crate::common::world::{Http, SOON, World, one_service, run, split_rule};

const TENANTS: &str = "metrics: {dimensions: [{name: tenant, header: x-tenant, values: [acme]}]}\n";

async fn scrape(world: &World) -> Scrape {
    Scrape::read(Client::connect(Http::One, world.metrics()).await.get("/metrics").await.text())
}

/// What `increase()` says of one series between two scrapes: nothing of one that is not there in both.
fn increase(between: &[Scrape; 2], name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let [before, after] = between.each_ref().map(|scrape| {
        let mut series = scrape.series(name, labels);
        let value = series.next().map(|sample| sample.value as u64);
        assert!(series.next().is_none(), "{name} {labels:?} is more than one series");
        value
    });
    Some(after? - before?)
}

/// Scrapes until `name` with `labels` has grown, and returns the first page after `before` on which it has.
async fn grown(world: &World, before: Scrape, name: &str, labels: &[(&str, &str)]) -> [Scrape; 2] {
    let start = Instant::now();
    let mut between = [before, scrape(world).await];
    while increase(&between, name, labels) == Some(0) {
        assert!(start.elapsed() < SOON, "{name} {labels:?} did not grow");
        tokio::time::sleep(Duration::from_millis(5)).await; // between two scrapes
        between[1] = scrape(world).await;
    }
    between
}

#[test]
fn the_increase_over_the_first_failing_request_of_a_version_is_one() {
    run(async || {
        let (good, bad) = (Upstream::start("good").await, Upstream::failing(500).await);
        let yaml = TENANTS.to_owned() + &one_service(&[], &[(&good.at(), "v1")]);
        let world = World::with_rules(&yaml, &[("split.yaml", &split_rule(&[("v1", 100)]))]).await;
        Client::connect(Http::One, world.addr("in")).await.get("/").await;
        // The version comes by a reload, as in a rollout.
        let endpoints = [(&*good.at(), "v1"), (&*bad.at(), "v2")];
        let generation = world.metric("weir_config_generation", &[]).await;
        for (file, text) in [
            ("rules/split.yaml", split_rule(&[("v2", 100)])),
            (
                "weir.yaml",
                fs::read_to_string(world.folder().join("weir.yaml"))
                    .expect("read")
                    .replace(&one_service(&[], &[(&good.at(), "v1")]), &one_service(&[], &endpoints)),
            ),
        ] {
            let path = world.folder().join(file);
            fs::write(path.with_extension("new"), text).expect("written");
            fs::rename(path.with_extension("new"), path).expect("renamed");
        }
        let start = Instant::now();
        let of_v2 = [("version", "v2"), ("outcome", "server_error"), ("protocol", "http")];
        let mut before = scrape(&world).await;
        while before.count("weir_config_generation", &[]) as f64 <= generation
            || before.series("weir_requests_total", &of_v2).next().is_none()
        {
            assert!(start.elapsed() < SOON, "v2 is not there");
            tokio::time::sleep(Duration::from_millis(5)).await; // between two scrapes
            before = scrape(&world).await;
        }
        let failing = request(http::Method::GET, "/").header("x-tenant", "acme");
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        assert_eq!(client.send(failing.body(empty()).expect("a request")).await.status, 500);
        let between = grown(&world, before, "weir_requests_total", &of_v2).await;
        assert_eq!(increase(&between, "weir_requests_total", &of_v2), Some(1));
        let of_tenant = [("version", "v2"), ("outcome", "server_error"), ("value", "acme")];
        assert_eq!(increase(&between, "weir_dimension_requests_total", &of_tenant), Some(1));
        // Others of the version were there, and did not move.
        for (labels, moved) in [
            ([("version", "v2"), ("outcome", "success"), ("protocol", "http")], 0),
            ([("version", "v2"), ("outcome", "server_error"), ("protocol", "grpc")], 0),
            ([("version", "v1"), ("outcome", "server_error"), ("protocol", "http")], 0),
        ] {
            assert_eq!(increase(&between, "weir_requests_total", &labels), Some(moved), "{labels:?}");
        }
        // The same of gRPC, whose first failure comes with HTTP's 200 or in its place.
        let [_, before] = between;
        let of_grpc = [("version", "v2"), ("outcome", "server_error"), ("protocol", "grpc")];
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        client.send(grpc_call("/s/m", b"message")).await;
        let between = grown(&world, before, "weir_requests_total", &of_grpc).await;
        assert_eq!(increase(&between, "weir_requests_total", &of_grpc), Some(1));
        world.leave(Leave::Quit).await;
    });
}

/// Versions whose series are on a page although they have gone: one is counted a minute, for a quarter of an hour, and the
/// two in force. What a worker still holds leaves a minute later.
const VERSIONS_AT_ONCE: usize = 15 + 2 + 2;
const ROLLOUTS: usize = 200;

/// The configuration of one rollout: half to the version before, half to the new one.
fn rollout(upstream: &str, versions: [usize; 2]) -> [String; 2] {
    let [old, new] = versions.map(|number| format!("v{number}"));
    // Two names of one address, as an address stands for one version.
    let other = upstream.replace("127.0.0.1", "localhost");
    let [first, second] = if versions[0].is_multiple_of(2) { [upstream, &other] } else { [&other, upstream] };
    let main = TENANTS.to_owned() + &one_service(&["dns_refresh: 1h"], &[(first, &old), (second, &new)]);
    [main, split_rule(&[(&old, 50), (&new, 50)])]
}

async fn some_requests(client: &mut Client) {
    for path in ["/", "/", "/", "/"] {
        client.send(get(path)).await;
        let unlisted = request(http::Method::GET, path).header("x-tenant", "nobody");
        client.send(unlisted.body(empty()).expect("a request")).await;
    }
}

#[test]
fn two_hundred_rollouts_of_a_process_leave_no_more_series_than_those_of_the_last_quarter_of_an_hour() {
    on_control_thread(async {
        let upstream = Upstream::start("a").await;
        let at = upstream.at();
        let start = Instant::now();
        let [main, rule] = rollout(&at, [0, 1]);
        let engine = Engine::start(1, &main, &rule);
        let recorder = &engine.shared.recorder;
        let mut client = Client::connect(Http::One, engine.address("in")).await;
        let (mut of_two, mut of_one_more, mut cells) = (0, 0, 0);
        for number in 1..=ROLLOUTS {
            let [main, rule] = rollout(&at, [number - 1, number]);
            engine.publish(linked(&main, &rule));
            some_requests(&mut client).await;
            // One rollout a minute, and the look at what has gone that the control thread takes each minute.
            recorder.expire(start + Duration::from_secs(60) * number as u32);
            let series = recorder.series();
            match number {
                1 => of_two = series,
                2 => of_one_more = series - of_two,
                _ => {
                    let most = of_two + VERSIONS_AT_ONCE * of_one_more;
                    assert!(series <= most, "rollout {number}: {series} series of at most {most}");
                }
            }
            if number == 2 * VERSIONS_AT_ONCE {
                cells = recorder.cell_bytes();
            }
        }
        assert!(of_one_more > 50, "a version has {of_one_more} series");
        assert!(recorder.cell_bytes() <= cells + cells / 10, "{cells} bytes, then {}", recorder.cell_bytes());
    });
}

#[test]
fn two_hundred_changes_of_weights_make_no_series() {
    on_control_thread(async {
        let upstream = Upstream::start("a").await;
        let [main, _] = rollout(&upstream.at(), [0, 1]);
        let rule = |weight: usize| split_rule(&[("v0", 100 - weight as u32), ("v1", weight as u32)]);
        let engine = Engine::start(1, &main, &rule(5));
        let mut client = Client::connect(Http::One, engine.address("in")).await;
        let mut before = 0;
        for number in 0..ROLLOUTS {
            engine.publish(linked(&main, &rule(1 + number % 99)));
            some_requests(&mut client).await;
            let series = engine.shared.recorder.series();
            // In a few rounds each version has had requests of each kind.
            if number == 100 {
                before = series;
            }
            assert!(number < 100 || series == before, "change {number}: {before}, then {series}");
        }
    });
}
