//! A field as it comes out of a block, and the static table of them.
//!
//! Law: a field is made once, when its bytes come; what the tables hold is ready to be put into a message. What is no
//! field of HTTP is kept as it is, so that the table stays in step.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};

/// Bytes that RFC 7541 section 4.1 adds to those of name and value.
pub(crate) const OVERHEAD: usize = 32;

/// A name and its value.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) line: Line,
    /// By RFC 7541 section 4.1, which is the measure of RFC 9113 section 6.5.2, too.
    pub(crate) size: u32,
    pub(crate) notes: u8,
}

/// What a field says.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Regular(HeaderName, HeaderValue),
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Status(StatusCode),
    /// Name and value of what is none of these.
    Odd(Bytes, Bytes),
}

/// What a message's reader wants to know of a regular field, without comparing names.
pub(crate) mod note {
    /// The value begins or ends with a space or a tab.
    pub(crate) const PADDED: u8 = 1;
    /// `content-length`.
    pub(crate) const LENGTH: u8 = 2;
    /// `cookie`.
    pub(crate) const COOKIE: u8 = 4;
    /// Of a connection, which HTTP/2 forbids (RFC 9113 section 8.2.2).
    pub(crate) const CONNECTION: u8 = 8;
}

impl Field {
    /// A field of these bytes.
    pub(crate) fn new(name: &[u8], value: &[u8]) -> Field {
        let line = match name {
            [b':', ..] => pseudo(name, value),
            _ => match HeaderName::from_lowercase(name) {
                Ok(name) => regular(name, value),
                Err(_) => odd(name, value),
            },
        };
        Field::of(line, name.len(), value)
    }

    /// A field with the name of this one and another value.
    pub(crate) fn with_value(&self, value: &[u8]) -> Field {
        match &self.line {
            Line::Regular(name, _) => Field::of(regular(name.clone(), value), name.as_str().len(), value),
            Line::Odd(name, _) => Field::new(name, value),
            Line::Method(_) => Field::new(b":method", value),
            Line::Scheme(_) => Field::new(b":scheme", value),
            Line::Authority(_) => Field::new(b":authority", value),
            Line::Path(_) => Field::new(b":path", value),
            Line::Status(_) => Field::new(b":status", value),
        }
    }

    /// Its bytes.
    #[cfg(test)]
    pub(crate) fn text(&self) -> (Vec<u8>, Vec<u8>) {
        let (name, value) = match &self.line {
            Line::Regular(name, value) => (name.as_str().as_bytes(), value.as_bytes()),
            Line::Method(method) => (&b":method"[..], method.as_str().as_bytes()),
            Line::Scheme(scheme) => (&b":scheme"[..], scheme.as_str().as_bytes()),
            Line::Authority(authority) => (&b":authority"[..], authority.as_str().as_bytes()),
            Line::Path(path) => (&b":path"[..], path.as_str().as_bytes()),
            Line::Status(status) => (&b":status"[..], status.as_str().as_bytes()),
            Line::Odd(name, value) => (&name[..], &value[..]),
        };
        (name.to_vec(), value.to_vec())
    }

    fn of(line: Line, name_length: usize, value: &[u8]) -> Field {
        let notes = match &line {
            Line::Regular(name, _) => notes(name, value),
            _ => 0,
        };
        // A block is far below 4 GiB.
        Field { line, size: (name_length + value.len() + OVERHEAD) as u32, notes }
    }
}

fn odd(name: &[u8], value: &[u8]) -> Line {
    Line::Odd(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value))
}

fn regular(name: HeaderName, value: &[u8]) -> Line {
    match HeaderValue::from_bytes(value) {
        Ok(value) => Line::Regular(name, value),
        Err(_) => odd(name.as_str().as_bytes(), value),
    }
}

fn pseudo(name: &[u8], value: &[u8]) -> Line {
    let shared = || Bytes::copy_from_slice(value);
    let line = match name {
        b":path" if !value.is_empty() => PathAndQuery::from_maybe_shared(shared()).ok().map(Line::Path),
        b":authority" => Authority::from_maybe_shared(shared()).ok().map(Line::Authority),
        b":method" => Method::from_bytes(value).ok().map(Line::Method),
        b":scheme" => Scheme::try_from(value).ok().map(Line::Scheme),
        b":status" => StatusCode::from_bytes(value).ok().map(Line::Status),
        _ => None,
    };
    line.unwrap_or_else(|| odd(name, value))
}

fn notes(name: &HeaderName, value: &[u8]) -> u8 {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = if is_space(value.first()) || is_space(value.last()) { note::PADDED } else { 0 };
    let named = match name.as_str() {
        "content-length" => note::LENGTH,
        "cookie" => note::COOKIE,
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            note::CONNECTION
        }
        "te" if value != b"trailers" => note::CONNECTION,
        _ => 0,
    };
    padded | named
}

/// Entries of the static table; its first has the index 1.
pub(crate) const STATIC_FIELDS: usize = 61;

/// The index of `:authority` in the static table, and so on. Of a name that comes more than once it is the first.
pub(crate) mod index {
    pub(crate) const AUTHORITY: usize = 1;
    pub(crate) const METHOD: usize = 2;
    pub(crate) const GET: usize = 2;
    pub(crate) const POST: usize = 3;
    pub(crate) const PATH: usize = 4;
    pub(crate) const SLASH: usize = 4;
    pub(crate) const HTTP: usize = 6;
    pub(crate) const HTTPS: usize = 7;
    pub(crate) const STATUS: usize = 8;
}

const fn entry(name_length: usize, value_length: usize, line: Line) -> Field {
    noted(name_length, value_length, line, 0)
}

const fn noted(name_length: usize, value_length: usize, line: Line, notes: u8) -> Field {
    Field { line, size: (name_length + value_length + OVERHEAD) as u32, notes }
}

const fn path(value: &'static str) -> Field {
    entry(5, value.len(), Line::Path(PathAndQuery::from_static(value)))
}

const fn status(status: StatusCode) -> Field {
    entry(7, 3, Line::Status(status))
}

const fn field(length: usize, name: HeaderName, value: &'static str) -> Field {
    entry(length, value.len(), Line::Regular(name, HeaderValue::from_static(value)))
}

const fn empty(length: usize, name: HeaderName, notes: u8) -> Field {
    noted(length, 0, Line::Regular(name, HeaderValue::from_static("")), notes)
}

/// RFC 7541 appendix A. An `:authority` without a value is none, and odd.
pub(crate) static STATIC: [Field; STATIC_FIELDS] = [
    entry(10, 0, Line::Odd(Bytes::from_static(b":authority"), Bytes::new())),
    entry(7, 3, Line::Method(Method::GET)),
    entry(7, 4, Line::Method(Method::POST)),
    path("/"),
    path("/index.html"),
    entry(7, 4, Line::Scheme(Scheme::HTTP)),
    entry(7, 5, Line::Scheme(Scheme::HTTPS)),
    status(StatusCode::OK),
    status(StatusCode::NO_CONTENT),
    status(StatusCode::PARTIAL_CONTENT),
    status(StatusCode::NOT_MODIFIED),
    status(StatusCode::BAD_REQUEST),
    status(StatusCode::NOT_FOUND),
    status(StatusCode::INTERNAL_SERVER_ERROR),
    field(14, header::ACCEPT_CHARSET, ""),
    field(15, header::ACCEPT_ENCODING, "gzip, deflate"),
    field(15, header::ACCEPT_LANGUAGE, ""),
    field(13, header::ACCEPT_RANGES, ""),
    field(6, header::ACCEPT, ""),
    field(27, header::ACCESS_CONTROL_ALLOW_ORIGIN, ""),
    field(3, header::AGE, ""),
    field(5, header::ALLOW, ""),
    field(13, header::AUTHORIZATION, ""),
    field(13, header::CACHE_CONTROL, ""),
    field(19, header::CONTENT_DISPOSITION, ""),
    field(16, header::CONTENT_ENCODING, ""),
    field(16, header::CONTENT_LANGUAGE, ""),
    empty(14, header::CONTENT_LENGTH, note::LENGTH),
    field(16, header::CONTENT_LOCATION, ""),
    field(13, header::CONTENT_RANGE, ""),
    field(12, header::CONTENT_TYPE, ""),
    empty(6, header::COOKIE, note::COOKIE),
    field(4, header::DATE, ""),
    field(4, header::ETAG, ""),
    field(6, header::EXPECT, ""),
    field(7, header::EXPIRES, ""),
    field(4, header::FROM, ""),
    field(4, header::HOST, ""),
    field(8, header::IF_MATCH, ""),
    field(17, header::IF_MODIFIED_SINCE, ""),
    field(13, header::IF_NONE_MATCH, ""),
    field(8, header::IF_RANGE, ""),
    field(19, header::IF_UNMODIFIED_SINCE, ""),
    field(13, header::LAST_MODIFIED, ""),
    field(4, header::LINK, ""),
    field(8, header::LOCATION, ""),
    field(12, header::MAX_FORWARDS, ""),
    field(18, header::PROXY_AUTHENTICATE, ""),
    field(19, header::PROXY_AUTHORIZATION, ""),
    field(5, header::RANGE, ""),
    field(7, header::REFERER, ""),
    field(7, header::REFRESH, ""),
    field(11, header::RETRY_AFTER, ""),
    field(6, header::SERVER, ""),
    field(10, header::SET_COOKIE, ""),
    field(25, header::STRICT_TRANSPORT_SECURITY, ""),
    empty(17, header::TRANSFER_ENCODING, note::CONNECTION),
    field(10, header::USER_AGENT, ""),
    field(4, header::VARY, ""),
    field(3, header::VIA, ""),
    field(16, header::WWW_AUTHENTICATE, ""),
];
