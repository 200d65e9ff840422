//! Istio 0.5 to 0.8: what Mixer's Prometheus adapter showed, with the labels of 0.7.
//!
//! Law: the family has no reporter label, so only the split listener reports it, once for each caller's request.
//! Source: istio/istio 0.7.1, `mixer/adapter/prometheus` and the chart's `config.yaml`.

use super::super::family::{Family, Labels};
use super::super::labels::VersionLabels;
use super::super::record::RequestRecord;
use super::super::recorder::{Counter, Histogram, Recorder};
use super::buckets::{ISTIO_OLD_BYTES, ISTIO_OLD_SECONDS};

/// Requests; the name has no `_total`.
pub static REQUEST_COUNT: Family =
    Family::counter("istio_request_count", "Requests, as Istio 0.5 to 0.8 counted.");
/// Seconds a request took.
pub static REQUEST_DURATION: Family =
    Family::histogram("istio_request_duration", "Duration of requests in seconds.", ISTIO_OLD_SECONDS);
/// Bytes of request bodies.
pub static REQUEST_SIZE: Family =
    Family::histogram("istio_request_size", "Size of request bodies in bytes.", ISTIO_OLD_BYTES);
/// Bytes of response bodies.
pub static RESPONSE_SIZE: Family =
    Family::histogram("istio_response_size", "Size of response bodies in bytes.", ISTIO_OLD_BYTES);

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
