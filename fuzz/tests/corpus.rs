//! The seeds are what their names say, and what the generator makes: a corpus that has gone stale fuzzes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use concurrence_fuzz::{
    Verdict, chain_answers, fork_proofs, frames, intake, operations, own_log, price_batches,
    seeds::{self, REGRESSION},
    store_recovery, sync_session, venue_answers, venue_streams,
};

/// Seeds stay small: the repository carries them for ever.
const CORPUS_BYTES_MAX: usize = 256 * 1024;

type Decoder = fn(&[u8]) -> Verdict;

const DECODERS: [(&str, Decoder); 6] = [
    ("chain_answers", chain_answers::check),
    ("fork_proofs", fork_proofs::check),
    ("frames", frames::check),
    ("operations", operations::check),
    ("price_batches", price_batches::check),
    ("venue_answers", venue_answers::check),
];

type Program = fn(&[u8]);

const PROGRAMS: [(&str, Program); 5] = [
    ("intake", intake::check),
    ("own_log", own_log::check),
    ("store_recovery", store_recovery::check),
    ("sync_session", sync_session::check),
    ("venue_streams", venue_streams::check),
];

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

#[test]
fn the_files_are_what_the_generator_makes() {
    let mut made: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for seed in seeds::all() {
        assert_eq!(made.entry(seed.target).or_default().insert(seed.name.clone(), seed.bytes), None, "{}", seed.name);
    }
    let mut bytes = 0;
    for (target, made) in made {
        let mut found = files(&seeds::corpus().join(target));
        bytes += found.values().map(Vec::len).sum::<usize>();
        found.retain(|name, _| !name.starts_with(REGRESSION));
        let names = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&found), names(&made), "{target}: run the example `seeds`, remove what it no longer writes");
        for (name, bytes) in found {
            assert!(bytes == made[&name], "{target}/{name} is stale: run the example `seeds`");
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpora have {bytes} bytes");
}

#[test]
fn what_decoders_say_stands_in_the_names() {
    for (target, check) in DECODERS {
        for (name, bytes) in files(&seeds::corpus().join(target)) {
            let verdict = check(&bytes);
            let is_named = name.starts_with(&verdict.to_string()) || name.starts_with(REGRESSION);
            assert!(is_named, "{target}/{name} is {verdict}");
        }
    }
}

#[test]
fn recorded_venue_answers_pass() {
    let venues = seeds::corpus().join("../../data/venues");
    let mut accepted = 0;
    for folder in ["binance", "bitstamp", "bybit", "coinbase", "dydx", "gemini", "kraken", "malformed", "okx", "pyth"] {
        for bytes in files(&venues.join(folder)).values() {
            accepted += usize::from(venue_answers::check(bytes) == Verdict::Accepted);
        }
    }
    // Every channel reads at least one of them.
    assert!(accepted >= 27, "only {accepted} recorded answers give a quote");
}

#[test]
fn recorded_chain_answers_pass() {
    let accepted = files(&seeds::corpus().join("../../data/venues/onchain"));
    let accepted = accepted.values().filter(|bytes| chain_answers::check(bytes) == Verdict::Accepted).count();
    assert!(accepted >= 4, "only {accepted} recorded answers give a price");
}

#[test]
fn programs_run() {
    for (target, check) in PROGRAMS {
        for (name, bytes) in files(&seeds::corpus().join(target)) {
            eprintln!("{target}/{name}");
            check(&bytes);
        }
    }
}

#[test]
fn every_target_is_tried_here() {
    let targets: BTreeSet<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets"))
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap()
        .iter()
        .map(|entry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let tried = DECODERS.iter().map(|(name, _)| *name).chain(PROGRAMS.iter().map(|(name, _)| *name));
    assert_eq!(targets, tried.map(str::to_owned).collect());
}
