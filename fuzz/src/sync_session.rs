//! Sync: three honest nodes, a hostile peer, and wires that lose, double, reorder, cut and change frames. On clean wires the honest
//! become equal again (SYNC-1), have lost nothing (SYNC-2), and nobody was talked into more than was asked for (SYNC-4, SYNC-5).

use std::collections::VecDeque;

use concurrence_crdt::{Digest, Entry, ForkProof, Frontier, Op, OpId, Time, Wanted};
use concurrence_protocol::{DELTA_BYTES_MAX, Delta, Frame, Hello, Input, Now, PROTOCOL_VERSION, Peer, Refusal};

use crate::{
    material::{Chain, MEMBERS, NETWORK, REGISTRY, START, author, verified},
    steps::{Step, steps},
    wire::{NEWCOMERS, Node, SYNC_INTERVAL_MS},
};

/// Honest nodes; each runs an author of its own, and the last member is the liar's.
const NODES: usize = 3;

/// Steps of a program.
const STEPS_MAX: usize = 48;

/// Frames that a wire holds; what comes on top is lost, as on any transport.
const WIRE_FRAMES_MAX: usize = 64;

/// Rounds after which the nodes must be equal on clean wires: a question and its answer in each direction, once more for what the first
/// brought forth (a proof, an operation that waited), and the turns of peers that wait for one another.
const ROUNDS_MAX: usize = 12;

/// A further round for each operation of the liar: dealt out in turn, each waits at one node for the one before it, which is at another.
const ROUNDS_PER_LIE: usize = 1;

/// Frames of one round: far above what three nodes have to say, low enough to end when they answer one another for ever.
const ROUND_FRAMES_MAX: usize = 5_000;

/// Frames that wires double or spoil: an honest peer may be taken for a hostile one by ten faults in a row, and a transport that
/// authenticates never changes a frame at all.
const ACCIDENTS_MAX: usize = 8;

/// Runs a program, then heals everything.
pub fn check(bytes: &[u8]) {
    let mut world = World::new();
    for step in steps(bytes, STEPS_MAX) {
        world.step(step);
        world.collect();
    }
    world.heal();
    world.settle();
    world.compare();
}

struct World {
    nodes: Vec<Node>,
    /// Frames under way, by sender and receiver.
    wires: [[VecDeque<Vec<u8>>; NODES]; NODES],
    liar: Liar,
    accidents: usize,
}

/// The hostile peer: the last member's key, and what it asked for.
struct Liar {
    chain: Chain,
    ops: Vec<Op>,
    /// By node: under which number it is connected. Banned, it comes back under another.
    names: [Peer; NODES],
    /// By node: credit of its pulls that are not answered yet.
    asked: [VecDeque<u32>; NODES],
}

fn peer(node: usize) -> Peer {
    Peer(u32::try_from(node).unwrap_or(u32::MAX))
}

impl World {
    fn new() -> Self {
        let now = Now { mono_ms: 1_000_000, wall: START };
        let nodes = (1..=MEMBERS - 1).map(|own| Node::new(Some(own), now)).collect();
        let liar = Liar {
            chain: Chain::new(MEMBERS, 0),
            ops: Vec::new(),
            names: [Peer(NEWCOMERS); NODES],
            asked: Default::default(),
        };
        let mut world = Self { nodes, wires: Default::default(), liar, accidents: 0 };
        world.connect_all();
        (0..NODES).for_each(|at| world.greet_as_liar(at));
        world.collect();
        world
    }

    fn greet_as_liar(&mut self, at: usize) {
        self.liar.asked[at].clear();
        self.liar.names[at] = self.nodes[at].newcomer();
    }

    fn connect_all(&mut self) {
        for from in 0..NODES {
            for to in (0..NODES).filter(|&to| to != from) {
                self.connect(from, to);
            }
        }
    }

    fn connect(&mut self, at: usize, to: usize) {
        let author = u8::try_from(to + 1).map(author).ok();
        self.nodes[at].handle(Input::Connected { peer: peer(to), author });
    }

    /// Puts what the nodes sent on the wires; what they sent the hostile peer it looks at.
    fn collect(&mut self) {
        for from in 0..NODES {
            for banned in std::mem::take(&mut self.nodes[from].banned) {
                assert!(banned.0 >= NEWCOMERS, "NET-2: an honest node is banned");
                self.nodes[from].handle(Input::Disconnected(banned));
                self.greet_as_liar(from);
            }
            let broadcast = std::mem::take(&mut self.nodes[from].broadcast);
            let to_all = broadcast
                .into_iter()
                .flat_map(|b| (0..NODES).filter(move |&to| to != from).map(move |to| (peer(to), b.clone())));
            let sent = std::mem::take(&mut self.nodes[from].sent);
            for (to, bytes) in to_all.chain(sent) {
                if to.0 >= NEWCOMERS {
                    self.liar.hear(from, &bytes);
                } else if let Some(wire) = usize::try_from(to.0).ok().and_then(|to| self.wires[from].get_mut(to)) {
                    wire.push_back(bytes);
                    wire.truncate(WIRE_FRAMES_MAX);
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        let Step { a, b, c, .. } = step;
        let at = usize::from(a) % NODES;
        let (from, to) = (at, (at + 1 + usize::from(a / 8) % (NODES - 1)) % NODES);
        match step.what % 14 {
            // Refused where it may not, which is right.
            0 => self.nodes[at].append(&vec![c; usize::from(c)]).unwrap_or(()),
            1 => (0..=b % 8).for_each(|_| self.deliver(from, to)),
            2 => drop(self.wires[from][to].pop_front()),
            3 if self.is_accident() => {
                let copy = self.wires[from][to].front().cloned();
                self.wires[from][to].extend(copy);
            }
            4 => {
                let late = self.wires[from][to].pop_front();
                self.wires[from][to].extend(late);
            }
            5 if self.is_accident() => self.spoil(from, to, |bytes| bytes.truncate(usize::from(b) % (bytes.len() + 1))),
            6 if self.is_accident() => self.spoil(from, to, |bytes| {
                let at = (usize::from(b) << 3 | usize::from(c) >> 5) % bytes.len().max(1);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= c | 1);
            }),
            7 => self.carry(),
            8 => {
                let all = c % 2 == 0;
                let waiting = self.nodes.iter_mut().enumerate().filter(|(n, _)| all || *n == at);
                waiting.for_each(|(_, node)| node.wait(u64::from(b) * 50));
            }
            9 => {
                let bytes = self.liar.write(b, c);
                self.nodes[at].frame(self.liar.names[at], Frame::Op(bytes).encode(), a >= 128);
            }
            10 | 11 => self.lie(at, b, c),
            12 if b % 2 == 0 => self.reconnect(from, to),
            12 => {
                self.nodes[at].restart();
                self.greet_as_liar(at);
                (0..NODES).filter(|&other| other != at).for_each(|other| self.reconnect(at, other));
            }
            3 | 5 | 6 => {}
            _ if b % 2 == 0 => self.nodes[at].is_store_slow = true,
            _ => self.nodes[at].serve_store(),
        }
    }

    /// Whether one more accident may happen.
    fn is_accident(&mut self) -> bool {
        self.accidents += 1;
        self.accidents <= ACCIDENTS_MAX
    }

    fn deliver(&mut self, from: usize, to: usize) {
        if let Some(bytes) = self.wires[from][to].pop_front() {
            self.nodes[to].frame(peer(from), bytes, false);
            self.collect();
        }
    }

    fn spoil(&mut self, from: usize, to: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(bytes) = self.wires[from][to].front_mut() {
            change(bytes);
        }
    }

    /// A connection ends and begins anew; what was under way is gone.
    fn reconnect(&mut self, one: usize, two: usize) {
        for (at, to) in [(one, two), (two, one)] {
            self.wires[at][to].clear();
            self.nodes[at].handle(Input::Disconnected(peer(to)));
            self.connect(at, to);
        }
    }

    /// A frame of the hostile peer that is no operation.
    fn lie(&mut self, at: usize, b: u8, c: u8) {
        let digest = Digest::from_bytes([c; 32]);
        let now = self.nodes[at].now.wall;
        let frame = match b % 9 {
            0 => Frame::Digest { now: Time::from_ms(u64::MAX - u64::from(c)), digest, ops: u64::from(b) },
            1 | 2 => {
                let credit = u32::from(c) * 64;
                let frontier = self.lying_frontier(at, b);
                return self.ask(at, Frame::Pull { now, credit, frontier }, credit);
            }
            3 => Frame::Fetch(self.some_id(at, c)),
            4 => Frame::Refuse(if c % 2 == 0 { Refusal::NoHello } else { Refusal::Network }),
            5 => {
                let network = if c % 2 == 0 { NETWORK } else { concurrence_crdt::NetworkId::from_bytes([c; 32]) };
                let hello = Hello { version: PROTOCOL_VERSION, network, registry: REGISTRY, now, digest, ops: 0 };
                Frame::Hello(hello)
            }
            6 => {
                let ops = self.liar.ops.iter().rev().take(usize::from(c)).map(|op| op.bytes().clone()).collect();
                Frame::Delta(Delta { now, digest, more: c % 2 == 0, proofs: vec![vec![c; 3]], ops })
            }
            7 => self.liar.proof(c),
            _ => {
                self.nodes[at].frame(self.liar.names[at], vec![b % 9, c, b], c % 2 == 0);
                return;
            }
        };
        self.nodes[at].frame(self.liar.names[at], frame.encode(), c >= 128);
    }

    /// SYNC-5: what is asked for is noted, unless the node refuses to answer.
    fn ask(&mut self, at: usize, pull: Frame, credit: u32) {
        self.nodes[at].refused.clear();
        self.liar.asked[at].push_back(credit);
        self.nodes[at].frame(self.liar.names[at], pull.encode(), false);
        if !self.nodes[at].refused.is_empty() {
            self.liar.asked[at].pop_back();
        }
        // What was answered at once is not looked at yet, but then nothing was under way.
        assert!(self.liar.asked[at].len() <= 1, "SYNC-5: two answers under way");
    }

    fn lying_frontier(&self, at: usize, b: u8) -> Frontier {
        match b / 9 % 4 {
            0 => Frontier::default(),
            1 => self.nodes[at].replica.history().frontier(),
            2 => {
                let mut frontier = self.nodes[at].replica.history().frontier();
                frontier.entries.iter_mut().for_each(|entry| entry.head = OpId::from_bytes([b; 32]));
                frontier
            }
            _ => {
                let entry = |author| Entry {
                    author,
                    log: b % 4,
                    len: 1 + u64::from(b),
                    head: OpId::from_bytes([b; 32]),
                    certified: u64::from(b) / 2,
                };
                let wanted = |author| Wanted { author, log: b % 4, seq: u64::from(b), id: OpId::from_bytes([b; 32]) };
                Frontier {
                    entries: (0..6).map(entry).collect(),
                    forked: vec![0, u16::from(b) + 1],
                    double_voters: vec![u16::from(b % 5)],
                    wanted: (0..4).map(wanted).collect(),
                }
            }
        }
    }

    fn some_id(&self, at: usize, c: u8) -> OpId {
        let tails: Vec<_> = self.nodes[at].replica.history().logs().map(|(_, tail)| tail.head).collect();
        tails.get(usize::from(c) % tails.len().max(1)).copied().unwrap_or(OpId::from_bytes([c; 32]))
    }

    /// Carries frames until none is left.
    fn carry(&mut self) {
        self.collect();
        for _ in 0..ROUND_FRAMES_MAX {
            let pairs = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
            let Some((from, to)) = pairs.clone().find(|&(from, to)| !self.wires[from][to].is_empty()) else { return };
            self.deliver(from, to);
        }
        panic!("SYNC-1: frames answer one another for ever");
    }

    /// The hostile peer leaves, stores answer, clocks agree, and every wire is new.
    fn heal(&mut self) {
        let mono_ms = self.nodes.iter().map(|node| node.now.mono_ms).max().unwrap_or(0);
        let wall = self.nodes.iter().map(|node| node.now.wall).max().unwrap_or(START);
        for (node, name) in self.nodes.iter_mut().zip(self.liar.names) {
            node.handle(Input::Disconnected(name));
            node.serve_store();
            node.now = Now { mono_ms, wall };
        }
        self.liar.asked = Default::default();
        for (one, two) in [(0, 1), (0, 2), (1, 2)] {
            self.reconnect(one, two);
        }
        self.collect();
    }

    /// SYNC-1: equal after a bounded number of rounds.
    fn settle(&mut self) {
        let rounds_max = ROUNDS_MAX + ROUNDS_PER_LIE * self.liar.ops.len();
        for _ in 0..rounds_max {
            self.carry();
            let first = self.nodes[0].digest();
            if self.nodes.iter_mut().all(|node| node.digest() == first) {
                return;
            }
            self.nodes.iter_mut().for_each(|node| node.wait(SYNC_INTERVAL_MS));
        }
        let frontiers: Vec<_> = self.nodes.iter().map(|node| node.replica.history().frontier()).collect();
        panic!("SYNC-1: not equal after {rounds_max} rounds: {frontiers:#?}");
    }

    fn compare(&mut self) {
        let written: Vec<_> = self.nodes.iter().flat_map(|node| node.own_admitted.clone()).collect();
        for node in &mut self.nodes {
            let history = node.replica.history();
            for op in &written {
                let header = op.op().header();
                assert_eq!(history.id_at(header.log, header.seq), Some(op.op().id()), "SYNC-2: an operation is lost");
            }
            let liar = author(MEMBERS);
            assert!(
                history.forked().all(|proof| proof.author() == liar),
                "NODE-1: an honest author is said to have forked"
            );
            node.restart();
        }
    }
}

impl Liar {
    /// The next operation: honest, a fork, ahead of its log, or from the future.
    fn write(&mut self, b: u8, c: u8) -> std::sync::Arc<[u8]> {
        let mut chain = self.chain;
        match b % 8 {
            4 => (chain.seq, chain.prev) = (chain.seq.saturating_sub(1 + u64::from(c % 4)), OpId::from_bytes([c; 32])),
            5 => (chain.seq, chain.prev) = (chain.seq + 1 + u64::from(c % 4), OpId::from_bytes([c; 32])),
            6 => chain.declared = START.after_ms(u64::from(c) * 10_000),
            7 => chain.epoch = u32::from(c),
            _ => {}
        }
        if chain.seq == 0 {
            chain.prev = OpId::ZERO;
        }
        let op = chain.op(&vec![b; usize::from(c) * 4]);
        if b % 8 < 4 {
            self.chain = chain;
        }
        self.ops.push(op.clone());
        op.bytes().clone()
    }

    /// A proof against itself, whole or not.
    fn proof(&self, c: u8) -> Frame {
        let headers = self.ops.iter().map(|op| verified(op).verified_header());
        let headers: Vec<_> = headers.collect();
        let pairs = headers.iter().enumerate().flat_map(|(n, one)| headers[n + 1..].iter().map(move |two| (one, two)));
        let proof = pairs.filter_map(|(one, two)| ForkProof::of(one, two)).next();
        let mut bytes = proof.map(|proof| proof.encode()).unwrap_or_default();
        if c % 4 == 0 {
            bytes.truncate(usize::from(c));
        }
        Frame::Proof(bytes)
    }

    /// SYNC-5: an answer that was asked for, within the credit, or one operation.
    fn hear(&mut self, from: usize, bytes: &[u8]) {
        let Ok(Frame::Delta(delta)) = Frame::decode(bytes) else { return };
        let asked = self.asked[from].pop_front().expect("SYNC-5: an answer that nobody asked for");
        let credit = usize::try_from(asked).unwrap_or(usize::MAX).min(DELTA_BYTES_MAX);
        let sum: usize = delta.ops.iter().map(|op| op.len()).sum();
        assert!(sum <= credit || delta.ops.len() == 1, "SYNC-5: {sum} bytes for a credit of {credit}");
    }
}
