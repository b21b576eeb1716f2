//! The admitted state: for every log the valid chain held and the greatest certified head on it, for every author whether it forked. A
//! lattice: chains and certified heads only grow, a forked author keeps what is certified of it and gets nothing else.

use std::collections::BTreeMap;

use crate::{
    AuthorKey, Certificate, CertificateConflict, Digest, DoubleVote, ForkProof, Head, Header, Invalid, LogKey,
    Membership, OpId, Tail, VerifiedOp,
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
    /// Certificates for heads that are not on their log's chain, or not yet: for each log a few, by length.
    awaited: BTreeMap<LogKey, BTreeMap<(u64, OpId), Certificate>>,
    double_voters: BTreeMap<AuthorKey, DoubleVote>,
    conflicts: BTreeMap<LogKey, CertificateConflict>,
    digest: Option<Digest>,
    ops: u64,
}

/// An admitted chain. Ids are kept in memory (32 bytes an operation), bodies in the store.
#[derive(Clone, Debug)]
struct Log {
    tail: Tail,
    ids: Vec<OpId>,
    /// For the greatest certified head on the chain.
    certificate: Option<Certificate>,
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
    /// Its author forked: nothing of it is admitted any more, unless a certified head is above it.
    Forked,
}

/// Certificates of one log that are awaited at a time. One is what there is without faults; a few let a replica count the least while nobody has
/// the greatest.
pub const AWAITED_MAX: usize = 4;

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certified {
    /// Nothing new: as much is certified already, or the log is frozen.
    Known,
    /// Its head is on the chain, and the greatest certified one now.
    Counted,
    /// Its head is not on the chain: the log has not come so far, or goes another way.
    Awaited,
}

impl History {
    /// An empty history of a network's members.
    pub const fn new(members: Membership) -> Self {
        Self {
            members,
            logs: BTreeMap::new(),
            forked: BTreeMap::new(),
            awaited: BTreeMap::new(),
            double_voters: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            digest: None,
            ops: 0,
        }
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
        self.push(header.log, tail);
        Ok(())
    }

    /// Adds an operation of a forked author that directly follows its log on the way to an awaited certified head. The caller followed the
    /// chain down from that head: the operation is on it. Returns whether it was added.
    pub fn admit_certified(&mut self, op: &VerifiedOp) -> bool {
        let (header, id) = (op.op().header(), op.op().id());
        let (log, tail) = (header.log, self.tail(header.log));
        if !self.forked.contains_key(&log.author) || tail.len >= self.certified_max(log) || !tail.precedes(header) {
            return false;
        }
        self.push(log, Tail::certified(tail.len + 1, id));
        true
    }

    /// How much of a forked author's log may count.
    fn certified_max(&self, log: LogKey) -> u64 {
        match (self.conflicts.get(&log), self.awaited.get(&log)) {
            (Some(conflict), _) => conflict.parted,
            (None, Some(awaited)) => self.certified_len(log).max(awaited.keys().last().map_or(0, |(len, _)| *len)),
            (None, None) => self.certified_len(log),
        }
    }

    fn push(&mut self, key: LogKey, tail: Tail) {
        let log = self.logs.entry(key).or_insert_with(|| Log { tail: Tail::EMPTY, ids: Vec::new(), certificate: None });
        log.tail = tail;
        log.ids.push(tail.head);
        self.ops += if sings(Canary::Crdt2) { 2 } else { 1 };
        self.digest = None;
        self.settle(key);
    }

    /// Counts what was awaited and is on the chain now.
    fn settle(&mut self, key: LogKey) {
        let (Some(log), Some(awaited)) = (self.logs.get_mut(&key), self.awaited.get_mut(&key)) else { return };
        awaited.retain(|&(len, id), certificate| {
            let is_reached = log.id_at(len - 1) == Some(id);
            if is_reached && log.certificate.as_ref().is_none_or(|c| c.head().len < len) {
                log.certificate = Some(certificate.clone());
                self.digest = None;
            }
            !is_reached
        });
        if awaited.is_empty() {
            self.awaited.remove(&key);
        }
    }

    /// Takes a certificate. What is certified below another head that is certified on the chain is known.
    pub fn certify(&mut self, certificate: Certificate) -> Certified {
        let head = *certificate.head();
        if !self.is_news(&head) {
            return Certified::Known;
        }
        let awaited = self.awaited.entry(head.log).or_default();
        awaited.insert((head.len, head.id), certificate);
        if awaited.len() > AWAITED_MAX {
            awaited.pop_first();
        }
        self.settle(head.log);
        if self.is_held(&head) { Certified::Counted } else { Certified::Awaited }
    }

    /// Whether a certificate for a head would change anything.
    pub fn is_news(&self, head: &Head) -> bool {
        let is_counted = self.is_held(head) && head.len <= self.certified_len(head.log);
        let is_awaited = self.awaited.get(&head.log).is_some_and(|awaited| {
            let is_below_all = awaited.first_key_value().is_none_or(|(least, _)| (head.len, head.id) < *least);
            awaited.contains_key(&(head.len, head.id)) || (awaited.len() == AWAITED_MAX && is_below_all)
        });
        let has_room = !is_awaited || (self.is_held(head) && !is_counted);
        has_room && !is_counted && !self.conflicts.contains_key(&head.log)
    }

    fn is_held(&self, head: &Head) -> bool {
        self.id_at(head.log, head.len - 1) == Some(head.id)
    }

    /// Whether a certified head is known but not on its log's chain.
    pub fn is_awaited(&self, head: &Head) -> bool {
        self.awaited.get(&head.log).is_some_and(|awaited| awaited.contains_key(&(head.len, head.id)))
    }

    /// Certificates whose heads the normal way does not lead to: the author forked, or the chain goes another way.
    pub fn astray(&self) -> impl Iterator<Item = &Certificate> {
        self.awaited.iter().flat_map(|(log, awaited)| {
            let (is_forked, len) = (self.forked.contains_key(&log.author), self.tail(*log).len);
            awaited.values().filter(move |certificate| is_forked || certificate.head().len <= len)
        })
    }

    /// The chain of a forked author's awaited head was followed down to where it shares `parted` operations with what is counted. What is
    /// counted beyond gives way to it; but if some of that is certified, the two heads contradict one another and the log is frozen there.
    /// Returns the conflict.
    pub fn meet(&mut self, head: &Head, parted: u64) -> Option<&CertificateConflict> {
        let awaited = self.awaited.get(&head.log)?.get(&(head.len, head.id))?;
        if parted >= self.certified_len(head.log) {
            self.truncate(head.log, parted);
            return None;
        }
        let conflict = CertificateConflict::new(parted, self.certificate(head.log)?.clone(), awaited.clone());
        self.restore_conflict(conflict);
        self.conflicts.get(&head.log)
    }

    /// Takes back a conflict that this node's store kept.
    pub fn restore_conflict(&mut self, conflict: CertificateConflict) {
        let log = conflict.log();
        self.awaited.remove(&log);
        self.truncate(log, conflict.parted);
        self.conflicts.insert(log, conflict);
        self.digest = None;
    }

    /// Takes a proof that a member voted twice. Its votes go on counting. Returns whether it was news.
    pub fn expose(&mut self, proof: DoubleVote) -> bool {
        let voter = proof.voter();
        if self.members.number(&voter).is_none() || self.double_voters.contains_key(&voter) {
            return false;
        }
        self.double_voters.insert(voter, proof);
        self.digest = None;
        true
    }

    /// Takes a proof. From now on its author counts for what is certified of it and for nothing else. Returns whether it was news.
    pub fn convict(&mut self, proof: ForkProof) -> bool {
        let author = proof.author();
        if self.members.number(&author).is_none() || self.forked.contains_key(&author) || sings(Canary::Sync3) {
            return false;
        }
        self.forked.insert(author, proof);
        let logs = LogKey { author, index: 0 }..=LogKey { author, index: u8::MAX };
        let cut: Vec<_> = self.logs.range(logs).map(|(&key, _)| key).filter(|_| !sings(Canary::Crdt4)).collect();
        for key in cut {
            self.truncate(key, if sings(Canary::Cert1) { 0 } else { self.certified_len(key) });
        }
        self.digest = None;
        true
    }

    /// Drops what a log holds beyond a length. Only of logs that take nothing more but what is certified: the new end knows no rules.
    fn truncate(&mut self, key: LogKey, len: u64) {
        let Some(log) = self.logs.get_mut(&key).filter(|log| len < log.tail.len) else { return };
        self.ops -= log.tail.len - len;
        self.digest = None;
        log.ids.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        match log.ids.last() {
            Some(&head) => log.tail = Tail::certified(len, head),
            None => drop(self.logs.remove(&key)),
        }
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

    /// For the greatest certified head on a log's chain.
    pub fn certificate(&self, log: LogKey) -> Option<&Certificate> {
        self.logs.get(&log)?.certificate.as_ref()
    }

    /// How many operations of a log are certified; of a frozen one what both of its chains share.
    pub fn certified_len(&self, log: LogKey) -> u64 {
        match self.conflicts.get(&log) {
            Some(conflict) => self.tail(log).len.min(conflict.parted),
            None => self.certificate(log).map_or(0, |certificate| certificate.head().len),
        }
    }

    /// How many operations are certified.
    pub fn certified_ops(&self) -> u64 {
        self.logs.keys().fold(0, |sum, &log| sum.saturating_add(self.certified_len(log)))
    }

    /// The proof that a member voted twice, if it did.
    pub fn double_vote(&self, voter: &AuthorKey) -> Option<&DoubleVote> {
        self.double_voters.get(voter)
    }

    /// All members that voted twice, with the proofs, ascending.
    pub fn double_votes(&self) -> impl Iterator<Item = &DoubleVote> {
        self.double_voters.values()
    }

    /// All frozen logs, ascending, each with the two certificates that contradict one another.
    pub fn conflicts(&self) -> impl Iterator<Item = &CertificateConflict> {
        self.conflicts.values()
    }

    /// Why a log is frozen, if it is.
    pub fn conflict(&self, log: LogKey) -> Option<&CertificateConflict> {
        self.conflicts.get(&log)
    }

    /// How many operations are admitted.
    pub const fn ops(&self) -> u64 {
        self.ops
    }

    /// The frontier: what is admitted, in a form that peers compare.
    pub fn frontier(&self) -> Frontier {
        let entries = self.logs().filter_map(|(log, tail)| {
            let author = self.members.number(&log.author)?;
            Some(Entry { author, log: log.index, len: tail.len, head: tail.head, certified: self.certified_len(log) })
        });
        let numbers = |authors: &mut dyn Iterator<Item = &AuthorKey>| {
            authors.filter_map(|author| self.members.number(author)).collect()
        };
        let (forked, double_voters) = (numbers(&mut self.forked.keys()), numbers(&mut self.double_voters.keys()));
        Frontier { entries: entries.collect(), forked, double_voters, wanted: Vec::new() }
    }

    /// Digest of the whole state. Equal digests mean equal admitted and equal certified histories: heads commit to their whole chains, and which
    /// proofs and whose votes said so is not part of it.
    pub fn digest(&mut self) -> Digest {
        let digest = self.digest.unwrap_or_else(|| hash("concurrence v0 history", &self.digested()));
        self.digest = Some(digest);
        digest
    }

    /// Digest of the frontier as the input of views: what is admitted, whatever of it is certified.
    pub fn cut(&self) -> Digest {
        let logs = self.logs.iter().map(|(&key, log)| (key, log.tail.len, log.tail.head));
        frontier_digest(logs, self.forked.keys().copied())
    }

    fn digested(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + 8 * self.logs.len() + 16);
        bytes.extend_from_slice(self.cut().as_bytes());
        bytes.extend_from_slice(&count_u32(self.logs.len()));
        for &log in self.logs.keys() {
            bytes.extend_from_slice(&self.certified_len(log).to_be_bytes());
        }
        bytes.extend_from_slice(&count_u32(self.double_voters.len()));
        self.double_voters.keys().for_each(|voter| bytes.extend_from_slice(voter.as_bytes()));
        bytes.extend_from_slice(&count_u32(self.conflicts.len()));
        for log in self.conflicts.keys() {
            bytes.extend_from_slice(log.author.as_bytes());
            bytes.push(log.index);
        }
        bytes
    }

    /// Checks what every method keeps: chains as long as they say, of members, certified heads on them, and of a forked author nothing that is
    /// not certified.
    pub fn check_invariants(&self) {
        let mut ops = 0;
        for (key, log) in &self.logs {
            assert_eq!(log.tail.len, log.ids.len() as u64, "CRDT-2: length of {key:?}");
            assert_eq!(Some(&log.tail.head), log.ids.last(), "CRDT-2: head of {key:?}");
            let is_forked = self.forked.contains_key(&key.author);
            assert!(!is_forked || log.tail.len <= self.certified_max(*key), "CRDT-4: {key:?} is of a forked author");
            let head = log.certificate.as_ref().map(|c| c.head()).filter(|_| !self.conflicts.contains_key(key));
            let is_on_chain = head.is_none_or(|head| log.id_at(head.len - 1) == Some(head.id));
            assert!(is_on_chain, "CERT-1: the certified head of {key:?} is not on its chain");
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
