//! The rest of the twelve attacks that a known JSON CRDT for Byzantine networks fails: statements, encodings, and queues that grow.

use concurrence_crdt::{Op, OpId};
use concurrence_oracle::{Attestation, KIND_PRICE_BATCH};

use super::{
    Actor, Branch, NOBODY, SPARE_LOGS, Scene, UNKNOWN_KIND, attestations_of, equivocator::other_price, op_frame,
};

/// A03: for each statement in its first log another one about the same feeds in the same slot in its second: no fork, for they stand in
/// different logs. In the original the first that arrived won, and replicas differed for ever. Here a cell with two statements is a
/// conflict for good, in any order; it counts as none, and is a finding.
pub(super) struct TwoStatements {
    second: Branch,
    /// Frames that are to be sent.
    due: Vec<Vec<u8>>,
    injected: u64,
}

impl Default for TwoStatements {
    fn default() -> Self {
        Self { second: Branch::new(SPARE_LOGS[0]), due: Vec::new(), injected: 0 }
    }
}

impl Actor for TwoStatements {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        if let Some(op) = scene.own_op(frame).filter(|_| to == NOBODY) {
            let declared = op.header().declared;
            let others: Vec<Attestation> = attestations_of(&op).iter().filter_map(other_price).collect();
            let payload = scene.batch(declared, others);
            self.due
                .extend(payload.map(|payload| op_frame(self.second.grow(scene, declared, KIND_PRICE_BATCH, &payload))));
        }
        vec![frame.to_vec()]
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let due = std::mem::take(&mut self.due);
        self.injected += due.len() as u64;
        scene.to_all(&due)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A05: price operations in good order whose payload lacks its last byte, or all but its slot. In the original one such message ended
/// every replica. Here a payload never decides whether an operation is valid: no view reads it, and it is a finding.
pub(super) struct MissingField {
    branch: Branch,
    payload: Vec<u8>,
    injected: u64,
}

impl Default for MissingField {
    fn default() -> Self {
        Self { branch: Branch::new(SPARE_LOGS[0]), payload: Vec::new(), injected: 0 }
    }
}

/// Bytes of the slot, the first field of a price batch.
const SLOT_LEN: usize = 8;

impl Actor for MissingField {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        self.payload =
            scene.own_op(frame).map_or_else(|| std::mem::take(&mut self.payload), |op| op.payload().to_vec());
        vec![frame.to_vec()]
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.payload.is_empty() {
            return Vec::new();
        }
        let len = if self.injected.is_multiple_of(2) { self.payload.len() - 1 } else { SLOT_LEN };
        let frame = op_frame(self.branch.grow(scene, scene.now.wall, KIND_PRICE_BATCH, &self.payload[..len]));
        self.injected += 1;
        scene.to_all(&[frame])
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A06: a chain of ten thousand valid operations, delivered from its end to its beginning. In the original each waited for the one before
/// it, and the first one recursed through all of them until the stack overflowed. Here so many of an author wait as fit its share, the rest
/// is dropped, and a loop takes up what waited.
pub(super) struct ReversedChain {
    chain: Branch,
    sent: usize,
    injected: u64,
}

/// Operations of the chain.
const CHAIN_LEN: u64 = 10_000;

/// Of them to one peer a tick.
const SENT_AT_ONCE: usize = 1_000;

impl Default for ReversedChain {
    fn default() -> Self {
        Self { chain: Branch::new(SPARE_LOGS[0]), sent: 0, injected: 0 }
    }
}

impl Actor for ReversedChain {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        // One peer after another gets all of it, and who banned it is left out meanwhile.
        let Some(&peer) = scene.peers.first() else { return Vec::new() };
        if self.chain.ops.is_empty() {
            self.chain.grow_to(scene, CHAIN_LEN, scene.now.wall);
        }
        let reversed = self.chain.ops.iter().rev().skip(self.sent).take(SENT_AT_ONCE);
        let told: Vec<_> = reversed.map(|op| (peer, op_frame(op))).collect();
        self.sent += told.len();
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A07: the same batch in other encodings, signed as operations in good order: its feeds in another order, a group cut in two, a byte
/// behind it. In the original one value had several ids. Here there is one form of everything: another one is no batch, and a finding.
pub(super) struct OtherEncoding {
    branch: Branch,
    batch: Vec<u8>,
    feeds: usize,
    injected: u64,
}

impl Default for OtherEncoding {
    fn default() -> Self {
        Self { branch: Branch::new(SPARE_LOGS[0]), batch: Vec::new(), feeds: 0, injected: 0 }
    }
}

/// Where the first group's feeds begin: behind slot, hash of legs, count of groups, count of feeds.
const FEEDS_AT: usize = SLOT_LEN + 32 + 2;

/// Bytes of a feed with its exponent.
const FEED_LEN: usize = 22;

impl Actor for OtherEncoding {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        if let Some(op) = scene.own_op(frame) {
            (self.batch, self.feeds) = (op.payload().to_vec(), attestations_of(&op).len());
        }
        vec![frame.to_vec()]
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.feeds == 0 {
            return Vec::new();
        }
        let encoded = other_encoding(&self.batch, self.feeds, self.injected);
        let frame = op_frame(self.branch.grow(scene, scene.now.wall, KIND_PRICE_BATCH, &encoded));
        self.injected += 1;
        scene.to_all(&[frame])
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// One of the other encodings of a batch of so many feeds.
fn other_encoding(batch: &[u8], feeds: usize, which: u64) -> Vec<u8> {
    let mut encoded = batch.to_vec();
    match which % 3 {
        0 if feeds >= 2 => {
            // The first two feeds change places.
            let (first, second) = encoded[FEEDS_AT..FEEDS_AT + 2 * FEED_LEN].split_at_mut(FEED_LEN);
            first.swap_with_slice(second);
        }
        // A count of groups that is not the least one.
        1 => encoded[FEEDS_AT - 2] += 1,
        _ => encoded.push(0),
    }
    encoded
}

/// A09: fills a log's quota of a minute, and signs one more operation, which is invalid for all, and others behind it. In the original an
/// operation that depended on an invalid one was valid. Here nothing is admitted but what follows directly on what is.
pub(super) struct InvalidParent {
    chain: Branch,
    injected: u64,
}

/// Operations behind the one that is over quota.
const DEPENDENTS: u64 = 10;

impl Default for InvalidParent {
    fn default() -> Self {
        Self { chain: Branch::new(SPARE_LOGS[0]), injected: 0 }
    }
}

impl Actor for InvalidParent {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.chain.ops.is_empty() {
            let quota = u64::from(concurrence_crdt::OPS_PER_BUCKET_MAX);
            for seq in 0..=quota + DEPENDENTS {
                self.chain.grow(scene, scene.now.wall, UNKNOWN_KIND, &seq.to_be_bytes());
            }
            self.injected += DEPENDENTS;
            let frames: Vec<_> = self.chain.ops.iter().map(op_frame).collect();
            return scene.to_all(&frames);
        }
        // And the last ones again, the invalid one among them.
        let last = self.chain.ops.len() - usize::try_from(DEPENDENTS).unwrap_or(0) - 1;
        let frames: Vec<_> = self.chain.ops[last..].iter().map(op_frame).collect();
        let told = scene.to_some(&frames);
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A10: twenty thousand operations whose predecessors nobody has. In the original all of them were queued for ever. Here an author's share
/// of what waits is bounded, signature checks in vain are budgeted, and who goes on is banned.
#[derive(Default)]
pub(super) struct Orphans {
    injected: u64,
}

/// Operations without predecessors, all in all.
const ORPHANS: u64 = 20_000;

/// Of them to one peer a tick.
const ORPHANS_AT_ONCE: u64 = 2_000;

impl Actor for Orphans {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let Some(&peer) = scene.peers.first().filter(|_| self.injected < ORPHANS) else { return Vec::new() };
        let orphan = |n: u64| {
            let missing = OpId::from_bytes(scene.dice.bytes32());
            let position = (SPARE_LOGS[0], 1 + self.injected + n, missing);
            (peer, op_frame(&scene.op(position, scene.now.wall, UNKNOWN_KIND, b"orphan")))
        };
        let told: Vec<_> = (0..ORPHANS_AT_ONCE).map(orphan).collect();
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A11: an operation that everyone has, five hundred times a tick. In the original each copy cost a signature check. Here an id that is held
/// is refused before its signature is looked at, and frames in vain are budgeted.
#[derive(Default)]
pub(super) struct DuplicateStorm {
    last: Option<Op>,
    injected: u64,
}

/// Copies to each peer a tick: more than twice what a peer may send in vain.
const COPIES: usize = 500;

impl Actor for DuplicateStorm {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        self.last = scene.own_op(frame).or_else(|| self.last.take());
        vec![frame.to_vec()]
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let Some(op) = &self.last else { return Vec::new() };
        let told = scene.to_some(&vec![op_frame(op); COPIES]);
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

#[cfg(test)]
mod tests {
    use concurrence_crdt::{Digest, NetworkId, Time};
    use concurrence_oracle::{BatchDraft, Domain, PriceBatch, Slot, sign};

    use super::*;

    #[test]
    fn other_encodings_are_none() {
        let evm = k256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
        for feeds in [&["BTC/USD", "ETH/USD"][..], &["BTC/USD"][..]] {
            let stated =
                feeds.iter().map(|name| Attestation::new(name.parse().unwrap(), (5_000, -2), 1, 7, false).unwrap());
            let slot = Slot::of(Time::from_ms(1_000_000));
            let draft = BatchDraft::new(slot, Digest::from_bytes([0; 32]), stated.collect()).unwrap();
            let domain = Domain::of(&NetworkId::from_bytes([7; 32]));
            let signatures = draft.digests(&domain, 0).iter().map(|digest| sign(digest, &evm)).collect();
            let batch = draft.signed(signatures).unwrap().encode();
            assert!(PriceBatch::decode(&batch).is_ok());
            for which in 0..3 {
                let other = other_encoding(&batch, feeds.len(), which);
                assert!(other != batch && PriceBatch::decode(&other).is_err(), "{which} of {feeds:?}");
            }
        }
    }
}
