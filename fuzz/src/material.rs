//! Authors with fixed keys, and chains that write themselves: random bytes never pass a signature, so targets sign.

use std::{collections::BTreeMap, sync::LazyLock};

use concurrence_crdt::{
    AuthorKey, BUCKET_MS, Committee, Digest, Header, LogKey, Membership, NetworkId, Op, OpId, SigningKey, Time,
    VerifiedOp,
};

/// The network of all targets.
pub const NETWORK: NetworkId = NetworkId::from_bytes([7; 32]);

/// Digest of its registry.
pub const REGISTRY: Digest = Digest::from_bytes([3; 32]);

/// The first millisecond of a minute.
pub const START: Time = Time::from_ms(28_000_000 * BUCKET_MS);

/// Members are the authors 1 to this, each of weight 1: enough for an honest majority beside a liar.
pub const MEMBERS: u8 = 4;

/// An author that is no member.
pub const STRANGER: u8 = 5;

/// Deriving a key costs as much as a signature: each is derived once.
static KEYS: LazyLock<Vec<(SigningKey, AuthorKey)>> = LazyLock::new(|| {
    let keys = (0..=STRANGER).map(|n| SigningKey::from([n; 32]));
    keys.map(|key| (key, AuthorKey::of(&key))).collect()
});

/// The signing key of an author, 0 to [`STRANGER`].
pub fn key(author: u8) -> &'static SigningKey {
    &KEYS[usize::from(author)].0
}

/// The public key of an author, 0 to [`STRANGER`].
pub fn author(author: u8) -> AuthorKey {
    KEYS[usize::from(author)].1
}

/// Which author a public key belongs to.
pub fn number_of(key: &AuthorKey) -> Option<u8> {
    (0..=STRANGER).find(|&n| author(n) == *key)
}

/// One registry epoch with all members.
pub fn members() -> Membership {
    let weights: BTreeMap<_, _> = (1..=MEMBERS).map(|n| (author(n), 1)).collect();
    Membership::new(vec![Committee::new(weights)])
}

/// One log as its author writes it: each operation moves it on. A copy of it is a fork to be.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    pub author: u8,
    pub index: u8,
    pub seq: u64,
    pub prev: OpId,
    pub epoch: u32,
    pub declared: Time,
}

impl Chain {
    /// An author's empty log, in the first minute.
    pub const fn new(author: u8, index: u8) -> Self {
        Self { author, index, seq: 0, prev: OpId::ZERO, epoch: 0, declared: START }
    }

    /// The header of the next operation; its payload is not set.
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
    pub fn op(&mut self, payload: &[u8]) -> Op {
        let op = Op::sign(self.header(), payload, key(self.author));
        (self.seq, self.prev) = (self.seq + 1, op.id());
        op
    }
}

/// An operation that was signed by the right key.
pub fn verified(op: &Op) -> VerifiedOp {
    op.clone().verify().expect("the author's own key signed it")
}
