//! Answers that do not go down, or not yet: a call's may wait for the status behind its head, and one in whose place another
//! is asked for is read out.
//!
//! Law: nobody waits for long. What is not there at once is an answer to pass on, or is let go with its connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Response;
use http_body::Body as _;
use tokio::time::timeout_at;

use super::{Ended, Series};
use crate::message::body::{Body, BodyError};
use crate::message::grpc;
use crate::proxy::attempt::{self, Lease};
use crate::proxy::reply::Reason;
use crate::proxy::retry::{Failure, Processed};
use crate::words::Protocol;

/// Frames of an answer that is not passed on which are read so that its connection may serve again.
const READ_OUT: usize = 16;

/// How long the head of an answer to a unary gRPC call waits for the status that may stand right behind it. A server that
/// fails a call writes both at once, so that they come in one piece or nearly so; what has not come by now is an answer,
/// or a stream whose caller waits for its head.
const STATUS_WITHIN: Duration = Duration::from_millis(25);

impl Series<'_> {
    /// Whether the status of a call is still to come, would matter, and can be waited for: its one message went up whole,
    /// so that nothing the caller waits for is held back but the answer's own message.
    pub(super) fn awaits_trailers(&self, response: &Response<Body>) -> bool {
        let upload = &self.exchange.upload;
        self.policy.is_some_and(|policy| policy.on.has_grpc() && self.retries < policy.retries)
            && self.exchange.protocol() == Protocol::Grpc
            && !response.headers().contains_key(grpc::STATUS)
            && upload.is_complete()
            && upload.counted().1 <= 1
    }

    /// Reads up to the first message or the trailers, if they are there at once. Else the answer is one to pass on.
    pub(super) async fn with_trailers(&self, response: Response<Body>, lease: Lease) -> Ended {
        let (parts, mut body) = response.into_parts();
        let until = tokio::time::Instant::now() + STATUS_WITHIN;
        loop {
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let frame = match timeout_at(until, next).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) | Err(_) => return Ended::Answered(Response::from_parts(parts, body), lease, None),
                Ok(Some(Err(error))) => {
                    lease.end();
                    attempt::note_cut(self.exchange);
                    return Ended::Failed(cut(&error));
                }
            };
            self.exchange.touch();
            if frame.data_ref().is_some_and(bytes::Bytes::is_empty) {
                continue;
            }
            let status = frame.trailers_ref().and_then(grpc::status);
            return Ended::Answered(Response::from_parts(parts, Body::led(frame, body)), lease, status);
        }
    }
}

/// The upstream broke off between the head of its answer and the first message.
fn cut(error: &BodyError) -> Failure {
    let reason = match error {
        BodyError::Http2(error) if error.is_remote() && !error.is_io() => Reason::UpstreamReset,
        _ => Reason::UpstreamClosed,
    };
    Failure { reason, processed: Processed::Maybe }
}

/// Lets an answer go that nobody gets: what has come of it is read, so that a connection on which it is whole serves again.
pub(super) fn read_out(mut body: Body, lease: &Lease) {
    let mut nobody = Context::from_waker(Waker::noop());
    for _ in 0..READ_OUT {
        if body.is_end_stream() {
            drop(body);
            return lease.completed();
        }
        match Pin::new(&mut body).poll_frame(&mut nobody) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => {
                drop(body);
                return lease.completed();
            }
            _ => return,
        }
    }
}
