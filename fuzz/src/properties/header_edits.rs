//! Hop-by-hop fields, against a model that works on bytes: what belongs to the connection goes, wherever it is named;
//! framing, host and credentials stay; everything else is as it was, in its order.

use http::{HeaderMap, HeaderName, HeaderValue};
use weir::message::hop_by_hop::{strip, strip_trailers};

use super::input::Input;

const NAMES: [&str; 22] = [
    "connection",
    "te",
    "transfer-encoding",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "http2-settings",
    "trailer",
    "authorization",
    "content-type",
    "cookie",
    "set-cookie",
    "content-encoding",
    "grpc-status",
    "x-private",
    "x-a",
    "x-b",
    "expect",
    "x-weir-hop",
    "x-envoy-internal",
];
const VALUES: [&str; 16] = [
    "close",
    "keep-alive, x-private",
    "X-Private,close",
    "te, x-a",
    "content-length, host, x-b",
    "trailers",
    "gzip;q=0.5, Trailers",
    "trailers;q=1",
    "nottrailers",
    "chunked",
    "upgrade, http2-settings",
    ",, x-a ,",
    "3",
    "transfer-encoding",
    "authorization, content-type, trailer",
    "",
];
const HOP_BY_HOP: [&str; 6] =
    ["connection", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade", "http2-settings"];
/// No nomination by `connection` removes these.
const PROTECTED: [&str; 6] = ["content-length", "host", "te", "trailer", "authorization", "content-type"];
const NO_TRAILERS: [&str; 10] = [
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "te",
    "trailer",
    "authorization",
    "content-encoding",
    "content-type",
    "set-cookie",
];

/// See the module.
pub fn check(data: &[u8]) {
    let before = headers(&mut Input::new(data));
    let mut after = before.clone();
    strip(&mut after);
    let nominated = tokens(&before, "connection");
    let gone = |name: &str| {
        let nominated = nominated.iter().any(|token| token.eq_ignore_ascii_case(name.as_bytes()));
        HOP_BY_HOP.contains(&name) || (nominated && !PROTECTED.contains(&name))
    };
    assert_eq!(fields(&after, |name| name != "te"), fields(&before, |name| name != "te" && !gone(name)));
    let trailers = tokens(&before, "te").iter().any(|token| {
        let coding = token.split(|&byte| byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    });
    let te: Vec<_> = after.get_all("te").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(te, if trailers { vec![&b"trailers"[..]] } else { vec![] }, "{before:?}");
    let once = after.clone();
    strip(&mut after);
    assert_eq!(after, once, "stripping twice is not stripping once");

    let mut trailers = before.clone();
    strip_trailers(&mut trailers);
    let may_stay = |name: &str| {
        !NO_TRAILERS.contains(&name) && !name.starts_with("x-weir-") && !name.starts_with("x-envoy-")
    };
    assert_eq!(fields(&trailers, |_| true), fields(&before, may_stay));
}

fn headers(input: &mut Input<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while !input.is_empty() {
        let name = match input.below(4) {
            0 => HeaderName::from_bytes(input.bytes(12)).unwrap_or(HeaderName::from_static("x-odd")),
            _ => HeaderName::from_static(input.pick(&NAMES)),
        };
        let value = match input.below(4) {
            0 => HeaderValue::from_bytes(input.bytes(30)).unwrap_or(HeaderValue::from_static("")),
            _ => HeaderValue::from_static(input.pick(&VALUES)),
        };
        headers.append(name, value);
    }
    headers
}

/// The members of the list that all fields `name` make (RFC 9110 section 5.6.1).
fn tokens<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h [u8]> {
    let values = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    values.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()).collect()
}

/// Names with all their values, as far as `wanted`, by name: a removal may move other names, but not a name's values.
fn fields(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut fields: Vec<_> = headers
        .keys()
        .filter(|name| wanted(name.as_str()))
        .map(|name| {
            let values = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
            (name.as_str().to_owned(), values)
        })
        .collect();
    fields.sort();
    fields
}
