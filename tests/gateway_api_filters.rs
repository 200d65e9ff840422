//! What the filters of an HTTPRoute and a GRPCRoute do with requests, field by field, by both HTTPs. What each effect does in
//! full is told by the `policy_*` tests; what filters do together by `gateway_api.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::dialects::{EDITED, Served, all, copies_of_800, gateway_route, redirects, telling, with};
use common::world::client::{get, grpc_call, preflight};
use common::world::upstream::BoxBody;
use common::world::{Http, run, until};
use http::Request;

/// A rule of an HTTPRoute with one filter, that sends all to `v1`.
fn filtered(filter: &str) -> String {
    gateway_route("HTTPRoute", &format!("{{filters: [{filter}], backendRefs: [{{name: x-v1, port: 80}}]}}"))
}

/// Where a filter can stand, by all HTTPs that carry its requests.
struct Place {
    rules: String,
    is_grpc: bool,
    down: Http,
    up: Http,
}

impl Place {
    /// Of a rule and of its only backend, for requests and for calls.
    fn all(filter: &str) -> Vec<Place> {
        let of_rule = format!("{{filters: [{filter}], backendRefs: [{{name: x-v1, port: 80}}]}}");
        let of_backend = format!("{{backendRefs: [{{name: x-v1, port: 80, filters: [{filter}]}}]}}");
        let mut places = Vec::new();
        for (kind, is_grpc) in [("HTTPRoute", false), ("GRPCRoute", true)] {
            for rule in [&of_rule, &of_backend] {
                for (down, up) in Http::matrix().filter(|&hops| !is_grpc || hops == (Http::Two, Http::Two)) {
                    places.push(Place { rules: gateway_route(kind, rule), is_grpc, down, up });
                }
            }
        }
        places
    }

    /// What it is tried with.
    fn asked(&self) -> Request<BoxBody> {
        if self.is_grpc { grpc_call("/s.S/M", b"1") } else { get("/") }
    }
}

#[test]
fn a_redirect_that_names_no_port_leads_to_that_of_the_listener_though_the_system_chose_it() {
    run(async || {
        let rules = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n\
                     spec: {hostnames: [r.example], rules: [{filters: [{type: RequestRedirect, requestRedirect: \
                     {hostname: y.example}}]}]}\n";
        let served = Served::under(Http::One, rules).await;
        let location = format!("http://y.example:{}/a", served.engine.address("in").port());
        for down in Http::BOTH {
            let answer = served.send(down, with(get("/a"), &[("host", "r.example:80")])).await;
            assert_eq!(answer.header("location"), Some(&*location), "{down:?}");
        }
    });
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
            redirects(&gateway_route("HTTPRoute", &rule), "/a/b?q=1", code, location).await;
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
                    let seen = served.v1.last();
                    assert_eq!((seen.target(), seen.host()), (target, host), "{rule} {down:?} {up:?}");
                }
            }
        }
    });
}

#[test]
fn each_modifier_edits_its_own_way_alone_for_a_rule_and_for_a_backend() {
    run(async || {
        let edit = "{set: [{name: x-set, value: weir}], add: [{name: x-add, value: weir}], remove: [x-gone]}";
        for (filter, of_request) in [
            (format!("{{type: RequestHeaderModifier, requestHeaderModifier: {edit}}}"), true),
            (format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {edit}}}"), false),
        ] {
            for place in Place::all(&filter) {
                let Place { rules, down, up, .. } = &place;
                let served = Served::with(*up, telling().await, rules).await;
                let answer = served.send(*down, with(place.asked(), &EDITED)).await;
                let seen = served.v1.last();
                for (headers, edited) in [(&seen.head.headers, of_request), (&answer.headers, !of_request)] {
                    let (set, add, gone): (_, &[&str], &[&str]) =
                        if edited { ("weir", &["v1", "weir"], &[]) } else { ("v1", &["v1"], &["v1"]) };
                    assert_eq!(all(headers, "x-set"), [set], "{rules} {down:?} {up:?}");
                    assert_eq!(all(headers, "x-add"), add, "{rules} {down:?} {up:?}");
                    assert_eq!(all(headers, "x-gone"), gone, "{rules} {down:?} {up:?}");
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
                let answer = served.send(down, preflight("https://a.b", "PUT")).await;
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
                let answer = served.send(down, with(get("/"), &[("origin", "https://a.b")])).await;
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
            for place in Place::all(&filter) {
                let Place { rules, down, up, .. } = &place;
                let served = Served::under(*up, rules).await;
                for count in 1..=2 {
                    assert_eq!(served.send(*down, place.asked()).await.upstream(), "v1");
                    until("the copies", || (served.v2.seen().len() >= count * copies).then_some(())).await;
                }
                assert_eq!(served.v2.seen().len(), 2 * copies, "{rules} {down:?} {up:?}");
            }
        }
    });
}

/// Of 800 draws at an eighth, 60 off the mean of 100 is passed once in a thousand million runs.
#[test]
fn a_mirror_of_a_part_gets_a_part() {
    run(async || {
        for part in ["percent: 12", "fraction: {numerator: 1, denominator: 8}"] {
            let copies = copies_of_800(&filtered(&format!(
                "{{type: RequestMirror, requestMirror: {{backendRef: {{name: x-v2, port: 80}}, {part}}}}}"
            )))
            .await;
            assert!((35.0..160.0).contains(&copies), "{copies}: {part}");
        }
    });
}
