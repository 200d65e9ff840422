//! Requests of other origins.

use super::{Ask, Scene, ask, get, post, scene};

/// A preflight of an origin.
fn preflight(origin: &'static str) -> Ask {
    ask("OPTIONS", "/").field("origin", origin).field("access-control-request-method", "PUT")
}

fn asks() -> Vec<Ask> {
    vec![
        preflight("https://a.example"),
        preflight("https://a.example").field("access-control-request-headers", "x-z"),
        preflight("https://a.example.evil"),
        preflight("https://evil.example").does("405"),
        get("/").field("origin", "https://a.example"),
        get("/").field("origin", "https://b.example").emits("access-control-allow-origin=*"),
        get("/").field("origin", "https://evil.example"),
        get("/").field("origin", "https://A.example"),
        get("/").field("origin", "null"),
        get("/"),
        post("/", "body").field("origin", "https://a.example").does("503"),
        ask("OPTIONS", "/").field("origin", "https://a.example"),
        ask("OPTIONS", "/").field("access-control-request-method", "PUT"),
        get("/").field("origin", "https://a.example").field("access-control-request-method", "PUT"),
        get("/")
            .field("origin", "https://a.example")
            .emits("access-control-allow-origin=*;access-control-expose-headers=x-up;access-control-allow-credentials=false"),
    ]
}

pub(in super::super) fn cors() -> Vec<Scene> {
    vec![
        scene(
            "cors, all said",
            "corsPolicy: {allowOrigins: [{exact: \"https://a.example\"}, {regex: \"https://[bc]\\\\.example\"}], \
             allowMethods: [GET, PUT], allowHeaders: [x-a, x-b], exposeHeaders: [x-c, x-d], maxAge: 600s, \
             allowCredentials: true}",
            "typed_per_filter_config: {envoy.filters.http.cors: {@TYPE(cors.v3.CorsPolicy), \
             allow_origin_string_match: [{exact: \"https://a.example\"}, {safe_regex: {regex: \
             \"https://[bc]\\\\.example\"}}], allow_methods: \"GET,PUT\", allow_headers: \"x-a,x-b\", expose_headers: \
             \"x-c,x-d\", max_age: \"600\", allow_credentials: true, forward_not_matching_preflights: true}}",
            asks(),
        ),
        scene(
            "cors, only origins",
            "corsPolicy: {allowOrigins: [{prefix: \"https://a.\"}]}",
            "typed_per_filter_config: {envoy.filters.http.cors: {@TYPE(cors.v3.CorsPolicy), \
             allow_origin_string_match: [{prefix: \"https://a.\"}], forward_not_matching_preflights: true}}",
            asks(),
        ),
        scene(
            "cors, any origin and no strange preflights",
            "corsPolicy: {allowOrigins: [{exact: \"https://a.example\"}], allowMethods: [GET], allowCredentials: \
             false, unmatchedPreflights: IGNORE}, headers: {response: {set: {x-a: b}}}",
            "typed_per_filter_config: {envoy.filters.http.cors: {@TYPE(cors.v3.CorsPolicy), \
             allow_origin_string_match: [{exact: \"https://a.example\"}], allow_methods: GET, allow_credentials: \
             false, forward_not_matching_preflights: false}}, response_headers_to_add: [{header: {key: x-a, value: b}, \
             append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
            asks(),
        ),
        scene(
            "cors with a star",
            "corsPolicy: {allowOrigins: [{exact: \"*\"}], allowMethods: [GET]}",
            "typed_per_filter_config: {envoy.filters.http.cors: {@TYPE(cors.v3.CorsPolicy), \
             allow_origin_string_match: [{exact: \"*\"}], allow_methods: GET, \
             forward_not_matching_preflights: true}}",
            vec![
                preflight("https://a.example"),
                get("/").field("origin", "https://a.example"),
                get("/").field("origin", "null"),
                get("/"),
            ],
        ),
        scene(
            "cors before a fault",
            "corsPolicy: {allowOrigins: [{exact: \"https://a.example\"}]}, fault: {abort: \
             {httpStatus: 418, percentage: {value: 100}}}",
            "typed_per_filter_config: {envoy.filters.http.cors: {@TYPE(cors.v3.CorsPolicy), \
             allow_origin_string_match: [{exact: \"https://a.example\"}], forward_not_matching_preflights: true}, \
             envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: \
             {http_status: 418, percentage: {numerator: 100}}}}",
            vec![preflight("https://a.example"), get("/").field("origin", "https://a.example"), get("/")],
        ),
        scene(
            "cors and a redirect",
            "corsPolicy: {allowOrigins: [{exact: \"https://a.example\"}], exposeHeaders: [x-c]}, redirect: {uri: \
             /new}",
            "redirect: {path_redirect: /new}, typed_per_filter_config: {envoy.filters.http.cors: \
             {@TYPE(cors.v3.CorsPolicy), allow_origin_string_match: [{exact: \"https://a.example\"}], expose_headers: \
             x-c, forward_not_matching_preflights: true}}",
            vec![preflight("https://a.example"), get("/").field("origin", "https://a.example"), get("/")],
        ),
        scene(
            "cors and a direct response",
            "corsPolicy: {allowOrigins: [{exact: \"https://a.example\"}]}, directResponse: {status: 403}",
            "direct_response: {status: 403}, typed_per_filter_config: {envoy.filters.http.cors: \
             {@TYPE(cors.v3.CorsPolicy), allow_origin_string_match: [{exact: \"https://a.example\"}], \
             forward_not_matching_preflights: true}}",
            vec![preflight("https://a.example"), get("/").field("origin", "https://a.example"), get("/")],
        ),
    ]
}
