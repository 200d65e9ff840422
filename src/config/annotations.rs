//! `metadata.annotations` under `weir/`: what no dialect has a field for. The same for every kind.
//!
//! Law: `weir/` is ours, so an unknown one is refused; all others are somebody else's and are left alone.

use std::sync::Arc;
use std::time::Duration;

use super::decode::Field;
use super::diagnostic::Place;
use super::draft::{ActionDraft, RouteDraft, RuleDraft};
use super::names::{is_dns_label, is_istio_label_part, nearest};
use super::networking::version_header;
use super::values;
use crate::snapshot::route::OrdName;
use crate::snapshot::{Cookie, HashKey, Labels, Sticky};

const PREFIX: &str = "weir/";
const STICKY: &str = "sticky";
const SALT: &str = "sticky-salt";
const VERSION_HEADER: &str = "version-header";
const REPEATABLE: &str = "repeatable";
/// Followed by a service's name.
const BACKEND: &str = "backend.";
const STICKY_HELP: &str =
    "header:NAME, cookie:NAME[;set=TTL][;path=/][;Secure], metadata:NAME, query:NAME or source";

/// What an object's annotations say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Annotations {
    /// `weir/sticky`: what chooses a version; none: the schedule.
    sticky: Vec<HashKey>,
    /// `weir/sticky-salt`; by default each rule's name.
    salt: Option<Arc<str>>,
    /// `weir/version-header`: the answer's field that names the chosen version.
    version_header: Option<OrdName>,
    /// `weir/repeatable`: whether a POST may be sent again when the connection failed.
    repeatable: Option<bool>,
    /// `weir/backend.NAME`: the endpoints that a backend of this name means.
    pub(crate) backends: Vec<Backend>,
}

/// What an annotation says of backends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    /// Where it stands.
    pub(crate) place: Place,
    /// Theirs.
    pub(crate) name: Arc<str>,
    /// What the endpoints have.
    pub(crate) labels: Labels,
}

impl Annotations {
    /// Those of `metadata.annotations` of a `kind`. They are about routes, so that an object about clusters has none;
    /// backends have a name in the Gateway API alone.
    pub(crate) fn read(field: &Field<'_>, kind: &str) -> Annotations {
        let traffic = matches!(kind, "DestinationRule" | "DestinationPolicy");
        let gateway_api = matches!(kind, "HTTPRoute" | "GRPCRoute");
        let mut own = Annotations::default();
        let mut salt = None;
        for (key, value) in field.pairs().unwrap_or_default() {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let Some(text) = value.filled() else { continue };
            match name {
                _ if traffic => elsewhere(&value, name, "the object with the routes"),
                STICKY => own.sticky = keys(&value, text).unwrap_or_default(),
                SALT => {
                    own.salt = Some(text.into());
                    salt = Some(value);
                }
                VERSION_HEADER => {
                    own.version_header = header(&value, text).and_then(|name| version_header(&value, name));
                }
                REPEATABLE => own.repeatable = value.word(&[("true", true), ("false", false)]),
                _ => match name.strip_prefix(BACKEND).filter(|service| is_dns_label(service)) {
                    Some(_) if !gateway_api => elsewhere(&value, name, "an HTTPRoute or a GRPCRoute"),
                    Some(service) => {
                        let (place, name) = (value.place(), service.into());
                        own.backends.extend(labels(&value, text).map(|labels| Backend {
                            place,
                            name,
                            labels,
                        }));
                    }
                    None => unknown(&value, name),
                },
            }
        }
        if let Some(salt) = salt.filter(|_| own.sticky.is_empty()) {
            salt.fault_with("annotation", "a salt without `weir/sticky`", STICKY_HELP);
        }
        own
    }

    /// Adds what they say to each rule of the object. `object` is where one is told of that no rule takes.
    pub(crate) fn apply(&self, draft: &mut RouteDraft, object: &Field<'_>) {
        let mut rules = std::mem::take(&mut draft.rules);
        let mut forwards = false;
        for rule in &mut rules {
            if matches!(rule.action, ActionDraft::Whole | ActionDraft::Shares(_)) {
                forwards = true;
                self.apply_to(rule, draft);
            }
        }
        if !forwards && !rules.is_empty() {
            tell_of_what_never_acts(object);
        }
        draft.rules = rules;
    }

    fn apply_to(&self, rule: &mut RuleDraft, object: &RouteDraft) {
        rule.repeatable = self.repeatable.or(rule.repeatable);
        if self.sticky.is_empty() && self.version_header.is_none() {
            return;
        }
        let draft = Arc::make_mut(rule.policy.get_or_insert_default());
        if !self.sticky.is_empty() {
            let name = || object.rule_name(rule.label.as_deref()).into();
            let salt = self.salt.clone().unwrap_or_else(name);
            draft.policy.sticky = Some(Sticky { keys: self.sticky.clone(), salt });
        }
        if self.version_header.is_some() {
            draft.policy.version_header.clone_from(&self.version_header);
        }
    }
}

/// An object that forwards nothing chooses no version.
fn tell_of_what_never_acts(object: &Field<'_>) {
    let Some(node) = object.node.get("metadata") else { return };
    let metadata = object.child("metadata", node);
    let Some(node) = node.get("annotations") else { return };
    for (key, value) in metadata.child("annotations", node).pairs().unwrap_or_default() {
        let own = key.strip_prefix(PREFIX).is_some_and(|name| !name.starts_with(BACKEND));
        if own {
            value.warn_with(
                "never-acts",
                "no request of this object is forwarded",
                format!("leave `{key}` out"),
            );
        }
    }
}

fn elsewhere(field: &Field<'_>, name: &str, whose: &str) {
    let reason = format!("`{PREFIX}{name}` has no effect here");
    field.fault_with("unknown-annotation", reason, format!("it belongs to {whose}"));
}

fn unknown(field: &Field<'_>, name: &str) {
    let known = [STICKY, SALT, VERSION_HEADER, REPEATABLE, BACKEND];
    let help = match nearest(name, known) {
        Some(BACKEND) => "weir/backend.NAME, where NAME is a Service's".into(),
        Some(near) => format!("did you mean `{PREFIX}{near}`?"),
        None => format!("known: {}", known.map(|name| format!("{PREFIX}{name}")).join(", ")),
    };
    field.fault_with("unknown-annotation", format!("`{PREFIX}{name}` is not known"), help);
}

fn header(field: &Field<'_>, text: &str) -> Option<OrdName> {
    let name = http::HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()).ok();
    if name.is_none() {
        field.fault_with("annotation", format!("`{text}` is no header name"), "letters, digits and hyphens");
    }
    name.map(OrdName)
}

/// Keys joined by commas; the first that a request has counts.
fn keys(field: &Field<'_>, text: &str) -> Option<Vec<HashKey>> {
    let all: Vec<_> = text.split(',').map(|one| key(field, one.trim())).collect();
    all.into_iter().collect()
}

fn key(field: &Field<'_>, text: &str) -> Option<HashKey> {
    if text == "source" {
        return Some(HashKey::SourceAddress);
    }
    match text.split_once(':') {
        Some(("header" | "metadata", name)) => header(field, name).map(HashKey::Header),
        Some(("query", name)) if !name.is_empty() => Some(HashKey::Query(name.into())),
        Some(("cookie", rest)) => cookie(field, rest).map(HashKey::Cookie),
        _ => {
            field.fault_with("annotation", format!("`{text}` is no part of a request"), STICKY_HELP);
            None
        }
    }
}

/// `NAME[;set=TTL][;path=/][;attribute]...`
fn cookie(field: &Field<'_>, text: &str) -> Option<Cookie> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| is_token(name));
    let Some(name) = name else {
        field.fault_with("annotation", format!("`{text}` does not start with a cookie's name"), STICKY_HELP);
        return None;
    };
    let mut cookie = Cookie { name: name.into(), set: None, path: None, attributes: None };
    let mut attributes: Vec<&str> = Vec::new();
    for part in parts {
        match part.split_once('=') {
            None if part == "set" => cookie.set = Some(Duration::ZERO),
            Some(("set", ttl)) => cookie.set = Some(max_age(field, ttl)?),
            Some(("path", path)) if is_path(path) => cookie.path = Some(path.into()),
            _ if is_attribute(part) => attributes.push(part),
            _ => {
                let help = "set, set=TTL, path=/, Domain=, Secure, HttpOnly, Partitioned, SameSite=Lax";
                field.fault_with("annotation", format!("`{part}` is no attribute of a cookie"), help);
                return None;
            }
        }
    }
    cookie.attributes = (!attributes.is_empty()).then(|| attributes.join("; ").into());
    if cookie.set.is_none() && (cookie.path.is_some() || cookie.attributes.is_some()) {
        field.fault_with("annotation", "attributes of a cookie that is not set", "say `;set=TTL` too");
        return None;
    }
    Some(cookie)
}

/// `Max-Age` has whole seconds.
fn max_age(field: &Field<'_>, text: &str) -> Option<Duration> {
    let read = values::parse_duration(text).and_then(|age| match age.subsec_nanos() {
        0 => Ok(age),
        _ => Err(format!("`{text}` is no whole number of seconds")),
    });
    read.map_err(|reason| {
        field.fault_with("annotation", reason, "such as set=0s, for the session, or set=24h")
    })
    .ok()
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_attribute(text: &str) -> bool {
    match text.split_once('=') {
        None => ["secure", "httponly", "partitioned"].iter().any(|known| known.eq_ignore_ascii_case(text)),
        Some((name, value)) if name.eq_ignore_ascii_case("samesite") => {
            ["lax", "strict", "none"].iter().any(|known| known.eq_ignore_ascii_case(value))
        }
        Some((name, value)) => name.eq_ignore_ascii_case("domain") && is_token(value),
    }
}

/// `key=value`, joined by commas.
fn labels(field: &Field<'_>, text: &str) -> Option<Labels> {
    let pair = |one: &str| {
        let (key, value) = one.trim().split_once('=')?;
        let good = !key.is_empty() && is_istio_label_part(key) && is_istio_label_part(value);
        good.then(|| (Arc::from(key), Arc::from(value)))
    };
    let all: Option<Labels> =
        text.split(',').map(pair).collect::<Option<Vec<_>>>().map(|all| all.into_iter().collect());
    if all.is_none() {
        field.fault_with("annotation", format!("`{text}` is no list of labels"), "such as version=v1");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::decode::Scope;
    use crate::config::yaml;

    fn read(text: &str) -> (Annotations, Vec<String>) {
        let scope = Scope::new("a.yaml");
        let nodes = yaml::parse(text.as_bytes()).expect("is YAML");
        let own = Annotations::read(&Field::root(&nodes[0], &scope), "HTTPRoute");
        (own, scope.into_found().iter().map(|one| format!("{} {}", one.code, one.reason)).collect())
    }

    fn sticky(text: &str) -> Vec<HashKey> {
        let (own, found) = read(&format!("weir/sticky: \"{text}\""));
        assert_eq!(found, [""; 0], "{text}");
        own.sticky
    }

    #[test]
    fn sticky_names_parts_of_a_request_in_order() {
        let header = |name: &str| HashKey::Header(OrdName(http::HeaderName::try_from(name).expect("a name")));
        assert_eq!(sticky("header:X-User"), [header("x-user")]);
        assert_eq!(
            sticky("metadata:user, query:u, source"),
            [header("user"), HashKey::Query("u".into()), HashKey::SourceAddress]
        );
    }

    #[test]
    fn a_cookie_is_set_only_if_asked_and_with_what_is_asked() {
        let plain = Cookie { name: "m".into(), set: None, path: None, attributes: None };
        assert_eq!(sticky("cookie:m"), [HashKey::Cookie(plain.clone())]);
        let session = Cookie { set: Some(Duration::ZERO), ..plain.clone() };
        assert_eq!(sticky("cookie:m;set"), [HashKey::Cookie(session)]);
        let full = Cookie {
            set: Some(Duration::from_secs(3600)),
            path: Some("/v1".into()),
            attributes: Some("Secure; SameSite=Lax".into()),
            ..plain
        };
        assert_eq!(sticky("cookie:m; set=1h; path=/v1; Secure; SameSite=Lax"), [HashKey::Cookie(full)]);
    }

    #[test]
    fn what_is_no_sticky_key_is_refused() {
        for bad in [
            "user",
            "header:a b",
            "header:",
            "query:",
            "cookie:",
            "cookie:a b",
            "cookie:a;path=/",
            "cookie:a;set=1.5s",
            "cookie:a;set=x",
            "cookie:a;set;path=v1",
            "cookie:a;set;Evil=1",
            "source,",
            "cookie:a;set;Domain=a b",
        ] {
            let (own, found) = read(&format!("weir/sticky: \"{bad}\""));
            assert!(own.sticky.is_empty() && found.len() == 1, "{bad}: {found:?}");
            assert!(found[0].starts_with("annotation "), "{found:?}");
        }
    }

    #[test]
    fn an_unknown_one_of_ours_is_refused_and_those_of_others_are_left_alone() {
        let (own, found) = read("weir/stiky: source\nexample.com/x: 7\nkubectl: {}\n");
        assert_eq!(
            (own, &found[..]),
            (Annotations::default(), &["unknown-annotation `weir/stiky` is not known".into()][..])
        );
        assert_eq!(read("weir/backend.A_b: version=v1").1.len(), 1);
        assert_eq!(read("weir/sticky-salt: x").1, ["annotation a salt without `weir/sticky`"]);
        assert_eq!(read("weir/repeatable: maybe").1.len(), 1);
        assert_eq!(read("weir/version-header: \"a b\"").1.len(), 1);
    }

    #[test]
    fn a_backend_means_labels() {
        let (own, found) = read("weir/backend.inception-v1: \"version=v1, track=\"");
        assert_eq!(found, [""; 0]);
        let labels = [("version", "v1"), ("track", "")];
        let labels: Labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let [one] = &own.backends[..] else { panic!("{own:?}") };
        assert_eq!((&*one.name, &one.labels), ("inception-v1", &labels));
        assert_eq!(read("weir/backend.a: v1").1, ["annotation `v1` is no list of labels"]);
    }
}
