//! A caller's HTTP/2 connection, on the `h2` crate itself: each stream is a task of ours, so that one stream can be
//! reset without the others, however its caller holds its windows.
//!
//! Law: on the way out, and when it was idle for too long, GOAWAY(2^31-1) is sent at once (h2 follows it with the real
//! last stream once the caller has answered a PING), streams that are open are finished, and what the caller sent
//! before it knew is served.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::header::{CONTENT_LENGTH, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body as _;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep};

use super::downstream::Downstream;
use super::reply::Reason;
use super::{admit, request};
use crate::message::body::Body;
use crate::message::pump::{Pump, PumpEnd};
use crate::runtime::clock;
use crate::runtime::drain::Phase;
use crate::snapshot::Mode;
use crate::telemetry::families::weir::Limit;
use crate::transport::activity::End;
use crate::transport::io::{Io, Writes};
use watch::{Told, Watched};

mod watch;

/// What one caller may send ahead on a stream, and on all of its streams.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The coarse clock goes on ten times a second.
const CLOCK_TICK: Duration = Duration::from_millis(100);
/// Streams of another Weir that it resets before they were looked at, and such that we reset and h2 remembers for a
/// second. It passes on what its own callers do, many of them on one connection, and resets no stream early; so what
/// looks like a flood is a moment in which this worker was busy. Other callers have h2's bounds: 20 and 50.
const RESETS_OF_A_WEIR: usize = 1_024;
/// Answer bytes that h2 holds for one stream.
const SEND_BUFFER: usize = 16 << 10;

/// Serves the connection to its end.
pub(super) async fn serve(downstream: &Rc<Downstream>, mut io: Io) {
    downstream.listener.http.cx_http2_total.increment(1);
    io.set_writes(Writes::Deferred);
    downstream.activity.set_framed();
    let limits = downstream.seat().generation.plane.snapshot.limits;
    let told = Rc::<Told>::default();
    let late = LateHead { told: told.clone(), timer: None };
    let mut builder = Builder::new();
    if matches!(downstream.listener.chain().mode, Mode::Deliver { .. }) {
        builder
            .max_pending_accept_reset_streams(RESETS_OF_A_WEIR)
            .max_concurrent_reset_streams(RESETS_OF_A_WEIR);
    }
    let handshake = builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(Watched::new(io, told.clone()));
    // The preface is here, so this waits for nobody; a bound that ends the connection has the task woken.
    let mut handshake = pin!(handshake);
    let connection = std::future::poll_fn(|cx| {
        downstream.activity.remember_task(cx.waker());
        told.frames.set(0);
        handshake.as_mut().poll(cx)
    })
    .await;
    match connection {
        Ok(connection) => streams(downstream, connection, late).await,
        Err(_) => downstream.listener.http.cx_protocol_error.increment(1),
    }
}

/// Ends a connection whose caller begins a head and does not finish it, whatever else goes on there. (The first head is
/// the sweep's, too.)
struct LateHead {
    told: Rc<Told>,
    /// Runs only while a head is unfinished.
    timer: Option<Pin<Box<Sleep>>>,
}

impl LateHead {
    fn poll(&mut self, downstream: &Downstream, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.told.head_since.get() else {
            self.timer = None;
            return Poll::Pending;
        };
        let limit = downstream.bounds().head_timeout;
        loop {
            let waited = clock::now().since(since);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit.saturating_sub(waited))));
            ready!(timer.poll_unpin(cx));
            if waited >= limit {
                downstream.lane.shared.process.limit_exceeded(Limit::HeadTimeout);
                downstream.listener.http.rq_timeout.increment(1);
                downstream.activity.end(End::HeadTimeout);
                return Poll::Ready(());
            }
            // The timer was another head's, or the coarse clock is a little behind.
            let left = limit.saturating_sub(waited).max(CLOCK_TICK);
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

async fn streams(
    downstream: &Rc<Downstream>,
    mut connection: Connection<Watched, Bytes>,
    mut late: LateHead,
) {
    let mut told = false;
    // What is accepted is handed on in the same turn.
    let mut turn_begins = true;
    loop {
        let next = std::future::poll_fn(|cx| {
            downstream.activity.remember_task(cx.waker());
            if turn_begins {
                late.told.frames.set(0);
            }
            if !told && (downstream.phase() > Phase::Serving || downstream.lane.says_goodbye()) {
                told = true;
                if !downstream.was_idle() {
                    downstream.listener.http.cx_drain_close.increment(1);
                }
                connection.graceful_shutdown();
            }
            let next = connection.poll_accept(cx);
            turn_begins = next.is_pending();
            if next.is_pending() && late.poll(downstream, cx).is_ready() {
                return Poll::Ready(None);
            }
            next
        })
        .await;
        match next {
            Some(Ok((request, respond))) => drop(spawn_local(stream(downstream.clone(), request, respond))),
            Some(Err(error)) => {
                if error.is_library() {
                    downstream.listener.http.cx_protocol_error.increment(1);
                }
                return;
            }
            None => return,
        }
    }
}

fn of_body(request: Request<RecvStream>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let body = Body::http2(body, &parts.headers);
    join_crumbs(&mut parts.headers);
    Request::from_parts(parts, body)
}

/// RFC 9113 section 8.2.3: a caller may send a cookie in crumbs. Whoever looks at it, here or upstream, sees it whole.
fn join_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// What RFC 9113 calls malformed and h2 lets through.
pub(super) fn well_formed(parts: &Parts) -> Result<(), Reason> {
    // Section 8.3.1. Of a request without `:authority` h2 does not tell the scheme.
    let scheme = parts.uri.scheme_str();
    let http = ["http", "https"];
    if scheme.is_some_and(|scheme| !http.iter().any(|http| scheme.eq_ignore_ascii_case(http))) {
        return Err(Reason::BadRequest("http2.invalid_scheme"));
    }
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(Reason::BadRequest("path_normalization_failed"));
    }
    if admit::authority(parts).unwrap_or_default().is_empty() {
        return Err(Reason::BadRequest("missing_host_header"));
    }
    // RFC 9110 section 8.6, as for HTTP/1: one length, and a number. h2 takes the same one twice, and an empty one.
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(HeaderValue::is_empty) || lengths.next().is_some() {
        return Err(Reason::BadRequest("http2.unexpected_content_length"));
    }
    // Section 8.2.1.
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = parts.headers.values().map(HeaderValue::as_bytes);
    if values.any(|value| is_space(value.first()) || is_space(value.last())) {
        return Err(Reason::BadRequest("http2.invalid_header_value"));
    }
    Ok(())
}

/// One stream, from its head to the end of its answer.
async fn stream(downstream: Rc<Downstream>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let request = of_body(request);
    let response = {
        let mut answer = pin!(request::serve(downstream.clone(), request));
        std::future::poll_fn(|cx| {
            // The caller may reset the stream meanwhile; leaving here drops the request, and that cancels it upstream.
            // Asked first: the upload that broke off with it looks like an upstream's failure.
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            answer.as_mut().poll(cx).map(Some)
        })
        .await
    };
    let Some(response) = response else { return };
    let (mut parts, body) = response.into_parts();
    parts.version = http::Version::HTTP_2;
    let end = body.is_end_stream();
    let Ok(stream) = respond.send_response(Response::from_parts(parts, ()), end) else { return };
    if !end {
        let exchange = body.exchange.clone();
        let mut pump = Pump::new(body, stream);
        std::future::poll_fn(|cx| {
            if exchange.is_given_up() {
                pump.reset(h2::Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            exchange.remember_task(cx.waker());
            pump.poll(cx).map(|end| {
                if matches!(end, PumpEnd::Body) {
                    pump.reset(h2::Reason::INTERNAL_ERROR);
                }
            })
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::exchange::DownloadBody;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What an open stream costs, and what is copied when its task begins.
    #[test]
    fn a_streams_task_is_small() {
        assert_eq!(size_of::<DownloadBody>(), size_of::<usize>());
        let bytes = size_of_future(stream);
        assert!(bytes <= 2048, "{bytes}");
    }
}
