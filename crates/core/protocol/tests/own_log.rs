//! The own log: an honest node never forks itself (NODE-1, STORE-1), and says why it does not append.
//!
//!  1. no key, a key that is no member
//!  2. a fresh key listens before it appends
//!  3. a fresh key that was used before: it learns so from any own operation, recovers, and goes on behind its own log
//!  4. a twin with the same key that writes now: the key is in use
//!  5. a foreign own operation while appending: the key is in use, and the operation does not count
//!  6. an own operation in conflict with the own log: proven, told to all, the log is forked
//!  7. a restored store: nothing is appended until more than 2W/3 answered - asked, whole, as members, others than the own
//!  8. an own operation that waits for others before it: an answer that left it out is none
//!  9. a clock more than 30 s off the median of the peers'; peers that lie about theirs
//! 10. logs stuck in a future minute, or full: the next log, until there is none
//! 11. an own operation before its commit is confirmed: not sent, not counted, not served
//! 12. a conviction while the own operation is on its way to the disk
//! 13. an operation that peers would refuse: never written
mod support;

use std::sync::Arc;

use concurrence_crdt::{BUCKET_MS, Digest, Frontier, PAYLOAD_LEN_MAX, Time, VerifiedOp};
use concurrence_protocol::{
    CLOCK_OFFSET_MAX_MS, CannotAppend, Delta, Event, Frame, Hello, Input, Now, OwnStart, Peer, Reason,
};
use support::{
    FRESH_LISTEN_MS, Node, SYNC_INTERVAL_MS, config,
    ops::{Chain, START, author, sign},
};

const MEMBERS: [u8; 4] = [1, 2, 3, 4];

/// A node of author 1.
fn node(start: OwnStart) -> Node {
    Node::new(config(&MEMBERS, Some(1)), start)
}

fn may_append(node: &Node) -> Result<(), CannotAppend> {
    node.replica.may_append().map(drop)
}

/// Connects a member who claims to hold something else, so that it is asked.
fn greet_differing(node: &mut Node, peer: u32, member: Option<u8>) {
    node.handle(Input::Connected { peer: Peer(peer), author: member.map(author) });
    let hello = Hello { digest: Digest::from_bytes([9; 32]), ..node.hello(0) };
    node.frame(peer, &Frame::Hello(hello));
}

fn answer(node: &mut Node, peer: u32, ops: &[VerifiedOp], more: bool) {
    let ops = ops.iter().map(|op| Arc::clone(op.op().bytes())).collect();
    let (now, digest) = (node.now.wall, Digest::from_bytes([9; 32]));
    node.frame(peer, &Frame::Delta(Delta { now, digest, more, proofs: Vec::new(), ops }));
}

fn is_asked(node: &mut Node, peer: u32) -> bool {
    node.take_sent().iter().any(|(to, frame)| *to == peer && matches!(frame, Frame::Pull { .. }))
}

/// A member connects, is asked, and answers with everything it has.
fn hear(node: &mut Node, peer: u32, member: Option<u8>, ops: &[VerifiedOp]) {
    greet_differing(node, peer, member);
    assert!(is_asked(node, peer));
    answer(node, peer, ops, false);
}

fn recovering(answered: u64) -> Result<(), CannotAppend> {
    Err(CannotAppend::Recovering { answered, needed: 3 })
}

/// Own operations as an earlier life of the key wrote them, a minute before this process started.
fn earlier(n: usize) -> Vec<VerifiedOp> {
    Chain::new(1, 0).at(Time::from_ms(START.ms() - BUCKET_MS)).ops(n, "earlier")
}

#[test]
fn case_01_not_a_member() {
    for own in [None, Some(9)] {
        let node = Node::new(config(&MEMBERS, own), OwnStart::Append);
        assert_eq!(may_append(&node), Err(CannotAppend::NotAMember));
        assert!(node.replica.next_header(1, b"", START).is_err());
    }
}

#[test]
fn case_02_a_fresh_key_listens() {
    let mut node = node(OwnStart::Fresh);
    node.wait(FRESH_LISTEN_MS - 1);
    assert_eq!(node.append(1, b"too early"), Err(CannotAppend::Listening));
    node.wait(1);
    assert!(node.append(1, b"now").is_ok());
}

/// Where two processes use one key, members talk to them in turn: whoever is turned away has not been told anything yet.
#[test]
fn case_02_a_fresh_key_that_is_turned_away_listens_on() {
    let mut node = node(OwnStart::Fresh);
    for _ in 0..5 {
        node.wait(FRESH_LISTEN_MS - 1);
        node.handle(Input::TurnedAway);
        assert_eq!(may_append(&node), Err(CannotAppend::Listening));
    }
    node.wait(FRESH_LISTEN_MS);
    assert_eq!(may_append(&node), Ok(()));
}

#[test]
fn case_03_a_key_that_was_used_before() {
    let earlier = earlier(4);
    // Whether what it hears first is the next operation of its log or one further on.
    for first in [0, 2] {
        let mut node = node(OwnStart::Fresh);
        node.greet(2, Some(2), 0);
        node.give(2, &earlier[first]);
        assert_eq!(may_append(&node), recovering(0), "operation {first} says that the log exists");
        node.wait(2 * FRESH_LISTEN_MS);
        assert_eq!(may_append(&node), recovering(0), "listening alone is not enough any more");
        node.handle(Input::Disconnected(Peer(2)));
        node.take_sent();
        for member in [2, 3, 4] {
            hear(&mut node, member.into(), Some(member), &earlier);
        }
        node.wait(1);
        assert_eq!(node.append(1, b"goes on").unwrap().op().header().seq, 4);
        assert!(!node.events.iter().any(|e| matches!(e, Event::KeyInUse(_) | Event::OwnLogForked(_))));
    }
}

#[test]
fn case_04_a_twin() {
    let mut chain = Chain { prev: earlier(1)[0].op().id(), seq: 1, ..Chain::new(1, 0) };
    chain.declared = START.after_ms(3_000);
    let twin = chain.op(b"written by the twin, since this process started");
    for start in [OwnStart::Fresh, OwnStart::Recover] {
        let mut node = node(start);
        for member in [2, 3, 4] {
            hear(&mut node, member.into(), Some(member), &earlier(1));
        }
        // All have answered, but no answer counts before the time is over in which a twin would be heard.
        assert_eq!(may_append(&node), recovering(0), "{start:?}");
        node.wait(3_500);
        node.give(2, &twin);
        assert_eq!(node.events.last(), Some(&Event::KeyInUse(author(1))), "{start:?}");
        assert_eq!(node.len(1, 0), 1, "what the twin writes does not count here");
    }
}

#[test]
fn case_05_a_foreign_own_operation() {
    let mut node = node(OwnStart::Append);
    node.greet(2, Some(2), 0);
    let own = node.append(1, b"own").unwrap();
    let mut chain = Chain { seq: 1, prev: own.op().id(), ..Chain::new(1, 0) };
    for foreign in chain.ops(2, "foreign") {
        let before = (node.state(), node.store.clone());
        node.give(2, &foreign);
        assert_eq!(node.events.pop(), Some(Event::KeyInUse(author(1))));
        assert_eq!(before, (node.state(), node.store.clone()));
    }
    // In another log of the own key as well.
    node.give(2, &Chain::new(1, 3).op(b"foreign"));
    assert_eq!(node.events.pop(), Some(Event::KeyInUse(author(1))));
    // The own operation coming back is no news.
    node.give(2, &own);
    assert_eq!(node.take_refused(), [Reason::Duplicate]);
}

#[test]
fn case_06_the_own_log_forked() {
    let mut node = node(OwnStart::Append);
    node.greet(2, Some(2), 0);
    node.append(1, b"own").unwrap();
    node.take_broadcast();
    node.events.clear();
    node.give(2, &Chain::new(1, 0).op(b"other"));
    let told = node.take_broadcast();
    assert!(matches!(&told[..], [Frame::Proof(_)]), "{told:?}");
    assert_eq!(node.events, [Event::Convicted(author(1)), Event::OwnLogForked(author(1))]);
    assert_eq!(node.append(1, b"more"), Err(CannotAppend::Forked));
    node.wait(10 * FRESH_LISTEN_MS);
    assert_eq!(may_append(&node), Err(CannotAppend::Forked));
}

#[test]
fn case_07_recovery_by_more_than_two_thirds() {
    let mut node = node(OwnStart::Recover);
    node.wait(FRESH_LISTEN_MS);
    assert_eq!(may_append(&node), recovering(0));
    hear(&mut node, 1, Some(1), &[]);
    assert_eq!(may_append(&node), recovering(0), "the own key is no witness");
    hear(&mut node, 9, None, &[]);
    assert_eq!(may_append(&node), recovering(0), "nor is a peer that is no member");
    hear(&mut node, 2, Some(2), &earlier(2));
    assert_eq!(may_append(&node), recovering(1));
    // An answer cut short is not one, nor is one that nobody asked for; the same member counts once.
    greet_differing(&mut node, 3, Some(3));
    assert!(is_asked(&mut node, 3));
    answer(&mut node, 3, &earlier(3), true);
    assert_eq!(may_append(&node), recovering(1));
    assert!(is_asked(&mut node, 3), "it is asked for the rest");
    answer(&mut node, 3, &[], false);
    assert_eq!(may_append(&node), recovering(2));
    node.handle(Input::Connected { peer: Peer(4), author: Some(author(4)) });
    let hello = node.hello(0);
    node.frame(3, &Frame::Digest { ops: u64::MAX, now: START, digest: hello.digest });
    answer(&mut node, 3, &[], false);
    assert_eq!(may_append(&node), recovering(2));
    // A member that holds just the same is asked too: nothing else would make it answer.
    node.take_sent();
    node.frame(4, &Frame::Hello(hello));
    assert!(is_asked(&mut node, 4));
    answer(&mut node, 4, &[], false);
    assert_eq!(node.append(1, b"behind what was restored").unwrap().op().header().seq, 3);
}

#[test]
fn case_07_unasked_answers_count_nothing() {
    let mut node = node(OwnStart::Recover);
    node.wait(FRESH_LISTEN_MS);
    for member in [2, 3, 4] {
        greet_differing(&mut node, member.into(), Some(member));
    }
    // Two are asked at a time; the third answers all the same.
    assert!(!is_asked(&mut node, 4));
    answer(&mut node, 4, &[], false);
    assert_eq!(may_append(&node), recovering(0));
    answer(&mut node, 2, &[], false);
    answer(&mut node, 3, &[], false);
    assert_eq!(may_append(&node), recovering(2));
    // Nobody who did not answer is forgotten: the rounds go on asking.
    for _ in 0..20 {
        node.wait(SYNC_INTERVAL_MS);
        let asked: Vec<_> =
            node.take_sent().into_iter().filter(|(_, f)| matches!(f, Frame::Pull { .. })).map(|(p, _)| p).collect();
        asked.into_iter().for_each(|peer| answer(&mut node, peer, &[], false));
    }
    assert_eq!(may_append(&node), Ok(()));
}

#[test]
fn case_08_an_own_operation_waits() {
    let earlier = earlier(3);
    let mut node = node(OwnStart::Recover);
    node.wait(FRESH_LISTEN_MS);
    node.greet(9, None, 0);
    node.give(9, &earlier[2]);
    node.handle(Input::Disconnected(Peer(9)));
    node.take_sent();
    for member in [2, 3, 4] {
        hear(&mut node, member.into(), Some(member), &[]);
    }
    assert_eq!(may_append(&node), recovering(0), "the log goes on elsewhere; appending here would fork it");
    for member in [2, 3, 4] {
        hear(&mut node, member.into(), Some(member), &earlier[..2]);
    }
    node.wait(1);
    assert_eq!(node.append(1, b"behind it").unwrap().op().header().seq, 3);
}

#[test]
fn case_09_clocks() {
    let off = |offsets: &[i64]| {
        let mut node = node(OwnStart::Append);
        offsets.iter().zip(10..).for_each(|(&offset, peer)| node.greet(peer, None, offset));
        may_append(&node)
    };
    let limit = CLOCK_OFFSET_MAX_MS;
    assert_eq!(off(&[]), Ok(()));
    assert_eq!(off(&[limit]), Ok(()));
    assert_eq!(off(&[-limit, -limit, -limit]), Ok(()));
    assert_eq!(off(&[limit + 1]), Err(CannotAppend::Clock(limit + 1)));
    assert_eq!(off(&[-limit - 1; 4]), Err(CannotAppend::Clock(-limit - 1)));
    // Liars are not the median, also where they are half.
    let hour = 3_600_000;
    for lie in [hour, -hour, i64::MAX, i64::MIN + 1] {
        assert_eq!(off(&[lie, 0, 0]), Ok(()), "{lie}");
        assert_eq!(off(&[lie, 0]), Ok(()), "{lie}");
        assert_eq!(off(&[lie, lie, 0, 0]), Ok(()), "{lie}");
        assert!(matches!(off(&[lie, lie, 0]), Err(CannotAppend::Clock(_))), "{lie}");
    }
    // Clocks at the ends of the type.
    for (own, theirs) in [(0, u64::MAX), (u64::MAX, 0)] {
        let mut node =
            Node::at(config(&MEMBERS, Some(1)), OwnStart::Append, Now { mono_ms: 0, wall: Time::from_ms(own) });
        node.handle(Input::Connected { peer: Peer(2), author: None });
        let hello = Hello { now: Time::from_ms(theirs), ..node.hello(0) };
        node.frame(2, &Frame::Hello(hello));
        assert!(matches!(may_append(&node), Err(CannotAppend::Clock(_))), "{own} and {theirs}");
    }
    // A peer that leaves takes its clock with it.
    let mut node = node(OwnStart::Append);
    node.greet(2, None, hour);
    assert!(may_append(&node).is_err());
    node.handle(Input::Disconnected(Peer(2)));
    assert_eq!(may_append(&node), Ok(()));
}

#[test]
fn case_10_the_next_log() {
    let mut node = node(OwnStart::Append);
    // While the clock was an hour ahead one operation went into each of the first three logs.
    let present = node.now.wall;
    for index in 0..3u64 {
        node.now.wall = present.after_ms((3 - index) * 3_600_000);
        let op = node.append(1, b"from the future").unwrap();
        assert_eq!(u64::from(op.op().header().log.index), index);
    }
    node.now.wall = present;
    assert_eq!(node.append(1, b"now").unwrap().op().header().log.index, 3);
    // Stuck everywhere: it says so, until the minute comes.
    node.now.wall = Time::from_ms(present.ms() - BUCKET_MS);
    assert_eq!(node.append(1, b"before"), Err(CannotAppend::NoLog));
    node.now.wall = present;
    assert!(node.append(1, b"now again").is_ok());
}

#[test]
fn case_10_a_full_minute() {
    let mut node = node(OwnStart::Append);
    for i in 0..4 * 240u32 {
        let op = node.append(1, &i.to_be_bytes()).unwrap();
        assert_eq!(u32::from(op.op().header().log.index), i / 240);
    }
    assert_eq!(node.append(1, b"over"), Err(CannotAppend::NoLog));
    node.wait(BUCKET_MS);
    assert_eq!(node.append(1, b"next minute").unwrap().op().header().log.index, 0);
}

#[test]
fn case_11_durable_before_sent() {
    let mut node = node(OwnStart::Append);
    node.greet(2, Some(2), 0);
    node.take_sent();
    node.holds_durable = true;
    let before = node.state();
    let op = node.append(1, b"own").unwrap();
    assert_eq!(may_append(&node), Err(CannotAppend::Busy));
    assert_eq!(node.append(1, b"another"), Err(CannotAppend::Busy));
    // Whatever happens meanwhile, nothing of it shows.
    let now = node.now.wall;
    node.frame(2, &Frame::Pull { now, credit: 1 << 20, frontier: Frontier::default() });
    node.wait(5 * SYNC_INTERVAL_MS);
    assert_eq!((node.state(), node.len(1, 0)), (before.clone(), 0));
    assert_eq!(node.take_broadcast(), []);
    assert!(!node.events.contains(&Event::Admitted(op.clone())));
    for (_, frame) in node.take_sent() {
        match frame {
            Frame::Delta(delta) => assert!(delta.ops.is_empty() && delta.digest == before.digest),
            Frame::Digest { digest, .. } => assert_eq!(digest, before.digest),
            other => panic!("{other:?}"),
        }
    }
    node.confirm();
    assert_eq!(node.take_broadcast(), [Frame::Op(op.op().bytes().clone())]);
    assert_eq!((node.len(1, 0), node.events.last()), (1, Some(&Event::Admitted(op))));
    assert_eq!(may_append(&node), Ok(()));
    // A second confirmation of the same commit is nobody's.
    let state = node.state();
    node.confirm();
    assert_eq!((node.state(), node.take_broadcast()), (state, vec![]));
}

#[test]
fn case_12_convicted_on_the_way_to_the_disk() {
    let mut node = node(OwnStart::Append);
    node.greet(2, Some(2), 0);
    node.holds_durable = true;
    node.append(1, b"own").unwrap();
    let (a, b) = (Chain::new(1, 2).op(b"a"), Chain::new(1, 2).op(b"b"));
    let proof = concurrence_crdt::ForkProof::of(&a.verified_header(), &b.verified_header()).unwrap();
    node.frame(2, &Frame::Proof(proof.encode()));
    node.take_broadcast();
    node.confirm();
    assert_eq!((node.len(1, 0), node.take_broadcast()), (0, vec![]), "it is never sent");
    assert_eq!(may_append(&node), Err(CannotAppend::Forked));
}

#[test]
fn case_13_what_peers_would_refuse() {
    let mut node = node(OwnStart::Append);
    let before = (node.state(), node.store.clone());
    let long = vec![0; PAYLOAD_LEN_MAX + 1];
    assert_eq!(node.append(1, &long), Err(CannotAppend::NoLog));
    let header = |change: &dyn Fn(&mut concurrence_crdt::Header)| {
        let mut header = Chain::new(1, 0).header();
        change(&mut header);
        header
    };
    let refused = [
        sign(header(&|_| ()), &long, 1),
        sign(header(&|h| h.epoch = 1), b"no such epoch", 1),
        sign(header(&|h| h.network = concurrence_crdt::NetworkId::from_bytes([8; 32])), b"elsewhere", 1),
        sign(header(&|h| h.seq = 1), b"jumps", 1),
        sign(header(&|h| h.log.author = author(2)), b"another's", 2),
    ];
    for op in refused {
        assert!(node.replica.append(op).is_err());
        node.drain();
        assert_eq!(before, (node.state(), node.store.clone()));
    }
    assert!(node.append(1, &vec![0; PAYLOAD_LEN_MAX]).is_ok());
}
