//! The checks of Istio 0.7.1's validator, and what becomes of each field.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::Severity;
use crate::config::objects::{self, Objects};
use crate::config::patterns::Patterns;
use crate::config::yaml;

/// The policy, and the `code path` of each diagnostic.
fn read(spec: &str) -> (Option<TrafficDraft>, Vec<String>) {
    let text = format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {{name: p}}\nspec: {{{spec}}}\n"
    );
    let scope = Scope::new("p.yaml");
    let nodes = yaml::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}\n{text}", error.reason));
    let mut all = Objects::default();
    objects::decode(&nodes[0], &scope, &Patterns::default(), &mut all);
    let found = scope.into_found();
    let refused = found.iter().any(|one| one.severity == Severity::Error);
    assert_eq!(all.traffic.is_empty(), refused, "a policy at fault is left out: {found:?}");
    (all.traffic.pop(), found.iter().map(|one| format!("{} {}", one.code, one.path)).collect())
}

fn accepted(rest: &str) -> ClusterDraft {
    let (draft, found) = read(&format!("destination: {{name: m}}, {rest}"));
    assert_eq!(found, [""; 0], "{rest}");
    draft.expect("a policy").all
}

fn breaker(rest: &str) -> String {
    format!("circuitBreaker: {{simpleCb: {{sleepWindow: 15s, httpDetectionInterval: 5s{rest}}}}}")
}

fn faults(rest: &str) -> Vec<String> {
    read(&format!("destination: {{name: m}}, {rest}")).1
}

#[test]
fn a_policy_needs_a_destination_whose_labels_name_the_versions_it_holds_for() {
    assert_eq!(read("loadBalancing: {name: RANDOM}").1, ["destination-missing spec"]);
    assert_eq!(read("destination: {}").1, ["service-ref spec.destination"]);
    let (draft, _) = read("destination: {name: m, labels: {version: v1}}, loadBalancing: {name: RANDOM}");
    let draft = draft.expect("a policy");
    assert_eq!(draft.all, ClusterDraft::default());
    assert_eq!(draft.subsets[0].labels.get("version").map(|value| &**value), Some("v1"));
    assert_eq!(
        (draft.subsets[0].settings.lb, draft.subsets[0].name.as_ref()),
        (Some(LbPolicy::Random), None)
    );
}

#[test]
fn a_source_is_a_service() {
    assert_eq!(faults("source: {labels: {a: b}}"), ["service-ref spec.source"]);
    let (draft, _) = read("destination: {name: m}, source: {name: web, labels: {app: web}}");
    assert!(draft.and_then(|draft| draft.source).is_some_and(|source| source.host.is_some()));
}

#[test]
fn load_balancing_has_istios_three_names_and_is_never_empty() {
    for (name, lb) in [
        ("ROUND_ROBIN", LbPolicy::RoundRobin),
        ("LEAST_CONN", LbPolicy::LeastRequest),
        ("RANDOM", LbPolicy::Random),
    ] {
        assert_eq!(accepted(&format!("loadBalancing: {{name: {name}}}")).lb, Some(lb));
    }
    assert_eq!(faults("loadBalancing: {}"), ["missing spec.loadBalancing"]);
    assert_eq!(faults("loadBalancing: {name: MAGLEV}"), ["unknown-word spec.loadBalancing.name"]);
    assert_eq!(
        faults("load_balancing: {name: RANDOM, custom: {}}"),
        ["not-supported spec.load_balancing.custom"]
    );
}

#[test]
fn a_simple_breaker_bounds_what_it_says_and_turns_outlier_detection_on() {
    let settings = accepted(&breaker(""));
    let outlier = settings.traffic.outlier.expect("outlier detection");
    assert_eq!((outlier.interval.as_secs(), outlier.base_ejection_time.as_secs()), (5, 15));
    assert_eq!((outlier.consecutive_5xx, outlier.max_ejection_percent), (5, 10), "Envoy's defaults");
    assert_eq!((settings.connections, settings.pending, settings.requests), (None, None, None));

    let settings = accepted(&breaker(
        ", maxConnections: 100, httpMaxPendingRequests: 1, httpMaxRequests: 2, httpMaxRetries: 4, \
         httpMaxRequestsPerConnection: 1, httpConsecutiveErrors: 7, httpMaxEjectionPercent: 100",
    ));
    assert_eq!((settings.connections, settings.pending), (Some(100), Some(1)));
    assert_eq!((settings.requests, settings.retries), (Some(2), Some(4)));
    assert_eq!(settings.traffic.requests_per_connection, Some(1));
    let outlier = settings.traffic.outlier.expect("outlier detection");
    assert_eq!((outlier.consecutive_5xx, outlier.max_ejection_percent), (7, 100));
}

#[test]
fn a_number_of_zero_says_nothing_and_a_negative_one_is_refused() {
    assert_eq!(accepted(&breaker(", maxConnections: 0, httpConsecutiveErrors: 0")), accepted(&breaker("")));
    let path = "spec.circuitBreaker.simpleCb";
    assert_eq!(faults(&breaker(", maxConnections: -1")), [format!("circuit-breaker {path}.maxConnections")]);
    assert_eq!(
        faults(&breaker(", httpMaxEjectionPercent: 101")),
        [format!("circuit-breaker {path}.httpMaxEjectionPercent")]
    );
}

#[test]
fn both_times_must_be_there_and_be_whole_milliseconds() {
    let path = "spec.circuitBreaker.simpleCb";
    assert_eq!(
        faults("circuitBreaker: {simpleCb: {maxConnections: 100}}"),
        [format!("missing {path}"), format!("missing {path}")],
        "the example in Istio's own documents was refused by Istio"
    );
    assert_eq!(
        faults("circuitBreaker: {simpleCb: {sleepWindow: 0s, httpDetectionInterval: 1500us}}"),
        [format!("duration {path}.httpDetectionInterval"), format!("duration {path}.sleepWindow")]
    );
    assert_eq!(
        faults("circuitBreaker: {custom: {}, simpleCb: {}}")[0],
        "not-supported spec.circuitBreaker.custom"
    );
}

#[test]
fn what_says_nothing_passes_as_in_istio_and_is_told_of() {
    for (rest, path) in [("circuitBreaker: {}", "spec.circuitBreaker"), ("source: {name: web}", "spec")] {
        let (draft, found) = read(&format!("destination: {{name: m}}, {rest}"));
        assert_eq!(draft.expect("a policy").all, ClusterDraft::default());
        assert_eq!(found, [format!("never-acts {path}")]);
    }
}

#[test]
fn a_time_under_a_second_is_envoys_default_as_in_istio_and_is_told_of() {
    let (draft, found) = read(
        "destination: {name: m}, circuitBreaker: {simpleCb: {sleepWindow: 500ms, httpDetectionInterval: 5s}}",
    );
    let outlier = draft.and_then(|draft| draft.all.traffic.outlier).expect("outlier detection");
    assert_eq!(outlier.base_ejection_time, Outlier::default().base_ejection_time);
    assert_eq!(found, ["never-acts spec.circuitBreaker.simpleCb.sleepWindow"]);
}
