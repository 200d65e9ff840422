//! Our own I/O type, under both HTTP engines and on both sides of the proxy.
//!
//! It counts bytes, gives back what protocol detection has read, and fails when the connection is ended from outside.
//!
//! Law: it holds nothing that was accepted for writing: that is with the kernel.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
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
}

impl Io {
    /// A connection whose record is `activity`.
    pub fn new(stream: Stream, activity: Rc<Activity>) -> Io {
        Io { stream, activity, read_ahead: Bytes::new() }
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

    /// Its own address; of a Unix-domain socket there is none.
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
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
            Some(End::HeadTimeout) if !self.activity.is_framed() => Ok(()),
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
            Err(error) => {
                self.activity.note_ended_by_peer();
                Err(error)
            }
        }
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
        ready!(this.stream.poll_read(cx, buf)).inspect_err(|_| this.activity.note_ended_by_peer())?;
        let n = buf.filled().len() - before;
        if n > 0 {
            this.activity.read(n);
        } else if buf.remaining() > 0 {
            this.activity.note_ended_by_peer();
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
        let n = match bufs {
            [only] => ready!(this.stream.poll_write(cx, only)), // a cheaper system call
            _ => ready!(this.stream.poll_write_vectored(cx, bufs)),
        };
        let n = n.inspect_err(|_| this.activity.note_ended_by_peer())?;
        this.activity.wrote(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_ended()?;
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::runtime::worker::local_runtime;

    fn pair() -> (Io, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        (Io::new(Stream::Unix(ours), Rc::new(Activity::new(false))), theirs)
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
