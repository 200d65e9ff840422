//! RouteRules -> HTTPRoutes of the Gateway API, with a Service for each version.
//!
//! Law: there the more specific rule comes first, whatever an order was; where that turns two rules round, it is told of.
//! What the Gateway API has no field for (faults, callers, schemes) is left out and told of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::said;
use super::{Host, Name, Notes, Settings, excludes, label, object, put, why_refused};
use crate::config::draft::{ActionDraft, HostRef, RouteDraft, RuleDraft, Select, ShareDraft, TrafficDraft};
use crate::snapshot::{
    Cors, Fraction, HeaderEdit, HeaderName, Labels, PathMatch, PathRewrite, Redirect, RedirectPort,
    RetryCondition, RetryPolicy, Rewrite, StringMatch,
};

const API_VERSION: &str = "gateway.networking.k8s.io/v1";
/// Rules of one HTTPRoute, as its schema has it.
const MAX_RULES: usize = 16;
/// What 5xx means for servers that answer.
const SERVER_ERRORS: [u16; 4] = [500, 502, 503, 504];
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A rule that is written, and what the Gateway API orders it by.
struct Written {
    rule: Value,
    annotations: Map<String, Value>,
    rank: (u32, usize, bool, usize),
}

/// What one host's rules are written with.
struct Writer<'w, 'd> {
    host: &'w Name,
    settings: &'w Settings<'d>,
    notes: &'w mut Notes,
    /// The labels that the names of backends mean, where the names do not say it.
    backends: BTreeMap<String, Labels>,
}

pub(super) fn write(
    hosts: &[Host<'_>],
    policies: &[&TrafficDraft],
    settings: &Settings<'_>,
    notes: &mut Notes,
) -> Vec<Value> {
    for policy in policies {
        let reason = "a DestinationPolicy has no equal: it is left as it is";
        notes.tell(&policy.place, reason, "beside HTTPRoutes it goes on to hold");
    }
    hosts.iter().flat_map(|host| of_host(host, settings, notes)).collect()
}

fn of_host(host: &Host<'_>, settings: &Settings<'_>, notes: &mut Notes) -> Vec<Value> {
    let mut writer = Writer { host: &host.name, settings, notes, backends: BTreeMap::new() };
    let mut written: Vec<(&RouteDraft, &RuleDraft, Written)> = Vec::new();
    let mut lost = Vec::new();
    for (place, (object, rule)) in host.rules.iter().enumerate() {
        let Some(one) = writer.rule(object, rule) else {
            lost.push(place);
            continue;
        };
        let alone = http_route(
            &host.name,
            &host.name.short,
            (one.annotations.clone(), &writer.backends),
            vec![one.rule.clone()],
        );
        match why_refused(&alone) {
            None => written.push((object, rule, one)),
            Some(reason) => {
                let reason = format!("an HTTPRoute would not be taken, and the rule is left out: {reason}");
                writer.notes.tell(&rule.place, reason, "");
                lost.push(place);
            }
        }
    }
    host.tell_of_lost(&lost, writer.notes);
    tell_of_order(&written, writer.notes);
    let mut rules: Vec<(Map<String, Value>, Value)> =
        written.into_iter().map(|(_, _, one)| (one.annotations, one.rule)).collect();
    let everything = host.rules.iter().any(|(_, rule)| is_catch_all(rule));
    if !everything && (!rules.is_empty() || host.name.is_service()) {
        let backend = json!({"name": host.name.short, "port": settings.port});
        rules.push((Map::new(), json!({"name": "default-route", "backendRefs": [backend]})));
    }
    let backends = std::mem::take(&mut writer.backends);
    let routes = pages(rules);
    let several = routes.len() > 1;
    let route = |(place, (annotations, rules)): (usize, (Map<String, Value>, Vec<Value>))| {
        let name = match several {
            true => format!("{}-{:02}", host.name.short, place + 1),
            false => host.name.short.clone(),
        };
        http_route(&host.name, &name, (annotations, &backends), rules)
    };
    routes.into_iter().enumerate().map(route).collect()
}

fn is_catch_all(rule: &RuleDraft) -> bool {
    let everywhere = match &rule.path {
        None => true,
        Some(PathMatch::Prefix(text)) => &**text == "/",
        Some(_) => false,
    };
    everywhere && rule.headers.is_empty() && rule.source.is_none()
}

/// As many rules to an object as it may have, all with the same annotations.
fn pages(rules: Vec<(Map<String, Value>, Value)>) -> Vec<(Map<String, Value>, Vec<Value>)> {
    let mut pages: Vec<(Map<String, Value>, Vec<Value>)> = Vec::new();
    for (annotations, rule) in rules {
        match pages.last_mut().filter(|(own, page)| *own == annotations && page.len() < MAX_RULES) {
            Some((_, page)) => page.push(rule),
            None => pages.push((annotations, vec![rule])),
        }
    }
    pages
}

fn http_route(
    host: &Name,
    name: &str,
    (mut annotations, backends): (Map<String, Value>, &BTreeMap<String, Labels>),
    rules: Vec<Value>,
) -> Value {
    let all = Value::from(rules.clone()).to_string();
    for (backend, labels) in backends.iter().filter(|(name, _)| all.contains(&format!("\"{name}\""))) {
        let listed: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        annotations.insert(format!("weir/backend.{backend}"), listed.join(",").into());
    }
    let mut spec = Map::new();
    match host.is_service() {
        true => {
            put(&mut spec, "parentRefs", json!([{"group": "", "kind": "Service", "name": host.short}]));
        }
        false => put(&mut spec, "hostnames", json!([host.full])),
    }
    put(&mut spec, "rules", rules);
    let mut whole = object(API_VERSION, "HTTPRoute", name, &host.namespace, annotations);
    whole["spec"] = spec.into();
    whole
}

/// Tells of rules that change places with one before them that might hold for the same request.
fn tell_of_order(written: &[(&RouteDraft, &RuleDraft, Written)], notes: &mut Notes) {
    for (place, (later, rule, one)) in written.iter().enumerate() {
        let overtaken = written[..place]
            .iter()
            .find(|(_, earlier, other)| other.rank < one.rank && !excludes(earlier, rule));
        if let Some((earlier, ..)) = overtaken {
            let reason = format!(
                "precedence has no equal: `{}` is more specific than `{}`, which it stood behind, and comes first",
                later.full_name(),
                earlier.full_name()
            );
            notes.tell(&rule.place, reason, "a condition more for the one that should come first");
        }
    }
}

impl Writer<'_, '_> {
    /// `None`: a condition of it has no equal.
    fn rule(&mut self, object: &RouteDraft, rule: &RuleDraft) -> Option<Written> {
        if let Some(source) = &rule.source {
            let reason = "`match.source` has no equal: the rule is left out";
            self.notes.tell(&source.place, reason, "");
            return None;
        }
        let (matches, rank) = self.matches(rule)?;
        let mut all = Map::new();
        put(&mut all, "name", label(object, &self.host.namespace));
        if !matches.is_empty() {
            put(&mut all, "matches", json!([matches]));
        }
        put(&mut all, "filters", self.filters(object, rule));
        match &rule.action {
            ActionDraft::Shares(shares) => {
                let lone = shares.len() == 1;
                let all_of = shares.iter().map(|share| {
                    let mut backend = self.backend(object, share);
                    if !lone {
                        put(&mut backend, "weight", share.weight);
                    }
                    Value::Object(backend)
                });
                put(&mut all, "backendRefs", all_of.collect::<Vec<_>>());
            }
            ActionDraft::Whole => {
                let backend = json!({"name": self.host.short, "port": self.settings.port});
                put(&mut all, "backendRefs", json!([backend]));
            }
            ActionDraft::Redirect(_) | ActionDraft::Direct(_) => {}
        }
        self.times(rule, &mut all);
        Some(Written { rule: all.into(), annotations: said::annotations(rule), rank })
    }

    /// Conditions, and what they rank.
    fn matches(&mut self, rule: &RuleDraft) -> Option<(Map<String, Value>, (u32, usize, bool, usize))> {
        let mut all = Map::new();
        let (kind, length) = match &rule.path {
            None => (0, 0),
            Some(path) => self.path(rule, path, &mut all),
        };
        let mut headers = Vec::new();
        let mut method = false;
        for header in &rule.headers {
            match (&header.name, &header.value) {
                (HeaderName::Header(name), value) => headers.push(self.header(rule, name.0.as_str(), value)),
                (HeaderName::Method, StringMatch::Exact(text)) if METHODS.contains(&&**text) => {
                    method = true;
                    put(&mut all, "method", &**text);
                }
                (name, _) => {
                    let reason = format!("a condition on {name:?} has no equal: the rule is left out");
                    self.notes.tell(&rule.place, reason.to_lowercase(), "");
                    return None;
                }
            }
        }
        let rank = (kind, length, method, headers.len());
        put(&mut all, "headers", headers);
        Some((all, rank))
    }

    fn path(&mut self, rule: &RuleDraft, path: &PathMatch, all: &mut Map<String, Value>) -> (u32, usize) {
        let (kind, text, rank) = match path {
            PathMatch::Exact(text) => ("Exact", &**text, (3, 0)),
            PathMatch::Regex(pattern) => ("RegularExpression", pattern.as_str(), (1, pattern.as_str().len())),
            PathMatch::Prefix(text) => ("PathPrefix", &**text, (2, text.trim_end_matches('/').len())),
            _ => return (0, 0), // no RouteRule says them
        };
        if kind == "PathPrefix" && text == "/" {
            return (0, 0);
        }
        if kind == "PathPrefix" {
            let text = text.trim_end_matches('/');
            let reason = format!(
                "a prefix is of whole segments there: it holds for `{text}` and for what is below `{text}/`"
            );
            self.notes.tell(&rule.place, reason, "RouteRule's was of characters");
        }
        put(all, "path", json!({"type": kind, "value": text}));
        rank
    }

    fn header(&mut self, rule: &RuleDraft, name: &str, value: &StringMatch) -> Value {
        let (kind, text) = match value {
            StringMatch::Exact(text) => ("Exact", text.to_string()),
            StringMatch::Regex(pattern) => ("RegularExpression", pattern.as_str().to_owned()),
            StringMatch::Present => ("RegularExpression", ".*".into()),
            StringMatch::Prefix(text) => {
                let reason = format!("a prefix of header {name} has no equal: it is an expression now");
                self.notes.tell(&rule.place, reason, "");
                ("RegularExpression", format!("{}.*", quoted(text)))
            }
        };
        json!({"type": kind, "name": name, "value": text})
    }

    fn filters(&mut self, object: &RouteDraft, rule: &RuleDraft) -> Vec<Value> {
        let mut filters = Vec::new();
        let mut add = |kind: &str, key: &str, body: Value| filters.push(json!({"type": kind, key: body}));
        if let ActionDraft::Redirect(parts) = &rule.action {
            add("RequestRedirect", "requestRedirect", redirect(parts));
        }
        let Some(draft) = rule.policy.as_deref() else { return filters };
        let policy = &draft.policy;
        if !policy.request_headers.add.is_empty() {
            let field = |one: &HeaderEdit| json!({"name": one.name.0.as_str(), "value": &*one.value});
            let all: Vec<Value> = policy.request_headers.add.iter().map(field).collect();
            add("RequestHeaderModifier", "requestHeaderModifier", json!({"add": all}));
        }
        if let Some(rewrite) = &policy.rewrite {
            let body = rewritten(rewrite, rule.path.as_ref());
            if rewrite.host.as_ref().is_some_and(|host| host.contains(':')) {
                let reason = "a rewrite to a host with a port has no equal: the host stays";
                self.notes.tell(&rule.place, reason, "");
            }
            if !body.is_empty() {
                add("URLRewrite", "urlRewrite", body.into());
            }
        }
        for mirror in &draft.mirrors {
            let mut body = Map::new();
            put(&mut body, "backendRef", self.backend(object, &mirror.share));
            if mirror.fraction != Fraction::ALWAYS {
                put(&mut body, "percent", said::percent(mirror.fraction));
            }
            add("RequestMirror", "requestMirror", body.into());
        }
        if let Some(cors) = &policy.cors {
            add("CORS", "cors", self.cors(rule, cors));
        }
        filters
    }

    fn cors(&mut self, rule: &RuleDraft, cors: &Cors) -> Value {
        let mut all = Map::new();
        let mut origins = Vec::new();
        for origin in &cors.origins {
            match origin {
                StringMatch::Exact(text) => origins.push(Value::from(&**text)),
                StringMatch::Present => origins.push("*".into()),
                _ => {} // no RouteRule says it
            }
        }
        // A star stands alone there, and for all of them here.
        if cors.origins.contains(&StringMatch::Present) {
            origins = vec!["*".into()];
        }
        put(&mut all, "allowOrigins", origins);
        put(&mut all, "allowMethods", said::list(cors.methods.as_deref()));
        put(&mut all, "allowHeaders", said::list(cors.headers.as_deref()));
        put(&mut all, "exposeHeaders", said::list(cors.expose.as_deref()));
        put(&mut all, "maxAge", cors.max_age.map(|age| age.as_secs()));
        if cors.max_age.is_none() {
            self.notes.tell(&rule.place, "without `maxAge` a preflight's answer holds for 5 s there", "");
        }
        if cors.credentials {
            put(&mut all, "allowCredentials", true);
        }
        let reason = "a preflight of another origin went to the upstream; there it is answered by the proxy";
        self.notes.tell(&rule.place, reason, "");
        all.into()
    }

    /// What has a bound of time or is tried again; and what cannot be made to fail.
    fn times(&mut self, rule: &RuleDraft, all: &mut Map<String, Value>) {
        let mut timeouts = Map::new();
        put(&mut timeouts, "request", rule.timeout.map(said::whole));
        let policy = rule.policy.as_deref().map(|draft| &draft.policy);
        let retry = policy.and_then(|policy| policy.retry.as_ref());
        let per_try = retry.and_then(|retry| retry.per_try_timeout);
        let bounded = per_try.filter(|one| rule.timeout.is_none_or(|whole| whole.is_zero() || *one <= whole));
        put(&mut timeouts, "backendRequest", bounded.map(said::whole));
        put(all, "timeouts", timeouts);
        if let Some(retry) = retry {
            put(all, "retry", self.retry(rule, retry));
        }
        if policy.is_some_and(|policy| policy.fault.is_some()) {
            self.notes.tell(&rule.place, "faults have no equal: none are made", "a VirtualService's `fault`");
        }
    }

    fn retry(&mut self, rule: &RuleDraft, retry: &RetryPolicy) -> Value {
        let codes = match retry.on.has(RetryCondition::ServerError) {
            true => {
                let reason = "`5xx` has no equal: the statuses 500, 502, 503 and 504 are tried again";
                self.notes.tell(&rule.place, reason, "");
                SERVER_ERRORS.to_vec()
            }
            false => retry.status_codes.clone(),
        };
        json!({"attempts": retry.retries, "codes": codes})
    }

    /// The Service of a version.
    fn backend(&mut self, object: &RouteDraft, share: &ShareDraft) -> Map<String, Value> {
        let named = |host: &HostRef| Name::of(host, &object.namespace, self.settings.domain);
        let host = share.destination.as_ref().map_or_else(|| self.host.clone(), named);
        let Select::Labels(labels) = &share.select else { return Map::new() };
        let mut name = host.short.clone();
        if !labels.is_empty() {
            name = format!("{name}-{}", said::slug(labels, false));
            let version = labels.get("version").filter(|_| labels.iter().len() == 1);
            if version.is_none_or(|version| !name.ends_with(&format!("-{version}"))) {
                self.backends.insert(name.clone(), labels.clone());
            }
        }
        if !host.is_service() {
            let reason = format!("`{}` is no service of the cluster: a backend cannot name it", host.full);
            self.notes.tell(&share.place, reason, "a Service in front of it");
        }
        let mut backend = Map::new();
        put(&mut backend, "name", name);
        if host.namespace != self.host.namespace {
            put(&mut backend, "namespace", host.namespace);
        }
        put(&mut backend, "port", self.settings.port);
        backend
    }
}

/// A port that is said.
pub(super) fn number(port: RedirectPort) -> Option<u16> {
    match port {
        RedirectPort::Number(port) => Some(port),
        RedirectPort::Request | RedirectPort::OfScheme | RedirectPort::Listener => None,
    }
}

fn redirect(redirect: &Redirect) -> Value {
    let mut all = Map::new();
    put(&mut all, "hostname", redirect.host.as_deref());
    put(&mut all, "port", number(redirect.port));
    if let Some(PathRewrite::Full(path)) = &redirect.path {
        put(&mut all, "path", json!({"type": "ReplaceFullPath", "replaceFullPath": &**path}));
    }
    put(&mut all, "statusCode", redirect.status);
    all.into()
}

/// A prefix is replaced where a prefix was matched, else the whole path.
fn rewritten(rewrite: &Rewrite, matched: Option<&PathMatch>) -> Map<String, Value> {
    let mut all = Map::new();
    put(&mut all, "hostname", rewrite.host.as_deref().filter(|host| !host.contains(':')));
    if let Some(PathRewrite::Prefix(with) | PathRewrite::Full(with)) = &rewrite.path {
        let path = match matched {
            None | Some(PathMatch::Prefix(_)) => {
                json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": &**with})
            }
            Some(_) => json!({"type": "ReplaceFullPath", "replaceFullPath": &**with}),
        };
        put(&mut all, "path", path);
    }
    all
}

/// The expression that matches exactly `text`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '/' | ' ') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}
