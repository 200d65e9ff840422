//! RouteRules -> a VirtualService for each host; DestinationPolicies and the labels of shares -> a DestinationRule.
//!
//! Law: precedence becomes the order of the list. Where nothing of a host's rules holds, RouteRule falls back to the whole
//! service and VirtualService to 404: so a last rule says it. Names of rules stay, as metrics have them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::said;
use super::{Host, Name, Notes, Settings, label, object, put, why_refused};
use crate::config::draft::{
    ActionDraft, ClusterDraft, HostRef, RouteDraft, RuleDraft, Select, ShareDraft, TrafficDraft,
};
use crate::snapshot::{
    AbortStatus, Cors, Fault, HeaderEdits, HeaderName, Labels, LbPolicy, PathMatch, PathRewrite, Redirect,
    RetryCondition, RetryPolicy, RoutePolicy,
};

const API_VERSION: &str = "networking.istio.io/v1";

/// The subsets of each host that something leads to.
#[derive(Default)]
struct Subsets(BTreeMap<Name, BTreeMap<Labels, String>>);

impl Subsets {
    /// What a DestinationRule will call the endpoints of `host` with these labels.
    fn name(&mut self, host: &Name, labels: &Labels) -> Option<String> {
        let known = self.0.entry(host.clone()).or_default();
        if labels.is_empty() {
            return None;
        }
        if let Some(name) = known.get(labels) {
            return Some(name.clone());
        }
        let base = said::slug(labels, true);
        let mut name = base.clone();
        let mut number = 2;
        while known.values().any(|other| *other == name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        known.insert(labels.clone(), name.clone());
        Some(name)
    }
}

/// What one host's rules are written with.
struct Writer<'w, 'd> {
    host: &'w Name,
    settings: &'w Settings<'d>,
    subsets: &'w mut Subsets,
    notes: &'w mut Notes,
}

pub(super) fn write(
    hosts: &[Host<'_>],
    policies: &[&TrafficDraft],
    settings: &Settings<'_>,
    notes: &mut Notes,
) -> Vec<Value> {
    let mut subsets = Subsets::default();
    let mut written: Vec<Value> = Vec::new();
    for host in hosts {
        subsets.0.entry(host.name.clone()).or_default();
        written.push(virtual_service(host, settings, &mut subsets, notes));
    }
    written.extend(destination_rules(subsets, policies, settings, notes));
    written
}

fn virtual_service(
    host: &Host<'_>,
    settings: &Settings<'_>,
    subsets: &mut Subsets,
    notes: &mut Notes,
) -> Value {
    let whole = |annotations: Map<String, Value>, http: Vec<Value>| {
        let (name, namespace) = (&host.name.short, &host.name.namespace);
        let mut whole = object(API_VERSION, "VirtualService", name, namespace, annotations);
        whole["spec"] = json!({"hosts": [name], "http": http});
        whole
    };
    let mut writer = Writer { host: &host.name, settings, subsets, notes };
    let mut http: Vec<Value> = Vec::new();
    let (mut said, mut lost) = (Vec::new(), Vec::new());
    let mut everything = false;
    for (place, (object, rule)) in host.rules.iter().enumerate() {
        let Some(written) = writer.rule(object, rule) else {
            lost.push(place);
            continue;
        };
        let own = said::annotations(rule);
        if let Some(reason) = why_refused(&whole(own.clone(), vec![written.clone()])) {
            let reason = format!("a VirtualService would not be taken, and the rule is left out: {reason}");
            writer.notes.tell(&rule.place, reason, "");
            lost.push(place);
            continue;
        }
        said.push((*rule, label(object, &host.name.namespace), own));
        everything |= written.get("match").is_none();
        http.push(written);
    }
    host.tell_of_lost(&lost, writer.notes);
    if !everything {
        let destination = json!({"host": host.name.from(&host.name.namespace)});
        http.push(json!({"name": "default-route", "route": [{"destination": destination}]}));
    }
    if let Some((_, rule)) = host.rules.iter().find(|(_, rule)| forwards(rule) && rule.upgrades.is_empty()) {
        let reason = "without `websocketUpgrade` upgrades were refused; a VirtualService always lets them";
        notes.tell(&rule.place, reason, "");
    }
    whole(annotations(said, notes), http)
}

fn forwards(rule: &RuleDraft) -> bool {
    matches!(rule.action, ActionDraft::Whole | ActionDraft::Shares(_))
}

/// The longest name of an annotation that Kubernetes takes.
const MAX_NAME_BYTES: usize = 63;

/// Those of all rules, which are one object from now on: by rule where they differ.
fn annotations(said: Vec<(&RuleDraft, String, Map<String, Value>)>, notes: &mut Notes) -> Map<String, Value> {
    let first = said.first().map(|(_, _, first)| first.clone()).unwrap_or_default();
    if said.iter().all(|(_, _, one)| *one == first) {
        return first;
    }
    let mut all = Map::new();
    for (rule, label, own) in said {
        for (key, value) in own {
            let key = format!("{key}.{label}");
            if key.rsplit('/').next().is_some_and(|name| name.len() <= MAX_NAME_BYTES) {
                all.insert(key, value);
            } else {
                let reason =
                    format!("the annotation `{key}` is longer than Kubernetes takes: it is left out");
                notes.tell(&rule.place, reason, "a shorter name of the rule");
            }
        }
    }
    all
}

impl Writer<'_, '_> {
    /// `None`: a condition of it has no equal.
    fn rule(&mut self, object: &RouteDraft, rule: &RuleDraft) -> Option<Value> {
        if let Some(source) = &rule.source {
            let reason = "`match.source` has no equal: the rule is left out";
            self.notes.tell(&source.place, reason, "sourceNamespace and sourceLabels come near it");
            return None;
        }
        let mut http = Map::new();
        put(&mut http, "name", label(object, &self.host.namespace));
        let matches = matches(rule);
        if !matches.is_empty() {
            put(&mut http, "match", json!([matches]));
        }
        match &rule.action {
            ActionDraft::Redirect(parts) => put(&mut http, "redirect", redirect(parts)),
            ActionDraft::Whole => {
                put(&mut http, "route", json!([{"destination": {"host": self.host.short}}]));
            }
            ActionDraft::Shares(shares) => {
                let lone = shares.len() == 1;
                let all: Vec<Value> = shares.iter().map(|share| self.share(object, share, lone)).collect();
                put(&mut http, "route", all);
            }
            ActionDraft::Direct(_) => {} // no RouteRule says it
        }
        put(&mut http, "timeout", rule.timeout.map(said::seconds));
        if let Some(draft) = rule.policy.as_deref() {
            policy(&draft.policy, &mut http);
            let mirrors = draft.mirrors.iter().map(|mirror| {
                let destination = self.destination(object, &mirror.share);
                json!({"destination": destination, "percentage": {"value": said::percent(mirror.fraction)}})
            });
            put(&mut http, "mirrors", mirrors.collect::<Vec<_>>());
        }
        Some(http.into())
    }

    fn share(&mut self, object: &RouteDraft, share: &ShareDraft, lone: bool) -> Value {
        let mut entry = Map::new();
        put(&mut entry, "destination", self.destination(object, share));
        if !lone {
            put(&mut entry, "weight", share.weight);
        }
        entry.into()
    }

    fn destination(&mut self, object: &RouteDraft, share: &ShareDraft) -> Value {
        let named = |host: &HostRef| Name::of(host, &object.namespace, self.settings.domain);
        let host = share.destination.as_ref().map_or_else(|| self.host.clone(), named);
        let subset = match &share.select {
            Select::Labels(labels) => self.subsets.name(&host, labels),
            _ => None, // no RouteRule says it
        };
        let mut destination = Map::new();
        put(&mut destination, "host", host.from(&self.host.namespace));
        put(&mut destination, "subset", subset);
        destination.into()
    }
}

fn matches(rule: &RuleDraft) -> Map<String, Value> {
    let mut all = Map::new();
    let uri = match &rule.path {
        Some(PathMatch::Exact(text)) => Some(("exact", &**text)),
        Some(PathMatch::Prefix(text)) => Some(("prefix", &**text)),
        Some(PathMatch::Regex(pattern)) => Some(("regex", pattern.as_str())),
        // No RouteRule says the others.
        _ => None,
    };
    if let Some((key, text)) = uri {
        put(&mut all, "uri", json!({key: text}));
    }
    let mut headers = Map::new();
    for header in &rule.headers {
        let value = said::condition(&header.value);
        match &header.name {
            HeaderName::Method => put(&mut all, "method", value),
            HeaderName::Authority => put(&mut all, "authority", value),
            HeaderName::Scheme => put(&mut all, "scheme", value),
            // An empty condition asks that the header is there.
            HeaderName::Header(name) => drop(headers.insert(name.0.as_str().into(), value)),
        }
    }
    put(&mut all, "headers", headers);
    all
}

fn redirect(redirect: &Redirect) -> Value {
    let mut all = Map::new();
    if let Some(PathRewrite::Full(path)) = &redirect.path {
        put(&mut all, "uri", &**path);
    }
    put(&mut all, "authority", redirect.host.as_deref());
    put(&mut all, "port", super::http_route::number(redirect.port));
    put(&mut all, "redirectCode", redirect.status);
    all.into()
}

fn policy(policy: &RoutePolicy, http: &mut Map<String, Value>) {
    if let Some(rewrite) = &policy.rewrite {
        let mut all = Map::new();
        if let Some(PathRewrite::Prefix(with) | PathRewrite::Full(with)) = &rewrite.path {
            put(&mut all, "uri", &**with);
        }
        put(&mut all, "authority", rewrite.host.as_deref());
        put(http, "rewrite", all);
    }
    put(http, "retries", policy.retry.as_ref().map(retries));
    put(http, "fault", policy.fault.as_ref().map(fault));
    put(http, "corsPolicy", policy.cors.as_ref().map(cors));
    let mut headers = Map::new();
    put(&mut headers, "request", edits(&policy.request_headers));
    put(&mut headers, "response", edits(&policy.response_headers));
    put(http, "headers", headers);
}

fn retries(retry: &RetryPolicy) -> Value {
    // An annotation names the headers, and asks for it with that.
    let said = |condition: &RetryCondition| *condition != RetryCondition::RetriableHeaders;
    let on: Vec<&str> = retry.on.iter().filter(said).map(|condition| condition.as_str()).collect();
    let mut all = Map::new();
    put(&mut all, "attempts", retry.retries);
    put(&mut all, "perTryTimeout", retry.per_try_timeout.map(said::seconds));
    put(&mut all, "retryOn", on.join(","));
    all.into()
}

fn fault(fault: &Fault) -> Value {
    let mut all = Map::new();
    if let Some(delay) = fault.delay {
        let percentage = json!({"value": said::percent(delay.fraction)});
        put(&mut all, "delay", json!({"percentage": percentage, "fixedDelay": said::seconds(delay.fixed)}));
    }
    if let Some(abort) = fault.abort {
        let percentage = json!({"value": said::percent(abort.fraction)});
        let abort = match abort.status {
            AbortStatus::Http(status) => json!({"percentage": percentage, "httpStatus": status}),
            AbortStatus::Grpc(_) => Value::Null, // no RouteRule says it
        };
        put(&mut all, "abort", abort);
    }
    all.into()
}

fn cors(cors: &Cors) -> Value {
    let origin = |one| match said::condition(one) {
        Value::Object(all) if all.is_empty() => json!({"exact": "*"}),
        condition => condition,
    };
    let mut all = Map::new();
    put(&mut all, "allowOrigins", cors.origins.iter().map(origin).collect::<Vec<_>>());
    put(&mut all, "allowMethods", said::list(cors.methods.as_deref()));
    put(&mut all, "allowHeaders", said::list(cors.headers.as_deref()));
    put(&mut all, "exposeHeaders", said::list(cors.expose.as_deref()));
    put(&mut all, "maxAge", cors.max_age.map(said::seconds));
    if cors.credentials {
        put(&mut all, "allowCredentials", true);
    }
    all.into()
}

fn edits(edits: &HeaderEdits) -> Value {
    // A percent would be an operator of Envoy's.
    let pairs = |all: &[crate::snapshot::HeaderEdit]| -> Map<String, Value> {
        let pair = |one: &crate::snapshot::HeaderEdit| {
            (one.name.0.as_str().to_owned(), one.value.replace('%', "%%").into())
        };
        all.iter().map(pair).collect()
    };
    let mut all = Map::new();
    put(&mut all, "set", pairs(&edits.set));
    put(&mut all, "add", pairs(&edits.add));
    put(&mut all, "remove", edits.remove.iter().map(|name| name.0.as_str()).collect::<Vec<_>>());
    all.into()
}

/// One for each host that has subsets or policies.
fn destination_rules(
    mut subsets: Subsets,
    policies: &[&TrafficDraft],
    settings: &Settings<'_>,
    notes: &mut Notes,
) -> Vec<Value> {
    let mut said: BTreeMap<Name, Vec<&TrafficDraft>> = BTreeMap::new();
    for policy in policies {
        if let Some(source) = &policy.source {
            let reason = "`source` has no equal: the policy is left out";
            notes.tell(&source.place, reason, "a DestinationRule holds for all callers");
            continue;
        }
        let name = Name::of(&policy.host, &policy.namespace, settings.domain);
        for subset in &policy.subsets {
            subsets.name(&name, &subset.labels);
        }
        subsets.0.entry(name.clone()).or_default();
        said.entry(name).or_default().push(policy);
    }
    let rule = |(host, named): (Name, BTreeMap<Labels, String>)| {
        let mut policies = said.remove(&host).unwrap_or_default();
        policies.sort_by_key(|one| (&one.namespace, &one.name));
        destination_rule(&host, &named, &policies, notes)
    };
    subsets.0.into_iter().map(rule).collect()
}

fn destination_rule(
    host: &Name,
    named: &BTreeMap<Labels, String>,
    policies: &[&TrafficDraft],
    notes: &mut Notes,
) -> Value {
    let nothing = ClusterDraft::default();
    let of_all = policies.iter().find(|one| one.subsets.is_empty() && one.all != nothing);
    let of = |labels: &Labels| {
        let mut all = policies.iter().flat_map(|one| &one.subsets);
        all.find(|subset| subset.labels == *labels).map(|subset| &subset.settings)
    };
    if let Some(policy) = of_all.filter(|_| named.keys().any(|labels| of(labels).is_none())) {
        let reason = "it held for the whole service alone; a DestinationRule's `trafficPolicy` holds for its \
                      subsets too, unless they have one";
        notes.tell(&policy.place, reason, "");
    }
    let mut spec = Map::new();
    put(&mut spec, "host", &*host.short);
    // What a RouteRule's clusters do by themselves; a VirtualService's would take the less loaded endpoint.
    put(&mut spec, "trafficPolicy", traffic_policy(of_all.map_or(&nothing, |one| &one.all)));
    let subsets = named.iter().map(|(labels, name)| {
        let labels_of: Map<String, Value> =
            labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect();
        let mut subset = Map::new();
        put(&mut subset, "name", &**name);
        put(&mut subset, "labels", labels_of);
        put(&mut subset, "trafficPolicy", of(labels).map(traffic_policy));
        Value::Object(subset)
    });
    put(&mut spec, "subsets", subsets.collect::<Vec<_>>());
    let mut whole = object(API_VERSION, "DestinationRule", &host.short, &host.namespace, Map::new());
    whole["spec"] = spec.into();
    whole
}

fn traffic_policy(said: &ClusterDraft) -> Value {
    let simple = match said.lb {
        Some(LbPolicy::LeastRequest) => "LEAST_REQUEST",
        Some(LbPolicy::Random) => "RANDOM",
        _ => "ROUND_ROBIN",
    };
    let mut all = Map::new();
    put(&mut all, "loadBalancer", json!({"simple": simple}));
    let mut http = Map::new();
    put(&mut http, "http1MaxPendingRequests", said.pending);
    put(&mut http, "http2MaxRequests", said.requests);
    put(&mut http, "maxRequestsPerConnection", said.traffic.requests_per_connection);
    put(&mut http, "maxRetries", said.retries);
    let mut pool = Map::new();
    if let Some(connections) = said.connections {
        put(&mut pool, "tcp", json!({"maxConnections": connections}));
    }
    put(&mut pool, "http", http);
    put(&mut all, "connectionPool", pool);
    if let Some(outlier) = &said.traffic.outlier {
        let mut detection = Map::new();
        put(&mut detection, "consecutive5xxErrors", outlier.consecutive_5xx);
        put(&mut detection, "interval", said::seconds(outlier.interval));
        put(&mut detection, "baseEjectionTime", said::seconds(outlier.base_ejection_time));
        put(&mut detection, "maxEjectionPercent", outlier.max_ejection_percent);
        // Istio's default is 0: RouteRule left Envoy's.
        put(&mut detection, "minHealthPercent", said.traffic.panic_threshold.unwrap_or(50));
        put(&mut all, "outlierDetection", detection);
    }
    all.into()
}
