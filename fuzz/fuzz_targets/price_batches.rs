//! Hands bytes to `price_batches`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::price_batches::check(bytes);
});
