//! What a node asks of its state again and again.

use std::{collections::BTreeSet, hint::black_box};

use concurrence_crdt::{History, NetworkId, Time, VerifiedOp};
use concurrence_oracle::{
    Address, AggregateParams, Attestation, Cells, Feed, Member, Registry, SLOT_MS, Slot, Status, aggregate,
};

use crate::{
    cpu::spent,
    material::Cast,
    report::{Row, Spread},
};

/// Oracles of the aggregated feed.
const ORACLES: usize = 31;

/// Slots between two attestations of an oracle: the usual tick of 5 s.
const TICK_SLOTS: u64 = 5;

/// Logs of the digested history.
const LOGS: usize = 100;

/// One answer for one feed over the usual window, every oracle having stated a price each tick.
pub(crate) fn aggregation(count: usize, rounds: usize) -> Row {
    let registry = registry();
    let feed: Feed = "BTC/USD".parse().expect("a feed's name");
    let params = AggregateParams::default();
    let as_of = Time::from_ms(29_000_000 * 60_000);
    let mut cells = Cells::tracking(BTreeSet::from([feed]));
    let newest = Slot::of(as_of).number();
    for (at, member) in registry.newest().1.members().iter().enumerate() {
        for back in 0..params.window_ms / SLOT_MS / TICK_SLOTS {
            let mantissa = 6_000_000_000_000 + (at as u64 * 7_919 + back * 104_729) % 1_000_000_000;
            let attestation = Attestation::new(feed, (mantissa, -8), 10, 0b111, false).expect("in range");
            cells.join(member.author, Slot::from_number(newest - back * TICK_SLOTS), attestation);
        }
    }
    let epoch = registry.newest().1;
    assert_eq!(aggregate(&cells, epoch, feed, as_of, &params).status, Status::Ok, "a good answer is measured");
    let round = |_| {
        let ((), time) = spent(|| {
            (0..count).for_each(|_| drop(black_box(aggregate(black_box(&cells), epoch, feed, as_of, &params))))
        });
        time.as_secs_f64() * 1e9 / count as f64
    };
    let spread = Spread::of((0..rounds).map(round));
    let cells = params.window_ms / SLOT_MS / TICK_SLOTS * ORACLES as u64;
    Row::plain(format!("aggregate, {ORACLES} oracles x 1 feed"), spread.median, "ns")
        .noting(format!("{cells} attestations in the window"))
}

/// The frontier's digest after every admitted operation, the cost of admitting taken out.
pub(crate) fn digest(count: usize, rounds: usize) -> Row {
    let cast = Cast::of(LOGS);
    let mut writers = cast.writers();
    let ops: Vec<_> = (0..LOGS + count).map(|at| VerifiedOp::from_own_store(writers[at % LOGS].unsigned())).collect();
    let (first, rest) = ops.split_at(LOGS);
    let mut history = History::new(cast.membership());
    first.iter().for_each(|op| history.admit(op).expect("a valid chain"));
    let round = |_| {
        let (mut with, mut without) = (history.clone(), history.clone());
        let ((), admitting) = spent(|| rest.iter().for_each(|op| without.admit(op).expect("a valid chain")));
        let ((), both) = spent(|| {
            rest.iter().for_each(|op| {
                with.admit(op).expect("a valid chain");
                black_box(with.digest());
            })
        });
        both.saturating_sub(admitting).as_secs_f64() * 1e9 / count as f64
    };
    let spread = Spread::of((0..rounds).map(round));
    Row::plain(format!("History::digest, {LOGS} logs"), spread.median, "ns")
        .noting("after a change; unchanged it is kept")
}

fn registry() -> Registry {
    let member = |(at, author)| {
        let mut evm = [1; 20];
        evm[..8].copy_from_slice(&usize::to_be_bytes(at));
        let (name, peer) = (format!("oracle_{at}"), format!("peer_{at}"));
        Member { name, author, evm: Address::from_bytes(evm), peer, weight: 1 }
    };
    let members = Cast::of(ORACLES).authors().enumerate().map(member).collect();
    Registry::new("bench".to_owned(), NetworkId::from_bytes([9; 32]), vec![members]).expect("a registry")
}
