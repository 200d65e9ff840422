//! The subcommands, one file each.
//!
//! Law: a subcommand reads its arguments, calls the parts and turns their faults into one line and an exit code.

#[cfg(feature = "demo")]
pub mod demo;
