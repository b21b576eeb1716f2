//! Hands bytes to `venue_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::venue_answers::check(bytes);
});
