//! The receiving side of a caller's HTTP/1 connection: heads, bodies, and whether anybody is still there.
//!
//! Law: one reader at a time. While a body is under way its reader reads, in whatever task; between bodies, and when
//! the present one is whole, the connection's own task does, and so sees that the caller leaves.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Version;
use http_body::Frame;
use tokio::io::AsyncWrite as _;
use tokio::task::yield_now;
use tokio::time::{Sleep, timeout};

use crate::message::body::{Body, BodyError, Http1Body, Http1Error, Http1Source};
use crate::message::http1::body::{Decoder, Piece};
use crate::message::http1::head::{self, RequestHead};
use crate::message::http1::{Framing, HeadBounds, HeadError};
use crate::message::spare;
use crate::proxy::downstream::Downstream;
use crate::proxy::reply::Reason;
use crate::runtime::clock::{self, Tick};
use crate::runtime::drain::Phase;
use crate::transport::activity::{Activity, End};
use crate::transport::io::{HangUp, Io};
use crate::transport::scratch;

mod half_close;

use half_close::HalfClose;

/// Room for most whole requests.
const HEAD_READ: usize = scratch::ROOM;
/// What is read of the requests behind the present one; the rest waits in the kernel.
const AHEAD: usize = 16 << 10;
/// What is read of a body that nobody wants any more, so that its caller may read the answer.
const REST_BYTES: usize = 16 << 20;
/// How long it is read.
const REST_TIME: Duration = Duration::from_secs(2);
/// Pieces of it that are read before others have their turn.
const PIECES_A_TURN: usize = 256;
/// How long a caller may take to close after the last answer.
const FAREWELL: Duration = Duration::from_secs(1);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What comes next on the connection.
// It is taken apart where it is made: a box would be one more allocation for each request.
#[allow(clippy::large_enum_variant)]
pub(super) enum Next {
    Head(RequestHead),
    Refused(Reason),
    /// Nothing more.
    Over,
}

/// See the module.
pub(super) struct Wire {
    io: RefCell<Io>,
    activity: Rc<Activity>,
    read: RefCell<Reading>,
    /// Of the head that comes next, and of its trailers.
    bounds: Cell<HeadBounds>,
    /// The largest read of a body.
    room: usize,
    /// The caller has left before its request was whole, or before it had its answer.
    left: Cell<bool>,
    /// Interim answers that the socket did not take; they go before the answer.
    interim: RefCell<BytesMut>,
    half_close: RefCell<Option<HalfClose>>,
    /// The answer's head has been written.
    answering: Cell<bool>,
    /// What passes is no HTTP any more.
    tunnel: Cell<bool>,
    version: Cell<Version>,
    /// When the socket was last asked whether the caller is there.
    looked: Cell<Tick>,
    /// Whoever reads the body waits for bytes, and will be the first to see an end that cuts it short.
    reader_waits: Cell<bool>,
    /// The caller's end was seen; a reader that is about to come has so long. The kernel knows of it before the runtime.
    grace: RefCell<Option<Pin<Box<Sleep>>>>,
}

#[derive(Default)]
struct Reading {
    buf: BytesMut,
    scanned: usize,
    /// Bytes of empty lines before the head that comes.
    skipped: usize,
    decoder: Option<Decoder>,
    /// `100 Continue` is due when the body is asked for.
    leave_due: bool,
    eof: bool,
    broken: bool,
}

impl Wire {
    pub(super) fn new(downstream: &Downstream, io: Io) -> Wire {
        Wire {
            activity: io.activity().clone(),
            io: RefCell::new(io),
            read: RefCell::default(),
            bounds: Cell::new(downstream.head_bounds()),
            room: downstream.lane.read_buffer(),
            left: Cell::new(false),
            interim: RefCell::default(),
            half_close: RefCell::default(),
            answering: Cell::new(false),
            tunnel: Cell::new(false),
            version: Cell::new(Version::HTTP_11),
            looked: Cell::new(clock::now()),
            reader_waits: Cell::new(false),
            grace: RefCell::default(),
        }
    }

    /// Waits for the next head.
    pub(super) async fn next_head(&self, downstream: &Downstream) -> Next {
        self.activity.watch_peer(false);
        if !self.read.borrow().buf.is_empty() {
            if self.io.borrow().hang_up() == HangUp::Gone {
                return Next::Over; // nobody waits for what is read already
            }
            self.activity.begin_head();
        }
        poll_fn(|cx| {
            self.activity.remember_task(cx.waker());
            match self.activity.ended() {
                Some(End::HeadTimeout) => return Poll::Ready(Next::Refused(Reason::HeadTimeout)),
                Some(_) => return Poll::Ready(Next::Over),
                None => {}
            }
            self.poll_head(cx, downstream)
        })
        .await
    }

    fn poll_head(&self, cx: &mut Context<'_>, downstream: &Downstream) -> Poll<Next> {
        let mut read = self.read.borrow_mut();
        let read = &mut *read;
        if read.scanned == 0 {
            self.bounds.set(downstream.head_bounds());
        }
        loop {
            if read.skip_empty_lines() {
                self.activity.forget_head(); // it begins with its first line
            }
            if !read.buf.is_empty() {
                let bounds = self.bounds.get();
                let bounds = HeadBounds { bytes: bounds.bytes.saturating_sub(read.skipped), ..bounds };
                match head::take_request(&mut read.buf, bounds, &mut read.scanned) {
                    Ok(Some(head)) => {
                        read.skipped = 0;
                        return Poll::Ready(Next::Head(head));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        read.broken = true;
                        return Poll::Ready(Next::Refused(Reason::of_head(error)));
                    }
                }
            } else if read.skipped > self.bounds.get().bytes {
                read.broken = true;
                return Poll::Ready(Next::Refused(Reason::of_head(HeadError::TooLarge)));
            }
            if read.eof {
                if !read.buf.is_empty() {
                    downstream.listener.http.cx_protocol_error.increment(1);
                }
                return Poll::Ready(Next::Over);
            }
            match self.poll_fill(read, cx, HEAD_READ) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Over),
                Poll::Pending => {
                    // Read before this is asked: a request that has arrived by now is served.
                    if read.buf.is_empty() && downstream.phase() == Phase::Closing {
                        return Poll::Ready(Next::Over);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// The body of the request whose head was just taken.
    pub(super) fn begin_body(
        self: &Rc<Wire>,
        framing: Framing,
        expects_continue: bool,
        version: Version,
    ) -> Body {
        self.answering.set(false);
        self.version.set(version);
        if framing == Framing::Empty {
            return Body::Empty;
        }
        let mut read = self.read.borrow_mut();
        read.decoder = Some(Decoder::new(framing, self.bounds.get()));
        read.leave_due = expects_continue;
        drop(read);
        self.reader_waits.set(false);
        self.grace.take();
        if self.is_done() {
            return Body::Empty;
        }
        self.activity.watch_peer(true);
        Body::Http1(Http1Body::new(self.clone()))
    }

    /// The protocol was switched: all that comes is one body, to the caller's end.
    pub(super) fn begin_tunnel(self: &Rc<Wire>) -> Body {
        self.tunnel.set(true);
        let body = self.begin_body(Framing::UntilClose, false, Version::HTTP_11);
        self.answering.set(true);
        body
    }

    /// Reads what is there. While nothing is, an empty buffer is let go: who waits holds none.
    fn poll_fill(&self, read: &mut Reading, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut io = self.io.borrow_mut();
        let filled = if room <= scratch::ROOM {
            scratch::poll_fill(&mut io, cx, &mut read.buf)
        } else {
            io.poll_fill(cx, &mut read.buf, room)
        };
        if filled.is_pending() && read.buf.is_empty() {
            read.buf = BytesMut::new();
        }
        let n = ready!(filled)?;
        read.eof |= n == 0;
        Poll::Ready(Ok(n))
    }

    /// Sends an interim answer now, or with the answer where the socket does not take it.
    fn write_interim(&self, bytes: &[u8]) {
        let mut interim = self.interim.borrow_mut();
        let sent = if interim.is_empty() { self.io.borrow_mut().write_now(bytes) } else { Ok(0) };
        match sent {
            Ok(n) => interim.extend_from_slice(&bytes[n..]),
            Err(_) => self.left.set(true),
        }
    }

    /// The answer begins: what was kept to be sent before it.
    pub(super) fn begin_answer(&self) -> BytesMut {
        self.answering.set(true);
        let mut read = self.read.borrow_mut();
        read.leave_due = false;
        // What is read to its end shows the caller's leaving by itself.
        self.activity.watch_peer(!is_done(&read) || read.buf.len() >= AHEAD);
        drop(read);
        let interim = self.interim.take();
        if interim.is_empty() { spare::buffer(0) } else { interim }
    }

    /// Whether the connection can take another request after the present one, as far as the caller shows.
    pub(super) fn may_persist(&self) -> bool {
        let read = self.read.borrow();
        let sends_no_more = read.eof && read.buf.is_empty();
        !(read.leave_due || read.broken || sends_no_more)
    }

    /// Whether the caller was found to have left.
    pub(super) fn has_left(&self) -> bool {
        self.left.get()
    }

    /// Has the caller see a reset: for an answer whose end would look like a proper one.
    pub(super) fn reset_on_drop(&self) {
        self.left.set(true); // no farewell: it would end in good order
        self.io.borrow().reset_on_drop();
    }

    /// Writes from `bufs`; for the module `answer` alone.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    /// Reads the rest of a body that nobody wants, within bounds. Returns whether that was its proper end.
    pub(super) async fn read_out(&self) -> bool {
        if self.is_done() {
            return true;
        }
        let reading = async {
            let (mut bytes, mut pieces) = (0, 0_usize);
            loop {
                pieces += 1;
                if pieces.is_multiple_of(PIECES_A_TURN) {
                    yield_now().await; // a body in single bytes must not hold up others
                }
                match poll_fn(|cx| self.poll_piece(cx)).await {
                    Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                }
                if bytes > REST_BYTES {
                    return false;
                }
            }
        };
        // These bytes begin no head.
        self.activity.begin_request();
        let whole = timeout(REST_TIME, reading).await.unwrap_or(false);
        self.activity.end_request();
        whole
    }

    /// Closes. A connection that is closed with bytes unread is reset by the kernel, and the caller may lose the
    /// answer (RFC 9112 section 9.6): so what still comes is read for a moment.
    pub(super) async fn say_farewell(&self, downstream: &Downstream) {
        if self.expects_nothing() || self.left.get() || downstream.was_cut() {
            return;
        }
        let farewell = async {
            let shut = poll_fn(|cx| Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)).await;
            let mut bytes = 0;
            while shut.is_ok() && bytes < REST_BYTES && !downstream.was_cut() {
                let filled = poll_fn(|cx| {
                    self.activity.remember_task(cx.waker());
                    let mut read = self.read.borrow_mut();
                    read.buf.clear();
                    self.poll_fill(&mut read, cx, HEAD_READ)
                });
                match filled.await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => bytes += n,
                }
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Whether nothing more of the caller is on its way, as far as was read.
    fn expects_nothing(&self) -> bool {
        let read = self.read.borrow();
        read.eof || (is_done(&read) && read.buf.is_empty() && !read.broken)
    }

    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut read = self.read.borrow_mut();
        let read = &mut *read;
        if std::mem::take(&mut read.leave_due) {
            self.write_interim(CONTINUE);
        }
        loop {
            let Some(decoder) = &mut read.decoder else { return Poll::Ready(None) };
            if decoder.is_done() {
                return Poll::Ready(None);
            }
            let taken = decoder.take(&mut read.buf);
            if decoder.is_done() && self.answering.get() {
                self.activity.wake(); // from now on the connection's task reads
            }
            match taken {
                Ok(Some(Piece::Data(data))) => {
                    self.reader_waits.set(false);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Some(Piece::End(trailers))) => {
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.break_off(read, error)))),
            }
            let room =
                decoder.remaining().map_or(HEAD_READ, |rest| usize::try_from(rest).unwrap_or(usize::MAX));
            let room = room.clamp(HEAD_READ, self.room);
            let cut = match self.poll_fill(read, cx, room) {
                Poll::Ready(Ok(0)) if read.decoder.as_mut().is_some_and(Decoder::close) => {
                    return Poll::Ready(None); // a tunnel's
                }
                Poll::Ready(Ok(0)) => io::ErrorKind::UnexpectedEof,
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => error.kind(),
                Poll::Pending => {
                    self.reader_waits.set(true);
                    return Poll::Pending;
                }
            };
            self.left.set(true);
            self.activity.wake();
            return Poll::Ready(Some(Err(BodyError::Http1(Http1Error::Cut(cut)))));
        }
    }

    fn break_off(&self, read: &mut Reading, error: HeadError) -> BodyError {
        read.broken = true;
        self.activity.wake();
        BodyError::Http1(Http1Error::Malformed(error))
    }
}

impl Reading {
    /// RFC 9112 section 2.2: empty lines before a request mean nothing. Whether nothing but such lines is there.
    fn skip_empty_lines(&mut self) -> bool {
        let before = self.skipped;
        while self.buf.starts_with(b"\r\n") {
            self.buf.advance(2);
            self.skipped += 2;
            self.scanned = 0;
        }
        self.skipped > before && self.buf.is_empty()
    }
}

fn is_done(read: &Reading) -> bool {
    read.decoder.as_ref().is_none_or(Decoder::is_done)
}

impl Http1Source for Wire {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_piece(cx)
    }

    fn is_done(&self) -> bool {
        is_done(&self.read.borrow())
    }

    fn remaining(&self) -> Option<u64> {
        self.read.borrow().decoder.as_ref().map_or(Some(0), Decoder::remaining)
    }

    fn unread_bytes(&self) -> usize {
        self.read.borrow().buf.len()
    }

    fn abandon(&self) {
        // The connection's own task reads what is left, once the answer is out.
        self.reader_waits.set(false);
    }
}
