//! The figures as a table, by RFC 4180: a row a version, its columns named in the first.
//!
//! Law: what the JSON says, under its names; `null` is an empty field. Columns are added behind the last one only.

use std::fmt::Write as _;

use super::states::{ClientErrors, State};
use super::{FiguresRow, SplitRow, VersionRow};
use crate::snapshot::Labels;

/// Of a version, before its figures.
const VERSION: [&str; 10] = [
    "generation",
    "service",
    "rule",
    "version",
    "version_service",
    "labels",
    "weight",
    "endpoints_healthy",
    "endpoints_ejected",
    "endpoints_failed_check",
];
/// Of a span of time.
const FIGURES: [&str; 10] = [
    "requests",
    "share",
    "success_rate",
    "client_errors",
    "server_errors",
    "cancelled",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "qps",
];
/// Of a version, behind all that was there before.
const LATER: [&str; 5] = [
    "start_client_error_rate",
    "minute_client_error_rate",
    "states_success",
    "states_client_errors",
    "states_endpoints",
];

/// The names of the columns.
pub(super) fn heading() -> String {
    // The start has no rate: it is the last column of a span.
    let figures = |span: &'static str, columns: &'static [&'static str]| {
        columns.iter().map(move |column| format!("{span}_{column}"))
    };
    let names = VERSION.iter().map(|&name| name.to_owned());
    let names = names.chain(figures("start", &FIGURES[..9])).chain(figures("minute", &FIGURES));
    let names = names.chain(LATER.iter().map(|&name| name.to_owned()));
    let mut text = String::new();
    line(&mut text, names);
    text
}

/// The rows of a rule.
pub(super) fn lines(generation: u64, split: &SplitRow) -> String {
    let mut text = String::new();
    for version in &split.versions {
        line(&mut text, fields(generation, split, version));
    }
    text
}

fn fields(generation: u64, split: &SplitRow, version: &VersionRow) -> impl Iterator<Item = String> {
    let optional = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let of_version: [String; VERSION.len()] = [
        generation.to_string(),
        split.service.to_string(),
        optional(split.rule.as_deref()),
        version.version.to_string(),
        optional(version.service.as_deref()),
        labels(&version.labels),
        number(version.weight),
        version.endpoints.healthy.to_string(),
        version.endpoints.ejected.to_string(),
        version.endpoints.failed_check.to_string(),
    ];
    let [start, minute] = [&version.start, &version.minute].map(figures);
    of_version.into_iter().chain(start.into_iter().take(9)).chain(minute).chain(later(version))
}

fn later(version: &VersionRow) -> [String; LATER.len()] {
    let states = version.states;
    [
        number(version.start.client_error_rate),
        number(version.minute.client_error_rate),
        number(states.success.map(State::as_str)),
        number(states.client_errors.map(ClientErrors::as_str)),
        number(states.endpoints.map(State::as_str)),
    ]
}

fn figures(row: &FiguresRow) -> [String; FIGURES.len()] {
    [
        row.requests.to_string(),
        number(row.share),
        number(row.success_rate),
        row.client_errors.to_string(),
        row.server_errors.to_string(),
        row.cancelled.to_string(),
        number(row.p50_ms),
        number(row.p95_ms),
        number(row.p99_ms),
        number(row.qps),
    ]
}

fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// `app=a;version=v1`
fn labels(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (place, field) in fields.enumerate() {
        let comma = if place > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = match field.contains([',', '"', '\r', '\n']) {
            true => write!(text, "{comma}\"{}\"", field.replace('"', "\"\"")),
            false => write!(text, "{comma}{field}"),
        };
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_version_with_a_field_a_column_and_nothing_where_nothing_is_known() {
        let minute = FiguresRow { requests: 4, share: Some(0.5), qps: Some(2.5), ..FiguresRow::default() };
        let version = VersionRow {
            version: "v\"1,".into(),
            service: None,
            labels: [("app".into(), "a".into()), ("version".into(), "v1".into())].into(),
            weight: Some(95),
            endpoints: Default::default(),
            states: Default::default(),
            start: FiguresRow::default(),
            minute,
            steps: None,
        };
        let split = SplitRow { service: "s".into(), rule: None, versions: vec![version] };
        let text = heading() + &lines(3, &split);
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("generation,service,rule,version,version_service,labels,weight,"));
        assert!(lines[0].ends_with(",start_p99_ms,minute_requests,minute_share,minute_success_rate,\
            minute_client_errors,minute_server_errors,minute_cancelled,minute_p50_ms,minute_p95_ms,minute_p99_ms,\
            minute_qps,start_client_error_rate,minute_client_error_rate,states_success,states_client_errors,\
            states_endpoints"), "{}", lines[0]);
        assert_eq!(
            lines[1],
            "3,s,,\"v\"\"1,\",,app=a;version=v1,95,0,0,0,0,,,0,0,0,,,,4,0.5,,0,0,0,,,,2.5,,,,,"
        );
        assert_eq!(lines[0].split(',').count(), VERSION.len() + 2 * FIGURES.len() - 1 + LATER.len());
    }
}
