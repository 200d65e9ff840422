//! The names of traces and spans: 16 and 8 bytes, written in lower-case hexadecimal.
//!
//! Law: none of them is all zeros, which would name nothing (W3C trace context, section 3.2.2).

use std::fmt;

/// Which trace a span belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Which span of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// What is taken of an id for a decision by chance: its last 56 bits.
pub(super) const RANDOM_BITS: u32 = 56;

impl TraceId {
    /// `None`: all zeros.
    pub fn new(bytes: [u8; 16]) -> Option<TraceId> {
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }

    /// An id made of 128 bits that chance gave.
    pub fn random(high: u64, low: u64) -> TraceId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        TraceId::new(bytes).unwrap_or(TraceId([1; 16]))
    }

    /// Reads 32 digits.
    pub fn parse(digits: &[u8]) -> Option<TraceId> {
        TraceId::new(unhex(digits)?)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether only its last 64 bits are used, as B3 allows.
    pub fn is_short(&self) -> bool {
        self.0[..8] == [0; 8]
    }

    /// The bits by which everybody who samples by a rate decides alike.
    pub fn randomness(&self) -> u64 {
        let low = self.0[8..].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        low & ((1 << RANDOM_BITS) - 1)
    }
}

impl SpanId {
    /// `None`: all zeros.
    pub fn new(bytes: [u8; 8]) -> Option<SpanId> {
        (bytes != [0; 8]).then_some(SpanId(bytes))
    }

    /// An id made of 64 bits that chance gave.
    pub fn random(bits: u64) -> SpanId {
        SpanId::new(bits.to_be_bytes()).unwrap_or(SpanId([1; 8]))
    }

    /// Reads 16 digits.
    pub fn parse(digits: &[u8]) -> Option<SpanId> {
        SpanId::new(unhex(digits)?)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex(&self.0, &mut text);
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        hex(&self.0, &mut text);
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digits of each byte: every request without a trace is given one, and a look at both at once costs half.
static PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Writes `bytes` as twice as many digits.
#[inline]
pub(super) fn hex(bytes: &[u8], text: &mut [u8]) {
    for (&byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
}

/// Reads exactly as many digits as there are for so many bytes. Upper case is no digit (section 3.2.1).
pub(super) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
