//! `weir explain` end to end, but for the printing.

use clap::Parser;

use super::*;
use crate::config::Document;

const MAIN: &str = "
listeners:
- {name: predict, address: '127.0.0.1:8500', service: inception}
- {name: wide, address: '127.0.0.1:8501'}
- {name: delivery, address: '127.0.0.1:15008', service: inception, mode: deliver, allow: any}
callers:
- {cidr: 10.8.0.0/14, service: frontend.web, labels: {version: v3}}
services:
- name: inception
  namespace: kubeflow
  endpoints:
  - {grpc: '127.0.0.1:9000', http: '127.0.0.1:8601', labels: {version: v1}, local: true}
rules: [rules.yaml]
";
const MORE: &str = "
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: sticky, namespace: kubeflow, annotations: {weir/sticky: 'header:x-user', weir/sticky-salt: a}}
spec:
  destination: {name: inception}
  precedence: 3
  match: {request: {headers: {uri: {prefix: /sticky}}}}
  route:
  - {labels: {version: v1}, weight: 50}
  - {labels: {version: v2}, weight: 50}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: moved, namespace: kubeflow}
spec:
  hosts: [moved.example]
  http:
  - {match: [{uri: {prefix: /a}}], redirect: {uri: /b, authority: other.example}}
  - {directResponse: {status: 410, body: {string: gone}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: partly, namespace: kubeflow}
spec:
  parentRefs: [{name: models}]
  hostnames: [partly.example]
  rules:
  - backendRefs:
    - {name: inception-v1, port: 80}
    - name: inception-v1
      port: 80
      filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, port: 81}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: kubeflow}
spec:
  parentRefs: [{name: models}]
  hostnames: [lost.example]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
";
const RULES: &str = "
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: testers, namespace: kubeflow}
spec:
  destination: {name: inception}
  precedence: 2
  match:
    source: {name: frontend, namespace: web}
    request: {headers: {x-user: {exact: alice}}}
  route: [{labels: {version: v1}}]
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: split, namespace: kubeflow}
spec:
  destination: {name: inception}
  route:
  - {labels: {version: v1}, weight: 95}
  - {labels: {version: v2}, weight: 5}
";

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: ExplainArgs,
}

fn explained(arguments: &[&str]) -> Result<Report, String> {
    let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
    let main = document("weir.yaml", MAIN);
    let rules = [document("rules.yaml", RULES), document("more.yaml", MORE)];
    let loaded = crate::config::load(&main, &rules, &Environment::default()).unwrap();
    let line = [&["explain", "-c", "weir.yaml"], arguments].concat();
    let args = Line::try_parse_from(line).map_err(|error| error.to_string())?.args;
    match explain(&loaded.snapshot, &args)? {
        Told::One(report) => Ok(*report),
        Told::File(_) => Err("of a file".into()),
    }
}

#[test]
fn an_explanation_says_why_not_what_is_chosen_and_where_it_goes() {
    let report = explained(&["GET", "/v1/models/m/../inception?x=1", "--from", "10.9.0.1"]).unwrap();
    let text = report.to_string();
    for line in [
        "GET /v1/models/inception (http, caller frontend.web.svc.cluster.local)",
        "listener predict on 127.0.0.1:8500: split",
        "  testers.kubeflow (rules.yaml:2): no: header x-user is absent",
        "  split.kubeflow (rules.yaml:13): matches",
        "   95.00 % v1 [version=v1]",
        "    5.00 % v2 [version=v2]",
        "  127.0.0.1:8601 (version v1, local, weight 1)",
        "  503, flag UH: it has no endpoint",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n\n{text}");
    }
}

#[test]
fn a_caller_with_the_header_meets_the_other_rule_by_the_same_code_in_json() {
    let report = explained(&["GET", "/", "-H", "X-User: alice", "--from", "10.9.0.1"]).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["choice"]["name"], "testers.kubeflow");
    assert_eq!(json["tried"][1]["why_not"], serde_json::Value::Null);
    let stranger = explained(&["GET", "/", "-H", "X-User: alice"]).unwrap().to_string();
    assert!(stranger.contains("no: the caller is unknown, not frontend.web.svc.cluster.local"), "{stranger}");
}

#[test]
fn grpc_goes_to_the_grpc_endpoints() {
    let url = "http://inception.kubeflow:8500/tensorflow.serving.PredictionService/Predict";
    let report = explained(&["POST", url, "-H", "content-type: application/grpc+proto"]).unwrap();
    assert_eq!((report.protocol, &*report.targets[0].endpoints[0].address), ("grpc", "127.0.0.1:9000"));
}

#[test]
fn a_listener_is_chosen_by_name_and_the_host_decides_where_no_service_is_set() {
    let all = |url: &str| explained(&["GET", url, "--listener", "wide"]).unwrap();
    assert!(all("http://Inception.kubeflow.svc:8500/").explanation.choice.is_some());
    assert!(all("http://other/").to_string().contains("no virtual host answers to other: 404, flag NR"));
    assert_eq!(explained(&["GET", "/", "--listener", "delivery"]).unwrap().mode, "deliver");
    let unknown = explained(&["GET", "/", "--listener", "none"]).unwrap_err();
    assert_eq!(unknown, "there is no listener none; there are: delivery, predict, wide");
}

#[test]
fn a_share_that_is_sent_elsewhere_is_told_with_the_place() {
    let report = explained(&["GET", "http://partly.example/a?b", "--listener", "wide"]).unwrap();
    let text = report.to_string();
    for line in [
        "    is answered: 302, location with host new.example with port 81",
        "v1 through out.inception.kubeflow.svc.cluster.local|http|version=v1",
        "v1 is sent to http://new.example:81/a?b",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["targets"][1]["location"], "http://new.example:81/a?b");
    assert_eq!(json["targets"][1]["endpoints"], serde_json::json!([]));
}

#[test]
fn a_share_whose_backend_nobody_knows_is_told_with_the_status_that_it_gets() {
    let told = |more: &[&str]| {
        let line = [&["POST", "http://lost.example/a", "--listener", "wide"], more].concat();
        explained(&line).unwrap().to_string()
    };
    let http = told(&[]);
    assert!(http.contains("\n  500, flag NC: there is no such cluster\n"), "{http}");
    let grpc = told(&["-H", "content-type: application/grpc"]);
    assert!(grpc.contains("\n  503, flag NC: there is no such cluster\n"), "{grpc}");
}

#[test]
fn a_listener_is_chosen_by_the_port_that_the_request_goes_to() {
    let listener = |arguments: &[&str]| {
        let report = explained(arguments).unwrap();
        serde_json::to_value(&report).unwrap()["listener"].as_str().unwrap().to_owned()
    };
    assert_eq!(listener(&["GET", "http://localhost:8501/"]), "wide");
    assert_eq!(listener(&["GET", "/", "-H", "host: inception.kubeflow:8501"]), "wide");
    assert_eq!(listener(&["GET", "http://localhost:15008/"]), "delivery");
    assert_eq!(
        listener(&["GET", "http://localhost:80/"]),
        "predict",
        "no listener has it: the first that splits"
    );
    assert_eq!(listener(&["GET", "http://localhost:8501/", "--listener", "predict"]), "predict");
}

#[test]
fn a_request_that_would_be_refused_is_refused_with_the_reason() {
    assert_eq!(explained(&["GET", "/a%2fb"]).unwrap_err(), "400: the path holds an escaped slash");
    assert_eq!(explained(&["GET", "/", "-H", "host: a b"]).unwrap_err(), "400: the host holds ' '");
    assert!(explained(&["GET", "/", "-H", "no colon"]).unwrap_err().contains("'name: value'"));
}

#[test]
fn the_scheme_is_what_the_proxy_takes_it_for_and_a_url_that_says_another_is_told_so() {
    let told = |line: &[&str]| explained(line).unwrap().to_string();
    let of_url = told(&["GET", "https://inception.kubeflow/"]);
    assert!(of_url.contains("\nscheme http: a URL's is not looked at; x-forwarded-proto tells"), "{of_url}");
    let believed = told(&["GET", "https://inception.kubeflow/", "-H", "x-forwarded-proto: https"]);
    assert!(believed.contains("\nscheme https, as x-forwarded-proto says\n"), "{believed}");
    assert!(!told(&["GET", "http://inception.kubeflow/"]).contains("scheme"));
}

#[test]
fn what_the_proxy_refuses_at_the_door_is_refused_with_its_status() {
    let refused = |line: &[&str]| explained(line).unwrap_err();
    assert_eq!(refused(&["CONNECT", "inception:80"]), "404, flag NR: no tunnel is offered");
    assert_eq!(refused(&["OPTIONS", "*"]), "404, flag NR: it asks about the proxy itself");
    assert_eq!(refused(&["GET", "/a#b"]), "400: the URL has a fragment, which is never sent");
    assert_eq!(refused(&["GET", "inception"]), "400: http1.invalid_target");
    let long = format!("/{}", "a".repeat(1 << 17));
    assert_eq!(refused(&["GET", &long]), "431: http1.headers_too_large");
    assert!(refused(&["GET", "/a b"]).contains("`/a b` is no URL"));
}

#[test]
fn every_rule_is_told_of_to_the_last_with_what_would_become_of_it_behind_the_choice() {
    let report = explained(&["GET", "/", "-H", "x-user: alice", "--from", "10.9.0.1"]).unwrap();
    let tried: Vec<_> = report.explanation.tried.iter().map(|one| one.why_not.as_deref()).collect();
    let path = "path / does not start with /sticky";
    assert_eq!(tried, [Some(path), None, Some("an earlier rule matches, else this one would")]);
    let sticky = explained(&["GET", "/sticky"]).unwrap();
    let tried: Vec<_> = sticky.explanation.tried.iter().map(|one| one.why_not.as_deref()).collect();
    assert_eq!(tried[1], Some("an earlier rule matches; header x-user is absent"));
}

#[test]
fn a_sticky_request_is_told_its_key_and_the_version_that_it_will_have() {
    let versions = |user: &str| {
        let report = explained(&["GET", "/sticky", "-H", &format!("x-user: {user}")]).unwrap();
        let text = report.to_string();
        let sticks = report.sticks.expect("sticky");
        assert!(
            text.contains(&format!("key {user:?} sticks to {}", sticks.version.as_deref().unwrap())),
            "{text}"
        );
        (sticks.key, sticks.place)
    };
    let places: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(versions).into();
    assert_eq!(places[0].0.as_deref(), Some("a"));
    assert!(places.iter().any(|one| one.1 == Some(0)) && places.iter().any(|one| one.1 == Some(1)));
    let none = explained(&["GET", "/sticky"]).unwrap().to_string();
    assert!(none.contains("it has none of the keys: the schedule chooses\n"), "{none}");
}

#[test]
fn an_answer_of_the_rules_own_is_told_with_where_it_leads() {
    let of = |path: &str| {
        explained(&["GET", &format!("http://moved.example{path}"), "--listener", "wide"]).unwrap().to_string()
    };
    let redirect = of("/a?q=1");
    assert!(redirect.contains("answers: 301, location with host other.example with path /b\n"), "{redirect}");
    assert!(redirect.contains("\nlocation: http://other.example/b?q=1\n"), "{redirect}");
    assert!(of("/c").contains("answers: 410 with 4 bytes\n"), "{}", of("/c"));
}

#[test]
fn a_file_of_requests_is_told_line_by_line_and_what_is_none_hides_no_other() {
    let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
    let (main, rules) = (document("weir.yaml", MAIN), document("rules.yaml", RULES));
    let loaded = crate::config::load(&main, &[rules], &Environment::default()).unwrap();
    let text =
        "GET /\nGET /a%2fb\n# nothing\n{\"method\": \"GET\", \"url\": \"/\", \"from\": \"10.9.0.1\"}\n";
    let told = Told::File(of_file(&loaded.snapshot, None, text));
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!((&json[0]["line"], &json[0]["choice"]["name"]), (&1.into(), &"split.kubeflow".into()));
    assert_eq!(
        (&json[1]["line"], &json[1]["error"]),
        (&2.into(), &"400: the path holds an escaped slash".into())
    );
    assert_eq!((&json[2]["line"], &json[2]["caller"]), (&4.into(), &"frontend.web.svc.cluster.local".into()));
    assert!(!told.all_routed(), "one of them is no request");
    let mut out = Vec::new();
    write_text(&told, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("line 1: GET / (http, caller unknown)\n"), "{out}");
    assert!(out.contains("\n\nline 2: 400: the path holds an escaped slash\n\nline 4: GET /"), "{out}");
}

#[test]
fn a_command_has_one_request_or_a_file_of_them() {
    let parse =
        |line: &[&str]| Line::try_parse_from([&["explain", "-c", "weir.yaml"], line].concat()).is_ok();
    assert!(parse(&["--requests", "r.txt", "-o", "json", "--listener", "predict"]));
    assert!(!parse(&[]) && !parse(&["GET"]) && !parse(&["GET", "/", "--requests", "r.txt"]));
    assert!(
        !parse(&["--requests", "r.txt", "-H", "a: b"]) && !parse(&["--requests", "r.txt", "--from", "::1"])
    );
}
