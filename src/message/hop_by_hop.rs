//! Fields that belong to one connection and are not forwarded.
//!
//! Source: RFC 9110 section 7.6.1; what Envoy removes. A `Connection` field that nominates framing or routing
//! fields (`content-length`, `host`, …) never removes them: that is a way to smuggle a request.

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Which of the fields that [`strip`] removes a head has. One look at each name costs less than looking up every name
/// that might be there, and mostly there is `connection` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(u8);

impl Present {
    const CONNECTION: u8 = 1;
    const TE: u8 = 1 << 1;
    const OTHERS: u8 = 1 << 2;

    /// What the field `name` adds.
    #[inline]
    pub fn of(name: &str) -> Present {
        Present(match name {
            "connection" => Present::CONNECTION,
            "te" => Present::TE,
            "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings" => {
                Present::OTHERS
            }
            _ => 0,
        })
    }

    /// Both.
    #[inline]
    #[must_use]
    pub fn and(self, other: Present) -> Present {
        Present(self.0 | other.0)
    }

    /// Whether there is any.
    #[inline]
    pub fn any(self) -> bool {
        self.0 != 0
    }

    fn has(self, kind: u8) -> bool {
        self.0 & kind != 0
    }
}

/// Whether the field is one that [`strip`] looks at.
fn is_hop_by_hop(name: &str) -> bool {
    Present::of(name).any()
}

/// Whether a configuration may edit the field: it is neither of a message's framing nor of its connection, nor the
/// authority (which is rewritten), nor Weir's own.
pub fn is_editable(name: &str) -> bool {
    let framing = matches!(name, "content-length" | "expect" | "host" | "trailer");
    !is_hop_by_hop(name) && !framing && !name.starts_with("x-weir-")
}

/// Removes the hop-by-hop fields of `headers`; `te: trailers` stays, which gRPC needs.
pub fn strip(headers: &mut HeaderMap) {
    let names = headers.keys().map(HeaderName::as_str);
    let present = names.fold(Present::default(), |all, name| all.and(Present::of(name)));
    strip_present(headers, present);
}

/// The same of `headers` whose names were looked at.
pub fn strip_present(headers: &mut HeaderMap, present: Present) {
    if present.has(Present::CONNECTION) {
        strip_nominated(headers);
        headers.remove(CONNECTION);
    }
    if present.has(Present::TE) {
        keep_te_trailers(headers);
    }
    if present.has(Present::OTHERS) {
        for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS] {
            headers.remove(name);
        }
    }
}

fn strip_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        // By bytes: a value that is no ASCII as a whole still nominates.
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // As nearly everybody says; the field of that name goes in any case.
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_protected(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn is_protected(name: &HeaderName) -> bool {
    // `te` is judged by its value, not by nomination: `connection: te` is how HTTP/1.1 clients send it.
    matches!(name.as_str(), "content-length" | "host" | "te" | "trailer" | "authorization" | "content-type")
        || *name == HOST
}

fn keep_te_trailers(headers: &mut HeaderMap) {
    let trailers = headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| token.split(|&byte| byte == b';').next())
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Removes from trailers what must not stand there: framing, routing and authentication fields, and those by which
/// proxies control each other.
///
/// Source: RFC 9110 section 6.5.1.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let is_forbidden = |name: &HeaderName| match name.as_str() {
        "transfer-encoding" | "content-length" | "host" | "connection" | "te" | "trailer"
        | "authorization" | "content-encoding" | "content-type" | "set-cookie" => true,
        name => name.starts_with("x-weir-") || name.starts_with("x-envoy-"),
    };
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| is_forbidden(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn fields_named_by_connection_go_but_framing_stays() {
        let mut headers = map(&[
            ("connection", "close, x-private, Content-Length, host"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("host", "h"),
            ("keep-alive", "timeout=1"),
            ("proxy-connection", "close"),
            ("upgrade", "websocket"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3"), ("host", "h")]));
    }

    #[test]
    fn a_field_is_nominated_beside_bytes_that_are_no_ascii() {
        let mut headers = map(&[("x-private", "1"), ("host", "h")]);
        headers.insert(CONNECTION, HeaderValue::from_bytes(b"x-private, \xff").expect("obs-text"));
        strip(&mut headers);
        assert_eq!(headers, map(&[("host", "h")]));
    }

    #[test]
    fn te_is_reduced_to_trailers() {
        let mut headers = map(&[("te", "gzip;q=0.5, Trailers"), ("connection", "te")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]));
        let mut headers = map(&[("te", "gzip")]);
        strip(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn trailers_cannot_carry_framing() {
        let mut trailers = map(&[("grpc-status", "0"), ("content-length", "7")]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
    }
}
