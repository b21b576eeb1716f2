//! Actors that sign two operations for one position, each in its own way. One answer for all: two headers of one position are a proof,
//! whoever holds both finds it, and everyone is told before anything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use concurrence_crdt::{LogKey, NetworkId, Op};
use concurrence_oracle::Registry;
use concurrence_protocol::{Delta, Frame};

use super::{Actor, Branch, Equivocator, SPARE_LOGS, Scene, UNKNOWN_KIND, op_frame};
use crate::node::Keys;

/// B02: signs a second operation for positions that everyone has long built upon, oldest first, and shows it to its victims. It hurts
/// where only the end of a log is compared. The held operation is looked up, however old it is.
#[derive(Default)]
pub(super) struct LateForker {
    own: Vec<Op>,
    forked: usize,
    injected: u64,
}

/// Operations of its own that stand behind a position before it forks it.
const BEHIND: usize = 4;

impl Actor for LateForker {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        if to == super::NOBODY {
            self.own.extend(scene.own_op(frame));
        }
        vec![frame.to_vec()]
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.own.len() <= self.forked + BEHIND {
            return Vec::new();
        }
        let header = self.own[self.forked].header();
        let other = scene.op((header.log.index, header.seq, header.prev), header.declared, UNKNOWN_KIND, b"otherwise");
        let told: Vec<_> = scene.peers.iter().filter(|peer| scene.victims.contains(peer)).collect();
        if told.is_empty() {
            return Vec::new();
        }
        self.forked += 1;
        self.injected += told.len() as u64;
        told.into_iter().map(|&peer| (peer, op_frame(&other))).collect()
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B14: an equivocator among several that tell even nodes one story and odd nodes the other, and hand on to the odd ones one another's
/// second chains. It hurts by witnesses: a second chain comes from more than its author. The answer does not depend on who says
/// what: either half needs one honest node that can reach the other.
pub(super) struct Islander {
    own: Equivocator,
    /// What fellows wrote, by position.
    stories: BTreeMap<(LogKey, u64), Stories>,
    /// Second stories that odd nodes are to be told.
    news: Vec<Arc<[u8]>>,
    passed_on: u64,
}

/// The operations of one position: the first one heard, and the second once it is.
#[derive(Default)]
struct Stories {
    first: Option<Arc<[u8]>>,
    second: Option<Arc<[u8]>>,
}

impl Islander {
    pub(super) fn new(keys: &Keys, registry: &Registry) -> Self {
        Self {
            own: Equivocator::new(keys.author, keys.evm.clone(), registry.clone()),
            stories: BTreeMap::new(),
            news: Vec::new(),
            passed_on: 0,
        }
    }

    /// Keeps what a fellow said in its own name. Whether the engine is to hear it: one story is enough for it.
    fn heard(&mut self, bytes: &Arc<[u8]>, network: NetworkId) -> bool {
        let Ok(op) = Op::decode(bytes, network) else { return true };
        let stories = self.stories.entry((op.header().log, op.header().seq)).or_default();
        let first = stories.first.get_or_insert_with(|| Arc::clone(bytes));
        let is_first = first == bytes;
        if !is_first && stories.second.is_none() {
            stories.second = Some(Arc::clone(bytes));
            self.news.push(Arc::clone(bytes));
        }
        is_first
    }

    /// The second story at the place of a fellow's first; anything else as it is.
    fn second_of(&self, bytes: &Arc<[u8]>, network: NetworkId) -> Arc<[u8]> {
        let place = Op::decode(bytes, network).ok().map(|op| (op.header().log, op.header().seq));
        let second = place.and_then(|place| self.stories.get(&place)?.second.as_ref());
        Arc::clone(second.unwrap_or(bytes))
    }
}

/// Whether a node is told the second story, by every islander alike.
const fn is_odd(node: usize) -> bool {
    node % 2 == 1
}

impl Actor for Islander {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        let told = Equivocator::outbound(&mut self.own, is_odd(to), frame);
        if scene.fellows.contains(&to) && scene.own_op(frame).is_some() {
            // Fellows get both.
            return vec![frame.to_vec(), Equivocator::outbound(&mut self.own, true, frame)];
        }
        match Frame::decode(&told) {
            Ok(Frame::Delta(delta)) if is_odd(to) => {
                let ops = delta.ops.iter().map(|bytes| self.second_of(bytes, scene.network())).collect();
                vec![Frame::Delta(Delta { ops, ..delta }).encode()]
            }
            _ => vec![told],
        }
    }

    fn inbound(&mut self, scene: &mut Scene<'_>, from: usize, frame: &[u8]) -> Option<Vec<u8>> {
        if scene.fellows.contains(&from)
            && let Ok(Frame::Op(bytes)) = Frame::decode(frame)
            && !self.heard(&bytes, scene.network())
        {
            return None;
        }
        Equivocator::inbound(&mut self.own, frame)
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let odd: Vec<_> = scene.peers.iter().copied().filter(|&peer| is_odd(peer)).collect();
        let news = std::mem::take(&mut self.news);
        self.passed_on += (news.len() * odd.len()) as u64;
        let frames: BTreeSet<_> = news.into_iter().map(|bytes| Frame::Op(bytes).encode()).collect();
        frames.iter().flat_map(|frame| odd.iter().map(move |&peer| (peer, frame.clone()))).collect()
    }

    fn injected(&self) -> u64 {
        self.passed_on.min(self.own.positions() as u64)
    }
}

/// A02: two operations for one position, one first for half of its peers and the other first for the rest. In the original both orders
/// were taken, and replicas differed for ever. Here either order is a proof.
pub(super) struct CrossedOrders {
    branch: Branch,
    injected: u64,
}

impl Default for CrossedOrders {
    fn default() -> Self {
        Self { branch: Branch::new(SPARE_LOGS[0]), injected: 0 }
    }
}

impl Actor for CrossedOrders {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if scene.peers.len() < 2 {
            return Vec::new();
        }
        let other = op_frame(&scene.op(self.branch.end(), scene.now.wall, UNKNOWN_KIND, b"y"));
        let one = op_frame(self.branch.grow(scene, scene.now.wall, UNKNOWN_KIND, b"x"));
        self.injected += 1;
        let ordered = |peer: &usize| if scene.victims.contains(peer) { [&one, &other] } else { [&other, &one] };
        let told = scene.peers.iter().flat_map(|peer| ordered(peer).map(|frame| (*peer, frame.clone())));
        told.collect()
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A12: a long chain, then as many siblings of its operations with falling positions. In the original each sibling walked past all the
/// others, which was cubic. Here the first sibling is a proof, four are kept as evidence, and the rest are refused before their
/// signatures are checked.
pub(super) struct FallingSiblings {
    chain: Branch,
    siblings: usize,
    injected: u64,
}

/// Operations of the chain, and as many siblings: the chain reaches some minutes back.
const CHAIN_LEN: u64 = 1_000;

/// Operations of the chain, then of the siblings, that are sent to each peer a tick.
const SENT_AT_ONCE: usize = 100;

impl Default for FallingSiblings {
    fn default() -> Self {
        Self { chain: Branch::new(SPARE_LOGS[0]), siblings: 0, injected: 0 }
    }
}

impl Actor for FallingSiblings {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.chain.ops.is_empty() {
            self.chain.grow_to(scene, CHAIN_LEN, scene.now.wall);
        }
        let (sent, len) = (self.siblings, self.chain.ops.len());
        self.siblings += SENT_AT_ONCE;
        if sent < len {
            let frames: Vec<_> = self.chain.ops.iter().skip(sent).take(SENT_AT_ONCE).map(op_frame).collect();
            return scene.to_all(&frames);
        }
        let falling = self.chain.ops.iter().rev().skip(sent - len).take(SENT_AT_ONCE);
        let sibling = |op: &Op| {
            let header = op.header();
            op_frame(&scene.op((header.log.index, header.seq, header.prev), header.declared, UNKNOWN_KIND, b"sibling"))
        };
        let frames: Vec<_> = falling.map(sibling).collect();
        self.injected += frames.len() as u64;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}
