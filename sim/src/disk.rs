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

    /// Replaces the sidecar. It is durable itself from now on.
    pub(crate) fn save_sidecar(&mut self, author: AuthorKey, next: [u64; LOGS_MAX as usize]) {
        self.sidecar = Some(Sidecar { store: self.live.id(), author, next });
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

    /// STORE-1: whether an own operation would survive a power cut now, and the sidecar says so.
    pub(crate) fn covers(&self, log: u8, seq: u64, id: OpId) -> bool {
        let noted = self.sidecar.and_then(|sidecar| sidecar.next.get(usize::from(log)).copied());
        noted.is_some_and(|next| seq < next) && self.durable.op(&id).is_ok_and(|op| op.is_some())
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
