//! See `weir_fuzz::properties::caller_asks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::caller_asks::check(data));
