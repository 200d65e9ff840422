//! An answer on its way to an HTTP/1 caller: head and first bytes leave in one write.
//!
//! Law: the message ends as its head announced, or the connection ends before; no cut looks like an end.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body::Body as _;

use super::Asked;
use super::wire::Wire;
use crate::message::http1::Framing;
use crate::message::http1::encode::{self, Connection};
use crate::message::spare;
use crate::proxy::downstream::Downstream;
use crate::proxy::exchange::DownloadBody;

/// Pieces up to this size are copied behind what waits to be written, so that many of them leave together.
const SMALL: usize = 1 << 10;
/// Bytes that may wait to be written before no more is taken from the body.
const FULL: usize = 16 << 10;

/// Writes before others have their turn.
const WRITES_A_TURN: usize = 16;

/// How the answer ended.
#[derive(PartialEq, Eq)]
enum End {
    /// All of it was written.
    Whole,
    /// It cannot be finished.
    Cut,
}

/// Writes the answer. Returns whether the connection may go on.
pub(super) async fn send(
    downstream: &Rc<Downstream>,
    wire: &Rc<Wire>,
    response: Response<DownloadBody>,
    asked: Asked,
) -> bool {
    let (mut parts, body) = response.into_parts();
    let bodiless = is_bodiless(parts.status);
    let tunnel = bodiless && parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let empty = (bodiless && !tunnel) || asked.for_head;
    let framing = if tunnel { Framing::UntilClose } else { framing(&parts.headers, &body, asked, empty) };
    let ends_with_connection = framing == Framing::UntilClose && !empty;
    let leaves = takes_leave(&mut parts.headers);
    if tunnel {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let persists = asked.keep_alive && !leaves && !ends_with_connection && wire.may_persist();
    let mut front = wire.begin_answer();
    let connection = match (persists, asked.version) {
        _ if tunnel => Connection::Default,
        (false, _) => Connection::Close,
        (true, Version::HTTP_10) => Connection::KeepAlive,
        (true, _) => Connection::Default,
    };
    encode::response_head(&mut front, asked.version, parts.status, &parts.headers, framing, connection);
    spare::keep_header_map(mem::take(&mut parts.headers));
    if tunnel {
        body.exchange.upload.switch(wire.begin_tunnel());
    }
    let mut sending = Sending {
        body,
        left: match framing {
            Framing::Length(length) if !empty => Some(length),
            _ => None,
        },
        chunked: framing == Framing::Chunked,
        done: empty,
        broken: false,
        front,
        piece: Bytes::new(),
        back: BytesMut::new(),
        waits: false,
    };
    let end = poll_fn(|cx| sending.poll(cx, downstream, wire)).await;
    if end == End::Cut {
        sending.body.exchange.cut_short();
        if ends_with_connection {
            wire.reset_on_drop();
        }
    }
    spare::keep_buffer(mem::take(&mut sending.front));
    persists && end == End::Whole
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// What the head says of the body (RFC 9112 section 6.3). Without a body `UntilClose` says nothing, and `Empty` what
/// the upstream said of its length.
fn framing(headers: &HeaderMap, body: &DownloadBody, asked: Asked, empty: bool) -> Framing {
    match body.size_hint().exact() {
        _ if empty && headers.contains_key(CONTENT_LENGTH) => Framing::Empty,
        _ if empty => Framing::UntilClose,
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

/// Whether the answer says `connection: close`; the field is written afresh.
fn takes_leave(headers: &mut HeaderMap) -> bool {
    let close = headers.remove(CONNECTION);
    close.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

struct Sending {
    body: DownloadBody,
    /// Bytes that the head announced and that the body still owes.
    left: Option<u64>,
    chunked: bool,
    /// The body has ended.
    done: bool,
    /// The body has broken off.
    broken: bool,
    /// What is written first, then `piece`, then `back`.
    front: BytesMut,
    piece: Bytes,
    back: BytesMut,
    /// The caller took nothing when it was last tried.
    waits: bool,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>, downstream: &Downstream, wire: &Wire) -> Poll<End> {
        downstream.activity.remember_task(cx.waker());
        self.body.exchange.remember_task(cx.waker());
        for _ in 0..WRITES_A_TURN {
            if downstream.must_end() || self.body.exchange.is_given_up() {
                return Poll::Ready(End::Cut);
            }
            // What is there goes down first: to a caller that got no byte at all, the close would look like one of an
            // idle connection, upon which it may send its request again by itself (RFC 9112 section 9.3.1).
            self.broken = self.broken || self.take_more(cx).is_err();
            if self.is_written() {
                if self.broken {
                    return Poll::Ready(End::Cut);
                }
                if self.done {
                    return Poll::Ready(End::Whole);
                }
                return if wire.poll_left(cx) { Poll::Ready(End::Cut) } else { Poll::Pending };
            }
            match self.poll_write(cx, wire) {
                Poll::Ready(Ok(())) => {
                    self.body.exchange.touch();
                    if mem::take(&mut self.waits) {
                        self.body.exchange.set_unwritten(0);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(End::Cut),
                Poll::Pending => {
                    let unwritten = self.front.len() + self.piece.len() + self.back.len();
                    self.body.exchange.set_unwritten(unwritten);
                    self.waits = true;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_written(&self) -> bool {
        self.front.is_empty() && self.piece.is_empty() && self.back.is_empty()
    }

    /// Takes of the body what is there, up to what one write should carry.
    fn take_more(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        while !self.done && self.piece.is_empty() && self.back.is_empty() && self.front.len() < FULL {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Err(_))) => return Err(()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.put(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok())?,
                },
            }
        }
        Ok(())
    }

    fn put(&mut self, data: Bytes) -> Result<(), ()> {
        if data.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(())?;
            self.done = *left == 0;
        }
        if self.chunked {
            encode::chunk_start(&mut self.front, data.len());
        }
        if data.len() <= SMALL {
            self.front.extend_from_slice(&data);
            self.front.extend_from_slice(if self.chunked { encode::CHUNK_END } else { b"" });
        } else {
            self.piece = data;
            self.back.extend_from_slice(if self.chunked { encode::CHUNK_END } else { b"" });
        }
        if self.chunked && self.body.is_end_stream() {
            // Known already, so the end leaves with these bytes.
            self.done = true;
            encode::last_chunk(if self.piece.is_empty() { &mut self.front } else { &mut self.back }, None);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ()> {
        self.done = true;
        if self.chunked {
            encode::last_chunk(&mut self.front, trailers.as_ref());
        }
        if self.left.is_some_and(|left| left > 0) { Err(()) } else { Ok(()) }
    }

    /// Writes once.
    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<io::Result<()>> {
        let bufs = [IoSlice::new(&self.front), IoSlice::new(&self.piece), IoSlice::new(&self.back)];
        // One piece has a cheaper system call.
        let bufs = if self.piece.is_empty() && self.back.is_empty() { &bufs[..1] } else { &bufs };
        let mut n = ready!(wire.poll_write(cx, bufs))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if n == self.front.len() {
            self.front.clear(); // it keeps its room, which advancing would leave behind
            return Poll::Ready(Ok(()));
        }
        for part in [self.front.len(), self.piece.len(), self.back.len()].into_iter().enumerate() {
            let (index, len) = part;
            let taken = n.min(len);
            match index {
                0 => self.front.advance(taken),
                1 => self.piece.advance(taken),
                _ => self.back.advance(taken),
            }
            n -= taken;
        }
        Poll::Ready(Ok(()))
    }
}
