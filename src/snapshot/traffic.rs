//! What few clusters have: who counts as healthy, how connections are bounded, what the hash is of.
//!
//! Names, defaults and arithmetic are Envoy's. A cluster without any of it holds a null.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Fraction;
use super::edit::HeaderEdit;
use super::hash::HashKey;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrafficPolicy {
    /// What ring hash and maglev hash; the first that the request has counts.
    pub hash: Vec<HashKey>,
    /// Endpoints that fail are left out for a while.
    pub outlier: Option<Outlier>,
    /// An endpoint is healthy when all of these say so.
    pub health_checks: Vec<HealthCheck>,
    /// Below this percentage of healthy endpoints health is not looked at; 0: always looked at.
    pub panic_threshold: u32,
    /// New endpoints get their share little by little.
    pub slow_start: Option<SlowStart>,
    /// Requests after which a connection is closed.
    pub requests_per_connection: Option<u32>,
    /// Streams open at once on an HTTP/2 connection, if fewer than by default.
    pub streams_per_connection: Option<u32>,
    /// A connection without a request, if not as `limits.upstream_idle` says.
    pub idle: Option<Duration>,
    /// A connection, from its beginning to its last request.
    pub connection_life: Option<Duration>,
    /// TCP keep-alive probes.
    pub keep_alive: Option<KeepAlive>,
}

impl Default for TrafficPolicy {
    fn default() -> TrafficPolicy {
        TrafficPolicy {
            hash: Vec::new(),
            outlier: None,
            health_checks: Vec::new(),
            panic_threshold: 50,
            slow_start: None,
            requests_per_connection: None,
            streams_per_connection: None,
            idle: None,
            connection_life: None,
            keep_alive: None,
        }
    }
}

/// Retries in flight, as a share of the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RetryBudget {
    pub share: Fraction,
    pub min_concurrency: u32,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { share: Fraction { numerator: 200_000, denominator: 1_000_000 }, min_concurrency: 3 }
    }
}

/// `enforcing_*` is the chance in percent that a detection ejects; 0 only counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // the names are Envoy's
pub struct Outlier {
    pub consecutive_5xx: u32,
    pub enforcing_consecutive_5xx: u32,
    pub consecutive_gateway_failure: u32,
    pub enforcing_consecutive_gateway_failure: u32,
    /// Whether failures without an answer count apart from 5xx.
    pub split_external_local_origin_errors: bool,
    pub consecutive_local_origin_failure: u32,
    pub enforcing_consecutive_local_origin_failure: u32,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    pub max_ejection_time_jitter: Duration,
    pub max_ejection_percent: u32,
    pub always_eject_one_host: bool,
    pub success_rate: Option<SuccessRate>,
    pub failure_percentage: Option<FailurePercentage>,
}

impl Default for Outlier {
    fn default() -> Outlier {
        Outlier {
            consecutive_5xx: 5,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            success_rate: Some(SuccessRate::default()),
            failure_percentage: None,
        }
    }
}

/// Hosts whose rate of success is below mean - factor * deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SuccessRate {
    pub enforcing: u32,
    pub minimum_hosts: u32,
    pub request_volume: u32,
    /// In thousandths.
    pub stdev_factor: u32,
}

impl Default for SuccessRate {
    fn default() -> SuccessRate {
        SuccessRate { enforcing: 100, minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 }
    }
}

/// Hosts of whose requests so many percent fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FailurePercentage {
    pub threshold: u32,
    pub enforcing: u32,
    pub minimum_hosts: u32,
    pub request_volume: u32,
}

impl Default for FailurePercentage {
    fn default() -> FailurePercentage {
        FailurePercentage { threshold: 85, enforcing: 0, minimum_hosts: 5, request_volume: 50 }
    }
}

/// One way to ask endpoints whether they are well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthCheckKind,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Between two questions.
    pub interval: Duration,
    /// Added to `interval`, drawn from 0 to this.
    pub interval_jitter: Duration,
    /// Between two questions while the cluster has no requests.
    pub no_traffic_interval: Duration,
    /// Failures in a row that make a healthy one unhealthy. An unexpected answer needs but one, as in Envoy.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make an unhealthy one healthy. The very first one is enough.
    pub healthy_threshold: u32,
    /// Another port.
    pub port: Option<u16>,
}

impl HealthCheck {
    /// `kind`, by Weir's defaults for all else.
    pub fn new(kind: HealthCheckKind) -> HealthCheck {
        HealthCheck {
            kind,
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(5),
            interval_jitter: Duration::ZERO,
            no_traffic_interval: Duration::from_secs(60),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            port: None,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum HealthCheckKind {
    /// GET.
    Http {
        /// The target, with its query.
        path: Arc<str>,
        /// `None`: the cluster's service.
        host: Option<Arc<str>>,
        /// Half-open ranges of statuses.
        expected: Vec<(u16, u16)>,
        /// Further fields.
        headers: Vec<HeaderEdit>,
    },
    /// `grpc.health.v1.Health/Check`
    Grpc {
        /// `None`: the server as a whole.
        service: Option<Arc<str>>,
        /// `None`: the cluster's service.
        authority: Option<Arc<str>>,
    },
    /// A connection that is made.
    Tcp,
    /// TF Serving says AVAILABLE of the model: by REST or gRPC, as the cluster speaks.
    Model {
        /// Its name.
        name: Arc<str>,
        /// `None`: any of its versions.
        version: Option<u64>,
    },
}

/// New endpoints get `max(min_weight_percent, (time / window)^(1 / aggression))` of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SlowStart {
    pub window: Duration,
    pub aggression: f64,
    pub min_weight_percent: u32,
}

impl Default for SlowStart {
    fn default() -> SlowStart {
        SlowStart { window: Duration::from_secs(60), aggression: 1.0, min_weight_percent: 10 }
    }
}

/// `None`: as the operating system does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct KeepAlive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}
