//! What a proxy takes that has nothing to do: memory, and the size of its metrics page.
//!
//! Law: an idle proxy takes next to nothing, and what is configured costs memory by what it says, not by what might be
//! counted of it one day.

#![allow(clippy::unwrap_used)] // a panic is a test's report

#[path = "common/child.rs"]
mod child;

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use child::Weir;

const MIB: u64 = 1 << 20;
/// Unoptimised, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two endpoints for each of so many services, where nobody listens.
fn services(count: usize) -> String {
    let mut services = "workers: 2\nservices:\n".to_owned();
    for service in 0..count {
        writeln!(
            services,
            "- {{name: s{service}, endpoints: [{{grpc: '127.0.0.1:9', http: '127.0.0.1:7', labels: {{version: v1}}}}, \
             {{grpc: '127.0.0.2:9', http: '127.0.0.2:7', labels: {{version: v2}}}}]}}"
        )
        .unwrap();
    }
    services
}

fn rules(services: usize, of_each: usize) -> String {
    let mut rules = String::new();
    for rule in 0..services * of_each {
        let (service, rule) = (rule / of_each, rule % of_each);
        writeln!(
            rules,
            "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r{rule}-{service}}}\n\
             spec: {{destination: {{name: s{service}}}, precedence: {}, \
             match: {{request: {{headers: {{x-user: {{exact: user-{rule}}}}}}}}}, \
             route: [{{labels: {{version: v1}}, weight: 95}}, {{labels: {{version: v2}}, weight: 5}}]}}",
            of_each - rule
        )
        .unwrap();
    }
    rules
}

/// Bytes of a process that no file stands for.
fn anonymous(weir: &Weir) -> u64 {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", weir.id())).unwrap();
    let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn an_idle_proxy_takes_four_mebibytes_beside_its_program() {
    let weir = Weir::start_gateway(&services(1), &rules(1, 1));
    let took = anonymous(&weir);
    assert!(took <= 4 * MIB, "{} KiB", took >> 10);
}

#[tokio::test]
async fn ten_thousand_rules_over_a_thousand_services_take_96_mebibytes_and_a_short_page() {
    let weir = Weir::start_gateway(&services(1_000), &rules(1, 1));
    fs::write(weir.rules(), rules(1_000, 10)).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let (_, page) = weir.page("/metrics").await;
        if page.contains("\nweir_config_generation 2\n") {
            assert!((page.len() as u64) < 8 * MIB, "the page has {} KiB", page.len() >> 10);
            break;
        }
        assert!(Instant::now() < until, "{}", weir.log());
        tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
    }
    let took = weir.memory();
    assert!(took <= 96 * MIB, "{} MiB", took >> 20);
}
