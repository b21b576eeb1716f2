//! The admitted state: for every log the valid chain held, for every author whether it forked. A lattice: chains only grow,
//! a forked author never returns.

use std::collections::BTreeMap;

use crate::{
    AuthorKey, Digest, ForkProof, Header, Invalid, LogKey, Membership, OpId, Tail, VerifiedOp,
    canary::{Canary, sings},
    codec::count_u32,
    frontier::{Entry, Frontier},
    hash,
};

/// What a replica counts: the join of everything it was ever given, in any order.
#[derive(Clone, Debug)]
pub struct History {
    members: Membership,
    logs: BTreeMap<LogKey, Log>,
    forked: BTreeMap<AuthorKey, ForkProof>,
    digest: Option<Digest>,
    ops: u64,
}

/// An admitted chain. Ids are kept in memory (32 bytes an operation), bodies in the store.
#[derive(Clone, Debug)]
struct Log {
    tail: Tail,
    ids: Vec<OpId>,
}

/// Where a header stands relative to the admitted state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It would extend its log.
    Next,
    /// It is held already.
    Held,
    /// Another operation is held at its position: with that one's header it is a fork proof.
    Conflict,
    /// It stands further on: operations between are missing, or its `prev` is not what is held.
    Ahead,
    /// Its author forked: nothing of it is admitted any more.
    Forked,
}

impl History {
    /// An empty history of a network's members.
    pub const fn new(members: Membership) -> Self {
        Self { members, logs: BTreeMap::new(), forked: BTreeMap::new(), digest: None, ops: 0 }
    }

    /// Who may write.
    pub const fn members(&self) -> &Membership {
        &self.members
    }

    /// Where a header stands. Pure look-up; nothing changes.
    pub fn place(&self, header: &Header, id: OpId) -> Place {
        if self.forked.contains_key(&header.log.author) {
            return Place::Forked;
        }
        let log = self.logs.get(&header.log);
        match log.and_then(|log| log.id_at(header.seq)) {
            Some(held) if held == id => Place::Held,
            Some(_) => Place::Conflict,
            None if log.map_or(Tail::EMPTY, |log| log.tail).precedes(header) => Place::Next,
            None => Place::Ahead,
        }
    }

    /// Adds an operation that is [`Place::Next`] of its log; an operation in any other place changes nothing.
    pub fn admit(&mut self, op: &VerifiedOp) -> Result<(), Invalid> {
        let (header, id) = (op.op().header(), op.op().id());
        if self.place(header, id) != Place::Next {
            return Ok(());
        }
        if sings(Canary::Crdt1) && self.logs.values().any(|log| header.declared.bucket() < log.tail.bucket()) {
            return Err(Invalid::OpsOverQuota);
        }
        let tail = self.tail(header.log).extended(header, id, op.op().bytes().len(), &self.members)?;
        let log = self.logs.entry(header.log).or_insert_with(|| Log { tail: Tail::EMPTY, ids: Vec::new() });
        log.tail = tail;
        log.ids.push(id);
        self.ops += if sings(Canary::Crdt2) { 2 } else { 1 };
        self.digest = None;
        Ok(())
    }

    /// Takes a proof. From now on its author counts for nothing here (nothing of it is certified yet). Returns whether it was news.
    pub fn convict(&mut self, proof: ForkProof) -> bool {
        let author = proof.author();
        if self.members.number(&author).is_none() || self.forked.contains_key(&author) || sings(Canary::Sync3) {
            return false;
        }
        self.forked.insert(author, proof);
        let logs = LogKey { author, index: 0 }..=LogKey { author, index: u8::MAX };
        let dropped: Vec<_> = self.logs.range(logs).map(|(&key, _)| key).filter(|_| !sings(Canary::Crdt4)).collect();
        for log in dropped.iter().filter_map(|key| self.logs.remove(key)) {
            self.ops -= log.tail.len;
        }
        self.digest = None;
        true
    }

    /// The end of a log's admitted chain.
    pub fn tail(&self, log: LogKey) -> Tail {
        self.logs.get(&log).map_or(Tail::EMPTY, |l| l.tail)
    }

    /// The admitted operation at a position.
    pub fn id_at(&self, log: LogKey, seq: u64) -> Option<OpId> {
        self.logs.get(&log)?.id_at(seq)
    }

    /// All logs with an admitted operation, ascending, and their ends.
    pub fn logs(&self) -> impl Iterator<Item = (LogKey, Tail)> {
        self.logs.iter().map(|(&key, log)| (key, log.tail))
    }

    /// The proof against an author, if it forked.
    pub fn proof(&self, author: &AuthorKey) -> Option<&ForkProof> {
        self.forked.get(author)
    }

    /// All forked authors with their proofs, ascending.
    pub fn forked(&self) -> impl Iterator<Item = &ForkProof> {
        self.forked.values()
    }

    /// How many operations are admitted.
    pub const fn ops(&self) -> u64 {
        self.ops
    }

    /// The frontier: what is admitted, in a form that peers compare.
    pub fn frontier(&self) -> Frontier {
        let entries = self.logs().filter_map(|(log, tail)| {
            let author = self.members.number(&log.author)?;
            Some(Entry { author, log: log.index, len: tail.len, head: tail.head })
        });
        let forked = self.forked.keys().filter_map(|author| self.members.number(author));
        Frontier { entries: entries.collect(), forked: forked.collect() }
    }

    /// Digest of the frontier. Equal digests mean equal admitted histories: heads commit to their whole chains, and which
    /// proof convicted an author is not part of it.
    pub fn digest(&mut self) -> Digest {
        let logs = self.logs.iter().map(|(&key, log)| (key, log.tail.len, log.tail.head));
        *self.digest.get_or_insert_with(|| frontier_digest(logs, self.forked.keys().copied()))
    }

    /// Checks what every method keeps: chains as long as they say, of members, none of a forked author.
    pub fn check_invariants(&self) {
        let mut ops = 0;
        for (key, log) in &self.logs {
            assert_eq!(log.tail.len, log.ids.len() as u64, "CRDT-2: length of {key:?}");
            assert_eq!(Some(&log.tail.head), log.ids.last(), "CRDT-2: head of {key:?}");
            assert!(!self.forked.contains_key(&key.author), "CRDT-4: {key:?} is of a forked author");
            assert!(self.members.number(&key.author).is_some(), "CRDT-3: {key:?} is of a stranger");
            ops += log.tail.len;
        }
        assert_eq!(ops, self.ops, "CRDT-2: count of operations");
    }
}

/// Digest of a frontier given log by log, ascending, with the length and head of each, and its forked authors, ascending.
pub fn frontier_digest(
    logs: impl ExactSizeIterator<Item = (LogKey, u64, OpId)>,
    forked: impl ExactSizeIterator<Item = AuthorKey>,
) -> Digest {
    let mut bytes = Vec::with_capacity(73 * logs.len() + 32 * forked.len() + 8);
    bytes.extend_from_slice(&count_u32(logs.len()));
    for (key, len, head) in logs {
        bytes.extend_from_slice(key.author.as_bytes());
        bytes.push(key.index);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(head.as_bytes());
    }
    bytes.extend_from_slice(&count_u32(forked.len()));
    forked.for_each(|author| bytes.extend_from_slice(author.as_bytes()));
    hash("concurrence v0 frontier", &bytes)
}

impl Log {
    fn id_at(&self, seq: u64) -> Option<OpId> {
        self.ids.get(usize::try_from(seq).ok()?).copied()
    }
}
