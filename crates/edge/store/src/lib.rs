//! Where a node keeps operations: one [`Store`] trait, in memory and in a redb file, and the [`Sidecar`] beside the key
//! that lets a node prove to itself that it still knows the end of its own log.
//!
//! A store knows bytes, positions and ids; it never decodes an operation. It trusts its caller for the pairing of an id with
//! a position and refuses what no correct replica does: a gap, or a second operation at a position.

mod error;
mod lock;
mod memory;
mod redb_store;
mod redb_write;
mod row;
mod serve;
mod sidecar;
mod simulated_disk;

use std::{fmt, sync::Arc};

use concurrence_crdt::{LogKey, OpId};
use concurrence_protocol::Write;

pub use error::StoreError;
pub use lock::{KeyLock, LockError};
pub use memory::MemoryStore;
pub use redb::StorageBackend;
pub use redb_store::{CACHE_BYTES, FORMAT_VERSION, ROTTEN_ROWS_MAX, RedbStore, UNSYNCED_BYTES_MAX};
pub use serve::{GROUP_WRITES_MAX, serve, serve_all};
pub use sidecar::{OwnLog, READ_AT_ONCE, Reason, SIDECAR_LEN, Sidecar, SidecarError, own_lens, start_state};
pub use simulated_disk::{SECTOR_LEN, SimulatedDisk};

/// Keeps what a replica asked to be kept. One owner at a time; calls are executed in the order they are made.
///
/// After an error of the disk ([`StoreError::is_fatal`]) every later call fails with that first error.
pub trait Store: Send {
    /// Made of random bytes when the store was created; tells a store from its restored or emptied successor.
    fn id(&self) -> StoreId;

    /// Writes all rows or none, in order.
    ///
    /// An operation must stand at the end of its log. One that is held already changes nothing (unless its row rotted: then
    /// it is written anew); another one at a held position is a [`StoreError::Conflict`] (unless the row there rotted: then the
    /// log is cut there and goes on with it), one past the end a [`StoreError::Gap`]. A [`Write::Certified`] one is never in conflict: the log
    /// is cut there and goes on with it. Of several proofs against one author the first is kept, of several facts of one key the last. A commit without rows and with [`Durability::Immediate`] makes everything before it durable.
    fn commit(&mut self, writes: &[Write], durability: Durability) -> Result<(), StoreError>;

    /// The encoded operations of a log from position `from` to before `until`, without gaps, stopping before `bytes_max` is
    /// exceeded, but with at least one operation if there is one. A row that rotted ends them.
    fn range(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Arc<[u8]>>, StoreError>;

    /// One encoded operation, admitted or quarantined; `None` if it is not held or its row rotted.
    fn op(&self, id: &OpId) -> Result<Option<Arc<[u8]>>, StoreError>;

    /// Every log that holds an operation, ascending, with its length.
    fn logs(&self) -> Result<Vec<(LogKey, u64)>, StoreError>;

    /// All fork proofs, by author ascending. One that rotted is left out: peers have it too.
    fn proofs(&self) -> Result<Vec<Arc<[u8]>>, StoreError>;

    /// All facts, by key ascending. One that rotted is left out, since peers have it too; but an own vote that rotted is an error: nobody
    /// else is sure to have it.
    fn facts(&self) -> Result<Vec<Arc<[u8]>>, StoreError>;

    /// A value the node wrote with [`Write::Meta`]. One that rotted is an error: nobody else has it.
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Counts, for metrics.
    fn stats(&self) -> StoreStats;
}

/// Names a store for its whole life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId([u8; 16]);

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It may be lost in a power cut, together with everything committed after it. For operations of others, which can be
    /// fetched again.
    Eventual,
    /// It and all commits before it survive a power cut once the call returns.
    Immediate,
}

/// Counts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Admitted operations.
    pub ops: u64,
    /// Quarantined operations.
    pub quarantined: u64,
    /// Encoded bytes of admitted and quarantined operations.
    pub bytes: u64,
    /// Size of the file in bytes; 0 for a store without one.
    pub file_bytes: u64,
    /// Distinct rows whose checksum did not match when they were read, since the store was opened; counted up to
    /// [`ROTTEN_ROWS_MAX`].
    pub rotten_rows: u64,
}

impl StoreId {
    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A new one, from the operating system's randomness.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::NoRandomness { reason: e.to_string() })?;
        Ok(Self(bytes))
    }
}

/// Lower-case hex, whole.
impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The first four bytes: enough to follow in a log.
impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
