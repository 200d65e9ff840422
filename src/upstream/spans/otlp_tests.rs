//! What is written is what OpenTelemetry's own types read.

use std::time::{Instant, SystemTime};

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::snapshot::{Address, Fraction, Labels, OtlpProtocol};
use crate::telemetry::families::SpanMeter;
use crate::telemetry::trace::{Attempt, AttemptEnd, Head, Rate, SpanId, Text, Tracer, Where, span_queue};
use crate::telemetry::{GrpcOutcome, Recorder, RequestRecord};
use crate::words::{HttpVersion, Protocol};

fn node() -> Node {
    Node {
        id: "pod-7".into(),
        cluster: "inception".into(),
        namespace: "kubeflow".into(),
        workload: "inception-v1".into(),
        labels: [("version".into(), "v1".into())].into_iter().collect::<Labels>(),
        domain: "cluster.local".into(),
    }
}

fn tracing(service_name: Option<&str>) -> Tracing {
    Tracing {
        collector: Address::Socket(([127, 0, 0, 1], 4317).into()),
        authority: "127.0.0.1:4317".into(),
        protocol: OtlpProtocol::Grpc,
        timeout: std::time::Duration::from_secs(1),
        sample: Fraction::ALWAYS,
        service_name: service_name.map(Into::into),
    }
}

/// A request for `path` with `attempts`, whose caller said `state`.
fn finished(path: &str, attempts: u64, state: &str, status: u16) -> Finished {
    let (queue, _source) = span_queue(SpanMeter::new(&Recorder::new(1)));
    let tracer = Tracer { rate: Rate::new(1, 1), queue };
    let mut headers = HeaderMap::new();
    if !state.is_empty() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", parent.parse().expect("a value"));
        headers.insert("tracestate", state.parse().expect("a value"));
    }
    let mut draw = 0;
    let mut trace = tracer
        .begin(&mut headers, || {
            draw += 1;
            draw
        })
        .expect("it is recorded");
    trace.head = Some(Head {
        method: Text::of("POST"),
        scheme: "http",
        path: Text::of(path),
        authority: Text::of("x"),
        user_agent: Text::default(),
        forwarded_for: None,
    });
    for number in 0..attempts {
        let attempt = Attempt {
            span: SpanId::random(1_000 + number),
            started: Instant::now(),
            ended: None,
            endpoint: "127.0.0.1:80".into(),
            authority: Text::of("x"),
            path: None,
            http2: false,
            status: 0,
            grpc_status: GrpcOutcome::Absent,
            error: None,
        };
        trace.begin_attempt(attempt, &mut headers);
        trace.note(AttemptEnd::Answered(status, GrpcOutcome::Absent));
    }
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http);
    record.status = status;
    record.route = Some("r".into());
    trace.finish(&record, Where::default())
}

fn text(value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_what_opentelemetrys_own_types_read(
        requests in prop::collection::vec(("/[ -~é]{0,40}", 0_u64..4, prop_oneof![Just(""), Just("a=1,b=2")], 100_u16..600), 0..5),
    ) {
        let batch: Vec<_> =
            requests.iter().map(|(path, attempts, state, status)| finished(path, *attempts, state, *status)).collect();
        let resource = Resource::of(&tracing(None), &node());
        let read = ExportTraceServiceRequest::decode(request(&resource, &batch)).expect("a reading");
        prop_assert_eq!(read.resource_spans.len(), 1);
        let of_resource = &read.resource_spans[0];
        prop_assert_eq!(of_resource.scope_spans.len(), 1);
        let of_scope = &of_resource.scope_spans[0];
        prop_assert_eq!(of_scope.scope.as_ref().map(|scope| scope.name.as_str()), Some("weir"));
        let written: Vec<Span<'_>> = batch.iter().flat_map(spans_of).collect();
        prop_assert_eq!(of_scope.spans.len(), written.len());
        for (span, read) in written.iter().zip(&of_scope.spans) {
            prop_assert_eq!(&read.trace_id[..], &span.context.trace.bytes()[..]);
            prop_assert_eq!(&read.span_id[..], &span.context.span.bytes()[..]);
            prop_assert_eq!(&read.parent_span_id[..], span.parent.as_ref().map_or(&[][..], |parent| &parent.bytes()[..]));
            prop_assert_eq!((read.name.as_str(), read.trace_state.as_str()), (&*span.name, span.state));
            prop_assert_eq!(read.kind, if span.kind == Kind::Server { 2 } else { 3 });
            prop_assert_eq!((read.start_time_unix_nano, read.end_time_unix_nano), (span.start_ns, span.end_ns));
            let remote = match span.parent_is_remote { None => 0, Some(false) => 0x100, Some(true) => 0x300 };
            prop_assert_eq!(read.flags, remote | 1);
            prop_assert_eq!(read.status.as_ref().map(|status| (status.code, status.message.as_str())), span.error.map(|error| (2, error)));
            let said: Vec<_> = read.attributes.iter().map(|pair| (pair.key.as_str(), text(&pair.value))).collect();
            let meant: Vec<_> = span.attributes.iter().map(|(name, value)| (*name, match value {
                Value::Text(text) => text.clone().into_owned(),
                Value::Number(number) => number.to_string(),
            })).collect();
            prop_assert_eq!(said, meant);
        }
    }

    #[test]
    fn what_a_collector_rejects_is_read(rejected in 0_i64..i64::MAX, message in "[ -~é]{0,40}", partial: bool) {
        let partial = partial.then(|| ExportTracePartialSuccess { rejected_spans: rejected, error_message: message.clone() });
        let expected = partial.as_ref().map_or((0, String::new()), |_| (rejected as u64, message));
        let response = ExportTraceServiceResponse { partial_success: partial }.encode_to_vec();
        prop_assert_eq!(super::rejected(&response), expected);
    }
}

#[test]
fn a_resource_says_who_the_proxy_is() {
    let of = |service_name| {
        let resource = Resource::of(&tracing(service_name), &node());
        let read = ExportTraceServiceRequest::decode(request(&resource, &[])).expect("a reading");
        let resource = read.resource_spans[0].resource.clone().expect("a resource");
        let pairs = resource.attributes.iter().map(|pair| format!("{}={}", pair.key, text(&pair.value)));
        pairs.filter(|pair| !pair.starts_with("telemetry.")).collect::<Vec<_>>()
    };
    let rest = ["service.namespace=kubeflow", "service.instance.id=pod-7", "service.version=v1"];
    assert_eq!(of(None), [&["service.name=inception"], &rest[..]].concat());
    assert_eq!(of(Some("edge")), [&["service.name=edge"], &rest[..]].concat());
}
