//! The commands that read configurations, as scripts see them: what is printed where, and the exit status.
#![allow(clippy::expect_used)] // a panic here is the report

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const MAIN: &str = "listeners:\n- {name: models, address: \"127.0.0.1:8500\", service: m}\n\
    - {name: others, address: \"127.0.0.1:8600\"}\nservices:\n- name: m\n  endpoints:\n\
    \x20 - {address: \"10.0.0.1:80\", labels: {version: v1}}\n  - {address: \"10.0.0.2:80\", labels: {version: v2}}\n\
    rules: [rules/]\n";
const SPLIT: &str = "websocketUpgrade: true, route: [{labels: {version: v1}, weight: 95}, {labels: {version: v2}, weight: 5}]";

fn rule(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\n\
         spec: {{destination: {{name: m}}, {spec}}}\n"
    )
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    folder
}

/// `weir` with these words, in a folder.
fn weir(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(words).current_dir(folder).stdin(Stdio::null()).output().expect("runs")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("a status")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_conversion_of_everything_succeeds_in_silence_and_what_it_writes_loads() {
    for (dialect, kind) in [("virtualservice", "VirtualService"), ("httproute", "HTTPRoute")] {
        let folder = folder(&[
            ("weir.yaml", MAIN),
            ("old/canary.yaml", &rule("canary", SPLIT)),
            (
                "old/testers.yaml",
                &rule(
                    "testers",
                    &format!(
                        "precedence: 2, match: {{request: {{headers: {{x-user: {{exact: a}}}}}}}}, {SPLIT}"
                    ),
                ),
            ),
        ]);
        let words = ["convert", "--to", dialect, "old/canary.yaml", "old/testers.yaml"];
        let output = weir(folder.path(), &words);
        assert_eq!((status(&output), text(&output.stderr)), (0, ""), "{dialect}");
        let written = text(&output.stdout);
        assert!(
            written.contains(kind) && written.contains("canary") && written.contains("testers"),
            "{written}"
        );
        fs::create_dir(folder.path().join("rules")).expect("made");
        fs::write(folder.path().join("rules/new.yaml"), written).expect("written");
        let checked = weir(folder.path(), &["validate", "weir.yaml"]);
        assert_eq!(status(&checked), 0, "{checked:?}");
        let told = json(&weir(folder.path(), &["explain", "-c", "weir.yaml", "GET", "/", "-o", "json"]));
        assert_eq!(told["choice"]["versions"][0]["percent"], 95.0, "{told}");
    }
}

#[test]
fn what_has_no_equal_is_told_with_its_place_and_status_3_and_strict_writes_nothing() {
    let source = rule(
        "theirs",
        "websocketUpgrade: true, match: {source: {name: web}}, route: [{labels: {version: v1}}]",
    );
    let folder = folder(&[("a.yaml", &rule("canary", SPLIT)), ("b.yaml", &source)]);
    let words = ["convert", "--to", "virtualservice", "a.yaml", "b.yaml"];
    let output = weir(folder.path(), &words);
    assert_eq!(status(&output), 3);
    assert!(text(&output.stdout).contains("name: canary") && !text(&output.stdout).contains("theirs"));
    let told = text(&output.stderr);
    let lines: Vec<_> = told.lines().collect();
    let [falls, left_out] = lines[..] else { panic!("{told}") };
    assert!(
        falls.starts_with("b.yaml:1:1: warning[no-equal] the requests of `theirs.default` fall to "),
        "{falls}"
    );
    assert!(left_out.starts_with("b.yaml:4:") && left_out.contains("warning[no-equal]"), "{left_out}");

    let strict = weir(folder.path(), &[&words[..], &["--strict"]].concat());
    assert_eq!((status(&strict), text(&strict.stdout), text(&strict.stderr)), (1, "", told));
}

#[test]
fn a_file_that_cannot_be_read_or_is_at_fault_fails_a_conversion_and_all_faults_are_told() {
    let bad = rule("bad", "precedence: x");
    let folder = folder(&[
        ("good.yaml", &rule("canary", SPLIT)),
        ("one.yaml", &bad),
        ("two.yaml", &rule("worse", "l4Fault: {}")),
    ]);
    for (files, told) in [
        (&["good.yaml", "one.yaml", "two.yaml"][..], &["one.yaml:4:", "two.yaml:4:"][..]),
        (
            &["good.yaml", "absent.yaml", "gone.yaml"],
            &["absent.yaml: error[unreadable]", "gone.yaml: error[unreadable]"],
        ),
    ] {
        let output = weir(folder.path(), &[&["convert", "--to", "httproute"], files].concat());
        assert_eq!((status(&output), text(&output.stdout)), (1, ""));
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), told.len(), "{lines:?}");
        assert!(lines.iter().zip(told).all(|(line, told)| line.starts_with(told)), "{lines:?}");
    }
    assert_eq!(
        status(&weir(folder.path(), &["convert", "--to", "routerule", "good.yaml"])),
        2,
        "no such dialect"
    );
}

#[test]
fn a_conversion_tells_scripts_all_in_one_object() {
    let source = rule(
        "theirs",
        "websocketUpgrade: true, match: {source: {name: web}}, route: [{labels: {version: v1}}]",
    );
    let folder = folder(&[("a.yaml", &rule("canary", SPLIT)), ("b.yaml", &source), ("bad.yaml", "a: [")]);
    let convert = |words: &[&str]| {
        weir(folder.path(), &[&["convert", "--to", "virtualservice", "-o", "json"], words].concat())
    };
    let output = convert(&["a.yaml", "b.yaml"]);
    assert_eq!((status(&output), text(&output.stderr)), (3, ""));
    let report = json(&output);
    assert_eq!(report["objects"], 2, "a VirtualService and its DestinationRule");
    assert!(
        report["yaml"].as_str().is_some_and(|yaml| yaml.starts_with("apiVersion: networking.istio.io/v1\n"))
    );
    let notes = report["notes"].as_array().expect("a list");
    let places: Vec<_> = notes.iter().map(|note| (&note["file"], &note["line"], &note["code"])).collect();
    let (file, code) = ("b.yaml".into(), "no-equal".into());
    assert_eq!(places, [(&file, &1.into(), &code), (&file, &4.into(), &code)]);

    let strict = json(&convert(&["a.yaml", "b.yaml", "--strict"]));
    assert_eq!(
        (&strict["objects"], &strict["yaml"], &strict["notes"]),
        (&0.into(), &"".into(), &report["notes"])
    );

    let output = convert(&["bad.yaml"]);
    assert_eq!((status(&output), &json(&output)["notes"][0]["severity"]), (1, &"error".into()));
}

const REQUESTS: &str = "# canary\nGET /v1/models/m -H 'x-user: a'\n\nno-request\n\
    {\"method\": \"POST\", \"url\": \"/\", \"headers\": {\"host\": \"nobody:8600\"}}\n";

fn explained() -> TempDir {
    let testers =
        "precedence: 2, match: {request: {headers: {x-user: {exact: a}}}}, route: [{labels: {version: v2}}]";
    folder(&[
        ("weir.yaml", MAIN),
        ("rules/a.yaml", &rule("canary", SPLIT)),
        ("rules/b.yaml", &rule("testers", testers)),
        ("requests.txt", REQUESTS),
        ("good.txt", "GET /\nPOST http://m:8600/v1/models/m:predict\n"),
    ])
}

#[test]
fn a_file_of_requests_is_explained_line_by_line_and_the_status_says_whether_each_has_a_route() {
    let folder = explained();
    let explain = |words: &[&str]| weir(folder.path(), &[&["explain", "-c", "weir.yaml"], words].concat());
    let output = explain(&["--requests", "requests.txt"]);
    assert_eq!(status(&output), 1, "one has no route, and one is none");
    let told = text(&output.stdout);
    for line in [
        "line 2: GET /v1/models/m (http, caller unknown)",
        "  testers.default (rules/b.yaml:1): matches",
        "  canary.default (rules/a.yaml:1): no: an earlier rule matches, else this one would",
        "line 4: a request is written METHOD URL",
        "line 5: POST / (http, caller unknown)",
        "listener others on 127.0.0.1:8600: split",
        "no virtual host answers to nobody: 404, flag NR",
    ] {
        assert!(told.lines().any(|one| one == line), "{line}\n\n{told}");
    }
    let json = json(&explain(&["--requests", "requests.txt", "-o", "json"]));
    let lines: Vec<_> = json.as_array().expect("a list").iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [2, 4, 5]);
    assert_eq!(json[0]["choice"]["name"], "testers.default");
    assert_eq!(json[1]["error"], "a request is written METHOD URL");
    assert_eq!((&json[2]["listener"], &json[2]["choice"]), (&"others".into(), &Value::Null));

    assert_eq!(status(&explain(&["--requests", "good.txt"])), 0);
    let absent = explain(&["--requests", "absent.txt"]);
    assert_eq!(status(&absent), 1);
    assert!(text(&absent.stderr).starts_with("absent.txt: "), "{absent:?}");
    assert_eq!(status(&explain(&["--requests", "good.txt", "GET", "/"])), 2, "one or the other");
}

#[test]
fn requests_come_by_the_standard_input_as_well() {
    let folder = explained();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let command = command.args(["explain", "-c", "weir.yaml", "--requests", "-", "-o", "json"]);
    let command = command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    child.stdin.take().expect("a pipe").write_all(b"GET / -H 'x-user: a'\n").expect("written");
    let output = child.wait_with_output().expect("ends");
    assert_eq!((status(&output), &json(&output)[0]["choice"]["name"]), (0, &"testers.default".into()));
}

#[test]
fn a_configuration_at_fault_is_not_explained_but_told_of() {
    let folder = explained();
    fs::write(folder.path().join("rules/b.yaml"), rule("testers", "route: [{weight: 50}]")).expect("written");
    let output = weir(folder.path(), &["explain", "-c", "weir.yaml", "GET", "/"]);
    assert_eq!((status(&output), text(&output.stdout)), (1, ""));
    assert!(
        text(&output.stderr).starts_with("rules/b.yaml:4:") && text(&output.stderr).contains("[weight-sum]")
    );
}
