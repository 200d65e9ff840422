//! `weir explain` beside the proxy: of the same request, under the same files, both say the same.
#![allow(clippy::expect_used)] // a panic here is the report

mod common {
    pub(crate) mod world;
}

use std::process::{Command, Stdio};

use common::world::raw::{Raw, header_of};
use common::world::upstream::Upstream;
use common::world::{World, run};
use serde_json::Value;

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [x]
  http:
  - {match: [{uri: {prefix: /moved}}], redirect: {uri: /new, authority: new.example}}
  - {match: [{scheme: {exact: https}}], route: [{destination: {host: x, subset: two}}]}
  - route: [{destination: {host: x, subset: one}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x}
spec:
  host: x
  subsets: [{name: one, labels: {version: v1}}, {name: two, labels: {version: v2}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost}
spec:
  parentRefs: [{name: models}]
  hostnames: [lost.example]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
";

/// What becomes of a request, as far as both can tell: its status, the version, where a redirect leads.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    version: Option<String>,
    location: Option<String>,
}

/// As the proxy answers.
async fn answered(world: &World, listener: &str, request: &[&str]) -> Told {
    let [method, target, fields @ ..] = request else { panic!("{request:?}") };
    let host = if fields.iter().any(|field| field.starts_with("host:")) { "" } else { "host: localhost\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let mut caller = Raw::connect(world.addr(listener)).await;
    caller.write(format!("{method} {target} HTTP/1.1\r\n{host}{fields}\r\n")).await;
    let (head, body) = caller.read_answer().await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let location = header_of(&head, "location").map(str::to_owned);
    Told { status, version: (status == 200).then_some(body), location }
}

/// As `weir explain` says.
fn explained(world: &World, listener: &str, request: &[&str]) -> Told {
    let [method, target, fields @ ..] = request else { panic!("{request:?}") };
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["explain", "-c", "weir.yaml", "-o", "json", "--listener", listener, method, target]);
    fields.iter().for_each(|field| {
        command.args(["-H", field]);
    });
    let output = command.current_dir(world.folder()).stdin(Stdio::null()).output().expect("runs");
    let Ok(json) = serde_json::from_slice::<Value>(&output.stdout) else {
        let reason = String::from_utf8_lossy(&output.stderr);
        let status = reason.split([':', ',']).next().and_then(|status| status.parse().ok());
        return Told { status: status.unwrap_or_else(|| panic!("{reason}")), version: None, location: None };
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |value: &str| value.split([',', ' ']).next()?.parse().ok();
    let target = &json["targets"][0];
    let answer = text(&json["choice"]["answer"]).or_else(|| text(&target["answer"]));
    let status = match &answer {
        Some(answer) => number(answer).expect("a status"),
        None if json["choice"].is_null() => 404,
        None => 200,
    };
    let version = text(&target["version"]).filter(|_| status == 200);
    Told { status, version, location: text(&json["location"]) }
}

#[test]
fn explain_says_of_a_request_what_the_proxy_does_with_it() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\"}}\n\
             - {{name: edge, address: \"127.0.0.2:0\", use_remote_address: true}}\n\
             services:\n- name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: v1}}}}\n  \
             - {{address: \"{}\", labels: {{version: v2}}}}\n",
            v1.at(),
            v2.at()
        );
        let world = World::with_rules(&yaml, &[("x.yaml", RULES)]).await;
        let https = "x-forwarded-proto: https";
        let table: &[(&[&str], u16)] = &[
            (&["GET", "/", "host: x"], 200),
            (&["GET", "/", "host: x", https], 200),
            (&["GET", "/", "host: x", "x-forwarded-proto: HTTPS"], 200),
            (&["GET", "/", "host: x", "x-forwarded-proto: http"], 200),
            (&["GET", "http://x/", https], 200),
            (&["GET", "https://x/"], 200),
            (&["GET", "https://x/", https], 200),
            (&["GET", "https://x/moved?a=b"], 301),
            (&["GET", "/moved", "host: x", https], 301),
            (&["GET", "http://x", "host: lost.example"], 200),
            (&["GET", "http://lost.example/"], 500),
            (&["GET", "http://nobody.example/"], 404),
            (&["GET", "/"], 404),
            (&["CONNECT", "x:80", "host: x"], 404),
            (&["OPTIONS", "*", "host: x"], 404),
            (&["GET", "*", "host: x"], 400),
            (&["GET", "/a#b", "host: x"], 400),
            (&["GET", "http://x/a#b"], 400),
            (&["GET", "x", "host: x"], 400),
            (&["GET", "ftp://x/", "host: x"], 400),
            (&["GET", "/a\"", "host: x"], 200),
            (&["GET", "/a<", "host: x"], 400),
            (&["GET", "/a%2fb", "host: x"], 400),
            (&["GET", "/", "host: a b"], 400),
            (&["GET", "http://user@x/"], 400),
            (&["GET", "/", "host: x", "host: x"], 400),
        ];
        let (mut secure, mut plain) = (0, 0);
        for (request, status) in table {
            for listener in ["in", "edge"] {
                let answered = answered(&world, listener, request).await;
                assert_eq!(answered.status, *status, "{listener} {request:?}");
                assert_eq!(explained(&world, listener, request), answered, "{listener} {request:?}");
                secure += usize::from(answered.version.as_deref() == Some("v2"));
                plain += usize::from(answered.version.as_deref() == Some("v1"));
            }
        }
        assert!(secure > 3 && plain > 3, "both schemes were seen: {secure}, {plain}");
    });
}
