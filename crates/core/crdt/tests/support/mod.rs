//! Operations for tests: authors by small numbers, and chains that write themselves.
#![allow(dead_code)] // each test file uses a part

use std::collections::BTreeMap;

use concurrence_crdt::{
    AuthorKey, BUCKET_MS, Certificate, Committee, Digest, Head, HeadVote, Header, LogKey, Membership, NetworkId, Op,
    OpId, Reader, SigningKey, Time, VerifiedOp,
};

/// The network of all tests.
pub const NETWORK: NetworkId = NetworkId::from_bytes([7; 32]);

/// The first millisecond of a minute.
pub const START: Time = Time::from_ms(28_000_000 * BUCKET_MS);

/// The signing key of author `n`.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from([n; 32])
}

/// The public key of author `n`.
pub fn author(n: u8) -> AuthorKey {
    AuthorKey::of(&key(n))
}

/// A committee of authors, each of weight 1.
pub fn committee(authors: &[u8]) -> Committee {
    Committee::new(authors.iter().map(|&n| (author(n), 1)).collect::<BTreeMap<_, _>>())
}

/// One epoch with these authors.
pub fn members(authors: &[u8]) -> Membership {
    Membership::new(vec![committee(authors)])
}

/// One log as its author writes it: each operation moves it on. A clone of it is a fork to be.
#[derive(Clone)]
pub struct Chain {
    pub author: u8,
    pub index: u8,
    pub seq: u64,
    pub prev: OpId,
    pub epoch: u32,
    pub declared: Time,
}

impl Chain {
    /// The empty log `index` of author `n`, in the first minute.
    pub fn new(n: u8, index: u8) -> Self {
        Self { author: n, index, seq: 0, prev: OpId::ZERO, epoch: 0, declared: START }
    }

    /// The header that the next operation gets; its payload is not set.
    pub fn header(&self) -> Header {
        Header {
            network: NETWORK,
            log: LogKey { author: author(self.author), index: self.index },
            seq: self.seq,
            prev: self.prev,
            epoch: self.epoch,
            declared: self.declared,
            kind: 1,
            payload_len: 0,
            payload_hash: Digest::from_bytes([0; 32]),
            refs: Vec::new(),
        }
    }

    /// Writes the next operation, whether or not it is valid, and stands behind it.
    pub fn op(&mut self, payload: &[u8]) -> VerifiedOp {
        let op = sign(self.header(), payload, self.author);
        (self.seq, self.prev) = (self.seq + 1, op.op().id());
        op
    }

    /// Writes `n` operations; their payloads are `tag` and a counter.
    pub fn ops(&mut self, n: usize, tag: &str) -> Vec<VerifiedOp> {
        (0..n).map(|i| self.op(format!("{tag}{i}").as_bytes())).collect()
    }

    /// Moves its clock.
    pub fn at(mut self, declared: Time) -> Self {
        self.declared = declared;
        self
    }
}

/// A header over a payload, signed by author `signer`, who need not be the one it names.
pub fn sign_as(header: Header, payload: &[u8], signer: u8) -> Op {
    Op::sign(header, payload, &key(signer))
}

/// The same by the right author.
pub fn sign(header: Header, payload: &[u8], signer: u8) -> VerifiedOp {
    sign_as(header, payload, signer).verify().unwrap()
}

/// The head that a chain has after these operations.
pub fn head_of(ops: &[VerifiedOp]) -> Head {
    let last = ops.last().unwrap().op();
    let (log, len, epoch) = (last.header().log, last.header().seq + 1, last.header().epoch);
    Head { network: NETWORK, log, len, id: last.id(), epoch }
}

/// Author `n`'s vote for a head.
pub fn vote(head: Head, n: u8) -> HeadVote {
    HeadVote::sign(head, &key(n))
}

/// The encoded certificate of these voters, whether or not they are enough.
pub fn certificate_bytes(head: Head, voters: &[u8]) -> Vec<u8> {
    let mut votes: Vec<_> = voters.iter().map(|&n| vote(head, n)).collect();
    votes.sort_by_key(|vote| vote.voter);
    let mut out = vec![Certificate::KIND];
    out.extend_from_slice(&head.encode());
    out.extend_from_slice(&u16::try_from(votes.len()).unwrap().to_be_bytes());
    for vote in votes {
        out.extend_from_slice(vote.voter.as_bytes());
        out.extend_from_slice(vote.signature.as_bytes());
    }
    out
}

/// The same, read by a network of these members.
pub fn certificate(head: Head, voters: &[u8], members: &Membership) -> Certificate {
    Certificate::read(&mut Reader::new(&certificate_bytes(head, voters)), NETWORK, members).unwrap()
}
