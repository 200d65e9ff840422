//! One file a subcommand.

pub mod files;
pub mod validate;
