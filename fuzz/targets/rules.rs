//! See `weir_fuzz::properties::rules`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::rules::check(data));
