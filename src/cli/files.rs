//! A configuration read once, for the subcommands that look at files and leave.
//!
//! Law: what is too large is not read to its end. It watches nothing and keeps nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{self, Diagnostic, Document, MAX_FILE_BYTES, Origin, Severity};

/// One file, up to a byte more than is allowed.
pub fn read(path: &Path) -> Result<Document, Diagnostic> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Document { name, bytes }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The rule files that `main`, which stands at `path`, names: files, and `*.yaml`, `*.yml`, `*.json` of folders by name.
/// What cannot be read is told of beside the rest.
pub fn read_rules(path: &Path, main: &Document) -> (Vec<Document>, Vec<Diagnostic>) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut documents = Vec::new();
    let mut found = Vec::new();
    // A fault in `rules:` itself is found again, and told of, when `main` is loaded.
    for entry in config::rule_paths(main).unwrap_or_default() {
        let entry = folder.join(entry);
        let files = if entry.is_dir() { rule_files(&entry) } else { Ok(vec![entry.clone()]) };
        match files {
            Err(error) => found.push(unreadable(&entry, &error)),
            Ok(files) => {
                for read in files.iter().map(|file| read(file)) {
                    match read {
                        Ok(document) => documents.push(document),
                        Err(diagnostic) => found.push(diagnostic),
                    }
                }
            }
        }
    }
    (documents, found)
}

/// The rule files of a folder, by name. Hidden ones are a ConfigMap's or an editor's own.
fn rule_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let rules = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if rules && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic {
        origin: Origin::of_file(&path.display().to_string()),
        path: String::new(),
        severity: Severity::Error,
        code: "unreadable",
        reason: error.to_string(),
        help: None,
    }
}
