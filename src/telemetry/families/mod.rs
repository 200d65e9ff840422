//! The names of all metrics, one file a generation, and the meters: structs of handles resolved once.
//!
//! Law: a family is here only if some code updates it, or if zero is the truth about Weir (its help says so). Metric names and label names are an interface: dashboards and
//! alerts of other projects query them, so they change only with the generation that they belong to.

pub mod buckets;
mod codes;
pub mod envoy;
pub mod envoy_guard;
pub mod envoy_server;
pub mod istio;
pub mod istio_old;
pub mod levels;
pub(super) mod own;
mod process;
pub mod weir;

pub use envoy::{ClusterMeter, HttpMeter, ListenerMeter};
pub use envoy_guard::{GuardCounts, GuardEvent, GuardMeter};
pub use envoy_server::ServerMeter;
pub use weir::{HopError, HopMeter, Limit, MirrorMeter, MirrorResult, ProcessMeter, RetryReason};

#[cfg(test)]
mod tests;
