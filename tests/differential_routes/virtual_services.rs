//! How a routing is written as VirtualServices.
//!
//! Law: it is written from what was drawn, and knows nothing of Envoy's configuration.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::drawn::{Action, Conditions, Drawn, Path, Rule, Text, VERSIONS};

/// weir.yaml, and VirtualServices with their DestinationRule.
pub(super) fn written(drawn: &[Drawn], upstreams: &[SocketAddr]) -> (String, String) {
    let mut yaml = String::from(
        "listeners: [{name: in, address: \"127.0.0.1:0\"}]\nservices:\n- name: x\n  protocol: http1\n  endpoints:\n",
    );
    for (version, address) in VERSIONS.iter().zip(upstreams) {
        yaml += &format!("  - {{address: \"{address}\", labels: {{version: {version}}}}}\n");
    }
    let subsets: Vec<Value> =
        VERSIONS.iter().map(|version| json!({"name": version, "labels": {"version": version}})).collect();
    let mut objects = vec![json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "x"},
        "spec": {"host": "x", "subsets": subsets},
    })];
    for (number, one) in drawn.iter().enumerate() {
        let http: Vec<Value> =
            one.rules.iter().enumerate().map(|(place, rule)| istio(&one.told(place), rule)).collect();
        objects.push(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("drawn-{number}")}, "spec": {"hosts": one.hosts, "http": http},
        }));
    }
    let rules: Vec<String> = objects.iter().map(Value::to_string).collect();
    (yaml, rules.join("\n---\n"))
}

/// An alternative; where it says nothing, every request is meant.
fn matches_of_istio(conditions: &Conditions) -> Map<String, Value> {
    let mut matches = Map::new();
    let uri = match conditions.path {
        Path::Any => None,
        Path::Exact(text, ignore) => Some((json!({"exact": text}), ignore)),
        Path::Prefix(text, ignore) => Some((json!({"prefix": text}), ignore)),
        Path::Regex(text) => Some((json!({"regex": text}), false)),
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
    matches
}

fn istio(told: &str, rule: &Rule) -> Value {
    let mut http = json!({"headers": {"response": {"set": {"x-route": told}}}});
    let alternatives: Vec<Map<String, Value>> = rule.alternatives.iter().map(matches_of_istio).collect();
    // An alternative that says nothing is none: then every request is meant.
    if alternatives.iter().all(|one| !one.is_empty()) {
        http["match"] = json!(alternatives);
    }
    match &rule.action {
        Action::Forward { shares, path, host } => {
            let share = |(version, weight): &(usize, u32)| json!({"destination": {"host": "x", "subset": VERSIONS[*version]}, "weight": weight});
            http["route"] = shares.iter().map(share).collect();
            if path.is_some() || host.is_some() {
                http["rewrite"] = said([("uri", path), ("authority", host)]);
            }
        }
        Action::Redirect { path, host, status } => {
            http["redirect"] = said([("uri", path), ("authority", host)]);
            http["redirect"]["redirectCode"] = json!(status);
        }
        Action::Direct(status) => http["directResponse"] = json!({"status": status}),
    }
    http
}

fn said(all: [(&str, &Option<&str>); 2]) -> Value {
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from((*value)?)))).collect()
}

impl Text {
    fn istio(&self) -> Value {
        match self {
            Text::Exact(text) => json!({"exact": text}),
            Text::Prefix(text) => json!({"prefix": text}),
            Text::Regex(text) => json!({"regex": text}),
            Text::Present => json!({}),
        }
    }
}
