//! CRDT-1 and CRDT-6 at the replica: the same operations, in any order and however often, end in the same bytes; and what is
//! refused has a reason and changes nothing. What the generated sets hold, besides honest logs of three authors:
//!
//!  1. a fork anywhere in a log, its branches of any lengths
//!  2. a fork whose headers name invented ancestors
//!  3. two operations at one position of which one, or each, is invalid there
//!  4. operations over the quota, with others behind them
//!  5. a second log of an author, of the forker too
//!  6. a minute or an epoch that falls, an epoch that does not exist
//!  7. operations of a stranger
//!  8. forged operations: a victim as author, another's signature
//!  9. truncated, trailing and otherwise not canonical bytes
//! 10. another network's operations, replayed
mod support;

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, BUCKET_MS, LogKey, NetworkId, Op, OpId, Tail, Time, VerifiedOp};
use concurrence_protocol::{Frame, Reason};
use proptest::prelude::*;
use support::{
    Node,
    ops::{Chain, START, author, members, sign, sign_as},
};

/// Members: 1 and 2 write honestly, 3 uses up its quota, 4 forks, 5 breaks rules. 6 is a stranger.
const MEMBERS: [u8; 5] = [1, 2, 3, 4, 5];

/// Bytes to deliver, and why they must be refused, if it is known.
type Given = (Vec<u8>, Option<Reason>);

/// What is drawn at random.
#[derive(Clone, Debug)]
struct Plan {
    honest: [usize; 3],
    trunk: usize,
    branches: [usize; 2],
    /// Which of the right branch's operations name an invented ancestor, bit by bit.
    invented: u8,
    broken_at: usize,
    /// Which rule author 5 breaks.
    rule: u8,
    /// Whether it then signs a second operation for that position, valid or not.
    second: Option<bool>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let honest = [0..5usize, 0..4, 0..3];
    let fork = (0..4usize, [0..4usize, 0..4], any::<u8>());
    (honest, fork, 0..3usize, 0..3u8, prop::option::of(any::<bool>())).prop_map(
        |(honest, (trunk, branches, invented), broken_at, rule, second)| Plan {
            honest,
            trunk,
            branches,
            invented,
            broken_at,
            rule,
            second,
        },
    )
}

impl Plan {
    /// The properly signed operations of the plan.
    fn signed(&self) -> Vec<VerifiedOp> {
        let mut out = Chain::new(1, 0).ops(self.honest[0], "h");
        out.extend(Chain::new(1, 3).ops(self.honest[1], "second log"));
        out.extend(Chain::new(2, 0).ops(self.honest[2], "h"));
        // Seventeen of the longest operations fit into a minute's mebibyte; two more, and one of the next minute behind them.
        let mut full = Chain::new(3, 0);
        out.extend((0..19).map(|_| full.op(&vec![3; 61_000])));
        out.push(full.at(START.after_ms(BUCKET_MS)).op(b"behind"));
        out.extend(self.fork());
        out.extend(self.broken());
        out.extend(Chain::new(6, 0).ops(2, "stranger"));
        out
    }

    fn fork(&self) -> Vec<VerifiedOp> {
        let mut trunk = Chain::new(4, 1);
        let mut out = trunk.ops(self.trunk, "trunk");
        let mut right = trunk.clone();
        out.extend(trunk.ops(self.branches[0], "left"));
        for i in 0..self.branches[1] {
            if self.invented >> i & 1 == 1 && right.seq > 0 {
                right.prev = OpId::from_bytes([0xee; 32]);
            }
            out.push(right.op(b"right"));
        }
        out.extend(Chain::new(4, 0).ops(1, "other log"));
        out
    }

    fn broken(&self) -> Vec<VerifiedOp> {
        let mut chain = Chain::new(5, 0);
        let mut out = chain.ops(self.broken_at + 1, "fine");
        let good = chain.clone();
        let break_rule = |chain: &Chain| match self.rule {
            0 => chain.clone().at(Time::from_ms(0)),
            1 => Chain { epoch: 1, ..chain.clone() },
            _ => Chain { epoch: u32::MAX, ..chain.clone() },
        };
        let mut bad = break_rule(&chain);
        out.push(bad.op(b"breaks a rule"));
        out.extend(Chain { epoch: 0, declared: START, ..bad }.ops(1, "behind it"));
        match self.second {
            Some(true) => out.extend(good.clone().ops(2, "second thought")),
            Some(false) => out.push(break_rule(&good).op(b"breaks it again")),
            None => {}
        }
        out
    }

    /// Bytes that are no operation of this network, and why.
    fn junk(&self) -> Vec<(Vec<u8>, Reason)> {
        let good = Chain::new(1, 0).op(b"h0").op().bytes().to_vec();
        let mut foreign = Chain::new(1, 0).header();
        foreign.network = NetworkId::from_bytes([8; 32]);
        let forged = |victim: u8, seq| sign_as(Chain { seq, ..Chain::new(victim, 0) }.header(), b"forged", 5);
        let mut unsorted = Chain::new(1, 0).header();
        unsorted.refs = vec![OpId::from_bytes([2; 32]), OpId::from_bytes([1; 32])];
        vec![
            (good[..good.len() - 1].to_vec(), Reason::Encoding),
            ([&good[..], &[0]].concat(), Reason::Encoding),
            (sign(unsorted, b"", 1).op().bytes().to_vec(), Reason::Encoding),
            (sign(foreign, b"", 1).op().bytes().to_vec(), Reason::OtherNetwork),
            (forged(1, 0).bytes().to_vec(), Reason::Signature),
            (forged(2, 7).bytes().to_vec(), Reason::Signature),
            (forged(6, 0).bytes().to_vec(), Reason::Stranger),
            (Vec::new(), Reason::Encoding),
        ]
    }
}

/// What a set of operations amounts to, told without any of the code under test but the rule for one step.
fn model(ops: &[VerifiedOp]) -> (BTreeMap<LogKey, Tail>, BTreeSet<AuthorKey>) {
    let registry = members(&MEMBERS);
    let mut positions: BTreeMap<(LogKey, u64), BTreeMap<OpId, &Op>> = BTreeMap::new();
    for op in ops.iter().map(VerifiedOp::op).filter(|op| registry.number(&op.header().log.author).is_some()) {
        positions.entry((op.header().log, op.header().seq)).or_default().insert(op.id(), op);
    }
    let forked: BTreeSet<_> =
        positions.iter().filter(|(_, all)| all.len() > 1).map(|((log, _), _)| log.author).collect();
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

/// Delivers bytes in frames of their own, over and over, until a whole pass changes nothing. Buffers are bounded, so one pass
/// may not do.
fn deliver(given: &[Given]) -> Node {
    let mut node = Node::follower(&MEMBERS);
    node.greet(0, None, 0);
    for pass in 0.. {
        assert!(pass < 20, "still changing after {pass} passes");
        let before = node.state();
        for (bytes, reason) in given {
            give(&mut node, bytes, *reason);
        }
        if node.state() == before {
            return node;
        }
    }
    node
}

/// CRDT-6: either something is refused, for the expected reason, and nothing changed; or nothing is. A peer that was banned for what
/// it gave is followed by another one.
fn give(node: &mut Node, bytes: &[u8], reason: Option<Reason>) {
    let before = (node.state(), node.store.clone());
    node.events.clear();
    let banned = node.bans.len();
    node.frame(u32::try_from(banned).unwrap(), &Frame::Op(bytes.into()));
    if node.bans.len() > banned {
        node.greet(u32::try_from(node.bans.len()).unwrap(), None, 0);
    }
    let refused = node.take_refused();
    assert!(refused.len() <= 1, "{refused:?}");
    if let Some(reason) = reason {
        assert_eq!(refused, [reason]);
    }
    if !refused.is_empty() {
        assert_eq!(before, (node.state(), node.store.clone()), "CRDT-6: {refused:?} changed something");
    }
}

fn given(plan: &Plan) -> Vec<Given> {
    let signed = plan.signed().into_iter().map(|op| (op.op().bytes().to_vec(), None));
    let junk = plan.junk().into_iter().map(|(bytes, reason)| (bytes, Some(reason)));
    signed.chain(junk).collect()
}

/// A plan, the order in which it is delivered, and what is delivered twice.
fn deliveries() -> impl Strategy<Value = (Plan, Vec<Given>)> {
    let shuffled = plans().prop_flat_map(|plan| (Just(given(&plan)).prop_shuffle(), Just(plan)));
    (shuffled, prop::collection::vec(any::<prop::sample::Index>(), 0..20)).prop_map(|((mut order, plan), twice)| {
        let again: Vec<_> = twice.iter().map(|at| order[at.index(order.len())].clone()).collect();
        for (n, item) in again.into_iter().enumerate() {
            order.insert((n * 7) % order.len(), item);
        }
        (plan, order)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_gives_the_same_bytes((plan, order) in deliveries()) {
        let (mut shuffled, mut straight) = (deliver(&order), deliver(&given(&plan)));
        prop_assert_eq!(shuffled.state(), straight.state());
        let (tails, forked) = model(&plan.signed());
        let history = shuffled.replica.history();
        prop_assert_eq!(history.logs().collect::<BTreeMap<_, _>>(), tails);
        prop_assert_eq!(history.forked().map(|p| p.author()).collect::<BTreeSet<_>>(), forked);
        prop_assert!(history.proof(&author(1)).is_none() && history.proof(&author(2)).is_none());
    }
}

#[test]
fn case_3_the_first_of_two_invalid_operations_decides_nothing() {
    let plan =
        |second| Plan { honest: [0, 0, 0], trunk: 0, branches: [0, 0], invented: 0, broken_at: 1, rule: 0, second };
    for (second, is_forked) in [(None, false), (Some(true), true), (Some(false), true)] {
        let ops = plan(second).broken();
        let forwards: Vec<_> = ops.iter().map(|op| (op.op().bytes().to_vec(), None)).collect();
        let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
        for order in [forwards, backwards] {
            assert_eq!(deliver(&order).is_forked(5), is_forked, "{second:?}");
        }
    }
}

#[test]
fn case_4_the_quota_is_used_up_to_the_last_operation() {
    let plan = Plan { honest: [1, 1, 1], trunk: 0, branches: [0, 0], invented: 0, broken_at: 0, rule: 1, second: None };
    let node = deliver(&given(&plan));
    assert_eq!(node.len(3, 0), 17, "17 x 61,221 bytes fit into 1 MiB");
}

/// A valid operation is not refused for the invalid one that waited behind it.
#[test]
fn a_waiting_operations_fault_is_its_own() {
    let mut node = Node::follower(&MEMBERS);
    node.greet(9, None, 0);
    let mut chain = Chain::new(5, 0);
    let first = chain.op(b"fine");
    let behind = Chain { epoch: 7, ..chain }.op(b"no such epoch");
    node.give(9, &behind);
    assert_eq!(node.overhear(9, &Frame::Op(first.op().bytes().clone())), concurrence_protocol::Verdict::Accept);
    assert_eq!((node.take_refused(), node.len(5, 0)), (vec![], 1));
}
