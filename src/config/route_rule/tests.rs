//! The validator's laws, one test each; checks are numbered in the order of Istio 0.7.1's `validation.go`.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::objects::{self, Objects};
use crate::config::yaml;
use crate::snapshot::{HeaderName, PathMatch, RoutePolicy};

mod policies;

fn read(spec: &str) -> (Vec<RouteDraft>, Vec<Diagnostic>) {
    read_text(&format!("apiVersion: {API_VERSION}\nkind: RouteRule\nmetadata: {{name: r}}\nspec:\n{spec}"))
}

fn read_text(text: &str) -> (Vec<RouteDraft>, Vec<Diagnostic>) {
    let scope = Scope::new("rule.yaml");
    let patterns = Patterns::default();
    let documents = yaml::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}\n{text}", error.reason));
    let mut all = Objects::default();
    for document in &documents {
        objects::decode(document, &scope, &patterns, &mut all);
    }
    (all.routes, scope.into_found())
}

/// The `code path` of each fault of a spec.
fn faults(spec: &str) -> Vec<String> {
    let (rules, found) = read(spec);
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(rules.is_empty(), !errors.is_empty(), "a rule at fault is left out: {found:?}");
    errors.iter().map(|one| format!("{} {}", one.code, one.path)).collect()
}

/// The faults of a spec with a good destination and `rest`.
fn with(rest: &str) -> Vec<String> {
    faults(&format!("  destination: {{name: inception}}\n  {rest}\n"))
}

fn accepted(spec: &str) -> RuleDraft {
    let (mut rules, found) = read(&format!("  destination: {{name: inception}}\n  {spec}\n"));
    assert!(found.is_empty(), "{found:?}");
    rules.pop().and_then(|mut one| one.rules.pop()).expect("a rule")
}

fn policy(spec: &str) -> RoutePolicy {
    accepted(spec).policy.expect("a policy").policy.clone()
}

fn shares(rule: &RuleDraft) -> &[ShareDraft] {
    match &rule.action {
        ActionDraft::Shares(shares) => shares,
        other => panic!("{other:?}"),
    }
}

#[test]
fn check_1_a_rule_needs_a_destination() {
    assert_eq!(faults("  precedence: 1\n"), ["destination-missing spec"]);
}

#[test]
fn check_2_a_service_is_named_in_one_way() {
    assert_eq!(faults("  destination: {namespace: web}\n"), ["service-ref spec.destination"]);
    assert_eq!(faults("  destination: {name: a, service: b.c}\n"), ["service-ref spec.destination.service"]);
}

#[test]
fn check_3_a_whole_host_stands_alone_and_is_a_host() {
    assert_eq!(
        faults("  destination: {service: a.b, namespace: c, domain: d}\n"),
        ["service-host spec.destination.namespace", "service-host spec.destination.domain"]
    );
    assert_eq!(faults("  destination: {service: a_b}\n"), ["service-host spec.destination.service"]);
    assert_eq!(faults("  destination: {service: 10.0.0.0/40}\n"), ["service-host spec.destination.service"]);
    for good in ["a.b", "10.0.0.1", "10.0.0.0/8", "\"*\"", "\"*.a.b\"", "\"*-a.b\""] {
        assert_eq!(faults(&format!("  destination: {{service: {good}}}\n")), [""; 0], "{good}");
    }
}

#[test]
fn check_4_names_are_dns_labels_and_domains_dns_names() {
    assert_eq!(
        faults("  destination: {name: A, namespace: b_c, domain: d..e}\n"),
        [
            "service-name spec.destination.name",
            "service-name spec.destination.namespace",
            "service-name spec.destination.domain"
        ]
    );
    let long = "a".repeat(64);
    assert_eq!(faults(&format!("  destination: {{name: {long}}}\n")), ["service-name spec.destination.name"]);
}

#[test]
fn check_5_labels_have_istios_letters() {
    assert_eq!(
        with("route: [{labels: {version: \"v 1\", \"a:b\": c}}]"),
        ["label spec.route[0].labels.version", "label spec.route[0].labels.a:b"]
    );
    assert_eq!(with("route: [{labels: {version: \"\", \"\": v1}}]"), [""; 0]);
}

#[test]
fn check_6_a_destination_has_no_labels() {
    assert_eq!(
        faults("  destination: {name: a, labels: {version: v1}}\n"),
        ["destination-labels spec.destination"]
    );
    assert_eq!(faults("  destination: {name: a, labels: {}}\n"), [""; 0]);
}

#[test]
fn check_7_a_source_is_a_service_not_labels_alone() {
    assert_eq!(with("match: {source: {labels: {version: v1}}}"), ["service-ref spec.match.source"]);
    let rule = accepted("match: {source: {name: web, labels: {version: v1}}}");
    assert_eq!(rule.source.expect("a source").labels.get("version").map(|value| &**value), Some("v1"));
}

#[test]
fn check_9_headers_are_lower_case_and_have_one_condition() {
    let headers = |headers: &str| with(&format!("match: {{request: {{headers: {headers}}}}}"));
    assert_eq!(headers("{X-User: {exact: a}}"), ["header-name spec.match.request.headers.X-User"]);
    assert_eq!(headers("{\"\": {exact: a}}"), ["header-name spec.match.request.headers."]);
    assert_eq!(headers("{\"a b\": {exact: a}}"), ["header-name spec.match.request.headers.a b"]);
    assert_eq!(headers("{a: {}}"), ["header-value spec.match.request.headers.a"]);
    assert_eq!(headers("{a: {exact: b, prefix: c}}"), ["header-value spec.match.request.headers.a"]);
    assert_eq!(headers("{a: {regex: \"(\"}}"), ["regex spec.match.request.headers.a.regex"]);
    assert_eq!(headers("{uri: {prefix: \"\"}}"), ["uri-empty spec.match.request.headers.uri"]);
    assert_eq!(headers("{a: {exact: \"\"}}"), [""; 0]);
}

#[test]
fn check_12_a_weight_is_0_to_100_and_a_number() {
    assert_eq!(with("route: [{weight: 101}]"), ["weight spec.route[0].weight"]);
    assert_eq!(with("route: [{weight: -1}]"), ["weight spec.route[0].weight"]);
    for bad in [".nan", "1e999", "50.5", "\"50\"", "true", "[]"] {
        assert_eq!(with(&format!("route: [{{weight: {bad}}}]")), ["type spec.route[0].weight"], "{bad}");
    }
    assert_eq!(with("route: [{weight: 99999999999999999999}]"), ["weight spec.route[0].weight"]);
}

#[test]
fn a_share_whose_destination_names_no_service_is_one_of_the_rules_own() {
    for rest in ["destination: {}", "destination: {labels: {version: v1}}, labels: {version: v1}"] {
        let rule = accepted(&format!("route: [{{{rest}}}]"));
        assert_eq!(shares(&rule)[0].destination, None, "{rest}");
    }
    let rule = accepted("route: [{destination: {labels: {version: v1}}}]");
    assert!(matches!(&shares(&rule)[0].select, Select::Labels(labels) if !labels.is_empty()));
    assert_eq!(
        with("route: [{destination: {namespace: web}}]"),
        ["service-ref spec.route[0].destination"],
        "half a name is none"
    );
}

#[test]
fn check_13_weights_sum_to_100_but_a_lone_entry_needs_none() {
    assert_eq!(with("route: [{weight: 50}]"), ["weight-sum spec.route"]);
    assert_eq!(with("route: [{labels: {a: b}}, {labels: {a: c}}]"), ["weight-sum spec.route"]);
    assert_eq!(with("route: [{weight: 60}, {weight: 60}]"), ["weight-sum spec.route"]);
    assert_eq!(with("route: []"), ["weight-sum spec.route"]);
    assert_eq!(with("route: [{weight: 100}, {weight: 0}]"), [""; 0]);
    let lone = accepted("route: [{labels: {version: v1}}]");
    assert_eq!(shares(&lone)[0].weight, 100);
    assert_eq!(accepted("precedence: -5").action, ActionDraft::Whole);
}

#[test]
fn check_8_transport_matches_are_refused_by_name() {
    assert_eq!(with("match: {tcp: {sourceSubnet: [10.0.0.0/40]}}"), ["not-supported spec.match.tcp"]);
    assert_eq!(with("match: {udp: {}}"), ["not-supported spec.match.udp"]);
}

#[test]
fn websockets_are_let_through_where_asked() {
    assert_eq!(accepted("websocketUpgrade: true").upgrades, ["websocket".into()]);
    assert_eq!(accepted("websocketUpgrade: false").upgrades, Vec::<std::sync::Arc<str>>::new());
}

#[test]
fn a_share_may_be_of_another_service_and_have_its_labels() {
    let rule = accepted("route: [{destination: {name: other, labels: {version: v1}}, weight: 100}]");
    let share = &shares(&rule)[0];
    assert!(share.destination.is_some());
    assert_eq!(share.select, Select::Labels([("version".into(), "v1".into())].into()));
    assert_eq!(
        with("route: [{destination: {name: a, labels: {b: c}}, labels: {b: d}}]"),
        ["label spec.route[0]"]
    );
}

#[test]
fn annotations_hold_for_the_rule() {
    let (rules, found) = read_text(&format!(
        "apiVersion: {API_VERSION}\nkind: RouteRule\nmetadata: {{name: r, namespace: n, annotations: \
         {{weir/sticky: \"header:x-user\", weir/version-header: x-model, weir/repeatable: \"true\"}}}}\n\
         spec: {{destination: {{name: a}}}}\n"
    ));
    assert!(found.is_empty(), "{found:?}");
    let rule = &rules[0].rules[0];
    let policy = &rule.policy.as_ref().expect("a policy").policy;
    assert_eq!(policy.sticky.as_ref().map(|sticky| &*sticky.salt), Some("r.n"), "the rule's name by default");
    assert_eq!(policy.version_header.as_ref().map(|name| name.0.as_str()), Some("x-model"));
    assert_eq!(rule.repeatable, Some(true));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let (_, found) = read("  destination: {name: a}\n  precedance: 1\n  route: [{label: {a: b}}]\n");
    let help: Vec<_> = found.iter().filter_map(|one| one.help.as_deref()).collect();
    assert_eq!(help, ["did you mean `precedence`?", "did you mean `labels`?"]);
    assert_eq!((found[0].origin.line, found[0].origin.column), (6, 3));
}

#[test]
fn a_bare_string_as_condition_is_refused_with_its_long_form() {
    let (_, found) = read("  destination: {name: a}\n  match: {request: {headers: {uri: /v1}}}\n");
    assert_eq!(found[0].help.as_deref(), Some("write `{exact: \"/v1\"}`"));
}

#[test]
fn headers_are_sorted_and_the_request_line_is_told_apart() {
    let rule = accepted(
        "match: {request: {headers: {x-b: {exact: v}, x-a: {prefix: v}, method: {exact: POST}, uri: {regex: /v1/.*}}}}",
    );
    let names: Vec<_> = rule.headers.iter().map(|header| &header.name).collect();
    assert!(matches!(names[..], [HeaderName::Method, HeaderName::Header(a), HeaderName::Header(b)] if a < b));
    assert!(matches!(rule.path, Some(PathMatch::Regex(pattern)) if pattern.is_match(b"/v1/x")));
}

#[test]
fn what_can_never_match_is_a_warning() {
    let (rules, found) = read(
        "  destination: {name: a}\n  match: {request: {headers: {uri: {exact: v1}, host: {exact: a}}}}\n",
    );
    assert_eq!(rules.len(), 1);
    assert!(found.iter().all(|one| one.code == "never-matches" && one.severity == Severity::Warning));
    assert_eq!(found.len(), 2);
}

#[test]
fn an_empty_route_is_legal_as_in_istio_but_told_of() {
    let (rules, found) = read("  destination: {name: a}\n  route:\n");
    assert_eq!(rules[0].rules[0].action, ActionDraft::Whole);
    assert_eq!((found[0].severity, found[0].path.as_str()), (Severity::Warning, "spec.route"));
}

#[test]
fn a_list_holds_rules_and_other_kinds_are_refused_by_name() {
    let (rules, found) = read_text(
        "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n\
         - apiVersion: config.istio.io/v1alpha2\n  kind: RouteRule\n  metadata: {name: r, namespace: n, uid: x}\n  \
         spec: {destination: {name: a}}\n\
         - apiVersion: networking.istio.io/v1\n  kind: Sidecar\n\
         - apiVersion: example.com/v1\n  kind: Sidecar\n",
    );
    assert_eq!(rules.len(), 1);
    assert_eq!(
        found[0].reason,
        "`Sidecar` of `networking.istio.io/v1` is not supported: what a proxy sees stands in weir.yaml"
    );
    assert_eq!((found[0].path.as_str(), found[0].origin.line), ("items[1].kind", 10));
    assert_eq!(found[0].code, "not-supported", "it is known, and refused");
    assert_eq!(
        (found[1].code, &*found[1].reason),
        ("unknown-kind", "`Sidecar` of `example.com/v1` is not supported")
    );
    assert_eq!(read_text("kind: RouteRule\n").1[0].code, "unknown-kind");
    assert_eq!(read_text("- a\n").1[0].code, "type");
}

#[test]
fn every_fault_of_a_rule_is_told_at_once() {
    let found = with(
        "precedence: x\n  match: {source: {}, request: {headers: {A: {}}}}\n  route: [{weight: 200}, {wieght: 1}]",
    );
    assert_eq!(found.len(), 6, "{found:?}");
}
