//! See `weir_fuzz::properties::header_edits`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::header_edits::check(data));
