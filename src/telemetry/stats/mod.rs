//! All series by their dotted names, as Envoy's `/stats` shows them: as lines of text, or as JSON.
//!
//! Law: as the pages for Prometheus, piece by piece, and each number is read when its piece is asked for. Counters count
//! from the last reset that somebody asked for; the pages for Prometheus know nothing of it, as to them a counter that
//! falls means that the process began anew.

mod form;
mod intervals;
mod merge;
mod name;
mod quantiles;

use std::sync::Arc;
use std::time::Instant;

use regex::Regex;

pub(super) use intervals::Intervals;
pub(super) use quantiles::{SHARES, quantiles};

use super::exposition::{Page, Rendered};
use super::family::Kind;
use super::recorder::Recorder;
use super::registry::{Declared, Listed, Series};
use form::Writer;
use merge::Merge;
use name::Shape;

/// Bytes from which on a piece is handed on.
const PIECE: usize = 32 << 10;
/// What the last series of a piece may add to it.
const PIECE_REST: usize = 16 << 10;

/// Which series are shown.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those that have ever been written to.
    pub used_only: bool,
    /// Only those of one kind.
    pub kind: Option<StatKind>,
    /// Only those in whose dotted names this is found.
    pub filter: Option<Regex>,
    /// Only those in whose names it is not found.
    pub invert_filter: bool,
}

/// Envoy's kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Envoy's words
pub enum StatKind {
    Counters,
    Gauges,
    Histograms,
    /// There are none.
    TextReadouts,
}

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Form {
    Text,
    Json,
}

/// What is shown of a histogram, of its last interval and of all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// None: quantiles.
    #[default]
    Summary,
    /// Each bucket with all below it.
    Cumulative,
    /// Each bucket alone.
    Disjoint,
    /// Each bucket with something in it, by its place and width, and the quantiles.
    Detailed,
}

impl Wanted {
    pub(super) fn takes_family(&self, declared: &Declared) -> bool {
        let is = match declared.kind {
            Kind::Counter | Kind::RealCounter => StatKind::Counters,
            Kind::Gauge => StatKind::Gauges,
            Kind::Histogram => StatKind::Histograms,
        };
        self.kind.is_none_or(|kind| kind == is)
    }

    /// Leaves in `series` what is wanted of a family.
    pub(super) fn sift(&self, declared: &Declared, series: &mut Vec<Arc<Series>>) {
        if self.used_only {
            series.retain(|series| is_used(declared.kind, series));
        }
        if let Some(filter) = &self.filter {
            let (shape, mut name) = (Shape::of(&declared.name), String::new());
            series.retain(|series| {
                name.clear();
                shape.write(series.labels.as_str(), &mut name);
                filter.is_match(&name) != self.invert_filter
            });
        }
    }
}

/// Whether anything was ever counted, set or observed.
fn is_used(kind: Kind, series: &Series) -> bool {
    match kind {
        Kind::Counter => series.span.sum(0) > 0,
        Kind::RealCounter => series.span.sum_f64(0) > 0.0,
        Kind::Gauge => series.span.is_set(0),
        Kind::Histogram => (0..=series.bounds.len()).any(|bucket| series.span.sum(bucket) > 0),
    }
}

/// A page, piece by piece.
pub struct Stats {
    writer: Writer,
    scalars: Merge,
    histograms: Merge,
    intervals: Intervals,
    phase: Phase,
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begin,
    Scalars,
    Histograms,
    End,
}

impl Recorder {
    /// The series that are wanted by their dotted names: counters and gauges, then histograms, each in order.
    pub fn stats(&self, wanted: Wanted, form: Form, buckets: Buckets, now: Instant) -> Stats {
        let list = |is_histogram| {
            self.lock().list(|declared| {
                (declared.kind == Kind::Histogram) == is_histogram && wanted.takes_family(declared)
            })
        };
        let (scalars, histograms) = (list(false), list(true));
        if !histograms.is_empty() {
            self.look(now);
        }
        let wanted = Arc::new(wanted);
        Stats {
            writer: Writer::new(form, buckets),
            scalars: Merge::new(scalars, wanted.clone()),
            histograms: Merge::new(histograms, wanted),
            intervals: self.intervals().clone(),
            phase: Phase::Begin,
            name: String::new(),
        }
    }

    /// A page for Prometheus with the families and series that are wanted. `summaries`: histograms as these.
    pub fn pieces_of(&self, page: Page, wanted: Wanted, summaries: bool, now: Instant) -> Rendered {
        let listed = self.lock().list(|declared| page.shows(declared) && wanted.takes_family(declared));
        let rendered = Rendered::new(listed, page).sifted(wanted);
        if !summaries {
            return rendered;
        }
        self.look(now);
        rendered.with_summaries(self.intervals().clone())
    }

    /// Lets the counters of [`stats`](Recorder::stats) count from here; those for Prometheus go on.
    pub fn reset_counters(&self) {
        self.lock().reset_counters();
    }

    /// For the control thread, each second.
    pub fn tick(&self, now: Instant) {
        self.intervals().tick(now, || self.histograms());
    }

    /// Somebody looks at what histograms saw in the last interval.
    pub(super) fn look(&self, now: Instant) {
        self.intervals().look(now, || self.histograms());
    }

    fn histograms(&self) -> Vec<Listed> {
        self.lock().list(|declared| declared.kind == Kind::Histogram)
    }
}

impl Iterator for Stats {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::with_capacity(PIECE + PIECE_REST);
        while out.len() < PIECE {
            match self.phase {
                Phase::Begin => {
                    self.writer.begin(&mut out);
                    self.phase = Phase::Scalars;
                }
                Phase::Scalars => match self.scalars.next(&mut self.name) {
                    Some((family, series)) => {
                        self.writer.scalar(&mut out, &self.name, number(&family, &series));
                    }
                    None => self.phase = Phase::Histograms,
                },
                Phase::Histograms => match self.histograms.next(&mut self.name) {
                    Some((family, series)) => {
                        let last = self.intervals.of(&family.declared.name, &series);
                        self.writer.histogram(&mut out, &self.name, &series, last.as_deref());
                    }
                    None => {
                        self.writer.end(&mut out);
                        self.phase = Phase::End;
                    }
                },
                Phase::End => break,
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// What a counter or a gauge shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(u64),
    Real(f64),
}

fn number(family: &Listed, series: &Series) -> Number {
    let before = family.reset.as_ref().and_then(|reset| reset.get(&series.labels)).copied();
    match family.declared.kind {
        Kind::Counter => Number::Whole(series.span.sum(0).saturating_sub(before.unwrap_or(0))),
        Kind::RealCounter => Number::Real(series.span.sum_f64(0) - before.map_or(0.0, f64::from_bits)),
        Kind::Gauge | Kind::Histogram => Number::Real(series.span.sum_f64(0)),
    }
}

#[cfg(test)]
mod tests;
