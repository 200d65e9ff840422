//! Our own I/O type, under both HTTP engines and on both sides of the proxy.
//!
//! It counts bytes, gives back what protocol detection has read, fails when the connection is ended from outside,
//! and (for HTTP/2) defers writing to the end of the tick: the frames of all streams that are ready in one turn
//! of the worker leave in one system call.
//!
//! Law: what was accepted for writing is either written or still in `out`; `poll_flush` says done only when `out` is empty.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::activity::{Activity, End};

/// Deferred bytes beyond which a write goes out at once: what a socket's buffer takes without waiting.
const OUT_FULL: usize = 64 << 10;
/// Capacity kept by a connection whose deferred bytes are out, so that an idle one costs little.
const OUT_KEPT: usize = 4 << 10;

/// Room that is left of a buffer and as good as a new one: what was read before keeps all of a buffer alive.
const ROOM_ENOUGH: usize = 32 << 10;

/// A connected stream socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// A Unix-domain stream.
    Unix(UnixStream),
}

/// How writes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// At once: one request at a time leaves nothing to gather.
    Direct,
    /// At the end of the tick.
    Deferred,
}

/// How far a peer has closed its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// Not at all, as far as it is known.
    None,
    /// Its sending side.
    SendsNoMore,
    /// Altogether: nothing that is sent reaches it.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    activity: Rc<Activity>,
    /// Read by protocol detection, not yet by the engine.
    read_ahead: Bytes,
    writes: Writes,
    out: Vec<u8>,
    /// `out[..written]` is on its way.
    written: usize,
    /// A flush was asked for; the next poll of this task performs it.
    flush_due: bool,
}

impl Io {
    /// A connection whose record is `activity`.
    pub fn new(stream: Stream, activity: Rc<Activity>) -> Io {
        Io {
            stream,
            activity,
            read_ahead: Bytes::new(),
            writes: Writes::Direct,
            out: Vec::new(),
            written: 0,
            flush_due: false,
        }
    }

    /// Chooses how writes leave, once the protocol is known.
    pub fn set_writes(&mut self, writes: Writes) {
        self.writes = writes;
    }

    /// Gives `bytes` back, to be read again before anything from the socket.
    pub fn unread(&mut self, bytes: Bytes) {
        debug_assert!(self.read_ahead.is_empty());
        self.read_ahead = bytes;
    }

    /// Whether a read would find something: bytes, the peer's end or an error.
    ///
    /// # Errors
    /// The connection was ended from outside.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_ended()?;
        if !self.read_ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// The record of this connection.
    pub fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }

    /// Fails when the connection was ended from outside. A late head of HTTP/1 has an answer to get first.
    fn check_ended(&self) -> io::Result<()> {
        match self.activity.ended() {
            None => Ok(()),
            Some(End::HeadTimeout) if self.writes == Writes::Direct => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was ended by a limit")),
        }
    }

    /// Reads what is there into the free room of `buf`, which is made at least `room` large; 0 is the peer's end.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if !self.read_ahead.is_empty() && buf.is_empty() {
            self.check_ended()?;
            let ahead = std::mem::take(&mut self.read_ahead);
            let n = ahead.len();
            *buf = ahead.into();
            return Poll::Ready(Ok(n));
        }
        // Asked first, so that a peer that is silent costs no buffer.
        ready!(self.poll_readable(cx))?;
        if buf.capacity() - buf.len() < room.min(ROOM_ENOUGH) {
            buf.reserve(room);
        }
        let read = std::pin::pin!(self.read_buf(buf));
        read.poll(cx)
    }

    /// What is known of the peer's going, whatever of its bytes is unread: asked without reading or writing.
    pub fn hang_up(&self) -> HangUp {
        let events = match &self.stream {
            Stream::Tcp(stream) => hang_up_events(stream),
            Stream::Unix(stream) => hang_up_events(stream),
        };
        if events.intersects(PollFlags::ERR | PollFlags::HUP) {
            HangUp::Gone
        } else if events.contains(PollFlags::RDHUP) {
            HangUp::SendsNoMore
        } else {
            HangUp::None
        }
    }

    /// Has the connection reset when it is dropped, so that its peer does not take the end for a proper one.
    pub fn reset_on_drop(&self) {
        // Where it fails the connection is gone already.
        let _ = self.stream.set_linger(Duration::ZERO);
    }

    /// Writes what goes without waiting.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_ended()?;
        match self.stream.try_write(bytes) {
            Ok(n) => {
                self.activity.wrote(n);
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes all of `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let n = ready!(self.stream.poll_write(cx, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.activity.wrote(n);
            self.written += n;
        }
        self.written = 0;
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
        self.flush_due = false;
        Poll::Ready(Ok(()))
    }

    fn poll_defer(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.out.len() >= OUT_FULL {
            ready!(self.poll_out(cx))?;
        }
        let n = bufs.iter().map(|buf| buf.len()).sum();
        self.out.reserve(n);
        bufs.iter().for_each(|buf| self.out.extend_from_slice(buf));
        Poll::Ready(Ok(n))
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_ended()?;
        if !this.read_ahead.is_empty() {
            let n = this.read_ahead.len().min(buf.remaining());
            buf.put_slice(&this.read_ahead[..n]);
            this.read_ahead.advance(n);
            if this.read_ahead.is_empty() {
                this.read_ahead = Bytes::new(); // the last slice of a buffer holds all of it
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(this.stream.poll_read(cx, buf))?;
        let n = buf.filled().len() - before;
        if n > 0 {
            this.activity.read(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_ended()?;
        match this.writes {
            Writes::Deferred => this.poll_defer(cx, bufs),
            Writes::Direct => {
                let n = match bufs {
                    [only] => ready!(this.stream.poll_write(cx, only))?, // a cheaper system call
                    _ => ready!(this.stream.poll_write_vectored(cx, bufs))?,
                };
                this.activity.wrote(n);
                Poll::Ready(Ok(n))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        this.check_ended()?;
        if !this.flush_due {
            // Behind every task that is ready now: what they have to send leaves with this.
            this.flush_due = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_ended()?;
        ready!(this.poll_out(cx))?;
        this.stream.poll_shutdown(cx)
    }
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn set_linger(&self, time: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(time)),
            Stream::Unix(stream) => socket2::SockRef::from(stream).set_linger(Some(time)),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }
}

fn hang_up_events(socket: &impl AsFd) -> PollFlags {
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    match rustix::event::poll(&mut asked, Some(&Timespec::default())) {
        Ok(_) => asked[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::runtime::worker::local_runtime;

    fn pair() -> (Io, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Io::new(Stream::Unix(ours), Rc::new(Activity::new(false))), theirs)
    }

    #[test]
    fn deferred_writes_leave_together_when_the_task_is_polled_again() {
        local_runtime().expect("a runtime").block_on(async {
            let (mut io, theirs) = pair();
            io.set_writes(Writes::Deferred);
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    for piece in [&b"one "[..], b"two "] {
                        assert!(Pin::new(&mut io).poll_write(cx, piece).is_ready());
                    }
                } else {
                    assert!(Pin::new(&mut io).poll_write(cx, b"three").is_ready());
                }
                let mut nothing = [0; 1];
                assert!(theirs.try_read(&mut nothing).is_err(), "nothing may leave before the tick ends");
                Pin::new(&mut io).poll_flush(cx)
            })
            .await
            .expect("flushed");
            assert_eq!(polls, 2);
            let mut theirs = theirs;
            let mut got = [0; 13];
            theirs.read_exact(&mut got).await.expect("all of it");
            assert_eq!(&got, b"one two three");
        });
    }

    #[test]
    fn what_detection_read_is_read_again_first_and_counted_once() {
        local_runtime().expect("a runtime").block_on(async {
            let (mut io, mut theirs) = pair();
            theirs.write_all(b"GET / rest").await.expect("written");
            let mut head = [0; 5];
            io.read_exact(&mut head).await.expect("read");
            io.unread(Bytes::copy_from_slice(&head));
            let mut all = [0; 10];
            io.read_exact(&mut all).await.expect("read");
            assert_eq!(&all, b"GET / rest");
            assert_eq!(io.activity().bytes_read(), 10);
        });
    }
}
