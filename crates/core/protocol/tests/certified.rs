//! Votes and certificates among nodes: how they travel, what they keep of a forked author, how it is fetched back, and what is remembered
//! (CERT-1 to CERT-5, SYNC-1, STORE-2).
mod support;

use std::sync::Arc;

use concurrence_crdt::{Certificate, Digest, DoubleVote, ForkProof, Frontier, Head, LogKey, Op, VerifiedOp, Wanted};
use concurrence_protocol::{Delta, Event, FactKey, Frame, Hello, Input, OwnStart, Peer, Reason, Verdict, decode_proof};
use support::{
    Net, Node, config,
    ops::{Chain, NETWORK, author, certificate_bytes, head_of, members, vote},
};

const MEMBERS: [u8; 4] = [1, 2, 3, 4];

/// The members whose nodes run. The fourth only writes, by the hand of a test; in its place a follower runs.
const RUNNING: [u8; 3] = [1, 2, 3];
const FORKER: u8 = 4;

fn log_of(n: u8) -> LogKey {
    LogKey { author: author(n), index: 0 }
}

/// The node of a member whose own log may be appended to.
fn member(own: u8) -> Node {
    Node::new(config(&MEMBERS, Some(own)), OwnStart::Append)
}

/// A mesh of three members and a follower that has greeted.
fn mesh() -> Net {
    let mut nodes: Vec<_> = RUNNING.iter().map(|&own| member(own)).collect();
    nodes.push(Node::follower(&MEMBERS));
    let mut net = Net::mesh(nodes, &RUNNING);
    net.settle(20);
    net
}

/// Hands a node operations as a peer that leaves again.
fn give(node: &mut Node, ops: &[VerifiedOp]) {
    node.greet(99, None, 0);
    ops.iter().for_each(|op| node.give(99, op));
    leave(node);
}

fn prove(node: &mut Node, proofs: &[Vec<u8>]) {
    node.greet(99, None, 0);
    proofs.iter().for_each(|proof| node.frame(99, &Frame::Proof(proof.clone())));
    leave(node);
}

fn leave(node: &mut Node) {
    node.handle(Input::Disconnected(Peer(99)));
    node.sent.retain(|(peer, _)| *peer != Peer(99));
    node.broadcast.clear();
}

/// Signs every head that the node may sign now.
fn sign_all(node: &mut Node, own: u8) -> Vec<Head> {
    let ends: Vec<_> = node.replica.history().logs().map(|(log, tail)| (log, tail.len)).collect();
    let heads = node.replica.heads_to_sign(ends);
    node.replica.vote(heads.iter().map(|&head| vote(head, own)).collect());
    node.drain();
    heads
}

fn vote_all(net: &mut Net) {
    for (node, own) in net.nodes.iter_mut().zip(RUNNING) {
        sign_all(node, own);
    }
    net.settle(30);
}

fn certified(node: &Node, n: u8) -> u64 {
    node.replica.history().certified_len(log_of(n))
}

fn rounds(net: &mut Net, n: usize) {
    for _ in 0..n {
        net.round();
    }
}

/// What a new process makes of a node's store.
fn restarted(node: &Node, own: Option<u8>, start: OwnStart) -> Node {
    let mut again = Node::at(config(&MEMBERS, own), start, node.now);
    for proof in node.store.proofs.values() {
        again.replica.restore_proof(decode_proof(proof, NETWORK).unwrap());
    }
    node.store.facts.values().for_each(|fact| again.replica.restore_fact(fact));
    for bytes in node.store.logs.values().flatten() {
        again.replica.restore(&VerifiedOp::from_own_store(Op::decode(bytes, NETWORK).unwrap()));
    }
    again.store = node.store.clone();
    again.drain();
    again
}

/// A trunk and two chains that begin with it.
fn fork(trunk: usize, left: usize, right: usize) -> (Vec<VerifiedOp>, Vec<VerifiedOp>, Vec<VerifiedOp>) {
    let mut chain = Chain::new(FORKER, 0);
    let trunk = chain.ops(trunk, "trunk");
    let mut other = chain.clone();
    (trunk, chain.ops(left, "left"), other.ops(right, "right"))
}

fn proof_of(left: &VerifiedOp, right: &VerifiedOp) -> Vec<u8> {
    ForkProof::of(&left.verified_header(), &right.verified_header()).unwrap().encode()
}

#[test]
fn votes_of_three_of_four_certify_everywhere() {
    let mut net = mesh();
    give(&mut net.nodes[0], &Chain::new(FORKER, 0).ops(5, "op"));
    net.settle(20);
    assert_eq!(sign_all(&mut net.nodes[0], 1).len(), 1);
    assert_eq!(sign_all(&mut net.nodes[1], 2).len(), 1);
    net.settle(20);
    assert!(net.nodes.iter().all(|node| certified(node, FORKER) == 0), "CERT-2: two of four are not enough");
    sign_all(&mut net.nodes[2], 3);
    net.settle(20);
    for node in &mut net.nodes {
        assert_eq!(certified(node, FORKER), 5, "CERT-5");
        let kept = &node.store.facts[&FactKey::Certificate(log_of(FORKER)).encode()];
        assert_eq!(Certificate::peek(kept, NETWORK).unwrap().len, 5);
        assert_eq!(node.replica.buffers().iter().find(|b| b.0 == "votes").unwrap().1, 0, "SYNC-4: none is open");
        assert!(node.events.iter().any(|event| matches!(event, Event::Certified(head) if head.len == 5)));
    }
    assert!(net.is_equal());
}

#[test]
fn who_missed_the_votes_gets_the_certificate() {
    let mut net = mesh();
    give(&mut net.nodes[0], &Chain::new(FORKER, 0).ops(5, "op"));
    net.settle(20);
    net.cut = [(0, 3), (1, 3), (2, 3)].into();
    for (at, own) in RUNNING.into_iter().enumerate() {
        sign_all(&mut net.nodes[at], own);
    }
    rounds(&mut net, 5);
    assert_eq!((certified(&net.nodes[0], FORKER), certified(&net.nodes[3], FORKER)), (5, 0));
    net.cut.clear();
    net.settle(30);
    assert_eq!(certified(&net.nodes[3], FORKER), 5, "SYNC-1");
}

#[test]
fn a_vote_is_durable_before_it_is_told_or_counted() {
    let mut node = member(1);
    give(&mut node, &Chain::new(2, 0).ops(2, "b"));
    node.holds_durable = true;
    let heads = sign_all(&mut node, 1);
    assert_eq!((heads.len(), node.broadcast.len()), (1, 0), "CERT-4: nobody sees it before");
    let kept = &node.store.facts[&FactKey::Vote(log_of(2)).encode()];
    assert_eq!(**kept, vote(heads[0], 1).encode());
    assert!(sign_all(&mut node, 1).is_empty(), "one batch at a time");
    node.confirm();
    assert_eq!(node.take_broadcast(), [Frame::Proofs(vec![vote(heads[0], 1).encode()])]);
    assert!(sign_all(&mut node, 1).is_empty(), "CERT-4: a head is signed once");
    node.replica.tell_votes();
    node.drain();
    assert_eq!(node.take_broadcast().len(), 1, "told again until it is certified");
}

#[test]
fn a_member_signs_only_what_extends_what_it_signed() {
    let (trunk, left, right) = fork(1, 1, 3);
    let mut node = member(1);
    give(&mut node, &[&trunk[..], &left].concat());
    assert_eq!(sign_all(&mut node, 1), [head_of(&left)]);
    // A new process that was given the other chain: its memory is in its store.
    let mut again = member(1);
    node.store.facts.values().for_each(|fact| again.replica.restore_fact(fact));
    give(&mut again, &[&trunk[..], &right].concat());
    assert_eq!(again.len(FORKER, 0), 4);
    assert!(sign_all(&mut again, 1).is_empty(), "CERT-4: the other chain does not extend it");
    // Not of a forked author either.
    give(&mut node, &right[..1]);
    assert!(node.is_forked(FORKER));
    assert!(node.replica.heads_to_sign([(log_of(FORKER), 1)]).is_empty());
}

#[test]
fn a_member_that_lost_its_memory_takes_up_what_others_remember() {
    let mut net = mesh();
    give(&mut net.nodes[1], &Chain::new(FORKER, 0).ops(4, "op"));
    net.settle(20);
    let signed = sign_all(&mut net.nodes[0], 1);
    net.settle(20);
    net.nodes[0] = Node::at(config(&MEMBERS, Some(1)), OwnStart::Recover, net.nodes[0].now);
    for (node, own) in [(1, Some(2)), (2, Some(3)), (3, None)] {
        net.nodes[0].handle(Input::Connected { peer: support::peer(node), author: own.map(author) });
        net.nodes[node].handle(Input::Disconnected(Peer(0)));
        net.nodes[node].handle(Input::Connected { peer: Peer(0), author: Some(author(1)) });
    }
    assert!(sign_all(&mut net.nodes[0], 1).is_empty(), "CERT-4: nothing while it recovers");
    rounds(&mut net, 30);
    assert_eq!(net.nodes[0].replica.own_vote(log_of(FORKER)).map(|vote| vote.head), Some(signed[0]), "CERT-4");
    let kept = &net.nodes[0].store.facts[&FactKey::Vote(log_of(FORKER)).encode()];
    assert_eq!(**kept, vote(signed[0], 1).encode(), "CERT-4: durably");
}

#[test]
fn a_late_fork_leaves_what_is_certified() {
    let (trunk, left, right) = fork(3, 2, 1);
    let mut net = mesh();
    give(&mut net.nodes[0], &trunk);
    net.settle(20);
    vote_all(&mut net);
    give(&mut net.nodes[1], &left);
    net.settle(20);
    assert!(net.nodes.iter().all(|node| (node.len(FORKER, 0), certified(node, FORKER)) == (5, 3)));
    give(&mut net.nodes[2], &right);
    net.settle(30);
    for node in &net.nodes {
        assert!(node.is_forked(FORKER), "SYNC-3");
        assert_eq!((node.len(FORKER, 0), certified(node, FORKER)), (3, 3), "CRDT-4, CERT-1");
    }
    // Votes that were under way certify more of it: that comes back, out of the own store.
    let head = head_of(&left[..1]);
    prove(&mut net.nodes[0], &[certificate_bytes(head, &[1, 2, 3])]);
    net.settle(40);
    for node in &mut net.nodes {
        assert_eq!((node.len(FORKER, 0), certified(node, FORKER)), (4, 4), "CERT-1");
        let again = restarted(node, None, OwnStart::Append).state();
        assert_eq!(again, node.state(), "STORE-2");
    }
}

/// A node that took the other chain, one that comes with nothing, and one in whose way a liar stands.
#[test]
fn a_certified_branch_is_fetched_downwards_by_whoever_lacks_it() {
    let (trunk, left, right) = fork(100, 130, 30);
    let proof = proof_of(&left[0], &right[0]);
    let certificate = certificate_bytes(head_of(&left), &[1, 2, 3]);
    let holder = || {
        let mut node = member(1);
        give(&mut node, &[&trunk[..], &left].concat());
        prove(&mut node, &[certificate.clone(), proof.clone()]);
        assert_eq!((node.len(FORKER, 0), certified(&node, FORKER)), (230, 230));
        node
    };
    let mut other = member(2);
    give(&mut other, &[&trunk[..], &right].concat());
    let mut net = Net::mesh(vec![holder(), other, member(3)], &RUNNING);
    let rounds = net.settle(120);
    for node in &mut net.nodes {
        assert_eq!((node.len(FORKER, 0), certified(node, FORKER)), (230, 230), "SYNC-1 after {rounds} rounds");
        assert_eq!(node.replica.buffers().iter().find(|b| b.0 == "descents").unwrap().1, 0);
        let again = restarted(node, None, OwnStart::Append).state();
        assert_eq!(again, node.state(), "STORE-2");
    }
}

#[test]
fn a_restart_in_the_midst_of_a_descent_begins_it_anew() {
    let (trunk, left, right) = fork(2, 100, 1);
    let facts = [proof_of(&left[0], &right[0]), certificate_bytes(head_of(&left), &[1, 2, 3])];
    let mut node = member(2);
    node.greet(7, None, 0);
    prove(&mut node, &facts);
    ask_and_answer(&mut node, &left[50..]);
    assert_eq!(node.len(FORKER, 0), 0, "nothing counts before the end is met");
    let half = restarted(&node, Some(2), OwnStart::Append);
    let mut holder = member(1);
    give(&mut holder, &[&trunk[..], &left].concat());
    prove(&mut holder, &[facts[1].clone(), facts[0].clone()]);
    let mut net = Net::mesh(vec![holder, half], &[1, 2]);
    net.settle(60);
    assert_eq!((net.nodes[1].len(FORKER, 0), certified(&net.nodes[1], FORKER)), (102, 102));
}

/// Peer 7 claims to hold something else, is asked, and answers with these operations; returns what was wanted.
fn ask_and_answer(node: &mut Node, ops: &[VerifiedOp]) -> Vec<Wanted> {
    let digest = Digest::from_bytes([9; 32]);
    let hello = node.hello(0);
    node.frame(7, &Frame::Hello(Hello { digest, ..hello }));
    node.wait(10_000);
    let pull = |frame| if let Frame::Pull { frontier, .. } = frame { Some(frontier.wanted) } else { None };
    let wanted = node.take_sent().into_iter().filter_map(|(_, frame)| pull(frame)).next_back();
    let ops = ops.iter().map(|op| Arc::clone(op.op().bytes())).collect();
    let now = node.now.wall;
    node.frame(7, &Frame::Delta(Delta { now, digest, more: false, proofs: Vec::new(), ops }));
    wanted.expect("it is asked")
}

#[test]
fn nobody_can_feed_anything_else_below_a_certified_head() {
    let (trunk, left, right) = fork(2, 4, 4);
    let mut node = member(2);
    node.greet(7, None, 0);
    prove(&mut node, &[proof_of(&left[0], &right[0]), certificate_bytes(head_of(&left), &[1, 2, 3])]);
    let top = left.last().unwrap().op();
    let expected = [Wanted { author: number(FORKER), log: 0, seq: 5, id: top.id() }];
    assert_eq!(ask_and_answer(&mut node, &right), expected);
    assert_eq!(node.len(FORKER, 0), 0, "CRDT-4: the other branch counts for nothing");
    assert_eq!(ask_and_answer(&mut node, &left[2..]), expected);
    let next = [Wanted { author: number(FORKER), log: 0, seq: 3, id: left[1].op().id() }];
    assert_eq!(ask_and_answer(&mut node, &[&right[..2], &trunk, &left[..1]].concat()), next);
    assert_eq!((node.len(FORKER, 0), node.replica.history().ops()), (0, 0));
    assert_eq!(ask_and_answer(&mut node, &[&trunk[..], &left[..2]].concat()), next, "nothing else moved it");
    assert_eq!((node.len(FORKER, 0), certified(&node, FORKER)), (6, 6));
}

fn number(n: u8) -> u16 {
    members(&MEMBERS).number(&author(n)).unwrap()
}

#[test]
fn two_certificates_that_contradict_one_another_freeze_the_log_everywhere() {
    let (trunk, left, right) = fork(3, 2, 4);
    let (low, high) = (certificate_bytes(head_of(&left), &[1, 2, 4]), certificate_bytes(head_of(&right), &[2, 3, 4]));
    let side = |own, ops: &[VerifiedOp], certificate: &Vec<u8>| {
        let mut node = member(own);
        give(&mut node, &[&trunk[..], ops].concat());
        prove(&mut node, std::slice::from_ref(certificate));
        node
    };
    let nodes = vec![side(1, &left, &low), side(2, &left, &low), side(3, &right, &high)];
    let mut net = Net::mesh(nodes, &RUNNING);
    net.settle(60);
    for node in &mut net.nodes {
        let conflict = node.replica.history().conflict(log_of(FORKER)).expect("CERT-3: the state has a name");
        assert_eq!((conflict.parted, conflict.low.head().len, conflict.high.head().len), (3, 5, 7), "CERT-3");
        let guilty: Vec<_> = conflict.signed_both().collect();
        assert!(guilty.len() == 2 && guilty.contains(&author(2)) && guilty.contains(&author(4)), "CERT-3");
        assert_eq!((node.len(FORKER, 0), certified(node, FORKER)), (3, 3), "CERT-3: frozen where they part");
        assert!(node.events.contains(&Event::Frozen(log_of(FORKER))));
        let again = restarted(node, None, OwnStart::Append);
        assert_eq!(again.replica.history().conflict(log_of(FORKER)), node.replica.history().conflict(log_of(FORKER)));
        assert_eq!(again.clone().state(), node.state(), "STORE-2");
    }
    prove(&mut net.nodes[0], &[certificate_bytes(head_of(&right[..2]), &[1, 2, 3])]);
    assert_eq!(net.nodes[0].len(FORKER, 0), 3, "CERT-3: nothing more of it");
}

#[test]
fn a_double_vote_is_proven_and_known_to_all() {
    let (trunk, left, right) = fork(1, 1, 1);
    let mut net = mesh();
    net.cut = [(0, 3), (1, 3), (2, 3)].into();
    let votes = [head_of(&left), head_of(&right)].map(|head| vote(head, 2).encode());
    give(&mut net.nodes[0], &trunk);
    net.nodes[0].greet(99, None, 0);
    assert_eq!(net.nodes[0].overhear(99, &Frame::Proofs(votes.to_vec())), Verdict::Accept);
    net.nodes[0].handle(Input::Disconnected(Peer(99)));
    rounds(&mut net, 3);
    assert!(net.nodes[1].replica.history().double_vote(&author(2)).is_some());
    assert!(net.nodes[3].replica.history().double_vote(&author(2)).is_none());
    net.cut.clear();
    net.settle(30);
    for node in &mut net.nodes {
        assert!(node.replica.history().double_vote(&author(2)).is_some(), "SYNC-1");
        assert_eq!(node.replica.history().double_votes().count(), 1, "CERT-4: nobody else is accused");
        assert!(node.events.contains(&Event::DoubleVoter(author(2))));
        assert_eq!(restarted(node, None, OwnStart::Append).state(), node.state(), "STORE-2");
    }
}

/// CRDT-6: each way to be wrong, with the reason; nothing changes.
#[test]
fn what_is_no_vote_no_certificate_and_no_double_vote_is_refused() {
    let (trunk, left, right) = fork(1, 1, 1);
    let mut node = Node::follower(&MEMBERS);
    give(&mut node, &trunk);
    node.greet(7, None, 0);
    let head = head_of(&trunk);
    let spoiled = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let last = |bytes: &[u8]| bytes.len() - 1;
    let vote_bytes = vote(head, 1).encode();
    let certificate = certificate_bytes(head, &[1, 2, 3]);
    let members = members(&MEMBERS);
    let verified = |head| vote(head, 1).verify(&members).unwrap();
    let double = DoubleVote::of(&verified(head_of(&left)), &verified(head_of(&right))).unwrap().encode();
    let wrong = [
        (spoiled(vote_bytes.clone(), last(&vote_bytes)), Reason::Signature),
        (spoiled(vote_bytes.clone(), 40), Reason::Proof),
        (vote(head, 9).encode(), Reason::Proof),
        (vote(Head { epoch: 1, ..head }, 1).encode(), Reason::Proof),
        (vote_bytes[..200].to_vec(), Reason::Proof),
        ([&vote_bytes[..], &[0]].concat(), Reason::Proof),
        (certificate_bytes(head, &[1, 2]), Reason::Proof),
        (certificate_bytes(head, &[1, 2, 3, 9]), Reason::Proof),
        (spoiled(certificate.clone(), last(&certificate)), Reason::Proof),
        ([&certificate[..], &[0]].concat(), Reason::Proof),
        (spoiled(double.clone(), last(&double)), Reason::Proof),
        ([&double[..], &[0]].concat(), Reason::Proof),
        (vec![4], Reason::Proof),
        (vec![], Reason::Proof),
    ];
    for (bytes, reason) in wrong {
        let before = (node.state(), node.store.clone());
        node.take_refused();
        assert_eq!(node.overhear(7, &Frame::Proof(bytes.clone())), Verdict::Reject, "{bytes:?}");
        assert_eq!(node.take_refused(), [reason], "CRDT-6: {bytes:?}");
        assert_eq!((node.state(), node.store.clone()), before, "CRDT-6");
        node.wait(60_000);
    }
    for (bytes, news) in [(vote_bytes, true), (certificate, true), (double, true)] {
        assert_eq!(node.overhear(7, &Frame::Proof(bytes.clone())) == Verdict::Accept, news);
        node.take_refused();
        assert_eq!(node.overhear(7, &Frame::Proof(bytes)), Verdict::Ignore);
        assert_eq!(node.take_refused(), [Reason::Duplicate], "CRDT-6: once");
    }
}

#[test]
fn answers_to_a_descent_are_within_the_credit_and_reach_its_end() {
    let mut chain = Chain::new(FORKER, 0);
    let mut ops = Vec::new();
    for minute in 0..6u64 {
        chain.declared = support::ops::START.after_ms(minute * 60_000);
        ops.extend((0..15).map(|_| chain.op(&[7; 60 * 1024])));
    }
    let twin = Chain::new(FORKER, 0).op(b"twin");
    let mut holder = member(1);
    holder.now.wall = holder.now.wall.after_ms(600_000);
    give(&mut holder, &ops);
    prove(&mut holder, &[certificate_bytes(head_of(&ops), &[1, 2, 3]), proof_of(&ops[0], &twin)]);
    assert_eq!(certified(&holder, FORKER), 90);
    holder.greet(7, None, 600_000);
    let wanted = vec![Wanted { author: number(FORKER), log: 0, seq: 89, id: ops[89].op().id() }];
    let (now, frontier) = (holder.now.wall, Frontier { wanted, ..Frontier::default() });
    holder.take_sent();
    holder.frame(7, &Frame::Pull { now, credit: u32::MAX, frontier });
    let sent = holder.take_sent();
    let delta =
        sent.iter().find_map(|(_, frame)| if let Frame::Delta(delta) = frame { Some(delta) } else { None }).unwrap();
    let bytes: usize = delta.ops.iter().map(|op| op.len()).sum();
    assert!(bytes <= concurrence_protocol::DELTA_BYTES_MAX, "SYNC-5: {bytes}");
    assert_eq!(delta.ops.last(), Some(ops[89].op().bytes()), "the end is what is wanted");
    assert_eq!(delta.ops.len(), 8);
}

/// A member that signs heads on and on is not spread, and costs its forwarder its budget (SYNC-4, NET-2).
#[test]
fn votes_without_end_are_no_news() {
    let mut node = Node::follower(&MEMBERS);
    node.greet(7, None, 0);
    let mut chain = Chain::new(FORKER, 0);
    let votes: Vec<_> = (0..40).map(|_| vote(head_of(&[chain.op(b"none")]), 2).encode()).collect();
    let verdicts: Vec<_> = votes.iter().map(|vote| node.overhear(7, &Frame::Proof(vote.clone()))).collect();
    assert!(verdicts[..4].iter().all(|&verdict| verdict == Verdict::Accept));
    assert!(verdicts[4..].iter().all(|&verdict| verdict == Verdict::Ignore));
    assert_eq!(node.replica.buffers().iter().find(|b| b.0 == "votes").unwrap().1, 4, "SYNC-4");
}
