//! What leaves: heads, bodies as windows and room allow, trailers, resets.
//!
//! Laws: a frame is in `out` as soon as it is sent, so that frames of a stream leave in their order. Bodies are taken only
//! while their windows and `out` have room; who waits for what all streams share waits in line, and is let in for one
//! quantum at a time.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::core::Core;
use super::error::{By, Error};
use super::frame::{self, HEAD_BYTES, Reason, flag, kind};
use super::hpack::Encoder;
use super::stream::{Side, remember};

impl Core {
    /// Opens a stream with a request's head. A client's.
    ///
    /// # Errors
    /// Nothing was sent: the connection takes no further stream, or the request has no form on the wire.
    pub(super) fn send_request(
        &mut self,
        method: &Method,
        uri: &Uri,
        fields: &HeaderMap,
        end: bool,
    ) -> Result<usize, Error> {
        let tally = self.tallies.as_mut().and_then(|tallies| tallies.take_next());
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        let id = self.newest;
        if id > frame::MOST_WINDOW {
            return Err(Error::GoAway(Reason::NO_ERROR, By::Engine)); // all that there are were used
        }
        let is_connect = method == Method::CONNECT;
        if uri.authority().is_none() && (is_connect || uri.path_and_query().is_none()) {
            return Err(Error::Unsendable);
        }
        self.newest += 2;
        let place = self.open(id);
        let stream = &mut self.streams[place];
        stream.send = if end { Side::Ended } else { Side::Body };
        stream.answers_head = method == Method::HEAD;
        if let (Some(tallies), Some(tally)) = (&mut self.tallies, tally) {
            tallies.open(id, tally);
        }
        self.put_headers(id, end, |encoder, out| encoder.request(method, uri, fields, out));
        Ok(place)
    }

    /// Sends the head of an answer. A server's.
    pub(super) fn send_response(
        &mut self,
        place: usize,
        status: StatusCode,
        fields: &HeaderMap,
        end: bool,
    ) -> Result<(), Error> {
        let stream = &mut self.streams[place];
        if stream.send != Side::Head {
            return Err(stream.cut.unwrap_or(Error::Unsendable));
        }
        stream.send = if end { Side::Ended } else { Side::Body };
        let id = stream.id;
        self.put_headers(id, end, |encoder, out| encoder.response(status, fields, out));
        if end {
            self.settle(place);
        }
        Ok(())
    }

    /// Asks a client that waits for it to send its body (RFC 9110 section 10.1.1); none that sends already, or has its answer.
    /// A server's.
    pub(super) fn send_continue(&mut self, place: usize) {
        let stream = &self.streams[place];
        if stream.send != Side::Head || stream.recv != Side::Body || stream.unread > 0 {
            return;
        }
        let id = stream.id;
        self.put_headers(id, false, |encoder, out| {
            encoder.response(StatusCode::CONTINUE, &HeaderMap::new(), out);
        });
    }

    /// Sends trailers, which end the stream.
    pub(super) fn send_trailers(&mut self, place: usize, fields: &HeaderMap) -> Result<(), Error> {
        let stream = &mut self.streams[place];
        if stream.send != Side::Body {
            return Err(stream.cut.unwrap_or(Error::Unsendable));
        }
        stream.send = Side::Ended;
        let id = stream.id;
        self.put_headers(id, true, |encoder, out| encoder.trailers(fields, out));
        self.settle(place);
        Ok(())
    }

    /// HEADERS with the block that `encode` writes.
    #[inline]
    pub(super) fn put_headers(
        &mut self,
        id: u32,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let (encoder, max_frame) = (&mut self.encoder, self.peer.max_frame);
        let before = self.out.len();
        self.out.put(|out| {
            let start = frame::begin_headers(out);
            encode(encoder, out);
            frame::end_headers(out, start, id, end, max_frame);
        });
        self.tally(id, self.out.len() - before);
        self.wake();
    }

    /// Ends the stream without another byte.
    pub(super) fn send_end(&mut self, place: usize) -> Result<(), Error> {
        let stream = &mut self.streams[place];
        if stream.send != Side::Body {
            return Err(stream.cut.unwrap_or(Error::Unsendable));
        }
        stream.send = Side::Ended;
        let id = stream.id;
        self.out.put(|out| frame::put_head(out, kind::DATA, flag::END_STREAM, id, 0));
        self.tally(id, HEAD_BYTES);
        self.wake();
        self.settle(place);
        Ok(())
    }

    /// Sends what there is room for from the beginning of `data`, which is not empty; with `end` its last byte ends the
    /// stream. Ready means that some of it was sent.
    pub(super) fn poll_send(
        &mut self,
        place: usize,
        cx: &Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), Error>> {
        let stream = &self.streams[place];
        if stream.send != Side::Body {
            return Poll::Ready(Err(stream.cut.unwrap_or(Error::Unsendable)));
        }
        let window = usize::try_from(stream.send_window).unwrap_or(0);
        let granted = stream.granted as usize;
        let free = if self.waiting.is_empty() { self.room() } else { 0 };
        let n = data.len().min(window).min(granted + free);
        if n == 0 {
            return self.wait(place, cx, window);
        }
        let stream = &mut self.streams[place];
        let used = n.min(granted);
        stream.granted -= used as u32;
        stream.send_window -= n as i64;
        self.granted -= used;
        self.send_window -= n as i64;
        let ends = end && n == data.len();
        if n == data.len() {
            // What it does not need is for those that wait.
            self.granted -= std::mem::take(&mut stream.granted) as usize;
        }
        if ends {
            stream.send = Side::Ended;
        }
        let id = stream.id;
        let mut piece = if n == data.len() { std::mem::take(data) } else { data.split_to(n) };
        let max_frame = self.peer.max_frame as usize;
        while piece.len() > max_frame {
            self.put_data(id, piece.split_to(max_frame), false);
        }
        self.put_data(id, piece, ends);
        self.wake();
        if ends {
            self.settle(place);
        }
        Poll::Ready(Ok(()))
    }

    fn put_data(&mut self, id: u32, piece: Bytes, ends: bool) {
        let flags = if ends { flag::END_STREAM } else { 0 };
        self.tally(id, HEAD_BYTES + piece.len());
        self.out.put(|out| frame::put_head(out, kind::DATA, flags, id, piece.len() as u32));
        self.out.payload(piece);
    }

    /// Counts bytes that were sent of a stream, where somebody asks.
    #[inline]
    fn tally(&self, id: u32, bytes: usize) {
        if let Some(tallies) = &self.tallies {
            tallies.sent(id, bytes);
        }
    }

    /// Waits for the stream's own window, or in line for what all streams share.
    fn wait(&mut self, place: usize, cx: &Context<'_>, window: usize) -> Poll<Result<(), Error>> {
        let stream = &mut self.streams[place];
        remember(&mut stream.writer, cx);
        if window == 0 {
            let granted = std::mem::take(&mut stream.granted) as usize;
            self.granted -= granted;
            if granted > 0 {
                self.wake();
            }
        } else if !stream.waits {
            stream.waits = true;
            self.waiting.push_back(place);
        }
        Poll::Pending
    }

    /// Why the stream was cut, once it is.
    pub(super) fn poll_reset(&mut self, place: usize, cx: &Context<'_>) -> Poll<Error> {
        let stream = &mut self.streams[place];
        match stream.cut {
            Some(why) => Poll::Ready(why),
            None => {
                remember(&mut stream.writer, cx);
                Poll::Pending
            }
        }
    }
}
