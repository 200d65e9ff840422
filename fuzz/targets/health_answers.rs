//! See `weir_fuzz::properties::health_answers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::health_answers::check(data));
