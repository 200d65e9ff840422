//! Keeps `src/proto/` equal to what `proto/` generates, so that building needs no protoc and no build script.
//!
//! Law: the checked-in files are exactly the generator's output. Run with `WEIR_REGENERATE=1` to rewrite them.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Written by hand: it only says where the generated files belong.
const TABLE_OF_CONTENTS: &str = "mod.rs";

#[test]
fn the_checked_in_code_is_what_the_proto_files_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh_dir = tempfile::tempdir().unwrap();
    generate(&root.join("proto"), fresh_dir.path());
    let fresh = rust_files(fresh_dir.path());
    let kept_dir = root.join("src/proto");
    if env::var_os("WEIR_REGENERATE").is_some() {
        rewrite(&kept_dir, &fresh);
    }
    let kept = rust_files(&kept_dir);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    let hint = "run `WEIR_REGENERATE=1 cargo test --test proto` and commit src/proto";
    assert_eq!(names(&kept), names(&fresh), "src/proto has other files than proto/ generates: {hint}");
    for (name, text) in &fresh {
        assert!(kept.get(name) == Some(text), "src/proto/{name} differs from what proto/ generates: {hint}");
    }
}

fn generate(sources: &Path, into: &Path) {
    let mut files: Vec<PathBuf> = fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [sources]).unwrap();
    // Ordered maps, so that what a model server writes is the same each time.
    tonic_prost_build::configure()
        .out_dir(into)
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
}

fn rewrite(kept_dir: &Path, fresh: &BTreeMap<String, String>) {
    for name in rust_files(kept_dir).keys() {
        fs::remove_file(kept_dir.join(name)).unwrap();
    }
    for (name, text) in fresh {
        fs::write(kept_dir.join(name), text).unwrap();
    }
}

fn rust_files(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    let named = named.filter(|(name, _)| name != TABLE_OF_CONTENTS && name.ends_with(".rs"));
    named.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}
