//! What the targets promise to notice, they notice: with each fault of [`concurrence_crdt::canary`] that a target can see, some seed's run
//! ends, and says which promise was broken. (Quotas by count, and what shows only after fifty operations, are beyond one program; those
//! faults are the simulator's to catch.)

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
};

use concurrence_crdt::canary::{Canary, release};
use concurrence_fuzz::{intake, seeds::corpus, store_recovery, sync_session};

type Program = fn(&[u8]);

const INTAKE: (&str, Program) = ("intake", intake::check);
const STORE: (&str, Program) = ("store_recovery", store_recovery::check);
const SYNC: (&str, Program) = ("sync_session", sync_session::check);

/// The fault, who notices it, and as what. A fault may break another promise first than the one it is named after.
const FAULTS: [(Canary, (&str, Program), &str); 16] = [
    (Canary::Crdt1, INTAKE, "CRDT-1"),
    (Canary::Crdt2, INTAKE, "CRDT-2"),
    (Canary::Crdt3, INTAKE, "CRDT-3"),
    (Canary::Crdt4, INTAKE, "CRDT-4"),
    (Canary::Crdt6, INTAKE, "CRDT-6"),
    (Canary::Sync1, SYNC, "SYNC-1"),
    (Canary::Sync2, SYNC, "SYNC-1"),
    (Canary::Sync3, INTAKE, "CRDT-1"),
    (Canary::Sync3, SYNC, "SYNC-1"),
    (Canary::Sync4, INTAKE, "SYNC-4"),
    (Canary::Sync5, SYNC, "SYNC-5"),
    (Canary::Store1, SYNC, "NODE-1"),
    (Canary::Store2, SYNC, "STORE-2"),
    (Canary::Store3, STORE, "STORE-2"),
    (Canary::Net2, SYNC, "NET-2"),
    (Canary::Core1, SYNC, "no frame"),
];

/// What each seed that a fault ended said.
fn last_words(canary: Canary, (target, check): (&str, Program)) -> Vec<String> {
    let seeds = fs::read_dir(corpus().join(target)).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    release(Some(canary));
    let ended: Vec<_> = seeds.filter_map(|seed| catch_unwind(AssertUnwindSafe(|| check(&seed))).err()).collect();
    release(None);
    ended.iter().map(|panic| text(panic.as_ref())).collect()
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or_default().to_owned()
}

#[test]
fn every_fault_ends_a_run() {
    // Hundreds of runs end on purpose; only what this test itself says is worth reading.
    set_hook(Box::new(|_| {}));
    let missed = FAULTS.into_iter().filter_map(|(canary, target, promise)| {
        let said = last_words(canary, target);
        (!said.iter().any(|text| text.contains(promise)))
            .then(|| format!("{canary:?} by {} as {promise}: {said:?}", target.0))
    });
    let missed: Vec<_> = missed.collect();
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}
