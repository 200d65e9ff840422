//! A small HTTP/1.1 server for pages that are answered from memory: admin, metrics, webhooks.
//!
//! Law: every connection is bounded in count, size and time, and none of them may stop the thread it shares, nor keep
//! others out by being there. It must not know what a page says.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::telemetry::Counter;

/// Connections open at once; of more, the one whose last request is longest ago gives way.
const MAX_CONNECTIONS: usize = 64;
/// A request head, from when it is awaited to its end: an idle connection is closed after this, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// A request body, to its end.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request body.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Life of a connection, after which it is asked to end: a reader that stands still holds no place for good.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Time that a connection has to end when asked to, which lets an answer that is on its way arrive.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Pause when the process has no descriptor for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// Bytes from which on what was written of a page goes out.
const ROOM: usize = 32 << 10;

/// What a handler gives back.
pub type Answer = Response<AnswerBody>;

/// The body of an answer.
pub enum AnswerBody {
    /// As a whole.
    Whole(Full<Bytes>),
    /// Piece by piece, each made when the one before has gone: so a large page takes little memory. At an empty one
    /// everything else on the thread has its turn.
    Pieces(Box<dyn Iterator<Item = Bytes>>),
    /// Piece by piece, as a thread of its own writes it: see [`AnswerBody::written`].
    Written(mpsc::Receiver<Bytes>),
}

impl AnswerBody {
    /// A page that `write` writes, on a thread of its own, which waits for its reader: so a value that can only be written
    /// as a whole takes little memory, and nobody's time here. The thread ends when nobody reads on.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn written(
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static,
    ) -> io::Result<AnswerBody> {
        let (pieces, body) = mpsc::channel(1);
        thread::Builder::new().name("page".to_owned()).spawn(move || {
            let mut room = Room { written: Vec::with_capacity(ROOM), pieces };
            // It fails when the reader has left, who wants no rest.
            let _ = write(&mut room).and_then(|()| room.send());
        })?;
        Ok(AnswerBody::Written(body))
    }
}

/// What was written and has not gone out.
struct Room {
    written: Vec<u8>,
    pieces: mpsc::Sender<Bytes>,
}

impl Room {
    fn send(&mut self) -> io::Result<()> {
        let piece = mem::replace(&mut self.written, Vec::with_capacity(ROOM));
        self.pieces.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        if self.written.len() >= ROOM {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Into<Bytes>> From<T> for AnswerBody {
    fn from(whole: T) -> AnswerBody {
        AnswerBody::Whole(Full::new(whole.into()))
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerBody::Whole(whole) => whole.fmt(f),
            AnswerBody::Pieces(_) => f.write_str("Pieces"),
            AnswerBody::Written(_) => f.write_str("Written"),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            AnswerBody::Whole(whole) => Pin::new(whole).poll_frame(cx),
            AnswerBody::Pieces(pieces) => match pieces.next() {
                Some(piece) if piece.is_empty() => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
            },
            AnswerBody::Written(body) => {
                body.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(whole) => whole.is_end_stream(),
            AnswerBody::Pieces(_) | AnswerBody::Written(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(whole) => whole.size_hint(),
            AnswerBody::Pieces(_) | AnswerBody::Written(_) => SizeHint::default(),
        }
    }
}

/// Whoever knows the pages. It answers at once: it runs on the thread that everything else here shares.
pub trait Handler {
    /// The answer to `request`, whose body is here in full.
    fn answer(&self, request: Request<Bytes>) -> Answer;
}

/// Serves `listener` until `stop` is done; then lets what is open end. `gave_way` counts connections that were closed for
/// newer ones. For a runtime that takes local tasks.
pub async fn serve(
    listener: TcpListener,
    handler: Rc<dyn Handler>,
    gave_way: Counter,
    stop: impl Future<Output = ()>,
) {
    let (closing, close) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut places = Vec::with_capacity(MAX_CONNECTIONS);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if make_room(&mut places) {
                    gave_way.increment(1);
                }
                let asked = Rc::new(Cell::new(Instant::now()));
                let serving = connection(stream, handler.clone(), close.clone(), asked.clone());
                places.push(Place { asked, task: connections.spawn_local(serving) });
            }
            Err(error) => {
                tracing::debug!(%error, "accepting pauses");
                sleep(FULL_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = closing.send(true); // nobody listens when no connection is open
    let _ = timeout(CLOSE_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// A connection that is open.
struct Place {
    /// When its last request began; before the first, when it was accepted.
    asked: Rc<Cell<Instant>>,
    task: AbortHandle,
}

/// Leaves room for one more; whether another has to give way. Whoever only holds connections loses them to those that
/// ask: a probe must not wait for them.
fn make_room(places: &mut Vec<Place>) -> bool {
    places.retain(|place| !place.task.is_finished());
    if places.len() < MAX_CONNECTIONS {
        return false;
    }
    let longest = places.iter().enumerate().min_by_key(|(_, place)| place.asked.get());
    let Some((longest, _)) = longest else { return false };
    places.swap_remove(longest).task.abort();
    true
}

async fn connection(
    stream: TcpStream,
    handler: Rc<dyn Handler>,
    mut close: watch::Receiver<bool>,
    asked: Rc<Cell<Instant>>,
) {
    let _ = stream.set_nodelay(true); // a slower answer is an answer
    let service = service_fn(move |request| {
        asked.set(Instant::now());
        respond(handler.clone(), request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let asked_to_end = async {
        let _ = timeout(MAX_AGE, close.wait_for(|&closing| closing)).await;
    };
    tokio::select! {
        // Whatever ended it, its peer knows; nobody else has to.
        _ = serving.as_mut() => return,
        () = asked_to_end => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(CLOSE_WITHIN, serving).await;
}

async fn respond(handler: Rc<dyn Handler>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE)); // what it announces need not be waited for
    }
    let body = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    Ok(match body {
        Ok(Ok(body)) => handler.answer(Request::from_parts(head, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => refusal(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT),
    })
}

fn refusal(status: StatusCode) -> Answer {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut answer = Response::new(AnswerBody::from(format!("{reason}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    answer
}

#[cfg(test)]
mod tests;
