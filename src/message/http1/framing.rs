//! How a body is delimited, and what the framing fields of a head say of it.
//!
//! Source: RFC 9112 section 6.3. Law: one reading or none. Two lengths, even equal ones, two codings, or a length
//! beside a coding are refused.

use http::{HeaderName, HeaderValue};

use super::{Malformed, target};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// That many bytes.
    Length(u64),
    /// Chunks, the last one empty; then trailers.
    Chunked,
    /// Whatever comes until the sender closes. Answers only.
    UntilClose,
}

/// The longest length that is taken: what peers hold in a signed integer must not become negative there.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// What a field said that may stand once only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Once<T> {
    #[default]
    Absent,
    Said(T),
    Invalid,
}

impl<T: Copy> Once<T> {
    fn say(&mut self, value: Option<T>) {
        *self = match (*self, value) {
            (Once::Absent, Some(value)) => Once::Said(value),
            _ => Once::Invalid,
        };
    }
}

/// What the fields of a head say to its connection, gathered while they are read.
#[derive(Debug, Default)]
pub(super) struct Control {
    length: Once<u64>,
    coding: Once<()>,
    pub(super) hosts: usize,
    /// The last of them has the characters of one.
    pub(super) names_host: bool,
    close: bool,
    keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl Control {
    /// Notes a field. True if the head does not keep it: a transfer coding is of this connection only.
    pub(super) fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> bool {
        let value = value.as_bytes();
        match name.as_str() {
            "content-length" => self.length.say(length(value)),
            "transfer-encoding" => {
                self.coding.say(value.eq_ignore_ascii_case(b"chunked").then_some(()));
                return true;
            }
            "host" => {
                self.hosts += 1;
                self.names_host = target::is_host(value);
            }
            // As nearly everybody says who says anything.
            "connection" if value == b"keep-alive" => self.keep_alive = true,
            "connection" => {
                self.close |= has_token(value, b"close");
                self.keep_alive |= has_token(value, b"keep-alive");
            }
            "expect" => self.expects_continue |= has_token(value, b"100-continue"),
            _ => {}
        }
        false
    }

    /// What the framing fields say: none is `None`.
    pub(super) fn framing(&self, is_http10: bool) -> Result<Option<Framing>, Malformed> {
        if self.coding == Once::Invalid || (self.coding != Once::Absent && is_http10) {
            return Err(Malformed::TransferEncoding);
        }
        match (self.length, self.coding) {
            (Once::Invalid, _) => Err(Malformed::ContentLength),
            (Once::Absent, Once::Absent) => Ok(None),
            (Once::Absent, _) => Ok(Some(Framing::Chunked)),
            (Once::Said(length), Once::Absent) => Ok(Some(Framing::Length(length))),
            (Once::Said(_), _) => Err(Malformed::LengthAndChunked),
        }
    }

    /// Whether the connection persists (RFC 9112 section 9.3).
    pub(super) fn persists(&self, is_http10: bool) -> bool {
        !self.close && (self.keep_alive || !is_http10)
    }
}

/// 1*DIGIT, nothing else.
fn length(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let length = text.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })?;
    (length <= MAX_LENGTH).then_some(length)
}

/// Whether `token` stands in a list, in any case (RFC 9110 section 5.6.1).
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}
