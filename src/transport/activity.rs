//! What a connection has been doing, and the one way to end it from outside: seen by its I/O, set by the sweep.
//!
//! Law: single-threaded cells; a busy connection pays one store for each read or write and no timer.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

use crate::runtime::clock::{self, Tick};

/// What the bytes of a connection are for just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Between requests.
    Idle,
    /// A head is coming in since then.
    Head(Tick),
    /// A request is being served.
    Busy,
}

/// Why a connection was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head took too long from its first byte.
    HeadTimeout,
    /// No request for too long.
    Idle,
    /// A request was open, but no byte moved for too long.
    NoProgress,
    /// The process leaves and its deadline has come.
    Drain,
}

/// The record of one connection, shared by its I/O, its task and the sweep of its worker.
#[derive(Debug)]
pub struct Activity {
    stage: Cell<Stage>,
    /// Bytes between requests are frames of the connection itself (HTTP/2), not the beginning of a head.
    framed: Cell<bool>,
    progress: Cell<Tick>,
    idle_since: Cell<Tick>,
    bytes_read: Cell<u64>,
    bytes_written: Cell<u64>,
    ended: Cell<Option<End>>,
    watched: Cell<bool>,
    ended_by_peer: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

/// The bounds that the sweep holds a connection to.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Bounds {
    pub head_timeout: Duration,
    pub idle: Duration,
    /// Zero: no bound.
    pub no_progress: Duration,
}

impl Activity {
    /// A connection that was just made. `awaiting_head`: its first head is due from now, not from its first byte.
    pub fn new(awaiting_head: bool) -> Activity {
        let now = clock::now();
        let stage = if awaiting_head { Stage::Head(now) } else { Stage::Idle };
        Activity {
            stage: Cell::new(stage),
            framed: Cell::new(false),
            progress: Cell::new(now),
            idle_since: Cell::new(now),
            bytes_read: Cell::new(0),
            bytes_written: Cell::new(0),
            ended: Cell::new(None),
            watched: Cell::new(false),
            ended_by_peer: Cell::new(false),
            task: RefCell::new(None),
        }
    }

    /// `n` bytes were read. The first byte while idle begins a head.
    pub fn read(&self, n: usize) {
        self.bytes_read.set(self.bytes_read.get() + n as u64);
        let now = clock::now();
        self.progress.set(now);
        if self.stage.get() == Stage::Idle && !self.framed.get() {
            self.stage.set(Stage::Head(now));
        }
        clock::note_read(n);
    }

    /// A read found the peer's end, or the socket failed.
    pub(super) fn note_ended_by_peer(&self) {
        self.ended_by_peer.set(true);
    }

    /// Whether the peer ended it, as far as somebody has looked.
    pub fn is_ended_by_peer(&self) -> bool {
        self.ended_by_peer.get()
    }

    /// The connection speaks HTTP/2: a PING between requests begins no head. The first head is due all the same.
    pub fn set_framed(&self) {
        self.framed.set(true);
    }

    /// Whether it speaks HTTP/2.
    pub fn is_framed(&self) -> bool {
        self.framed.get()
    }

    /// `n` bytes were written.
    pub fn wrote(&self, n: usize) {
        self.bytes_written.set(self.bytes_written.get() + n as u64);
        self.progress.set(clock::now());
    }

    /// A head has begun with bytes that were read before: behind the request that just ended.
    pub fn begin_head(&self) {
        if self.stage.get() == Stage::Idle {
            self.stage.set(Stage::Head(clock::now()));
        }
    }

    /// A head is complete: a request is being served.
    pub fn begin_request(&self) {
        self.stage.set(Stage::Busy);
    }

    /// What was taken for the beginning of a head was none.
    pub fn forget_head(&self) {
        if matches!(self.stage.get(), Stage::Head(_)) {
            self.stage.set(Stage::Idle);
        }
    }

    /// The last open request ended.
    pub fn end_request(&self) {
        self.stage.set(Stage::Idle);
        self.idle_since.set(clock::now());
    }

    /// What the bytes are for just now.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// When a byte last moved.
    pub fn progress(&self) -> Tick {
        self.progress.get()
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.get()
    }

    /// Which bound the connection has passed at `now`, if any.
    pub fn overdue(&self, now: Tick, bounds: &Bounds) -> Option<End> {
        match self.stage.get() {
            Stage::Head(since) => (now.since(since) > bounds.head_timeout).then_some(End::HeadTimeout),
            Stage::Idle => (now.since(self.idle_since.get()) > bounds.idle).then_some(End::Idle),
            Stage::Busy => {
                let quiet = now.since(self.progress.get());
                (!bounds.no_progress.is_zero() && quiet > bounds.no_progress).then_some(End::NoProgress)
            }
        }
    }

    /// Ends the connection: its next poll fails, and comes soon. A late head, which has an answer to get, may be
    /// followed by another reason. Returns whether this was news.
    pub fn end(&self, why: End) -> bool {
        let before = self.ended.get();
        let news = before != Some(why) && matches!(before, None | Some(End::HeadTimeout));
        if news {
            self.ended.set(Some(why));
            self.wake();
        }
        news
    }

    /// Why the connection was ended from outside, if it was.
    pub fn ended(&self) -> Option<End> {
        self.ended.get()
    }

    /// Remembers the connection's task, so that it can be woken from outside.
    pub fn remember_task(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        match &mut *task {
            Some(known) => known.clone_from(waker),
            None => *task = Some(waker.clone()),
        }
    }

    /// Whether the connection's task wants to be polled by the sweep: to see whether its peer, whose bytes perhaps nobody
    /// reads just now, is still there.
    pub fn watch_peer(&self, watched: bool) {
        self.watched.set(watched);
    }

    /// Has the task polled if it wants that.
    pub fn wake_to_watch(&self) {
        if self.watched.get() {
            self.wake();
        }
    }

    /// Has the connection's task polled.
    pub fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_timeout: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        no_progress: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Tick {
        let start = Instant::now();
        // In steps, as sweeps make them: a longer one is a process that was stopped.
        for half in 0..=2 * seconds {
            clock::advance(start, start + Duration::from_millis(500 * half));
        }
        clock::now()
    }

    #[test]
    fn a_head_is_timed_from_its_first_byte_not_from_the_end_of_the_last_request() {
        at(0);
        let activity = Activity::new(false);
        assert_eq!(activity.overdue(at(200), &BOUNDS), None, "idle, not late");
        activity.read(1);
        assert_eq!(activity.overdue(at(209), &BOUNDS), None);
        activity.read(1); // a byte now and then does not help
        assert_eq!(activity.overdue(at(211), &BOUNDS), Some(End::HeadTimeout));
    }

    #[test]
    fn an_idle_connection_ends_after_its_idle_time_and_a_stuck_one_without_progress() {
        at(0);
        let activity = Activity::new(false);
        activity.read(10);
        activity.begin_request();
        assert_eq!(activity.overdue(at(59), &BOUNDS), None);
        assert_eq!(activity.overdue(at(61), &BOUNDS), Some(End::NoProgress));
        activity.wrote(5);
        activity.end_request();
        assert_eq!(activity.overdue(at(361), &BOUNDS), None);
        assert_eq!(activity.overdue(at(362), &BOUNDS), Some(End::Idle));
    }
}
