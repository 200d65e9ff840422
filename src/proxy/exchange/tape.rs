//! A request's body that several read: the attempts, one at a time, and the copies of the request, each at its own pace.
//!
//! Laws: every reader gets the same bytes from the first on, or an error, never a hole. Nobody waits for a copy: the
//! attempts push what they read and go on. What the slowest reader has still to get is held: while an attempt may begin
//! anew, within the budget of the retries, else within the copies' own. Where there is no room, first the retries are given
//! up, then the slowest copies.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use slab::Slab;
use tokio::sync::Notify;

use super::kept::Pieces;
use super::room::{Room, Whose};
use crate::message::body::BodyError;

/// See the module.
pub(in crate::proxy) struct Tape {
    room: Box<dyn Room>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    held: Pieces,
    /// Bytes in front of what is held.
    gone: usize,
    /// An attempt may begin once more from the first byte.
    replays: bool,
    readers: Slab<Reader>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// The request broke off, or was given up.
    Broken,
}

struct Reader {
    /// Bytes that it has.
    at: usize,
    waker: Option<Waker>,
    fate: Rc<Fate>,
}

/// What became of a copy's body. It was cut: it fell behind, or what it copies broke off. Or that has come whole.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Fate {
    cut: Cell<bool>,
    whole: Cell<bool>,
    told: Notify,
}

impl Fate {
    fn cut(&self) {
        self.cut.set(true);
        self.told.notify_waiters();
    }

    fn finish(&self) {
        self.whole.set(true);
        self.told.notify_waiters();
    }

    /// Waits until what it copies has come whole, whatever of it the copy has.
    pub(in crate::proxy) async fn until_whole(&self) {
        while !self.whole.get() {
            self.told.notified().await;
        }
    }

    /// Whether it was.
    pub(in crate::proxy) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Waits until it is; whoever writes the body may wait for room and not ask for more of it.
    pub(in crate::proxy) async fn until_cut(&self) {
        while !self.is_cut() {
            self.told.notified().await;
        }
    }
}

impl Tape {
    /// An empty one, from which an attempt may begin anew.
    pub(super) fn new(room: impl Room + 'static) -> Tape {
        Tape { room: Box::new(room), state: RefCell::new(State { replays: true, ..State::default() }) }
    }

    /// Another reader, from the first byte on, while that is held. `length` is that of the whole, where it is known; `fate`
    /// is told how it ends.
    pub(in crate::proxy) fn reader(self: &Rc<Tape>, length: Option<u64>, fate: Rc<Fate>) -> TapeBody {
        let mut state = self.state.borrow_mut();
        let late = state.gone > 0 || state.end == Some(End::Broken);
        if late {
            fate.cut();
        }
        if state.end == Some(End::Whole) {
            fate.finish();
        }
        let at = if late { usize::MAX } else { 0 };
        let key = state.readers.insert(Reader { at, waker: None, fate });
        drop(state);
        TapeBody { tape: self.clone(), key, left: length, trailers_sent: false }
    }

    /// Adds a piece that an attempt has read; whether an attempt that begins anew would get it.
    pub(super) fn push(&self, data: &Bytes) -> bool {
        let mut state = self.state.borrow_mut();
        while state.is_wanted() {
            let whose = state.whose();
            match self.room.take(whose, state.held.bytes(), data.len()) {
                Ok(()) => {
                    state.held.push_compact(data);
                    state.wake();
                    return state.replays;
                }
                Err(limit) => {
                    self.room.note(whose, limit);
                    match whose {
                        Whose::Attempts => self.end_replays(&mut state),
                        Whose::Copies => {
                            state.cut_slowest();
                            self.trim(&mut state);
                        }
                    }
                }
            }
        }
        state.gone += data.len();
        self.let_all_go(&mut state);
        false
    }

    /// The body has ended as it should.
    pub(super) fn finish(&self, trailers: Option<&HeaderMap>) {
        let mut state = self.state.borrow_mut();
        if state.end.is_none() {
            state.end = Some(End::Whole);
            state.trailers = trailers.cloned();
            state.readers.iter().for_each(|(_, reader)| reader.fate.finish());
            state.wake();
        }
    }

    /// Nothing more will come.
    pub(super) fn break_off(&self) {
        let mut state = self.state.borrow_mut();
        if state.end.is_some() {
            return;
        }
        state.end = Some(End::Broken);
        state.readers.iter().for_each(|(_, reader)| reader.fate.cut());
        self.let_all_go(&mut state);
        state.replays = false;
        state.wake();
    }

    /// No attempt will begin anew.
    pub(super) fn settle(&self) {
        self.end_replays(&mut self.state.borrow_mut());
    }

    /// What an attempt that began anew gets behind its first `offset` bytes.
    pub(super) fn from(&self, offset: usize) -> Option<Bytes> {
        let state = self.state.borrow();
        if state.replays { state.held.from(offset) } else { None }
    }

    /// Bytes for an attempt that begins anew.
    pub(super) fn kept_bytes(&self) -> usize {
        let state = self.state.borrow();
        if state.replays { state.held.bytes() } else { 0 }
    }

    /// Bytes that are held, for whomever.
    pub(super) fn held_bytes(&self) -> usize {
        self.state.borrow().held.bytes()
    }

    /// What is held from now on is held for the copies, in their room: the slowest go if there is not enough of it.
    fn end_replays(&self, state: &mut State) {
        if !std::mem::replace(&mut state.replays, false) {
            return;
        }
        let of_attempts = state.held.bytes();
        loop {
            state.drop_what_all_have();
            let rest = state.held.bytes();
            if rest == 0 {
                break;
            }
            let Err(limit) = self.room.take(Whose::Copies, 0, rest) else { break };
            self.room.note(Whose::Copies, limit);
            state.cut_slowest();
        }
        self.room.give(Whose::Attempts, of_attempts);
    }

    /// Lets go of what everybody has.
    fn trim(&self, state: &mut State) {
        if !state.replays {
            self.room.give(Whose::Copies, state.drop_what_all_have());
        }
    }

    fn let_all_go(&self, state: &mut State) {
        let gone = state.held.drop_front(usize::MAX);
        state.gone += gone;
        self.room.give(state.whose(), gone);
    }
}

impl State {
    /// Whether anybody has use for what passes.
    fn is_wanted(&self) -> bool {
        self.end.is_none() && (self.replays || self.readers.iter().any(|(_, reader)| reader.is_fine()))
    }

    /// For whose sake it holds what it holds.
    fn whose(&self) -> Whose {
        if self.replays { Whose::Attempts } else { Whose::Copies }
    }

    /// Returns how many bytes went.
    fn drop_what_all_have(&mut self) -> usize {
        let slowest = self.readers.iter().map(|(_, reader)| reader.at).min().unwrap_or(usize::MAX);
        let gone = self.held.drop_front(slowest.saturating_sub(self.gone));
        self.gone += gone;
        gone
    }

    fn cut_slowest(&mut self) {
        let fine = self.readers.iter_mut().map(|(_, reader)| reader).filter(|reader| reader.is_fine());
        if let Some(slowest) = fine.min_by_key(|reader| reader.at) {
            slowest.fate.cut();
            // It holds nothing any more.
            slowest.at = usize::MAX;
            if let Some(waker) = slowest.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake(&mut self) {
        self.readers.iter_mut().filter_map(|(_, reader)| reader.waker.take()).for_each(Waker::wake);
    }
}

impl Reader {
    fn is_fine(&self) -> bool {
        !self.fate.is_cut()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.room.give(state.whose(), state.held.bytes());
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("held", &self.held_bytes()).finish_non_exhaustive()
    }
}

/// The body of one copy.
#[derive(Debug)]
pub(in crate::proxy) struct TapeBody {
    tape: Rc<Tape>,
    key: usize,
    /// Bytes still to come, where the whole's length is known.
    left: Option<u64>,
    trailers_sent: bool,
}

impl http_body::Body for TapeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut state = this.tape.state.borrow_mut();
        let State { held, gone, readers, trailers, end, .. } = &mut *state;
        let Some(reader) = readers.get_mut(this.key).filter(|reader| reader.is_fine()) else {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        };
        if let Some(piece) = held.from(reader.at - *gone) {
            reader.at += piece.len();
            this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
            this.tape.trim(&mut state);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match (*end, trailers) {
            (Some(End::Whole), Some(trailers)) if !this.trailers_sent => {
                this.trailers_sent = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))))
            }
            (Some(End::Whole), _) => Poll::Ready(None),
            _ => {
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.tape.state.borrow();
        let Some(reader) = state.readers.get(self.key).filter(|reader| reader.is_fine()) else {
            return false;
        };
        let all = reader.at == state.gone + state.held.bytes();
        state.end == Some(End::Whole) && all && (self.trailers_sent || state.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for TapeBody {
    fn drop(&mut self) {
        let mut state = self.tape.state.borrow_mut();
        state.readers.try_remove(self.key);
        self.tape.trim(&mut state);
    }
}

#[cfg(test)]
mod tests;
