//! Hands programs to `own_log`.
#![no_main]

use concurrence_fuzz::{own_log::check, steps::PROGRAM_LEN_MAX};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > PROGRAM_LEN_MAX {
        return Corpus::Reject;
    }
    check(bytes);
    Corpus::Keep
});
