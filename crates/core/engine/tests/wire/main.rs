//! `vectors/wire.json`: golden vectors of every encoded form, of what is refused and why, and of the rules that judge by bytes.
//!
//! The keys are public test keys. `vectors/decode.py`, written from the documents alone, reads the same file. After a change of
//! bytes: `cargo test -p concurrence-engine --test wire -- --ignored`.
mod accepted;
mod fixtures;
mod hashed;
mod json;
mod prices;
mod reasons;
mod refused;
mod rules;
mod signatures;
mod votes;

use json::Json;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/wire.json");

const ABOUT: &str =
    "Written by crates/core/engine/tests/wire. Integers are decimal text, bytes are hex with byte*count for long runs.";

fn text() -> String {
    let sections = vec![
        ("about", Json::text(ABOUT)),
        ("network_id", Json::hex(fixtures::NETWORK.as_bytes())),
        ("accepted", Json::List(accepted())),
        ("hashed", Json::List(hashed::all())),
        ("refused", Json::List(refused())),
        ("refused_signers", Json::List(prices::signers())),
        ("signatures", Json::List(signatures::signatures())),
        ("small_order", signatures::small_order()),
        ("registrations", Json::List(signatures::registrations())),
        ("extensions", Json::List(rules::extensions())),
        ("price_operations", Json::List(rules::price_operations())),
    ];
    Json::Record(sections).render()
}

fn accepted() -> Vec<Json> {
    [accepted::operations(), votes::all_accepted(), accepted::frames(), prices::payloads()].concat()
}

fn refused() -> Vec<Json> {
    [refused::operations(), votes::all_refused(), refused::frames(), refused::payloads()].concat()
}

#[test]
fn the_file_is_what_this_code_writes() {
    let (file, text) = (std::fs::read_to_string(PATH).unwrap(), text());
    let differs = file.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert_eq!(differs.map(|at| at + 1), None, "line of vectors/wire.json that is stale");
    assert!(file == text, "vectors/wire.json has another length");
}

#[test]
#[ignore = "writes vectors/wire.json"]
#[expect(clippy::disallowed_methods, reason = "writes the golden file, when asked to by hand")]
fn write() {
    std::fs::write(PATH, text()).unwrap();
}
