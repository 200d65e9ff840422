//! Weir.

pub mod cli;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "demo")]
pub mod proto;
