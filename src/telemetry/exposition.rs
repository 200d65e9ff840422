//! The text format 0.0.4: the exporter's sanitizers, and lines of our own.
//!
//! Law: one TYPE line a family, cumulative buckets, and a `_count` that is the last bucket: the two are read once,
//! together. Knows nothing of how a number got there.

use std::fmt::Write;
use std::sync::Arc;

use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};

use super::family::Kind;
use super::registry::{Declared, Listed, Series};
use super::stats::{Intervals, SHARES, Wanted, quantiles};

/// The content type of what is rendered.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which page is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`: everything, with HELP.
    Metrics,
    /// `/stats/prometheus`: the families that a proxy under Envoy's or Istio's name shows, in Envoy's shape: no HELP,
    /// and `{}` after a name without labels.
    Envoy,
}

impl Page {
    pub(super) fn shows(self, declared: &Declared) -> bool {
        self == Page::Metrics || declared.envoy
    }
}

/// The page of some families, in the order given, piece by piece: a page of megabytes is never in memory as a whole.
pub struct Rendered {
    page: Page,
    wanted: Option<Wanted>,
    /// Where histograms are shown as summaries.
    intervals: Option<Intervals>,
    families: std::vec::IntoIter<Listed>,
    current: Option<Current>,
}

/// The family whose series are being written.
struct Current {
    declared: Declared,
    series: std::vec::IntoIter<Arc<Series>>,
    /// The labels `le` or `quantile`, the same for all series of a family: made once.
    bounds: Vec<String>,
}

/// Bytes from which on a piece is handed on; it ends with a line.
const PIECE: usize = 32 << 10;
/// What the last series of a piece may add to it.
const PIECE_REST: usize = 16 << 10;

impl Rendered {
    pub(super) fn new(families: Vec<Listed>, page: Page) -> Rendered {
        Rendered { page, wanted: None, intervals: None, families: families.into_iter(), current: None }
    }

    /// Only what is wanted.
    pub(super) fn sifted(self, wanted: Wanted) -> Rendered {
        Rendered { wanted: Some(wanted), ..self }
    }

    /// Histograms as summaries, with the quantiles of the last interval.
    pub(super) fn with_summaries(self, intervals: Intervals) -> Rendered {
        Rendered { intervals: Some(intervals), ..self }
    }

    fn next_family(&mut self) -> Option<Listed> {
        let Some(wanted) = &self.wanted else { return self.families.next() };
        self.families.by_ref().find_map(|mut family| {
            wanted.sift(&family.declared, &mut family.series);
            (!family.series.is_empty()).then_some(family)
        })
    }
}

impl Iterator for Rendered {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut lines = Lines { page: self.page, out: String::with_capacity(PIECE + PIECE_REST) };
        loop {
            if let Some(current) = &mut self.current {
                for series in current.series.by_ref() {
                    match &self.intervals {
                        Some(intervals) if current.declared.kind == Kind::Histogram => {
                            lines.write_summary(&current.declared, &series, &current.bounds, intervals);
                        }
                        _ => lines.write_series(&current.declared, &series, &current.bounds),
                    }
                    if lines.out.len() >= PIECE {
                        return Some(lines.out);
                    }
                }
            }
            let Some(Listed { declared, series, .. }) = self.next_family() else {
                self.current = None;
                return (!lines.out.is_empty()).then_some(lines.out);
            };
            let bounds = if self.intervals.is_some() && declared.kind == Kind::Histogram {
                lines.begin(&declared, "summary");
                SHARES.iter().map(|share| format!("quantile=\"{share}\"")).collect()
            } else {
                lines.begin(&declared, declared.kind.as_str());
                declared.bounds.iter().map(|bound| format!("le=\"{bound}\"")).collect()
            };
            self.current = Some(Current { declared, series: series.into_iter(), bounds });
        }
    }
}

struct Lines {
    page: Page,
    out: String,
}

impl Lines {
    fn begin(&mut self, declared: &Declared, kind: &str) {
        if self.page == Page::Metrics {
            write_help_line(&mut self.out, &declared.name, None, None, &escape_help(&declared.help));
        }
        write_type_line(&mut self.out, &declared.name, None, None, kind);
    }

    fn write_series(&mut self, declared: &Declared, series: &Series, bounds: &[String]) {
        let name = &declared.name;
        match declared.kind {
            Kind::Counter => self.write(name, "", series, "", Value::Whole(series.span.sum(0))),
            Kind::Gauge | Kind::RealCounter => {
                self.write(name, "", series, "", Value::Real(series.span.sum_f64(0)));
            }
            Kind::Histogram => self.write_histogram(name, series, bounds),
        }
    }

    fn write_histogram(&mut self, name: &str, series: &Series, bounds: &[String]) {
        let mut count = 0;
        for (bucket, bound) in bounds.iter().enumerate() {
            count += series.span.sum(bucket);
            self.write(name, "_bucket", series, bound, Value::Whole(count));
        }
        count += series.span.sum(series.bounds.len());
        self.write(name, "_bucket", series, "le=\"+Inf\"", Value::Whole(count));
        self.write(name, "_sum", series, "", Value::Real(series.sum()));
        self.write(name, "_count", series, "", Value::Whole(count));
    }

    /// Sum and count are those of all time: in Envoy they are the interval's, and no rate can be made of them.
    fn write_summary(&mut self, declared: &Declared, series: &Series, shares: &[String], of: &Intervals) {
        let name = &declared.name;
        let last = of.of(name, series).map(|counts| quantiles(series.bounds, &counts));
        for (share, value) in shares.iter().zip(last.unwrap_or_default()) {
            self.write(name, "", series, share, Value::Real(value.unwrap_or(f64::NAN)));
        }
        self.write(name, "_sum", series, "", Value::Real(series.sum()));
        self.write(name, "_count", series, "", Value::Whole(series.count()));
    }

    /// `name{labels,le="..."} value`. The labels were made safe by the exporter's sanitizers when the series was made; its
    /// own writer of lines would render and copy them again for each bucket, which took most of a scrape.
    fn write(&mut self, name: &str, suffix: &str, series: &Series, le: &str, value: Value) {
        let (labels, out) = (series.labels.as_str(), &mut self.out);
        out.push_str(name);
        out.push_str(suffix);
        if !labels.is_empty() || !le.is_empty() || self.page == Page::Envoy {
            out.push('{');
            out.push_str(labels);
            if !labels.is_empty() && !le.is_empty() {
                out.push(',');
            }
            out.push_str(le);
            out.push('}');
        }
        out.push(' ');
        value.write(out);
        out.push('\n');
    }
}

/// Doubled for the same reason as in a label's value.
fn escape_help(help: &str) -> String {
    help.replace('\\', r"\\")
}

/// A value as the format spells it: Rust writes `inf` where Prometheus writes `+Inf`.
enum Value {
    Whole(u64),
    Real(f64),
}

impl Value {
    fn write(self, out: &mut String) {
        let _infallible = match self {
            Value::Whole(value) => return out.push_str(itoa::Buffer::new().format(value)),
            // Most are zero.
            Value::Real(value) if value.to_bits() == 0 => return out.push('0'),
            Value::Real(value) if value == f64::INFINITY => return out.push_str("+Inf"),
            Value::Real(value) if value == f64::NEG_INFINITY => return out.push_str("-Inf"),
            Value::Real(value) => write!(out, "{value}"),
        };
    }
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
