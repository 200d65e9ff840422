//! How a routing is written for Envoy.
//!
//! Law: it is written from what was drawn, and knows nothing of VirtualServices.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::drawn::{Action, Conditions, Drawn, Path, Text, VERSIONS};
use super::envoy::{bootstrap, cluster};

/// A bootstrap with one cluster for each version.
pub(super) fn written(drawn: &[Drawn], upstreams: &[SocketAddr]) -> String {
    let hosts: Vec<Value> = drawn
        .iter()
        .map(|one| {
            let routes = one.rules.iter().enumerate().flat_map(|(place, rule)| {
                let told = one.told(place);
                rule.alternatives.iter().map(move |conditions| route(&told, conditions, &rule.action))
            });
            let routes: Vec<Value> = routes.collect();
            json!({"name": one.hosts[0], "domains": one.hosts, "routes": routes})
        })
        .collect();
    let clusters: Vec<String> = VERSIONS
        .iter()
        .zip(upstreams)
        .map(|(version, &address)| cluster(version, Some(address), ""))
        .collect();
    let manager =
        "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST";
    // Weir's rules are for hosts, whatever the port.
    let routes = format!("ignore_port_in_host_matching: true, virtual_hosts: {}", Value::from(hosts));
    bootstrap(manager, &[], &routes, &clusters)
}

fn matches_of_envoy(conditions: &Conditions) -> Value {
    let mut matches = match conditions.path {
        Path::Any => json!({"prefix": "/"}),
        Path::Exact(text, ignore) => json!({"path": text, "case_sensitive": !ignore}),
        Path::Prefix(text, ignore) => json!({"prefix": text, "case_sensitive": !ignore}),
        Path::Regex(text) => json!({"safe_regex": {"regex": text}}),
    };
    let named = |name: &str, text: &Text| {
        let mut all = text.envoy();
        all["name"] = name.into();
        all
    };
    let pseudo = [
        (":scheme", &conditions.scheme),
        (":authority", &conditions.authority),
        (":method", &conditions.method),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, text)| Some(named(name, text.as_ref()?)));
    let without = conditions.without.iter().map(|(name, text)| {
        let mut all = named(name, text);
        all["invert_match"] = true.into();
        // Without it an absent field does not satisfy an inverted condition.
        if !matches!(text, Text::Present) {
            all["treat_missing_header_as_empty"] = true.into();
        }
        all
    });
    let headers = conditions.headers.iter().map(|(name, text)| named(name, text));
    matches["headers"] = pseudo.chain(headers).chain(without).collect();
    matches["query_parameters"] = conditions.query.iter().map(|(name, text)| named(name, text)).collect();
    matches
}

fn route(told: &str, conditions: &Conditions, action: &Action) -> Value {
    let told =
        json!({"header": {"key": "x-route", "value": told}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let mut route = json!({"match": matches_of_envoy(conditions), "response_headers_to_add": [told]});
    match action {
        Action::Forward { shares, path, host } => {
            let share =
                |(version, weight): &(usize, u32)| json!({"name": VERSIONS[*version], "weight": weight});
            let clusters: Vec<Value> = shares.iter().map(share).collect();
            let mut action = json!({"weighted_clusters": {"clusters": clusters}, "timeout": "0s"});
            if let Some(path) = path {
                action["prefix_rewrite"] = json!(path);
            }
            if let Some(host) = host {
                action["host_rewrite_literal"] = json!(host);
            }
            route["route"] = action;
        }
        Action::Redirect { path, host, status } => {
            let words =
                ["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
            let place = [301, 302, 303, 307, 308].iter().position(|one| one == status).unwrap_or_default();
            let mut action = json!({"response_code": words[place]});
            if let Some(path) = path {
                action["path_redirect"] = json!(path);
            }
            if let Some(host) = host {
                action["host_redirect"] = json!(host);
            }
            route["redirect"] = action;
        }
        Action::Direct(status) => route["direct_response"] = json!({"status": status}),
    }
    route
}

impl Text {
    fn envoy(&self) -> Value {
        match self {
            Text::Exact(text) => json!({"string_match": {"exact": text}}),
            Text::Prefix(text) => json!({"string_match": {"prefix": text}}),
            Text::Regex(text) => json!({"string_match": {"safe_regex": {"regex": text}}}),
            Text::Present => json!({"present_match": true}),
        }
    }
}
