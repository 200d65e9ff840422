//! The scrape configuration and the Alertmanager's, read by the programs that they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;
use weir::telemetry::{Page, Recorder, VersionLabels, VersionMeter};

use super::yaml::documents;
use crate::common::parts::part;
use crate::common::prometheus::Prometheus;
use crate::common::weir::{eventually, free_address};
use crate::{files, read, root, succeeds};

/// What the discovery of pods says of one, beside what every pod here has.
type Pod = &'static [(&'static str, &'static str)];

const SCRAPE: &str = "annotation_prometheus_io_scrape";
const PORT: &str = "annotation_prometheus_io_port";
const PATH: &str = "annotation_prometheus_io_path";
const PORT_NAME: &str = "container_port_name";
const PORT_NUMBER: &str = "container_port_number";

const A: Pod = &[
    ("name", "a"),
    ("ip", "127.9.9.1"),
    (SCRAPE, "true"),
    (PORT, "15090"),
    ("label_version", "v1"),
    ("label_app", "half"),
];

/// It has the annotations, and the port's name: one entry of discovery has it, the other is of the model server's port.
const TWICE: Pod =
    &[("name", "e"), ("ip", "127.9.9.11"), (SCRAPE, "true"), (PORT, "15090"), (PORT_NAME, "rest")];
const TWICE_NAMED: Pod = &[
    ("name", "e"),
    ("ip", "127.9.9.11"),
    (SCRAPE, "true"),
    (PORT, "15090"),
    (PORT_NAME, "weir-metrics"),
    (PORT_NUMBER, "15090"),
];

/// Those that are scraped, and two entries for one: discovery gives one for each port of a container.
const TAKEN: [Pod; 8] = [
    A,
    A,
    TWICE,
    TWICE_NAMED,
    // Its annotations are the model server's.
    &[
        ("name", "d"),
        ("ip", "127.9.9.10"),
        (SCRAPE, "true"),
        (PORT, "8501"),
        (PATH, "/monitoring/prometheus/metrics"),
        (PORT_NAME, "weir-metrics"),
        (PORT_NUMBER, "15090"),
    ],
    &[("name", "f"), ("ip", "::2"), (PORT_NAME, "weir-metrics"), (PORT_NUMBER, "16090")],
    &[("name", "b"), ("ip", "::1"), (SCRAPE, "true"), (PORT, "15090"), ("phase", "Pending")],
    &[("name", "c"), ("ip", "127.9.9.3"), (SCRAPE, "true"), (PORT, "15090"), (PATH, "/stats/prometheus")],
];

/// Those that are not.
const DROPPED: [Pod; 8] = [
    &[("name", "nobody-asks"), ("ip", "127.9.9.4")],
    &[("name", "asked-not-to"), ("ip", "127.9.9.5"), (SCRAPE, "false"), (PORT, "15090")],
    &[
        ("name", "named-and-not"),
        ("ip", "127.9.9.5"),
        (SCRAPE, "false"),
        (PORT_NAME, "weir-metrics"),
        (PORT_NUMBER, "15090"),
    ],
    &[
        ("name", "named-otherwise"),
        ("ip", "127.9.9.4"),
        (PORT_NAME, "weir-metrics-2"),
        (PORT_NUMBER, "15090"),
    ],
    // The model server's entry of pod d.
    &[("name", "d"), ("ip", "127.9.9.10"), (SCRAPE, "true"), (PORT, "8501"), (PORT_NAME, "rest")],
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
        count("activeTargets") >= 8 && count("droppedTargets") >= DROPPED.len()
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
        (
            "http://127.9.9.10:15090/metrics".to_owned(),
            with(&[("pod", "d"), ("instance", "127.9.9.10:15090")]),
        ),
        (
            "http://127.9.9.11:15090/metrics".to_owned(),
            with(&[("pod", "e"), ("instance", "127.9.9.11:15090")]),
        ),
        ("http://[::2]:16090/metrics".to_owned(), with(&[("pod", "f"), ("instance", "[::2]:16090")])),
    ]);
    assert_eq!(of("weir"), expected);
    // Twice pod a is one target, and so is pod e, which is told of in two ways.
    assert_eq!(active.iter().filter(|target| target["labels"]["job"] == "weir").count(), expected.len());
    let dropped = targets["data"]["droppedTargets"].as_array().expect("a list");
    let names: Vec<String> = dropped
        .iter()
        .map(|target| text(&target["discoveredLabels"]["__meta_kubernetes_pod_name"]))
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "another-port",
        "asked-not-to",
        "d",
        "done",
        "failed",
        "named-and-not",
        "named-otherwise",
        "nobody-asks",
    ];
    assert_eq!(names, expected);
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

/// A page with series of both of Istio's generations and of Weir's own, told to whoever asks.
fn exposing() -> SocketAddr {
    let recorder = Recorder::new(1);
    let labels = VersionLabels::new("half.default.svc.cluster.local", "split", "v1");
    let meter = VersionMeter::declare(&recorder, &labels);
    let page = recorder.render(Page::Metrics);
    drop(meter);
    let server = TcpListener::bind(free_address()).expect("a port");
    let at = server.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{page}", page.len());
        }
    });
    at
}

/// The lines that the configuration offers in comments, without the other generation's and in force: 0 drops today's, 1 the
/// old ones.
fn dropping(shipped: &str, generation: usize) -> String {
    let lines: Vec<&str> =
        shipped.lines().filter(|line| line.contains("# - {source_labels: [__name__]")).collect();
    assert_eq!(lines.len(), 2, "{shipped}");
    let without = shipped.replace(&format!("{}\n", lines[1 - generation]), "");
    without
        .replace("  # metric_relabel_configs:", "  metric_relabel_configs:")
        .replace(lines[generation], &lines[generation].replace("# - ", "- "))
}

#[test]
fn the_lines_that_keep_no_series_of_one_of_istios_generations_take_those_and_no_others() {
    let Some(program) = part("prometheus") else { return };
    let at = exposing();
    let shipped = read(&root().join("deploy/prometheus/prometheus.yml"));
    let (start, rest) = shipped.split_once("  kubernetes_sd_configs:\n").expect("the discovery");
    let offered = &rest[rest.find("  # metric_relabel_configs:").expect("the lines")..];
    let offered = &offered[..offered.find("\n\n").expect("their end") + 1];
    let start = start.replace("15s", "1s");
    let names = |more: &str| -> BTreeSet<String> {
        let config = format!("{start}  static_configs: [{{targets: ['{at}']}}]\n{more}");
        let prometheus = Prometheus::with_config(&program, with_rules(), &config);
        let found = prometheus.api("label/__name__/values");
        let names = found["data"].as_array().expect("names").iter().map(text);
        names.filter(|name| name.starts_with("istio_") || name.starts_with("weir_")).collect()
    };
    let all = names(offered);
    let is_old = |name: &&String| {
        let of_duration = ["bucket", "sum", "count"].map(|of| format!("istio_request_duration_{of}"));
        ["istio_request_count", "istio_request_size", "istio_response_size"]
            .iter()
            .any(|old| name.starts_with(old))
            || of_duration.contains(*name)
    };
    let [ours, old, todays]: [BTreeSet<String>; 3] = [
        all.iter().filter(|name| name.starts_with("weir_")).cloned().collect(),
        all.iter().filter(is_old).cloned().collect(),
        all.iter().filter(|name| name.starts_with("istio_") && !is_old(name)).cloned().collect(),
    ];
    // Three histograms and a counter of each, and two of messages.
    assert_eq!((old.len(), todays.len()), (10, 12), "{all:#?}");
    assert!(ours.len() > 3);
    assert_eq!(names(&dropping(offered, 0)), &ours | &old);
    assert_eq!(names(&dropping(offered, 1)), &ours | &todays);
    // An operator's are the same.
    let monitor = read(&root().join("deploy/prometheus/operator/podmonitor.yaml"));
    for line in offered.lines().filter(|line| line.contains("regex:")) {
        let line = line.replace("source_labels", "sourceLabels");
        assert!(monitor.contains(line.trim()), "{line}");
    }
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
