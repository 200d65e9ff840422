//! How streams end, and the connection: when nobody holds them any more, by resets, and by GOAWAY (RFC 9113 sections 5.4,
//! 6.4 and 6.8).
//!
//! Laws: what an end leaves unread, or keeps in line, is free for the others at once. A reset is remembered for as long
//! as frames of its stream may be on their way; resets that a peer causes are counted.

use super::core::{Core, LEAVING, Leaving, Role};
use super::error::{By, Error};
use super::frame::{self, GoAway, Reason};
use super::stream::Side;

/// Resets that a peer may cause by its faults.
const ERRORS_MAX: u32 = 1_024;

impl Core {
    /// A peer may have lowered `waiting` or `open` to what the connection's task has to look at.
    fn note_fewer(&mut self) {
        if !self.waiting.is_empty() || self.is_done() {
            self.wake();
        }
    }

    /// Looks after a stream of which a side has ended, or whose last handle went.
    pub(super) fn settle(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        if !stream.is_closed() {
            return;
        }
        let counted = std::mem::take(&mut stream.counted);
        let waits = std::mem::take(&mut stream.waits);
        let granted = std::mem::take(&mut stream.granted) as usize;
        let gone = stream.handles == 0;
        if waits {
            self.waiting.retain(|&other| other != place);
        }
        self.granted -= granted;
        if gone {
            self.release_all(place);
            self.streams.remove(place);
        }
        if counted {
            self.open -= 1;
            self.note_fewer();
        } else if granted > 0 {
            self.wake();
        }
    }

    /// One handle less.
    pub(super) fn drop_handle(&mut self, place: usize) {
        let role = self.role;
        let stream = &mut self.streams[place];
        stream.handles -= 1;
        if stream.handles > 0 {
            return;
        }
        if stream.is_closed() {
            return self.settle(place);
        }
        // RFC 9113 section 8.1: a server that has answered needs no more of the request. Some callers take any other
        // code for a failure of the answer.
        let answered = role == Role::Server && stream.send == Side::Ended;
        self.reset(place, if answered { Reason::NO_ERROR } else { Reason::CANCEL }, By::User);
    }

    /// Nobody sends a body on the stream any further: it leaves the line, and what was kept for it is for the others.
    pub(super) fn stop_sending(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        stream.writer = None;
        let granted = std::mem::take(&mut stream.granted) as usize;
        if std::mem::take(&mut stream.waits) {
            self.waiting.retain(|&other| other != place);
        }
        self.granted -= granted;
        if granted > 0 && !self.waiting.is_empty() {
            self.wake();
        }
    }

    /// Nobody reads the stream any further.
    pub(super) fn stop_reading(&mut self, place: usize) {
        self.streams[place].read = false;
        self.streams[place].reader = None;
        self.release_all(place);
    }

    /// What has arrived of a stream and was not read is let go, and its room given back.
    fn release_all(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        let unread = stream.forget();
        let overhead = std::mem::take(&mut stream.overhead);
        self.allow(overhead);
        self.give_back(unread);
    }

    /// Resets a stream from our side, if there is anything left of it.
    pub(super) fn reset(&mut self, place: usize, reason: Reason, by: By) {
        let stream = &mut self.streams[place];
        if stream.is_closed() {
            return;
        }
        let id = stream.id;
        stream.cut(Error::Reset(reason, by));
        self.put_reset(id, reason, by);
        self.settle(place);
    }

    /// A server that answers is owed a fault: frames that crossed our resets add up over a long life.
    pub(super) fn forgive(&mut self) {
        self.errors = self.errors.saturating_sub(1);
    }

    /// Refuses a stream that the peer opens: it may be sent again (RFC 9113 section 8.7).
    pub(super) fn refuse(&mut self, id: u32) {
        self.put_reset(id, Reason::REFUSED_STREAM, By::Engine);
    }

    fn put_reset(&mut self, id: u32, reason: Reason, by: By) {
        self.streams.note_reset(id, self.settings.stream_window_most.max(self.settings.stream_window));
        if by == By::Engine {
            return self.answer(|out| frame::put_rst_stream(out, id, reason));
        }
        self.out.put(|out| frame::put_rst_stream(out, id, reason));
        self.wake();
    }

    /// Resets a stream for a fault of the peer's; too many of them end the connection.
    pub(super) fn blame(&mut self, id: u32, reason: Reason) -> Result<(), Error> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Err(Error::GoAway(Reason::ENHANCE_YOUR_CALM, By::Engine));
        }
        match self.streams.find(id) {
            Some(place) => self.reset(place, reason, By::Engine),
            None => self.put_reset(id, reason, By::Engine),
        }
        Ok(())
    }

    /// Ends all streams: the connection is over.
    pub(super) fn end(&mut self, why: Error) {
        self.error = Some(why);
        self.half_a_head = false;
        self.block = None;
        self.partial = None;
        self.waiting.clear();
        let places: Vec<usize> = self.streams.iter_mut().map(|(place, _)| place).collect();
        for place in places {
            let stream = &mut self.streams[place];
            stream.waits = false;
            if !stream.is_closed() {
                stream.cut(why);
            }
            self.settle(place);
        }
        while let Some(place) = self.to_accept.pop_front() {
            self.drop_handle(place);
        }
    }

    /// Says why the connection ends, and ends it.
    pub(super) fn fail(&mut self, why: Error) {
        let was_said = self.leaving == Leaving::Settled && matches!(why, Error::GoAway(Reason::NO_ERROR, _));
        if let (false, Error::GoAway(reason, By::Engine | By::User)) = (was_said, why) {
            let goaway = GoAway { last_stream: self.processed, reason };
            self.out.put(|out| frame::put_goaway(out, goaway, &[]));
        }
        self.end(why);
    }

    /// Says that no further stream is taken: those that are on their way are.
    pub(super) fn leave(&mut self) {
        if self.leaving != Leaving::No || self.error.is_some() {
            return;
        }
        self.leaving = Leaving::Told;
        let goaway = GoAway { last_stream: frame::MOST_WINDOW, reason: Reason::NO_ERROR };
        self.out.put(|out| {
            frame::put_goaway(out, goaway, &[]);
            frame::put_ping(out, 0, LEAVING);
        });
        self.wake();
    }

    /// The peer has seen that: what it opens from now on is ignored.
    pub(super) fn settle_leaving(&mut self) {
        self.leaving = Leaving::Settled;
        self.accepted_up_to = self.processed;
        let goaway = GoAway { last_stream: self.processed, reason: Reason::NO_ERROR };
        self.answer(|out| frame::put_goaway(out, goaway, &[]));
    }
}
