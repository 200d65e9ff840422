//! A message body as it arrives, from either engine: bytes are streamed, never gathered.
//!
//! Law: reading a frame releases its flow-control window, so a body that nobody reads stops its sender.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::http1::HeadError;
use super::http2::{self, RecvStream};

/// What goes out at once of a body of our own.
const PIECE: usize = 16 << 10;

/// A body from the network, or one of our own.
#[derive(Debug, Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Ours, and all here.
    Full(Bytes),
    /// From an HTTP/1 connection.
    Http1(Http1Body),
    /// From an HTTP/2 stream.
    Http2(RecvStream),
    /// Another one of which the first frame was read ahead.
    Led(Box<Led>),
    /// It comes once the protocol has been switched; whoever puts another in its place wakes the reader.
    Awaited,
}

/// See [`Body::Led`].
#[derive(Debug)]
pub struct Led {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

/// The body of an HTTP/1 message, read from its connection as it is asked for.
pub struct Http1Body(Rc<dyn Http1Source>);

/// The connection under an HTTP/1 body.
pub trait Http1Source {
    /// The next frame; `None` at its proper end.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;
    /// Whether all of it was handed out.
    fn is_done(&self) -> bool;
    /// Bytes still to come, where the head said how many.
    fn remaining(&self) -> Option<u64>;
    /// Bytes read from the socket and not yet handed out.
    fn unread_bytes(&self) -> usize;
    /// Nobody reads any further: the body was dropped.
    fn abandon(&self);
}

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// The HTTP/1 engine's reason.
    Http1(Http1Error),
    /// The HTTP/2 engine's reason.
    Http2(http2::Error),
    /// Weir gave the stream up: a budget, an idle limit, an attempt that was replaced.
    Abandoned,
}

/// Why an HTTP/1 body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http1Error {
    /// The peer closed or reset the connection.
    Cut(io::ErrorKind),
    /// Its framing cannot be read.
    Malformed(HeadError),
}

impl Http1Body {
    /// The body that `source` reads from now on.
    pub fn new(source: Rc<dyn Http1Source>) -> Http1Body {
        Http1Body(source)
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl fmt::Debug for Http1Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Body").field("remaining", &self.0.remaining()).finish_non_exhaustive()
    }
}

impl Body {
    /// The body of an HTTP/2 message.
    pub fn http2(stream: RecvStream) -> Body {
        if stream.is_end_stream() { Body::Empty } else { Body::Http2(stream) }
    }

    /// `rest`, of which `first` was read ahead.
    pub fn led(first: Frame<Bytes>, rest: Body) -> Body {
        Body::Led(Box::new(Led { first: Some(first), rest }))
    }

    /// Whether nothing more of it is to arrive, as far as the engine knows; what is awaited is not its sender's to send.
    pub fn has_arrived(&self) -> bool {
        match self {
            Body::Empty | Body::Full(_) | Body::Awaited => true,
            Body::Http1(Http1Body(source)) => {
                source.remaining().is_some_and(|left| left <= source.unread_bytes() as u64)
            }
            Body::Http2(stream) => stream.has_arrived(),
            Body::Led(led) => led.rest.has_arrived(),
        }
    }

    /// Bytes received and not yet read, where the engine tells.
    pub fn unread_bytes(&mut self) -> usize {
        match self {
            Body::Http2(stream) => stream.unread_bytes(),
            Body::Full(bytes) => bytes.len(),
            Body::Http1(body) => body.0.unread_bytes(),
            Body::Led(led) => led.first_bytes() + led.rest.unread_bytes(),
            Body::Empty | Body::Awaited => 0,
        }
    }
}

impl Led {
    fn first_bytes(&self) -> usize {
        self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                // Piece by piece: what a caller does not read must stay here, where it can be cut.
                let piece = bytes.split_to(bytes.len().min(PIECE));
                if bytes.is_empty() {
                    *this = Body::Empty;
                }
                Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
            }
            Body::Http1(body) => body.0.poll_frame(cx),
            Body::Awaited => Poll::Pending,
            Body::Http2(stream) => {
                stream.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Http2)))
            }
            Body::Led(led) => match led.first.take() {
                Some(first) => Poll::Ready(Some(Ok(first))),
                None => Pin::new(&mut led.rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Http1(body) => body.0.is_done(),
            Body::Awaited => false,
            Body::Http2(stream) => stream.is_end_stream(),
            Body::Led(led) => led.first.is_none() && led.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Awaited => SizeHint::default(),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Http1(body) => body.0.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Body::Http2(stream) => stream.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Body::Led(led) => match led.rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(rest + led.first_bytes() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Http1(Http1Error::Cut(kind)) => write!(f, "the connection ended: {kind}"),
            BodyError::Http1(Http1Error::Malformed(error)) => {
                write!(f, "its framing cannot be read: {error:?}")
            }
            BodyError::Http2(error) => error.fmt(f),
            BodyError::Abandoned => f.write_str("the stream was given up"),
        }
    }
}

impl std::error::Error for BodyError {}
