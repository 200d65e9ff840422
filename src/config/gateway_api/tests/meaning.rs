//! What the fields become.

use std::time::Duration;

use super::*;
use crate::snapshot::{Labels, RedirectPort, RetryPolicy};

fn weights(rule: &RuleDraft) -> Vec<u32> {
    match &rule.action {
        ActionDraft::Shares(shares) => shares.iter().map(|share| share.weight).collect(),
        other => panic!("{other:?}"),
    }
}

fn filter(kind: &str, key: &str, body: &str) -> RuleDraft {
    rule(&format!("filters: [{{type: {kind}, {key}: {{{body}}}}}]"))
}

#[test]
fn a_gateway_as_parent_narrows_the_listeners_and_the_hostnames_are_claimed() {
    let backend = "rules: [{backendRefs: [{name: m, port: 80}]}]";
    let spec = format!("{{parentRefs: [{{name: g, sectionName: s, port: 80}}], {backend}}}");
    let draft = loaded("HTTPRoute", &spec);
    let gateways = draft.gateways.expect("one gateway");
    assert_eq!(gateways.len(), 1);
    assert_eq!(
        (&*gateways[0].name, gateways[0].section.as_deref(), gateways[0].port),
        ("web/g", Some("s"), Some(80))
    );
    assert!(matches!(draft.claims[..], [Claim::Domain(Domain::Any, _)]));
    assert_eq!(loaded("HTTPRoute", &format!("{{{backend}}}")).gateways, None);
}

#[test]
fn a_service_as_parent_is_claimed_whatever_the_host() {
    let parent = "parentRefs: [{group: \"\", kind: Service, name: m}]";
    let spec = format!("{{{parent}, hostnames: [a.com], rules: [{{backendRefs: [{{name: m, port: 80}}]}}]}}");
    let (draft, found) = read("GRPCRoute", &spec);
    assert_eq!(found, [(Severity::Warning, "never-acts", "hostnames".to_owned())]);
    let host = HostRef::Short { text: "m".into(), namespace: Some("web".into()) };
    assert!(matches!(&draft.expect("loads").claims[..], [Claim::Service(own, _)] if *own == host));
}

#[test]
fn without_matches_a_rule_holds_for_everything_and_for_grpc_alone_in_a_grpcroute() {
    for rules in ["", "matches: [], ", "matches: [{}], ", "matches: [{path: {}}], "] {
        let rules = http(&format!("[{{{rules}backendRefs: [{{name: m, port: 80}}]}}]"));
        assert_eq!((rules.len(), &rules[0].path, &rules[0].headers[..]), (1, &None, &[][..]));
        assert_eq!(rules[0].more, None);
    }
    let draft = loaded("GRPCRoute", "{rules: [{backendRefs: [{name: m, port: 80}]}]}");
    assert_eq!(draft.rules[0].path, None);
    assert_eq!(draft.rules[0].more.as_ref().and_then(|more| more.protocol), Some(Protocol::Grpc));
}

#[test]
fn each_match_is_a_draft_and_all_of_one_rule_share_label_action_and_policy() {
    let rules = http(
        "[{name: a, matches: [{path: {value: /x/}}, {path: {type: Exact, value: /%79}}], timeouts: {request: 3s}, \
         backendRefs: [{name: m, port: 80}]}, {backendRefs: [{name: m, port: 80}]}]",
    );
    assert_eq!(rules.len(), 3);
    assert_eq!(rules[0].path, Some(PathMatch::Segments("/x".into())), "a final slash means nothing");
    assert_eq!(rules[1].path, Some(PathMatch::Exact("/y".into())), "in its normal form");
    for rule in &rules[..2] {
        assert_eq!(rule.label.as_deref(), Some("a"));
        assert_eq!((&rule.action, &rule.policy), (&rules[0].action, &rules[0].policy));
        assert_eq!(rule.timeout, Some(Duration::from_secs(3)));
    }
    assert_eq!(rules[2].label.as_deref(), Some("#2"), "a rule without a name is known by its place");
}

#[test]
fn conditions_become_conditions_sorted_by_name_and_names_of_headers_have_no_case() {
    let rule = rule(
        "matches: [{method: POST, headers: [{name: X-B, value: b}, {type: RegularExpression, name: a, value: a.*}, \
         {name: Host, value: h}], queryParams: [{name: Q, value: q}, {type: RegularExpression, name: P, value: p+}]}]",
    );
    let names: Vec<_> = rule.headers.iter().map(|one| one.name.clone()).collect();
    let header = |name: &'static str| {
        HeaderName::Header(crate::snapshot::route::OrdName(http::HeaderName::from_static(name)))
    };
    assert_eq!(names, [HeaderName::Method, HeaderName::Authority, header("a"), header("x-b")]);
    assert_eq!(rule.headers[0].value, StringMatch::Exact("POST".into()));
    assert!(matches!(&rule.headers[2].value, StringMatch::Regex(pattern) if pattern.as_str() == "a.*"));
    let query = &rule.more.as_ref().expect("parameters").query;
    let names: Vec<_> = query.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["P", "Q"]);
}

#[test]
fn of_names_that_differ_in_case_alone_the_first_counts_and_the_others_are_told_of() {
    let spec = "{rules: [{matches: [{headers: [{name: x-a, value: a}, {name: X-A, value: b}]}], \
                backendRefs: [{name: m, port: 80}]}]}";
    let (draft, found) = read("HTTPRoute", spec);
    assert_eq!(found, [(Severity::Warning, "never-acts", "rules[0].matches[0].headers[1].name".to_owned())]);
    let rules = draft.expect("loads").rules;
    assert_eq!(rules[0].headers.len(), 1);
    assert_eq!(rules[0].headers[0].value, StringMatch::Exact("a".into()));
}

#[test]
fn weights_are_as_written_one_if_unsaid_and_a_lone_one_is_all() {
    let backends = |list: &str| weights(&http(&format!("[{{backendRefs: [{list}]}}]"))[0]);
    assert_eq!(backends("{name: a, port: 80, weight: 95}, {name: b, port: 80, weight: 5}"), [95, 5]);
    assert_eq!(backends("{name: a, port: 80}, {name: b, port: 80, weight: 1000000}"), [1, 1_000_000]);
    assert_eq!(backends("{name: a, port: 80, weight: 7}"), [100]);
    assert_eq!(backends("{name: a, port: 80, weight: 100}, {name: b, port: 80, weight: 0}"), [100, 0]);
}

#[test]
fn a_backend_is_a_service_of_the_routes_namespace_unless_it_says_another() {
    let rules = http("[{backendRefs: [{name: a, port: 80}, {namespace: other, name: b, port: 80}]}]");
    let ActionDraft::Shares(shares) = &rules[0].action else { panic!("shares") };
    let host = |text: &str, namespace: Option<&str>| {
        Some(HostRef::Short { text: text.into(), namespace: namespace.map(Into::into) })
    };
    assert_eq!(shares[0].destination, host("a", None));
    assert_eq!(shares[1].destination, host("b", Some("other")));
    assert_eq!(shares[0].select, Select::Backend(Labels::new()));
}

#[test]
fn a_rule_that_leads_nowhere_answers_500_and_for_grpc_with_what_stands_for_unavailable() {
    for (kind, status) in [("HTTPRoute", 500), ("GRPCRoute", 503)] {
        for rules in ["[{}]", "[{backendRefs: []}]", "[{backendRefs: [{name: m, port: 80, weight: 0}]}]"] {
            let (draft, found) = read(kind, &format!("{{rules: {rules}}}"));
            assert_eq!(found, [(Severity::Warning, "no-backend", "rules[0]".to_owned())], "{kind} {rules}");
            let rules = draft.expect("loads").rules;
            assert!(matches!(&rules[0].action, ActionDraft::Direct(answer) if answer.status == status));
        }
    }
    let (draft, found) = read("HTTPRoute", "{hostnames: [a.com]}");
    assert_eq!(found, [(Severity::Warning, "no-backend", String::new())]);
    assert_eq!(draft.map(|draft| draft.rules.len()), Some(1));
    let (draft, found) = read("GRPCRoute", "{hostnames: [a.com]}");
    assert_eq!(found, [(Severity::Warning, "empty", String::new())]);
    assert_eq!(draft.map(|draft| draft.rules.len()), Some(0));
}

#[test]
fn a_redirect_is_302_unless_it_says_otherwise_and_has_its_parts() {
    let rules = http(
        "[{matches: [{path: {value: /a}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, \
         hostname: b.com, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}]}]",
    );
    let ActionDraft::Redirect(redirect) = &rules[0].action else { panic!("a redirect") };
    assert_eq!(
        (redirect.status, redirect.scheme.as_deref(), redirect.port),
        (302, Some("https"), RedirectPort::Number(8_443))
    );
    assert_eq!(redirect.host.as_deref(), Some("b.com"));
    assert_eq!(redirect.path, Some(PathRewrite::Segments("/c".into())));
    assert!(!redirect.strip_query && rules[0].upgrades.is_empty());
    let port = |keys: &str| {
        let rules = http(&format!("[{{filters: [{{type: RequestRedirect, requestRedirect: {{{keys}}}}}]}}]"));
        let ActionDraft::Redirect(redirect) = &rules[0].action else { panic!("a redirect") };
        redirect.port
    };
    assert_eq!(port("scheme: http"), RedirectPort::OfScheme);
    assert_eq!(port("scheme: http, port: 81"), RedirectPort::Number(81));
    assert_eq!(port("hostname: b.com"), RedirectPort::Listener);
}

#[test]
fn filters_become_the_rules_policy() {
    let policy = |rule: RuleDraft| rule.policy.expect("a policy");
    let edits = "set: [{name: A, value: b}], add: [{name: c, value: d}], remove: [e]";
    let one = policy(filter("RequestHeaderModifier", "requestHeaderModifier", edits))
        .policy
        .request_headers
        .clone();
    assert_eq!((one.set.len(), one.add.len(), one.remove.len()), (1, 1, 1));
    assert_eq!((one.set[0].name.0.as_str(), &*one.set[0].value), ("a", "b"));
    let one = policy(filter("ResponseHeaderModifier", "responseHeaderModifier", edits))
        .policy
        .response_headers
        .clone();
    assert_eq!(one.remove[0].0.as_str(), "e");
    let one = policy(filter(
        "URLRewrite",
        "urlRewrite",
        "hostname: b.com, path: {type: ReplaceFullPath, replaceFullPath: /c}",
    ));
    let rewrite = one.policy.rewrite.clone().expect("a rewrite");
    assert_eq!(
        (rewrite.host.as_deref(), rewrite.path),
        (Some("b.com"), Some(PathRewrite::Full("/c".into())))
    );
    assert!(rule("filters: []").policy.is_none(), "a plain split has no policy");
}

#[test]
fn filters_of_a_backend_are_its_shares_own() {
    let rules = http(
        "[{backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}, \
         {type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}}]}, {name: b, port: 80, filters: []}]}]",
    );
    let ActionDraft::Shares(shares) = &rules[0].action else { panic!("shares") };
    let own = shares[0].policy.as_ref().expect("a policy of its own");
    assert_eq!((own.policy.request_headers.remove.len(), own.mirrors.len()), (1, 1));
    assert!(shares[1].policy.is_none() && rules[0].policy.is_none());
}

#[test]
fn a_mirror_takes_all_requests_or_the_share_that_is_said_in_millionths_where_that_is_exact() {
    let fraction = |keys: &str| {
        let body = format!("backendRef: {{name: m, port: 80}}, {keys}");
        filter("RequestMirror", "requestMirror", &body).policy.expect("a policy").mirrors[0].fraction
    };
    assert_eq!(fraction(""), Fraction::ALWAYS);
    assert_eq!(fraction("percent: 100"), Fraction::ALWAYS);
    assert_eq!(fraction("fraction: {numerator: 5, denominator: 5}"), Fraction::ALWAYS);
    assert_eq!(fraction("percent: 5"), Fraction { numerator: 50_000, denominator: 1_000_000 });
    assert_eq!(fraction("fraction: {numerator: 5}"), fraction("percent: 5"));
    assert_eq!(
        fraction("fraction: {numerator: 1, denominator: 3}"),
        Fraction { numerator: 1, denominator: 3 }
    );
    let none = "{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}, percent: 0}}], \
                backendRefs: [{name: m, port: 80}]}]}";
    let (draft, found) = read("HTTPRoute", none);
    assert_eq!(found, [(Severity::Warning, "never-acts", "rules[0].filters[0].requestMirror".to_owned())]);
    assert!(draft.expect("loads").rules[0].policy.is_none());
}

#[test]
fn cors_has_lists_as_they_are_sent_five_seconds_by_default_and_answers_preflights_from_elsewhere() {
    let cors = |keys: &str| {
        filter("CORS", "cors", keys).policy.expect("a policy").policy.cors.clone().expect("cors")
    };
    let one = cors(
        "allowOrigins: [\"*\"], allowMethods: [GET, PUT], allowHeaders: [X-A, x-b], exposeHeaders: [x-c]",
    );
    assert_eq!(one.origins, [StringMatch::Present]);
    assert_eq!((one.methods.as_deref(), one.headers.as_deref()), (Some("GET,PUT"), Some("X-A,x-b")));
    assert_eq!((one.expose.as_deref(), one.max_age), (Some("x-c"), Some(Duration::from_secs(5))));
    assert_eq!((one.credentials, one.unmatched_preflights), (false, UnmatchedPreflights::Answer));
    let two = cors(
        "allowOrigins: [\"https://A.com:443\", \"http://*.b.com:8080\", \"https://*\"], maxAge: 9, allowCredentials: true",
    );
    assert_eq!(two.origins[0], StringMatch::Exact("https://a.com".into()));
    let holds = |index: usize, origin: &str| match &two.origins[index] {
        StringMatch::Regex(pattern) => pattern.is_match(origin.as_bytes()),
        other => panic!("{other:?}"),
    };
    assert!(holds(1, "http://a.b.com:8080") && holds(1, "http://x.y.b.com:8080"));
    assert!(
        !holds(1, "http://b.com:8080") && !holds(1, "http://a.b.com") && !holds(1, "http://axb.com:8080")
    );
    assert!(
        holds(2, "https://any.where") && !holds(2, "http://any.where") && !holds(2, "https://any.where:1")
    );
    assert_eq!((two.max_age, two.credentials), (Some(Duration::from_secs(9)), true));
}

#[test]
fn timeouts_and_retries_become_a_policy_of_retries() {
    let policy = |keys: &str| -> (Option<Duration>, Option<RetryPolicy>) {
        let rule = rule(keys);
        (rule.timeout, rule.policy.and_then(|policy| policy.policy.retry.clone()))
    };
    let conditions = |policy: &RetryPolicy| policy.on.iter().map(RetryCondition::as_str).collect::<Vec<_>>();
    assert_eq!(policy("timeouts: {request: 0s}"), (Some(Duration::ZERO), None), "zero turns it off");
    assert_eq!(policy("timeouts: {backendRequest: 0s}"), (None, None));
    let (_, one) = policy("timeouts: {request: 2s, backendRequest: 1s}");
    let one = one.expect("a policy");
    assert_eq!((one.per_try_timeout, conditions(&one)), (Some(Duration::from_secs(1)), vec![]));
    let (_, one) = policy("retry: {codes: [500, 503], attempts: 3, backoff: 100ms}");
    let one = one.expect("a policy");
    assert_eq!(conditions(&one), ["connect-failure", "refused-stream", "retriable-status-codes"]);
    assert_eq!((one.status_codes.as_slice(), one.retries, one.per_try_timeout), (&[500, 503][..], 3, None));
    assert_eq!((one.back_off.base, one.back_off.max), (Duration::from_millis(100), Duration::from_secs(1)));
    let (_, one) = policy("retry: {}, timeouts: {backendRequest: 1s}");
    let one = one.expect("a policy");
    assert_eq!(conditions(&one), ["reset", "connect-failure", "refused-stream"]);
    assert_eq!((one.retries, one.per_try_timeout), (1, Some(Duration::from_secs(1))));
    let (_, none) = policy("retry: {attempts: 0}");
    assert_eq!(none.map(|one| one.retries), Some(0), "an explicit zero turns retries off");
}

#[test]
fn a_grpc_service_and_method_are_a_path() {
    let path = |called: &str| {
        let spec = format!(
            "{{rules: [{{matches: [{{method: {{{called}}}}}], backendRefs: [{{name: m, port: 80}}]}}]}}"
        );
        loaded("GRPCRoute", &spec).rules[0].path.clone().expect("a path")
    };
    assert_eq!(path("service: a.B, method: C"), PathMatch::Exact("/a.B/C".into()));
    assert_eq!(path("service: a.B"), PathMatch::Segments("/a.B".into()));
    let holds = |called: &str, text: &str| match path(called) {
        PathMatch::Regex(pattern) => pattern.is_match(text.as_bytes()),
        other => panic!("{other:?}"),
    };
    assert!(holds("method: C", "/a.B/C") && !holds("method: C", "/a.B/CD") && !holds("method: C", "/a/b/C"));
    let both = "type: RegularExpression, service: \"a|b\", method: \"C.*\"";
    assert!(holds(both, "/a/C") && holds(both, "/b/Cd") && !holds(both, "/a") && !holds(both, "/c/C"));
    assert!(holds("type: RegularExpression, service: a.*", "/a.B/any"));
}

#[test]
fn websocket_needs_no_leave_in_an_httproute_and_cannot_be_had_in_a_grpcroute() {
    assert_eq!(rule("name: a").upgrades, ["websocket".into()]);
    let draft = loaded("GRPCRoute", "{rules: [{backendRefs: [{name: m, port: 80}]}]}");
    assert!(draft.rules[0].upgrades.is_empty());
}
