//! Golden files: `golden/NAME.yaml` (with `golden/NAME.rules.yaml`) -> `golden/NAME.snapshot.json`, the snapshot and its
//! warnings; `golden/faults/NAME.yaml` -> `golden/faults/NAME.txt`, the diagnostics.
//!
//! `WEIR_REGENERATE=1 cargo test --test golden` rewrites the expectations; read the difference before you keep it.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{self, Document, Environment, FileKind};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_input = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name.ends_with(".yaml") || name.ends_with(".json"))
            && !name.contains(".rules.")
            && !name.contains(".snapshot.")
    };
    let mut inputs: Vec<_> = all.filter(is_input).collect();
    inputs.sort();
    inputs
}

fn document(path: &Path) -> Document {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    Document { name, bytes: fs::read(path).expect("a file") }
}

fn load(path: &Path) -> Result<config::Loaded, config::Diagnostics> {
    let rules = path.with_extension("rules.yaml");
    let rules: Vec<_> = rules.exists().then(|| document(&rules)).into_iter().collect();
    config::load(&document(path), &rules, &Environment::default())
}

#[track_caller]
fn compare(expected: &Path, got: &str) {
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        fs::write(expected, got).expect("written");
        return;
    }
    let wanted = fs::read_to_string(expected).unwrap_or_default();
    similar_asserts::assert_eq!(wanted, got, "{}", expected.display());
}

#[test]
fn a_configuration_links_to_its_golden_snapshot() {
    for path in inputs(&folder("golden")) {
        let loaded = load(&path).unwrap_or_else(|found| panic!("{}:\n{found}", path.display()));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        let got = serde_json::json!({"warnings": warnings, "snapshot": loaded.snapshot});
        compare(&path.with_extension("snapshot.json"), &format!("{got:#}\n"));
    }
}

#[test]
fn a_faulty_configuration_gets_its_golden_diagnostics() {
    for path in inputs(&folder("golden/faults")) {
        let one = document(&path);
        let got = match config::file_kind(&one) {
            Ok(FileKind::Rules) => config::validate_rules(&[one]).map(drop),
            Ok(FileKind::Weir) => load(&path).map(drop),
            Err(found) => Err(found),
        };
        let found = got.expect_err("refused");
        assert!(found.has_errors(), "{}", path.display());
        compare(&path.with_extension("txt"), &format!("{found}\n"));
    }
}

#[test]
fn the_same_input_gives_the_same_snapshot() {
    for path in inputs(&folder("golden")) {
        let [first, second] = [load(&path), load(&path)].map(|loaded| loaded.expect("loads").snapshot);
        assert!(first == second, "{}", path.display());
    }
}
