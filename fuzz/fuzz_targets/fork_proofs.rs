//! Hands bytes to `fork_proofs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::fork_proofs::check(bytes);
});
