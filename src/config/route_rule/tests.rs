//! The validator's laws, one test each; checks are numbered in the order of Istio 0.7.1's `validation.go`.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::objects::{self, Objects};
use crate::config::yaml;
use crate::snapshot::RedirectPort;
use crate::snapshot::policy::AbortStatus;
use crate::snapshot::{Fraction, HeaderName, PathMatch, PathRewrite, RoutePolicy, StringMatch};

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
fn check_10_a_rewrite_says_something() {
    assert_eq!(with("rewrite: {}"), ["rewrite spec.rewrite"]);
    assert_eq!(with("rewrite: {uri: \"\", authority: \"\"}"), ["rewrite spec.rewrite"]);
    assert_eq!(with("rewrite: {uri: v1}"), ["rewrite spec.rewrite.uri"]);
    assert_eq!(with("rewrite: {uri: /v1?a=b}"), ["rewrite spec.rewrite.uri"]);
    assert_eq!(with("rewrite: {authority: \"a b\"}"), ["rewrite spec.rewrite.authority"]);
    let rewrite = policy("rewrite: {uri: /v1/, authority: models.example.com}").rewrite.expect("a rewrite");
    assert_eq!(rewrite.path, Some(PathRewrite::Prefix("/v1/".into())));
    assert_eq!(rewrite.host.as_deref(), Some("models.example.com"));
}

#[test]
fn check_11_a_redirect_stands_alone_and_says_something() {
    assert_eq!(with("redirect: {}"), ["redirect spec.redirect"]);
    let beside = |other: &str| with(&format!("redirect: {{uri: /v2}}\n  {other}"));
    assert_eq!(beside("route: [{labels: {version: v1}}]"), ["redirect spec.route"]);
    assert_eq!(beside("httpFault: {}"), ["redirect spec.httpFault"]);
    assert_eq!(beside("rewrite: {uri: /v1}"), ["redirect spec.rewrite"]);
    assert_eq!(beside("websocketUpgrade: true"), ["redirect spec.websocketUpgrade"]);
    assert_eq!(beside("websocketUpgrade: false"), [""; 0]);
    let ActionDraft::Redirect(redirect) = accepted("redirect: {uri: /v2, authority: \"a.b:81\"}").action
    else {
        panic!("no redirect")
    };
    assert_eq!(
        (redirect.status, redirect.host.as_deref(), redirect.port),
        (301, Some("a.b"), RedirectPort::Number(81))
    );
    assert_eq!(redirect.path, Some(PathRewrite::Full("/v2".into())));
}

#[test]
fn check_14_a_mirror_is_a_service() {
    assert_eq!(with("mirror: {labels: {version: v2}}"), ["service-ref spec.mirror"]);
    assert_eq!(with("mirror: {name: A}"), ["service-name spec.mirror.name"]);
    let rule = accepted("mirror: {name: inception, labels: {version: v2}}");
    let mirror = &rule.policy.expect("a policy").mirrors[0];
    let labels = [("version".into(), "v2".into())].into();
    assert_eq!((&mirror.share.select, mirror.fraction), (&Select::Labels(labels), Fraction::ALWAYS));
}

#[test]
fn check_15_an_appended_header_has_a_name_in_lower_case_and_a_value() {
    assert_eq!(with("appendHeaders: {X-A: b}"), ["header-name spec.appendHeaders.X-A"]);
    assert_eq!(with("appendHeaders: {\"\": b}"), ["header-name spec.appendHeaders."]);
    assert_eq!(with("appendHeaders: {a: \"\"}"), ["empty spec.appendHeaders.a"]);
    assert_eq!(with("appendHeaders: {a: \"b\\nc\"}"), ["header-value spec.appendHeaders.a"]);
    assert_eq!(with("appendHeaders: {a: \"%PROTOCOL%\"}"), ["not-supported spec.appendHeaders.a"]);
    assert_eq!(with("appendHeaders: {host: b}"), ["header-name spec.appendHeaders.host"]);
    let add = policy("appendHeaders: {x-b: \"5 %%\", x-a: c}").request_headers.add;
    let add: Vec<_> = add.iter().map(|one| (one.name.0.as_str(), &*one.value)).collect();
    assert_eq!(add, [("x-a", "c"), ("x-b", "5 %")]);
}

#[test]
fn check_16_cors_has_whole_seconds_lower_case_and_real_methods() {
    let cors = |rest: &str| with(&format!("corsPolicy: {{{rest}}}"));
    for bad in ["0s", "500ms", "1500ms", "100us", "1.5s"] {
        assert_eq!(cors(&format!("maxAge: {bad}")), ["duration spec.corsPolicy.maxAge"], "{bad}");
    }
    assert_eq!(cors("allowHeaders: [X-A]"), ["header-name spec.corsPolicy.allowHeaders[0]"]);
    assert_eq!(cors("exposeHeaders: [a, X-A]"), ["header-name spec.corsPolicy.exposeHeaders[1]"]);
    for bad in ["get", "FETCH", "\"*\""] {
        assert_eq!(
            cors(&format!("allowMethods: [{bad}]")),
            ["cors spec.corsPolicy.allowMethods[0]"],
            "{bad}"
        );
    }
    let (_, found) = read("  destination: {name: inception}\n  corsPolicy: {}\n");
    assert_eq!((found[0].code, &*found[0].path), ("never-acts", "spec.corsPolicy"), "no origin is let in");
    let cors = policy(
        "corsPolicy: {allowOrigin: [\"*\", \"http://a.b\"], allowMethods: [GET, POST], allowHeaders: [x-a], \
         exposeHeaders: [x-b, x-c], maxAge: 24h, allowCredentials: true}",
    );
    let cors = cors.cors.expect("a policy");
    assert_eq!(cors.origins, [StringMatch::Present, StringMatch::Exact("http://a.b".into())]);
    assert_eq!((cors.methods.as_deref(), cors.headers.as_deref()), (Some("GET,POST"), Some("x-a")));
    assert_eq!((cors.expose.as_deref(), cors.credentials), (Some("x-b,x-c"), true));
    assert_eq!(cors.max_age.map(|age| age.as_secs()), Some(86_400));
}

#[test]
fn check_17_a_timeout_is_there_and_has_whole_milliseconds() {
    let timeout = |rest: &str| with(&format!("httpReqTimeout: {{simpleTimeout: {{{rest}}}}}"));
    let path = "spec.httpReqTimeout.simpleTimeout";
    assert_eq!(timeout(""), [format!("missing {path}")]);
    for bad in ["0s", "100us", "1500us"] {
        assert_eq!(timeout(&format!("timeout: {bad}")), [format!("duration {path}.timeout")], "{bad}");
    }
    assert_eq!(
        timeout("timeout: 5s, overrideHeaderName: x-timeout"),
        [format!("not-supported {path}.overrideHeaderName")]
    );
    let rule = accepted(
        "http_req_timeout: {simple_timeout: {timeout: 3m, override_header_name: x-envoy-upstream-rq-timeout-ms}}",
    );
    assert_eq!(rule.timeout.map(|timeout| timeout.as_secs()), Some(180));
    assert_eq!(accepted("precedence: 1").timeout, None, "without one there is no limit of the rule's");
}

#[test]
fn check_18_a_retry_needs_a_time_for_each_try_and_no_negative_count() {
    let retry = |rest: &str| with(&format!("httpReqRetries: {{simpleRetry: {{{rest}}}}}"));
    let path = "spec.httpReqRetries.simpleRetry";
    assert_eq!(retry("attempts: 3"), [format!("missing {path}")]);
    assert_eq!(retry("attempts: -1, perTryTimeout: 1s"), [format!("retries {path}.attempts")]);
    assert_eq!(retry("attempts: 1, perTryTimeout: 0s"), [format!("duration {path}.perTryTimeout")]);
    assert_eq!(
        retry("perTryTimeout: 1s, overrideHeaderName: x"),
        [format!("not-supported {path}.overrideHeaderName")]
    );
    let retry =
        policy("httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 2s}}").retry.expect("retries");
    assert_eq!((retry.retries, retry.per_try_timeout.map(|time| time.as_secs())), (3, Some(2)));
    let on: Vec<_> = retry.on.iter().map(|one| one.as_str()).collect();
    assert_eq!(on, ["5xx", "connect-failure", "refused-stream"]);
    let none = accepted("httpReqRetries: {simpleRetry: {attempts: 0, perTryTimeout: 2s}}");
    assert!(none.policy.is_none(), "no attempts are no policy");
}

#[test]
fn check_19_a_delay_is_fixed_and_its_share_a_percentage() {
    let delay = |rest: &str| with(&format!("httpFault: {{delay: {{{rest}}}}}"));
    let path = "spec.httpFault.delay";
    assert_eq!(delay("percent: 10"), [format!("missing {path}")]);
    for bad in ["-1", "100.5", ".nan", "1e999"] {
        assert_eq!(
            delay(&format!("percent: {bad}, fixedDelay: 1s")),
            [format!("percent {path}.percent")],
            "{bad}"
        );
    }
    assert_eq!(delay("percent: 10, fixedDelay: 100us"), [format!("duration {path}.fixedDelay")]);
    assert_eq!(
        delay("percent: 10, exponentialDelay: 1s"),
        [format!("not-supported {path}.exponentialDelay")]
    );
    let fault = policy("httpFault: {delay: {percent: 0.5, fixedDelay: 5s}}").fault.expect("a fault");
    let delay = fault.delay.expect("a delay");
    assert_eq!((delay.fixed.as_secs(), delay.fraction.numerator), (5, 5_000), "of a million");
}

#[test]
fn check_20_an_abort_has_a_status_up_to_600_and_no_grpc_status() {
    let abort = |rest: &str| with(&format!("httpFault: {{abort: {{{rest}}}}}"));
    let path = "spec.httpFault.abort";
    for bad in ["-1", "601", "101"] {
        assert_eq!(abort(&format!("percent: 1, httpStatus: {bad}")), [format!("status {path}.httpStatus")]);
    }
    assert_eq!(abort("percent: 101, httpStatus: 500"), [format!("percent {path}.percent")]);
    assert_eq!(abort("percent: 1, grpcStatus: UNAVAILABLE"), [format!("not-supported {path}.grpcStatus")]);
    assert_eq!(with("httpFault: {}"), [""; 0], "an empty fault passes");
    let fault = policy("httpFault: {abort: {percent: 100, httpStatus: 503}}").fault.expect("a fault");
    assert_eq!(fault.abort.map(|abort| abort.status), Some(AbortStatus::Http(503)));
}

#[test]
fn check_21_a_fault_of_the_transport_is_refused_even_empty() {
    assert_eq!(with("l4Fault: {}"), ["not-supported spec.l4Fault"]);
    assert_eq!(with("l4_fault: {throttle: {percent: 5}}"), ["not-supported spec.l4_fault"]);
}

#[test]
fn policies_of_ones_own_are_refused_by_name() {
    assert_eq!(with("httpReqTimeout: {custom: {}}"), ["not-supported spec.httpReqTimeout.custom"]);
    assert_eq!(with("httpReqRetries: {custom: {}}"), ["not-supported spec.httpReqRetries.custom"]);
}

#[test]
fn a_fault_that_never_acts_is_legal_as_in_istio_but_told_of() {
    for never in [
        "delay: {fixedDelay: 1s}",
        "delay: {percent: 0, fixedDelay: 1s}",
        "abort: {httpStatus: 500}",
        "abort: {percent: 50}",
        "abort: {percent: 50, http2Error: NO_ERROR}",
    ] {
        let (rules, found) = read(&format!("  destination: {{name: a}}\n  httpFault: {{{never}}}\n"));
        assert!(rules[0].rules[0].policy.is_none(), "{never}");
        assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), ["never-acts"], "{never}");
    }
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
fn a_plain_split_has_no_policy() {
    let rule = accepted("route: [{labels: {version: v1}, weight: 95}, {labels: {version: v2}, weight: 5}]");
    assert!(rule.policy.is_none() && rule.more.is_none() && rule.upgrades.is_empty());
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
