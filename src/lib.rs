//! Weir: a traffic-splitting data-plane proxy for model serving.
//!
//! `ARCHITECTURE.md` names the floors; `tests/tidy.rs` keeps them. The life of a request is `proxy::request`.

// Here and not in Cargo.toml: a panic in a test is its report.
#![warn(clippy::expect_used, clippy::unwrap_used)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod filters;
pub mod message;
#[cfg(feature = "demo")]
pub mod proto;
pub mod proxy;
pub mod router;
pub mod runtime;
pub mod snapshot;
pub mod sources;
pub mod telemetry;
pub mod transport;
pub mod upstream;
pub mod words;
