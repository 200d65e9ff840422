//! What a rule of a VirtualService does with requests beside splitting them, field by field, by both HTTPs and to gRPC
//! where that is something else. What each effect does in full is told by the `policy_*` tests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::dialects::{
    EDITED, Served, all, copies_of_800, destination_rule, redirects, telling, to, virtual_service, with,
};
use common::engine::Engine;
use common::world::client::{Answer, Client, get, grpc_call, preflight};
use common::world::upstream::{BoxBody, Upstream};
use common::world::{Http, free_port, one_service, run, until};
use http::Request;

/// One rule that says `effect`, and sends all to `v1`.
fn saying(effect: &str) -> String {
    virtual_service(&format!("{{{effect}, {}}}", to("v1")))
}

fn status(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_redirect_changes_the_parts_that_it_names_and_has_the_status_that_it_says() {
    run(async || {
        for (redirect, code, location) in [
            ("uri: /v2", 301, "http://x.default:8080/v2?q=1"),
            ("authority: y.example", 301, "http://y.example/v1/a?q=1"),
            ("port: 8443", 301, "http://x.default:8443/v1/a?q=1"),
            ("scheme: https, port: 8443", 301, "https://x.default:8443/v1/a?q=1"),
            ("scheme: https", 302, "https://x.default/v1/a?q=1"),
            ("authority: y.example, derivePort: FROM_PROTOCOL_DEFAULT", 303, "http://y.example/v1/a?q=1"),
            ("derivePort: FROM_PROTOCOL_DEFAULT", 307, "http://x.default:8080/v1/a?q=1"),
            ("uri: /", 308, "http://x.default:8080/?q=1"),
        ] {
            let said = if code == 301 { String::new() } else { format!(", redirectCode: {code}") };
            let rules = virtual_service(&format!("{{redirect: {{{redirect}{said}}}}}"));
            redirects(&rules, "/v1/a?q=1", code, location).await;
        }
    });
}

#[test]
fn a_direct_response_has_the_status_and_the_body_that_it_says() {
    run(async || {
        for (said, code, text) in [
            ("status: 418, body: {string: \"a b\"}", 418, "a b"),
            ("status: 200, body: {bytes: aGk=}", 200, "hi"),
            ("status: 503", 503, ""),
        ] {
            let rules = virtual_service(&format!("{{directResponse: {{{said}}}}}"));
            let served = Served::under(Http::One, &rules).await;
            for down in Http::BOTH {
                let answer = served.send(down, get("/")).await;
                assert_eq!((status(&answer), answer.text()), (code, text), "{said}");
            }
        }
        let gone = virtual_service("{directResponse: {status: 503, body: {string: gone}}}");
        let answer = Served::under(Http::Two, &gone).await.send(Http::Two, grpc_call("/s.S/M", b"1")).await;
        assert_eq!((answer.grpc_status(), answer.header("grpc-message")), (Some("14"), Some("gone")));
    });
}

#[test]
fn a_rewrite_takes_the_place_of_what_was_matched_of_path_and_host() {
    run(async || {
        for (matched, rewrite, asked, target, host) in [
            ("{uri: {prefix: /a}}", "uri: /b", "/ac?q", "/bc?q", "x.default.svc.cluster.local"),
            ("{uri: {exact: /a}}", "uri: /b/c", "/a?q", "/b/c?q", "x.default.svc.cluster.local"),
            ("{uri: {regex: \"/v[0-9]\"}}", "uri: /b", "/v1?q", "/b?q", "x.default.svc.cluster.local"),
            (
                "{uri: {prefix: /A}, ignoreUriCase: true}",
                "uri: /b",
                "/a/c",
                "/b/c",
                "x.default.svc.cluster.local",
            ),
            ("{method: {exact: GET}}", "uri: /b/", "/a", "/b/a", "x.default.svc.cluster.local"),
            ("{uri: {prefix: /}}", "authority: \"y.example:81\"", "/a", "/a", "y.example:81"),
            (
                "{uri: {prefix: /}}",
                "uriRegexRewrite: {match: \"^/(a+)\", rewrite: '/x\\1'}",
                "/aa/b",
                "/xaa/b",
                "x.default.svc.cluster.local",
            ),
        ] {
            let rules = saying(&format!("match: [{matched}], rewrite: {{{rewrite}}}"));
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &rules).await;
                assert_eq!(served.send(down, get(asked)).await.upstream(), "v1", "{rewrite}");
                let seen = served.v1.last();
                assert_eq!((seen.target(), seen.host()), (target, host), "{matched} {rewrite}");
            }
        }
        let served =
            Served::under(Http::Two, &saying("match: [{uri: {prefix: /old.S/}}], rewrite: {uri: /new.S/}"))
                .await;
        assert_eq!(served.send(Http::Two, grpc_call("/old.S/M", b"1")).await.grpc_status(), Some("0"));
        assert_eq!(served.v1.last().target(), "/new.S/M");
    });
}

/// An edit of each kind, that says who made it.
fn edits(by: &str) -> String {
    let edit = format!("{{set: {{x-set: {by}}}, add: {{x-add: {by}}}, remove: [x-gone]}}");
    format!("headers: {{request: {edit}, response: {edit}}}")
}

#[test]
fn headers_are_set_added_and_removed_both_ways_by_the_share_and_then_by_the_rule() {
    run(async || {
        let share = format!("route: [{{destination: {{host: x, subset: v1}}, {}}}]", edits("share"));
        for (rule, set, add) in [
            (format!("{{{}, {}}}", edits("rule"), to("v1")), "rule", vec!["v1", "rule"]),
            (format!("{{{share}}}"), "share", vec!["v1", "share"]),
            (format!("{{{}, {share}}}", edits("rule")), "rule", vec!["v1", "share", "rule"]),
        ] {
            let check = async |down: Http, up: Http, asked: Request<BoxBody>| {
                let served = Served::with(up, telling().await, &virtual_service(&rule)).await;
                let answer = served.send(down, with(asked, &EDITED)).await;
                assert_eq!(status(&answer), 200);
                for headers in [&served.v1.last().head.headers, &answer.headers] {
                    assert_eq!(all(headers, "x-set"), [set], "{rule} {down:?} {up:?}");
                    assert_eq!(all(headers, "x-add"), add, "{rule} {down:?} {up:?}");
                    assert!(!headers.contains_key("x-gone"), "{rule} {down:?} {up:?}");
                }
            };
            for (down, up) in Http::matrix() {
                check(down, up, get("/")).await;
            }
            check(Http::Two, Http::Two, grpc_call("/s.S/M", b"1")).await;
        }
    });
}

#[test]
fn a_delay_makes_requests_wait_and_is_for_a_percentage_of_them() {
    run(async || {
        const DELAY: Duration = Duration::from_millis(150);
        for (share, delayed) in
            [("percentage: {value: 100}", 1.0), ("percent: 100", 1.0), ("percentage: {value: 0}", 0.0)]
        {
            for (down, up) in Http::matrix() {
                let served =
                    Served::under(up, &saying(&format!("fault: {{delay: {{fixedDelay: 150ms, {share}}}}}")))
                        .await;
                let start = Instant::now();
                assert_eq!(served.send(down, get("/")).await.upstream(), "v1");
                assert!(delayed == 0.0 || start.elapsed() >= DELAY, "{:?}", start.elapsed());
                assert_eq!(served.engine.metric("envoy_http_fault_delays_injected"), delayed, "{share}");
            }
        }
    });
}

#[test]
fn an_abort_has_the_status_that_it_says_to_requests_and_to_calls() {
    run(async || {
        for (said, code, grpc) in [
            ("httpStatus: 503", 503, "14"),
            ("httpStatus: 418, percentage: {value: 100}", 418, "2"),
            ("grpcStatus: RESOURCE_EXHAUSTED", 200, "8"),
        ] {
            let served = Served::under(Http::Two, &saying(&format!("fault: {{abort: {{{said}}}}}"))).await;
            for down in Http::BOTH {
                let answer = served.send(down, get("/")).await;
                assert_eq!((status(&answer), answer.text()), (code, "fault filter abort"), "{said}");
                assert_eq!(answer.grpc_status(), None, "it is nothing to who speaks no gRPC, as in Envoy");
                let call = served.send(down, grpc_call("/s.S/M", b"1")).await;
                assert_eq!((status(&call), call.grpc_status()), (200, Some(grpc)), "{said}");
            }
            assert_eq!(served.v1.begun(), 0);
        }
    });
}

/// Of 800 draws at an eighth, 60 off the mean of 100 is passed once in a thousand million runs.
#[test]
fn an_abort_is_for_its_percentage_of_the_requests() {
    run(async || {
        let rules = saying("fault: {abort: {httpStatus: 418, percentage: {value: 12.5}}}");
        for down in Http::BOTH {
            let served = Served::under(Http::One, &rules).await;
            let mut caller = served.caller(down).await;
            let mut aborted = 0;
            for _ in 0..800 {
                aborted += i32::from(status(&caller.get("/").await) == 418);
            }
            assert!((40..160).contains(&aborted), "{aborted}");
        }
    });
}

#[test]
fn an_origin_is_let_in_by_its_text_its_beginning_or_an_expression() {
    run(async || {
        for (origins, inside, outside) in [
            (
                "allowOrigins: [{exact: \"https://a.b\"}, {exact: \"https://c.d\"}]",
                "https://c.d",
                "https://a.bc",
            ),
            ("allowOrigins: [{prefix: \"https://a.\"}]", "https://a.example", "https://b.a."),
            ("allowOrigins: [{regex: \"https://[a-z]+[.]b\"}]", "https://xy.b", "https://xy.bc"),
            ("allowOrigin: [\"https://a.b\"]", "https://a.b", "https://A.b"),
        ] {
            let rules = saying(&format!("corsPolicy: {{{origins}, allowMethods: [PUT]}}"));
            let served = Served::under(Http::One, &rules).await;
            for down in Http::BOTH {
                let asked = served.send(down, preflight(inside, "PUT")).await;
                assert_eq!((status(&asked), allowed(&asked)), (200, Some(inside)), "{origins}");
                assert!(asked.headers.get("x-upstream").is_none(), "it is answered here");
                let other = served.send(down, preflight(outside, "PUT")).await;
                assert_eq!(
                    (other.upstream(), allowed(&other)),
                    ("v1", None),
                    "{origins}: forwarded, unless it says otherwise"
                );
            }
        }
        for every in ["allowOrigins: [{exact: \"*\"}]", "allowOrigin: [\"*\"]"] {
            let served = Served::under(Http::One, &saying(&format!("corsPolicy: {{{every}}}"))).await;
            for down in Http::BOTH {
                let answer = served.send(down, with(get("/"), &[("origin", "null")])).await;
                assert_eq!((answer.upstream(), allowed(&answer)), ("v1", Some("null")), "{every}");
            }
        }
    });
}

#[test]
fn a_preflight_is_told_what_is_allowed_and_an_answer_what_may_be_read() {
    run(async || {
        let cors = "allowOrigins: [{exact: \"https://a.b\"}], allowMethods: [PUT, GET], allowHeaders: [x-a, x-b], \
                    exposeHeaders: [x-c, x-d], maxAge: 1h";
        for (more, credentials, unmatched) in [
            ("", None, "v1"),
            (", allowCredentials: true, unmatchedPreflights: IGNORE", Some("true"), ""),
            (", allowCredentials: false, unmatchedPreflights: FORWARD", None, "v1"),
        ] {
            let rules = saying(&format!("corsPolicy: {{{cors}{more}}}"));
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &rules).await;
                let told = served.send(down, preflight("https://a.b", "PUT")).await;
                for (name, value) in [
                    ("access-control-allow-methods", Some("PUT,GET")),
                    ("access-control-allow-headers", Some("x-a,x-b")),
                    ("access-control-max-age", Some("3600")),
                    ("access-control-allow-credentials", credentials),
                    ("access-control-expose-headers", None),
                ] {
                    assert_eq!(told.header(name), value, "{name}{more}");
                }
                let read = served.send(down, with(get("/"), &[("origin", "https://a.b")])).await;
                assert_eq!(read.header("access-control-expose-headers"), Some("x-c,x-d"));
                assert_eq!(read.header("access-control-allow-credentials"), credentials, "{more}");
                let other = served.send(down, preflight("https://c.d", "PUT")).await;
                let upstream = other.header("x-upstream").unwrap_or_default();
                assert_eq!((status(&other), upstream, allowed(&other)), (200, unmatched, None), "{more}");
            }
        }
    });
}

#[test]
fn each_mirror_gets_copies_of_its_percentage_of_the_requests() {
    run(async || {
        let mirror = "{host: x, subset: v2}";
        for (said, copies) in [
            (format!("mirror: {mirror}, mirrorPercentage: {{value: 0}}"), 0),
            (format!("mirror: {mirror}, mirrorPercent: 0"), 0),
            (format!("mirror: {mirror}, mirrorPercentage: {{value: 100}}"), 1),
            (format!("mirror: {mirror}, mirrorPercent: 100"), 1),
            (
                format!(
                    "mirrors: [{{destination: {mirror}}}, {{destination: {mirror}, percentage: {{value: 100}}}}]"
                ),
                2,
            ),
            (
                format!(
                    "mirrors: [{{destination: {mirror}}}, {{destination: {mirror}, percentage: {{value: 0}}}}]"
                ),
                1,
            ),
        ] {
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &saying(&said)).await;
                let mut caller = served.caller(down).await;
                for count in 1..=3 {
                    assert_eq!(caller.get("/").await.upstream(), "v1");
                    until("the copies", || (served.v2.seen().len() >= count * copies).then_some(())).await;
                }
                assert_eq!(served.v2.seen().len(), 3 * copies, "{said} {down:?} {up:?}");
            }
        }
    });
}

/// Of 800 draws at an eighth, 60 off the mean of 100 is passed once in a thousand million runs.
#[test]
fn a_mirror_of_a_part_gets_a_part() {
    run(async || {
        let rules = saying("mirror: {host: x, subset: v2}, mirrorPercentage: {value: 12.5}");
        let copies = copies_of_800(&rules).await;
        assert!((40.0..160.0).contains(&copies), "{copies}");
    });
}

#[test]
fn an_attempt_that_outlasts_its_time_is_made_again_where_that_is_asked_for() {
    run(async || {
        for (retry_on, code, attempts) in [("5xx", 200, 2), ("connect-failure", 504, 1)] {
            for (down, up) in Http::matrix() {
                let v1 = Upstream::holding_the_first().await;
                let retries = format!(
                    "retries: {{attempts: 1, perTryTimeout: 100ms, retryOn: {retry_on}, backoff: 1ms}}"
                );
                let served = Served::with(up, v1, &saying(&retries)).await;
                assert_eq!(status(&served.send(down, get("/")).await), code, "{retry_on} {down:?} {up:?}");
                assert_eq!(served.v1.begun(), attempts);
            }
        }
    });
}

/// Endpoints are drawn: without memory both attempts meet the bad one a quarter of the time, so that of 80 requests none
/// does once in ten thousand million runs.
#[test]
fn a_retry_goes_to_another_endpoint_unless_that_is_turned_off() {
    run(async || {
        for (said, all_served) in [
            ("", true),
            (", retryIgnorePreviousHosts: true", true),
            (", retryIgnorePreviousHosts: false", false),
        ] {
            let bad = Upstream::failing(503).await;
            let good = Upstream::start("v1").await;
            let yaml = one_service(&[], &[(&bad.at(), "v1"), (&good.at(), "v1")]);
            let retries = format!("retries: {{attempts: 1, retryOn: 5xx, backoff: 1ms{said}}}");
            let rules = saying(&retries).replace(
                &destination_rule(""),
                &destination_rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}"),
            );
            let engine = Engine::start(1, &yaml, &rules);
            let mut failed = 0;
            for down in Http::BOTH {
                let mut caller = Client::connect(down, engine.address("in")).await;
                for _ in 0..40 {
                    failed += u32::from(status(&caller.get("/").await) == 503);
                }
            }
            assert_eq!(failed == 0, all_served, "{failed} of 80 {said}");
        }
    });
}

#[test]
fn gateways_and_ports_say_at_which_listeners_a_rule_holds() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        for by_port in [false, true] {
            let port = free_port();
            let condition = if by_port { format!("port: {port}") } else { "gateways: [public]".into() };
            let edge =
                format!("- {{name: edge, address: \"127.0.0.1:{port}\", service: x, gateways: [public]}}\n");
            let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")])
                .replace("service: x}\n", &format!("service: x, gateways: [mesh]}}\n{edge}"));
            let rules =
                virtual_service(&format!("{{match: [{{{condition}}}], {}}}, {{{}}}", to("v2"), to("v1")))
                    .replace("hosts: [x],", "hosts: [x], gateways: [mesh, public],");
            let engine = Engine::start(1, &yaml, &rules);
            for down in Http::BOTH {
                for (listener, upstream) in [("in", "v1"), ("edge", "v2")] {
                    let mut caller = Client::connect(down, engine.address(listener)).await;
                    assert_eq!(caller.get("/").await.upstream(), upstream, "{condition} {down:?}");
                }
            }
        }
    });
}

/// A rule may have a thousand alternatives, each of which is a route.
#[test]
fn the_alternatives_of_a_rule_share_what_it_says() {
    run(async || {
        let matches: Vec<_> = (0..3).map(|number| format!("{{uri: {{exact: /{number}}}}}")).collect();
        let share = format!("{{destination: {{host: x, subset: v1}}, {}}}", edits("share"));
        let rule = format!("{{match: [{}], {}, route: [{share}]}}", matches.join(", "), edits("rule"));
        let served = Served::under(Http::One, &virtual_service(&rule)).await;
        let plane = served.engine.shared.plane.load_full().expect("a plane");
        let all: Vec<_> = plane.routes.iter().flat_map(|routes| &routes.routes).collect();
        assert_eq!(all.len(), 3);
        let policies = all.iter().map(|route| route.route.policy.as_ref().expect("a policy"));
        let of_shares = all.iter().map(|route| route.route.versions()[0].policy.as_ref().expect("a policy"));
        for ((route, policy), of_share) in all.iter().zip(policies).zip(of_shares) {
            let filters = route.filters.as_ref().expect("filters");
            assert!(Arc::ptr_eq(policy, all[0].route.policy.as_ref().expect("a policy")));
            assert!(Arc::ptr_eq(policy, &filters.policy));
            let first = all[0].route.versions()[0].policy.as_ref().expect("a policy");
            assert!(Arc::ptr_eq(of_share, first));
            assert!(Arc::ptr_eq(of_share, filters.targets[0].as_ref().expect("a policy")));
        }
    });
}
