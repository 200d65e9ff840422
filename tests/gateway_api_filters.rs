//! What the filters of an HTTPRoute and a GRPCRoute do with requests, field by field, by both HTTPs. What each effect does in
//! full is told by the `policy_*` tests; what filters do together by `gateway_api.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::dialects::{Served, all, gateway_route, last, with};
use common::world::client::{get, grpc_call, request};
use common::world::upstream::{Upstream, empty};
use common::world::{Http, run, until};
use http::{Method, Response};

/// A rule of an HTTPRoute with one filter, that sends all to `v1`.
fn filtered(filter: &str) -> String {
    gateway_route("HTTPRoute", &format!("{{filters: [{filter}], backendRefs: [{{name: x-v1, port: 80}}]}}"))
}

/// The same for its only backend.
fn of_backend(kind: &str, filter: &str) -> String {
    gateway_route(kind, &format!("{{backendRefs: [{{name: x-v1, port: 80, filters: [{filter}]}}]}}"))
}

#[test]
fn a_redirect_changes_the_part_that_it_names() {
    run(async || {
        for (redirect, code, location) in [
            ("scheme: https", 302, "https://x.default/a/b?q=1"),
            ("hostname: y.example", 302, "http://y.example/a/b?q=1"),
            ("port: 8443", 302, "http://x.default:8443/a/b?q=1"),
            ("scheme: https, port: 443", 302, "https://x.default/a/b?q=1"),
            ("path: {type: ReplaceFullPath, replaceFullPath: /c}", 302, "http://x.default:8080/c?q=1"),
            (
                "path: {type: ReplacePrefixMatch, replacePrefixMatch: /c/}",
                302,
                "http://x.default:8080/c/b?q=1",
            ),
            ("statusCode: 301", 301, "http://x.default:8080/a/b?q=1"),
            ("statusCode: 303", 303, "http://x.default:8080/a/b?q=1"),
            ("statusCode: 307", 307, "http://x.default:8080/a/b?q=1"),
            ("statusCode: 308", 308, "http://x.default:8080/a/b?q=1"),
        ] {
            let rule = format!(
                "{{matches: [{{path: {{value: /a}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]}}"
            );
            let served = Served::under(Http::One, &gateway_route("HTTPRoute", &rule)).await;
            for down in Http::BOTH {
                let answer = served.send(down, with(get("/a/b?q=1"), &[("host", "x.default:8080")])).await;
                let got = (answer.status.as_u16(), answer.header("location"));
                assert_eq!(got, (code, Some(location)), "{redirect} {down:?}");
            }
            assert_eq!(served.v1.begun() + served.v2.begun(), 0);
        }
    });
}

#[test]
fn a_rewrite_of_the_host_leaves_the_path_and_one_of_the_path_the_host() {
    run(async || {
        const HOST: &str = "x.default.svc.cluster.local";
        for (rewrite, target, host) in [
            ("hostname: y.example", "/a/b?q=1", "y.example"),
            ("path: {type: ReplaceFullPath, replaceFullPath: /c}", "/c?q=1", HOST),
            ("path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}", "/c/b?q=1", HOST),
        ] {
            let filter = format!("filters: [{{type: URLRewrite, urlRewrite: {{{rewrite}}}}}]");
            let matches = "matches: [{path: {value: /a}}]";
            for rule in [
                format!("{{{matches}, {filter}, backendRefs: [{{name: x-v1, port: 80}}]}}"),
                format!("{{{matches}, backendRefs: [{{name: x-v1, port: 80, {filter}}}]}}"),
            ] {
                for (down, up) in Http::matrix() {
                    let served = Served::under(up, &gateway_route("HTTPRoute", &rule)).await;
                    assert_eq!(served.send(down, get("/a/b?q=1")).await.upstream(), "v1");
                    let seen = last(&served.v1);
                    assert_eq!(
                        (seen.target(), seen.host()),
                        (target, host),
                        "{rule} {down:?} {up:?}"
                    );
                }
            }
        }
    });
}

/// An upstream whose answers have the fields that a modifier edits.
async fn telling() -> Upstream {
    Upstream::remembering(|seen| {
        let answer = Response::builder().header("x-set", "v1").header("x-add", "v1").header("x-gone", "v1");
        let answer = match seen.head.headers.contains_key("te") {
            true => answer.header("content-type", "application/grpc").header("grpc-status", "0"),
            false => answer,
        };
        answer.body(empty()).expect("an answer")
    })
    .await
}

#[test]
fn each_modifier_edits_its_own_way_alone_for_a_rule_and_for_a_backend() {
    run(async || {
        let edit = "{set: [{name: x-set, value: weir}], add: [{name: x-add, value: weir}], remove: [x-gone]}";
        for (filter, of_request) in [
            (format!("{{type: RequestHeaderModifier, requestHeaderModifier: {edit}}}"), true),
            (format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {edit}}}"), false),
        ] {
            let of_calls = format!("{{filters: [{filter}], backendRefs: [{{name: x-v1, port: 80}}]}}");
            for (rules, call) in [
                (filtered(&filter), false),
                (of_backend("HTTPRoute", &filter), false),
                (gateway_route("GRPCRoute", &of_calls), true),
                (of_backend("GRPCRoute", &filter), true),
            ] {
                for (down, up) in Http::matrix().filter(|&hops| !call || hops == (Http::Two, Http::Two)) {
                    let served = Served::with(up, telling().await, &rules).await;
                    let asked = if call { grpc_call("/s.S/M", b"1") } else { get("/") };
                    let fields = [("x-set", "v1"), ("x-add", "v1"), ("x-gone", "v1")];
                    let answer = served.send(down, with(asked, &fields)).await;
                    let seen = last(&served.v1);
                    for (headers, edited) in
                        [(&seen.head.headers, of_request), (&answer.headers, !of_request)]
                    {
                        let (set, add, gone): (_, &[&str], &[&str]) =
                            if edited { ("weir", &["v1", "weir"], &[]) } else { ("v1", &["v1"], &["v1"]) };
                        assert_eq!(all(headers, "x-set"), [set], "{rules} {down:?} {up:?}");
                        assert_eq!(
                            (all(headers, "x-add"), all(headers, "x-gone")),
                            (
                                add.iter().map(|&one| one.into()).collect(),
                                gone.iter().map(|&one| one.into()).collect()
                            )
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn cors_tells_what_the_filter_says_and_no_more() {
    run(async || {
        for (cors, told) in [
            ("allowOrigins: [\"*\"], allowMethods: [\"*\"], maxAge: 60", [Some("*"), None, Some("60"), None]),
            (
                "allowOrigins: [\"https://a.b\"], allowMethods: [PUT], allowHeaders: [x-a, x-b], allowCredentials: true",
                [Some("PUT"), Some("x-a,x-b"), Some("5"), Some("true")],
            ),
            (
                "allowOrigins: [\"https://c.d\", \"https://*.b\", \"https://a.b\"], allowMethods: [GET, PUT], allowCredentials: false",
                [Some("GET,PUT"), None, Some("5"), None],
            ),
        ] {
            let rules = filtered(&format!("{{type: CORS, cors: {{{cors}, exposeHeaders: [x-c]}}}}"));
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &rules).await;
                let origin = ("origin", "https://a.b");
                let preflight = request(Method::OPTIONS, "/").body(empty()).expect("a request");
                let preflight = with(preflight, &[origin, ("access-control-request-method", "PUT")]);
                let answer = served.send(down, preflight).await;
                assert_eq!((answer.status.as_u16(), served.v1.begun()), (200, 0));
                assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.b"), "{cors}");
                for (name, value) in [
                    "access-control-allow-methods",
                    "access-control-allow-headers",
                    "access-control-max-age",
                    "access-control-allow-credentials",
                ]
                .into_iter()
                .zip(told)
                {
                    assert_eq!(answer.header(name), value, "{name}: {cors}");
                }
                let answer = served.send(down, with(get("/"), &[origin])).await;
                assert_eq!(answer.upstream(), "v1");
                assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.b"), "{cors}");
                assert_eq!(answer.header("access-control-expose-headers"), Some("x-c"));
                assert_eq!(answer.header("access-control-allow-credentials"), told[3]);
            }
        }
    });
}

#[test]
fn a_mirror_gets_copies_of_its_part_of_the_requests_or_calls() {
    run(async || {
        for (part, copies) in [
            ("percent: 0", 0),
            ("percent: 100", 1),
            ("fraction: {numerator: 0, denominator: 8}", 0),
            ("fraction: {numerator: 8, denominator: 8}", 1),
        ] {
            let filter = format!(
                "{{type: RequestMirror, requestMirror: {{backendRef: {{name: x-v2, port: 80}}, {part}}}}}"
            );
            let of_calls = format!("{{filters: [{filter}], backendRefs: [{{name: x-v1, port: 80}}]}}");
            for (rules, call) in [
                (filtered(&filter), false),
                (of_backend("HTTPRoute", &filter), false),
                (gateway_route("GRPCRoute", &of_calls), true),
                (of_backend("GRPCRoute", &filter), true),
            ] {
                for (down, up) in Http::matrix().filter(|&hops| !call || hops == (Http::Two, Http::Two)) {
                    let served = Served::under(up, &rules).await;
                    for count in 1..=2 {
                        let asked = if call { grpc_call("/s.S/M", b"1") } else { get("/") };
                        assert_eq!(served.send(down, asked).await.upstream(), "v1");
                        until("the copies", || (served.v2.seen().len() >= count * copies).then_some(()))
                            .await;
                    }
                    assert_eq!(served.v2.seen().len(), 2 * copies, "{rules} {down:?} {up:?}");
                }
            }
        }
    });
}

/// Of 800 draws at an eighth, 60 off the mean of 100 is passed once in a thousand million runs.
#[test]
fn a_mirror_of_a_part_gets_a_part() {
    run(async || {
        for part in ["percent: 12", "fraction: {numerator: 1, denominator: 8}"] {
            let served = Served::under(
                Http::One,
                &filtered(&format!(
                    "{{type: RequestMirror, requestMirror: {{backendRef: {{name: x-v2, port: 80}}, {part}}}}}"
                )),
            )
            .await;
            for down in Http::BOTH {
                let mut caller = served.caller(down).await;
                for _ in 0..400 {
                    assert_eq!(caller.get("/").await.upstream(), "v1");
                }
            }
            let copies = served.engine.metric("weir_mirror_requests_total");
            assert!((35.0..160.0).contains(&copies), "{copies}: {part}");
        }
    });
}
