//! One access log line from one record.
//!
//! Law: one line whatever the bytes: control characters, line separators, quotes, backslashes and bytes that are not
//! UTF-8 are escaped; a JSON line is valid JSON.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::field::{Field, GrpcForm, HeadPart, Source};
use super::format::{Format, Piece, Shape};
use super::heads::LoggedHeads;
use super::json_line;
use super::moments::Moments;
use super::record::{GrpcOutcome, RequestRecord};
use crate::words::{Flag, Flags, GrpcStatus, Operator, Protocol};

/// Times since 1970 that are in the calendar for certain.
const CALENDAR: Duration = Duration::from_secs(1 << 36);

/// Most lines fit.
const LINE_BYTES: usize = 768;

impl Format {
    /// The record's line, with its newline.
    pub fn line(&self, record: &RequestRecord) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE_BYTES);
        write_line(&mut line, self, record);
        line
    }
}

/// Appends the record's line, with its newline.
fn write_line(line: &mut Vec<u8>, format: &Format, record: &RequestRecord) {
    match &format.shape {
        Shape::Text(pieces) => {
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
                    Piece::Field(field) => write_piece(line, field, record, Escape::Text, "-"),
                }
            }
        }
        Shape::Json => json_line::write(line, record),
        Shape::Template(template) => template.write(line, record),
    }
    line.push(b'\n');
}

/// What an operator gives. Nothing of it is made into a text of its own where that can be spared: a line is written on
/// a worker.
enum Value<'a> {
    Unset,
    Number(u64),
    /// One that may be below zero.
    Integer(i64),
    /// Bytes of the network, or of the configuration.
    Bytes(&'a [u8]),
    /// Bytes that are themselves in a line: our own words, and what was held to be a word before.
    Plain(&'a [u8]),
    Text(String),
    Flags(Flags),
    LongFlags(Flags),
    Address(SocketAddr),
    Ip(IpAddr),
    /// Since 1970.
    Time(Duration),
    /// One that is not in the calendar of `Time`.
    OtherTime(SystemTime),
}

fn put_number(line: &mut Vec<u8>, number: impl itoa::Integer) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A field among others; `unset` where there is none.
pub(super) fn write_piece(
    line: &mut Vec<u8>,
    field: &Field,
    record: &RequestRecord,
    how: Escape,
    unset: &str,
) {
    match value(&field.source, record) {
        Value::Unset => line.extend_from_slice(unset.as_bytes()),
        Value::Number(number) => put_number(line, number),
        Value::Integer(number) => put_number(line, number),
        value => write_value(line, value, field.limit, how),
    }
}

/// A JSON value, of a text at most `limit` bytes. Whether it is there.
#[inline(always)] // a line has two dozen of them
pub(super) fn write_json(
    line: &mut Vec<u8>,
    source: &Source,
    limit: Option<usize>,
    record: &RequestRecord,
) -> bool {
    match value(source, record) {
        Value::Unset => {
            line.extend_from_slice(b"null");
            return false;
        }
        Value::Number(number) => put_number(line, number),
        Value::Integer(number) => put_number(line, number),
        value => {
            line.push(b'"');
            write_value(line, value, limit, Escape::Json);
            line.push(b'"');
        }
    }
    true
}

/// A value that is there and no number.
#[inline(always)] // the same
fn write_value(line: &mut Vec<u8>, value: Value<'_>, limit: Option<usize>, how: Escape) {
    let start = line.len();
    match value {
        Value::Unset | Value::Number(_) | Value::Integer(_) => {}
        Value::Bytes(bytes) => return escape(line, cut(bytes, limit), how),
        Value::Plain(bytes) => {
            debug_assert!(is_plain(bytes), "{bytes:?}");
            return line.extend_from_slice(cut(bytes, limit));
        }
        Value::Text(text) => return escape(line, cut(text.as_bytes(), limit), how),
        // What follows is our own, and harmless: letters, digits and punctuation without quotes.
        Value::Flags(flags) if flags.is_empty() => line.push(b'-'),
        Value::Flags(flags) => drop(write!(line, "{flags}")),
        Value::LongFlags(flags) => write_long(line, flags),
        Value::Address(address) => write_address(line, address),
        Value::Ip(ip) => drop(write!(line, "{ip}")),
        Value::Time(since) => write_time(line, since),
        Value::OtherTime(time) => write_calendar(line, time),
    }
    if let Some(limit) = limit {
        line.truncate(line.len().min(start.saturating_add(limit)));
    }
}

fn write_long(line: &mut Vec<u8>, flags: Flags) {
    let names: Vec<&str> = flags.iter().map(Flag::long).collect();
    let names = if names.is_empty() { "-".to_owned() } else { names.join(",") };
    line.extend_from_slice(names.as_bytes());
}

fn write_address(line: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        let _infallible = write!(line, "{address}");
        return;
    };
    // In one piece: each that is put by itself is looked at for room.
    let mut text = [0; LONGEST_ADDRESS];
    let mut end = 0;
    for octet in address.ip().octets() {
        let (digits, count) = OCTETS[usize::from(octet)];
        text[end..end + 4].copy_from_slice(&digits);
        end += usize::from(count);
    }
    text[end - 1] = b':';
    line.extend_from_slice(&text[..end]);
    put_number(line, address.port());
}

/// Room for four octets with a dot behind each; all are copied with as many bytes.
const LONGEST_ADDRESS: usize = 16;

/// Each octet in digits, with a dot behind it, and how many bytes that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        all[octet] = match octet {
            0..10 => ([digits[2], b'.', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b'.', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b'.'], 4),
        };
        octet += 1;
    }
    all
};

/// With milliseconds, as Envoy prints it. The calendar is asked once a second: it takes longer than all the rest.
fn write_time(line: &mut Vec<u8>, since: Duration) {
    thread_local! {
        /// The last second since 1970, and its text to the point.
        static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            text.clear();
            write_calendar(text, SystemTime::UNIX_EPOCH + since);
            text.truncate(text.iter().rposition(|&byte| byte == b'.').map_or(0, |point| point + 1));
            *second = since.as_secs();
        }
        line.extend_from_slice(text);
    });
    let milliseconds = since.subsec_millis();
    let digit = |unit| b'0' + (milliseconds / unit % 10) as u8;
    line.extend_from_slice(&[digit(100), digit(10), digit(1), b'Z']);
}

fn write_calendar(line: &mut Vec<u8>, time: SystemTime) {
    if let Ok(time) = jiff::Timestamp::try_from(time) {
        let _infallible = write!(line, "{time:.3}");
    }
}

#[inline(always)] // what it gives is looked at at once
fn value<'a>(source: &'a Source, record: &'a RequestRecord) -> Value<'a> {
    match source {
        Source::Record(operator) => record_value(*operator, record),
        Source::StartTime(form) => form.print(record.start_wall).map_or(Value::Unset, Value::Text),
        Source::Head(first, second) => {
            let Some(heads) = record.logged.as_deref() else { return Value::Unset };
            match heads.part(*first).or_else(|| heads.part((*second)?)) {
                Some(found) if heads.is_plain() => Value::Plain(found),
                Some(found) => Value::Bytes(found),
                None => Value::Unset,
            }
        }
        Source::Trace(place) => {
            let parent = record.logged.as_deref().and_then(|heads| heads.part(HeadPart::Request(*place)));
            parent.and_then(trace_id).map_or(Value::Unset, Value::Plain)
        }
        Source::Grpc(form) => grpc_status(record, *form),
        Source::Fixed(text) => Value::Bytes(text.as_bytes()),
    }
}

#[inline(always)] // the same
fn record_value(operator: Operator, record: &RequestRecord) -> Value<'_> {
    match operator {
        Operator::StartTime => start_time(record),
        Operator::Protocol => Value::Plain(record.http_version.as_str().as_bytes()),
        Operator::ResponseCode => Value::Number(record.status.into()),
        Operator::ResponseCodeDetails => match record.details {
            "" => Value::Unset,
            details => Value::Plain(details.as_bytes()),
        },
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
        // Connections are never ended over what is below HTTP, and bring no name of a server: there is no TLS. Nor are
        // there virtual clusters.
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
        GrpcForm::Camel => Value::Plain(camel_case(status).as_bytes()),
        GrpcForm::Snake => Value::Plain(status.screaming().as_bytes()),
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
    match record.start_wall.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since < CALENDAR => Value::Time(since),
        _ if jiff::Timestamp::try_from(record.start_wall).is_ok() => Value::OtherTime(record.start_wall),
        _ => Value::Unset,
    }
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

/// Whether all bytes are themselves in a line: printable ASCII without quotes and backslashes. Sixteen at a time: what is
/// left of the last sixteen is looked at with bytes before it, where there are some.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let is_plain = |piece: &[u8; 16]| {
            let [first, second] = [&piece[..8], &piece[8..]].map(word);
            (odd_bytes(first) | odd_bytes(second)) == 0
        };
        return bytes.as_chunks().0.iter().all(is_plain) && is_plain(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return (odd_bytes(word(first)) | odd_bytes(word(last))) == 0;
    }
    odd_bytes(word(bytes)) == 0
}

/// The first eight bytes, or those that there are, and spaces; in whatever order takes least.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => bytes.iter().fold(u64::from_le_bytes([b' '; 8]), |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Not zero where one of the word's bytes is a control character, DEL, beyond ASCII, a quote or a backslash. In the bytes
/// above such a one it may say so, too.
#[inline(always)]
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let is = |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    let below = |limit: u8| word.wrapping_sub(ONES * u64::from(limit));
    // Beyond ASCII; DEL, where one more is; and where taking away borrows.
    (word | word.wrapping_add(ONES) | below(b' ') | is(b'"') | is(b'\\')) & HIGH
}

pub(super) fn escape(line: &mut Vec<u8>, bytes: &[u8], how: Escape) {
    // Nearly all that is logged is plain, and is taken over whole.
    match is_plain(bytes) {
        true => line.extend_from_slice(bytes),
        false => escape_odd(line, bytes, how),
    }
}

#[cold]
fn escape_odd(line: &mut Vec<u8>, bytes: &[u8], how: Escape) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => line.extend([b'\\', c as u8]),
                // Some readers of lines take these two for an end of line as well.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => escape_char(line, c, how),
                c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            escape_byte(line, *byte, how);
        }
    }
}

fn escape_char(line: &mut Vec<u8>, c: char, how: Escape) {
    match how {
        Escape::Text => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escape_byte(line, byte, how)),
        // All of them are below U+10000: one unit is enough.
        Escape::Json => {
            let _infallible = write!(line, "\\u{:04x}", u32::from(c));
        }
    }
}

/// `\xff`; in JSON, which has no bytes, the text `\xff`.
fn escape_byte(line: &mut Vec<u8>, byte: u8, how: Escape) {
    let backslash = if how == Escape::Json { r"\\" } else { r"\" };
    let _infallible = write!(line, "{backslash}x{byte:02x}");
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
