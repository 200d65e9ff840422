//! Attempts at one cluster: an endpoint, a connection, the request up, the answer's head back; once more where safe.
//!
//! Law: at most one retry, within the version that the split chose, on another endpoint where there is one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use h2::SendStream;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio::task::{AbortHandle, spawn_local};

use super::exchange::{Exchange, Reached, Upload, UploadBody};
use super::lane::Pool;
use super::plane::{ClusterPlane, TargetPlane};
use super::reply::Reason;
use super::retry::{self, Allowance, Failure, Processed};
use super::{headers, hop};
use crate::message::body::Body;
use crate::message::pump::{Pump, PumpEnd};
use crate::snapshot::{Mode, UpstreamProtocol};
use crate::telemetry::ClusterMeter;
use crate::telemetry::families::weir::{HopError, Limit as Met, RetryReason};
use crate::transport::dial::DialError;
use crate::upstream::balance;
use crate::upstream::breaker::{Limit, Permit};
use crate::upstream::cluster::{EndpointState, InFlight, Member};
use crate::upstream::http1::Http1Lease;
use crate::upstream::http2::Http2Lease;
use crate::upstream::pool::NoConnection;
use crate::words::{Flag, HttpVersion, Protocol};

/// The way that the split has chosen.
pub(super) struct Way<'a> {
    pub(super) cluster: &'a ClusterPlane,
    /// By member.
    pub(super) pools: &'a [Pool],
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
    head: Box<Parts>,
) -> Result<(Response<Body>, Lease), Reason> {
    let idempotent = retry::is_idempotent(&head.method);
    let first = match pick(exchange, way, None) {
        Some(first) => first,
        None => {
            way.cluster.meter.cx_none_healthy.increment(1);
            return Err(Reason::NoEndpoint);
        }
    };
    let bears_loss = idempotent || way.repeatable;
    // Kept only where a retry could use it: on HTTP/1 a POST that was sent is sent once, unless another pod says
    // that it was not the one meant.
    let spare = (way.http2 || bears_loss || is_hop(way, first)).then(|| head.clone());
    let keeping = Keeping { body: spare.is_some(), bears_loss };
    let (failure, unsent) = match once(exchange, way, first, head, keeping, None).await {
        Ok((response, _)) if is_misdirected(&response) => {
            (Failure { reason: Reason::NoEndpoint, processed: Processed::No(RetryReason::Misdirected) }, None)
        }
        Ok((response, lease)) => return Ok(settled(exchange, response, lease)),
        Err(failed) => failed,
    };
    let allowance = Allowance {
        idempotent,
        repeatable: way.repeatable,
        same_body: exchange.upload.can_be_sent_again(),
        elsewhere: way.cluster.state.members.len() > 1,
    };
    let Some(reason) = retry::allowed(failure, allowance) else { return Err(failure.reason) };
    let Some(head) = unsent.or(spare) else { return Err(failure.reason) };
    let permit = match retry_permit(exchange, way, reason) {
        Ok(permit) => permit,
        Err(()) => return Err(failure.reason),
    };
    let second = pick(exchange, way, Some(first)).ok_or(Reason::NoEndpoint)?;
    match once(exchange, way, second, head, Keeping { body: false, bears_loss: false }, permit).await {
        Ok((response, _)) if is_misdirected(&response) => Err(Reason::NoEndpoint),
        Ok((response, lease)) => {
            way.cluster.meter.rq_retry_success.increment(1);
            Ok(settled(exchange, response, lease))
        }
        Err((failure, _)) => {
            way.cluster.meter.rq_retry_limit_exceeded.increment(1);
            exchange.record.borrow_mut().flags.raise(Flag::UpstreamRetryLimitExceeded);
            Err(failure.reason)
        }
    }
}

/// What another attempt could use of this one.
#[derive(Clone, Copy)]
struct Keeping {
    /// The body is kept.
    body: bool,
    /// The request may be sent again even if the connection is lost under it.
    bears_loss: bool,
}

/// The answer is the one to pass on: what was kept goes.
fn settled(exchange: &Exchange, response: Response<Body>, lease: Lease) -> (Response<Body>, Lease) {
    exchange.upload.settle(exchange);
    (response, lease)
}

/// Whether the member may be the delivery listener of another pod.
fn is_hop(way: &Way<'_>, member: usize) -> bool {
    let member = &way.cluster.state.members[member];
    !member.local && member.state.may_be_weir()
}

/// Retries of what may cost the upstream are limited; sending what was never sent is not one.
fn retry_permit(exchange: &Exchange, way: &Way<'_>, reason: RetryReason) -> Result<Option<Permit>, ()> {
    let free = matches!(reason, RetryReason::Unsent | RetryReason::Connect | RetryReason::Misdirected);
    let permit = way.cluster.state.breakers.try_acquire(Limit::Retries);
    if permit.is_none() && !free {
        way.cluster.meter.rq_retry_overflow.increment(1);
        exchange.downstream.lane.shared.process.limit_exceeded(Met::MaxRetries);
        return Err(());
    }
    way.cluster.meter.rq_retry.increment(1);
    exchange.downstream.lane.shared.process.retry(reason);
    Ok(permit)
}

fn pick(exchange: &Exchange, way: &Way<'_>, exclude: Option<usize>) -> Option<usize> {
    let lane = &exchange.downstream.lane;
    balance::pick(&way.cluster.state, &mut *lane.dice.borrow_mut(), lane.now_ms(), exclude)
}

/// A pod that is not the one meant says so; the address was reused.
fn is_misdirected(response: &Response<Body>) -> bool {
    response.extensions().get() == Some(&Refusal(HopError::Misdirected))
}

/// Marks an answer by which another Weir refuses the hop.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Refusal(HopError);

type Failed = (Failure, Option<Box<Parts>>);

/// One attempt at one member. With the failure comes the head, if none of it was sent.
async fn once(
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    member: usize,
    mut head: Box<Parts>,
    keeping: Keeping,
    retry: Option<Permit>,
) -> Result<(Response<Body>, Lease), Failed> {
    let of = &way.cluster.state.members[member];
    begin(exchange, of);
    if of.local {
        head.headers.remove(hop::HOP);
    } else {
        head.headers.insert(hop::HOP, hop::next_hop(way.hops, &way.target.hop_value));
    }
    let mut lease = Lease::new(way.cluster.meter.clone(), of.state.clone(), retry);
    let sent = if way.http2 {
        send_http2(exchange, &way.pools[member], head, keeping, &mut lease).await
    } else {
        send_http1(exchange, &way.pools[member], head, keeping, &mut lease).await
    };
    match sent {
        Ok(mut response) => {
            note_answer(exchange, way, of, &mut response, &lease);
            Ok((response, lease))
        }
        Err(failed) => {
            lease.end();
            note_failure(exchange, way, of, failed.0);
            Err(failed)
        }
    }
}

fn begin(exchange: &Exchange, member: &Member) {
    let mut record = exchange.record.borrow_mut();
    record.attempts += 1;
    record.upstream_host = Some(member.state.name.clone());
    if let Some(chosen) = &mut *exchange.chosen.borrow_mut()
        && &*chosen.version == crate::telemetry::UNKNOWN
    {
        chosen.version = member.version.clone();
    }
}

fn note_answer(
    exchange: &Exchange,
    way: &Way<'_>,
    member: &Member,
    response: &mut Response<Body>,
    lease: &Lease,
) {
    let service_time = lease.started.elapsed();
    let status = response.status().as_u16();
    exchange.record.borrow_mut().service_time = Some(service_time);
    if http_body::Body::is_end_stream(response.body()) {
        lease.end();
    }
    way.cluster.meter.answered(status, service_time);
    let counts = &member.state.counts;
    if status >= 500 { &counts.rq_error } else { &counts.rq_success }.fetch_add(1, Ordering::Relaxed);
    let in_flight = hop::take_in_flight(response.headers_mut());
    let refusal = hop::take_refusal(response.headers_mut()).filter(|_| !member.local);
    if let Some(in_flight) = in_flight {
        member.state.note_reported(in_flight, exchange.downstream.lane.now_ms());
        way.target.hop.requests.increment(1);
    }
    if let Some(why) = refusal {
        way.target.hop.error(why);
        response.extensions_mut().insert(Refusal(why));
    }
    if in_flight.is_some() || refusal.is_some() {
        exchange.reached.set(Reached::Hop);
    } else {
        member.state.note_no_weir();
        exchange.reached.set(Reached::ModelServer);
    }
    headers::from_upstream(response.headers_mut(), service_time);
}

fn note_failure(exchange: &Exchange, way: &Way<'_>, member: &Member, failure: Failure) {
    let (lane, meter) = (&exchange.downstream.lane, &way.cluster.meter);
    let hop = match failure.reason {
        Reason::ConnectFailure | Reason::ConnectTimeout => {
            member.state.note_failure(lane.now_ms());
            meter.rq_pending_failure_eject.increment(1);
            HopError::Connect
        }
        Reason::Overflow => return,
        _ => {
            member.state.note_failure(lane.now_ms());
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
pub(super) fn note_timeout(exchange: &Exchange, way: &Way<'_>) {
    way.cluster.meter.rq_timeout.increment(1);
    exchange.downstream.lane.shared.process.limit_exceeded(Met::RequestTimeout);
    let record = exchange.record.borrow();
    let Some(host) = &record.upstream_host else { return };
    let Some(member) = way.cluster.state.members.iter().find(|member| member.state.name == *host) else {
        return;
    };
    member.state.counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    if !member.local && matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        way.target.hop.error(HopError::Timeout);
    }
}

/// A breaker is open: counted, and what the caller is told.
pub(super) fn overflow(exchange: &Exchange, cluster: &ClusterPlane, limit: Limit) -> Reason {
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

fn no_connection(exchange: &Exchange, why: NoConnection) -> Failure {
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

async fn send_http1(
    exchange: &Rc<Exchange>,
    pool: &Pool,
    head: Box<Parts>,
    keeping: Keeping,
    lease: &mut Lease,
) -> Result<Response<Body>, Failed> {
    let mut connection = match pool.http1.acquire(!keeping.bears_loss).await {
        Ok(connection) => connection,
        Err(why) => return Err((no_connection(exchange, why), Some(head))),
    };
    lease.begin();
    let request = Request::from_parts(*head, Upload::next_attempt(exchange, keeping.body));
    match connection.send(request).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err((Failure { reason: Reason::UpstreamProtocolError, processed: Processed::Maybe }, None))
        }
        Ok(response) => {
            lease.hold(Connection::Http1(connection));
            Ok(response.map(Body::http1))
        }
        Err(mut error) => match error.take_message() {
            Some(request) => {
                let failure =
                    Failure { reason: Reason::UpstreamClosed, processed: Processed::No(RetryReason::Unsent) };
                Err((failure, Some(Box::new(request.into_parts().0))))
            }
            None => {
                let reason = if error.error().is_parse() {
                    Reason::UpstreamProtocolError
                } else {
                    Reason::UpstreamClosed
                };
                Err((Failure { reason, processed: Processed::Maybe }, None))
            }
        },
    }
}

async fn send_http2(
    exchange: &Rc<Exchange>,
    pool: &Pool,
    head: Box<Parts>,
    keeping: Keeping,
    lease: &mut Lease,
) -> Result<Response<Body>, Failed> {
    let connection = match pool.http2.acquire().await {
        Ok(connection) => connection,
        Err(why) => return Err((no_connection(exchange, why), Some(head))),
    };
    lease.begin();
    let body = Upload::next_attempt(exchange, keeping.body);
    let no_body = http_body::Body::is_end_stream(&body);
    let (response, stream) = match connection.send(Request::from_parts(*head, ()), no_body) {
        Ok(sent) => sent,
        Err(error) => {
            let processed = Processed::No(RetryReason::Unsent);
            let reason = if error.is_io() { Reason::UpstreamClosed } else { Reason::UpstreamReset };
            return Err((Failure { reason, processed }, None));
        }
    };
    let upload = if no_body { None } else { start_upload(body, stream) };
    lease.hold(Connection::Http2 { connection, upload });
    match response.await {
        Ok(response) => {
            let (parts, stream) = response.into_parts();
            let body = Body::http2(stream, &parts.headers);
            Ok(Response::from_parts(parts, body))
        }
        Err(error) => Err((http2_failure(&error, lease), None)),
    }
}

/// Most requests are whole by now and leave within this very turn; only a longer one gets a task of its own.
fn start_upload(body: UploadBody, stream: SendStream<bytes::Bytes>) -> Option<AbortHandle> {
    let mut pump = Pump::new(body, stream);
    let noop = std::task::Waker::noop();
    if let Poll::Ready(end) = pump.poll(&mut std::task::Context::from_waker(noop)) {
        cancel_if_body_failed(&mut pump, &end);
        return None;
    }
    let task = spawn_local(async move {
        let end = std::future::poll_fn(|cx| pump.poll(cx)).await;
        cancel_if_body_failed(&mut pump, &end);
    });
    Some(task.abort_handle())
}

/// The caller left before its body ended: the upstream is told that nobody waits.
fn cancel_if_body_failed(pump: &mut Pump<UploadBody>, end: &PumpEnd) {
    if matches!(end, PumpEnd::Body) {
        pump.reset(h2::Reason::CANCEL);
    }
}

fn http2_failure(error: &h2::Error, lease: &Lease) -> Failure {
    let maybe = |reason| Failure { reason, processed: Processed::Maybe };
    let reason = error.reason();
    if error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM) {
        let processed = Processed::No(RetryReason::RefusedStream);
        Failure { reason: Reason::UpstreamRefusedStream, processed }
    } else if error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR) {
        // With NO_ERROR only the streams above its last one are told; with an error all are, processed or not.
        lease.retire();
        Failure { reason: Reason::UpstreamReset, processed: Processed::No(RetryReason::Goaway) }
    } else if error.is_io() {
        maybe(Reason::UpstreamClosed)
    } else if error.is_remote() {
        maybe(Reason::UpstreamReset)
    } else {
        lease.retire();
        maybe(Reason::UpstreamProtocolError)
    }
}

/// What an attempt holds until the answer's body has ended: its connection and its place in the counts.
pub(super) struct Lease {
    connection: RefCell<Option<Connection>>,
    _in_flight: InFlight,
    endpoint: Arc<EndpointState>,
    meter: Arc<ClusterMeter>,
    started: Instant,
    begun: bool,
    /// Nothing more will come: if it is dropped before that, the attempt was given up here.
    over: Cell<bool>,
    _retry: Option<Permit>,
}

enum Connection {
    Http1(Http1Lease<UploadBody>),
    Http2 { connection: Http2Lease, upload: Option<AbortHandle> },
}

impl Lease {
    fn new(meter: Arc<ClusterMeter>, endpoint: Arc<EndpointState>, retry: Option<Permit>) -> Lease {
        Lease {
            connection: RefCell::default(),
            _in_flight: endpoint.begin(),
            begun: false,
            over: Cell::new(false),
            endpoint,
            meter,
            started: Instant::now(),
            _retry: retry,
        }
    }

    /// The connection is there: from now on the upstream's time runs.
    fn begin(&mut self) {
        self.started = Instant::now();
        self.begun = true;
        self.meter.rq_total.increment(1);
        self.meter.rq_active.increment(1.0);
    }

    fn hold(&self, connection: Connection) {
        self.connection.replace(Some(connection));
    }

    fn retire(&self) {
        if let Some(Connection::Http2 { connection, .. }) = &*self.connection.borrow() {
            connection.retire();
        }
    }

    /// It failed, the upstream cut its answer, or the answer is whole.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// Requests in flight at the endpoint.
    pub(super) fn in_flight(&self) -> u32 {
        self.endpoint.in_flight()
    }

    /// The answer's body was not whole when the request's time was up.
    pub(super) fn ran_out_of_time(&self) {
        self.meter.rq_timeout.increment(1);
        self.endpoint.counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer's body has ended as it should; so has the request's, if `upload_complete`.
    pub(super) fn completed(&self, upload_complete: bool) {
        self.end();
        let mut held = self.connection.borrow_mut();
        if upload_complete
            && let Some(Connection::Http1(connection)) =
                held.take_if(|held| matches!(held, Connection::Http1(_)))
        {
            connection.give_back();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Connection::Http2 { upload: Some(upload), .. }) = &*self.connection.borrow() {
            upload.abort();
        }
        let given_up = !self.over.get();
        if self.begun {
            self.meter.rq_active.decrement(1.0);
            if given_up {
                self.meter.rq_tx_reset.increment(1);
            }
        } else if given_up {
            self.meter.rq_cancelled.increment(1);
        }
    }
}
