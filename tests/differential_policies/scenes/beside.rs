//! Copies for a shadow, and upgrades.

use super::{Http, Scene, call, get, post, scene, unnamed_upgrade, upgrade};

pub(in super::super) fn beside() -> Vec<Scene> {
    [copies(), upgrades()].into_iter().flatten().collect()
}

fn copies() -> Vec<Scene> {
    vec![
        scene(
            "a copy of all",
            "mirror: {host: shadow}",
            "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: shadow}]}",
            vec![
                get("/a?q=1").copied(1),
                post("/a", "body").copied(1),
                get("/a").at_port(":8080").copied(1),
                get("/a").field("x-a", "1").field("x-a", "2").copied(1),
                get("/").does("503").copied(1),
                get("/").does("204").copied(1),
                call().does("message-0").copied(1),
            ],
        ),
        scene(
            "a copy of none",
            "mirror: {host: shadow}, mirrorPercentage: {value: 0}",
            "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: shadow, runtime_fraction: \
             {default_value: {numerator: 0}}}]}",
            vec![get("/"), post("/", "body")],
        ),
        scene(
            "two copies",
            "mirrors: [{destination: {host: shadow}}, {destination: {host: shadow}, percentage: {value: 100}}]",
            "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: shadow}, {cluster: shadow}]}",
            vec![post("/", "body").copied(2)],
        ),
        scene(
            "a copy of what was edited",
            "match: [{uri: {prefix: /a}}], rewrite: {uri: /new, authority: other.example}, headers: {request: {set: \
             {x-a: b}}}, mirror: {host: shadow}",
            "match: {prefix: /a}, request_headers_to_add: [{header: {key: x-a, value: b}}], route: {cluster: \"@UP\", \
             timeout: 0s, prefix_rewrite: /new, host_rewrite_literal: other.example, request_mirror_policies: \
             [{cluster: shadow}]}",
            vec![get("/a/b").copied(1), post("/a", "body").copied(1)],
        ),
        scene(
            "a copy of what is tried again",
            "timeout: 0s, retries: {attempts: 2, backoff: 1ms, retryOn: 5xx}, mirror: {host: shadow}",
            "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 2, retry_back_off: {base_interval: \
             0.001s}, retry_on: 5xx}, request_mirror_policies: [{cluster: shadow}]}",
            vec![post("/", "body").does("503,503,200").copied(1)],
        ),
        scene(
            "a copy to nobody",
            "mirrors: [{destination: {host: none}}, {destination: {host: refused}}]",
            "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: none}, {cluster: refused}]}",
            vec![get("/"), post("/", "body")],
        ),
        scene(
            "a copy of what is aborted",
            "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, mirror: {host: shadow}",
            "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: shadow}]}, \
             typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: \
             418, percentage: {numerator: 100}}}}",
            vec![get("/")],
        ),
        scene(
            "a copy of what finds no endpoint",
            "route: [{destination: {host: none}}], mirror: {host: shadow}",
            "route: {cluster: none, timeout: 0s, request_mirror_policies: [{cluster: shadow}]}",
            vec![get("/").only(Http::One)],
        ),
    ]
}

fn upgrades() -> Vec<Scene> {
    let allowed = "route: {cluster: \"@UP\", timeout: 0s, upgrade_configs: [{upgrade_type: websocket}]}";
    vec![
        scene(
            "an upgrade that is allowed",
            "timeout: 0s",
            allowed,
            vec![
                upgrade("/a?q=1", "websocket").does("switch"),
                upgrade("/", "WebSocket").does("switch"),
                upgrade("/", "websocket").field("sec-websocket-key", "a").does("403"),
                upgrade("/", "websocket").does("200"),
                upgrade("/", "websocket").does("close"),
                upgrade("/", "other").does("switch"),
                upgrade("/", "websocket, other").does("switch"),
                unnamed_upgrade("/", "websocket").does("200"),
                unnamed_upgrade("/", "other").does("200"),
            ],
        ),
        scene(
            "an upgrade with edits",
            "match: [{uri: {prefix: /a}}], rewrite: {uri: /new}, headers: {request: {set: {x-a: b}}, response: {set: \
             {x-c: d}}}",
            "match: {prefix: /a}, request_headers_to_add: [{header: {key: x-a, value: b}}], response_headers_to_add: \
             [{header: {key: x-c, value: d}}], route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new, \
             upgrade_configs: [{upgrade_type: websocket}]}",
            vec![upgrade("/a", "websocket").does("switch"), upgrade("/b", "websocket").does("switch")],
        ),
        scene(
            "an upgrade of what is aborted",
            "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}",
            "route: {cluster: \"@UP\", timeout: 0s, upgrade_configs: [{upgrade_type: websocket}]}, \
             typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: \
             418, percentage: {numerator: 100}}}}",
            vec![upgrade("/", "websocket")],
        ),
        scene(
            "an upgrade in time",
            "timeout: 100ms",
            "route: {cluster: \"@UP\", timeout: 0.1s, upgrade_configs: [{upgrade_type: websocket}]}",
            vec![upgrade("/", "websocket").does("hang")],
        ),
    ]
}
