//! Head votes and certificates: bytes, quorums, contradictions, and every order of operations, votes, certificates and proofs of a network
//! of four (CRDT-1, CRDT-4, CERT-1, CERT-2).
mod support;

use std::collections::BTreeMap;

use concurrence_crdt::{
    Ballots, Certificate, CertificateConflict, Certified, CodecError, Counted, Descent, Digest, DoubleVote, ForkProof,
    Head, HeadVote, History, LogKey, Membership, OPEN_VOTES_MAX, OpId, Place, Reader, VOTE_LEN, VerifiedOp,
    VerifiedVote, VoteError,
};
use support::*;

const FORKER: u8 = 4;

fn four() -> Membership {
    members(&[1, 2, 3, FORKER])
}

fn verified(head: Head, n: u8) -> VerifiedVote {
    vote(head, n).verify(&four()).unwrap()
}

#[test]
fn votes_certificates_and_double_votes_have_one_encoding() {
    let (members, mut chain) = (four(), Chain::new(1, 2));
    let (left, right) = (head_of(&chain.clone().ops(1, "left")), head_of(&chain.ops(1, "right")));
    let vote_bytes = vote(left, 1).encode();
    assert_eq!(vote_bytes.len(), VOTE_LEN);
    assert_eq!(HeadVote::read(&mut Reader::new(&vote_bytes), NETWORK), Ok(vote(left, 1)));

    let bytes = certificate_bytes(left, &[3, 1, 2]);
    let read = Certificate::read(&mut Reader::new(&bytes), NETWORK, &members).unwrap();
    assert_eq!(read.encode(), bytes);
    assert_eq!(Certificate::peek(&bytes, NETWORK), Ok(left));

    let double = DoubleVote::of(&verified(right, 2), &verified(left, 2)).unwrap();
    assert_eq!(DoubleVote::of(&verified(left, 2), &verified(right, 2)), Some(double));
    assert_eq!(double.encode().len(), DoubleVote::LEN);
    assert_eq!(DoubleVote::read(&mut Reader::new(&double.encode()), NETWORK, &members), Ok(double));

    for bytes in [vote_bytes, bytes, double.encode()] {
        for len in 0..bytes.len() {
            let prefix = &bytes[..len];
            let truncated = |error| matches!(error, VoteError::Codec(CodecError::Truncated { .. }));
            let refused = match bytes[0] {
                HeadVote::KIND => HeadVote::read(&mut Reader::new(prefix), NETWORK).is_err_and(truncated),
                Certificate::KIND => {
                    Certificate::read(&mut Reader::new(prefix), NETWORK, &members).is_err_and(truncated)
                }
                _ => DoubleVote::read(&mut Reader::new(prefix), NETWORK, &members).is_err_and(truncated),
            };
            assert!(refused, "CRDT-6: {len} bytes of {}", bytes.len());
        }
    }
}

#[test]
fn a_certificate_needs_more_than_two_thirds_of_members_each_once() {
    let (members, head) = (four(), head_of(&Chain::new(1, 0).ops(1, "op")));
    let read = |bytes: &[u8]| Certificate::read(&mut Reader::new(bytes), NETWORK, &members).map(|c| *c.head());
    assert_eq!(read(&certificate_bytes(head, &[1, 2, 3])), Ok(head), "CERT-2");
    assert_eq!(read(&certificate_bytes(head, &[1, 2])), Err(VoteError::NoQuorum { weight: 2, total: 4 }), "CERT-2");
    assert_eq!(read(&certificate_bytes(head, &[])), Err(VoteError::NoQuorum { weight: 0, total: 4 }), "CERT-2");
    let twice = VoteError::Codec(CodecError::NotCanonical("order of signers"));
    assert_eq!(read(&certificate_bytes(head, &[1, 1, 2])), Err(twice), "CERT-2: nobody counts twice");
    assert_eq!(read(&certificate_bytes(head, &[1, 2, 3, 9])), Err(VoteError::NotAMember(0)), "CERT-2: strangers");
    let other = Head { len: 2, ..head };
    let mut forged = certificate_bytes(head, &[1, 2, 3]);
    forged[1..111].copy_from_slice(&other.encode());
    assert!(matches!(read(&forged), Err(VoteError::Key(_))), "CERT-2: signatures over another head");
    let unknown = Head { epoch: 1, ..head };
    assert_eq!(read(&certificate_bytes(unknown, &[1, 2, 3])), Err(VoteError::UnknownEpoch(1)));
    let strange = head_of(&Chain::new(9, 0).ops(1, "op"));
    assert_eq!(read(&certificate_bytes(strange, &[1, 2, 3])), Err(VoteError::Stranger));
}

#[test]
fn heads_are_refused_by_what_is_wrong_with_them() {
    let head = head_of(&Chain::new(1, 0).ops(1, "op"));
    let read = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = vote(head, 1).encode();
        change(&mut bytes);
        HeadVote::read(&mut Reader::new(&bytes), NETWORK)
    };
    assert_eq!(read(&|b| b[0] = 2), Err(CodecError::NotCanonical("kind of a proof").into()));
    assert_eq!(read(&|b| b[1] = 1), Err(VoteError::Version(1)));
    assert!(matches!(read(&|b| b[2] ^= 1), Err(VoteError::OtherNetwork(_))));
    assert_eq!(read(&|b| b[70] = 4), Err(CodecError::OverCap { field: "log index", value: 4, max: 3 }.into()));
    assert_eq!(read(&|b| b[78] = 0), Err(CodecError::NotCanonical("length of a head").into()));
    let forged = read(&|b| b[206] ^= 1).unwrap();
    assert!(matches!(forged.verify(&four()), Err(VoteError::Key(_))), "CRDT-6");
    assert_eq!(vote(head, 9).verify(&four()), Err(VoteError::NotAMember(0)));
}

#[test]
fn ballots_certify_expose_and_stay_within_their_bound() {
    let (members, mut chain, mut ballots) = (four(), Chain::new(1, 0), Ballots::default());
    let right = head_of(&chain.clone().ops(1, "right"));
    let heads: Vec<_> = (0..9).map(|_| head_of(&[chain.op(b"left")])).collect();
    assert_eq!(ballots.count(&verified(heads[0], 1), &members), (Counted::Open, None));
    assert_eq!(ballots.count(&verified(heads[0], 1), &members), (Counted::Dropped, None), "once");
    assert_eq!(ballots.count(&verified(heads[0], 2), &members), (Counted::Open, None));
    let double = DoubleVote::of(&verified(heads[0], 2), &verified(right, 2));
    assert!(double.is_some());
    assert_eq!(ballots.count(&verified(right, 2), &members), (Counted::Open, double), "both count");
    let (counted, none) = ballots.count(&verified(heads[0], 3), &members);
    assert_eq!((counted, none), (Counted::Certified(certificate(heads[0], &[1, 2, 3], &members)), None));
    ballots.drop_to(heads[0].log, 1);
    assert!(ballots.is_empty(), "SYNC-4: what is overtaken goes");
    for (n, head) in heads.iter().enumerate() {
        let expected = if n < OPEN_VOTES_MAX { Counted::Open } else { Counted::Crowded };
        assert_eq!(ballots.count(&verified(*head, 2), &members), (expected, None));
        ballots.check_invariants();
    }
    let open: Vec<_> = ballots.of(author(2), NETWORK).map(|vote| vote.head.len).collect();
    assert_eq!((open.len(), open.last()), (OPEN_VOTES_MAX, Some(&9)), "SYNC-4: the longest stay");
    assert_eq!(ballots.count(&verified(heads[1], 2), &members), (Counted::Dropped, None), "the shortest goes");
    assert!(ballots.of(author(1), NETWORK).next().is_none());
}

#[test]
fn a_certified_past_survives_its_author() {
    let (mut history, mut chain) = (History::new(four()), Chain::new(FORKER, 0));
    let trunk = chain.ops(3, "trunk");
    let (left, right) = (chain.clone().op(b"left"), chain.op(b"right"));
    trunk.iter().chain([&left]).for_each(|op| history.admit(op).unwrap());
    let log = left.op().header().log;
    assert_eq!(history.certify(certificate(head_of(&trunk[..2]), &[1, 2, 3], &four())), Certified::Counted);
    let lesser = certificate(head_of(&trunk[..1]), &[1, 2, 3], &four());
    assert_eq!(history.certify(lesser), Certified::Known, "CERT-1");
    history.convict(ForkProof::of(&left.verified_header(), &right.verified_header()).unwrap());
    history.check_invariants();
    assert_eq!((history.tail(log).len, history.ops()), (2, 2), "CRDT-4: the certified prefix counts");
    history.admit(&trunk[2]).unwrap();
    assert_eq!(history.tail(log).len, 2, "CRDT-4: nothing beyond it");
    assert!(!history.admit_certified(&trunk[2]), "CRDT-4: not without a certificate");
    assert_eq!(history.certify(certificate(head_of(&trunk), &[1, 2, 3], &four())), Certified::Awaited);
    assert!(history.admit_certified(&trunk[2]), "what is certified later returns");
    assert_eq!((history.certified_len(log), history.place(right.op().header(), right.op().id())), (3, Place::Forked));
    history.check_invariants();
}

/// Something that reaches a replica.
#[derive(Clone)]
enum Fact {
    Op(VerifiedOp),
    Proof(Box<ForkProof>),
    Vote(VerifiedVote),
    Certificate(Certificate),
}

/// A replica with the patience of sync: what it could not use is offered again.
#[derive(Clone)]
struct Patient {
    history: History,
    ballots: Ballots,
    given: Vec<Fact>,
}

/// All that is compared, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    digest: Digest,
    frontier: Vec<u8>,
    conflicts: Vec<CertificateConflict>,
}

impl Patient {
    fn new() -> Self {
        Self { history: History::new(four()), ballots: Ballots::default(), given: Vec::new() }
    }

    fn give(&mut self, fact: Fact) {
        self.given.push(fact);
        loop {
            let before = (self.history.digest(), self.history.conflicts().count());
            for at in 0..self.given.len() {
                let fact = self.given[at].clone();
                self.offer(fact);
            }
            self.descend();
            self.history.check_invariants();
            self.ballots.check_invariants();
            if before == (self.history.digest(), self.history.conflicts().count()) {
                return;
            }
        }
    }

    fn offer(&mut self, fact: Fact) {
        match fact {
            Fact::Op(op) => match self.history.place(op.op().header(), op.op().id()) {
                Place::Conflict => self.contradict(&op),
                _ => self.history.admit(&op).unwrap(),
            },
            Fact::Proof(proof) => {
                self.history.convict(*proof);
            }
            Fact::Vote(vote) => {
                let (counted, double) = self.ballots.count(&vote, &four());
                double.map(|proof| self.history.expose(proof));
                if let Counted::Certified(certificate) = counted {
                    self.history.certify(certificate);
                }
            }
            Fact::Certificate(certificate) => {
                self.history.certify(certificate);
            }
        }
    }

    fn ops(&self) -> BTreeMap<OpId, VerifiedOp> {
        let ops = self.given.iter().filter_map(|fact| if let Fact::Op(op) = fact { Some(op) } else { None });
        ops.map(|op| (op.op().id(), op.clone())).collect()
    }

    /// Another operation is held at its position: with that one it is a proof.
    fn contradict(&mut self, op: &VerifiedOp) {
        let held = self.history.id_at(op.op().header().log, op.op().header().seq).unwrap();
        let proof = ForkProof::of(&self.ops()[&held].verified_header(), &op.verified_header()).unwrap();
        self.history.convict(proof);
    }

    /// Follows astray certificates down, as far as the operations are there, and admits what was met.
    fn descend(&mut self) {
        let (ops, astray) = (self.ops(), self.history.astray().cloned().collect::<Vec<_>>());
        for certificate in astray {
            let mut descent = Descent::new(certificate);
            while descent.met(&self.history).is_none() {
                let Some(op) = descent.wanted().and_then(|(_, id)| ops.get(&id)) else { break };
                assert!(descent.pass(op));
                if self.history.place(op.op().header(), op.op().id()) == Place::Conflict {
                    self.contradict(op);
                }
            }
            let (log, is_awaited) = (descent.log(), self.history.is_awaited(descent.certificate().head()));
            let Some(met) = descent.met(&self.history) else { continue };
            if !is_awaited
                || self.history.proof(&log.author).is_none()
                || self.history.meet(descent.certificate().head(), met).is_some()
            {
                continue;
            }
            let upwards = (self.history.tail(log).len..).map_while(|seq| descent.id_at(seq));
            upwards.collect::<Vec<_>>().iter().for_each(|id| assert!(self.history.admit_certified(&ops[id])));
        }
    }

    fn state(&mut self) -> State {
        let mut frontier = Vec::new();
        self.history.frontier().encode(&mut frontier);
        State { digest: self.history.digest(), frontier, conflicts: self.history.conflicts().cloned().collect() }
    }
}

/// Gives facts in every order, and again, and checks that each set of them has one state; returns the last.
fn every_order(facts: &[Fact]) -> Patient {
    fn visit(
        facts: &[Fact],
        set: u32,
        patient: &Patient,
        states: &mut BTreeMap<u32, State>,
        whole: &mut Option<Patient>,
    ) {
        let mut here = patient.clone();
        let state = here.state();
        let known = states.entry(set).or_insert_with(|| state.clone());
        assert_eq!(*known, state, "CRDT-1: the order of {set:09b} shows");
        for at in (0..facts.len()).filter(|at| set >> at & 1 == 0) {
            let mut next = patient.clone();
            next.give(facts[at].clone());
            visit(facts, set | 1 << at, &next, states, whole);
        }
        if set.count_ones() as usize == facts.len() {
            whole.get_or_insert(here);
        }
    }
    let mut whole = None;
    visit(facts, 0, &Patient::new(), &mut BTreeMap::new(), &mut whole);
    let mut whole = whole.unwrap();
    let before = whole.state();
    facts.iter().for_each(|fact| whole.give(fact.clone()));
    assert_eq!(whole.state(), before, "CRDT-1: repetition shows");
    whole
}

struct Fork {
    trunk: Vec<VerifiedOp>,
    /// With the trunk before it.
    left: Vec<VerifiedOp>,
    right: Vec<VerifiedOp>,
}

/// A trunk and two chains that begin with it.
fn fork(trunk: usize, left: usize, right: usize) -> Fork {
    let mut chain = Chain::new(FORKER, 0);
    let trunk = chain.ops(trunk, "trunk");
    let branch = |mut chain: Chain, n, tag| [trunk.clone(), chain.ops(n, tag)].concat();
    Fork { left: branch(chain.clone(), left, "left"), right: branch(chain, right, "right"), trunk }
}

fn ops(all: &[VerifiedOp]) -> Vec<Fact> {
    all.iter().cloned().map(Fact::Op).collect()
}

const LOG: fn() -> LogKey = || LogKey { author: author(FORKER), index: 0 };

#[test]
fn any_order_of_a_fork_and_votes_for_what_was_before_it() {
    let fork = fork(2, 1, 1);
    let head = head_of(&fork.trunk);
    let mut facts = ops(&[&fork.left[..], &fork.right[2..]].concat());
    facts.extend([1, 2, 3].map(|n| Fact::Vote(verified(head, n))));
    let end = every_order(&facts);
    assert_eq!((end.history.tail(LOG()).len, end.history.certified_len(LOG())), (2, 2), "CRDT-4");
    assert!(end.history.proof(&author(FORKER)).is_some());
}

#[test]
fn any_order_of_a_fork_and_a_certificate_for_one_of_its_branches() {
    let fork = fork(1, 2, 1);
    let mut facts = ops(&[&fork.left[..], &fork.right[1..]].concat());
    let proof = ForkProof::of(&fork.left[1].verified_header(), &fork.right[1].verified_header()).unwrap();
    facts.push(Fact::Proof(Box::new(proof)));
    facts.push(Fact::Certificate(certificate(head_of(&fork.trunk), &[1, 2, FORKER], &four())));
    facts.push(Fact::Certificate(certificate(head_of(&fork.left), &[1, 2, 3], &four())));
    let end = every_order(&facts);
    assert_eq!((end.history.tail(LOG()).len, end.history.certified_len(LOG())), (3, 3), "CERT-1");
}

#[test]
fn any_order_of_too_few_votes_leaves_nothing_of_a_forked_author() {
    let fork = fork(1, 1, 1);
    let mut facts = ops(&[&fork.left[..], &fork.right[1..]].concat());
    facts.extend([1, FORKER].map(|n| Fact::Vote(verified(head_of(&fork.left), n))));
    facts.extend([2, FORKER].map(|n| Fact::Vote(verified(head_of(&fork.right), n))));
    let end = every_order(&facts);
    assert_eq!((end.history.ops(), end.history.certified_ops()), (0, 0), "CERT-2, CRDT-4");
    assert_eq!(end.history.double_votes().map(DoubleVote::voter).collect::<Vec<_>>(), [author(FORKER)]);
}

#[test]
fn any_order_of_two_certificates_that_contradict_one_another_freezes_where_they_part() {
    for (left, right) in [(1, 1), (2, 1)] {
        let fork = fork(2, left, right);
        let mut facts = ops(&[&fork.left[..], &fork.right[2..]].concat());
        facts.push(Fact::Certificate(certificate(head_of(&fork.left), &[1, 2, 3], &four())));
        facts.push(Fact::Certificate(certificate(head_of(&fork.right), &[2, 3, FORKER], &four())));
        let end = every_order(&facts);
        assert_eq!((end.history.tail(LOG()).len, end.history.certified_len(LOG())), (2, 2), "CERT-3");
        let conflict = end.history.conflict(LOG()).expect("CERT-3: the state has a name");
        assert_eq!(conflict.signed_both().collect::<Vec<_>>().len(), 2, "CERT-3: who is at fault is known");
    }
}

#[test]
fn votes_of_two_epochs_are_not_added_up() {
    let members = Membership::new(vec![committee(&[1, 2, 3, 4]), committee(&[1, 2, 3, 4])]);
    let (mut ballots, head) = (Ballots::default(), head_of(&Chain::new(1, 0).ops(1, "op")));
    let later = Head { epoch: 1, ..head };
    let count = |ballots: &mut Ballots, head, n| ballots.count(&vote(head, n).verify(&members).unwrap(), &members);
    assert_eq!(count(&mut ballots, head, 1), (Counted::Open, None));
    assert_eq!(count(&mut ballots, later, 2), (Counted::Open, None));
    assert_eq!(count(&mut ballots, later, 3), (Counted::Open, None), "CERT-2");
    let certified = Counted::Certified(certificate(later, &[1, 2, 3], &members));
    assert_eq!(count(&mut ballots, later, 1), (certified, None));
}
