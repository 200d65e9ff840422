//! The main job under load: shares follow the rules file while it is edited, and nothing that is wrong in it disturbs.
//!
//! A `weir proxy` of its own, edited as an operator does: in place and by rename.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/child.rs"]
mod child;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/traffic.rs"]
mod traffic;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use child::Weir;
use engine::{DEADLINE, eventually, on_control_thread, sum_of};
use tokio::task::spawn_local;
use tokio::time::sleep;
use traffic::{Call, Tally, Upstream, Wire, answer, client};

const CLIENTS: usize = 3;
/// Answers over which a share is measured.
const SAMPLE: u64 = 600;

/// One upstream a version and wire.
fn versions() -> Vec<(Wire, usize, Upstream)> {
    let start = |wire, version: usize| {
        let upstream = Upstream::start(wire, move |_| {
            Box::pin(async move {
                sleep(Duration::from_millis(1)).await;
                answer(wire, &[("x-version", &version.to_string())], "{}")
            })
        });
        (wire, version, upstream)
    };
    [1, 2]
        .into_iter()
        .flat_map(|version| [Wire::Http1, Wire::Http2].map(|wire| start(wire, version)))
        .collect()
}

fn services(versions: &[(Wire, usize, Upstream)]) -> String {
    let at = |wire, version| versions.iter().find(|one| (one.0, one.1) == (wire, version)).unwrap().2.address;
    let endpoint = |version| {
        let (http, grpc) = (at(Wire::Http1, version), at(Wire::Http2, version));
        format!("{{http: '{http}', grpc: '{grpc}', labels: {{version: v{version}}}}}")
    };
    format!("workers: 2\nservices: [{{name: m, endpoints: [{}, {}]}}]\n", endpoint(1), endpoint(2))
}

fn rule(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: canary}}\nspec:\n\
         \x20 destination: {{name: m}}\n  route:\n  - labels: {{version: v1}}\n    weight: {v1}\n\
         \x20 - labels: {{version: v2}}\n    weight: {v2}\n"
    )
}

/// Answers by version.
#[derive(Default)]
struct Seen([Cell<u64>; 2]);

impl Seen {
    fn call(self: &Rc<Seen>) -> Call {
        let seen = self.clone();
        let check = move |_: u64, got: &traffic::Got| {
            let version: usize = got.headers["x-version"].to_str().unwrap().parse().unwrap();
            let count = &seen.0[version - 1];
            count.set(count.get() + 1);
            Ok(())
        };
        Call { headers: Rc::new(|_| Vec::new()), check: Rc::new(check) }
    }

    fn counts(&self) -> [u64; 2] {
        self.0.each_ref().map(Cell::get)
    }

    /// The share of v2, in percent, of the next answers.
    async fn share(&self) -> f64 {
        let before = self.counts();
        let all = |counts: [u64; 2]| counts[0] + counts[1];
        eventually("there is load", || all(self.counts()) - all(before) >= SAMPLE).await;
        let now = self.counts();
        100.0 * (now[1] - before[1]) as f64 / (all(now) - all(before)) as f64
    }
}

/// Load by both wires, and what each sees.
struct Load {
    tally: Rc<Tally>,
    seen: [Rc<Seen>; 2],
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(weir: &Weir) -> Load {
        let (tally, seen) = (Rc::new(Tally::default()), [Rc::new(Seen::default()), Rc::new(Seen::default())]);
        let mut clients = Vec::new();
        for (wire, seen) in [Wire::Http1, Wire::Http2].into_iter().zip(&seen) {
            let one = |_| spawn_local(client(wire, weir.address, seen.call(), tally.clone()));
            clients.extend((0..CLIENTS).map(one));
        }
        Load { tally, seen, clients }
    }

    /// The shares of v2 over HTTP/1.1 and over gRPC, both at once.
    async fn shares(&self) -> [f64; 2] {
        let [http1, grpc] = &self.seen;
        let (http1, grpc) = futures_util::future::join(http1.share(), grpc.share()).await;
        [http1, grpc]
    }

    /// The shares once the page of splits tells of these weights, without the requests that were under way then.
    async fn shares_of(&self, weir: &Weir, weights: [u64; 2]) -> [f64; 2] {
        let until = Instant::now() + DEADLINE;
        loop {
            let page: serde_json::Value = serde_json::from_str(&weir.page("/splits").await.1).unwrap();
            let versions = page["splits"][0]["versions"].as_array().cloned().unwrap_or_default();
            let of = |name: &str| {
                let version = versions.iter().find(|version| version["version"] == name);
                version.and_then(|version| version["weight"].as_u64()).unwrap_or_default()
            };
            if [of("v1"), of("v2")] == weights {
                break;
            }
            assert!(Instant::now() < until, "{weights:?} are not in force: {page}");
        }
        self.shares().await;
        self.shares().await
    }

    async fn end(self) -> u64 {
        self.tally.stop.set(true);
        for client in self.clients {
            client.await.unwrap();
        }
        self.tally.assert_none_failed();
        self.tally.answered.get()
    }
}

/// Each wire sees the share, but for what chance and the two wires' turns make of a sample.
fn assert_share(shares: [f64; 2], wanted: f64) {
    let tolerance = if wanted == 0.0 || wanted == 100.0 { 0.0 } else { 7.0 };
    for share in shares {
        assert!((share - wanted).abs() <= tolerance, "{shares:?} of {wanted}");
    }
    let both = (shares[0] + shares[1]) / 2.0;
    println!("wanted {wanted} %: HTTP/1.1 {:.2} %, gRPC {:.2} %, both {both:.2} %", shares[0], shares[1]);
}

#[test]
fn shares_follow_the_rules_file_under_load_and_no_request_fails() {
    on_control_thread(async {
        let versions = versions();
        let weir = Weir::start(&services(&versions), &rule(95, 5));
        let load = Load::start(&weir);
        assert_share(load.shares().await, 5.0);
        let written = |text: String| std::fs::write(weir.rules(), text).unwrap();
        let renamed = |text: String| {
            let beside = weir.rules().with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, weir.rules()).unwrap();
        };
        for v2 in [50, 100, 5, 0] {
            let edit = rule(100 - v2, v2);
            if v2 == 50 || v2 == 5 {
                written(edit)
            } else {
                renamed(edit)
            }
            let weights = [100 - v2, v2].map(u64::from);
            assert_share(load.shares_of(&weir, weights).await, f64::from(v2));
        }
        println!("{} answers, none failed", load.end().await);
    });
}

#[test]
fn edits_that_are_wrong_change_nothing_and_are_reported() {
    on_control_thread(async {
        let versions = versions();
        let weir = Weir::start(&services(&versions), &rule(50, 50));
        let load = Load::start(&weir);
        let half_written = rule(50, 50).trim_end().trim_end_matches('0').to_owned();
        let unknown_key = rule(50, 50) + "  routes: []\n";
        let wrong: [(&str, Vec<u8>); 6] = [
            ("empty", Vec::new()),
            ("binary", vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0xff, 0xfe]),
            ("half written", half_written.into_bytes()),
            ("weights that make 110", rule(50, 60).into_bytes()),
            ("a weight that is no number", rule(50, 50).replace("weight: 50", "weight: .nan").into_bytes()),
            ("a key that there is not", unknown_key.into_bytes()),
        ];
        for (number, (what, bytes)) in wrong.into_iter().enumerate() {
            std::fs::write(weir.rules(), bytes).unwrap();
            let refused = || weir.log().matches("the new configuration is refused").count();
            eventually(&format!("{what} is refused, log:\n{}", weir.log()), || refused() == number + 1).await;
            assert!(weir.log().contains("rules.yaml:"), "the log names the file");
            let page = weir.page("/metrics").await.1;
            let result =
                |result: &str| sum_of(&page, &format!("weir_config_reloads_total{{result=\"{result}\""));
            assert_eq!((result("refused"), result("accepted")), ((number + 1) as f64, 0.0));
            assert_eq!(sum_of(&page, "weir_config_last_reload_success"), 0.0);
            let (_, dump) = weir.page("/config_dump").await;
            assert!(dump.contains("rules.yaml"), "the verdict is on the page: {dump}");
            assert_share(load.shares().await, 50.0);
        }
        std::fs::write(weir.rules(), rule(0, 100)).unwrap();
        assert_share(load.shares_of(&weir, [0, 100]).await, 100.0);
        load.end().await;
    });
}

#[test]
fn a_rules_file_written_ten_times_a_second_fails_no_request_and_its_last_state_wins() {
    on_control_thread(async {
        let versions = versions();
        let weir = Weir::start(&services(&versions), &rule(95, 5));
        let load = Load::start(&weir);
        let until = Instant::now() + Duration::from_secs(4);
        let mut share = 0;
        while Instant::now() < until {
            share = (share + 7) % 101;
            std::fs::write(weir.rules(), rule(100 - share, share)).unwrap();
            sleep(Duration::from_millis(100)).await;
        }
        std::fs::write(weir.rules(), rule(100, 0)).unwrap();
        assert_share(load.shares_of(&weir, [100, 0]).await, 0.0);
        let accepted = weir.log().matches("a new configuration is in force").count();
        assert!(accepted >= 3, "writing without pause must not put the reload off: {accepted} reloads");
        load.end().await;
    });
}
