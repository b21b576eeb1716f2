//! Byzantine actors that speak the real wire format. Each is a number and a name, stands between an honest engine and its peers,
//! and counts what it did, so that a scenario can tell that its attack took place. (One that merely reports a wrong price needs
//! no actor: its market does.)

mod equivocator;
mod scripted;

use std::collections::BTreeSet;

use concurrence_crdt::{Digest, Header, History, LogKey, Op, OpId, Time};
use concurrence_oracle::Registry;
use concurrence_protocol::Now;

use crate::{dice::Dice, node::Keys};

pub use equivocator::Equivocator;
use scripted::Scripted;

/// A liar between an engine and its peers. Everything has a default: to pass on what the engine says and is told.
pub trait Actor {
    /// What a peer is sent instead of a frame of the engine. A broadcast is given once for each peer, and first once for
    /// [`NOBODY`].
    fn outbound(&mut self, _: &mut Scene<'_>, _to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        vec![frame.to_vec()]
    }

    /// What the engine is given of a peer's frame; `None` for nothing.
    fn inbound(&mut self, _: &mut Scene<'_>, _from: usize, frame: &[u8]) -> Option<Vec<u8>> {
        Some(frame.to_vec())
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
    /// Its node.
    pub(crate) me: usize,
    /// Its keys: with them it signs what it likes.
    pub(crate) keys: &'a Keys,
    pub(crate) registry: &'a Registry,
    pub(crate) now: Now,
    /// Nodes it is connected with.
    pub(crate) peers: &'a [usize],
    /// Those that get the second story, where there are two.
    pub(crate) victims: &'a BTreeSet<usize>,
    /// What the engine behind it has admitted.
    pub(crate) history: &'a History,
    pub(crate) dice: &'a mut Dice,
}

/// How often actors may say something of their own, in milliseconds.
pub const TICK_MS: u64 = 1_000;

/// The receiver that stands for a broadcast as such.
pub const NOBODY: usize = usize::MAX;

/// All actors. Numbers and attacks are listed in `docs/invariants.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorKind {
    /// B1: signs different histories for different peers.
    Equivocator,
    /// B2: tells its operations to half of the others only.
    Withholder,
    /// B3: writes far more in a minute than its quota.
    Flooder,
    /// B4: declares the time an hour ahead.
    FutureDater,
    /// B5: declares ever earlier minutes along one log.
    PastDater,
    /// B6: writes operations whose predecessors never were.
    GhostRefs,
    /// B7: claims logs a million long, and a digest that nobody has.
    LyingFrontier,
    /// B8: repeats what it heard long ago.
    StaleReplayer,
    /// B9: never answers.
    SlowLoris,
    /// B10: asks for everything, again and again.
    Amplifier,
    /// B11: hands on what it heard with a bit flipped.
    Corrupter,
    /// B12: is no member, and signs with new keys without end.
    SybilJoiner,
    /// B13: uses the greatest numbers there are as positions and times.
    Overflower,
    /// B14: writes price operations that carry no batch.
    BadPayload,
    /// B15: writes in the name of others with its own key.
    Forger,
}

impl ActorKind {
    /// Every actor.
    pub const ALL: &'static [Self] = &[
        Self::Equivocator,
        Self::Withholder,
        Self::Flooder,
        Self::FutureDater,
        Self::PastDater,
        Self::GhostRefs,
        Self::LyingFrontier,
        Self::StaleReplayer,
        Self::SlowLoris,
        Self::Amplifier,
        Self::Corrupter,
        Self::SybilJoiner,
        Self::Overflower,
        Self::BadPayload,
        Self::Forger,
    ];

    /// Its number and name, as scenario files write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equivocator => "b01-equivocator",
            Self::Withholder => "b02-withholder",
            Self::Flooder => "b03-flooder",
            Self::FutureDater => "b04-future-dater",
            Self::PastDater => "b05-past-dater",
            Self::GhostRefs => "b06-ghost-refs",
            Self::LyingFrontier => "b07-lying-frontier",
            Self::StaleReplayer => "b08-stale-replayer",
            Self::SlowLoris => "b09-slow-loris",
            Self::Amplifier => "b10-amplifier",
            Self::Corrupter => "b11-corrupter",
            Self::SybilJoiner => "b12-sybil-joiner",
            Self::Overflower => "b13-overflower",
            Self::BadPayload => "b14-bad-payload",
            Self::Forger => "b15-forger",
        }
    }

    /// Whether its node is no member: its keys are in no registry.
    pub const fn is_stranger(self) -> bool {
        matches!(self, Self::SybilJoiner)
    }

    /// An actor at its start.
    pub(crate) fn made(self, keys: &Keys, registry: &Registry) -> Box<dyn Actor> {
        match self {
            Self::Equivocator => Box::new(Equivocator::new(keys.author, keys.evm.clone(), registry.clone())),
            other => Box::new(Scripted::new(other)),
        }
    }
}

impl Scene<'_> {
    /// An operation of this actor's key at any position, as only a Byzantine node makes it.
    pub(crate) fn op(&self, (log, seq, prev): (u8, u64, OpId), declared: Time, kind: u16, payload: &[u8]) -> Op {
        let log = LogKey { author: self.keys.author_key(), index: log };
        forged(&self.keys.author, self.registry, (log, seq, prev), declared, kind, payload)
    }
}

/// A signed operation with whatever header is wanted.
pub(crate) fn forged(
    key: &concurrence_crdt::SigningKey,
    registry: &Registry,
    (log, seq, prev): (LogKey, u64, OpId),
    declared: Time,
    kind: u16,
    payload: &[u8],
) -> Op {
    let (epoch, _) = registry.newest();
    let (network, payload_hash) = (registry.network_id(), Digest::from_bytes([0; 32]));
    let header =
        Header { network, log, seq, prev, epoch, declared, kind, payload_len: 0, payload_hash, refs: Vec::new() };
    Op::sign(header, payload, key)
}
