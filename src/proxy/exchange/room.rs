//! How much may be held of requests' bodies: for another attempt, and for copies.
//!
//! Law: what is held for copies alone has a room of its own, so that a shadow which takes nothing costs no other request
//! its retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Exchange;
use crate::proxy::lane::Shared;
use crate::telemetry::ClusterMeter;
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

/// The process's, within the limits of one generation; lent for a moment, or kept.
pub(super) struct OfProcess<S> {
    shared: S,
    most: usize,
    budget: usize,
}

impl<'a> OfProcess<&'a Arc<Shared>> {
    pub(super) fn of(exchange: &'a Exchange) -> Self {
        let limits = &exchange.seat.generation.plane.snapshot.limits;
        let shared = &exchange.downstream.lane.shared;
        OfProcess { shared, most: limits.replay_bytes, budget: limits.replay_budget }
    }

    /// The same, to be kept for a request to `cluster`.
    pub(super) fn kept(self, cluster: Option<Arc<ClusterMeter>>) -> TapeRoom {
        let room = OfProcess { shared: self.shared.clone(), most: self.most, budget: self.budget };
        TapeRoom { room, cluster }
    }
}

/// The process's room as a tape keeps it, whose cluster is told of what is given up.
pub(super) struct TapeRoom {
    room: OfProcess<Arc<Shared>>,
    cluster: Option<Arc<ClusterMeter>>,
}

impl Room for TapeRoom {
    fn take(&self, whose: Whose, held: usize, bytes: usize) -> Result<(), Limit> {
        self.room.take(whose, held, bytes)
    }

    fn give(&self, whose: Whose, bytes: usize) {
        self.room.give(whose, bytes);
    }

    fn note(&self, whose: Whose, limit: Limit) {
        self.room.note(whose, limit);
        if let Some(cluster) = &self.cluster {
            cluster.retry_or_shadow_abandoned.increment(1);
        }
    }
}

impl<S: AsRef<Shared>> OfProcess<S> {
    fn held(&self, whose: Whose) -> (&AtomicUsize, usize) {
        match whose {
            Whose::Attempts => (&self.shared.as_ref().replay, self.budget),
            Whose::Copies => (&self.shared.as_ref().copied, self.most.max(self.budget / COPIES_SHARE)),
        }
    }
}

impl<S: AsRef<Shared>> Room for OfProcess<S> {
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
        let process = &self.shared.as_ref().process;
        process.limit_exceeded(limit);
        if whose == Whose::Attempts {
            process.replay_exceeded.increment(1);
        }
    }
}
