//! A client's end: requests out, answers in.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Response, Uri};

use super::connection::{Driver, Wire};
use super::core::{Core, Role, Settings, Shared};
use super::error::Error;
use super::handles::{Handle, RecvStream, SendStream};
use super::stream::{Head, Side, remember};
use super::tally::Tally;

/// A connection to a server, to be polled until it is over.
pub struct Connection<W>(Driver<W>);

/// By which streams are opened; when the last is gone, and no stream is open, the connection ends.
pub struct SendRequest(Shared);

/// Begins a connection over `wire`.
pub fn connect<W: Wire>(wire: W, settings: Settings) -> (SendRequest, Connection<W>) {
    let core = Rc::new(RefCell::new(Core::new(Role::Client, settings)));
    core.borrow_mut().senders = 1;
    (SendRequest(core.clone()), Connection(Driver::new(wire, core, false)))
}

impl<W: Wire + Unpin> Future for Connection<W> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().0.poll(cx)
    }
}

impl<W: Wire> Connection<W> {
    /// Whether there is room for a stream again after somebody was told that there is none: to be asked after each poll.
    pub fn has_room_again(&self) -> bool {
        let mut core = self.0.core().borrow_mut();
        core.turned_away && core.has_room()
    }

    /// Whether it would be over but for bytes that the server does not take. It ends by itself, and soon.
    #[inline]
    pub fn is_untaken(&self) -> bool {
        self.0.is_untaken()
    }
}

impl SendRequest {
    /// Streams that the server allows at once; `None`: its SETTINGS have not come.
    pub fn max_streams(&self) -> Option<u32> {
        self.0.borrow().peer.max_streams
    }

    /// Whether streams can be opened at all: neither has the connection ended, nor has the server said goodbye.
    pub fn is_open(&self) -> bool {
        self.0.borrow().refusal().is_none()
    }

    /// Whether the server allows one more stream just now, and takes what is sent to it.
    pub fn has_room(&self) -> bool {
        self.0.borrow_mut().has_room()
    }

    /// Counts the bytes of the stream that is opened next.
    pub fn tally(&self) -> Rc<Tally> {
        self.0.borrow_mut().tallies.get_or_insert_default().begin()
    }

    /// Opens a stream with a request's head; with `end` it has no body.
    ///
    /// # Errors
    /// Nothing was sent: the connection takes no further stream, or the request has no form on the wire.
    pub fn send_request(
        &self,
        method: &Method,
        uri: &Uri,
        fields: &HeaderMap,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream), Error> {
        let mut core = self.0.borrow_mut();
        let place = core.send_request(method, uri, fields, end)?;
        core.streams[place].handles = 2;
        drop(core);
        let answer = ResponseFuture(Handle::counted(self.0.clone(), place));
        Ok((answer, SendStream(Handle::counted(self.0.clone(), place))))
    }
}

impl Drop for SendRequest {
    fn drop(&mut self) {
        let mut core = self.0.borrow_mut();
        core.senders -= 1;
        core.wake();
    }
}

impl fmt::Debug for SendRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendRequest").field("open", &self.is_open()).finish()
    }
}

impl<W> fmt::Debug for Connection<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The head of the answer to come; interim ones are passed over. It is a handle on the stream even when that is there.
#[derive(Debug)]
pub struct ResponseFuture(Handle);

impl Future for ResponseFuture {
    type Output = Result<Response<RecvStream>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut core = self.0.core();
        let stream = &mut core.streams[self.0.place()];
        if let Head::Response(parts) = std::mem::take(&mut stream.head) {
            drop(core);
            let body = RecvStream(self.0.another());
            return Poll::Ready(Ok(Response::from_parts(*parts, body)));
        }
        match (stream.recv, stream.cut) {
            (Side::Head, _) => {
                remember(&mut stream.reader, cx);
                Poll::Pending
            }
            (_, Some(why)) => Poll::Ready(Err(why)),
            (_, None) => Poll::Ready(Err(Error::Unsendable)), // it was taken before
        }
    }
}
