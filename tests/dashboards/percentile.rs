//! What percentiles are, reckoned from the times and sizes of the known traffic without buckets of Weir's or PromQL.
//!
//! Law: a percentile that is shown lies in the bucket of the value that was sent, or between the buckets of the least and
//! the most that this may have been; and another percentile of the same traffic lies elsewhere, or the run tells nothing.

use std::collections::BTreeMap;

use super::book::{Band, Book};
use super::meaning::Meaning;

/// What a rank may lie beside the exact one: pods are scraped at moments of their own, and rates weigh them by that.
const BESIDE: f64 = 0.005;
/// The percentiles that the mixes of the model servers tell apart.
const APART: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// A percentile that panels show.
pub(crate) struct Percentile<'a> {
    pub(crate) board: &'static str,
    pub(crate) panel: &'a str,
    /// Which of the queries of panels with that name, and which percentile it shows.
    pub(crate) number: usize,
    pub(crate) part: f64,
    pub(crate) metric: &'static str,
    /// Labels and the values that they must have.
    pub(crate) of: &'a [(&'static str, &'static [&'static str])],
    pub(crate) by: &'a [&'static str],
    /// What the panel shows of a second, or of a byte, as the metric counts them.
    pub(crate) scale: f64,
    /// It is of so many requests that no other percentile lies where it does.
    pub(crate) apart: bool,
}

impl Percentile<'_> {
    /// What it means, and the groups in which it is not told apart from another percentile.
    pub(crate) fn means(&self, book: &Book) -> (Meaning, Vec<String>) {
        let (mut shows, mut blurred) = (BTreeMap::new(), Vec::new());
        let bounds = book.bounds(self.metric);
        for (labels, seen) in book.observed(self.metric, self.of, self.by) {
            let band = |part| around(&bounds, &seen, part);
            let all = APART.map(band);
            // Only model servers take so long; the times of failures, and sizes, are not mixed.
            let second = if self.metric.ends_with("_milliseconds") || self.metric.ends_with("_time") {
                1e3
            } else {
                1.0
            };
            let mixed = self.apart && all[3][0] >= second;
            if mixed && all.windows(2).any(|two| two[0][1] > two[1][0]) {
                blurred.push(format!("{}: {}: {labels:?}: {all:?}", self.board, self.panel));
            }
            shows.insert(labels, band(self.part).map(|value| value * self.scale));
        }
        assert!(!shows.is_empty(), "{}: {}: nothing is known", self.board, self.panel);
        let meaning = Meaning { board: self.board, panel: self.panel.to_owned(), number: self.number, shows };
        (meaning, blurred)
    }
}

/// From the lower end of the bucket that holds the least of a percentile to the upper end of the one that holds the most.
fn around(bounds: &[f64], seen: &[Band], part: f64) -> Band {
    let ranked = |which: usize, part: f64| {
        let mut values: Vec<f64> = seen.iter().map(|band| band[which]).collect();
        values.sort_by(f64::total_cmp);
        let rank = (part * values.len() as f64).ceil() as usize;
        values[rank.clamp(1, values.len()) - 1]
    };
    let (least, most) = (ranked(0, part - BESIDE), ranked(1, part + BESIDE));
    let below = bounds.iter().copied().filter(|bound| *bound < least).fold(0.0, f64::max);
    let above = bounds.iter().copied().filter(|bound| *bound >= most).fold(f64::INFINITY, f64::min);
    [below, above]
}
