//! Price batches and legs records that every reader accepts, and batches that another key signed.

use concurrence_crdt::NetworkId;
use concurrence_oracle::{
    Address, Domain, FeedLegs, LegRecord, LegsRecord, Price, PriceBatch, PriceGroup, Slot, SourceId, Verdict, recover,
};

use crate::{
    accepted::accepted,
    fixtures::{DECLARED, NETWORK, batch, evm},
    json::Json,
    reasons::{Form, verify_batch},
};

pub fn payloads() -> Vec<Json> {
    let batches = [1, 16, 17, 100].map(|feeds| {
        let batch = batch(1, Slot::of(DECLARED), feeds);
        accepted(Form::PriceBatch, &format!("{feeds} feeds"), &batch.encode(), batch_fields(&batch), signed(&batch))
    });
    let every_verdict = LegsRecord { feeds: vec![legs("BTC/USD", 12), legs("USDT/USD", 0), legs("ETH/USD", 1)] };
    let records = [("no feeds", LegsRecord::default()), ("every verdict, prices at both ends", every_verdict)];
    let records = records.map(|(name, record)| {
        let derived = vec![("legs_hash", Json::hex(record.hash().as_bytes()))];
        accepted(Form::LegsRecord, name, &record.encode(), legs_fields(&record), derived)
    });
    batches.into_iter().chain(records).collect()
}

fn batch_fields(batch: &PriceBatch) -> Json {
    let groups = Json::list(batch.groups(0), |(group, signature)| {
        let feeds = Json::list(group.attestations, |attestation| {
            Json::Record(vec![
                ("feed", Json::text(attestation.feed())),
                ("exponent", Json::text(attestation.expo())),
                ("doubtful", Json::Flag(attestation.is_doubtful())),
                ("mantissa", Json::text(attestation.mantissa())),
                ("half_width", Json::text(attestation.half_width())),
                ("sources", Json::text(attestation.sources())),
            ])
        });
        Json::Record(vec![("feeds", feeds), ("signature", Json::hex(signature.as_bytes()))])
    });
    let (slot, legs_hash) = (Json::text(batch.slot().number()), Json::hex(batch.legs_hash().as_bytes()));
    Json::Record(vec![("slot", slot), ("legs_hash", legs_hash), ("groups", groups)])
}

/// What contracts check of each group: the digest under epoch 0, and who signed it.
fn signed(batch: &PriceBatch) -> Vec<(&'static str, Json)> {
    let domain = Domain::of(&NETWORK);
    let group = |(group, signature): (PriceGroup<'_>, _)| {
        let digest = group.digest(&domain);
        Json::Record(vec![
            ("feeds_hash", Json::hex(&group.feeds_hash())),
            ("struct_hash", Json::hex(&group.struct_hash())),
            ("digest", Json::hex(&digest)),
            ("signer", Json::hex(recover(&digest, &signature).unwrap().as_bytes())),
        ])
    };
    vec![("epoch", Json::text(0)), ("groups", Json::list(batch.groups(0), group))]
}

fn legs(feed: &str, count: u8) -> FeedLegs {
    let leg = |n: u8| LegRecord {
        source: SourceId::new(n).unwrap(),
        symbol: format!("{n:!>width$}", width = 1 + usize::from(n % 3) * 15 + usize::from(n % 2)),
        raw: (n != 2).then(|| Price::from_units(if n == 1 { i128::MIN } else { i128::MAX - i128::from(n) })),
        converted: n.is_multiple_of(4).then_some(Price::ONE),
        verdict: Verdict::from_code(n).unwrap(),
    };
    FeedLegs { feed: feed.parse().unwrap(), legs: (0..count).map(leg).collect() }
}

fn legs_fields(record: &LegsRecord) -> Json {
    let price = |price: Option<Price>| Json::text(price.map_or("none".to_owned(), |p| p.units().to_string()));
    let leg = |leg: &LegRecord| {
        Json::Record(vec![
            ("source", Json::text(leg.source.index())),
            ("symbol", Json::text(&leg.symbol)),
            ("raw", price(leg.raw)),
            ("converted", price(leg.converted)),
            ("verdict", Json::text(leg.verdict.code())),
        ])
    };
    let feed = |of: &FeedLegs| Json::Record(vec![("feed", Json::text(of.feed)), ("legs", Json::list(&of.legs, leg))]);
    Json::Record(vec![("feeds", Json::list(&record.feeds, feed))])
}

/// Canonical batches that the registered address did not sign, or not under this epoch.
pub fn signers() -> Vec<Json> {
    assert_eq!(NETWORK, NetworkId::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap())));
    let good = batch(1, Slot::of(DECLARED), 17).encode();
    let mut other_slot = good.clone();
    other_slot[7] ^= 1;
    // An r that is no x-coordinate of the curve: nobody's signature.
    let mut unrecoverable = batch(1, Slot::of(DECLARED), 1).encode();
    let r = unrecoverable.len() - 64;
    unrecoverable[r..r + 32].fill(0);
    unrecoverable[r + 31] = 5;
    let cases = [
        ("as registered", &good, 0, evm(1), "none"),
        ("another address is registered", &good, 0, evm(2), "evm_signer"),
        ("signed under another epoch", &good, 1, evm(1), "evm_signer"),
        ("moved to another slot", &other_slot, 0, evm(1), "evm_signer"),
        ("a signature from which no key recovers", &unrecoverable, 0, evm(1), "evm_unrecoverable"),
    ];
    cases.map(|(name, payload, epoch, registered, reason)| case(name, payload, epoch, registered, reason)).into()
}

fn case(name: &str, payload: &[u8], epoch: u32, registered: Address, reason: &str) -> Json {
    let found = verify_batch(payload, epoch, registered);
    assert_eq!(found.err().unwrap_or("none".to_owned()), reason, "{name}");
    Json::Record(vec![
        ("name", Json::text(name)),
        ("bytes", Json::hex(payload)),
        ("epoch", Json::text(epoch)),
        ("registered", Json::hex(registered.as_bytes())),
        ("reason", Json::text(reason)),
    ])
}
