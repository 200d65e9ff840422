//! How an attempt ended, as the meters, the endpoint's state and the request's record get to know it.

use std::sync::atomic::Ordering;

use http::Response;

use super::lease::Lease;
use super::{Refusal, Way};
use crate::message::body::Body;
use crate::proxy::exchange::{Exchange, Reached};
use crate::proxy::plane::ClusterPlane;
use crate::proxy::reply::Reason;
use crate::proxy::retry::{Failure, Processed};
use crate::proxy::{headers, hop};
use crate::snapshot::Mode;
use crate::telemetry::families::weir::{HopError, Limit as Met, RetryReason};
use crate::transport::dial::DialError;
use crate::upstream::breaker::Limit;
use crate::upstream::cluster::Member;
use crate::upstream::guard::Outcome;
use crate::upstream::pool::NoConnection;
use crate::words::GrpcStatus;

/// The answer's head is there.
pub(super) fn note_answer(
    exchange: &Exchange,
    way: &Way<'_>,
    member: &Member,
    response: &mut Response<Body>,
    lease: &Lease,
) {
    let service_time = lease.service_time();
    let status = response.status().as_u16();
    exchange.record.borrow_mut().service_time = Some(service_time);
    if http_body::Body::is_end_stream(response.body()) {
        lease.end();
    }
    way.cluster.meter.answered(status, service_time);
    let counts = &member.state.counts;
    if status >= 500 { &counts.rq_error } else { &counts.rq_success }.fetch_add(1, Ordering::Relaxed);
    let notable = headers::Notable::of(response.headers());
    let (in_flight, refusal) = if notable.has(headers::Notable::OURS) {
        let headers = response.headers_mut();
        (hop::take_in_flight(headers), hop::take_refusal(headers).filter(|_| !member.local))
    } else {
        (None, None)
    };
    if let Some(in_flight) = in_flight {
        member.state.note_reported(in_flight, exchange.downstream.lane.now_ms());
        way.target.hop.requests.increment(1);
    }
    if let Some(why) = refusal {
        way.target.hop.error(why);
        response.extensions_mut().insert(Refusal(why));
    }
    // Who refuses a hop says nothing of the model server.
    if let (Some(_), None) = (&member.watch, refusal) {
        way.cluster.state.note(member, Outcome::Status(status_of(response)));
    }
    if in_flight.is_some() || refusal.is_some() {
        exchange.reached.set(Reached::Hop);
    } else {
        member.state.note_no_weir();
        exchange.reached.set(Reached::ModelServer);
    }
    headers::from_upstream(response, service_time, notable);
}

/// The answer's status; of gRPC that of its head in HTTP's terms, as Envoy counts it.
pub(super) fn status_of(response: &Response<Body>) -> u16 {
    let grpc = response.headers().get("grpc-status").and_then(|value| GrpcStatus::parse(value.as_bytes()));
    grpc.map_or(response.status().as_u16(), GrpcStatus::to_http)
}

/// There is none.
pub(super) fn note_failure(exchange: &Exchange, way: &Way<'_>, member: &Member, failure: Failure) {
    let (lane, meter) = (&exchange.downstream.lane, &way.cluster.meter);
    let hop = match failure.reason {
        Reason::ConnectFailure | Reason::ConnectTimeout => {
            member.state.note_failure(lane.now_ms());
            way.cluster.state.note(member, Outcome::Connect);
            meter.rq_pending_failure_eject.increment(1);
            HopError::Connect
        }
        Reason::Overflow => return,
        _ => {
            member.state.note_failure(lane.now_ms());
            way.cluster.state.note(member, Outcome::Reset);
            meter.rq_rx_reset.increment(1);
            HopError::Reset
        }
    };
    member.state.counts.rq_error.fetch_add(1, Ordering::Relaxed);
    if !member.local && matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        way.target.hop.error(hop);
    }
}

/// The request's time was up before the head of an answer; the attempt is gone already.
pub(in crate::proxy) fn note_timeout(exchange: &Exchange, way: &Way<'_>) {
    way.cluster.meter.rq_timeout.increment(1);
    exchange.downstream.lane.shared.process.limit_exceeded(Met::RequestTimeout);
    let record = exchange.record.borrow();
    let Some(host) = &record.upstream_host else { return };
    let Some(member) = way.cluster.state.members.iter().find(|member| member.state.name == *host) else {
        return;
    };
    member.state.counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    way.cluster.state.note(member, Outcome::Timeout);
    if !member.local && matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        way.target.hop.error(HopError::Timeout);
    }
}

/// The attempt at `member` took longer than one may; it is gone already.
pub(in crate::proxy) fn note_try_timeout(exchange: &Exchange, way: &Way<'_>, member: &Member) {
    way.cluster.meter.rq_per_try_timeout.increment(1);
    member.state.counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    way.cluster.state.note(member, Outcome::Timeout);
    member.state.note_failure(exchange.downstream.lane.now_ms());
    if !member.local && matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        way.target.hop.error(HopError::Timeout);
    }
}

/// A breaker is open: counted, and what the caller is told.
pub(in crate::proxy) fn overflow(exchange: &Exchange, cluster: &ClusterPlane, limit: Limit) -> Reason {
    let met = match limit {
        Limit::Connections => Met::MaxConnections,
        Limit::Pending => Met::MaxPending,
        Limit::Requests => Met::MaxRequests,
        Limit::Retries => Met::MaxRetries,
    };
    if limit == Limit::Requests {
        cluster.meter.rq_pending_overflow.increment(1);
    }
    exchange.downstream.lane.shared.process.limit_exceeded(met);
    Reason::Overflow
}

/// What it means that no connection was had; counted.
pub(super) fn no_connection(exchange: &Exchange, why: NoConnection) -> Failure {
    let process = &exchange.downstream.lane.shared.process;
    let reason = match why {
        NoConnection::Overflow(limit) => {
            process.limit_exceeded(if limit == Limit::Pending {
                Met::MaxPending
            } else {
                Met::MaxConnections
            });
            Reason::Overflow
        }
        NoConnection::Dial(DialError::Timeout) => {
            process.limit_exceeded(Met::ConnectTimeout);
            Reason::ConnectTimeout
        }
        NoConnection::Dial(DialError::Failed(_)) => Reason::ConnectFailure,
    };
    let processed =
        if reason == Reason::Overflow { Processed::Maybe } else { Processed::No(RetryReason::Connect) };
    Failure { reason, processed }
}
