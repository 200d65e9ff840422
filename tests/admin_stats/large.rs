//! The pages of a proxy with ten thousand rules.
//!
//! Law: a page takes little memory, however long it is.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::common::child::Weir;
use super::common::many::{Shape, services};

const MIB: u64 = 1 << 20;
/// Unoptimised, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// As many clusters as there may be with series before their first request.
#[tokio::test]
async fn pages_of_megabytes_about_ten_thousand_rules_take_little_memory() {
    let weir = Weir::start_gateway(&services(400), &Shape::RouteRules.rules(400, 25));
    let pages = [
        "/stats",
        "/stats?format=json",
        "/stats/prometheus?usedonly",
        "/clusters",
        "/clusters?format=json",
        "/splits",
        "/splits?sort=trouble",
        "/splits.csv",
        "/rules",
        "/config_dump",
    ];
    settled(&weir).await;
    let watch = weir.watch_memory();
    let mut bytes = 0;
    for page in pages {
        let (status, text) = weir.page(page).await;
        assert_eq!(status, 200, "{page}");
        println!("{page}: {} KiB, {} KiB more", text.len() >> 10, watch.grown() >> 10);
        bytes += text.len() as u64;
    }
    let mut top = Command::new(env!("CARGO_BIN_EXE_weir"));
    let top = top.args(["top", "--once", "--admin"]).arg(weir.admin.to_string()).output().expect("it runs");
    println!("weir top --once: {} KiB, {} KiB more", top.stdout.len() >> 10, watch.grown() >> 10);
    assert!(String::from_utf8_lossy(&top.stdout).ends_with(" more rules\n"), "{top:?}");
    let mut packed = Vec::new();
    let mut scraper = TcpStream::connect(weir.admin).await.expect("a connection");
    let request =
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
    scraper.write_all(request.as_bytes()).await.expect("written");
    timeout(PATIENCE, scraper.read_to_end(&mut packed)).await.expect("a page in time").expect("a page");
    println!("/metrics, packed: {} KiB, {} KiB more", packed.len() >> 10, watch.grown() >> 10);
    assert!(String::from_utf8_lossy(&packed).contains("content-encoding: gzip"));
    assert!(bytes > 5 * MIB, "they are long: {bytes}");
    assert!(watch.grown() < 4 * MIB, "{} KiB", watch.grown() >> 10);
}

/// Waits until its memory stays as it is: what the start took for a while has been given back.
async fn settled(weir: &Weir) {
    let (start, mut before) = (Instant::now(), u64::MAX);
    loop {
        let now = weir.memory();
        if now.abs_diff(before) < MIB / 16 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{}", weir.log());
        before = now;
        tokio::time::sleep(Duration::from_secs(1)).await; // between two looks
    }
}
