//! A caller's HTTP/1 connection, read by hyper.
//!
//! Law: one request at a time. On the way out the present one is finished and answered with `connection: close`;
//! nothing idle is closed before [`Phase::Closing`], for the caller's next request may be under way.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::downstream::Downstream;
use super::request;
use crate::message::body::Body;
use crate::runtime::drain::Phase;
use crate::transport::activity::End;
use crate::transport::io::Io;

/// Room that hyper needs beyond the largest head, so that the limit on heads is ours, with our answer.
const HEAD_SLACK: usize = 4 << 10;

/// Serves the connection to its end.
pub(super) async fn serve(downstream: &Rc<Downstream>, io: Io) {
    downstream.listener.http.cx_http1_total.increment(1);
    let limits = downstream.seat().generation.plane.snapshot.limits;
    let service = service_fn(|request: Request<Incoming>| {
        let served = request::serve(downstream.clone(), request.map(Body::http1));
        async move { Ok::<_, Infallible>(served.await) }
    });
    let connection = Builder::new()
        .max_buf_size(downstream.lane.read_buffer().max(limits.head_bytes + HEAD_SLACK))
        .max_headers(limits.head_count + 1)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut told = false;
    let ended = std::future::poll_fn(|cx| {
        downstream.activity.remember_task(cx.waker());
        if downstream.activity.ended().is_some_and(|why| why != End::HeadTimeout) {
            return Poll::Ready(Ok(()));
        }
        // Polled before it is told to end: a request that has arrived by now is served.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if told || downstream.phase() < Phase::Closing {
            return Poll::Pending;
        }
        told = true;
        connection.as_mut().graceful_shutdown();
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended
        && (error.is_parse() || error.is_incomplete_message())
    {
        downstream.listener.http.cx_protocol_error.increment(1);
    }
}
