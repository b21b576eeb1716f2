//! An answer follows from its explanation, and from nothing that hides or adds anything.

use std::collections::BTreeSet;

use concurrence_crdt::{
    AuthorKey, Digest, ForkProof, Header, History, LogKey, NetworkId, Op, OpId, SigningKey, Time, VerifiedOp,
};
use concurrence_engine::{Explanation, Fate, FindingKind, Underivable, View};
use concurrence_oracle::{
    Address, AggregateParams, Attestation, BatchDraft, Domain, Feed, KIND_PRICE_BATCH, Member, Price, Registry, Slot,
    Status, sign,
};

const NETWORK: NetworkId = NetworkId::from_bytes([3; 32]);

/// The middle of a minute.
const AS_OF_MS: u64 = 1_700_000_010_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from([n + 1; 32])
}

fn evm(n: u8) -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[n + 1; 32]).expect("a key")
}

fn author(n: u8) -> AuthorKey {
    AuthorKey::of(&key(n))
}

fn registry() -> Registry {
    let member = |n: u8| Member {
        name: format!("oracle_{n}"),
        author: author(n),
        evm: Address::of(evm(n).verifying_key()),
        peer: format!("peer_{n}"),
        weight: 1,
    };
    Registry::new("test".into(), NETWORK, vec![(0..4).map(member).collect()]).expect("a registry")
}

fn feed() -> Feed {
    "BTC/USD".parse().expect("a feed")
}

/// A log of author `n` that states these prices at these seconds before the instant, oldest first.
fn log(n: u8, said: &[(u64, &str)]) -> Vec<VerifiedOp> {
    let mut ops: Vec<VerifiedOp> = Vec::new();
    for &(before_s, text) in said {
        let declared = Time::from_ms(AS_OF_MS - before_s * 1_000);
        let price = Price::parse(text).expect("a price");
        let attestation = Attestation::of_price(feed(), (price, Price::ZERO), -8, 0b111, false).expect("in range");
        let draft = BatchDraft::new(Slot::of(declared), Digest::from_bytes([9; 32]), vec![attestation]).expect("one");
        let digests = draft.digests(&Domain::of(&NETWORK), 0);
        let payload = draft.signed(digests.iter().map(|d| sign(d, &evm(n))).collect()).expect("one group").encode();
        ops.push(next(n, ops.last(), declared, &payload));
    }
    ops
}

fn next(n: u8, prev: Option<&VerifiedOp>, declared: Time, payload: &[u8]) -> VerifiedOp {
    let header = Header {
        network: NETWORK,
        log: LogKey { author: author(n), index: 0 },
        seq: prev.map_or(0, |op| op.op().header().seq + 1),
        prev: prev.map_or(OpId::ZERO, |op| op.op().id()),
        epoch: 0,
        declared,
        kind: KIND_PRICE_BATCH,
        payload_len: 0,
        payload_hash: Digest::from_bytes([0; 32]),
        refs: Vec::new(),
    };
    Op::sign(header, payload, &key(n)).verify().expect("signed")
}

/// Three minutes of four oracles, one statement each forty seconds.
fn logs() -> Vec<Vec<VerifiedOp>> {
    let said = |prices: [&'static str; 5]| [180, 121, 80, 40, 2].into_iter().zip(prices).collect::<Vec<_>>();
    let mut logs = vec![
        log(0, &said(["90", "95", "99", "99.5", "100"])),
        log(1, &said(["90", "95", "99", "99.5", "101"])),
        log(2, &said(["90", "95", "99", "99.5", "102"])),
        log(3, &said(["90", "95", "99", "99.5", "700"])),
    ];
    logs.sort_by_key(|ops| ops[0].op().header().log);
    logs
}

fn explanation(logs: Vec<Vec<VerifiedOp>>) -> Explanation {
    Explanation {
        feed: feed(),
        as_of: Time::from_ms(AS_OF_MS),
        params: AggregateParams { width_max_ppm: u32::MAX, ..AggregateParams::default() },
        logs,
        proofs: Vec::new(),
    }
}

#[test]
fn it_is_what_a_node_answers_with_the_same_cut() {
    let of = explanation(logs());
    let derived = of.derive(&registry()).expect("derivable");
    let mut history = History::new(registry().membership());
    let mut view = View::new(registry(), BTreeSet::from([feed()]), of.params);
    for op in of.logs.iter().flatten() {
        history.admit(op).expect("a valid chain");
        view.admitted(op, of.as_of);
    }
    let answer = view.answers(history.cut(), of.as_of).remove(0);
    assert_eq!((derived.cut, derived.result_id), (history.cut(), answer.result_id));
    assert_eq!(derived.answer, answer.aggregate);
    assert_eq!(derived.answer.price.map(|p| p.to_string()).as_deref(), Some("101"));
    // The window is a minute: the statements of 40 s and 2 s before.
    let fates: Vec<_> = derived.statements.iter().map(|s| s.fate).collect();
    assert_eq!(fates, [Fate::Superseded, Fate::Counted].repeat(4));
}

/// As little as reaches back to before the window is enough, and gives the same.
#[test]
fn what_is_before_the_window_but_for_one_operation_can_be_left_out() {
    let whole = explanation(logs()).derive(&registry()).expect("derivable");
    let enough = logs().into_iter().map(|ops| ops[1..].to_vec()).collect();
    assert_eq!(explanation(enough).derive(&registry()), Ok(whole));
}

/// ORACLE-6.
#[test]
fn nothing_can_be_hidden_under_the_same_cut() {
    let whole = explanation(logs()).derive(&registry()).expect("derivable");
    let derived = |change: fn(&mut Vec<Vec<VerifiedOp>>)| {
        let mut logs = logs();
        change(&mut logs);
        explanation(logs).derive(&registry())
    };
    // An end, or a whole log: another cut, another id.
    let cuts: [fn(&mut Vec<Vec<VerifiedOp>>); 2] = [|logs| drop(logs[0].pop()), |logs| drop(logs.pop())];
    for change in cuts {
        let other = derived(change).expect("an answer of its own");
        assert!(other.cut != whole.cut && other.result_id != whole.result_id, "ORACLE-6: an omission keeps the cut");
    }
    assert!(matches!(derived(|logs| drop(logs[0].remove(3))), Err(Underivable::Chain { seq: 4, .. })));
    assert!(matches!(derived(|logs| drop(logs[0].drain(..3))), Err(Underivable::Short { seq: 3, .. })));
    assert_eq!(derived(|logs| logs.swap(0, 1)), Err(Underivable::Logs));
    assert_eq!(derived(|logs| logs[0].clear()), Err(Underivable::Logs));
    assert_eq!(derived(|logs| logs[1] = logs[0].clone()), Err(Underivable::Logs));
    assert_eq!(derived(|logs| *logs = vec![log(9, &[(2, "5")])]), Err(Underivable::NoMember(author(9))));
}

#[test]
fn operations_that_cannot_be_read_are_named() {
    let mut logs = logs();
    let last = logs[0].last().expect("operations").clone();
    let n = (0..4).find(|&n| author(n) == last.op().header().log.author).expect("a member");
    logs[0].push(next(n, Some(&last), Time::from_ms(AS_OF_MS), b"no batch"));
    let derived = explanation(logs).derive(&registry()).expect("derivable");
    let fates: Vec<_> = derived.statements.iter().take(3).map(|s| s.fate).collect();
    assert_eq!(fates, [Fate::Superseded, Fate::Counted, Fate::Unreadable(FindingKind::BadPayload)]);
}

#[test]
fn a_forked_author_is_out_by_proof() {
    let mut logs = logs();
    let position = logs.iter().position(|ops| ops[0].op().header().log.author == author(3)).expect("a log");
    let first = logs.remove(position).remove(0);
    let other = next(3, None, Time::from_ms(AS_OF_MS), b"another beginning");
    let proof = ForkProof::of(&first.verified_header(), &other.verified_header()).expect("a fork");
    let with = Explanation { proofs: vec![proof.clone()], ..explanation(logs.clone()) };
    let derived = with.derive(&registry()).expect("derivable");
    assert_eq!((derived.answer.status, derived.answer.counted.len()), (Status::Ok, 3));
    let mut history = History::new(registry().membership());
    logs.iter().flatten().for_each(|op| history.admit(op).expect("a valid chain"));
    history.convict(proof.clone());
    assert_eq!(derived.cut, history.cut());
    // Whoever lets it count all the same, although nothing of it is certified, speaks of another cut.
    let all = Explanation { proofs: vec![proof.clone()], ..explanation(self::logs()) };
    assert_ne!(all.derive(&registry()).expect("derivable").cut, history.cut());
    let twice = Explanation { proofs: vec![proof.clone(), proof], ..explanation(logs) };
    assert_eq!(twice.derive(&registry()), Err(Underivable::Proofs));
}
