//! Reads one body by its framing.
//!
//! Law: what comes out are slices of the buffer, in order, and then the end; never more than the framing said. Chunks
//! are read as RFC 9112 section 7.1 has them, with CR LF only, from callers and from servers alike: a chunk's frame that
//! is read leniently is where two readers part.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::lines::{self, Section};
use super::{Framing, HeadBounds, HeadError, Malformed};

/// Extensions of the chunks of one body, in all; they are dropped.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;

/// Digits of a chunk's size: more do not fit 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of it; never none.
    Data(Bytes),
    /// The body is whole. Trailers, if there were any, are as they were sent: `message::hop_by_hop` removes what must
    /// not stand there.
    End(Option<HeaderMap>),
}

/// Reads one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    bounds: HeadBounds,
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Bytes still to come, at least one.
    Length(u64),
    UntilClose,
    /// Within a chunk's size.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    /// The LF behind size and extension.
    SizeLf {
        size: u64,
    },
    /// Bytes of this chunk still to come, at least one.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailers {
        scanned: usize,
    },
    /// Nothing is to come; the end was not given out.
    Whole,
    Over,
    /// The body has no reading; what follows has none, either.
    Failed(HeadError),
}

const CHUNK: State = State::Size { size: 0, digits: 0 };

impl Decoder {
    /// For a body with this framing; `bounds` are for its trailers.
    pub fn new(framing: Framing, bounds: HeadBounds) -> Decoder {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Whole,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => CHUNK,
            Framing::UntilClose => State::UntilClose,
        };
        Decoder { state, bounds, extension_bytes: 0 }
    }

    /// The next piece from the front of `buf`; `None`: more bytes are needed, or the end was given out. An error is
    /// final: every later call returns it again.
    pub fn take(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, HeadError> {
        let taken = self.next(buf);
        if let Err(error) = taken {
            self.state = State::Failed(error);
        }
        taken
    }

    fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, HeadError> {
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Over => return Ok(None),
                State::Whole => return Ok(Some(self.end(None))),
                State::Trailers { .. } => return self.trailers(buf),
                _ if buf.is_empty() => return Ok(None),
                State::UntilClose => return Ok(Some(Piece::Data(buf.split().freeze()))),
                State::Length(left) => {
                    let (data, left) = split(buf, left);
                    self.state = if left == 0 { State::Whole } else { State::Length(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                State::Chunk(left) => {
                    let (data, left) = split(buf, left);
                    self.state = if left == 0 { State::ChunkCr } else { State::Chunk(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                _ => self.frame(buf)?,
            }
        }
    }

    /// The sender closed. True if that is the body's proper end, or it was whole already; else it was cut.
    pub fn close(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Whole;
        }
        self.is_done()
    }

    /// Nothing of this body is to come, though its end may not have been taken yet.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Whole | State::Over)
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Whole | State::Over => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Piece {
        self.state = State::Over;
        Piece::End(trailers)
    }

    /// Reads what stands around the data of chunks, as far as `buf` has it.
    fn frame(&mut self, buf: &mut BytesMut) -> Result<(), HeadError> {
        let mut read = 0;
        while let Some(&byte) = buf.get(read) {
            if matches!(self.state, State::Chunk(_) | State::Trailers { .. }) {
                break;
            }
            self.state = self.step(byte)?;
            read += 1;
        }
        buf.advance(read);
        Ok(())
    }

    /// One byte of the frame.
    fn step(&mut self, byte: u8) -> Result<State, HeadError> {
        match (self.state, byte) {
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { size, digits: 1.. }, b';') => self.extension(size),
            (State::Size { size, digits }, _) => digit(size, digits, byte),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extension(size),
            (State::Extension { .. }, _) => Err(Malformed::ChunkExtension.into()),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailers { scanned: 0 }),
            (State::SizeLf { size }, b'\n') => Ok(State::Chunk(size)),
            (State::SizeLf { .. }, _) => Err(Malformed::ChunkSize.into()),
            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(CHUNK),
            _ => Err(Malformed::ChunkEnd.into()),
        }
    }

    /// Counts one byte of an extension, its semicolon included.
    fn extension(&mut self, size: u64) -> Result<State, HeadError> {
        self.extension_bytes += 1;
        let fits = self.extension_bytes <= MAX_EXTENSION_BYTES;
        if fits { Ok(State::Extension { size }) } else { Err(Malformed::ChunkExtension.into()) }
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Option<Piece>, HeadError> {
        let State::Trailers { mut scanned } = self.state else { return Ok(None) };
        let mut ends = lines::Ends::new();
        let end = lines::find_end(buf, Section::Trailers, self.bounds, &mut scanned, &mut ends)?;
        let Some(end) = end else {
            self.state = State::Trailers { scanned };
            return Ok(None);
        };
        let section = buf.split_to(end).freeze();
        if section[..] == *b"\r\n" {
            return Ok(Some(self.end(None)));
        }
        let lines = lines::lines(&section, &ends);
        let trailers = lines::fields(&section, lines, Section::Trailers, self.bounds, |_, _| false)?;
        Ok(Some(self.end(Some(trailers))))
    }
}

/// One more digit of a chunk's size.
fn digit(size: u64, digits: u8, byte: u8) -> Result<State, HeadError> {
    let value = char::from(byte).to_digit(16).filter(|_| digits < MAX_SIZE_DIGITS);
    let value = value.ok_or(Malformed::ChunkSize)?;
    let size = size << 4 | u64::from(value);
    // What a signed integer of 64 bits does not hold is a negative size to some reader.
    if size > i64::MAX as u64 {
        return Err(Malformed::ChunkSize.into());
    }
    Ok(State::Size { size, digits: digits + 1 })
}

/// At most `left` bytes from the front of `buf`, and what is left then.
fn split(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    (buf.split_to(length).freeze(), left - length as u64)
}
