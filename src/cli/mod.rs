//! The command line: one file a subcommand.
//!
//! Law: a subcommand reads its arguments, calls what does the work, and prints; it decides nothing else.

#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
pub mod files;
pub mod validate;

/// How a subcommand prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}
