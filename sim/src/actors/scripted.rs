//! B2 to B15: actors that pass on what their engine says and hears, and do one bad thing beside it, every tick.

use std::collections::VecDeque;

use concurrence_crdt::{AuthorKey, Entry, Frontier, LogKey, Op, OpId, SigningKey, Time};
use concurrence_oracle::KIND_PRICE_BATCH;
use concurrence_protocol::Frame;

use super::{Actor, ActorKind, Scene, forged};

/// An actor of one kind.
pub(crate) struct Scripted {
    kind: ActorKind,
    injected: u64,
    /// Frames heard of others, the oldest first: what stale replayers and corrupters work with.
    heard: VecDeque<Vec<u8>>,
    /// Where its second log has come to.
    next: (u64, OpId),
}

/// Frames remembered.
const HEARD_MAX: usize = 200;

/// Frames of one kind that are sent to a peer in a tick.
const BURST: u64 = 20;

/// The second log of an author is the actor's own: its engine writes the first.
const OWN_LOG: u8 = 1;

/// A kind of operation that nobody knows.
const UNKNOWN_KIND: u16 = 998;

const HOUR_MS: u64 = 3_600_000;

impl Scripted {
    pub(crate) const fn new(kind: ActorKind) -> Self {
        Self { kind, injected: 0, heard: VecDeque::new(), next: (0, OpId::ZERO) }
    }

    /// The next operation of its own log, declared at some instant.
    fn append(&mut self, scene: &Scene<'_>, declared: Time, kind: u16, payload: &[u8]) -> Frame {
        let (seq, prev) = self.next;
        let op = scene.op((OWN_LOG, seq, prev), declared, kind, payload);
        self.next = (seq + 1, op.id());
        Frame::Op(op.bytes().clone())
    }

    /// What it says of its own to every peer in a tick.
    fn lies(&mut self, scene: &mut Scene<'_>) -> Vec<Frame> {
        let wall = scene.now.wall;
        match self.kind {
            // More than any quota, all in one minute.
            ActorKind::Flooder => {
                let payload = self.injected.to_be_bytes();
                (0..BURST).map(|_| self.append(scene, wall, UNKNOWN_KIND, &payload)).collect()
            }
            ActorKind::FutureDater => vec![self.append(scene, wall.after_ms(HOUR_MS), UNKNOWN_KIND, b"tomorrow")],
            ActorKind::PastDater => {
                let past = Time::from_ms(wall.ms().saturating_sub(self.injected * 60_000));
                vec![self.append(scene, past, UNKNOWN_KIND, b"yesterday")]
            }
            ActorKind::GhostRefs => {
                let ghost = OpId::from_bytes(scene.dice.bytes32());
                let ahead = scene.dice.between(1, 1 << 40);
                let op = scene.op((OWN_LOG, ahead, ghost), wall, UNKNOWN_KIND, b"orphan");
                vec![Frame::Op(op.bytes().clone())]
            }
            ActorKind::LyingFrontier => vec![lying_pull(scene), lying_digest(scene)],
            ActorKind::StaleReplayer => self.heard.iter().take(5).filter_map(|f| Frame::decode(f).ok()).collect(),
            ActorKind::Amplifier => (0..BURST).map(|_| empty_pull(scene)).collect(),
            ActorKind::SybilJoiner => {
                let key = SigningKey::from(scene.dice.bytes32());
                let log = LogKey { author: AuthorKey::of(&key), index: 0 };
                let op = forged(&key, scene.registry, (log, 0, OpId::ZERO), wall, UNKNOWN_KIND, b"let me in");
                vec![Frame::Op(op.bytes().clone())]
            }
            ActorKind::Overflower => vec![
                Frame::Op(
                    scene.op((OWN_LOG, u64::MAX, OpId::ZERO), Time::from_ms(0), UNKNOWN_KIND, b"").bytes().clone(),
                ),
                Frame::Op(scene.op((2, 0, OpId::ZERO), Time::from_ms(u64::MAX), UNKNOWN_KIND, b"").bytes().clone()),
            ],
            ActorKind::BadPayload => vec![self.append(scene, wall, KIND_PRICE_BATCH, b"no batch")],
            ActorKind::Forger => forgery(scene).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A heard frame with one bit flipped.
    fn corrupted(&self, scene: &mut Scene<'_>) -> Option<Vec<u8>> {
        let mut frame = self.heard.back()?.clone();
        let at = scene.dice.below(frame.len());
        *frame.get_mut(at)? ^= 1 << scene.dice.below(8);
        Some(frame)
    }
}

/// A pull that claims logs a million long, with heads that nobody has.
fn lying_pull(scene: &mut Scene<'_>) -> Frame {
    let head = OpId::from_bytes(scene.dice.bytes32());
    let authors = 0..u16::try_from(scene.registry.membership().authors().len()).unwrap_or(u16::MAX);
    let entries = authors.map(|author| Entry { author, log: 0, len: 1_000_000, head }).collect();
    Frame::Pull { now: scene.now.wall, credit: u32::MAX, frontier: Frontier { entries, forked: Vec::new() } }
}

fn lying_digest(scene: &mut Scene<'_>) -> Frame {
    let digest = concurrence_crdt::Digest::from_bytes(scene.dice.bytes32());
    Frame::Digest { now: scene.now.wall, digest, ops: u64::MAX }
}

/// A pull of someone who has nothing and wants everything.
fn empty_pull(scene: &Scene<'_>) -> Frame {
    Frame::Pull { now: scene.now.wall, credit: u32::MAX, frontier: Frontier::default() }
}

/// An operation in the name of an honest author, at the end of its log, signed with the forger's own key.
fn forgery(scene: &Scene<'_>) -> Option<Frame> {
    let own = scene.keys.author_key();
    let (log, tail) = scene.history.logs().find(|(log, _)| log.author != own)?;
    let at = (log, tail.len, tail.head);
    let op = forged(&scene.keys.author, scene.registry, at, scene.now.wall, UNKNOWN_KIND, b"in your name");
    Some(Frame::Op(op.bytes().clone()))
}

impl Actor for Scripted {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        match (self.kind, Frame::decode(frame)) {
            // Its own operations reach every second node only, by gossip or by answers.
            (ActorKind::Withholder, Ok(Frame::Op(_) | Frame::Delta(_))) if to % 2 == scene.me % 2 => {
                self.injected += 1;
                Vec::new()
            }
            // Whoever asks it waits for ever.
            (ActorKind::SlowLoris, Ok(Frame::Delta(_))) => {
                self.injected += 1;
                Vec::new()
            }
            _ => vec![frame.to_vec()],
        }
    }

    /// The engine behind it must not hear of what is written behind its back: it would halt.
    fn inbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Option<Vec<u8>> {
        if matches!(frame.first(), Some(4 | 5)) {
            self.heard.push_back(frame.to_vec());
            if self.heard.len() > HEARD_MAX {
                self.heard.pop_front();
            }
        }
        let (own, network) = (scene.keys.author_key(), scene.registry.network_id());
        let is_behind_its_back = |bytes: &[u8]| {
            let log = Op::decode(bytes, network).map(|op| op.header().log);
            log.is_ok_and(|log| log.author == own && log.index >= OWN_LOG)
        };
        match Frame::decode(frame) {
            Ok(Frame::Op(bytes)) if is_behind_its_back(&bytes) => None,
            Ok(Frame::Delta(mut delta)) => {
                delta.ops.retain(|bytes| !is_behind_its_back(bytes));
                Some(Frame::Delta(delta).encode())
            }
            _ => Some(frame.to_vec()),
        }
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let frames = match self.kind {
            ActorKind::Corrupter => self.corrupted(scene).into_iter().collect(),
            _ => self.lies(scene).iter().map(Frame::encode).collect::<Vec<_>>(),
        };
        let peers = scene.peers.iter();
        let said: Vec<_> = peers.flat_map(|&peer| frames.iter().map(move |frame| (peer, frame.clone()))).collect();
        self.injected += said.len() as u64;
        said
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}
