//! How a routing is written as HTTPRoutes and a GRPCRoute.
//!
//! Law: it is written from what was drawn, and knows nothing of Envoy's configuration.

use serde_json::{Map, Value, json};

use super::drawn::{ALL, Action, Conditions, Drawn, NOBODY, Path, Replaced, Rule, Text, VERSIONS};

/// The HTTPRoutes that have rules.
pub(super) fn http_routes(drawn: &Drawn) -> Vec<Value> {
    let objects = drawn.objects.iter().enumerate().filter_map(|(number, object)| {
        let own = drawn.rules(false).filter(|(_, rule)| rule.object == number);
        let rules: Vec<Value> = own.map(|(place, one)| rule(drawn, place, one)).collect();
        let mut metadata = json!({"name": object.name});
        if let Some(day) = object.created {
            metadata["creationTimestamp"] = json!(format!("2024-01-0{day}T00:00:00Z"));
        }
        (!rules.is_empty()).then(|| route(drawn, "HTTPRoute", &metadata, &rules))
    });
    objects.collect()
}

/// That with the rules for calls, if there are any.
pub(super) fn grpc_route(drawn: &Drawn) -> Option<Value> {
    let rules: Vec<Value> = drawn.rules(true).map(|(place, one)| rule(drawn, place, one)).collect();
    let metadata = json!({"name": format!("calls-{}", drawn.number)});
    (!rules.is_empty()).then(|| route(drawn, "GRPCRoute", &metadata, &rules))
}

fn route(drawn: &Drawn, kind: &str, metadata: &Value, rules: &[Value]) -> Value {
    let mut spec = json!({"rules": rules});
    match drawn.service {
        true => spec["parentRefs"] = json!([{"group": "", "kind": "Service", "name": drawn.own()}]),
        false => spec["hostnames"] = json!(drawn.hosts),
    }
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn rule(drawn: &Drawn, place: usize, rule: &Rule) -> Value {
    let told = json!({"set": [{"name": "x-route", "value": drawn.told(place)}]});
    let mut filters = vec![json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": told})];
    let mut written = json!({"name": format!("r{place}")});
    let alternatives: Vec<Map<String, Value>> =
        rule.alternatives.iter().map(|one| if rule.calls { called(one) } else { matches(one) }).collect();
    // A rule without alternatives is for every request; so is an alternative without conditions.
    if alternatives.len() > 1 || !alternatives[0].is_empty() {
        written["matches"] = json!(alternatives);
    }
    match &rule.action {
        Action::Forward { shares, own, path, host } => {
            written["backendRefs"] = shares.iter().map(|share| backend(&drawn.target(*own), share)).collect();
            if path.is_some() || host.is_some() {
                let rewrite = replacing(path.as_ref(), *host);
                filters.push(json!({"type": "URLRewrite", "urlRewrite": rewrite}));
            }
        }
        Action::Redirect { scheme, host, port, path, status } => {
            let mut redirect = replacing(path.as_ref(), host.as_deref());
            redirect.insert("statusCode".into(), json!(status));
            redirect.extend(scheme.map(|scheme| ("scheme".to_owned(), json!(scheme))));
            redirect.extend(port.map(|port| ("port".to_owned(), json!(port))));
            filters.push(json!({"type": "RequestRedirect", "requestRedirect": redirect}));
        }
        // What has no backend is answered with 500, a call with UNAVAILABLE.
        Action::Direct(_) => {}
    }
    written["filters"] = json!(filters);
    written
}

fn backend(service: &str, (version, weight): &(usize, u32)) -> Value {
    let name = match VERSIONS.get(*version) {
        Some(version) => format!("{service}-{version}"),
        None if *version == ALL => service.to_owned(),
        None => format!("{service}-v{NOBODY}0"),
    };
    json!({"name": name, "port": 80, "weight": weight})
}

fn replacing(path: Option<&Replaced>, host: Option<&str>) -> Map<String, Value> {
    let path = path.map(|path| match path {
        Replaced::Matched(text) => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": text}),
        Replaced::Whole(text) => json!({"type": "ReplaceFullPath", "replaceFullPath": text}),
        Replaced::Expression(..) => unreachable!("the Gateway API has none"),
    });
    let all = [("path", path), ("hostname", host.map(Value::from))];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// A match of an HTTPRoute.
fn matches(conditions: &Conditions) -> Map<String, Value> {
    let mut matches = Map::new();
    let path = match conditions.path {
        Path::Exact(text, _) => Some(("Exact", text)),
        Path::Segments(text) => Some(("PathPrefix", text)),
        Path::Regex(text) => Some(("RegularExpression", text)),
        _ => None,
    };
    if let Some((kind, text)) = path {
        matches.insert("path".into(), json!({"type": kind, "value": text}));
    }
    if let Some(Text::Exact(method)) = conditions.method {
        matches.insert("method".into(), json!(method));
    }
    let authority = conditions.authority.iter().map(|text| condition("Host", text));
    let own = conditions.headers.iter().map(|(name, text)| condition(name, text));
    let headers: Vec<Value> = authority.chain(own).collect();
    let query: Vec<Value> = conditions.query.iter().map(|(name, text)| condition(name, text)).collect();
    for (key, all) in [("headers", headers), ("queryParams", query)] {
        if !all.is_empty() {
            matches.insert(key.into(), json!(all));
        }
    }
    matches
}

/// A match of a GRPCRoute.
fn called(conditions: &Conditions) -> Map<String, Value> {
    let mut matches = Map::new();
    let called = match conditions.path {
        Path::Call(service, method) => Some(("Exact", service, method)),
        Path::CallRegex(service, method) => Some(("RegularExpression", service, method)),
        _ => None,
    };
    if let Some((kind, service, method)) = called {
        let mut written = json!({"type": kind});
        let parts = [("service", service), ("method", method)];
        parts.into_iter().for_each(|(key, part)| {
            if let Some(part) = part {
                written[key] = json!(part);
            }
        });
        matches.insert("method".into(), written);
    }
    let headers: Vec<Value> = conditions.headers.iter().map(|(name, text)| condition(name, text)).collect();
    if !headers.is_empty() {
        matches.insert("headers".into(), json!(headers));
    }
    matches
}

fn condition(name: &str, text: &Text) -> Value {
    match text {
        Text::Regex(text) => json!({"type": "RegularExpression", "name": name, "value": text}),
        Text::Exact(text) => json!({"name": name, "value": text}),
        // Neither can be said, nor is it drawn.
        Text::Prefix(text) => json!({"type": "Prefix", "name": name, "value": text}),
        Text::Present => json!({"type": "Present", "name": name}),
    }
}
