//! What the fuzz targets share with `tests/fuzz_corpus.rs`, which checks the same properties of the kept corpus.

pub mod properties;
