//! The YAML dialects: bytes -> drafts -> a linked snapshot, with every fault named at once.
//!
//! Law: pure. It opens no file, reads no environment and looks at no clock; the same input gives the same snapshot
//! or the same diagnostics. It knows nothing of sockets, requests or Kubernetes' API.

mod decode;
pub mod diagnostic;
pub mod input;
mod names;
mod tree;
mod values;
mod yaml;

use std::path::PathBuf;

use crate::snapshot::Snapshot;

pub use diagnostic::{Diagnostic, Diagnostics, Origin, Severity};
pub use input::{Document, Environment};

/// A configuration that may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The linked whole.
    pub snapshot: Snapshot,
    /// Rules read, those kept out by a warning among them.
    pub rules: usize,
    /// What probably was not meant; by file and line.
    pub warnings: Diagnostics,
}

/// What a file is, by its top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The native configuration, `weir.yaml`.
    Weir,
    /// Rules: documents with `apiVersion` and `kind`.
    Rules,
}

/// Reads `main` (a `weir.yaml`) and the rule files it names, and links them. All or nothing; the error holds the
/// warnings as well, by file and line.
pub fn load(main: &Document, rules: &[Document], environment: &Environment) -> Result<Loaded, Diagnostics> {
    let _ = (main, rules, environment);
    Err(Diagnostics::new())
}

/// The entries of `rules:` as written: files or directories, relative to the folder of `main`. Reads nothing
/// else: whatever else is wrong in `main` is left to [`load`].
pub fn rule_paths(main: &Document) -> Result<Vec<PathBuf>, Diagnostics> {
    let _ = main;
    Err(Diagnostics::new())
}

/// What `document` is. The error says why it cannot be read at all.
pub fn file_kind(document: &Document) -> Result<FileKind, Diagnostics> {
    let _ = document;
    Err(Diagnostics::new())
}

/// Reads rule files on their own: everything is checked but whether their hosts and labels exist. Returns how many
/// rules there are, and the warnings.
pub fn validate_rules(rules: &[Document]) -> Result<(usize, Diagnostics), Diagnostics> {
    let _ = rules;
    Err(Diagnostics::new())
}
