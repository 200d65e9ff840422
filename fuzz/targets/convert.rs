//! See `weir_fuzz::properties::convert`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::convert::check(data));
