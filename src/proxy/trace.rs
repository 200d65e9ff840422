//! Traces, as the phases of a request fill them: its head, each attempt, its end.
//!
//! Law: a request that is not recorded costs its phases a look at an empty place; without `tracing:` nothing begins.
//! What phases do not know of each other they do not learn here.

use std::time::Instant;

use http::Response;
use http::header::USER_AGENT;
use http::request::Parts;
use rand::Rng as _;

use super::exchange::{Exchange, grpc_outcome};
use super::reply::Reason;
use super::{admit, headers};
use crate::telemetry::RequestRecord;
use crate::telemetry::forwarded_for;
use crate::telemetry::trace::{Attempt, AttemptEnd, Head, SpanId, Text, Trace, Tracer, Where};
use crate::upstream::cluster::Member;

/// Has the request's head say a trace that goes on here; where that is recorded, its record begins.
pub(super) fn begin(exchange: &Exchange, tracer: &Tracer, head: &mut Parts) {
    let lane = &exchange.downstream.lane;
    let Some(mut trace) = tracer.begin(&mut head.headers, || lane.dice.borrow_mut().next_u64()) else {
        return;
    };
    trace.head = Some(Head {
        method: Text::of(head.method.as_str()),
        scheme: headers::scheme(exchange, &head.headers),
        path: Text::of(head.uri.path()),
        authority: Text::of(admit::authority(head).unwrap_or_default()),
        user_agent: head
            .headers
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .map(Text::of)
            .unwrap_or_default(),
        forwarded_for: if exchange.seat.listener.chain().use_remote_address {
            None
        } else {
            forwarded_for(&head.headers)
        },
    });
    exchange.trace.set(Some(trace));
}

/// An attempt at `member` begins, of which the head tells that.
pub(super) fn begin_attempt(exchange: &Exchange, http2: bool, member: &Member, head: &mut Parts) {
    let Some(mut trace) = exchange.trace.take() else { return };
    let path = head.uri.path();
    let is_as_asked = trace.head.as_ref().is_some_and(|asked| asked.path.is_of(path));
    let attempt = Attempt {
        span: SpanId::random(exchange.downstream.lane.dice.borrow_mut().next_u64()),
        started: Instant::now(),
        ended: None,
        endpoint: member.state.name.clone(),
        authority: Text::of(admit::authority(head).unwrap_or_default()),
        path: (!is_as_asked).then(|| Text::of(path)),
        http2,
        status: 0,
        grpc_status: Default::default(),
        error: None,
    };
    trace.begin_attempt(attempt, &mut head.headers);
    exchange.trace.set(Some(trace));
}

/// Tells how the attempt goes on.
#[inline]
pub(super) fn note(exchange: &Exchange, end: impl FnOnce() -> AttemptEnd) {
    let Some(mut trace) = exchange.trace.take() else { return };
    trace.note(end());
    exchange.trace.set(Some(trace));
}

/// The attempt has no answer; where its request broke off under it, that is no fault of anybody's that was asked.
pub(super) fn failed(exchange: &Exchange, reason: Reason) {
    note(exchange, || match exchange.upload.has_broken_off() {
        true => AttemptEnd::GivenUp,
        false => AttemptEnd::Failed(reason.details(), reason.grpc_status()),
    });
}

/// The head of an answer to the attempt is there.
#[inline]
pub(super) fn answered<B>(exchange: &Exchange, response: &Response<B>) {
    note(exchange, || AttemptEnd::Answered(response.status().as_u16(), grpc_outcome(response.headers())));
}

/// The request is over, and its record finished.
pub(super) fn finish(exchange: &Exchange, trace: Box<Trace>, record: &RequestRecord) {
    let Some(tracer) = &exchange.seat.generation.plane.tracer else { return };
    let version = exchange.chosen.borrow().as_ref().map(|chosen| chosen.version.clone());
    let service = exchange.chosen_target().map(|(_, target)| target.service.host.clone());
    tracer.queue.push(trace.finish(record, Where { version, service }));
}
