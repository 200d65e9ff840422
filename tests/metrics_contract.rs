//! The contract of the metrics: `docs/metrics.md` is made of the families, what a proxy shows is what they promise, a first
//! error is seen, and neither rollouts nor callers make series without end.
//!
//! `WEIR_REGENERATE=1 cargo test --test metrics_contract` rewrites the tables of the document.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod child;
    pub(crate) mod engine;
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod names;
    pub(crate) mod weir;
    pub(crate) mod world;
}

#[path = "metrics_contract/counts.rs"]
mod counts;
#[path = "metrics_contract/dimensions.rs"]
mod dimensions;
#[path = "metrics_contract/document.rs"]
mod document;
#[path = "metrics_contract/envoys.rs"]
mod envoys;
#[path = "metrics_contract/hashes.rs"]
mod hashes;
#[path = "metrics_contract/pages.rs"]
mod pages;
#[path = "metrics_contract/rollouts.rs"]
mod rollouts;
#[path = "metrics_contract/switched.rs"]
mod switched;
#[path = "metrics_contract/workloads.rs"]
mod workloads;
