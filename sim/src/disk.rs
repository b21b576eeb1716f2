//! A node's simulated disk: what the production store would hold, and what of it a power cut leaves.

use std::sync::Arc;

use concurrence_crdt::{AuthorKey, LOGS_MAX, LogKey, OpId};
use concurrence_protocol::{StoreReply, StoreRequest, Write};
use concurrence_store::{Durability, MemoryStore, Sidecar, Store, StoreError, StoreId, StoreStats, serve_all};

use crate::dice::Dice;

/// A store and the sidecar beside the key. Commits that were not made durable are lost from the end in a crash.
#[derive(Clone)]
pub(crate) struct Disk {
    live: MemoryStore,
    durable: MemoryStore,
    /// Commits since the last durable one, in order.
    unsynced: Vec<Vec<Write>>,
    /// `None` until the first own operation.
    pub(crate) sidecar: Option<Sidecar>,
}

impl Disk {
    pub(crate) fn new(id: StoreId) -> Self {
        let store = MemoryStore::new(id);
        Self { live: store.clone(), durable: store, unsynced: Vec::new(), sidecar: None }
    }

    /// Serves requests as the production driver does: together, in order.
    pub(crate) fn serve(&mut self, requests: Vec<StoreRequest>) -> Result<Vec<StoreReply>, StoreError> {
        serve_all(self, requests)
    }

    /// Notes how far our own logs are durable. It is durable itself from now on.
    pub(crate) fn record_own(&mut self, own: AuthorKey, next: [u64; LOGS_MAX as usize]) {
        let store = self.live.id();
        let sidecar = self.sidecar.get_or_insert(Sidecar { store, author: own, next });
        for (kept, new) in sidecar.next.iter_mut().zip(next) {
            *kept = (*kept).max(new);
        }
    }

    /// The power goes: of what was not durable the first so many commits survive.
    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        let survive = dice.below(self.unsynced.len() + 1);
        for writes in self.unsynced.drain(..).take(survive) {
            // Each was committed to the live store in this order: it fits.
            self.durable.commit(&writes, Durability::Immediate).unwrap_or(());
        }
        self.live = self.durable.clone();
    }

    /// Lengths of an author's logs.
    pub(crate) fn lens(&self, author: AuthorKey) -> [u64; LOGS_MAX as usize] {
        let mut lens = [0; LOGS_MAX as usize];
        for (log, len) in self.live.logs().unwrap_or_default() {
            if let Some(slot) = lens.get_mut(usize::from(log.index)).filter(|_| log.author == author) {
                *slot = len;
            }
        }
        lens
    }

    /// Puts back what the store held when `backup` was taken. The sidecar stays, as it does beside a key.
    pub(crate) fn restore_backup(&mut self, backup: &Self) {
        (self.live, self.durable, self.unsynced) = (backup.live.clone(), backup.live.clone(), Vec::new());
    }
}

impl Store for Disk {
    fn id(&self) -> StoreId {
        self.live.id()
    }

    fn commit(&mut self, writes: &[Write], durability: Durability) -> Result<(), StoreError> {
        self.live.commit(writes, durability)?;
        self.unsynced.push(writes.to_vec());
        if durability == Durability::Immediate {
            for writes in self.unsynced.drain(..) {
                self.durable.commit(&writes, durability)?;
            }
        }
        Ok(())
    }

    fn range(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.live.range(log, from, until, bytes_max)
    }

    fn op(&self, id: &OpId) -> Result<Option<Arc<[u8]>>, StoreError> {
        self.live.op(id)
    }

    fn logs(&self) -> Result<Vec<(LogKey, u64)>, StoreError> {
        self.live.logs()
    }

    fn proofs(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.live.proofs()
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.live.meta(key)
    }

    fn stats(&self) -> StoreStats {
        self.live.stats()
    }
}
