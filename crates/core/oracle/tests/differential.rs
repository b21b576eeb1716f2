//! Rust and Solidity draw the same random cases and must give the same answers: capped weights, digests, lower weighted medians.
//!
//! Neither calls the other. Both fold all answers into one hash; `vectors/differential.json` holds it after so many cases, and
//! `contracts/test/Differential.t.sol` arrives at it through the contracts that verify real signatures. The tests run the first entries;
//! `CONCURRENCE_CASES=1000000 cargo test --release -p concurrence-oracle --test differential` and the same variable for `forge test` run more.

use concurrence_crdt::NetworkId;
use concurrence_oracle::{
    Attestation, Domain, Feed, Price, PriceGroup, Slot, cap_weights,
    median::{Vote, lower_weighted_median},
};
use sha3::{Digest, Keccak256};

/// Cases that share a registry epoch.
const CASES_OF_AN_EPOCH: u64 = 100;
/// Slot of case 0.
const SLOT_FIRST: u64 = 1_800_000_000;
const FEEDS: [&str; 3] = ["AAA/USD", "BBB/USD", "CCC/USD"];
/// Run unless the environment says otherwise: enough for all branches, few enough for every test run.
const CASES_DEFAULT: u64 = 10_000;

/// The first eight bytes of `keccak256(case u64 | what u64)`.
fn draw(case: u64, what: u64) -> u64 {
    let hash = keccak(&[case.to_be_bytes(), what.to_be_bytes()].concat());
    u64::from_be_bytes(hash[..8].try_into().unwrap())
}

fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Weights of an epoch's one to eight members, some equal, some far apart; capped.
fn weights(epoch: u64) -> Vec<u64> {
    let members = 1 + draw(epoch, 1_000) % 8;
    let modulus = if draw(epoch, 1_001).is_multiple_of(2) { 5 } else { u64::from(u32::MAX) };
    let drawn: Vec<u64> = (0..members).map(|m| 1 + draw(epoch, 1_100 + m) % modulus).collect();
    cap_weights(&drawn)
}

/// What a member says in a case: for some often the same as others, for some anything that has 63 bits.
fn attestation(case: u64, member: u64, feed: u64) -> Attestation {
    let seed = draw(case, 16 * member + feed);
    let mantissa = if seed.is_multiple_of(4) { 1 + (seed >> 8) % 4 } else { (seed >> 1).clamp(1, (1 << 63) - 2) };
    let tail = draw(case, 512 + 16 * member + feed).to_be_bytes();
    let (half_width, sources) = (u16::from_be_bytes([tail[0], tail[1]]), u16::from_be_bytes([tail[2], tail[3]]));
    let name: Feed = FEEDS[usize::try_from(feed).unwrap()].parse().unwrap();
    Attestation::new(name, (mantissa, -8), half_width, sources, false).unwrap()
}

/// Folds the answers of one case into the hash.
fn fold(hash: [u8; 32], domain: &Domain, case: u64, weights: &[u64]) -> [u8; 32] {
    let feeds = 1 + draw(case, 2_000) % 3;
    let epoch = u32::try_from(case / CASES_OF_AN_EPOCH).unwrap();
    let mut record = hash.to_vec();
    let mut votes: Vec<Vec<Vote>> = vec![Vec::new(); usize::try_from(feeds).unwrap()];
    for (member, &weight) in (0..).zip(weights) {
        let said: Vec<_> = (0..feeds).map(|feed| attestation(case, member, feed)).collect();
        let group = PriceGroup { epoch, slot: Slot::from_number(SLOT_FIRST + case), attestations: &said };
        record.extend(group.digest(domain));
        for (votes, said) in votes.iter_mut().zip(&said) {
            votes.push((Price::from_units(said.mantissa().into()), weight));
        }
    }
    for votes in &votes {
        let median = lower_weighted_median(votes).unwrap();
        record.extend(u64::try_from(median.units()).unwrap().to_be_bytes());
    }
    keccak(&record)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how many cases is asked of whoever runs the test, not of the core")]
fn rust_and_solidity_answer_alike() {
    let cases = std::env::var("CONCURRENCE_CASES").map_or(CASES_DEFAULT, |text| text.parse().unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/differential.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let domain = Domain::of(&NetworkId::from_bytes(keccak(b"devnet")));
    let (mut hash, mut members, mut checked) = ([0; 32], Vec::new(), 0);
    for case in 0..cases {
        if case.is_multiple_of(CASES_OF_AN_EPOCH) {
            members = weights(case / CASES_OF_AN_EPOCH);
            let joined: Vec<u8> = members.iter().flat_map(|w| w.to_be_bytes()).collect();
            hash = keccak(&[hash.to_vec(), joined].concat());
        }
        hash = fold(hash, &domain, case, &members);
        if let Some(vector) = vectors.iter().find(|v| v["cases"] == case + 1) {
            assert_eq!(format!("0x{}", hex::encode(hash)), vector["digest"], "after {} cases", case + 1);
            checked += 1;
        }
    }
    assert!(checked > 0, "no entry has {cases} cases or fewer; after {cases} the digest is 0x{}", hex::encode(hash));
}
