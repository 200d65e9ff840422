//! Runs a real Prometheus that scrapes what it is told every second, or holds what it is given, and asks it questions.
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

/// The labels of a series.
pub type Labels = BTreeMap<String, String>;
/// A series: its labels and its value.
pub type Found = Vec<(Labels, f64)>;

impl Prometheus {
    /// Starts it; returns when it has scraped `target` without a fault.
    pub fn start(program: &Path, target: SocketAddr) -> Prometheus {
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: weir\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        Prometheus::with_config(program, tempfile::tempdir().unwrap(), &config)
    }

    /// Starts it with a configuration of one's own, in a folder that may hold what this names, and in `data/` what it shall
    /// know; returns when it has scraped all of its targets without a fault.
    pub fn with_config(program: &Path, folder: TempDir, config: &str) -> Prometheus {
        let prometheus = Prometheus::starting(program, folder, config);
        let scrapes = config.contains("targets: [");
        eventually("Prometheus has scraped its targets", true, || {
            prometheus.is_ready() && prometheus.is_up(scrapes)
        });
        prometheus
    }

    /// [`Prometheus::with_config`], but for the wait.
    pub fn starting(program: &Path, folder: TempDir, config: &str) -> Prometheus {
        let address = free_address();
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
        Prometheus { address, folder, child }
    }

    /// Whether it answers questions.
    pub fn is_ready(&self) -> bool {
        get(self.address, "/-/ready").is_some_and(|(status, _)| status == 200)
    }

    /// All of its targets are; where it `scrapes`, it knows some: it finds even those that are written down a while after
    /// it is ready.
    fn is_up(&self, scrapes: bool) -> bool {
        let reply = self.api("targets?state=active");
        let targets = reply["data"]["activeTargets"].as_array().expect("a list");
        targets.is_empty() != scrapes
            && targets.iter().all(|target| target["health"] == "up" && target["lastError"] == "")
    }

    /// What its API says.
    pub fn api(&self, path: &str) -> Value {
        let (status, text) = get(self.address, &format!("/api/v1/{path}")).expect("it answers");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn query(&self, query: &str, time: Option<f64>) -> Vec<Value> {
        let mut path = format!("query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        if let Some(time) = time {
            path += &format!("&time={time:.3}");
        }
        let reply = self.api(&path);
        reply["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {reply}")).clone()
    }

    /// The instant vector of `query`, now or at a time.
    pub fn ask(&self, query: &str, time: Option<f64>) -> Found {
        let read =
            |series: &Value| (labels_of(series), series["value"][1].as_str().unwrap().parse().unwrap());
        self.query(query, time).iter().map(read).collect()
    }

    /// The samples of a range vector such as `up[5m]`, each with its time.
    pub fn samples(&self, query: &str) -> Vec<(Labels, Vec<(f64, f64)>)> {
        let sample =
            |sample: &Value| (sample[0].as_f64().unwrap(), sample[1].as_str().unwrap().parse().unwrap());
        let read = |series: &Value| {
            (labels_of(series), series["values"].as_array().unwrap().iter().map(sample).collect())
        };
        self.query(query, None).iter().map(read).collect()
    }

    /// The values of a label among the series that match, as `label_values()` of a dashboard asks for them.
    pub fn label_values(&self, series: &str, label: &str) -> Vec<String> {
        let matching = utf8_percent_encode(series, NON_ALPHANUMERIC);
        let reply = self.api(&format!("label/{label}/values?match[]={matching}"));
        serde_json::from_value(reply["data"].clone()).unwrap()
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

fn labels_of(series: &Value) -> Labels {
    serde_json::from_value(series["metric"].clone()).unwrap()
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
