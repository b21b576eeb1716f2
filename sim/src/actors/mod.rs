//! Byzantine actors that speak the real wire format. Each is a number and a name, stands between an honest engine and its peers,
//! and counts what it did, so that a scenario can tell that its attack took place. (One that merely reports a wrong price needs
//! no actor: its market does.)
//!
//! Behind every actor a real engine greets, publishes and syncs, so that peers really listen to it. What is done in its name and
//! comes back from peers is kept from the engine: it would stop, since another process seems to use its key.

mod attacks;
mod claims;
mod conduct;
mod equivocator;
mod forgers;
mod forkers;
mod kinds;
mod voters;

use std::collections::BTreeSet;

use concurrence_crdt::{Digest, Header, History, LogKey, NetworkId, Op, OpId, Reader, SigningKey, Time};
use concurrence_oracle::{Attestation, BatchDraft, Domain, KIND_PRICE_BATCH, PriceBatch, Registry, Slot, sign};
use concurrence_protocol::{Frame, Now};

use crate::{dice::Dice, node::Keys};

pub use equivocator::Equivocator;
pub use kinds::ActorKind;

/// A liar between an engine and its peers. Everything has a default: to pass on what the engine says and is told.
pub trait Actor {
    /// What a peer is sent instead of a frame of the engine. A broadcast is given once for each peer, and first once for
    /// [`NOBODY`].
    fn outbound(&mut self, _: &mut Scene<'_>, _to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        vec![frame.to_vec()]
    }

    /// What the engine is given of a peer's frame; `None` for nothing. Unless an actor says otherwise all of it, but what would
    /// tell the engine of operations that it did not write.
    fn inbound(&mut self, scene: &mut Scene<'_>, _from: usize, frame: &[u8]) -> Option<Vec<u8>> {
        scene.without_own(frame)
    }

    /// Frames of its own, and to whom; asked for every [`TICK_MS`].
    fn tick(&mut self, _: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        Vec::new()
    }

    /// How often it has done what it is for.
    fn injected(&self) -> u64;
}

/// What an actor sees.
pub struct Scene<'a> {
    /// Its keys: with them it signs what it likes.
    pub(crate) keys: &'a Keys,
    pub(crate) registry: &'a Registry,
    pub(crate) now: Now,
    /// Nodes it is connected with.
    pub(crate) peers: &'a [usize],
    /// Those that get the second story, where there are two.
    pub(crate) victims: &'a BTreeSet<usize>,
    /// Other nodes with an actor of the same kind: whom it colludes with.
    pub(crate) fellows: &'a BTreeSet<usize>,
    /// What the engine behind it has admitted.
    pub(crate) history: &'a History,
    pub(crate) dice: &'a mut Dice,
}

/// How often actors may say something of their own, in milliseconds.
pub const TICK_MS: u64 = 1_000;

/// How long an actor that floods does so without a pause, in milliseconds: several bans of a member.
const LOUD_MS: u64 = 30_000;

/// How often it begins anew, in milliseconds: twice in a drawn run of ten minutes.
const LOUD_EVERY_MS: u64 = 360_000;

/// Peers that are flooded at a time. When they have banned it, the next ones are.
const LOUD_PEERS_MAX: usize = 4;

/// The receiver that stands for a broadcast as such.
pub const NOBODY: usize = usize::MAX;

/// A kind of operation that nobody knows: stored and relayed, and no view reads it.
pub(crate) const UNKNOWN_KIND: u16 = 999;

/// Logs of an author that the engine behind an actor does not use as long as its first one takes operations.
const SPARE_LOGS: [u8; 3] = [1, 2, 3];

impl Scene<'_> {
    fn network(&self) -> NetworkId {
        self.registry.network_id()
    }

    fn log(&self, index: u8) -> LogKey {
        LogKey { author: self.keys.author_key(), index }
    }

    /// A header of this actor's key at any position, as only a Byzantine node makes it.
    fn header(&self, (log, seq, prev): (u8, u64, OpId), declared: Time, kind: u16) -> Header {
        header(self.registry, (self.log(log), seq, prev), declared, kind)
    }

    /// An operation under any header.
    fn op(&self, position: (u8, u64, OpId), declared: Time, kind: u16, payload: &[u8]) -> Op {
        Op::sign(self.header(position, declared, kind), payload, &self.keys.author)
    }

    /// The payload of a price operation with any attestations, signed as an oracle does.
    fn batch(&self, declared: Time, attestations: Vec<Attestation>) -> Option<Vec<u8>> {
        let (epoch, _) = self.registry.newest();
        let draft = BatchDraft::new(Slot::of(declared), Digest::from_bytes([0; 32]), attestations).ok()?;
        let digests = draft.digests(&Domain::of(&self.network()), epoch);
        let signatures = digests.iter().map(|digest| sign(digest, &self.keys.evm)).collect();
        Some(draft.signed(signatures).ok()?.encode())
    }

    /// The operation in a frame of a single one, whoever wrote it.
    fn op_in(&self, frame: &[u8]) -> Option<Op> {
        let Ok(Frame::Op(bytes)) = Frame::decode(frame) else { return None };
        Op::decode(&bytes, self.network()).ok()
    }

    /// The operation that the engine behind this actor broadcasts.
    fn own_op(&self, frame: &[u8]) -> Option<Op> {
        self.op_in(frame).filter(|op| op.header().log.author == self.keys.author_key())
    }

    /// The same frames for every peer.
    fn to_all(&self, frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
        self.peers.iter().flat_map(|&peer| frames.iter().map(move |frame| (peer, frame.clone()))).collect()
    }

    /// The same frames for some peers, while this actor is loud: what floods the simulated network floods the simulator too.
    fn to_some(&self, frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
        if self.now.mono_ms % LOUD_EVERY_MS >= LOUD_MS {
            return Vec::new();
        }
        let peers = self.peers.iter().take(LOUD_PEERS_MAX);
        peers.flat_map(|&peer| frames.iter().map(move |frame| (peer, frame.clone()))).collect()
    }

    /// A frame without operations of this actor's author and proofs against it.
    fn without_own(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (own, network) = (self.keys.author_key(), self.network());
        // A proof names its author in its first header, as an operation does.
        let is_own = |bytes: &[u8]| {
            let header = Header::read(&mut Reader::new(bytes), network);
            header.is_ok_and(|header| header.log.author == own)
        };
        match Frame::decode(frame) {
            Ok(Frame::Op(bytes)) if is_own(&bytes) => None,
            Ok(Frame::Proof(bytes)) if is_own(&bytes) => None,
            Ok(Frame::Delta(mut delta)) if delta.ops.iter().any(|op| is_own(op)) || !delta.proofs.is_empty() => {
                delta.ops.retain(|bytes| !is_own(bytes));
                delta.proofs.retain(|bytes| !is_own(bytes));
                Some(Frame::Delta(delta).encode())
            }
            _ => Some(frame.to_vec()),
        }
    }
}

/// A chain in a spare log of an actor, which the engine behind it knows nothing of.
struct Branch {
    log: u8,
    ops: Vec<Op>,
}

impl Branch {
    const fn new(log: u8) -> Self {
        Self { log, ops: Vec::new() }
    }

    /// The next position, and what stands before it.
    fn end(&self) -> (u8, u64, OpId) {
        (self.log, self.ops.len() as u64, self.ops.last().map_or(OpId::ZERO, Op::id))
    }

    /// Signs one more operation.
    fn grow(&mut self, scene: &Scene<'_>, declared: Time, kind: u16, payload: &[u8]) -> &Op {
        self.ops.push(scene.op(self.end(), declared, kind, payload));
        &self.ops[self.ops.len() - 1]
    }

    /// A chain of many operations that are valid together: as few in each minute as the quota allows, the last one declared at
    /// `last`.
    fn grow_to(&mut self, scene: &Scene<'_>, len: u64, last: Time) {
        for seq in 0..len {
            let before_ms = (len - 1 - seq) / OPS_A_MINUTE * concurrence_crdt::BUCKET_MS;
            let declared = Time::from_ms(last.ms().saturating_sub(before_ms));
            self.grow(scene, declared, UNKNOWN_KIND, &seq.to_be_bytes());
        }
    }
}

/// Operations of a forged chain in one minute: less than the quota.
const OPS_A_MINUTE: u64 = 200;

/// The attestations in a price operation; none in any other.
fn attestations_of(op: &Op) -> Vec<Attestation> {
    let batch = PriceBatch::decode(op.payload()).ok().filter(|_| op.header().kind == KIND_PRICE_BATCH);
    batch.map_or_else(Vec::new, |batch| batch.attestations().to_vec())
}

/// A frame of one operation.
fn op_frame(op: &Op) -> Vec<u8> {
    Frame::Op(op.bytes().clone()).encode()
}

fn header(registry: &Registry, (log, seq, prev): (LogKey, u64, OpId), declared: Time, kind: u16) -> Header {
    let (epoch, _) = registry.newest();
    let (network, payload_hash) = (registry.network_id(), Digest::from_bytes([0; 32]));
    Header { network, log, seq, prev, epoch, declared, kind, payload_len: 0, payload_hash, refs: Vec::new() }
}

/// A signed operation with whatever header is wanted.
pub(crate) fn forged(
    key: &SigningKey,
    registry: &Registry,
    position: (LogKey, u64, OpId),
    declared: Time,
    kind: u16,
    payload: &[u8],
) -> Op {
    Op::sign(header(registry, position, declared, kind), payload, key)
}
