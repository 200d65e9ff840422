//! What a rule says beside its match and its shares: redirects, rewrites, edits, retries, faults, CORS, copies.

use super::*;
use crate::snapshot::policy::AbortStatus;
use crate::snapshot::{Fraction, PathRewrite, RedirectPort, StringMatch};

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
fn a_plain_split_has_no_policy() {
    let rule = accepted("route: [{labels: {version: v1}, weight: 95}, {labels: {version: v2}, weight: 5}]");
    assert!(rule.policy.is_none() && rule.more.is_none() && rule.upgrades.is_empty());
}
