//! What a family promises to those who query it: its labels, where their values come from, what they may be, its unit.
//!
//! Law: a label's values are the program's, a closed set, or the configuration's; never what somebody sends. Names and
//! labels are an interface: `docs/metrics.md` is made of them, and a test holds the pages of a proxy to them.

use crate::words::Flag;

use super::family::{Family, Kind};

/// A label of a family's series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// Where its values come from, for people; Markdown.
    pub origin: &'static str,
    /// What they may be.
    pub values: Values,
}

/// What a label's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Closed(&'static [&'static str]),
    /// Something of the configuration's; never empty.
    Configured,
    /// The same, or one of these words.
    ConfiguredOr(&'static [&'static str]),
    /// A status of HTTP, 100 to 599, or one of these words.
    Status(&'static [&'static str]),
    /// The number of a gRPC status, 0 to 16; empty; `unknown`.
    GrpcStatus,
    /// Envoy's response flags, with commas, or `-`.
    Flags,
    /// The version of Weir.
    Program,
}

impl Label {
    /// A label.
    pub const fn new(name: &'static str, values: Values, origin: &'static str) -> Label {
        Label { name, origin, values }
    }
}

impl Values {
    /// Whether `value` is one of them.
    pub fn hold(self, value: &str) -> bool {
        let number = || value.parse::<u16>().ok().filter(|number| number.to_string() == value);
        match self {
            Values::Closed(words) => words.contains(&value),
            Values::Configured | Values::ConfiguredOr(_) => !value.is_empty(),
            Values::Status(words) => {
                words.contains(&value) || number().is_some_and(|status| (100..600).contains(&status))
            }
            Values::GrpcStatus => {
                matches!(value, "" | "unknown") || number().is_some_and(|status| status <= 16)
            }
            Values::Flags => {
                let is_flag = |word: &str| Flag::ALL.iter().any(|flag| flag.short() == word);
                value == "-" || value.split(',').all(is_flag)
            }
            Values::Program => value == env!("CARGO_PKG_VERSION"),
        }
    }

    /// Whether they are the configuration's.
    pub fn are_configured(self) -> bool {
        matches!(self, Values::Configured | Values::ConfiguredOr(_))
    }

    /// The same for people; Markdown.
    pub fn describe(self) -> String {
        let quoted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        };
        match self {
            Values::Closed(words) => quoted(words),
            Values::Configured => "the configuration's".into(),
            Values::ConfiguredOr(words) => format!("the configuration's, {}", quoted(words)),
            Values::Status(&[]) => "100 to 599".into(),
            Values::Status(words) => format!("100 to 599, {}", quoted(words)),
            Values::GrpcStatus => "0 to 16, empty, `unknown`".into(),
            Values::Flags => "Envoy's flags with commas, `-` for none".into(),
            Values::Program => "the program's version".into(),
        }
    }
}

/// What a family's values are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or a state.
    None,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// For people; empty where there is none.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Bytes => "bytes",
        }
    }
}

/// Names of others' that do not end in their unit, by their beginning.
const NAMED_OTHERWISE: [(&str, Unit); 6] = [
    ("envoy_cluster_upstream_rq_time", Unit::Milliseconds),
    ("envoy_http_downstream_rq_time", Unit::Milliseconds),
    ("envoy_server_memory_", Unit::Bytes),
    ("envoy_server_uptime", Unit::Seconds),
    ("istio_request_duration", Unit::Seconds),
    ("istio_request_size", Unit::Bytes),
];

impl Family {
    /// What its values are counted in, which its name says.
    pub fn unit(&self) -> Unit {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&["_milliseconds", "_ms"]) {
            Unit::Milliseconds
        } else if ends(&["_seconds"]) {
            Unit::Seconds
        } else if ends(&["_bytes"]) || name == "istio_response_size" {
            Unit::Bytes
        } else {
            let other = NAMED_OTHERWISE
                .iter()
                .find(|(start, _)| name.strip_prefix(start).is_some_and(|rest| !rest.starts_with("out")));
            other.map_or(Unit::None, |(_, unit)| *unit)
        }
    }

    /// Its kind for people: of a histogram also its bounds and its unit.
    pub fn describe_kind(&self) -> String {
        match (self.kind, self.buckets) {
            (Kind::Histogram, Some([first, .., last])) => {
                let bounds = self.buckets.map_or(0, <[f64]>::len);
                format!("histogram, {bounds} bounds from {first} to {last}")
            }
            _ => self.kind.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_what_it_says_and_nothing_else() {
        let status = Values::Status(&["0"]);
        assert!(["100", "599", "0"].iter().all(|value| status.hold(value)));
        assert!(["99", "600", "", "0200", "+200"].iter().all(|value| !status.hold(value)));
        assert!(["0", "16", "", "unknown"].iter().all(|value| Values::GrpcStatus.hold(value)));
        assert!(["17", "-1", "OK"].iter().all(|value| !Values::GrpcStatus.hold(value)));
        assert!(["-", "UH", "URX,UF"].iter().all(|value| Values::Flags.hold(value)));
        assert!(["", "uh", "UH,", "-,UH"].iter().all(|value| !Values::Flags.hold(value)));
        assert!(Values::Configured.hold("v1") && !Values::Configured.hold(""));
        assert!(Values::Closed(&["a"]).hold("a") && !Values::Closed(&["a"]).hold("b"));
        assert!(Values::Program.hold(env!("CARGO_PKG_VERSION")) && !Values::Program.hold("0"));
    }

    #[test]
    fn a_unit_is_the_one_that_the_name_says() {
        let unit = |name| Family::counter(name, "").unit();
        assert_eq!(unit("a_seconds"), Unit::Seconds);
        assert_eq!(unit("process_cpu_seconds_total"), Unit::Seconds);
        assert_eq!(unit("istio_request_duration_milliseconds"), Unit::Milliseconds);
        assert_eq!(unit("istio_request_duration"), Unit::Seconds);
        assert_eq!(unit("envoy_cluster_upstream_cx_length_ms"), Unit::Milliseconds);
        assert_eq!(unit("envoy_cluster_upstream_rq_time"), Unit::Milliseconds);
        assert_eq!(unit("envoy_cluster_upstream_rq_timeout"), Unit::None);
        assert_eq!(unit("envoy_cluster_upstream_cx_rx_bytes_total"), Unit::Bytes);
        assert_eq!(unit("envoy_server_memory_allocated"), Unit::Bytes);
        assert_eq!(unit("istio_response_size"), Unit::Bytes);
        assert_eq!(unit("weir_requests_total"), Unit::None);
    }
}
