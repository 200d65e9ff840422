//! Reading a configuration: its main file, and the rule files that it names.
//!
//! Law: everything is bounded, only regular files are opened, and every fault is named. It must not know what stands
//! in a file but for the names of the others.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{self, Diagnostic, Diagnostics, Document, Environment, Loaded, Origin, Severity};

/// Bytes of one file. `config` allows less; this only bounds the memory for what it refuses.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// Bytes of all files: 10,000 rules take about 4 MiB.
const TOTAL_MAX_BYTES: u64 = 64 << 20;
/// Rule files in one directory: one rule a file, and room.
const FOLDER_MAX_FILES: usize = 20_000;
/// What a directory's rule files end with.
const RULE_EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A configuration as its files hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The main file, `weir.yaml`.
    pub main: Document,
    /// The rule files, in the order in which the main file names them; those of a directory by name.
    pub rules: Vec<Document>,
}

impl Documents {
    /// Parses and links them.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Diagnostics> {
        config::load(&self.main, &self.rules, environment)
    }

    /// Equal for equal names and contents.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for document in std::iter::once(&self.main).chain(&self.rules) {
            (&document.name, &document.bytes).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Reads the configuration whose main file is at `path`.
pub fn read(path: &Path) -> Result<Documents, Diagnostics> {
    read_with_places(path).documents
}

/// What was read, and where.
pub(super) struct Reading {
    /// The files and directories that the main file names; `None`: it did not tell.
    pub(super) rule_paths: Option<Vec<PathBuf>>,
    pub(super) documents: Result<Documents, Diagnostics>,
}

/// Reads the configuration at `path` and tells where its rules are, even if some cannot be read.
pub(super) fn read_with_places(path: &Path) -> Reading {
    let mut reader = Reader { faults: Diagnostics::new(), bytes_left: TOTAL_MAX_BYTES };
    let Some(main) = reader.file(path) else {
        return Reading { rule_paths: None, documents: Err(reader.faults) };
    };
    let entries = match config::rule_paths(&main) {
        Ok(entries) => entries,
        Err(faults) => return Reading { rule_paths: None, documents: Err(faults) },
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let rule_paths: Vec<PathBuf> = entries.into_iter().map(|entry| folder.join(entry)).collect();
    let rules = rule_paths.iter().flat_map(|path| reader.rules(path)).collect();
    let documents = if reader.faults.is_empty() { Ok(Documents { main, rules }) } else { Err(reader.faults) };
    Reading { rule_paths: Some(rule_paths), documents }
}

/// Whether a file of this name in a rule directory is read. Hidden ones (`..data`, editors' swap files) are not.
pub(super) fn is_rule_file(name: &Path) -> bool {
    let hidden = name.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = name.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| RULE_EXTENSIONS.contains(&extension))
}

struct Reader {
    faults: Diagnostics,
    bytes_left: u64,
}

impl Reader {
    /// The rule files at `path`: itself, or what a directory holds.
    fn rules(&mut self, path: &Path) -> Vec<Document> {
        if !path.is_dir() {
            return self.file(path).into_iter().collect();
        }
        match rule_files(path) {
            Ok(files) if files.len() > FOLDER_MAX_FILES => {
                let reason = format!("it holds {} rule files; at most {FOLDER_MAX_FILES}", files.len());
                self.fault(path, "too-large", reason);
                Vec::new()
            }
            Ok(files) => files.iter().filter_map(|file| self.file(file)).collect(),
            Err(error) => {
                self.fault(path, "unreadable", format!("cannot be listed: {error}"));
                Vec::new()
            }
        }
    }

    fn file(&mut self, path: &Path) -> Option<Document> {
        match read_file(path, FILE_MAX_BYTES.min(self.bytes_left)) {
            Ok(Some(bytes)) => {
                self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64);
                return Some(Document { name: path.display().to_string(), bytes });
            }
            Ok(None) => {
                let reason =
                    format!("more than {FILE_MAX_BYTES} bytes, or {TOTAL_MAX_BYTES} with the other files");
                self.fault(path, "too-large", reason);
            }
            Err(error) => self.fault(path, "unreadable", format!("cannot be read: {error}")),
        }
        None
    }

    fn fault(&mut self, path: &Path, code: &'static str, reason: String) {
        self.faults.push(fault(path, code, reason));
    }
}

/// A fault of a whole file or directory.
pub(super) fn fault(path: &Path, code: &'static str, reason: String) -> Diagnostic {
    let origin = Origin::of_file(&path.display().to_string());
    Diagnostic { origin, path: String::new(), severity: Severity::Error, code, reason, help: None }
}

/// The rule files of a directory by name.
fn rule_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // A link that leads nowhere is read, too: that is a fault, not a file gone.
        if is_rule_file(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The content of a regular file; `None`: it has more than `max_bytes`.
fn read_file(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    // Opening a pipe would wait for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
        return Err(io::Error::other(what));
    }
    let mut bytes = Vec::new();
    // The size may change while we read.
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}
