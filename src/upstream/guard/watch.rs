//! What is watched of one endpoint in one cluster, by all workers and by the tasks that look after it.
//!
//! Law: an endpoint is out while its flag says so; never more of them than the bound allows, whoever throws them out at
//! once; everyone that comes in again is counted back, as is one that leaves the cluster while it is out, at once: those
//! who still hold an old generation of the cluster may hold it for hours.

use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Plain;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::runtime::sync::{AtomicU32, AtomicU64};
use crate::telemetry::GuardCounts;

/// Ejected by outlier detection.
const EJECTED: u32 = 1;
/// Found ill by the health check of this place.
const fn failed(check: usize) -> u32 {
    EJECTED << (1 + if check < MAX_CHECKS { check } else { MAX_CHECKS - 1 })
}
/// Health checks that have a flag of their own.
pub(super) const MAX_CHECKS: usize = 30;
/// It is a member of old generations alone. That says nothing of its health; it takes no place among the ejected.
const LEFT: u32 = 1 << 31;

/// What all members of a cluster count together, over all its generations.
#[derive(Debug, Default)]
pub(super) struct Census {
    ejected: AtomicU32,
    /// Counts up with every change of anybody's health: whoever sees it looks at all of them again.
    changes: AtomicU32,
    pub(super) counts: GuardCounts,
    /// What rates of success were compared with in the last interval: of whoever answered, and whether anybody did.
    pub(super) compared: [Compared; 2],
}

/// The average of the endpoints' percentages of successes, and the one below which an endpoint is thrown out.
#[derive(Debug)]
pub(super) struct Compared {
    /// `f64`'s bits; not numbers where nothing was compared.
    average: Plain,
    least: Plain,
}

impl Default for Compared {
    fn default() -> Compared {
        Compared { average: Plain::new(f64::NAN.to_bits()), least: Plain::new(f64::NAN.to_bits()) }
    }
}

impl Compared {
    pub(super) fn tell(&self, compared: Option<(f64, f64)>) {
        let (average, least) = compared.unwrap_or((f64::NAN, f64::NAN));
        self.average.store(average.to_bits(), Relaxed);
        self.least.store(least.to_bits(), Relaxed);
    }

    pub(super) fn told(&self) -> Option<(f64, f64)> {
        let [average, least] = [&self.average, &self.least].map(|bits| f64::from_bits(bits.load(Relaxed)));
        (!average.is_nan() && !least.is_nan()).then_some((average, least))
    }
}

impl Census {
    pub(super) fn ejected(&self) -> u32 {
        self.ejected.load(SeqCst)
    }

    pub(super) fn changes(&self) -> u32 {
        self.changes.load(SeqCst)
    }

    /// Something changed.
    pub(super) fn tell(&self) {
        self.changes.fetch_add(1, SeqCst);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    census: Arc<Census>,
    flags: AtomicU32,
    /// When it comes in again, on the guard's clock. Far away while it is not known.
    out_until_ms: AtomicU64,
    /// How often it went out of late: each time is longer.
    times: AtomicU32,
    /// Since when it is well, for the slow start.
    well_since_ms: Plain,
    /// Failures in a row.
    pub(super) in_row: InRow,
    /// Of this interval and the last, by whoever answered, and by whether anybody did.
    pub(super) external: Rate,
    pub(super) local: Rate,
}

/// Failures in a row, by kind.
#[derive(Debug, Default)]
pub(super) struct InRow {
    pub(super) any_5xx: AtomicU32,
    pub(super) gateway: AtomicU32,
    pub(super) local: AtomicU32,
}

impl InRow {
    fn forget(&self) {
        for count in [&self.any_5xx, &self.gateway, &self.local] {
            count.store(0, Relaxed);
        }
    }
}

/// Requests and successes of an interval.
#[derive(Debug)]
pub(super) struct Rate {
    total: Plain,
    good: Plain,
    /// The last interval's percentage of successes as `f64`'s bits; not a number where there were too few requests.
    told: Plain,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { total: Plain::default(), good: Plain::default(), told: Plain::new(f64::NAN.to_bits()) }
    }
}

impl Rate {
    pub(super) fn count(&self, good: bool) {
        self.total.fetch_add(1, Relaxed);
        if good {
            self.good.fetch_add(1, Relaxed);
        }
    }

    /// Ends the interval: its requests and its percentage of successes, if there were any requests. What comes in
    /// between falls to the next.
    pub(super) fn close(&self) -> Option<(u64, f64)> {
        let good = self.good.swap(0, Relaxed);
        let total = self.total.swap(0, Relaxed);
        (total > 0).then(|| (total, 100.0 * (good.min(total) as f64) / total as f64))
    }

    pub(super) fn tell(&self, percentage: Option<f64>) {
        self.told.store(percentage.unwrap_or(f64::NAN).to_bits(), Relaxed);
    }

    fn told(&self) -> Option<f64> {
        Some(f64::from_bits(self.told.load(Relaxed))).filter(|told| !told.is_nan())
    }
}

impl Watch {
    /// Of an endpoint that is new; `checks`: so many health checks have not found it well yet.
    pub(super) fn new(census: Arc<Census>, checks: usize, now_ms: u64) -> Watch {
        let flags = (0..checks).fold(0, |flags, check| flags | failed(check));
        Watch {
            census,
            flags: AtomicU32::new(flags),
            out_until_ms: AtomicU64::new(u64::MAX),
            times: AtomicU32::new(0),
            well_since_ms: Plain::new(now_ms),
            in_row: InRow::default(),
            external: Rate::default(),
            local: Rate::default(),
        }
    }

    /// Goes on under a new configuration. What is known of it stays: a reload takes no endpoint out. What nobody looks
    /// at any more is forgotten.
    pub(super) fn adopt(&self, checks: usize, has_outlier: bool) {
        let keeps = (0..checks).fold(EJECTED, |flags, check| flags | failed(check));
        let before = self.flags.fetch_and(keeps, SeqCst);
        if before & (LEFT | EJECTED) == LEFT | EJECTED {
            // It had not left after all: its new generation never came into force.
            self.census.ejected.fetch_add(1, SeqCst);
        }
        if before & !keeps != 0 {
            self.census.tell();
        }
        if !has_outlier {
            self.take_back();
        }
    }

    /// No member from now on but of generations that are still held: whoever is left may take its place among the
    /// ejected.
    pub(super) fn leave(&self) {
        if self.flags.fetch_or(LEFT, SeqCst) & (LEFT | EJECTED) == EJECTED {
            self.census.ejected.fetch_sub(1, SeqCst);
            self.census.tell();
        }
    }

    /// Whether nobody says that it is ill.
    pub fn is_healthy(&self) -> bool {
        self.flags.load(SeqCst) & !LEFT == 0
    }

    /// Whether outlier detection has ejected it.
    pub fn is_ejected(&self) -> bool {
        self.flags.load(SeqCst) & EJECTED != 0
    }

    /// Whether a health check finds it ill, or none found it well yet.
    pub fn has_failed_check(&self) -> bool {
        self.flags.load(SeqCst) & !(EJECTED | LEFT) != 0
    }

    /// Whether the health check of this place finds it ill, or has not found it well yet.
    pub(super) fn has_failed(&self, check: usize) -> bool {
        self.flags.load(SeqCst) & failed(check) != 0
    }

    /// The percentages of successes, and of requests that were answered at all, if the last interval had enough of them.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        [self.external.told(), self.local.told()]
    }

    /// Since when it is well.
    pub(super) fn well_for(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.well_since_ms.load(Relaxed))
    }

    /// It is well since then, whatever was known before.
    pub(super) fn set_well_since(&self, since_ms: u64) {
        self.well_since_ms.store(since_ms, Relaxed);
    }

    /// What a health check found. Returns whether that is new.
    pub(super) fn set_check(&self, check: usize, is_well: bool, now_ms: u64) -> bool {
        let flag = failed(check);
        let before =
            if is_well { self.flags.fetch_and(!flag, SeqCst) } else { self.flags.fetch_or(flag, SeqCst) };
        let is_new = (before & flag == 0) != is_well;
        if is_new {
            if before & !(EJECTED | LEFT) == flag {
                self.well_since_ms.store(now_ms, Relaxed);
            }
            self.census.tell();
        }
        is_new
    }

    /// Throws it out until so long as `until` says for its nth time of late, unless as many are out as `may` says.
    pub(super) fn eject(
        &self,
        may: impl Fn(u32) -> bool,
        until: impl FnOnce(u32) -> u64,
        last: u32,
    ) -> Ejected {
        if self.flags.load(SeqCst) & (EJECTED | LEFT) != 0 {
            return Ejected::Before;
        }
        let room = |out: u32| may(out + 1).then_some(out + 1);
        if self.census.ejected.fetch_update(SeqCst, SeqCst, room).is_err() {
            return Ejected::NoRoom;
        }
        let is_in = |flags: u32| (flags & (EJECTED | LEFT) == 0).then_some(flags | EJECTED);
        if self.flags.fetch_update(SeqCst, SeqCst, is_in).is_err() {
            // Another was faster, or it has left.
            self.census.ejected.fetch_sub(1, SeqCst);
            return Ejected::Before;
        }
        let times = (self.times.load(Relaxed) + 1).min(last);
        self.times.store(times, Relaxed);
        self.out_until_ms.store(until(times), SeqCst);
        self.census.tell();
        Ejected::Now
    }

    /// Takes it back if its time is over, and forgets one of its ejections if it was in all the time.
    pub(super) fn end_interval(&self, now_ms: u64) {
        if !self.is_ejected() {
            let times = self.times.load(Relaxed);
            self.times.store(times.saturating_sub(1), Relaxed);
        } else if self.out_until_ms.load(SeqCst) <= now_ms {
            self.take_back();
        }
    }

    /// Takes it back, whatever its time. Its failures are forgotten, or the next few would throw it out again.
    pub(super) fn take_back(&self) {
        if !self.is_ejected() {
            return;
        }
        self.out_until_ms.store(u64::MAX, SeqCst);
        self.in_row.forget();
        let before = self.flags.fetch_and(!EJECTED, SeqCst);
        if before & EJECTED != 0 {
            if before & LEFT == 0 {
                self.census.ejected.fetch_sub(1, SeqCst);
            }
            self.census.tell();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.flags.load(SeqCst) & (EJECTED | LEFT) == EJECTED {
            self.census.ejected.fetch_sub(1, SeqCst);
        }
    }
}

/// What became of an ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ejected {
    Now,
    /// It was out, or is no member any more.
    Before,
    /// As many are out as may be.
    NoRoom,
}
