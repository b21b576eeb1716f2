//! Peers that misbehave: what they may cost (SYNC-4, SYNC-5), and when they are banned (NET-2).
//!
//!  1. garbage: the tenth frame bans, members for less long; nothing of the banned is read, nothing is said to them
//!  2. hanging up wipes nothing out: the account, and the ban, wait for the peer
//!  3. frames that bring nothing: so many at once, so many a second, then a ban; nobody else pays for it
//!  4. signature checks that bring nothing: over the budget what comes is ignored, not rejected, and sync repairs
//!  5. a full answer of what is new costs its sender nothing
//!  6. answers that nobody asked for
//!  7. pulls without end: the asker is paced, and never gets more than its budget
//!  8. a newcomer that fetches a long history: at the promised rate
//!  9. look-ups by id over the budget
//! 10. liars who are silent or have nothing are asked rarely, and are not banned: a bad link looks the same
//! 11. what the transport could not read counts like a frame that is none
mod support;

use std::sync::Arc;

use concurrence_crdt::{BUCKET_MS, Digest, Frontier, Op, Signature, Time, VerifiedOp};
use concurrence_protocol::{Ban, Delta, Fault, Frame, Input, Peer, Reason, Verdict};
use support::{
    Net, Node, SYNC_INTERVAL_MS,
    ops::{Chain, START, author},
};

const OTHER: Digest = Digest::from_bytes([9; 32]);

fn digest(node: &Node, n: u64) -> Frame {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Frame::Digest { now: node.now.wall, digest: Digest::from_bytes(bytes), ops: 0 }
}

fn delta(ops: &[VerifiedOp], more: bool) -> Frame {
    let ops = ops.iter().map(|op| Arc::clone(op.op().bytes())).collect();
    Frame::Delta(Delta { now: START, digest: OTHER, more, proofs: Vec::new(), ops })
}

fn forged(op: &VerifiedOp) -> Op {
    Op::join(op.op().header().clone(), op.op().payload(), Signature::from_bytes([5; 64]))
}

/// Operations of 61 kB of author 1, in minutes long past.
fn large(count: usize) -> Vec<VerifiedOp> {
    let mut chain = Chain::new(1, 0);
    let minutes = count as u64 / 17 + 1;
    let one = |i: usize| {
        chain.declared = Time::from_ms(START.ms() - (minutes - i as u64 / 17) * BUCKET_MS);
        chain.op(&[1; 61_000])
    };
    (0..count).map(one).collect()
}

fn score(node: &Node, peer: u32) -> i64 {
    let (_, session) = node.replica.peers().find(|(number, _)| number.0 == peer).unwrap();
    session.account.score(node.now.mono_ms)
}

#[test]
fn case_01_garbage() {
    for (member, for_ms) in [(None, 30_000), (Some(2), 5_000)] {
        let mut node = Node::follower(&[1, 2]);
        node.greet(7, member, 0);
        node.take_sent();
        let garbage = |node: &mut Node| node.handle(Input::Frame { peer: Peer(7), bytes: vec![99; 10] });
        for n in 0..9 {
            garbage(&mut node);
            assert_eq!((score(&node, 7), node.bans.len()), ((n + 1) * 100, 0));
        }
        garbage(&mut node);
        assert_eq!(node.bans, [(7, Ban { for_ms, fault: Fault::Refused(Reason::Frame) })], "NET-2");
        assert_eq!(node.take_refused(), [Reason::Frame; 10]);

        // Neither read nor spoken to, not even in the rounds.
        let op = Chain::new(1, 0).op(b"news");
        assert_eq!(node.overhear(7, &Frame::Op(Arc::clone(op.op().bytes()))), Verdict::Ignore);
        assert_eq!((node.take_refused(), node.len(1, 0)), (vec![Reason::Banned], 0));
        while node.now.mono_ms < 1_000_000 + for_ms - 1_000 {
            node.wait(1_000);
        }
        assert_eq!(node.take_sent(), []);
        // Afterwards the conversation goes on.
        node.wait(1_000);
        node.give(7, &op);
        assert_eq!((node.len(1, 0), node.take_refused(), node.take_sent().len()), (1, vec![], 1));
    }
}

#[test]
fn case_02_hanging_up() {
    let mut node = Node::follower(&[1]);
    let garbage = |node: &mut Node| node.handle(Input::Frame { peer: Peer(7), bytes: Vec::new() });
    for _ in 0..9 {
        node.greet(7, None, 0);
        garbage(&mut node);
        node.handle(Input::Disconnected(Peer(7)));
    }
    assert_eq!(node.bans, []);
    node.greet(7, None, 0);
    garbage(&mut node);
    assert_eq!(node.bans.len(), 1);
    node.handle(Input::Disconnected(Peer(7)));
    node.take_sent();
    node.wait(10_000);
    node.greet(7, None, 0);
    let rest = Ban { for_ms: 20_000, fault: Fault::Refused(Reason::Banned) };
    assert_eq!(node.bans[1..], [(7, rest)], "the transport is told again");
    assert_eq!(node.take_sent(), []);

    // Accounts of those who left and owe nothing are not kept, and there are never more than a bound of others.
    for peer in 0..3_000 {
        node.greet(peer, None, 0);
        if peer % 2 == 0 {
            node.handle(Input::Frame { peer: Peer(peer), bytes: Vec::new() });
        }
        node.handle(Input::Disconnected(Peer(peer)));
    }
    let kept = |node: &Node| node.replica.buffers().into_iter().find(|b| b.0 == "departed").unwrap().1;
    assert_eq!(kept(&node), 1_024, "SYNC-4");
    node.wait(4_000_000);
    node.greet(1, None, 0);
    node.handle(Input::Disconnected(Peer(1)));
    assert_eq!(kept(&node), 1, "this one said hello a moment ago");
}

#[test]
fn case_03_a_flood_of_frames() {
    let mut node = Node::follower(&[1]);
    node.greet(8, None, 0);
    node.greet(7, None, 0);
    // The hello was one.
    for n in 1..2_000 {
        let frame = digest(&node, n);
        node.frame(7, &frame);
    }
    assert_eq!((node.take_refused(), score(&node, 7)), (vec![], 0));
    // Two hundred a second are borne for ever.
    for n in 0..3_000 {
        node.wait(5);
        let frame = digest(&node, n);
        node.frame(7, &frame);
    }
    assert_eq!((node.take_refused(), score(&node, 7)), (vec![], 0));
    for n in 0..1_000 {
        assert_eq!(node.bans, []);
        let frame = digest(&node, n);
        node.frame(7, &frame);
    }
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Flood })]);
    assert_eq!(node.take_refused(), [Reason::Budget; 1_000], "from the first over the budget on none is read");
    let op = Chain::new(1, 0).op(b"news");
    node.give(8, &op);
    assert_eq!(node.len(1, 0), 1);
}

#[test]
fn case_04_a_flood_of_signature_checks() {
    // The disk is slow to find what is needed for the proof: meanwhile every other operation at the position is checked in vain.
    let mut chain = Chain::new(1, 0);
    let held = chain.op(b"held");
    let mut node = Node::follower(&[1, 2]);
    node.greet(7, None, 0);
    node.greet(8, None, 0);
    node.give(8, &held);
    node.holds_reads = true;
    let others = |n: u32| Chain::new(1, 0).op(&n.to_be_bytes());
    assert_eq!(node.overhear(7, &Frame::Op(Arc::clone(others(0).op().bytes()))), Verdict::Accept, "the first is news");
    for n in 1..=1_024 {
        let verdict = node.overhear(7, &Frame::Op(Arc::clone(others(n).op().bytes())));
        assert_eq!(verdict, Verdict::Ignore, "not spread: one is enough");
    }
    assert_eq!((node.take_refused(), score(&node, 7)), (vec![], 0));
    let news = Chain::new(2, 0).op(b"news");
    assert_eq!(node.overhear(7, &Frame::Op(Arc::clone(news.op().bytes()))), Verdict::Ignore, "never rejected");
    assert_eq!((node.take_refused(), score(&node, 7), node.len(2, 0)), (vec![Reason::Budget], 10, 0));
    // Its answers are dropped too.
    let answer = delta(std::slice::from_ref(&news), false);
    node.frame(7, &answer);
    assert_eq!((node.take_refused(), score(&node, 7), node.len(2, 0)), (vec![Reason::Budget], 20, 0));
    // Another one's are not, and time gives a check back.
    node.wait(16);
    node.give(7, &news);
    assert_eq!(node.len(2, 0), 1);
    for n in 2_000..2_100 {
        node.give(7, &others(n));
    }
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Checks })], "NET-2");
    node.read();
    assert!(node.is_forked(1));
}

#[test]
fn case_05_a_full_answer_of_news() {
    // The smallest operations there are: as many as one answer may hold.
    let ops: Vec<_> = (0..4)
        .flat_map(|index| {
            let mut chain = Chain::new(1, index);
            let op = |i: u64| {
                chain.declared = Time::from_ms(START.ms() - (3 - i / 240) * BUCKET_MS);
                chain.op(b"")
            };
            (0..593).map(op).collect::<Vec<_>>()
        })
        .collect();
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    for _ in 0..2 {
        node.frame(7, &delta(&ops, false));
    }
    assert_eq!(node.replica.history().ops(), 2_372);
    assert_eq!((score(&node, 7), node.bans.len()), (0, 0));
    assert_eq!(node.take_refused(), [Reason::Duplicate; 2_372], "a second copy is told from news without a check");
    // All checks that it may cause in vain are left: a forged batch is looked at to its end, where the faults ban.
    let mut chain = Chain::new(1, 0);
    let forged: Vec<_> = chain.ops(700, "f").iter().skip(600).map(forged).collect();
    let ops = forged.iter().map(|op| Arc::clone(op.bytes())).collect();
    node.frame(7, &Frame::Delta(Delta { now: START, digest: OTHER, more: false, proofs: Vec::new(), ops }));
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Refused(Reason::Signature) })]);
    assert_eq!(node.take_refused(), [Reason::Signature; 64], "one batch, and no other is begun");
}

#[test]
fn case_06_unasked_answers() {
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    for _ in 0..4 {
        node.frame(7, &delta(&[], false));
    }
    assert_eq!((node.take_refused(), score(&node, 7)), (vec![], 0), "what may have been under way");
    let op = Chain::new(1, 0).op(b"news");
    node.frame(7, &delta(std::slice::from_ref(&op), false));
    assert_eq!((node.take_refused(), score(&node, 7), node.len(1, 0)), (vec![Reason::Unasked], 50, 0));
    for _ in 0..19 {
        node.frame(7, &delta(std::slice::from_ref(&op), false));
    }
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Unasked })]);
}

#[test]
fn case_07_pulls_without_end() {
    let ops = large(8);
    let mut node = Node::follower(&[1]);
    node.greet(99, None, 0);
    ops.iter().for_each(|op| node.give(99, op));
    node.greet(7, None, 0);
    node.sent.clear();
    let sent = |node: &mut Node| {
        let to_7: Vec<_> = node.sent.drain(..).filter(|(peer, _)| *peer == Peer(7)).collect();
        to_7.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let ask = Frame::Pull { now: node.now.wall, credit: u32::MAX, frontier: Frontier::default() };
    let (started_ms, mut total, mut answered) = (node.now.mono_ms, 0, usize::MAX);
    for _ in 0..600 {
        // As soon as it has its answer it asks for the same again.
        if answered > 100_000 {
            answered = 0;
            node.frame(7, &ask);
        }
        node.wait(10);
        let now = sent(&mut node);
        (total, answered) = (total + now, answered.saturating_add(now));
        let elapsed_ms = usize::try_from(node.now.mono_ms - started_ms).unwrap();
        let bound = (8 << 20) + elapsed_ms * 4_000 + (1 << 20) + (1 << 16);
        assert!(total <= bound, "SYNC-5: {total} of {bound}");
    }
    // Six seconds at full rate are 32 MB; what is asked again and again is charged double.
    assert!((14_000_000..20_000_000).contains(&total), "{total}");
    assert_eq!(node.bans, [], "it is slowed down, and that is all");
    assert_eq!(node.take_refused(), []);
    // One that does not even wait for its answers is refused, and when it goes on and on, banned.
    for _ in 0..2_000 {
        node.frame(7, &ask);
        node.wait(5);
    }
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Flood })]);
    let refused = node.take_refused();
    assert_eq!((refused[0], refused.contains(&Reason::Budget)), (Reason::Busy, true));
}

#[test]
fn case_08_a_newcomer() {
    let ops = large(400);
    let bytes: usize = ops.iter().map(|op| op.op().bytes().len()).sum();
    let mut old = Node::follower(&[1]);
    old.greet(99, None, 0);
    for chunk in ops.chunks(8) {
        chunk.iter().for_each(|op| old.give(99, op));
    }
    old.handle(Input::Disconnected(Peer(99)));
    old.sent.clear();
    let mut net = Net::mesh(vec![old, Node::follower(&[1])], &[]);
    net.carry();
    let (started_ms, mut waits) = (net.nodes[0].now.mono_ms, 0);
    while !net.is_equal() {
        waits += 1;
        assert!(waits < 10_000, "never equal");
        let next = |node: &Node| node.replica.next_wake_ms().saturating_sub(node.now.mono_ms).max(1);
        let pause = net.nodes.iter().map(next).min().unwrap();
        net.nodes.iter_mut().for_each(|node| node.wait(pause));
        net.carry();
    }
    let took_ms = net.nodes[0].now.mono_ms - started_ms;
    // 24.5 MB: 8 MiB at once, the rest at 4 MB a second; the first digest may be a round away.
    let least_ms = (bytes as u64 - (9 << 20)) / 4_000;
    assert!((least_ms..least_ms + SYNC_INTERVAL_MS + 500).contains(&took_ms), "{took_ms} ms for {bytes} bytes");
    assert!(net.nodes.iter().all(|node| node.bans.is_empty()));
}

#[test]
fn case_09_look_ups() {
    let ops = large(1);
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    node.give(7, &ops[0]);
    node.take_refused();
    for n in 0..200 {
        node.frame(7, &Frame::Fetch(ops[0].op().id()));
        assert_eq!(node.take_refused().is_empty(), n < 138, "138 x 61,225 bytes use up 8 MiB: {n}");
    }
    assert_eq!(node.bans, []);
}

#[test]
fn case_10_a_bad_link() {
    // One never answers, one always says that it has more and sends nothing; an hour of both.
    let mut node = Node::follower(&[1, 2, 3]);
    node.greet(7, Some(2), 0);
    node.greet(8, Some(3), 0);
    let mut score_max = 0;
    for n in 0..36_000 {
        node.wait(100);
        for (peer, frame) in node.take_sent() {
            if matches!(frame, Frame::Pull { .. }) && peer == 8 {
                node.frame(8, &delta(&[], true));
            }
        }
        if n % 5 == 0 {
            for peer in [7, 8] {
                let claim = Frame::Digest { now: node.now.wall, digest: OTHER, ops: u64::MAX };
                node.frame(peer, &claim);
            }
        }
        score_max = score_max.max(score(&node, 7)).max(score(&node, 8));
    }
    assert_eq!(node.bans, [], "NET-2");
    assert!((1..200).contains(&score_max), "{score_max}");
}

#[test]
fn case_11_what_the_transport_could_not_read() {
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    for _ in 0..10 {
        node.handle(Input::Malformed(Peer(7)));
    }
    node.handle(Input::Malformed(Peer(8)));
    assert_eq!(node.bans, [(7, Ban { for_ms: 30_000, fault: Fault::Malformed })]);
    assert_eq!(author(1), node.replica.history().members().author(0).unwrap(), "nothing else changed");
}
