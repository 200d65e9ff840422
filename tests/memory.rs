//! What a proxy takes that has nothing to do: memory, and the size of its metrics page.
//!
//! Law: an idle proxy takes next to nothing, and what is configured costs memory by what it says, not by what might be
//! counted of it one day.

#![allow(clippy::unwrap_used)] // a panic is a test's report

#[path = "common/child.rs"]
mod child;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/many.rs"]
mod many;

use std::fs;
use std::time::{Duration, Instant};

use child::Weir;
use many::Shape;

const MIB: u64 = 1 << 20;
/// Unoptimised, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of a process that no file stands for.
fn anonymous(weir: &Weir) -> u64 {
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", weir.id())).unwrap();
    let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn an_idle_proxy_takes_four_mebibytes_beside_its_program() {
    let weir = Weir::start_gateway(&many::services(1), &Shape::RouteRules.rules(1, 1));
    let took = anonymous(&weir);
    assert!(took <= 4 * MIB, "{} KiB", took >> 10);
}

#[tokio::test]
async fn ten_thousand_rules_over_a_thousand_services_take_96_mebibytes_and_a_short_page() {
    take_96_mebibytes(&Shape::RouteRules.rules(1_000, 10)).await;
}

#[tokio::test]
async fn as_many_rules_of_virtual_services_take_no_more() {
    take_96_mebibytes(&Shape::VirtualServices.rules(1_000, 10)).await;
}

#[tokio::test]
async fn as_many_rules_of_http_routes_take_no_more() {
    take_96_mebibytes(&Shape::HttpRoutes.rules(1_000, 10)).await;
}

#[tokio::test]
async fn as_many_rules_of_one_virtual_service_for_every_host_take_no_more() {
    take_96_mebibytes(&Shape::StarredVirtualService.rules(1_000, 10)).await;
}

#[tokio::test]
async fn as_many_rules_of_http_routes_for_every_host_take_no_more() {
    take_96_mebibytes(&Shape::StarredHttpRoutes.rules(1_000, 10)).await;
}

/// A proxy that reads these rules about a thousand services while it serves.
async fn take_96_mebibytes(rules: &str) {
    let weir = Weir::start_gateway(&many::services(1_000), &Shape::RouteRules.rules(1, 1));
    fs::write(weir.rules(), rules).unwrap();
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
    // What reading the files took is given back within some seconds, later where others have the cores.
    let until = Instant::now() + PATIENCE;
    while weir.memory() > 96 * MIB {
        assert!(Instant::now() < until, "{} MiB", weir.memory() >> 20);
        tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
    }
}
