//! The families' laws: each name once, with its help, on the page where it belongs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::exposition::Page;
use super::super::labels::VersionLabels;
use super::super::record::Outcome;
use super::super::recorder::Recorder;
use super::super::version::VersionMeter;
use super::*;
use crate::words::Protocol;

/// A recorder in which every meter was made and used once.
fn everything() -> Recorder {
    let recorder = Recorder::new(1);
    let cluster = ClusterMeter::new(&recorder, "half-v1".into());
    let http = HttpMeter::new(&recorder, "split");
    let listener = ListenerMeter::new(&recorder, "127.0.0.1:8500", "split");
    for status in [0, 99, 200, 204, 404, 503, 599, 600, u16::MAX] {
        cluster.answered(status, Duration::from_millis(3));
        http.answered(status, Duration::from_millis(3));
        listener.answered(status);
    }
    cluster.retried(503);
    cluster.rq_active.increment(1.0);
    ServerMeter::new(&recorder, Instant::now(), 2).refresh(Instant::now());
    envoy_server::PlannerSeries::new(&recorder).cluster_added.increment(1);
    envoy_server::SocketsSeries::new(&recorder).workers_started.set(1.0);
    let process = ProcessMeter::new(&recorder);
    process.limit_exceeded(Limit::HeadBytes);
    HopMeter::new(&recorder, "half.default.svc.cluster.local", "v1").error(HopError::Misdirected);
    weir::split_choices(&recorder, "half.default.svc.cluster.local", "split", "v1").increment(1);
    let labels = VersionLabels::new("half.default.svc.cluster.local", "split", "v1");
    let version = VersionMeter::declare(&recorder, &VersionLabels { reports_destination: true, ..labels });
    version.count_retry(RetryReason::Goaway);
    let state =
        levels::endpoint_labels("half.default.svc.cluster.local", "v1", levels::EndpointHealth::Ejected);
    recorder.gauge(&levels::ENDPOINTS, state).set(1.0);
    let of_rule = [("service", "half.default.svc.cluster.local"), ("rule", "split"), ("version", "v1")];
    recorder.gauge(&levels::SPLIT_WEIGHT, &of_rule).set(95.0);
    envoy::NamesSeries::new(&recorder, "half-v1").count(envoy::LookUp::Same);
    recorder
}

#[test]
fn a_clusters_series_come_with_its_declaration_or_with_its_first_use_and_not_before() {
    let recorder = Recorder::new(1);
    let (declared, used) =
        (ClusterMeter::new(&recorder, "declared".into()), ClusterMeter::new(&recorder, "used".into()));
    assert_eq!(recorder.series(), 0);
    declared.declare();
    let of_one = recorder.series();
    assert!(of_one > 20 && used.declared().is_none());
    used.rq_total.increment(1);
    assert_eq!((recorder.series(), used.rq_total.get()), (2 * of_one, 1));
}

#[test]
fn whatever_is_counted_is_one_of_all_families() {
    let all: BTreeSet<&str> = all().iter().map(|family| family.name).collect();
    let page = everything().render(Page::Metrics);
    let strangers: Vec<_> = families(&page).difference(&all).copied().collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[test]
fn the_words_of_a_closed_set_are_those_that_its_label_takes() {
    let all = all();
    let takes = |family: &str, label: &str, values: &[&str]| {
        let family = all.iter().find(|known| known.name == family).expect(family);
        let label = family.labels.and_then(|labels| labels.iter().find(|known| known.name == label));
        let label = label.expect("a label");
        values.iter().all(|value| label.values.hold(value)) && !label.values.hold("nothing")
    };
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    assert!(takes("weir_requests_total", "outcome", &outcomes));
    assert!(takes("weir_dimension_requests_total", "outcome", &outcomes));
    assert!(takes("weir_requests_total", "protocol", &Protocol::ALL.map(Protocol::as_str)));
    let states = levels::EndpointHealth::ALL.map(levels::EndpointHealth::as_str);
    assert!(takes("weir_endpoints", "state", &states));
    assert!(takes("weir_retries_total", "reason", &RetryReason::ALL.map(RetryReason::as_str)));
    assert!(takes("weir_hop_errors_total", "reason", &HopError::ALL.map(HopError::as_str)));
    assert!(takes("weir_mirror_requests_total", "result", &MirrorResult::ALL.map(MirrorResult::as_str)));
    assert!(takes("weir_limit_exceeded_total", "limit", &Limit::ALL.map(Limit::as_str)));
}

fn families(page: &str) -> BTreeSet<&str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let count = types.clone().count();
    let families: BTreeSet<_> = types.collect();
    assert_eq!(families.len(), count, "a name belongs to one family");
    families
}

#[test]
fn every_family_has_a_help_text_that_is_a_sentence() {
    let page = everything().render(Page::Metrics);
    for family in families(&page) {
        let start = format!("# HELP {family} ");
        let help = page.lines().find_map(|line| line.strip_prefix(&start));
        assert!(help.is_some_and(|help| help.ends_with('.')), "{family}");
    }
}

#[test]
fn envoys_page_shows_the_families_under_envoys_and_istios_names_only() {
    let page = everything().render(Page::Envoy);
    assert!(families(&page).iter().all(|name| name.starts_with("envoy_") || name.starts_with("istio_")));
    assert!(!page.contains("istio_request_count{"), "the old family was Mixer's, never a proxy's");
    for line in [
        "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"half-v1\"} 2",
        "envoy_cluster_upstream_rq{envoy_response_code=\"404\",envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_upstream_rq_active{envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"half-v1\"} 9",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"half-v1\",le=\"5\"} 9",
        "envoy_cluster_retry_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_retry_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_retry_upstream_rq_completed{envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_external_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"half-v1\"} 2",
        "envoy_cluster_external_upstream_rq{envoy_response_code=\"404\",envoy_cluster_name=\"half-v1\"} 1",
        "envoy_cluster_external_upstream_rq_completed{envoy_cluster_name=\"half-v1\"} 9",
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"5\",envoy_http_conn_manager_prefix=\"split\"} 2",
        "envoy_listener_downstream_cx_total{envoy_listener_address=\"127.0.0.1_8500\"} 0",
        "envoy_server_concurrency{} 2",
    ] {
        assert!(page.lines().any(|seen| seen == line), "{line}");
    }
}

/// As in Envoy 1.40: a listener has all classes from its start, a cluster each from its first answer.
#[test]
fn a_listeners_classes_of_answers_are_there_at_zero_and_its_clusters_come_with_the_first() {
    let recorder = Recorder::new(1);
    let http = HttpMeter::new(&recorder, "split");
    let listener = ListenerMeter::new(&recorder, "127.0.0.1:8500", "split");
    let cluster = ClusterMeter::new(&recorder, "half".into());
    cluster.declare();
    let counts = |family: &str| -> Vec<u64> {
        let page = recorder.render(Page::Envoy);
        let start = format!("{family}_xx{{");
        let lines = page.lines().filter(|line| line.starts_with(&start));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
    };
    let both = ["envoy_http_downstream_rq", "envoy_listener_http_downstream_rq"];
    assert_eq!(both.map(counts), [[0; 5], [0; 5]]);
    assert!(counts("envoy_cluster_upstream_rq").is_empty());
    for status in [200, 503, 204, 600] {
        http.answered(status, Duration::ZERO);
        listener.answered(status);
        cluster.ended(status);
    }
    assert_eq!(both.map(counts), [[0, 2, 0, 0, 1], [0, 2, 0, 0, 1]]);
    assert_eq!(counts("envoy_cluster_upstream_rq"), [2, 1]);
    assert_eq!(counts("envoy_cluster_external_upstream_rq"), [2, 1]);
}

/// What is shown twice is counted once.
#[test]
fn a_further_name_makes_no_series() {
    let recorder = Recorder::new(1);
    let cluster = ClusterMeter::new(&recorder, "half".into());
    cluster.declare();
    let before = recorder.series();
    cluster.ended(200);
    assert_eq!(recorder.series(), before + 2, "a code and a class");
    recorder.reset_counters();
    cluster.ended(200);
    let page = recorder.render(Page::Metrics);
    for name in ["", "external_"] {
        let line = format!("envoy_cluster_{name}upstream_rq_completed{{envoy_cluster_name=\"half\"}} 2");
        assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
    }
}

#[test]
fn our_own_reasons_are_there_at_zero_before_they_happen() {
    let page = everything().render(Page::Metrics);
    for line in [
        "weir_hop_errors_total{service=\"half.default.svc.cluster.local\",version=\"v1\",reason=\"misdirected\"} 1",
        "weir_hop_errors_total{service=\"half.default.svc.cluster.local\",version=\"v1\",reason=\"loop\"} 0",
        "weir_retries_total{reason=\"goaway\",service=\"half.default.svc.cluster.local\",rule=\"split\",version=\"v1\"} 1",
        "weir_retries_total{reason=\"connect\",service=\"half.default.svc.cluster.local\",rule=\"split\",version=\"v1\"} 0",
        "weir_endpoints{service=\"half.default.svc.cluster.local\",version=\"v1\",state=\"ejected\"} 1",
        "weir_buffer_budget_bytes 0",
        "weir_limit_exceeded_total{limit=\"head_bytes\"} 1",
        "weir_limit_exceeded_total{limit=\"buffer_budget\"} 0",
        "weir_config_reloads_total{result=\"refused\"} 0",
        "weir_split_choices_total{service=\"half.default.svc.cluster.local\",rule=\"split\",version=\"v1\"} 1",
    ] {
        assert!(page.lines().any(|seen| seen == line), "{line}");
    }
}
