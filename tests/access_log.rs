//! The access log over a running proxy: what each operator prints is what the real Envoy prints, and a filter leaves out
//! what it says and nothing else.
//!
//! Law: `access_log/differences.md` says what differs and why, as for `differential.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod parts;
    pub(crate) mod world;
}
#[allow(dead_code)] // what others compare with it
#[path = "differential/differences.rs"]
mod differences;
#[path = "access_log/documented.rs"]
mod documented;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "access_log/filters.rs"]
mod filters;
#[path = "access_log/heads.rs"]
mod heads;
#[path = "access_log/istio.rs"]
mod istio;
#[path = "access_log/likeness.rs"]
mod likeness;
#[path = "access_log/moments.rs"]
mod moments;
#[path = "access_log/times.rs"]
mod times;
#[path = "access_log/upstream.rs"]
mod upstream;
