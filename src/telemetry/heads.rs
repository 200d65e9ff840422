//! What an access log keeps of a request until the line is made: of its and its response's head, and its version.
//!
//! Law: only what the format asks for is kept, and header values are shared with the message, not copied. One piece of
//! memory for the text and one for the values, as each request that is logged takes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::field::{FORWARDED_FOR, HeadPart};
use super::format::Format;
use super::moments::Moments;

/// What the format asks of a request's and its response's head.
#[derive(Clone, Debug)]
pub struct LoggedHeads {
    /// Of a head that cannot be read there is none.
    method: Option<Method>,
    /// The path, and behind it the authority.
    text: Vec<u8>,
    path: usize,
    /// Of the request, and behind them those of the response, when that is there.
    values: Vec<Option<HeaderValue>>,
    of_request: usize,
    /// Who the caller is to whoever stands before this proxy, if that is believed.
    forwarded_for: Option<IpAddr>,
    version: Option<Arc<str>>,
    /// What only some formats ask for.
    moments: Option<Box<Moments>>,
}

impl LoggedHeads {
    /// What `format` asks of the request's head.
    pub fn of_request(
        format: &Format,
        method: &Method,
        path: &[u8],
        authority: &[u8],
        headers: &HeaderMap,
    ) -> LoggedHeads {
        let mut heads = LoggedHeads::blank(format, path.len() + authority.len());
        heads.method = Some(method.clone());
        heads.take_request(format, path, authority, headers);
        heads
    }

    /// Of a request whose head cannot be read.
    pub(super) fn of_nothing(format: &Format) -> LoggedHeads {
        let mut heads = LoggedHeads::blank(format, 0);
        heads.values.resize(heads.of_request, None);
        heads
    }

    fn blank(format: &Format, text: usize) -> LoggedHeads {
        let of_request = format.request_headers.len();
        LoggedHeads {
            method: None,
            text: Vec::with_capacity(text),
            path: 0,
            values: Vec::with_capacity(of_request + format.response_headers.len()),
            of_request,
            forwarded_for: None,
            version: None,
            moments: format.wants_moments.then(Box::default),
        }
    }

    /// The same of the request's head as it is now; the method stays.
    pub(super) fn take_request(
        &mut self,
        format: &Format,
        path: &[u8],
        authority: &[u8],
        headers: &HeaderMap,
    ) {
        self.text.clear();
        self.text.extend_from_slice(path);
        self.text.extend_from_slice(authority);
        self.path = path.len();
        self.values.clear();
        take(&mut self.values, &format.request_headers, headers);
    }

    /// Adds what `format` asks of the response's head, as the caller gets it.
    pub fn add_response(&mut self, format: &Format, headers: &HeaderMap) {
        self.values.truncate(self.of_request);
        take(&mut self.values, &format.response_headers, headers);
    }

    /// Adds what `format` asks of the response's trailers.
    pub fn add_trailers(&mut self, format: &Format, trailers: &HeaderMap) {
        if let Some(moments) = &mut self.moments {
            moments.trailers.clear();
            take(&mut moments.trailers, &format.response_trailers, trailers);
        }
    }

    /// Adds the version that the request was sent to.
    pub fn set_version(&mut self, version: Arc<str>) {
        self.version = Some(version);
    }

    /// The peer is believed about whom it stands before: the last of `x-forwarded-for` is the caller.
    pub fn trust_forwarded(&mut self, format: &Format, headers: &HeaderMap) {
        // Mostly there is none, which is known by now.
        if format.forwarded_for.is_some_and(|place| header(&self.values, place).is_some()) {
            self.forwarded_for = headers.get_all(FORWARDED_FOR).iter().next_back().and_then(last_address);
        }
    }

    /// What only some formats ask for, where this one does.
    #[inline]
    pub fn moments(&mut self) -> Option<&mut Moments> {
        self.moments.as_deref_mut()
    }

    /// The same, to be read.
    pub(super) fn noted(&self) -> Option<&Moments> {
        self.moments.as_deref()
    }

    /// The version that the request was sent to.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The caller's address, where it is known from `x-forwarded-for`, which tells no port.
    pub(super) fn forwarded_for(&self) -> Option<SocketAddr> {
        self.forwarded_for.map(|ip| SocketAddr::new(ip, 0))
    }

    /// What a field of the format names; `None` where it was not sent.
    pub(super) fn part(&self, part: HeadPart) -> Option<&[u8]> {
        match part {
            HeadPart::Method => Some(self.method.as_ref()?.as_str().as_bytes()),
            HeadPart::Path => self.text.get(..self.path).filter(|_| self.method.is_some()),
            HeadPart::Authority => self.text.get(self.path..).filter(|text| !text.is_empty()),
            HeadPart::Request(place) => header(&self.values, place),
            HeadPart::Response(place) => header(self.values.get(self.of_request..)?, place),
            HeadPart::Trailer(place) => header(&self.noted()?.trailers, place),
        }
    }
}

fn last_address(value: &HeaderValue) -> Option<IpAddr> {
    let last = value.as_bytes().rsplit(|&byte| byte == b',').next()?;
    std::str::from_utf8(last).ok()?.trim().parse().ok()
}

fn take(values: &mut Vec<Option<HeaderValue>>, names: &[HeaderName], headers: &HeaderMap) {
    values.extend(names.iter().map(|name| headers.get(name).cloned()));
}

fn header(headers: &[Option<HeaderValue>], place: usize) -> Option<&[u8]> {
    headers.get(place)?.as_ref().map(HeaderValue::as_bytes)
}
