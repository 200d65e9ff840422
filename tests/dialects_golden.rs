//! One intent, several dialects, one snapshot: `golden/intents/NAME/{rr,vs,gw}.yaml` -> `NAME/snapshot.json`.
//!
//! Law: who says it leaves no trace but the names of rules and their places, which are erased here. What a dialect cannot
//! say has no file. `WEIR_REGENERATE=1 cargo test --test dialects_golden` rewrites the snapshots, from the first dialect.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir::config::{self, Document, Environment};

const DIALECTS: [&str; 3] = ["rr.yaml", "vs.yaml", "gw.yaml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/intents")
}

fn document(path: &Path) -> Document {
    let name = path.strip_prefix(root()).expect("an intent").display().to_string();
    Document { name, bytes: fs::read(path).expect("a file") }
}

/// The snapshot of one dialect's file, without the names of rules and their places.
fn linked(path: &Path) -> String {
    let loaded =
        config::load(&document(&root().join("weir.yaml")), &[document(path)], &Environment::default());
    let loaded = loaded.unwrap_or_else(|found| panic!("{}:\n{found}", path.display()));
    assert!(loaded.warnings.is_empty(), "{}:\n{}", path.display(), loaded.warnings);
    let mut snapshot = serde_json::to_value(&loaded.snapshot).expect("serializes");
    let configs = snapshot["route_configs"].as_object_mut().expect("by name");
    for host in
        configs.values_mut().flat_map(|config| config["virtual_hosts"].as_array_mut().expect("a list"))
    {
        for route in host["routes"].as_array_mut().expect("a list") {
            for key in ["name", "origin"] {
                assert!(route[key].is_string(), "{key} is erased and has to be there");
                route[key] = Value::Null;
            }
        }
    }
    format!("{snapshot:#}\n")
}

/// The folder of each intent, and the files in it.
fn intents() -> Vec<(PathBuf, Vec<PathBuf>)> {
    let folders = fs::read_dir(root()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut intents: Vec<_> = folders
        .filter(|path| path.is_dir())
        .map(|folder| {
            let files =
                DIALECTS.map(|name| folder.join(name)).into_iter().filter(|path| path.exists()).collect();
            (folder, files)
        })
        .collect();
    intents.sort();
    intents
}

#[test]
fn the_same_intent_is_the_same_snapshot_whoever_says_it() {
    for (folder, files) in intents() {
        let expected = folder.join("snapshot.json");
        if std::env::var_os("WEIR_REGENERATE").is_some() {
            fs::write(&expected, linked(&files[0])).expect("written");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        for file in &files {
            similar_asserts::assert_eq!(wanted, linked(file), "{}", file.display());
        }
    }
}

/// What each class of fields is shown by.
const CLASSES: [(&str, &[&str]); 12] = [
    ("conditions on the path", &["exact-path", "regex-path"]),
    (
        "conditions on headers and the first line",
        &["exact-header", "regex-header", "method", "several-conditions"],
    ),
    ("what only some dialects ask of a request", &["authority", "query", "alternatives", "hostnames"]),
    ("shares", &["all-to-v1", "split-95-5"]),
    ("redirects", &["redirect", "redirect-scheme"]),
    ("rewrites", &["prefix-rewrite", "host-rewrite"]),
    ("times and retries", &["timeout", "retries", "retries-codes"]),
    ("faults", &["fault"]),
    ("copies", &["mirror", "mirror-fraction"]),
    ("CORS", &["cors", "cors-answered"]),
    ("edits of headers", &["header-add", "header-edits"]),
    ("what annotations and policies say", &["sticky", "balancing"]),
];

#[test]
fn every_class_of_fields_has_its_intents_and_every_intent_its_class() {
    let mut named: Vec<_> =
        CLASSES.iter().flat_map(|(_, names)| *names).map(|name| root().join(name)).collect();
    named.sort();
    let there: Vec<_> = intents().into_iter().map(|(folder, _)| folder).collect();
    assert_eq!(named, there);
}

#[test]
fn at_least_nine_intents_are_said_in_three_dialects_and_every_other_in_two() {
    let intents = intents();
    let in_three = intents.iter().filter(|(_, files)| files.len() == 3).count();
    assert!(in_three >= 9, "{in_three}");
    assert!(intents.iter().all(|(_, files)| files.len() >= 2), "{intents:?}");
}

#[test]
fn two_intents_are_two_snapshots() {
    let mut texts: Vec<_> = intents().iter().map(|(_, files)| linked(&files[0])).collect();
    let count = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), count);
}
