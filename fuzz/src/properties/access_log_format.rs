//! Access logs: whatever the format and whatever the record, a request is one line, a JSON line is JSON, and what
//! carries credentials is not in it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weir::telemetry::{Format, GrpcOutcome, InvalidFormat, LoggedHeads, RequestRecord, Wire};
use weir::words::{Flag, GrpcStatus, HttpVersion, Protocol};

use super::input::Input;

const JSON_KEYS: usize = 24;
/// The name here of the formats that are objects of one's own.
const OBJECT: &str = "an object";

/// The first bytes are the format, the rest is the record.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (text, format) = match input.below(4) {
        0 => ("json".to_owned(), Format::parse("json")),
        1 => ("envoy".to_owned(), Format::parse("envoy")),
        2 => own_line(&mut input),
        _ => own_object(&mut input),
    };
    let Ok(format) = format else { return };
    // The same request with other credentials: the line must not tell.
    let bytes = input.rest();
    let other = record(&mut Input::new(bytes), &format, "Basic b3RoZXI6b3RoZXI=");
    let record = record(&mut Input::new(bytes), &format, "Bearer 0123456789");
    let line = String::from_utf8(format.line(&record)).unwrap_or_else(|error| panic!("{error}"));
    let body = line.strip_suffix('\n').unwrap_or_else(|| panic!("{line:?} has no end"));
    for c in body.chars() {
        assert!(!c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'), "{c:?} in {line:?}");
    }
    assert_eq!(format.line(&other), line.as_bytes(), "credentials are in the log");
    if text == OBJECT {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        assert!(object.keys().is_sorted(), "{body:?}");
    }
    if text == "json" {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        assert_eq!(object.len(), JSON_KEYS, "{body:?}");
        assert!(object.keys().is_sorted(), "{body:?}");
        assert_eq!(object["response_code"], record.status);
    }
}

fn own_line(input: &mut Input<'_>) -> (String, Result<Format, InvalidFormat>) {
    let text = input.text(200);
    let format = Format::parse(&text);
    (text, format)
}

/// What a text may be in an object is said of it alone, too.
fn own_object(input: &mut Input<'_>) -> (String, Result<Format, InvalidFormat>) {
    let omit_empty = input.flag();
    let texts = [input.text(80), input.text(40), input.text(20)];
    let object = serde_json::json!({
        texts[2].clone(): texts[0],
        "nested": {"list": [texts[1], texts[2], 1, null], texts[1].clone(): texts[0]},
    });
    let format = Format::of_object(&object, omit_empty);
    let each = texts.iter().all(|text| Format::check_text(text).is_ok());
    assert!(!each || format.is_ok(), "each text of {object} is right, and the whole is not");
    (OBJECT.to_owned(), format)
}

fn record(input: &mut Input<'_>, format: &Format, secret: &'static str) -> RequestRecord {
    let version = input.pick(&[HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2]);
    let protocol = input.pick(&Protocol::ALL);
    // Clocks jump: before 1970 and beyond the calendar's end.
    let seconds = Duration::from_secs(input.number() >> input.below(64));
    let wall = match input.flag() {
        true => SystemTime::UNIX_EPOCH.checked_add(seconds),
        false => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    let wall = wall.unwrap_or(SystemTime::UNIX_EPOCH);
    let mut record = RequestRecord::new(Instant::now(), wall, version, protocol);
    record.status = input.number() as u16;
    record.grpc_status = match input.below(3) {
        0 => GrpcOutcome::Absent,
        1 => GrpcOutcome::parse(input.bytes(2)),
        _ => GrpcOutcome::Known(GrpcStatus::Ok),
    };
    for flag in Flag::ALL {
        if input.flag() {
            record.flags.raise(flag);
        }
    }
    record.request_bytes = input.number();
    record.response_bytes = input.number();
    record.duration = Duration::from_nanos(input.number());
    record.attempts = input.number() as u32;
    record.upstream_host = Some(input.text(30).into());
    record.cluster = Some(input.text(30).into());
    record.route = input.flag().then(|| input.text(30).into());
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(input.number().into())), 80);
    record.downstream_remote = Some(address);
    record.downstream_local = input.flag().then_some(address);
    if input.flag() {
        record.logged = Some(heads(input, format, secret));
    }
    record
}

fn heads(input: &mut Input<'_>, format: &Format, secret: &'static str) -> Box<LoggedHeads> {
    let method = Method::from_bytes(input.bytes(12)).unwrap_or(Method::POST);
    let (path, authority) = (input.bytes(80), input.bytes(30));
    let request = headers(input, secret);
    let mut logged = LoggedHeads::of_request(format, &method, path, authority, &request);
    if input.flag() {
        logged.add_response(format, &headers(input, secret));
    }
    if input.flag() {
        logged.add_trailers(format, &headers(input, secret));
        logged.trust_forwarded(format, &request);
    }
    if let Some(moments) = logged.moments() {
        moments.came_by(input.number());
        let now = Instant::now() + Duration::from_millis(input.number() >> 32);
        if input.flag() {
            moments.connected((None, Wire::default()), input.flag(), now);
            moments.answered(now);
        } else {
            moments.not_connected(input.flag().then_some("delayed_connect_error:_Connection_refused"));
            moments.answers_itself(input.bytes(40).to_vec().into());
        }
    }
    logged
}

fn headers(input: &mut Input<'_>, secret: &'static str) -> HeaderMap {
    const NAMES: [&str; 7] = [
        "user-agent",
        "x-request-id",
        "x-forwarded-for",
        "x-envoy-original-path",
        "traceparent",
        "x-a",
        "x-b",
    ];
    let mut headers = HeaderMap::new();
    for name in ["authorization", "proxy-authorization", "cookie", "set-cookie"] {
        headers.insert(name, HeaderValue::from_static(secret));
    }
    for _ in 0..input.below(6) {
        let name = HeaderName::from_static(input.pick(&NAMES));
        // A value is any bytes that a peer may send: what is refused on the wire does not come here.
        if let Ok(value) = HeaderValue::from_bytes(input.bytes(40)) {
            headers.append(name, value);
        }
    }
    headers
}
