//! The record of one request that is traced: filled along its way, and handed over at its end.
//!
//! Law: plain data, which shares no memory with the message that it tells of, and keeps of no text more than [`MOST`]
//! bytes: it waits for the collector when the request is long over. What becomes of it is nobody's business who fills it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;

use super::carrier::Forms;
use super::context::SpanContext;
use super::ids::SpanId;
use crate::telemetry::record::{GrpcOutcome, Outcome, RequestRecord, VIA_UPSTREAM};
use crate::words::{Flag, Flags, GrpcStatus, HttpVersion, Protocol};

/// Bytes of a text that a caller may have made as long as it likes.
pub(super) const MOST: usize = 1_024;

/// The beginning of what a caller has written, in memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// Of `text`, what is kept.
    pub fn of(text: &str) -> Text {
        Text(Text::kept(text).into())
    }

    /// Whether it is what is kept of `text`.
    pub fn is_of(&self, text: &str) -> bool {
        *self.0 == *Text::kept(text)
    }

    fn kept(text: &str) -> &str {
        &text[..text.floor_char_boundary(MOST)]
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A request that is traced, while it is under way.
#[derive(Debug)]
pub struct Trace {
    /// The request's own span.
    pub span: SpanContext,
    /// The caller's.
    pub parent: Option<SpanId>,
    /// The list of `tracestate`.
    pub state: String,
    /// What was asked for.
    pub head: Option<Head>,
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
    forms: Forms,
    started: SystemTime,
}

/// What a caller asks for.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Text,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The path, without the query.
    pub path: Text,
    /// Whom it asks.
    pub authority: Text,
    /// `user-agent`
    pub user_agent: Text,
    /// Who the caller is to whoever stands before this proxy, if that is believed.
    pub forwarded_for: Option<IpAddr>,
}

/// One attempt at an endpoint.
#[derive(Debug)]
pub struct Attempt {
    /// Its span, whose parent is the request's.
    pub span: SpanId,
    /// When it began, the wait for a connection included.
    pub started: Instant,
    /// When it was over, if it was before the request.
    pub ended: Option<Instant>,
    /// The endpoint, as `address:port` or a socket's path.
    pub endpoint: Arc<str>,
    /// Whom it asks, which a rewrite may have changed.
    pub authority: Text,
    /// Its path, where that is another than the request's own.
    pub path: Option<Text>,
    /// What is spoken with it.
    pub http2: bool,
    /// The status of its answer; 0 when none came.
    pub status: u16,
    /// The gRPC status of its answer, if that is known.
    pub grpc_status: GrpcOutcome,
    /// Why it has no answer, by the words of `%RESPONSE_CODE_DETAILS%`.
    pub error: Option<&'static str>,
}

/// How an attempt went on.
#[derive(Clone, Copy, Debug)]
pub enum AttemptEnd {
    /// The head of its answer is there.
    Answered(u16, GrpcOutcome),
    /// The status of its call is there, behind the head.
    Status(GrpcOutcome),
    /// It has no answer: why, and how a gRPC caller would read that.
    Failed(&'static str, GrpcStatus),
    /// Nobody waits for it any more: there will be another attempt, or the request has broken off.
    GivenUp,
}

/// Where a request was sent.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// The version that was chosen.
    pub version: Option<Arc<str>>,
    /// The host of its service.
    pub service: Option<Arc<str>>,
}

/// A request that was traced, and is over.
#[derive(Debug)]
pub struct Finished {
    pub(super) trace: Box<Trace>,
    pub(super) sent: Where,
    pub(super) start: Instant,
    pub(super) duration: Duration,
    pub(super) protocol: Protocol,
    pub(super) http_version: HttpVersion,
    pub(super) outcome: Outcome,
    pub(super) status: u16,
    pub(super) grpc_status: GrpcOutcome,
    pub(super) flags: Flags,
    pub(super) details: &'static str,
    pub(super) route: Option<Arc<str>>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) peer: Option<SocketAddr>,
}

impl Trace {
    pub(super) fn new(span: SpanContext, parent: Option<SpanId>, state: String, forms: Forms) -> Trace {
        let started = SystemTime::now();
        Trace { span, parent, state, head: None, attempts: Vec::new(), forms, started }
    }

    /// Adds an attempt, as whose `headers` says that it makes the request. What the one before has left open is over.
    pub fn begin_attempt(&mut self, attempt: Attempt, headers: &mut HeaderMap) {
        self.close(attempt.started);
        self.forms.inject(headers, self.span.with_span(attempt.span), Some(self.span.span));
        self.attempts.push(attempt);
    }

    /// Tells how the last attempt went on.
    pub fn note(&mut self, end: AttemptEnd) {
        let Some(attempt) = self.attempts.last_mut() else { return };
        match end {
            AttemptEnd::Answered(status, grpc_status) => {
                (attempt.status, attempt.grpc_status) = (status, grpc_status);
            }
            AttemptEnd::Status(grpc_status) => attempt.grpc_status = grpc_status,
            AttemptEnd::Failed(error, status) => {
                attempt.error.get_or_insert(error);
                if attempt.grpc_status == GrpcOutcome::Absent {
                    attempt.grpc_status = GrpcOutcome::Known(status);
                }
                self.close(Instant::now());
            }
            AttemptEnd::GivenUp => self.close(Instant::now()),
        }
    }

    fn close(&mut self, now: Instant) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended.get_or_insert(now);
        }
    }

    /// The request is over, and `record` is finished.
    pub fn finish(mut self: Box<Self>, record: &RequestRecord, sent: Where) -> Finished {
        if let Some(last) = self.attempts.last_mut().filter(|last| last.ended.is_none()) {
            // Its answer is the one that was passed on, or was until something cut it.
            if last.status > 0 && last.grpc_status == GrpcOutcome::Absent {
                last.grpc_status = record.grpc_status;
            }
            let left = record.flags.has(Flag::DownstreamConnectionTermination);
            let lacks_status = record.protocol == Protocol::Grpc && last.grpc_status == GrpcOutcome::Absent;
            if record.flags.blame() && !left && record.details != VIA_UPSTREAM {
                last.error.get_or_insert(record.details);
            } else if lacks_status && !left && (1..400).contains(&last.status) {
                // Whoever asked takes that for UNKNOWN.
                last.grpc_status = GrpcOutcome::Unknown(-1);
            }
        }
        Finished {
            trace: self,
            sent,
            start: record.start,
            duration: record.duration,
            protocol: record.protocol,
            http_version: record.http_version,
            outcome: record.outcome(),
            status: record.status,
            grpc_status: record.grpc_status,
            flags: record.flags,
            details: record.details,
            route: record.route.clone(),
            cluster: record.cluster.clone(),
            peer: record.downstream_remote,
        }
    }
}

impl Finished {
    /// Spans that it makes.
    pub fn spans(&self) -> usize {
        1 + self.trace.attempts.len()
    }

    /// Memory that it takes, but for what it shares with the configuration.
    pub fn bytes(&self) -> usize {
        let Trace { state, head, attempts, .. } = &*self.trace;
        let of_head = head.as_ref().map_or(0, |head| {
            [&head.method, &head.path, &head.authority, &head.user_agent].iter().map(|text| text.len()).sum()
        });
        let of_attempt =
            |attempt: &Attempt| attempt.authority.len() + attempt.path.as_ref().map_or(0, |path| path.len());
        let of_attempts: usize = attempts.iter().map(of_attempt).sum();
        size_of::<Finished>()
            + size_of::<Trace>()
            + attempts.capacity() * size_of::<Attempt>()
            + state.capacity()
            + of_head
            + of_attempts
    }

    /// Nanoseconds since 1970 of a moment of the request.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        let begun = self.trace.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = begun + at.saturating_duration_since(self.start);
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
    }
}
