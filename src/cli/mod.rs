//! One file a subcommand.

pub mod files;
pub mod validate;
//! The command line: one file a subcommand.
//!
//! Law: a subcommand reads its arguments, calls what does the work, and prints; it decides nothing else.

pub mod explain;

/// How a subcommand prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}
