//! The answer's body on its way down: counted as it passes, cut when the exchange is given up.
//!
//! Law: what the downstream engine reads is [`DownloadBody`], and dropping it ends the exchange.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::Exchange;
use crate::message::body::{Body, BodyError, Http1Error};
use crate::message::grpc::{self, MessageCounter};
use crate::message::hop_by_hop;
use crate::proxy::attempt::{self, Lease};
use crate::proxy::reply::Reason;
use crate::telemetry::{GrpcOutcome, RequestRecord};
use crate::words::{Flag, HttpVersion};

/// The answer's body on its way down.
#[derive(Default)]
pub(super) struct Download {
    pub(super) body: Body,
    /// What the body runs on; gives itself back, or closes, when dropped.
    pub(super) lease: Option<Lease>,
    pub(super) messages: Option<MessageCounter>,
    /// Bytes that the head announced and that have not passed yet.
    pub(super) expected: Option<u64>,
    pub(super) started: bool,
    /// Weir's own answer: a few bytes, which being given up is no reason to cut.
    pub(super) ours: bool,
    pub(super) complete: bool,
    /// Bytes that an HTTP/1 caller has not taken yet.
    pub(super) unwritten: usize,
}

/// What the fields of a head or of trailers say.
pub(in crate::proxy) fn grpc_outcome(headers: &http::HeaderMap) -> GrpcOutcome {
    headers.get(grpc::STATUS).map_or(GrpcOutcome::Absent, |value| GrpcOutcome::parse(value.as_bytes()))
}

/// The answer's body as the downstream engine reads it. Dropping it ends the exchange.
pub(in crate::proxy) struct DownloadBody {
    pub(in crate::proxy) exchange: Rc<Exchange>,
}

impl Drop for DownloadBody {
    fn drop(&mut self) {
        self.exchange.finish();
    }
}

impl http_body::Body for DownloadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let exchange = &self.exchange;
        let mut download = exchange.download.borrow_mut();
        if exchange.given_up.get().is_some() && download.may_be_cut() {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        }
        let frame = match Pin::new(&mut download.body).poll_frame(cx) {
            Poll::Pending => {
                exchange.remember_task(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        exchange.touch();
        Poll::Ready(match frame {
            None => {
                download.complete = true;
                None
            }
            Some(Ok(frame)) => {
                let frame = download.pass(frame, &mut exchange.record.borrow_mut());
                if let Some(trailers) = frame.trailers_ref() {
                    if exchange.owes_status.get() {
                        attempt::note_trailers(exchange, trailers);
                    }
                    exchange.log_trailers(trailers);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                drop(download);
                exchange.blame_upstream(&error);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        let download = self.exchange.download.borrow();
        download.complete || download.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.exchange.download.borrow().body.size_hint()
    }
}

impl Download {
    /// Whether giving the exchange up leaves something to cut.
    pub(super) fn may_be_cut(&self) -> bool {
        (!self.complete || self.unwritten > 0) && !self.ours
    }

    fn pass(&mut self, frame: Frame<Bytes>, record: &mut RequestRecord) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) => {
                record.response_bytes += data.len() as u64;
                if let Some(messages) = &mut self.messages {
                    messages.feed(&data);
                }
                if let Some(expected) = &mut self.expected {
                    *expected = expected.saturating_sub(data.len() as u64);
                    // HTTP/1 asks no further then; on HTTP/2 trailers may follow the announced bytes.
                    self.complete |= *expected == 0 && record.http_version != HttpVersion::Http2;
                }
                self.complete |= self.body.is_end_stream();
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    hop_by_hop::strip_trailers(&mut trailers);
                    if let Some(status) = trailers.get(grpc::STATUS) {
                        record.grpc_status = GrpcOutcome::parse(status.as_bytes());
                    }
                    self.complete = true;
                    Frame::trailers(trailers)
                }
                Err(other) => other,
            },
        }
    }
}

impl Exchange {
    /// The upstream cut the answer after its head.
    fn blame_upstream(&self, error: &BodyError) {
        const CUT: &str = "upstream_reset_after_response_started{connection_termination}";
        const RESET: &str = "upstream_reset_after_response_started{remote_reset}";
        const MALFORMED: &str = "upstream_reset_after_response_started{protocol_error}";
        if let Some(lease) = &self.download.borrow().lease {
            lease.end();
        }
        if self.upload.has_broken_off() {
            // The caller's own doing, for which the upstream was cut off.
            return self.blame(self.upload.fault_or(Reason::UpstreamClosed));
        }
        attempt::note_cut(self);
        let mut record = self.record.borrow_mut();
        let (flag, details) = match error {
            BodyError::Http2(error) if error.is_io() => (Flag::UpstreamConnectionTermination, CUT),
            BodyError::Http2(error) if error.is_remote() => (Flag::UpstreamRemoteReset, RESET),
            BodyError::Http2(_) | BodyError::Http1(Http1Error::Malformed(_)) => {
                (Flag::UpstreamProtocolError, MALFORMED)
            }
            _ => (Flag::UpstreamConnectionTermination, CUT),
        };
        record.flags.raise(flag);
        record.details = details;
    }
}
