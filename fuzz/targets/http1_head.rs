//! See `weir_fuzz::properties::http1_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::http1_head::check(data));
