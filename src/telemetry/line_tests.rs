//! The lines' law: one line, whatever the bytes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use similar_asserts::assert_eq;

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::telemetry::heads::LoggedHeads;
use crate::telemetry::moments::Wire;
use crate::words::{Flag, HttpVersion, Protocol};

const CUSTOM: &str = "%REQ(X-A)% %REQ(:PATH):20% %REQ(X-A):3% %RESP(X-B?X-C)% %UPSTREAM_HOST% %ROUTE_NAME%";

const NOTED: &str = "%TRAILER(X-A)% %TRACE_ID% %DOWNSTREAM_REMOTE_ADDRESS% %LOCAL_REPLY_BODY%";

/// What `format: json` is the line of.
const JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("grpc_status", "%GRPC_STATUS_NUMBER%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("trace_id", "%TRACE_ID%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_request_attempt_count", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("version", "%WEIR_VERSION%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|&(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
    pairs.collect()
}

fn record() -> RequestRecord {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_833_786_746);
    let mut record = RequestRecord::new(Instant::now(), wall, HttpVersion::Http11, Protocol::Http);
    record.status = 200;
    record.request_bytes = 15;
    record.response_bytes = 81;
    record.duration = Duration::from_micros(7_900);
    record.attempts = 1;
    record
}

fn with_heads(format: &Format, mut record: RequestRecord) -> RequestRecord {
    let request = headers(&[
        ("user-agent", b"curl/8"),
        ("x-request-id", b"4f2a"),
        ("x-forwarded-for", b"10.0.0.9"),
        ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
    ]);
    let mut heads = LoggedHeads::of_request(
        format,
        &Method::POST,
        b"/v1/models/half:predict?x=1",
        b"half:8501",
        &request,
    );
    heads.add_response(format, &headers(&[("x-envoy-upstream-service-time", b"7")]));
    heads.set_version("v2".into());
    record.logged = Some(heads);
    record.upstream_host = Some("127.0.0.1:9001".into());
    record
}

fn line(format: &Format, record: &RequestRecord) -> String {
    String::from_utf8(format.line(record)).unwrap()
}

#[test]
fn envoys_default_line_is_envoys() {
    let format = Format::parse("envoy").unwrap();
    assert_eq!(
        line(&format, &with_heads(&format, record())),
        "[2025-11-22T17:49:46.746Z] \"POST /v1/models/half:predict?x=1 HTTP/1.1\" 200 - 15 81 7 7 \"10.0.0.9\" \
         \"curl/8\" \"4f2a\" \"half:8501\" \"127.0.0.1:9001\"\n"
    );
}

#[test]
fn what_is_missing_is_a_dash_in_text_and_null_in_json() {
    let format = Format::parse("envoy").unwrap();
    let mut bad = record();
    bad.status = 400;
    bad.flags = Flag::DownstreamProtocolError.into();
    assert_eq!(
        line(&format, &bad),
        "[2025-11-22T17:49:46.746Z] \"- - HTTP/1.1\" 400 DPE 15 81 7 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"
    );
    let json = line(&Format::parse("json").unwrap(), &bad);
    assert!(json.contains("\"authority\":null,") && json.contains("\"upstream_host\":null,"), "{json}");
    assert!(json.contains(",\"trace_id\":null,"), "{json}");
}

#[test]
fn a_json_line_has_sorted_keys_no_spaces_and_bare_numbers() {
    let format = Format::parse("json").unwrap();
    let mut record = with_heads(&format, record());
    record.protocol = Protocol::Grpc;
    record.grpc_status = GrpcOutcome::Known(GrpcStatus::InvalidArgument);
    record.details = "via_upstream";
    record.route = Some("split-95-5".into());
    record.cluster = Some("half-v1".into());
    record.downstream_remote = Some("[::1]:5000".parse().unwrap());
    record.downstream_local = Some("127.0.0.1:8500".parse().unwrap());
    assert_eq!(
        line(&format, &record),
        "{\"authority\":\"half:8501\",\"bytes_received\":15,\"bytes_sent\":81,\
         \"downstream_local_address\":\"127.0.0.1:8500\",\"downstream_remote_address\":\"[::1]:5000\",\
         \"duration\":7,\"grpc_status\":3,\"method\":\"POST\",\"path\":\"/v1/models/half:predict?x=1\",\
         \"protocol\":\"HTTP/1.1\",\"request_id\":\"4f2a\",\"response_code\":200,\
         \"response_code_details\":\"via_upstream\",\"response_flags\":\"-\",\"route_name\":\"split-95-5\",\
         \"start_time\":\"2025-11-22T17:49:46.746Z\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\
         \"upstream_cluster\":\"half-v1\",\
         \"upstream_host\":\"127.0.0.1:9001\",\"upstream_request_attempt_count\":1,\
         \"upstream_service_time\":\"7\",\"user_agent\":\"curl/8\",\"version\":\"v2\",\"x_forwarded_for\":\"10.0.0.9\"}\n"
    );
}

#[test]
fn a_line_can_be_forged_neither_by_a_quote_nor_by_a_line_end() {
    let format = Format::parse("\"%REQ(X-A)%\"").unwrap();
    let mut record = record();
    let request = headers(&[("x-a", b"a\" 200 \\ \t\xff\xc2\x85\xe2\x80\xa8\xc3\xa9")]);
    record.logged = Some(LoggedHeads::of_request(&format, &Method::GET, b"/", b"", &request));
    assert_eq!(line(&format, &record), "\"a\\\" 200 \\\\ \\x09\\xff\\xc2\\x85\\xe2\\x80\\xa8\u{e9}\"\n");
}

#[test]
fn an_operator_with_a_choice_takes_the_first_that_is_there_and_a_limit_cuts() {
    let format =
        Format::parse("%REQ(X-A?:PATH):4% %REQ(X-B?X-A)% %GRPC_STATUS% %GRPC_STATUS_NUMBER%").unwrap();
    let mut record = record();
    record.protocol = Protocol::Grpc;
    record.grpc_status = GrpcOutcome::Known(GrpcStatus::NotFound);
    let request = headers(&[("x-b", b"b")]);
    record.logged = Some(LoggedHeads::of_request(&format, &Method::GET, b"/a/long/path", b"", &request));
    assert_eq!(line(&format, &record), "/a/l b NotFound 5\n");
}

#[test]
fn a_time_is_printed_in_the_form_that_is_asked_for_in_utc() {
    for (format, expected) in [
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z)%", "2025/11/22T17:49:46+0000\n"),
        ("[%START_TIME(%s.%3f)%] %DURATION%", "[1763833786.746] 7\n"),
        ("%START_TIME(%d/%b/%Y:%T)%%%%START_TIME%", "22/Nov/2025:17:49:46%2025-11-22T17:49:46.746Z\n"),
        ("%START_TIME(%F):4%", "2025\n"),
    ] {
        assert_eq!(line(&Format::parse(format).unwrap(), &record()), expected, "{format}");
    }
}

/// A record of which everything is known, at moments that are milliseconds apart.
fn full(format: &Format) -> RequestRecord {
    let mut record = with_heads(format, record());
    let at = |milliseconds| record.start + Duration::from_millis(milliseconds);
    let (received, sent, answered) = (at(1), at(2), at(5));
    record.downstream_remote = Some("10.0.0.1:40000".parse().unwrap());
    record.downstream_local = Some("[fd00::1]:8500".parse().unwrap());
    record.flags = [Flag::NoRoute, Flag::UpstreamRetryLimitExceeded].into_iter().collect();
    let heads = record.logged.as_deref_mut().unwrap();
    heads.add_trailers(format, &headers(&[("grpc-message", b"it is full")]));
    if let Some(moments) = heads.moments() {
        moments.came_by(17);
        let wire = Wire::new(|| (120, 340));
        moments.connected((Some("10.0.0.2:41000".parse().unwrap()), wire), false, received);
        moments.received(received);
        moments.sent(sent);
        moments.answered(answered);
    }
    record
}

#[test]
fn what_only_some_formats_ask_for_is_what_was_noted_on_the_way() {
    for (format, expected) in [
        (
            "%CONNECTION_ID% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%",
            "17 fd00::1 8500\n",
        ),
        (
            "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %DURATION%",
            "1 2 5 2 7\n",
        ),
        ("%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS%", "10.0.0.2:41000 127.0.0.1:9001\n"),
        ("%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%", "120 340\n"),
        (
            "%TRAILER(X?grpc-message):5% %RESPONSE_TRAILER(X)% %RESPONSE_FLAGS_LONG%",
            "it is - UpstreamRetryLimitExceeded,NoRouteFound\n",
        ),
        ("%STREAM_ID% %REQUEST_HEADER(user-agent)% %RESPONSE_HEADER(x-none)%", "4f2a curl/8 -\n"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.1:40000\n"),
        (
            "%REQUESTED_SERVER_NAME% %CONNECTION_TERMINATION_DETAILS% %ENVIRONMENT(NO_SUCH_VARIABLE)%",
            "- - -\n",
        ),
    ] {
        let format = Format::parse(format).unwrap();
        assert_eq!(line(&format, &full(&format)), expected, "{format:?}");
    }
}

#[test]
fn what_did_not_happen_is_unset() {
    let format = Format::parse(
        "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% \
         %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS% %CONNECTION_ID% %TRAILER(a)% [%LOCAL_REPLY_BODY%]",
    )
    .unwrap();
    let mut record = with_heads(&format, record());
    assert_eq!(line(&format, &record), "- - - - - - - - []\n");
    record.logged = None;
    assert_eq!(line(&format, &record), "- - - - - - - - [-]\n");
}

#[test]
fn an_attempt_without_a_connection_leaves_nothing_of_the_one_before() {
    let format =
        Format::parse("%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS% %REQUEST_TX_DURATION% %UPSTREAM_TRANSPORT_FAILURE_REASON%")
            .unwrap();
    let mut record = full(&format);
    let start = record.start;
    let moments = record.logged.as_deref_mut().unwrap().moments().unwrap();
    moments.not_connected(Some("delayed_connect_error:_Connection_refused"));
    assert_eq!(line(&format, &record), "- - - delayed_connect_error:_Connection_refused\n");
    let moments = record.logged.as_deref_mut().unwrap().moments().unwrap();
    moments.connected((None, Wire::default()), true, start + Duration::from_millis(3));
    assert_eq!(line(&format, &record), "- 127.0.0.1:9001 3 -\n");
}

#[test]
fn the_caller_is_whom_the_last_of_x_forwarded_for_names_where_that_is_believed() {
    let format =
        Format::parse("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%").unwrap();
    for (forwarded, believed, expected) in [
        (&b"1.2.3.4"[..], true, "1.2.3.4:0 1.2.3.4\n"),
        (b"1.2.3.4, fd00::2", true, "[fd00::2]:0 fd00::2\n"),
        (b"1.2.3.4,", true, "10.0.0.1:40000 10.0.0.1\n"),
        (b"1.2.3.4, me", true, "10.0.0.1:40000 10.0.0.1\n"),
        (b"\xff", true, "10.0.0.1:40000 10.0.0.1\n"),
        (b"1.2.3.4", false, "10.0.0.1:40000 10.0.0.1\n"),
    ] {
        let mut record = record();
        record.downstream_remote = Some("10.0.0.1:40000".parse().unwrap());
        let request = headers(&[("x-forwarded-for", forwarded)]);
        let mut heads = LoggedHeads::of_request(&format, &Method::GET, b"/", b"", &request);
        if believed {
            heads.trust_forwarded(&format, &request);
        }
        record.logged = Some(heads);
        assert_eq!(line(&format, &record), expected, "{forwarded:?} {believed}");
    }
}

#[test]
fn a_trace_is_that_of_a_traceparent_that_is_one() {
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let format = Format::parse("%TRACE_ID%").unwrap();
    for (parent, expected) in [
        (format!("00-{ID}-00f067aa0ba902b7-01"), ID),
        (format!("00-{ID}"), "-"),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), "-"),
        (format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()), "-"),
        ("short".into(), "-"),
    ] {
        let mut record = record();
        let mut request = HeaderMap::new();
        request.insert("traceparent", HeaderValue::from_str(&parent).unwrap());
        record.logged = Some(LoggedHeads::of_request(&format, &Method::GET, b"/", b"", &request));
        assert_eq!(line(&format, &record), format!("{expected}\n"), "{parent}");
    }
}

#[test]
fn a_grpc_status_is_printed_in_the_form_that_is_asked_for() {
    let format = Format::parse(
        "%GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)%",
    )
    .unwrap();
    let mut record = record();
    for (protocol, http, status, expected) in [
        (
            Protocol::Grpc,
            200,
            GrpcOutcome::parse(b"8"),
            "ResourceExhausted ResourceExhausted RESOURCE_EXHAUSTED 8",
        ),
        (Protocol::Grpc, 200, GrpcOutcome::parse(b"99"), "99 99 99 99"),
        (Protocol::Grpc, 200, GrpcOutcome::parse(b"abc"), "-1 -1 -1 -1"),
        (Protocol::Grpc, 200, GrpcOutcome::Absent, "Unknown Unknown UNKNOWN 2"),
        (Protocol::Grpc, 503, GrpcOutcome::Absent, "Unavailable Unavailable UNAVAILABLE 14"),
        (Protocol::Grpc, 0, GrpcOutcome::Absent, "- - - -"),
        (Protocol::Http, 200, GrpcOutcome::parse(b"8"), "- - - -"),
    ] {
        (record.protocol, record.status, record.grpc_status) = (protocol, http, status);
        assert_eq!(line(&format, &record), format!("{expected}\n"), "{protocol:?} {http} {status:?}");
    }
}

#[test]
fn what_belongs_to_the_process_is_the_same_on_every_line() {
    let format =
        Format::parse("%HOSTNAME% %ENVIRONMENT(CARGO_PKG_NAME)% %ENVIRONMENT(CARGO_PKG_NAME):2%").unwrap();
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(line(&format, &record()), format!("{host} weir we\n"));
}

fn anything() -> impl Strategy<Value = (RequestRecord, Vec<u8>, Vec<u8>, Vec<u8>)> {
    let bytes = || {
        // As many control characters, separators and broken sequences as possible.
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            proptest::sample::select(vec!["\n", "\r", "\"", "\\", "\u{2028}", "\u{85}", "\0", "\u{7f}"])
                .prop_map(|text| text.as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    };
    (bytes(), bytes(), bytes(), any::<String>(), any::<u16>(), any::<u64>(), any::<i32>()).prop_map(
        |(path, authority, header, name, status, number, offset)| {
            let mut record = record();
            record.status = status;
            record.request_bytes = number;
            record.start_wall = SystemTime::UNIX_EPOCH + Duration::from_secs(offset.unsigned_abs().into());
            let name: Arc<str> = name.into();
            (record.route, record.cluster, record.upstream_host) =
                (Some(name.clone()), Some(name.clone()), Some(name));
            (record, path, authority, header)
        },
    )
}

proptest! {
    #[test]
    fn a_time_is_the_calendars_whatever_was_printed_before(seconds in 0u64..1 << 35, nanos in 0u32..1_000_000_000) {
        for since in [Duration::new(seconds, nanos), Duration::new(seconds, 0), Duration::new(seconds / 2, nanos)] {
            let time = SystemTime::UNIX_EPOCH + since;
            let mut printed = Vec::new();
            write_time(&mut printed, since);
            prop_assert_eq!(String::from_utf8(printed).unwrap(), format!("{:.3}", jiff::Timestamp::try_from(time).unwrap()));
        }
    }

    #[test]
    fn an_address_is_what_the_library_prints(ip: std::net::IpAddr, port: u16) {
        let mut printed = Vec::new();
        write_address(&mut printed, SocketAddr::new(ip, port));
        prop_assert_eq!(String::from_utf8(printed).unwrap(), SocketAddr::new(ip, port).to_string());
    }

    #[test]
    fn any_bytes_make_exactly_one_line_and_json_is_valid((record, path, authority, header) in anything()) {
        let status = record.status;
        let mut record = record;
        let object = JSON.into_iter().map(|(key, operator)| (key.to_owned(), operator.into())).collect();
        let object = Format::of_object(&serde_json::Value::Object(object), false).unwrap();
        let mut line_of = |format: &Format| {
            let value = HeaderValue::from_bytes(&header).unwrap_or(HeaderValue::from_static("a"));
            let all: HeaderMap = ["x-a", "x-b", "user-agent", "x-request-id", "x-envoy-original-path", "x-forwarded-for", "traceparent"]
                .into_iter().map(|name| (http::HeaderName::from_static(name), value.clone())).collect();
            let mut heads = LoggedHeads::of_request(format, &Method::POST, &path, &authority, &all);
            heads.add_response(format, &all);
            heads.add_trailers(format, &all);
            heads.trust_forwarded(format, &all);
            if let Some(moments) = heads.moments() {
                moments.answers_itself(header.clone().into());
            }
            record.logged = Some(heads);
            line(format, &record)
        };
        for text in ["envoy", "json", CUSTOM, NOTED] {
            let line = line_of(&Format::parse(text).unwrap());
            let body = line.strip_suffix('\n').unwrap();
            let ends_a_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!body.contains(ends_a_line));
            if text == "json" {
                prop_assert_eq!(&line, &line_of(&object));
                let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body).unwrap();
                prop_assert!(parsed.keys().is_sorted());
                prop_assert_eq!(parsed["response_code"].as_u64(), Some(status.into()));
                if let Ok(text) = std::str::from_utf8(&authority) {
                    let logged = parsed["authority"].as_str();
                    prop_assert_eq!(logged, Some(text).filter(|text| !text.is_empty()));
                }
            }
        }
    }
}
