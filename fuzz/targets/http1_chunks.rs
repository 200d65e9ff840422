//! See `weir_fuzz::properties::http1_chunks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::http1_chunks::check(data));
