//! See `weir_fuzz::properties::router`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::router::check(data));
