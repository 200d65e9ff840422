//! What a metric is before it has a value: its family (name, help, kind, buckets) and its labels.
//!
//! Law: names and label names are the program's, so they are `'static`; only label values come from outside.

use std::sync::Arc;

use metrics_exporter_prometheus::formatting::{sanitize_label_key, sanitize_label_value};

use super::contract::Label;
use super::shard::CELLS_PER_BLOCK;

/// What the values of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count that only grows.
    Counter,
    /// A sum of fractions that only grows.
    RealCounter,
    /// A value that moves both ways.
    Gauge,
    /// Observations counted in fixed buckets.
    Histogram,
}

impl Kind {
    /// The word of the text format's `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter | Kind::RealCounter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family of series: everything they share but the labels.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name as Prometheus sees it, without `_bucket`, `_sum` or `_count`.
    pub name: &'static str,
    /// One sentence for people, with the unit.
    pub help: &'static str,
    /// What the values mean.
    pub kind: Kind,
    /// Upper bounds, inclusive and ascending, without +Inf; for histograms only.
    pub buckets: Option<&'static [f64]>,
    /// Whether it is shown on Envoy's page, `/stats/prometheus`, too.
    pub envoy: bool,
    /// The labels of its series, in their order. `None`: nobody promised any, as in a test.
    pub labels: Option<&'static [Label]>,
    /// A family that has the same series with the same values: they are counted once and shown under both names.
    pub also: Option<&'static Family>,
}

impl Family {
    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Counter, buckets: None, envoy: false, labels: None, also: None }
    }

    /// A counter of fractions, such as seconds.
    pub const fn real_counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::RealCounter, buckets: None, envoy: false, labels: None, also: None }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Gauge, buckets: None, envoy: false, labels: None, also: None }
    }

    /// A histogram. Bounds that do not ascend, or too many of them, do not compile in a `static`.
    pub const fn histogram(name: &'static str, help: &'static str, buckets: &'static [f64]) -> Family {
        assert!(buckets.len() + 2 <= CELLS_PER_BLOCK, "too many buckets");
        let mut i = 1;
        while i < buckets.len() {
            assert!(buckets[i - 1] < buckets[i], "buckets must ascend");
            i += 1;
        }
        Family {
            name,
            help,
            kind: Kind::Histogram,
            buckets: Some(buckets),
            envoy: false,
            labels: None,
            also: None,
        }
    }

    /// The same family, shown on Envoy's page as well.
    pub const fn on_envoys_page(self) -> Family {
        Family { envoy: true, ..self }
    }

    /// The same family, each of whose series has exactly these labels.
    pub const fn by(self, labels: &'static [Label]) -> Family {
        Family { labels: Some(labels), ..self }
    }

    /// The same family, whose series are shown as those of `other` too.
    pub const fn also(self, other: &'static Family) -> Family {
        Family { also: Some(other), ..self }
    }

    /// Whether series may have these labels.
    pub(super) fn takes(&self, labels: &Labels) -> bool {
        self.labels.is_none_or(|promised| promised.iter().map(|label| label.name).eq(labels.names()))
    }
}

/// The labels of a series, rendered once: `a="b",c="d"`, escaped. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Renders the pairs in the order given, which is part of a series' identity.
    pub fn new(pairs: &[(&str, &str)]) -> Labels {
        let mut text = String::with_capacity(pairs.iter().map(|(k, v)| k.len() + v.len() + 4).sum());
        for (key, value) in pairs {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&sanitize_label_key(key));
            text.push_str("=\"");
            text.push_str(&escape(value));
            text.push('"');
        }
        Labels(text.into())
    }

    /// The rendered pairs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names alone, in their order.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, value) = rest.split_once("=\"")?;
            // A quote within a value is escaped, and so is a backslash.
            let mut escaped = false;
            let end = value.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            rest = value.get(end + 1..).unwrap_or_default();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            Some(name)
        })
    }
}

impl From<&Labels> for Labels {
    fn from(labels: &Labels) -> Labels {
        labels.clone()
    }
}

impl From<&[(&'static str, &str)]> for Labels {
    fn from(pairs: &[(&'static str, &str)]) -> Labels {
        Labels::new(pairs)
    }
}

impl<const N: usize> From<&[(&'static str, &str); N]> for Labels {
    fn from(pairs: &[(&'static str, &str); N]) -> Labels {
        Labels::new(pairs)
    }
}

/// The exporter takes a backslash for one half of an escape and may drop it; two of them always come out as one
/// escaped backslash, so doubling them first makes its result exact.
fn escape(value: &str) -> String {
    if value.contains('\\') {
        sanitize_label_value(&value.replace('\\', r"\\"))
    } else {
        sanitize_label_value(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_exactly_and_two_values_never_look_alike() {
        let rendered = |value| Labels::new(&[("a", value)]).as_str().to_owned();
        assert_eq!(rendered("b"), r#"a="b""#);
        assert_eq!(rendered("\""), r#"a="\"""#);
        assert_eq!(rendered("\\\""), r#"a="\\\"""#);
        assert_eq!(rendered("\\\n"), r#"a="\\\n""#);
        assert_eq!(rendered(r"\\"), r#"a="\\\\""#);
        assert_eq!(rendered("é\u{1f600}"), "a=\"é\u{1f600}\"");
    }

    #[test]
    fn the_names_of_labels_are_read_past_whatever_their_values_hold() {
        let labels = Labels::new(&[("a", r#"x",b="y"#), ("c", r"\"), ("d", "\\\""), ("e", "")]);
        assert_eq!(labels.names().collect::<Vec<_>>(), ["a", "c", "d", "e"]);
        assert_eq!(Labels::new(&[]).names().count(), 0);
    }

    #[test]
    fn a_family_takes_the_labels_that_it_promises_in_their_order_and_no_others() {
        const TWO: &[Label] = &[
            Label::new("a", super::super::contract::Values::Configured, ""),
            Label::new("b", super::super::contract::Values::Configured, ""),
        ];
        let family = Family::counter("x_total", "X.").by(TWO);
        let takes = |pairs: &[(&str, &str)]| family.takes(&Labels::new(pairs));
        assert!(takes(&[("a", "1"), ("b", "2")]));
        assert!(!takes(&[("b", "1"), ("a", "2")]) && !takes(&[("a", "1")]) && !takes(&[]));
        assert!(!takes(&[("a", "1"), ("b", "2"), ("c", "3")]));
        assert!(Family::counter("x_total", "X.").takes(&Labels::new(&[("c", "1")])));
    }

    #[test]
    fn labels_keep_their_order_and_odd_label_names_are_made_valid() {
        assert_eq!(Labels::new(&[("b", "1"), ("a-z", "2")]).as_str(), r#"b="1",a_z="2""#);
        assert_eq!(Labels::new(&[]).as_str(), "");
    }
}
