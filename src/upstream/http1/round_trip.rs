//! One request and the head of its answer on one connection.
//!
//! Law: writing and reading never wait for each other, and an answer that has come is worth more than a write that
//! failed: an upstream may answer early and close (RFC 9112 section 9.5).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::UPGRADE;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::task::{AbortHandle, spawn_local};

use super::SendError;
use super::connection::Connection;
use super::sending::{Sending, Stop};
use crate::message::body::{Body, BodyError, Http1Body};
use crate::message::http1::Framing;
use crate::message::http1::head::ResponseHead;

/// Sends the request and waits for the answer's head. What is left of the request goes on by the task that is returned.
pub(super) async fn run<B>(
    connection: &Rc<Connection>,
    head: &Parts,
    body: B,
) -> Result<(Response<Body>, Option<AbortHandle>), SendError>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let sending = Sending::new(head, body);
    connection.begin(sending.switches());
    let sending = Some(sending);
    let mut trip = RoundTrip { connection, sending, unsent: true, to_head: head.method == Method::HEAD };
    let mut answer = match poll_fn(|cx| trip.poll(cx)).await {
        Ok(answer) => answer,
        Err(SendError::Closed) if trip.unsent => return Err(SendError::Unsent),
        Err(error) => return Err(error),
    };
    let mut sending = trip.sending;
    if let Some(asking) = sending.take_if(|sending| sending.switches()) {
        sending = switched(head, &mut answer, asking)?;
    }
    let has_body = connection.begin_body(&answer);
    let upload = sending.map(|sending| go_on(connection.clone(), sending));
    let body = if has_body { Body::Http1(Http1Body::new(connection.clone())) } else { Body::Empty };
    Ok((Response::from_parts(answer.parts, body), upload))
}

/// What becomes of a request for another protocol. Where the upstream has agreed, to the one that was asked for, what
/// follows is its own on both sides, until each ends; any other answer is the last on this connection.
fn switched<B>(
    head: &Parts,
    answer: &mut ResponseHead,
    mut sending: Sending<B>,
) -> Result<Option<Sending<B>>, SendError>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin,
{
    answer.keep_alive = false;
    if answer.parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    let named = |headers: &HeaderMap| headers.get(UPGRADE).map(|name| name.as_bytes().to_ascii_lowercase());
    if named(&head.headers) != named(&answer.parts.headers) {
        return Err(SendError::Unreadable);
    }
    answer.framing = Framing::UntilClose;
    sending.switch();
    Ok(Some(sending))
}

struct RoundTrip<'a, B> {
    connection: &'a Rc<Connection>,
    /// The request, until it was written whole.
    sending: Option<Sending<B>>,
    /// None of it was written.
    unsent: bool,
    to_head: bool,
}

impl<B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin> RoundTrip<'_, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendError>> {
        self.poll_send(cx)?;
        self.connection.poll_head(cx, self.to_head)
    }

    /// Writes on. A connection that takes no more is still read: its answer may be there.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let polled = sending.poll(self.connection, cx);
        self.unsent = !sending.has_begun();
        match polled {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) if sending.switches() => return Ok(()),
            Poll::Ready(Ok(())) => self.connection.note_sent(),
            Poll::Ready(Err(Stop::Wire)) if self.unsent => return Err(SendError::Closed),
            Poll::Ready(Err(Stop::Wire)) => {}
            Poll::Ready(Err(Stop::Body(error))) => return Err(SendError::Upload(error)),
        }
        self.sending = None;
        Ok(())
    }
}

/// The answer has begun before the request's end: the rest of it gets a task, so that neither waits for the other.
fn go_on<B>(connection: Rc<Connection>, mut sending: Sending<B>) -> AbortHandle
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let task = spawn_local(async move {
        match poll_fn(|cx| sending.poll(&connection, cx)).await {
            Ok(()) if sending.switches() => {
                // The upstream may have more to say.
                let _ended = poll_fn(|cx| connection.poll_shutdown(cx)).await;
            }
            Ok(()) => connection.note_sent(),
            // The answer may be whole all the same; it is read to its end.
            Err(Stop::Wire) => {}
            // What was sent of the request must not look like all of it.
            Err(Stop::Body(_)) => connection.close(),
        }
    });
    task.abort_handle()
}
