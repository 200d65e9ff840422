//! How a routing is written as RouteRules.
//!
//! Law: it is written from what was drawn, and knows nothing of Envoy's configuration.

use serde_json::{Map, Value, json};

use super::drawn::{ALL, Action, Conditions, Drawn, Path, Rule, VERSIONS};
use super::virtual_services::said;

/// An object for each rule, as they stand.
pub(super) fn written(drawn: &Drawn) -> Vec<Value> {
    drawn.rules(false).map(|(place, rule)| object(drawn, place, rule)).collect()
}

/// One that claims the service in vain: it sends everything to the last version.
pub(super) fn in_vain(drawn: &Drawn) -> Value {
    json!({
        "apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule",
        "metadata": {"name": format!("lost-{}", drawn.number)},
        "spec": {"destination": {"name": drawn.own()}, "precedence": 9, "appendHeaders": {"x-route": "lost"},
                 "route": [{"labels": {"version": VERSIONS[5]}}]},
    })
}

fn object(drawn: &Drawn, place: usize, rule: &Rule) -> Value {
    let precedence = &rule.precedence;
    let mut spec = json!({"destination": {"name": drawn.own(), "namespace": "default"}});
    // The default is left out.
    if precedence.number != 0 {
        spec["precedence"] = json!(precedence.number);
    }
    let matches = matches(&rule.alternatives[0]);
    if !matches.is_empty() {
        spec["match"] = matches.into();
    }
    match &rule.action {
        Action::Forward { shares, own, path, host } => {
            spec["appendHeaders"] = json!({"x-route": drawn.told(place)});
            // No list means all of the service, too.
            if !(*own && shares[0].0 == ALL && place.is_multiple_of(2)) {
                spec["route"] = shares.iter().map(|one| share(*own, one, shares.len())).collect();
            }
            if path.is_some() || host.is_some() {
                spec["rewrite"] = said(path.as_ref(), *host);
            }
        }
        Action::Redirect { host, path, .. } => spec["redirect"] = said(path.as_ref(), host.as_deref()),
        // None can say it, and none is drawn.
        Action::Direct(_) => {}
    }
    json!({
        "apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule",
        "metadata": {"name": precedence.name, "namespace": precedence.namespace}, "spec": spec,
    })
}

fn share(own: bool, (version, weight): &(usize, u32), count: usize) -> Value {
    let mut share = json!({});
    if !own {
        share["destination"] = json!({"name": "x", "namespace": "default"});
    }
    if *version != ALL {
        share["labels"] = json!({"version": VERSIONS.get(*version).unwrap_or(&"nobody")});
    }
    if count > 1 {
        share["weight"] = json!(weight);
    }
    share
}

fn matches(conditions: &Conditions) -> Map<String, Value> {
    let mut headers = Map::new();
    match conditions.path {
        Path::Exact(text, _) => drop(headers.insert("uri".into(), json!({"exact": text}))),
        Path::Prefix(text, _) => drop(headers.insert("uri".into(), json!({"prefix": text}))),
        Path::Regex(text) => drop(headers.insert("uri".into(), json!({"regex": text}))),
        _ => {}
    }
    let pseudo = [
        ("scheme", &conditions.scheme),
        ("authority", &conditions.authority),
        ("method", &conditions.method),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    let own = conditions.headers.iter().map(|(name, text)| (*name, text));
    headers.extend(pseudo.chain(own).map(|(name, text)| (name.to_owned(), text.istio())));
    let mut matches = Map::new();
    if !headers.is_empty() {
        matches.insert("request".into(), json!({"headers": headers}));
    }
    if conditions.caller {
        matches
            .insert("source".into(), json!({"name": "web", "namespace": "shop", "labels": {"app": "web"}}));
    }
    matches
}
