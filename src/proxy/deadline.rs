//! How long a request may take: the route's bound, what an internal caller asks for, and gRPC's own deadline.
//!
//! Law: what ends first counts. gRPC's deadline runs from the request's head, the route's bounds by a [`Clock`]; what is
//! left of the shortest is what an upstream is told.
//! Source: the gRPC HTTP/2 protocol mapping (`grpc-timeout`); Envoy's `x-envoy-upstream-rq-*` fields.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::exchange::Exchange;
use super::headers;
use crate::message::grpc::timeout;
use crate::snapshot::RoutePolicy;
use crate::words::Protocol;

mod clock;

pub(super) use clock::{Clock, until_late};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const PER_TRY_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");

/// The bounds of one request, from the moment at which its attempts begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// The whole request, with its retries and pauses.
    route: Option<Duration>,
    /// What the caller's `grpc-timeout` leaves.
    grpc: Option<Duration>,
    /// One attempt, to its answer's head.
    pub(super) per_try: Option<Duration>,
    /// One attempt without a byte.
    pub(super) per_try_idle: Option<Duration>,
    /// The head has a `grpc-timeout` that can be read: each attempt tells what is left.
    tells_grpc: bool,
}

/// The bounds of a request with the fields `headers`, as they came, whose route says `route` for the whole of it. What an
/// internal caller says to its proxy alone is taken out.
pub(super) fn of(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    route: Option<Duration>,
    policy: &RoutePolicy,
) -> Times {
    let (protocol, start) = {
        let record = exchange.record.borrow();
        (record.protocol, record.start)
    };
    let retry = policy.retry.as_ref();
    let per_try = take_asked(exchange, headers, PER_TRY_TIMEOUT_MS);
    let per_try = per_try.unwrap_or(retry.and_then(|retry| retry.per_try_timeout));
    let route = take_asked(exchange, headers, TIMEOUT_MS).unwrap_or(route);
    let grpc = (protocol == Protocol::Grpc).then(|| grpc_timeout(headers)).flatten();
    let times = Times::new(route, grpc, policy.timeouts.grpc_max, start.elapsed());
    Times {
        per_try: per_try.filter(|&per_try| times.total().is_none_or(|total| per_try < total)),
        per_try_idle: retry.and_then(|retry| retry.per_try_idle_timeout),
        ..times
    }
}

/// The attempts of a plain request begin, whose route says `route` for the whole of it.
pub(super) fn begin(exchange: &Exchange, route: Option<Duration>) {
    if route.is_some() {
        Clock::start(exchange, route);
    }
}

/// On a plain route, whose bound is `route`: tells the upstream what is left for the one attempt, and takes the caller's
/// deadline for the request's; whether it is the shorter. No timer is set for it then: the caller has one itself, and
/// leaves in time.
pub(super) fn take_grpc(exchange: &Exchange, headers: &mut HeaderMap, route: Option<Duration>) -> bool {
    let (protocol, start) = {
        let record = exchange.record.borrow();
        (record.protocol, record.start)
    };
    let Some(told) = headers.get_mut(GRPC_TIMEOUT).filter(|_| protocol == Protocol::Grpc) else {
        return false;
    };
    let Some(grpc) = timeout::parse(told.as_bytes()) else { return false };
    let times = Times::new(route, Some(grpc), None, start.elapsed());
    *told = timeout::value(times.total().unwrap_or_default());
    exchange.deadline.set(start.checked_add(grpc));
    exchange.swept.set(times.of_grpc());
    times.of_grpc()
}

/// Before another attempt on a plain route: tells its upstream what is left by now.
pub(super) fn tell_again(exchange: &Exchange, headers: &mut HeaderMap) {
    let route = exchange.clock.get().and_then(|clock| clock.route_left());
    if let Some(route) = route {
        headers::expect_timeout(headers, route);
    }
    let total = exchange.deadline.get().map(|at| at.saturating_duration_since(Instant::now()));
    let grpc = exchange.record.borrow().protocol == Protocol::Grpc;
    let told = headers.get_mut(GRPC_TIMEOUT).filter(|told| grpc && timeout::parse(told.as_bytes()).is_some());
    if let (Some(told), Some(left)) = (told, total.into_iter().chain(route).min()) {
        *told = timeout::value(left);
    }
}

/// The bound that an internal caller asks for under `name`, in place of the route's; by zero it asks for none.
fn take_asked(exchange: &Exchange, headers: &mut HeaderMap, name: HeaderName) -> Option<Option<Duration>> {
    if !exchange.seat.internal {
        return None;
    }
    let ms: u64 = headers.remove(name)?.to_str().ok()?.parse().ok()?;
    Some((ms > 0).then(|| Duration::from_millis(ms)))
}

impl Times {
    /// The route's bound, and what is left of gRPC's, of which no more than `grpc_max` counts.
    fn new(
        route: Option<Duration>,
        grpc: Option<Duration>,
        grpc_max: Option<Duration>,
        elapsed: Duration,
    ) -> Times {
        let left = |grpc: Duration| grpc_max.map_or(grpc, |max| grpc.min(max)).saturating_sub(elapsed);
        Times { route, grpc: grpc.map(left), tells_grpc: grpc.is_some(), ..Times::default() }
    }

    /// The shorter of the whole request's.
    pub(super) fn total(&self) -> Option<Duration> {
        self.route.into_iter().chain(self.grpc).min()
    }

    /// That is what the caller's `grpc-timeout` leaves.
    fn of_grpc(&self) -> bool {
        self.grpc.is_some() && self.grpc == self.total()
    }

    /// The attempts begin.
    pub(super) fn begin(&self, exchange: &Exchange) {
        exchange.deadline.set(self.grpc.and_then(|left| Instant::now().checked_add(left)));
        if self.route.or(self.per_try).or(self.per_try_idle).is_some() {
            Clock::start(exchange, self.route);
        }
    }

    /// Tells the upstream of an attempt what there is.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Some(left) = self.total().into_iter().chain(self.per_try).min() else { return };
        // The caller's own deadline it tells itself, in its own field.
        if !self.of_grpc() || self.per_try == Some(left) {
            headers::expect_timeout(headers, left);
        } else {
            headers::expect_no_timeout(headers); // what an earlier attempt was told
        }
        if self.tells_grpc {
            headers.insert(GRPC_TIMEOUT, timeout::value(left));
        }
    }

    /// What is left of them for another attempt, `elapsed` after the first began.
    pub(super) fn left(&self, exchange: &Exchange, elapsed: Duration) -> Times {
        let route = exchange.clock.get().and_then(|clock| clock.route_left());
        Times { route, grpc: self.grpc.map(|grpc| grpc.saturating_sub(elapsed)), ..*self }
    }
}

/// The caller's `grpc-timeout`; `None`: there is none that can be read.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    timeout::parse(headers.get(GRPC_TIMEOUT)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_shorter_of_route_and_grpc_counts_and_grpcs_has_run_since_the_head() {
        let of = |route: Option<u32>, grpc: Option<u32>, max: Option<u32>, elapsed: u32| {
            let ms = |ms: u32| ms * MS;
            let times = Times::new(route.map(ms), grpc.map(ms), max.map(ms), ms(elapsed));
            (times.total().map(|total| total.as_millis()), times.of_grpc())
        };
        assert_eq!(of(None, None, None, 5), (None, false));
        assert_eq!(of(Some(100), None, None, 50), (Some(100), false));
        assert_eq!(of(Some(100), Some(200), None, 50), (Some(100), false));
        assert_eq!(of(Some(100), Some(140), None, 50), (Some(90), true));
        assert_eq!(of(None, Some(140), None, 50), (Some(90), true));
        assert_eq!(of(None, Some(140), Some(100), 50), (Some(50), true));
        assert_eq!(of(Some(100), Some(140), None, 150), (Some(0), true));
    }

    #[test]
    fn an_attempt_is_told_what_the_shortest_bound_leaves() {
        let told = |times: Times, left: u32| {
            let mut headers = HeaderMap::new();
            Times { route: times.route.map(|_| left * MS), ..times }.tell(&mut headers);
            let text = |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
            (text("x-envoy-expected-rq-timeout-ms"), text("grpc-timeout"))
        };
        let total = Times { route: Some(100 * MS), tells_grpc: true, ..Times::default() };
        assert_eq!(told(total, 100), (Some("100".into()), Some("100000u".into())));
        assert_eq!(told(total, 30), (Some("30".into()), Some("30000u".into())));
        assert_eq!(told(total, 0), (Some("0".into()), Some("0u".into())));
        let tried = Times { per_try: Some(40 * MS), tells_grpc: false, ..total };
        assert_eq!(told(tried, 100), (Some("40".into()), None));
        assert_eq!(told(tried, 30), (Some("30".into()), None));
        assert_eq!(told(Times::default(), 30), (None, None));
        let of_grpc = Times { grpc: Some(20 * MS), ..total };
        assert_eq!(told(of_grpc, 30), (None, Some("20000u".into())), "the caller's own it tells itself");
    }

    #[test]
    fn a_later_attempt_is_not_told_the_bound_of_an_earlier_one() {
        let mut headers = HeaderMap::new();
        let times =
            Times { grpc: Some(100 * MS), per_try: Some(40 * MS), tells_grpc: true, ..Times::default() };
        times.tell(&mut headers);
        assert_eq!(headers["x-envoy-expected-rq-timeout-ms"], "40");
        Times { grpc: Some(20 * MS), ..times }.tell(&mut headers);
        assert!(!headers.contains_key("x-envoy-expected-rq-timeout-ms"), "{headers:?}");
        assert_eq!(headers["grpc-timeout"], "20000u");
        // The route's was the shorter, until time had passed that counts for gRPC's alone.
        let of_route = Times { route: Some(50 * MS), per_try: None, ..times };
        of_route.tell(&mut headers);
        assert_eq!(headers["x-envoy-expected-rq-timeout-ms"], "50");
        Times { grpc: Some(20 * MS), ..of_route }.tell(&mut headers);
        assert!(!headers.contains_key("x-envoy-expected-rq-timeout-ms"), "{headers:?}");
    }
}
