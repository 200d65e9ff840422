//! What a RouteRule does with requests beside splitting them, field by field, by both HTTPs and to gRPC where that is
//! something else. What each effect does in full is told by the `policy_*` tests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::time::{Duration, Instant};

use common::dialects::{Served, all, redirects, route_rule, with};
use common::world::client::{get, grpc_call, preflight};
use common::world::upstream::Upstream;
use common::world::{Http, run};

/// A rule that says `effect`, and sends all to `v1`.
fn saying(effect: &str) -> String {
    route_rule(&format!("{effect}, route: [{{labels: {{version: v1}}}}]"))
}

#[test]
fn a_redirect_changes_the_part_that_it_names_and_keeps_the_other() {
    run(async || {
        for (redirect, location) in [
            ("{uri: /v2}", "http://x.default:8080/v2?q=1"),
            ("{authority: \"y.example:81\"}", "http://y.example:81/v1/a?q=1"),
        ] {
            redirects(&route_rule(&format!("redirect: {redirect}")), "/v1/a?q=1", 301, location).await;
        }
    });
}

#[test]
fn a_rewrite_takes_the_place_of_what_the_uri_matched_of_a_path() {
    run(async || {
        for (uri, with, asked, target) in [
            ("{exact: /a}", "/b", "/a?q", "/b?q"),
            ("{prefix: /a}", "/b", "/ac/d?q", "/bc/d?q"),
            ("{regex: \"/v[0-9]/.*\"}", "/c", "/v1/x?q", "/c?q"),
            ("", "/base/", "/x?q", "/base/x?q"),
        ] {
            let condition = match uri {
                "" => String::new(),
                uri => format!("match: {{request: {{headers: {{uri: {uri}}}}}}}, "),
            };
            for (down, up) in Http::matrix() {
                let rules = saying(&format!("{condition}rewrite: {{uri: {with}}}"));
                let served = Served::under(up, &rules).await;
                assert_eq!(served.send(down, get(asked)).await.upstream(), "v1");
                let seen = served.v1.last();
                assert_eq!((seen.target(), seen.header("x-envoy-original-path")), (target, Some(asked)));
            }
        }
    });
}

#[test]
fn a_rewrite_of_the_authority_leaves_the_path_of_requests_and_calls() {
    run(async || {
        let rules = saying("rewrite: {authority: \"inner.example:8501\"}");
        for (down, up) in Http::matrix() {
            let served = Served::under(up, &rules).await;
            assert_eq!(served.send(down, get("/a?q")).await.upstream(), "v1");
            let seen = served.v1.last();
            assert_eq!((seen.target(), seen.host()), ("/a?q", "inner.example:8501"));
            assert_eq!(seen.header("x-envoy-original-path"), None);
        }
        let served = Served::under(Http::Two, &rules).await;
        assert_eq!(served.send(Http::Two, grpc_call("/s.S/M", b"1")).await.grpc_status(), Some("0"));
        assert_eq!(served.v1.last().host(), "inner.example:8501");
    });
}

#[test]
fn appended_headers_are_metadata_of_calls() {
    run(async || {
        let rules = saying("appendHeaders: {tenant: b}");
        let served = Served::under(Http::Two, &rules).await;
        let call = with(grpc_call("/s.S/M", b"1"), &[("tenant", "a")]);
        assert_eq!(served.send(Http::Two, call).await.grpc_status(), Some("0"));
        assert_eq!(all(&served.v1.last().head.headers, "tenant"), ["a", "b"]);
    });
}

#[test]
fn a_delay_makes_a_request_wait_before_it_goes_on() {
    run(async || {
        const DELAY: Duration = Duration::from_millis(150);
        let rules = saying("httpFault: {delay: {percent: 100, fixedDelay: 0.15s}}");
        for (down, up) in Http::matrix() {
            let served = Served::under(up, &rules).await;
            let start = Instant::now();
            assert_eq!(served.send(down, get("/")).await.upstream(), "v1");
            assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
            assert_eq!(served.engine.metric("envoy_http_fault_delays_injected"), 1.0);
        }
    });
}

/// Of 800 draws at an eighth, 60 off the mean of 100 is passed once in a thousand million runs.
#[test]
fn delays_and_aborts_are_for_their_percentage_of_the_requests() {
    run(async || {
        let rules = saying(
            "httpFault: {delay: {percent: 12.5, fixedDelay: 1ms}, abort: {percent: 12.5, httpStatus: 418}}",
        );
        for down in Http::BOTH {
            let served = Served::under(Http::One, &rules).await;
            let mut caller = served.caller(down).await;
            let mut aborted = 0;
            for _ in 0..800 {
                aborted += i32::from(caller.get("/").await.status == 418);
            }
            let delayed = served.engine.metric("envoy_http_fault_delays_injected");
            assert!((40..160).contains(&aborted) && (40.0..160.0).contains(&delayed), "{aborted} {delayed}");
        }
    });
}

#[test]
fn an_abort_without_a_status_of_http_is_none() {
    run(async || {
        for abort in ["{percent: 100, httpStatus: 0}", "{percent: 100, http2Error: NO_ERROR}"] {
            let rules = saying(&format!("httpFault: {{abort: {abort}}}"));
            let served = Served::under(Http::One, &rules).await;
            for down in Http::BOTH {
                assert_eq!(served.send(down, get("/")).await.upstream(), "v1", "{abort}");
            }
        }
    });
}

#[test]
fn a_star_lets_every_origin_read_what_is_exposed_and_credentials_are_for_those_that_say_so() {
    run(async || {
        for (credentials, told) in
            [("", None), (", allowCredentials: false", None), (", allowCredentials: true", Some("true"))]
        {
            let cors = format!(
                "corsPolicy: {{allowOrigin: [\"*\"], exposeHeaders: [x-model, x-other]{credentials}}}"
            );
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &saying(&cors)).await;
                let answer = served.send(down, with(get("/"), &[("origin", "https://any.example")])).await;
                assert_eq!(answer.upstream(), "v1");
                assert_eq!(answer.header("access-control-allow-origin"), Some("https://any.example"));
                assert_eq!(answer.header("access-control-expose-headers"), Some("x-model,x-other"));
                assert_eq!(answer.header("access-control-allow-credentials"), told);
            }
        }
    });
}

#[test]
fn an_origin_that_is_not_listed_is_left_to_the_upstream_with_its_preflights() {
    run(async || {
        let cors = "corsPolicy: {allowOrigin: [\"http://a.example\"], allowMethods: [GET]}";
        for (down, up) in Http::matrix() {
            let served = Served::under(up, &saying(cors)).await;
            let origin = "http://b.example";
            for asked in [with(get("/"), &[("origin", origin)]), preflight(origin, "GET")] {
                let answer = served.send(down, asked).await;
                assert_eq!((answer.upstream(), answer.header("access-control-allow-origin")), ("v1", None));
            }
        }
    });
}

#[test]
fn an_attempt_that_outlasts_its_time_is_made_again() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::holding_the_first().await;
            let retries = "httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 100ms}}";
            let served = Served::with(up, v1, &saying(retries)).await;
            assert_eq!(served.send(down, get("/")).await.text(), "second", "{down:?} {up:?}");
            assert_eq!(served.v1.begun(), 2);
        }
    });
}

#[test]
fn an_internal_caller_overrides_the_timeout_and_the_retries_by_the_fields_that_the_rule_names() {
    run(async || {
        let timeout = "httpReqTimeout: {simpleTimeout: {timeout: 1h, overrideHeaderName: x-envoy-upstream-rq-timeout-ms}}";
        let retries = "httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 1h, overrideHeaderName: x-envoy-max-retries}}";
        for (down, up) in Http::matrix() {
            let held = Upstream::holding().await;
            let served = Served::with(up, held, &saying(timeout)).await;
            let short = with(get("/"), &[("x-envoy-upstream-rq-timeout-ms", "50")]);
            assert_eq!(served.internal(down).await.send(short).await.status, 504);

            let failing = Upstream::failing(503).await;
            let served = Served::with(up, failing, &saying(retries)).await;
            let often = || with(get("/"), &[("x-envoy-max-retries", "2")]);
            assert_eq!(served.internal(down).await.send(often()).await.status, 503);
            assert_eq!(served.v1.begun(), 3, "the first, and two more");
            assert_eq!(served.send(down, often()).await.status, 503);
            assert_eq!(served.v1.begun(), 5, "of others the field does not count");
        }
    });
}
