//! The names of all metrics, one file a generation, and the meters: structs of handles resolved once.
//!
//! Law: a family is here only if some code updates it. Metric names and label names are an interface: dashboards and
//! alerts of other projects query them, so they change only with the generation that they belong to.

pub mod buckets;
pub mod envoy;
pub mod envoy_server;
pub mod istio;
pub mod istio_old;
pub mod weir;

pub use envoy::{ClusterMeter, HttpMeter, ListenerMeter};
pub use envoy_server::ServerMeter;
pub use weir::{HopError, HopMeter, Limit, ProcessMeter, RetryReason};

use std::sync::OnceLock;

use super::recorder::Counter;

/// One counter for each class of status code, made at first use: `envoy_response_code_class`.
#[derive(Debug, Default)]
struct ByClass([OnceLock<Counter>; 5]);

impl ByClass {
    /// Counts a status of 100 to 599; `make` gets the class, such as `"2"`. Others belong to no class.
    fn count(&self, status: u16, make: impl FnOnce(&str) -> Counter) {
        const CLASS: [&str; 5] = ["1", "2", "3", "4", "5"];
        let class = usize::from(status / 100).wrapping_sub(1);
        if let (Some(slot), Some(name)) = (self.0.get(class), CLASS.get(class)) {
            slot.get_or_init(|| make(name)).increment(1);
        }
    }
}
