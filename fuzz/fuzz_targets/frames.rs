//! Hands bytes to `frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::frames::check(bytes);
});
