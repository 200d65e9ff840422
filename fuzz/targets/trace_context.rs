//! See `weir_fuzz::properties::trace_context`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::properties::trace_context::check(data));
