//! Moves a body into an HTTP/2 stream: no faster than the peer's windows allow, no more than one piece held.
//!
//! Laws: the stream ends cleanly only if the body did; otherwise it is reset, so that a cut is always visible. Small
//! pieces that are there at the same time leave as one DATA frame: a peer takes a burst of tiny frames for an attack and
//! ends the connection, which other requests share.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body;

/// Pieces below this size are gathered; h2 counts smaller DATA frames against its peer.
const SMALL: usize = 256;
/// What is gathered at most.
const GATHERED: usize = 4 << 10;

/// A body on its way into a stream. Dropped before its end, the stream is reset with CANCEL.
#[derive(Debug)]
pub struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    piece: Bytes,
    trailers: Option<HeaderMap>,
    body_done: bool,
}

/// How the transfer ended.
#[derive(Debug)]
pub enum PumpEnd {
    /// All of it was handed to the stream.
    Done,
    /// The peer reset the stream or its connection ended.
    Peer(Option<Reason>),
    /// The body failed; the stream was reset.
    Body,
}

impl<B: Body<Data = Bytes> + Unpin> Pump<B> {
    /// Moves `body` into `stream`.
    pub fn new(body: B, stream: SendStream<Bytes>) -> Pump<B> {
        Pump { body, stream, piece: Bytes::new(), trailers: None, body_done: false }
    }

    /// Goes on as far as it can.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<PumpEnd> {
        loop {
            // Asked first in every turn, so that a stream which the peer has given up never waits for its windows.
            match self.stream.poll_reset(cx) {
                Poll::Ready(Ok(reason)) => return Poll::Ready(PumpEnd::Peer(Some(reason))),
                Poll::Ready(Err(error)) => return Poll::Ready(PumpEnd::Peer(error.reason())),
                Poll::Pending => {}
            }
            if self.piece.has_remaining() {
                match self.poll_send(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending => return Poll::Pending,
                }
            } else if self.body_done {
                return Poll::Ready(self.end());
            } else {
                match self.poll_piece(cx) {
                    Poll::Ready(Ok(())) => {}
                    // The stream is the caller's to reset: only it knows whose fault that is.
                    Poll::Ready(Err(())) => return Poll::Ready(PumpEnd::Body),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
    }

    /// Takes the next piece of the body, or its end; with a small piece those that are there behind it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let mut gathered = BytesMut::new();
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => self.piece = piece,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.body_done = true;
                    }
                },
                Poll::Ready(None) => self.body_done = true,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(())),
                Poll::Pending if gathered.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
            self.body_done |= self.trailers.is_none() && self.body.is_end_stream();
            if gathered.is_empty() && (self.body_done || self.piece.len() >= SMALL) {
                return Poll::Ready(Ok(())); // nothing to gather
            }
            gathered.extend_from_slice(&std::mem::take(&mut self.piece));
            if self.body_done || gathered.len() >= GATHERED {
                break;
            }
        }
        self.piece = gathered.freeze();
        Poll::Ready(Ok(()))
    }

    /// Sends as much of the piece as the windows allow. The last bytes carry the end when nothing follows them.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PumpEnd>> {
        if self.stream.capacity() == 0 {
            self.stream.reserve_capacity(self.piece.len());
        }
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpEnd::Peer(error.reason()))),
                Poll::Ready(None) => return Poll::Ready(Err(PumpEnd::Peer(None))),
                Poll::Pending => return Poll::Pending,
            }
        }
        let piece = self.piece.split_to(self.stream.capacity().min(self.piece.len()));
        let last = self.piece.is_empty() && self.body_done && self.trailers.is_none();
        match self.stream.send_data(piece, last) {
            Ok(()) if last => Poll::Ready(Err(PumpEnd::Done)),
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(PumpEnd::Peer(error.reason()))),
        }
    }

    fn end(&mut self) -> PumpEnd {
        let sent = match self.trailers.take() {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        match sent {
            Ok(()) => PumpEnd::Done,
            Err(error) => PumpEnd::Peer(error.reason()),
        }
    }

    /// Ends the stream from our side before its end.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}
