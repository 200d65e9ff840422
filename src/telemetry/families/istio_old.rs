//! Istio 0.5 to 0.8: what Mixer's Prometheus adapter showed, with the labels of 0.7.
//!
//! Law: the family has no reporter label, so only the split listener reports it, once for each caller's request.
//! Source: istio/istio 0.7.1, `mixer/adapter/prometheus` and the chart's `config.yaml`.

use super::super::contract::{Label, Values};
use super::super::family::{Family, Labels};
use super::super::labels::VersionLabels;
use super::super::record::RequestRecord;
use super::super::recorder::{Counter, Histogram, Recorder};
use super::buckets::{ISTIO_OLD_BYTES, ISTIO_OLD_SECONDS};

const LABELS: &[Label] = &[
    Label::new(
        "source_service",
        Values::Configured,
        "`service:` of the entry of `callers:` that holds the peer's address, as a full host; else `unknown`",
    ),
    Label::new("source_version", Values::Configured, "its label `version`; else `unknown`"),
    Label::new("destination_service", Values::Configured, "the service's full host"),
    Label::new("destination_version", Values::Configured, "as `version` of Weir's own"),
    Label::new(
        "response_code",
        Values::Status(&["0", "unknown"]),
        "the status; for gRPC the HTTP code that TF Serving's table gives for the gRPC status, as a failure would else count as 200 (as it does with `metrics: {grpc_as_http: false}` in weir.yaml)",
    ),
    Label::new("connection_mtls", Values::Closed(&["false"]), "`false`: there is no TLS yet"),
];

/// Requests; the name has no `_total`.
pub static REQUEST_COUNT: Family =
    Family::counter("istio_request_count", "Requests, as Istio 0.5 to 0.8 counted.").by(LABELS);
/// Seconds a request took.
pub static REQUEST_DURATION: Family =
    Family::histogram("istio_request_duration", "Duration of requests in seconds.", ISTIO_OLD_SECONDS)
        .by(LABELS);
/// Bytes of request bodies.
pub static REQUEST_SIZE: Family =
    Family::histogram("istio_request_size", "Size of request bodies in bytes.", ISTIO_OLD_BYTES).by(LABELS);
/// Bytes of response bodies.
pub static RESPONSE_SIZE: Family =
    Family::histogram("istio_response_size", "Size of response bodies in bytes.", ISTIO_OLD_BYTES).by(LABELS);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&REQUEST_COUNT, &REQUEST_DURATION, &REQUEST_SIZE, &RESPONSE_SIZE];

/// The series of one combination of labels.
#[derive(Debug)]
pub(in crate::telemetry) struct OldSeries {
    count: Counter,
    duration: Histogram,
    request_size: Histogram,
    response_size: Histogram,
}

impl OldSeries {
    pub(in crate::telemetry) fn new(recorder: &Recorder, labels: &VersionLabels, code: &str) -> OldSeries {
        let labels = Labels::new(&[
            ("source_service", &labels.caller.service),
            ("source_version", &labels.caller.version),
            ("destination_service", &labels.service),
            ("destination_version", &labels.version),
            ("response_code", code),
            // No listener speaks TLS yet.
            ("connection_mtls", "false"),
        ]);
        OldSeries {
            count: recorder.counter(&REQUEST_COUNT, &labels),
            duration: recorder.histogram(&REQUEST_DURATION, &labels),
            request_size: recorder.histogram(&REQUEST_SIZE, &labels),
            response_size: recorder.histogram(&RESPONSE_SIZE, &labels),
        }
    }

    pub(in crate::telemetry) fn count(&self, record: &RequestRecord) {
        self.count.increment(1);
        self.duration.observe(record.duration.as_secs_f64());
        self.request_size.observe(record.request_bytes as f64);
        self.response_size.observe(record.response_bytes as f64);
    }
}
