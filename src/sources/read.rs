//! Reading a configuration: its main file, and the rule files that it names.
//!
//! Law: everything is bounded, only regular files are opened, and every fault is named. It must not know what stands
//! in a file but for the names of the others.

use std::fs::{self, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::{
    self, Diagnostic, Diagnostics, Document, Environment, Loaded, MAX_FILE_BYTES, Origin, Severity,
};

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
    /// Why rule files, or directories of them, could not be read.
    pub unread: Diagnostics,
}

impl Documents {
    /// Parses and links them. What could not be read is told beside what is wrong with the rest.
    pub fn load(&self, environment: &Environment) -> Result<Loaded, Diagnostics> {
        let loaded = config::load(&self.main, &self.rules, environment);
        if self.unread.is_empty() {
            return loaded;
        }
        let mut faults = self.unread.clone();
        faults.extend(loaded.err().unwrap_or_default());
        Err(faults.sorted())
    }

    /// Equal for equal names, contents and reasons why there is none.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for document in std::iter::once(&self.main).chain(&self.rules) {
            fingerprint(document).hash(&mut hasher);
        }
        self.unread.to_string().hash(&mut hasher);
        hasher.finish()
    }
}

/// Equal for equal names and contents.
pub(super) fn fingerprint(document: &Document) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&document.name, &document.bytes).hash(&mut hasher);
    hasher.finish()
}

/// Reads the configuration whose main file is at `path`; the error says why that file cannot be read.
pub fn read(path: &Path) -> Result<Documents, Diagnostics> {
    let main = read_file(path)?;
    let rules = rule_paths(path, &main).unwrap_or_default();
    Ok(read_rules(main, &rules))
}

/// Reads one file, up to a byte more than `config` allows.
pub fn read_file(path: &Path) -> Result<Document, Diagnostics> {
    let mut reader = Reader { unread: Diagnostics::new(), bytes_left: TOTAL_MAX_BYTES };
    reader.file(path).ok_or(reader.unread)
}

/// Reads the rule files of a directory, as one that a main file names is read.
pub fn read_folder(path: &Path) -> Result<Vec<Document>, Diagnostics> {
    let mut reader = Reader { unread: Diagnostics::new(), bytes_left: TOTAL_MAX_BYTES };
    let rules = reader.rules(path);
    if reader.unread.is_empty() { Ok(rules) } else { Err(reader.unread) }
}

/// The rule files and directories that `main`, at `path`, names. `None`: it does not tell, and it will not load.
pub(super) fn rule_paths(path: &Path, main: &Document) -> Option<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries = config::rule_paths(main).ok()?;
    Some(entries.into_iter().map(|entry| folder.join(entry)).collect())
}

/// Reads the rule files at `paths`, which belong to `main`.
pub(super) fn read_rules(main: Document, paths: &[PathBuf]) -> Documents {
    let bytes_left = TOTAL_MAX_BYTES.saturating_sub(main.bytes.len() as u64);
    let mut reader = Reader { unread: Diagnostics::new(), bytes_left };
    let rules = paths.iter().flat_map(|path| reader.rules(path)).collect();
    Documents { main, rules, unread: reader.unread }
}

/// Whether a file of this name in a rule directory is read. Hidden ones (`..data`, editors' swap files) are not.
pub(super) fn is_rule_file(name: &Path) -> bool {
    let hidden = name.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = name.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| RULE_EXTENSIONS.contains(&extension))
}

struct Reader {
    unread: Diagnostics,
    bytes_left: u64,
}

impl Reader {
    /// The rule files at `path`: itself, or what a directory holds.
    fn rules(&mut self, path: &Path) -> Vec<Document> {
        // What has a rule file's name should be one: an empty directory in its place (as Kubernetes makes for a mount
        // whose source is missing) does not mean that there are no rules.
        if is_rule_file(path) || !path.is_dir() {
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
                self.fault(path, "unreadable", error.to_string());
                Vec::new()
            }
        }
    }

    fn file(&mut self, path: &Path) -> Option<Document> {
        match content(path) {
            Ok(bytes) if bytes.len() as u64 <= self.bytes_left => {
                self.bytes_left -= bytes.len() as u64;
                return Some(Document { name: path.display().to_string(), bytes });
            }
            Ok(_) => {
                self.fault(path, "too-large", format!("all files have more than {TOTAL_MAX_BYTES} bytes"))
            }
            Err(error) => self.fault(path, "unreadable", error.to_string()),
        }
        None
    }

    fn fault(&mut self, path: &Path, code: &'static str, reason: String) {
        self.unread.push(fault(path, code, reason));
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
        // A link that leads nowhere is read, too, and so is a directory: that is a fault, not a file gone.
        if is_rule_file(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The content of a regular file, up to a byte more than `config` allows.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: opening a device may do something.
    check_regular(&fs::metadata(path)?)?;
    // Opening a pipe would wait for a writer, and a pipe may have taken the file's place just now.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    check_regular(&found)?;
    // As large as it should be, and a byte to see that it ends there.
    let mut bytes = Vec::with_capacity(found.len().min(MAX_FILE_BYTES as u64) as usize + 1);
    // Bounded, as the size may change while we read.
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_regular(found: &Metadata) -> io::Result<()> {
    match found.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::Error::other("it is a directory")),
        _ => Err(io::Error::other("it is no regular file")),
    }
}
