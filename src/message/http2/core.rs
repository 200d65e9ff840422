//! What a connection and the handles on its streams share: windows, counts, streams, and what is to be written.
//!
//! Laws: no I/O, and no other thread. What is put into `out` wakes the connection's task once; by the time that it is
//! polled, the other tasks that were ready have put theirs behind. A stream that both sides have ended, and on which there
//! is no handle, is gone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use super::error::{By, Error};
use super::frame::{self, GoAway, Reason};
use super::head::Decoder;
use super::hpack::Encoder;
use super::out::Out;
use super::stream::{Side, Stream, remember};
use super::streams::Streams;

/// Bytes of answers to frames that may wait to be written.
const ANSWERS_MAX: usize = 16 << 10;
/// Bytes that may wait to be written before a server reads on: answers without a body are bounded by nothing else.
const OUT_MOST: usize = 256 << 10;
/// Bytes that wait to be written, beyond which no stream is opened: requests of callers that leave would add up.
const UNSENT_MAX: usize = 1 << 20;
/// What a stream may send before the others have their turn.
pub(super) const QUANTUM: usize = 16 << 10;
/// Resets that a peer may cause by its faults.
const ERRORS_MAX: u32 = 1_024;
/// What the small DATA frames of a connection may cost beside their bytes, at least.
const OVERHEAD: usize = 25_600;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It takes requests.
    Server,
    /// It sends them.
    Client,
}

/// What an end allows its peer.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the peer may send ahead on one stream.
    pub stream_window: u32,
    /// What that may grow to, on a stream that is read as fast as it arrives.
    pub stream_window_most: u32,
    /// What it may send ahead on all.
    pub connection_window: u32,
    /// Bytes that wait to be written to it, beyond which no further body is taken.
    pub out_full: usize,
    /// Streams that it may have open at once.
    pub max_streams: u32,
    /// Bytes of a header list, by RFC 9113 section 6.5.2.
    pub max_header_list: u32,
    /// Streams that it may reset before they were looked at.
    pub unseen_resets: u32,
    /// Streams that were reset here and are remembered.
    pub remembered_resets: usize,
    /// Interim answers before an answer.
    pub interim_answers: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            stream_window: 64 << 10,
            stream_window_most: 64 << 10,
            connection_window: 1 << 20,
            out_full: 64 << 10,
            max_streams: 100,
            max_header_list: 64 << 10,
            unseen_resets: 20,
            remembered_resets: 1_024,
            interim_answers: 16,
        }
    }
}

/// What the peer's SETTINGS say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// What we may send ahead on a new stream.
    pub(super) window: u32,
    /// The largest payload that it takes.
    pub(super) max_frame: u32,
    /// Streams that we may have open at once; `None`: its SETTINGS have not come.
    pub(super) max_streams: Option<u32>,
}

/// How far this end has said that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Not at all.
    No,
    /// GOAWAY without a last stream, and a PING behind it.
    Told,
    /// GOAWAY with the last stream.
    Settled,
}

/// A header block that goes on in CONTINUATION.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) continuations: u32,
}

/// A DATA frame of which not all has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// The place and the identifier of its stream, if somebody wants it.
    pub(super) stream: Option<(usize, u32)>,
    pub(super) left: usize,
    pub(super) end_stream: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) role: Role,
    pub(super) settings: Settings,
    pub(super) peer: Peer,
    pub(super) out: Out,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    pub(super) streams: Streams,
    /// Streams that count as open.
    pub(super) open: usize,
    /// A client: the next stream to open. A server: the highest that its peer has opened.
    pub(super) newest: u32,
    /// The last stream of the peer's that was processed.
    pub(super) processed: u32,
    /// Streams of the peer's above it are ignored.
    pub(super) accepted_up_to: u32,
    /// Streams whose requests nobody has taken.
    pub(super) to_accept: VecDeque<usize>,
    /// Streams that were reset among them.
    pub(super) unseen_resets: u32,
    /// Resets that the peer has caused by its faults.
    errors: u32,
    /// The peer's SETTINGS have come.
    pub(super) has_begun: bool,
    /// SETTINGS of ours that the peer has not acknowledged.
    pub(super) unacknowledged: u32,
    pub(super) block: Option<Block>,
    /// Heads that were read to their end.
    pub(super) heads: u64,
    /// The beginning of a frame that belongs to a head has arrived, the rest has not.
    pub(super) half_a_head: bool,
    pub(super) partial: Option<Partial>,
    /// What the peer may still send on all streams, and what was read and not given back.
    pub(super) recv_window: i64,
    pub(super) freed: u32,
    /// What is left of the allowance for small DATA frames, and empty ones so far.
    pub(super) overhead: usize,
    pub(super) empty_data: u32,
    /// What we may still send on all streams.
    pub(super) send_window: i64,
    /// Streams that wait for room, in their order, and room that is kept for some that were woken.
    pub(super) waiting: VecDeque<usize>,
    pub(super) granted: usize,
    /// Bytes of answers to the peer's frames since `out` was empty.
    pub(super) answers: usize,
    /// The peer's last word.
    pub(super) goodbye: Option<GoAway>,
    pub(super) leaving: Leaving,
    /// Why the connection ended, or takes nothing more.
    pub(super) error: Option<Error>,
    /// Somebody was told that there is no room for another stream.
    pub(super) turned_away: bool,
    /// Handles by which streams can be opened.
    pub(super) senders: usize,
    /// Frames in this turn of the connection's task.
    pub(super) frames: u32,
    task: Option<Waker>,
    asleep: bool,
}

/// A connection as its handles hold it.
pub(super) type Shared = Rc<RefCell<Core>>;

impl Core {
    /// A connection on which nothing was said; what is to be said first is in `out`.
    pub(super) fn new(role: Role, settings: Settings) -> Core {
        let mut core = Core {
            role,
            settings,
            peer: Peer {
                window: frame::DEFAULT_WINDOW,
                max_frame: frame::DEFAULT_MAX_FRAME_SIZE,
                max_streams: None,
            },
            out: Out::default(),
            encoder: Encoder::new(),
            decoder: Decoder::new(frame::DEFAULT_TABLE_SIZE as usize),
            streams: Streams::new(settings.remembered_resets),
            open: 0,
            newest: if role == Role::Client { 1 } else { 0 },
            processed: 0,
            accepted_up_to: frame::MOST_WINDOW,
            to_accept: VecDeque::new(),
            unseen_resets: 0,
            errors: 0,
            has_begun: false,
            unacknowledged: 1,
            block: None,
            heads: 0,
            half_a_head: false,
            partial: None,
            recv_window: settings.connection_window.into(),
            freed: 0,
            overhead: allowance(&settings),
            empty_data: 0,
            send_window: frame::DEFAULT_WINDOW.into(),
            waiting: VecDeque::new(),
            granted: 0,
            answers: 0,
            goodbye: None,
            leaving: Leaving::No,
            error: None,
            turned_away: false,
            senders: 0,
            frames: 0,
            task: None,
            asleep: false,
        };
        core.greet();
        core
    }

    fn greet(&mut self) {
        use frame::setting::{
            ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE,
        };
        let Settings { stream_window, connection_window, max_streams, max_header_list, .. } = self.settings;
        let of_role = match self.role {
            Role::Client => (ENABLE_PUSH, 0),
            Role::Server => (MAX_CONCURRENT_STREAMS, max_streams),
        };
        let all = [of_role, (INITIAL_WINDOW_SIZE, stream_window), (MAX_HEADER_LIST_SIZE, max_header_list)];
        let is_client = self.role == Role::Client;
        self.out.put(|out| {
            if is_client {
                out.extend_from_slice(frame::PREFACE);
            }
            frame::put_settings(out, &all);
            if connection_window > frame::DEFAULT_WINDOW {
                frame::put_window_update(out, 0, connection_window - frame::DEFAULT_WINDOW);
            }
        });
    }

    /// The connection's task begins its turn.
    pub(super) fn begin_turn(&mut self, cx: &Context<'_>) {
        remember(&mut self.task, cx);
        self.asleep = false;
        self.frames = 0;
    }

    /// The connection's task ends its turn: from now on it is to be woken.
    pub(super) fn end_turn(&mut self) {
        self.grant(); // room that became free in the turn itself
        self.asleep = true;
    }

    /// Has the connection's task polled.
    #[inline]
    pub(super) fn wake(&mut self) {
        if self.asleep {
            self.asleep = false;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// An answer to a frame of the peer's is put into `out`: while many wait, its frames are not read.
    pub(super) fn answer(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let before = self.out.len();
        self.out.put(put);
        self.answers += self.out.len() - before;
        self.wake();
    }

    /// Whether so much waits to be written that the peer is not read: each frame of its may bring more.
    pub(super) fn is_not_heard(&self) -> bool {
        self.answers >= ANSWERS_MAX || (self.role == Role::Server && self.out.len() >= OUT_MOST)
    }

    /// Whether one more stream may be opened just now. A client's.
    pub(super) fn has_room(&mut self) -> bool {
        let open = self.open;
        let room =
            self.out.len() < UNSENT_MAX && self.peer.max_streams.is_some_and(|most| open < most as usize);
        self.turned_away = !room;
        room
    }

    /// Whether no stream may be opened, and why.
    pub(super) fn refusal(&self) -> Option<Error> {
        let goodbye = || self.goodbye.map(|goodbye| Error::GoAway(goodbye.reason, By::Remote));
        self.error.or_else(goodbye)
    }

    /// There is nothing left to do: the connection may end.
    pub(super) fn is_done(&self) -> bool {
        let nobody = self.role == Role::Client && self.senders == 0;
        self.open == 0 && (nobody || self.goodbye.is_some() || self.leaving == Leaving::Settled)
    }

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

    /// Small frames were read: what they cost is free again.
    pub(super) fn allow(&mut self, overhead: u32) {
        self.overhead = (self.overhead + overhead as usize).min(allowance(&self.settings));
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

    /// A stream of ours begins, or one of the peer's.
    pub(super) fn open(&mut self, id: u32) -> usize {
        self.open += 1;
        self.streams.insert(Stream::new(id, self.settings.stream_window, self.peer.window))
    }
}

/// The PING behind a GOAWAY, by whose answer the peer shows that it has seen it.
pub(super) const LEAVING: [u8; 8] = *b"leaving!";

/// What small DATA frames may cost beside their bytes.
pub(super) fn allowance(settings: &Settings) -> usize {
    (settings.connection_window as usize / 2).max(OVERHEAD)
}
