//! See `weir_fuzz::properties::http2_connection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::http2_connection::check(data));
