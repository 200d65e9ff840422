//! See `weir_fuzz::properties::weir_yaml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::weir_yaml::check(data));
