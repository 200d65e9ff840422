//! Redirects, direct responses, and what a proxy says where nobody else can.

use super::{Scene, ask, call, get, http_route, post, scene};

pub(in super::super) fn answers() -> Vec<Scene> {
    [redirects(), direct_responses(), of_the_proxy()].into_iter().flatten().collect()
}

fn redirects() -> Vec<Scene> {
    vec![
        scene(
            "redirect to a host",
            "redirect: {authority: other.example}",
            "redirect: {host_redirect: other.example}",
            vec![
                get("/a?q=1"),
                get("/a").at_port(":8080"),
                get("/a").field("x-forwarded-proto", "https"),
                post("/a", "body"),
                ask("HEAD", "/a"),
                call(),
            ],
        ),
        scene(
            "redirect to a host and port",
            "redirect: {authority: \"other.example:8443\"}",
            "redirect: {host_redirect: \"other.example:8443\"}",
            vec![get("/a?q=1"), get("/a").at_port(":8080")],
        ),
        scene(
            "redirect to a path",
            "redirect: {uri: /new, redirectCode: 302}",
            "redirect: {path_redirect: /new, response_code: FOUND}",
            vec![get("/a?q=1"), get("/a").at_port(":8080"), get("/")],
        ),
        scene(
            "redirect to a path with a query",
            "redirect: {uri: \"/new?r=2\", redirectCode: 303}",
            "redirect: {path_redirect: \"/new?r=2\", response_code: SEE_OTHER}",
            vec![get("/a?q=1"), get("/a")],
        ),
        scene(
            "redirect to a scheme",
            "redirect: {scheme: https, redirectCode: 307}",
            "redirect: {scheme_redirect: https, response_code: TEMPORARY_REDIRECT}",
            vec![get("/a?q=1"), get("/a").at_port(":80"), get("/a").at_port(":8080")],
        ),
        scene(
            "redirect to a port",
            "redirect: {port: 8443, scheme: https, redirectCode: 308}",
            "redirect: {port_redirect: 8443, scheme_redirect: https, response_code: PERMANENT_REDIRECT}",
            vec![get("/a?q=1"), get("/a").at_port(":8080")],
        ),
        http_route(
            "redirect of a prefix",
            "matches: [{path: {type: PathPrefix, value: /a}}], filters: [{type: RequestRedirect, requestRedirect: \
             {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, hostname: other.example, statusCode: 302, \
             scheme: http}}]",
            "match: {path_separated_prefix: /a}, redirect: {prefix_rewrite: /new, host_redirect: other.example, \
             response_code: FOUND}",
            vec![get("/a"), get("/a/b?q=1"), get("/a/"), get("/ab")],
        ),
    ]
}

fn direct_responses() -> Vec<Scene> {
    vec![
        scene(
            "direct response",
            "directResponse: {status: 503, body: {string: \"gone for now\"}}",
            "direct_response: {status: 503, body: {inline_string: \"gone for now\"}}",
            vec![get("/"), ask("HEAD", "/"), post("/", "body"), call()],
        ),
        scene(
            "direct response without a body",
            "directResponse: {status: 404}",
            "direct_response: {status: 404}",
            vec![get("/"), ask("HEAD", "/"), call()],
        ),
        scene(
            "direct response of 204",
            "directResponse: {status: 204}",
            "direct_response: {status: 204}",
            vec![get("/")],
        ),
        scene(
            "direct response with edits",
            "directResponse: {status: 200, body: {string: \"{}\"}}, headers: {response: {set: {content-type: \
             application/json, x-a: b}, add: {x-c: d}}}",
            "direct_response: {status: 200, body: {inline_string: \"{}\"}}, response_headers_to_add: [{header: {key: \
             content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-a, \
             value: b}}, {header: {key: x-c, value: d}}]",
            vec![get("/")],
        ),
    ]
}

fn of_the_proxy() -> Vec<Scene> {
    vec![
        scene(
            "no route",
            "match: [{uri: {prefix: /a}}]",
            "match: {prefix: /a}",
            vec![get("/b"), ask("HEAD", "/b"), post("/b", "body"), call()],
        ),
        scene(
            "no cluster",
            "route: [{destination: {host: one, subset: nosuch}}]",
            "route: {cluster: nosuch}",
            vec![get("/"), call()],
        ),
        scene(
            "no endpoint",
            "route: [{destination: {host: none}}], headers: {response: {set: {x-a: b}}}",
            "route: {cluster: none}, response_headers_to_add: [{header: {key: x-a, value: b}}]",
            vec![get("/"), ask("HEAD", "/"), call()],
        ),
        scene(
            "no connection",
            "route: [{destination: {host: refused}}]",
            "route: {cluster: refused}",
            vec![get("/"), post("/", "body"), call()],
        ),
    ]
}
