//! See `weir_fuzz::properties::rewrite`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::rewrite::check(data));
