//! `weir/sticky`: the parts of a request that a choice may stick to, and the cookies made for it.
//!
//! Law: what is no key is refused with all forms that a key has.

use std::time::Duration;

use crate::config::decode::Field;
use crate::config::values;
use crate::snapshot::route::OrdName;
use crate::snapshot::{Cookie, HashKey};

pub(super) const HELP: &str =
    "header:NAME, cookie:NAME[;set=TTL][;path=/][;Secure], metadata:NAME, query:NAME or source";

/// A header, in small letters.
pub(super) fn header(field: &Field<'_>, text: &str) -> Option<OrdName> {
    let name = http::HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()).ok();
    if name.is_none() {
        field.fault_with("annotation", format!("`{text}` is no header name"), "letters, digits and hyphens");
    }
    name.map(OrdName)
}

/// Keys joined by commas; the first that a request has counts.
pub(super) fn keys(field: &Field<'_>, text: &str) -> Option<Vec<HashKey>> {
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
            field.fault_with("annotation", format!("`{text}` is no part of a request"), HELP);
            None
        }
    }
}

/// `NAME[;set=TTL][;path=/][;attribute]...`
fn cookie(field: &Field<'_>, text: &str) -> Option<Cookie> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| is_token(name));
    let Some(name) = name else {
        field.fault_with("annotation", format!("`{text}` does not start with a cookie's name"), HELP);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::decode::Scope;
    use crate::config::yaml;

    /// The keys that `text` names, and how many faults it has.
    fn read(text: &str) -> (Option<Vec<HashKey>>, Vec<String>) {
        let scope = Scope::new("a.yaml");
        let nodes = yaml::parse(format!("\"{text}\"").as_bytes()).expect("is YAML");
        let read = keys(&Field::root(&nodes[0], &scope), text);
        (read, scope.into_found().iter().map(|one| format!("{} {}", one.code, one.reason)).collect())
    }

    fn sticky(text: &str) -> Vec<HashKey> {
        let (keys, found) = read(text);
        assert_eq!(found, [""; 0], "{text}");
        keys.expect("keys")
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
            let (keys, found) = read(bad);
            assert!(keys.is_none() && found.len() == 1, "{bad}: {found:?}");
            assert!(found[0].starts_with("annotation "), "{found:?}");
        }
    }
}
