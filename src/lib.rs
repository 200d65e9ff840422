//! Weir.

#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "demo")]
pub mod proto;
