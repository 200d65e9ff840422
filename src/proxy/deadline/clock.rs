//! The clock of a request whose route bounds its time: it stands still while the request's caller is waited for.
//!
//! Laws: as in Envoy, the route's bound begins when the request has come whole, and an attempt's own not before that
//! attempt has a connection. Of a request that has not come whole, time counts from the last byte that was taken of it: an
//! upstream, or a queue of ours, that takes nothing is late, a caller that sends nothing is not. gRPC's deadline counts from
//! the head, whatever comes.
//! Source: Envoy's `RouteAction.timeout`, `RetryPolicy.per_try_timeout` and `per_try_idle_timeout`.

use std::cell::Cell;
use std::future::pending;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::proxy::exchange::Exchange;
use crate::proxy::reply::Reason;
use crate::runtime::clock;

/// See the module.
pub(in crate::proxy) struct Clock {
    /// The route's bound.
    route: Option<Duration>,
    /// gRPC's deadline.
    grpc: Option<Instant>,
    /// All of the request was here when the clock was started.
    whole: bool,
    /// Since when others than the caller are waited for.
    since: Cell<Option<Instant>>,
    /// The same within the present attempt.
    try_since: Cell<Option<Instant>>,
}

impl Clock {
    /// The attempts begin. What bounds the request already is gRPC's deadline.
    pub(super) fn start(exchange: &Exchange, route: Option<Duration>) {
        let clock = exchange.clock.get_or_init(|| {
            Box::new(Clock {
                route,
                grpc: exchange.deadline.get(),
                whole: exchange.upload.has_arrived(),
                since: Cell::new(Some(Instant::now())),
                try_since: Cell::new(None),
            })
        });
        clock.tell(exchange);
    }

    /// Another attempt begins, which has no connection yet.
    pub(in crate::proxy) fn begin_try(&self, exchange: &Exchange) {
        self.try_since.set(None);
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            self.tell(exchange);
        }
    }

    /// It has one.
    pub(in crate::proxy) fn connected(&self) {
        self.try_since.set(Some(Instant::now()));
    }

    /// The caller was asked for more of a request that is not whole; whether it `came`.
    pub(in crate::proxy) fn asked(&self, exchange: &Exchange, came: bool) {
        if self.whole {
            return;
        }
        let since = came.then(Instant::now);
        self.since.set(since);
        self.try_since.set(since);
        self.tell(exchange);
    }

    fn tell(&self, exchange: &Exchange) {
        let route = self.since.get().zip(self.route).and_then(|(since, route)| since.checked_add(route));
        exchange.deadline.set(route.into_iter().chain(self.grpc).min());
    }

    /// What the route's bound leaves.
    pub(super) fn route_left(&self) -> Option<Duration> {
        let gone = self.since.get().map_or(Duration::ZERO, |since| since.elapsed());
        self.route.map(|route| route.saturating_sub(gone))
    }

    /// Until the present attempt has taken longer than `bound`.
    pub(in crate::proxy) async fn until_try_late(&self, bound: Duration) {
        self.until_try(bound, || Duration::MAX).await;
    }

    /// Until nothing has moved in the present attempt for as long as `bound`.
    pub(in crate::proxy) async fn until_try_idle(&self, exchange: &Exchange, bound: Duration) {
        self.until_try(bound, || clock::now().since(exchange.progress())).await;
    }

    /// A clock that stands is looked at again in time: it begins anew when it goes on.
    async fn until_try(&self, bound: Duration, since_progress: impl Fn() -> Duration) {
        loop {
            let gone =
                self.try_since.get().map_or(Duration::ZERO, |since| since.elapsed().min(since_progress()));
            match bound.checked_sub(gone).filter(|left| !left.is_zero()) {
                Some(left) => sleep(left).await,
                None => return,
            }
        }
    }
}

/// Until the time of a request is up; what its caller gets then. A clock that stands is looked at again in time.
pub(in crate::proxy) async fn until_late(exchange: &Exchange) -> Reason {
    let clock = exchange.clock.get();
    loop {
        match exchange.deadline.get() {
            Some(at) if at <= Instant::now() => {
                let of_grpc = clock.is_none_or(|clock| clock.grpc.is_some_and(|grpc| grpc <= at));
                return if of_grpc { Reason::GrpcDeadline } else { Reason::Timeout };
            }
            Some(at) => sleep_until(at.into()).await,
            None => match clock.and_then(|clock| clock.route) {
                Some(route) => sleep(route).await,
                None => pending().await,
            },
        }
    }
}
