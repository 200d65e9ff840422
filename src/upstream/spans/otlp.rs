//! Spans as OpenTelemetry's protocol has them: `ExportTraceServiceRequest`, and what is read of its answer.
//!
//! Law: each message is written in the order of its fields, with what has a value. Source: opentelemetry-proto 1.

use bytes::{Bytes, BytesMut};

use crate::message::protobuf::{
    self, field_bytes, number_bytes, put_bytes, put_chosen_integer, put_fixed32, put_fixed64, put_integer,
    put_length, put_text,
};
use crate::snapshot::{Node, Tracing};
use crate::telemetry::trace::{Finished, Kind, Span, Value, spans_of};

/// The version of the conventions that names and attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";
/// `Status.StatusCode.STATUS_CODE_ERROR`
const ERROR: u64 = 2;
/// About what a span takes.
const SPAN_BYTES: usize = 1_024;
/// `SpanFlags`: whether the parent is another process's is known; and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Who the spans are of: the same in all of them, so that it is written once.
#[derive(Clone, Debug)]
pub struct Resource(Bytes);

impl Resource {
    /// The proxy that is `node`.
    pub fn of(tracing: &Tracing, node: &Node) -> Resource {
        let version = node.labels.get("version").map(|version| version.to_string());
        let mut resource = BytesMut::new();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                put_attribute(&mut resource, 1, name, &Value::Text(value.into()));
            }
        };
        put("service.name", tracing.service_name.as_ref().unwrap_or(&node.cluster));
        put("service.namespace", &node.namespace);
        put("service.instance.id", &node.id);
        put("service.version", version.as_deref().unwrap_or_default());
        put("telemetry.sdk.name", "weir");
        put("telemetry.sdk.language", "rust");
        put("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        Resource(resource.freeze())
    }
}

/// The request that has a collector take the spans of `batch`.
pub fn request(resource: &Resource, batch: &[Finished]) -> Bytes {
    let spans: usize = batch.iter().map(Finished::spans).sum();
    let mut scope_spans = BytesMut::with_capacity(spans * SPAN_BYTES);
    let mut scope = BytesMut::new();
    put_text(&mut scope, 1, "weir");
    put_text(&mut scope, 2, env!("CARGO_PKG_VERSION"));
    put_bytes(&mut scope_spans, 1, &scope);
    let mut message = BytesMut::with_capacity(SPAN_BYTES);
    for span in batch.iter().flat_map(spans_of) {
        message.clear();
        put_span(&mut message, &span);
        put_bytes(&mut scope_spans, 2, &message);
    }
    put_text(&mut scope_spans, 3, SCHEMA);
    let mut resource_spans = BytesMut::with_capacity(resource.0.len() + scope_spans.len() + 64);
    put_bytes(&mut resource_spans, 1, &resource.0);
    put_bytes(&mut resource_spans, 2, &scope_spans);
    put_text(&mut resource_spans, 3, SCHEMA);
    let mut request = BytesMut::with_capacity(resource_spans.len() + 8);
    put_bytes(&mut request, 1, &resource_spans);
    request.freeze()
}

fn put_span(message: &mut BytesMut, span: &Span<'_>) {
    put_bytes(message, 1, span.context.trace.bytes());
    put_bytes(message, 2, span.context.span.bytes());
    put_text(message, 3, span.state);
    if let Some(parent) = &span.parent {
        put_bytes(message, 4, parent.bytes());
    }
    put_text(message, 5, &span.name);
    put_integer(message, 6, if span.kind == Kind::Server { 2 } else { 3 });
    put_fixed64(message, 7, span.start_ns);
    put_fixed64(message, 8, span.end_ns);
    for (name, value) in &span.attributes {
        put_attribute(message, 9, name, value);
    }
    if let Some(error) = span.error {
        let mut status = BytesMut::new();
        put_text(&mut status, 2, error);
        put_integer(&mut status, 3, ERROR);
        put_bytes(message, 15, &status);
    }
    let remote = match span.parent_is_remote {
        None => 0,
        Some(false) => HAS_IS_REMOTE,
        Some(true) => HAS_IS_REMOTE | IS_REMOTE,
    };
    put_fixed32(message, 16, remote | u32::from(span.context.flags()));
}

/// `KeyValue`
fn put_attribute(message: &mut BytesMut, field: u64, name: &str, value: &Value<'_>) {
    // Lengths first, so that nothing is written twice.
    let any = match value {
        Value::Text(text) => field_bytes(text.len()),
        Value::Number(number) => 1 + number_bytes(*number as u64),
    };
    put_length(message, field, field_bytes(name.len()) + field_bytes(any));
    put_bytes(message, 1, name.as_bytes());
    put_length(message, 2, any);
    match value {
        Value::Text(text) => put_bytes(message, 1, text.as_bytes()),
        // One of several: a zero stands there, too. Negative ones are written as what has the same bits.
        Value::Number(number) => put_chosen_integer(message, 3, *number as u64),
    }
}

/// What an `ExportTraceServiceResponse` says: how many spans were rejected, and why. One without a reading says nothing.
pub(super) fn rejected(response: &[u8]) -> (u64, String) {
    let Some(fields) = protobuf::fields(response) else { return (0, String::new()) };
    let Some(partial) = protobuf::fields(protobuf::bytes(&fields, 1)) else { return (0, String::new()) };
    let message = String::from_utf8_lossy(protobuf::bytes(&partial, 2)).into_owned();
    (protobuf::number(&partial, 1), message)
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
