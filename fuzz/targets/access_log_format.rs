//! See `weir_fuzz::properties::access_log_format`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::access_log_format::check(data));
