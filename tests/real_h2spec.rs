//! h2spec, the conformance test of HTTP/2 servers, against Weir with an upstream behind it.
//!
//! Law: what fails is exactly what stands in `KNOWN`, with the reason. A case that begins to pass has to be taken out.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod parts;
    pub(crate) mod world;
}

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use common::parts::part;
use common::world::upstream::{Upstream, empty, full};
use common::world::{Http, World, one_service, run, within};
use tokio::process::Command;

/// Whole runs take some 5 s; those that wait for a frame that does not come, 2 s more for each.
const DEADLINE: Duration = Duration::from_secs(100);
/// Fewer would mean that h2spec did not run what it has.
const CASES: usize = 140;

/// Cases that fail, and why that is right or at least harmless.
const KNOWN: [(&str, &str); 1] = [(
    "http2/3.5/2",
    "What is no preface is read as HTTP/1, which the port speaks, too: it is answered with 400 in HTTP/1 and the \
     connection closed. h2spec takes the answer for a frame that was cut.",
)];

#[test]
fn h2spec_finds_nothing_but_what_is_explained() {
    let Some(h2spec) = part("h2spec") else { return };
    run(async || {
        for up in Http::BOTH {
            // One case needs a body of more than a few bytes.
            let upstream = Upstream::remembering(|seen| {
                let head = seen.head.method == http::Method::HEAD;
                http::Response::new(if head { empty() } else { full("a body") })
            })
            .await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await;
            let report = world.folder().join("h2spec.xml");
            let address = world.addr("in");
            let mut command = Command::new(&h2spec);
            command.args([
                "--strict",
                "--host",
                &address.ip().to_string(),
                "--port",
                &address.port().to_string(),
            ]);
            command.arg("--junit-report").arg(&report).stdin(Stdio::null()).kill_on_drop(true);
            let output = within(DEADLINE, "h2spec's end", command.output()).await.expect("h2spec runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let report = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("no report:\n{said}"));
            let cases = cases(&report);
            assert!(cases.len() >= CASES, "{} cases:\n{said}", cases.len());
            let failed: BTreeSet<&str> =
                cases.iter().filter(|(_, failed)| **failed).map(|(name, _)| name.as_str()).collect();
            assert!(!said.contains("1 skipped"), "{said}");
            let known: BTreeSet<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            assert_eq!(failed, known, "upstream {up:?}:\n{said}");
        }
    });
}

/// Each case of a JUnit report: its section and number, and whether it failed.
fn cases(report: &str) -> BTreeMap<String, bool> {
    let mut cases = BTreeMap::new();
    let mut number = BTreeMap::<&str, u32>::new();
    for case in report.split("<testcase ").skip(1) {
        let attribute = |name: &str| case.split_once(name)?.1.split('"').next();
        let section = attribute("package=\"").expect("a section");
        let number = number.entry(section).or_default();
        *number += 1;
        let failed = case.contains("<failure") || case.contains("<error");
        cases.insert(format!("{section}/{number}"), failed);
    }
    cases
}
