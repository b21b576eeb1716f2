//! What the vectors are made of: a registry of public test keys, operations and batches.

use concurrence_crdt::{
    AuthorKey, Certificate, Digest, DoubleVote, ForkProof, Head, HeadVote, Header, LogKey, NetworkId, Op, OpId,
    PAYLOAD_LEN_MAX, SigningKey, Time,
};
use concurrence_oracle::{
    Address, Attestation, BatchDraft, Domain, EvmSignature, Feed, KIND_PRICE_BATCH, Member, PriceBatch, Registry, Slot,
    sign,
};

/// The network of all vectors: bytes 0 to 31.
pub const NETWORK: NetworkId = {
    let mut bytes = [0; 32];
    let mut at = 0u8;
    while at < 32 {
        bytes[at as usize] = at;
        at += 1;
    }
    NetworkId::from_bytes(bytes)
};

/// When operations declare to have been written, in the slot 1,678,500,000.
pub const DECLARED: Time = Time::from_ms(1_678_500_000_250);

/// The secret of author `n` is this byte, 32 times.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from([n; 32])
}

pub fn author(n: u8) -> AuthorKey {
    AuthorKey::of(&key(n))
}

/// The EVM secret of author `n` is the same 32 bytes.
fn evm_key(n: u8) -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap()
}

pub fn evm(n: u8) -> Address {
    Address::of(evm_key(n).verifying_key())
}

pub fn evm_sign(digest: &[u8; 32], n: u8) -> EvmSignature {
    sign(digest, &evm_key(n))
}

/// Authors 1 to 4 in epoch 0; in epoch 1 author 5 in the place of 4, and other weights.
pub fn registry() -> Registry {
    let member = |n: u8, weight| Member {
        name: format!("oracle_{n}"),
        author: author(n),
        evm: evm(n),
        peer: format!("peer-{n}"),
        weight,
    };
    let epochs = vec![
        [1, 2, 3, 4].map(|n| member(n, 1)).to_vec(),
        [(1, 4_294_967_296), (2, 7), (3, 5), (5, 6)].map(|(n, weight)| member(n, weight)).to_vec(),
    ];
    Registry::new("vectors".to_owned(), NETWORK, epochs).unwrap()
}

/// The header of the first operation of log 0 of author `n`; its payload is not set.
pub fn header(n: u8) -> Header {
    Header {
        network: NETWORK,
        log: LogKey { author: author(n), index: 0 },
        seq: 0,
        prev: OpId::ZERO,
        epoch: 0,
        declared: DECLARED,
        kind: 0,
        payload_len: 0,
        payload_hash: Digest::from_bytes([0; 32]),
        refs: Vec::new(),
    }
}

/// A header changed, put over a payload and signed by author `n`, who need not be the one it names.
pub fn signed(n: u8, payload: &[u8], change: impl FnOnce(&mut Header)) -> Op {
    let mut header = header(n);
    change(&mut header);
    Op::sign(header, payload, &key(n))
}

/// Ids of nobody's operations, ascending.
pub fn refs(count: u8) -> Vec<OpId> {
    (0..count).map(|n| OpId::from_bytes([0xe0 + n; 32])).collect()
}

/// The longest operation: every field at the greatest value that its bytes or its cap allow.
pub fn longest() -> Op {
    signed(1, &vec![0xa5; PAYLOAD_LEN_MAX], |h| {
        (h.log.index, h.seq, h.prev, h.epoch) = (3, u64::MAX, OpId::from_bytes([0xff; 32]), u32::MAX);
        (h.declared, h.kind, h.refs) = (Time::from_ms(u64::MAX), u16::MAX, refs(16));
    })
}

/// Two operations of author 4 at the beginning of one log.
pub fn fork() -> (Op, Op) {
    (signed(4, b"one", |_| ()), signed(4, b"other", |_| ()))
}

/// What the two headers of operations prove.
pub fn proof((a, b): &(Op, Op)) -> ForkProof {
    let header = |op: &Op| op.signed().clone().verify().unwrap();
    ForkProof::of(&header(a), &header(b)).unwrap()
}

/// The head that a log has after an operation.
pub fn head(op: &Op) -> Head {
    let (log, len, epoch) = (op.header().log, op.header().seq + 1, op.header().epoch);
    Head { network: NETWORK, log, len, id: op.id(), epoch }
}

/// Author `n`'s vote for a head.
pub fn vote(head: Head, n: u8) -> HeadVote {
    HeadVote::sign(head, &key(n))
}

/// The encoded certificate of these voters, by key, whether or not they are enough.
pub fn certificate(head: Head, voters: &[u8]) -> Vec<u8> {
    let mut votes: Vec<_> = voters.iter().map(|&n| vote(head, n)).collect();
    votes.sort_by_key(|vote| vote.voter);
    let count = u16::try_from(votes.len()).unwrap().to_be_bytes();
    let mut out = [&[Certificate::KIND][..], &head.encode(), &count].concat();
    for vote in votes {
        out.extend([&vote.voter.as_bytes()[..], vote.signature.as_bytes()].concat());
    }
    out
}

/// Author 2's votes for both heads of a fork.
pub fn double_vote() -> DoubleVote {
    let ((one, other), members) = (fork(), registry().membership());
    let verified = |op| vote(head(op), 2).verify(&members).unwrap();
    DoubleVote::of(&verified(&one), &verified(&other)).unwrap()
}

/// Attestations for `count` feeds, ascending; their fields reach both ends of their ranges.
pub fn attestations(count: usize) -> Vec<Attestation> {
    let make = |at: usize| {
        let feed: Feed = format!("A{at:03}/USD").parse().unwrap();
        let (mantissa, expo, half_width, sources) = match at {
            0 => (2_042_117_000_000, -8, 12, 0b111),
            1 => (1, -18, 0, 0),
            2 => ((1 << 63) - 1, 0, u16::MAX, u16::MAX),
            at => (1_000 + at as u64, -8, 3, 0b11),
        };
        Attestation::new(feed, (mantissa, expo), half_width, sources, at == 2).unwrap()
    };
    (0..count).map(make).collect()
}

/// A batch of author `n` for a slot, signed under epoch 0.
pub fn batch(n: u8, slot: Slot, count: usize) -> PriceBatch {
    let draft = BatchDraft::new(slot, Digest::from_bytes([5; 32]), attestations(count)).unwrap();
    let signatures = draft.digests(&Domain::of(&NETWORK), 0).iter().map(|digest| evm_sign(digest, n)).collect();
    draft.signed(signatures).unwrap()
}

/// A price operation of author `n` with a batch of its own slot.
pub fn price_op(n: u8, count: usize, change: impl FnOnce(&mut Header)) -> Op {
    let payload = batch(n, Slot::of(DECLARED), count).encode();
    signed(n, &payload, |header| {
        header.kind = KIND_PRICE_BATCH;
        change(header);
    })
}
