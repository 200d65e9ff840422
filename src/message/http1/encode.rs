//! Heads and chunk frames as bytes.
//!
//! Law: framing fields are written here and nowhere else, from [`Framing`]; one that stands among the fields is left
//! out. What is appended reads back as what was given.

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::Framing;

/// What stands behind a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What an answer says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 persists.
    Default,
    /// It persists, which HTTP/1.0 has to be told.
    KeepAlive,
    /// It closes after this answer.
    Close,
}

/// Appends a request's head, HTTP/1.1. Host goes first, if `headers` has it, as RFC 9110 section 7.2 asks.
/// `Length` becomes `content-length`, `Chunked` `transfer-encoding`; `Empty` is `content-length: 0` for POST, PUT and
/// PATCH, whose servers may wait for one (RFC 9110 section 8.6), and nothing for others.
pub fn request_head(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    framing: Framing,
) {
    out.reserve(target.len() + room(headers));
    put(out, &[method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
    // Mostly it stands there in any case.
    let is_first = headers.keys().next() == Some(&HOST);
    if !is_first {
        for value in headers.get_all(HOST) {
            field(out, &HOST, value);
        }
    }
    for (name, value) in headers {
        if (is_first || *name != HOST) && !is_framing(name) {
            field(out, name, value);
        }
    }
    match framing {
        Framing::Empty if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => length(out, 0),
        Framing::Length(bytes) => length(out, bytes),
        Framing::Chunked => put(out, &[CHUNKED]),
        Framing::Empty | Framing::UntilClose => {}
    }
    put(out, &[b"\r\n"]);
}

/// Appends a response's head with the canonical reason.
///
/// - 1xx and 204 get no framing field.
/// - `Length` becomes `content-length`, also for 304 and answers to HEAD, where it only informs.
/// - `Chunked` becomes `transfer-encoding`, but not in HTTP/1.0: there the body ends with the connection.
/// - `Empty` keeps the `content-length` of `headers` (an answer to HEAD, or a 304). Without one it is
///   `content-length: 0`, but nothing for a 304.
/// - `UntilClose` writes nothing; that is also how an answer to HEAD says that it does not know the length.
pub fn response_head(
    out: &mut BytesMut,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: Connection,
) {
    out.reserve(room(headers));
    let is_http10 = version == Version::HTTP_10;
    let reason = status.canonical_reason().unwrap_or_default().as_bytes();
    let start: &[u8] = if is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    put(out, &[start, status.as_str().as_bytes(), b" ", reason, b"\r\n"]);
    for (name, value) in headers {
        let ours = is_framing(name) || (*name == CONNECTION && connection != Connection::Default);
        if !ours {
            field(out, name, value);
        }
    }
    if !status.is_informational() && status != StatusCode::NO_CONTENT {
        match framing {
            Framing::Length(bytes) => length(out, bytes),
            Framing::Empty => match headers.get(CONTENT_LENGTH) {
                Some(value) => field(out, &CONTENT_LENGTH, value),
                None if status != StatusCode::NOT_MODIFIED => length(out, 0),
                None => {}
            },
            Framing::Chunked if !is_http10 => put(out, &[CHUNKED]),
            Framing::Chunked | Framing::UntilClose => {}
        }
    }
    let connection: &[u8] = match connection {
        Connection::Default => b"",
        Connection::KeepAlive => b"connection: keep-alive\r\n",
        Connection::Close => b"connection: close\r\n",
    };
    put(out, &[connection, b"\r\n"]);
}

/// Appends what stands before a chunk of `len` bytes. A chunk of none would end the body: `len` is above 0.
pub fn chunk_start(out: &mut BytesMut, len: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 2 * size_of::<usize>()];
    let mut start = text.len();
    let mut rest = len;
    while let Some(place) = start.checked_sub(1) {
        text[place] = DIGITS[rest & 15];
        start = place;
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    put(out, &[&text[start..], b"\r\n"]);
}

/// Appends the last chunk, with trailers.
pub fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    put(out, &[b"0\r\n"]);
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name, value);
    }
    put(out, &[b"\r\n"]);
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

/// About what a head takes: it only saves growing.
fn room(headers: &HeaderMap) -> usize {
    const LINE: usize = 48;
    LINE * (headers.len() + 3)
}

fn length(out: &mut BytesMut, bytes: u64) {
    let mut digits = itoa::Buffer::new();
    put(out, &[b"content-length: ", digits.format(bytes).as_bytes(), b"\r\n"]);
}

fn field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
