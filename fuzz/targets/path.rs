//! See `weir_fuzz::properties::path`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::path::check(data));
