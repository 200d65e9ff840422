//! A caller's HTTP/2 connection: each stream is a task of ours, so that one stream can be reset without the others,
//! however its caller holds its windows.
//!
//! Law: on the way out, and when it was idle for too long, GOAWAY(2^31-1) is sent at once (the engine follows it with
//! the real last stream once the caller has answered a PING), streams that are open are finished, and what the caller
//! sent before it knew is served.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::Method;
use http::request::Parts;
use http_body::Body as _;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep};

use super::downstream::Downstream;
use super::reply::Reason;
use super::{admit, request};
use crate::message::body::Body;
use crate::message::http2::server::Connection;
use crate::message::http2::{Flaw, Reason as Code, RecvStream, SendResponse, Settings};
use crate::message::pump::{Pump, PumpEnd};
use crate::message::spare;
use crate::runtime::clock::{self, Tick};
use crate::runtime::drain::Phase;
use crate::snapshot::Mode;
use crate::telemetry::families::weir::Limit;
use crate::transport::activity::End;
use crate::transport::io::Io;

/// What one caller may send ahead on a stream, on one that is read as fast as it arrives, and on all of its streams: one
/// alone never has the whole.
const STREAM_WINDOW: u32 = 256 << 10;
const STREAM_WINDOW_MOST: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The coarse clock goes on ten times a second.
const CLOCK_TICK: Duration = Duration::from_millis(100);
/// Streams of another Weir that it resets before they were looked at. It passes on what its own callers do, many of them
/// on one connection, and resets no stream early; so what looks like a flood is a moment in which this worker was busy.
const RESETS_OF_A_WEIR: u32 = 1_024;

/// Serves the connection to its end.
pub(super) async fn serve(downstream: &Rc<Downstream>, io: Io) {
    downstream.listener.http.cx_http2_total.increment(1);
    downstream.activity.set_framed();
    let limits = downstream.seat().generation.plane.snapshot.limits;
    let mut settings = Settings {
        stream_window: STREAM_WINDOW,
        stream_window_most: STREAM_WINDOW_MOST,
        connection_window: CONNECTION_WINDOW,
        max_streams: limits.streams,
        max_header_list: u32::try_from(limits.head_bytes).unwrap_or(u32::MAX),
        ..Settings::default()
    };
    if matches!(downstream.listener.chain().mode, Mode::Deliver { .. }) {
        settings.unseen_resets = RESETS_OF_A_WEIR;
    }
    let mut connection = Connection::new(io, settings);
    let mut late = LateHead::default();
    let mut told = false;
    std::future::poll_fn(|cx| {
        downstream.activity.remember_task(cx.waker());
        if !told && (downstream.phase() > Phase::Serving || downstream.lane.says_goodbye()) {
            told = true;
            if !downstream.was_idle() {
                downstream.listener.http.cx_drain_close.increment(1);
            }
            connection.graceful_shutdown();
        }
        let over = connection.poll(cx);
        while let Some((head, body, respond)) = connection.accept() {
            // Boxed: a task's own allocation is aligned to 128 bytes, which costs the allocator much for one so large.
            spawn_local(Box::pin(stream(downstream.clone(), head, body, respond)));
        }
        match over {
            Poll::Ready(Err(error)) if error.is_engine() => {
                downstream.listener.http.cx_protocol_error.increment(1);
                Poll::Ready(())
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => late.poll(connection.unfinished_head(), downstream, cx),
        }
    })
    .await;
}

/// Ends a connection whose caller begins a head and does not finish it, whatever else goes on there. (The first head is
/// the sweep's, too.)
#[derive(Default)]
struct LateHead {
    /// The head that is unfinished, by its number, and since when.
    head: Option<(u64, Tick)>,
    /// Runs only while a head is unfinished.
    timer: Option<Pin<Box<Sleep>>>,
}

impl LateHead {
    fn poll(&mut self, head: Option<u64>, downstream: &Downstream, cx: &mut Context<'_>) -> Poll<()> {
        let Some(head) = head else {
            *self = LateHead::default();
            return Poll::Pending;
        };
        let since = match self.head {
            Some((known, since)) if known == head => since,
            _ => self.head.insert((head, clock::now())).1,
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

/// What RFC 9113 calls malformed and is answered all the same.
pub(super) fn well_formed(parts: &Parts) -> Result<(), Reason> {
    if let Some(Flaw(why)) = parts.extensions.get() {
        return Err(Reason::BadRequest(why));
    }
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(Reason::BadRequest("path_normalization_failed"));
    }
    if admit::authority(parts).unwrap_or_default().is_empty() {
        return Err(Reason::BadRequest("missing_host_header"));
    }
    Ok(())
}

/// One stream, from its head to the end of its answer.
async fn stream(downstream: Rc<Downstream>, head: Box<Parts>, body: RecvStream, mut respond: SendResponse) {
    let response = {
        let mut answer = pin!(request::serve(downstream.clone(), head, Body::http2(body)));
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
    let (parts, body) = response.into_parts();
    let end = body.is_end_stream();
    let sent = respond.send_response(parts.status, &parts.headers, end);
    spare::keep_header_map(parts.headers);
    let Ok(stream) = sent else { return };
    if !end {
        let exchange = body.exchange.clone();
        let mut pump = Pump::new(body, stream);
        std::future::poll_fn(|cx| {
            if exchange.is_given_up() {
                pump.reset(Code::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            exchange.remember_task(cx.waker());
            pump.poll(cx).map(|end| {
                if matches!(end, PumpEnd::Body) {
                    pump.reset(Code::INTERNAL_ERROR);
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

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
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
