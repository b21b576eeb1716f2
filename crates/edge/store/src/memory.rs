//! A store that forgets everything when it is dropped: for tests and simulations.

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{AuthorKey, LogKey, OpId};
use concurrence_protocol::{FactKey, Write};

use crate::{Durability, Store, StoreError, StoreId, StoreStats};

/// Keeps everything in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    id: StoreId,
    logs: BTreeMap<LogKey, Vec<Row>>,
    by_id: BTreeMap<OpId, Arc<[u8]>>,
    quarantine: BTreeMap<OpId, Arc<[u8]>>,
    proofs: BTreeMap<AuthorKey, Arc<[u8]>>,
    facts: BTreeMap<[u8; FactKey::LEN], Arc<[u8]>>,
    meta: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

/// An admitted operation: id and encoded bytes.
type Row = (OpId, Arc<[u8]>);

impl MemoryStore {
    /// An empty store with a given id.
    pub const fn new(id: StoreId) -> Self {
        Self {
            id,
            logs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            proofs: BTreeMap::new(),
            facts: BTreeMap::new(),
            meta: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Refuses the whole batch if any of its operations does not fit, before anything is changed.
    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut after: BTreeMap<LogKey, (usize, Vec<OpId>)> = BTreeMap::new();
        for write in writes {
            let (Write::Op { log, seq, id, .. } | Write::Certified { log, seq, id, .. }) = write else { continue };
            let held = self.logs.get(log).map_or(&[][..], Vec::as_slice);
            // How many of the held rows would stay, and what would stand behind them.
            let (kept, new) = after.entry(*log).or_insert((held.len(), Vec::new()));
            let (at, len) = (usize::try_from(*seq).unwrap_or(usize::MAX), *kept + new.len());
            let there = if at < *kept { held.get(at).map(|(id, _)| id) } else { new.get(at - *kept) };
            match there {
                Some(same) if same == id => {}
                Some(_) if matches!(write, Write::Certified { .. }) => {
                    new.truncate(at.saturating_sub(*kept));
                    *kept = at.min(*kept);
                    new.push(*id);
                }
                Some(_) => return Err(StoreError::Conflict { log: *log, seq: *seq }),
                None if at == len => new.push(*id),
                None => return Err(StoreError::Gap { log: *log, seq: *seq, len: len as u64 }),
            }
        }
        Ok(())
    }

    /// Drops what stands in a log from a position on, if that is not this operation.
    fn cut_unless(&mut self, log: LogKey, seq: u64, id: &OpId) {
        let Some(rows) = self.logs.get_mut(&log) else { return };
        let at = usize::try_from(seq).unwrap_or(usize::MAX);
        if rows.get(at).is_some_and(|(held, _)| held != id) {
            for (id, bytes) in rows.drain(at..) {
                self.by_id.remove(&id);
                self.bytes -= bytes.len() as u64;
            }
        }
    }

    /// Applies a row that [`check`](Self::check) let pass.
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Certified { log, seq, id, bytes } => {
                self.cut_unless(*log, *seq, id);
                self.apply(&Write::Op { log: *log, seq: *seq, id: *id, bytes: bytes.clone() });
            }
            Write::Fact { key, bytes } => drop(self.facts.insert(key.encode(), bytes.clone())),
            Write::Op { log, id, bytes, .. } => {
                if self.by_id.contains_key(id) {
                    return;
                }
                let freed = self.quarantine.remove(id).map_or(0, |b| b.len() as u64);
                self.bytes = self.bytes - freed + bytes.len() as u64;
                self.by_id.insert(*id, bytes.clone());
                self.logs.entry(*log).or_default().push((*id, bytes.clone()));
            }
            Write::Quarantine { id, bytes, .. } => {
                if !self.by_id.contains_key(id) && !self.quarantine.contains_key(id) {
                    self.bytes += bytes.len() as u64;
                    self.quarantine.insert(*id, bytes.clone());
                }
            }
            Write::Proof { author, bytes } => {
                self.proofs.entry(*author).or_insert_with(|| bytes.clone());
            }
            Write::Meta { key, value } => {
                self.meta.insert((*key).to_owned(), value.clone());
            }
        }
    }
}

impl Store for MemoryStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn commit(&mut self, writes: &[Write], _: Durability) -> Result<(), StoreError> {
        self.check(writes)?;
        writes.iter().for_each(|write| self.apply(write));
        Ok(())
    }

    fn range(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Arc<[u8]>>, StoreError> {
        let held = self.logs.get(&log).map_or(&[][..], Vec::as_slice);
        let position = |seq: u64| usize::try_from(seq).map_or(held.len(), |at| at.min(held.len()));
        let wanted = held.get(position(from)..position(until)).unwrap_or_default();
        let mut taken = 0_usize;
        let fits = |(_, bytes): &&Row| {
            let first = taken == 0;
            taken = taken.saturating_add(bytes.len());
            first || taken <= bytes_max
        };
        Ok(wanted.iter().take_while(fits).map(|(_, bytes)| bytes.clone()).collect())
    }

    fn op(&self, id: &OpId) -> Result<Option<Arc<[u8]>>, StoreError> {
        Ok(self.by_id.get(id).or_else(|| self.quarantine.get(id)).cloned())
    }

    fn logs(&self) -> Result<Vec<(LogKey, u64)>, StoreError> {
        Ok(self.logs.iter().map(|(&log, ops)| (log, ops.len() as u64)).collect())
    }

    fn proofs(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        Ok(self.proofs.values().cloned().collect())
    }

    fn facts(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        Ok(self.facts.values().cloned().collect())
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.meta.get(key).cloned())
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            ops: self.by_id.len() as u64,
            quarantined: self.quarantine.len() as u64,
            bytes: self.bytes,
            file_bytes: 0,
            rotten_rows: 0,
        }
    }
}
