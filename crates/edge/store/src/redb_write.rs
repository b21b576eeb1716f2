//! One write transaction on a redb file: the rules of [`Store::commit`](crate::Store::commit), row by row.

use std::collections::BTreeMap;

use concurrence_crdt::{LogKey, OpId};
use concurrence_protocol::{FactKey, Write};
use redb::{ReadableTable, Table as RedbTable, WriteTransaction};

use crate::{
    StoreError,
    row::{
        ABOUT, BY_ID, BYTES, CHECKSUM_LEN, FACTS, META, OPS, OpKey, PROOFS, QUARANTINE, Table, op_key, seal, unseal,
    },
};

/// The tables of a transaction.
pub(crate) struct Rows<'a> {
    held: &'a Counts,
    changes: Changes,
    ops: RedbTable<'a, &'static OpKey, &'static [u8]>,
    by_id: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    quarantine: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    proofs: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    facts: RedbTable<'a, &'static [u8; FactKey::LEN], &'static [u8]>,
    meta: RedbTable<'a, &'static str, &'static [u8]>,
    about: RedbTable<'a, &'static str, &'static [u8]>,
}

/// What a store keeps in memory of its rows.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Lengths of all logs: at most four for each member of the registry.
    pub(crate) lens: BTreeMap<LogKey, u64>,
    /// Quarantined operations.
    pub(crate) quarantined: u64,
    /// Encoded bytes of all operations.
    pub(crate) bytes: u64,
}

/// What a transaction changes in [`Counts`]: the new values, to be taken over when it has committed.
pub(crate) struct Changes {
    lens: BTreeMap<LogKey, u64>,
    quarantined: u64,
    bytes: u64,
}

/// Why something inside a call went wrong.
pub(crate) enum Fault {
    /// The request does not fit; nothing was changed.
    Refused(StoreError),
    /// redb, or the disk under it, failed.
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl<'a> Rows<'a> {
    /// Opens the tables, over what is held already.
    pub(crate) fn open(txn: &'a WriteTransaction, held: &'a Counts) -> Result<Self, Fault> {
        Ok(Self {
            held,
            changes: Changes { lens: BTreeMap::new(), bytes: held.bytes, quarantined: held.quarantined },
            ops: txn.open_table(OPS)?,
            by_id: txn.open_table(BY_ID)?,
            quarantine: txn.open_table(QUARANTINE)?,
            proofs: txn.open_table(PROOFS)?,
            facts: txn.open_table(FACTS)?,
            meta: txn.open_table(META)?,
            about: txn.open_table(ABOUT)?,
        })
    }

    /// Writes a row, or refuses it.
    pub(crate) fn write(&mut self, write: &Write) -> Result<(), Fault> {
        match write {
            Write::Op { log, seq, id, bytes } => self.append(*log, *seq, id, bytes),
            Write::Certified { log, seq, id, bytes } => match self.append(*log, *seq, id, bytes) {
                Err(Fault::Refused(StoreError::Conflict { .. })) => {
                    self.cut(*log, *seq)?;
                    self.append(*log, *seq, id, bytes)
                }
                done => done,
            },
            Write::Fact { key, bytes } => {
                let key = key.encode();
                self.facts.insert(&key, seal(Table::Facts, &key, &[bytes]).as_slice())?;
                Ok(())
            }
            Write::Quarantine { author, id, bytes } => {
                let held = self.quarantine.get(id.as_bytes())?;
                let held = held.is_some_and(|row| unseal(Table::Quarantine, id.as_bytes(), row.value()).is_some());
                if !held && self.by_id.get(id.as_bytes())?.is_none() {
                    let row = seal(Table::Quarantine, id.as_bytes(), &[author.as_bytes(), bytes]);
                    let old = self.quarantine.insert(id.as_bytes(), row.as_slice())?;
                    self.changes.uncount(old.map(|row| row.value().len()));
                    self.changes.quarantined += 1;
                    self.changes.bytes = self.changes.bytes.saturating_add(bytes.len() as u64);
                }
                Ok(())
            }
            Write::Proof { author, bytes } => {
                let author = author.as_bytes();
                let held = self.proofs.get(author)?;
                if held.is_none_or(|row| unseal(Table::Proofs, author, row.value()).is_none()) {
                    self.proofs.insert(author, seal(Table::Proofs, author, &[bytes]).as_slice())?;
                }
                Ok(())
            }
            Write::Meta { key, value } => {
                self.meta.insert(key, seal(Table::Meta, key.as_bytes(), &[value]).as_slice())?;
                Ok(())
            }
        }
    }

    fn append(&mut self, log: LogKey, seq: u64, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        let len = self.changes.lens.get(&log).or(self.held.lens.get(&log)).copied().unwrap_or(0);
        if seq > len {
            return Err(Fault::Refused(StoreError::Gap { log, seq, len }));
        }
        let key = op_key(log, seq);
        if seq < len {
            return self.again(log, seq, &key, id, bytes);
        }
        self.put(&key, id, bytes)?;
        let old = self.quarantine.remove(id.as_bytes())?;
        self.changes.uncount(old.map(|row| row.value().len()));
        self.changes.bytes = self.changes.bytes.saturating_add(bytes.len() as u64);
        self.changes.lens.insert(log, seq.saturating_add(1));
        Ok(())
    }

    /// An operation at a position that is held: nothing to do if it is the same. Of the two rows of an operation either may have
    /// rotted; the other one tells whether it is the same, and both are written anew. If it is another one, and the held one
    /// rotted, the log was readable up to here and has gone on differently since: it is cut here and goes on with this one.
    fn again(&mut self, log: LogKey, seq: u64, key: &OpKey, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        let index = self.by_id.get(id.as_bytes())?;
        let same_id = index.is_some_and(|row| unseal(Table::ById, id.as_bytes(), row.value()) == Some(key));
        let held = self.ops.get(key)?;
        let op = held.as_ref().and_then(|row| unseal(Table::Ops, key, row.value()));
        let (intact, same_bytes) = (op.is_some(), op == Some(bytes));
        drop(held);
        match (same_id, intact, same_bytes) {
            (true, true, _) => Ok(()),
            (true, false, _) | (false, _, true) => self.put(key, id, bytes),
            (false, true, false) => Err(Fault::Refused(StoreError::Conflict { log, seq })),
            (false, false, false) => {
                self.cut(log, seq)?;
                self.append(log, seq, id, bytes)
            }
        }
    }

    /// Drops what stands in a log from a position on. Rows do not say their operations' ids, so the whole index is looked
    /// through: a price paid once for a row that rotted.
    fn cut(&mut self, log: LogKey, seq: u64) -> Result<(), Fault> {
        let (from, last) = (op_key(log, seq), op_key(log, u64::MAX));
        let mut dropped = 0;
        self.ops.retain_in::<&OpKey, _>(&from..=&last, |_, row| {
            dropped += row.len().saturating_sub(CHECKSUM_LEN) as u64;
            false
        })?;
        self.by_id.retain(|id, row| {
            unseal(Table::ById, id, row).is_none_or(|key| key < from.as_slice() || key > last.as_slice())
        })?;
        self.changes.bytes = self.changes.bytes.saturating_sub(dropped);
        self.changes.lens.insert(log, seq);
        Ok(())
    }

    fn put(&mut self, key: &OpKey, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        self.ops.insert(key, seal(Table::Ops, key, &[bytes]).as_slice())?;
        self.by_id.insert(id.as_bytes(), seal(Table::ById, id.as_bytes(), &[key]).as_slice())?;
        Ok(())
    }

    /// Closes the tables, before the commit.
    pub(crate) fn close(mut self) -> Result<Changes, Fault> {
        if self.changes.bytes != self.held.bytes {
            put_about(&mut self.about, BYTES, &self.changes.bytes.to_be_bytes())?;
        }
        Ok(self.changes)
    }
}

impl Counts {
    /// Takes over what a commit changed.
    pub(crate) fn apply(&mut self, changes: Changes) {
        self.lens.extend(changes.lens);
        (self.bytes, self.quarantined) = (changes.bytes, changes.quarantined);
    }
}

impl Changes {
    /// Takes a quarantined row of this length, author and checksum included, out of the counts.
    fn uncount(&mut self, row_len: Option<usize>) {
        if let Some(len) = row_len {
            self.quarantined = self.quarantined.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(len.saturating_sub(QUARANTINE_OVERHEAD) as u64);
        }
    }
}

/// Bytes of a quarantined row beside the operation: checksum and author.
const QUARANTINE_OVERHEAD: usize = CHECKSUM_LEN + 32;

/// Writes a value of the store's own.
pub(crate) fn put_about(
    about: &mut RedbTable<'_, &'static str, &'static [u8]>,
    name: &str,
    value: &[u8],
) -> Result<(), redb::StorageError> {
    about.insert(name, seal(Table::About, name.as_bytes(), &[value]).as_slice()).map(drop)
}

/// The file is not what we write.
pub(crate) fn corrupt(reason: impl Into<String>) -> Fault {
    Fault::Redb(redb::Error::Corrupted(reason.into()))
}
