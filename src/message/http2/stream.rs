//! One stream: where its two sides are, its windows, what has arrived and was not read (RFC 9113 section 5.1).
//!
//! Law: small, as a connection has a hundred; it knows nothing of frames, and of its connection nothing but itself.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, request, response};

use super::error::{By, Error};
use crate::message::slices;

/// Turns of the connection in which nothing of a stream was read: what has come since stays for longer.
const STAYS: u8 = 2;

/// One side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its head is to come.
    Head,
    /// Its body is to come.
    Body,
    /// It has ended as it should.
    Ended,
    /// It was cut: `Stream::cut` says why.
    Cut,
}

/// The head that has arrived and that nobody has taken.
#[derive(Debug, Default)]
pub(super) enum Head {
    /// None.
    #[default]
    None,
    /// A server's.
    Request(Box<request::Parts>),
    /// A client's.
    Response(Box<response::Parts>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its identifier.
    pub(super) id: u32,
    /// Handles on it, the queue of those to be accepted among them.
    pub(super) handles: u8,
    /// What arrives.
    pub(super) recv: Side,
    /// What leaves.
    pub(super) send: Side,
    /// Why a side was cut.
    pub(super) cut: Option<Error>,
    /// It counts as open.
    pub(super) counted: bool,
    /// Somebody may still read what arrives.
    pub(super) read: bool,
    /// It stands in the queue of those that wait for room.
    pub(super) waits: bool,
    /// It stands in the queue of those to be accepted.
    pub(super) to_accept: bool,
    /// The answer is one to HEAD: a length says nothing of its body.
    pub(super) answers_head: bool,
    /// It had a DATA frame without data and end.
    pub(super) had_empty_data: bool,
    /// Interim answers so far.
    pub(super) interim: u8,
    /// The connection's turn in which the first of the fresh pieces came.
    turn: u8,
    /// So many pieces have come since one was read, or since they were looked at.
    fresh: u16,
    /// What the peer may still send.
    pub(super) recv_window: i64,
    /// What was read of it and not given back by WINDOW_UPDATE yet.
    pub(super) freed: u32,
    /// Bytes in `data`.
    pub(super) unread: u32,
    /// What its small frames have taken from the connection's allowance.
    pub(super) overhead: u32,
    /// What we may still send.
    pub(super) send_window: i64,
    /// Room that is kept for it.
    pub(super) granted: u32,
    /// Bytes of the body still to come, where the head says how many.
    pub(super) remaining: Option<u64>,
    /// The head that arrived.
    pub(super) head: Head,
    /// The first piece that has arrived; most streams have no other.
    first: Bytes,
    more: VecDeque<Bytes>,
    /// Behind all data.
    pub(super) trailers: Option<Box<HeaderMap>>,
    /// Whoever waits for something to arrive.
    pub(super) reader: Option<Waker>,
    /// Whoever waits to send, or to hear of a reset.
    pub(super) writer: Option<Waker>,
}

impl Stream {
    /// A stream whose two sides are to come.
    pub(super) fn new(id: u32, recv_window: u32, send_window: u32) -> Stream {
        Stream {
            id,
            handles: 0,
            recv: Side::Head,
            send: Side::Head,
            cut: None,
            counted: true,
            read: true,
            waits: false,
            to_accept: false,
            answers_head: false,
            had_empty_data: false,
            interim: 0,
            turn: 0,
            fresh: 0,
            recv_window: recv_window.into(),
            freed: 0,
            unread: 0,
            overhead: 0,
            send_window: send_window.into(),
            granted: 0,
            remaining: None,
            head: Head::None,
            first: Bytes::new(),
            more: VecDeque::new(),
            trailers: None,
            reader: None,
            writer: None,
        }
    }

    /// Both sides are over.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.recv.is_over() && self.send.is_over()
    }

    /// It was ended by us, so that its peer may not know yet.
    pub(super) fn is_cut_here(&self) -> bool {
        matches!(
            self.cut,
            Some(Error::Reset(_, By::Engine | By::User) | Error::GoAway(_, By::Engine | By::User))
        )
    }

    /// Cuts what has not ended.
    pub(super) fn cut(&mut self, why: Error) {
        for side in [&mut self.recv, &mut self.send] {
            if !side.is_over() {
                *side = Side::Cut;
                self.cut = Some(why);
            }
        }
        self.wake_reader();
        self.wake_writer();
    }

    /// A piece has arrived in this turn of the connection's; it is not empty.
    #[inline]
    pub(super) fn push(&mut self, piece: Bytes, turn: u8) {
        self.unread += piece.len() as u32;
        if self.first.is_empty() {
            self.first = piece;
            (self.turn, self.fresh) = (turn, 1);
            return;
        }
        if self.fresh == 0 {
            self.turn = turn;
        } else if turn.wrapping_sub(self.turn) >= STAYS {
            self.compact();
            self.turn = turn;
        }
        self.fresh = self.fresh.saturating_add(1);
        self.more.push_back(piece);
    }

    /// What stays for longer is not to keep buffers of which it is little.
    #[cold]
    fn compact(&mut self) {
        let all = 1 + self.more.len();
        let known = all - usize::from(std::mem::take(&mut self.fresh)).min(all);
        let pieces = std::iter::once(&mut self.first).chain(&mut self.more);
        slices::compact(&mut pieces.skip(known).collect::<Vec<_>>());
    }

    /// The next piece to be read.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.first.is_empty() {
            return None;
        }
        let piece = std::mem::take(&mut self.first);
        self.unread -= piece.len() as u32;
        self.fresh = 0; // whoever reads it will come for the rest
        if let Some(next) = self.more.pop_front() {
            self.first = next;
        }
        Some(piece)
    }

    /// Lets go of all that has arrived; how many bytes that was.
    pub(super) fn forget(&mut self) -> u32 {
        self.first = Bytes::new();
        self.more = VecDeque::new();
        self.trailers = None;
        std::mem::take(&mut self.unread)
    }

    /// Nothing more will be read of it.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.recv == Side::Ended && self.first.is_empty() && self.trailers.is_none()
    }

    #[inline]
    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    #[inline]
    pub(super) fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Side {
    /// Nothing more will come, or leave.
    #[inline]
    pub(super) fn is_over(self) -> bool {
        matches!(self, Side::Ended | Side::Cut)
    }
}

/// Has `place` hold the waker of `cx`.
#[inline]
pub(super) fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Driver;
    use super::super::core::Core;
    use super::super::head::Decoder;
    use super::super::hpack::Encoder;
    use super::*;

    use crate::message::slices::READ_BUFFER;

    /// Of each buffer one piece is this stream's. The last turn's may still be read at once.
    #[test]
    fn pieces_that_nobody_has_read_in_a_turn_let_go_of_their_buffers() {
        for size in [12 << 10, 16 << 10, READ_BUFFER / 2 - 1] {
            let mut stream = Stream::new(1, 1 << 20, 0);
            let mut buffers = Vec::new();
            for n in 0..9 {
                let mut buffer = Bytes::from(vec![n; READ_BUFFER]);
                stream.push(buffer.split_to(size), n / 2);
                buffers.push(buffer);
            }
            let held = buffers.into_iter().filter(|buffer| !buffer.is_unique()).count();
            assert_eq!(held, 1, "{size}");
            for n in 0..9 {
                assert_eq!(stream.pop().map(|piece| piece[..] == vec![n; size]), Some(true), "{size}");
            }
            assert!(stream.pop().is_none());
        }
    }

    /// An upload that goes on as fast as its windows let it.
    #[test]
    fn pieces_of_a_stream_that_is_read_are_not_copied() {
        let mut stream = Stream::new(1, 1 << 20, 0);
        let mut addresses = std::collections::VecDeque::new();
        for turn in 0..20 {
            for _ in 0..2 {
                let piece = Bytes::from(vec![turn; READ_BUFFER]).slice(..12 << 10);
                addresses.push_back(piece.as_ptr());
                stream.push(piece, turn);
            }
            assert_eq!(stream.pop().map(|piece| piece.as_ptr()), addresses.pop_front());
        }
    }

    #[test]
    fn pieces_that_are_most_of_their_buffers_are_not_copied() {
        let mut stream = Stream::new(1, 1 << 20, 0);
        let mut addresses = Vec::new();
        for turn in 0..4 {
            let mut buffer = Bytes::from(vec![0; READ_BUFFER]);
            while buffer.len() > 16 << 10 {
                drop(buffer.split_to(9)); // a frame's head
                let piece = buffer.split_to((16 << 10) - 9);
                addresses.push(piece.as_ptr());
                stream.push(piece, turn);
            }
        }
        let popped: Vec<_> = std::iter::from_fn(|| stream.pop()).map(|piece| piece.as_ptr()).collect();
        assert_eq!(popped, addresses);
    }

    /// What a connection costs while it waits, beside the tables of its header compression and its task, and what a stream
    /// of it does.
    #[test]
    fn connections_and_streams_are_small() {
        let sizes = [
            ("a stream", size_of::<Stream>(), 208),
            ("a connection's core, the two below in it", size_of::<Core>(), 1536),
            ("its reader of heads", size_of::<Decoder>(), 416),
            ("its writer of heads", size_of::<Encoder>(), 600),
            ("its task's part, without the socket", size_of::<Driver<()>>(), 112),
        ];
        let large: Vec<_> = sizes.iter().filter(|(_, bytes, most)| bytes > most).collect();
        assert!(large.is_empty(), "{large:?} in {sizes:?}");
    }
}
