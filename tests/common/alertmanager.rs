//! Runs a real Alertmanager that tells a webhook of the test's everything that fires and everything that is over.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use http::Response;
use serde_json::Value;
use tempfile::TempDir;

use super::weir::{free_address, get};
use super::world::upstream::{Upstream, full};

/// An Alertmanager on loopback, killed when dropped.
pub struct Alertmanager {
    pub address: SocketAddr,
    folder: TempDir,
    child: Child,
    webhook: Upstream,
}

/// What was told of an alert: its labels, and whether it fires or is `resolved`.
#[derive(Clone, Debug)]
pub struct Told {
    pub labels: BTreeMap<String, String>,
    pub status: String,
}

impl Alertmanager {
    /// Starts it with `config`, in which `{webhook}` stands for the URL that it is to tell.
    pub async fn start(program: &Path, config: &str) -> Alertmanager {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let webhook = Upstream::remembering(|_| Response::new(full(""))).await;
        let config = config.replace("{webhook}", &format!("http://{}/", webhook.at()));
        fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Alone: it listens for no peers.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program was found");
        Alertmanager { address, folder, child, webhook }
    }

    pub fn is_ready(&self) -> bool {
        get(self.address, "/-/ready").is_some_and(|(status, _)| status == 200)
    }

    /// The labels of the alerts that are active now, by its API.
    pub fn active(&self) -> Vec<BTreeMap<String, String>> {
        let (status, text) = get(self.address, "/api/v2/alerts?active=true").expect("it answers");
        assert_eq!(status, 200, "{text}");
        let alerts: Vec<Value> = serde_json::from_str(&text).unwrap();
        alerts.iter().map(|alert| serde_json::from_value(alert["labels"].clone()).unwrap()).collect()
    }

    /// Everything that the webhook was told, in order.
    pub fn told(&self) -> Vec<Told> {
        let messages = self.webhook.seen();
        let alerts = messages.iter().flat_map(|message| {
            let message: Value = serde_json::from_slice(&message.body).expect("JSON");
            message["alerts"].as_array().expect("a list").clone()
        });
        let told = alerts.map(|alert| Told {
            labels: serde_json::from_value(alert["labels"].clone()).unwrap(),
            status: alert["status"].as_str().unwrap().to_owned(),
        });
        told.collect()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            println!("Alertmanager said:\n{log}");
        }
    }
}
