//! One HTTP/1 connection to an upstream: its socket, what was read of the answer, and whether it may serve again.
//!
//! Law: no buffer is held while nothing can be read; what was read and not yet handed out is bounded by one read.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{spawn_local, yield_now};

use super::SendError;
use crate::message::body::{BodyError, Http1Error, Http1Source};
use crate::message::http1::body::{Decoder, Piece};
use crate::message::http1::head::{self, ResponseHead};
use crate::message::http1::{Framing, HeadBounds};
use crate::runtime::clock::Tick;
use crate::transport::activity::Activity;
use crate::transport::io::Io;
use crate::transport::scratch;
use crate::upstream::pool::Bounds;

/// What the head of an answer, and its trailers, may cost.
const BOUNDS: HeadBounds = HeadBounds { bytes: 60 << 10, count: 100 };
/// What is read at once where a head is due: nearly every answer is whole with it.
const HEAD_ROOM: usize = scratch::ROOM;
/// The least that is read at once: less would cost a system call for a few bytes.
const LEAST_ROOM: usize = 4 << 10;
/// Interim answers (1xx) before the answer itself.
const MOST_INTERIM: u32 = 16;

/// See the module.
pub(super) struct Connection {
    /// Gone once the connection was closed.
    live: RefCell<Option<Live>>,
    reading: RefCell<Reading>,
    /// The request was written whole.
    sent: Cell<bool>,
    /// The answer's reader, to be told when the connection is closed under it.
    reader: RefCell<Option<Waker>>,
    /// What is read at once of a long body.
    most_room: usize,
    /// What bounds its use, where anything does.
    bounds: Option<Box<Bounds>>,
}

struct Live {
    io: Io,
    /// Its places in the counts.
    _counts: Box<dyn Any>,
}

/// The answer as far as it was read.
struct Reading {
    buf: BytesMut,
    scanned: usize,
    interim: u32,
    body: Decoder,
    /// The answer's head is here.
    begun: bool,
    /// The end was handed out.
    ended: bool,
    /// Why there will be no end, and whether that is to be told by now.
    fault: Option<(Http1Error, Rc<Cell<bool>>)>,
    /// Another request may follow this answer.
    keeps: bool,
    /// What the next read of a body may bring, by what the last ones did.
    room: usize,
    /// The request asks for another protocol.
    switches: bool,
}

impl Connection {
    /// A connection that was just made; `counts` are held until it is closed.
    pub(super) fn new(io: Io, counts: impl Any, most_room: usize, bounds: Option<Box<Bounds>>) -> Connection {
        Connection {
            live: RefCell::new(Some(Live { io, _counts: Box::new(counts) })),
            reading: RefCell::new(Reading::new()),
            sent: Cell::new(false),
            reader: RefCell::default(),
            most_room,
            bounds,
        }
    }

    /// Counts a request that is over. Whether it was the last that it may take.
    pub(super) fn is_spent(&self) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.count())
    }

    /// Whether it has lived for as long as it may.
    pub(super) fn is_old(&self, now: Tick) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.is_old(now))
    }

    /// Its own address, while it is open.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.live.borrow().as_ref()?.io.local()
    }

    /// What it has been doing, while it is open.
    pub(super) fn activity(&self) -> Option<Rc<Activity>> {
        Some(self.live.borrow().as_ref()?.io.activity().clone())
    }

    /// Whether nothing came while it was idle: a byte would be read as the next request's answer, and an end or an
    /// error is one. Costs no system call unless the kernel told of something.
    pub(super) fn is_quiet(&self) -> bool {
        let mut live = self.live.borrow_mut();
        let Some(live) = &mut *live else { return false };
        let mut nobody = Context::from_waker(Waker::noop());
        if live.io.poll_readable(&mut nobody).is_pending() {
            return true;
        }
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        Pin::new(&mut live.io).poll_read(&mut nobody, &mut byte).is_pending()
    }

    /// A request begins. `switches`: it asks for another protocol.
    pub(super) fn begin(&self, switches: bool) {
        self.sent.set(false);
        self.reading.replace(Reading { switches, ..Reading::new() });
    }

    /// The request was written whole.
    pub(super) fn note_sent(&self) {
        self.sent.set(true);
    }

    /// Whether it may serve another request; then it holds no buffer any more.
    pub(super) fn rest(&self) -> bool {
        let mut reading = self.reading.borrow_mut();
        let whole = self.sent.get() && reading.begun && reading.body.is_done();
        let fit = whole && reading.keeps && reading.buf.is_empty() && self.live.borrow().is_some();
        if fit {
            reading.buf = BytesMut::new();
            self.reader.take();
        }
        fit
    }

    /// Closes it, whatever is on its way.
    pub(super) fn close(&self) {
        self.live.take();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Has whoever waits for more of the answer woken when the connection is closed under it.
    fn remember_reader(&self, waker: &Waker) {
        // Only the rest of the request can close it meanwhile.
        if self.sent.get() {
            return;
        }
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(known) => known.clone_from(waker),
            None => *reader = Some(waker.clone()),
        }
    }

    /// Writes what goes of `pieces`.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut live = self.live.borrow_mut();
        let Some(live) = &mut *live else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        match ready!(Pin::new(&mut live.io).poll_write_vectored(cx, pieces)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
    }

    /// Nothing more is written: the upstream sees an end, and may go on by itself.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.live.borrow_mut() {
            Some(live) => Pin::new(&mut live.io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads once, where there is room for about `room` bytes; 0 is the upstream's end.
    fn poll_fill(&self, cx: &mut Context<'_>, buf: &mut BytesMut, room: usize) -> Poll<io::Result<usize>> {
        let mut live = self.live.borrow_mut();
        let Some(live) = &mut *live else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if room <= scratch::ROOM {
            scratch::poll_fill(&mut live.io, cx, buf)
        } else {
            live.io.poll_fill(cx, buf, room)
        }
    }

    /// The head of the answer. Interim answers are read over (RFC 9110 section 15.2); this is the place from which
    /// they could be passed on.
    pub(super) fn poll_head(
        &self,
        cx: &mut Context<'_>,
        to_head: bool,
    ) -> Poll<Result<ResponseHead, SendError>> {
        let reading = &mut *self.reading.borrow_mut();
        loop {
            match reading.take_head(to_head) {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(error) => return Poll::Ready(Err(error)),
            }
            if !matches!(ready!(self.poll_fill(cx, &mut reading.buf, HEAD_ROOM)), Ok(1..)) {
                return Poll::Ready(Err(SendError::Closed));
            }
        }
    }

    /// The answer cannot be read to its end. That is told behind every task that is ready now, so that what came of it
    /// goes on its way: the caller then sees an answer that was cut, not one that never began.
    fn fail(
        &self,
        reading: &mut Reading,
        cx: &Context<'_>,
        fault: Http1Error,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.live.take();
        let due = Rc::new(Cell::new(false));
        reading.fault = Some((fault, due.clone()));
        let reader = cx.waker().clone();
        spawn_local(async move {
            yield_now().await;
            due.set(true);
            reader.wake();
        });
        Poll::Pending
    }

    /// The answer's head has come: what follows is its body. Whether there is one.
    pub(super) fn begin_body(&self, head: &ResponseHead) -> bool {
        let reading = &mut *self.reading.borrow_mut();
        reading.begun = true;
        reading.body = Decoder::new(head.framing, BOUNDS);
        reading.keeps = head.keep_alive && head.framing != Framing::UntilClose;
        // A length that is known is believed; otherwise what comes decides.
        reading.room = if matches!(head.framing, Framing::Length(_)) { self.most_room } else { HEAD_ROOM };
        !reading.body.is_done()
    }
}

impl Http1Source for Connection {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let reading = &mut *self.reading.borrow_mut();
        if let Some((fault, due)) = &reading.fault {
            return if due.get() { Poll::Ready(Some(Err(BodyError::Http1(*fault)))) } else { Poll::Pending };
        }
        loop {
            match reading.take_frame() {
                Ok(None) => {}
                Ok(Some(Taken::Frame(frame))) => return Poll::Ready(Some(Ok(frame))),
                Ok(Some(Taken::End)) => return Poll::Ready(None),
                Err(fault) => return self.fail(reading, cx, fault),
            }
            let room = reading.next_room();
            let Poll::Ready(read) = self.poll_fill(cx, &mut reading.buf, room) else {
                self.remember_reader(cx.waker());
                return Poll::Pending;
            };
            let cut = match read {
                Ok(0) if reading.body.close() => continue,
                Ok(0) => io::ErrorKind::UnexpectedEof,
                Ok(read) => {
                    reading.note_read(read, room, self.most_room);
                    continue;
                }
                Err(error) => error.kind(),
            };
            return self.fail(reading, cx, Http1Error::Cut(cut));
        }
    }

    fn is_done(&self) -> bool {
        let reading = self.reading.borrow();
        reading.ended || reading.body.is_done()
    }

    fn remaining(&self) -> Option<u64> {
        self.reading.borrow().body.remaining()
    }

    fn unread_bytes(&self) -> usize {
        self.reading.borrow().buf.len()
    }

    fn abandon(&self) {
        if !self.is_done() {
            self.close();
        }
    }
}

/// What was taken of a body.
enum Taken {
    Frame(Frame<Bytes>),
    End,
}

impl Reading {
    fn new() -> Reading {
        Reading {
            buf: BytesMut::new(),
            scanned: 0,
            interim: 0,
            body: Decoder::new(Framing::Empty, BOUNDS),
            begun: false,
            ended: false,
            fault: None,
            keeps: false,
            room: HEAD_ROOM,
            switches: false,
        }
    }

    fn take_head(&mut self, to_head: bool) -> Result<Option<ResponseHead>, SendError> {
        while !self.buf.is_empty() {
            let taken = head::take_response(&mut self.buf, BOUNDS, &mut self.scanned, to_head);
            let Some(head) = taken.map_err(|_| SendError::Unreadable)? else {
                return if self.may_be_a_head() { Ok(None) } else { Err(SendError::Unreadable) };
            };
            if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
                if self.switches {
                    return Ok(Some(head));
                }
                return Err(SendError::Unreadable); // RFC 9110 section 15.2.2: nobody asked for it
            }
            if !head.parts.status.is_informational() {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(SendError::Unreadable);
            }
        }
        Ok(None)
    }

    /// Whether what is there of the head begins as one: who speaks TLS or HTTP/2 may never send a line's end.
    fn may_be_a_head(&self) -> bool {
        self.buf.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
    }

    fn take_frame(&mut self) -> Result<Option<Taken>, Http1Error> {
        if self.ended {
            return Ok(Some(Taken::End));
        }
        Ok(match self.body.take(&mut self.buf).map_err(Http1Error::Malformed)? {
            None => None,
            Some(Piece::Data(data)) => Some(Taken::Frame(Frame::data(data))),
            Some(Piece::End(trailers)) => {
                self.ended = true;
                Some(trailers.map_or(Taken::End, |trailers| Taken::Frame(Frame::trailers(trailers))))
            }
        })
    }

    /// What the next read may bring.
    fn next_room(&self) -> usize {
        let rest = self.body.remaining().map_or(self.room, |rest| usize::try_from(rest).unwrap_or(self.room));
        rest.clamp(LEAST_ROOM, self.room)
    }

    /// The next read is larger if this one was filled, smaller if it brought little: a piece keeps all of the buffer
    /// that it stands in.
    fn note_read(&mut self, read: usize, room: usize, most: usize) {
        let filled =
            if room <= scratch::ROOM { read == scratch::ROOM } else { self.buf.len() == self.buf.capacity() };
        if filled {
            self.room = (self.room * 2).min(most);
        } else if read < room / 8 {
            self.room = (self.room / 2).max(HEAD_ROOM);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.live.borrow().is_some();
        f.debug_struct("Connection").field("open", &open).field("sent", &self.sent).finish_non_exhaustive()
    }
}
