//! Hands programs to `intake`.
#![no_main]

use concurrence_fuzz::{intake::check, steps::PROGRAM_LEN_MAX};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > PROGRAM_LEN_MAX {
        return Corpus::Reject;
    }
    check(bytes);
    Corpus::Keep
});
