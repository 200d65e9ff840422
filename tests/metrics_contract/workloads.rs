//! How workloads are called in Istio's metrics, as files name no Deployments.

use std::time::{Duration, Instant};

use crate::common::metrics::Scrape;
use crate::common::world::client::{Client, get};
use crate::common::world::upstream::Upstream;
use crate::common::world::{Http, SOON, World, one_service, run, split_rule};

/// Callers by their addresses, and what each is called.
const CALLERS: [(&str, &str, &str); 5] = [
    ("127.0.0.2", "labels: {app: frontend, version: v3, workload: frontend-blue}", "frontend-blue"),
    ("127.0.0.3", "labels: {app: frontend, version: v3}", "frontend-v3"),
    ("127.0.0.4", "labels: {version: v3}", "web-v3"),
    ("127.0.0.5", "labels: {app: frontend}", "unknown"),
    ("127.0.0.6", "labels: {}", "unknown"),
];

#[test]
fn a_workload_is_called_by_its_label_or_by_its_name_and_version_and_unknown_without_a_version() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let mut yaml = "callers:\n".to_owned();
        for (address, labels, _) in CALLERS {
            yaml += &format!("- {{cidr: {address}/32, service: web.shop, {labels}}}\n");
        }
        yaml += &one_service(&[], &[(&upstream.at(), "v1")]);
        let rule = split_rule(&[("v1", 100)]);
        let world = World::with_rules(&yaml, &[("split.yaml", &rule)]).await;
        for (number, (address, _, workload)) in CALLERS.into_iter().enumerate() {
            let from = address.parse().expect("an address");
            let mut client = Client::connect_from(Http::One, Some(from), world.addr("in")).await;
            client.send(get("/")).await;
            for reporter in ["source", "destination"] {
                // What is called alike adds up.
                let alike = CALLERS[..=number].iter().filter(|(.., other)| *other == workload).count();
                let labels = [
                    ("reporter", reporter),
                    ("source_workload_namespace", "shop"),
                    ("source_workload", workload),
                    ("destination_workload", "x-v1"),
                ];
                let start = Instant::now();
                loop {
                    let page = Client::connect(Http::One, world.metrics()).await.get("/metrics").await;
                    let page = Scrape::read(page.text());
                    let counts = page.series("istio_requests_total", &labels).map(|sample| sample.value);
                    let count: f64 = counts.sum();
                    if count == alike as f64 {
                        break;
                    }
                    assert!(start.elapsed() < SOON, "{address}: {labels:?}: {count} of {alike}");
                    tokio::time::sleep(Duration::from_millis(5)).await; // between two scrapes
                }
            }
        }
    });
}
