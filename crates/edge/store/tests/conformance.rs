//! What every store must do, run over each of them.

mod fixture;

use concurrence_protocol::{FactKey, StoreReply, StoreRequest, Token, Write};
use concurrence_store::{
    Durability::{Eventual, Immediate},
    MemoryStore, RedbStore, SimulatedDisk, Store, StoreError, StoreId, StoreStats, serve, serve_all,
};
use fixture::{ID, author, bytes, expected, fact, id, log, meta, op, ops, proof, quarantine, quarantine_of, variant};

/// A store under test, and how it is closed and opened again.
trait Subject: Sized {
    fn fresh() -> Self;
    fn store(&mut self) -> &mut dyn Store;
    fn reopened(self) -> Self;
}

struct Memory(MemoryStore);

impl Subject for Memory {
    fn fresh() -> Self {
        Self(MemoryStore::new(ID))
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopened(self) -> Self {
        self
    }
}

struct RedbFile(RedbStore, tempfile::TempDir);

impl Subject for RedbFile {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self(RedbStore::open(&dir.path().join("store")).unwrap(), dir)
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopened(self) -> Self {
        let Self(store, dir) = self;
        drop(store);
        Self(RedbStore::open(&dir.path().join("store")).unwrap(), dir)
    }
}

struct RedbDisk(RedbStore, SimulatedDisk);

impl Subject for RedbDisk {
    fn fresh() -> Self {
        let disk = SimulatedDisk::new();
        Self(RedbStore::with_backend(disk.clone(), ID).unwrap(), disk)
    }
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }
    fn reopened(self) -> Self {
        let Self(store, disk) = self;
        drop(store);
        Self(RedbStore::with_backend(disk.clone(), StoreId::from_bytes([0; 16])).unwrap(), disk)
    }
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory { $(#[test] fn $case() { super::$case(<super::Memory as super::Subject>::fresh()) })* }
        mod redb_file { $(#[test] fn $case() { super::$case(<super::RedbFile as super::Subject>::fresh()) })* }
        mod redb_disk { $(#[test] fn $case() { super::$case(<super::RedbDisk as super::Subject>::fresh()) })* }
    };
}

conformance!(
    a_new_store_is_empty_and_keeps_its_id,
    operations_come_back_in_order,
    logs_do_not_mix,
    ranges_end_where_asked,
    bytes_max_gives_at_least_one,
    an_operation_held_already_changes_nothing,
    a_gap_is_refused,
    another_operation_at_a_held_position_is_refused,
    a_refused_commit_writes_nothing,
    one_commit_may_extend_a_log_many_times,
    quarantined_operations_are_found_by_id_only,
    an_operation_leaves_quarantine_when_it_is_admitted,
    proofs_survive_and_the_first_one_stays,
    facts_are_replaced_and_come_in_the_order_of_their_keys,
    a_certified_operation_makes_another_give_way,
    meta_is_replaced,
    stats_count,
    positions_at_the_types_limits,
    requests_are_served,
    grouped_commits_keep_their_place_among_reads,
    a_group_with_a_bad_commit_fails_whole,
    an_empty_commit_is_allowed,
);

fn a_new_store_is_empty_and_keeps_its_id(mut subject: impl Subject) {
    let name = subject.store().id();
    let mut subject = subject.reopened();
    let store = subject.store();
    assert_eq!(store.id(), name);
    assert_eq!(store.logs().unwrap(), []);
    assert_eq!(store.proofs().unwrap(), []);
    assert_eq!(store.meta("watermark").unwrap(), None);
    assert_eq!(store.op(&id(log(1, 0), 0, 0)).unwrap(), None);
    assert_eq!(store.range(log(1, 0), 0, 10, 1000).unwrap(), []);
    assert_eq!(StoreStats { file_bytes: 0, ..store.stats() }, StoreStats::default());
}

fn operations_come_back_in_order(mut subject: impl Subject) {
    // Past 255 and 256, where a little-endian key would sort wrongly.
    for seq in 0..300 {
        subject.store().commit(&[op(log(1, 0), seq)], if seq % 7 == 0 { Immediate } else { Eventual }).unwrap();
    }
    for _ in 0..2 {
        let store = subject.store();
        assert_eq!(store.range(log(1, 0), 0, 300, usize::MAX).unwrap(), expected(log(1, 0), 0..300));
        for seq in [0, 1, 255, 256, 299] {
            assert_eq!(store.op(&id(log(1, 0), seq, 0)).unwrap(), Some(bytes(log(1, 0), seq, 0)));
        }
        subject = subject.reopened();
    }
}

fn logs_do_not_mix(mut subject: impl Subject) {
    let lens = [(log(1, 0), 3), (log(1, 1), 1), (log(1, 3), 2), (log(2, 0), 4), (log(255, 255), 1)];
    for (log, len) in lens.into_iter().rev() {
        subject.store().commit(&ops(log, 0..len), Immediate).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(subject.store().logs().unwrap(), lens);
        for (log, len) in lens {
            assert_eq!(subject.store().range(log, 0, 100, usize::MAX).unwrap(), expected(log, 0..len));
        }
        assert_eq!(subject.store().range(log(1, 2), 0, 100, usize::MAX).unwrap(), []);
        subject = subject.reopened();
    }
}

fn ranges_end_where_asked(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    store.commit(&ops(log, 0..10), Eventual).unwrap();
    for (from, until, given) in
        [(0, 10, 0..10), (3, 5, 3..5), (9, 10, 9..10), (8, 99, 8..10), (4, 4, 0..0), (5, 4, 0..0)]
    {
        assert_eq!(store.range(log, from, until, usize::MAX).unwrap(), expected(log, given), "{from}..{until}");
    }
    assert_eq!(store.range(log, 10, 20, usize::MAX).unwrap(), []);
}

fn bytes_max_gives_at_least_one(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    store.commit(&ops(log, 0..10), Eventual).unwrap();
    let three: usize = expected(log, 2..5).iter().map(|op| op.len()).sum();
    for (bytes_max, given) in [(0, 1), (1, 1), (three - 1, 2), (three, 3), (three + 1, 3), (usize::MAX, 8)] {
        assert_eq!(store.range(log, 2, 10, bytes_max).unwrap(), expected(log, 2..2 + given), "{bytes_max} bytes");
    }
}

fn an_operation_held_already_changes_nothing(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    store.commit(&ops(log, 0..5), Eventual).unwrap();
    let before = store.stats();
    store.commit(&[op(log, 4), op(log, 0), op(log, 2), op(log, 2)], Immediate).unwrap();
    assert_eq!(StoreStats { file_bytes: before.file_bytes, ..store.stats() }, before);
    assert_eq!(store.range(log, 0, 9, usize::MAX).unwrap(), expected(log, 0..5));
    // The same header under another of the many valid signatures of its author: the id does not cover it.
    store.commit(&[Write::Op { log, seq: 3, id: id(log, 3, 0), bytes: b"resigned"[..].into() }], Eventual).unwrap();
    assert_eq!(store.op(&id(log, 3, 0)).unwrap(), Some(bytes(log, 3, 0)));
    assert_eq!(store.stats().bytes, before.bytes);
}

fn a_gap_is_refused(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    assert_eq!(store.commit(&[op(log, 1)], Eventual), Err(StoreError::Gap { log, seq: 1, len: 0 }));
    store.commit(&ops(log, 0..3), Eventual).unwrap();
    assert_eq!(store.commit(&[op(log, 4)], Immediate), Err(StoreError::Gap { log, seq: 4, len: 3 }));
    assert_eq!(store.commit(&[op(log, 3), op(log, 5)], Immediate), Err(StoreError::Gap { log, seq: 5, len: 4 }));
    store.commit(&[op(log, 3)], Immediate).unwrap();
    assert_eq!(store.logs().unwrap(), [(log, 4)], "a refusal does not poison the store");
}

fn another_operation_at_a_held_position_is_refused(mut subject: impl Subject) {
    let log = log(1, 0);
    subject.store().commit(&ops(log, 0..3), Immediate).unwrap();
    for _ in 0..2 {
        let store = subject.store();
        for seq in 0..3 {
            assert_eq!(store.commit(&[variant(log, seq, 1)], Eventual), Err(StoreError::Conflict { log, seq }));
        }
        assert_eq!(
            store.commit(&[op(log, 3), variant(log, 3, 1)], Eventual),
            Err(StoreError::Conflict { log, seq: 3 }),
            "in one commit"
        );
        assert_eq!(store.range(log, 0, 9, usize::MAX).unwrap(), expected(log, 0..3));
        assert_eq!(store.op(&id(log, 1, 1)).unwrap(), None);
        subject = subject.reopened();
    }
}

fn a_refused_commit_writes_nothing(mut subject: impl Subject) {
    let store = subject.store();
    store.commit(&[op(log(1, 0), 0), meta("watermark", "old"), proof(8, "held")], Immediate).unwrap();
    let before = store.stats();
    let rows = [
        op(log(1, 0), 1),
        op(log(2, 0), 0),
        quarantine(log(3, 0), 5),
        proof(4, "new"),
        meta("watermark", "new"),
        op(log(1, 0), 7),
    ];
    assert_eq!(store.commit(&rows, Immediate), Err(StoreError::Gap { log: log(1, 0), seq: 7, len: 2 }));
    let mut after = subject.reopened();
    let store = after.store();
    assert_eq!(store.logs().unwrap(), [(log(1, 0), 1)]);
    assert_eq!(store.op(&id(log(2, 0), 0, 0)).unwrap(), None);
    assert_eq!(store.op(&id(log(3, 0), 5, 0)).unwrap(), None);
    assert_eq!(store.proofs().unwrap(), [b"held"[..].into()]);
    assert_eq!(store.meta("watermark").unwrap(), Some(b"old".to_vec()));
    assert_eq!(StoreStats { file_bytes: before.file_bytes, ..store.stats() }, before);
}

fn one_commit_may_extend_a_log_many_times(mut subject: impl Subject) {
    let rows: Vec<_> = (0..50).flat_map(|seq| [op(log(1, 0), seq), op(log(2, 1), seq)]).collect();
    subject.store().commit(&rows, Immediate).unwrap();
    let mut subject = subject.reopened();
    assert_eq!(subject.store().logs().unwrap(), [(log(1, 0), 50), (log(2, 1), 50)]);
    assert_eq!(subject.store().range(log(2, 1), 0, 50, usize::MAX).unwrap(), expected(log(2, 1), 0..50));
}

fn quarantined_operations_are_found_by_id_only(mut subject: impl Subject) {
    let log = log(1, 0);
    subject.store().commit(&[quarantine(log, 0), quarantine(log, 5), quarantine(log, 5)], Immediate).unwrap();
    for _ in 0..2 {
        let store = subject.store();
        assert_eq!(store.op(&id(log, 5, 0)).unwrap(), Some(bytes(log, 5, 0)));
        assert_eq!(store.logs().unwrap(), []);
        assert_eq!(store.range(log, 0, 9, usize::MAX).unwrap(), []);
        assert_eq!((store.stats().ops, store.stats().quarantined), (0, 2));
        subject = subject.reopened();
    }
}

fn an_operation_leaves_quarantine_when_it_is_admitted(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    store.commit(&[quarantine(log, 0), quarantine(log, 1)], Eventual).unwrap();
    let held = store.stats().bytes;
    store.commit(&[op(log, 0)], Eventual).unwrap();
    assert_eq!((store.stats().ops, store.stats().quarantined, store.stats().bytes), (1, 1, held));
    store.commit(&[quarantine(log, 0)], Eventual).unwrap();
    assert_eq!((store.stats().ops, store.stats().quarantined, store.stats().bytes), (1, 1, held));
    let mut subject = subject.reopened();
    let store = subject.store();
    assert_eq!((store.stats().ops, store.stats().quarantined, store.stats().bytes), (1, 1, held));
    assert_eq!(store.range(log, 0, 9, usize::MAX).unwrap(), expected(log, 0..1));
    assert_eq!(store.op(&id(log, 0, 0)).unwrap(), Some(bytes(log, 0, 0)));
}

fn proofs_survive_and_the_first_one_stays(mut subject: impl Subject) {
    subject.store().commit(&[proof(2, "two"), proof(1, "one"), proof(2, "another")], Immediate).unwrap();
    let mut subject = subject.reopened();
    subject.store().commit(&[proof(1, "later"), proof(3, "three")], Immediate).unwrap();
    let mut subject = subject.reopened();
    assert_eq!(subject.store().proofs().unwrap(), [b"one"[..].into(), b"two"[..].into(), b"three"[..].into()]);
}

fn facts_are_replaced_and_come_in_the_order_of_their_keys(mut subject: impl Subject) {
    let (log, other) = (log(1, 0), log(1, 1));
    let rows = [
        fact(FactKey::Conflict(log), "conflict"),
        fact(FactKey::Certificate(other), "certificate of another log"),
        fact(FactKey::Certificate(log), "certificate"),
        fact(FactKey::DoubleVote(log.author), "double vote"),
        fact(FactKey::Vote(log), "vote"),
        fact(FactKey::Vote(log), "later vote"),
    ];
    subject.store().commit(&rows, Immediate).unwrap();
    for _ in 0..2 {
        let expected = ["later vote", "certificate", "certificate of another log", "double vote", "conflict"];
        assert_eq!(subject.store().facts().unwrap(), expected.map(|text| text.as_bytes().into()));
        subject = subject.reopened();
    }
}

fn a_certified_operation_makes_another_give_way(mut subject: impl Subject) {
    let log = log(1, 0);
    let certified =
        |seq, variant| Write::Certified { log, seq, id: id(log, seq, variant), bytes: bytes(log, seq, variant) };
    subject.store().commit(&[op(log, 0), op(log, 1), op(log, 2), quarantine_of(log, 1, 1)], Immediate).unwrap();
    subject.store().commit(&[certified(0, 0)], Eventual).unwrap();
    assert_eq!(subject.store().logs().unwrap(), [(log, 3)], "the same one changes nothing");
    subject.store().commit(&[certified(1, 1), certified(2, 1), certified(2, 1)], Eventual).unwrap();
    for _ in 0..2 {
        let store = subject.store();
        let rows = vec![bytes(log, 0, 0), bytes(log, 1, 1), bytes(log, 2, 1)];
        assert_eq!(store.range(log, 0, 9, usize::MAX).unwrap(), rows);
        assert_eq!((store.op(&id(log, 1, 0)).unwrap(), store.op(&id(log, 2, 0)).unwrap()), (None, None));
        assert_eq!((store.stats().ops, store.stats().quarantined), (3, 0));
        assert_eq!(store.stats().bytes, rows.iter().map(|row| row.len() as u64).sum::<u64>());
        subject = subject.reopened();
    }
    let gap = StoreError::Gap { log, seq: 7, len: 3 };
    assert_eq!(subject.store().commit(&[certified(7, 0)], Eventual), Err(gap));
    assert!(matches!(subject.store().commit(&[op(log, 1)], Eventual), Err(StoreError::Conflict { .. })));
}

fn meta_is_replaced(mut subject: impl Subject) {
    subject.store().commit(&[meta("a", "1"), meta("ab", "2"), meta("a", "3"), meta("empty", "")], Immediate).unwrap();
    for _ in 0..2 {
        let store = subject.store();
        assert_eq!(store.meta("a").unwrap(), Some(b"3".to_vec()));
        assert_eq!(store.meta("ab").unwrap(), Some(b"2".to_vec()));
        assert_eq!(store.meta("empty").unwrap(), Some(Vec::new()));
        assert_eq!(store.meta("").unwrap(), None);
        subject = subject.reopened();
    }
}

fn stats_count(mut subject: impl Subject) {
    let rows = [ops(log(1, 0), 0..4), vec![op(log(2, 0), 0), quarantine(log(3, 0), 9), meta("a", "1")]].concat();
    subject.store().commit(&rows, Immediate).unwrap();
    let bytes: usize = expected(log(1, 0), 0..4).iter().chain(&expected(log(2, 0), 0..1)).map(|op| op.len()).sum();
    let bytes = (bytes + bytes_of_quarantined()) as u64;
    for _ in 0..2 {
        let stats = subject.store().stats();
        let file_bytes = stats.file_bytes;
        assert_eq!(stats, StoreStats { ops: 5, quarantined: 1, bytes, file_bytes, rotten_rows: 0 });
        subject = subject.reopened();
    }
}

fn bytes_of_quarantined() -> usize {
    bytes(log(3, 0), 9, 0).len()
}

fn positions_at_the_types_limits(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(255, 255));
    store.commit(&ops(log, 0..2), Eventual).unwrap();
    assert_eq!(store.commit(&[op(log, u64::MAX)], Eventual), Err(StoreError::Gap { log, seq: u64::MAX, len: 2 }));
    assert_eq!(store.range(log, 0, u64::MAX, usize::MAX).unwrap(), expected(log, 0..2));
    assert_eq!(store.range(log, u64::MAX, u64::MAX, usize::MAX).unwrap(), []);
    assert_eq!(store.range(log, u64::MAX - 1, u64::MAX, 0).unwrap(), []);
    assert_eq!(store.range(log, u64::MAX, 0, 0).unwrap(), []);
}

fn requests_are_served(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    let commit = StoreRequest::Commit { token: Token(1), writes: ops(log, 0..3), durable: true };
    assert_eq!(serve(store, commit), Ok(StoreReply::Committed(Token(1))));
    let load = StoreRequest::Load { token: Token(2), log, from: 1, until: 3, bytes_max: usize::MAX };
    assert_eq!(serve(store, load), Ok(StoreReply::Loaded(Token(2), expected(log, 1..3))));
    let find = |token, seq| StoreRequest::Find { token: Token(token), id: id(log, seq, 0) };
    assert_eq!(serve(store, find(3, 2)), Ok(StoreReply::Found(Token(3), Some(bytes(log, 2, 0)))));
    assert_eq!(serve(store, find(4, 3)), Ok(StoreReply::Found(Token(4), None)));
}

fn grouped_commits_keep_their_place_among_reads(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    let commit =
        |token, seq| StoreRequest::Commit { token: Token(token), writes: vec![op(log, seq)], durable: token == 2 };
    let load = |token| StoreRequest::Load { token: Token(token), log, from: 0, until: 99, bytes_max: usize::MAX };
    let requests = vec![load(0), commit(1, 0), commit(2, 1), load(3), commit(4, 2), load(5), commit(6, 3)];
    let replies = serve_all(store, requests).unwrap();
    assert_eq!(
        replies,
        [
            StoreReply::Loaded(Token(0), vec![]),
            StoreReply::Committed(Token(1)),
            StoreReply::Committed(Token(2)),
            StoreReply::Loaded(Token(3), expected(log, 0..2)),
            StoreReply::Committed(Token(4)),
            StoreReply::Loaded(Token(5), expected(log, 0..3)),
            StoreReply::Committed(Token(6)),
        ]
    );
    assert_eq!(store.logs().unwrap(), [(log, 4)]);
    assert_eq!(serve_all(store, vec![]), Ok(vec![]));
}

fn a_group_with_a_bad_commit_fails_whole(mut subject: impl Subject) {
    let (store, log) = (subject.store(), log(1, 0));
    let commit = |token, seq| StoreRequest::Commit { token: Token(token), writes: vec![op(log, seq)], durable: false };
    assert_eq!(serve_all(store, vec![commit(1, 0), commit(2, 5)]), Err(StoreError::Gap { log, seq: 5, len: 1 }));
    assert_eq!(store.logs().unwrap(), []);
}

fn an_empty_commit_is_allowed(mut subject: impl Subject) {
    subject.store().commit(&[], Eventual).unwrap();
    subject.store().commit(&[Write::Proof { author: author(1), bytes: b""[..].into() }], Eventual).unwrap();
    subject.store().commit(&[], Immediate).unwrap();
    assert_eq!(subject.reopened().store().proofs().unwrap(), [b""[..].into()]);
}
