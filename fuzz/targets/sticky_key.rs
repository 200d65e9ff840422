//! See `weir_fuzz::properties::sticky_key`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::sticky_key::check(data));
