//! One access log line from one record.
//!
//! Law: one line whatever the bytes: control characters, line separators, quotes, backslashes and bytes that are not
//! UTF-8 are escaped; a JSON line is valid JSON.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::field::{Field, GrpcForm, HeadPart, Source};
use super::format::{Format, Piece, Shape};
use super::heads::LoggedHeads;
use super::moments::Moments;
use super::record::{GrpcOutcome, RequestRecord};
use crate::words::{Flag, Flags, GrpcStatus, Operator, Protocol};

/// Times since 1970 that are in the calendar for certain.
const CALENDAR: Duration = Duration::from_secs(1 << 36);

/// Most lines fit.
const LINE_BYTES: usize = 768;

impl Format {
    /// The record's line, with its newline.
    pub fn line(&self, record: &RequestRecord) -> String {
        let mut line = String::with_capacity(LINE_BYTES);
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
                    Piece::Field(field) => write_piece(line, field, record, Escape::Text, "-"),
                }
            }
        }
        Shape::Json(fields) => {
            for (key, field) in fields {
                line.push_str(key);
                write_json(line, field, record);
            }
            line.push('}');
        }
        Shape::Template(template) => template.write(line, record),
    }
    line.push('\n');
}

/// What an operator gives. Nothing of it is made into a text of its own where that can be spared: a line is written on
/// a worker.
enum Value<'a> {
    Unset,
    Number(u64),
    /// One that may be below zero.
    Integer(i64),
    /// Bytes of the network, or of the configuration, or our own.
    Bytes(&'a [u8]),
    Text(String),
    Flags(Flags),
    LongFlags(Flags),
    Address(SocketAddr),
    Ip(IpAddr),
    Time(SystemTime),
}

/// A field among others; `unset` where there is none.
pub(super) fn write_piece(
    line: &mut String,
    field: &Field,
    record: &RequestRecord,
    how: Escape,
    unset: &str,
) {
    match value(field, record) {
        Value::Unset => line.push_str(unset),
        Value::Number(number) => line.push_str(itoa::Buffer::new().format(number)),
        Value::Integer(number) => line.push_str(itoa::Buffer::new().format(number)),
        value => write_value(line, value, field.limit, how),
    }
}

/// A field that is a JSON value. Whether it is there.
pub(super) fn write_json(line: &mut String, field: &Field, record: &RequestRecord) -> bool {
    match value(field, record) {
        Value::Unset => {
            line.push_str("null");
            return false;
        }
        Value::Number(number) => line.push_str(itoa::Buffer::new().format(number)),
        Value::Integer(number) => line.push_str(itoa::Buffer::new().format(number)),
        value => {
            line.push('"');
            write_value(line, value, field.limit, Escape::Json);
            line.push('"');
        }
    }
    true
}

/// A value that is there and no number.
fn write_value(line: &mut String, value: Value<'_>, limit: Option<usize>, how: Escape) {
    let start = line.len();
    match value {
        Value::Unset | Value::Number(_) | Value::Integer(_) => {}
        Value::Bytes(bytes) => return escape(line, cut(bytes, limit), how),
        Value::Text(text) => return escape(line, cut(text.as_bytes(), limit), how),
        // What follows is our own, and harmless: letters, digits and punctuation without quotes.
        Value::Flags(flags) if flags.is_empty() => line.push('-'),
        Value::Flags(flags) => drop(write!(line, "{flags}")),
        Value::LongFlags(flags) => write_long(line, flags),
        Value::Address(address) => write_address(line, address),
        Value::Ip(ip) => drop(write!(line, "{ip}")),
        Value::Time(time) => write_time(line, time),
    }
    if let Some(limit) = limit {
        line.truncate(line.len().min(start.saturating_add(limit)));
    }
}

fn write_long(line: &mut String, flags: Flags) {
    let names: Vec<&str> = flags.iter().map(Flag::long).collect();
    line.push_str(if names.is_empty() { "-" } else { "" });
    line.push_str(&names.join(","));
}

fn write_address(line: &mut String, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        let _infallible = write!(line, "{address}");
        return;
    };
    for (place, octet) in address.ip().octets().into_iter().enumerate() {
        if place > 0 {
            line.push('.');
        }
        line.push_str(itoa::Buffer::new().format(octet));
    }
    line.push(':');
    line.push_str(itoa::Buffer::new().format(address.port()));
}

/// With milliseconds, as Envoy prints it. The calendar is asked once a second: it takes longer than all the rest.
fn write_time(line: &mut String, time: SystemTime) {
    thread_local! {
        /// The last second since 1970, and its text to the point.
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) else {
        return write_calendar(line, time);
    };
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            text.clear();
            write_calendar(text, time);
            text.truncate(text.rfind('.').map_or(0, |point| point + 1));
            *second = since.as_secs();
        }
        line.push_str(text);
    });
    let milliseconds = since.subsec_millis();
    line.push_str(match milliseconds {
        0..10 => "00",
        10..100 => "0",
        _ => "",
    });
    line.push_str(itoa::Buffer::new().format(milliseconds));
    line.push('Z');
}

fn write_calendar(line: &mut String, time: SystemTime) {
    if let Ok(time) = jiff::Timestamp::try_from(time) {
        let _infallible = write!(line, "{time:.3}");
    }
}

fn value<'a>(field: &'a Field, record: &'a RequestRecord) -> Value<'a> {
    match &field.source {
        Source::Record(operator) => record_value(*operator, record),
        Source::StartTime(form) => start_time_as(form, record),
        Source::Head(first, second) => {
            let part = |part| record.logged.as_deref().and_then(|heads| heads.part(part));
            let found = part(*first).or_else(|| second.and_then(part));
            found.map_or(Value::Unset, Value::Bytes)
        }
        Source::Trace(place) => {
            let parent = record.logged.as_deref().and_then(|heads| heads.part(HeadPart::Request(*place)));
            parent.and_then(trace_id).map_or(Value::Unset, Value::Bytes)
        }
        Source::Grpc(form) => grpc_status(record, *form),
        Source::Fixed(text) => Value::Bytes(text.as_bytes()),
    }
}

fn record_value(operator: Operator, record: &RequestRecord) -> Value<'_> {
    match operator {
        Operator::StartTime => start_time(record),
        Operator::Protocol => Value::Bytes(record.http_version.as_str().as_bytes()),
        Operator::ResponseCode => Value::Number(record.status.into()),
        Operator::ResponseCodeDetails => name(Some(record.details)),
        Operator::ResponseFlags => Value::Flags(record.flags),
        Operator::BytesReceived => Value::Number(record.request_bytes),
        Operator::BytesSent => Value::Number(record.response_bytes),
        Operator::Duration => milliseconds(Some(record.duration)),
        Operator::UpstreamHost => name(record.upstream_host.as_deref()),
        Operator::UpstreamCluster => name(record.cluster.as_deref()),
        Operator::UpstreamRequestAttemptCount => Value::Number(record.attempts.into()),
        Operator::DownstreamRemoteAddress => address(remote(record)),
        Operator::DownstreamRemoteAddressWithoutPort => ip(remote(record)),
        Operator::DownstreamDirectRemoteAddress => address(record.downstream_remote),
        Operator::DownstreamLocalAddress => address(record.downstream_local),
        Operator::DownstreamLocalAddressWithoutPort => ip(record.downstream_local),
        Operator::DownstreamLocalPort => number(record.downstream_local.map(|local| local.port().into())),
        Operator::RouteName => name(record.route.as_deref()),
        Operator::ResponseFlagsLong => Value::LongFlags(record.flags),
        Operator::WeirVersion => name(record.logged.as_deref().and_then(LoggedHeads::version)),
        operator => match record.logged.as_deref().and_then(LoggedHeads::noted) {
            Some(moments) => moments_value(operator, record, moments),
            None => Value::Unset,
        },
    }
}

/// What only some formats ask for.
fn moments_value<'a>(operator: Operator, record: &'a RequestRecord, moments: &'a Moments) -> Value<'a> {
    let start = record.start;
    match operator {
        Operator::ConnectionId => number(moments.connection()),
        Operator::RequestDuration => milliseconds(moments.until_received(start)),
        Operator::RequestTxDuration => milliseconds(moments.until_sent(start)),
        Operator::ResponseDuration => milliseconds(moments.until_answered(start)),
        Operator::ResponseTxDuration => {
            milliseconds(moments.until_answered(start).map(|begun| record.duration.saturating_sub(begun)))
        }
        Operator::UpstreamLocalAddress => address(moments.local()),
        Operator::UpstreamRemoteAddress => {
            name(record.upstream_host.as_deref().filter(|_| moments.is_connected()))
        }
        Operator::UpstreamWireBytesSent => Value::Number(moments.wire().0),
        Operator::UpstreamWireBytesReceived => Value::Number(moments.wire().1),
        Operator::UpstreamTransportFailureReason => name(moments.failure()),
        Operator::LocalReplyBody => Value::Bytes(moments.local_reply().unwrap_or_default()),
        // Connections are never ended over what is below HTTP, and bring no name of a server: there is no TLS.
        _ => Value::Unset,
    }
}

/// The caller's address.
fn remote(record: &RequestRecord) -> Option<SocketAddr> {
    record.logged.as_deref().and_then(LoggedHeads::forwarded_for).or(record.downstream_remote)
}

/// In whole ones, as Envoy counts.
fn milliseconds(time: Option<Duration>) -> Value<'static> {
    number(time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

fn number(number: Option<u64>) -> Value<'static> {
    number.map_or(Value::Unset, Value::Number)
}

/// Of what is no gRPC there is none. Where none came it is what Envoy says for the status of HTTP.
fn grpc_status(record: &RequestRecord, form: GrpcForm) -> Value<'static> {
    if record.protocol != Protocol::Grpc {
        return Value::Unset;
    }
    let status = match record.grpc_status {
        GrpcOutcome::Known(status) => status,
        GrpcOutcome::Unknown(number) if form == GrpcForm::Number => return Value::Integer(number.into()),
        GrpcOutcome::Unknown(number) => return Value::Text(number.to_string()),
        GrpcOutcome::Absent if record.status == 0 => return Value::Unset,
        GrpcOutcome::Absent => GrpcStatus::from_http(record.status),
    };
    match form {
        GrpcForm::Camel => Value::Bytes(camel_case(status).as_bytes()),
        GrpcForm::Snake => Value::Bytes(status.screaming().as_bytes()),
        GrpcForm::Number => Value::Number(status.code().into()),
    }
}

/// Of a `traceparent`.
fn trace_id(parent: &[u8]) -> Option<&[u8]> {
    const PLACE: std::ops::Range<usize> = 3..35;
    let id = parent.get(PLACE)?;
    let delimited = parent.get(2) == Some(&b'-') && parent.get(35) == Some(&b'-');
    let is_id = id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && id.iter().any(|&byte| byte != b'0');
    (delimited && is_id).then_some(id)
}

fn name(name: Option<&str>) -> Value<'_> {
    name.filter(|name| !name.is_empty()).map_or(Value::Unset, |name| Value::Bytes(name.as_bytes()))
}

fn address(address: Option<SocketAddr>) -> Value<'static> {
    address.map_or(Value::Unset, Value::Address)
}

fn ip(address: Option<SocketAddr>) -> Value<'static> {
    address.map_or(Value::Unset, |address| Value::Ip(address.ip()))
}

/// Unset for a clock beyond the calendar.
fn start_time(record: &RequestRecord) -> Value<'static> {
    let known = record.start_wall.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since < CALENDAR);
    match known || jiff::Timestamp::try_from(record.start_wall).is_ok() {
        true => Value::Time(record.start_wall),
        false => Value::Unset,
    }
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
pub(super) enum Escape {
    Text,
    Json,
}

/// Bytes that are not themselves in a line: what is no printable ASCII, quotes and backslashes.
const ODD: [bool; 256] = {
    let mut odd = [true; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        odd[byte as usize] = byte == b'"' || byte == b'\\';
        byte += 1;
    }
    odd
};

pub(super) fn escape(line: &mut String, bytes: &[u8], how: Escape) {
    // Nearly all that is logged is plain, and is taken over whole.
    let odd = bytes.iter().fold(false, |odd, &byte| odd | ODD[usize::from(byte)]);
    if !odd && let Ok(text) = std::str::from_utf8(bytes) {
        return line.push_str(text);
    }
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
