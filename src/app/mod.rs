//! The wiring pages: which parts make up each thing that runs.
//!
//! Law: nothing is decided here but who is given what.

#[cfg(feature = "demo")]
pub mod demo;
mod log_lines;
pub mod logging;
pub mod sidecar;
pub mod signals;
pub mod top;
