//! Envoy's families for clusters, under Envoy's own names.
//!
//! Law: name, labels, unit (milliseconds) and buckets are Envoy's; the meaning of each is what Envoy's documentation
//! says. All are shown on `/stats/prometheus`. Source: Envoy's "Statistics" pages, checked against Envoy 1.40.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::super::contract::{Label, Values};
use super::super::family::{Family, Labels};
use super::super::recorder::{Counter, Gauge, Histogram, Recorder};
use super::buckets::ENVOY;
use super::codes::{ByClass, ByCode, CLASSES};

const NAME: Label = Label::new(
    "envoy_cluster_name",
    Values::Configured,
    "the cluster: `out.` and the service's host, the protocol where endpoints have an address for each, the labels of the version; with vertical lines between them",
);
pub(super) const CLUSTER: &[Label] = &[NAME];
/// A class of status codes.
pub(super) const CLASS: Label =
    Label::new("envoy_response_code_class", Values::Closed(&CLASSES), "the first digit of the status");
const BY_CLASS: &[Label] = &[CLASS, NAME];
const BY_CODE: &[Label] =
    &[Label::new("envoy_response_code", Values::Status(&[]), "the status of HTTP, also for gRPC"), NAME];

/// A meter: a struct of handles, each with its family, all under the same labels.
macro_rules! meter {
    ($(#[$doc:meta])* $series:ident by $labels:ident {
        $($field:ident: $kind:ident $make:ident $name:literal $help:literal $(also $other:ident)?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $series {
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl $series {
            /// All of them, for the contract.
            pub(super) const FAMILIES: &'static [Family] =
                &[$(meter!(@family $make $name $help)$(.also(&$other))?.by($labels)),+];

            fn resolve(recorder: &Recorder, labels: &Labels) -> $series {
                $series {
                    $($field: {
                        static FAMILY: Family = meter!(@family $make $name $help)$(.also(&$other))?.by($labels);
                        recorder.$make(&FAMILY, labels)
                    },)+
                }
            }
        }
    };
    (@family histogram $name:literal $help:literal) => {
        Family::histogram($name, $help, ENVOY).on_envoys_page()
    };
    (@family $make:ident $name:literal $help:literal) => {
        Family::$make($name, $help).on_envoys_page()
    };
}
pub(super) use meter;

meter! {
    /// What one cluster counts, but for the response codes.
    ClusterSeries by CLUSTER {
        rq_total: Counter counter "envoy_cluster_upstream_rq_total" "Attempts sent to the cluster.",
        rq_completed: Counter counter "envoy_cluster_upstream_rq_completed" "Requests that got an answer of the cluster's, or Weir's own as none came."
            also EXTERNAL_RQ_COMPLETED,
        rq_time: Histogram histogram "envoy_cluster_upstream_rq_time" "Milliseconds of an attempt.",
        rq_active: Gauge gauge "envoy_cluster_upstream_rq_active" "Attempts in flight.",
        rq_pending_total: Counter counter "envoy_cluster_upstream_rq_pending_total"
            "Attempts that waited for a connection.",
        rq_pending_active: Gauge gauge "envoy_cluster_upstream_rq_pending_active"
            "Attempts that wait for a connection.",
        rq_pending_overflow: Counter counter "envoy_cluster_upstream_rq_pending_overflow"
            "Attempts refused by a circuit breaker.",
        rq_pending_failure_eject: Counter counter "envoy_cluster_upstream_rq_pending_failure_eject"
            "Attempts that failed because no connection was made.",
        rq_timeout: Counter counter "envoy_cluster_upstream_rq_timeout" "Attempts that ran out of time.",
        rq_per_try_timeout: Counter counter "envoy_cluster_upstream_rq_per_try_timeout"
            "Attempts that took longer than one attempt may.",
        rq_retry: Counter counter "envoy_cluster_upstream_rq_retry" "Retries.",
        rq_retry_success: Counter counter "envoy_cluster_upstream_rq_retry_success" "Retries that succeeded.",
        rq_retry_overflow: Counter counter "envoy_cluster_upstream_rq_retry_overflow"
            "Retries not made because of a circuit breaker.",
        rq_retry_limit_exceeded: Counter counter "envoy_cluster_upstream_rq_retry_limit_exceeded"
            "Requests not retried because their retries were used up.",
        rq_rx_reset: Counter counter "envoy_cluster_upstream_rq_rx_reset" "Attempts reset by the upstream.",
        rq_tx_reset: Counter counter "envoy_cluster_upstream_rq_tx_reset"
            "Attempts given up by the proxy before their answer was whole.",
        rq_cancelled: Counter counter "envoy_cluster_upstream_rq_cancelled"
            "Attempts cancelled before a connection was there.",
        cx_total: Counter counter "envoy_cluster_upstream_cx_total" "Connections.",
        cx_active: Gauge gauge "envoy_cluster_upstream_cx_active" "Connections that are open.",
        cx_http1_total: Counter counter "envoy_cluster_upstream_cx_http1_total" "HTTP/1 connections.",
        cx_http2_total: Counter counter "envoy_cluster_upstream_cx_http2_total" "HTTP/2 connections.",
        cx_connect_fail: Counter counter "envoy_cluster_upstream_cx_connect_fail" "Connections that failed to open.",
        cx_connect_timeout: Counter counter "envoy_cluster_upstream_cx_connect_timeout"
            "Connections that did not open in time.",
        cx_connect_ms: Histogram histogram "envoy_cluster_upstream_cx_connect_ms"
            "Milliseconds to open a connection.",
        cx_length_ms: Histogram histogram "envoy_cluster_upstream_cx_length_ms" "Milliseconds that connections lived.",
        cx_destroy: Counter counter "envoy_cluster_upstream_cx_destroy" "Connections that ended.",
        cx_destroy_local: Counter counter "envoy_cluster_upstream_cx_destroy_local" "Connections that Weir ended.",
        cx_destroy_remote: Counter counter "envoy_cluster_upstream_cx_destroy_remote"
            "Connections that the upstream ended.",
        cx_overflow: Counter counter "envoy_cluster_upstream_cx_overflow"
            "Times that a circuit breaker refused a connection.",
        cx_idle_timeout: Counter counter "envoy_cluster_upstream_cx_idle_timeout" "Connections closed for being idle.",
        cx_rx_bytes_total: Counter counter "envoy_cluster_upstream_cx_rx_bytes_total" "Bytes received.",
        cx_tx_bytes_total: Counter counter "envoy_cluster_upstream_cx_tx_bytes_total" "Bytes sent.",
        cx_none_healthy: Counter counter "envoy_cluster_upstream_cx_none_healthy"
            "Requests for which no endpoint was healthy.",
        membership_total: Gauge gauge "envoy_cluster_membership_total" "Endpoints.",
        membership_healthy: Gauge gauge "envoy_cluster_membership_healthy" "Endpoints that are healthy.",
        membership_degraded: Gauge gauge "envoy_cluster_membership_degraded"
            "Always 0: an endpoint is well or it is not.",
        membership_excluded: Gauge gauge "envoy_cluster_membership_excluded"
            "Always 0: no endpoint waits for its first health check outside the others.",
        membership_change: Counter counter "envoy_cluster_membership_change" "Changes of the endpoints.",
        max_host_weight: Gauge gauge "envoy_cluster_max_host_weight" "The greatest weight of an endpoint.",
        cx_open: Gauge gauge "envoy_cluster_circuit_breakers_default_cx_open"
            "1 while the connection breaker is open.",
        rq_open: Gauge gauge "envoy_cluster_circuit_breakers_default_rq_open" "1 while the request breaker is open.",
        rq_pending_open: Gauge gauge "envoy_cluster_circuit_breakers_default_rq_pending_open"
            "1 while the pending breaker is open.",
        rq_retry_open: Gauge gauge "envoy_cluster_circuit_breakers_default_rq_retry_open"
            "1 while the retry breaker is open.",
        remaining_cx: Gauge gauge "envoy_cluster_circuit_breakers_default_remaining_cx"
            "Connections before the breaker opens.",
        remaining_pending: Gauge gauge "envoy_cluster_circuit_breakers_default_remaining_pending"
            "Attempts that may still wait for a connection before the breaker opens.",
        remaining_rq: Gauge gauge "envoy_cluster_circuit_breakers_default_remaining_rq"
            "Requests before the breaker opens.",
        remaining_retries: Gauge gauge "envoy_cluster_circuit_breakers_default_remaining_retries"
            "Retries before the breaker opens.",
        retry_or_shadow_abandoned: Counter counter "envoy_cluster_retry_or_shadow_abandoned"
            "Requests that could no longer be retried, or copied whole, because their bodies passed the replay limit.",
    }
}

meter! {
    /// What the look-ups of a cluster's names count. A cluster of addresses has none.
    NamesSeries by CLUSTER {
        attempt: Counter counter "envoy_cluster_update_attempt" "Look-ups of a name of the cluster's endpoints.",
        success: Counter counter "envoy_cluster_update_success" "Look-ups that gave addresses.",
        failure: Counter counter "envoy_cluster_update_failure" "Look-ups that failed.",
        empty: Counter counter "envoy_cluster_update_empty" "Look-ups that gave no address.",
        no_rebuild: Counter counter "envoy_cluster_update_no_rebuild"
            "Look-ups that gave the addresses that were known.",
    }
}

/// What a look-up of a name gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// Addresses that are new.
    Changed,
    /// Those that were known.
    Same,
    /// None.
    Empty,
    /// A failure.
    Failed,
}

impl NamesSeries {
    /// Resolves the series of a cluster, at zero.
    pub fn new(recorder: &Recorder, cluster: &str) -> NamesSeries {
        NamesSeries::resolve(recorder, &Labels::new(&[("envoy_cluster_name", cluster)]))
    }

    /// Counts a look-up.
    pub fn count(&self, gave: LookUp) {
        self.attempt.increment(1);
        match gave {
            LookUp::Changed => self.success.increment(1),
            LookUp::Same => {
                self.success.increment(1);
                self.no_rebuild.increment(1);
            }
            LookUp::Empty => self.empty.increment(1),
            LookUp::Failed => self.failure.increment(1),
        }
    }
}

// Nobody is internal here, as in an Envoy that is not told who is: each answer is one to somebody outside.
static EXTERNAL_RQ_COMPLETED: Family = Family::counter(
    "envoy_cluster_external_upstream_rq_completed",
    "The same as envoy_cluster_upstream_rq_completed, as every caller counts as external.",
)
.on_envoys_page()
.by(CLUSTER);
static EXTERNAL_RQ_XX: Family = Family::counter(
    "envoy_cluster_external_upstream_rq_xx",
    "The same as envoy_cluster_upstream_rq_xx, as every caller counts as external.",
)
.on_envoys_page()
.by(BY_CLASS);
static EXTERNAL_RQ: Family = Family::counter(
    "envoy_cluster_external_upstream_rq",
    "The same as envoy_cluster_upstream_rq, as every caller counts as external.",
)
.on_envoys_page()
.by(BY_CODE);
static CLUSTER_RQ_XX: Family = Family::counter("envoy_cluster_upstream_rq_xx", "Answers by class of status.")
    .on_envoys_page()
    .also(&EXTERNAL_RQ_XX)
    .by(BY_CLASS);
static CLUSTER_RQ: Family = Family::counter("envoy_cluster_upstream_rq", "Answers by status.")
    .on_envoys_page()
    .also(&EXTERNAL_RQ)
    .by(BY_CODE);
static CLUSTER_RETRY_RQ_COMPLETED: Family = Family::counter(
    "envoy_cluster_retry_upstream_rq_completed",
    "Answers for which another attempt was made.",
)
.on_envoys_page()
.by(CLUSTER);
static CLUSTER_RETRY_RQ_XX: Family = Family::counter(
    "envoy_cluster_retry_upstream_rq_xx",
    "Answers for which another attempt was made, by class of status.",
)
.on_envoys_page()
.by(BY_CLASS);
static CLUSTER_RETRY_RQ: Family = Family::counter(
    "envoy_cluster_retry_upstream_rq",
    "Answers for which another attempt was made, by status.",
)
.on_envoys_page()
.by(BY_CODE);

/// Those of codes and classes, for the contract.
pub(super) const FAMILIES: &[&Family] = &[
    &CLUSTER_RQ_XX,
    &CLUSTER_RQ,
    &EXTERNAL_RQ_COMPLETED,
    &EXTERNAL_RQ_XX,
    &EXTERNAL_RQ,
    &CLUSTER_RETRY_RQ_COMPLETED,
    &CLUSTER_RETRY_RQ_XX,
    &CLUSTER_RETRY_RQ,
];

/// The answers of one cluster that nobody got, as another attempt was made for each.
#[derive(Debug)]
struct Retried {
    completed: Counter,
    classes: ByClass,
    codes: ByCode,
}

/// What one cluster counts. Shared by all workers; a deref leads to the plain series, and makes them if need be.
#[derive(Debug)]
pub struct ClusterMeter {
    recorder: Recorder,
    cluster: Arc<str>,
    series: OnceLock<ClusterSeries>,
    classes: ByClass,
    codes: ByCode,
    retried: OnceLock<Box<Retried>>,
}

impl ClusterMeter {
    /// The meter of a cluster, whose series come with its first use; those of codes and classes each with its own.
    pub fn new(recorder: &Recorder, cluster: Arc<str>) -> ClusterMeter {
        ClusterMeter {
            recorder: recorder.clone(),
            cluster,
            series: OnceLock::new(),
            classes: ByClass::default(),
            codes: ByCode::default(),
            retried: OnceLock::new(),
        }
    }

    /// Makes the series, at zero.
    pub fn declare(&self) -> &ClusterSeries {
        self.series.get_or_init(|| {
            let labels = Labels::new(&[("envoy_cluster_name", &self.cluster)]);
            ClusterSeries::resolve(&self.recorder, &labels)
        })
    }

    /// The series, if they are there.
    pub fn declared(&self) -> Option<&ClusterSeries> {
        self.series.get()
    }

    /// Counts an attempt's answer that is passed on: completed, its code, its class and its time.
    pub fn answered(&self, status: u16, time: Duration) {
        self.rq_time.observe(time.as_secs_f64() * 1e3);
        self.ended(status);
    }

    /// Counts an answer: completed, its code and its class. One that Weir gives in place of an upstream's has no time.
    pub fn ended(&self, status: u16) {
        self.rq_completed.increment(1);
        let cluster = &*self.cluster;
        self.classes.count(status, |class| {
            let labels = [("envoy_response_code_class", class), ("envoy_cluster_name", cluster)];
            self.recorder.counter(&CLUSTER_RQ_XX, &labels)
        });
        self.codes.count(status, |code| {
            self.recorder
                .counter(&CLUSTER_RQ, &[("envoy_response_code", code), ("envoy_cluster_name", cluster)])
        });
    }

    /// Counts an attempt's answer that is not passed on, as another attempt is made: completed, its code and its class.
    pub fn retried(&self, status: u16) {
        let (recorder, cluster) = (&self.recorder, &*self.cluster);
        let of_cluster = ("envoy_cluster_name", cluster);
        let retried = self.retried.get_or_init(|| {
            let completed = recorder.counter(&CLUSTER_RETRY_RQ_COMPLETED, &[of_cluster]);
            Box::new(Retried { completed, classes: ByClass::default(), codes: ByCode::default() })
        });
        retried.completed.increment(1);
        retried.classes.count(status, |class| {
            recorder.counter(&CLUSTER_RETRY_RQ_XX, &[("envoy_response_code_class", class), of_cluster])
        });
        retried.codes.count(status, |code| {
            recorder.counter(&CLUSTER_RETRY_RQ, &[("envoy_response_code", code), of_cluster])
        });
    }
}

impl std::ops::Deref for ClusterMeter {
    type Target = ClusterSeries;

    #[inline]
    fn deref(&self) -> &ClusterSeries {
        self.declare()
    }
}
