//! What became of the spans of traced requests.
//!
//! Law: its series are there while tracing is configured; where it is not, nothing is counted and nothing shown.

use super::super::contract::{Label, Values};
use super::super::family::Family;
use super::super::recorder::{Counter, Recorder};

/// Spans that a collector has taken.
pub static SPANS_EXPORTED: Family =
    Family::counter("weir_spans_exported_total", "Spans that the collector has taken.").by(&[]);
/// Spans that nobody will see.
pub static SPANS_DROPPED: Family = Family::counter(
    "weir_spans_dropped_total",
    "Spans that were lost, by reason: queue_full, unreachable, refused or shutdown.",
)
.by(&[Label::new(
    "reason",
    Values::Closed(&["queue_full", "unreachable", "refused", "shutdown"]),
    "`queue_full`: the collector is slower than they come; `unreachable`: it gave no answer, or none but \"later\", five times; `refused`: it will not have them; `shutdown`: the process ended first",
)]);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&SPANS_EXPORTED, &SPANS_DROPPED];

/// Why spans are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanLoss {
    /// The collector takes them more slowly than they are made.
    QueueFull,
    /// The collector gave no answer, or none but "later", each time that it was asked.
    Unreachable,
    /// The collector will not have them.
    Refused,
    /// The process ended before they were sent.
    Shutdown,
}

impl SpanLoss {
    /// Every reason.
    pub const ALL: [SpanLoss; 4] =
        [SpanLoss::QueueFull, SpanLoss::Unreachable, SpanLoss::Refused, SpanLoss::Shutdown];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            SpanLoss::QueueFull => "queue_full",
            SpanLoss::Unreachable => "unreachable",
            SpanLoss::Refused => "refused",
            SpanLoss::Shutdown => "shutdown",
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct SpanMeter {
    exported: Counter,
    dropped: [Counter; SpanLoss::ALL.len()],
}

impl SpanMeter {
    /// Resolves the series, at zero.
    pub fn new(recorder: &Recorder) -> SpanMeter {
        let dropped = |why: SpanLoss| recorder.counter(&SPANS_DROPPED, &[("reason", why.as_str())]);
        SpanMeter { exported: recorder.counter(&SPANS_EXPORTED, &[]), dropped: SpanLoss::ALL.map(dropped) }
    }

    /// So many were taken.
    pub fn export(&self, spans: usize) {
        self.exported.increment(spans as u64);
    }

    /// So many are lost.
    pub fn lose(&self, why: SpanLoss, spans: usize) {
        if spans > 0 {
            self.dropped[why as usize].increment(spans as u64);
        }
    }
}
