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
    *rule(more).policy.expect("a policy")
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
        warnings("redirect: {uri: /a}, timeout: 1s, retries: {attempts: 1}, mirror: {host: m}"),
        ["never-acts"; 3]
    );
}

#[test]
fn a_redirect_says_what_changes_and_is_301_unless_said() {
    let redirect = |text: &str| {
        let Some(RuleDraft { action: ActionDraft::Redirect(redirect), upgrades, .. }) =
            rules_of(&format!("redirect: {{{text}}}")).pop()
        else {
            panic!("no redirect");
        };
        assert!(upgrades.is_empty());
        *redirect
    };
    let one = redirect("uri: /a, authority: b.c, scheme: https, port: 8443, redirectCode: 308");
    assert_eq!((one.status, one.port, one.strip_query), (308, RedirectPort::Number(8443), false));
    assert_eq!((one.host.as_deref(), one.scheme.as_deref()), (Some("b.c"), Some("https")));
    assert_eq!(one.path, Some(PathRewrite::Full("/a".into())));
    let two = redirect("uri: \"/a?b=c\", authority: \"b.c:81\"");
    assert_eq!(
        (two.status, two.port, two.host.as_deref(), two.strip_query),
        (301, RedirectPort::Number(81), Some("b.c"), true)
    );
    assert_eq!(redirect("derivePort: FROM_PROTOCOL_DEFAULT").port, RedirectPort::Request);
    let faults = |text: &str| with(&format!("redirect: {{{text}}}"));
    assert_eq!(faults(""), ["redirect spec.http[0].redirect"]);
    assert_eq!(faults("uri: a"), ["redirect spec.http[0].redirect.uri"]);
    assert_eq!(faults("uri: /a, redirectCode: 304"), ["status spec.http[0].redirect.redirectCode"]);
    assert_eq!(faults("scheme: ftp"), ["unknown-word spec.http[0].redirect.scheme"]);
    assert_eq!(faults("derivePort: FROM_REQUEST_PORT"), ["not-supported spec.http[0].redirect.derivePort"]);
    assert_eq!(
        faults("port: 1, derivePort: FROM_PROTOCOL_DEFAULT"),
        ["redirect spec.http[0].redirect.derivePort"]
    );
    assert_eq!(faults("authority: \"a:1\", port: 2"), ["redirect spec.http[0].redirect"]);
    assert_eq!(faults("authority: \"a b\""), ["rewrite spec.http[0].redirect.authority"]);
}

#[test]
fn an_answer_has_a_status_and_a_body_of_text() {
    let direct = |text: &str| {
        let Some(RuleDraft { action: ActionDraft::Direct(direct), .. }) =
            rules_of(&format!("directResponse: {{{text}}}")).pop()
        else {
            panic!("no answer");
        };
        (direct.status, direct.body.as_deref().map(str::to_owned))
    };
    assert_eq!(direct("status: 503"), (503, None));
    assert_eq!(direct("status: 200, body: {string: hi}"), (200, Some("hi".into())));
    for (bytes, text) in [("aGk=", "hi"), ("aGkh", "hi!"), ("aA==", "h"), ("\"\"", ""), ("\"w6k+\"", "é>")] {
        assert_eq!(direct(&format!("status: 200, body: {{bytes: {bytes}}}")), (200, Some(text.into())));
    }
    let faults = |text: &str| with(&format!("directResponse: {{{text}}}"));
    assert_eq!(faults("body: {string: a}"), ["missing spec.http[0].directResponse"]);
    assert_eq!(faults("status: 199"), ["status spec.http[0].directResponse.status"]);
    for bad in ["a===", "aGk", "a-b_", "\"aGk=aGk=\"", "/w=="] {
        assert_eq!(
            faults(&format!("status: 200, body: {{bytes: {bad}}}")),
            ["body spec.http[0].directResponse.body.bytes"],
            "{bad}"
        );
    }
    assert_eq!(faults("status: 200, body: {}"), ["body spec.http[0].directResponse.body"]);
    let long = "a".repeat((1 << 20) + 1);
    assert_eq!(
        faults(&format!("status: 200, body: {{string: {long}}}")),
        ["body spec.http[0].directResponse.body.string"]
    );
}

#[test]
fn a_rewrite_changes_the_path_or_the_host() {
    let rewrite = |text: &str| policy(&format!("rewrite: {{{text}}}")).policy.rewrite.expect("a rewrite");
    let both = rewrite("uri: /v2, authority: \"a.b:80\"");
    assert_eq!((both.path, both.host.as_deref()), (Some(PathRewrite::Prefix("/v2".into())), Some("a.b:80")));
    let Some(PathRewrite::Regex(regex)) =
        rewrite("uriRegexRewrite: {match: \"/v([0-9])\", rewrite: '/\\1'}").path
    else {
        panic!("no expression");
    };
    assert_eq!(regex.apply("/v1/x"), "/1/x");
    let faults = |text: &str| with(&format!("{ROUTE}, rewrite: {{{text}}}"));
    assert_eq!(faults(""), ["rewrite spec.http[0].rewrite"]);
    assert_eq!(faults("uri: v2"), ["rewrite spec.http[0].rewrite.uri"]);
    assert_eq!(
        faults("uri: /a, uriRegexRewrite: {match: a, rewrite: b}"),
        ["rewrite spec.http[0].rewrite.uriRegexRewrite"]
    );
    assert_eq!(
        faults("uriRegexRewrite: {match: \"(\", rewrite: b}"),
        ["regex spec.http[0].rewrite.uriRegexRewrite.match"]
    );
    assert_eq!(
        faults("uriRegexRewrite: {match: a, rewrite: '\\1'}"),
        ["regex spec.http[0].rewrite.uriRegexRewrite.match"]
    );
    assert_eq!(faults("uriRegexRewrite: {rewrite: a}"), ["missing spec.http[0].rewrite.uriRegexRewrite"]);
}

#[test]
fn headers_are_set_added_and_removed_for_a_rule_and_a_share() {
    let said = policy(
        "headers: {request: {set: {x-b: \"100%%\", X-A: v}, add: {x-c: w}, remove: [x-e, x-d]}, response: {set: {server: m}}}",
    )
    .policy;
    let names = |edits: &[crate::snapshot::edit::HeaderEdit]| -> Vec<String> {
        edits.iter().map(|edit| format!("{}={}", edit.name.0, edit.value)).collect()
    };
    assert_eq!(names(&said.request_headers.set), ["x-a=v", "x-b=100%"]);
    assert_eq!(names(&said.request_headers.add), ["x-c=w"]);
    assert_eq!(
        said.request_headers.remove.iter().map(|name| name.0.as_str()).collect::<Vec<_>>(),
        ["x-d", "x-e"]
    );
    assert_eq!(names(&said.response_headers.set), ["server=m"]);
    let rules = rules_of(
        "rewrite: {uri: /a}, route: [{destination: {host: m}, headers: {request: {set: {host: other.com}}, response: {remove: [a]}}}]",
    );
    let ActionDraft::Shares(shares) = &rules[0].action else { panic!("no shares") };
    let own = &shares[0].policy.as_ref().expect("a policy").policy;
    let rewrite = own.rewrite.as_ref().expect("a rewrite");
    assert_eq!(
        (rewrite.host.as_deref(), &rewrite.path),
        (Some("other.com"), &Some(PathRewrite::Prefix("/a".into())))
    );
    assert_eq!(own.response_headers.remove.len(), 1);
    let faults = |text: &str| with(&format!("{ROUTE}, headers: {{{text}}}"));
    assert_eq!(
        faults("request: {set: {a: \"%START_TIME%\"}}"),
        ["not-supported spec.http[0].headers.request.set.a"]
    );
    assert_eq!(faults("request: {set: {a: \"\"}}"), ["empty spec.http[0].headers.request.set.a"]);
    assert_eq!(
        faults("request: {add: {\":path\": /a}}"),
        ["header-name spec.http[0].headers.request.add.:path"]
    );
    assert_eq!(faults("request: {remove: [host]}"), ["header-name spec.http[0].headers.request.remove[0]"]);
    assert_eq!(faults("response: {set: {host: a}}"), ["header-name spec.http[0].headers.response.set.host"]);
    assert_eq!(faults("request: {set: {a: \"b\\nc\"}}"), ["header-value spec.http[0].headers.request.set.a"]);
    assert_eq!(
        faults("request: {set: {host: a, \":authority\": b}}"),
        ["rewrite spec.http[0].headers.request.set.:authority"]
    );
    assert_eq!(
        with(&format!("{ROUTE}, rewrite: {{authority: a}}, headers: {{request: {{set: {{host: b}}}}}}")),
        ["rewrite spec.http[0]"]
    );
}

#[test]
fn retries_have_istios_conditions_unless_said_and_none_at_all_for_0() {
    let retries = |text: &str| policy(&format!("retries: {{{text}}}")).policy.retry.expect("retries");
    let names =
        |on: crate::snapshot::retry::RetryOn| on.iter().map(RetryCondition::as_str).collect::<Vec<_>>();
    let usual = retries("attempts: 3");
    assert_eq!(names(usual.on), ["connect-failure", "refused-stream", "cancelled", "unavailable"]);
    assert_eq!((usual.retries, usual.elsewhere, usual.per_try_timeout), (3, true, None));
    let all = retries(
        "attempts: 2, perTryTimeout: 250ms, retryOn: \"5xx, 429,418,429\", retryIgnorePreviousHosts: false, backoff: 10ms",
    );
    assert_eq!(names(all.on), ["5xx", "retriable-status-codes"]);
    assert_eq!((all.status_codes, all.elsewhere), (vec![418, 429], false));
    assert_eq!(all.per_try_timeout, Some(Duration::from_millis(250)));
    assert_eq!(
        (all.back_off.base, all.back_off.max),
        (Duration::from_millis(10), Duration::from_millis(100))
    );
    let none = retries("attempts: 0");
    assert_eq!((none.retries, names(none.on).len()), (0, 0));
    assert_eq!(rule("timeout: 1s").policy, None, "nobody asked for retries");
    let faults = |text: &str| with(&format!("{ROUTE}, retries: {{{text}}}"));
    assert_eq!(faults("attempts: -1"), ["out-of-range spec.http[0].retries.attempts"]);
    assert_eq!(faults("attempts: 0, perTryTimeout: 1s"), ["retries spec.http[0].retries.perTryTimeout"]);
    assert_eq!(faults("attempts: 1, perTryTimeout: 0s"), ["duration spec.http[0].retries.perTryTimeout"]);
    assert_eq!(faults("attempts: 1, backoff: 1.5ms"), ["duration spec.http[0].retries.backoff"]);
    assert_eq!(faults("attempts: 1, retryOn: \"5xx,6xx\""), ["retry-on spec.http[0].retries.retryOn"]);
    assert_eq!(
        faults("attempts: 1, retryRemoteLocalities: true"),
        ["not-supported spec.http[0].retries.retryRemoteLocalities"]
    );
}

#[test]
fn a_timeout_of_zero_is_none() {
    assert_eq!(rule("timeout: 1.5s").timeout, Some(Duration::from_millis(1500)));
    assert_eq!(rule("timeout: 0s").timeout, Some(Duration::ZERO));
    assert_eq!(with(&format!("{ROUTE}, timeout: 5")), ["duration spec.http[0].timeout"]);
}

#[test]
fn faults_concern_a_fraction_of_the_requests() {
    let fault = |text: &str| policy(&format!("fault: {{{text}}}")).policy.fault.expect("a fault");
    let both = fault(
        "delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {httpStatus: 418, percentage: {value: 50}}",
    );
    let (delay, abort) = (both.delay.expect("a delay"), both.abort.expect("an abort"));
    assert_eq!((delay.fixed, delay.fraction.numerator), (Duration::from_secs(5), 1_000));
    assert_eq!((abort.status, abort.fraction.numerator), (AbortStatus::Http(418), 500_000));
    let grpc = fault("abort: {grpcStatus: UNAVAILABLE}").abort.expect("an abort");
    assert_eq!(grpc.status, AbortStatus::Grpc(crate::words::GrpcStatus::Unavailable));
    assert_eq!(grpc.fraction, crate::snapshot::Fraction::ALWAYS, "an abort without a percentage is for all");
    assert_eq!(
        fault("delay: {fixedDelay: 1s, percent: 10}").delay.expect("a delay").fraction.numerator,
        100_000
    );
    for idle in [
        "delay: {fixedDelay: 1s}",
        "delay: {fixedDelay: 1s, percentage: {value: 0}}",
        "abort: {percentage: {value: 5}}",
    ] {
        assert_eq!(warnings(&format!("{ROUTE}, fault: {{{idle}}}")), ["never-acts"], "{idle}");
    }
    let faults = |text: &str| with(&format!("{ROUTE}, fault: {{{text}}}"));
    assert_eq!(faults(""), ["fault spec.http[0].fault"]);
    assert_eq!(faults("delay: {percentage: {value: 5}}"), ["missing spec.http[0].fault.delay"]);
    assert_eq!(
        faults("delay: {fixedDelay: 0s, percentage: {value: 5}}"),
        ["duration spec.http[0].fault.delay.fixedDelay"]
    );
    assert_eq!(
        faults("delay: {exponentialDelay: 1s, fixedDelay: 1s}"),
        ["not-supported spec.http[0].fault.delay.exponentialDelay"]
    );
    for percent in ["101", "-1", ".nan", ".inf"] {
        let delay = format!("delay: {{fixedDelay: 1s, percentage: {{value: {percent}}}}}");
        assert_eq!(faults(&delay), ["percent spec.http[0].fault.delay.percentage.value"], "{percent}");
    }
    assert_eq!(
        faults("delay: {fixedDelay: 1s, percent: 1, percentage: {value: 1}}"),
        ["fault spec.http[0].fault.delay.percent"]
    );
    assert_eq!(faults("abort: {httpStatus: 600}"), ["status spec.http[0].fault.abort.httpStatus"]);
    assert_eq!(faults("abort: {grpcStatus: GONE}"), ["unknown-word spec.http[0].fault.abort.grpcStatus"]);
    assert_eq!(faults("abort: {httpStatus: 500, grpcStatus: OK}"), ["fault spec.http[0].fault.abort"]);
    assert_eq!(faults("abort: {http2Error: GOAWAY}"), ["not-supported spec.http[0].fault.abort.http2Error"]);
}

#[test]
fn cors_lists_are_as_they_are_sent() {
    let cors = |text: &str| policy(&format!("corsPolicy: {{{text}}}")).policy.cors.expect("cors");
    let all = cors(
        "allowOrigins: [{exact: \"https://a.b\"}, {prefix: \"http:\"}, {exact: \"*\"}], allowMethods: [GET, \"*\"], allowHeaders: [x-a, X-B], \
         exposeHeaders: [\"*\"], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE",
    );
    assert_eq!(all.origins[2], StringMatch::Present);
    assert_eq!(
        (all.methods.as_deref(), all.headers.as_deref(), all.expose.as_deref()),
        (Some("GET,*"), Some("x-a,X-B"), Some("*"))
    );
    assert_eq!((all.max_age, all.credentials), (Some(Duration::from_secs(86_400)), true));
    assert_eq!(all.unmatched_preflights, UnmatchedPreflights::Answer);
    assert_eq!(
        cors("allowOrigin: [\"*\", a]").origins,
        [StringMatch::Present, StringMatch::Exact("a".into())]
    );
    assert_eq!(cors("").unmatched_preflights, UnmatchedPreflights::Forward);
    let faults = |text: &str| with(&format!("{ROUTE}, corsPolicy: {{{text}}}"));
    assert_eq!(faults("allowOrigins: [{}]"), ["cors spec.http[0].corsPolicy.allowOrigins[0]"]);
    assert_eq!(
        faults("allowOrigins: [{exact: a}], allowOrigin: [b]"),
        ["cors spec.http[0].corsPolicy.allowOrigin"]
    );
    assert_eq!(faults("allowMethods: [\"G T\"]"), ["cors spec.http[0].corsPolicy.allowMethods[0]"]);
    assert_eq!(faults("allowHeaders: [\"a b\"]"), ["header-name spec.http[0].corsPolicy.allowHeaders[0]"]);
    assert_eq!(faults("maxAge: 1500ms"), ["duration spec.http[0].corsPolicy.maxAge"]);
    assert_eq!(
        faults("unmatchedPreflights: DROP"),
        ["unknown-word spec.http[0].corsPolicy.unmatchedPreflights"]
    );
}

#[test]
fn copies_go_to_one_mirror_or_several() {
    let shares =
        |text: &str| -> Vec<u32> { policy(text).mirrors.iter().map(|one| one.fraction.numerator).collect() };
    assert_eq!(shares("mirror: {host: m, subset: v2}"), [1_000_000]);
    assert_eq!(shares("mirror: {host: m}, mirrorPercentage: {value: 12.5}"), [125_000]);
    assert_eq!(shares("mirror: {host: m}, mirrorPercent: 5"), [50_000]);
    assert_eq!(
        shares("mirrors: [{destination: {host: m}}, {destination: {host: m}, percentage: {value: 1}}]"),
        [1_000_000, 10_000]
    );
    assert_eq!(
        warnings(&format!("{ROUTE}, mirror: {{host: m}}, mirrorPercentage: {{value: 0}}")),
        ["never-acts"]
    );
    let faults = |text: &str| with(&format!("{ROUTE}, {text}"));
    assert_eq!(faults("mirrorPercentage: {value: 1}"), ["mirror spec.http[0].mirrorPercentage"]);
    assert_eq!(faults("mirror: {host: m}, mirrors: []"), ["mirror spec.http[0].mirrors"]);
    assert_eq!(
        faults("mirror: {host: m}, mirrorPercent: 1, mirrorPercentage: {value: 1}"),
        ["mirror spec.http[0].mirrorPercent"]
    );
    assert_eq!(
        faults("mirrors: [{percentage: {value: 101}}]"),
        ["missing spec.http[0].mirrors[0]", "percent spec.http[0].mirrors[0].percentage.value"]
    );
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
