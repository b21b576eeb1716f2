//! Hands programs to `store_recovery`. The hook that libfuzzer-sys installs ends the process at any panic, those included that the store catches
//! and names; this one only remembers what was said, and the process ends when a panic comes out.
#![no_main]

use std::{
    panic::catch_unwind,
    sync::{Mutex, PoisonError},
};

use concurrence_fuzz::{steps::PROGRAM_LEN_MAX, store_recovery::check};
use libfuzzer_sys::{Corpus, fuzz_target};

static LAST: Mutex<String> = Mutex::new(String::new());

fn remember_only() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

fuzz_target!(init: remember_only(), |bytes: &[u8]| -> Corpus {
    if bytes.len() > PROGRAM_LEN_MAX {
        return Corpus::Reject;
    }
    if catch_unwind(|| check(bytes)).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
    Corpus::Keep
});
