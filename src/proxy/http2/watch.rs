//! Looks at a caller's frames on their way to h2, for what h2 neither refuses nor tells: a connection that does not
//! begin with SETTINGS, trailers that hold pseudo-header fields, a head that is not finished, small frames without end.
//!
//! Law: it changes at most one byte of a frame's header, so that h2 itself refuses the frame in its own order, and only
//! of frames that RFC 9113 forbids. A frame costs a look at its header; of blocks only those of trailers are read.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::runtime::clock::{self, Tick};
use crate::transport::io::Io;

const PREFACE_BYTES: usize = 24;
const FRAME_HEAD: usize = 9;
/// What h2 takes: SETTINGS_MAX_FRAME_SIZE as nobody changed it. A larger frame ends the connection.
const MAX_PAYLOAD: usize = 16 << 10;
/// Read at once of a frame that is waited for.
const PIECE: usize = 4 << 10;

/// Streams known as open; of one that is forgotten, trailers pass as they are.
const OPEN_STREAMS: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Frames that a connection may bring in one turn of its task. Without a bound, a socket that is never empty keeps the
/// worker from everybody else: tokio's own budget counts reads, and 8 KiB hold 600 small frames.
const FRAMES_A_TURN: u32 = 512;
/// SETTINGS count for so many: a new window size is work for each stream of the connection.
const SETTINGS_COUNT: u32 = 16;

/// What the connection's task is told, and tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Since when a head is not finished, if one is not.
    pub(super) head_since: Cell<Option<Tick>>,
    /// Frames since the task's turn began, which sets it to 0.
    pub(super) frames: Cell<u32>,
}

/// See the module.
pub(super) struct Watched {
    io: Io,
    frames: Frames,
    /// Read, and not yet given to h2: the beginning of a frame header, or of trailers.
    held: BytesMut,
    /// Of these, so many may go.
    free: usize,
}

/// Where among the frames the bytes are.
struct Frames {
    /// Bytes to pass unseen.
    left: usize,
    begun: bool,
    /// Streams whose head the caller has sent and whose end it has not: HEADERS on them are trailers. The newest last.
    open: Vec<u32>,
    /// The frame that passes ends a header block.
    ends_block: bool,
    told: Rc<Told>,
}

impl Watched {
    /// Watches over `io`, from the connection's preface on.
    pub(super) fn new(io: Io, told: Rc<Told>) -> Watched {
        let frames = Frames { left: PREFACE_BYTES, begun: false, open: Vec::new(), ends_block: false, told };
        Watched { io, frames, held: BytesMut::new(), free: 0 }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.free == 0 && !this.held.is_empty() {
                this.free = this.frames.look(&mut this.held);
            }
            if this.free > 0 {
                let n = this.free.min(buf.remaining());
                buf.put_slice(&this.held[..n]);
                this.held.advance(n);
                this.free -= n;
                return Poll::Ready(Ok(()));
            }
            if this.frames.has_had_its_turn() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let read = buf.filled().len() - before;
                let free = this.frames.look(&mut buf.filled_mut()[before..]);
                this.held.extend_from_slice(&buf.filled()[before + free..]);
                buf.set_filled(before + free);
                if free > 0 || read == 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut piece = [0; PIECE];
                let mut piece = ReadBuf::new(&mut piece);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut piece))?;
                this.held.extend_from_slice(piece.filled());
                if piece.filled().is_empty() {
                    this.free = this.held.len(); // the caller left in the middle
                }
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Frames {
    fn has_had_its_turn(&self) -> bool {
        self.told.frames.get() >= FRAMES_A_TURN
    }

    /// How many of `bytes` may go on to h2; the rest is shown again, with more behind it or in the next turn.
    fn look(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let passed = self.left.min(bytes.len() - at);
            at += passed;
            self.left -= passed;
            if self.left > 0 {
                return at;
            }
            if std::mem::take(&mut self.ends_block) {
                self.told.head_since.set(None);
            }
            if self.has_had_its_turn() {
                return at;
            }
            let (_, rest) = bytes.split_at_mut(at);
            let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = rest.first_chunk::<FRAME_HEAD>() else {
                return at;
            };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            if length > MAX_PAYLOAD {
                self.left = usize::MAX;
                continue;
            }
            let ends_stream = flags & END_STREAM != 0;
            if kind == HEADERS || kind == CONTINUATION {
                if kind == HEADERS && self.told.head_since.get().is_none() {
                    self.told.head_since.set(Some(clock::now()));
                }
                if kind == HEADERS && ends_stream && self.open.contains(&stream) {
                    let Some(payload) = rest.get(FRAME_HEAD..FRAME_HEAD + length) else { return at };
                    if has_pseudo_header(block_of(payload, flags)) {
                        rest[4] &= !END_STREAM; // trailers that do not end the stream are malformed to h2, too
                    }
                }
                self.ends_block = flags & END_HEADERS != 0;
            }
            match kind {
                HEADERS if !ends_stream => self.opened(stream),
                RST_STREAM => self.ended(stream),
                DATA | HEADERS if ends_stream => self.ended(stream),
                _ => {}
            }
            if !std::mem::replace(&mut self.begun, true) && (kind != SETTINGS || flags & ACK != 0) {
                rest[3] = CONTINUATION; // of nothing, which h2 refuses
            }
            let count = if kind == SETTINGS { SETTINGS_COUNT } else { 1 };
            self.told.frames.set(self.told.frames.get() + count);
            self.left = FRAME_HEAD + length;
        }
    }

    fn opened(&mut self, stream: u32) {
        if self.open.last() == Some(&stream) {
            return;
        }
        if self.open.len() >= OPEN_STREAMS {
            self.open.drain(..OPEN_STREAMS / 2); // most were reset by us
        }
        self.open.push(stream);
    }

    fn ended(&mut self, stream: u32) {
        if let Some(at) = self.open.iter().rposition(|&open| open == stream) {
            self.open.remove(at);
        }
    }
}

/// The part of the payload of HEADERS that is the block (RFC 9113 section 6.2).
fn block_of(payload: &[u8], flags: u8) -> &[u8] {
    let (pad, rest) = match payload.split_first() {
        Some((&pad, rest)) if flags & PADDED != 0 => (usize::from(pad), rest),
        _ => (0, payload),
    };
    let rest = if flags & PRIORITY != 0 { rest.get(5..).unwrap_or_default() } else { rest };
    rest.get(..rest.len().saturating_sub(pad)).unwrap_or_default()
}

/// Whether a block names a pseudo-header field in a way that can be seen without the dynamic table (RFC 7541 section
/// 6). What names one by that table is not seen, and h2 drops it.
fn has_pseudo_header(block: &[u8]) -> bool {
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let (prefix, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false), // a new size of the table
            _ => (4, true),
        };
        let Some(index) = integer(&mut rest, prefix) else { return false };
        if (is_literal || first >= 0x80) && (1..=14).contains(&index) {
            return true;
        }
        if is_literal {
            let pseudo =
                index == 0 && string(&mut rest).is_some_and(|(name, coded)| names_pseudo(name, coded));
            if pseudo || string(&mut rest).is_none() {
                return pseudo;
            }
        }
    }
    false
}

/// A colon, or the seven bits that Huffman's code has for it.
fn names_pseudo(name: &[u8], coded: bool) -> bool {
    name.first().is_some_and(|&first| if coded { first & 0xfe == 0b1011_1000 } else { first == b':' })
}

/// RFC 7541 section 5.1; no number that matters here is large.
fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*rest.split_off_first()?) & most;
    if value == most {
        for shift in [0, 7, 14] {
            let byte = usize::from(*rest.split_off_first()?);
            value += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        return None;
    }
    Some(value)
}

/// RFC 7541 section 5.2: the bytes, and whether they are in Huffman's code.
fn string<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let coded = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    Some((rest.split_off(..length)?, coded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        [&head[..], payload].concat()
    }

    fn frames() -> Frames {
        Frames { left: 0, begun: true, open: Vec::new(), ends_block: false, told: Rc::default() }
    }

    #[test]
    fn a_pseudo_header_is_seen_in_each_form_that_names_it() {
        for (name, block, expected) in [
            ("indexed", &b"\x82"[..], true),
            ("indexed :status", b"\x8e", true),
            ("an indexed field", b"\x90", false),
            ("a literal", b"\0\x05:path\x01/", true),
            ("a literal to be remembered", b"\x40\x05:path\x01/", true),
            ("a literal never to be indexed", b"\x10\x05:path\x01/", true),
            ("a literal with an indexed name", b"\x44\x01/", true),
            ("a literal with an indexed name, not kept", b"\x04\x01/", true),
            ("Huffman's code", b"\0\x84\xb9\x58\xd3\x3f\x01/", true),
            ("behind a field", b"\0\x01a\x01b\x82", true),
            ("behind a new size of the table", b"\x20\x82", true),
            ("no field", b"", false),
            ("a field", b"\0\x01a\x01:", false),
            ("a field in Huffman's code", b"\0\x81\x1f\x01b", false),
            ("a block that is cut", b"\0\x05:pa", false),
            ("a number that does not end", b"\xff\xff\xff\xff\xff", false),
        ] {
            assert_eq!(has_pseudo_header(block), expected, "{name}");
        }
    }

    #[test]
    fn trailers_with_a_pseudo_header_lose_their_end_however_they_come() {
        let head = frame(HEADERS, END_HEADERS, 1, b"\x82");
        let all = [head, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82"), frame(0, 1, 3, b"")].concat();
        for cut in 0..=all.len() {
            let (mut frames, mut out, mut held) = (frames(), Vec::new(), Vec::new());
            for piece in [&all[..cut], &all[cut..]] {
                held.extend_from_slice(piece);
                let free = frames.look(&mut held);
                out.extend(held.drain(..free));
            }
            let mut expected = all.clone();
            expected[14] &= !END_STREAM;
            assert_eq!(out, expected, "{cut}");
        }
    }

    #[test]
    fn a_head_is_unfinished_from_its_first_frame_to_its_last() {
        let mut frames = frames();
        for (bytes, open) in [
            (frame(HEADERS, 0, 1, b"\x82"), true),
            (frame(CONTINUATION, 0, 1, b"\x84"), true),
            (frame(CONTINUATION, END_HEADERS, 1, b"\x86"), false),
            (frame(HEADERS, END_HEADERS, 3, b"\x82\x84")[..10].to_vec(), true),
            (b"\x84".to_vec(), false),
            (frame(0, 0, 3, b"body")[..11].to_vec(), false),
        ] {
            frames.look(&mut bytes.clone());
            assert_eq!(frames.told.head_since.get().is_some(), open, "{bytes:x?}");
        }
    }

    #[test]
    fn a_turn_takes_so_many_frames_and_the_next_goes_on() {
        for (kind, count) in [(6, FRAMES_A_TURN), (SETTINGS, FRAMES_A_TURN / SETTINGS_COUNT)] {
            let mut frames = frames();
            let one = frame(kind, 0, 0, b"");
            let mut bytes = one.repeat(count as usize * 2);
            for _ in 0..2 {
                assert_eq!(frames.look(&mut bytes), one.len() * count as usize);
                bytes.drain(..one.len() * count as usize);
                assert_eq!(frames.look(&mut bytes), 0, "its turn is over");
                frames.told.frames.set(0);
            }
        }
    }

    #[test]
    fn a_connection_that_does_not_begin_with_settings_is_made_to_fail() {
        for (kind, flags, expected) in
            [(SETTINGS, 0, SETTINGS), (SETTINGS, ACK, CONTINUATION), (6, 0, CONTINUATION)]
        {
            let mut frames = Frames { begun: false, ..frames() };
            let mut bytes = frame(kind, flags, 0, b"");
            frames.look(&mut bytes);
            assert_eq!(bytes[3], expected);
        }
    }
}
