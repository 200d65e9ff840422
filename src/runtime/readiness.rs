//! Whether the process wants traffic: ready when every part that had to start has started, until it drains.
//!
//! Law: a part is not ready while its [`Blocker`] lives; dropping the blocker is the only way to be done.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of the whole process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting_for: Mutex<BTreeSet<&'static str>>,
    draining: AtomicBool,
    failed: AtomicBool,
}

/// What `/ready` says, in Envoy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes traffic.
    Live,
    /// A part has not started yet.
    Initializing,
    /// Leaving, or asked to fail its health check.
    Draining,
}

impl State {
    /// As the admin page prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Live => "LIVE",
            State::Initializing => "INITIALIZING",
            State::Draining => "DRAINING",
        }
    }
}

/// A part that has not started yet.
#[derive(Debug)]
pub struct Blocker {
    part: &'static str,
    shared: Arc<Shared>,
}

impl Readiness {
    /// Not ready until the returned blocker is dropped.
    pub fn block_on(&self, part: &'static str) -> Blocker {
        self.shared.waiting().insert(part);
        Blocker { part, shared: self.shared.clone() }
    }

    /// The process is leaving; for good.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// POST `/healthcheck/fail` and `/healthcheck/ok`.
    pub fn set_failed(&self, failed: bool) {
        self.shared.failed.store(failed, Ordering::Relaxed);
    }

    /// Whether answers should ask clients to go elsewhere (`connection: close`).
    pub fn is_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// The parts that have not started yet.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.shared.waiting().iter().copied().collect()
    }

    /// The state now.
    pub fn state(&self) -> State {
        if self.shared.draining.load(Ordering::Relaxed) || self.is_failed() {
            State::Draining
        } else if self.shared.waiting().is_empty() {
            State::Live
        } else {
            State::Initializing
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.shared.waiting().remove(self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_blocker_to_go_makes_the_process_ready() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.block_on("a"), readiness.block_on("b"));
        assert_eq!(readiness.state(), State::Initializing);
        drop(a);
        assert_eq!(readiness.state(), State::Initializing);
        drop(b);
        assert_eq!(readiness.state(), State::Live);
    }

    #[test]
    fn a_failed_health_check_can_be_taken_back_but_a_drain_cannot() {
        let readiness = Readiness::default();
        readiness.set_failed(true);
        assert_eq!(readiness.state(), State::Draining);
        readiness.set_failed(false);
        assert_eq!(readiness.state(), State::Live);
        readiness.drain();
        readiness.set_failed(false);
        assert_eq!(readiness.state(), State::Draining);
    }
}
