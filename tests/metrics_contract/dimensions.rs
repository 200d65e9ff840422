//! Requests are counted by what their callers say in the fields that the configuration lists, and by nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir::telemetry::Page;

use crate::common::engine::{Engine, eventually, linked};
use crate::common::metrics::Scrape;
use crate::common::world::client::{Client, get, grpc, request};
use crate::common::world::upstream::{Upstream, empty};
use crate::common::world::{Http, one_service, run, split_rule};

const REQUESTS: &str = "weir_dimension_requests_total";
const DURATION: &str = "weir_dimension_request_duration_seconds_count";
const TWO: &str = "metrics:\n  dimensions:\n\
    \x20 - {name: tenant, header: X-Tenant, values: [acme, globex]}\n\
    \x20 - {name: region, header: x-region, values: [eu]}\n";

fn engine(metrics: &str, upstream: &Upstream) -> Engine {
    let main = metrics.to_owned() + &one_service(&[], &[(&upstream.at(), "v1")]);
    Engine::start(1, &main, &split_rule(&[("v1", 100)]))
}

fn page(engine: &Engine) -> Scrape {
    Scrape::read(&engine.shared.recorder.render(Page::Metrics))
}

fn all_counted(engine: &Engine) -> u64 {
    page(engine).count("weir_requests_total", &[])
}

fn with(fields: &[(&str, &str)]) -> http::Request<crate::common::world::upstream::BoxBody> {
    let request = fields
        .iter()
        .fold(request(http::Method::GET, "/"), |request, (name, value)| request.header(*name, *value));
    request.body(empty()).expect("a request")
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(value, count)| (value.to_owned(), count)).into()
}

#[test]
fn a_request_counts_once_in_each_dimension_under_what_it_says_or_other_or_none() {
    run(async || {
        for http in Http::BOTH {
            let upstream = Upstream::start("a").await;
            let engine = engine(TWO, &upstream);
            let mut client = Client::connect(http, engine.address("in")).await;
            for fields in [
                &[("x-tenant", "acme"), ("x-region", "eu")][..],
                &[("x-tenant", "acme")],
                &[("X-Tenant", "globex")],
                &[("x-tenant", "ACME")],
                &[("x-tenant", "")],
                &[("x-tenant", "acme,globex")],
                &[("x-tenant", "acme"), ("x-tenant", "acme")],
                &[("x-region", "us")],
                &[],
            ] {
                assert_eq!(client.send(with(fields)).await.status, 200);
            }
            let call = grpc("/s/m").header("x-tenant", "globex").body(empty()).expect("a request");
            Client::connect(Http::Two, engine.address("in")).await.send(call).await;
            eventually("all are counted", || all_counted(&engine) == 10).await;
            let page = page(&engine);
            let by = |name, dimension| page.count_by(name, &[("dimension", dimension)], "value");
            for name in [REQUESTS, DURATION] {
                assert_eq!(
                    by(name, "tenant"),
                    counts([("acme", 2), ("globex", 2), ("other", 4), ("none", 2)]),
                    "{http:?} {name}"
                );
                assert_eq!(by(name, "region"), counts([("eu", 1), ("other", 1), ("none", 8)]), "{name}");
            }
            let outcomes = page.count_by("weir_requests_total", &[], "outcome");
            assert_eq!(page.count_by(REQUESTS, &[("dimension", "tenant")], "outcome"), outcomes);
            let labels: Vec<_> = page.series(REQUESTS, &[]).map(|sample| &sample.labels).collect();
            assert!(labels.iter().all(|labels| labels["service"] == "x.default.svc.cluster.local"));
            assert!(labels.iter().all(|labels| labels["version"] == "v1"));
            // All outcomes of all values, of two dimensions.
            assert_eq!(labels.len(), (2 + 2 + 1 + 2) * 4);
        }
    });
}

#[test]
fn the_upstream_gets_the_field_as_it_was_sent_and_an_edit_of_the_route_does_not_change_what_is_counted() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let rule = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: r}\nspec:\n\
            \x20 destination: {name: x}\n  appendHeaders: {x-region: eu}\n  route: [{labels: {version: v1}}]\n";
        let main = TWO.to_owned() + &one_service(&[], &[(&upstream.at(), "v1")]);
        let engine = Engine::start(1, &main, rule);
        let mut client = Client::connect(Http::One, engine.address("in")).await;
        client.send(with(&[("x-tenant", "unlisted")])).await;
        assert_eq!(upstream.last().header("x-tenant"), Some("unlisted"));
        assert_eq!(upstream.last().header("x-region"), Some("eu"));
        eventually("it is counted", || all_counted(&engine) == 1).await;
        let page = page(&engine);
        assert_eq!(page.count_by(REQUESTS, &[("dimension", "tenant")], "value"), counts([("other", 1)]));
        assert_eq!(page.count_by(REQUESTS, &[("dimension", "region")], "value"), counts([("none", 1)]));
    });
}

#[test]
fn dimensions_come_and_go_with_the_configuration() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let engine = engine("", &upstream);
        let mut client = Client::connect(Http::One, engine.address("in")).await;
        client.send(with(&[("x-tenant", "acme")])).await;
        eventually("it is counted", || all_counted(&engine) == 1).await;
        let has_any = || page(&engine).series(REQUESTS, &[]).next().is_some();
        assert!(!has_any(), "nobody asked for them");
        let rule = split_rule(&[("v1", 100)]);
        let publish = |metrics: &str| {
            let main = metrics.to_owned() + &one_service(&[], &[(&upstream.at(), "v1")]);
            engine.publish(linked(&main, &rule));
        };
        publish(TWO);
        let of = |value| [("dimension", "tenant"), ("value", value)];
        assert_eq!(page(&engine).count(REQUESTS, &of("acme")), 0, "there before the first");
        client.send(with(&[("x-tenant", "acme")])).await;
        eventually("it is counted", || page(&engine).count(REQUESTS, &of("acme")) == 1).await;
        // Another list: what is listed no more is another from now on.
        publish("metrics: {dimensions: [{name: tenant, header: x-tenant, values: [globex]}]}\n");
        client.send(with(&[("x-tenant", "acme")])).await;
        eventually("it is counted", || page(&engine).count(REQUESTS, &of("other")) == 1).await;
        assert_eq!(page(&engine).count(REQUESTS, &of("acme")), 1);
        publish("");
        client.send(get("/")).await;
        eventually("it is counted", || all_counted(&engine) == 4).await;
        assert_eq!(page(&engine).count(REQUESTS, &[]), 3, "two dimensions of the second, one of the third");
        // The worker lets go of the generation before with its next sweep.
        let start = Instant::now();
        eventually("the dimensions leave", || {
            engine.shared.recorder.expire(start);
            engine.shared.recorder.expire(start + Duration::from_secs(901));
            !has_any()
        })
        .await;
    });
}

#[test]
fn whoever_hands_a_split_request_over_does_not_count_it_again() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let main = TWO.to_owned()
            + &one_service(&[], &[(&upstream.at(), "v1")]).replace(
                "services:",
                "- {name: deliver, address: '127.0.0.2:0', service: x, mode: deliver, allow: any}\nservices:",
            );
        let main = main.replace("{address: \"", "{local: true, address: \"");
        let engine = Engine::start(1, &main, "");
        Client::connect(Http::One, engine.address("deliver")).await.send(with(&[("x-tenant", "acme")])).await;
        Client::connect(Http::One, engine.address("in")).await.send(with(&[("x-tenant", "globex")])).await;
        let reported = || page(&engine).count("istio_requests_total", &[("reporter", "destination")]);
        eventually("both are counted", || reported() == 2).await;
        assert_eq!(
            page(&engine).count_by(REQUESTS, &[("dimension", "tenant")], "value"),
            counts([("globex", 1)])
        );
    });
}
