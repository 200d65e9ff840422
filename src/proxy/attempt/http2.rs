//! An attempt by HTTP/2: a stream, the request into it, the answer's head out of it.
//!
//! Law: what may not have been processed is told apart by what the upstream said of it, never by a guess (RFC 9113
//! sections 6.8 and 8.7).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::task::{AbortHandle, spawn_local};

use super::lease::{Connection, Lease};
use super::outcome::no_connection;
use super::stream::{Stream, cancel_in_time};
use super::{Keeping, Stage};
use crate::message::body::Body;
use crate::message::http2::{self, RecvStream, SendStream};
use crate::message::pump::{Pump, PumpEnd};
use crate::proxy::exchange::{Exchange, Upload};
use crate::proxy::lane::Pool;
use crate::proxy::reply::Reason;
use crate::proxy::retry::{Failure, Processed};
use crate::telemetry::Wire;
use crate::telemetry::families::weir::RetryReason;
use crate::upstream::http2::Http2Lease;

/// Sends the request and waits for the answer's head.
pub(super) async fn send(
    exchange: &Rc<Exchange>,
    pool: &Pool,
    head: &Parts,
    keeping: Keeping,
    lease: &mut Lease,
) -> Result<Response<Body>, Failure> {
    let connection = match pool.http2.acquire().await {
        Ok(connection) => connection,
        Err(why) => return Err(no_connection(exchange, why)),
    };
    lease.begin();
    exchange.stage.set(Stage::Sent);
    exchange.note_connected(|| {
        let tally = connection.tally();
        (connection.local(), Wire::new(move || tally.bytes()))
    });
    let body = Upload::next_attempt(exchange, keeping.body);
    let mut stream = match open(connection, head, body, lease) {
        Ok(stream) => stream,
        Err(error) => return Err(unsent(&error)),
    };
    let is_head = head.method == Method::HEAD;
    match stream.answer().await {
        Ok(response) => Ok(hold(response, is_head, stream, lease)),
        Err(error) => {
            stream.end();
            Err(http2_failure(&error, &stream, exchange.upload.has_broken_off()))
        }
    }
}

/// Opens the stream and sends what is there of the request.
///
/// # Errors
/// The engine's, and nothing was sent.
pub(super) fn open<B>(
    connection: Http2Lease,
    head: &Parts,
    body: B,
    lease: &Lease,
) -> Result<Stream, http2::Error>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
{
    let no_body = body.is_end_stream();
    let (answer, stream) = connection.send(head, no_body)?;
    let opened = lease.started();
    let upload = if no_body { None } else { start_upload(body, stream, opened) };
    Ok(Stream::new(connection, answer, upload, opened))
}

/// The answer's head is there: the stream belongs to the lease from now on.
pub(super) fn hold(
    response: Response<RecvStream>,
    is_head: bool,
    mut stream: Stream,
    lease: &Lease,
) -> Response<Body> {
    let (parts, body) = response.into_parts();
    // These have no body (RFC 9110 section 6.4.1); a stream that brings one is reset.
    let bodiless = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless && !body.is_end_stream() {
        stream.refuse_body();
    }
    let body = if bodiless { Body::Empty } else { Body::http2(body) };
    lease.hold(Connection::Http2(stream));
    Response::from_parts(parts, body)
}

/// Most requests are whole by now and leave within this very turn; only a longer one gets a task of its own.
fn start_upload<B>(body: B, stream: SendStream, opened: Instant) -> Option<AbortHandle>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
{
    let mut pump = Pump::new(body, stream);
    let task = match pump.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(PumpEnd::Body) => spawn_local(cancel_in_time(pump, opened)),
        Poll::Ready(PumpEnd::Done | PumpEnd::Peer(_)) => return None,
        Poll::Pending => spawn_local(async move {
            // The caller left before its body ended: the upstream is told that nobody waits.
            if matches!(poll_fn(|cx| pump.poll(cx)).await, PumpEnd::Body) {
                cancel_in_time(pump, opened).await;
            }
        }),
    };
    Some(task.abort_handle())
}

/// What it means that no stream was opened.
pub(super) fn unsent(error: &http2::Error) -> Failure {
    let reason = if error.is_io() { Reason::UpstreamClosed } else { Reason::UpstreamReset };
    Failure { reason, processed: Processed::No(RetryReason::Unsent) }
}

/// What it means that a stream brought no answer. `left`: its own request broke off.
pub(super) fn http2_failure(error: &http2::Error, stream: &Stream, left: bool) -> Failure {
    let maybe = |reason| Failure { reason, processed: Processed::Maybe };
    let reason = error.reason();
    if error.is_reset() && reason == Some(http2::Reason::REFUSED_STREAM) {
        let processed = Processed::No(RetryReason::RefusedStream);
        Failure { reason: Reason::UpstreamRefusedStream, processed }
    } else if error.is_go_away() && error.is_remote() && reason == Some(http2::Reason::NO_ERROR) {
        // Only the streams above its last one are told. The word of an upstream that ends over an error is not relied on.
        stream.retire();
        Failure { reason: Reason::UpstreamReset, processed: Processed::No(RetryReason::Goaway) }
    } else if error.is_io() {
        maybe(Reason::UpstreamClosed)
    } else if error.is_remote() {
        maybe(Reason::UpstreamReset)
    } else {
        // A stream that was cancelled for its caller's sake says nothing of its connection.
        if !left {
            stream.retire();
        }
        maybe(Reason::UpstreamProtocolError)
    }
}
