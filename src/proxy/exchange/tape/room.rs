//! How much may be held of the bodies that several read.
//!
//! Law: what is held for copies alone has a room of its own, so that a shadow which takes nothing costs no other request
//! its retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::proxy::exchange::Exchange;
use crate::proxy::lane::Shared;
use crate::telemetry::families::weir::Limit;

/// The copies' room is one part in so many of that of the retries; one body fits in any case.
const COPIES_SHARE: usize = 2;

/// For whose sake bytes are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// An attempt may begin anew; copies read the same bytes.
    Attempts,
    /// Only copies have them still to get.
    Copies,
}

/// What may be held, over all requests.
pub(super) trait Room {
    /// Takes `bytes` more where one request holds `held` already.
    fn take(&self, whose: Whose, held: usize, bytes: usize) -> Result<(), Limit>;
    /// Gives `bytes` back.
    fn give(&self, whose: Whose, bytes: usize);
    /// A limit was met: the retries, or a copy, are given up for it.
    fn note(&self, whose: Whose, limit: Limit);
}

/// The process's, within the limits of one generation.
pub(in crate::proxy::exchange) struct OfProcess {
    shared: Arc<Shared>,
    most: usize,
    budget: usize,
}

impl OfProcess {
    pub(in crate::proxy::exchange) fn of(exchange: &Exchange) -> OfProcess {
        let limits = &exchange.seat.generation.plane.snapshot.limits;
        let shared = exchange.downstream.lane.shared.clone();
        OfProcess { shared, most: limits.replay_bytes, budget: limits.replay_budget }
    }

    fn held(&self, whose: Whose) -> (&AtomicUsize, usize) {
        match whose {
            Whose::Attempts => (&self.shared.replay, self.budget),
            Whose::Copies => (&self.shared.copied, self.most.max(self.budget / COPIES_SHARE)),
        }
    }
}

impl Room for OfProcess {
    fn take(&self, whose: Whose, held: usize, bytes: usize) -> Result<(), Limit> {
        if held + bytes > self.most {
            return Err(Limit::ReplayBytes);
        }
        let (all, budget) = self.held(whose);
        if all.load(Ordering::Relaxed) + bytes > budget {
            return Err(Limit::ReplayBudget);
        }
        all.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give(&self, whose: Whose, bytes: usize) {
        self.held(whose).0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn note(&self, whose: Whose, limit: Limit) {
        self.shared.process.limit_exceeded(limit);
        if whose == Whose::Attempts {
            self.shared.process.replay_exceeded.increment(1);
        }
    }
}
