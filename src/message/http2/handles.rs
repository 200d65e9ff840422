//! One side of a stream, as its reader or writer holds it.
//!
//! Law: the last handle on a stream that goes before the stream has ended resets it, with CANCEL; a server that has
//! answered with NO_ERROR. What is read is given back to the peer's windows at once.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::core::Shared;
use super::error::{By, Error};
use super::frame::Reason;
use super::stream::{Side, remember};

/// A place among the connection's streams.
pub(super) struct Handle {
    core: Shared,
    place: usize,
}

impl Handle {
    /// One handle more on the stream at `place`, whose count is the caller's to keep.
    pub(super) fn counted(core: Shared, place: usize) -> Handle {
        Handle { core, place }
    }

    /// One handle more.
    pub(super) fn another(&self) -> Handle {
        self.core.borrow_mut().streams[self.place].handles += 1;
        Handle { core: self.core.clone(), place: self.place }
    }

    pub(super) fn core(&self) -> std::cell::RefMut<'_, super::core::Core> {
        self.core.borrow_mut()
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.borrow_mut().drop_handle(self.place);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The body that arrives on a stream.
#[derive(Debug)]
pub struct RecvStream(pub(super) Handle);

impl RecvStream {
    /// The next piece, or the trailers; `None` at the proper end.
    pub fn poll_frame(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let place = self.0.place;
        let mut core = self.0.core();
        let stream = &mut core.streams[place];
        if let Some(piece) = stream.pop() {
            let overhead = if stream.unread == 0 { std::mem::take(&mut stream.overhead) } else { 0 };
            if overhead > 0 {
                core.allow(overhead);
            }
            core.give_back_of(place, piece.len() as u32);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match stream.recv {
            Side::Ended => Poll::Ready(stream.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers)))),
            Side::Cut => {
                let why = stream.cut.unwrap_or(Error::Reset(Reason::CANCEL, By::User));
                Poll::Ready(Some(Err(why)))
            }
            Side::Head | Side::Body => {
                remember(&mut stream.reader, cx);
                Poll::Pending
            }
        }
    }

    /// Asks for it, where its sender waits to be asked (`expect: 100-continue`).
    pub fn ask_for(&self) {
        self.0.core().send_continue(self.0.place);
    }

    /// All of it was read.
    pub fn is_end_stream(&self) -> bool {
        self.0.core().streams[self.0.place].is_drained()
    }

    /// Nothing more of it will arrive, whatever of it is unread.
    pub fn has_arrived(&self) -> bool {
        !matches!(self.0.core().streams[self.0.place].recv, Side::Head | Side::Body)
    }

    /// Bytes that have arrived and were not read.
    pub fn unread_bytes(&self) -> usize {
        self.0.core().streams[self.0.place].unread as usize
    }

    /// Bytes of the body still to be read, where the head says how many.
    pub fn remaining(&self) -> Option<u64> {
        let core = self.0.core();
        let stream = &core.streams[self.0.place];
        // A frame of which a part has arrived is off `remaining` as a whole.
        let of_frame = core.partial.filter(|partial| partial.stream == Some((self.0.place, stream.id)));
        let left = of_frame.map_or(0, |partial| partial.left as u64);
        Some(stream.remaining? + u64::from(stream.unread) + left)
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.0.core().stop_reading(self.0.place);
    }
}

/// The body that leaves on a stream.
#[derive(Debug)]
pub struct SendStream(pub(super) Handle);

impl SendStream {
    /// Sends what there is room for from the beginning of `data`, which is not empty; with `end` its last byte ends the
    /// stream. Ready means that some of it was sent.
    pub fn poll_send(&mut self, cx: &Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<(), Error>> {
        self.0.core().poll_send(self.0.place, cx, data, end)
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It has ended already, or was cut.
    pub fn send_end(&mut self) -> Result<(), Error> {
        self.0.core().send_end(self.0.place)
    }

    /// Ends the stream with trailers.
    ///
    /// # Errors
    /// It has ended already, or was cut.
    pub fn send_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Error> {
        self.0.core().send_trailers(self.0.place, trailers)
    }

    /// Resets the stream, unless both sides have ended.
    pub fn send_reset(&mut self, reason: Reason) {
        self.0.core().reset(self.0.place, reason, By::User);
    }

    /// Why the stream was cut, once it is.
    pub fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<Error> {
        self.0.core().poll_reset(self.0.place, cx)
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.0.core().stop_sending(self.0.place);
    }
}

/// The answer to a request, which is to be sent.
#[derive(Debug)]
pub struct SendResponse(pub(super) Handle);

impl SendResponse {
    /// Why the stream was cut, once it is.
    pub fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<Error> {
        self.0.core().poll_reset(self.0.place, cx)
    }

    /// Sends the head; with `end` there is no body.
    ///
    /// # Errors
    /// The stream was cut.
    pub fn send_response(
        self,
        status: StatusCode,
        fields: &HeaderMap,
        end: bool,
    ) -> Result<SendStream, Error> {
        self.0.core().send_response(self.0.place, status, fields, end)?;
        Ok(SendStream(self.0))
    }
}
