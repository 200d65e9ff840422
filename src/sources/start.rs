//! The first configuration: from the files, or, if they are broken, the last one that was accepted.
//!
//! Law: a broken configuration never starts; the last good one starts only where the operator asked for it.

use std::path::{Path, PathBuf};

use super::last_good::LastGood;
use super::read::{Documents, fault, read};
use crate::config::{Diagnostics, Environment, Loaded};

/// A configuration in files.
#[derive(Clone, Debug)]
pub struct FileSource {
    pub(super) main: PathBuf,
    pub(super) environment: Environment,
    pub(super) last_good: Option<LastGood>,
}

impl FileSource {
    /// The configuration whose main file is at `main`.
    pub fn new(main: &Path, environment: Environment) -> FileSource {
        FileSource { main: main.to_owned(), environment, last_good: None }
    }

    /// The same, remembering in `folder` what came into force.
    pub fn with_last_good(self, folder: Option<PathBuf>) -> FileSource {
        FileSource { last_good: folder.map(LastGood), ..self }
    }

    /// Keeps `documents` for a restart, if that is wanted. The error is the reason why it could not.
    pub(super) fn remember(&self, documents: &Documents) -> Result<(), String> {
        let Some(last_good) = &self.last_good else { return Ok(()) };
        last_good.save(documents).map_err(|error| format!("{}: {error}", last_good.path().display()))
    }
}

/// What to start with.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub loaded: Box<Loaded>,
    /// The faults of the files, if `loaded` is the last good configuration in their place.
    pub refused: Option<Diagnostics>,
    pub(super) documents: Documents,
}

/// Loads the first configuration; the error holds every fault.
pub fn start(source: &FileSource) -> Result<Start, Diagnostics> {
    let from_files = read(&source.main).and_then(|documents| loaded(source, documents, None));
    match (from_files, &source.last_good) {
        (Ok(start), _) => Ok(start),
        (Err(faults), None) => Err(faults),
        (Err(faults), Some(last_good)) => from_last_good(source, last_good, faults),
    }
}

fn from_last_good(
    source: &FileSource,
    last_good: &LastGood,
    faults: Diagnostics,
) -> Result<Start, Diagnostics> {
    match last_good.load() {
        Ok(documents) => loaded(source, documents, Some(faults)),
        Err(error) => {
            let mut faults = faults;
            let reason = format!("there is no last good configuration: {error}");
            faults.push(fault(&last_good.path(), "unreadable", reason));
            Err(faults)
        }
    }
}

fn loaded(
    source: &FileSource,
    documents: Documents,
    refused: Option<Diagnostics>,
) -> Result<Start, Diagnostics> {
    match documents.load(&source.environment) {
        Ok(loaded) => Ok(Start { loaded: Box::new(loaded), refused, documents }),
        Err(faults) => {
            let mut all = refused.unwrap_or_default();
            all.extend(faults);
            Err(all)
        }
    }
}
