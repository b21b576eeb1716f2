//! Hands bytes to `chain_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::chain_answers::check(bytes);
});
