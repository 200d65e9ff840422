//! The recorder: typed counters, gauges and histograms for the hot path, and the `metrics` facade for the rest.
//!
//! Law: an update takes no lock, allocates nothing and looks nothing up; a handle is resolved once, when a plane is
//! built or a rare series is first used. Knows no metric by name: those are in [`families`](super::families).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::exposition::{Page, Rendered};
use super::family::{Family, Kind, Labels};
use super::registry::{Declared, Registry, Series};
use super::stats::Intervals;

/// The registry of all series and the way to take one up. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Recorder {
    registry: Arc<Mutex<Registry>>,
    intervals: Intervals,
}

impl Recorder {
    /// A recorder with a shard for each of `workers` threads that bind themselves, and one shared by all others.
    pub fn new(workers: usize) -> Recorder {
        Recorder { registry: Arc::new(Mutex::new(Registry::new(workers))), intervals: Intervals::default() }
    }

    /// The counter of these labels; it exists at zero from now on.
    pub fn counter(&self, family: &'static Family, labels: impl Into<Labels>) -> Counter {
        Counter(self.take_up(family, Kind::Counter, labels.into()))
    }

    /// The counter of these labels, of a family of fractions.
    pub fn real_counter(&self, family: &'static Family, labels: impl Into<Labels>) -> RealCounter {
        RealCounter(self.take_up(family, Kind::RealCounter, labels.into()))
    }

    /// The gauge of these labels.
    pub fn gauge(&self, family: &'static Family, labels: impl Into<Labels>) -> Gauge {
        Gauge(self.take_up(family, Kind::Gauge, labels.into()))
    }

    /// The histogram of these labels.
    pub fn histogram(&self, family: &'static Family, labels: impl Into<Labels>) -> Histogram {
        Histogram(self.take_up(family, Kind::Histogram, labels.into()))
    }

    /// Takes a gauge off the pages at once. What others that hold it set is shown nowhere.
    pub fn withdraw(&self, family: &'static Family, gauge: Gauge) {
        self.lock().withdraw(family.name, gauge.0);
    }

    /// Lets go of series whose handles have been gone for fifteen minutes. For the control thread, each minute.
    pub fn expire(&self, now: Instant) {
        self.lock().expire(now);
    }

    /// The text format 0.0.4 of what `page` shows, piece by piece; each number is read when its piece is asked for.
    pub fn pieces(&self, page: Page) -> Rendered {
        Rendered::new(self.lock().list(|declared| page.shows(declared)), page)
    }

    /// The same as a whole.
    pub fn render(&self, page: Page) -> String {
        self.pieces(page).collect()
    }

    /// Bytes that the cells of all series take; observations never change it, only new series do.
    pub fn cell_bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.lock().series()
    }

    fn take_up(&self, family: &'static Family, kind: Kind, labels: Labels) -> Arc<Series> {
        debug_assert_eq!(family.kind, kind, "{} is used as what it is not", family.name);
        debug_assert!(family.takes(&labels), "{} has no such labels: {}", family.name, labels.as_str());
        let declared = Declared::from(family);
        let mut registry = self.lock();
        match registry.take_up(declared.clone(), labels.clone(), false) {
            Some(series) => series,
            // Only the facade can have taken the name with another kind; the caller still gets a working handle.
            None => registry.unlisted(&declared, labels),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn intervals(&self) -> &Intervals {
        &self.intervals
    }
}

/// A count that only grows.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Series>);

impl Counter {
    /// Adds `by`.
    #[inline]
    pub fn increment(&self, by: u64) {
        self.0.span.add(0, by);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.span.sum(0)
    }

    /// The labels that it was taken up by.
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }
}

/// A sum of fractions that somebody else keeps, and that only grows. One thread shows it.
#[derive(Clone, Debug)]
pub struct RealCounter(Arc<Series>);

impl RealCounter {
    /// Shows a new sum; one below what was shown changes nothing.
    pub fn advance_to(&self, sum: f64) {
        if sum > self.get() {
            self.0.span.set_f64(0, sum);
        }
    }

    /// What is shown.
    pub fn get(&self) -> f64 {
        self.0.span.sum_f64(0)
    }
}

/// A value that moves both ways. Either moved or set: a `set` may lose moves that happen at the same time.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Series>);

impl Gauge {
    /// Adds `by`.
    #[inline]
    pub fn increment(&self, by: f64) {
        self.0.span.add_f64(0, by);
    }

    /// Takes `by` away.
    #[inline]
    pub fn decrement(&self, by: f64) {
        self.0.span.add_f64(0, -by);
    }

    /// Makes the value `value`.
    pub fn set(&self, value: f64) {
        self.0.span.set_f64(0, value);
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        self.0.span.sum_f64(0)
    }
}

/// Observations in fixed buckets.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Series>);

impl Histogram {
    /// Counts `value` in the first bucket whose bound is not below it. A NaN is no observation.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// Counts what was placed before: many histograms have the same buckets.
    #[inline]
    pub(super) fn observe_placed(&self, placed: &Placed) {
        if std::ptr::eq(self.0.bounds, placed.bounds) {
            self.0.span.observe(placed.bucket, self.0.bounds.len() + 1, placed.value);
        } else {
            self.0.observe(placed.value);
        }
    }

    /// The upper bounds, without +Inf.
    pub fn bounds(&self) -> &'static [f64] {
        self.0.bounds
    }

    /// Adds the count of each bucket, +Inf last, to `into`, which has one entry more than there are bounds.
    pub fn add_buckets(&self, into: &mut [u64]) {
        for (bucket, count) in into.iter_mut().enumerate().take(self.0.bounds.len() + 1) {
            *count += self.0.span.sum(bucket);
        }
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        self.0.sum()
    }
}

/// Bounds that are passed over at once on the way to a value's bucket.
const STRIDE: usize = 8;

/// A value, which is a number, and the first bucket whose bound is not below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    bounds: &'static [f64],
    bucket: usize,
    value: f64,
}

impl Placed {
    #[inline]
    pub(super) fn new(bounds: &'static [f64], value: f64) -> Placed {
        let (strides, rest) = bounds.as_chunks::<STRIDE>();
        let whole = strides.iter().take_while(|stride| stride[STRIDE - 1] < value).count();
        // Counting all bounds below beats a binary search: it has no branch and no chain of loads.
        let below = |bounds: &[f64]| bounds.iter().map(|&bound| usize::from(bound < value)).sum::<usize>();
        let below = strides.get(whole).map_or_else(|| below(rest), |stride| below(stride));
        Placed { bounds, bucket: whole * STRIDE + below, value }
    }
}

impl Series {
    #[inline]
    pub(super) fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let placed = Placed::new(self.bounds, value);
        self.span.observe(placed.bucket, self.bounds.len() + 1, value);
    }

    pub(super) fn count(&self) -> u64 {
        (0..=self.bounds.len()).map(|bucket| self.span.sum(bucket)).sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.span.sum_f64(self.bounds.len() + 1)
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
