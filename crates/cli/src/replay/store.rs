//! What the replayed nodes keep: operations in memory, each once for all nodes that hold it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use concurrence_crdt::{LogKey, OpId};
use concurrence_protocol::{StoreReply, StoreRequest, Write};

/// The bytes of every operation that any node holds: seven nodes hold the same ones.
#[derive(Default)]
pub(super) struct Shelf(HashMap<OpId, Arc<[u8]>>);

/// One node's store. Nothing here restarts, so proofs and named values are not kept.
#[derive(Default)]
pub(super) struct Store {
    logs: BTreeMap<LogKey, Vec<Row>>,
    quarantine: BTreeMap<OpId, Arc<[u8]>>,
}

/// An admitted operation: id and encoded bytes.
type Row = (OpId, Arc<[u8]>);

impl Shelf {
    fn place(&mut self, id: OpId, bytes: Arc<[u8]>) -> Arc<[u8]> {
        Arc::clone(self.0.entry(id).or_insert(bytes))
    }
}

impl Store {
    /// Executes a request. The replica that asks never leaves a gap.
    pub(super) fn serve(&mut self, shelf: &mut Shelf, request: StoreRequest) -> StoreReply {
        match request {
            StoreRequest::Commit { token, writes, .. } => {
                for write in writes {
                    self.write(shelf, write);
                }
                StoreReply::Committed(token)
            }
            StoreRequest::Load { token, log, from, until, bytes_max } => {
                StoreReply::Loaded(token, self.range(log, from, until, bytes_max))
            }
            StoreRequest::Find { token, id } => StoreReply::Found(token, self.op(&id)),
        }
    }

    fn write(&mut self, shelf: &mut Shelf, write: Write) {
        match write {
            Write::Op { log, id, bytes, .. } => self.logs.entry(log).or_default().push((id, shelf.place(id, bytes))),
            Write::Quarantine { id, bytes, .. } => {
                self.quarantine.insert(id, shelf.place(id, bytes));
            }
            Write::Certified { log, seq, id, bytes } => {
                let rows = self.logs.entry(log).or_default();
                let at = usize::try_from(seq).unwrap_or(usize::MAX);
                if rows.get(at).is_none_or(|(held, _)| *held != id) {
                    rows.truncate(at);
                    rows.push((id, shelf.place(id, bytes)));
                }
            }
            Write::Proof { .. } | Write::Fact { .. } | Write::Meta { .. } => {}
        }
    }

    fn range(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Vec<Arc<[u8]>> {
        let held = self.logs.get(&log).map_or(&[][..], Vec::as_slice);
        let place = |seq: u64| usize::try_from(seq).map_or(held.len(), |at| at.min(held.len()));
        let mut left = bytes_max;
        let mut taken = Vec::new();
        for (_, bytes) in held.get(place(from)..place(until)).unwrap_or_default() {
            if bytes.len() > left && !taken.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes.len());
            taken.push(Arc::clone(bytes));
        }
        taken
    }

    fn op(&self, id: &OpId) -> Option<Arc<[u8]>> {
        // Nodes hardly ever ask for single operations: no index is worth its memory.
        let admitted = || self.logs.values().flatten().find(|(held, _)| held == id).map(|(_, bytes)| bytes);
        self.quarantine.get(id).or_else(admitted).cloned()
    }
}
