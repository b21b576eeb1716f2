//! Gossip messages that await a verdict, and who handed them to us.

use std::collections::{BTreeMap, VecDeque};

use libp2p::PeerId;

use crate::event::MessageId;

/// Bounded: the oldest is forgotten first.
pub(crate) struct Verdicts {
    sources: BTreeMap<MessageId, PeerId>,
    /// The order in which they came.
    order: VecDeque<MessageId>,
    pending_max: usize,
}

impl Verdicts {
    pub(crate) fn new(pending_max: usize) -> Self {
        Self { sources: BTreeMap::new(), order: VecDeque::new(), pending_max }
    }

    pub(crate) fn remember(&mut self, id: MessageId, source: PeerId) {
        if self.sources.insert(id, source).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > self.pending_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.sources.remove(&oldest);
        }
    }

    pub(crate) fn source(&self, id: &MessageId) -> Option<PeerId> {
        self.sources.get(id).copied()
    }
}
