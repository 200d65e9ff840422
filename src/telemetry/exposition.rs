//! The text format 0.0.4, by the exporter's own line writers.
//!
//! Law: one TYPE line a family, cumulative buckets, and a `_count` that is the last bucket: the two are read once,
//! together. Knows nothing of how a number got there.

use std::fmt::{self, Display, Write};

use metrics::Key;
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

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
    let mut lines = Lines::new(page);
    for Listed { declared, series } in families {
        if page == Page::Metrics {
            write_help_line(&mut lines.out, &declared.name, None, None, &escape_help(&declared.help));
        }
        write_type_line(&mut lines.out, &declared.name, None, None, declared.kind.as_str());
        for series in series {
            match declared.kind {
                Kind::Counter => {
                    lines.write(&declared.name, "", series, None, Value::Whole(series.span.sum(0)))
                }
                Kind::Gauge => {
                    lines.write(&declared.name, "", series, None, Value::Real(series.span.sum_f64(0)))
                }
                Kind::Histogram => lines.write_histogram(&declared.name, series),
            }
        }
    }
    lines.out
}

struct Lines {
    page: Page,
    out: String,
    /// The name with its label block, kept for its memory.
    head: String,
    no_labels: LabelSet,
}

impl Lines {
    fn new(page: Page) -> Lines {
        let no_labels = LabelSet::from_key_and_global(&Key::from_name(""), &Default::default());
        Lines { page, out: String::with_capacity(64 * 1024), head: String::new(), no_labels }
    }

    fn write_histogram(&mut self, name: &str, series: &Series) {
        let mut count = 0;
        for (bucket, bound) in series.bounds.iter().enumerate() {
            count += series.span.sum(bucket);
            self.write(name, "_bucket", series, Some(bound), Value::Whole(count));
        }
        count += series.span.sum(series.bounds.len());
        self.write(name, "_bucket", series, Some(&"+Inf"), Value::Whole(count));
        self.write(name, "_sum", series, None, Value::Real(series.sum()));
        self.write(name, "_count", series, None, Value::Whole(count));
    }

    /// The label block goes in with the name: it was rendered by the exporter's sanitizers when the series was made,
    /// and a `LabelSet` would render its 26 labels again for each bucket.
    fn write(&mut self, name: &str, suffix: &str, series: &Series, le: Option<&dyn Display>, value: Value) {
        let labels = series.labels.as_str();
        self.head.clear();
        self.head.push_str(name);
        self.head.push_str(suffix);
        if !labels.is_empty() || le.is_some() || self.page == Page::Envoy {
            self.head.push('{');
            self.head.push_str(labels);
            if let Some(le) = le {
                let comma = if labels.is_empty() { "" } else { "," };
                let _infallible = write!(self.head, "{comma}le=\"{le}\"");
            }
            self.head.push('}');
        }
        let none: Option<(&'static str, &str)> = None;
        write_metric_line(&mut self.out, &self.head, None, &self.no_labels, none, value, None);
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

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Whole(value) => value.fmt(f),
            Value::Real(value) if value == f64::INFINITY => f.write_str("+Inf"),
            Value::Real(value) if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            Value::Real(value) => value.fmt(f),
        }
    }
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
