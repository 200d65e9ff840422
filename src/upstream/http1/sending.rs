//! A request on its way to an upstream: its head and what is there of its body leave in one system call.
//!
//! Law: no more than [`AHEAD`] and one piece wait for the upstream. A body that breaks off is never ended cleanly: its
//! last chunk, or the rest of its announced length, does not come.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::UPGRADE;
use http::request::Parts;
use http_body::{Body, Frame};

use super::connection::Connection;
use crate::message::body::BodyError;
use crate::message::http1::{Framing, encode};
use crate::message::spare;

/// Bytes that are asked of the body before those that wait are written.
const AHEAD: usize = 64 << 10;
/// Pieces up to here are copied behind the head or a chunk's size: cheaper than a place in the vector of their own.
const COPIED: usize = 4 << 10;
/// Pieces that one system call takes.
const SLICES: usize = 32;
/// Pieces that are taken before others have their turn: those of a caller who sends chunks of a byte are without end, and
/// what is read at once holds ten thousand of them.
const AT_A_TURN: usize = 256;

/// See the module.
pub(super) struct Sending<B> {
    body: B,
    framing: Framing,
    /// Nothing more is asked of the body.
    body_done: bool,
    /// The beginning of what waits, in pieces of its own.
    pieces: VecDeque<Bytes>,
    /// What follows them.
    tail: BytesMut,
    /// Bytes of `pieces`.
    queued: usize,
    /// Whether anything was written.
    begun: bool,
    /// It asks for another protocol, in which the body goes once the upstream has agreed.
    switches: bool,
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        spare::keep_buffer(mem::take(&mut self.tail));
    }
}

/// Why a request could not be written whole.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection takes no more.
    Wire,
    /// The body broke off.
    Body(BodyError),
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Sending<B> {
    /// Nothing is written yet.
    pub(super) fn new(head: &Parts, body: B) -> Sending<B> {
        let framing = match body.size_hint().exact() {
            _ if body.is_end_stream() => Framing::Empty,
            Some(length) => Framing::Length(length),
            None if head.headers.contains_key(UPGRADE) => Framing::UntilClose,
            None => Framing::Chunked,
        };
        let switches = framing == Framing::UntilClose;
        let mut tail = spare::buffer(0);
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        encode::request_head(&mut tail, &head.method, target, &head.headers, framing);
        let body_done = framing == Framing::Empty || switches;
        Sending { body, framing, body_done, switches, pieces: VecDeque::new(), queued: 0, tail, begun: false }
    }

    /// Whether it asks for another protocol.
    pub(super) fn switches(&self) -> bool {
        self.switches
    }

    /// The upstream has agreed: now the body goes, as it is.
    pub(super) fn switch(&mut self) {
        self.body_done = false;
    }

    /// Whether anything of it may have reached the upstream.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Writes on, as far as the body and the connection go.
    pub(super) fn poll(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        loop {
            let gathered = self.gather(cx).map_err(Stop::Body)?;
            while self.waiting() > 0 {
                let written = ready!(self.poll_write(connection, cx)).map_err(|_| Stop::Wire)?;
                self.begun = true;
                self.advance(written);
            }
            match gathered {
                Poll::Ready(()) if self.body_done => return Poll::Ready(Ok(())),
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes from the body until enough waits; `Pending` if the body has no more for now, or others have their turn.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, BodyError> {
        let mut taken = 0;
        while !self.body_done && self.waiting() < AHEAD {
            if taken == AT_A_TURN {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            taken += 1;
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => self.take(frame?)?,
                Poll::Ready(None) => self.finish(None)?,
                // The length is reached: whether the body says so, too, is not waited for.
                Poll::Pending if self.framing == Framing::Length(0) => self.body_done = true,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), BodyError> {
        match frame.into_data() {
            Ok(data) => {
                if !data.is_empty() {
                    self.push(data)?;
                }
                if self.body.is_end_stream() { self.finish(None) } else { Ok(()) }
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => self.finish(Some(&trailers)),
                Err(_) => Ok(()),
            },
        }
    }

    fn push(&mut self, data: Bytes) -> Result<(), BodyError> {
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(BodyError::Abandoned), // more than was announced: another request, to its reader
            },
            Framing::UntilClose => {}
            _ => encode::chunk_start(&mut self.tail, data.len()),
        }
        if data.len() <= COPIED {
            self.tail.extend_from_slice(&data);
        } else {
            self.seal();
            self.queued += data.len();
            self.pieces.push_back(data);
        }
        if self.framing == Framing::Chunked {
            self.tail.extend_from_slice(encode::CHUNK_END);
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
        self.body_done = true;
        match self.framing {
            Framing::Chunked => encode::last_chunk(&mut self.tail, trailers),
            Framing::Length(1..) => return Err(BodyError::Abandoned), // less than was announced
            // Beside a length HTTP/1 has no place for trailers (RFC 9112 section 7.1.2).
            _ => {}
        }
        Ok(())
    }

    /// What stands in `tail` becomes a piece.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.queued += self.tail.len();
            self.pieces.push_back(mem::take(&mut self.tail).freeze());
        }
    }

    fn poll_write(&self, connection: &Connection, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.pieces.is_empty() {
            return connection.poll_write(cx, &[IoSlice::new(&self.tail)]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let waiting = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        connection.poll_write(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let taken = written.min(piece.len());
            self.queued -= taken;
            written -= taken;
            piece.advance(taken);
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        if written == self.tail.len() { self.tail.clear() } else { self.tail.advance(written) }
    }

    fn waiting(&self) -> usize {
        self.queued + self.tail.len()
    }
}
