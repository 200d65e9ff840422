//! What a connection and the handles on its streams share: windows, counts, streams, and what is to be written.
//!
//! Laws: no I/O, and no other thread. What is put into `out` wakes the connection's task once; by the time that it is
//! polled, the other tasks that were ready have put theirs behind. A stream that both sides have ended, and on which there
//! is no handle, is gone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::error::{By, Error};
use super::frame::{self, GoAway};
use super::head::Decoder;
use super::hpack::Encoder;
use super::out::Out;
use super::stream::{Stream, remember};
use super::streams::Streams;
use super::tally::Tallies;

/// Bytes of answers to frames that may wait to be written.
const ANSWERS_MAX: usize = 16 << 10;
/// Bytes that may wait to be written before a server reads on: answers without a body are bounded by nothing else.
const OUT_MOST: usize = 256 << 10;
/// Bytes that wait to be written, beyond which no stream is opened: requests of callers that leave would add up.
const UNSENT_MAX: usize = 1 << 20;
/// What a stream may send before the others have their turn.
pub(super) const QUANTUM: usize = 16 << 10;
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
    /// A client's: how long its server may take nothing of what is left for it, when no stream is open nor will be.
    pub untaken: Duration,
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
            untaken: Duration::from_secs(5),
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
    pub(super) open: u32,
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
    pub(super) errors: u32,
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
    pub(super) answers: u32,
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
    /// The number of this turn, which begins again after 256: for what came in one and is there in the next.
    pub(super) turn: u8,
    task: Option<Waker>,
    asleep: bool,
    /// Bytes of streams that somebody asks about.
    pub(super) tallies: Option<Box<Tallies>>,
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
            turn: 0,
            task: None,
            asleep: false,
            tallies: None,
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
        self.turn = self.turn.wrapping_add(1);
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
        self.answers += (self.out.len() - before) as u32;
        self.wake();
    }

    /// Whether so much waits to be written that the peer is not read: each frame of its may bring more.
    pub(super) fn is_not_heard(&self) -> bool {
        self.answers as usize >= ANSWERS_MAX || (self.role == Role::Server && self.out.len() >= OUT_MOST)
    }

    /// Whether one more stream may be opened just now. A client's.
    pub(super) fn has_room(&mut self) -> bool {
        let open = self.open;
        let room = self.out.len() < UNSENT_MAX && self.peer.max_streams.is_some_and(|most| open < most);
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

    /// Small frames were read: what they cost is free again.
    pub(super) fn allow(&mut self, overhead: u32) {
        self.overhead = (self.overhead + overhead as usize).min(allowance(&self.settings));
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
