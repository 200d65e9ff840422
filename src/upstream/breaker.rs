//! Circuit breakers: limits of a cluster over all workers, held by permits that give themselves back.
//!
//! Source: Envoy's `circuit_breakers.thresholds`. Law: the count of permits out never passes the limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::runtime::sync::{AtomicU32, AtomicU64};
use crate::snapshot::{CircuitBreakers, RetryBudget};

/// One limit.
#[derive(Debug)]
pub struct Breaker {
    out: AtomicU32,
    limit: AtomicU32,
}

impl Breaker {
    fn new(limit: u32) -> Breaker {
        Breaker { out: AtomicU32::new(0), limit: AtomicU32::new(limit) }
    }

    /// Permits out now.
    pub fn out(&self) -> u32 {
        self.out.load(Ordering::Relaxed)
    }

    /// The limit now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn try_take(&self, limit: u32) -> bool {
        self.out
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |out| (out < limit).then_some(out + 1))
            .is_ok()
    }

    fn take_anyway(&self) {
        self.out.fetch_add(1, Ordering::Relaxed);
    }

    fn give(&self) {
        self.out.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Limit {
    Connections,
    Pending,
    Requests,
    Retries,
}

impl Limit {
    /// All four, in Envoy's order.
    pub const ALL: [Limit; 4] = [Limit::Connections, Limit::Pending, Limit::Requests, Limit::Retries];
}

/// The four limits of one cluster. Kept over reloads, so that permits out stay counted.
#[derive(Debug)]
pub struct Breakers {
    limits: [Breaker; 4],
    budget: Budget,
}

/// In place of a limit of retries: a share of the requests in flight, but not less than so many.
#[derive(Debug)]
struct Budget {
    /// In the upper half millionths, in the lower the least: one word, so that nobody sees the one without the other.
    word: AtomicU64,
}

/// No budget: it takes no share of ten thousand.
const NO_BUDGET: u64 = u64::MAX;
const MILLION: u64 = 1_000_000;

impl Budget {
    fn new(budget: Option<RetryBudget>) -> Budget {
        Budget { word: AtomicU64::new(Budget::word(budget)) }
    }

    fn word(budget: Option<RetryBudget>) -> u64 {
        budget.map_or(NO_BUDGET, |RetryBudget { share, min_concurrency }| {
            let parts = u64::from(share.numerator) * MILLION / u64::from(share.denominator).max(1);
            parts.min(MILLION) << 32 | u64::from(min_concurrency)
        })
    }

    /// What it allows while so many requests are in flight.
    fn limit(&self, requests: u32) -> Option<u32> {
        let word = self.word.load(Ordering::Relaxed);
        if word == NO_BUDGET {
            return None;
        }
        let share = u64::from(requests) * (word >> 32) / MILLION;
        Some(u32::try_from(share).unwrap_or(u32::MAX).max(word as u32))
    }
}

/// One unit of one limit, until dropped.
#[derive(Debug)]
pub struct Permit {
    breakers: Arc<Breakers>,
    limit: Limit,
}

impl Breakers {
    /// Nothing is out.
    pub fn new(limits: &CircuitBreakers) -> Breakers {
        let CircuitBreakers { connections, pending, requests, retries, retry_budget } = *limits;
        let limits = [connections, pending, requests, retries].map(Breaker::new);
        Breakers { limits, budget: Budget::new(retry_budget) }
    }

    /// Takes the limits of a new configuration; what is out stays out.
    pub fn adopt(&self, limits: &CircuitBreakers) {
        let CircuitBreakers { connections, pending, requests, retries, retry_budget } = *limits;
        self.budget.word.store(Budget::word(retry_budget), Ordering::Relaxed);
        for (breaker, limit) in self.limits.iter().zip([connections, pending, requests, retries]) {
            breaker.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// One of the four.
    pub fn of(&self, limit: Limit) -> &Breaker {
        &self.limits[limit as usize]
    }

    /// How many permits there may be now: of retries, what their budget gives if there is one.
    #[inline]
    pub fn allowed(&self, limit: Limit) -> u32 {
        if limit == Limit::Retries
            && let Some(budget) = self.budget.limit(self.of(Limit::Requests).out())
        {
            return budget;
        }
        self.of(limit).limit()
    }

    /// Permits that there are now beside those out.
    pub fn remaining(&self, limit: Limit) -> u32 {
        self.allowed(limit).saturating_sub(self.of(limit).out())
    }

    /// Whether there is no further permit now.
    pub fn is_open(&self, limit: Limit) -> bool {
        self.of(limit).out() >= self.allowed(limit)
    }

    /// A permit, unless the limit is reached.
    #[inline]
    pub fn try_acquire(self: &Arc<Self>, limit: Limit) -> Option<Permit> {
        self.of(limit).try_take(self.allowed(limit)).then(|| Permit { breakers: self.clone(), limit })
    }

    /// A permit even beyond the limit: a worker without a connection to an endpoint may always open one.
    pub fn acquire_anyway(self: &Arc<Self>, limit: Limit) -> Permit {
        self.of(limit).take_anyway();
        Permit { breakers: self.clone(), limit }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breakers.of(self.limit).give();
    }
}

#[cfg(all(test, feature = "models"))]
#[path = "breaker_models.rs"]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Fraction;

    #[test]
    fn permits_never_pass_the_limit_and_come_back_when_dropped() {
        let breakers =
            Arc::new(Breakers::new(&CircuitBreakers { requests: 2, ..CircuitBreakers::default() }));
        let first = breakers.try_acquire(Limit::Requests).expect("room");
        let _second = breakers.try_acquire(Limit::Requests).expect("room");
        assert!(breakers.try_acquire(Limit::Requests).is_none());
        drop(first);
        assert!(breakers.try_acquire(Limit::Requests).is_some());
        assert_eq!(breakers.of(Limit::Requests).out(), 1);
    }

    #[test]
    fn a_budget_allows_retries_as_a_share_of_the_requests_but_never_less_than_it_says() {
        let share = Fraction { numerator: 200_000, denominator: 1_000_000 };
        let budget = RetryBudget { share, min_concurrency: 3 };
        let limits = CircuitBreakers { retry_budget: Some(budget), retries: 0, ..CircuitBreakers::default() };
        let breakers = Arc::new(Breakers::new(&limits));
        let take = |limit, count| -> Vec<Permit> {
            (0..count).filter_map(|_| breakers.try_acquire(limit)).collect()
        };
        let none_else = take(Limit::Retries, 100);
        assert_eq!(none_else.len(), 3, "`retries` is not looked at");
        drop(none_else);
        let requests = take(Limit::Requests, 50);
        assert_eq!(take(Limit::Retries, 100).len(), 10);
        assert!(!breakers.is_open(Limit::Retries));
        drop(requests);
        assert_eq!(take(Limit::Retries, 100).len(), 3);
        breakers.adopt(&CircuitBreakers { retries: 1, ..CircuitBreakers::default() });
        assert_eq!(take(Limit::Retries, 100).len(), 1, "without a budget `retries` counts");
    }

    #[test]
    fn a_lower_limit_holds_for_the_next_permit_and_takes_none_away() {
        let breakers = Arc::new(Breakers::new(&CircuitBreakers::default()));
        let held: Vec<_> = (0..5).filter_map(|_| breakers.try_acquire(Limit::Pending)).collect();
        breakers.adopt(&CircuitBreakers { pending: 3, ..CircuitBreakers::default() });
        assert!(breakers.try_acquire(Limit::Pending).is_none());
        drop(held);
        assert_eq!(breakers.of(Limit::Pending).out(), 0);
    }
}
