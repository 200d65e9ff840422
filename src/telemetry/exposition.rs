//! The text format 0.0.4: the exporter's sanitizers, and lines of our own.
//!
//! Law: one TYPE line a family, cumulative buckets, and a `_count` that is the last bucket: the two are read once,
//! together. Knows nothing of how a number got there.

use std::fmt::Write;
use std::sync::Arc;

use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};

use super::family::Kind;
use super::registry::{Declared, Listed, Series};

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

/// Renders the families in the order given.
pub(super) fn render(families: &[Listed], page: Page) -> String {
    let mut lines = Lines { page, out: String::with_capacity(size_of_page(families)) };
    for Listed { declared, series } in families {
        if page == Page::Metrics {
            write_help_line(&mut lines.out, &declared.name, None, None, &escape_help(&declared.help));
        }
        write_type_line(&mut lines.out, &declared.name, None, None, declared.kind.as_str());
        // The same for all series of a family: made once.
        let bounds: Vec<String> = declared.bounds.iter().map(|bound| format!("le=\"{bound}\"")).collect();
        for series in series {
            match declared.kind {
                Kind::Counter => {
                    lines.write(&declared.name, "", series, "", Value::Whole(series.span.sum(0)))
                }
                Kind::Gauge => {
                    lines.write(&declared.name, "", series, "", Value::Real(series.span.sum_f64(0)))
                }
                Kind::Histogram => lines.write_histogram(&declared.name, series, &bounds),
            }
        }
    }
    lines.out
}

/// About how long the page will be, a little more rather than less: a page of megabytes that grows as it is written is
/// copied again and again, and takes three times its memory.
fn size_of_page(families: &[Listed]) -> usize {
    let of_family = |Listed { declared, series }: &Listed| {
        let of_series = |series: &Arc<Series>| {
            let lines = match declared.kind {
                Kind::Histogram => series.bounds.len() + 3,
                Kind::Counter | Kind::Gauge => 1,
            };
            lines * (declared.name.len() + series.labels.as_str().len() + LINE_REST)
        };
        2 * declared.name.len()
            + declared.help.len()
            + LINE_REST
            + series.iter().map(of_series).sum::<usize>()
    };
    families.iter().map(of_family).sum()
}

/// What stands in a line beside name and labels: a suffix, a bound, a number.
const LINE_REST: usize = 32;

struct Lines {
    page: Page,
    out: String,
}

impl Lines {
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
