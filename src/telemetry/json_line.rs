//! The line of `format: json`: 24 keys, sorted; Istio's names where it has one.
//!
//! Law: it is the line that an object of these operators would make (compared in a test). It is made here, and not of
//! fields that were read, as everything then is known when this is compiled: with a log on, a line is a good part of
//! what a request costs.

use http::HeaderName;

use super::field::{FORWARDED_FOR, GrpcForm, HeadPart, Source};
use super::format::Format;
use super::line::write_json;
use super::record::RequestRecord;
use crate::words::Operator;

/// What it asks for of requests; each by its place.
const OF_REQUESTS: [HeaderName; 5] = [
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("user-agent"),
    FORWARDED_FOR,
];
const ORIGINAL_PATH: HeadPart = HeadPart::Request(0);
const REQUEST_ID: HeadPart = HeadPart::Request(1);
const TRACEPARENT: usize = 2;
const USER_AGENT: HeadPart = HeadPart::Request(3);
const X_FORWARDED_FOR: HeadPart = HeadPart::Request(4);

/// The same of responses.
const OF_RESPONSES: [HeaderName; 1] = [HeaderName::from_static("x-envoy-upstream-service-time")];
const SERVICE_TIME: HeadPart = HeadPart::Response(0);

/// Has `format`, which asks for nothing yet, ask for what the line needs.
pub(super) fn ask(format: &mut Format) {
    for name in OF_REQUESTS {
        format.request_headers.place(name);
    }
    for name in OF_RESPONSES {
        format.response_headers.place(name);
    }
    format.asks_forwarded_for = true;
}

/// Appends the record's line, without its newline.
pub(super) fn write(line: &mut Vec<u8>, record: &RequestRecord) {
    let head = |part| Source::Head(part, None);
    let of = Source::Record;
    put(line, record, "{\"authority\":", &head(HeadPart::Authority));
    put(line, record, ",\"bytes_received\":", &of(Operator::BytesReceived));
    put(line, record, ",\"bytes_sent\":", &of(Operator::BytesSent));
    put(line, record, ",\"downstream_local_address\":", &of(Operator::DownstreamLocalAddress));
    put(line, record, ",\"downstream_remote_address\":", &of(Operator::DownstreamRemoteAddress));
    put(line, record, ",\"duration\":", &of(Operator::Duration));
    put(line, record, ",\"grpc_status\":", &Source::Grpc(GrpcForm::Number));
    put(line, record, ",\"method\":", &head(HeadPart::Method));
    put(line, record, ",\"path\":", &Source::Head(ORIGINAL_PATH, Some(HeadPart::Path)));
    put(line, record, ",\"protocol\":", &of(Operator::Protocol));
    put(line, record, ",\"request_id\":", &head(REQUEST_ID));
    put(line, record, ",\"response_code\":", &of(Operator::ResponseCode));
    put(line, record, ",\"response_code_details\":", &of(Operator::ResponseCodeDetails));
    put(line, record, ",\"response_flags\":", &of(Operator::ResponseFlags));
    put(line, record, ",\"route_name\":", &of(Operator::RouteName));
    put(line, record, ",\"start_time\":", &of(Operator::StartTime));
    put(line, record, ",\"trace_id\":", &Source::Trace(TRACEPARENT));
    put(line, record, ",\"upstream_cluster\":", &of(Operator::UpstreamCluster));
    put(line, record, ",\"upstream_host\":", &of(Operator::UpstreamHost));
    put(line, record, ",\"upstream_request_attempt_count\":", &of(Operator::UpstreamRequestAttemptCount));
    put(line, record, ",\"upstream_service_time\":", &head(SERVICE_TIME));
    put(line, record, ",\"user_agent\":", &head(USER_AGENT));
    put(line, record, ",\"version\":", &of(Operator::WeirVersion));
    put(line, record, ",\"x_forwarded_for\":", &head(X_FORWARDED_FOR));
    line.push(b'}');
}

#[inline(always)] // for each source the compiler then keeps what it is
fn put(line: &mut Vec<u8>, record: &RequestRecord, key: &'static str, source: &Source) {
    line.extend_from_slice(key.as_bytes());
    write_json(line, source, None, record);
}
