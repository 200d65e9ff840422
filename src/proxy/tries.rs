//! The attempts of a request whose route says when to make another, or how long one may take.
//!
//! Laws: all stay within the version that the split chose, on endpoints that were not tried where there are such; none
//! begins after the answer's head has gone down, nor when the request's time is up. A head is held back only for as long as
//! its call may have failed at once. What is certain not to have reached an upstream goes once more in any case (`retry`).
//! Without a policy it is as on a plain split (`attempt::run`).

use std::borrow::Cow;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use http::request::Parts;
use http::{HeaderMap, Response};
use rand::Rng as _;
use tokio::time::sleep;

use super::attempt::{self, Answered, Keeping, Lease, Way};
use super::deadline::{self, Clock, Times};
use super::exchange::Exchange;
use super::reply::Reason;
use super::retry::conditions::{self, Outcome};
use super::retry::{self, Allowance, Failure, Processed, back_off};
use super::trace;
use crate::message::body::Body;
use crate::snapshot::RetryPolicy;
use crate::telemetry::GrpcOutcome;
use crate::telemetry::families::weir::RetryReason;
use crate::telemetry::trace::AttemptEnd;
use crate::upstream::breaker::Permit;
use crate::words::{Flag, GrpcStatus};

mod held;

use held::read_out;

/// What is asked of the attempts of one request.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    policy: Option<Cow<'a, RetryPolicy>>,
    times: Times,
    /// By which an endpoint is chosen, where its cluster goes by one.
    pub(super) hash: Option<u64>,
}

impl<'a> Tries<'a> {
    /// By the route's policy, and by what an internal caller says in `headers`, from which that is taken.
    pub(super) fn new(
        exchange: &Exchange,
        headers: &mut HeaderMap,
        policy: Option<&'a RetryPolicy>,
        times: Times,
    ) -> Tries<'a> {
        if !exchange.seat.internal {
            return Tries { policy: policy.map(Cow::Borrowed), times, hash: None };
        }
        let policy = conditions::asked(policy, headers);
        conditions::strip_asked(headers);
        Tries { policy, times, hash: None }
    }
}

/// Tries until there is an answer to pass on or no further attempt is allowed; the member `first` first.
pub(super) async fn run(
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    head: Box<Parts>,
    tries: &Tries<'_>,
    first: usize,
) -> Result<Answered, Reason> {
    let series = Series {
        exchange,
        way,
        policy: tries.policy.as_deref(),
        idempotent: retry::is_idempotent(&head.method),
        times: tries.times,
        hash: tries.hash,
        begun: Instant::now(),
        tried: Vec::new(),
        retries: 0,
    };
    let attempts = series.run(head, first);
    if tries.times.total().is_none() {
        return attempts.await;
    }
    match select(pin!(attempts), pin!(deadline::until_late(exchange))).await {
        Either::Left((answered, _)) => answered,
        Either::Right((reason, _)) => {
            attempt::note_timeout(exchange, way);
            Err(reason)
        }
    }
}

/// The attempts of one request so far.
struct Series<'a> {
    exchange: &'a Rc<Exchange>,
    way: &'a Way<'a>,
    /// What is said of retries, be it that there are none.
    policy: Option<&'a RetryPolicy>,
    /// The method is.
    idempotent: bool,
    times: Times,
    hash: Option<u64>,
    begun: Instant,
    /// Members, in the order in which they were tried.
    tried: Vec<usize>,
    retries: u32,
}

/// How an attempt ended.
#[allow(clippy::large_enum_variant)] // it is moved once, and mostly the largest
enum Ended {
    /// With an answer; with the status of its trailers, if those came without a message.
    Answered(Response<Body>, Lease, Option<GrpcStatus>),
    /// Without.
    Failed(Failure),
    /// Its own time was up: which of them, as the caller is told it.
    TryTimeout(Reason),
}

impl Ended {
    fn tell_trace(&self, exchange: &Exchange) {
        match self {
            Ended::Answered(_, _, None) => {}
            Ended::Answered(_, _, Some(status)) => {
                trace::note(exchange, || AttemptEnd::Status(GrpcOutcome::Known(*status)));
            }
            Ended::Failed(_) => {} // who has tried has told it
            Ended::TryTimeout(reason) => trace::failed(exchange, *reason),
        }
    }
}

/// What allows another attempt.
#[derive(Clone, Copy)]
struct Cause {
    reason: RetryReason,
    /// It was certainly not processed, so that no policy is needed.
    safe: bool,
}

impl Series<'_> {
    async fn run(mut self, mut head: Box<Parts>, first: usize) -> Result<Answered, Reason> {
        let (mut member, mut permit) = (first, None);
        loop {
            if !self.tried.contains(&member) {
                self.tried.push(member);
            }
            let kept = self.may_go_on(member);
            if self.retries > 0 {
                self.times.left(self.exchange, self.begun.elapsed()).tell(&mut head.headers);
            }
            let keeping = Keeping { body: kept, bears_loss: self.bears_loss() };
            let ended = self.attempt(member, &mut head, keeping, permit.take()).await;
            ended.tell_trace(self.exchange);
            let cause = self.cause(&ended)?;
            let unsent = matches!(&ended, Ended::Failed(failure) if failure.is_unsent());
            let Some(again) = cause.and_then(|cause| self.again(cause, kept || unsent)) else {
                return self.done(ended, cause, head);
            };
            if let Ended::Answered(response, lease, status) = ended {
                self.way.cluster.meter.retried(response.status().as_u16());
                attempt::note_status(self.exchange, status);
                trace::note(self.exchange, || AttemptEnd::GivenUp);
                read_out(response.into_body(), &lease);
            }
            permit = again.permit;
            if !again.pause.is_zero() {
                sleep(again.pause).await;
            }
            member = self.pick().ok_or(Reason::NoEndpoint)?;
        }
    }

    fn pick(&self) -> Option<usize> {
        let elsewhere = self.policy.is_none_or(|policy| policy.elsewhere);
        let tried = if elsewhere { &self.tried[..] } else { &[] };
        attempt::pick(&self.exchange.downstream.lane, self.way.cluster, self.hash, tried)
    }

    /// Retries that are made for a cause that needs a policy.
    fn most(&self) -> u32 {
        self.policy.map_or(1, |policy| policy.retries)
    }

    /// Whether another attempt may follow this one, at `member`, so that what it sends is worth keeping.
    fn may_go_on(&self, member: usize) -> bool {
        let asked = self.policy.is_some() && self.retries < self.most();
        let safe =
            self.retries == 0 && (self.way.http2 || self.bears_loss() || attempt::is_hop(self.way, member));
        asked || safe
    }

    /// Whether the request may be sent again even if the connection is lost under it.
    fn bears_loss(&self) -> bool {
        if self.retries >= self.most() {
            return false;
        }
        let lost = Failure { reason: Reason::UpstreamClosed, processed: Processed::Maybe };
        match self.policy {
            None => self.way.repeatable || self.idempotent,
            Some(policy) => conditions::allows(policy, Outcome::Failed(lost)).is_some(),
        }
    }

    /// One attempt, for as long as one may take to its answer's head; of a unary gRPC call that may be made again for its
    /// status, up to that status, if it is there at once.
    async fn attempt(
        &self,
        member: usize,
        head: &mut Parts,
        keeping: Keeping,
        permit: Option<Permit>,
    ) -> Ended {
        let clock = self.exchange.clock.get();
        if let Some(clock) = clock {
            clock.begin_try(self.exchange);
        }
        let sent = pin!(attempt::once(self.exchange, self.way, member, head, keeping, permit));
        let answered = match clock.filter(|_| self.times.per_try.or(self.times.per_try_idle).is_some()) {
            None => sent.await,
            Some(clock) => match select(sent, pin!(self.out_of_time(clock))).await {
                Either::Left((answered, _)) => answered,
                Either::Right((reason, _)) => {
                    let member = &self.way.cluster.state.members[member];
                    attempt::note_try_timeout(self.exchange, self.way, member);
                    return Ended::TryTimeout(reason);
                }
            },
        };
        match answered {
            Err(failure) => Ended::Failed(failure),
            Ok((response, lease)) if self.awaits_trailers(&response) => {
                self.with_trailers(response, lease).await
            }
            Ok((response, lease)) => Ended::Answered(response, lease, None),
        }
    }

    /// Until the present attempt has taken too long, or has been idle for too long.
    async fn out_of_time(&self, clock: &Clock) -> Reason {
        let whole = pin!(async {
            let Some(bound) = self.times.per_try else { return pending().await };
            clock.until_try_late(bound).await;
        });
        let idle = pin!(async {
            let Some(bound) = self.times.per_try_idle else { return pending().await };
            clock.until_try_idle(self.exchange, bound).await;
        });
        match select(whole, idle).await {
            Either::Left(_) => Reason::PerTryTimeout,
            Either::Right(_) => Reason::PerTryIdle,
        }
    }

    /// What allows another attempt after this one.
    ///
    /// # Errors
    /// What the attempt met with is the caller's own doing.
    fn cause(&self, ended: &Ended) -> Result<Option<Cause>, Reason> {
        let asked = |outcome| {
            let reason = conditions::allows(self.policy?, outcome)?;
            Some(Cause { reason, safe: false })
        };
        Ok(match ended {
            Ended::Answered(response, ..) if attempt::is_misdirected(response) => {
                self.safe(Failure::MISDIRECTED)
            }
            Ended::Answered(response, _, status) => {
                asked(Outcome::Head(response.status().as_u16(), response.headers()))
                    .or_else(|| asked(Outcome::Trailers((*status)?)))
            }
            Ended::Failed(failure) if self.exchange.upload.has_broken_off() => return Err(failure.reason),
            Ended::Failed(failure) if failure.processed == Processed::No(RetryReason::Unsent) => {
                self.safe(*failure).or_else(|| asked(Outcome::Failed(*failure)))
            }
            Ended::Failed(failure) => asked(Outcome::Failed(*failure)).or_else(|| self.safe(*failure)),
            Ended::TryTimeout(_) => asked(Outcome::TryTimeout),
        })
    }

    /// What allows the first retry without a policy: the rules of a plain split; where there is a policy, only what is
    /// certain not to have been processed.
    fn safe(&self, failure: Failure) -> Option<Cause> {
        let plain = self.policy.is_none();
        let allowance = Allowance {
            idempotent: plain && self.idempotent,
            repeatable: plain && self.way.repeatable,
            same_body: true,
            elsewhere: self.way.cluster.state.members.len() > 1,
        };
        let reason = retry::allowed(failure, allowance).filter(|_| self.retries == 0)?;
        Some(Cause { reason, safe: true })
    }

    /// Whether another attempt is made for `cause`, and what it needs. `has_head`: there is one to send.
    fn again(&mut self, cause: Cause, has_head: bool) -> Option<Again> {
        let (exchange, way) = (self.exchange, self.way);
        if self.retries >= self.most() && !cause.safe {
            // Also where the caller has set the number to none, as in Envoy.
            self.used_up();
            return None;
        }
        if !has_head || !exchange.upload.can_be_sent_again() {
            return None;
        }
        let unsent = matches!(cause.reason, RetryReason::Unsent | RetryReason::Misdirected);
        let free = cause.safe && (unsent || cause.reason == RetryReason::Connect);
        let Ok(permit) = attempt::retry_permit(exchange, way, cause.reason, free) else {
            if self.policy.is_some() {
                exchange.record.borrow_mut().flags.raise(Flag::UpstreamOverflow);
            }
            return None;
        };
        self.retries += 1;
        let pause = match self.policy {
            Some(policy) if !unsent => {
                let draw = exchange.downstream.lane.dice.borrow_mut().next_u64();
                back_off::pause(policy.back_off, self.retries, draw)
            }
            _ => Duration::ZERO,
        };
        Some(Again { permit, pause })
    }

    fn used_up(&self) {
        self.way.cluster.meter.rq_retry_limit_exceeded.increment(1);
        self.exchange.record.borrow_mut().flags.raise(Flag::UpstreamRetryLimitExceeded);
    }

    /// The last attempt has ended; what might have allowed another was `cause`.
    fn done(&self, ended: Ended, cause: Option<Cause>, head: Box<Parts>) -> Result<Answered, Reason> {
        match ended {
            Ended::Answered(response, ..) if attempt::is_misdirected(&response) => Err(Reason::NoEndpoint),
            Ended::Answered(response, lease, _) => {
                if cause.is_none() && self.retries > 0 {
                    self.way.cluster.meter.rq_retry_success.increment(1);
                }
                Ok(attempt::settled(self.exchange, head, response, lease))
            }
            Ended::Failed(failure) => {
                if self.policy.is_none() && self.retries > 0 {
                    self.used_up();
                }
                Err(failure.reason)
            }
            Ended::TryTimeout(reason) => Err(reason),
        }
    }
}

/// What another attempt begins with.
struct Again {
    permit: Option<Permit>,
    pause: Duration,
}
