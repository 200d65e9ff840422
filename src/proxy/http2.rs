//! A caller's HTTP/2 connection, on the `h2` crate itself: each stream is a task of ours, so that one stream can be
//! reset without the others, however its caller holds its windows.
//!
//! Law: on the way out, and when it was idle for too long, GOAWAY(2^31-1) is sent at once (h2 follows it with the real
//! last stream once the caller has answered a PING), streams that are open are finished, and what the caller sent
//! before it knew is served.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Body as _;
use tokio::task::spawn_local;

use super::downstream::Downstream;
use super::request;
use crate::message::body::Body;
use crate::message::pump::{Pump, PumpEnd};
use crate::runtime::drain::Phase;
use crate::transport::io::{Io, Writes};

/// What one caller may send ahead on a stream, and on all of its streams.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Answer bytes that h2 holds for one stream.
const SEND_BUFFER: usize = 16 << 10;

/// Serves the connection to its end.
pub(super) async fn serve(downstream: &Rc<Downstream>, mut io: Io) {
    downstream.listener.http.cx_http2_total.increment(1);
    io.set_writes(Writes::Deferred);
    downstream.activity.set_framed();
    let limits = downstream.seat().generation.plane.snapshot.limits;
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(io);
    // The preface is here, so this waits for nobody; a bound that ends the connection has the task woken.
    let mut handshake = pin!(handshake);
    let connection = std::future::poll_fn(|cx| {
        downstream.activity.remember_task(cx.waker());
        handshake.as_mut().poll(cx)
    })
    .await;
    match connection {
        Ok(connection) => streams(downstream, connection).await,
        Err(_) => downstream.listener.http.cx_protocol_error.increment(1),
    }
}

async fn streams(downstream: &Rc<Downstream>, mut connection: Connection<Io, Bytes>) {
    let mut told = false;
    loop {
        let next = std::future::poll_fn(|cx| {
            downstream.activity.remember_task(cx.waker());
            if !told && (downstream.phase() > Phase::Serving || downstream.lane.says_goodbye()) {
                told = true;
                if !downstream.was_idle() {
                    downstream.listener.http.cx_drain_close.increment(1);
                }
                connection.graceful_shutdown();
            }
            connection.poll_accept(cx)
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
    let (parts, body) = request.into_parts();
    let body = Body::http2(body, &parts.headers);
    Request::from_parts(parts, body)
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
                pump.reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            exchange.remember_task(cx.waker());
            pump.poll(cx).map(|end| {
                if matches!(end, PumpEnd::Body) {
                    pump.reset(Reason::INTERNAL_ERROR);
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
