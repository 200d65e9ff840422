//! What stands in `deploy/` is what its descriptions say, is read by the programs that it is for, and asks for metrics that
//! there are.

#![allow(clippy::expect_used)] // a panic here is the report

#[path = "common"]
mod common {
    pub(crate) mod loopback;
    pub(crate) mod parts;
    pub(crate) mod prometheus;
    pub(crate) mod weir;
}
#[path = "deploy"]
mod deploy {
    mod boards;
    mod manifests;
    mod scrape;
    mod yaml;
}

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::parts::{part, skip};
use regex::Regex;
use saphyr_parser::{Event, Parser};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below `folder` whose names end like one of `ends`.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder}: no file");
    found.sort();
    found
}

/// The Python that runs `deploy/`'s scripts, which need nothing but it.
fn python() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let tried = Command::new(&python).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    skip("there is no python3");
    None
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).current_dir(root()).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

#[track_caller]
fn succeeds(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    said
}

#[test]
fn what_is_made_from_descriptions_is_what_they_say() {
    let Some(python) = python() else { return };
    for script in ["deploy/grafana/make", "deploy/prometheus/make"] {
        succeeds(Path::new(&python), &[script, "--check"]);
    }
}

#[test]
fn promtool_takes_the_rules() {
    let Some(promtool) = part("promtool") else { return };
    for rules in files("deploy/prometheus/rules", &[".yaml"]) {
        let said = succeeds(&promtool, &["check", "rules", &rules.to_string_lossy()]);
        assert!(said.contains("SUCCESS") && !said.contains("SUCCESS: 0 rules"), "{said}");
    }
}

fn rules_hold(chosen: [&str; 2], at_least: usize) {
    let (Some(python), Some(promtool)) = (python(), part("promtool")) else { return };
    let promtool = promtool.to_string_lossy();
    let script = ["deploy/prometheus/test", "--promtool", &*promtool];
    let said = succeeds(Path::new(&python), &[&script[..], &chosen].concat());
    println!("{said}");
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= at_least, "{passed} worlds were looked at");
}

#[test]
fn each_alert_fires_for_its_fault_alone_resolves_soon_after_it_and_fires_again() {
    rules_hold(["--skip", "day at"], 28);
}

#[test]
fn a_quiet_day_wakes_nobody() {
    rules_hold(["--only", "a quiet day at"], 3);
}

#[test]
fn three_times_the_errors_raise_one_alert_and_one_failure_in_ten_is_told_within_an_hour() {
    rules_hold(["--only", "a day at"], 6);
}

/// What PromQL in `text` asks for: neither labels nor texts.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let pattern = |pattern: &str| Regex::new(pattern).expect("a pattern");
    // A variable's own label, then texts, matchers and lists of labels, so that what is left are metrics and functions.
    let mut left = pattern(r"label_values\((.*), *\w+\)").replace_all(text, "$1").into_owned();
    for taken in [
        "`[^`]*`",
        r#""[^"]*""#,
        r"\{[^{}]*\}",
        r"\b(by|on|without|ignoring|group_left|group_right) *\([^()]*\)",
    ] {
        left = pattern(taken).replace_all(&left, " ").into_owned();
    }
    pattern(r"\b(weir|envoy|istio|process)[_:][a-z0-9_:]+")
        .find_iter(&left)
        .map(|m| m.as_str().to_owned())
        .collect()
}

/// The queries of a dashboard, wherever they stand.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if matches!(&**name, "expr" | "query" | "definition") => {
                        found.push(text.clone());
                    }
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// Each metric that a dashboard, rule or alert names, with the file that does.
fn asked() -> Vec<(String, PathBuf)> {
    let mut asked = Vec::new();
    for path in files("deploy/grafana/dashboards", &[".json"]) {
        let mut found = Vec::new();
        queries(&serde_json::from_str(&read(&path)).expect("JSON"), &mut found);
        assert!(found.len() > 20, "{}: {} queries", path.display(), found.len());
        let names: BTreeSet<String> = found.iter().flat_map(|query| metrics_in(query)).collect();
        asked.extend(names.into_iter().map(|name| (name, path.clone())));
    }
    for path in files("deploy/prometheus/rules", &[".yaml"]) {
        let text = read(&path);
        let rules: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        asked.extend(metrics_in(&rules.join("\n")).into_iter().map(|name| (name, path.clone())));
    }
    asked
}

/// The metrics of the tables of `docs/metrics.md`: the rows that tell a kind.
fn documented() -> BTreeSet<String> {
    let text = read(&root().join("docs/metrics.md"));
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let kinds = ["counter |", "gauge |", "histogram, "];
    let metrics = rows.filter(|(_, rest)| kinds.iter().any(|kind| rest.starts_with(kind)));
    metrics.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_metric_that_a_dashboard_a_rule_or_an_alert_names_is_documented() {
    let (known, asked) = (documented(), asked());
    let is_known = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        known.contains(name) || of_histogram.into_iter().any(|name| known.contains(name))
    };
    let metrics = asked.iter().filter(|(name, _)| !name.contains(':'));
    let unknown: Vec<_> = metrics.clone().filter(|(name, _)| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(metrics.count() > 60 && !is_known("weir_no_such_metric"));
    assert!(!is_known("envoy_http_downstream_rq_too_large"), "it is told that it is not there");
}

#[test]
fn whatever_the_rules_read_of_each_other_is_recorded() {
    let rules: Vec<String> =
        files("deploy/prometheus/rules", &[".yaml"]).iter().map(|path| read(path)).collect();
    let recorded: BTreeSet<&str> = rules
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    let asked = asked();
    let read: BTreeSet<&str> =
        asked.iter().map(|(name, _)| &**name).filter(|name| name.contains(':')).collect();
    let nowhere: Vec<_> = read.difference(&recorded).collect();
    assert!(nowhere.is_empty() && recorded.len() > 10, "{nowhere:?}");
}

#[test]
fn every_manifest_is_yaml_and_every_file_that_a_kustomization_names_is_there() {
    let manifests = files("deploy", &[".yaml", ".yml"]);
    for path in &manifests {
        let text = read(path);
        let mut documents = 0;
        for event in Parser::new_from_str(&text) {
            let (event, _) = event.unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
            documents += usize::from(matches!(event, Event::DocumentStart(_)));
        }
        assert!(documents > 0, "{}: empty", path.display());
    }
    let list = Regex::new(r"files: \[([^\]]*)\]").expect("a pattern");
    let mut named = 0;
    for path in manifests.iter().filter(|path| path.ends_with("kustomization.yaml")) {
        let text = read(path);
        let of_maps = list.captures_iter(&text).flat_map(|found| {
            let files: Vec<String> = found[1].split(',').map(|file| file.trim().to_owned()).collect();
            files
        });
        let resources = text.split("\nresources:\n").skip(1).flat_map(str::lines);
        let of_resources = resources.map_while(|line| line.strip_prefix("- ")).map(str::to_owned);
        for file in of_maps.chain(of_resources) {
            let file = file.split_once('=').map_or(&*file, |(_, file)| file);
            let place = path.with_file_name(file);
            assert!(place.exists(), "{}: {file}", path.display());
            named += 1;
        }
    }
    assert!(named >= 14, "{named} files are named");
}
