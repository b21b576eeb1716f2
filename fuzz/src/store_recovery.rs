//! Store recovery: the redb store on a disk that loses power, tears sectors, fails calls and rots. After every start it holds a state that it
//! once had, none older than the last durable commit; what is read is what was written, or missing; errors are values.
//!
//! Damage of pages is left to torn sectors and to bytes inside a row's value: on arbitrary damage redb may panic twice, which ends a process
//! (see `guarded` in the store), and would hide our own faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    sync::{Arc, LazyLock},
};

use concurrence_crdt::{LogKey, OpId};
use concurrence_protocol::Write;
use concurrence_store::{
    Durability::{self, Eventual, Immediate},
    RedbStore, SimulatedDisk, Store, StoreError, StoreId,
};

use crate::{
    material::author,
    steps::{Dice, Step, steps},
};

/// Steps of a program: a commit writes tens of pages, a start reads the whole file.
const STEPS_MAX: usize = 16;

/// Operations of one commit.
const COMMIT_OPS_MAX: u8 = 24;

/// What an operation's text is repeated to: a few of them fill a page of 4 kB.
const OP_LEN_MIN: usize = 150;

const ID: StoreId = StoreId::from_bytes([9; 16]);

/// The value whose text says how many commits there were: it is in each, so that half a commit shows.
const COMMITS: &str = "commits";

/// A disk with an empty store, so that its creation is not paid for in every run.
static EMPTY: LazyLock<SimulatedDisk> = LazyLock::new(|| {
    let disk = SimulatedDisk::new();
    drop(RedbStore::with_backend(disk.clone(), ID).expect("the disk does not fail"));
    disk
});

/// Runs a program. Panics inside redb are the store's to catch.
pub fn check(bytes: &[u8]) {
    let disk = EMPTY.crashed(|| true);
    let store = RedbStore::with_backend(disk.clone(), ID).expect("an empty store opens");
    let mut world = World { disk, store: Some(store), states: vec![State::default()], durable: 0, has_rotted: false };
    for step in steps(bytes, STEPS_MAX) {
        if !world.step(step) {
            return;
        }
    }
    world.close();
}

/// What the store holds after some commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Which variant of each operation stands at each position.
    logs: BTreeMap<LogKey, Vec<u8>>,
    /// Positions whose row rotted on the disk.
    rotten: BTreeSet<(LogKey, u64)>,
    quarantined: BTreeSet<OpId>,
    proofs: BTreeMap<u8, u8>,
    commits: u64,
}

struct World {
    disk: SimulatedDisk,
    /// Always there between steps.
    store: Option<RedbStore>,
    /// The states that a crash may lead back to, oldest first; the last is the present one.
    states: Vec<State>,
    /// Which of them the last durable commit led to.
    durable: usize,
    /// Since then a crash may cost the store: redb checks pages when it repairs.
    has_rotted: bool,
}

fn log(n: u8) -> LogKey {
    LogKey { author: author(1 + n % 2), index: n / 2 % 2 }
}

fn id(log: LogKey, seq: u64, variant: u8) -> OpId {
    let mut bytes = [variant; 32];
    bytes[..8].copy_from_slice(&log.author.as_bytes()[..8]);
    bytes[8] = log.index;
    bytes[9..17].copy_from_slice(&seq.to_be_bytes());
    OpId::from_bytes(bytes)
}

/// Text that can be found on the disk, of a length that varies.
fn text(log: LogKey, seq: u64, variant: u8) -> Arc<[u8]> {
    let text = format!("<{seq} of {log:?} {variant}>");
    let len = OP_LEN_MIN + usize::from(variant) + usize::try_from(seq % 40).unwrap_or(0);
    text.into_bytes().into_iter().cycle().take(len).collect()
}

fn row(log: LogKey, seq: u64, variant: u8) -> Write {
    Write::Op { log, seq, id: id(log, seq, variant), bytes: text(log, seq, variant) }
}

impl World {
    /// Does one step; false if the store was lost to rot, as it may be.
    fn step(&mut self, step: Step) -> bool {
        let Step { a, b, c, .. } = step;
        let durability = if c % 2 == 0 { Immediate } else { Eventual };
        match step.what % 10 {
            0..=2 => {
                let (state, rows) = self.longer(log(a), 1 + b % COMMIT_OPS_MAX, c);
                self.commit(state, &rows, durability);
            }
            3 => self.commit_others(a, b, durability),
            4 => self.commit_misfit(a, b, c),
            5 => return self.crash(step),
            6 => {
                self.fail(a, b);
                return self.crash(step);
            }
            7 => self.reopen_in_order(),
            8 => self.rot(a, b, c),
            _ => self.again(a, b, durability),
        }
        self.read_everything();
        true
    }

    fn present(&self) -> &State {
        self.states.last().expect("the present state is always there")
    }

    fn store(&mut self) -> &mut RedbStore {
        self.store.as_mut().expect("the store is open between steps")
    }

    /// The state and the rows after `count` more operations of a log.
    fn longer(&self, log: LogKey, count: u8, variant: u8) -> (State, Vec<Write>) {
        let mut state = self.present().clone();
        let held = state.logs.entry(log).or_default();
        let from = held.len() as u64;
        let rows = (0..u64::from(count)).map(|n| row(log, from + n, variant)).collect();
        held.extend(std::iter::repeat_n(variant, usize::from(count)));
        (state, rows)
    }

    /// A commit that fits.
    fn commit(&mut self, mut state: State, rows: &[Write], durability: Durability) {
        state.commits += 1;
        let mut rows = rows.to_vec();
        rows.push(Write::Meta { key: COMMITS, value: state.commits.to_string().into_bytes() });
        self.store().commit(&rows, durability).expect("the disk does not fail, and the rows fit");
        self.committed(state, durability);
    }

    fn committed(&mut self, state: State, durability: Durability) {
        self.states.push(state);
        if durability == Immediate {
            self.durable = self.states.len() - 1;
        }
    }

    /// An operation beyond the admitted state, and a proof. Of several proofs against one author the first is kept.
    fn commit_others(&mut self, a: u8, b: u8, durability: Durability) {
        let mut state = self.present().clone();
        let log = LogKey { index: 3, ..log(a) };
        let (id, bytes) = (id(log, u64::from(b), b), text(log, u64::from(b), b));
        let proof = Write::Proof { author: author(1 + a % 4), bytes: vec![b; 40].into() };
        state.quarantined.insert(id);
        state.proofs.entry(1 + a % 4).or_insert(b);
        self.commit(state, &[Write::Quarantine { author: log.author, id, bytes }, proof], durability);
    }

    /// Rows that no correct replica writes: refused, with all that came with them.
    fn commit_misfit(&mut self, a: u8, b: u8, c: u8) {
        let log = log(a);
        let held = self.present().logs.get(&log).cloned().unwrap_or_default();
        let len = held.len() as u64;
        let (fits, mut rows) = self.longer(log, 1, c);
        let at = u64::from(b) % (len + 1);
        let is_gap = c % 2 == 0 || at >= len;
        if is_gap {
            rows.push(row(log, len + 2 + u64::from(b), 1));
        } else {
            let other = held.get(usize::try_from(at).unwrap_or(0)).map_or(0, |variant| variant.wrapping_add(1));
            rows.push(row(log, at, other));
            // Where the held row rotted the log is cut, and goes on with the other operation: that is `rot`'s to try.
            if fits.rotten.contains(&(log, at)) {
                return;
            }
        }
        let refused = self.store().commit(&rows, Immediate);
        let expected = matches!(
            (&refused, is_gap),
            (Err(StoreError::Gap { .. }), true) | (Err(StoreError::Conflict { .. }), false)
        );
        assert!(expected, "{refused:?}");
    }

    /// The same operations once more: nothing changes, but rotten rows are written anew.
    fn again(&mut self, a: u8, b: u8, durability: Durability) {
        let log = log(a);
        let mut state = self.present().clone();
        let held = state.logs.get(&log).cloned().unwrap_or_default();
        let at = usize::from(b) % held.len().max(1);
        let some = held.iter().enumerate().skip(at).take(8);
        let rows: Vec<_> = some.map(|(seq, &variant)| row(log, seq as u64, variant)).collect();
        state.rotten.retain(|(rotten, seq)| *rotten != log || !(at as u64..at as u64 + 8).contains(seq));
        self.commit(state, &rows, durability);
    }

    /// Ends in order: everything is durable.
    fn close(&mut self) {
        drop(self.store.take());
        self.states.drain(..self.states.len() - 1);
        self.durable = 0;
    }

    fn reopen_in_order(&mut self) {
        self.close();
        let store = RedbStore::with_backend(self.disk.clone(), ID).expect("a store that was closed in order opens");
        self.store = Some(store);
    }

    /// Some call to the disk fails in the middle of a commit, and everything after it with the same error.
    fn fail(&mut self, a: u8, b: u8) {
        let kind = [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem][usize::from(b % 3)];
        self.disk.fail_after(u64::from(a % 48), kind);
        let (mut state, mut rows) = self.longer(log(a), 1 + b % COMMIT_OPS_MAX, b);
        state.commits += 1;
        rows.push(Write::Meta { key: COMMITS, value: state.commits.to_string().into_bytes() });
        match self.store().commit(&rows, Immediate) {
            Ok(()) => self.committed(state, Immediate),
            Err(first) => {
                assert!(first.is_fatal(), "{first}");
                self.disk.heal();
                let failed = first.clone();
                assert_eq!(self.store().commit(&[], Immediate), Err(failed.clone()), "the first error is final");
                assert_eq!(self.store().range(log(0), 0, 9, 9), Err(failed.clone()));
                assert_eq!(self.store().op(&id(log(0), 0, 0)), Err(failed));
                // It may have reached the disk before the error.
                self.states.push(state);
            }
        }
        self.disk.heal();
    }

    /// The power goes, and comes back.
    fn crash(&mut self, step: Step) -> bool {
        let mut dice = Dice::of(step);
        let odds = 1 + u64::from(step.c % 4);
        self.disk = self.disk.crashed(|| dice.below(odds) == 0);
        drop(self.store.take());
        match RedbStore::with_backend(self.disk.clone(), ID) {
            Ok(store) => self.store = Some(store),
            Err(error) => {
                assert!(self.has_rotted, "STORE-1: after a power cut the store does not open: {error}");
                assert!(error.is_fatal());
                return false;
            }
        }
        if self.has_rotted {
            // Repair may lead back past a rotten page: what is there must still be what was written.
            self.read_what_is_there();
            return false;
        }
        self.find_state();
        self.read_everything();
        true
    }

    /// Which state the store is in after a crash: told by the count that every commit writes.
    fn find_state(&mut self) {
        let meta = self.store().meta(COMMITS).expect("nothing rotted");
        let text = meta.map_or_else(|| "0".to_owned(), |value| String::from_utf8_lossy(&value).into_owned());
        let commits: u64 = text.parse().expect("the count is a number");
        let at = self.states.iter().rposition(|state| state.commits == commits);
        let at = at.expect("STORE-2: the store is in a state that it never had");
        assert!(at >= self.durable, "STORE-1: {commits} commits are left, state {at} of {} durable ones", self.durable);
        self.states.truncate(at + 1);
        self.states.drain(..at);
        self.durable = 0;
    }

    /// A bit flips in the value of an operation's row, wherever the disk holds it.
    fn rot(&mut self, a: u8, b: u8, c: u8) {
        let log = log(a);
        let held = self.present().logs.get(&log).cloned().unwrap_or_default();
        let Some(&variant) = held.get(usize::from(b) % held.len().max(1)) else { return };
        let seq = u64::from(b) % held.len() as u64;
        // In order, so that the disk holds the newest of every page.
        self.close();
        let wanted = text(log, seq, variant);
        let at = usize::from(c) % wanted.len();
        let mut places = 0;
        self.disk.tamper(|content| {
            let found: Vec<_> = memchr::memmem::find_iter(content, &wanted[..]).collect();
            places = found.len();
            found.into_iter().for_each(|start| content[start + at] ^= 0x10);
        });
        if places > 0 {
            self.has_rotted = true;
            self.states.last_mut().expect("the present state is always there").rotten.insert((log, seq));
        }
        let store = RedbStore::with_backend(self.disk.clone(), ID).expect("one rotten row does not end a store");
        self.store = Some(store);
    }

    /// Everything that may be asked, compared with what was written.
    fn read_everything(&mut self) {
        let state = self.present().clone();
        let store = self.store();
        assert_eq!(store.id(), ID);
        let lens: Vec<_> =
            state.logs.iter().filter(|(_, ops)| !ops.is_empty()).map(|(&log, ops)| (log, ops.len() as u64)).collect();
        assert_eq!(store.logs(), Ok(lens), "STORE-2: lengths of logs");
        for (&log, ops) in &state.logs {
            let readable = ops.iter().enumerate().take_while(|(seq, _)| !state.rotten.contains(&(log, *seq as u64)));
            let expected: Vec<_> = readable.map(|(seq, &variant)| text(log, seq as u64, variant)).collect();
            assert_eq!(store.range(log, 0, u64::MAX, usize::MAX), Ok(expected), "STORE-2: {log:?}");
            for (seq, &variant) in ops.iter().enumerate() {
                let seq = seq as u64;
                let held = (!state.rotten.contains(&(log, seq))).then(|| text(log, seq, variant));
                assert_eq!(store.op(&id(log, seq, variant)), Ok(held), "STORE-2: operation {seq} of {log:?}");
            }
        }
        let stats = store.stats();
        assert_eq!(stats.ops, state.logs.values().map(|ops| ops.len() as u64).sum::<u64>());
        assert_eq!(stats.quarantined, state.quarantined.len() as u64);
        for id in &state.quarantined {
            assert!(store.op(id).is_ok_and(|op| op.is_some()), "STORE-2: quarantined {id:?}");
        }
        let proofs: Vec<Arc<[u8]>> = store.proofs().expect("nothing of them rotted");
        assert_eq!(proofs.len(), state.proofs.len());
        let mut expected: Vec<_> = state.proofs.iter().map(|(&n, &b)| (author(n), b)).collect();
        expected.sort_unstable();
        assert!(proofs.iter().zip(expected).all(|(proof, (_, b))| **proof == [b; 40]), "STORE-2: proofs");
    }

    /// After rot and a crash: whatever is there is what was written at that position, and errors are values.
    fn read_what_is_there(&mut self) {
        let written: Vec<_> = self.states.iter().map(|state| state.logs.clone()).collect();
        let store = self.store();
        let Ok(logs) = store.logs() else { return };
        for (log, len) in logs {
            let Ok(ops) = store.range(log, 0, u64::MAX, usize::MAX) else { return };
            assert!(ops.len() as u64 <= len);
            for (seq, op) in ops.iter().enumerate() {
                let variants = written.iter().filter_map(|logs| logs.get(&log)?.get(seq));
                let mut texts = variants.map(|&variant| text(log, seq as u64, variant));
                assert!(texts.any(|text| text == *op), "STORE-2: operation {seq} of {log:?} was never written");
            }
        }
    }
}
