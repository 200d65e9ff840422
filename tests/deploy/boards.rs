//! What every dashboard of `deploy/grafana/dashboards` must be, so that any Grafana takes it and asks the source that was
//! chosen.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use crate::common::parts::part;
use crate::{files, queries, read, root, succeeds};

fn boards() -> Vec<Value> {
    let texts = files("deploy/grafana/dashboards", &[".json"]);
    texts.iter().map(|path| serde_json::from_str(&read(path)).expect("JSON")).collect()
}

/// Every panel, those in rows that are closed among them.
fn panels(board: &Value) -> Vec<&Value> {
    let list = |value: &'_ Value| -> usize { value.as_array().map_or(0, Vec::len) };
    let mut found = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        found.push(panel);
        if list(&panel["panels"]) > 0 {
            found.extend(panel["panels"].as_array().into_iter().flatten());
        }
    }
    found
}

/// What stands under `name`, anywhere.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                if field == name {
                    found.push(value);
                }
                all(value, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

#[test]
fn every_panel_and_every_query_asks_the_source_that_was_chosen() {
    for board in boards() {
        let title = &board["title"];
        for panel in panels(&board) {
            let targets: Vec<&Value> = panel["targets"].as_array().into_iter().flatten().collect();
            assert!(panel["type"] == "row" || !targets.is_empty(), "{title}: {}", panel["title"]);
            for target in targets {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}: {}", panel["title"]);
                assert_eq!(target["datasource"]["type"], "prometheus");
            }
        }
        let mut sources = Vec::new();
        all(&board, "datasource", &mut sources);
        let other = sources.iter().find(|source| {
            let uid = source["uid"].as_str();
            // Grafana's own annotations, which a board may have, come from its own store.
            uid != Some("${datasource}") && uid != Some("-- Grafana --")
        });
        assert!(sources.len() > 20 && other.is_none(), "{title}: {other:?}");
        let variables = board["templating"]["list"].as_array().expect("variables");
        let chosen =
            variables.iter().find(|variable| variable["name"] == "datasource").expect("one to choose");
        assert_eq!((&chosen["type"], &chosen["query"]), (&"datasource".into(), &"prometheus".into()));
    }
}

#[test]
fn a_dashboard_is_one_that_files_provision() {
    let mut names = BTreeSet::new();
    for board in boards() {
        let title = board["title"].as_str().expect("a title").to_owned();
        assert_eq!(board["schemaVersion"], 42, "{title}");
        // What an export for others has, and no provisioning understands.
        for not_here in ["__inputs", "__requires", "__elements"] {
            assert!(board.get(not_here).is_none(), "{title}: {not_here}");
        }
        assert!(board["id"].is_null(), "{title}: a number is its Grafana's to give");
        assert!(names.insert(board["uid"].as_str().expect("a name").to_owned()), "{title}");
        let mut numbers = BTreeSet::new();
        for panel in panels(&board) {
            let number = panel["id"].as_u64().unwrap_or_else(|| panic!("{title}: {panel}"));
            assert!(number > 0 && numbers.insert(number), "{title}: two panels are {number}");
            let mut refs = BTreeSet::new();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let named = target["refId"].as_str().expect("a letter");
                assert!(refs.insert(named), "{title}: {}: two queries are {named}", panel["title"]);
            }
        }
        assert!(numbers.len() > 10, "{title}: {} panels", numbers.len());
    }
}

/// The labels of each count of requests that `text` divides by.
fn divisors(text: &str) -> Vec<String> {
    let pattern = r"/ (?:on [^/{}]*? )?(?:sum(?: by \([^()]*\))? ?\(\s*(?:rate|increase)\()weir_(?:dimension_)?requests_total(\{[^}]*\})?";
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern
        .captures_iter(text)
        .map(|found| found.get(1).map_or("", |labels| labels.as_str()).to_owned())
        .collect()
}

#[test]
fn wherever_errors_are_a_part_of_requests_those_whose_callers_left_are_not_among_them() {
    let mut texts = vec![read(&root().join("docs/metrics.md"))];
    texts.extend(files("deploy/prometheus/rules", &[".yaml"]).iter().map(|path| read(path)));
    for board in boards() {
        queries(&board, &mut texts);
    }
    let divisors: Vec<String> = texts.iter().flat_map(|text| divisors(text)).collect();
    let wrong: Vec<_> = divisors.iter().filter(|labels| !labels.contains("outcome!=\"cancelled\"")).collect();
    assert!(divisors.len() >= 15 && wrong.is_empty(), "{} divisions: {wrong:#?}", divisors.len());
}

/// Each rule of the alerts by its name, with the lines that it has.
fn alerts() -> Vec<(String, String)> {
    let text = read(&root().join("deploy/prometheus/rules/weir-alerts.yaml"));
    let rules = text.split("\n  - alert: ").skip(1);
    rules.filter_map(|rule| Some((rule.lines().next()?.to_owned(), rule.to_owned()))).collect()
}

#[test]
fn each_alert_has_its_place_in_the_document_of_alerts_and_a_link_that_is_whole_or_none() {
    let document = read(&root().join("docs/alerts.md"));
    let headings: BTreeSet<&str> = document.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    for (name, rule) in &alerts {
        let runbook = format!("\n      runbook: docs/alerts.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&runbook), "{name}: {rule}");
        assert!(
            rule.contains("\n      dashboard: '{{ with $externalLabels.grafana }}{{ . }}/d/weir-"),
            "{name}"
        );
        let severity = if rule.contains("severity: critical") { "Critical. " } else { "Warning. " };
        let place = document.split(&format!("## {name}\n\n")).nth(1);
        assert!(place.is_some_and(|text| text.starts_with(severity)), "{name} is {severity}");
    }
    let names: BTreeSet<&str> = alerts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, headings);
}

/// What the column Share of the table Versions asks, of everything.
fn share() -> String {
    let boards = boards();
    let rollout = boards.iter().find(|board| board["title"] == "Weir Rollout").expect("it is there");
    let versions =
        panels(rollout).into_iter().find(|panel| panel["title"] == "Versions").expect("it is there");
    let expr = versions["targets"][1]["expr"].as_str().expect("a query");
    assert!(expr.contains("weir_split_choices_total"), "{expr}");
    expr.replace("\"$service\"", "\"x\"").replace(['$'], "").replace("=~\"", "=~\".*|")
}

#[test]
fn a_share_is_of_the_choices_or_where_they_know_no_version_of_the_requests() {
    let Some(promtool) = part("promtool") else { return };
    let series = |metric: &str, rule: &str, version: &str, a_minute: u32| {
        let name = format!("{metric}{{service=\"x\",rule=\"{rule}\",version=\"{version}\"}}");
        json!({"series": name, "values": format!("0+{a_minute}x10")})
    };
    let (choices, requests) = ("weir_split_choices_total", "weir_requests_total");
    // What a caller left of is a choice and no request that ended.
    let input = [
        series(choices, "canary", "v1", 90),
        series(choices, "canary", "v2", 10),
        series(requests, "canary", "v1", 50),
        series(requests, "canary", "v2", 10),
        series(choices, "default-route", "unknown", 100),
        series(requests, "default-route", "v1", 75),
        series(requests, "default-route", "v2", 25),
    ];
    let expected = [
        ("canary", "v1", 90),
        ("canary", "v2", 10),
        ("default-route", "v1", 75),
        ("default-route", "v2", 25),
    ];
    let sample = |(rule, version, value)| json!({"labels": format!("{{rule=\"{rule}\",version=\"{version}\"}}"), "value": value});
    let test = json!({"tests": [{"interval": "1m", "input_series": input, "promql_expr_test": [{
        "expr": format!("round(100 * ({}))", share()), "eval_time": "8m", "exp_samples": expected.map(sample),
    }]}]});
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("share.yaml");
    // JSON is YAML.
    fs::write(&path, test.to_string()).expect("written");
    succeeds(&promtool, &["test", "rules", &path.to_string_lossy()]);
}
