//! Holes that a hostile reading found, one test a line.
//!
//! 1. peers that always have a little more keep nobody else from being asked (SYNC-1)
//! 2. an author that lost everything is told of its own log first, however much there is of others' (NODE-1)
//! 3. once the key is known to be in use elsewhere nothing more is appended or sent, not even what was on its way to the disk
//!    (NODE-1)
//! 4. operations far ahead of their log, which no quota bounds, are not spread (SYNC-5)
//! 5. clocks of peers that are no members do not outvote members' clocks
mod support;

use std::sync::Arc;

use concurrence_crdt::{BUCKET_MS, Digest, Frontier, OpId, Time, VerifiedOp};
use concurrence_protocol::{
    CannotAppend, DELTA_BYTES_MAX, Delta, Event, Frame, Input, OwnStart, Peer, Verdict, WAITING_OPS_MAX,
};
use support::{
    FRESH_LISTEN_MS, Node, config,
    ops::{Chain, START, author},
};

const OTHER: Digest = Digest::from_bytes([9; 32]);

fn delta(node: &Node, ops: &[VerifiedOp], more: bool) -> Frame {
    let ops = ops.iter().map(|op| Arc::clone(op.op().bytes())).collect();
    Frame::Delta(Delta { now: node.now.wall, digest: OTHER, more, proofs: Vec::new(), ops })
}

fn pulled(node: &mut Node) -> Vec<u32> {
    node.take_sent().into_iter().filter(|(_, f)| matches!(f, Frame::Pull { .. })).map(|(peer, _)| peer).collect()
}

#[test]
fn case_1_peers_that_always_have_a_little_more() {
    let mut node = Node::follower(&[1, 2, 3]);
    let mut chains = [Chain::new(1, 0), Chain::new(2, 0)];
    for peer in [7, 8, 9] {
        node.greet(peer, None, 0);
        node.frame(peer, &Frame::Digest { ops: u64::MAX, now: START, digest: OTHER });
    }
    let mut asked = pulled(&mut node);
    // The two liars answer at once, with one operation and the promise of more; the honest third is never early.
    for _ in 0..4 {
        if asked.contains(&9) {
            return;
        }
        for (liar, chain) in [7, 8].into_iter().zip(&mut chains) {
            let answer = delta(&node, &[chain.op(b"a drop")], true);
            node.frame(liar, &answer);
        }
        node.wait(10);
        node.frame(9, &Frame::Digest { ops: u64::MAX, now: START, digest: OTHER });
        asked.extend(pulled(&mut node));
    }
    panic!("the honest peer is never asked: {asked:?}");
}

#[test]
fn case_2_an_author_that_lost_everything() {
    // Whatever the order of keys: each author in turn lost its store, and the others' logs fill more than one answer.
    for lost in [1, 2, 3] {
        let mut holder = Node::follower(&[1, 2, 3]);
        holder.greet(99, None, 0);
        for other in (1..=3).filter(|&n| n != lost) {
            let mut chain = Chain::new(other, 0);
            (0..DELTA_BYTES_MAX / 50_000 + 1).for_each(|_| holder.give(99, &chain.op(&[other; 50_000])));
        }
        let mut own = Chain::new(lost, 0);
        own.declared = Time::from_ms(START.ms() - BUCKET_MS);
        holder.give(99, &own.op(b"sent long ago"));
        holder.greet(0, Some(lost), 0);
        holder.take_sent();
        let (now, credit, frontier) = (holder.now.wall, u32::MAX, Frontier::default());
        holder.frame(0, &Frame::Pull { now, credit, frontier });
        let sent = holder.take_sent().into_iter().find(|(_, frame)| matches!(frame, Frame::Delta(_)));
        let (_, answer) = sent.expect("a pull is answered");

        // The line is slow: one answer is all that arrives while the key listens.
        let mut fresh = Node::new(config(&[1, 2, 3], Some(lost)), OwnStart::Fresh);
        fresh.greet(1, None, 0);
        fresh.frame(1, &answer);
        fresh.wait(FRESH_LISTEN_MS);
        let may = fresh.replica.may_append();
        assert!(matches!(may, Err(CannotAppend::Recovering { .. })), "author {lost} would fork itself: {may:?}");
    }
}

#[test]
fn case_3_the_key_is_in_use() {
    let mut node = Node::new(config(&[1, 2], Some(1)), OwnStart::Append);
    node.greet(2, Some(2), 0);
    node.holds_durable = true;
    node.append(1, b"on its way to the disk").unwrap();
    node.give(2, &Chain::new(1, 0).op(b"the twin's"));
    assert_eq!(node.events.last(), Some(&Event::KeyInUse(author(1))));
    node.confirm();
    assert_eq!(node.take_broadcast(), [], "it would prove a fork");
    assert_eq!(node.len(1, 0), 0);
    assert_eq!(node.append(1, b"another"), Err(CannotAppend::KeyInUse));
    node.wait(10 * FRESH_LISTEN_MS);
    assert_eq!(node.append(1, b"later"), Err(CannotAppend::KeyInUse));
}

#[test]
fn case_4_a_flood_far_ahead() {
    let mut node = Node::follower(&[1]);
    node.greet(7, None, 0);
    let at = |seq: u64| {
        let payload = seq.to_be_bytes();
        let op = Chain { seq, prev: OpId::from_bytes([1; 32]), ..Chain::new(1, 0) }.op(&payload);
        Frame::Op(Arc::clone(op.op().bytes()))
    };
    // Each stands nearer than all before it, so that each is kept in the place of another.
    let spread = (1..1_000).rev().filter(|&seq| node.overhear(7, &at(1_000_000 + seq)) == Verdict::Accept).count();
    assert_eq!(spread, 0);
    // A gap as honest authors leave it is no reason not to spread what follows.
    assert_eq!(node.overhear(7, &at(WAITING_OPS_MAX as u64 - 1)), Verdict::Accept);
}

/// A clock set an hour ahead is noticed before any peer speaks again; set back, it is right again.
#[test]
fn case_6_a_clock_that_jumps() {
    let mut node = Node::new(config(&[1, 2], Some(1)), OwnStart::Append);
    node.greet(2, Some(2), 0);
    node.now.wall = node.now.wall.after_ms(3_600_000);
    node.handle(Input::Tick);
    assert_eq!(node.replica.may_append(), Err(CannotAppend::Clock(-3_600_000)));
    node.now.wall = Time::from_ms(node.now.wall.ms() - 3_600_000);
    node.handle(Input::Tick);
    assert!(node.replica.may_append().is_ok());
}

#[test]
fn case_5_clocks_of_observers() {
    let mut node = Node::new(config(&[1, 2], Some(1)), OwnStart::Append);
    node.greet(2, Some(2), 0);
    for observer in [7, 8, 9] {
        node.greet(observer, None, 3_600_000);
    }
    assert_eq!(node.replica.clock_offset_ms(), Some(0));
    node.handle(Input::Disconnected(Peer(2)));
    assert_eq!(node.replica.clock_offset_ms(), Some(3_600_000), "better than nothing");
}
