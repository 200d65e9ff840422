//! Every example under `config/` loads, without a warning.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{self, Environment, FileKind};
use weir::sources;

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => yaml_files(&path, found),
            false if path.extension().is_some_and(|end| end == "yaml") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let mut paths = Vec::new();
    yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"), &mut paths);
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let main = sources::read_file(&path).expect("a file");
        let warnings = match config::file_kind(&main).expect("readable") {
            FileKind::Rules => config::validate_rules(&[main]).expect("right").1,
            FileKind::Weir => {
                let documents = sources::read(&path).expect("a file");
                assert!(!documents.rules.is_empty(), "{}", path.display());
                let loaded = documents.load(&Environment::default());
                loaded.unwrap_or_else(|found| panic!("{found}")).warnings
            }
        };
        assert!(warnings.is_empty(), "{warnings}");
    }
}
