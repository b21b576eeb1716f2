//! Group commits into a redb file: the store as a node's loop uses it, beside redb alone.

use std::{error::Error, path::Path, time::Instant};

use concurrence_crdt::Op;
use concurrence_protocol::{StoreRequest, Token, Write};
use concurrence_store::{CACHE_BYTES, Durability, RedbStore, Store, UNSYNCED_BYTES_MAX, serve_all};
use redb::{Database, TableDefinition};

use crate::{
    cpu::{Pair, spent},
    material::Cast,
    report::{Row, Spread},
};

/// Authors whose operations are stored.
const AUTHORS: usize = 100;

/// Operations of one group while a node follows: the inputs its loop takes before it carries out what they asked for.
const FOLLOWING: usize = 256;

/// Operations of one group while it catches up: an answer of half a MiB, one request an operation.
const CATCHING_UP: usize = 1_700;

/// author, log, position, as the store's own keys.
const OPS: TableDefinition<'static, &'static [u8; 41], &'static [u8]> = TableDefinition::new("ops");
/// id to the key above.
const BY_ID: TableDefinition<'static, &'static [u8; 32], &'static [u8]> = TableDefinition::new("by_id");

/// What is written to redb alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Raw {
    /// The rows that the store writes: operation and index, with room for a checksum in each.
    SameRows,
    /// The operations alone, found by position only.
    OpsAlone,
}

/// Three rows: following and catching up beside the same rows, and catching up beside the operations alone.
pub(crate) fn group_commits(count: usize, rounds: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut writers = Cast::of(AUTHORS).writers();
    let gossiped: Vec<_> = (0..count).map(|at| writers[at % AUTHORS].plain()).collect();
    let mut fetched = gossiped.clone();
    fetched.sort_by_key(|op| (op.header().log, op.header().seq));
    let same = "raw: rows of the same bytes in two tables, in as many transactions and fsyncs";
    Ok(vec![
        row("store in redb, following", &gossiped, FOLLOWING, Raw::SameRows, rounds)?.aiming_at_ratio(0.7).noting(same),
        row("store in redb, catching up", &fetched, CATCHING_UP, Raw::SameRows, rounds)?
            .aiming_at_ratio(0.7)
            .noting(same),
        row("catching up beside a table without index", &fetched, CATCHING_UP, Raw::OpsAlone, rounds)?
            .noting("raw: one table, operations by position only"),
    ])
}

fn row(name: &str, ops: &[Op], group: usize, raw: Raw, rounds: usize) -> Result<Row, Box<dyn Error>> {
    let (mut pairs, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let dir = tempfile::tempdir()?;
        let (ours, our_wall) = store(&dir.path().join("ours"), ops, group)?;
        let (raw, raw_wall) = write_raw(&dir.path().join("raw.redb"), ops, group, raw)?;
        pairs.push(Pair { ours, raw });
        walls.push(raw_wall / our_wall);
    }
    let name = format!("{name}, {} k ops by {group}", ops.len() / 1_000);
    let wall = Spread::of(walls.into_iter()).median;
    Ok(Row::rates(name, &pairs, ops.len(), "ops/s").noting(format!("ratio by the wall clock {wall:.2}")))
}

/// Processor time, and seconds by the wall clock.
type Times = (std::time::Duration, f64);

/// The store's way: one request an operation, a group of them served at once, all durable at the end.
fn store(dir: &Path, ops: &[Op], group: usize) -> Result<Times, Box<dyn Error>> {
    let mut store = RedbStore::open(dir)?;
    let groups: Vec<Vec<StoreRequest>> = ops.chunks(group).map(|ops| ops.iter().map(request).collect()).collect();
    let started = Instant::now();
    let (stored, time) = spent(|| {
        for requests in groups {
            serve_all(&mut store, requests)?;
        }
        store.commit(&[], Durability::Immediate)
    });
    let wall = started.elapsed().as_secs_f64();
    stored?;
    assert_eq!(store.stats().ops, ops.len() as u64, "every operation must be stored");
    Ok((time, wall))
}

/// What a replica asks when a foreign operation was admitted.
fn request(op: &Op) -> StoreRequest {
    let (log, seq) = (op.header().log, op.header().seq);
    let writes = vec![Write::Op { log, seq, id: op.id(), bytes: op.bytes().clone() }];
    StoreRequest::Commit { token: Token(seq), writes, durable: false }
}

fn write_raw(path: &Path, ops: &[Op], group: usize, raw: Raw) -> Result<Times, Box<dyn Error>> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let rows: Vec<_> = ops.iter().map(|op| (key(op), *op.id().as_bytes(), with_checksum(op.bytes()))).collect();
    let started = Instant::now();
    let (written, time) = spent(|| write_groups(&database, &rows, group, raw));
    let wall = started.elapsed().as_secs_f64();
    written?;
    Ok((time, wall))
}

/// Key, id and row of an operation.
type RawRow = ([u8; 41], [u8; 32], Vec<u8>);

/// Waits for the disk just as often as the store does.
fn write_groups(database: &Database, rows: &[RawRow], group: usize, raw: Raw) -> Result<(), redb::Error> {
    let mut unsynced = 0;
    for rows in rows.chunks(group) {
        let size: u64 = rows.iter().map(|(_, _, row)| (row.len() - CHECKSUM_LEN) as u64).sum();
        let wait = unsynced + size > UNSYNCED_BYTES_MAX;
        unsynced = if wait { 0 } else { unsynced + size };
        let mut txn = database.begin_write()?;
        txn.set_durability(if wait { redb::Durability::Immediate } else { redb::Durability::None })?;
        {
            let (mut ops, mut by_id) = (txn.open_table(OPS)?, txn.open_table(BY_ID)?);
            for (key, id, row) in rows {
                ops.insert(key, row.as_slice())?;
                if raw == Raw::SameRows {
                    by_id.insert(id, with_checksum(key).as_slice())?;
                }
            }
        }
        txn.commit()?;
    }
    database.begin_write()?.commit()?; // durable, as redb's commits are unless told otherwise
    Ok(())
}

/// Bytes of the checksum that the store puts before every value.
const CHECKSUM_LEN: usize = 8;

fn with_checksum(value: &[u8]) -> Vec<u8> {
    [&[0; CHECKSUM_LEN], value].concat()
}

fn key(op: &Op) -> [u8; 41] {
    let log = op.header().log;
    let mut key = [0; 41];
    key[..32].copy_from_slice(log.author.as_bytes());
    key[32] = log.index;
    key[33..].copy_from_slice(&op.header().seq.to_be_bytes());
    key
}
