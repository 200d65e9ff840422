//! See `weir_fuzz::properties::hpack`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::hpack::check(data));
