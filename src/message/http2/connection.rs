//! The connection's task: it reads, lets the core take what was read, and writes what the core has to say.
//!
//! Laws: what the tasks of a tick have to send leaves in one system call. A buffer to read into is there only while bytes
//! are on their way. While the peer does not take the answers to its frames, its frames are not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::core::{Core, Role, Shared};
use super::error::{By, Error};
use super::frame::{PREFACE, Reason};
use super::out::SLICES;
use super::receive::FRAMES_A_TURN;

/// Room for what a connection reads at first, and once it brings more than that.
const ROOM: usize = 16 << 10;
const ROOM_FOR_MUCH: usize = 64 << 10;
/// Bytes of one turn of the connection's task: what was read is passed on while it is still in the caches, and others
/// have their turn.
const BYTES_A_TURN: usize = 128 << 10;

/// What is below: a socket.
pub trait Wire {
    /// Reads what is there into the free room of `buf`, which is made about `room` large; 0 is the peer's end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut, room: usize)
    -> Poll<io::Result<usize>>;
    /// Writes the beginning of what the slices hold.
    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    /// Ends the sending side.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// What the peer has not taken is not kept for it when this goes.
    fn forget_unsent(&mut self) {}
}

/// How long, at the end, a peer that says nothing more has to take what was written; how long one that goes on has; and
/// what it may say meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MOST: Duration = Duration::from_secs(30);
const LINGER_BYTES: usize = 1 << 20;

/// How far the connection is.
#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// What is to be written leaves, then the sending side ends.
    Closing(Result<(), Error>),
    /// The peer takes what was written, and what it still sends is dropped: to close before would be to reset.
    Lingering(Result<(), Error>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Driver<W> {
    wire: W,
    core: Shared,
    bytes: BytesMut,
    room: usize,
    /// The client's preface is still to come.
    awaits_preface: bool,
    state: State,
    /// Nothing more can be written; what the peer has said before is still read.
    deaf: Option<io::ErrorKind>,
    /// The peer has ended its sending side, or is gone.
    peer_ended: bool,
    /// Bytes that were dropped at the end, when it is over in any case, and how long no more have come.
    lingered: usize,
    lingers_until: Option<Instant>,
    /// How long the peer has said nothing more; of a server, how long it has taken nothing of what is left for it.
    silence: Option<Pin<Box<Sleep>>>,
    /// Bytes have left since that was looked at.
    moved: bool,
}

impl<W: Wire> Driver<W> {
    pub(super) fn new(wire: W, core: Shared, awaits_preface: bool) -> Driver<W> {
        let bytes = BytesMut::new();
        Driver {
            wire,
            core,
            bytes,
            room: ROOM,
            awaits_preface,
            state: State::Open,
            deaf: None,
            peer_ended: false,
            lingered: 0,
            lingers_until: None,
            silence: None,
            moved: false,
        }
    }

    /// A server's connection that is done, but for bytes that the server does not take.
    pub(super) fn is_untaken(&self) -> bool {
        self.silence.is_some()
    }

    pub(super) fn core(&self) -> &Shared {
        &self.core
    }

    /// Goes on as far as it can; ready when the connection is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.core.borrow_mut().begin_turn(cx);
        let polled = self.poll_turn(cx);
        let mut core = self.core.borrow_mut();
        match polled {
            Poll::Pending => core.end_turn(),
            Poll::Ready(_) if core.error.is_none() => core.end(Error::Io(io::ErrorKind::BrokenPipe)),
            Poll::Ready(_) => {}
        }
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let State::Open = self.state {
            // What others have put there in the tick before; and in its way the room for more.
            let stuck = self.poll_write(cx).is_pending();
            let stuck = self.poll_read(cx, stuck);
            if matches!(self.state, State::Open) {
                let mut core = self.core.borrow_mut();
                let is_done = core.is_done();
                if is_done && core.out.is_empty() {
                    self.state = State::Closing(Ok(()));
                    core.fail(Error::GoAway(Reason::NO_ERROR, By::User));
                } else {
                    // The answers to what was read leave behind what the tasks that it woke have to say.
                    if !stuck && !core.out.is_empty() {
                        cx.waker().wake_by_ref();
                    }
                    drop(core);
                    if !is_done || self.poll_untaken(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.lost(Poll::Ready(Err(io::ErrorKind::TimedOut.into())));
                }
            }
        }
        self.poll_close(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let State::Closing(result) = self.state {
            if self.poll_write(cx).is_pending() || self.wire.poll_shutdown(cx).is_pending() {
                return self.poll_untaken(cx).map(|()| result);
            }
            // A client has had all that it asked for.
            let is_client = self.core.borrow().role == Role::Client;
            if self.peer_ended || self.deaf.is_some() || is_client {
                return Poll::Ready(result);
            }
            self.state = State::Lingering(result);
        }
        match self.state {
            State::Lingering(result) => self.poll_linger(cx).map(|()| result),
            State::Open | State::Closing(_) => Poll::Pending,
        }
    }

    /// Whether a server has taken nothing for too long of what is left for it, of which nobody waits for an answer. Nobody
    /// else looks at such a connection; one to a caller is ended from outside.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = self.core.borrow();
        if core.role == Role::Server {
            return Poll::Pending;
        }
        let patience = core.settings.untaken;
        drop(core);
        if std::mem::take(&mut self.moved) {
            self.silence = None;
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(patience)));
        let over = silence.as_mut().poll(cx);
        if over.is_ready() {
            self.wire.forget_unsent();
        }
        over
    }

    /// Reads and drops until the peer ends, or is silent for too long, or says too much.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.bytes = BytesMut::new();
            match self.wire.poll_fill(cx, &mut self.bytes, ROOM) {
                Poll::Ready(Ok(n)) if n > 0 && self.lingered + n <= LINGER_BYTES => {
                    self.lingered += n;
                    self.silence = None;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let most = *self.lingers_until.get_or_insert_with(|| Instant::now() + LINGER_MOST);
        let until = || most.min(Instant::now() + LINGER);
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep_until(until())));
        silence.as_mut().poll(cx)
    }

    /// Writes all that is to be written; pending while the socket takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let polled = loop {
            if self.deaf.is_some() {
                core.out.clear();
            }
            if core.out.is_empty() {
                core.answers = 0;
                break Poll::Ready(());
            }
            let written = match core.out.single() {
                Some(bytes) => self.wire.poll_write(cx, &[IoSlice::new(bytes)]),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = core.out.slices(&mut slices);
                    self.wire.poll_write(cx, &slices[..count])
                }
            };
            match written {
                Poll::Ready(Ok(0)) => self.deaf = Some(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(n)) => {
                    self.moved = true;
                    core.out.advance(n);
                }
                Poll::Ready(Err(error)) => self.deaf = Some(error.kind()),
                Poll::Pending => break Poll::Pending,
            }
        };
        core.grant();
        polled
    }

    /// Reads and takes what is there; whether writing is stuck.
    fn poll_read(&mut self, cx: &mut Context<'_>, mut stuck: bool) -> bool {
        let mut read = 0;
        loop {
            if self.core.borrow().is_not_heard() {
                stuck = self.poll_write(cx).is_pending();
                if stuck {
                    return stuck;
                }
            }
            if !self.bytes.is_empty() && !self.take(cx) {
                return stuck;
            }
            if read >= BYTES_A_TURN {
                cx.waker().wake_by_ref();
                return stuck;
            }
            match self.wire.poll_fill(cx, &mut self.bytes, self.room) {
                Poll::Pending => {
                    if self.bytes.is_empty() {
                        self.bytes = BytesMut::new();
                    }
                    return stuck;
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    read += n;
                    self.room = if n >= ROOM { ROOM_FOR_MUCH } else { ROOM };
                }
                lost => {
                    self.lost(lost);
                    return stuck;
                }
            }
        }
    }

    /// Lets the core take what was read; whether there may be more to read in this turn.
    fn take(&mut self, cx: &Context<'_>) -> bool {
        if self.awaits_preface {
            let n = self.bytes.len().min(PREFACE.len());
            if self.bytes[..n] != PREFACE[..n] {
                self.failed(Error::GoAway(Reason::PROTOCOL_ERROR, By::Engine));
                return false;
            }
            if n < PREFACE.len() {
                return true;
            }
            self.awaits_preface = false;
            bytes::Buf::advance(&mut self.bytes, n);
        }
        let mut core = self.core.borrow_mut();
        let taken = core.receive(&mut self.bytes);
        let over = core.frames >= FRAMES_A_TURN;
        drop(core);
        match taken {
            Err(why) => self.failed(why),
            Ok(()) if over => cx.waker().wake_by_ref(),
            Ok(()) => return true,
        }
        false
    }

    fn failed(&mut self, why: Error) {
        self.core.borrow_mut().fail(why);
        self.state = State::Closing(Err(why));
    }

    /// The peer has left, in order or not.
    fn lost(&mut self, how: Poll<io::Result<usize>>) {
        let (kind, result) = match how {
            Poll::Ready(Err(error)) => (error.kind(), Err(Error::Io(error.kind()))),
            _ => match self.deaf {
                Some(kind) => (kind, Err(Error::Io(kind))),
                None => (io::ErrorKind::BrokenPipe, Ok(())),
            },
        };
        let mut core: std::cell::RefMut<'_, Core> = self.core.borrow_mut();
        core.end(Error::Io(kind));
        if result.is_err() {
            core.out.clear();
        }
        self.state = State::Closing(result);
        self.peer_ended = true;
    }
}

impl<W> Drop for Driver<W> {
    fn drop(&mut self) {
        let mut core = self.core.borrow_mut();
        if core.error.is_none() {
            core.end(Error::Io(io::ErrorKind::BrokenPipe));
        }
        core.out.clear();
    }
}
