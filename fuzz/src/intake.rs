//! Intake: operations and proofs, good and bad, in two orders, give two replicas the same bytes (CRDT-1), which a plain model foretells;
//! and what is refused changes nothing (CRDT-6).

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, BUCKET_MS, Digest, ForkProof, LogKey, NetworkId, Op, OpId, Tail, Time};
use concurrence_protocol::{Delta, Frame, Input, Now, Verdict};
use concurrence_store::{Store, StoreStats};

use crate::{
    material::{Chain, MEMBERS, NETWORK, START, STRANGER, author, key, members, verified},
    steps::{Dice, Step, steps},
    wire::Node,
};

/// Steps of a program: each costs a signature and several verifications.
const STEPS_MAX: usize = 24;

/// Buckets that a declared minute may be ahead of the clock before an operation is held (docs/protocol.md, section 4).
const BUCKETS_AHEAD_MAX: u64 = 2;

/// Minutes that a program moves a log's clock at most.
const MINUTES_MAX: u8 = 8;

/// Passes after which delivery must have come to rest: buffers are bounded, so that one need not do, and each pass admits some.
const PASSES_MAX: usize = 20;

/// Longest operations in one log: seventeen fit into a minute's mebibyte, three are over the quota, and these three still fit into
/// the buffer of one author together.
const LONG_OPS_MAX: u64 = 20;
const LONG_PAYLOAD_LEN: usize = 61_000;

/// Runs a program: its first step says in which order the second replica is given what the others make.
pub fn check(bytes: &[u8]) {
    let mut program = steps(bytes, STEPS_MAX + 1);
    let Some(order) = program.next() else { return };
    let mut pool = Pool::default();
    program.for_each(|step| pool.step(step));

    let (mut one, mut other) = (follower(), follower());
    let shuffled = pool.shuffled(order);
    settle(&mut one, |node| pool.given.iter().for_each(|given| give(node, given, false)));
    settle(&mut other, |node| deliver(node, &shuffled, order));
    pool.compare(&mut one, &mut other, START);

    // Minutes pass: what was held is due.
    let ms = (u64::from(MINUTES_MAX) + 1) * BUCKET_MS;
    one.wait(ms);
    other.wait(ms);
    settle(&mut one, |node| pool.given.iter().for_each(|given| give(node, given, true)));
    settle(&mut other, |node| deliver(node, &shuffled, order));
    pool.compare(&mut one, &mut other, START.after_ms(ms));
}

fn follower() -> Node {
    Node::new(None, Now { mono_ms: 1_000_000, wall: START })
}

/// Something to be given to a replica.
#[derive(Clone)]
struct Given {
    frame: Frame,
    /// Bytes that are no frame any more.
    damaged: Option<Vec<u8>>,
    must_be_refused: bool,
}

/// What a program made.
#[derive(Default)]
struct Pool {
    chains: BTreeMap<(u8, u8), Chain>,
    /// Properly signed operations, each with its log as it was before it.
    ops: Vec<(Op, Chain)>,
    /// Whom a proof convicts.
    proven: BTreeSet<AuthorKey>,
    given: Vec<Given>,
}

impl Pool {
    fn step(&mut self, step: Step) {
        let Step { a, b, c, .. } = step;
        let (writer, index) = (1 + a % MEMBERS, b % 2);
        match step.what % 12 {
            0..=2 => self.append(writer, index, |_| {}, &vec![c; usize::from(c % 16)]),
            3 => self.fork(a, b, c),
            4 => self.append(
                writer,
                index,
                |chain| (chain.seq, chain.prev) = (chain.seq + 1 + u64::from(c % 4), OpId::from_bytes([c; 32])),
                &[],
            ),
            5 => self.append(writer, index, |chain| change_clock(chain, b, c), &[c]),
            6 => self.damage(a, |bytes| {
                let at = usize::from(b) * usize::from(c) % bytes.len();
                bytes[at] ^= c | 1;
            }),
            7 => self.cut_or_lengthen(a, b, c),
            8 => {
                let (chain, forger) = (self.chain(writer, index), 1 + (a % MEMBERS + 1 + c % 3) % MEMBERS);
                if forger != writer {
                    self.refused(Op::sign(chain.header(), &[c], key(forger)));
                }
            }
            9 => self.prove(a, b, c),
            10 => {
                let mut header = Chain::new(STRANGER, index).header();
                let signer = if c % 2 == 0 { STRANGER } else { writer };
                header.log.author = author(signer);
                header.network = if c % 2 == 0 { NETWORK } else { NetworkId::from_bytes([c | 0xf0; 32]) };
                self.refused(Op::sign(header, &[a], key(signer)));
            }
            _ => (0..=c % 4).for_each(|_| self.append_long(writer)),
        }
    }

    fn chain(&self, writer: u8, index: u8) -> Chain {
        self.chains.get(&(writer, index)).copied().unwrap_or(Chain::new(writer, index))
    }

    /// Writes the next operation of a log, after a change to how it goes on.
    fn append(&mut self, writer: u8, index: u8, change: impl FnOnce(&mut Chain), payload: &[u8]) {
        let mut chain = self.chain(writer, index);
        change(&mut chain);
        self.write(chain, payload, true);
    }

    fn write(&mut self, mut chain: Chain, payload: &[u8], goes_on: bool) {
        let before = chain;
        let op = chain.op(payload);
        if goes_on {
            self.chains.insert((chain.author, chain.index), chain);
        }
        self.give(Frame::Op(op.bytes().clone()), false);
        self.ops.push((op, before));
    }

    /// A log of its own for the longest operations, without gaps: what waits in it waits for its own quota only.
    fn append_long(&mut self, writer: u8) {
        let chain = self.chain(writer, 3);
        if chain.seq < LONG_OPS_MAX {
            self.write(chain, &vec![writer; LONG_PAYLOAD_LEN], true);
        }
    }

    /// A second operation at the position of an earlier one, perhaps with an invented ancestor.
    fn fork(&mut self, a: u8, b: u8, c: u8) {
        let Some(&(_, mut chain)) = pick(&self.ops, a) else { return };
        if b % 2 == 1 && chain.seq > 0 {
            chain.prev = OpId::from_bytes([c; 32]);
        }
        self.write(chain, &[b, c, 0xf0], b & 2 == 2);
    }

    fn damage(&mut self, a: u8, change: impl FnOnce(&mut Vec<u8>)) {
        let Some((op, _)) = pick(&self.ops, a) else { return };
        let frame = Frame::Op(op.bytes().clone());
        let mut damaged = frame.encode();
        change(&mut damaged);
        self.given.push(Given { frame, damaged: Some(damaged), must_be_refused: false });
    }

    fn cut_or_lengthen(&mut self, a: u8, b: u8, c: u8) {
        let Some((op, _)) = pick(&self.ops, a) else { return };
        let mut bytes = op.bytes().to_vec();
        match b % 2 {
            0 => bytes.truncate(bytes.len() - 1 - usize::from(c) % bytes.len()),
            _ => bytes.extend(std::iter::repeat_n(c, 1 + usize::from(b))),
        }
        self.give(Frame::Op(bytes.into()), true);
    }

    /// The proof that two earlier operations are, or something like one.
    fn prove(&mut self, a: u8, b: u8, c: u8) {
        let (Some((one, _)), Some((two, _))) = (pick(&self.ops, a), pick(&self.ops, b)) else { return };
        let headers = [verified(one).verified_header(), verified(two).verified_header()];
        match ForkProof::of(&headers[0], &headers[1]) {
            Some(proof) if c % 2 == 0 => {
                self.proven.insert(proof.author());
                self.give(Frame::Proof(proof.encode()), false);
            }
            Some(proof) => {
                let (low, high) = proof.headers();
                self.give(Frame::Proof([high.encode(), low.encode()].concat()), true);
            }
            None => self.give(Frame::Proof([one.signed().encode(), two.signed().encode()].concat()), true),
        }
    }

    fn refused(&mut self, op: Op) {
        self.give(Frame::Op(op.bytes().clone()), true);
    }

    fn give(&mut self, frame: Frame, must_be_refused: bool) {
        self.given.push(Given { frame, damaged: None, must_be_refused });
    }

    /// Another order of the same, some of it twice.
    fn shuffled(&self, order: Step) -> Vec<Given> {
        let mut dice = Dice::of(order);
        let mut all = self.given.clone();
        let twice = all.iter().filter(|_| dice.below(4) == 0).cloned().collect::<Vec<_>>();
        all.extend(twice);
        for last in (1..all.len()).rev() {
            let other = usize::try_from(dice.below(last as u64 + 1)).unwrap_or(0);
            all.swap(last, other);
        }
        all
    }

    /// CRDT-1: both replicas hold what the model says.
    fn compare(&self, one: &mut Node, other: &mut Node, now: Time) {
        assert_eq!(one.digest(), other.digest(), "CRDT-1: two orders, two digests");
        let last = now.after_ms(BUCKETS_AHEAD_MAX * BUCKET_MS).bucket();
        let due = self.ops.iter().map(|(op, _)| op).filter(|op| op.header().declared.bucket() <= last);
        let (tails, forked) = model(due, &self.proven);
        for node in [one, other] {
            let history = node.replica.history();
            assert_eq!(history.forked().map(ForkProof::author).collect::<BTreeSet<_>>(), forked, "CRDT-1: forked");
            assert_eq!(history.logs().collect::<BTreeMap<_, _>>(), tails, "CRDT-1: logs");
            let stored: u64 = tails.values().map(|tail| tail.len).sum();
            assert!(node.store.stats().ops >= stored, "STORE-2: what counts is stored");
        }
    }
}

fn pick<T>(from: &[T], at: u8) -> Option<&T> {
    from.get(usize::from(at) % from.len().max(1))
}

fn change_clock(chain: &mut Chain, how: u8, by: u8) {
    match how / 2 % 4 {
        0 => {
            let minutes = chain.declared.since_ms(START) / BUCKET_MS + u64::from(by % 3);
            chain.declared = START.after_ms(minutes.min(u64::from(MINUTES_MAX)) * BUCKET_MS);
        }
        1 => chain.declared = Time::from_ms(START.ms() - u64::from(by) * BUCKET_MS),
        2 => chain.epoch = u32::from(by),
        _ => chain.declared = chain.declared.after_ms(u64::from(by)),
    }
    if chain.declared.bucket().number() > START.bucket().number() + u64::from(MINUTES_MAX) {
        chain.declared = START;
    }
}

/// What a set of operations amounts to, told without any of the code under test but the rule for one step.
fn model<'a>(
    ops: impl Iterator<Item = &'a Op>,
    proven: &BTreeSet<AuthorKey>,
) -> (BTreeMap<LogKey, Tail>, BTreeSet<AuthorKey>) {
    let registry = members();
    let mut positions: BTreeMap<(LogKey, u64), BTreeMap<OpId, &Op>> = BTreeMap::new();
    for op in ops {
        positions.entry((op.header().log, op.header().seq)).or_default().insert(op.id(), op);
    }
    let twice = positions.iter().filter(|(_, all)| all.len() > 1).map(|((log, _), _)| log.author);
    let forked: BTreeSet<_> = twice.chain(proven.iter().copied()).collect();
    let mut tails: BTreeMap<LogKey, Tail> = BTreeMap::new();
    // Ascending positions: an operation counts if it follows directly and the rule lets it.
    for ((log, _), all) in &positions {
        let tail = tails.get(log).copied().unwrap_or(Tail::EMPTY);
        for (&id, op) in all.iter().filter(|(_, op)| tail.precedes(op.header())) {
            if let Ok(next) = tail.extended(op.header(), id, op.bytes().len(), &registry) {
                tails.insert(*log, next);
            }
        }
    }
    tails.retain(|log, _| !forked.contains(&log.author));
    (tails, forked)
}

/// What a refusal must leave as it was.
fn state(node: &mut Node) -> (Digest, StoreStats) {
    (node.digest(), node.store.stats())
}

/// How many operations wait, ahead of their log and for their minute.
fn waiting(node: &Node) -> Vec<usize> {
    let waits = |name| matches!(name, "ahead" | "held");
    node.replica.buffers().iter().filter(|b| waits(b.0)).map(|b| b.1).collect()
}

/// A frame of a peer that owes nothing yet: what others sent is not held against it, so that no budget hides what intake says.
fn from_a_newcomer(node: &mut Node, bytes: Vec<u8>, is_broadcast: bool) -> Option<Verdict> {
    let peer = node.newcomer();
    node.refused.clear();
    let verdict = node.frame(peer, bytes, is_broadcast);
    let refused = std::mem::take(&mut node.refused);
    node.handle(Input::Disconnected(peer));
    node.sent.clear();
    node.broadcast.clear();
    node.refused = refused;
    verdict
}

/// Gives one thing in a frame of its own, or broadcast.
fn give(node: &mut Node, given: &Given, is_broadcast: bool) {
    let before = state(node);
    let bytes = given.damaged.clone().unwrap_or_else(|| given.frame.encode());
    let verdict = from_a_newcomer(node, bytes, is_broadcast);
    assert_eq!(verdict.is_some(), is_broadcast, "every broadcast gets a verdict, and nothing else does");
    if given.must_be_refused {
        assert!(!node.refused.is_empty(), "CRDT-6: taken: {:?}", given.frame);
    }
    if !node.refused.is_empty() {
        assert_eq!(before, state(node), "CRDT-6: {:?} changed something", node.refused);
    }
}

/// Gives things in other company: some alone, some together as the answer to a question that was never asked.
fn deliver(node: &mut Node, given: &[Given], order: Step) {
    let together = usize::from(order.what % 8) + 1;
    for group in given.chunks(together) {
        let (mut proofs, mut ops) = (Vec::new(), Vec::new());
        for given in group {
            match (&given.damaged, &given.frame) {
                (None, Frame::Op(op)) if together > 1 => ops.push(op.clone()),
                (None, Frame::Proof(proof)) if together > 1 => proofs.push(proof.clone()),
                _ => give(node, given, order.a % 2 == 0),
            }
        }
        if together > 1 {
            let (now, digest) = (START, Digest::from_bytes([order.b; 32]));
            let delta = Frame::Delta(Delta { now, digest, more: false, proofs, ops }).encode();
            // Too long for one frame: refused as a whole, and given one by one.
            from_a_newcomer(node, delta, false);
            if node.refused == [concurrence_protocol::Reason::Frame] {
                group.iter().for_each(|given| give(node, given, false));
            }
        }
    }
}

/// Delivers over and over until a whole pass changes nothing.
fn settle(node: &mut Node, mut pass: impl FnMut(&mut Node)) {
    for _ in 0..PASSES_MAX {
        let before = (state(node), waiting(node));
        pass(node);
        if before == (state(node), waiting(node)) {
            return;
        }
    }
    panic!("CRDT-1: still changing after {PASSES_MAX} passes");
}
