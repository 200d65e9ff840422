//! What whoever stands in front says of the caller.
//!
//! Law: the proxy and `weir explain` read it by the same words.

use http::{HeaderMap, HeaderName};

/// The scheme that the caller speaks to whoever ends TLS in front.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The scheme that the caller speaks, where whoever stands in front is `believed`. What a target or `:scheme` says is not
/// looked at: what ends TLS in front says `http` there as often as `https`.
pub fn scheme(headers: &HeaderMap, believed: bool) -> &'static str {
    let https = || headers.get(PROTO).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    if believed && https() { "https" } else { "http" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_https_where_somebody_who_is_believed_says_so() {
        let of = |value: Option<&'static str>, believed| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (PROTO, http::HeaderValue::from_static(value))));
            scheme(&headers, believed)
        };
        assert_eq!((of(Some("https"), true), of(Some("HTTPS"), true)), ("https", "https"));
        assert_eq!((of(Some("https"), false), of(Some("http"), true)), ("http", "http"));
        assert_eq!((of(None, true), of(Some("https,http"), true)), ("http", "http"));
    }
}
