//! What only a store on a disk can suffer: other processes, crashes, full disks, damage.

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
    process::{Child, Command, Stdio},
};

use concurrence_protocol::{StoreRequest, Token, Write};
use concurrence_store::{
    Durability::{Eventual, Immediate},
    RedbStore, SECTOR_LEN, SimulatedDisk, Store, StoreError, StoreId, UNSYNCED_BYTES_MAX, serve_all,
};
use fixture::{Dice, ID, bytes, expected, id, len, log, meta, op, ops, proof, quarantine, variant};

fn on(disk: &SimulatedDisk) -> Result<RedbStore, StoreError> {
    RedbStore::with_backend(disk.clone(), ID)
}

fn file_in(dir: &Path) -> std::path::PathBuf {
    dir.join("ops.redb")
}

// Locks, and an end without warning

/// Starts this test program again as a process that opens the store, commits, says so and waits to be killed.
fn other_process(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_store", "--ignored", "--nocapture"])
        .env("HELD_STORE", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("store held")), "the other process opened the store");
    child
}

#[test]
#[ignore = "run by other_process, in a process of its own"]
fn hold_a_store() {
    let dir = std::env::var_os("HELD_STORE").unwrap();
    let mut store = RedbStore::open(dir.as_ref()).unwrap();
    store.commit(&ops(log(1, 0), 0..100), Immediate).unwrap();
    store.commit(&ops(log(2, 0), 0..100), Eventual).unwrap();
    println!("\nstore held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_second_process_is_refused_and_a_killed_one_loses_nothing_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = other_process(dir.path());
    let refused = RedbStore::open(dir.path()).unwrap_err();
    assert_eq!(refused, StoreError::Locked { path: dir.path().to_owned(), pid: Some(child.id()) });
    assert!(refused.to_string().contains(&child.id().to_string()));
    assert_eq!(RedbStore::open_read_only(dir.path()).unwrap_err(), refused);
    child.kill().unwrap();
    child.wait().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(len(&store, log(1, 0)), 100);
    assert!(len(&store, log(2, 0)) <= 100);
}

#[test]
fn a_second_store_in_one_process_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let first = RedbStore::open(dir.path()).unwrap();
    assert!(
        matches!(RedbStore::open(dir.path()), Err(StoreError::Locked { pid: Some(pid), .. }) if pid == std::process::id())
    );
    drop(first);
    RedbStore::open(dir.path()).unwrap();
}

// Opening

#[cfg(unix)]
#[test]
fn a_new_directory_is_private_and_ids_differ() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("deep/one"), dir.path().join("deep/two"));
    assert_ne!(RedbStore::open(&one).unwrap().id(), RedbStore::open(&two).unwrap().id());
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(RedbStore::open(&one).unwrap().stats().file_bytes > 0);
}

#[test]
fn a_creation_that_was_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ops.redb.new"), vec![0; 100_000]).unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    store.commit(&ops(log(1, 0), 0..2), Immediate).unwrap();
    assert!(!dir.path().join("ops.redb.new").exists());
    drop(store);
    assert_eq!(len(&RedbStore::open(dir.path()).unwrap(), log(1, 0)), 2);
}

#[test]
fn a_place_that_cannot_be_a_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("store")] {
        let error = RedbStore::open(&place).unwrap_err();
        assert!(matches!(&error, StoreError::ReadOnly { path, .. } if *path == place), "{error}");
        assert!(error.to_string().contains(&*place.to_string_lossy()), "{error}");
    }
    let taken = dir.path().join("taken");
    fs::create_dir_all(file_in(&taken)).unwrap();
    assert!(RedbStore::open(&taken).unwrap_err().is_fatal(), "a directory where the file should be");
}

#[test]
fn a_truncated_or_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    store.commit(&ops(log(1, 0), 0..500), Immediate).unwrap();
    drop(store);
    let whole = fs::read(file_in(dir.path())).unwrap();
    let mut contents: Vec<Vec<u8>> = [0, 1, 8, 100, 511, 4_096, 10_000, whole.len() / 2, whole.len() - 1]
        .into_iter()
        .map(|len| whole[..len].to_vec())
        .collect();
    contents.push(vec![0; whole.len()]);
    contents.push(b"not a store\n".repeat(5_000));
    for content in contents {
        fs::write(file_in(dir.path()), &content).unwrap();
        for opened in [RedbStore::open(dir.path()), RedbStore::open_read_only(dir.path())] {
            let error = opened.unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{} bytes: {error}", content.len());
            assert!(error.to_string().contains("ops.redb"), "{error}");
        }
        assert_eq!(fs::read(file_in(dir.path())).unwrap().len(), content.len(), "it was left as it was");
    }
    fs::write(file_in(dir.path()), &whole).unwrap();
    assert_eq!(len(&RedbStore::open(dir.path()).unwrap(), log(1, 0)), 500);
}

#[test]
fn a_database_of_another_program_or_version_is_refused() {
    const ABOUT: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("about");
    let dir = tempfile::tempdir().unwrap();
    let database = redb::Database::create(file_in(dir.path())).unwrap();
    drop(database);
    assert!(matches!(RedbStore::open(dir.path()), Err(StoreError::Corrupt { .. })), "no tables");
    fs::remove_file(file_in(dir.path())).unwrap();
    drop(RedbStore::open(dir.path()).unwrap());

    let version = 7_u32.to_be_bytes();
    let mut hashed = vec![6, 0, 0, 0, 0, 0, 0, 0, 7];
    hashed.extend_from_slice(b"version");
    hashed.extend_from_slice(&version);
    let row = [&blake3::hash(&hashed).as_bytes()[..8], &version].concat();
    let database = redb::Database::open(file_in(dir.path())).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(ABOUT).unwrap().insert("version", row.as_slice()).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert_eq!(error, StoreError::Version { path: file_in(dir.path()), found: 7, known: 1 });
    assert!(error.to_string().contains("newer"), "{error}");
}

#[test]
fn reading_only_reads() {
    let dir = tempfile::tempdir().unwrap();
    let missing = RedbStore::open_read_only(&dir.path().join("nothing")).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }));
    assert!(!dir.path().join("nothing").exists());

    let mut store = RedbStore::open(dir.path()).unwrap();
    store.commit(&ops(log(1, 0), 0..20), Eventual).unwrap();
    let name = store.id();
    drop(store);
    let before = fs::read(file_in(dir.path())).unwrap();
    let mut audited = RedbStore::open_read_only(dir.path()).unwrap();
    assert_eq!((audited.id(), len(&audited, log(1, 0))), (name, 20));
    assert!(matches!(audited.commit(&[op(log(1, 0), 20)], Immediate), Err(StoreError::OpenForReading { .. })));
    assert_eq!(len(&audited, log(1, 0)), 20);
    assert!(matches!(RedbStore::open(dir.path()), Err(StoreError::Locked { .. })));
    drop(audited);
    assert_eq!(fs::read(file_in(dir.path())).unwrap(), before);
}

#[test]
fn reading_only_after_a_kill_repairs_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = other_process(dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(len(&RedbStore::open_read_only(dir.path()).unwrap(), log(1, 0)), 100);
}

// Power cuts

#[test]
fn what_was_durable_survives_a_power_cut_at_any_moment() {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let mut disk = SimulatedDisk::new();
        drop(on(&disk).unwrap());
        let (mut durable, mut written) = (0, 0);
        for _ in 0..4 {
            let mut store = on(&disk).unwrap();
            let held = len(&store, log(1, 0));
            assert!(held >= durable, "seed {seed}: {held} operations of {durable} durable ones");
            assert!(held <= written, "seed {seed}: {held} operations of {written} written ones");
            assert_eq!(
                store.meta("len").unwrap(),
                (held > 0).then(|| held.to_string().into_bytes()),
                "seed {seed}: half a commit"
            );
            written = held;
            for _ in 0..dice.below(12) {
                let end = written + 1 + dice.below(40);
                let mut rows = ops(log(1, 0), written..end);
                rows.push(Write::Meta { key: "len", value: end.to_string().into_bytes() });
                let wait = dice.below(3) == 0;
                store.commit(&rows, if wait { Immediate } else { Eventual }).unwrap();
                written = end;
                durable = if wait { end } else { durable };
            }
            // In the middle of one more commit: the disk stops, and some of what it was given stays.
            disk.fail_after(dice.below(30), ErrorKind::Other);
            let mut rows = ops(log(1, 0), written..written + 30);
            rows.push(Write::Meta { key: "len", value: (written + 30).to_string().into_bytes() });
            if store.commit(&rows, Immediate).is_ok() {
                durable = written + 30;
            }
            written += 30;
            disk = disk.crashed(|| dice.below(2) == 0);
        }
    }
}

#[test]
fn one_durable_commit_of_a_group_makes_the_group_durable() {
    let disk = SimulatedDisk::new();
    let mut store = on(&disk).unwrap();
    let commit = |seq, durable| StoreRequest::Commit { token: Token(seq), writes: vec![op(log(1, 0), seq)], durable };
    store.commit(&[op(log(2, 0), 0)], Eventual).unwrap();
    assert_eq!(len(&on(&disk.crashed(|| false)).unwrap(), log(2, 0)), 0, "the disk does lose what was not synced");
    serve_all(&mut store, vec![commit(0, false), commit(1, true), commit(2, false)]).unwrap();
    let after = on(&disk.crashed(|| false)).unwrap();
    assert_eq!((len(&after, log(1, 0)), len(&after, log(2, 0))), (3, 1));
}

#[test]
fn an_empty_durable_commit_makes_all_before_it_durable() {
    let disk = SimulatedDisk::new();
    let mut store = on(&disk).unwrap();
    store.commit(&ops(log(1, 0), 0..9), Eventual).unwrap();
    store.commit(&[], Immediate).unwrap();
    assert_eq!(len(&on(&disk.crashed(|| false)).unwrap(), log(1, 0)), 9);
}

#[test]
fn a_power_cut_loses_a_bounded_amount() {
    let disk = SimulatedDisk::new();
    let mut store = on(&disk).unwrap();
    let (big, mut written): (std::sync::Arc<[u8]>, u64) = (vec![7; 50_000].into(), 0);
    for seq in 0..200 {
        let row = Write::Op { log: log(1, 0), seq, id: id(log(1, 0), seq, 0), bytes: big.clone() };
        store.commit(&[row], Eventual).unwrap();
        written += big.len() as u64;
        if seq % 20 == 0 {
            let kept = on(&disk.crashed(|| false)).unwrap().stats().bytes;
            assert!(written - kept <= UNSYNCED_BYTES_MAX, "{kept} of {written} bytes");
        }
    }
    let kept = on(&disk.crashed(|| false)).unwrap().stats().bytes;
    assert!(kept > 0 && kept < written, "{kept} of {written} bytes");
}

#[test]
fn an_orderly_end_makes_everything_durable() {
    let disk = SimulatedDisk::new();
    let mut store = on(&disk).unwrap();
    store.commit(&ops(log(1, 0), 0..9), Eventual).unwrap();
    drop(store);
    assert_eq!(len(&on(&disk.crashed(|| false)).unwrap(), log(1, 0)), 9);
}

// Failing disks

/// Fails every call that changes the disk from the n-th on, for every n that a commit reaches.
fn fail_everywhere(kind: ErrorKind, fits: impl Fn(&StoreError) -> bool) {
    let mut succeeded = false;
    for calls in 0..200 {
        let disk = SimulatedDisk::new();
        let mut store = on(&disk).unwrap();
        store.commit(&ops(log(1, 0), 0..50), Immediate).unwrap();
        disk.fail_after(calls, kind);
        // Larger than the file, so that it grows.
        let big = Write::Op { log: log(2, 0), seq: 0, id: id(log(2, 0), 0, 0), bytes: vec![7; 5 << 20].into() };
        let outcome = store.commit(&[big], Immediate);
        if outcome.is_ok() {
            succeeded = true;
            break;
        }
        let first = outcome.unwrap_err();
        assert!(fits(&first), "{calls} calls: {first}");
        disk.heal();
        assert_eq!(store.commit(&ops(log(1, 0), 50..51), Immediate), Err(first.clone()), "{calls} calls");
        assert_eq!(store.range(log(1, 0), 0, 9, 9), Err(first.clone()));
        assert_eq!(store.range(log(1, 0), 9, 0, 9), Err(first.clone()));
        assert_eq!(store.op(&id(log(1, 0), 0, 0)), Err(first.clone()));
        assert_eq!(store.logs(), Err(first.clone()));
        assert_eq!(store.proofs(), Err(first.clone()));
        assert_eq!(store.meta("a"), Err(first.clone()));
        assert_eq!(store.stats().ops, 50);
        drop(store);
        let mut store = on(&disk.crashed(|| true)).unwrap();
        assert_eq!(len(&store, log(1, 0)), 50, "{calls} calls");
        store.commit(&ops(log(1, 0), 50..51), Immediate).unwrap();
    }
    assert!(succeeded, "the commit never got through: the loop did not try every call");
}

#[test]
fn a_full_disk_is_named_and_nothing_durable_is_lost() {
    fail_everywhere(ErrorKind::StorageFull, |e| matches!(e, StoreError::Full { .. }));
}

#[test]
fn a_disk_gone_read_only_is_named() {
    fail_everywhere(ErrorKind::ReadOnlyFilesystem, |e| matches!(e, StoreError::ReadOnly { .. }));
}

#[test]
fn a_broken_disk_is_named() {
    fail_everywhere(ErrorKind::Other, |e| matches!(e, StoreError::Io { .. }));
}

#[test]
fn a_full_disk_refuses_a_new_store() {
    let mut opened = false;
    for calls in 0..50 {
        let disk = SimulatedDisk::new();
        disk.fail_after(calls, ErrorKind::StorageFull);
        match on(&disk) {
            Ok(_) => opened = true,
            Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{calls} calls: {error}"),
        }
    }
    assert!(opened);
}

// Rot

/// Flips a bit in each place where the disk holds this text.
fn rot(disk: &SimulatedDisk, text: &[u8]) -> usize {
    let mut places = 0;
    disk.tamper(|content| {
        let found: Vec<_> =
            content.windows(text.len()).enumerate().filter(|(_, w)| *w == text).map(|(at, _)| at).collect();
        places = found.len();
        found.into_iter().for_each(|at| content[at + text.len() - 1] ^= 0x10);
    });
    places
}

/// A store, closed in order, with ten operations and one of each other row; written once, so that each row is on disk once.
fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut store = on(&disk).unwrap();
    let others = [
        quarantine(log(3, 0), 4),
        proof(4, "the proof of a fork"),
        meta("watermark", "the last price"),
        meta("b", "1"),
    ];
    store.commit(&[&ops(log(1, 0), 0..10)[..], &others].concat(), Immediate).unwrap();
    drop(store);
    disk
}

#[test]
fn a_rotten_operation_ends_its_range_is_counted_once_and_can_be_written_again() {
    let (disk, log) = (filled(), log(1, 0));
    assert!(rot(&disk, &bytes(log, 6, 0)) > 0);
    let mut store = on(&disk).unwrap();
    for _ in 0..3 {
        assert_eq!(store.range(log, 0, 10, usize::MAX).unwrap(), expected(log, 0..6));
        assert_eq!(store.range(log, 6, 10, usize::MAX).unwrap(), expected(log, 0..0));
        assert_eq!(store.range(log, 7, 10, usize::MAX).unwrap(), expected(log, 7..10));
        assert_eq!(store.op(&id(log, 6, 0)).unwrap(), None);
        assert_eq!(store.logs().unwrap(), [(log, 10)]);
        assert_eq!(store.stats().rotten_rows, 1);
    }
    let before = store.stats();
    store.commit(&[op(log, 6)], Immediate).unwrap();
    assert_eq!((store.stats().ops, store.stats().bytes), (before.ops, before.bytes));
    assert_eq!(store.range(log, 0, 10, usize::MAX).unwrap(), expected(log, 0..10));
    assert_eq!(store.op(&id(log, 6, 0)).unwrap(), Some(bytes(log, 6, 0)));
}

/// A node that starts reads the log up to the rotten row. If its author forked, another operation may be admitted there before
/// the old one is fetched again: the log goes on with it, or the node could never start again.
#[test]
fn behind_a_rotten_operation_a_log_may_go_on_differently() {
    let (disk, log) = (filled(), log(1, 0));
    assert!(rot(&disk, &bytes(log, 6, 0)) > 0);
    let mut store = on(&disk).unwrap();
    let size = |range: std::ops::Range<u64>| range.map(|seq| bytes(log, seq, 0).len() as u64).sum::<u64>();
    let before = store.stats();
    assert_eq!(store.commit(&[variant(log, 5, 1)], Immediate), Err(StoreError::Conflict { log, seq: 5 }), "intact");
    assert_eq!(store.commit(&[variant(log, 7, 1)], Immediate), Err(StoreError::Conflict { log, seq: 7 }), "intact");
    store.commit(&[variant(log, 6, 1), variant(log, 7, 1)], Immediate).unwrap();
    for store in [store, on(&disk.crashed(|| false)).unwrap()] {
        assert_eq!(store.logs().unwrap(), [(log, 8)]);
        let held = [expected(log, 0..6), vec![bytes(log, 6, 1), bytes(log, 7, 1)]].concat();
        assert_eq!(store.range(log, 0, 10, usize::MAX).unwrap(), held);
        assert_eq!(store.op(&id(log, 7, 1)).unwrap(), Some(bytes(log, 7, 1)));
        for gone in 6..10 {
            assert_eq!(store.op(&id(log, gone, 0)).unwrap(), None, "{gone} is found no more");
        }
        assert_eq!(store.stats().ops, 8);
        assert_eq!(store.stats().bytes, before.bytes - size(6..10) + size(6..8));
        assert_eq!(
            store.range(concurrence_crdt::LogKey { index: 1, ..log }, 0, 9, usize::MAX).unwrap(),
            expected(log, 0..0)
        );
    }
}

#[test]
fn a_rotten_index_row_hides_its_operation_until_it_is_written_again() {
    let (disk, log) = (filled(), log(1, 0));
    // The value in the index is the key of the operation's row; flip its last byte behind the id's checksum.
    let mut key = id(log, 6, 0).as_bytes().to_vec();
    let mut places = 0;
    disk.tamper(|content| {
        key.clear();
        key.extend_from_slice(log.author.as_bytes());
        key.push(0);
        key.extend_from_slice(&6_u64.to_be_bytes());
        let found: Vec<_> = content.windows(41).enumerate().filter(|(_, w)| *w == key).map(|(at, _)| at).collect();
        // The later table was written to a later or an earlier page: flip each in a copy and keep the one that hides the id.
        for at in found {
            let mut copy = content.clone();
            copy[at + 40] ^= 1;
            let tampered = SimulatedDisk::new();
            tampered.tamper(|other| other.clone_from(&copy));
            let hides = on(&tampered).is_ok_and(|s| {
                s.op(&id(log, 6, 0)).is_ok_and(|op| op.is_none())
                    && s.range(log, 0, 10, usize::MAX).is_ok_and(|ops| ops == expected(log, 0..10))
            });
            if hides {
                *content = copy;
                places += 1;
                break;
            }
        }
    });
    assert_eq!(places, 1);
    let mut store = on(&disk).unwrap();
    assert_eq!(store.op(&id(log, 6, 0)).unwrap(), None);
    assert_eq!(store.stats().rotten_rows, 1);
    assert_eq!(store.commit(&[variant(log, 6, 1)], Immediate), Err(StoreError::Conflict { log, seq: 6 }));
    store.commit(&[op(log, 6)], Immediate).unwrap();
    assert_eq!(store.op(&id(log, 6, 0)).unwrap(), Some(bytes(log, 6, 0)));
}

#[test]
fn other_rotten_rows() {
    let disk = filled();
    assert!(rot(&disk, &bytes(log(3, 0), 4, 0)) > 0);
    assert!(rot(&disk, b"the proof of a fork") > 0);
    assert!(rot(&disk, b"the last price") > 0);
    let mut store = on(&disk).unwrap();
    assert_eq!(store.op(&id(log(3, 0), 4, 0)).unwrap(), None);
    assert_eq!(store.proofs().unwrap(), expected(log(1, 0), 0..0));
    let error = store.meta("watermark").unwrap_err();
    assert_eq!(error, StoreError::RottenMeta { key: "watermark".to_owned() });
    assert_eq!(store.stats().rotten_rows, 3);
    assert_eq!(store.meta("b").unwrap(), Some(b"1".to_vec()), "one rotten row does not end the store");
    let again = [quarantine(log(3, 0), 4), proof(4, "the proof of a fork"), meta("watermark", "the last price")];
    let before = store.stats();
    store.commit(&again, Immediate).unwrap();
    assert_eq!((store.stats().quarantined, store.stats().bytes), (before.quarantined, before.bytes));
    assert_eq!(store.op(&id(log(3, 0), 4, 0)).unwrap(), Some(bytes(log(3, 0), 4, 0)));
    assert_eq!(store.proofs().unwrap(), [b"the proof of a fork"[..].into()]);
    assert_eq!(store.meta("watermark").unwrap(), Some(b"the last price".to_vec()));
}

/// How many damaged disks are tried: a second's worth, or as many as asked for.
fn damage_seeds() -> u64 {
    std::env::var("DAMAGE_SEEDS").map_or(400, |seeds| seeds.parse().unwrap())
}

#[test]
fn random_damage_gives_errors_and_never_wrong_bytes() {
    // The two leave the pages in different places. In the second, damage has led the count of logs in a circle.
    for durability in [Immediate, Eventual] {
        let whole = SimulatedDisk::new();
        let mut store = on(&whole).unwrap();
        for seq in (0..300).step_by(30) {
            store.commit(&ops(log(1, 0), seq..seq + 30), durability).unwrap();
        }
        drop(store);
        damage(&whole);
    }
}

fn damage(whole: &SimulatedDisk) {
    let (mut refused, mut served) = (0, 0);
    for seed in 1..=damage_seeds() {
        let mut dice = Dice(seed);
        let disk = whole.crashed(|| true);
        disk.tamper(|content| {
            // Within the pages in use: the rest of a new file is empty.
            let used = content.iter().rposition(|b| *b != 0).unwrap() as u64;
            for _ in 0..1 + dice.below(20) {
                let at = usize::try_from(dice.below(used)).unwrap();
                match dice.below(3) {
                    0 => content[at] ^= 1 << dice.below(8),
                    1 => content[at] = 0xff,
                    _ => {
                        let sector = at / SECTOR_LEN * SECTOR_LEN;
                        content[sector..sector + SECTOR_LEN].fill(0);
                    }
                }
            }
        });
        let Ok(mut store) = on(&disk) else {
            refused += 1;
            continue;
        };
        if let Ok(read) = store.range(log(1, 0), 0, 300, usize::MAX) {
            assert_eq!(read, expected(log(1, 0), 0..read.len() as u64), "seed {seed}");
            served += 1;
        }
        for seq in 0..300 {
            if let Ok(Some(read)) = store.op(&id(log(1, 0), seq, 0)) {
                assert_eq!(read, bytes(log(1, 0), seq, 0), "seed {seed}");
            }
        }
        let _ = store.commit(&ops(log(1, 0), 290..310), Immediate);
        let _ = store.proofs();
        drop(store);
    }
    assert!(refused > 0 && served > 0, "{refused} refused, {served} served");
}

#[test]
fn a_store_made_anew_in_the_same_place_has_another_id() {
    let dir = tempfile::tempdir().unwrap();
    let old = RedbStore::open(dir.path()).unwrap().id();
    fs::remove_file(file_in(dir.path())).unwrap();
    assert_ne!(RedbStore::open(dir.path()).unwrap().id(), old);
    assert_ne!(old, StoreId::from_bytes([0; 16]));
}
