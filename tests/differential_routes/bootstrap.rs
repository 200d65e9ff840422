//! How a routing is written for Envoy.
//!
//! Law: it is written from what was drawn, and knows nothing of how Weir's dialects are written or read.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::drawn::{ALL, Action, Conditions, Dialect, Drawn, Path, Replaced, Text, VERSIONS};
use super::envoy::{bootstrap, cluster, of_endpoints, speaks_as_asked};

/// A cluster of all versions, and one that is not there.
const WHOLE: &str = "all";
const NOWHERE: &str = "nowhere";
/// The field that tells an endpoint's address of the caller.
const CALLER: &str = "x-caller";
/// Stands for a listener's own port, which it chooses itself.
pub(super) const LISTENERS_PORT: u16 = 7;

/// A bootstrap for routings whose known caller has this address.
pub(super) fn written(drawn: &[Drawn], upstreams: &[SocketAddr], caller: &str) -> String {
    let hosts = drawn
        .iter()
        .map(|one| json!({"name": one.hosts[0], "domains": one.hosts, "routes": routes(one, caller)}));
    of_hosts(hosts.collect(), upstreams)
}

/// A bootstrap with these virtual hosts, a cluster for each version and one of all.
pub(super) fn of_hosts(hosts: Vec<Value>, upstreams: &[SocketAddr]) -> String {
    let mut clusters: Vec<String> = VERSIONS
        .iter()
        .zip(upstreams)
        .map(|(version, &address)| cluster(version, Some(address), &speaks_as_asked()))
        .collect();
    clusters.push(of_endpoints(WHOLE, upstreams, &speaks_as_asked()));
    let header = json!({"key": CALLER, "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"});
    let kind =
        "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
    let early = json!([{
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": kind, "mutations": [
            {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
        ]},
    }]);
    let manager = format!(
        "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST, \
         early_header_mutation_extensions: {early}"
    );
    // Weir's rules are for hosts, whatever the port; a share may be nobody's.
    let routes = format!(
        "ignore_port_in_host_matching: true, validate_clusters: false, virtual_hosts: {}",
        Value::from(hosts)
    );
    bootstrap(&manager, &[], &routes, &clusters)
}

/// Of one host, in order.
fn routes(one: &Drawn, caller: &str) -> Vec<Value> {
    let route = |(place, conditions): (usize, &Conditions), calls: bool| {
        let (rule, told) = (&one.rules[place], one.told(place));
        let mut route = json!({"match": matches(conditions, caller)});
        act(&mut route, one, &rule.action, calls);
        if calls {
            route["match"]["grpc"] = json!({});
        }
        let told = json!({"header": {"key": "x-route", "value": told}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
        // A RouteRule edits no answers: who is asked says what came with the request.
        match one.dialect == Dialect::RouteRule && !rule.calls {
            true => route["request_headers_to_add"] = json!([told]),
            false => route["response_headers_to_add"] = json!([told]),
        }
        route
    };
    let mut routes: Vec<Value> =
        one.calls_in_order().into_iter().map(|conditions| route(conditions, true)).collect();
    if one.has_all_calls() {
        routes.push(json!({"match": {"prefix": "/", "grpc": {}}, "direct_response": {"status": 404}}));
    }
    for conditions in one.in_order() {
        // A call gets UNAVAILABLE from a backend that nobody knows, whatever routes it.
        if one.leads_nowhere(conditions.0) {
            routes.push(route(conditions, true));
        }
        routes.push(route(conditions, false));
    }
    if one.falls_back() {
        routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": WHOLE, "timeout": "0s"}}));
    }
    routes
}

fn matches(conditions: &Conditions, caller: &str) -> Value {
    let expression = |text: String| json!({"safe_regex": {"regex": text}});
    let part = |text: Option<&'static str>| text.unwrap_or("[^/]+");
    let mut matches = match conditions.path {
        Path::Any => json!({"prefix": "/"}),
        Path::Exact(text, ignore) => json!({"path": text, "case_sensitive": !ignore}),
        Path::Prefix(text, ignore) => json!({"prefix": text, "case_sensitive": !ignore}),
        Path::Segments(text) => json!({"path_separated_prefix": text.trim_end_matches('/')}),
        Path::Regex(text) => expression(text.to_owned()),
        Path::Call(Some(service), Some(method)) => json!({"path": format!("/{service}/{method}")}),
        Path::Call(Some(service), None) => json!({"prefix": format!("/{service}/")}),
        Path::Call(None, method) => expression(format!("/[^/]+/{}", part(method))),
        Path::CallRegex(service, method) => expression(format!("/({})/({})", part(service), part(method))),
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
    let known = conditions.caller.then(|| json!({"name": CALLER, "string_match": {"exact": caller}}));
    let headers = conditions.headers.iter().map(|(name, text)| named(name, text));
    matches["headers"] = pseudo.chain(headers).chain(without).chain(known).collect();
    matches["query_parameters"] = conditions.query.iter().map(|(name, text)| named(name, text)).collect();
    matches
}

fn act(route: &mut Value, one: &Drawn, action: &Action, calls: bool) {
    match action {
        Action::Forward { shares, path, host, .. } => {
            let share = |(version, weight): &(usize, u32)| {
                let whole = if *version == ALL { WHOLE } else { NOWHERE };
                json!({"name": VERSIONS.get(*version).unwrap_or(&whole), "weight": weight})
            };
            let clusters: Vec<Value> = shares.iter().map(share).collect();
            let mut action = json!({"weighted_clusters": {"clusters": clusters}, "timeout": "0s"});
            // The Gateway API says what a backend that nobody knows answers.
            if one.dialect == Dialect::Gateway && !calls {
                action["cluster_not_found_response_code"] = json!("INTERNAL_SERVER_ERROR");
            }
            match path {
                None => {}
                Some(Replaced::Matched(path)) => action["prefix_rewrite"] = json!(path),
                Some(Replaced::Whole(path)) => {
                    action["regex_rewrite"] = json!({"pattern": {"regex": "^.*$"}, "substitution": path});
                }
                Some(Replaced::Expression(expression, instead)) => {
                    action["regex_rewrite"] =
                        json!({"pattern": {"regex": expression}, "substitution": instead});
                }
            }
            if let Some(host) = host {
                action["host_rewrite_literal"] = json!(host);
            }
            route["route"] = action;
        }
        Action::Redirect { .. } => route["redirect"] = redirect(one, action),
        Action::Direct(status) => route["direct_response"] = json!({"status": status}),
    }
}

fn redirect(one: &Drawn, action: &Action) -> Value {
    let Action::Redirect { scheme, host, port, path, status } = action else { return Value::Null };
    let words = ["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
    let place = [301, 302, 303, 307, 308].iter().position(|one| one == status).unwrap_or_default();
    let mut action = json!({"response_code": words[place]});
    match path {
        None => {}
        Some(Replaced::Matched(path)) => action["prefix_rewrite"] = json!(path),
        Some(Replaced::Whole(path)) => action["path_redirect"] = json!(path),
        Some(Replaced::Expression(..)) => unreachable!("no dialect has one for a redirect"),
    }
    if let Some(scheme) = scheme {
        action["scheme_redirect"] = json!(scheme);
    }
    if let Some(host) = host {
        action["host_redirect"] = json!(host);
    }
    // The Gateway API has that of the listener, unless callers use a service's.
    let of_listener = one.dialect == Dialect::Gateway && !one.service && scheme.is_none();
    if let Some(port) = port.or(of_listener.then_some(LISTENERS_PORT)) {
        action["port_redirect"] = json!(port);
    }
    action
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
