//! Istio's standard metrics of today.
//!
//! Law: exactly Istio's names, labels and buckets; a gRPC failure keeps its HTTP 200 here and shows in
//! `grpc_response_status`. Source: istio/proxy 1.29, `istio_stats.cc`, and istio.io's page of standard metrics.

use super::super::contract::{Label, Values};
use super::super::family::{Family, Labels};
use super::super::labels::VersionLabels;
use super::super::record::RequestRecord;
use super::super::recorder::{Counter, Histogram, Placed, Recorder};
use super::buckets::ENVOY;
use crate::words::Protocol;

const fn of_config(name: &'static str, origin: &'static str) -> Label {
    Label::new(name, Values::Configured, origin)
}

/// Nobody knows it yet.
const fn unknown(name: &'static str, origin: &'static str) -> Label {
    Label::new(name, Values::Closed(&["unknown"]), origin)
}

const OF_REQUEST: &[Label] = &[
    Label::new("reporter", Values::Closed(&["source", "destination"]), "[who reports](#who-reports-what)"),
    of_config(
        "source_workload",
        "the caller's label `workload`; without one its label `app`, or the short name of its `service:`, with `-` and its \
         label `version`; `unknown` without either",
    ),
    of_config("source_workload_namespace", "namespace of the caller's `service:`"),
    unknown("source_principal", "`unknown` for now: no TLS"),
    of_config("source_app", "the caller's label `app`"),
    of_config("source_version", "the caller's label `version`"),
    of_config("source_canonical_service", "the short name of the caller's `service:`"),
    of_config("source_canonical_revision", "the caller's label `version`"),
    unknown("source_cluster", "`unknown` for now"),
    of_config(
        "destination_workload",
        "by a delivery listener `node.workload`, else `WEIR_WORKLOAD`; by a split listener the service's short name with `-` \
         and the version: `inception-v1`; `unknown` where the version is",
    ),
    of_config(
        "destination_workload_namespace",
        "the service's `namespace:`; `unknown` for a service by `host:`",
    ),
    unknown("destination_principal", "`unknown` for now: no TLS"),
    of_config("destination_app", "the service's short name"),
    of_config("destination_version", "as `version` of Weir's own"),
    of_config("destination_service", "the service's full host"),
    of_config("destination_service_name", "its short name; the whole host for a service by `host:`"),
    of_config("destination_service_namespace", "its `namespace:`; `unknown` for a service by `host:`"),
    of_config("destination_canonical_service", "its short name"),
    of_config("destination_canonical_revision", "as `version` of Weir's own"),
    of_config(
        "destination_cluster",
        "`node.cluster`, else `WEIR_CLUSTER`, else the node's label `app`; `unknown` without these",
    ),
    Label::new("request_protocol", Values::Closed(&["grpc", "http"]), "as `protocol` of Weir's own"),
    Label::new(
        "response_code",
        Values::Status(&["0", "unknown"]),
        "the status of HTTP, also for gRPC; `0` if the caller had none; `unknown` for one that is none of HTTP's, or one too many",
    ),
    Label::new(
        "grpc_response_status",
        Values::GrpcStatus,
        "the number of the gRPC status; empty for HTTP and if there was none; `unknown` for a number that is none, or one too many",
    ),
    Label::new("response_flags", Values::Flags, "why it ended as it did"),
    Label::new(
        "connection_security_policy",
        Values::Closed(&["unknown", "none"]),
        "`unknown` from source, `none` from destination: no TLS",
    ),
];
const OF_BUILD: &[Label] = &[
    Label::new("component", Values::Closed(&["proxy"]), "always `proxy`"),
    Label::new("tag", Values::Program, "the program's own"),
];

/// Requests.
pub static REQUESTS: Family =
    Family::counter("istio_requests_total", "Requests, by who reports them.").on_envoys_page().by(OF_REQUEST);
/// Milliseconds a request took.
pub static REQUEST_DURATION: Family =
    Family::histogram("istio_request_duration_milliseconds", "Duration of requests in milliseconds.", ENVOY)
        .on_envoys_page()
        .by(OF_REQUEST);
/// Bytes of request bodies.
pub static REQUEST_BYTES: Family =
    Family::histogram("istio_request_bytes", "Size of request bodies in bytes.", ENVOY)
        .on_envoys_page()
        .by(OF_REQUEST);
/// Bytes of response bodies.
pub static RESPONSE_BYTES: Family =
    Family::histogram("istio_response_bytes", "Size of response bodies in bytes.", ENVOY)
        .on_envoys_page()
        .by(OF_REQUEST);
/// gRPC messages from callers.
pub static REQUEST_MESSAGES: Family =
    Family::counter("istio_request_messages_total", "gRPC messages sent by clients.")
        .on_envoys_page()
        .by(OF_REQUEST);
/// gRPC messages to callers.
pub static RESPONSE_MESSAGES: Family =
    Family::counter("istio_response_messages_total", "gRPC messages sent by servers.")
        .on_envoys_page()
        .by(OF_REQUEST);
/// One series, always 1.
pub static BUILD: Family =
    Family::gauge("istio_build", "What reports Istio's metrics here, and its version.")
        .on_envoys_page()
        .by(OF_BUILD);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &REQUEST_MESSAGES,
    &RESPONSE_MESSAGES,
    &BUILD,
];

/// Who saw the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The split listener, once for each caller's request.
    Source,
    /// Whoever hands a request to a model server.
    Destination,
}

impl Reporter {
    fn as_str(self) -> &'static str {
        match self {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        }
    }

    /// No listener speaks TLS yet; the calling side never knows, says Istio.
    fn connection_security_policy(self) -> &'static str {
        match self {
            Reporter::Source => "unknown",
            Reporter::Destination => "none",
        }
    }
}

/// What a response looked like, as label values.
#[derive(Clone, Copy, Debug)]
pub(in crate::telemetry) struct Answer<'a> {
    pub(in crate::telemetry) protocol: Protocol,
    pub(in crate::telemetry) code: &'a str,
    pub(in crate::telemetry) grpc_status: &'a str,
    pub(in crate::telemetry) flags: &'a str,
}

/// What is observed of one request, whoever reports it.
#[derive(Debug)]
pub(in crate::telemetry) struct Measures {
    duration: Placed,
    request_bytes: Placed,
    response_bytes: Placed,
}

impl Measures {
    pub(in crate::telemetry) fn of(record: &RequestRecord) -> Measures {
        Measures {
            duration: Placed::new(ENVOY, record.duration.as_secs_f64() * 1e3),
            request_bytes: Placed::new(ENVOY, record.request_bytes as f64),
            response_bytes: Placed::new(ENVOY, record.response_bytes as f64),
        }
    }
}

/// The series of one combination of labels.
#[derive(Debug)]
pub(in crate::telemetry) struct ModernSeries {
    requests: Counter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    /// For gRPC only: from the caller, to the caller.
    messages: Option<(Counter, Counter)>,
}

impl ModernSeries {
    pub(in crate::telemetry) fn new(
        recorder: &Recorder,
        labels: &VersionLabels,
        reporter: Reporter,
        answer: Answer<'_>,
    ) -> ModernSeries {
        let protocol = answer.protocol;
        let labels = labels_of(labels, reporter, answer);
        ModernSeries {
            requests: recorder.counter(&REQUESTS, &labels),
            duration: recorder.histogram(&REQUEST_DURATION, &labels),
            request_bytes: recorder.histogram(&REQUEST_BYTES, &labels),
            response_bytes: recorder.histogram(&RESPONSE_BYTES, &labels),
            messages: (protocol == Protocol::Grpc).then(|| {
                (recorder.counter(&REQUEST_MESSAGES, &labels), recorder.counter(&RESPONSE_MESSAGES, &labels))
            }),
        }
    }

    pub(in crate::telemetry) fn count(&self, record: &RequestRecord, measures: &Measures) {
        self.requests.increment(1);
        self.duration.observe_placed(&measures.duration);
        self.request_bytes.observe_placed(&measures.request_bytes);
        self.response_bytes.observe_placed(&measures.response_bytes);
        if let Some((sent, received)) = &self.messages {
            sent.increment(record.request_messages);
            received.increment(record.response_messages);
        }
    }
}

fn labels_of(labels: &VersionLabels, reporter: Reporter, answer: Answer<'_>) -> Labels {
    let (source, destination) = (&labels.caller, &labels.workload);
    Labels::new(&[
        ("reporter", reporter.as_str()),
        ("source_workload", &source.workload.name),
        ("source_workload_namespace", &source.workload.namespace),
        ("source_principal", &source.workload.principal),
        ("source_app", &source.workload.app),
        ("source_version", &source.version),
        ("source_canonical_service", &source.workload.canonical_service),
        ("source_canonical_revision", &source.workload.canonical_revision),
        ("source_cluster", &source.workload.cluster),
        ("destination_workload", &destination.name),
        ("destination_workload_namespace", &destination.namespace),
        ("destination_principal", &destination.principal),
        ("destination_app", &destination.app),
        ("destination_version", &labels.version),
        ("destination_service", &labels.service),
        ("destination_service_name", &labels.service_name),
        ("destination_service_namespace", &labels.service_namespace),
        ("destination_canonical_service", &destination.canonical_service),
        ("destination_canonical_revision", &destination.canonical_revision),
        ("destination_cluster", &destination.cluster),
        ("request_protocol", answer.protocol.as_str()),
        ("response_code", answer.code),
        ("grpc_response_status", answer.grpc_status),
        ("response_flags", answer.flags),
        ("connection_security_policy", reporter.connection_security_policy()),
    ])
}
