//! What a rule says beside its shares: redirects, answers, rewrites, edits, retries, faults, CORS, copies.

use super::*;

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
    assert_eq!(faults("attempts: 1, retryRemoteLocalities: false"), [""; 0]);
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
    assert_eq!(cors("allowOrigins: [{exact: a}]").unmatched_preflights, UnmatchedPreflights::Forward);
    assert_eq!(warnings(&format!("{ROUTE}, corsPolicy: {{}}")), ["never-acts"], "no origin is let in");
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
