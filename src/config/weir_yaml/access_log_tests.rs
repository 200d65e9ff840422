//! The laws of `access_log:`: what a file says is what is logged, and what is wrong in it is told where it stands.

use std::time::Duration;

use serde_json::json;

use crate::config::{Document, Environment, load};
use crate::snapshot::{AccessLog, LogFilter, LogFormat};

fn read(access_log: &str) -> Result<AccessLog, Vec<String>> {
    let text = format!(
        "listeners: [{{name: a, address: \"0.0.0.0:80\", service: m}}]\n\
         services: [{{name: m, endpoints: [{{address: \"10.0.0.1:80\"}}]}}]\naccess_log: {access_log}\n"
    );
    let document = Document { name: "weir.yaml".into(), bytes: text.into() };
    let known = |text: &str| match text.contains("%NONE%") {
        true => Err("no such operator".to_owned()),
        false => Ok(()),
    };
    let environment =
        Environment { check_log_format: known, check_log_text: known, ..Environment::default() };
    match load(&document, &[], &environment) {
        Ok(loaded) => Ok(loaded.snapshot.access_log.clone().expect("a log")),
        Err(found) => Err(found.iter().map(|one| format!("{} {}", one.code, one.path)).collect()),
    }
}

fn filter(said: &str) -> LogFilter {
    read(&format!("{{filter: {said}}}")).expect("loads").filter.expect("a filter")
}

fn faults(access_log: &str) -> Vec<String> {
    read(access_log).expect_err("refused")
}

#[test]
fn an_object_keeps_its_types_and_has_its_keys_sorted() {
    let said = "{format: {json: {z: \"%DURATION%\", a: {c: 1, b: [1.5, true, ~, text]}}}}";
    let Ok(AccessLog { format: LogFormat::Object { json, omit_empty }, filter, .. }) = read(said) else {
        panic!("it is an object: {said}");
    };
    assert_eq!(json, json!({"a": {"b": [1.5, true, null, "text"], "c": 1}, "z": "%DURATION%"}));
    assert_eq!(json.to_string(), r#"{"a":{"b":[1.5,true,null,"text"],"c":1},"z":"%DURATION%"}"#);
    assert_eq!((omit_empty, filter), (false, None));
    let sparse = read("{format: {json: {}, omit_empty: true}}").expect("loads").format;
    assert_eq!(sparse, LogFormat::Object { json: json!({}), omit_empty: true });
}

#[test]
fn a_fault_in_an_object_is_told_where_its_text_stands() {
    assert_eq!(
        faults("{format: {json: {a: {b: [x, \"%NONE%\"]}, c: \"%NONE%\", d: .nan}}}"),
        [
            "log-format access_log.format.json.a.b[1]",
            "log-format access_log.format.json.c",
            "log-format access_log.format.json.d",
        ]
    );
    assert_eq!(faults("{format: {omit_empty: true}}"), ["missing access_log.format"]);
    assert_eq!(faults("{format: {json: \"%DURATION%\"}}"), ["type access_log.format.json"]);
    assert_eq!(faults("{format: {json: {}, omit: true}}"), ["unknown-key access_log.format.omit"]);
    assert_eq!(faults("{formats: json}"), ["unknown-key access_log.formats"]);
}

#[test]
fn a_filter_is_what_it_says_and_open_where_it_says_nothing() {
    let open = LogFilter { status: None, duration: None, flags: None, health_checks: true, any: [].into() };
    assert_eq!(filter("{}"), open);
    let errors = filter("{status: {min: 400}, health_checks: false}");
    assert_eq!(errors, LogFilter { status: Some((400, 999)), health_checks: false, ..open.clone() });
    let slow = filter("{duration: {min: 100ms, max: 1m}}");
    let range = (Duration::from_millis(100), Duration::from_secs(60));
    assert_eq!(slow, LogFilter { duration: Some(range), ..open.clone() });
    let flags = Some(["UH".into(), "UF".into()].into());
    assert_eq!(filter("{flags: [UH, UF]}"), LogFilter { flags, ..open.clone() });
    assert_eq!(filter("{flags: any}").flags.map(|flags| flags.len()), Some(crate::words::Flag::ALL.len()));
    assert_eq!(filter("{any: [{status: {max: 0}}, {}]}").any.len(), 2);
}

#[test]
fn a_filter_that_lets_nothing_pass_or_names_what_is_not_there_is_refused() {
    for (said, fault) in [
        ("{status: {}}", "log-filter access_log.filter.status"),
        ("{status: {min: 500, max: 400}}", "log-filter access_log.filter.status"),
        ("{status: {min: 1000}}", "out-of-range access_log.filter.status.min"),
        ("{status: 400}", "type access_log.filter.status"),
        ("{duration: {min: 100}}", "duration access_log.filter.duration.min"),
        ("{flags: []}", "log-filter access_log.filter.flags"),
        ("{flags: UH}", "log-filter access_log.filter.flags"),
        ("{flags: [UH, XX]}", "log-filter access_log.filter.flags[1]"),
        ("{any: []}", "log-filter access_log.filter.any"),
        ("{any: [{flag: [UH]}]}", "unknown-key access_log.filter.any[0].flag"),
        ("{health_check: false}", "unknown-key access_log.filter.health_check"),
    ] {
        assert_eq!(faults(&format!("{{filter: {said}}}")), [fault], "{said}");
    }
}

/// What is told of a log in `file`, by an environment in which a text asks for the header that it is; and its path.
fn told_of(file: &str, access_log: &str) -> (Vec<String>, String) {
    let text = format!(
        "listeners: [{{name: a, address: \"0.0.0.0:80\", service: m}}]\n\
         services: [{{name: m, endpoints: [{{address: \"10.0.0.1:80\"}}]}}]\naccess_log: {access_log}\n"
    );
    let environment =
        Environment { headers_of_log: |text| vec![text.replace('%', "")], ..Environment::default() };
    let document = Document { name: file.into(), bytes: text.into() };
    let loaded = load(&document, &[], &environment).expect("loads");
    let told = loaded.warnings.iter().map(|one| format!("{} {}", one.code, one.path)).collect();
    (told, loaded.snapshot.access_log.clone().expect("a log").path.display().to_string())
}

#[test]
fn a_header_that_usually_carries_credentials_is_warned_about_where_it_stands() {
    let told = |log: &str| told_of("weir.yaml", log).0;
    assert_eq!(told("{format: \"%x-api-key%\"}"), ["credentials access_log.format"]);
    let object = "{format: {json: {a: {b: \"%x-auth-token%\"}, c: \"%x-tenant%\"}}}";
    assert_eq!(told(object), ["credentials access_log.format.json.a.b"]);
    assert_eq!(told("{format: \"%x-tenant%\"}"), [""; 0]);
}

#[test]
fn a_relative_path_is_relative_to_the_file_that_names_it() {
    let path = |file: &str, path: &str| told_of(file, &format!("{{path: {path}}}")).1;
    assert_eq!(path("weir.yaml", "access.log"), "access.log");
    assert_eq!(path("../etc/weir.yaml", "logs/access.log"), "../etc/logs/access.log");
    assert_eq!(path("/etc/weir/weir.yaml", "access.log"), "/etc/weir/access.log");
    assert_eq!(path("/etc/weir/weir.yaml", "/var/log/access.log"), "/var/log/access.log");
    assert_eq!(told_of("/etc/weir/weir.yaml", "{}").1, "/dev/stdout");
}
