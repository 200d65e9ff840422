//! Runs a real Prometheus that scrapes one proxy every second, and asks it questions.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::weir::{eventually, free_address, get};

/// A Prometheus on loopback, killed when dropped.
pub struct Prometheus {
    address: SocketAddr,
    folder: TempDir,
    child: Child,
}

/// A series: its labels and its value.
pub type Found = Vec<(BTreeMap<String, String>, f64)>;

impl Prometheus {
    /// Starts it; returns when it has scraped `target` without a fault.
    pub fn start(program: &Path, target: SocketAddr) -> Prometheus {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: weir\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("the program was found");
        let prometheus = Prometheus { address, folder, child };
        eventually("Prometheus has scraped Weir", true, || {
            get(address, "/-/ready").is_some_and(|(status, _)| status == 200) && prometheus.is_up()
        });
        prometheus
    }

    fn is_up(&self) -> bool {
        let (_, text) = get(self.address, "/api/v1/targets?state=active").expect("it answers");
        let reply: Value = serde_json::from_str(&text).unwrap();
        let target = &reply["data"]["activeTargets"][0];
        target["health"] == "up" && target["lastError"] == ""
    }

    /// The instant vector of `query`, now or at a time.
    pub fn ask(&self, query: &str, time: Option<f64>) -> Found {
        let mut path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        if let Some(time) = time {
            path += &format!("&time={time:.3}");
        }
        let (status, text) = get(self.address, &path).expect("it answers");
        assert_eq!(status, 200, "{query}: {text}");
        let reply: Value = serde_json::from_str(&text).unwrap();
        let series = reply["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {text}"));
        let read = |series: &Value| {
            let labels = serde_json::from_value(series["metric"].clone()).unwrap();
            (labels, series["value"][1].as_str().unwrap().parse().unwrap())
        };
        series.iter().map(read).collect()
    }

    /// The only value of `query`.
    pub fn one(&self, query: &str) -> Option<f64> {
        let found = self.ask(query, None);
        assert!(found.len() < 2, "{query}: {found:?}");
        found.first().map(|(_, value)| *value)
    }

    /// The values of `query` by a label.
    pub fn by(&self, query: &str, label: &str) -> BTreeMap<String, f64> {
        by(self.ask(query, None), label)
    }

    /// The same at the very moment of the last scrape: increase() has then nothing to extrapolate to, and what it
    /// gives for a counter that began at zero is a whole number.
    pub fn by_at_last_scrape(&self, query: &str, label: &str) -> BTreeMap<String, f64> {
        let last = self.one("max(timestamp(up))").expect("a scrape");
        by(self.ask(query, Some(last)), label)
    }
}

fn by(found: Found, label: &str) -> BTreeMap<String, f64> {
    found.into_iter().map(|(mut labels, value)| (labels.remove(label).unwrap_or_default(), value)).collect()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            println!("Prometheus said:\n{log}");
        }
    }
}
