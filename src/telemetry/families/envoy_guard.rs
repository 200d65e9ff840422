//! Envoy's families for what watches a cluster's endpoints: outlier detection, health checks, panic.
//!
//! Law: what happens is counted where it happens, in one word that all threads share, as it is rare; the series learn of
//! it before each scrape. Only a cluster that is watched has them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::family::{Family, Labels};
use super::super::recorder::{Counter, Gauge, Recorder};
use super::envoy::CLUSTER;

/// Events, each with its family.
macro_rules! events {
    ($($event:ident $name:literal $help:literal,)+) => {
        /// What may happen to a cluster that is watched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GuardEvent {
            $(#[doc = $help] $event,)+
        }

        pub(super) static FAMILIES: [Family; [$($name),+].len()] =
            [$(Family::counter(concat!("envoy_cluster_", $name), $help).on_envoys_page().by(CLUSTER)),+];
    };
}

events! {
    EnforcedTotal "outlier_detection_ejections_enforced_total" "Endpoints that were ejected.",
    Overflow "outlier_detection_ejections_overflow"
        "Ejections not made because of the bound on how many endpoints may be out.",
    Detected5xx "outlier_detection_ejections_detected_consecutive_5xx" "Runs of 5xx.",
    Enforced5xx "outlier_detection_ejections_enforced_consecutive_5xx" "Ejections for a run of 5xx.",
    DetectedGateway "outlier_detection_ejections_detected_consecutive_gateway_failure" "Runs of 502, 503 and 504.",
    EnforcedGateway "outlier_detection_ejections_enforced_consecutive_gateway_failure"
        "Ejections for a run of 502, 503 and 504.",
    DetectedLocalOrigin "outlier_detection_ejections_detected_consecutive_local_origin_failure"
        "Runs of failures without an answer.",
    EnforcedLocalOrigin "outlier_detection_ejections_enforced_consecutive_local_origin_failure"
        "Ejections for a run of failures without an answer.",
    DetectedSuccessRate "outlier_detection_ejections_detected_success_rate"
        "Endpoints that succeeded far less often than the others.",
    EnforcedSuccessRate "outlier_detection_ejections_enforced_success_rate"
        "Ejections for success far less often than the others'.",
    DetectedLocalSuccessRate "outlier_detection_ejections_detected_local_origin_success_rate"
        "Endpoints that answered far less often than the others.",
    EnforcedLocalSuccessRate "outlier_detection_ejections_enforced_local_origin_success_rate"
        "Ejections for answers far less often than the others'.",
    DetectedPercentage "outlier_detection_ejections_detected_failure_percentage"
        "Endpoints of whose requests too many failed.",
    EnforcedPercentage "outlier_detection_ejections_enforced_failure_percentage"
        "Ejections for too many requests that failed.",
    DetectedLocalPercentage "outlier_detection_ejections_detected_local_origin_failure_percentage"
        "Endpoints that left too many requests without an answer.",
    EnforcedLocalPercentage "outlier_detection_ejections_enforced_local_origin_failure_percentage"
        "Ejections for too many requests without an answer.",
    CheckAttempt "health_check_attempt" "Health checks.",
    CheckSuccess "health_check_success" "Health checks that found the endpoint well.",
    CheckFailure "health_check_failure" "Health checks that did not.",
    CheckNetworkFailure "health_check_network_failure" "Health checks without an answer.",
    HealthyPanic "lb_healthy_panic" "Choices among all endpoints because too few are well.",
}

static EJECTED: Family =
    Family::gauge("envoy_cluster_outlier_detection_ejections_active", "Endpoints that are ejected now.")
        .on_envoys_page()
        .by(CLUSTER);
static HEALTHY: Family =
    Family::gauge("envoy_cluster_health_check_healthy", "Endpoints that their health checks find well.")
        .on_envoys_page()
        .by(CLUSTER);
static DETECTED_TOTAL: Family = Family::counter(
    "envoy_cluster_outlier_detection_ejections_total",
    "Ejections for whatever reason, enforced or not.",
)
.on_envoys_page()
.by(CLUSTER);
static DETECTED_5XX: Family = Family::counter(
    "envoy_cluster_outlier_detection_ejections_consecutive_5xx",
    "Ejections for a run of 5xx, enforced or not.",
)
.on_envoys_page()
.by(CLUSTER);
/// Those that are no event of their own, for the contract.
pub(super) const DERIVED: &[&Family] = &[&EJECTED, &HEALTHY, &DETECTED_TOTAL, &DETECTED_5XX];

/// How often each thing happened. Shared by all threads.
#[derive(Debug, Default)]
pub struct GuardCounts([AtomicU64; FAMILIES.len()]);

impl GuardCounts {
    /// It happened once more.
    pub fn count(&self, event: GuardEvent) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn of(&self, event: GuardEvent) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }
}

/// The series of one cluster that is watched.
#[derive(Debug)]
pub struct GuardMeter {
    counters: Vec<Counter>,
    told: GuardCounts,
    /// Of any kind, and of runs of 5xx, enforced or not: names that older dashboards ask for.
    detected: [Counter; 2],
    ejected: Gauge,
    healthy: Gauge,
}

/// What is an ejection, enforced or not.
const DETECTED: [GuardEvent; 7] = [
    GuardEvent::Detected5xx,
    GuardEvent::DetectedGateway,
    GuardEvent::DetectedLocalOrigin,
    GuardEvent::DetectedSuccessRate,
    GuardEvent::DetectedLocalSuccessRate,
    GuardEvent::DetectedPercentage,
    GuardEvent::DetectedLocalPercentage,
];

impl GuardMeter {
    /// Makes the series, at zero.
    pub fn new(recorder: &Recorder, cluster: &str) -> GuardMeter {
        let labels = Labels::new(&[("envoy_cluster_name", cluster)]);
        GuardMeter {
            counters: FAMILIES.iter().map(|family| recorder.counter(family, &labels)).collect(),
            told: GuardCounts::default(),
            detected: [&DETECTED_TOTAL, &DETECTED_5XX].map(|family| recorder.counter(family, &labels)),
            ejected: recorder.gauge(&EJECTED, &labels),
            healthy: recorder.gauge(&HEALTHY, &labels),
        }
    }

    /// Brings the series up to date. For one thread at a time.
    pub fn refresh(&self, counts: &GuardCounts, ejected: usize, healthy: usize) {
        let new: Vec<u64> = self.told.0.iter().zip(&counts.0).map(|(told, now)| advance(told, now)).collect();
        self.counters.iter().zip(&new).for_each(|(counter, &new)| counter.increment(new));
        let [all, of_5xx] = &self.detected;
        all.increment(DETECTED.iter().filter_map(|&event| new.get(event as usize)).sum());
        of_5xx.increment(new.get(GuardEvent::Detected5xx as usize).copied().unwrap_or(0));
        self.ejected.set(ejected as f64);
        self.healthy.set(healthy as f64);
    }
}

/// How far `now` is beyond what was told, which it then is.
fn advance(told: &AtomicU64, now: &AtomicU64) -> u64 {
    let now = now.load(Ordering::Relaxed);
    now.saturating_sub(told.swap(now, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::super::super::exposition::Page;
    use super::*;

    #[test]
    fn the_series_show_each_event_once_however_often_they_are_brought_up_to_date() {
        let recorder = Recorder::new(1);
        let (meter, counts) = (GuardMeter::new(&recorder, "out.x"), GuardCounts::default());
        counts.count(GuardEvent::HealthyPanic);
        meter.refresh(&counts, 1, 2);
        meter.refresh(&counts, 1, 2);
        counts.count(GuardEvent::HealthyPanic);
        counts.count(GuardEvent::Detected5xx);
        counts.count(GuardEvent::DetectedGateway);
        meter.refresh(&counts, 1, 2);
        meter.refresh(&counts, 1, 2);
        let page = recorder.render(Page::Envoy);
        for line in [
            "envoy_cluster_lb_healthy_panic{envoy_cluster_name=\"out.x\"} 2",
            "envoy_cluster_outlier_detection_ejections_active{envoy_cluster_name=\"out.x\"} 1",
            "envoy_cluster_outlier_detection_ejections_enforced_total{envoy_cluster_name=\"out.x\"} 0",
            "envoy_cluster_outlier_detection_ejections_total{envoy_cluster_name=\"out.x\"} 2",
            "envoy_cluster_outlier_detection_ejections_consecutive_5xx{envoy_cluster_name=\"out.x\"} 1",
            "envoy_cluster_health_check_healthy{envoy_cluster_name=\"out.x\"} 2",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
        }
    }
}
