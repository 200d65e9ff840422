//! Circuit breakers: limits of a cluster over all workers, held by permits that give themselves back.
//!
//! Source: Envoy's `circuit_breakers.thresholds`. Law: the count of permits out never passes the limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::runtime::sync::AtomicU32;
use crate::snapshot::CircuitBreakers;

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

    fn try_take(&self) -> bool {
        let limit = self.limit();
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
        let CircuitBreakers { connections, pending, requests, retries, .. } = *limits;
        Breakers { limits: [connections, pending, requests, retries].map(Breaker::new) }
    }

    /// Takes the limits of a new configuration; what is out stays out.
    pub fn adopt(&self, limits: &CircuitBreakers) {
        let CircuitBreakers { connections, pending, requests, retries, .. } = *limits;
        for (breaker, limit) in self.limits.iter().zip([connections, pending, requests, retries]) {
            breaker.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// One of the four.
    pub fn of(&self, limit: Limit) -> &Breaker {
        &self.limits[limit as usize]
    }

    /// A permit, unless the limit is reached.
    pub fn try_acquire(self: &Arc<Self>, limit: Limit) -> Option<Permit> {
        self.of(limit).try_take().then(|| Permit { breakers: self.clone(), limit })
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
    fn a_lower_limit_holds_for_the_next_permit_and_takes_none_away() {
        let breakers = Arc::new(Breakers::new(&CircuitBreakers::default()));
        let held: Vec<_> = (0..5).filter_map(|_| breakers.try_acquire(Limit::Pending)).collect();
        breakers.adopt(&CircuitBreakers { pending: 3, ..CircuitBreakers::default() });
        assert!(breakers.try_acquire(Limit::Pending).is_none());
        drop(held);
        assert_eq!(breakers.of(Limit::Pending).out(), 0);
    }
}
