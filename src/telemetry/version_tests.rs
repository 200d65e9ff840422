//! The version meter's laws: who reports what, under which labels, and how many series there can be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::telemetry::exposition::Page;
use crate::words::{Flag, HttpVersion};

fn labels() -> VersionLabels {
    VersionLabels::new("half.kubeflow.svc.cluster.local", "split", "v1")
}

fn record(protocol: Protocol, status: u16, grpc_status: GrpcOutcome) -> RequestRecord {
    let mut record = RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http2, protocol);
    (record.status, record.grpc_status, record.duration) = (status, grpc_status, Duration::from_millis(20));
    (record.request_bytes, record.request_messages) = (100, 3);
    record
}

/// The values of the samples whose line has all of these parts.
fn values(recorder: &Recorder, parts: &[&str]) -> Vec<f64> {
    let page = recorder.render(Page::Metrics);
    let lines =
        page.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn a_versions_series_are_at_zero_before_its_first_request() {
    let recorder = Recorder::new(1);
    let _meter = VersionMeter::declare(&recorder, &labels());
    for name in ["istio_request_count{", "istio_requests_total{", "weir_requests_total{"] {
        let values = values(&recorder, &[name, "v1"]);
        assert!(!values.is_empty() && values.iter().all(|&value| value == 0.0), "{name}: {values:?}");
    }
    assert!(values(&recorder, &["istio_requests_total{", "reporter=\"destination\""]).is_empty());
    assert_eq!(values(&recorder, &["weir_requests_total{"]).len(), 8, "two protocols, four outcomes");
}

#[test]
fn a_request_is_counted_once_in_each_family_under_its_callers_and_versions_labels() {
    let recorder = Recorder::new(1);
    let mut labels = labels();
    labels.caller.service = "web.default.svc.cluster.local".into();
    let meter = VersionMeter::declare(&recorder, &labels);
    meter.report_source(&record(Protocol::Http, 200, GrpcOutcome::Absent));
    let old = "istio_request_count{source_service=\"web.default.svc.cluster.local\",source_version=\"unknown\",\
               destination_service=\"half.kubeflow.svc.cluster.local\",destination_version=\"v1\",\
               response_code=\"200\",connection_mtls=\"false\"}";
    assert_eq!(values(&recorder, &[old]), [1.0]);
    assert_eq!(values(&recorder, &["istio_request_duration_sum", "\"200\""]), [0.02], "in seconds");
    let modern = ["istio_request_duration_milliseconds_sum{reporter=\"source\"", "\"http\"", "\"200\""];
    assert_eq!(values(&recorder, &modern), [20.0]);
    assert_eq!(values(&recorder, &["istio_request_bytes_sum", "\"http\""]), [100.0]);
    assert_eq!(values(&recorder, &["weir_request_duration_seconds_count", "\"http\"", "\"success\""]), [1.0]);
    assert!(values(&recorder, &["istio_requests_total{", "\"destination\""]).is_empty());
}

#[test]
fn a_model_servers_answer_is_reported_by_the_modern_family_alone() {
    let recorder = Recorder::new(1);
    let labels = VersionLabels { reports_source: false, reports_destination: true, ..labels() };
    let meter = VersionMeter::declare(&recorder, &labels);
    meter.report_destination(&record(Protocol::Grpc, 200, GrpcOutcome::Known(GrpcStatus::Ok)));
    let parts =
        ["istio_requests_total{reporter=\"destination\"", "request_protocol=\"grpc\"", "policy=\"none\""];
    assert_eq!(values(&recorder, &parts), [1.0]);
    assert_eq!(values(&recorder, &["istio_request_messages_total"]), [3.0]);
    let others = ["istio_request_count{", "weir_requests_total{", "reporter=\"source\""];
    assert!(others.iter().all(|name| values(&recorder, &[name]).is_empty()));
}

#[test]
fn a_grpc_failure_is_an_http_code_in_the_old_family_only_and_can_be_switched_off() {
    let code = |grpc_as_http, grpc_status| {
        let recorder = Recorder::new(1);
        let meter = VersionMeter::declare(&recorder, &VersionLabels { grpc_as_http, ..labels() });
        meter.report_source(&record(Protocol::Grpc, 200, grpc_status));
        let modern = values(&recorder, &["istio_requests_total{", "response_code=\"200\"", "\"grpc\""]);
        assert_eq!(modern.iter().sum::<f64>(), 1.0, "the modern family keeps the 200");
        let page = recorder.render(Page::Metrics);
        let line = page.lines().find(|line| line.starts_with("istio_request_count{") && line.ends_with(" 1"));
        line.unwrap().split("response_code=\"").nth(1).unwrap()[..3].to_owned()
    };
    assert_eq!(code(true, GrpcOutcome::Known(GrpcStatus::Ok)), "200");
    assert_eq!(code(true, GrpcOutcome::Known(GrpcStatus::InvalidArgument)), "400");
    assert_eq!(code(true, GrpcOutcome::Known(GrpcStatus::Unavailable)), "503");
    assert_eq!(code(true, GrpcOutcome::Absent), "500");
    assert_eq!(code(false, GrpcOutcome::Known(GrpcStatus::Unavailable)), "200");
}

#[test]
fn what_is_sent_on_the_wire_makes_a_bounded_number_of_series() {
    let recorder = Recorder::new(1);
    let meter = VersionMeter::declare(&recorder, &labels());
    for status in (0..=u16::MAX).filter(|status| !(200..600).contains(status)) {
        meter.report_source(&record(Protocol::Http, status, GrpcOutcome::Unknown(17)));
    }
    let page = recorder.render(Page::Metrics);
    let codes: BTreeSet<_> = page
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"))
        .map(|line| line.split("response_code=\"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    assert_eq!(codes.len(), 103, "0, 100 to 199, the declared 200, and unknown: {codes:?}");
    assert_eq!(values(&recorder, &["istio_requests_total{", "\"unknown\",grpc_response_status"]), [65_035.0]);
}

/// A model server that answers with every combination of statuses that there is.
#[test]
fn what_a_model_server_answers_makes_a_bounded_number_of_series_and_all_of_it_is_counted() {
    let recorder = Recorder::new(1);
    let labels = VersionLabels { reports_source: true, reports_destination: true, ..labels() };
    let meter = VersionMeter::declare(&recorder, &labels);
    let mut answers = 0.0;
    for status in 200..600 {
        for grpc_status in GrpcStatus::ALL {
            meter.report_both(&record(Protocol::Grpc, status, GrpcOutcome::Known(grpc_status)));
            answers += 1.0;
        }
    }
    for reporter in ["reporter=\"source\"", "reporter=\"destination\""] {
        let counts = values(&recorder, &["istio_requests_total{", reporter]);
        assert!(counts.len() < MOST_ANSWERS, "{}", counts.len());
        assert_eq!(counts.iter().sum::<f64>(), answers, "{reporter}");
        let others = ["istio_requests_total{", reporter, "response_code=\"unknown\""];
        let others = values(&recorder, &others);
        assert!(others.len() == 1 && others[0] > answers - MOST_ANSWERS as f64, "{others:?}");
    }
    // What comes often has its series by then.
    meter.report_source(&record(Protocol::Grpc, 200, GrpcOutcome::Known(GrpcStatus::Ok)));
    let good = ["istio_requests_total{", "reporter=\"source\"", "response_code=\"200\"", "status=\"0\""];
    assert_eq!(values(&recorder, &good), [2.0]);
}

#[test]
fn a_report_as_both_is_a_report_as_each() {
    let labels = VersionLabels { reports_source: true, reports_destination: true, ..labels() };
    let pages = [false, true].map(|at_once| {
        let recorder = Recorder::new(1);
        let meter = VersionMeter::declare(&recorder, &labels);
        for (protocol, status) in [(Protocol::Http, 200), (Protocol::Grpc, 200), (Protocol::Http, 503)] {
            let record = record(protocol, status, GrpcOutcome::Known(GrpcStatus::Ok));
            if at_once {
                meter.report_both(&record);
            } else {
                meter.report_source(&record);
                meter.report_destination(&record);
            }
        }
        recorder.render(Page::Metrics)
    });
    assert!(pages[0].contains("reporter=\"destination\""));
    similar_asserts::assert_eq!(pages[0], pages[1]);
}

#[test]
fn each_combination_of_status_flags_and_grpc_status_finds_its_own_series() {
    let recorder = Recorder::new(1);
    let meter = VersionMeter::declare(&recorder, &labels());
    let mut expected = 0;
    for round in 0..3 {
        for status in [200, 404, 503] {
            for flags in [Flags::NONE, Flag::NoRoute.into(), Flag::UpstreamRequestTimeout.into()] {
                for grpc in [GrpcOutcome::Unknown(17), GrpcOutcome::Known(GrpcStatus::Internal)] {
                    let request = RequestRecord { flags, ..record(Protocol::Grpc, status, grpc) };
                    meter.report_source(&request);
                    expected += usize::from(round == 0);
                }
            }
        }
    }
    let counted = values(&recorder, &["istio_requests_total{", "\"grpc\""]);
    assert_eq!(counted.iter().filter(|&&value| value == 3.0).count(), expected, "{counted:?}");
    assert_eq!(counted.iter().sum::<f64>(), 3.0 * expected as f64);
}

#[test]
fn no_label_of_a_version_is_ever_empty() {
    let labels = VersionLabels::new("", "", "");
    let recorder = Recorder::new(1);
    let _meter = VersionMeter::declare(&recorder, &labels);
    assert_eq!((&*labels.service_name, &*labels.rule), (UNKNOWN, "none"));
    let page = recorder.render(Page::Metrics).replace("grpc_response_status=\"\"", "");
    assert!(!page.contains("=\"\""), "but for the gRPC status outside gRPC");
    let labels = VersionLabels::new("a.b.svc.cluster.local", "r", "v");
    assert_eq!((&*labels.service_name, &*labels.service_namespace), ("a", "b"));
}
