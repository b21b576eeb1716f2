//! Forks and the state they leave (CRDT-1, CRDT-2, CRDT-4). What an equivocator may try:
//!
//!  1. a "proof" of one header given twice
//!  2. a "proof" of headers at two positions, of two logs or two authors
//!  3. a proof with its headers in the other order: a second form of the same thing
//!  4. a proof with a signature that does not verify, on either side
//!  5. a proof whose headers name invented ancestors: it convicts
//!  6. a proof against a stranger: it changes nothing
//!  7. going on in another log after a fork in one
//!  8. n siblings with falling sequence numbers: each costs one look-up
mod support;

use concurrence_crdt::{
    ForkError, ForkProof, History, NetworkId, OpError, OpId, Place, Reader, Signature, SignedHeader, VerifiedOp,
};
use proptest::prelude::*;
use support::{Chain, NETWORK, START, author, key, members};

fn proof_of(a: &VerifiedOp, b: &VerifiedOp) -> Option<ForkProof> {
    ForkProof::of(&a.verified_header(), &b.verified_header())
}

fn read(low: &SignedHeader, high: &SignedHeader) -> Result<ForkProof, ForkError> {
    let bytes = [low.encode(), high.encode()].concat();
    let mut reader = Reader::new(&bytes);
    let proof = ForkProof::read(&mut reader, NETWORK)?;
    reader.finish().unwrap();
    Ok(proof)
}

/// Two operations of author 1 at one position, the one with the lower id first.
fn pair() -> [VerifiedOp; 2] {
    let mut pair = [Chain::new(1, 0).op(b"a"), Chain::new(1, 0).op(b"b")];
    pair.sort_by_key(|op| op.op().id());
    pair
}

#[test]
fn case_01_same_header_twice() {
    let [a, _] = pair();
    assert_eq!(proof_of(&a, &a), None);
    assert_eq!(read(a.op().signed(), a.op().signed()), Err(ForkError::NotOrdered));
    // A second signature over the same header is no second header.
    let nonce = Signature::from_bytes([1; 64]);
    let other = SignedHeader::join(a.op().header().clone(), nonce);
    assert_eq!(read(a.op().signed(), &other), Err(ForkError::NotOrdered));
}

#[test]
fn case_02_two_positions() {
    let mut chain = Chain::new(1, 0);
    let (a, next) = (chain.op(b"a"), chain.op(b"b"));
    let (other_log, other_author) = (Chain::new(1, 1).op(b"b"), Chain::new(2, 0).op(b"b"));
    for b in [next, other_log, other_author] {
        assert_eq!(proof_of(&a, &b), None);
        assert_eq!(read(a.op().signed(), b.op().signed()), Err(ForkError::DifferentPositions));
        assert_eq!(read(b.op().signed(), a.op().signed()), Err(ForkError::DifferentPositions));
    }
}

#[test]
fn case_03_one_form_for_one_pair() {
    let [low, high] = pair();
    let proof = proof_of(&low, &high).unwrap();
    assert_eq!(Some(&proof), proof_of(&high, &low).as_ref());
    assert_eq!(proof.headers(), (low.op().signed(), high.op().signed()));
    assert_eq!(read(low.op().signed(), high.op().signed()), Ok(proof));
    assert_eq!(read(high.op().signed(), low.op().signed()), Err(ForkError::NotOrdered));
}

#[test]
fn case_04_bad_signature() {
    let [low, high] = pair();
    let forged = |op: &VerifiedOp| {
        let header = op.op().header().clone();
        let signature = Signature::sign(&key(2), header.id().as_bytes());
        SignedHeader::join(header, signature)
    };
    assert!(matches!(read(&forged(&low), high.op().signed()), Err(ForkError::Key(_))));
    assert!(matches!(read(low.op().signed(), &forged(&high)), Err(ForkError::Key(_))));
    let other = NetworkId::from_bytes([8; 32]);
    let bytes = proof_of(&low, &high).unwrap().encode();
    let replayed = ForkProof::read(&mut Reader::new(&bytes), other);
    assert_eq!(replayed, Err(ForkError::Op(OpError::OtherNetwork(NETWORK))));
}

#[test]
fn case_05_invented_ancestors() {
    let invented = |prev: u8| Chain { seq: 5, prev: OpId::from_bytes([prev; 32]), ..Chain::new(1, 0) };
    let (a, b) = (invented(1).op(b"same"), invented(2).op(b"same"));
    let proof = proof_of(&a, &b).unwrap();
    let mut history = History::new(members(&[1, 2]));
    assert!(history.convict(proof));
    assert_eq!(history.frontier().forked.len(), 1);
}

#[test]
fn case_06_stranger() {
    let [a, b] = pair();
    let mut history = History::new(members(&[2]));
    let before = history.digest();
    assert!(!history.convict(proof_of(&a, &b).unwrap()));
    assert_eq!(history.digest(), before);
}

#[test]
fn case_07_every_log_of_a_forked_author_is_gone() {
    let mut history = History::new(members(&[1, 2]));
    let (mut first, mut second, mut honest) = (Chain::new(1, 0), Chain::new(1, 3), Chain::new(2, 0));
    for op in [first.clone().op(b"a"), second.op(b"s"), honest.op(b"h")] {
        history.admit(&op).unwrap();
    }
    let proof = proof_of(&first.clone().op(b"a"), &first.op(b"b")).unwrap();
    assert!(history.convict(proof.clone()) && !history.convict(proof));
    history.check_invariants();
    assert_eq!((history.ops(), history.logs().count(), history.forked().count()), (1, 1, 1));
    // It never comes back, in no log.
    for op in [first.op(b"c"), second.op(b"t"), Chain::new(1, 2).op(b"u")] {
        assert_eq!(history.place(op.op().header(), op.op().id()), Place::Forked);
        assert_eq!(history.admit(&op), Ok(()));
    }
    assert_eq!(history.ops(), 1);
    history.check_invariants();
}

#[test]
fn case_08_falling_siblings() {
    const N: usize = 120;
    let mut history = History::new(members(&[1]));
    let (mut chain, mut starts) = (Chain::new(1, 0), Vec::new());
    for i in 0..N {
        starts.push(chain.clone());
        history.admit(&chain.op(&i.to_be_bytes())).unwrap();
    }
    for start in starts.iter_mut().rev() {
        let sibling = start.op(b"sibling");
        assert_eq!(history.place(sibling.op().header(), sibling.op().id()), Place::Conflict);
        assert_eq!(history.admit(&sibling), Ok(()));
    }
    assert_eq!(history.ops(), N as u64, "nothing is rebuilt, nothing replaced");
}

/// What an input of a [`History`] is: an operation, or a proof.
#[derive(Clone, Debug)]
enum Fact {
    Op(VerifiedOp),
    Proof(Box<ForkProof>),
}

/// Gives a history everything, over and over, until a whole round changes nothing.
fn join(facts: &[Fact]) -> History {
    let mut history = History::new(members(&[1, 2, 3]));
    loop {
        let before = history.digest();
        for fact in facts {
            match fact {
                Fact::Op(op) => drop(history.admit(op)),
                Fact::Proof(proof) => drop(history.convict(ForkProof::clone(proof))),
            }
            history.check_invariants();
        }
        if history.digest() == before {
            return history;
        }
    }
}

/// Three honest logs of two authors, one of them with invalid operations in and behind it; and a forker's two branches, with
/// each of the proofs that they hold.
fn facts() -> Vec<Fact> {
    let mut ops = Chain::new(1, 0).ops(4, "one");
    ops.extend(Chain::new(1, 2).ops(3, "two"));
    let mut broken = Chain::new(2, 0);
    ops.extend(broken.ops(2, "three"));
    let mut broken = broken.at(support::START);
    broken.epoch = 9;
    ops.extend(broken.ops(2, "no such epoch"));
    let mut trunk = Chain::new(3, 0);
    ops.extend(trunk.ops(1, "trunk"));
    let (left, right) = (trunk.clone().ops(2, "left"), trunk.clone().ops(2, "right"));
    let proofs = left.iter().zip(&right).map(|(a, b)| Fact::Proof(Box::new(proof_of(a, b).unwrap())));
    let proofs: Vec<_> = proofs.collect();
    ops.extend(left.into_iter().chain(right));
    ops.extend(Chain::new(3, 1).ops(2, "other log"));
    ops.into_iter().map(Fact::Op).chain(proofs).collect()
}

fn encoded(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    history.frontier().encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// CRDT-1: any order and repetition of operations and proofs gives the same bytes.
    #[test]
    fn joins_are_order_free(
        order in Just(facts()).prop_shuffle(),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut given = order.clone();
        given.extend(repeated.iter().map(|at| order[at.index(order.len())].clone()));
        let (mut expected, mut found) = (join(&facts()), join(&given));
        prop_assert_eq!(found.digest(), expected.digest());
        prop_assert_eq!(encoded(&found), encoded(&expected));
        prop_assert_eq!(found.ops(), 4 + 3 + 2);
        prop_assert_eq!(found.proof(&author(3)).is_some(), true);
    }

    /// CRDT-1, before a proof is known: histories that were given the same valid chains in any order are equal, and a longer
    /// one has another digest.
    #[test]
    fn digests_tell_histories_apart(order in Just(Chain::new(1, 0).ops(5, "o")).prop_shuffle(), missing in 0..5usize) {
        let all: Vec<_> = order.iter().cloned().map(Fact::Op).collect();
        let some: Vec<_> = order.iter().filter(|op| op.op().header().seq != missing as u64).cloned().map(Fact::Op).collect();
        prop_assert_eq!(join(&all).ops(), 5);
        prop_assert_eq!(join(&some).ops(), missing as u64);
        prop_assert_ne!(join(&all).digest(), join(&some).digest());
    }
}

#[test]
fn the_first_minute_is_a_whole_one() {
    // The other tests count on it.
    assert_eq!(START.ms() % concurrence_crdt::BUCKET_MS, 0);
}
