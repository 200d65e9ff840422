//! A server's end: requests in, answers out.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::request::Parts;

use super::connection::{Driver, Wire};
use super::core::{Core, Role, Settings};
use super::error::Error;
use super::handles::{Handle, RecvStream, SendResponse};
use super::stream::Head;

/// A connection from a client.
pub struct Connection<W>(Driver<W>);

impl<W: Wire> Connection<W> {
    /// Begins with the client's preface, which is to be read.
    pub fn new(wire: W, settings: Settings) -> Connection<W> {
        let core = Rc::new(RefCell::new(Core::new(Role::Server, settings)));
        Connection(Driver::new(wire, core, true))
    }

    /// Goes on as far as it can; ready when the connection is over. What it has accepted is to be taken by
    /// [`Connection::accept`] then and there.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll(cx)
    }

    /// The next request that has arrived: its head, its body, and what takes its answer.
    pub fn accept(&mut self) -> Option<(Box<Parts>, RecvStream, SendResponse)> {
        let shared = self.0.core();
        let mut core = shared.borrow_mut();
        while let Some(place) = core.to_accept.pop_front() {
            let stream = &mut core.streams[place];
            stream.to_accept = false;
            let Head::Request(parts) = std::mem::take(&mut stream.head) else { continue };
            if stream.cut.is_some() {
                core.unseen_resets = core.unseen_resets.saturating_sub(1);
                core.drop_handle(place);
                continue;
            }
            stream.handles = 2;
            let respond = SendResponse(Handle::counted(shared.clone(), place));
            let body = RecvStream(Handle::counted(shared.clone(), place));
            return Some((parts, body, respond));
        }
        None
    }

    /// Says that no further stream is taken; what was sent before the client knows is served, then the connection ends.
    pub fn graceful_shutdown(&mut self) {
        self.0.core().borrow_mut().leave();
    }

    /// The number of the head that is being read, if the beginning of one has arrived and its end has not.
    pub fn unfinished_head(&self) -> Option<u64> {
        let core = self.0.core().borrow();
        (core.block.is_some() || core.half_a_head).then_some(core.heads)
    }
}

impl<W> fmt::Debug for Connection<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
