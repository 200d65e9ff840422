//! One access log line from one record.
//!
//! Law: one line whatever the bytes: control characters, line separators, quotes, backslashes and bytes that are not
//! UTF-8 are escaped; a JSON line is valid JSON.

use std::fmt::Write;
use std::net::SocketAddr;

use super::format::{Field, Format, Piece, Shape, Source};
use super::record::{GrpcOutcome, RequestRecord};
use crate::words::{GrpcStatus, Operator};

impl Format {
    /// The record's line, with its newline.
    pub fn line(&self, record: &RequestRecord) -> String {
        let mut line = String::with_capacity(512);
        write_line(&mut line, self, record);
        line
    }
}

/// Appends the record's line, with its newline.
fn write_line(line: &mut String, format: &Format, record: &RequestRecord) {
    match &format.shape {
        Shape::Text(pieces) => {
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => line.push_str(text),
                    Piece::Field(field) => write_text(line, field, record),
                }
            }
        }
        Shape::Json(fields) => {
            for (place, (key, field)) in fields.iter().enumerate() {
                line.push(if place == 0 { '{' } else { ',' });
                let _infallible = write!(line, "\"{key}\":");
                write_json(line, field, record);
            }
            line.push('}');
        }
    }
    line.push('\n');
}

/// What an operator gives.
enum Value<'a> {
    Unset,
    Number(u64),
    /// Our own text, already harmless.
    Text(String),
    /// Bytes of the network or of the configuration.
    Bytes(&'a [u8]),
}

fn write_text(line: &mut String, field: &Field, record: &RequestRecord) {
    match value(field, record) {
        Value::Unset => line.push('-'),
        Value::Number(number) => line.push_str(itoa::Buffer::new().format(number)),
        Value::Text(text) => escape(line, cut(text.as_bytes(), field.limit), Escape::Text),
        Value::Bytes(bytes) => escape(line, cut(bytes, field.limit), Escape::Text),
    }
}

fn write_json(line: &mut String, field: &Field, record: &RequestRecord) {
    let mut quoted = |bytes| {
        line.push('"');
        escape(line, cut(bytes, field.limit), Escape::Json);
        line.push('"');
    };
    match value(field, record) {
        Value::Text(text) => quoted(text.as_bytes()),
        Value::Bytes(bytes) => quoted(bytes),
        Value::Unset => line.push_str("null"),
        Value::Number(number) => line.push_str(itoa::Buffer::new().format(number)),
    }
}

fn value<'a>(field: &Field, record: &'a RequestRecord) -> Value<'a> {
    match &field.source {
        Source::Record(operator) => record_value(*operator, record),
        Source::StartTime(form) => start_time_as(form, record),
        Source::Head(first, second) => {
            let part = |part| record.logged.as_deref().and_then(|heads| heads.part(part));
            let found = part(*first).or_else(|| second.and_then(part));
            found.map_or(Value::Unset, Value::Bytes)
        }
    }
}

fn record_value(operator: Operator, record: &RequestRecord) -> Value<'_> {
    match operator {
        Operator::StartTime => start_time(record),
        Operator::Protocol => Value::Text(record.http_version.to_string()),
        Operator::ResponseCode => Value::Number(record.status.into()),
        Operator::ResponseCodeDetails => name(Some(record.details)),
        Operator::ResponseFlags => Value::Text(record.flags.to_string()),
        Operator::BytesReceived => Value::Number(record.request_bytes),
        Operator::BytesSent => Value::Number(record.response_bytes),
        Operator::Duration => Value::Number(u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX)),
        Operator::UpstreamHost => name(record.upstream_host.as_deref()),
        Operator::UpstreamCluster => name(record.cluster.as_deref()),
        Operator::UpstreamRequestAttemptCount => Value::Number(record.attempts.into()),
        Operator::DownstreamRemoteAddress => address(record.downstream_remote),
        Operator::DownstreamRemoteAddressWithoutPort => {
            record.downstream_remote.map_or(Value::Unset, |address| Value::Text(address.ip().to_string()))
        }
        Operator::DownstreamLocalAddress => address(record.downstream_local),
        Operator::RouteName => name(record.route.as_deref()),
        Operator::GrpcStatus => match record.grpc_status {
            GrpcOutcome::Known(status) => Value::Text(camel_case(status).to_owned()),
            GrpcOutcome::Unknown => Value::Text("InvalidCode".to_owned()),
            GrpcOutcome::Absent => Value::Unset,
        },
        Operator::GrpcStatusNumber => match record.grpc_status {
            GrpcOutcome::Known(status) => Value::Number(status.code().into()),
            GrpcOutcome::Unknown | GrpcOutcome::Absent => Value::Unset,
        },
        // These carry a header and are `Source::Head`.
        Operator::Req | Operator::Resp => Value::Unset,
    }
}

fn name(name: Option<&str>) -> Value<'_> {
    name.filter(|name| !name.is_empty()).map_or(Value::Unset, |name| Value::Bytes(name.as_bytes()))
}

fn address(address: Option<SocketAddr>) -> Value<'static> {
    address.map_or(Value::Unset, |address| Value::Text(address.to_string()))
}

/// With milliseconds, as Envoy prints it; unset for a clock beyond the calendar.
fn start_time(record: &RequestRecord) -> Value<'static> {
    let time = jiff::Timestamp::try_from(record.start_wall);
    time.map_or(Value::Unset, |time| Value::Text(format!("{time:.3}")))
}

/// In a form that was tried when the format was read.
fn start_time_as(form: &str, record: &RequestRecord) -> Value<'static> {
    let time = jiff::Timestamp::try_from(record.start_wall);
    let text = time.and_then(|time| jiff::fmt::strtime::format(form, time));
    text.map_or(Value::Unset, Value::Text)
}

/// As `%GRPC_STATUS%` prints it.
fn camel_case(status: GrpcStatus) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES[usize::from(status.code())]
}

fn cut(bytes: &[u8], limit: Option<usize>) -> &[u8] {
    &bytes[..bytes.len().min(limit.unwrap_or(usize::MAX))]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Text,
    Json,
}

fn escape(line: &mut String, bytes: &[u8], how: Escape) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => line.extend(['\\', c]),
                // Some readers of lines take these two for an end of line as well.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => escape_char(line, c, how),
                c => line.push(c),
            }
        }
        for byte in chunk.invalid() {
            escape_byte(line, *byte, how);
        }
    }
}

fn escape_char(line: &mut String, c: char, how: Escape) {
    match how {
        Escape::Text => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escape_byte(line, byte, how)),
        // All of them are below U+10000: one unit is enough.
        Escape::Json => {
            let _infallible = write!(line, "\\u{:04x}", u32::from(c));
        }
    }
}

/// `\xff`; in JSON, which has no bytes, the text `\xff`.
fn escape_byte(line: &mut String, byte: u8, how: Escape) {
    let backslash = if how == Escape::Json { r"\\" } else { r"\" };
    let _infallible = write!(line, "{backslash}x{byte:02x}");
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
