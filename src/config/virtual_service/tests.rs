//! The laws of reading a VirtualService, one test each.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::draft::{ActionDraft, HostRef, PolicyDraft, Select};
use crate::config::objects::{self, Objects};
use crate::config::yaml;
use crate::snapshot::policy::{AbortStatus, UnmatchedPreflights};
use crate::snapshot::retry::RetryCondition;
use crate::snapshot::{HeaderName, PathMatch, PathRewrite, RedirectPort, StringMatch};
use std::time::Duration;

mod policies;

const ROUTE: &str = "route: [{destination: {host: m}}]";

fn read(spec: &str) -> (Vec<RouteDraft>, Vec<Diagnostic>) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: ns}}\nspec:\n{spec}"
    );
    let (scope, patterns) = (Scope::new("v.yaml"), Patterns::default());
    let documents = yaml::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}\n{text}", error.reason));
    let mut all = Objects::default();
    documents.iter().for_each(|document| objects::decode(document, &scope, &patterns, &mut all));
    (all.routes, scope.into_found())
}

/// The `code path` of each fault of a spec.
fn faults(spec: &str) -> Vec<String> {
    let (drafts, found) = read(spec);
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(drafts.is_empty(), !errors.is_empty(), "an object at fault is left out: {found:?}");
    errors.iter().map(|one| format!("{} {}", one.code, one.path)).collect()
}

/// The faults of a rule.
fn with(rule: &str) -> Vec<String> {
    faults(&format!("  hosts: [m]\n  http: [{{{rule}}}]\n"))
}

/// The rules of one entry, without a fault or a warning.
fn rules_of(rule: &str) -> Vec<RuleDraft> {
    let (mut drafts, found) = read(&format!("  hosts: [m]\n  http: [{{{rule}}}]\n"));
    assert!(found.is_empty(), "{found:?}");
    drafts.pop().expect("an object").rules
}

/// The only rule of one entry that forwards and says more.
fn rule(more: &str) -> RuleDraft {
    rules_of(&format!("{ROUTE}, {more}")).pop().expect("a rule")
}

fn policy(more: &str) -> PolicyDraft {
    (*rule(more).policy.expect("a policy")).clone()
}

/// The `code` of each warning of a rule that is accepted.
fn warnings(more: &str) -> Vec<&'static str> {
    let (drafts, found) = read(&format!("  hosts: [m]\n  http: [{{{more}}}]\n"));
    assert_eq!(drafts.len(), 1, "{found:?}");
    found.iter().map(|one| one.code).collect()
}

#[test]
fn every_version_of_the_api_is_read() {
    for version in networking::API_VERSIONS {
        let text = format!(
            "apiVersion: {version}\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [m], http: [{{{ROUTE}}}]}}\n"
        );
        let (scope, mut all) = (Scope::new("v.yaml"), Objects::default());
        let documents = yaml::parse(text.as_bytes()).expect("is YAML");
        objects::decode(&documents[0], &scope, &Patterns::default(), &mut all);
        assert_eq!((all.routes.len(), scope.errors()), (1, 0), "{version}");
    }
}

#[test]
fn hosts_are_services_or_stars_and_stand_once() {
    let (drafts, found) = read(&format!(
        "  hosts: [m, M.ns.svc.cluster.local, \"*\", \"*.Example.com\", \"*-x.com\"]\n  http: [{{{ROUTE}}}]\n"
    ));
    assert!(found.is_empty(), "{found:?}");
    let short = |text: &str| HostRef::Short { text: text.into(), namespace: None };
    let claims: Vec<_> = drafts[0]
        .claims
        .iter()
        .map(|claim| match claim {
            Claim::Service(host, _) => Ok(host.clone()),
            Claim::Domain(domain, _) => Err(domain.clone()),
        })
        .collect();
    assert_eq!(
        claims,
        [
            Ok(short("m")),
            Ok(short("m.ns.svc.cluster.local")),
            Err(Domain::Any),
            Err(Domain::Suffix(".example.com".into())),
            Err(Domain::Suffix("-x.com".into()))
        ]
    );
    let hosts = |hosts: &str| faults(&format!("  hosts: {hosts}\n  http: [{{{ROUTE}}}]\n"));
    assert_eq!(hosts("[]"), ["missing spec.hosts"]);
    assert_eq!(hosts("[a, A]"), ["duplicate-host spec.hosts[1]"]);
    assert_eq!(
        hosts("[\"m:80\", a_b, \"a.*\", \"*.a:80\"]"),
        [
            "service-host spec.hosts[0]",
            "service-host spec.hosts[1]",
            "service-host spec.hosts[2]",
            "service-host spec.hosts[3]"
        ]
    );
    assert_eq!(faults(&format!("  http: [{{{ROUTE}}}]\n")), ["missing spec"]);
    assert_eq!(faults("  hosts: [m]\n"), ["missing spec"]);
    assert_eq!(faults("  hosts: [m]\n  http: []\n"), ["missing spec.http"]);
}

#[test]
fn what_is_no_request_is_refused_by_name() {
    let (_, found) = read(
        "  hosts: [m]\n  tcp: []\n  tls: []\n  exportTo: [other]\n  http: [{delegate: {}, websocketUpgrade: true, route: [{destination: {host: m}}]}]\n",
    );
    assert!(found.iter().all(|one| one.code == "not-supported"), "{found:?}");
    let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.tcp",
            "spec.tls",
            "spec.exportTo[0]",
            "spec.http[0].delegate",
            "spec.http[0].websocketUpgrade"
        ]
    );
    assert_eq!(
        with(&format!("{ROUTE}, match: [{{statPrefix: a}}]")),
        ["not-supported spec.http[0].match[0].statPrefix"]
    );
    for word in ["[\"*\"]", "[\".\"]", "[]"] {
        assert_eq!(faults(&format!("  hosts: [m]\n  exportTo: {word}\n  http: [{{{ROUTE}}}]\n")), [""; 0]);
    }
}

#[test]
fn gateways_are_told_in_full_and_sidecars_are_meant_where_none_is_named() {
    let names = |gateways: &str| -> Vec<String> {
        let (drafts, found) = read(&format!("  hosts: [m]\n{gateways}  http: [{{{ROUTE}}}]\n"));
        assert!(found.is_empty(), "{found:?}");
        let gateways = drafts[0].gateways.as_deref().expect("gateways").iter();
        gateways.map(|gateway| gateway.name.to_string()).collect()
    };
    assert_eq!(names(""), ["mesh"]);
    assert_eq!(names("  gateways: [mesh, public, edge/public]\n"), ["mesh", "ns/public", "edge/public"]);
    let own = rule("match: [{gateways: [public]}]").gateways.expect("its own");
    assert_eq!(&*own[0].name, "ns/public");
    assert_eq!(
        faults(&format!("  hosts: [m]\n  gateways: [\"a/b/c\"]\n  http: [{{{ROUTE}}}]\n")),
        ["unknown-gateway spec.gateways[0]"]
    );
}

#[test]
fn several_rules_are_told_apart_by_name_or_number() {
    let (drafts, found) = read(&format!(
        "  hosts: [m]\n  http: [{{{ROUTE}, name: a}}, {{{ROUTE}}}, {{{ROUTE}, name: a}}, {{{ROUTE}, match: [{{port: 1}}, {{port: 2}}]}}]\n"
    ));
    assert!(found.is_empty(), "{found:?}");
    let labels: Vec<_> =
        drafts[0].rules.iter().map(|rule| rule.label.as_deref().unwrap_or_default()).collect();
    assert_eq!(labels, ["a", "#2", "a#3", "#4", "#4"]);
    assert_eq!(rules_of(ROUTE)[0].label, None);
    assert_eq!(with(&format!("{ROUTE}, name: \"a\\nb\"")), ["name spec.http[0].name"]);
}

#[test]
fn alternatives_share_action_and_policy() {
    let both =
        rules_of(&format!("{ROUTE}, timeout: 2s, match: [{{uri: {{exact: /a}}}}, {{uri: {{prefix: /b}}}}]"));
    assert_eq!(both[0].path, Some(PathMatch::Exact("/a".into())));
    assert_eq!(both[1].path, Some(PathMatch::Prefix("/b".into())));
    assert_eq!(
        (&both[0].action, &both[0].policy, both[0].timeout),
        (&both[1].action, &both[1].policy, both[1].timeout)
    );
    assert_eq!(rules_of(&format!("{ROUTE}, match: []")).len(), 1);
}

#[test]
fn a_path_may_be_exact_a_prefix_or_an_expression_in_any_case() {
    let path = |uri: &str| rule(&format!("match: [{{{uri}}}]")).path;
    assert_eq!(path("uri: {exact: /A}"), Some(PathMatch::Exact("/A".into())));
    assert_eq!(path("uri: {exact: /A}, ignoreUriCase: true"), Some(PathMatch::ExactIgnoreCase("/a".into())));
    assert_eq!(
        path("uri: {prefix: /A}, ignore_uri_case: true"),
        Some(PathMatch::PrefixIgnoreCase("/a".into()))
    );
    assert_eq!(path("uri: {prefix: /}, ignoreUriCase: true"), Some(PathMatch::Prefix("/".into())));
    assert!(matches!(path("uri: {regex: \"/v1/.*\"}"), Some(PathMatch::Regex(_))));
    assert_eq!(path("uri: {}"), None);
    let faults = |uri: &str| with(&format!("{ROUTE}, match: [{{uri: {uri}}}]"));
    assert_eq!(faults("{exact: \"\"}"), ["uri-empty spec.http[0].match[0].uri.exact"]);
    assert_eq!(faults("{regex: \"(\"}"), ["regex spec.http[0].match[0].uri.regex"]);
    assert_eq!(faults("{exact: /a, prefix: /b}"), ["match spec.http[0].match[0].uri"]);
    assert_eq!(faults("/a"), ["match spec.http[0].match[0].uri"]);
    assert_eq!(warnings(&format!("{ROUTE}, match: [{{uri: {{prefix: v1}}}}]")), ["never-matches"]);
    assert_eq!(
        warnings(&format!("{ROUTE}, match: [{{uri: {{regex: /a}}, ignoreUriCase: true}}]")),
        ["never-acts"]
    );
    assert_eq!(warnings(&format!("{ROUTE}, match: [{{ignoreUriCase: true}}]")), ["never-acts"]);
}

#[test]
fn headers_and_parts_of_the_request_line_are_conditions_sorted_by_name() {
    let rule = rule(
        "match: [{headers: {x-b: {prefix: v}, X-A: {}, \":method\": {exact: PUT}}, method: {exact: POST}, \
         authority: {regex: \"a.*\"}, scheme: {exact: http}}]",
    );
    let names: Vec<_> = rule.headers.iter().map(|header| &header.name).collect();
    use HeaderName::*;
    assert!(
        matches!(names[..], [Method, Method, Authority, Scheme, Header(a), Header(b)] if a < b),
        "{names:?}"
    );
    assert_eq!(rule.headers[4].value, StringMatch::Present);
    let value = |value: &str| rule_value(&format!("match: [{{headers: {{x: {value}}}}}]"));
    assert_eq!(value("{regex: \"*\"}"), StringMatch::Present);
    assert_eq!(value("{prefix: \"\"}"), StringMatch::Present);
    assert_eq!(value("{exact: \"\"}"), StringMatch::Exact("".into()));
    let faults = |headers: &str| with(&format!("{ROUTE}, match: [{{headers: {headers}}}]"));
    assert_eq!(faults("{\"a b\": {exact: c}}"), ["header-name spec.http[0].match[0].headers.a b"]);
    assert_eq!(faults("{a: }"), ["type spec.http[0].match[0].headers.a"]);
    assert_eq!(
        faults("{\"@request.auth.claims[a]\": {exact: c}}"),
        ["not-supported spec.http[0].match[0].headers.@request.auth.claims[a]"]
    );
    assert_eq!(
        warnings(&format!("{ROUTE}, match: [{{headers: {{method: {{exact: a}}, host: {{exact: b}}}}}}]")),
        ["never-matches"; 2]
    );
}

fn rule_value(more: &str) -> StringMatch {
    rule(more).headers.pop().expect("a header").value
}

#[test]
fn absent_headers_the_query_the_port_and_the_caller_are_conditions() {
    let rule = rule(
        "match: [{withoutHeaders: {x-b: {}, x-a: {exact: v}}, queryParams: {q: {regex: \"[0-9]+\"}, p: {exact: \"1\"}}, port: 8500, \
         sourceLabels: {app: web}, sourceNamespace: front}]",
    );
    let more = rule.more.expect("more");
    assert_eq!((more.without.len(), more.query.len(), more.port), (2, 2, Some(8500)));
    assert!(more.without[0].name < more.without[1].name && more.query[0].name < more.query[1].name);
    let source = rule.source.expect("a source");
    assert_eq!((source.host, source.namespace.as_deref()), (None, Some("front")));
    assert_eq!(source.labels.get("app").map(|value| &**value), Some("web"));
    assert_eq!(self::rule("match: [{}]").more, None);
    let faults = |more: &str| with(&format!("{ROUTE}, match: [{{{more}}}]"));
    assert_eq!(faults("port: 0"), ["out-of-range spec.http[0].match[0].port"]);
    assert_eq!(faults("sourceNamespace: a.b"), ["service-name spec.http[0].match[0].sourceNamespace"]);
    assert_eq!(faults("sourceLabels: {a: \"b c\"}"), ["label spec.http[0].match[0].sourceLabels.a"]);
}

#[test]
fn weights_are_relative_and_a_lone_share_has_all() {
    let weights = |route: &str| -> Vec<u32> {
        let Some(RuleDraft { action: ActionDraft::Shares(shares), .. }) = rules_of(route).pop() else {
            panic!("no shares");
        };
        shares.iter().map(|share| share.weight).collect()
    };
    assert_eq!(weights(ROUTE), [100]);
    assert_eq!(weights("route: [{destination: {host: m}, weight: 7}]"), [100]);
    assert_eq!(weights("route: [{destination: {host: m}, weight: 3}, {destination: {host: m}}]"), [3, 0]);
    assert_eq!(
        with("route: [{destination: {host: m}}, {destination: {host: m}}]"),
        ["weight-sum spec.http[0].route"]
    );
    assert_eq!(
        with("route: [{destination: {host: m}, weight: -1}]"),
        ["weight spec.http[0].route[0].weight"]
    );
    let most = i32::MAX;
    let three = format!("{{destination: {{host: m}}, weight: {most}}}, ").repeat(3);
    assert_eq!(with(&format!("route: [{three}]")), ["weight-sum spec.http[0].route"]);
}

#[test]
fn a_destination_is_a_host_a_subset_and_a_port() {
    let rules = rules_of("route: [{destination: {host: m.other, subset: v1, port: {number: 8500}}}]");
    let ActionDraft::Shares(shares) = &rules[0].action else { panic!("no shares") };
    assert_eq!(shares[0].destination, Some(HostRef::Short { text: "m.other".into(), namespace: None }));
    assert_eq!((&shares[0].select, shares[0].port), (&Select::Subset("v1".into()), Some(8500)));
    assert_eq!(with("route: [{weight: 1}]"), ["missing spec.http[0].route[0]"]);
    assert_eq!(with("route: [{destination: {subset: v1}}]"), ["missing spec.http[0].route[0].destination"]);
    assert_eq!(
        with("route: [{destination: {host: \"m:80\"}}]"),
        ["service-host spec.http[0].route[0].destination.host"]
    );
    assert_eq!(
        with("route: [{destination: {host: m, port: {number: 70000}}}]"),
        ["out-of-range spec.http[0].route[0].destination.port.number"]
    );
}

#[test]
fn a_rule_says_one_thing_only() {
    assert_eq!(with("timeout: 1s"), ["action spec.http[0]"]);
    assert_eq!(with("route: []"), ["action spec.http[0]"]);
    assert_eq!(with(&format!("{ROUTE}, redirect: {{uri: /a}}")), ["action spec.http[0]"]);
    assert_eq!(with("redirect: {uri: /a}, directResponse: {status: 200}"), ["action spec.http[0]"]);
    assert_eq!(with("redirect: {uri: /a}, rewrite: {uri: /b}"), ["action spec.http[0].rewrite"]);
    assert_eq!(
        with("directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}"),
        ["action spec.http[0].fault"]
    );
    assert_eq!(
        warnings(
            "redirect: {uri: /a}, timeout: 1s, retries: {attempts: 1}, mirror: {host: m}, \
             headers: {request: {remove: [x-a]}, response: {remove: [x-b]}}"
        ),
        ["never-acts"; 4],
        "the answer's headers are edited all the same"
    );
    assert_eq!(warnings("redirect: {uri: /a}, headers: {request: null}"), [""; 0], "it is left out");
}

#[test]
fn a_plain_split_says_nothing_more_but_lets_websockets_through() {
    let rule = rules_of(ROUTE).pop().expect("a rule");
    assert_eq!(
        (&rule.policy, &rule.more, &rule.path, rule.order),
        (&None, &None, &None, crate::config::draft::Order::Listed)
    );
    assert_eq!(rule.upgrades, ["websocket".into()]);
}

#[test]
fn every_fault_of_an_object_is_told_at_once() {
    let found = faults(
        "  hosts: [\"a:1\"]\n  gateways: [\"/\"]\n  htttp: []\n  http:\n  - match: [{uri: {exact: \"\"}, method: x}]\n    timeout: x\n    route: [{weight: x}]\n    \
         retries: {attempts: x}\n  - {}\n",
    );
    assert_eq!(found.len(), 10, "{found:?}");
}
