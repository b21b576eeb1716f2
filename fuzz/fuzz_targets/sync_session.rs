//! Hands programs to `sync_session`.
#![no_main]

use concurrence_fuzz::{steps::PROGRAM_LEN_MAX, sync_session::check};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > PROGRAM_LEN_MAX {
        return Corpus::Reject;
    }
    check(bytes);
    Corpus::Keep
});
