//! How a routing is written as a VirtualService.
//!
//! Law: it is written from what was drawn, and knows nothing of Envoy's configuration.

use serde_json::{Map, Value, json};

use super::drawn::{Action, Conditions, Drawn, NOBODY, Path, Replaced, Rule, Text, VERSIONS};

const API: &str = "networking.istio.io/v1";

/// The subsets of a service.
pub(super) fn destination_rule(service: &str) -> Value {
    let subsets: Vec<Value> =
        VERSIONS.iter().map(|version| json!({"name": version, "labels": {"version": version}})).collect();
    json!({
        "apiVersion": API, "kind": "DestinationRule", "metadata": {"name": service},
        "spec": {"host": service, "subsets": subsets},
    })
}

/// One that claims the same hosts in vain: it sends everything to the last version.
pub(super) fn in_vain(drawn: &Drawn) -> Value {
    json!({
        "apiVersion": API, "kind": "VirtualService", "metadata": {"name": format!("lost-{}", drawn.number)},
        "spec": {"hosts": hosts(drawn), "http": [{
            "headers": {"response": {"set": {"x-route": "lost"}}},
            "route": [{"destination": {"host": "x", "subset": VERSIONS[5]}}],
        }]},
    })
}

/// That of the routing, older than any without a date.
pub(super) fn written(drawn: &Drawn) -> Value {
    let http: Vec<Value> = drawn.rules(false).map(|(place, rule)| http(drawn, place, rule)).collect();
    let name = format!("drawn-{}", drawn.number);
    json!({
        "apiVersion": API, "kind": "VirtualService",
        "metadata": {"name": name, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"hosts": hosts(drawn), "http": http},
    })
}

/// A service goes by one of its names.
fn hosts(drawn: &Drawn) -> Vec<String> {
    if drawn.service { vec![drawn.own()] } else { drawn.hosts.clone() }
}

/// An alternative; where it says nothing, every request is meant.
fn matches(conditions: &Conditions) -> Map<String, Value> {
    let mut matches = Map::new();
    let uri = match conditions.path {
        Path::Exact(text, ignore) => Some((json!({"exact": text}), ignore)),
        Path::Prefix(text, ignore) => Some((json!({"prefix": text}), ignore)),
        Path::Regex(text) => Some((json!({"regex": text}), false)),
        _ => None,
    };
    if let Some((uri, ignore)) = uri {
        matches.insert("uri".into(), uri);
        if ignore {
            matches.insert("ignoreUriCase".into(), true.into());
        }
    }
    for (key, text) in
        [("scheme", &conditions.scheme), ("authority", &conditions.authority), ("method", &conditions.method)]
    {
        if let Some(text) = text {
            matches.insert(key.into(), text.istio());
        }
    }
    for (key, all) in [
        ("headers", &conditions.headers),
        ("withoutHeaders", &conditions.without),
        ("queryParams", &conditions.query),
    ] {
        let all: Map<String, Value> =
            all.iter().map(|(name, text)| ((*name).to_owned(), text.istio())).collect();
        if !all.is_empty() {
            matches.insert(key.into(), all.into());
        }
    }
    if conditions.caller {
        matches.insert("sourceLabels".into(), json!({"app": "web"}));
        matches.insert("sourceNamespace".into(), json!("shop"));
    }
    matches
}

fn http(drawn: &Drawn, place: usize, rule: &Rule) -> Value {
    let mut http = json!({"headers": {"response": {"set": {"x-route": drawn.told(place)}}}});
    let alternatives: Vec<Map<String, Value>> = rule.alternatives.iter().map(matches).collect();
    // An alternative that says nothing is none: then every request is meant.
    if alternatives.iter().all(|one| !one.is_empty()) {
        http["match"] = json!(alternatives);
    }
    match &rule.action {
        Action::Forward { shares, own, path, host } => {
            let share = |(version, weight): &(usize, u32)| {
                let mut destination = json!({"host": drawn.target(*own)});
                match VERSIONS.get(*version) {
                    Some(version) => destination["subset"] = json!(version),
                    None if *version == NOBODY => destination["subset"] = json!("nobody"),
                    None => {}
                }
                json!({"destination": destination, "weight": weight})
            };
            http["route"] = shares.iter().map(share).collect();
            if path.is_some() || host.is_some() {
                http["rewrite"] = said(path.as_ref(), *host);
            }
        }
        Action::Redirect { scheme, host, port, path, status } => {
            let mut redirect = said(path.as_ref(), host.as_deref());
            redirect["redirectCode"] = json!(status);
            if let Some(scheme) = scheme {
                redirect["scheme"] = json!(scheme);
            }
            if let Some(port) = port {
                redirect["port"] = json!(port);
            }
            http["redirect"] = redirect;
        }
        Action::Direct(status) => http["directResponse"] = json!({"status": status}),
    }
    http
}

/// `uri:` or `uriRegexRewrite:`, and `authority:`.
pub(super) fn said(path: Option<&Replaced>, host: Option<&str>) -> Value {
    let path = path.map(|path| match path {
        Replaced::Matched(path) | Replaced::Whole(path) => ("uri", Value::from(path.as_str())),
        Replaced::Expression(expression, instead) => {
            ("uriRegexRewrite", json!({"match": expression, "rewrite": instead}))
        }
    });
    let all = [path, host.map(|host| ("authority", Value::from(host)))];
    all.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Text {
    /// As VirtualServices and RouteRules write it.
    pub(super) fn istio(&self) -> Value {
        match self {
            Text::Exact(text) => json!({"exact": text}),
            Text::Prefix(text) => json!({"prefix": text}),
            Text::Regex(text) => json!({"regex": text}),
            Text::Present => json!({}),
        }
    }
}
