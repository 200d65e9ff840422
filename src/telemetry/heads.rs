//! What an access log keeps of a request until the line is made: of its and its response's head, and its version.
//!
//! Law: only what the format asks for is kept, and copied: what shared a head's memory would hold all of it. One piece of
//! memory for the text and one for where the values are in it, which go from one request to the next.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::field::{FORWARDED_FOR, HeadPart};
use super::format::Format;
use super::line::is_plain;
use super::moments::Moments;

/// What is kept of requests that have ended, for those to come, by each worker.
const MAX_SPARE: usize = 16;
/// Bytes of text that one of them may hold: a long path is not kept for ever.
const MAX_SPARE_TEXT: usize = 1 << 10;
/// Fields for each name up to which going through all of them is cheaper than looking up each name.
const FIELDS_A_NAME: usize = 8;

thread_local! {
    #[allow(clippy::vec_box)] // a request holds one by its box, which is used again, too
    static SPARE: RefCell<Vec<Box<LoggedHeads>>> = const { RefCell::new(Vec::new()) };
}

/// Names of fields that a format asks for; it names one by its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: Vec<HeaderName>,
    /// The [`bit`] of each: most fields are none of them, which mostly shows there.
    bits: u64,
}

impl Names {
    /// The place of `name`, which is put at the end if it is not there.
    pub(super) fn place(&mut self, name: HeaderName) -> usize {
        self.bits |= bit(&name);
        self.all.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.all.push(name);
            self.all.len() - 1
        })
    }

    /// By their places.
    pub(super) fn all(&self) -> &[HeaderName] {
        &self.all
    }

    /// How many they are.
    fn len(&self) -> usize {
        self.all.len()
    }

    /// Appends to `text` what `headers` say under each name, of several values the first, and to `values` where that is.
    fn take(&self, text: &mut Vec<u8>, values: &mut Vec<Value>, headers: &HeaderMap) {
        let mut put = |value: &HeaderValue| {
            let begin = text.len();
            text.extend_from_slice(value.as_bytes());
            begin..text.len()
        };
        if headers.len() > self.len() * FIELDS_A_NAME {
            return values.extend(self.all.iter().map(|name| headers.get(name).map(&mut put)));
        }
        let begin = values.len();
        values.resize(begin + self.len(), None);
        for (name, value) in headers {
            if self.bits & bit(name) != 0
                && let Some(place) = self.all.iter().position(|known| known == name)
                && let Some(kept @ None) = values.get_mut(begin + place)
            {
                *kept = Some(put(value));
            }
        }
    }
}

/// Where in the text a value is; none where the message has none.
type Value = Option<Range<usize>>;

/// One of 64, by the name's length and its first byte.
fn bit(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    1 << ((name.len() + 5 * usize::from(name.first().copied().unwrap_or_default())) % 64)
}

/// What the format asks of a request's and its response's head.
#[derive(Clone, Debug, Default)]
pub struct LoggedHeads {
    /// Of a head that cannot be read there is none.
    method: Option<Method>,
    /// Whether what follows is there.
    is_taken: bool,
    /// The path, behind it the authority, and behind that the values.
    text: Vec<u8>,
    /// No byte of it wants escaping: nearly always so, and told for all of it at once.
    is_plain: bool,
    path: usize,
    authority: usize,
    /// Of the request; behind them those of the response and of its trailers, when these are there.
    values: Vec<Value>,
    of_request: usize,
    of_response: usize,
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
        (heads.of_request, heads.of_response) = (format.request_headers.len(), format.response_headers.len());
        heads.is_plain = true;
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
        (self.is_taken, self.path, self.authority) = (false, 0, 0);
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
        self.text.extend_from_slice(path);
        self.path = path.len();
        self.text.extend_from_slice(authority);
        self.authority = self.text.len();
        self.values.clear();
        format.request_headers.take(&mut self.text, &mut self.values, headers);
        self.is_plain = is_plain(&self.text);
    }

    /// Adds the values of `headers` under `names`, behind the first `before` values.
    fn add(&mut self, names: &Names, headers: &HeaderMap, before: usize) {
        let known = self.text.len();
        self.values.resize(before, None);
        names.take(&mut self.text, &mut self.values, headers);
        self.is_plain &= is_plain(&self.text[known..]);
    }

    /// Adds what `format` asks of the response's head, as the caller gets it.
    pub fn add_response(&mut self, format: &Format, headers: &HeaderMap) {
        self.add(&format.response_headers, headers, self.of_request);
    }

    /// Adds what `format` asks of the response's trailers.
    pub fn add_trailers(&mut self, format: &Format, trailers: &HeaderMap) {
        if format.response_trailers.len() > 0 {
            self.add(&format.response_trailers, trailers, self.of_request + self.of_response);
        }
    }

    /// Adds the version that the request was sent to.
    pub fn set_version(&mut self, version: Arc<str>) {
        self.version = Some(version);
    }

    /// The peer is believed about whom it stands before: the last of `x-forwarded-for` is the caller.
    pub fn trust_forwarded(&mut self, format: &Format, headers: &HeaderMap) {
        if format.asks_forwarded_for {
            self.forwarded_for = forwarded_for(headers);
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

    /// Whether what was taken of the heads has no byte that wants escaping.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// What a field of the format names; `None` where it was not sent.
    #[inline]
    pub(super) fn part(&self, part: HeadPart) -> Option<&[u8]> {
        match part {
            HeadPart::Method => Some(self.method.as_ref()?.as_str().as_bytes()),
            HeadPart::Path => self.text.get(..self.path).filter(|_| self.method.is_some()),
            HeadPart::Authority => self.text.get(self.path..self.authority).filter(|text| !text.is_empty()),
            HeadPart::Request(place) => self.value(place),
            HeadPart::Response(place) => self.value(self.of_request + place),
            HeadPart::Trailer(place) => self.value(self.of_request + self.of_response + place),
        }
    }

    #[inline]
    fn value(&self, place: usize) -> Option<&[u8]> {
        self.text.get(self.values.get(place)?.clone()?)
    }
}

/// The caller, as a peer tells it that stands before this proxy: the last address of `x-forwarded-for`.
pub fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = value.as_bytes().rsplit(|&byte| byte == b',').next()?;
    std::str::from_utf8(last).ok()?.trim().parse().ok()
}
