//! Traces: what goes on to upstreams, and what a collector gets to know.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod child;
    pub(crate) mod loopback;
    pub(crate) mod otlp;
    pub(crate) mod parts;
    pub(crate) mod world;
}

#[path = "traces/export.rs"]
mod export;
#[path = "traces/propagation.rs"]
mod propagation;
#[path = "traces/real.rs"]
mod real;
#[path = "traces/spans.rs"]
mod spans;
