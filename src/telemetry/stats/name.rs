//! The dotted names of series, as Envoy's `/stats` has them: `cluster.mnist.upstream_rq_2xx` for
//! `envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="mnist"}`.
//!
//! Envoy makes labels out of such names; here the names are made out of the labels. Istio's and our own have a pair of
//! segments for each label, as Istio's have in Envoy: `istiocustom.istio_requests_total.reporter.source.…`.
//!
//! Law: two series never have the same name, whatever stands in their labels, and a name is one word on one line: colons
//! and control characters are percent-encoded, and so is a segment of a value that would be read as a part of the name.

use std::borrow::Cow;
use std::fmt::Write;

/// How the name of each series of a family is put together.
#[derive(Debug)]
pub(super) struct Shape {
    parts: Vec<Part>,
    /// Whether the labels follow, a pair of segments each.
    pairs: bool,
}

#[derive(Debug)]
enum Part {
    Text(Cow<'static, str>),
    Value {
        label: &'static str,
        /// What follows the value in some name, so that no segment of it but the first may be the same.
        ends_before: &'static [&'static str],
    },
}

const CLUSTER: Part = Part::Value { label: "envoy_cluster_name", ends_before: &["external", "retry"] };
const MANAGER: Part = Part::Value { label: "envoy_http_conn_manager_prefix", ends_before: &[] };
const ADDRESS: Part = Part::Value { label: "envoy_listener_address", ends_before: &["http"] };
const CODE: Part = Part::Value { label: "envoy_response_code", ends_before: &[] };
const CLASS: Part = Part::Value { label: "envoy_response_code_class", ends_before: &[] };

/// Envoy's scopes within a cluster or a manager, as they are within a metric's name.
const SCOPES: [(&str, &str); 6] = [
    ("circuit_breakers_default_", "circuit_breakers.default."),
    ("external_upstream_", "external.upstream_"),
    ("fault_", "fault."),
    ("health_check_", "health_check."),
    ("outlier_detection_", "outlier_detection."),
    ("retry_upstream_", "retry.upstream_"),
];

impl Shape {
    /// Of the family with this name on the pages for Prometheus.
    pub(super) fn of(family: &str) -> Shape {
        let Some(own) = family.strip_prefix("envoy_") else { return Shape::foreign(family) };
        let managers = ["cluster_manager_", "listener_manager_", "server_"];
        if let Some((scope, rest)) =
            managers.iter().find_map(|scope| Some((*scope, own.strip_prefix(scope)?)))
        {
            return Shape::pairs(format!("{}.{rest}", scope.trim_end_matches('_')));
        }
        if let Some(rest) = own.strip_prefix("cluster_") {
            Shape::scoped([text("cluster."), CLUSTER], rest)
        } else if let Some(rest) = own.strip_prefix("http_") {
            Shape::scoped([text("http."), MANAGER], rest)
        } else if let Some(rest) = own.strip_prefix("listener_http_") {
            Shape::scoped([text("listener."), ADDRESS, text(".http."), MANAGER], rest)
        } else if let Some(rest) = own.strip_prefix("listener_") {
            Shape::scoped([text("listener."), ADDRESS], rest)
        } else {
            Shape::pairs(own.to_owned())
        }
    }

    /// Whoever's it is, its first word is the scope; Istio's are under the name that Istio gives its own in Envoy.
    fn foreign(family: &str) -> Shape {
        if family.starts_with("istio_") {
            return Shape::pairs(format!("istiocustom.{family}"));
        }
        Shape::pairs(family.replacen('_', ".", 1))
    }

    fn pairs(start: String) -> Shape {
        Shape { parts: vec![Part::Text(start.into())], pairs: true }
    }

    fn scoped(start: impl IntoIterator<Item = Part>, rest: &str) -> Shape {
        let mut parts: Vec<Part> = start.into_iter().collect();
        let own = SCOPES
            .iter()
            .find_map(|(flat, dotted)| Some(format!("{dotted}{}", rest.strip_prefix(flat)?)))
            .unwrap_or_else(|| rest.to_owned());
        // A class or a code of statuses is a part of the last word.
        match own.strip_suffix("_xx") {
            Some(own) => parts.extend([Part::Text(format!(".{own}_").into()), CLASS, text("xx")]),
            None if own.ends_with("upstream_rq") => {
                parts.extend([Part::Text(format!(".{own}_").into()), CODE]);
            }
            None => parts.push(Part::Text(format!(".{own}").into())),
        }
        Shape { parts, pairs: false }
    }

    /// What every name of the family begins with.
    pub(super) fn start(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Appends the name of the series with these labels, which are rendered.
    pub(super) fn write(&self, labels: &str, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value { label, ends_before } => {
                    let value = pairs_of(labels).find(|(known, _)| known == label);
                    write_value(out, value.map_or("", |(_, value)| value), ends_before, true);
                }
            }
        }
        if self.pairs {
            let mut pairs = pairs_of(labels).peekable();
            while let Some((label, value)) = pairs.next() {
                out.push('.');
                out.push_str(label);
                // Envoy leaves out an empty segment.
                if !value.is_empty() {
                    out.push('.');
                    let next = pairs.peek().map(|&(label, _)| label);
                    write_value(out, value, next.as_slice(), false);
                }
            }
        }
    }
}

const fn text(text: &'static str) -> Part {
    Part::Text(Cow::Borrowed(text))
}

/// The pairs of rendered labels, `a="b",c="d"`; the values as they stand there, escaped.
fn pairs_of(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (label, after) = rest.split_once("=\"")?;
        let mut escaped = false;
        let end = after.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        rest = after.get(end + 1..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((label, after.get(..end)?))
    })
}

/// Appends a value, its segments as they are but for one that is of `not`: that is written otherwise, so that it is not
/// taken for what stands behind the value. `keeps_first`: the first segment is a value's whatever it is.
fn write_value(out: &mut String, value: &str, not: &[&str], keeps_first: bool) {
    for (number, segment) in value.split('.').enumerate() {
        if number > 0 {
            out.push('.');
        }
        let is_taken = !segment.is_empty() && not.contains(&segment) && (number > 0 || !keeps_first);
        let mut chars = segment.chars().enumerate();
        while let Some((at, char)) = chars.next() {
            // Of a label's value on the page: `\\`, `\"` and `\n` are one character each.
            let char = match char {
                '\\' => match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, other)) => other,
                    None => '\\',
                },
                other => other,
            };
            let is_line_end = matches!(char, '\u{2028}' | '\u{2029}');
            if char.is_control() || is_line_end || matches!(char, '%' | ':') || (is_taken && at == 0) {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    let _infallible = write!(out, "%{byte:02X}");
                }
            } else {
                out.push(char);
            }
        }
    }
}
