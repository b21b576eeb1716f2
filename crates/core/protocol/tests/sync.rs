//! Sync: what makes replicas equal, and what an enemy may try against it (SYNC-1, SYNC-3 to SYNC-5).
//!
//!  1. nothing to do: equal frontiers cost 32 bytes and nothing more
//!  2. a thousand operations missing over a hundred logs: one pull, one answer, 5 kB beside the operations
//!  3. more than one answer holds: `more`, until there is no more; an asker who gives little credit, or none
//!  4. peers that claim another frontier in every round and never answer
//!  5. a frontier with logs of absurd length, or of strangers, or with honest authors called forked
//!  6. an answer that nobody asked for
//!  7. a pull while the last one is answered, a fetch while the last one is looked up
//!  8. a peer of another version, network or registry
//!  9. frames before a hello, after a refusal, or from nobody
//! 10. operations of a forked author behind the proof against it
//! 11. operations from the future: held, bounded, not spread, and admitted when their minute is near
//! 12. more operations ahead of their log than the buffer takes: what falls out comes back by sync
//! 13. ten thousand operations in reverse
//! 14. a store that lost rows: no panic, nobody convicted, the others serve
//! 15. a proof that is none, or of a stranger
//! 16. a flood of branches of a forked author: four are kept, each once, and found by their ids
//! 17. copies: told from news without looking at a signature
//! 18. a peer that leaves while it is answered
//! 19. a fork that peers' frontiers alone reveal, the branches of any lengths
//! 20. a hello that was lost, and a peer who asks for ours without end
//! 21. a cut that no transport noticed: nothing is lost, and the sides are equal soon after it heals
mod support;

use std::{collections::BTreeSet, sync::Arc};

use concurrence_crdt::{BUCKET_MS, Digest, Entry, Frontier, LogKey, NetworkId, Op, OpId, Signature, Time, VerifiedOp};
use concurrence_protocol::{
    DELTA_BYTES_MAX, Delta, Event, Frame, Hello, Input, OwnStart, PROTOCOL_VERSION, Peer, Reason, Refusal, Verdict,
    WAITING_OPS_MAX,
};
use support::{
    Net, Node, SYNC_INTERVAL_MS, config,
    ops::{Chain, START, author, sign},
};

/// A follower that was given these operations by a peer who left.
fn holder<'a>(authors: &[u8], ops: impl IntoIterator<Item = &'a VerifiedOp>) -> Node {
    let mut node = Node::follower(authors);
    node.greet(99, None, 0);
    ops.into_iter().for_each(|op| node.give(99, op));
    node.handle(Input::Disconnected(Peer(99)));
    node.sent.clear();
    node.broadcast.clear();
    node.events.clear();
    node
}

fn delta(ops: &[VerifiedOp], proofs: Vec<Vec<u8>>, more: bool) -> Frame {
    let ops = ops.iter().map(|op| Arc::clone(op.op().bytes())).collect();
    Frame::Delta(Delta { now: START, digest: Digest::from_bytes([1; 32]), more, proofs, ops })
}

fn pull(node: &Node, credit: u32, frontier: Frontier) -> Frame {
    Frame::Pull { now: node.now.wall, credit, frontier }
}

fn pulls(sent: &[(u32, Frame)]) -> Vec<u32> {
    sent.iter().filter(|(_, frame)| matches!(frame, Frame::Pull { .. })).map(|(peer, _)| *peer).collect()
}

/// Two branches behind a trunk, as operations of author 1.
fn fork(trunk: usize, left: usize, right: usize) -> (Vec<VerifiedOp>, Vec<VerifiedOp>, Vec<VerifiedOp>) {
    let mut chain = Chain::new(1, 0);
    let trunk = chain.ops(trunk, "trunk");
    (trunk, chain.clone().ops(left, "left"), chain.ops(right, "right"))
}

#[test]
fn case_01_nothing_to_do() {
    let ops = Chain::new(1, 0).ops(5, "a");
    let mut net = Net::mesh(vec![holder(&[1, 2], &ops), holder(&[1, 2], &ops)], &[]);
    net.carry();
    net.records = true;
    assert!(!net.round() && !net.round());
    for (_, _, bytes) in &net.carried {
        let frame = Frame::decode(bytes).unwrap();
        assert!(matches!(frame, Frame::Digest { .. }), "{frame:?}");
        assert_eq!(bytes.len(), 1 + 8 + 32 + 8, "a tag, a clock, 32 bytes and a count");
    }
    assert_eq!(net.carried.len(), 4, "one a node and round");
}

#[test]
fn case_02_a_thousand_missing() {
    let authors: Vec<u8> = (1..=25).collect();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (&n, index) in authors.iter().flat_map(|n| (0..4).map(move |index| (n, index))) {
        let mut chain = Chain::new(n, index);
        let mut write = |n| (0..n).map(|_| chain.op(&[7; 79])).collect::<Vec<_>>();
        old.extend(write(15));
        new.extend(write(10));
    }
    let size: usize = new.iter().map(|op| op.op().bytes().len()).sum();
    assert_eq!((new.len(), size), (1000, 300_000));
    let (mut behind, mut ahead) = (holder(&authors, &old), holder(&authors, old.iter().chain(&new)));
    behind.greet(1, None, 0);
    ahead.greet(0, None, 0);
    behind.sent.clear();
    ahead.sent.clear();

    let now = ahead.now.wall;
    behind.frame(1, &Frame::Digest { ops: u64::MAX, now, digest: ahead.digest() });
    let (_, asked) = behind.sent.pop_front().unwrap();
    assert!(behind.sent.is_empty() && matches!(Frame::decode(&asked), Ok(Frame::Pull { .. })));
    assert!(asked.len() < 5_200, "{}", asked.len());
    ahead.handle(Input::Frame { peer: Peer(0), bytes: asked });
    let (_, answer) = ahead.sent.pop_front().unwrap();
    assert!(ahead.sent.is_empty());
    assert!(answer.len() < size + 5_000, "{}", answer.len());
    behind.handle(Input::Frame { peer: Peer(1), bytes: answer });
    assert_eq!(behind.state(), ahead.state());
    assert!(behind.sent.is_empty() && behind.take_refused().is_empty());
}

#[test]
fn case_03_more_than_one_answer() {
    // 17 of the longest operations a minute and log fill a mebibyte; four logs are four answers' worth and more.
    let ops: Vec<_> = (0..4)
        .flat_map(|index| {
            let mut chain = Chain::new(1, index);
            (0..17).map(|_| chain.op(&[1; 61_000])).collect::<Vec<_>>()
        })
        .collect();
    let mut net = Net::mesh(vec![holder(&[1], &ops), Node::follower(&[1])], &[]);
    net.records = true;
    net.settle(10);
    let deltas: Vec<_> = net
        .carried
        .iter()
        .filter_map(|(_, to, bytes)| match Frame::decode(bytes) {
            Ok(Frame::Delta(delta)) if *to == 1 => Some(delta),
            _ => None,
        })
        .collect();
    assert!(deltas.len() >= 8, "{}", deltas.len());
    let size = |delta: &Delta| delta.ops.iter().map(|op| op.len()).sum::<usize>();
    assert!(deltas.iter().all(|delta| size(delta) <= DELTA_BYTES_MAX), "SYNC-5");
    assert_eq!(deltas.iter().map(|delta| delta.ops.len()).sum::<usize>(), ops.len(), "each is sent once");
    assert!(deltas.iter().rev().skip(1).all(|delta| delta.more) && !deltas.last().unwrap().more);
}

#[test]
fn case_03_little_credit() {
    let ops = Chain::new(1, 0).ops(5, "a");
    let mut node = holder(&[1], &ops);
    node.greet(0, None, 0);
    let answer = |node: &mut Node, credit| {
        node.take_sent();
        node.frame(0, &pull(node, credit, Frontier::default()));
        let [(0, Frame::Delta(delta))] = &node.take_sent()[..] else { panic!("one answer") };
        (delta.ops.len(), delta.more)
    };
    let size = u32::try_from(ops[0].op().bytes().len()).unwrap();
    assert_eq!(answer(&mut node, 0), (0, true));
    assert_eq!(answer(&mut node, 1), (1, true), "one operation goes however little the credit, or nothing ever would");
    assert_eq!(answer(&mut node, 2 * size), (2, true));
    assert_eq!(answer(&mut node, 2 * size + 1), (2, true), "SYNC-5");
    assert_eq!(answer(&mut node, u32::MAX), (5, false));
}

/// The credit ends where a log does, and the first operation of the next log is larger than what is left: it is not sent, and
/// the answer says that there is more. (An answer that claimed to be whole would let a recovering node append too early.)
#[test]
fn case_03_credit_that_ends_between_logs() {
    let (small, large) = (Chain::new(1, 0).op(b"small"), Chain::new(1, 1).op(&[1; 1_000]));
    let mut node = holder(&[1], [&small, &large]);
    node.greet(7, None, 0);
    node.take_sent();
    let credit = u32::try_from(small.op().bytes().len() + 100).unwrap();
    let ask = pull(&node, credit, Frontier::default());
    node.frame(7, &ask);
    let [(7, Frame::Delta(delta))] = &node.take_sent()[..] else { panic!("one answer") };
    assert_eq!((delta.ops.as_slice(), delta.more), (&[small.op().bytes().clone()][..], true));
}

#[test]
fn case_04_liars_who_never_answer() {
    let mut chain = Chain::new(1, 0);
    let mut net = Net::mesh(vec![Node::follower(&[1]), Node::follower(&[1])], &[]);
    net.nodes[1].greet(99, None, 0);
    net.carry();
    net.nodes[0].greet(7, None, 0);
    net.nodes[0].greet(8, None, 0);
    let mut rounds = 0;
    for lie in 0..40u8 {
        // The liars speak first, and claim something new each time.
        for liar in [7, 8] {
            let now = net.nodes[0].now.wall;
            net.nodes[0].frame(liar, &Frame::Digest { ops: u64::MAX, now, digest: Digest::from_bytes([lie; 32]) });
        }
        let op = chain.op(b"news");
        net.nodes[1].give(99, &op);
        while !net.is_equal() {
            rounds += 1;
            assert!(rounds < 400, "sync is stalled");
            net.round();
        }
        assert_eq!(net.nodes[0].len(1, 0), u64::from(lie) + 1, "only what was delivered counts");
    }
    // News takes a few rounds, not a timeout each.
    assert!(rounds <= 40 * 8, "{rounds} rounds for 40 pieces of news");
}

#[test]
fn case_04_a_liar_is_asked_ever_less() {
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    node.take_sent();
    let (mut asked, minutes) = (0, 5);
    for second in 0..minutes * 60u64 {
        let digest = Digest::from_bytes([u8::try_from(second % 251).unwrap() + 1; 32]);
        node.frame(7, &Frame::Digest { ops: u64::MAX, now: node.now.wall, digest });
        node.wait(1_000);
        asked += pulls(&node.take_sent()).len();
    }
    // Five seconds' waiting and up to eight seconds' pause each.
    assert!((20..40).contains(&asked), "{asked} questions in {minutes} minutes");
    assert_eq!(node.replica.history().ops(), 0);
}

#[test]
fn case_05_absurd_frontiers() {
    let mut node = holder(&[1, 2, 3], &Chain::new(1, 0).ops(3, "a"));
    node.greet(7, None, 0);
    node.take_sent();
    let before = (node.state(), node.store.clone());
    let head = OpId::from_bytes([9; 32]);
    for (authors, len) in [(0..3, 1), (0..3, u64::MAX), (3..4000, 1), (60_000..65_535, u64::MAX)] {
        for forked in [vec![], vec![0, 1, 2], vec![500, 65_535]] {
            let entries =
                authors.clone().map(|author| Entry { author, log: 3, len, head, certified: 0 }).take(4096).collect();
            let frame = pull(&node, 1 << 20, Frontier { entries, forked, ..Frontier::default() });
            node.frame(7, &frame);
            node.wait(10_000);
        }
    }
    assert_eq!(before, (node.state(), node.store.clone()), "a claim is not a fact");
    // It was answered each time, and asked for what it claims.
    let sent = node.take_sent();
    assert!(sent.iter().filter(|(_, frame)| matches!(frame, Frame::Delta(_))).count() == 12);
    assert!(!pulls(&sent).is_empty());
}

#[test]
fn case_06_unasked_answers() {
    let mut node = Node::follower(&[1, 2]);
    node.greet(7, None, 0);
    let mut chain = Chain::new(1, 0);
    let (first, gap, last) = (chain.op(b"0"), chain.op(b"1"), chain.op(b"2"));
    node.frame(7, &delta(&[first.clone(), last], vec![], true));
    assert_eq!((node.len(1, 0), node.ahead()), (1, 1), "what it carries is judged like anything else");
    node.frame(7, &delta(&[first], vec![], true));
    assert_eq!(node.take_refused(), [Reason::Duplicate]);
    node.frame(7, &delta(&[gap], vec![], false));
    assert_eq!((node.len(1, 0), node.ahead()), (3, 0));
}

#[test]
fn case_07_busy() {
    let ops = Chain::new(1, 0).ops(3, "a");
    let mut node = holder(&[1], &ops);
    node.greet(7, None, 0);
    node.greet(8, None, 0);
    node.take_sent();
    node.holds_reads = true;
    let ask = pull(&node, 1 << 20, Frontier::default());
    node.frame(7, &ask);
    node.frame(7, &ask);
    assert_eq!(node.take_refused(), [Reason::Busy]);
    node.frame(8, &ask);
    assert_eq!(node.take_refused(), [], "each peer has an answer of its own");
    let fetch = Frame::Fetch(ops[1].op().id());
    node.frame(7, &fetch);
    node.frame(7, &fetch);
    node.frame(8, &fetch);
    assert_eq!(node.take_refused(), [Reason::Busy]);
    assert_eq!(node.take_sent(), []);
    node.read();
    let sent = node.take_sent();
    let count =
        |peer, op: bool| sent.iter().filter(|(to, frame)| *to == peer && matches!(frame, Frame::Op(_)) == op).count();
    assert_eq!([count(7, false), count(8, false), count(7, true), count(8, true)], [1, 1, 1, 1]);
    // Answered once, it may ask again.
    node.frame(7, &ask);
    node.frame(7, &fetch);
    assert_eq!((node.take_sent().len(), node.take_refused()), (2, vec![]));
    // An operation that nobody has is no answer, and does not block the next question.
    node.frame(7, &Frame::Fetch(OpId::from_bytes([1; 32])));
    node.frame(7, &fetch);
    assert_eq!((node.take_sent().len(), node.take_refused()), (1, vec![]));
}

#[test]
fn case_08_other_networks() {
    let other = Digest::from_bytes([8; 32]);
    for refusal in [Refusal::Version, Refusal::Network, Refusal::Registry] {
        let mut node = holder(&[1], &Chain::new(1, 0).ops(2, "a"));
        node.handle(Input::Connected { peer: Peer(7), author: None });
        let mut hello = node.hello(0);
        match refusal {
            Refusal::Version => hello.version = PROTOCOL_VERSION + 1,
            Refusal::Network => hello.network = NetworkId::from_bytes([8; 32]),
            _ => hello.registry = other,
        }
        node.take_sent();
        node.frame(7, &Frame::Hello(hello));
        assert_eq!(node.take_sent(), [(7, Frame::Refuse(refusal))]);
        assert_eq!(node.events, [Event::PeerRefused { peer: Peer(7), refusal, by_peer: false }]);
        let (_, session) = node.replica.peers().next().unwrap();
        assert_eq!((session.greeted, session.refusal, session.clock_offset_ms), (false, Some(refusal), None));
        node.events.clear();
        let ask = pull(&node, 1 << 20, Frontier::default());
        node.frame(7, &ask);
        assert_eq!((node.take_sent(), node.take_refused()), (vec![], vec![Reason::NoHello]));

        // Told so by the peer, the node stops talking to it too.
        let mut node = Node::follower(&[1]);
        node.greet(7, None, 0);
        node.take_sent();
        node.frame(7, &Frame::Refuse(refusal));
        assert_eq!(node.events, [Event::PeerRefused { peer: Peer(7), refusal, by_peer: true }]);
        node.wait(10 * SYNC_INTERVAL_MS);
        assert_eq!(node.take_sent(), []);
    }
}

#[test]
fn case_09_no_hello() {
    let op = Chain::new(1, 0).op(b"a");
    let mut node = Node::follower(&[1]);
    let everything = [
        Frame::Digest { ops: u64::MAX, now: START, digest: Digest::from_bytes([1; 32]) },
        pull(&node, 1, Frontier::default()),
        delta(std::slice::from_ref(&op), vec![], false),
        Frame::Op(op.op().bytes().clone()),
        Frame::Proof(Vec::new()),
        Frame::Fetch(op.op().id()),
    ];
    let before = node.state();
    for frame in &everything {
        node.frame(7, frame);
        assert_eq!(
            (node.events.len(), node.overhear(7, frame)),
            (0, Verdict::Ignore),
            "a stranger is not even counted"
        );
    }
    node.handle(Input::Connected { peer: Peer(7), author: None });
    node.take_sent();
    for frame in &everything {
        node.frame(7, frame);
        assert_eq!(node.take_refused(), [Reason::NoHello]);
        assert_eq!(node.overhear(7, frame), Verdict::Ignore);
        node.events.clear();
    }
    assert_eq!((node.state(), node.take_sent()), (before, vec![]));
    // A hello that comes late is good enough.
    let hello = node.hello(0);
    node.frame(7, &Frame::Hello(hello));
    node.give(7, &op);
    assert_eq!(node.len(1, 0), 1);
}

#[test]
fn case_10_proofs_come_first() {
    let (trunk, left, right) = fork(1, 1, 1);
    let knows = holder(&[1, 2], trunk.iter().chain(&left).chain(&right));
    assert!(knows.is_forked(1));
    // The node holds the trunk; the answer brings the proof and nothing of the author.
    let mut net = Net::mesh(vec![knows, holder(&[1, 2], &trunk)], &[]);
    net.records = true;
    net.settle(10);
    assert!(net.nodes[1].is_forked(1) && net.nodes[1].replica.history().ops() == 0);
    for (_, _, bytes) in &net.carried {
        let Ok(Frame::Delta(delta)) = Frame::decode(bytes) else { continue };
        assert!(delta.ops.is_empty(), "nobody sends what does not count");
    }
    // In one frame: the proof is taken before the operations are looked at.
    let proof = net.nodes[0].replica.history().forked().next().unwrap().encode();
    let mut node = Node::follower(&[1, 2]);
    node.greet(7, None, 0);
    node.frame(7, &delta(&trunk, vec![proof], false));
    assert!(node.is_forked(1) && !node.events.iter().any(|event| matches!(event, Event::Admitted(_))));
}

#[test]
fn case_11_the_future() {
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    let mut chain = Chain::new(1, 0);
    let near = chain.clone().at(START.after_ms(3 * BUCKET_MS - 1)).op(b"two minutes ahead");
    let mut far = chain.clone().at(START.after_ms(3 * BUCKET_MS));
    let held = far.ops(200, "three minutes ahead");
    let before = (node.state(), node.store.clone());
    for op in &held {
        assert_eq!(
            node.overhear(7, &Frame::Op(op.op().bytes().clone())),
            Verdict::Ignore,
            "no quota bounds it: not spread"
        );
    }
    assert_eq!(before, (node.state(), node.store.clone()));
    assert_eq!(node.held(), WAITING_OPS_MAX, "SYNC-4");
    // When its minute is two ahead, what was held counts; the rest comes by sync.
    node.wait(BUCKET_MS - 1);
    assert_eq!((node.len(1, 0), node.held()), (0, WAITING_OPS_MAX));
    node.wait(1);
    assert_eq!((node.len(1, 0), node.held()), (WAITING_OPS_MAX as u64, 0));
    // At the edge it is not held at all.
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    assert_eq!(node.overhear(7, &Frame::Op(near.op().bytes().clone())), Verdict::Accept);
    assert_eq!(node.len(1, 0), 1);
    // At the end of time nothing is ahead of the clock.
    chain.declared = Time::from_ms(u64::MAX);
    node.now.wall = Time::from_ms(u64::MAX);
    let last = Chain { seq: 1, prev: near.op().id(), ..chain }.op(b"end");
    node.give(7, &last);
    assert_eq!(node.len(1, 0), 2);
    node.wait(u64::MAX - node.now.mono_ms);
}

#[test]
fn case_12_the_ahead_buffer() {
    let mut chain = Chain::new(1, 0);
    let small = chain.ops(200, "small");
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    small[1..].iter().for_each(|op| node.give(7, op));
    assert_eq!((node.ahead(), node.len(1, 0)), (WAITING_OPS_MAX, 0), "SYNC-4");
    node.give(7, &small[0]);
    assert_eq!((node.ahead(), node.len(1, 0)), (0, 1 + WAITING_OPS_MAX as u64), "the nearest were kept");
    // By bytes: four of the longest are below 256 KiB, a fifth is not.
    let mut chain = Chain::new(1, 1);
    let large: Vec<_> = (0..10).map(|_| chain.op(&[1; 61_000])).collect();
    large[1..].iter().rev().for_each(|op| node.give(7, op));
    assert_eq!(node.ahead(), 4, "SYNC-4");
    // What fell out comes back.
    node.handle(Input::Disconnected(Peer(7)));
    let mut net = Net::mesh(vec![holder(&[1], small.iter().chain(&large)), node], &[]);
    net.settle(20);
    assert_eq!((net.nodes[1].len(1, 0), net.nodes[1].len(1, 1), net.nodes[1].ahead()), (200, 10, 0));
}

#[test]
fn case_13_ten_thousand_in_reverse() {
    let minutes = 10_000 / 240 + 1;
    let mut chain = Chain::new(1, 0);
    let ops: Vec<_> = (0..10_000u64)
        .map(|i| {
            chain.declared = Time::from_ms(START.ms() - minutes * BUCKET_MS + i / 240 * BUCKET_MS);
            chain.op(&i.to_be_bytes())
        })
        .collect();
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    // As fast as a peer may send what is of no use yet.
    for op in ops.iter().rev() {
        node.give(7, op);
        node.wait(5);
    }
    assert_eq!((node.ahead(), node.len(1, 0)), (0, 1 + WAITING_OPS_MAX as u64));
    assert_eq!(node.bans, []);
    assert!(node.take_sent().len() < 20_000, "a gap is asked about now and then, not with each operation");
    node.handle(Input::Disconnected(Peer(7)));
    let mut net = Net::mesh(vec![holder(&[1], &ops), node], &[]);
    net.settle(20);
    assert_eq!(net.nodes[1].len(1, 0), 10_000);
}

#[test]
fn case_14_lost_rows() {
    let mut chain = Chain::new(1, 0);
    let (ops, twin) = (chain.ops(6, "a"), Chain::new(1, 0).op(b"twin"));
    let log = LogKey { author: author(1), index: 0 };
    let mut rotten = holder(&[1, 2], &ops);
    rotten.store.lost = [(log, 0), (log, 3)].into();
    // A conflict cannot be proven while the other half is lost; nothing changes, and nobody panics.
    rotten.greet(7, None, 0);
    let before = rotten.state();
    rotten.give(7, &twin);
    assert_eq!((rotten.state(), rotten.is_forked(1)), (before, false));
    // It does not stand in the way of a later one that can be.
    let mut proven = rotten.clone();
    proven.store.lost.remove(&(log, 0));
    proven.give(7, &twin);
    assert!(proven.is_forked(1));
    // Behind the lost row nothing can be served; what is before it is, and another peer has the rest.
    rotten.handle(Input::Disconnected(Peer(7)));
    rotten.store.lost = [(log, 3)].into();
    let mut net = Net::mesh(vec![rotten.clone(), Node::follower(&[1, 2])], &[]);
    for _ in 0..5 {
        net.round();
    }
    assert_eq!(net.nodes[1].len(1, 0), 3);
    let mut net = Net::mesh(vec![rotten, Node::follower(&[1, 2]), holder(&[1, 2], &ops)], &[]);
    net.settle(20);
    assert_eq!(net.nodes[1].len(1, 0), 6);
    assert!(net.nodes.iter().all(|node| !node.is_forked(1)));
}

#[test]
fn case_15_no_proofs() {
    let (trunk, left, right) = fork(1, 1, 1);
    let forked = holder(&[1, 2], trunk.iter().chain(&left).chain(&right));
    let good = forked.replica.history().forked().next().unwrap().encode();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let halves = (good[..good.len() / 2].to_vec(), good[good.len() / 2..].to_vec());
    let swapped = [halves.1.clone(), halves.0.clone()].concat();
    let twice = [halves.0.clone(), halves.0.clone()].concat();
    let mut node = holder(&[1, 2], &trunk);
    node.greet(7, None, 0);
    let before = (node.state(), node.store.clone());
    for bad in [vec![], halves.0, flipped, swapped, twice, [&good[..], &[0]].concat()] {
        assert_eq!(node.overhear(7, &Frame::Proof(bad)), Verdict::Reject);
        assert_eq!(node.take_refused(), [Reason::Proof]);
        assert_eq!(before, (node.state(), node.store.clone()));
    }
    // A good one against somebody who is no member here.
    let mut elsewhere = Node::follower(&[2, 3]);
    elsewhere.greet(7, None, 0);
    assert_eq!(elsewhere.overhear(7, &Frame::Proof(good.clone())), Verdict::Reject);
    assert_eq!(elsewhere.take_refused(), [Reason::Proof]);
    // A good one: told to all, once.
    assert_eq!(node.overhear(7, &Frame::Proof(good.clone())), Verdict::Accept);
    assert_eq!(node.take_broadcast(), [Frame::Proof(good.clone())]);
    assert_eq!(node.overhear(7, &Frame::Proof(good)), Verdict::Ignore);
    assert_eq!((node.take_refused(), node.take_broadcast()), (vec![Reason::Duplicate], vec![]));
}

#[test]
fn case_16_a_flood_of_branches() {
    let branches: Vec<_> = (0..50).map(|i: u32| Chain::new(1, 0).op(&i.to_be_bytes())).collect();
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    // What waited for others, or for its minute, goes with the conviction.
    node.give(7, &Chain { seq: 9, ..Chain::new(1, 1) }.op(b"ahead"));
    node.give(7, &Chain::new(1, 2).at(START.after_ms(10 * BUCKET_MS)).op(b"held"));
    assert_eq!((node.ahead(), node.held()), (1, 1));
    for op in branches.iter().flat_map(|op| [op, op, op]) {
        node.give(7, op);
    }
    assert!(node.is_forked(1));
    assert_eq!((node.ahead(), node.held()), (0, 0));
    assert_eq!(node.store.quarantine[&author(1)].len(), 4, "SYNC-4: a few branches, each once");
    assert_eq!(node.take_broadcast().len(), 1, "one proof is enough");
    assert_eq!(node.take_refused().last(), Some(&Reason::Forked));
    node.take_sent();
    for &id in &node.store.quarantine[&author(1)].clone() {
        node.frame(7, &Frame::Fetch(id));
        let [(7, Frame::Op(bytes))] = &node.take_sent()[..] else { panic!("quarantined operations are served") };
        assert_eq!(Op::decode(bytes, support::ops::NETWORK).unwrap().id(), id);
    }
    let kept: BTreeSet<_> = branches.iter().map(|op| op.op().id()).collect();
    assert!(node.store.quarantine[&author(1)].is_subset(&kept));
}

#[test]
fn case_17_copies() {
    let mut node = Node::follower(&[1, 2]);
    node.greet(7, None, 0);
    let mut chain = Chain::new(1, 0);
    let (admitted, _gap, waiting) = (chain.op(b"0"), chain.op(b"1"), chain.op(b"2"));
    let held = Chain::new(1, 1).at(START.after_ms(10 * BUCKET_MS)).op(b"later");
    let invalid = sign(Chain { epoch: 9, ..Chain::new(1, 2) }.header(), b"no such epoch", 1);
    for op in [&admitted, &waiting, &held, &invalid] {
        node.give(7, op);
    }
    assert_eq!(node.take_refused(), [Reason::Invalid]);
    for op in [&admitted, &waiting, &held, &invalid] {
        // With a signature that does not verify: nobody looks at it.
        let copy = Op::join(op.op().header().clone(), op.op().payload(), Signature::from_bytes([0; 64]));
        node.give_bytes(7, &copy);
        assert_eq!(node.take_refused(), [Reason::Duplicate]);
    }
    // Nor at one of an operation that is in quarantine.
    let (left, right) = (Chain::new(2, 0).op(b"left"), Chain::new(2, 0).op(b"right"));
    node.give(7, &left);
    node.give(7, &right);
    assert_eq!(node.store.quarantine[&author(2)], [right.op().id()].into());
    node.take_refused();
    let copy = Op::join(right.op().header().clone(), right.op().payload(), Signature::from_bytes([0; 64]));
    node.give_bytes(7, &copy);
    assert_eq!(node.take_refused(), [Reason::Duplicate]);
}

#[test]
fn case_18_a_peer_that_leaves() {
    let ops = Chain::new(1, 0).ops(3, "a");
    let mut node = holder(&[1], &ops);
    node.greet(7, None, 0);
    node.holds_reads = true;
    let ask = pull(&node, 1 << 20, Frontier::default());
    node.frame(7, &ask);
    node.frame(7, &Frame::Fetch(ops[0].op().id()));
    node.handle(Input::Disconnected(Peer(7)));
    node.take_sent();
    node.read();
    assert_eq!(node.take_sent(), [], "the answer went with the asker");
    node.greet(7, None, 0);
    node.take_sent();
    node.frame(7, &ask);
    assert_eq!((node.take_sent().len(), node.take_refused()), (1, vec![]));
    // Leaving while it is asked frees the question for others.
    let mut node = Node::follower(&[1]);
    for peer in [1, 2, 3] {
        node.handle(Input::Connected { peer: Peer(peer), author: None });
        let hello = Hello { digest: Digest::from_bytes([9; 32]), ..node.hello(0) };
        node.frame(peer, &Frame::Hello(hello));
    }
    assert_eq!(pulls(&node.take_sent()), [1, 2], "two at a time");
    node.handle(Input::Disconnected(Peer(1)));
    node.wait(SYNC_INTERVAL_MS);
    assert_eq!(pulls(&node.take_sent()), [3]);
}

#[test]
fn case_19_forks_by_frontiers() {
    for (trunk, left, right) in [(0, 1, 1), (0, 1, 9), (0, 9, 1), (3, 4, 4), (3, 1, 30), (5, 30, 1), (40, 2, 3)] {
        let (trunk, left, right) = fork(trunk, left, right);
        let honest = Chain::new(2, 0).ops(3, "h");
        let a = holder(&[1, 2], trunk.iter().chain(&left).chain(&honest));
        let b = holder(&[1, 2], trunk.iter().chain(&right));
        let mut alone = Net::mesh(vec![a.clone(), b.clone()], &[]);
        alone.settle(10);
        assert!(alone.nodes.iter().all(|node| node.is_forked(1) && !node.is_forked(2)), "SYNC-3");
        let c = holder(&[1, 2], &trunk);
        // a and b never hear one another: the third carries it.
        let mut net = Net::mesh(vec![a, b, c], &[]);
        net.cut.insert((0, 1));
        net.settle(40);
        for node in &net.nodes {
            assert!(node.is_forked(1) && !node.is_forked(2), "SYNC-3");
            assert_eq!((node.len(1, 0), node.len(2, 0)), (0, 3));
        }
    }
}

#[test]
fn case_20_lost_hellos() {
    let ops = Chain::new(1, 0).ops(3, "a");
    for lost in [vec![0], vec![1], vec![0, 1]] {
        let mut net = Net::mesh(vec![holder(&[1], &ops), Node::follower(&[1])], &[]);
        lost.iter().for_each(|&i| net.nodes[i].sent.clear());
        net.settle(10);
        assert_eq!(net.nodes[1].len(1, 0), 3, "lost by {lost:?}");
    }
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    node.take_sent();
    for _ in 0..100 {
        node.frame(7, &Frame::Refuse(Refusal::NoHello));
    }
    node.wait(SYNC_INTERVAL_MS);
    let hellos = node.take_sent().iter().filter(|(_, frame)| matches!(frame, Frame::Hello(_))).count();
    assert_eq!(hellos, 1, "one a round");
}

#[test]
fn case_21_silent_cuts() {
    const MEMBERS: [u8; 4] = [1, 2, 3, 4];
    let nodes = MEMBERS.iter().map(|&own| Node::new(config(&MEMBERS, Some(own)), OwnStart::Append)).collect();
    let mut net = Net::mesh(nodes, &MEMBERS);
    net.carry();
    let mut appended = 0;
    for second in 0..600 {
        // Cut in two for a minute, whole for another.
        let is_cut = second % 120 >= 60;
        net.cut = if is_cut { [(0, 2), (0, 3), (1, 2), (1, 3)].into() } else { BTreeSet::new() };
        for (i, own) in MEMBERS.into_iter().enumerate().filter(|(i, _)| second % 5 == *i) {
            net.nodes[i].append(own, b"tick").expect("both sides keep appending");
            appended += 1;
        }
        net.round();
        if second % 120 == 15 {
            assert!(net.is_equal(), "SYNC-1: not equal 15 s after healing, at {second} s");
        }
    }
    net.cut.clear();
    let rounds = net.settle(15);
    assert!(net.nodes.iter().all(|node| node.replica.history().ops() == appended), "SYNC-2, after {rounds} rounds");
    assert!(net.nodes.iter().all(|node| node.replica.history().forked().count() == 0), "NODE-1");
}

/// STORE-2: what the store kept gives the same state again.
#[test]
fn a_restart_changes_nothing() {
    let (trunk, left, right) = fork(2, 2, 2);
    let honest = Chain::new(2, 0).ops(5, "h");
    let mut node = holder(&[1, 2], trunk.iter().chain(&left).chain(&honest).chain(&right));
    let mut again = Node::new(config(&[1, 2], None), OwnStart::Append);
    for proof in node.store.proofs.values() {
        again.replica.restore_proof(concurrence_protocol::decode_proof(proof, support::ops::NETWORK).unwrap());
    }
    for bytes in node.store.logs.values().flatten() {
        let op = VerifiedOp::from_own_store(Op::decode(bytes, support::ops::NETWORK).unwrap());
        assert_eq!(again.replica.restore(&op), op.op().header().log.author == author(2));
        assert!(!again.replica.restore(&op), "a row counts once");
    }
    assert_eq!(again.state(), node.state());
}
