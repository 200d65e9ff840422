//! Weir's gauges of what is configured and known, by version: weights and endpoints.
//!
//! Law: they show what is in force now; what a configuration no longer has leaves the page with it.

use super::super::contract::{Label, Values};
use super::super::family::{Family, Labels};
use super::labels::{OF_RULE, SERVICE};

/// Weights of versions. Its labels are those of `weir_split_choices_total`, so that shares and weights can be compared.
pub static SPLIT_WEIGHT: Family = Family::gauge(
    "weir_split_weight",
    "The weight of a version as its rule says it; none where an entry of the rule names no version.",
)
.by(OF_RULE);
/// Endpoints by state.
pub static ENDPOINTS: Family = Family::gauge(
    "weir_endpoints",
    "Addresses of a version's endpoints, of those that a rule leads to, by state: healthy, ejected or failed_check.",
)
.by(&[
    SERVICE,
    Label::new(
        "version",
        Values::ConfiguredOr(&["unknown"]),
        "the endpoints' label `version`; `unknown` for those without it",
    ),
    Label::new(
        "state",
        Values::Closed(&["healthy", "ejected", "failed_check"]),
        "`failed_check`: a health check of some cluster finds it ill, or none found it well yet; `ejected`: none does, and outlier detection of some cluster has ejected it; `healthy`: all others",
    ),
]);
/// What is in force for a host.
pub static CONFIG_HASH: Family = Family::gauge(
    "weir_config_hash",
    "A number made of what is in force for a service, the same in all proxies for which that is the same.",
)
.by(&[HOST]);
const HOST: Label = Label::new(
    "service",
    Values::Configured,
    "the service's full host; where rules are about a host that no service has, that one",
);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&SPLIT_WEIGHT, &ENDPOINTS, &CONFIG_HASH];

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointHealth {
    /// Nobody says that it is ill.
    Healthy,
    /// Outlier detection has ejected it, and no health check finds it ill.
    Ejected,
    /// A health check finds it ill, or none found it well yet.
    FailedCheck,
}

impl EndpointHealth {
    /// Every state.
    pub const ALL: [EndpointHealth; 3] =
        [EndpointHealth::Healthy, EndpointHealth::Ejected, EndpointHealth::FailedCheck];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            EndpointHealth::Healthy => "healthy",
            EndpointHealth::Ejected => "ejected",
            EndpointHealth::FailedCheck => "failed_check",
        }
    }
}

/// The labels of a version's endpoints in one state.
pub fn endpoint_labels(service: &str, version: &str, state: EndpointHealth) -> Labels {
    Labels::new(&[("service", service), ("version", version), ("state", state.as_str())])
}
