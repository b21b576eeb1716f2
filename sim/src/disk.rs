//! A node's disk: the production store on a simulated one that loses, tears, fills up, fails and rots, and the sidecar beside
//! the key.

use std::io::ErrorKind;

use concurrence_crdt::{AuthorKey, LOGS_MAX, OpId};
use concurrence_protocol::{StoreReply, StoreRequest};
use concurrence_store::{Durability, RedbStore, Sidecar, SimulatedDisk, Store, StoreError, StoreId, serve_all};

use crate::dice::Dice;

/// A disk, and the store that a running process has open on it.
pub(crate) struct Disk {
    platter: SimulatedDisk,
    store: Option<RedbStore>,
    id: StoreId,
    /// `None` until the first own operation. Replaced as a whole and durably, as the production one is.
    pub(crate) sidecar: Option<Sidecar>,
}

/// A copy of a disk that was put aside.
pub(crate) struct Backup {
    platter: SimulatedDisk,
    id: StoreId,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL: what was written stays, synced or not.
    Kill,
    /// The power goes: of what was not synced a random part of the sectors survives, each whole or not at all.
    PowerCut,
}

impl Disk {
    pub(crate) fn new(id: StoreId) -> Self {
        Self { platter: SimulatedDisk::new(), store: None, id, sidecar: None }
    }

    /// Opens the store, which is repaired first if it was not closed in order.
    pub(crate) fn open(&mut self) -> Result<&RedbStore, StoreError> {
        let store = RedbStore::with_backend(self.platter.clone(), self.id)?;
        Ok(self.store.insert(store))
    }

    pub(crate) fn store(&self) -> Option<&RedbStore> {
        self.store.as_ref()
    }

    /// Serves requests as the production driver does: together, in order.
    pub(crate) fn serve(&mut self, requests: Vec<StoreRequest>) -> Result<Vec<StoreReply>, StoreError> {
        match &mut self.store {
            Some(store) => serve_all(store, requests),
            None => Ok(Vec::new()),
        }
    }

    /// Replaces the sidecar. It is durable itself from now on.
    pub(crate) fn save_sidecar(&mut self, author: AuthorKey, next: [u64; LOGS_MAX as usize]) {
        self.sidecar = Some(Sidecar { store: self.id, author, next });
    }

    /// The process is gone, and what it had not synced may be.
    pub(crate) fn end(&mut self, how: End, dice: &mut Dice) {
        let survived = self.platter.crashed(|| how == End::Kill || dice.chance(500));
        // Closing writes to the disk as it was, which nobody sees any more.
        self.store = None;
        self.platter = survived;
    }

    /// Closes the store in order and opens it again: reads reach the disk from now on.
    pub(crate) fn reopen(&mut self) -> Result<&RedbStore, StoreError> {
        self.store = None;
        self.open()
    }

    /// The disk as a SIGKILL would leave it once everything is written, opened anew.
    pub(crate) fn reopened(&mut self) -> Result<RedbStore, StoreError> {
        if let Some(store) = &mut self.store {
            store.commit(&[], Durability::Immediate)?;
        }
        RedbStore::with_backend(self.platter.crashed(|| true), self.id)
    }

    /// STORE-1: whether the sidecar says that an own operation was written.
    pub(crate) fn notes(&self, log: u8, seq: u64) -> bool {
        let noted = self.sidecar.and_then(|sidecar| sidecar.next.get(usize::from(log)).copied());
        noted.is_some_and(|next| seq < next)
    }

    /// STORE-1: whether an operation would be there after a power cut now that loses all that is not synced.
    pub(crate) fn survives(&self, id: OpId) -> bool {
        let survived = RedbStore::with_backend(self.platter.crashed(|| false), self.id);
        survived.is_ok_and(|store| store.op(&id).is_ok_and(|op| op.is_some()))
    }

    /// So many more calls that write or sync succeed, and none after.
    pub(crate) fn fail_after(&self, calls: u64, kind: ErrorKind) {
        self.platter.fail_after(calls, kind);
    }

    pub(crate) fn heal(&self) {
        self.platter.heal();
    }

    /// Flips a bit somewhere in these bytes, if they are on the disk. Returns whether they are.
    pub(crate) fn rot(&self, stored: &[u8], dice: &mut Dice) -> bool {
        let found = self.platter.find(stored);
        found.inspect(|at| self.platter.flip(at + dice.below(stored.len()))).is_some()
    }

    pub(crate) fn backup(&self) -> Backup {
        Backup { platter: self.platter.crashed(|| true), id: self.id }
    }

    /// Puts back what the store held when the backup was taken. The sidecar stays, as it does beside a key.
    pub(crate) fn restore_backup(&mut self, backup: &Backup) {
        (self.store, self.platter, self.id) = (None, backup.platter.crashed(|| true), backup.id);
    }

    /// A new disk in the place of a broken one. The sidecar stays: it names a store that is gone.
    pub(crate) fn replace(&mut self, id: StoreId) {
        (self.store, self.platter, self.id) = (None, SimulatedDisk::new(), id);
    }
}
