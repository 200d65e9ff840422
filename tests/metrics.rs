//! Metrics that show what is in force and what the process takes: weights, endpoints by state, the buffer budget, CPU,
//! memory, descriptors.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod child;
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod weir;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use common::clusters::{caller, serve, snapshot};
use common::engine::{Engine, eventually};
use common::metrics::{Sample, Scrape};
use common::world::client::Client;
use common::world::upstream::{Upstream, full};
use common::world::{Http, SOON, World, one_service, rule, run, split_rule};
use http::Response;
use serde_json::Value;
use weir::snapshot::{HealthCheck, HealthCheckKind, Outlier, TrafficPolicy};
use weir::telemetry::Page;

const HOST: &str = "x.default.svc.cluster.local";

async fn page(world: &World) -> Scrape {
    let answer = Client::connect(Http::One, world.metrics()).await.get("/metrics").await;
    Scrape::read(answer.text())
}

/// Replaces a file of the configuration, and returns the first page of the generation that it makes.
async fn page_after(world: &World, file: &str, text: &str) -> Scrape {
    let generation = |page: &Scrape| page.count("weir_config_generation", &[]);
    let before = generation(&page(world).await);
    let path = world.folder().join(file);
    fs::write(path.with_extension("new"), text).expect("written");
    fs::rename(path.with_extension("new"), path).expect("renamed");
    let start = Instant::now();
    loop {
        let page = page(world).await;
        if generation(&page) > before {
            return page;
        }
        assert!(start.elapsed() < SOON, "{file}: no new generation within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
    }
}

type Labels = BTreeMap<String, String>;

fn of_family(page: &Scrape, family: &str) -> BTreeMap<Labels, f64> {
    let samples = page.0.iter().filter(|sample| sample.name == family);
    samples.map(|Sample { labels, value, .. }| (labels.clone(), *value)).collect()
}

fn labels(rule: &str, version: &str) -> Labels {
    let pairs = [("service", HOST), ("rule", rule), ("version", version)];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn weights_are_those_that_splits_shows_under_the_labels_of_the_choices() {
    run(async || {
        let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
        let some = rule("some", 3, "{request: {headers: {x-user: {exact: a}}}}", &[("v2", 7), ("v3", 93)]);
        let nameless = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: nameless}\n\
            spec:\n  destination: {name: x}\n  precedence: 2\n  match: {request: {headers: {x-user: {exact: b}}}}\n\
            \x20 route:\n  - {labels: {version: v1}, weight: 60}\n  - {labels: {track: new}, weight: 40}\n";
        let rules = [&*some, &*split_rule(&[("v1", 95), ("v2", 5)]), nameless].join("---\n");
        let yaml = one_service(&[], &[(&a.at(), "v1"), (&b.at(), "v2")]);
        let world = World::with_rules(&yaml, &[("rules.yaml", &rules)]).await;

        let page = page(&world).await;
        let weights = of_family(&page, "weir_split_weight");
        let expected = [
            (labels("some.default", "v2"), 7.0),
            (labels("some.default", "v3"), 93.0),
            (labels("split.default", "v1"), 95.0),
            (labels("split.default", "v2"), 5.0),
        ];
        assert_eq!(weights, BTreeMap::from(expected), "none of the rule with an entry that names no version");
        let choices = of_family(&page, "weir_split_choices_total");
        assert!(weights.keys().all(|labels| choices.contains_key(labels)), "{choices:?}");
        assert!(choices.contains_key(&labels("nameless.default", "unknown")));

        let splits = Client::connect(Http::One, world.admin()).await.get("/splits").await;
        let splits: Value = serde_json::from_str(splits.text()).expect("JSON");
        let mut shown = BTreeMap::new();
        for split in splits["splits"].as_array().expect("a list") {
            for version in split["versions"].as_array().expect("a list") {
                if let (Some(rule), Some(weight)) = (split["rule"].as_str(), version["weight"].as_f64())
                    && rule != "nameless.default"
                {
                    shown.insert(labels(rule, version["version"].as_str().expect("a name")), weight);
                }
            }
        }
        assert_eq!(weights, shown);
    });
}

#[test]
fn where_no_rule_applies_the_choice_knows_no_version_and_the_request_that_of_its_endpoint() {
    run(async || {
        let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
        let yaml = one_service(&[], &[(&a.at(), "v1"), (&b.at(), "v2")]);
        let world = World::start(&yaml).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        for _ in 0..10 {
            assert_eq!(client.get("/").await.status, 200);
        }
        let page = page(&world).await;
        assert_eq!(page.count("weir_requests_total", &[("outcome", "success")]), 10);
        let choices = of_family(&page, "weir_split_choices_total");
        assert_eq!(choices, BTreeMap::from([(labels("default-route", "unknown"), 10.0)]));
        assert_eq!(of_family(&page, "weir_split_weight"), BTreeMap::new());
        for version in ["v1", "v2"] {
            let of = [("rule", "default-route"), ("version", version)];
            assert!(page.count("weir_requests_total", &of) > 0, "round robin gives each its turn");
            assert_eq!(page.count("weir_endpoints", &[("version", version), ("state", "healthy")]), 1);
        }
    });
}

#[test]
fn a_weight_is_new_with_the_configuration_and_gone_with_it_at_once() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let yaml = one_service(&[], &[(&upstream.at(), "v1"), (&upstream.at(), "v2")]);
        let world = World::with_rules(&yaml, &[("rules.yaml", &split_rule(&[("v1", 95), ("v2", 5)]))]).await;
        let weights = |page: &Scrape| {
            let of = |(labels, weight): (Labels, f64)| (labels["version"].clone(), weight as u64);
            of_family(page, "weir_split_weight").into_iter().map(of).collect::<BTreeMap<_, _>>()
        };
        let expected = |weights: &[(&str, u64)]| -> BTreeMap<String, u64> {
            weights.iter().map(|&(version, weight)| (version.to_owned(), weight)).collect()
        };
        assert_eq!(weights(&page(&world).await), expected(&[("v1", 95), ("v2", 5)]));
        let changed = split_rule(&[("v1", 60), ("v2", 40)]);
        let now = page_after(&world, "rules/rules.yaml", &changed).await;
        assert_eq!(weights(&now), expected(&[("v1", 60), ("v2", 40)]));
        let now = page_after(&world, "rules/rules.yaml", &split_rule(&[("v1", 100)])).await;
        assert_eq!(weights(&now), expected(&[("v1", 100)]));
        let choices = of_family(&now, "weir_split_choices_total");
        assert!(choices.contains_key(&labels("split.default", "v2")), "a count stays: {choices:?}");
        let now = page_after(&world, "rules/rules.yaml", &changed).await;
        assert_eq!(weights(&now), expected(&[("v1", 60), ("v2", 40)]), "it comes back");
    });
}

#[test]
fn the_buffer_budget_on_the_page_is_the_one_in_force() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let world = World::start(&one_service(&[], &[(&upstream.at(), "v1")])).await;
        assert_eq!(page(&world).await.count("weir_buffer_budget_bytes", &[]), 64 << 20);
        let text = fs::read_to_string(world.folder().join("weir.yaml")).expect("read");
        let now = page_after(&world, "weir.yaml", &(text + "\nlimits: {buffer_budget: 24MiB}\n")).await;
        assert_eq!(now.count("weir_buffer_budget_bytes", &[]), 24 << 20);
    });
}

/// `weir_endpoints` of a service by version and state, brought up to date as a scrape would.
fn endpoints(engine: &Engine) -> BTreeMap<(String, String), u64> {
    let plane = engine.shared.plane.load_full().expect("a plane");
    plane.endpoints.iter().for_each(|version| version.refresh());
    let page = Scrape::read(&engine.shared.recorder.render(Page::Metrics));
    let of = |(labels, count): (Labels, f64)| {
        assert_eq!(labels["service"], HOST);
        ((labels["version"].clone(), labels["state"].clone()), count as u64)
    };
    of_family(&page, "weir_endpoints").into_iter().map(of).collect()
}

/// Healthy, ejected and failed_check of each version.
fn by_version<const N: usize>(counts: [(&str, [u64; 3]); N]) -> BTreeMap<(String, String), u64> {
    let states = ["healthy", "ejected", "failed_check"];
    let of = |(version, counts): (&str, [u64; 3])| {
        let version = version.to_owned();
        states.map(str::to_owned).into_iter().zip(counts).map(move |(state, n)| ((version.clone(), state), n))
    };
    counts.into_iter().flat_map(of).collect()
}

#[test]
fn an_address_is_counted_once_by_version_and_a_version_without_any_is_there_with_none() {
    run(async || {
        let [a, b, c] = ["127.0.0.1:7", "127.0.0.2:7", "127.0.0.3:7"];
        let main = |endpoints: &[(&str, &str)]| one_service(&[], endpoints);
        let rules = split_rule(&[("v1", 90), ("v2", 5), ("v3", 5)]);
        let engine = Engine::start(1, &main(&[(a, "v1"), (b, "v1"), (c, "v2")]), &rules);
        let counts = by_version([("v1", [2, 0, 0]), ("v2", [1, 0, 0]), ("v3", [0, 0, 0])]);
        assert_eq!(endpoints(&engine), counts);
        let rules = split_rule(&[("v1", 90), ("v3", 10)]);
        engine.publish(common::engine::linked(&main(&[(b, "v1"), (c, "v2")]), &rules));
        let counts = by_version([("v1", [1, 0, 0]), ("v3", [0, 0, 0])]);
        assert_eq!(endpoints(&engine), counts, "what no rule leads to has left the page");
    });
}

#[test]
fn an_endpoint_that_is_ejected_or_fails_its_checks_is_counted_as_that() {
    run(async || {
        let is_well = Rc::new(Cell::new(true));
        let status = is_well.clone();
        let odd = Upstream::remembering(move |_| {
            let status = if status.get() { 200 } else { 500 };
            Response::builder().status(status).body(full("")).expect("a response")
        })
        .await;
        let good = Upstream::start("good").await;
        let hour = Duration::from_secs(3600);
        let outlier = Outlier {
            consecutive_5xx: 1,
            max_ejection_percent: 50,
            base_ejection_time: hour,
            max_ejection_time: hour,
            success_rate: None,
            ..Outlier::default()
        };
        let ejecting =
            TrafficPolicy { outlier: Some(outlier), panic_threshold: 0, ..TrafficPolicy::default() };
        let upstreams = [&*odd.at(), &*good.at()];
        let engine = serve(Http::One, &upstreams, &ejecting);
        assert_eq!(endpoints(&engine), by_version([("v1", [2, 0, 0])]));
        is_well.set(false);
        let mut client = caller(Http::One, &engine).await;
        for _ in 0..2 {
            client.get("/m").await; // one of them fails
        }
        assert_eq!(endpoints(&engine), by_version([("v1", [1, 1, 0])]));

        let kind =
            HealthCheckKind::Http { path: "/".into(), host: None, expected: Vec::new(), headers: Vec::new() };
        let check = HealthCheck {
            interval: Duration::from_millis(10),
            no_traffic_interval: Duration::from_millis(10),
            ..HealthCheck::new(kind)
        };
        let checking = TrafficPolicy { health_checks: vec![check], ..ejecting };
        let both = |policy: &TrafficPolicy| {
            snapshot(Http::One, &upstreams, |cluster| cluster.traffic = Some(Box::new(policy.clone())))
        };
        engine.publish(both(&checking));
        eventually("the checks find it ill", || endpoints(&engine) == by_version([("v1", [1, 0, 1])])).await;
        is_well.set(true);
        eventually("it is well", || endpoints(&engine) == by_version([("v1", [2, 0, 0])])).await;
    });
}

/// The value of a series without labels.
async fn one(weir: &common::child::Weir, name: &str) -> f64 {
    value(&weir.page("/metrics").await.1, name)
}

/// The same on a page, between whose lines the sizes of its chunks may stand.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
}

const SERVICE: &str =
    "workers: 1\nservices: [{name: m, endpoints: [{address: '127.0.0.1:7', labels: {version: v1}}]}]\n";

#[tokio::test]
async fn what_the_process_takes_is_what_the_kernel_says_of_it() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let before = now();
    let weir = common::child::Weir::start_within(Some(400), SERVICE, "");
    let started = one(&weir, "process_start_time_seconds").await;
    // The kernel tells its own start to the second.
    assert!((before - 2.0..=now() + 2.0).contains(&started), "{started}, and it was {before}");
    assert_eq!(one(&weir, "process_max_fds").await, 400.0);

    let (_, text) = weir.page("/metrics").await;
    let resident = value(&text, "process_resident_memory_bytes");
    assert!(resident > 1e6 && resident == value(&text, "envoy_server_memory_physical_size"), "{resident}");
    for (name, kind) in [("process_cpu_seconds_total", "counter"), ("process_open_fds", "gauge")] {
        assert!(text.contains(&format!("\n# TYPE {name} {kind}\n")), "{name}");
    }

    let quiet = one(&weir, "process_open_fds").await;
    let callers: Vec<_> = (0..50).map(|_| TcpStream::connect(weir.address).expect("connected")).collect();
    let until = Instant::now() + SOON;
    // Whatever else it opens and closes meanwhile is less than half of that.
    while one(&weir, "process_open_fds").await < quiet + 25.0 {
        assert!(Instant::now() < until, "{} callers are not among the open files", callers.len());
    }
}

#[tokio::test]
async fn cpu_time_grows_with_work_and_is_no_more_than_the_kernel_counts() {
    let weir = common::child::Weir::start(SERVICE, "");
    let first = one(&weir, "process_cpu_seconds_total").await;
    let until = Instant::now() + SOON;
    let mut last = first;
    while last < first + 0.05 {
        let earlier = weir.cpu_time().as_secs_f64();
        let seen = one(&weir, "process_cpu_seconds_total").await;
        let later = weir.cpu_time().as_secs_f64();
        assert!(seen >= last, "{seen} after {last}");
        // What the kernel writes is cut to hundredths and leaves out what threads have run since its last tick.
        assert!((earlier - 0.01..=later + 0.1).contains(&seen), "{seen}: {earlier} to {later}");
        last = seen;
        assert!(Instant::now() < until, "{first} to {last}: scrapes take CPU time, too");
    }
}
