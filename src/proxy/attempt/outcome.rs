//! How an attempt ended, as the meters, the endpoint's state and the request's record get to know it.
//!
//! Law: an endpoint hears only of what it did itself. What our own breakers, budgets and waiting lines do to an attempt
//! is the cluster's and the process's; who refuses a hop says nothing of the model server behind it.
//! Source: Envoy's router (`onUpstreamReset`, `onResponseTimeout`, `onPerTryTimeout`).

use std::io;
use std::sync::atomic::Ordering;

use http::{HeaderMap, Response, StatusCode};

use super::lease::Lease;
use super::{Refusal, Stage, Way};
use crate::message::body::Body;
use crate::message::grpc;
use crate::proxy::exchange::{Exchange, Reached};
use crate::proxy::lane::Lane;
use crate::proxy::plane::ClusterPlane;
use crate::proxy::reply::Reason;
use crate::proxy::retry::{Failure, Processed};
use crate::proxy::{headers, hop, trace};
use crate::snapshot::Mode;
use crate::telemetry::families::weir::{HopError, Limit as Met, RetryReason};
use crate::transport::dial::DialError;
use crate::upstream::breaker::Limit;
use crate::upstream::cluster::Member;
use crate::upstream::guard::Outcome;
use crate::upstream::pool::NoConnection;
use crate::words::{GrpcStatus, Protocol};

/// The answer's head is there.
pub(super) fn note_answer(
    exchange: &Exchange,
    way: &Way<'_>,
    member: &Member,
    response: &mut Response<Body>,
    lease: &Lease,
) {
    trace::answered(exchange, response);
    let service_time = lease.service_time();
    exchange.record.borrow_mut().service_time = Some(service_time);
    if http_body::Body::is_end_stream(response.body()) {
        lease.end();
    }
    let notable = headers::Notable::of(response.headers());
    let (in_flight, refusal) = if notable.has(headers::Notable::OURS) {
        take_hop(response, member, &exchange.downstream.lane)
    } else {
        member.state.note_no_weir();
        (None, None)
    };
    if in_flight.is_some() {
        way.target.hop.requests.increment(1);
    }
    if let Some(why) = refusal {
        way.target.hop.error(why);
        response.extensions_mut().insert(Refusal(why));
    }
    if answered(way.cluster, member, response, refusal.is_some(), || exchange.protocol()) {
        exchange.owes_status.set(true);
    }
    let is_hop = in_flight.is_some() || refusal.is_some();
    exchange.reached.set(if is_hop { Reached::Hop } else { Reached::ModelServer });
    headers::from_upstream(response, service_time, notable);
}

/// Takes what another Weir says in its answer: how much is in flight there, and why it does not take the hop. The member
/// is known for what it is from now on.
pub(super) fn take_hop(
    response: &mut Response<Body>,
    member: &Member,
    lane: &Lane,
) -> (Option<u32>, Option<HopError>) {
    let headers = response.headers_mut();
    let in_flight = hop::take_in_flight(headers);
    let refusal = hop::take_refusal(headers).filter(|_| !member.local);
    match in_flight {
        Some(in_flight) => member.state.note_reported(in_flight, lane.now_ms()),
        None if refusal.is_none() => member.state.note_no_weir(),
        None => member.state.note_weir(),
    }
    (in_flight, refusal)
}

/// What an answer's head says of `member`, whoever asked; its cluster counts it where it is passed on. Whether its status is still to come: a gRPC call's stands in the
/// trailers, where the head does not say it, and is what outlier detection goes by.
pub(super) fn answered(
    cluster: &ClusterPlane,
    member: &Member,
    response: &Response<Body>,
    refuses_hop: bool,
    protocol: impl FnOnce() -> Protocol,
) -> bool {
    let counts = &member.state.counts;
    if response.status().as_u16() >= 500 { &counts.rq_error } else { &counts.rq_success }
        .fetch_add(1, Ordering::Relaxed);
    if member.watch.is_none() || refuses_hop {
        return false;
    }
    let status = status_of(response, protocol());
    if let Some(status) = status {
        cluster.state.note(member, Outcome::Status(status));
    }
    status.is_none()
}

/// The answer's status; of a gRPC call in HTTP's terms, if it is known yet.
fn status_of(response: &Response<Body>, protocol: Protocol) -> Option<u16> {
    let status = response.status();
    if protocol != Protocol::Grpc {
        return Some(status.as_u16());
    }
    let Some(grpc) = response.headers().get(grpc::STATUS) else {
        let is_to_come = status == StatusCode::OK && !http_body::Body::is_end_stream(response.body());
        return (!is_to_come).then_some(status.as_u16());
    };
    Some(GrpcStatus::parse(grpc.as_bytes()).map_or(status.as_u16(), GrpcStatus::to_http))
}

/// The trailers of an answer have come: what they say of the endpoint, if that waits for it.
pub(in crate::proxy) fn note_trailers(exchange: &Exchange, trailers: &HeaderMap) {
    note_status(exchange, grpc::status(trailers));
}

/// The call has ended with `grpc`, or without saying how, so that the head's status counts.
pub(in crate::proxy) fn note_status(exchange: &Exchange, grpc: Option<GrpcStatus>) {
    if !exchange.owes_status.replace(false) {
        return;
    }
    let Some(cluster) = cluster_of(exchange) else { return };
    if let Some(member) = member_of(exchange, cluster) {
        ended(cluster, member, grpc);
    }
}

/// What it says of `member` that a call whose head said 200 has ended with `grpc`.
pub(super) fn ended(cluster: &ClusterPlane, member: &Member, grpc: Option<GrpcStatus>) {
    let status = grpc.map_or(StatusCode::OK.as_u16(), GrpcStatus::to_http);
    cluster.state.note(member, Outcome::Status(status));
}

/// There is none.
pub(super) fn note_failure(exchange: &Exchange, way: &Way<'_>, member: &Member, failure: Failure) {
    let now_ms = exchange.downstream.lane.now_ms();
    if let Some(hop) = failed(way.cluster, member, failure.reason, now_ms) {
        hop_error(exchange, way, member, hop);
    }
}

/// What it says of `member` that an attempt has no answer, whoever made it; as a fault of the hop.
pub(super) fn failed(
    cluster: &ClusterPlane,
    member: &Member,
    reason: Reason,
    now_ms: u64,
) -> Option<HopError> {
    let (outcome, hop) = match reason {
        Reason::ConnectFailure | Reason::ConnectTimeout => {
            cluster.meter.rq_pending_failure_eject.increment(1);
            (Outcome::Connect, HopError::Connect)
        }
        // It has heard nothing of it.
        Reason::Overflow => return None,
        _ => {
            cluster.meter.rq_rx_reset.increment(1);
            (Outcome::Reset, HopError::Reset)
        }
    };
    member.state.note_failure(now_ms);
    cluster.state.note(member, outcome);
    member.state.counts.rq_error.fetch_add(1, Ordering::Relaxed);
    Some(hop)
}

/// Counts `why` if the request was on its way to another Weir: a model server that breaks off is no hop that failed.
fn hop_error(exchange: &Exchange, way: &Way<'_>, member: &Member, why: HopError) {
    let is_weir = || member.state.is_weir().unwrap_or_else(|| way.target.expects_weirs());
    if !member.local && matches!(exchange.seat.listener.chain().mode, Mode::Split) && is_weir() {
        way.target.hop.error(why);
    }
}

/// The upstream cut its answer after the head.
pub(in crate::proxy) fn note_cut(exchange: &Exchange) {
    exchange.owes_status.set(false);
    let Some(cluster) = cluster_of(exchange) else { return };
    if let Some(member) = member_of(exchange, cluster) {
        cut(cluster, member, exchange.downstream.lane.now_ms());
    }
}

/// What it says of `member` that its answer broke off behind the head, which was counted.
pub(super) fn cut(cluster: &ClusterPlane, member: &Member, now_ms: u64) {
    cluster.meter.rq_rx_reset.increment(1);
    member.state.note_failure(now_ms);
    cluster.state.note(member, Outcome::Reset);
}

/// The caller gets Weir's own answer for `reason`: its cluster counts that in place of the one that did not come.
pub(in crate::proxy) fn note_own_answer(exchange: &Exchange, reason: Reason) {
    if let (Some(status), Some(cluster)) = (reason.of_cluster(), cluster_of(exchange)) {
        cluster.meter.ended(status.as_u16());
    }
}

/// The cluster that the split chose.
fn cluster_of(exchange: &Exchange) -> Option<&ClusterPlane> {
    let (_, target) = exchange.chosen_target()?;
    Some(&exchange.seat.generation.plane.clusters[target.cluster(exchange.protocol())?])
}

/// The endpoint that was tried last.
fn member_of<'a>(exchange: &Exchange, cluster: &'a ClusterPlane) -> Option<&'a Member> {
    let record = exchange.record.borrow();
    let host = record.upstream_host.as_ref()?;
    cluster.state.members.iter().find(|member| member.state.name == *host)
}

/// The request's time was up before the head of an answer; the attempt is gone already, or goes now.
pub(in crate::proxy) fn note_timeout(exchange: &Exchange, way: &Way<'_>) {
    exchange.downstream.lane.shared.process.limit_exceeded(Met::RequestTimeout);
    let stage = exchange.stage.replace(Stage::Between);
    if stage == Stage::Between {
        return; // whoever was asked has answered, or failed, and was told so
    }
    trace::failed(exchange, Reason::Timeout);
    way.cluster.meter.rq_timeout.increment(1);
    if let Some(member) = member_of(exchange, way.cluster) {
        late(way.cluster, member, stage);
        if stage == Stage::Sent {
            hop_error(exchange, way, member, HopError::Timeout);
        }
    }
}

/// The attempt at `member` took longer than one may; it is gone already.
pub(in crate::proxy) fn note_try_timeout(exchange: &Exchange, way: &Way<'_>, member: &Member) {
    way.cluster.meter.rq_per_try_timeout.increment(1);
    let stage = exchange.stage.replace(Stage::Between);
    late(way.cluster, member, stage);
    if matches!(stage, Stage::Sent | Stage::Answered) {
        member.state.note_failure(exchange.downstream.lane.now_ms());
        hop_error(exchange, way, member, HopError::Timeout);
    }
}

/// What it says of `member` that an attempt which had come to `stage` took too long, whoever made it.
pub(super) fn late(cluster: &ClusterPlane, member: &Member, stage: Stage) {
    let counts = &member.state.counts;
    if matches!(stage, Stage::Sent | Stage::Answered) {
        counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    }
    // Of one that has answered the answer was counted.
    if stage == Stage::Sent {
        counts.rq_error.fetch_add(1, Ordering::Relaxed);
        cluster.state.note(member, Outcome::Timeout);
    }
}

/// A breaker is open: counted, and what the caller is told.
pub(in crate::proxy) fn overflow(exchange: &Exchange, cluster: &ClusterPlane, limit: Limit) -> Reason {
    if limit == Limit::Requests {
        cluster.meter.rq_pending_overflow.increment(1);
    }
    exchange.downstream.lane.shared.process.limit_exceeded(met(limit));
    Reason::Overflow
}

fn met(limit: Limit) -> Met {
    match limit {
        Limit::Connections => Met::MaxConnections,
        Limit::Pending => Met::MaxPending,
        Limit::Requests => Met::MaxRequests,
        Limit::Retries => Met::MaxRetries,
    }
}

/// What it means to a caller that no connection was had; counted.
pub(super) fn no_connection(exchange: &Exchange, why: NoConnection) -> Failure {
    let process = &exchange.downstream.lane.shared.process;
    match why {
        NoConnection::Overflow(limit) => process.limit_exceeded(met(limit)),
        NoConnection::Dial(DialError::Timeout) => process.limit_exceeded(Met::ConnectTimeout),
        NoConnection::Dial(DialError::Failed(_)) => {}
    }
    exchange.note_not_connected(|| match why {
        NoConnection::Dial(DialError::Failed(kind)) => Some(transport_failure(kind)),
        NoConnection::Dial(DialError::Timeout) | NoConnection::Overflow(_) => None,
    });
    without_connection(why)
}

/// Why a connection was not made, in Envoy's words.
fn transport_failure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "delayed_connect_error:_Connection_refused",
        io::ErrorKind::ConnectionReset => "delayed_connect_error:_Connection_reset_by_peer",
        io::ErrorKind::HostUnreachable => "delayed_connect_error:_No_route_to_host",
        io::ErrorKind::NetworkUnreachable => "immediate_connect_error:_Network_is_unreachable",
        io::ErrorKind::AddrNotAvailable => "immediate_connect_error:_Cannot_assign_requested_address",
        io::ErrorKind::NotFound => "immediate_connect_error:_No_such_file_or_directory",
        io::ErrorKind::PermissionDenied => "immediate_connect_error:_Permission_denied",
        _ => "connect_error",
    }
}

/// What it means that no connection was had.
pub(super) fn without_connection(why: NoConnection) -> Failure {
    let connect = Processed::No(RetryReason::Connect);
    match why {
        NoConnection::Overflow(_) => Failure { reason: Reason::Overflow, processed: Processed::Maybe },
        NoConnection::Dial(DialError::Timeout) => {
            Failure { reason: Reason::ConnectTimeout, processed: connect }
        }
        NoConnection::Dial(DialError::Failed(_)) => {
            Failure { reason: Reason::ConnectFailure, processed: connect }
        }
    }
}
