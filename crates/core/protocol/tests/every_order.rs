//! Four nodes and six operations of a forking author, exhaustively (CRDT-1, CRDT-4, SYNC-1, SYNC-3).
//!
//! **Shapes.** A trunk, a left and a right branch behind it, and at most one operation of an honest author: every split point
//! and every pair of lengths that make six. Branches are alike, so the left one is the longer or equal. Of the right branch
//! every subset of operations, and of the left branch its first, name an invented ancestor instead of their own: so every pair
//! of headers of one position occurs as real and real, real and invented, invented and invented. (Beside an honest author's
//! operation all ancestors are real.)
//!
//! **Arrangements.** Each operation first reaches one of four nodes, or none; at each node in every order. Until they meet,
//! nodes are independent, so this is: every ordered list of distinct operations at one node (1,957), and every way to deal
//! six operations to four nodes. The first is run in full: for each set, all orders must end in the same state; what they may
//! differ in is the proof that convicts. The second is then run for each deal with each such proof. Nodes differ in nothing
//! but their number, so deals that differ by a renaming of nodes are run once; the renamings take turns.
//!
//! **Then** the four meet and sync by real frames until nothing moves, and are compared with a model that knows sets only.
mod support;

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{ForkProof, LogKey, OpId, VerifiedOp};
use concurrence_protocol::{Input, Peer};
use support::{
    Net, Node, State,
    ops::{Chain, author},
};

const OPS: usize = 6;
const NODES: usize = 4;
const FORKER: u8 = 4;
const HONEST: u8 = 1;
const MEMBERS: [u8; 4] = [1, 2, 3, FORKER];

/// Operations, by the bits of their numbers.
type Set = u8;

#[derive(Clone, Copy, Debug)]
struct Shape {
    trunk: usize,
    left: usize,
    right: usize,
    honest: usize,
    /// Whether the left branch hangs on an invented ancestor.
    left_is_cut: bool,
    /// Which operations of the right branch name invented ancestors, by bits.
    invented: u8,
}

fn shapes(honest: usize) -> Vec<Shape> {
    let mut out = Vec::new();
    for trunk in 0..=4 {
        for right in 1..OPS {
            let Some(left) = (OPS - honest).checked_sub(trunk + right).filter(|&left| left >= right) else { continue };
            for left_is_cut in [false, true] {
                for invented in 0..1 << right {
                    // Nothing can be invented before the first position of a log.
                    let at_start = trunk == 0 && (left_is_cut || invented & 1 == 1);
                    if !at_start {
                        out.push(Shape { trunk, left, right, honest, left_is_cut, invented });
                    }
                }
            }
        }
    }
    out
}

impl Shape {
    fn ops(&self) -> Vec<VerifiedOp> {
        let mut left = Chain::new(FORKER, 0);
        let mut out = left.ops(self.trunk, "trunk");
        let mut right = left.clone();
        if self.left_is_cut {
            left.prev = OpId::from_bytes([0xee; 32]);
        }
        out.extend(left.ops(self.left, "left"));
        for i in 0..self.right {
            if self.invented >> i & 1 == 1 {
                right.prev = OpId::from_bytes([0xdd; 32]);
            }
            out.push(right.op(b"right"));
        }
        out.extend(Chain::new(HONEST, 0).ops(self.honest, "honest"));
        assert_eq!(out.len(), OPS);
        out
    }
}

/// The members of a set.
fn members_of(set: Set) -> impl Iterator<Item = usize> {
    (0..OPS).filter(move |i| set >> i & 1 == 1)
}

/// For every set of operations, the nodes that some order of it leads to: one for each proof they may hold.
struct Local {
    nodes: BTreeMap<Set, BTreeMap<Option<Vec<u8>>, Node>>,
    states: BTreeMap<Set, (State, usize)>,
    orders: usize,
}

impl Local {
    fn of(ops: &[VerifiedOp]) -> Self {
        let mut node = Node::follower(&MEMBERS);
        node.greet(9, None, 0);
        let mut local = Self { nodes: BTreeMap::new(), states: BTreeMap::new(), orders: 0 };
        local.visit(ops, 0, node);
        local
    }

    /// Every order in which a list can go on.
    fn visit(&mut self, ops: &[VerifiedOp], set: Set, mut node: Node) {
        self.orders += 1;
        let found = (node.state(), node.ahead());
        let expected = self.states.entry(set).or_insert_with(|| found.clone());
        assert_eq!(*expected, found, "CRDT-1: the order of {set:06b} shows");
        for i in members_of(!set) {
            let mut next = node.clone();
            next.give(9, &ops[i]);
            self.visit(ops, set | 1 << i, next);
        }
        let proof = node.replica.history().proof(&author(FORKER)).map(ForkProof::encode);
        self.nodes.entry(set).or_default().entry(proof).or_insert_with(|| {
            node.handle(Input::Disconnected(Peer(9)));
            node.sent.clear();
            node.broadcast.clear();
            node.events.clear();
            node
        });
    }
}

/// Every way to deal six operations to four nodes or to none, up to the names of the nodes.
fn deals() -> Vec<[Set; NODES]> {
    fn deal(i: usize, used: usize, sets: [Set; NODES], out: &mut Vec<[Set; NODES]>) {
        if i == OPS {
            return out.push(sets);
        }
        deal(i + 1, used, sets, out);
        for node in 0..NODES.min(used + 1) {
            let mut sets = sets;
            sets[node] |= 1 << i;
            deal(i + 1, used.max(node + 1), sets, out);
        }
    }
    let mut out = Vec::new();
    deal(0, 0, [0; NODES], &mut out);
    out
}

/// What four nodes that hold these sets must come to, told from the sets alone: the forker's chain that all count, or `None`
/// if it must be convicted.
///
/// A position of which one node holds two operations proves a fork, whatever they hang on. What one node counts all come to
/// hold; and then the same is asked again. Two operations that hang on nothing, at two nodes, are counted by nobody and
/// travel to nobody: they may stay unproven.
fn model(ops: &[VerifiedOp], deal: &[Set; NODES]) -> Option<Vec<OpId>> {
    let position = |i: usize| (ops[i].op().header().log, ops[i].op().header().seq);
    let forkers = |set: Set| members_of(set).filter(|&i| position(i).0.author == author(FORKER));
    let mut counted: Set = 0;
    loop {
        let before = counted;
        for set in deal {
            let held: Vec<usize> = forkers(set | counted).collect();
            let positions: BTreeSet<_> = held.iter().map(|&i| position(i)).collect();
            if positions.len() < held.len() {
                return None;
            }
            let mut head = OpId::ZERO;
            for i in held {
                // Operations of one branch are numbered along it, so one pass follows the chain.
                if ops[i].op().header().prev == head && position(i).1 == chain_len(ops, counted, head) {
                    head = ops[i].op().id();
                    counted |= 1 << i;
                }
            }
        }
        if counted == before {
            let mut chain: Vec<_> = forkers(counted).collect();
            chain.sort_by_key(|&i| position(i));
            return Some(chain.into_iter().map(|i| ops[i].op().id()).collect());
        }
    }
}

/// The position behind a head.
fn chain_len(ops: &[VerifiedOp], set: Set, head: OpId) -> u64 {
    members_of(set).find(|&i| ops[i].op().id() == head).map_or(0, |i| ops[i].op().header().seq + 1)
}

/// Every choice of one node for each set of a deal.
fn choices<'a>(local: &'a Local, deal: &[Set; NODES]) -> Vec<Vec<&'a Node>> {
    deal.iter().fold(vec![Vec::new()], |sofar, set| {
        let with = |chosen: &Vec<&'a Node>| {
            local.nodes[set].values().map(|node| [&chosen[..], &[node]].concat()).collect::<Vec<_>>()
        };
        sofar.iter().flat_map(with).collect()
    })
}

/// Runs one shape in full; returns how many networks were synced.
fn run(shape: Shape, deals: &[[Set; NODES]]) -> usize {
    let ops = shape.ops();
    let local = Local::of(&ops);
    assert_eq!(local.orders, 1957);
    let mut runs = 0;
    for deal in deals {
        let expected = model(&ops, deal);
        for chosen in choices(&local, deal) {
            let mut nodes: Vec<Node> = chosen.into_iter().cloned().collect();
            rename(&mut nodes, runs);
            let mut net = Net::mesh(nodes, &[]);
            net.settle(20);
            check(&mut net, &ops, deal, expected.as_deref());
            runs += 1;
        }
    }
    runs
}

/// One of the 24 orders of four nodes.
fn rename(nodes: &mut [Node], turn: usize) {
    nodes.rotate_left(turn % 4);
    nodes[1..].rotate_left(turn / 4 % 3);
    nodes[2..].rotate_left(turn / 12 % 2);
}

fn check(net: &mut Net, ops: &[VerifiedOp], deal: &[Set; NODES], expected: Option<&[OpId]>) {
    let all = deal.iter().fold(0, |all, set| all | set);
    let honest = members_of(all).filter(|&i| ops[i].op().header().log.author == author(HONEST)).count() as u64;
    let log = LogKey { author: author(FORKER), index: 0 };
    let first = net.nodes[0].state();
    for node in &mut net.nodes {
        assert_eq!(node.state(), first, "SYNC-1: {deal:?}");
        assert_eq!(node.is_forked(FORKER), expected.is_none(), "SYNC-3: {deal:?}");
        assert!(node.replica.history().forked().all(|proof| proof.author() == author(FORKER)), "nobody else forked");
        assert_eq!(node.len(HONEST, 0), honest, "SYNC-2: {deal:?}");
        let history = node.replica.history();
        let chain: Vec<_> = (0..history.tail(log).len).filter_map(|seq| history.id_at(log, seq)).collect();
        assert_eq!(chain, expected.unwrap_or_default(), "CRDT-4: {deal:?}");
    }
}

/// Runs many shapes; the counts say that nothing was left out.
fn run_all(shapes: &[Shape], expected: usize) {
    assert_eq!(shapes.len(), expected);
    let deals = deals();
    assert_eq!(deals.len(), 855);
    for &shape in shapes {
        assert!(run(shape, &deals) >= deals.len(), "{shape:?}");
    }
}

// Two tests of about the same length, so that two cores share them.

#[test]
fn forks_whose_left_branch_is_real() {
    let shapes: Vec<_> = shapes(0).into_iter().filter(|s| !s.left_is_cut).collect();
    run_all(&shapes, 23);
}

#[test]
fn forks_whose_left_branch_is_invented_and_forks_beside_an_honest_author() {
    let mut all: Vec<_> = shapes(0).into_iter().filter(|s| s.left_is_cut).collect();
    all.extend(shapes(1).into_iter().filter(|s| !s.left_is_cut && s.invented == 0));
    run_all(&all, 22);
}
