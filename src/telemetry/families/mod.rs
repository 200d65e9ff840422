//! The names of all metrics, one file a generation, and the meters: structs of handles resolved once.
//!
//! Law: a family is here only if some code updates it, or if zero is the truth about Weir (its help says so). Metric names and label names are an interface: dashboards and
//! alerts of other projects query them, so they change only with the generation that they belong to.

pub mod buckets;
mod codes;
pub mod dimension;
pub mod envoy;
pub mod envoy_guard;
pub mod envoy_http;
pub mod envoy_server;
pub mod istio;
pub mod istio_old;
mod labels;
pub mod levels;
pub(super) mod own;
mod process;
pub mod spans;
pub mod weir;

use super::family::Family;

pub use envoy::ClusterMeter;
pub use envoy_guard::{GuardCounts, GuardEvent, GuardMeter};
pub use envoy_http::{HttpMeter, ListenerMeter};
pub use envoy_server::ServerMeter;
pub use spans::{SpanLoss, SpanMeter};
pub use weir::{HopError, HopMeter, Limit, MirrorMeter, MirrorResult, ProcessMeter, RetryReason};

/// Every family that there is: the contract of `docs/metrics.md`.
pub fn all() -> Vec<&'static Family> {
    let single = [weir::FAMILIES, levels::FAMILIES, dimension::FAMILIES, spans::FAMILIES, process::FAMILIES];
    let more =
        [istio_old::FAMILIES, istio::FAMILIES, envoy::FAMILIES, envoy_http::FAMILIES, envoy_guard::DERIVED];
    let together: [&[Family]; 8] = [
        envoy::ClusterSeries::FAMILIES,
        envoy::NamesSeries::FAMILIES,
        &envoy_guard::FAMILIES,
        envoy_http::HttpSeries::FAMILIES,
        envoy_http::ListenerSeries::FAMILIES,
        envoy_server::ServerSeries::FAMILIES,
        envoy_server::PlannerSeries::FAMILIES,
        envoy_server::SocketsSeries::FAMILIES,
    ];
    let one_by_one = single.into_iter().chain(more).flatten().copied();
    one_by_one.chain(together.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests;
