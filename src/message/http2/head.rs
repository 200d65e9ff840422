//! Heads and trailers: header blocks to requests and responses of the `http` crate.
//!
//! Source: RFC 9113 sections 8.1 to 8.3. Law: whatever is wrong with a message, its block was read to the end, so that
//! the connection's table stays in step; a head that comes out is well-formed.

use http::header::{COOKIE, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request, response, uri};

use super::frame::{Reason, Violation};
use super::hpack::BlockDecoder;
use super::hpack::decoder::{Found, Undecodable};
use super::hpack::field::{Field, Line, note};
use crate::message::spare;
use last::Last;

mod last;
#[cfg(test)]
mod tests;

/// Fields for which a head has room from the start: those of most callers, and those that a proxy adds.
const HEAD_FIELDS: usize = 12;
/// `grpc-status`, `grpc-message`, and one more.
const TRAILERS: usize = 3;
/// So many times the bound on a list of fields are read for the table's sake, before the connection ends.
const FLOOD: usize = 4;
/// Digits of the greatest length.
const LENGTH_DIGITS: usize = 19;

/// Why a block gives no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be decoded; the table is lost, and the connection with it (RFC 9113 section 4.3).
    Block(&'static str),
    /// It unfolds to more than four times the bound: the connection ends, with ENHANCE_YOUR_CALM.
    Flood,
    /// It holds something that is no field or no value at all: the name in upper case, a control byte.
    Field(&'static str),
    /// The fields make no message (RFC 9113 section 8.1.1).
    Message(&'static str),
    /// Its list of fields is above the bound: of a request it is answered with 431.
    TooLarge,
}

impl Fault {
    /// What a server makes of it. [`Fault::TooLarge`] is answered, unless it is in trailers.
    pub fn of_request(self) -> Violation {
        match self {
            Fault::Field(why) => Violation::Connection(Reason::PROTOCOL_ERROR, why),
            other => other.of_response(),
        }
    }

    /// What a client makes of it: one answer that is none says nothing of the others on its connection.
    pub fn of_response(self) -> Violation {
        match self {
            Fault::Block(why) => Violation::Connection(Reason::PROTOCOL_ERROR, why),
            Fault::Flood => Violation::Connection(Reason::ENHANCE_YOUR_CALM, "header_list_way_too_large"),
            Fault::Field(why) | Fault::Message(why) => Violation::Stream(Reason::PROTOCOL_ERROR, why),
            Fault::TooLarge => Violation::Stream(Reason::PROTOCOL_ERROR, "header_list_too_large"),
        }
    }
}

impl From<Undecodable> for Fault {
    fn from(why: Undecodable) -> Fault {
        Fault::Block(why)
    }
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// With version HTTP/2. Crumbs of a cookie are joined (RFC 9113 section 8.2.3).
    pub parts: Box<request::Parts>,
    /// What `content-length` says, if it says anything.
    pub content_length: Option<u64>,
    /// What RFC 9113 calls malformed and is answered with 400 and a line in the access log, by the word for it there:
    /// `http2.invalid_scheme`, `http2.unexpected_content_length`, `http2.invalid_header_value`.
    pub flaw: Option<&'static str>,
}

/// A response's head; an interim one, if its status says so (never 101).
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// With version HTTP/2.
    pub parts: response::Parts,
    /// What `content-length` says, if it says anything.
    pub content_length: Option<u64>,
}

/// Reads the heads and trailers of one connection, in the order of their blocks.
///
/// Many a block is the one before it, byte for byte: answers of one model server, trailers, the requests of one client.
/// While the table stays as it was it says the same, so the second time what it says is kept, and from then on cloned.
#[derive(Debug)]
pub struct Decoder {
    blocks: BlockDecoder,
    requests: Last<RequestHead>,
    responses: Last<ResponseHead>,
    request_trailers: Last<HeaderMap>,
    response_trailers: Last<HeaderMap>,
}

impl Decoder {
    /// `limit` is what our SETTINGS say: SETTINGS_HEADER_TABLE_SIZE, in bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            blocks: BlockDecoder::new(limit),
            requests: Last::default(),
            responses: Last::default(),
            request_trailers: Last::default(),
            response_trailers: Last::default(),
        }
    }

    /// Reads a request's block. `max_list` is what our SETTINGS say: SETTINGS_MAX_HEADER_LIST_SIZE, in bytes.
    pub fn request(&mut self, block: &[u8], max_list: usize) -> Result<RequestHead, Fault> {
        self.requests.or_read(&mut self.blocks, block, max_list, |blocks| {
            let mut reading = Reading::new(Kind::Request, max_list);
            blocks.decode(block, |found| reading.take(found))?;
            reading.into_request()
        })
    }

    /// Reads a response's block, as [`Decoder::request`] does. Pseudo-header fields of requests are passed over.
    pub fn response(&mut self, block: &[u8], max_list: usize) -> Result<ResponseHead, Fault> {
        self.responses.or_read(&mut self.blocks, block, max_list, |blocks| {
            let mut reading = Reading::new(Kind::Response, max_list);
            blocks.decode(block, |found| reading.take(found))?;
            reading.into_response()
        })
    }

    /// Reads the trailers of a request: with a pseudo-header field among them they are malformed.
    pub fn request_trailers(&mut self, block: &[u8], max_list: usize) -> Result<HeaderMap, Fault> {
        self.request_trailers.or_read(&mut self.blocks, block, max_list, |blocks| {
            trailers(blocks, Kind::RequestTrailers, block, max_list)
        })
    }

    /// Reads the trailers of a response. Pseudo-header fields are passed over.
    pub fn response_trailers(&mut self, block: &[u8], max_list: usize) -> Result<HeaderMap, Fault> {
        self.response_trailers.or_read(&mut self.blocks, block, max_list, |blocks| {
            trailers(blocks, Kind::ResponseTrailers, block, max_list)
        })
    }

    /// Reads a block that nobody wants, for the table alone.
    pub fn skip(&mut self, block: &[u8], max_list: usize) -> Result<(), Fault> {
        let mut size = 0;
        self.blocks.decode(block, |found| {
            size += found.field().size as usize;
            if size > max_list.saturating_mul(FLOOD) { Err(Fault::Flood) } else { Ok(()) }
        })
    }
}

fn trailers(
    blocks: &mut BlockDecoder,
    kind: Kind,
    block: &[u8],
    max_list: usize,
) -> Result<HeaderMap, Fault> {
    let mut reading = Reading::new(kind, max_list);
    blocks.decode(block, |found| reading.take(found))?;
    reading.check()?;
    Ok(reading.fields)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
    RequestTrailers,
    ResponseTrailers,
}

/// What has been seen, in bits.
mod seen {
    pub(super) const METHOD: u8 = 1;
    pub(super) const SCHEME: u8 = 2;
    pub(super) const AUTHORITY: u8 = 4;
    pub(super) const PATH: u8 = 8;
    pub(super) const STATUS: u8 = 16;
    /// A field that is no pseudo-header field.
    pub(super) const REGULAR: u8 = 32;
}

/// A block on its way to a message.
struct Reading {
    kind: Kind,
    seen: u8,
    notes: u8,
    max_list: usize,
    size: usize,
    fields: HeaderMap,
    method: Method,
    status: StatusCode,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    length: Option<u64>,
    /// A length that is empty, or told again.
    odd_length: bool,
    cookies: usize,
    fault: Option<Fault>,
}

impl Reading {
    fn new(kind: Kind, max_list: usize) -> Reading {
        let fields = match kind {
            Kind::Request | Kind::Response => spare::header_map(HEAD_FIELDS).unwrap_or_default(),
            Kind::RequestTrailers | Kind::ResponseTrailers => HeaderMap::with_capacity(TRAILERS),
        };
        Reading {
            kind,
            seen: 0,
            notes: 0,
            max_list,
            size: 0,
            fields,
            method: Method::GET,
            status: StatusCode::OK,
            scheme: None,
            authority: None,
            path: None,
            length: None,
            odd_length: false,
            cookies: 0,
            fault: None,
        }
    }

    /// The first thing that is wrong is what is told.
    #[cold]
    fn wrong(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    #[inline]
    fn take(&mut self, found: Found<'_>) -> Result<(), Fault> {
        let field = found.field();
        self.size += field.size as usize;
        if self.size >= self.max_list {
            return self.take_no_more(field);
        }
        if let Line::Regular(name, value) = &field.line {
            self.seen |= seen::REGULAR;
            if field.notes != 0 {
                self.note(field.notes, value);
            }
            let added = match found {
                Found::There(_) => self.fields.try_append(name.clone(), value.clone()),
                Found::New(Field { line: Line::Regular(name, value), .. }) => {
                    self.fields.try_append(name, value)
                }
                Found::New(_) => Ok(false),
            };
            if added.is_err() {
                self.size = self.size.max(self.max_list);
            }
        } else {
            self.take_pseudo(&field.line);
        }
        Ok(())
    }

    /// The list is too large: it is read for the table's sake, and for what makes it malformed beside that.
    #[cold]
    fn take_no_more(&mut self, field: &Field) -> Result<(), Fault> {
        if self.size > self.max_list.saturating_mul(FLOOD) {
            return Err(Fault::Flood);
        }
        match &field.line {
            Line::Regular(_, value) => self.note(field.notes, value),
            line => self.take_pseudo(line),
        }
        Ok(())
    }

    #[inline]
    fn take_pseudo(&mut self, line: &Line) {
        let bit = match line {
            Line::Method(_) => seen::METHOD,
            Line::Scheme(_) => seen::SCHEME,
            Line::Authority(_) => seen::AUTHORITY,
            Line::Path(_) => seen::PATH,
            Line::Status(_) => seen::STATUS,
            Line::Odd(name, value) => return self.wrong(why_odd(name, value)),
            Line::Regular(..) => return,
        };
        match self.kind {
            Kind::RequestTrailers => {
                return self.wrong(Fault::Message("a pseudo-header field in trailers"));
            }
            Kind::ResponseTrailers => return,
            Kind::Request | Kind::Response => {}
        }
        if self.seen & (bit | seen::REGULAR) != 0 {
            return self.wrong(Fault::Message("a pseudo-header field twice, or behind a field"));
        }
        self.seen |= bit;
        match line {
            Line::Method(method) => self.method = method.clone(),
            Line::Scheme(scheme) => self.scheme = Some(scheme.clone()),
            Line::Authority(authority) => self.authority = Some(authority.clone()),
            Line::Path(path) => self.path = Some(path.clone()),
            Line::Status(status) => self.status = *status,
            Line::Regular(..) | Line::Odd(..) => {}
        }
    }

    fn note(&mut self, notes: u8, value: &HeaderValue) {
        self.notes |= notes;
        if notes & note::CONNECTION != 0 {
            self.wrong(Fault::Message("a field of the connection"));
        }
        if notes & note::COOKIE != 0 {
            self.cookies += 1;
        }
        let is_head = matches!(self.kind, Kind::Request | Kind::Response);
        if notes & note::LENGTH != 0 && is_head {
            match length(value.as_bytes()) {
                Some(length) if self.length.is_some_and(|first| first != length) => {
                    self.wrong(Fault::Message("two lengths"));
                }
                Some(length) => {
                    self.odd_length |= self.length.is_some();
                    self.length = Some(length);
                }
                None if value.is_empty() && self.kind == Kind::Request => self.odd_length = true,
                None => self.wrong(Fault::Message("a length that is no number")),
            }
        }
    }

    fn check(&self) -> Result<(), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.size >= self.max_list => Err(Fault::TooLarge),
            None => Ok(()),
        }
    }

    fn has(&self, bit: u8) -> bool {
        self.seen & bit != 0
    }

    fn into_request(mut self) -> Result<RequestHead, Fault> {
        self.check()?;
        if !self.has(seen::METHOD) || self.has(seen::STATUS) {
            return Err(Fault::Message("no :method, or a :status"));
        }
        let flaw = self.flaw();
        let uri = self.uri()?;
        if self.cookies > 1 {
            join_crumbs(&mut self.fields);
        }
        let mut parts = Box::new(Request::new(()).into_parts().0);
        parts.method = self.method;
        parts.uri = uri;
        parts.version = Version::HTTP_2;
        parts.headers = self.fields;
        Ok(RequestHead { parts, content_length: self.length, flaw })
    }

    fn flaw(&self) -> Option<&'static str> {
        let is_http = |scheme: &Scheme| {
            let scheme = scheme.as_str();
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        };
        if self.scheme.as_ref().is_some_and(|scheme| !is_http(scheme)) {
            Some("http2.invalid_scheme")
        } else if self.odd_length {
            Some("http2.unexpected_content_length")
        } else if self.notes & note::PADDED != 0 {
            Some("http2.invalid_header_value")
        } else {
            None
        }
    }

    /// RFC 9113 section 8.3.1; of CONNECT section 8.5. Without authority `http::Uri` has no room for a scheme.
    fn uri(&mut self) -> Result<Uri, Fault> {
        let (scheme, authority) = (self.scheme.take(), self.authority.take());
        if self.method == Method::CONNECT {
            if scheme.is_some() || self.path.is_some() {
                return Err(Fault::Message("CONNECT with :scheme or :path"));
            }
            return Ok(authority.map_or_else(Uri::default, Uri::from));
        }
        let (Some(scheme), Some(path)) = (scheme, self.path.take()) else {
            return Err(Fault::Message("no :scheme, or no :path"));
        };
        if authority.is_none() {
            return Ok(Uri::from(path));
        }
        let mut parts = uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = authority;
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| Fault::Message("no URI"))
    }

    fn into_response(self) -> Result<ResponseHead, Fault> {
        self.check()?;
        // Section 8.6: HTTP/2 switches to no other protocol.
        if !self.has(seen::STATUS) || self.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Message("no :status, or 101"));
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = self.status;
        parts.version = Version::HTTP_2;
        parts.headers = self.fields;
        Ok(ResponseHead { parts, content_length: self.length })
    }
}

/// Why something is no field of HTTP.
#[cold]
fn why_odd(name: &[u8], value: &[u8]) -> Fault {
    match name {
        b":path" | b":scheme" | b":authority" | b":protocol" if std::str::from_utf8(value).is_ok() => {
            Fault::Message("a pseudo-header field whose value may not be")
        }
        [b':', ..] => Fault::Field("an unknown pseudo-header field, or a value that none has"),
        _ => Fault::Field("no name or no value of a field"),
    }
}

/// RFC 9110 section 8.6.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > LENGTH_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// RFC 9113 section 8.2.3: a cookie may come in crumbs. Whoever looks at it, here or upstream, sees it whole.
#[cold]
fn join_crumbs(fields: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, whole);
    }
}
