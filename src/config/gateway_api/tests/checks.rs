//! What is refused: each limit, each pattern and each CEL rule of the schema, and what is not supported.

use super::*;

pub(super) const BACKEND: &str = "backendRefs: [{name: m, port: 80}]";

/// `count` copies of `text`, joined; `%` in it is their number.
pub(super) fn many(count: usize, text: &str) -> String {
    let copies: Vec<_> = (0..count).map(|index| text.replace('%', &index.to_string())).collect();
    copies.join(", ")
}

/// Checks rules one by one: keys of a rule, then the code and the path of their fault.
#[track_caller]
pub(super) fn each(table: &[(&str, &str, &str)]) {
    for (keys, code, path) in table {
        assert_eq!(rule_fault(keys), (*code, (*path).to_owned()), "{keys}");
    }
}

#[test]
fn a_route_has_at_most_16_rules_16_hostnames_and_32_parents() {
    let rules = |count| format!("{{rules: [{}]}}", many(count, &format!("{{{BACKEND}}}")));
    assert_eq!(loaded("HTTPRoute", &rules(16)).rules.len(), 16);
    assert_eq!(fault("HTTPRoute", &rules(17)), ("too-many", "rules".into()));
    assert_eq!(fault("GRPCRoute", &rules(17)), ("too-many", "rules".into()));
    let hosts = |count| format!("{{hostnames: [{}], rules: [{{{BACKEND}}}]}}", many(count, "h%.example.com"));
    assert_eq!(loaded("HTTPRoute", &hosts(16)).claims.len(), 16);
    assert_eq!(fault("HTTPRoute", &hosts(17)), ("too-many", "hostnames".into()));
    let parents = |count| format!("{{parentRefs: [{}], rules: [{{{BACKEND}}}]}}", many(count, "{name: g%}"));
    assert_eq!(loaded("HTTPRoute", &parents(32)).gateways.map(|all| all.len()), Some(32));
    assert_eq!(fault("HTTPRoute", &parents(33)), ("too-many", "parentRefs".into()));
}

#[test]
fn a_rule_has_at_most_64_matches_and_a_route_at_most_128() {
    let rule = |count| format!("{{matches: [{}], {BACKEND}}}", many(count, "{path: {value: /%}}"));
    assert_eq!(http(&format!("[{}]", rule(64))).len(), 64);
    assert_eq!(
        fault("HTTPRoute", &format!("{{rules: [{}]}}", rule(65))),
        ("too-many", "rules[0].matches".into())
    );
    assert_eq!(http(&format!("[{}, {}]", rule(64), rule(64))).len(), 128);
    let all = format!("{{rules: [{}, {}, {}]}}", rule(64), rule(64), rule(1));
    assert_eq!(fault("HTTPRoute", &all), ("too-many", "rules".into()));
}

#[test]
fn a_match_has_at_most_16_headers_and_16_parameters_and_a_rule_16_filters_and_16_backends() {
    let condition = |count| many(count, "{name: n%, value: v}");
    let backends = |count| format!("backendRefs: [{}]", many(count, "{name: m%, port: 80}"));
    let mirrors = |count| {
        let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: m%, port: 80}}}";
        format!("filters: [{}], {BACKEND}", many(count, mirror))
    };
    assert_eq!(rule(&format!("matches: [{{headers: [{}]}}]", condition(16))).headers.len(), 16);
    each(&[
        (&format!("matches: [{{headers: [{}]}}]", condition(17)), "too-many", "matches[0].headers"),
        (&format!("matches: [{{queryParams: [{}]}}]", condition(17)), "too-many", "matches[0].queryParams"),
        (&backends(17), "too-many", "backendRefs"),
        (&mirrors(17), "too-many", "filters"),
    ]);
    assert_eq!(http(&format!("[{{{}}}]", backends(16))).len(), 1);
    assert_eq!(
        http(&format!("[{{{}}}]", mirrors(16)))[0].policy.as_ref().map(|all| all.mirrors.len()),
        Some(16)
    );
}

#[test]
fn an_empty_list_of_rules_is_refused_and_names_of_rules_differ() {
    assert_eq!(fault("HTTPRoute", "{rules: []}"), ("empty", "rules".into()));
    let twice = format!("{{rules: [{{name: a, {BACKEND}}}, {{name: a, {BACKEND}}}]}}");
    assert_eq!(fault("HTTPRoute", &twice), ("repeated", "rules[1].name".into()));
    each(&[(&format!("name: A, {BACKEND}"), "name", "name")]);
}

#[test]
fn a_hostname_is_a_dns_name_that_may_start_with_a_star_and_is_no_address() {
    let host = |text: &str| format!("{{hostnames: [{text}], rules: [{{{BACKEND}}}]}}");
    for bad in
        ["\"*\"", "10.0.0.7", "a.*.com", "Upper.com", "a:80", "\"\"", "\"*a.com\"", "a..b", "\"*.*.a\""]
    {
        let (code, path) = fault("HTTPRoute", &host(bad));
        assert!(matches!(code, "hostname" | "empty"), "{bad}: {code}");
        assert_eq!(path, "hostnames[0]", "{bad}");
    }
    let claims = loaded("HTTPRoute", &host("\"*.example.com\", example.com")).claims;
    let domains: Vec<_> = claims
        .into_iter()
        .map(|claim| match claim {
            Claim::Domain(domain, _) => domain,
            Claim::Service(..) => panic!("a hostname claims no service by itself"),
        })
        .collect();
    assert_eq!(domains, [Domain::Suffix(".example.com".into()), Domain::Exact("example.com".into())]);
}

#[test]
fn parents_are_gateways_or_services_and_differ() {
    let parents = |text: &str| format!("{{parentRefs: [{text}], rules: [{{{BACKEND}}}]}}");
    for (bad, code, path) in [
        ("{name: a}, {name: a}", "parent", "parentRefs[1]"),
        ("{name: a}, {name: a, sectionName: s}", "parent", "parentRefs[1]"),
        ("{name: a, sectionName: s}, {name: a, sectionName: s}", "parent", "parentRefs[1]"),
        ("{name: a, port: 80}, {name: a, sectionName: s}", "parent", "parentRefs[1]"),
        ("{kind: Service, name: a}", "not-supported", "parentRefs[0]"),
        ("{kind: Mesh, name: a}", "not-supported", "parentRefs[0]"),
        ("{group: \"\", kind: Service, name: a, port: 80}", "not-supported", "parentRefs[0].port"),
        (
            "{group: \"\", kind: Service, name: a, sectionName: b}",
            "not-supported",
            "parentRefs[0].sectionName",
        ),
        ("{group: \"\", kind: Service, name: a}, {name: g}", "not-supported", "parentRefs"),
        ("{namespace: n}", "missing", "parentRefs[0]"),
        ("{name: a, port: 0}", "out-of-range", "parentRefs[0].port"),
    ] {
        assert_eq!(fault("HTTPRoute", &parents(bad)), (code, path.to_owned()), "{bad}");
    }
    loaded("HTTPRoute", &parents("{name: a, sectionName: s}, {name: a, sectionName: t}"));
    loaded("HTTPRoute", &parents("{name: a}, {namespace: other, name: a}"));
}

#[test]
fn a_path_is_absolute_and_normal_in_its_segments() {
    for bad in [
        "v1",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/a/.",
        "/a%2fb",
        "/a%2Fb",
        "\"/a#b\"",
        "/a?b",
        "\"/a b\"",
        "/a%zz",
        "\"/a{b}\"",
        "/a|b",
        "/é",
        "\"\"",
    ] {
        for kind in ["Exact", "PathPrefix"] {
            let keys = format!("matches: [{{path: {{type: {kind}, value: {bad}}}}}], {BACKEND}");
            assert_eq!(rule_fault(&keys), ("path", "matches[0].path.value".into()), "{keys}");
        }
    }
    each(&[
        (
            &format!("matches: [{{path: {{value: /{}}}}}]", "a".repeat(1_024)),
            "length",
            "matches[0].path.value",
        ),
        ("matches: [{path: {type: Glob, value: /a}}]", "unknown-word", "matches[0].path.type"),
        ("matches: [{path: {type: RegularExpression, value: \"(\"}}]", "regex", "matches[0].path.value"),
    ]);
}

#[test]
fn conditions_on_headers_parameters_and_methods_are_well_formed() {
    let long = format!("matches: [{{headers: [{{name: a, value: {}}}]}}]", "v".repeat(4_097));
    let long_query = format!("matches: [{{queryParams: [{{name: a, value: {}}}]}}]", "v".repeat(1_025));
    let header = "matches[0].headers[0]";
    each(&[
        (&long, "length", &format!("{header}.value")),
        (&long_query, "length", "matches[0].queryParams[0].value"),
        ("matches: [{headers: [{name: a, value: \"\"}]}]", "length", &format!("{header}.value")),
        ("matches: [{headers: [{name: \":method\", value: a}]}]", "header-name", &format!("{header}.name")),
        ("matches: [{headers: [{name: \"a b\", value: a}]}]", "header-name", &format!("{header}.name")),
        ("matches: [{headers: [{name: a}]}]", "missing", header),
        ("matches: [{headers: [{value: a}]}]", "missing", header),
        (
            "matches: [{headers: [{type: Prefix, name: a, value: a}]}]",
            "unknown-word",
            &format!("{header}.type"),
        ),
        (
            "matches: [{headers: [{name: a, value: a}, {name: a, value: b}]}]",
            "repeated",
            "matches[0].headers[1].name",
        ),
        (
            "matches: [{queryParams: [{name: a, value: a}, {name: a, value: b}]}]",
            "repeated",
            "matches[0].queryParams[1].name",
        ),
        (
            "matches: [{headers: [{type: RegularExpression, name: a, value: \"(\"}]}]",
            "regex",
            &format!("{header}.value"),
        ),
        ("matches: [{method: get}]", "unknown-word", "matches[0].method"),
        ("matches: [{host: a}]", "unknown-key", "matches[0].host"),
    ]);
}

#[test]
fn weights_are_0_to_1_000_000_and_backends_are_services_with_a_port() {
    each(&[
        ("backendRefs: [{name: m, port: 80, weight: -1}]", "weight", "backendRefs[0].weight"),
        ("backendRefs: [{name: m, port: 80, weight: 1000001}]", "weight", "backendRefs[0].weight"),
        ("backendRefs: [{name: m}]", "missing", "backendRefs[0]"),
        ("backendRefs: [{port: 80}]", "missing", "backendRefs[0]"),
        ("backendRefs: [{name: m, port: 0}]", "out-of-range", "backendRefs[0].port"),
        ("backendRefs: [{name: a.b, port: 80}]", "name", "backendRefs[0].name"),
        (
            "backendRefs: [{kind: ServiceImport, group: multicluster.x-k8s.io, name: m, port: 80}]",
            "not-supported",
            "backendRefs[0]",
        ),
    ]);
}

#[test]
fn times_are_durations_of_gep_2257_and_an_attempt_is_no_longer_than_the_whole() {
    each(&[
        ("timeouts: {request: 1.5s}", "duration", "timeouts.request"),
        ("timeouts: {request: 100000s}", "duration", "timeouts.request"),
        ("timeouts: {request: 1s, backendRequest: 2s}", "timeouts", "timeouts.backendRequest"),
        ("retry: {codes: [200]}", "status", "retry.codes[0]"),
        ("retry: {codes: [600]}", "status", "retry.codes[0]"),
        ("retry: {codes: [503, 503]}", "repeated", "retry.codes[1]"),
        ("retry: {attempts: -1}", "retry", "retry.attempts"),
        ("retry: {backoff: 0s}", "retry", "retry.backoff"),
    ]);
    rule("timeouts: {request: 0s, backendRequest: 2s}");
}

#[test]
fn a_grpc_match_names_a_service_or_a_method_in_grpcs_letters() {
    let called = |keys: &str| format!("{{rules: [{{matches: [{{method: {{{keys}}}}}], {BACKEND}}}]}}");
    for (keys, code, path) in [
        ("type: Exact", "match", ""),
        ("service: \"\", method: \"\"", "match", ""),
        ("service: a/b", "match", ".service"),
        ("service: a..b", "match", ".service"),
        ("service: 1a", "match", ".service"),
        ("method: a.b", "match", ".method"),
        ("method: a-b", "match", ".method"),
        ("type: RegularExpression, service: \"(\"", "regex", ".service"),
        ("type: RegularExpression, service: \"a)|(b\"", "regex", ".service"),
        ("type: Prefix, service: a", "unknown-word", ".type"),
    ] {
        let wanted = (code, format!("rules[0].matches[0].method{path}"));
        assert_eq!(fault("GRPCRoute", &called(keys)), wanted, "{keys}");
    }
    let grpc = |keys: &str| format!("{{rules: [{{{keys}}}]}}");
    for (keys, code, path) in [
        ("timeouts: {request: 1s}", "unknown-key", "timeouts"),
        ("filters: [{type: URLRewrite}]", "unknown-word", "filters[0].type"),
        ("filters: [{type: ExtensionRef, extensionRef: {}}]", "not-supported", "filters[0].extensionRef"),
        ("sessionPersistence: {}", "not-supported", "sessionPersistence"),
        ("matches: [{path: {value: /}}]", "unknown-key", "matches[0].path"),
    ] {
        assert_eq!(fault("GRPCRoute", &grpc(keys)), (code, format!("rules[0].{path}")), "{keys}");
    }
}
