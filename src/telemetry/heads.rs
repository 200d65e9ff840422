//! What an access log keeps of a request until the line is made: of its and its response's head, and its version.
//!
//! Law: only what the format asks for is kept, and header values are shared with the message, not copied. One piece of
//! memory for the text and one for the values, which go from one request to the next.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::field::{FORWARDED_FOR, HeadPart};
use super::format::Format;
use super::moments::Moments;

/// What is kept of requests that have ended, for those to come, by each worker.
const MAX_SPARE: usize = 16;
/// Bytes of text that one of them may hold: a long path is not kept for ever.
const MAX_SPARE_TEXT: usize = 1 << 10;
/// Fields for each name up to which going through all of them is cheaper than looking up each name.
const FIELDS_A_NAME: usize = 4;

thread_local! {
    #[allow(clippy::vec_box)] // a request holds one by its box, which is used again, too
    static SPARE: RefCell<Vec<Box<LoggedHeads>>> = const { RefCell::new(Vec::new()) };
}

/// Names of fields that a format asks for; it names one by its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: Vec<HeaderName>,
    /// A bit for each length (modulo 64) that one of them has: most fields are none of them, which mostly shows there.
    lengths: u64,
}

impl Names {
    /// The place of `name`, which is put at the end if it is not there.
    pub(super) fn place(&mut self, name: HeaderName) -> usize {
        self.lengths |= bit(&name);
        self.all.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.all.push(name);
            self.all.len() - 1
        })
    }

    /// By their places.
    pub(super) fn all(&self) -> &[HeaderName] {
        &self.all
    }

    /// Appends what `headers` say under each name: of several values the first.
    fn take(&self, values: &mut Vec<Option<HeaderValue>>, headers: &HeaderMap) {
        if headers.len() > self.all.len() * FIELDS_A_NAME {
            return values.extend(self.all.iter().map(|name| headers.get(name).cloned()));
        }
        let begin = values.len();
        values.resize_with(begin + self.all.len(), || None);
        for (name, value) in headers {
            if self.lengths & bit(name) != 0
                && let Some(place) = self.all.iter().position(|known| known == name)
                && let Some(kept @ None) = values.get_mut(begin + place)
            {
                *kept = Some(value.clone());
            }
        }
    }
}

fn bit(name: &HeaderName) -> u64 {
    1 << (name.as_str().len() % 64)
}

/// What the format asks of a request's and its response's head.
#[derive(Clone, Debug, Default)]
pub struct LoggedHeads {
    /// Of a head that cannot be read there is none.
    method: Option<Method>,
    /// Whether what follows is there.
    is_taken: bool,
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
    ) -> Box<LoggedHeads> {
        let mut heads = LoggedHeads::by(format, method);
        heads.take_request(format, path, authority, headers);
        heads
    }

    /// Of a request of whose head nothing but the method is taken yet.
    pub(super) fn by(format: &Format, method: &Method) -> Box<LoggedHeads> {
        let mut heads = LoggedHeads::blank(format);
        heads.method = Some(method.clone());
        heads
    }

    /// Of a request whose head cannot be read.
    pub(super) fn of_nothing(format: &Format) -> Box<LoggedHeads> {
        let mut heads = LoggedHeads::blank(format);
        heads.is_taken = true;
        heads
    }

    fn blank(format: &Format) -> Box<LoggedHeads> {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let mut heads = spare.unwrap_or_default();
        heads.of_request = format.request_headers.all.len();
        if format.wants_moments {
            heads.moments = Some(Box::default());
        }
        heads
    }

    /// Keeps the memory of one that is not needed any more.
    pub(super) fn put_by(mut self: Box<Self>) {
        if self.text.capacity() > MAX_SPARE_TEXT {
            return;
        }
        self.text.clear();
        self.values.clear();
        (self.is_taken, self.path) = (false, 0);
        (self.method, self.forwarded_for, self.version, self.moments) = (None, None, None, None);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }

    /// What `format` asks of the request's head as it is now; the method stays.
    pub(super) fn take_request(
        &mut self,
        format: &Format,
        path: &[u8],
        authority: &[u8],
        headers: &HeaderMap,
    ) {
        self.is_taken = true;
        self.text.clear();
        self.text.reserve_exact(path.len() + authority.len());
        self.text.extend_from_slice(path);
        self.text.extend_from_slice(authority);
        self.path = path.len();
        self.values.clear();
        format.request_headers.take(&mut self.values, headers);
    }

    /// Adds what `format` asks of the response's head, as the caller gets it.
    pub fn add_response(&mut self, format: &Format, headers: &HeaderMap) {
        self.values.resize_with(self.of_request, || None);
        format.response_headers.take(&mut self.values, headers);
    }

    /// Adds what `format` asks of the response's trailers.
    pub fn add_trailers(&mut self, format: &Format, trailers: &HeaderMap) {
        if let Some(moments) = &mut self.moments {
            moments.trailers.clear();
            format.response_trailers.take(&mut moments.trailers, trailers);
        }
    }

    /// Adds the version that the request was sent to.
    pub fn set_version(&mut self, version: Arc<str>) {
        self.version = Some(version);
    }

    /// The peer is believed about whom it stands before: the last of `x-forwarded-for` is the caller.
    pub fn trust_forwarded(&mut self, format: &Format, headers: &HeaderMap) {
        if format.asks_forwarded_for {
            self.forwarded_for = headers.get_all(FORWARDED_FOR).iter().next_back().and_then(last_address);
        }
    }

    /// Whether more of the request's head than its method is taken.
    pub fn is_taken(&self) -> bool {
        self.is_taken
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

fn header(headers: &[Option<HeaderValue>], place: usize) -> Option<&[u8]> {
    headers.get(place)?.as_ref().map(HeaderValue::as_bytes)
}
