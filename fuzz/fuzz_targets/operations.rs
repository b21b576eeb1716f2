//! Hands bytes to `operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::operations::check(bytes);
});
