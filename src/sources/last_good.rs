//! The last accepted configuration, kept where a restart finds it.
//!
//! Law: one file, replaced by rename, so that it always holds one whole configuration. Documents keep their names,
//! so that faults and routes still point to the files they came from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read::Documents;
use crate::config::{Diagnostics, Document};

/// The file in the directory that `--last-good` names.
const FILE: &str = "last-good.json";

/// A directory that holds a configuration.
#[derive(Clone, Debug)]
pub(super) struct LastGood(pub(super) PathBuf);

#[derive(Serialize, Deserialize)]
struct Saved<'t> {
    #[serde(borrow)]
    main: SavedDocument<'t>,
    rules: Vec<SavedDocument<'t>>,
}

/// Accepted documents are text.
#[derive(Serialize, Deserialize)]
struct SavedDocument<'t> {
    name: std::borrow::Cow<'t, str>,
    text: std::borrow::Cow<'t, str>,
}

impl LastGood {
    pub(super) fn path(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// Replaces what is kept.
    pub(super) fn save(&self, documents: &Documents) -> io::Result<()> {
        let saved = Saved {
            main: SavedDocument::of(&documents.main),
            rules: documents.rules.iter().map(SavedDocument::of).collect(),
        };
        fs::create_dir_all(&self.0)?;
        // A name of our own: two proxies that share the directory shall not write into one file.
        let temporary = self.0.join(format!(".{FILE}.{}", std::process::id()));
        let written = write_through(&temporary, &serde_json::to_vec_pretty(&saved)?);
        let renamed = written.and_then(|()| fs::rename(&temporary, self.path()));
        if renamed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        renamed?;
        File::open(&self.0)?.sync_all()
    }

    /// What is kept.
    pub(super) fn load(&self) -> io::Result<Documents> {
        let text = fs::read_to_string(self.path())?;
        let saved: Saved<'_> = serde_json::from_str(&text)?;
        let rules = saved.rules.into_iter().map(SavedDocument::into_document).collect();
        Ok(Documents { main: saved.main.into_document(), rules, unread: Diagnostics::new() })
    }
}

impl<'t> SavedDocument<'t> {
    fn of(document: &'t Document) -> SavedDocument<'t> {
        let text = String::from_utf8_lossy(&document.bytes);
        SavedDocument { name: document.name.as_str().into(), text }
    }

    fn into_document(self) -> Document {
        Document { name: self.name.into_owned(), bytes: self.text.into_owned().into_bytes() }
    }
}

/// Writes a file that only we may read, and waits until it lies on the disk.
fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Documents {
        let document = |name: &str| Document { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
        let rules = vec![document("rules/a.yaml"), document("rules/b.yaml")];
        Documents { main: document("weir.yaml"), rules, unread: Diagnostics::new() }
    }

    #[test]
    fn what_is_kept_is_the_last_that_was_saved_with_the_names_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood(folder.path().join("not/there/yet"));
        assert_eq!(last_good.load().unwrap_err().kind(), io::ErrorKind::NotFound);
        for text in ["a: \"b\\n\"\n# é\n", "second: 2\n"] {
            last_good.save(&documents(text)).unwrap();
            assert_eq!(last_good.load().unwrap(), documents(text));
        }
        let names: Vec<_> =
            fs::read_dir(&last_good.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
    }

    #[test]
    fn what_cannot_be_saved_leaves_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood(folder.path().to_owned());
        fs::create_dir(last_good.path()).unwrap();
        fs::write(last_good.path().join("in the way"), "").unwrap();
        assert!(last_good.save(&documents("a: 1")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
