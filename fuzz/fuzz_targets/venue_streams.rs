//! Hands bytes to `venue_streams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    concurrence_fuzz::venue_streams::check(bytes);
});
