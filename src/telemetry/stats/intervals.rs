//! What histograms saw in the last few seconds, beside all that they ever saw: Envoy's "interval".
//!
//! Law: costs nothing while nobody asks. From a look at `/stats` on, what each histogram holds is noted every
//! [`EVERY`], and no more once nobody has looked for [`FORGOTTEN_AFTER`]. Holds no series: one that leaves, leaves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::family::Labels;
use super::super::registry::{Listed, Series};

/// An interval; as Envoy flushes.
const EVERY: Duration = Duration::from_secs(5);
/// After the last look.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Histograms that intervals are kept of, so that they take some megabytes at most. Of others there are none.
const MAX_HISTOGRAMS: usize = 20_000;

/// The buckets with observations, and how many.
type Counts = Box<[(u32, u64)]>;

/// Of the histograms of a family.
type Family = HashMap<Labels, Kept>;

/// See the module. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(in crate::telemetry) struct Intervals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    noted: Option<Instant>,
    kept: HashMap<Cow<'static, str>, Family>,
    /// Whether there were more histograms than are kept.
    is_full: bool,
}

#[derive(Debug)]
struct Kept {
    total: Counts,
    /// None in the first interval, of which nobody knows how it began.
    last: Option<Counts>,
}

impl Intervals {
    /// Somebody looks. `histograms` gives all there are, which is asked of it at the first look alone.
    pub(super) fn look(&self, now: Instant, histograms: impl FnOnce() -> Vec<Listed>) {
        let mut state = self.lock();
        state.looked = Some(now);
        if state.noted.is_none() {
            state.note(now, &histograms());
        }
    }

    /// For each second.
    pub(super) fn tick(&self, now: Instant, histograms: impl FnOnce() -> Vec<Listed>) {
        let mut state = self.lock();
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if state.looked.is_none() {
            return;
        }
        if since(state.looked).is_none_or(|ago| ago >= FORGOTTEN_AFTER) {
            *state = State::default();
        } else if since(state.noted).is_none_or(|ago| ago >= EVERY) {
            state.note(now, &histograms());
        }
    }

    /// The observations of each bucket in the last interval that has ended; `None` where that is not known.
    pub(in crate::telemetry) fn of(&self, family: &str, series: &Series) -> Option<Vec<u64>> {
        let state = self.lock();
        let last = state.kept.get(family)?.get(&series.labels)?.last.as_ref()?;
        let mut counts = vec![0; series.bounds.len() + 1];
        for &(bucket, count) in last {
            if let Some(into) = counts.get_mut(bucket as usize) {
                *into = count;
            }
        }
        Some(counts)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends an interval and begins another.
    fn note(&mut self, now: Instant, histograms: &[Listed]) {
        let (mut before, was_full) = (std::mem::take(&mut self.kept), self.is_full);
        let is_first = self.noted.replace(now).is_none();
        let mut left = MAX_HISTOGRAMS;
        for Listed { declared, series, .. } in histograms {
            let before = before.remove(&declared.name).unwrap_or_default();
            let mut kept = Family::new();
            let used =
                series.iter().map(|series| (series, counts(series))).filter(|(_, total)| !total.is_empty());
            for (series, total) in used.take(left) {
                let last = match before.get(&series.labels) {
                    Some(kept) => Some(since(&total, &kept.total)),
                    // It was not there, or had seen nothing.
                    None if !is_first && !was_full => Some(total.clone()),
                    None => None,
                };
                kept.insert(series.labels.clone(), Kept { total, last });
            }
            left -= kept.len();
            self.kept.insert(declared.name.clone(), kept);
        }
        self.is_full = left == 0;
    }
}

fn counts(series: &Series) -> Counts {
    let buckets = 0..=series.bounds.len();
    buckets.map(|bucket| (bucket as u32, series.span.sum(bucket))).filter(|(_, count)| *count > 0).collect()
}

fn since(total: &Counts, before: &Counts) -> Counts {
    let before_of = |bucket| before.iter().find(|(known, _)| *known == bucket).map_or(0, |(_, count)| *count);
    let grown = total.iter().map(|&(bucket, count)| (bucket, count.saturating_sub(before_of(bucket))));
    grown.filter(|(_, count)| *count > 0).collect()
}
