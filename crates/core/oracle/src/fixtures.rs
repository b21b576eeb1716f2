//! Short ways to make things in tests.

use concurrence_crdt::{AuthorKey, NetworkId, Time};

use crate::{Address, Attestation, Epoch, Feed, Member, Price, Quote, Registry};

pub fn author(n: u8) -> AuthorKey {
    AuthorKey::from_bytes([n; 32])
}

pub fn member(n: u8, weight: u64) -> Member {
    let name = format!("oracle_{n}");
    Member { peer: format!("peer_{n}"), author: author(n), evm: Address::from_bytes([n; 20]), name, weight }
}

/// A registry of one epoch whose members 0, 1, ... have these weights.
pub fn registry(weights: &[u64]) -> Registry {
    let members = (0u8..).zip(weights).map(|(n, &w)| member(n, w)).collect();
    Registry::new("test".to_owned(), NetworkId::from_bytes([9; 32]), vec![members]).unwrap()
}

pub fn epoch(weights: &[u64]) -> Epoch {
    registry(weights).newest().1.clone()
}

pub fn btc_usd() -> Feed {
    "BTC/USD".parse().unwrap()
}

/// An attestation about BTC/USD at a whole price, from sources 0, 1 and 2.
pub fn attests(price: u64) -> Attestation {
    Attestation::new(btc_usd(), (price * 100_000_000, -8), 10, 0b111, false).unwrap()
}

pub fn doubts(price: u64) -> Attestation {
    Attestation::new(btc_usd(), (price * 100_000_000, -8), 10, 0b111, true).unwrap()
}

pub fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

/// A whole price.
pub fn whole(price: i64) -> Price {
    Price::ONE.scaled(i128::from(price), 1).unwrap()
}

/// A quote with a last trade only.
pub fn last(text: &str, received: Time) -> Quote {
    Quote { bid: None, ask: None, last: Some(price(text)), volume: None, venue_time: None, received }
}

pub fn book(bid: &str, ask: &str, received: Time) -> Quote {
    Quote { bid: Some(price(bid)), ask: Some(price(ask)), last: None, volume: None, venue_time: None, received }
}
