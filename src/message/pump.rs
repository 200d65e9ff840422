//! Moves a body into an HTTP/2 stream: no faster than the peer's windows allow, no more than one piece held.
//!
//! Laws: the stream ends cleanly only if the body did; otherwise it is reset, so that a cut is always visible. Small
//! pieces that are there at the same time leave as one DATA frame: a peer takes a burst of tiny frames for an attack and
//! ends the connection, which other requests share.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;

use super::http2::{Reason, SendStream};

/// Pieces below this size are gathered; servers count smaller DATA frames against their peer.
const SMALL: usize = 256;
/// Pieces above this size are not copied behind a small one.
const COPIED: usize = 1 << 10;
/// What is gathered at most.
const GATHERED: usize = 4 << 10;

/// A body on its way into a stream. Dropped before its end, the stream is reset with CANCEL.
#[derive(Debug)]
pub struct Pump<B> {
    body: B,
    stream: SendStream,
    piece: Bytes,
    /// Behind it: too large to be gathered.
    next: Bytes,
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
    pub fn new(body: B, stream: SendStream) -> Pump<B> {
        Pump { body, stream, piece: Bytes::new(), next: Bytes::new(), trailers: None, body_done: false }
    }

    /// Goes on as far as it can.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<PumpEnd> {
        // Asked first, so that a stream which the peer has given up is not taken for a body that failed with it.
        if let Poll::Ready(why) = self.stream.poll_reset(cx) {
            return Poll::Ready(PumpEnd::Peer(why.reason()));
        }
        loop {
            if self.piece.is_empty() && !self.next.is_empty() {
                self.piece = std::mem::take(&mut self.next);
            }
            if self.piece.is_empty() && self.body_done {
                return Poll::Ready(self.end());
            }
            if self.piece.is_empty() {
                match self.poll_piece(cx) {
                    Poll::Ready(Ok(())) => {}
                    // The stream is the caller's to reset: only it knows whose fault that is.
                    Poll::Ready(Err(())) => return Poll::Ready(PumpEnd::Body),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            // The last bytes carry the end when nothing follows them.
            let last = self.body_done && self.trailers.is_none() && self.next.is_empty();
            match self.stream.poll_send(cx, &mut self.piece, last) {
                Poll::Ready(Ok(())) if last && self.piece.is_empty() => return Poll::Ready(PumpEnd::Done),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return Poll::Ready(PumpEnd::Peer(why.reason())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes the next piece of the body, or its end; with a small piece those that are there behind it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let mut gathered = BytesMut::new();
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if self.piece.is_empty() => self.piece = piece,
                    Ok(piece) if piece.len() > COPIED => {
                        self.next = piece;
                        self.body_done |= self.body.is_end_stream();
                        break;
                    }
                    Ok(piece) => {
                        if gathered.is_empty() {
                            gathered.extend_from_slice(&self.piece);
                        }
                        gathered.extend_from_slice(&piece);
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.body_done = true;
                    }
                },
                Poll::Ready(None) => self.body_done = true,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(())),
                Poll::Pending if self.piece.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
            self.body_done |= self.trailers.is_none() && self.body.is_end_stream();
            let enough =
                if gathered.is_empty() { self.piece.len() >= SMALL } else { gathered.len() >= GATHERED };
            if self.body_done || enough {
                break;
            }
        }
        if !gathered.is_empty() {
            self.piece = gathered.freeze();
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self) -> PumpEnd {
        let sent = match self.trailers.take() {
            Some(trailers) => self.stream.send_trailers(&trailers),
            None => self.stream.send_end(),
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
