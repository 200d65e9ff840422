//! The life of a request, on one page:
//!
//! 1. **begin**: the generation is taken; it is held to the end ([`Exchange::begin`]).
//! 2. **admit**: one unambiguous reading, or a refusal ([`admit`]).
//! 3. **route**: the best host, then the first route that matches ([`crate::router`]).
//! 4. **split**: the version, by the route's schedule; counted here, whatever comes of it ([`super::split`]).
//! 5. **attempt**: an endpoint of that version, a connection, the answer's head; once more where that is safe ([`attempt`]).
//! 6. **answer**: the head is edited for the caller, the body streams down ([`super::exchange::DownloadBody`]).
//! 7. **finish**: metrics, access log, gauges, when the body has ended or been cut.
//!
//! Law: every way out of 2 to 5 that is not an answer is a [`Reason`], and one table says what the caller gets for it.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use http::request::Parts;
use http::{Method, Request, Response};
use rand::Rng as _;

use super::attempt::{self, Way};
use super::downstream::Downstream;
use super::exchange::{Chosen, DownloadBody, Exchange};
use super::plane::{Plane, RoutePlane};
use super::reply::Reason;
use super::{admit, headers, reply};
use crate::message::body::Body;
use crate::message::http1::HeadError;
use crate::message::{host, path};
use crate::router::Head;
use crate::snapshot::Mode;
use crate::telemetry::families::weir::Limit;
use crate::upstream::breaker;
use crate::words::Protocol;

/// Serves one request. The future may be dropped at any point: that is the caller leaving.
///
/// What is held across a wait is kept small (the head is boxed, a future stands in one place only): the task of a
/// stream is allocated and copied once for each request.
pub(super) async fn serve(downstream: Rc<Downstream>, request: Request<Body>) -> Response<DownloadBody> {
    let (head, download) = begin(&downstream, request);
    let asks_for_head = head.method == Method::HEAD;
    let exchange = download.exchange.clone();
    let answered = {
        let mut answer = pin!(answer(&exchange, head));
        exchange.unless_given_up(answer.as_mut()).await
    };
    let (response, lease) = match answered {
        Ok((response, lease)) => (response, Some(lease)),
        Err(reason) => {
            let reason = exchange.upload.fault_or(reason);
            if exchange.upload.has_broken_off() {
                count_unreadable(&exchange.downstream, reason);
            }
            exchange.blame(reason);
            let response = reason.response(exchange.protocol());
            (if asks_for_head { reply::head_only(response) } else { response }, None)
        }
    };
    let mut head = exchange.answer(response, lease);
    if exchange.upload.has_broken_off() {
        exchange.note_if_left();
    }
    headers::to_downstream(&exchange, head.headers_mut());
    head.map(|()| download)
}

/// Counts what was wrong with bytes of the caller's that have no reading.
fn count_unreadable(downstream: &Downstream, reason: Reason) {
    let process = &downstream.lane.shared.process;
    match reason {
        Reason::HeadTooLarge(detail) => {
            let of_bytes = detail == HeadError::TooLarge.detail();
            process.limit_exceeded(if of_bytes { Limit::HeadBytes } else { Limit::HeadCount });
        }
        Reason::BadRequest(_) => downstream.listener.http.cx_protocol_error.increment(1),
        _ => {}
    }
}

/// Answers a message of which nobody can say what it asks for.
pub(super) fn refuse(downstream: &Rc<Downstream>, reason: Reason) -> Response<DownloadBody> {
    count_unreadable(downstream, reason);
    let download = Exchange::begin_unread(downstream);
    let exchange = download.exchange.clone();
    exchange.blame(reason);
    let mut head = exchange.answer(reason.response(Protocol::Http), None);
    headers::to_downstream(&exchange, head.headers_mut());
    head.map(|()| download)
}

/// Phase 1.
fn begin(downstream: &Rc<Downstream>, request: Request<Body>) -> (Box<Parts>, DownloadBody) {
    let (parts, body) = request.into_parts();
    let download = Exchange::begin(downstream, &parts, body);
    (Box::new(parts), download)
}

/// Phases 2 to 5.
async fn answer(
    exchange: &Rc<Exchange>,
    mut head: Box<Parts>,
) -> Result<(Response<Body>, attempt::Lease), Reason> {
    let (way, timeout) = choose_way(exchange, &mut head)?;
    let mut attempts = pin!(attempt::run(exchange, &way, head));
    match timeout {
        None => attempts.await,
        // The sweep ends a body that runs over; a head that is late is told exactly in time.
        Some(timeout) => {
            let late = Box::pin(tokio::time::sleep(timeout));
            match select(attempts.as_mut(), late).await {
                Either::Left((answered, _)) => answered,
                Either::Right(_) => {
                    attempt::note_timeout(exchange, &way);
                    Err(Reason::Timeout)
                }
            }
        }
    }
}

/// Phases 2 to 4; the head is then as the upstream gets it.
fn choose_way<'a>(exchange: &'a Exchange, head: &mut Parts) -> Result<(Way<'a>, Option<Duration>), Reason> {
    let plane = &*exchange.seat.generation.plane;
    let notable = headers::Notable::of(&head.headers);
    let hops = admit::admit(exchange, head, notable)?;
    exchange.upload.look_ahead()?;
    let at = route(exchange, plane, head)?;
    let route = &plane.routes[at.0].routes[at.1];
    let (target, cluster) = choose(exchange, plane, at, route)?;
    let timeout = headers::timeout(exchange, &head.headers).or(route.timeout);
    set_deadline(exchange, timeout);
    let way = Way {
        http2: attempt::speaks_http2(&plane.clusters[cluster], exchange),
        cluster: &plane.clusters[cluster],
        pools: &exchange.seat.generation.pools[cluster],
        target: &route.targets[target],
        hops,
        repeatable: route.repeatable,
    };
    headers::to_upstream(exchange, head, &way, timeout, notable);
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
    let head = Head {
        method: &parts.method,
        path: &path,
        query,
        host: &host,
        authority,
        scheme: "http",
        headers: &parts.headers,
        caller: seat.caller.map(|caller| &*plane.snapshot.callers[caller]),
        local: exchange.downstream.local,
    };
    let routes = seat.listener.routes;
    let draw = exchange.downstream.lane.dice.borrow_mut().next_u64();
    let table = &plane.routes.get(routes).ok_or(Reason::NoRoute)?.table;
    let Some(found) = table.find(&head, draw) else {
        seat.listener.http.no_route.increment(1);
        return Err(Reason::NoRoute);
    };
    seat.listener.http.requests.increment(1);
    let index = found.index;
    exchange.record.borrow_mut().route = Some(found.route.name.clone());
    if let Cow::Owned(path) = path {
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        headers::set_target(&mut parts.uri, &target)?;
    }
    Ok((routes, index))
}

/// Phase 4: the version and its cluster for the request's protocol.
fn choose(
    exchange: &Exchange,
    plane: &Plane,
    at: (usize, usize),
    route: &RoutePlane,
) -> Result<(usize, usize), Reason> {
    let index = route.split.choose().ok_or(Reason::NoEndpoint)?;
    let target = &route.targets[index];
    if matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        target.choices.increment(1);
    }
    let protocol = exchange.protocol();
    let mut chosen = Chosen {
        route: (at.0 as u32, at.1 as u32),
        target: index as u32,
        version: target.version.clone(),
        _permit: None,
    };
    let result = match target.cluster(protocol) {
        None => {
            exchange.seat.listener.http.no_cluster.increment(1);
            Err(Reason::NoCluster)
        }
        Some(cluster) => {
            let plane = &plane.clusters[cluster];
            exchange.record.borrow_mut().cluster = Some(plane.state.config.name.clone());
            chosen._permit = plane.state.breakers.try_acquire(breaker::Limit::Requests);
            if chosen._permit.is_some() {
                Ok((index, cluster))
            } else {
                Err(attempt::overflow(exchange, plane, breaker::Limit::Requests))
            }
        }
    };
    exchange.chosen.replace(Some(chosen));
    result
}

/// The moment by which the whole request has to be done.
fn set_deadline(exchange: &Exchange, timeout: Option<Duration>) {
    if let Some(timeout) = timeout {
        exchange.deadline.set(Instant::now().checked_add(timeout));
    }
}

impl Exchange {
    /// gRPC or other HTTP.
    pub(super) fn protocol(&self) -> Protocol {
        self.record.borrow().protocol
    }
}
