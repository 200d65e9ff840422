//! Frames: their heads, their payloads, and how they are written.
//!
//! Source: RFC 9113 sections 4 and 6. Law: a payload that is accepted has the size and the values that its kind allows;
//! which stream may have it, and when, is not known here. Payloads are looked at in place: what comes out is a range of
//! them, or numbers.

use std::fmt;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;
/// SETTINGS_MAX_FRAME_SIZE unless told otherwise, and the least that it can be.
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 1 << 14;
/// The most that SETTINGS_MAX_FRAME_SIZE can be.
pub const MOST_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;
/// Windows at the start (RFC 9113 section 6.9.2).
pub const DEFAULT_WINDOW: u32 = (1 << 16) - 1;
/// The most that a window can be (RFC 9113 section 6.9.1).
pub const MOST_WINDOW: u32 = (1 << 31) - 1;
/// SETTINGS_HEADER_TABLE_SIZE unless told otherwise.
pub const DEFAULT_TABLE_SIZE: u32 = 4_096;

/// Kinds of frames (RFC 9113 section 6).
#[allow(missing_docs)]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames; what one means depends on the kind.
#[allow(missing_docs)]
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Identifiers of settings (RFC 9113 section 6.5.2).
#[allow(missing_docs)]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends (RFC 9113 section 7). Any number may come; unknown ones mean nothing special.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

#[allow(missing_docs)]
impl Reason {
    pub const NO_ERROR: Reason = Reason(0);
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    pub const INTERNAL_ERROR: Reason = Reason(2);
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    pub const SETTINGS_TIMEOUT: Reason = Reason(4);
    pub const STREAM_CLOSED: Reason = Reason(5);
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    pub const REFUSED_STREAM: Reason = Reason(7);
    pub const CANCEL: Reason = Reason(8);
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    pub const CONNECT_ERROR: Reason = Reason(10);
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
    pub const INADEQUATE_SECURITY: Reason = Reason(12);
    pub const HTTP_1_1_REQUIRED: Reason = Reason(13);
}

const REASONS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match REASONS.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

/// What a peer did against the protocol, and how far it reaches (RFC 9113 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Ends the connection.
    Connection(Reason, &'static str),
    /// Ends the stream of the frame.
    Stream(Reason, &'static str),
}

const fn broken(why: &'static str) -> Violation {
    Violation::Connection(Reason::PROTOCOL_ERROR, why)
}

/// The nine bytes before each payload (RFC 9113 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub length: u32,
    /// See [`kind`]; any other is ignored.
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads a head; the reserved bit is ignored.
    #[inline]
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> FrameHead {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes;
        FrameHead {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// The head as it is written. `length` has 24 bits.
    #[inline]
    pub fn bytes(self) -> [u8; HEAD_BYTES] {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The part of a DATA frame's payload that is data. All of the payload counts against windows.
pub fn data(head: FrameHead, payload: &[u8]) -> Result<Range<usize>, Violation> {
    if head.stream == 0 {
        return Err(broken("DATA on stream 0"));
    }
    unpadded(head, payload, 0)
}

/// The payload of HEADERS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The part that is the header block, or its beginning.
    pub fragment: Range<usize>,
    /// Its priority names the stream itself: a stream error with PROTOCOL_ERROR (RFC 7540 section 5.3.1). The block
    /// has to be decoded all the same, or the connection's table is out of step.
    pub depends_on_itself: bool,
}

/// Looks at a HEADERS frame's payload.
pub fn headers(head: FrameHead, payload: &[u8]) -> Result<Headers, Violation> {
    if head.stream == 0 {
        return Err(broken("HEADERS on stream 0"));
    }
    if !head.has(flag::PRIORITY) {
        return Ok(Headers { fragment: unpadded(head, payload, 0)?, depends_on_itself: false });
    }
    let fragment = unpadded(head, payload, 5)?;
    let depends_on = number(&payload[fragment.start - 5..fragment.start]) & MOST_WINDOW;
    Ok(Headers { fragment, depends_on_itself: depends_on == head.stream })
}

/// What is left of a payload without its padding (RFC 9113 section 6.1) and without `fields` bytes before the rest.
fn unpadded(head: FrameHead, payload: &[u8], fields: usize) -> Result<Range<usize>, Violation> {
    let (start, padding) = match payload.first() {
        _ if !head.has(flag::PADDED) => (fields, 0),
        Some(&padding) => (1 + fields, usize::from(padding)),
        None => return Err(broken("no room for the length of the padding")),
    };
    match payload.len().checked_sub(start + padding) {
        Some(length) => Ok(start..start + length),
        None => Err(broken("more padding than payload")),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// Checks PRIORITY, which means nothing any more (RFC 9113 section 5.3.2).
pub fn priority(head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
    if head.stream == 0 || payload.len() != 5 {
        return Err(broken("PRIORITY without stream, or not of five bytes"));
    }
    if number(payload) & MOST_WINDOW == head.stream {
        return Err(Violation::Stream(Reason::PROTOCOL_ERROR, "a stream that depends on itself"));
    }
    Ok(())
}

/// Why the peer ends the stream.
pub fn rst_stream(head: FrameHead, payload: &[u8]) -> Result<Reason, Violation> {
    if head.stream == 0 || payload.len() != 4 {
        return Err(broken("RST_STREAM without stream, or not of four bytes"));
    }
    Ok(Reason(number(payload)))
}

/// By how much a window grows: 1 to 2^31-1.
pub fn window_update(_head: FrameHead, payload: &[u8]) -> Result<u32, Violation> {
    let by = number(payload) & MOST_WINDOW;
    if payload.len() != 4 || by == 0 {
        return Err(broken("WINDOW_UPDATE by nothing, or not of four bytes"));
    }
    Ok(by)
}

/// The eight bytes of a PING; `head` says whether it is an answer ([`flag::ACK`]).
pub fn ping(head: FrameHead, payload: &[u8]) -> Result<[u8; 8], Violation> {
    match <[u8; 8]>::try_from(payload) {
        Ok(bytes) if head.stream == 0 => Ok(bytes),
        _ => Err(broken("PING on a stream, or not of eight bytes")),
    }
}

/// GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The last stream that was, or may be, processed.
    pub last_stream: u32,
    /// Why.
    pub reason: Reason,
}

/// Reads GOAWAY; its debug data is ignored.
pub fn goaway(head: FrameHead, payload: &[u8]) -> Result<GoAway, Violation> {
    if head.stream != 0 || payload.len() < 8 {
        return Err(broken("GOAWAY on a stream, or of less than eight bytes"));
    }
    Ok(GoAway { last_stream: number(payload) & MOST_WINDOW, reason: Reason(number(&payload[4..])) })
}

/// SETTINGS.
#[derive(Debug)]
pub enum Settings<'a> {
    /// The peer has applied ours.
    Ack,
    /// The peer's; each value is one that its setting may have.
    Values(SettingValues<'a>),
}

/// The identifiers and values of a SETTINGS frame, in their order; unknown ones ([`setting`]) among them.
#[derive(Clone, Debug)]
pub struct SettingValues<'a>(&'a [u8]);

impl Iterator for SettingValues<'_> {
    type Item = (u16, u32);

    fn next(&mut self) -> Option<(u16, u32)> {
        let ([a, b, value @ ..], rest) = self.0.split_first_chunk::<6>()?;
        self.0 = rest;
        Some((u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value)))
    }
}

/// Reads SETTINGS.
///
/// Of some faults RFC 9113 names another reason. A connection that ends over its SETTINGS says PROTOCOL_ERROR, whatever
/// was wrong with them.
pub fn settings(head: FrameHead, payload: &[u8]) -> Result<Settings<'_>, Violation> {
    if head.stream != 0 || !payload.len().is_multiple_of(6) {
        return Err(broken("SETTINGS on a stream, or not of six bytes each"));
    }
    if head.has(flag::ACK) {
        return if payload.is_empty() { Ok(Settings::Ack) } else { Err(broken("an ACK with settings")) };
    }
    let values = SettingValues(payload);
    let is_valid = |(id, value)| match id {
        setting::ENABLE_PUSH => value <= 1,
        setting::INITIAL_WINDOW_SIZE => value <= MOST_WINDOW,
        setting::MAX_FRAME_SIZE => (DEFAULT_MAX_FRAME_SIZE..=MOST_MAX_FRAME_SIZE).contains(&value),
        _ => true,
    };
    if values.clone().all(is_valid) { Ok(Settings::Values(values)) } else { Err(broken("a setting's value")) }
}

/// Writes the head of a frame.
#[inline]
pub fn put_head(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: u32) {
    out.extend_from_slice(&FrameHead { length, kind, flags, stream }.bytes());
}

/// Writes SETTINGS with these values.
pub fn put_settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    put_head(out, kind::SETTINGS, 0, 0, values.len() as u32 * 6);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes the answer to SETTINGS.
pub fn put_settings_ack(out: &mut Vec<u8>) {
    put_head(out, kind::SETTINGS, flag::ACK, 0, 0);
}

/// Writes PING, or with [`flag::ACK`] the answer to one.
pub fn put_ping(out: &mut Vec<u8>, flags: u8, bytes: [u8; 8]) {
    put_head(out, kind::PING, flags, 0, 8);
    out.extend_from_slice(&bytes);
}

/// Writes WINDOW_UPDATE by 1 to 2^31-1.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    put_head(out, kind::WINDOW_UPDATE, 0, stream, 4);
    out.extend_from_slice(&by.to_be_bytes());
}

/// Writes RST_STREAM.
pub fn put_rst_stream(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put_head(out, kind::RST_STREAM, 0, stream, 4);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Writes GOAWAY.
pub fn put_goaway(out: &mut Vec<u8>, goaway: GoAway, debug: &[u8]) {
    put_head(out, kind::GOAWAY, 0, 0, 8 + debug.len() as u32);
    out.extend_from_slice(&goaway.last_stream.to_be_bytes());
    out.extend_from_slice(&goaway.reason.0.to_be_bytes());
    out.extend_from_slice(debug);
}

/// Begins HEADERS: leaves room for the head, behind which the block is written. What it gives goes to [`end_headers`].
#[inline]
pub fn begin_headers(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    start
}

/// Ends HEADERS: the block is what stands behind the room that [`begin_headers`] left at `start`. What is longer than
/// the peer's `max_frame_size` goes into CONTINUATION.
#[inline]
pub fn end_headers(out: &mut Vec<u8>, start: usize, stream: u32, end_stream: bool, max_frame_size: u32) {
    let length = out.len() - start - HEAD_BYTES;
    let flags = flag::END_HEADERS | if end_stream { flag::END_STREAM } else { 0 };
    if length > max_frame_size as usize {
        return split_block(
            out,
            start,
            FrameHead { length: max_frame_size, kind: kind::HEADERS, flags, stream },
        );
    }
    let head = FrameHead { length: length as u32, kind: kind::HEADERS, flags, stream };
    out[start..start + HEAD_BYTES].copy_from_slice(&head.bytes());
}

#[cold]
fn split_block(out: &mut Vec<u8>, start: usize, mut head: FrameHead) {
    let block = out.split_off(start + HEAD_BYTES);
    out.truncate(start);
    let mut pieces = block.chunks(head.length as usize).peekable();
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        head.length = piece.len() as u32;
        head.flags = head.flags & !flag::END_HEADERS | last;
        out.extend_from_slice(&head.bytes());
        out.extend_from_slice(piece);
        head.kind = kind::CONTINUATION;
        head.flags = 0;
    }
}
