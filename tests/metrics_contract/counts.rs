//! How many series a version has: `docs/metrics.md` says it, and this counts them.

use std::fs;
use std::path::Path;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use weir::telemetry::Page;

use crate::common::engine::{Engine, eventually};
use crate::common::metrics::{Sample, Scrape};
use crate::common::world::client::Client;
use crate::common::world::upstream::{Upstream, full};
use crate::common::world::{Http, run, split_rule};

/// Weir's own, those of Istio 0.5 to 0.8, those of today's, and those of Envoy's of the version's clusters.
type Counts = [usize; 4];

fn counts(engine: &Engine) -> Counts {
    let page = Scrape::read(&engine.shared.recorder.render(Page::Metrics));
    let is = |sample: &Sample, label: &str| sample.labels.get(label).is_some_and(|value| value == "v2");
    let of_cluster = |sample: &Sample| {
        sample.labels.get("envoy_cluster_name").is_some_and(|name| name.ends_with("version=v2"))
    };
    let count = |which: &dyn Fn(&Sample) -> bool| page.0.iter().filter(|sample| which(sample)).count();
    let is_todays = |sample: &Sample| sample.labels.contains_key("reporter");
    [
        count(&|sample| sample.name.starts_with("weir_") && is(sample, "version")),
        count(&|sample| is(sample, "destination_version") && !is_todays(sample)),
        count(&|sample| is(sample, "destination_version") && is_todays(sample)),
        count(&of_cluster),
    ]
}

fn more(after: Counts, before: Counts) -> Counts {
    std::array::from_fn(|family| after[family] - before[family])
}

async fn answers(request: Request<Incoming>) -> Response<crate::common::world::upstream::BoxBody> {
    let status = match request.uri().path() {
        "/late" => std::future::pending().await,
        "/404" => StatusCode::NOT_FOUND,
        "/500" => StatusCode::INTERNAL_SERVER_ERROR,
        "/504" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::OK,
    };
    Response::builder().status(status).body(full("")).expect("a response")
}

#[test]
fn a_version_has_as_many_series_as_the_document_says() {
    run(async || {
        let upstream = Upstream::handling(answers).await;
        let main = |dimensions: &str| {
            format!(
                "listeners: [{{name: in, address: '127.0.0.1:0', service: x}}]\n\
                 callers: [{{cidr: 127.0.0.2/32, service: front}}]\n{dimensions}services:\n\
                 - {{name: x, protocol: http1, timeout: 300ms, endpoints: [\
                 {{address: '127.0.0.1:9', labels: {{version: v1}}}}, {{address: '{}', labels: {{version: v2}}}}]}}\n",
                upstream.at()
            )
        };
        let rules = split_rule(&[("v1", 0), ("v2", 100)]);
        let engine = Engine::start(1, &main(""), &rules);
        let idle = counts(&engine);
        let mut rows = vec![("without a request", idle)];
        let (mut before, mut sent) = (idle, 0);
        for (what, path, from) in [
            ("the first answer", "/", "127.0.0.1"),
            ("the first client error", "/404", "127.0.0.1"),
            ("the first server error", "/500", "127.0.0.1"),
            ("each further code", "/504", "127.0.0.1"),
            ("each further flag, of no answer", "/late", "127.0.0.1"),
            ("each code and flag of a further caller", "/", "127.0.0.2"),
        ] {
            let from = Some(from.parse().expect("an address"));
            Client::connect_from(Http::One, from, engine.address("in")).await.get(path).await;
            sent += 1;
            let seen = || {
                let page = Scrape::read(&engine.shared.recorder.render(Page::Metrics));
                page.count("istio_requests_total", &[("reporter", "source")])
            };
            eventually("it is counted", || seen() == sent).await;
            let after = counts(&engine);
            rows.push((what, more(after, before)));
            before = after;
        }
        // A dimension of two values.
        let dimensions = "metrics: {dimensions: [{name: tenant, header: x-tenant, values: [a, b]}]}\n";
        let with = Engine::start(1, &main(dimensions), &rules);
        rows.push(("a dimension of two values", more(counts(&with), idle)));
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let document = fs::read_to_string(document).expect("the document");
        let rows: Vec<String> = rows
            .iter()
            .map(|(what, counts)| {
                let [own, old, todays, cluster] = counts.map(|count| count.to_string());
                let all: usize = counts.iter().sum();
                format!("| {what} | {own} | {old} | {todays} | {cluster} | {all} |")
            })
            .collect();
        assert!(rows.iter().all(|row| document.lines().any(|line| line == row)), "{}", rows.join("\n"));
    });
}
