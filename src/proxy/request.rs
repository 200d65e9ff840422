//! The life of a request, on one page:
//!
//! 1. **begin**: the generation is taken; it is held to the end ([`Exchange::begin`]).
//! 2. **admit**: one unambiguous reading, or a refusal ([`admit`]).
//! 3. **route**: the best host, then the first route that matches ([`crate::router`]).
//! 4. **split**: the version, by the route's schedule; counted here, whatever comes of it ([`super::split`], [`choice`]).
//! 5. **attempt**: an endpoint of that version, a connection, the answer's head; once more where that is safe ([`attempt`]).
//!    On a route with more than versions and weights 4 and 5 go [another way](policed), step by step.
//! 6. **answer**: the head is edited for the caller, the body streams down ([`super::exchange::DownloadBody`]).
//! 7. **finish**: metrics, access log, gauges, when the body has ended or been cut.
//!
//! Law: every way out of 2 to 5 that is not an answer is a [`Reason`], and one table says what the caller gets for it.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::request::Parts;
use http::{Method, Response};
use rand::Rng as _;

use super::attempt::{self, Answered, Way};
use super::downstream::Downstream;
use super::exchange::{DownloadBody, Exchange};
use super::headers::Notable;
use super::plane::{Plane, RoutePlane};
use super::reply::Reason;
use super::{admit, choice, deadline, headers, policed, reply, trace};
use crate::message::body::Body;
use crate::message::http1::HeadError;
use crate::message::{host, path};
use crate::router::Head;
use crate::telemetry::families::weir::Limit;
use crate::words::Protocol;

/// A request whose route is known.
pub(super) struct Routed {
    /// Route configuration and route, by index in the plane.
    pub(super) at: (usize, usize),
    pub(super) notable: Notable,
    /// Hops behind it.
    pub(super) hops: u32,
}

impl Routed {
    /// Its route.
    pub(super) fn route<'a>(&self, exchange: &'a Exchange) -> &'a RoutePlane {
        &exchange.seat.generation.plane.routes[self.at.0].routes[self.at.1]
    }
}

/// Serves one request. The future may be dropped at any point: that is the caller leaving.
///
/// What is held across a wait is kept small (the head is boxed, a future stands in one place only): the task of a
/// stream is allocated and copied once for each request.
pub(super) async fn serve(
    downstream: Rc<Downstream>,
    mut head: Box<Parts>,
    body: Body,
) -> Response<DownloadBody> {
    let download = Exchange::begin(&downstream, &head, body);
    let asks_for_head = head.method == Method::HEAD;
    let exchange = download.exchange.clone();
    if let Some(tracer) = &exchange.seat.generation.plane.tracer {
        trace::begin(&exchange, tracer, &mut head);
    }
    let (mut response, lease) =
        answer(&exchange, head).await.unwrap_or_else(|reason| (own_answer(&exchange, reason), None));
    if asks_for_head && lease.is_none() {
        response = reply::head_only(response);
    }
    let mut head = exchange.answer(response, lease);
    if exchange.upload.has_broken_off() {
        exchange.note_if_left();
    }
    headers::to_downstream(&exchange, head.headers_mut());
    head.map(|()| download)
}

/// What the caller gets for `reason`, and the record too.
pub(super) fn own_answer(exchange: &Exchange, reason: Reason) -> Response<Body> {
    let reason = exchange.upload.fault_or(reason);
    count_faults(&exchange.downstream, reason, exchange.upload.has_broken_off());
    exchange.blame(reason);
    attempt::note_own_answer(exchange, reason);
    let attempts = exchange.record.borrow().attempts;
    reason.response(exchange.protocol(), attempts)
}

/// Counts what was wrong with a caller's message: a bound that it broke, or bytes of which nobody knows where they end.
fn count_faults(downstream: &Downstream, reason: Reason, has_broken_off: bool) {
    let process = &downstream.lane.shared.process;
    match reason {
        Reason::HeadTooLarge(detail) => {
            let of_bytes = detail == HeadError::TooLarge.detail();
            process.limit_exceeded(if of_bytes { Limit::HeadBytes } else { Limit::HeadCount });
        }
        Reason::BadRequest(_) if has_broken_off => downstream.listener.http.cx_protocol_error.increment(1),
        _ => {}
    }
}

/// Answers a message of which nobody can say what it asks for.
pub(super) fn refuse(downstream: &Rc<Downstream>, reason: Reason) -> Response<DownloadBody> {
    count_faults(downstream, reason, true);
    let download = Exchange::begin_unread(downstream);
    let exchange = download.exchange.clone();
    exchange.blame(reason);
    let mut head = exchange.answer(reason.response(Protocol::Http, 0), None);
    headers::to_downstream(&exchange, head.headers_mut());
    head.map(|()| download)
}

/// Phases 2 to 5.
async fn answer(exchange: &Rc<Exchange>, mut head: Box<Parts>) -> Result<Answered, Reason> {
    let routed = admit_and_route(exchange, &mut head).inspect_err(|_| exchange.log_head_as_it_came(&head))?;
    if let Some(filters) = policed::filters(exchange, &routed) {
        exchange.log_head_as_it_came(&head);
        // Apart, so that a plain request holds no room for it.
        return Box::pin(policed::serve(exchange, &routed, filters, head)).await;
    }
    let (way, timeout) =
        choose_way(exchange, &routed, &mut head).inspect_err(|_| exchange.log_head_as_it_came(&head))?;
    let mut attempts = pin!(attempt::run(exchange, &way, head));
    let mut attempts = pin!(exchange.unless_given_up(attempts.as_mut()));
    match timeout {
        None => attempts.await.inspect_err(|reason| {
            if *reason == Reason::GrpcDeadline {
                attempt::note_timeout(exchange, &way);
            }
        }),
        // The sweep ends a body that runs over; a head that is late is told exactly in time.
        Some(_) => {
            let late = Box::pin(deadline::until_late(exchange));
            match select(attempts.as_mut(), late).await {
                Either::Left((answered, _)) => answered,
                Either::Right((reason, _)) => {
                    attempt::note_timeout(exchange, &way);
                    Err(reason)
                }
            }
        }
    }
}

/// Phases 2 and 3.
fn admit_and_route(exchange: &Exchange, head: &mut Parts) -> Result<Routed, Reason> {
    let plane = &*exchange.seat.generation.plane;
    let notable = Notable::of(&head.headers);
    let hops = admit::admit(exchange, head, notable)?;
    exchange.upload.look_ahead()?;
    let at = route(exchange, plane, head)?;
    Ok(Routed { at, notable, hops })
}

/// Phase 4; the head is then as the upstream gets it.
fn choose_way<'a>(
    exchange: &'a Exchange,
    routed: &Routed,
    head: &mut Parts,
) -> Result<(Way<'a>, Option<Duration>), Reason> {
    let route = routed.route(exchange);
    let index = route.split.choose().ok_or(Reason::NoEndpoint)?;
    let way = choice::way(exchange, routed, index)?;
    // Who may ask for another, and does, comes another way.
    let timeout = route.timeout;
    let of_grpc = routed.notable.has(Notable::GRPC_TIMEOUT)
        && deadline::take_grpc(exchange, &mut head.headers, timeout);
    let timeout = timeout.filter(|_| !of_grpc);
    headers::to_upstream(exchange, head, &way, timeout, routed.notable);
    deadline::begin(exchange, timeout);
    exchange.log_request_head(head);
    Ok((way, timeout))
}

/// Phase 3. What was matched is what is forwarded: the target takes the normal form of its path.
fn route(exchange: &Exchange, plane: &Plane, parts: &mut Parts) -> Result<(usize, usize), Reason> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let (raw_path, query) = path::split_query(target);
    let path = path::normalise(raw_path).map_err(|_| Reason::BadRequest("path_normalization_failed"))?;
    let authority = admit::authority(parts).unwrap_or_default();
    let host = match authority {
        "" => Cow::Borrowed(""),
        authority => host::normalise(authority).map_err(|_| Reason::BadRequest("http1.invalid_host"))?,
    };
    let seat = &exchange.seat;
    let routes = seat.listener.routes;
    let table = &plane.routes.get(routes).ok_or(Reason::NoRoute)?.table;
    let head = Head {
        method: &parts.method,
        path: &path,
        query,
        host: &host,
        authority,
        scheme: if table.asks_scheme() { headers::scheme(exchange, &parts.headers) } else { "http" },
        headers: &parts.headers,
        caller: seat.caller.map(|caller| &*plane.snapshot.callers[caller]),
        local: exchange.downstream.local,
    };
    let draw = exchange.downstream.lane.dice.borrow_mut().next_u64();
    let Some(found) = table.find(&head, draw) else {
        seat.listener.http.no_route.increment(1);
        return Err(Reason::NoRoute);
    };
    seat.listener.http.requests.increment(1);
    let index = found.index;
    exchange.record.borrow_mut().route = Some(found.route.name.clone());
    if let Cow::Owned(path) = path {
        exchange.log_head_as_it_came(parts);
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        headers::set_target(&mut parts.uri, &target)?;
    }
    Ok((routes, index))
}

impl Exchange {
    /// gRPC or other HTTP.
    pub(super) fn protocol(&self) -> Protocol {
        self.record.borrow().protocol
    }
}
