//! See `weir_fuzz::properties::explain_requests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::explain_requests::check(data));
