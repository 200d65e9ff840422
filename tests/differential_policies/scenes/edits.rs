//! Edits of fields, of the route and of its shares, and rewrites of path and host.

use super::{Http, Scene, call, get, http_route, post, scene};

pub(in super::super) fn edits() -> Vec<Scene> {
    [fields(), rewrites()].into_iter().flatten().collect()
}

fn fields() -> Vec<Scene> {
    vec![
        scene(
            "edits of a request",
            "headers: {request: {set: {x-set: new, x-both: new}, add: {x-add: more}, remove: [x-gone]}}",
            "request_headers_to_add: [{header: {key: x-set, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, \
             {header: {key: x-both, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-add, \
             value: more}}], request_headers_to_remove: [x-gone]",
            vec![
                get("/"),
                get("/").field("x-set", "old").field("x-add", "old").field("x-gone", "old"),
                get("/").field("x-gone", "1").field("x-gone", "2").field("x-both", "1").field("x-both", "2"),
                post("/", "body").field("x-add", ""),
                call().field("x-add", "old"),
            ],
        ),
        scene(
            "edits of an answer",
            "headers: {response: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}}",
            "response_headers_to_add: [{header: {key: x-set, value: new}, append_action: \
             OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-add, value: more}}], response_headers_to_remove: [x-gone]",
            vec![
                get("/"),
                get("/").emits("x-set=old;x-add=old;x-gone=old;x-gone=older"),
                get("/").does("503").emits("x-set=old"),
                get("/").does("204").emits("x-gone=old"),
                call().does("grpc-14").emits("x-add=old"),
            ],
        ),
        scene(
            "one field removed and set",
            "headers: {request: {set: {x-a: new}, remove: [x-a]}, response: {set: {x-b: new}, remove: [x-b]}}",
            "request_headers_to_add: [{header: {key: x-a, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}], \
             request_headers_to_remove: [x-a], response_headers_to_add: [{header: {key: x-b, value: new}, \
             append_action: OVERWRITE_IF_EXISTS_OR_ADD}], response_headers_to_remove: [x-b]",
            vec![get("/").field("x-a", "old").emits("x-b=old")],
        ),
        scene(
            "edits of a share and of its route",
            "route: [{destination: {host: \"@UP\"}, headers: {request: {set: {x-set: share}, add: {x-add: share}, \
             remove: [x-gone]}, response: {set: {x-told: share}, add: {x-more: share}}}}], headers: {request: {set: \
             {x-set: route}, add: {x-add: route}}, response: {set: {x-told: route}, add: {x-more: route}}}",
            "route: {timeout: 0s, weighted_clusters: {clusters: [{name: \"@UP\", weight: 1, request_headers_to_add: \
             [{header: {key: x-set, value: share}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-add, \
             value: share}}], request_headers_to_remove: [x-gone], response_headers_to_add: [{header: {key: x-told, \
             value: share}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-more, value: share}}]}]}}, \
             request_headers_to_add: [{header: {key: x-set, value: route}, append_action: \
             OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-add, value: route}}], response_headers_to_add: [{header: \
             {key: x-told, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-more, value: \
             route}}]",
            vec![get("/"), get("/").field("x-gone", "1").field("x-add", "old").emits("x-more=old")],
        ),
        scene(
            "plain",
            "timeout: 0s",
            "",
            vec![
                get("/a?q=1").field("x-a", "1").field("x-a", "2"),
                post("/", "body")
                    .field("content-type", "text/plain")
                    .field("accept", "a")
                    .field("accept", "b"),
                get("/").does("404").emits("x-b=1;x-b=2;set-cookie=a=b;set-cookie=c"),
                get("/")
                    .field("te", "trailers, deflate")
                    .field("connection", "x-a")
                    .field("x-a", "1")
                    .only(Http::One),
                get("/").does("304").emits("etag=1"),
                call().does("message-0"),
                call().does("grpc-5"),
            ],
        ),
    ]
}

fn rewrites() -> Vec<Scene> {
    vec![
        scene(
            "rewrite of a prefix",
            "match: [{uri: {prefix: /a/}}], rewrite: {uri: /new/}",
            "match: {prefix: /a/}, route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new/}",
            vec![get("/a/"), get("/a/b?q=1"), get("/a/b/../c"), post("/a/b", "body")],
        ),
        scene(
            "rewrite of a prefix in another case",
            "match: [{uri: {prefix: /a}, ignoreUriCase: true}], rewrite: {uri: /new}",
            "match: {prefix: /a, case_sensitive: false}, route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new}",
            vec![get("/A/B"), get("/ab")],
        ),
        scene(
            "rewrite of an exact path",
            "match: [{uri: {exact: /a}}], rewrite: {uri: /new}",
            "match: {path: /a}, route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new}",
            vec![get("/a"), get("/a?q=1")],
        ),
        scene(
            "rewrite to a query",
            "match: [{uri: {prefix: /a}}], rewrite: {uri: /new/x}",
            "match: {prefix: /a}, route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new/x}",
            vec![get("/a?"), get("/a?q=/a"), get("/a/%41")],
        ),
        scene(
            "rewrite by an expression",
            "match: [{uri: {prefix: /v1/}}], rewrite: {uriRegexRewrite: {match: \"^/v1/models/([^/:]+)(.*)$\", \
             rewrite: '/m/\\1\\2'}}",
            "match: {prefix: /v1/}, route: {cluster: \"@UP\", timeout: 0s, regex_rewrite: {pattern: {regex: \
             \"^/v1/models/([^/:]+)(.*)$\"}, substitution: '/m/\\1\\2'}}",
            vec![get("/v1/models/a:predict?q=1"), get("/v1/models/b/versions/2"), get("/v1/other")],
        ),
        scene(
            "rewrite of every place",
            "rewrite: {uriRegexRewrite: {match: \"o+\", rewrite: \"0\"}}",
            "route: {cluster: \"@UP\", timeout: 0s, regex_rewrite: {pattern: {regex: \"o+\"}, substitution: \"0\"}}",
            vec![get("/foo/oo?o=o"), get("/a")],
        ),
        scene(
            "rewrite of the host",
            "rewrite: {authority: other.example}",
            "route: {cluster: \"@UP\", timeout: 0s, host_rewrite_literal: other.example}",
            vec![get("/a"), get("/a").at_port(":8080"), call()],
        ),
        scene(
            "rewrite of both",
            "match: [{uri: {prefix: /a}}], rewrite: {authority: \"other.example:81\", uri: /}",
            "match: {prefix: /a}, route: {cluster: \"@UP\", timeout: 0s, host_rewrite_literal: \"other.example:81\", \
             prefix_rewrite: /}",
            vec![get("/a"), get("/ab")],
        ),
        http_route(
            "rewrite of a prefix by segments",
            "matches: [{path: {type: PathPrefix, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: \
             {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]",
            "match: {path_separated_prefix: /a}, route: {cluster: \"@UP\", timeout: 0s, prefix_rewrite: /new}",
            vec![get("/a"), get("/a/b?q=1"), get("/a/"), get("/ab")],
        ),
        http_route(
            "rewrite of the whole path",
            "matches: [{path: {type: PathPrefix, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: \
             {type: ReplaceFullPath, replaceFullPath: /new}, hostname: other.example}}]",
            "match: {path_separated_prefix: /a}, route: {cluster: \"@UP\", timeout: 0s, host_rewrite_literal: \
             other.example, regex_rewrite: {pattern: {regex: \"^.*$\"}, substitution: /new}}",
            vec![get("/a/b?q=1")],
        ),
    ]
}
