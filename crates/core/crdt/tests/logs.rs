//! What may follow in a log (CRDT-3, CRDT-5): a pure function of the operation, its own chain, the registry and constants.
//!
//!  1. the 241st operation of a minute
//!  2. one byte more than a mebibyte in a minute
//!  3. a minute that falls
//!  4. a registry epoch that falls
//!  5. a registry epoch that does not exist
//!  6. an author who is no member of the epoch declared
//!  7. a sequence number that jumps, up to the last one there is
//!  8. a dependent of a refused operation
//!  9. times at the limits of the type
//! 10. a quota used up in one log says nothing about another
mod support;

use concurrence_crdt::{
    BUCKET_MS, BYTES_PER_BUCKET_MAX, HEADER_LEN_MIN, History, Invalid, LogKey, Membership, OPS_PER_BUCKET_MAX, OpId,
    PAYLOAD_LEN_MAX, Place, Signature, Tail, Time, VerifiedOp,
};
use support::{Chain, START, author, committee, members, sign};

fn place(history: &History, op: &VerifiedOp) -> Place {
    history.place(op.op().header(), op.op().id())
}

/// Refuses, and nothing changes by it.
fn refuse(history: &mut History, op: &VerifiedOp) -> Invalid {
    let before = (history.digest(), history.frontier(), history.ops());
    assert_eq!(place(history, op), Place::Next);
    let why = history.admit(op).unwrap_err();
    history.check_invariants();
    assert_eq!(before, (history.digest(), history.frontier(), history.ops()), "CRDT-6: {why}");
    why
}

fn admit(history: &mut History, op: &VerifiedOp) {
    let before = history.digest();
    assert_eq!(history.admit(op), Ok(()));
    history.check_invariants();
    assert_ne!(before, history.digest(), "an admitted operation shows in the digest");
}

#[test]
fn case_01_operations_at_and_over_the_quota() {
    let (mut history, mut chain) = (History::new(members(&[1])), Chain::new(1, 0));
    for op in chain.ops(OPS_PER_BUCKET_MAX as usize, "q") {
        admit(&mut history, &op);
    }
    // The last millisecond of the minute is over, the first of the next is not.
    let over = chain.clone().at(START.after_ms(BUCKET_MS - 1)).op(b"over");
    assert_eq!(refuse(&mut history, &over), Invalid::OpsOverQuota);
    admit(&mut history, &chain.clone().at(START.after_ms(BUCKET_MS)).op(b"next"));
}

#[test]
fn case_02_bytes_at_and_over_the_quota() {
    let fixed = HEADER_LEN_MIN + Signature::LEN;
    let fill = |over: usize| {
        let (mut history, mut chain) = (History::new(members(&[1])), Chain::new(1, 0));
        let mut left = BYTES_PER_BUCKET_MAX as usize + over;
        while left > fixed + PAYLOAD_LEN_MAX {
            // Always leave room for one more whole operation.
            let size = (fixed + PAYLOAD_LEN_MAX).min(left - fixed);
            admit(&mut history, &chain.op(&vec![0; size - fixed]));
            left -= size;
        }
        let last = chain.clone().op(&vec![0; left - fixed]);
        (history, chain, last)
    };
    let (mut history, chain, exact) = fill(0);
    admit(&mut history, &exact);
    let (mut over_history, _, over) = fill(1);
    assert_eq!(refuse(&mut over_history, &over), Invalid::BytesOverQuota);
    // The next minute begins with nothing used.
    let next = Chain { seq: chain.seq + 1, prev: exact.op().id(), ..chain };
    assert_eq!(refuse(&mut history, &next.clone().op(b"")), Invalid::BytesOverQuota);
    admit(&mut history, &next.at(START.after_ms(BUCKET_MS)).op(b""));
}

#[test]
fn case_03_minute_falls() {
    let (mut history, mut chain) = (History::new(members(&[1])), Chain::new(1, 0));
    admit(&mut history, &chain.op(b"0"));
    let number = START.bucket().number();
    let before = chain.clone().at(Time::from_ms(START.ms() - 1)).op(b"1");
    assert_eq!(refuse(&mut history, &before), Invalid::BucketFalls { from: number, to: number - 1 });
    // Within a minute the clock may fall: only minutes are counted.
    let mut late = chain.at(START.after_ms(BUCKET_MS - 1));
    admit(&mut history, &late.op(b"1"));
    admit(&mut history, &late.at(START).op(b"2"));
}

#[test]
fn case_04_epoch_falls() {
    let registry = Membership::new(vec![committee(&[1]), committee(&[1])]);
    let (mut history, mut chain) = (History::new(registry), Chain::new(1, 0));
    chain.epoch = 1;
    admit(&mut history, &chain.op(b"0"));
    chain.epoch = 0;
    assert_eq!(refuse(&mut history, &chain.clone().op(b"1")), Invalid::EpochFalls { from: 1, to: 0 });
}

#[test]
fn case_05_epoch_does_not_exist() {
    let mut history = History::new(members(&[1]));
    for epoch in [1, u32::MAX] {
        let op = Chain { epoch, ..Chain::new(1, 0) }.op(b"0");
        assert_eq!(refuse(&mut history, &op), Invalid::UnknownEpoch(epoch));
    }
    let mut nobody = History::new(Membership::new(Vec::new()));
    assert_eq!(refuse(&mut nobody, &Chain::new(1, 0).op(b"0")), Invalid::UnknownEpoch(0));
}

#[test]
fn case_06_not_a_member() {
    // Author 2 leaves with epoch 1, author 3 comes, author 4 never was.
    let registry = Membership::new(vec![committee(&[1, 2]), committee(&[1, 3])]);
    let mut history = History::new(registry);
    let mut left = Chain::new(2, 0);
    admit(&mut history, &left.op(b"0"));
    left.epoch = 1;
    assert_eq!(refuse(&mut history, &left.op(b"1")), Invalid::NotAMember(1));
    assert_eq!(refuse(&mut history, &Chain::new(3, 0).op(b"0")), Invalid::NotAMember(0));
    admit(&mut history, &Chain { epoch: 1, ..Chain::new(3, 0) }.op(b"0"));
    assert_eq!(refuse(&mut history, &Chain::new(4, 0).op(b"0")), Invalid::NotAMember(0));
}

#[test]
fn case_07_sequence_numbers_neither_jump_nor_wrap() {
    let (mut history, mut chain) = (History::new(members(&[1])), Chain::new(1, 0));
    let digest = history.digest();
    for seq in [1, 2, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        for prev in [OpId::ZERO, OpId::from_bytes([1; 32])] {
            let far = Chain { seq, prev, ..Chain::new(1, 0) }.header();
            let far = sign(far, b"far", 1);
            assert_eq!(place(&history, &far), Place::Ahead);
            assert_eq!(history.admit(&far), Ok(()));
            assert_eq!(history.digest(), digest, "what is ahead is not admitted");
        }
    }
    // The log is not captured: it goes on from where it stands.
    admit(&mut history, &chain.op(b"0"));
    admit(&mut history, &chain.op(b"1"));
    assert_eq!(history.tail(LogKey { author: author(1), index: 0 }).len, 2);
    assert_eq!(history.id_at(LogKey { author: author(1), index: 0 }, u64::MAX), None);
}

#[test]
fn case_08_dependent_of_a_refused_operation() {
    let (mut history, mut chain) = (History::new(members(&[1])), Chain::new(1, 0));
    admit(&mut history, &chain.op(b"0"));
    let mut falls = chain.clone().at(Time::from_ms(0));
    refuse(&mut history, &falls.op(b"refused"));
    let dependent = falls.at(START).op(b"dependent");
    assert_eq!(place(&history, &dependent), Place::Ahead);
    assert_eq!(history.admit(&dependent), Ok(()));
    assert_eq!(history.ops(), 1, "a log ends before its first invalid operation");
}

#[test]
fn case_09_times_at_the_limits() {
    let (mut history, chain) = (History::new(members(&[1])), Chain::new(1, 0));
    let mut chain = chain.at(Time::from_ms(0));
    admit(&mut history, &chain.op(b"zero"));
    let mut chain = chain.at(Time::from_ms(u64::MAX));
    admit(&mut history, &chain.op(b"last"));
    admit(&mut history, &chain.op(b"last again"));
    let number = Time::from_ms(u64::MAX).bucket().number();
    let before = chain.at(Time::from_ms(0)).op(b"zero again");
    assert_eq!(refuse(&mut history, &before), Invalid::BucketFalls { from: number, to: 0 });
    assert_eq!(Time::from_ms(u64::MAX).after_ms(u64::MAX), Time::from_ms(u64::MAX));
    assert_eq!(Time::from_ms(0).since_ms(Time::from_ms(u64::MAX)), 0);
}

#[test]
fn case_10_logs_count_apart() {
    let mut history = History::new(members(&[1]));
    let mut full = Chain::new(1, 0);
    full.ops(OPS_PER_BUCKET_MAX as usize, "q").iter().for_each(|op| admit(&mut history, op));
    assert_eq!(refuse(&mut history, &full.op(b"over")), Invalid::OpsOverQuota);
    for index in 1..4 {
        admit(&mut history, &Chain::new(1, index).op(b"0"));
    }
}

/// An operation whose length does not fit the counter must be refused, not counted modulo.
#[test]
fn a_size_beyond_the_counter_is_over_quota() {
    let header = Chain::new(1, 0).header();
    for size in [BYTES_PER_BUCKET_MAX as usize + 1, u32::MAX as usize, usize::MAX] {
        let refused = Tail::EMPTY.extended(&header, OpId::ZERO, size, &members(&[1]));
        assert_eq!(refused, Err(Invalid::BytesOverQuota));
    }
}

#[test]
fn thresholds_do_not_overflow() {
    let huge = |weights: &[u64]| {
        let numbered = weights.iter().zip(1u8..).map(|(&w, n)| (author(n), w));
        concurrence_crdt::Committee::new(numbered.collect())
    };
    let committee = huge(&[u64::MAX, u64::MAX, 0]);
    assert_eq!((committee.total(), committee.len()), (u64::MAX, 2));
    assert!(committee.is_quorum(u64::MAX) && !committee.is_quorum(u64::MAX / 3 * 2));
    let three = huge(&[1, 1, 1]);
    assert!(!three.is_quorum(2) && three.is_quorum(3) && three.is_majority(2) && !three.is_majority(1));
    let four = huge(&[1, 1, 1, 1]);
    assert!(four.is_quorum(3) && !four.is_majority(2) && !huge(&[]).is_quorum(0));
}
