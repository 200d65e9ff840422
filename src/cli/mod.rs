//! The command line: one file a subcommand.
//!
//! Law: a subcommand reads its arguments, calls what does the work, and prints; it decides nothing else.

#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
pub mod validate;

/// How a command tells what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document for scripts
    Json,
}
