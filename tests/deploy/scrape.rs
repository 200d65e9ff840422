//! The scrape configuration and the Alertmanager's, read by the programs that they are for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::yaml::documents;
use crate::common::parts::part;
use crate::common::prometheus::Prometheus;
use crate::common::weir::eventually;
use crate::{files, read, root, succeeds};

/// What the discovery of pods says of one, beside what every pod here has.
type Pod = &'static [(&'static str, &'static str)];

const SCRAPE: &str = "annotation_prometheus_io_scrape";
const PORT: &str = "annotation_prometheus_io_port";

const A: Pod = &[
    ("name", "a"),
    ("ip", "127.9.9.1"),
    (SCRAPE, "true"),
    (PORT, "15090"),
    ("label_version", "v1"),
    ("label_app", "half"),
];

/// Those that are scraped, and two entries for one: discovery gives one for each port of a container.
const TAKEN: [Pod; 4] = [
    A,
    A,
    &[("name", "b"), ("ip", "::1"), (SCRAPE, "true"), (PORT, "15090"), ("phase", "Pending")],
    &[
        ("name", "c"),
        ("ip", "127.9.9.3"),
        (SCRAPE, "true"),
        (PORT, "15090"),
        ("annotation_prometheus_io_path", "/stats/prometheus"),
    ],
];

/// Those that are not.
const DROPPED: [Pod; 5] = [
    &[("name", "nobody-asks"), ("ip", "127.9.9.4")],
    &[("name", "asked-not-to"), ("ip", "127.9.9.5"), (SCRAPE, "false"), (PORT, "15090")],
    &[("name", "another-port"), ("ip", "127.9.9.6"), (SCRAPE, "true"), (PORT, "9090")],
    &[("name", "done"), ("ip", "127.9.9.7"), (SCRAPE, "true"), (PORT, "15090"), ("phase", "Succeeded")],
    &[("name", "failed"), ("ip", "127.9.9.8"), (SCRAPE, "true"), (PORT, "15090"), ("phase", "Failed")],
];

/// The shipped configuration, with pods that are told to it in place of a cluster that it asks.
fn config() -> String {
    let shipped = read(&root().join("deploy/prometheus/prometheus.yml"));
    let mut told = "  static_configs:\n".to_owned();
    for (number, pod) in TAKEN.iter().chain(&DROPPED).enumerate() {
        told += &format!("  - targets: ['127.8.8.8:{}']\n    labels:\n", 1_000 + number);
        let mut labels = BTreeMap::from([("namespace", "models"), ("pod_phase", "Running")]);
        let named: Vec<(String, &str)> =
            pod.iter().map(|(name, value)| (format!("pod_{name}"), *value)).collect();
        labels.extend(named.iter().map(|(name, value)| (&**name, *value)));
        for (name, value) in labels {
            told += &format!("      __meta_kubernetes_{name}: '{value}'\n");
        }
    }
    let discovery = "  kubernetes_sd_configs:\n  - role: pod\n";
    assert_eq!(shipped.matches(discovery).count(), 1, "{shipped}");
    shipped.replace(discovery, &told)
}

fn with_rules() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("rules")).expect("a folder");
    for path in files("deploy/prometheus/rules", &[".yaml"]) {
        let name = path.file_name().expect("a name");
        fs::copy(&path, folder.path().join("rules").join(name)).expect("a copy");
    }
    folder
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn promtool_takes_the_scrape_configuration() {
    let Some(promtool) = part("promtool") else { return };
    let folder = with_rules();
    let path = folder.path().join("prometheus.yml");
    fs::write(&path, config()).expect("written");
    let said = succeeds(&promtool, &["check", "config", &path.to_string_lossy()]);
    assert!(said.contains("is valid prometheus config") && said.contains("2 rule files found"), "{said}");
}

#[test]
fn prometheus_scrapes_the_pods_that_ask_for_it_once_and_names_them() {
    let Some(program) = part("prometheus") else { return };
    let prometheus = Prometheus::starting(&program, with_rules(), &config());
    eventually("Prometheus is ready", true, || prometheus.is_ready());
    eventually("the targets are known", true, || {
        let targets = prometheus.api("targets?state=any");
        let count = |which: &str| targets["data"][which].as_array().map_or(0, Vec::len);
        count("activeTargets") >= 5 && count("droppedTargets") >= DROPPED.len()
    });
    let targets = prometheus.api("targets?state=any");
    let active = targets["data"]["activeTargets"].as_array().expect("a list");
    let of = |job: &str| -> BTreeMap<String, BTreeMap<String, String>> {
        let mine = active.iter().filter(|target| target["labels"]["job"] == job);
        let labels = |target: &Value| {
            let labels = target["labels"].as_object().expect("labels").iter();
            labels.map(|(name, value)| (name.clone(), text(value))).collect()
        };
        mine.map(|target| (text(&target["scrapeUrl"]), labels(target))).collect()
    };
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let both = [("job", "weir"), ("namespace", "models")];
    let with = |more: &[(&str, &str)]| labels(&[&both[..], more].concat());
    let expected = BTreeMap::from([
        (
            "http://127.9.9.1:15090/metrics".to_owned(),
            with(&[("pod", "a"), ("instance", "127.9.9.1:15090"), ("app", "half"), ("pod_version", "v1")]),
        ),
        ("http://[::1]:15090/metrics".to_owned(), with(&[("pod", "b"), ("instance", "[::1]:15090")])),
        (
            "http://127.9.9.3:15090/stats/prometheus".to_owned(),
            with(&[("pod", "c"), ("instance", "127.9.9.3:15090")]),
        ),
    ]);
    assert_eq!(of("weir"), expected);
    // Twice pod a is one target.
    assert_eq!(active.iter().filter(|target| target["labels"]["job"] == "weir").count(), expected.len());
    let dropped = targets["data"]["droppedTargets"].as_array().expect("a list");
    let names: Vec<String> = dropped
        .iter()
        .map(|target| text(&target["discoveredLabels"]["__meta_kubernetes_pod_name"]))
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["another-port", "asked-not-to", "done", "failed", "nobody-asks"]);
    for (job, url) in [
        ("prometheus", "http://localhost:9090/metrics"),
        ("alertmanager", "http://alertmanager:9093/metrics"),
    ] {
        assert_eq!(of(job), BTreeMap::from([(url.to_owned(), of(job)[url].clone())]));
    }
    // Its rules are the shipped ones, which Prometheus has read.
    let groups = prometheus.api("rules");
    assert_eq!(groups["data"]["groups"].as_array().map(Vec::len), Some(3), "{groups}");
}

#[test]
fn amtool_takes_the_alertmanagers_configuration() {
    let Some(amtool) = part("amtool") else { return };
    let manifests = documents(&read(&root().join("deploy/addons/alertmanager.yaml")));
    let config = manifests[0]["data"]["alertmanager.yml"].as_str().expect("its configuration");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alertmanager.yml");
    fs::write(&path, config).expect("written");
    let said = succeeds(Path::new(&amtool), &["check-config", &path.to_string_lossy()]);
    assert!(said.contains("SUCCESS"), "{said}");
}
