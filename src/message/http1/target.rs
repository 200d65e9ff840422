//! The request line, and the four forms of its target.
//!
//! Source: RFC 9112 sections 3 and 3.2. Law: one space between the parts, nothing around them.

use std::ops::Range;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use memchr::{memchr, memmem};

use super::lines::{self, Section};
use super::{HeadError, Malformed};
use crate::message::host;

/// The longest target that `http::Uri` holds.
const MAX_TARGET_BYTES: usize = (u16::MAX - 1) as usize;

/// What is longer than this is checked when its line is whole.
pub(super) const BEGINNING: usize = 32;

/// What a request line says.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
}

/// The request line that stands in `line` of `head`.
pub(super) fn request_line(head: &Bytes, line: Range<usize>) -> Result<RequestLine, HeadError> {
    let at = lines::content(head, line.clone());
    let text = &head[at.clone()];
    let space = memchr(b' ', text).ok_or(Malformed::Method)?;
    let method = Method::from_bytes(&text[..space]).map_err(|_| Malformed::Method)?;
    let rest = &text[space + 1..];
    let length = memchr(b' ', rest).ok_or(Malformed::Version)?;
    let start = at.start + space + 1;
    let uri = uri(&method, head.slice(start..start + length))?;
    let version = version(&rest[length + 1..]).ok_or(Malformed::Version)?;
    lines::line_end(head, line, Section::Request)?;
    Ok(RequestLine { method, uri, version })
}

/// Refuses what cannot become a request line, such as a TLS handshake, before the line is whole.
pub(super) fn check_beginning(beginning: &[u8]) -> Result<(), HeadError> {
    let beginning = &beginning[..beginning.len().min(BEGINNING)];
    if matches!(beginning, [] | [b'\r']) {
        return Ok(());
    }
    let method = memchr(b' ', beginning).map_or(beginning, |space| &beginning[..space]);
    if Method::from_bytes(method).is_ok() { Ok(()) } else { Err(Malformed::Method.into()) }
}

/// `HTTP/1.0` or `HTTP/1.1`, in these letters.
pub(super) fn version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::HTTP_11),
        b"HTTP/1.0" => Some(Version::HTTP_10),
        _ => None,
    }
}

fn uri(method: &Method, target: Bytes) -> Result<Uri, HeadError> {
    if target.len() > MAX_TARGET_BYTES {
        return Err(HeadError::TooLarge);
    }
    // Without a way out in between, the compiler looks at many bytes at once.
    let (graphic, fragment) = target.iter().fold((true, false), |(graphic, fragment), byte| {
        (graphic & byte.is_ascii_graphic(), fragment | (*byte == b'#'))
    });
    if !graphic {
        return Err(Malformed::Target.into());
    }
    // `http::Uri` would drop it without a word.
    if fragment {
        return Err(Malformed::Fragment.into());
    }
    match &target[..] {
        _ if *method == Method::CONNECT => {
            let authority = Authority::from_maybe_shared(target).map_err(|_| Malformed::Target)?;
            Ok(Uri::from(authority))
        }
        [b'/', ..] => Ok(Uri::from(path(target)?)),
        b"*" if *method == Method::OPTIONS => Ok(Uri::from(PathAndQuery::from_static("*"))),
        _ => absolute(&target),
    }
}

fn path(target: Bytes) -> Result<PathAndQuery, HeadError> {
    PathAndQuery::from_maybe_shared(target).map_err(|_| Malformed::Target.into())
}

/// `http://authority[/path][?query]`.
fn absolute(target: &Bytes) -> Result<Uri, HeadError> {
    let colon = memmem::find(target, b"://").ok_or(Malformed::Target)?;
    let scheme = match &target[..colon] {
        scheme if scheme.eq_ignore_ascii_case(b"http") => Scheme::HTTP,
        scheme if scheme.eq_ignore_ascii_case(b"https") => Scheme::HTTPS,
        _ => return Err(Malformed::Target.into()),
    };
    let start = colon + 3;
    let length = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?'));
    let end = length.map_or(target.len(), |length| start + length);
    let authority = Authority::from_maybe_shared(target.slice(start..end));
    let authority = authority.map_err(|_| Malformed::InvalidHost)?;
    check_host(authority.as_str())?;
    let path = match target[end..].first() {
        None => PathAndQuery::from_static("/"),
        Some(b'/') => path(target.slice(end..))?,
        Some(_) => path(Bytes::from([b"/", &target[end..]].concat()))?,
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Malformed::Target.into())
}

/// The syntax of a host that nothing looks at later: it stands beside a target in absolute form.
pub(super) fn check_host(authority: &str) -> Result<(), HeadError> {
    if is_host(authority.as_bytes()) && host::normalise(authority).is_ok() {
        return Ok(());
    }
    Err(Malformed::InvalidHost.into())
}

/// What `message::host` cannot see: something must be there, in ASCII, and no comma. RFC 3986 allows a comma in a name,
/// but here it means that somebody merged two Host fields.
pub(super) fn is_host(authority: &[u8]) -> bool {
    !authority.is_empty() && authority.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}
