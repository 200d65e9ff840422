//! The properties that `fuzz/` searches with random bytes, checked for the inputs that were found worth keeping: the
//! seeds, and every input that once broke one.

use std::panic::catch_unwind;
use std::path::Path;

#[allow(unreachable_pub)] // public in the crate of the fuzz targets
#[path = "../fuzz/src/properties/mod.rs"]
mod properties;

#[test]
fn every_input_of_the_corpus_has_its_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut failing = Vec::new();
    for (target, check) in properties::ALL {
        let folder = std::fs::read_dir(corpus.join(target)).expect("each target has a corpus");
        let mut inputs: Vec<_> = folder.map(|entry| entry.expect("can be listed").path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{target} has no inputs");
        for input in inputs {
            let data = std::fs::read(&input).expect("can be read");
            if catch_unwind(|| check(&data)).is_err() {
                failing.push(input);
            }
        }
    }
    assert!(failing.is_empty(), "the reasons stand above; properties do not hold for {failing:#?}");
}

#[test]
fn every_target_is_one_of_the_properties_and_every_corpus_has_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(fuzz.join(folder)).expect("can be listed");
        let stem =
            |path: std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mut names: Vec<_> = entries.filter_map(|entry| stem(entry.ok()?.path())).collect();
        names.sort();
        names
    };
    let known: Vec<_> = properties::ALL.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names("targets"), known);
    assert_eq!(names("corpus"), known);
}
