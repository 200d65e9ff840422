//! The part of a request that a choice sticks to.
//!
//! Law: of the parts that are asked for the first that the request has counts; what is empty is not there.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::message::{query, values};
use crate::snapshot::{Cookie, HashKey};

/// What keys are taken of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its fields, or gRPC metadata.
    pub headers: &'a HeaderMap,
    /// Without the `?`.
    pub query: Option<&'a str>,
    /// The caller's address.
    pub source: Option<IpAddr>,
    /// Cookies that its caller gets with the answer: the next request will have them.
    pub made: &'a [Made<'a>],
}

/// A cookie that is made for a caller without one.
#[derive(Debug)]
pub struct Made<'c> {
    cookie: &'c Cookie,
    value: String,
}

/// The first of `keys` that the request has.
pub fn of<'a>(keys: &[HashKey], request: Request<'a>) -> Option<Cow<'a, [u8]>> {
    let has = |key: &HashKey| match key {
        HashKey::Header(name) => values::joined(request.headers, &name.0),
        HashKey::Cookie(wanted) => {
            let sent = cookie(request.headers, &wanted.name).filter(|value| !value.is_empty());
            sent.or_else(|| made(request.made, &wanted.name)).map(Cow::Borrowed)
        }
        HashKey::Query(name) => query::parameter(request.query?, name),
        HashKey::SourceAddress => {
            request.source.map(|source| Cow::Owned(source.to_canonical().to_string().into_bytes()))
        }
    };
    keys.iter().find_map(|key| has(key).filter(|value| !value.is_empty()))
}

/// The cookie that is made for a request which has none of `keys`.
pub fn to_set(keys: &[HashKey]) -> Option<&Cookie> {
    keys.iter().find_map(|key| match key {
        HashKey::Cookie(cookie) if cookie.set.is_some() => Some(cookie),
        _ => None,
    })
}

impl<'c> Made<'c> {
    /// By a `draw` that nobody can guess.
    pub fn new(cookie: &'c Cookie, draw: u128) -> Made<'c> {
        Made { cookie, value: format!("{draw:032x}") }
    }

    /// What the caller is known by from now on.
    pub fn value(&self) -> &[u8] {
        self.value.as_bytes()
    }

    /// The value of `set-cookie` that gives it to the caller. No script has a use for it, so none may read it, as Envoy has it.
    pub fn set_cookie(&self) -> Option<HeaderValue> {
        let Made { cookie, value } = self;
        let mut text = format!("{}={value}", cookie.name);
        if let Some(age) = cookie.set.filter(|&age| age > Duration::ZERO) {
            text.push_str(&format!("; Max-Age={}", age.as_secs().max(1)));
        }
        for (name, value) in [("; Path=", &cookie.path), ("; ", &cookie.attributes)] {
            if let Some(value) = value {
                text.push_str(name);
                text.push_str(value);
            }
        }
        let attributes = cookie.attributes.as_deref().unwrap_or_default();
        if !attributes.split(';').any(|attribute| attribute.trim().eq_ignore_ascii_case("HttpOnly")) {
            text.push_str("; HttpOnly");
        }
        HeaderValue::from_str(&text).ok()
    }
}

/// The value of the cookie of that name among those that are made.
fn made<'a>(made: &'a [Made<'_>], name: &str) -> Option<&'a [u8]> {
    made.iter().find(|made| *made.cookie.name == *name).map(Made::value)
}

/// The first cookie of that name. Source: RFC 6265 section 4.2.1; quotes are not part of the value.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let inside = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(inside.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::snapshot::route::OrdName;

    fn named(name: &str) -> Cookie {
        Cookie { name: name.into(), set: None, path: None, attributes: None }
    }

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn key(keys: &[HashKey], fields: &[(&'static str, &'static str)], query: &str) -> Option<String> {
        let headers = head(fields);
        let source = Some("::ffff:10.0.0.1".parse().expect("an address"));
        let request = Request { headers: &headers, query: Some(query), source, made: &[] };
        of(keys, request).map(|key| String::from_utf8_lossy(&key).into_owned())
    }

    #[test]
    fn the_first_key_that_the_request_has_counts() {
        let user = || HashKey::Header(OrdName(HeaderName::from_static("user")));
        let keys =
            [user(), HashKey::Cookie(named("id")), HashKey::Query("u v".into()), HashKey::SourceAddress];
        let all = [("user", "a"), ("user", "b"), ("cookie", "x=1; id=c")];
        assert_eq!(key(&keys, &all, "u%20v=d").as_deref(), Some("a,b"));
        assert_eq!(key(&keys, &all[2..], "u%20v=d").as_deref(), Some("c"));
        assert_eq!(key(&keys, &[("user", "")], "u%20v=d").as_deref(), Some("d"));
        assert_eq!(key(&keys, &[], "u=d").as_deref(), Some("10.0.0.1"));
        assert_eq!(key(&keys[..3], &[], "u%20v="), None);
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let keys = [HashKey::Cookie(named("id"))];
        let of = |field| key(&keys, &[("cookie", field)], "");
        assert_eq!(of("xid=1; id=2;id=3").as_deref(), Some("2"));
        assert_eq!(of("idx=1;  id=\"q=r\"").as_deref(), Some("q=r"));
        assert_eq!((of("id"), of("id="), of("ID=1")), (None, None, None));
        assert_eq!(key(&keys, &[("cookie", "a=1"), ("cookie", "id=4")], "").as_deref(), Some("4"));
    }

    #[test]
    fn a_cookie_that_is_made_counts_as_if_the_request_had_it_but_not_before_one_that_it_has() {
        let cookie = named("id");
        let all = [Made { cookie: &cookie, value: "made".into() }];
        let of = |keys: &[HashKey], field: &'static str| {
            let headers = head(&[("cookie", field)]);
            let request = Request { headers: &headers, query: None, source: None, made: &all };
            super::of(keys, request).map(|key| String::from_utf8_lossy(&key).into_owned())
        };
        let id = [HashKey::Cookie(named("id"))];
        assert_eq!(of(&id, "a=1").as_deref(), Some("made"));
        assert_eq!(of(&id, "id=").as_deref(), Some("made"), "what is empty is not there");
        assert_eq!(of(&id, "id=sent").as_deref(), Some("sent"));
        assert_eq!(of(&[HashKey::Cookie(named("a"))], "b=1"), None);
    }

    #[test]
    fn a_cookie_is_set_with_what_was_said_of_it() {
        let cookie = Cookie {
            set: Some(Duration::from_secs(60)),
            path: Some("/v1".into()),
            attributes: Some("Secure; SameSite=Lax".into()),
            ..named("id")
        };
        let set = |cookie| Made { cookie, value: "7".into() }.set_cookie().expect("a value");
        assert_eq!(set(&cookie), "id=7; Max-Age=60; Path=/v1; Secure; SameSite=Lax; HttpOnly");
        let session = Cookie { set: Some(Duration::ZERO), ..named("id") };
        assert_eq!(set(&session), "id=7; HttpOnly");
        let said = Cookie { attributes: Some("httponly; Secure".into()), ..named("id") };
        assert_eq!(set(&said), "id=7; httponly; Secure", "not twice");
        let keys = [HashKey::Cookie(named("a")), HashKey::Cookie(session.clone())];
        assert_eq!((to_set(&keys), to_set(&keys[..1])), (Some(&session), None));
    }
}
