//! A collector of spans, as a scripted upstream, and the spans that it got.
//!
//! Law: what Weir has written is read by OpenTelemetry's own types, and by nothing of Weir's.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message as _;

use super::loopback::own_ip;
use super::world::until;
use super::world::upstream::{BoxBody, Seen, Upstream, empty, frames, grpc_message, grpc_ok};

/// By what a proxy tells a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Grpc,
    Http,
}

impl Via {
    pub const BOTH: [Via; 2] = [Via::Grpc, Via::Http];

    /// `tracing:` with a collector at `at`, where so many percent of new traces are recorded.
    pub fn tracing(self, at: &str, percent: u32) -> String {
        let protocol = if self == Via::Grpc { "grpc" } else { "http" };
        format!("tracing: {{endpoint: \"http://{at}\", protocol: {protocol}, sample_percent: {percent}}}\n")
    }
}

/// A span as a collector reads it.
#[derive(Clone, Debug)]
pub struct Span {
    pub resource: BTreeMap<String, String>,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    pub is_server: bool,
    pub is_error: bool,
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// An attribute's value; empty where there is none.
    pub fn said(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A collector that takes whatever comes.
pub struct Collector(Upstream);

impl Collector {
    pub async fn start() -> Collector {
        Collector::answering(|_, seen| taken(seen)).await
    }

    /// One that answers the batch of each number, from 0, as `answer` says.
    pub async fn answering(answer: impl Fn(usize, &Seen) -> Response<BoxBody> + 'static) -> Collector {
        let count = std::cell::Cell::new(0);
        let answer = move |seen| answer(count.replace(count.get() + 1), &seen);
        // Whoever still sends to a collector that is gone does not find this one in its place.
        Collector(Upstream::remembering_at((own_ip(), 0).into(), answer).await)
    }

    pub fn at(&self) -> String {
        self.0.at()
    }

    /// Batches that came.
    pub fn batches(&self) -> Vec<Seen> {
        self.0.seen()
    }

    /// The spans that came, each as often as it came.
    pub fn spans(&self) -> Vec<Span> {
        self.batches().iter().flat_map(read).collect()
    }

    /// The spans, once there are `count`: the order of their starts, the requests' before their attempts'.
    pub async fn wait(&self, count: usize) -> Vec<Span> {
        let mut spans = until(&format!("{count} spans"), || {
            let spans = self.spans();
            (spans.len() >= count).then_some(spans)
        })
        .await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by_key(|span| (span.start, !span.is_server, span.end));
        spans
    }
}

/// A collector's answer that says that all is well.
pub fn taken(seen: &Seen) -> Response<BoxBody> {
    let is_call = seen.header("content-type").is_some_and(|kind| kind == "application/grpc");
    if !is_call {
        return Response::new(empty());
    }
    let body = vec![Frame::data(grpc_message(b"")), Frame::trailers(grpc_ok())];
    Response::builder().header("content-type", "application/grpc").body(frames(body)).expect("a response")
}

/// The spans of a batch, which is as the protocol has it.
fn read(batch: &Seen) -> Vec<Span> {
    let message: Bytes = match (batch.target(), batch.header("content-type")) {
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Some("application/grpc")) => {
            let (head, message) = batch.body.split_at(5);
            assert_eq!(head[0], 0, "it is not compressed");
            let length = head[1..].iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            assert_eq!(length, message.len());
            batch.body.slice(5..)
        }
        ("/v1/traces", Some("application/x-protobuf")) => match batch.header("content-encoding") {
            Some("gzip") => unpacked(&batch.body),
            other => {
                assert_eq!(other, None);
                batch.body.clone()
            }
        },
        other => panic!("{other:?}"),
    };
    let request = ExportTraceServiceRequest::decode(message).expect("spans");
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = pairs(&of_resource.resource.expect("a resource").attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            spans.push(span_of(&resource, &span));
        }
    }
    spans
}

fn unpacked(body: &[u8]) -> Bytes {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut unpacked).expect("gzip");
    unpacked.into()
}

fn span_of(resource: &BTreeMap<String, String>, span: &otlp::Span) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Span {
        resource: resource.clone(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state.clone(),
        name: span.name.clone(),
        is_server: span.kind == otlp::span::SpanKind::Server as i32,
        is_error: span.status.as_ref().is_some_and(|status| status.code == 2),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: pairs(&span.attributes),
    }
}

fn pairs(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A value of `traceparent`: the trace, the span and the flags.
pub fn traceparent(value: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = value.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{value}") };
    assert_eq!((trace.len(), span.len(), flags.len()), (32, 16, 2), "{value}");
    (trace, span, flags)
}
