//! Where configurations come from: files that are read, watched and remembered.
//!
//! Law: whole or not at all. What is in force is replaced by a configuration without a fault, or by nothing; every
//! verdict is handed over as data. It must not know what a key means (`config`) nor what a snapshot is for (`proxy`).

mod judge;
mod last_good;
mod places;
mod read;
mod settle;
mod start;
mod watch;

use crate::config::{Diagnostics, Loaded};

pub use read::{Documents, read, read_file, read_folder};
pub use start::{FileSource, Start, start};
pub use watch::{Bell, Watcher};

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A configuration that differs from the one in force, without a fault.
    Accepted(Box<Loaded>),
    /// The files hold faults; what is in force stays.
    Refused(Diagnostics),
    /// After a refusal, the files hold again what is in force.
    Restored,
    /// Somebody asked, and nothing has changed.
    Unchanged,
}
