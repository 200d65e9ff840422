//! What the two do differently on purpose: a probe for each row of the table in `docs/routing.md`.
//!
//! Law: a row says what Envoy does and what Weir does, and both are seen to do it.

use serde_json::{Value, json};

use super::asked::Request;
use super::common::world::Http;

/// A row, by its first cell, and what shows it: the same routes in both tongues, and a request.
pub(super) struct Row {
    pub(super) title: &'static str,
    /// Envoy's routes of a host.
    pub(super) envoy: Value,
    /// Weir's object for the same host.
    pub(super) weir: Weir,
    /// The HTTP that it is shown by.
    pub(super) https: &'static [Http],
    pub(super) ask: fn(&str) -> Request,
    /// What each answers, by its beginning; `HOST` is the row's.
    pub(super) of_envoy: &'static str,
    pub(super) of_weir: &'static str,
}

/// The rules of an object of one host.
pub(super) enum Weir {
    VirtualService(Value),
    HttpRoute(Value),
}

impl Weir {
    /// The object.
    pub(super) fn of(&self, name: &str, host: &str) -> Value {
        let (version, kind, hosts, list, rules) = match self {
            Weir::VirtualService(rules) => {
                ("networking.istio.io/v1", "VirtualService", "hosts", "http", rules)
            }
            Weir::HttpRoute(rules) => {
                ("gateway.networking.k8s.io/v1", "HTTPRoute", "hostnames", "rules", rules)
            }
        };
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {hosts: [host], list: rules}})
    }
}

/// The rows in the order of the table.
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            title: "several fields of one name",
            envoy: answers(json!({"headers": [{"name": "x-user", "string_match": {"exact": "bob"}}]})),
            weir: says(json!({"headers": {"x-user": {"exact": "bob"}}})),
            https: &Http::BOTH,
            ask: |host| Request::to("GET", "/", host, &[("x-user", vec!["alice", "bob"])]),
            of_envoy: "403 ",
            of_weir: "410 ",
        },
        Row {
            title: "a rewrite that leaves `//`",
            envoy: json!([{"match": {"prefix": "/a"}, "route": {"cluster": "v1", "prefix_rewrite": "/new/"}}]),
            weir: Weir::VirtualService(json!([{
                "match": [{"uri": {"prefix": "/a"}}], "rewrite": {"uri": "/new/"},
                "route": [{"destination": {"host": "x", "subset": "v1"}}],
            }])),
            https: &Http::BOTH,
            ask: |host| Request::to("GET", "/a/b", host, &[]),
            of_envoy: "200 route \"\" upstream \"v1\" saw \"/new//b of HOST\"",
            of_weir: "200 route \"\" upstream \"v1\" saw \"/new/b of HOST\"",
        },
        Row {
            title: "parameters of a query",
            envoy: answers(json!({"query_parameters": [{"name": "q", "string_match": {"exact": "a"}}]})),
            weir: says(json!({"queryParams": {"q": {"exact": "a"}}})),
            https: &Http::BOTH,
            ask: |host| Request::to("GET", "/?q=%61", host, &[]),
            of_envoy: "410 ",
            of_weir: "403 ",
        },
        Row {
            title: "an absent header and `withoutHeaders`",
            envoy: answers(json!({"headers": [
                {"name": "x-user", "string_match": {"exact": "alice"}, "invert_match": true},
            ]})),
            weir: says(json!({"withoutHeaders": {"x-user": {"exact": "alice"}}})),
            https: &Http::BOTH,
            ask: |host| Request::to("GET", "/", host, &[]),
            of_envoy: "410 ",
            of_weir: "403 ",
        },
        Row {
            title: "the scheme of a request by HTTP/2",
            envoy: answers(json!({"headers": [{"name": ":scheme", "string_match": {"exact": "https"}}]})),
            weir: says(json!({"scheme": {"exact": "https"}})),
            https: &[Http::Two],
            ask: |host| Request::to("GET", "/", host, &[("x-forwarded-proto", vec!["https"])]),
            of_envoy: "410 ",
            of_weir: "403 ",
        },
        Row {
            title: "a port in `location` that the scheme implies",
            envoy: json!([{"match": {"prefix": "/"}, "redirect": {"port_redirect": 80}}]),
            weir: Weir::VirtualService(json!([{"redirect": {"port": 80}}])),
            https: &Http::BOTH,
            ask: |host| Request::to("GET", "/a", host, &[]),
            of_envoy: "301 route \"\" upstream \"\" saw \"\" location \"http://HOST:80/a\"",
            of_weir: "301 route \"\" upstream \"\" saw \"\" location \"http://HOST/a\"",
        },
        Row {
            title: "a gRPC request by another method than POST",
            envoy: json!([{"match": {"prefix": "/"}, "direct_response": {"status": 403}}]),
            weir: Weir::VirtualService(json!([{"directResponse": {"status": 403}}])),
            https: &[Http::Two],
            ask: |host| Request { method: "GET", ..Request::call("/s.S/M", host, "application/grpc", &[]) },
            of_envoy: "200 grpc 7 ",
            of_weir: "403 ",
        },
        Row {
            title: "parameters of gRPC's media type",
            envoy: json!([{"match": {"prefix": "/"}, "direct_response": {"status": 403}}]),
            weir: Weir::VirtualService(json!([{"directResponse": {"status": 403}}])),
            https: &[Http::Two],
            ask: |host| Request::call("/s.S/M", host, "application/grpc;charset=utf-8", &[]),
            of_envoy: "403 ",
            of_weir: "200 grpc 7 ",
        },
        Row {
            title: "a gRPC request to a backend of an HTTPRoute that means nothing",
            envoy: json!([{"match": {"prefix": "/"}, "route": {
                "cluster": "nowhere", "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
            }}]),
            weir: Weir::HttpRoute(json!([{"backendRefs": [{"name": "nowhere", "port": 80}]}])),
            https: &[Http::Two],
            ask: |host| Request::call("/s.S/M", host, "application/grpc", &[]),
            of_envoy: "200 grpc 2 ",
            of_weir: "200 grpc 14 ",
        },
    ]
}

/// 403 for what satisfies these conditions, 410 for the rest.
fn answers(mut matches: Value) -> Value {
    matches["prefix"] = json!("/");
    json!([
        {"match": matches, "direct_response": {"status": 403}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 410}},
    ])
}

/// The same for Weir.
fn says(matches: Value) -> Weir {
    Weir::VirtualService(json!([
        {"match": [matches], "directResponse": {"status": 403}},
        {"directResponse": {"status": 410}},
    ]))
}
