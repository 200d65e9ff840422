//! Takes one head from the front of a buffer.
//!
//! Law: a head that comes out has one reading (RFC 9112 sections 2.2 to 6.3): [`Framing`] says what the framing fields
//! said. `transfer-encoding` is not among its fields; `content-length` stays, as one valid value. Values are slices of
//! the buffer, not copies.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, request, response};

use super::framing::Control;
use super::lines::{self, Section};
use super::target::{self, RequestLine};
use super::{Framing, HeadBounds, HeadError, Malformed};

/// `HTTP/1.1`.
const VERSION_BYTES: usize = 8;

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields, without `transfer-encoding`. The target is a path with its query in origin
    /// form, has scheme and authority in absolute form, is `*` in asterisk form, and an authority for CONNECT. Host
    /// stays as it was sent; `message::host` judges its characters. In a box from the start, for it goes a long way.
    pub parts: Box<request::Parts>,
    /// How the body is delimited; never [`Framing::UntilClose`]. `content-length: 0` is `Length(0)`.
    pub framing: Framing,
    /// The connection persists after this message as far as the caller is concerned (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// HTTP/1.1 with `expect: 100-continue` among its values and a body to come (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version and fields, without `transfer-encoding`. The reason phrase is dropped.
    pub parts: response::Parts,
    /// How the body is delimited.
    pub framing: Framing,
    /// The connection persists after this message as far as the server is concerned.
    pub keep_alive: bool,
}

/// Takes one whole request head from the front of `buf`; `None`: more bytes are needed. `scanned` remembers how far
/// its end was searched, and is 0 before a head's first byte; so a head that comes byte by byte costs linear time.
pub fn take_request(
    buf: &mut BytesMut,
    bounds: HeadBounds,
    scanned: &mut usize,
) -> Result<Option<RequestHead>, HeadError> {
    let mut ends = lines::Ends::new();
    let found = lines::find_end(buf, Section::Request, bounds, scanned, &mut ends)?;
    let Some(end) = found else { return Ok(None) };
    let head = buf.split_to(end).freeze();
    let mut lines = lines::lines(&head, &ends);
    let first = loop {
        match lines.next() {
            Some(line) if lines::content(&head, line.clone()).is_empty() => {
                lines::line_end(&head, line, Section::Request)?;
            }
            Some(line) => break line,
            // The end is behind a line that is not empty, so there is one.
            None => return Err(Malformed::Method.into()),
        }
    };
    let RequestLine { method, uri, version } = target::request_line(&head, first)?;
    let mut control = Control::default();
    let headers =
        lines::fields(&head, lines, Section::Request, bounds, |name, value| control.note(name, value))?;
    check_hosts(&uri, version, &headers, &control)?;
    let is_http10 = version == Version::HTTP_10;
    let framing = control.framing(is_http10)?.unwrap_or(Framing::Empty);
    let has_body = !matches!(framing, Framing::Empty | Framing::Length(0));
    let mut parts = Box::new(Request::new(()).into_parts().0);
    parts.method = method;
    parts.uri = uri;
    parts.version = version;
    parts.headers = headers;
    Ok(Some(RequestHead {
        parts,
        framing,
        keep_alive: control.persists(is_http10),
        expects_continue: control.expects_continue && has_body && !is_http10,
    }))
}

/// RFC 9112 section 3.2: HTTP/1.1 has exactly one Host, whatever the target says; HTTP/1.0 at most one.
fn check_hosts(uri: &Uri, version: Version, headers: &HeaderMap, control: &Control) -> Result<(), HeadError> {
    match control.hosts {
        0 if version == Version::HTTP_11 => return Err(Malformed::MissingHost.into()),
        0 => return Ok(()),
        1 => {}
        _ => return Err(Malformed::MultipleHosts.into()),
    }
    if !control.names_host {
        return Err(Malformed::InvalidHost.into());
    }
    // Beside an authority in the target nobody looks at it again.
    if uri.authority().is_some() {
        let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let host = std::str::from_utf8(host).map_err(|_| Malformed::InvalidHost)?;
        target::check_host(host)?;
    }
    Ok(())
}

/// Takes one whole response head from the front of `buf`, as [`take_request`] does. `to_head`: the request was HEAD.
/// Interim answers (1xx) come out as heads with [`Framing::Empty`]; the caller decides.
pub fn take_response(
    buf: &mut BytesMut,
    bounds: HeadBounds,
    scanned: &mut usize,
    to_head: bool,
) -> Result<Option<ResponseHead>, HeadError> {
    let mut ends = lines::Ends::new();
    let found = lines::find_end(buf, Section::Response, bounds, scanned, &mut ends)?;
    let Some(end) = found else { return Ok(None) };
    let head = buf.split_to(end).freeze();
    let mut lines = lines::lines(&head, &ends);
    let (version, status) = status_line(&head, lines.next().unwrap_or(0..0))?;
    let mut control = Control::default();
    let headers =
        lines::fields(&head, lines, Section::Response, bounds, |name, value| control.note(name, value))?;
    let is_http10 = version == Version::HTTP_10;
    let said = control.framing(is_http10)?;
    let bodiless = to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = if bodiless { Framing::Empty } else { said.unwrap_or(Framing::UntilClose) };
    let keep_alive = framing != Framing::UntilClose && control.persists(is_http10);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = version;
    parts.headers = headers;
    Ok(Some(ResponseHead { parts, framing, keep_alive }))
}

/// `HTTP/1.1 200 OK`; the reason phrase, and the space before it, may be missing.
pub(super) fn status_line(head: &Bytes, line: Range<usize>) -> Result<(Version, StatusCode), HeadError> {
    let text = &head[lines::content(head, line)];
    let (version, rest) = text.split_at_checked(VERSION_BYTES).ok_or(Malformed::StatusLine)?;
    let version = target::version(version).ok_or(Malformed::StatusLine)?;
    let [b' ', code @ ..] = rest else { return Err(Malformed::StatusLine.into()) };
    let (code, reason) = code.split_at_checked(3).ok_or(Malformed::StatusLine)?;
    let is_reason = match reason {
        [] => true,
        [b' ', phrase @ ..] => phrase.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)),
        _ => false,
    };
    match StatusCode::from_bytes(code) {
        Ok(status) if is_reason => Ok((version, status)),
        _ => Err(Malformed::StatusLine.into()),
    }
}
