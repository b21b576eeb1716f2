//! Actors that keep to the formats and misuse the conversation: they withhold, flood, repeat, mislead and ask without end.

use std::collections::VecDeque;

use concurrence_crdt::{Digest, Frontier, OpId, Time};
use concurrence_protocol::{Delta, Frame};

use super::{Actor, Scene, UNKNOWN_KIND, op_frame};

/// B03: lets only its victims hear of its own operations, and gives the others answers without operations and proofs, its own
/// and everyone else's. It hurts where an answer is believed to be complete, or where only its author can give an operation. Sync
/// answers it: whoever got an operation hands it on, and a peer whose answers bring nothing is asked ever more rarely.
#[derive(Default)]
pub(super) struct Withholder {
    injected: u64,
}

impl Actor for Withholder {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        if scene.victims.contains(&to) {
            return vec![frame.to_vec()];
        }
        match Frame::decode(frame) {
            Ok(Frame::Op(_) | Frame::Proof(_)) => {
                self.injected += 1;
                Vec::new()
            }
            Ok(Frame::Delta(delta)) if !delta.ops.is_empty() || !delta.proofs.is_empty() => {
                self.injected += 1;
                vec![Frame::Delta(Delta { ops: Vec::new(), proofs: Vec::new(), ..delta }).encode()]
            }
            _ => vec![frame.to_vec()],
        }
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B04: sends far more than is useful: new operations of its own far ahead of its log, each worth a signature check and a place in
/// a buffer, and digests without end. It hurts by CPU and memory. Budgets answer it: a peer's frames and checks in vain end, it is
/// banned, and what waits of one author is bounded.
#[derive(Default)]
pub(super) struct Flooder {
    injected: u64,
}

/// Operations, and as many digests, to each peer a tick: twice what a peer may send in vain.
const FLOOD: u64 = 200;

impl Actor for Flooder {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut frames = Vec::new();
        for n in 0..FLOOD {
            let position = (1, 1_000_000 + self.injected + n, OpId::from_bytes(scene.dice.bytes32()));
            frames.push(op_frame(&scene.op(position, scene.now.wall, UNKNOWN_KIND, b"more")));
            let digest = Digest::from_bytes(scene.dice.bytes32());
            frames.push(Frame::Digest { now: scene.now.wall, digest, ops: n }.encode());
        }
        let told = scene.to_some(&frames);
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B08: claims to have what it has not: digests that nobody has, counts without end, logs longer than they are, and forks of honest
/// authors. It hurts where a claim advances anything, or keeps its hearers asking. Claims cause questions only, the pause after an
/// answer that brings nothing doubles up to eight seconds, and two peers are asked at a time.
#[derive(Default)]
pub(super) struct LyingFrontier {
    injected: u64,
}

/// By how much the logs that it claims are longer.
const CLAIMED_BEYOND: u64 = 1_000;

impl Actor for LyingFrontier {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        let claimed = Digest::from_bytes(scene.dice.bytes32());
        let lie = match Frame::decode(frame) {
            Ok(Frame::Hello(mut hello)) => {
                (hello.digest, hello.ops) = (claimed, u64::MAX);
                Frame::Hello(hello)
            }
            Ok(Frame::Digest { now, .. }) => Frame::Digest { now, digest: claimed, ops: u64::MAX },
            Ok(Frame::Pull { now, credit, mut frontier }) => {
                for entry in &mut frontier.entries {
                    entry.len = entry.len.saturating_add(CLAIMED_BEYOND);
                    entry.head = OpId::from_bytes(scene.dice.bytes32());
                    entry.certified = entry.len;
                }
                let authors = u16::try_from(scene.registry.membership().authors().len()).unwrap_or(u16::MAX);
                frontier.forked = (0..authors).filter(|number| number % 2 == 0).collect();
                Frame::Pull { now, credit, frontier }
            }
            Ok(Frame::Delta(delta)) => Frame::Delta(Delta { digest: claimed, more: true, ..delta }),
            _ => return vec![frame.to_vec()],
        };
        self.injected += 1;
        vec![lie.encode()]
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B09: says again what others and it itself said long ago: old digests and frontiers, answers that nobody asked it for,
/// operations that all have. It hurts where something old undoes something new, or is worked on again. Ids deduplicate before a
/// signature is checked, claims advance nothing, and answers without a question are a fault.
#[derive(Default)]
pub(super) struct StaleReplayer {
    heard: VecDeque<Vec<u8>>,
    answers: VecDeque<Vec<u8>>,
    injected: u64,
}

/// Frames that it remembers, of answers and of all others.
const HEARD_MAX: usize = 256;

/// Answers, and ten times as many other frames, that it repeats to each peer a tick.
const REPEATED: usize = 4;

impl Actor for StaleReplayer {
    fn outbound(&mut self, _: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        self.remember(frame);
        vec![frame.to_vec()]
    }

    fn inbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Option<Vec<u8>> {
        self.remember(frame);
        scene.without_own(frame)
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut said = Vec::new();
        for (frames, count) in [(&self.answers, REPEATED), (&self.heard, 10 * REPEATED)] {
            for &peer in scene.peers.iter().filter(|_| !frames.is_empty()) {
                said.extend((0..count).map(|_| (peer, frames[scene.dice.below(frames.len())].clone())));
            }
        }
        self.injected += said.len() as u64;
        said
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

impl StaleReplayer {
    /// Keeps a frame; when there are enough, the oldest half stays and newer ones take turns.
    fn remember(&mut self, frame: &[u8]) {
        let kept = if let Ok(Frame::Delta(_)) = Frame::decode(frame) { &mut self.answers } else { &mut self.heard };
        if kept.len() >= HEARD_MAX {
            kept.remove(HEARD_MAX / 2);
        }
        kept.push_back(frame.to_vec());
    }
}

/// B10: never answers a pull, and asks with a credit of nothing. It hurts where a question blocks others, or an answer that is not
/// taken holds memory. A pull is given up after five seconds and two peers are asked at a time; an answer without credit is empty.
#[derive(Default)]
pub(super) struct SlowLoris {
    injected: u64,
}

impl Actor for SlowLoris {
    fn outbound(&mut self, _: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        match Frame::decode(frame) {
            Ok(Frame::Delta(_)) => {
                self.injected += 1;
                Vec::new()
            }
            Ok(Frame::Pull { now, frontier, .. }) => {
                self.injected += 1;
                vec![Frame::Pull { now, credit: 0, frontier }.encode()]
            }
            _ => vec![frame.to_vec()],
        }
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B11: asks for everything there is, with all the credit there is, again before the answer came; and fetches single operations
/// beside. It hurts by the bytes that a few bytes cost. An answer under way is refused a second time, what a peer is sent is
/// budgeted whatever it asks, and whoever asks too soon too often is banned.
#[derive(Default)]
pub(super) struct Amplifier {
    injected: u64,
}

/// Pulls, and as many fetches, to each peer a tick.
const QUESTIONS: usize = 120;

impl Actor for Amplifier {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let pull = Frame::Pull { now: scene.now.wall, credit: u32::MAX, frontier: Frontier::default() }.encode();
        let known = scene.history.logs().map(|(_, tail)| tail.head).next().unwrap_or(OpId::ZERO);
        let fetch = Frame::Fetch(known).encode();
        let frames: Vec<_> = (0..QUESTIONS).flat_map(|_| [pull.clone(), fetch.clone()]).collect();
        let told = scene.to_some(&frames);
        self.injected += told.len() as u64;
        told
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A digest of nothing, for frames that need one.
pub(super) const NO_DIGEST: Digest = Digest::from_bytes([0; 32]);

/// The end of time.
pub(super) const LAST_TIME: Time = Time::from_ms(u64::MAX);
