//! Bytes as an enemy sends them (CRDT-6). What is refused, each with its own reason:
//!
//!  1. an operation cut off anywhere
//!  2. an operation with bytes behind its end
//!  3. another version
//!  4. another network's operation, replayed
//!  5. a payload other than the promised one
//!  6. a payload over the cap
//!  7. a fifth log
//!  8. seventeen refs
//!  9. refs out of order, or one twice
//! 10. a first operation with something before it
//! 11. any accepted bytes that would be written otherwise: there are none
//! 12. a frontier out of order, with an empty log, a fifth log or more entries than members can have
//! 13. a forged operation: a victim as author, another's signature
//! 14. an operation that stands at two positions under one id
mod support;

use concurrence_crdt::{
    AUTHORS_MAX, CodecError, Digest, ENTRY_LEN, Entry, ForkProof, Frontier, Header, KeyError, LOGS_MAX, LogKey,
    NetworkId, Op, OpError, OpId, PAYLOAD_LEN_MAX, Reader, Signature, Time, WANTED_MAX, Wanted,
};
use proptest::prelude::*;
use support::{Chain, NETWORK, author, key, sign, sign_as};

fn good() -> Vec<u8> {
    let mut header = Chain::new(1, 0).header();
    header.refs = vec![OpId::from_bytes([1; 32]), OpId::from_bytes([2; 32])];
    sign(header, b"payload", 1).op().bytes().to_vec()
}

fn decode(bytes: &[u8]) -> Result<Op, OpError> {
    Op::decode(bytes, NETWORK)
}

/// What becomes of a header that is changed before it is signed.
fn changed(change: impl FnOnce(&mut Header)) -> Result<Op, OpError> {
    let mut header = Chain::new(1, 0).header();
    change(&mut header);
    decode(sign_as(header, b"payload", 1).bytes())
}

#[test]
fn case_01_cut_off() {
    let good = good();
    for len in 0..good.len() {
        let refused = decode(&good[..len]);
        assert!(matches!(refused, Err(OpError::Codec(CodecError::Truncated { .. }))), "{len}: {refused:?}");
    }
    assert!(decode(&good).is_ok());
}

#[test]
fn case_02_trailing() {
    let mut bytes = good();
    bytes.push(0);
    assert_eq!(decode(&bytes).unwrap_err(), OpError::Codec(CodecError::Trailing(1)));
}

#[test]
fn case_03_other_version() {
    let mut bytes = good();
    bytes[0] = 1;
    assert_eq!(decode(&bytes).unwrap_err(), OpError::Version(1));
}

#[test]
fn case_04_other_network() {
    let other = NetworkId::from_bytes([8; 32]);
    assert_eq!(changed(|h| h.network = other).unwrap_err(), OpError::OtherNetwork(other));
}

#[test]
fn case_05_other_payload() {
    let mut bytes = good();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(decode(&bytes).unwrap_err(), OpError::PayloadHash);
}

#[test]
fn case_06_payload_at_and_over_the_cap() {
    let header = || Chain::new(1, 0).header();
    let longest = sign_as(header(), &vec![0; PAYLOAD_LEN_MAX], 1);
    assert_eq!(decode(longest.bytes()).unwrap(), longest);
    let over = sign_as(header(), &vec![0; PAYLOAD_LEN_MAX + 1], 1);
    assert!(matches!(decode(over.bytes()), Err(OpError::Codec(CodecError::OverCap { field: "payload length", .. }))));
}

#[test]
fn case_07_fifth_log() {
    assert!(changed(|h| h.log.index = LOGS_MAX - 1).is_ok());
    let over = changed(|h| h.log.index = LOGS_MAX);
    assert!(matches!(over, Err(OpError::Codec(CodecError::OverCap { field: "log index", .. }))), "{over:?}");
}

#[test]
fn case_08_seventeen_refs() {
    let refs = |n: u8| (0..n).map(|i| OpId::from_bytes([i; 32])).collect::<Vec<_>>();
    assert!(changed(|h| h.refs = refs(16)).is_ok());
    let over = changed(|h| h.refs = refs(17));
    assert!(matches!(over, Err(OpError::Codec(CodecError::OverCap { field: "refs", .. }))), "{over:?}");
}

#[test]
fn case_09_refs_out_of_order() {
    for refs in [[2, 1], [1, 1]] {
        let refused = changed(|h| h.refs = refs.map(|i| OpId::from_bytes([i; 32])).to_vec());
        assert_eq!(refused.unwrap_err(), OpError::Codec(CodecError::NotCanonical("order of refs")));
    }
}

#[test]
fn case_10_first_operation_with_a_prev() {
    let refused = changed(|h| h.prev = OpId::from_bytes([1; 32]));
    assert_eq!(refused.unwrap_err(), OpError::Codec(CodecError::NotCanonical("prev of the first operation")));
}

#[test]
fn case_12_frontiers() {
    let entry = |author, log, len| Entry { author, log, len, head: OpId::from_bytes([9; 32]), certified: 0 };
    let refused = |entries: Vec<Entry>, forked: Vec<u16>| {
        let mut bytes = Vec::new();
        Frontier { entries, forked, ..Frontier::default() }.encode(&mut bytes);
        Frontier::read(&mut Reader::new(&bytes)).unwrap_err()
    };
    let not_canonical = CodecError::NotCanonical("frontier entry");
    assert_eq!(refused(vec![entry(1, 1, 1), entry(1, 0, 1)], vec![]), not_canonical);
    assert_eq!(refused(vec![entry(1, 0, 1), entry(1, 0, 1)], vec![]), not_canonical);
    assert_eq!(refused(vec![entry(1, 0, 0)], vec![]), not_canonical);
    assert_eq!(refused(vec![entry(1, LOGS_MAX, 1)], vec![]), not_canonical);
    assert_eq!(refused(vec![], vec![2, 1]), CodecError::NotCanonical("order of forked authors"));
    assert_eq!(refused(vec![], vec![1, 1]), CodecError::NotCanonical("order of forked authors"));
    let open = |len: u64, open: u32| {
        let mut bytes = Vec::new();
        Frontier { entries: vec![entry(1, 0, len)], ..Frontier::default() }.encode(&mut bytes);
        bytes[4 + ENTRY_LEN - 4..4 + ENTRY_LEN].copy_from_slice(&open.to_be_bytes());
        Frontier::read(&mut Reader::new(&bytes)).map(|frontier| frontier.entries[0].certified)
    };
    assert_eq!(open(1, 2), Err(not_canonical), "more is open than there is");
    assert_eq!(open(1, u32::MAX), Err(not_canonical), "more is open than there is");
    assert_eq!(open(7, 3), Ok(4));
    assert_eq!(open(u64::MAX, u32::MAX), Ok(0), "too many are open to say how many are certified");
    let refused = |double_voters: Vec<u16>, wanted: Vec<(u16, u8)>| {
        let id = OpId::from_bytes([9; 32]);
        let wanted = wanted.into_iter().map(|(author, log)| Wanted { author, log, seq: 0, id }).collect();
        let mut bytes = Vec::new();
        Frontier { double_voters, wanted, ..Frontier::default() }.encode(&mut bytes);
        Frontier::read(&mut Reader::new(&bytes)).unwrap_err()
    };
    assert_eq!(refused(vec![1, 1], vec![]), CodecError::NotCanonical("order of double voters"));
    for wanted in [vec![(1, 0), (1, 0)], vec![(2, 0), (1, 0)], vec![(1, LOGS_MAX)]] {
        assert_eq!(refused(vec![], wanted), CodecError::NotCanonical("wanted operation"));
    }
    let many = (0..=WANTED_MAX).map(|n| (u16::try_from(n).unwrap(), 0)).collect();
    assert!(matches!(refused(vec![], many), CodecError::OverCap { field: "wanted operations", .. }));
    let many = concurrence_crdt::count_u32(AUTHORS_MAX * usize::from(LOGS_MAX) + 1);
    assert!(matches!(Frontier::read(&mut Reader::new(&many)), Err(CodecError::OverCap { .. })));
    let many = [&0u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    assert!(matches!(Frontier::read(&mut Reader::new(&many)), Err(CodecError::OverCap { .. })));
}

#[test]
fn case_13_forged() {
    let victim = Chain::new(1, 0).header();
    let forged = decode(sign_as(victim, b"payload", 2).bytes()).unwrap();
    assert_eq!(forged.clone().verify().unwrap_err(), OpError::Key(KeyError::BadSignature));
    // Nor does it slip through in a batch, nor take the honest ones beside it down.
    let honest: Vec<_> = Chain::new(3, 0).ops(3, "h").iter().map(|op| op.op().clone()).collect();
    let mut all = honest.clone();
    all.insert(1, forged);
    let verified: Vec<_> = Op::verify_all(all).into_iter().map(|v| v.is_ok()).collect();
    assert_eq!(verified, [true, false, true, true]);
    assert!(Op::verify_all(honest).iter().all(Result::is_ok));
    assert!(Op::verify_all(Vec::new()).is_empty());
}

#[test]
fn case_14_one_id_one_position() {
    let header = Chain::new(1, 0).header();
    let ids = |change: &dyn Fn(&mut Header)| {
        let mut header = header.clone();
        change(&mut header);
        header.id()
    };
    let all = [
        ids(&|_| ()),
        ids(&|h| h.network = NetworkId::from_bytes([8; 32])),
        ids(&|h| h.log = LogKey { author: author(2), index: 0 }),
        ids(&|h| h.log.index = 1),
        ids(&|h| h.seq = 1),
        ids(&|h| h.prev = OpId::from_bytes([1; 32])),
        ids(&|h| h.epoch = 1),
        ids(&|h| h.declared = h.declared.after_ms(1)),
        ids(&|h| h.kind = 2),
        ids(&|h| h.payload_len = 1),
        ids(&|h| h.payload_hash = Digest::from_bytes([1; 32])),
        ids(&|h| h.refs = vec![OpId::ZERO]),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "every field is under the id");
}

fn any_header() -> impl Strategy<Value = Header> {
    let position = (0..5u8, 0..LOGS_MAX, any::<u64>(), any::<[u8; 32]>());
    let rest = (any::<u32>(), any::<u64>(), any::<u16>());
    let refs = prop::collection::btree_set(any::<[u8; 32]>(), 0..=16);
    (position, rest, refs).prop_map(|((who, index, seq, prev), (epoch, ms, kind), refs)| Header {
        network: NETWORK,
        log: LogKey { author: author(who), index },
        seq,
        prev: OpId::from_bytes(if seq == 0 { [0; 32] } else { prev }),
        epoch,
        declared: Time::from_ms(ms),
        kind,
        payload_len: 0,
        payload_hash: Digest::from_bytes([0; 32]),
        refs: refs.into_iter().map(OpId::from_bytes).collect(),
    })
}

/// Bytes, and a few of them changed, cut out or doubled.
fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..4).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, with, how) in changes {
            // No mutation shortens the bytes to nothing.
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = with,
                1 => bytes[at] ^= 1 << (with % 8),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, with),
            }
        }
        bytes
    })
}

fn fork_proof() -> ForkProof {
    let chain = Chain::new(1, 0);
    let (a, b) = (chain.clone().op(b"a"), chain.clone().op(b"b"));
    ForkProof::of(&a.verified_header(), &b.verified_header()).unwrap()
}

fn frontier() -> impl Strategy<Value = Frontier> {
    let log = (1..u64::MAX, 0..u32::MAX, any::<[u8; 32]>());
    let logs = prop::collection::btree_map((any::<u16>(), 0..LOGS_MAX), log, 0..20);
    let numbers = || prop::collection::btree_set(any::<u16>(), 0..9);
    let wanted =
        prop::collection::btree_map((any::<u16>(), 0..LOGS_MAX), (any::<u64>(), any::<[u8; 32]>()), 0..WANTED_MAX);
    (logs, numbers(), numbers(), wanted).prop_map(|(logs, forked, double_voters, wanted)| Frontier {
        entries: logs
            .into_iter()
            .map(|((author, log), (len, open, head))| Entry {
                author,
                log,
                len,
                head: OpId::from_bytes(head),
                certified: len.saturating_sub(open.into()),
            })
            .collect(),
        forked: forked.into_iter().collect(),
        double_voters: double_voters.into_iter().collect(),
        wanted: wanted
            .into_iter()
            .map(|((author, log), (seq, id))| Wanted { author, log, seq, id: OpId::from_bytes(id) })
            .collect(),
    })
}

proptest! {
    #[test]
    fn operations_round_trip(header in any_header(), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let op = sign_as(header, &payload, 1);
        let read = decode(op.bytes()).unwrap();
        prop_assert_eq!(&read, &op);
        prop_assert_eq!(read.payload(), &payload[..]);
        prop_assert_eq!(read.id(), op.header().id());
        prop_assert_eq!([read.signed().encode(), payload].concat(), op.bytes().to_vec());
    }

    // Case 11.
    #[test]
    fn accepted_operations_are_canonical(bytes in mutated(good())) {
        if let Ok(op) = decode(&bytes) {
            let again = Op::join(op.header().clone(), op.payload(), *op.signed().signature());
            prop_assert_eq!(again.bytes().to_vec(), bytes);
        }
    }

    // Case 11.
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(decode(&bytes).is_err());
        let _ = ForkProof::read(&mut Reader::new(&bytes), NETWORK);
        let mut reader = Reader::new(&bytes);
        if let Ok(frontier) = Frontier::read(&mut reader) {
            let mut again = Vec::new();
            frontier.encode(&mut again);
            prop_assert_eq!(&again[..], &bytes[..reader.offset()]);
        }
    }

    // Case 11: a header and payload behind a right beginning, so that reading gets far.
    #[test]
    fn random_fields_never_panic(fields in prop::collection::vec(any::<u8>(), 124..700)) {
        let bytes = [&[0], &NETWORK.as_bytes()[..], &fields].concat();
        if let Ok(op) = decode(&bytes) {
            let again = Op::join(op.header().clone(), op.payload(), *op.signed().signature());
            prop_assert_eq!(again.bytes().to_vec(), bytes);
        }
    }

    // Case 11.
    #[test]
    fn accepted_proofs_are_canonical(bytes in mutated(fork_proof().encode())) {
        let mut reader = Reader::new(&bytes);
        if let Ok(proof) = ForkProof::read(&mut reader, NETWORK) {
            prop_assert_eq!(&proof.encode()[..], &bytes[..reader.offset()]);
            prop_assert_eq!(proof.author(), author(1));
        }
    }

    #[test]
    fn frontiers_round_trip(frontier in frontier()) {
        let mut bytes = Vec::new();
        frontier.encode(&mut bytes);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(&Frontier::read(&mut reader).unwrap(), &frontier);
        prop_assert!(reader.finish().is_ok());
        for entry in &frontier.entries {
            prop_assert_eq!(frontier.entry(entry.author, entry.log), Some(entry));
        }
    }

    // Case 11.
    #[test]
    fn accepted_frontiers_are_canonical(bytes in frontier().prop_flat_map(|frontier| {
        let mut bytes = Vec::new();
        frontier.encode(&mut bytes);
        mutated(bytes)
    })) {
        let mut reader = Reader::new(&bytes);
        if let Ok(frontier) = Frontier::read(&mut reader) {
            let mut again = Vec::new();
            frontier.encode(&mut again);
            prop_assert_eq!(&again[..], &bytes[..reader.offset()]);
        }
    }
}

#[test]
fn signatures_are_no_part_of_an_id() {
    let header = Chain::new(1, 0).header();
    let (a, b) = (Signature::sign(&key(1), b"a"), Signature::sign(&key(1), b"b"));
    assert_eq!(Op::join(header.clone(), b"", a).id(), Op::join(header, b"", b).id());
}
