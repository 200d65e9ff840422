//! Attempts at one cluster: an endpoint, a connection, the request up, the answer's head back; once more where safe.
//!
//! Law: at most one retry, within the version that the split chose, on another endpoint where there is one.

use std::rc::Rc;

use http::request::Parts;
use http::{Response, StatusCode};

use super::deadline;
use super::exchange::Exchange;
use super::hop;
use super::lane::Lane;
use super::plane::{ClusterPlane, TargetPlane};
use super::pools::ClusterPools;
use super::reply::Reason;
use super::retry::{self, Allowance, Failure};
use super::trace;
use crate::message::body::Body;
use crate::message::spare;
use crate::snapshot::{LbPolicy, UpstreamProtocol};
use crate::telemetry::families::weir::{HopError, Limit as Met, RetryReason};
use crate::upstream::balance::{self, Ask};
use crate::upstream::breaker::{Limit, Permit};
use crate::upstream::cluster::Member;
use crate::words::{Flag, HttpVersion, Protocol};

pub(super) mod copy;
mod http1;
mod http2;
mod lease;
mod outcome;
mod stream;

pub(super) use lease::Lease;
pub(super) use outcome::{
    note_cut, note_own_answer, note_status, note_timeout, note_trailers, note_try_timeout, overflow,
};

/// How far the attempt at hand has come: what is late, or fails, after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none: none has begun yet, or the last one is over and the next has still to wait.
    #[default]
    Between,
    /// It waits for a connection, which is nothing of its endpoint's.
    Waiting,
    /// It has a connection, and the request goes up.
    Sent,
    /// The head of its answer is there.
    Answered,
}

/// The way that the split has chosen.
pub(super) struct Way<'a> {
    pub(super) cluster: &'a ClusterPlane,
    /// By member.
    pub(super) pools: &'a ClusterPools,
    pub(super) target: &'a TargetPlane,
    /// Hops behind the request.
    pub(super) hops: u32,
    pub(super) repeatable: bool,
    pub(super) http2: bool,
}

/// Whether requests of this exchange go to the cluster by HTTP/2.
pub(super) fn speaks_http2(cluster: &ClusterPlane, exchange: &Exchange) -> bool {
    match cluster.state.config.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::AsRequest => {
            let record = exchange.record.borrow();
            record.protocol == Protocol::Grpc || record.http_version == HttpVersion::Http2
        }
    }
}

/// Tries until there is an answer or no further attempt is allowed.
pub(super) async fn run(
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    mut head: Box<Parts>,
) -> Result<Answered, Reason> {
    let idempotent = retry::is_idempotent(&head.method);
    let first = pick(&exchange.downstream.lane, way.cluster, None, &[]).ok_or(Reason::NoEndpoint)?;
    let bears_loss = idempotent || way.repeatable;
    // The body is kept only where a retry could use it: on HTTP/1 a POST that was sent is sent once, unless another pod
    // says that it was not the one meant.
    let keeping = Keeping { body: way.http2 || bears_loss || is_hop(way, first), bears_loss };
    let failure = match once(exchange, way, first, &mut head, keeping, None).await {
        Ok((response, _)) if is_misdirected(&response) => Failure::MISDIRECTED,
        Ok((response, lease)) => return Ok(settled(exchange, head, response, lease)),
        // What the attempt met with is the caller's own doing.
        Err(failure) if exchange.upload.has_broken_off() => return Err(failure.reason),
        Err(failure) => failure,
    };
    let allowance = Allowance {
        idempotent,
        repeatable: way.repeatable,
        same_body: exchange.upload.can_be_sent_again(),
        elsewhere: way.cluster.state.members.len() > 1,
    };
    let Some(reason) = retry::allowed(failure, allowance) else { return Err(failure.reason) };
    if !(keeping.body || failure.is_unsent()) {
        return Err(failure.reason);
    }
    let free = matches!(reason, RetryReason::Unsent | RetryReason::Connect | RetryReason::Misdirected);
    let permit = match retry_permit(exchange, way, reason, free) {
        Ok(permit) => permit,
        Err(()) => return Err(failure.reason),
    };
    if reason == RetryReason::Misdirected {
        way.cluster.meter.retried(StatusCode::MISDIRECTED_REQUEST.as_u16());
    }
    let second = pick(&exchange.downstream.lane, way.cluster, None, &[first]).ok_or(Reason::NoEndpoint)?;
    deadline::tell_again(exchange, &mut head.headers);
    match once(exchange, way, second, &mut head, Keeping { body: false, bears_loss: false }, permit).await {
        Ok((response, _)) if is_misdirected(&response) => Err(Reason::NoEndpoint),
        Ok((response, lease)) => {
            way.cluster.meter.rq_retry_success.increment(1);
            Ok(settled(exchange, head, response, lease))
        }
        Err(failure) => {
            way.cluster.meter.rq_retry_limit_exceeded.increment(1);
            exchange.record.borrow_mut().flags.raise(Flag::UpstreamRetryLimitExceeded);
            Err(failure.reason)
        }
    }
}

/// An answer and what its body runs on; nothing where it is Weir's own.
pub(super) type Answered = (Response<Body>, Option<Lease>);

/// What another attempt could use of this one.
#[derive(Clone, Copy)]
pub(super) struct Keeping {
    /// The body is kept.
    pub(super) body: bool,
    /// The request may be sent again even if the connection is lost under it.
    pub(super) bears_loss: bool,
}

/// The answer is the one to pass on: what was kept goes.
pub(super) fn settled(
    exchange: &Exchange,
    head: Box<Parts>,
    response: Response<Body>,
    lease: Lease,
) -> Answered {
    exchange.upload.settle(exchange);
    spare::keep_header_map(head.headers);
    (response, Some(lease))
}

/// Whether the member may be the delivery listener of another pod.
pub(super) fn is_hop(way: &Way<'_>, member: usize) -> bool {
    let member = &way.cluster.state.members[member];
    !member.local && member.state.may_be_weir()
}

/// Retries of what may cost the upstream are limited; sending what was never sent is `free`.
pub(super) fn retry_permit(
    exchange: &Exchange,
    way: &Way<'_>,
    reason: RetryReason,
    free: bool,
) -> Result<Option<Permit>, ()> {
    let permit = way.cluster.state.breakers.try_acquire(Limit::Retries);
    if permit.is_none() && !free {
        way.cluster.meter.rq_retry_overflow.increment(1);
        exchange.downstream.lane.shared.process.limit_exceeded(Met::MaxRetries);
        return Err(());
    }
    way.cluster.meter.rq_retry.increment(1);
    exchange.stage.set(Stage::Between);
    exchange.count_retry(reason);
    Ok(permit)
}

/// The member for an attempt: by `hash`, where its cluster goes by one; none of `tried`, where there is another. That
/// there is nobody is counted.
pub(super) fn pick(lane: &Lane, cluster: &ClusterPlane, hash: Option<u64>, tried: &[usize]) -> Option<usize> {
    // Only who looks at loads asks how old they are.
    let now_ms = if cluster.state.config.lb == LbPolicy::LeastRequest { lane.now_ms() } else { 0 };
    let ask = Ask { now_ms, hash, tried };
    let picked = balance::pick(&cluster.state, &mut *lane.dice.borrow_mut(), &ask);
    if picked.is_none() {
        cluster.meter.cx_none_healthy.increment(1);
    }
    picked
}

/// A pod that is not the one meant says so; the address was reused.
pub(super) fn is_misdirected(response: &Response<Body>) -> bool {
    response.extensions().get() == Some(&Refusal(HopError::Misdirected))
}

/// Marks an answer by which another Weir refuses the hop.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Refusal(HopError);

/// One attempt at one member. What it adds to `head` is its own: another attempt writes it anew.
pub(super) async fn once(
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    member: usize,
    head: &mut Parts,
    keeping: Keeping,
    retry: Option<Permit>,
) -> Result<(Response<Body>, Lease), Failure> {
    let of = &way.cluster.state.members[member];
    let attempts = begin(exchange, of);
    if !of.local {
        head.headers.insert(hop::HOP, hop::next_hop(way.hops, &way.target.hop_value));
    } else if attempts > 1 {
        head.headers.remove(hop::HOP); // an earlier attempt's
    }
    trace::begin_attempt(exchange, way.http2, of, head);
    let mut lease = Lease::new(way.cluster.meter.clone(), &of.state, retry, exchange.record.borrow().start);
    let sent = if way.http2 {
        http2::send(exchange, &way.pools[member], head, keeping, &mut lease).await
    } else {
        http1::send(exchange, &way.pools[member], head, keeping, &mut lease).await
    };
    match sent {
        Ok(mut response) => {
            exchange.stage.set(Stage::Answered);
            outcome::note_answer(exchange, way, of, &mut response, &lease);
            Ok((response, lease))
        }
        Err(failure) => {
            exchange.stage.set(Stage::Between);
            trace::failed(exchange, failure.reason);
            if !exchange.upload.has_broken_off() {
                lease.end();
                outcome::note_failure(exchange, way, of, failure);
            }
            Err(failure)
        }
    }
}

/// Returns how many attempts there are with this one.
fn begin(exchange: &Exchange, member: &Member) -> u32 {
    exchange.stage.set(Stage::Waiting);
    let mut record = exchange.record.borrow_mut();
    record.attempts += 1;
    record.upstream_host = Some(member.state.name.clone());
    if let Some(chosen) = &mut *exchange.chosen.borrow_mut()
        && &*chosen.version == crate::telemetry::UNKNOWN
    {
        chosen.version = member.version.clone();
    }
    record.attempts
}
