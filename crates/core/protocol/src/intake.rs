//! From a peer's bytes to the admitted state: decode, place, verify, judge. Cheap checks come first, the signature last.

use std::sync::Arc;

use concurrence_crdt::{
    AuthorKey, Bucket, Certificate, DoubleVote, ForkProof, HeadVote, Invalid, Op, OpId, Place, Reader, SignedHeader,
    VerifiedOp,
    canary::{Canary, sings},
};

use crate::{
    Event, Fault, Frame, Now, Output, Peer, Replica, StoreRequest, Verdict, WAITING_OPS_MAX, Write,
    frame::decode_proof,
    session::{DEPARTED_MAX, PullCause},
};

/// Why something a peer sent was refused. Nothing changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No frame of this protocol, or over the cap.
    Frame,
    /// A frame before the hello.
    NoHello,
    /// No canonical operation: truncated, trailing, over a cap, payload not as promised.
    Encoding,
    /// An operation of another network or version, replayed here.
    OtherNetwork,
    /// An author that was never a member.
    Stranger,
    /// The signature does not verify.
    Signature,
    /// The author is forked.
    Forked,
    /// Over quota, or its minute or epoch falls, or its author is no member of its epoch.
    Invalid,
    /// The same operation again.
    Duplicate,
    /// No fork proof.
    Proof,
    /// Asked again before the last answer was sent.
    Busy,
    /// The peer is over one of its budgets: not looked at.
    Budget,
    /// An answer to no question: not looked at.
    Unasked,
    /// The peer is banned: not looked at.
    Banned,
}

impl Reason {
    /// A short stable name, as metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::NoHello => "no_hello",
            Self::Encoding => "encoding",
            Self::OtherNetwork => "other_network",
            Self::Stranger => "stranger",
            Self::Signature => "signature",
            Self::Forked => "forked",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Proof => "proof",
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::Unasked => "unasked",
            Self::Banned => "banned",
        }
    }

    /// Whether whoever handed it on could have known; an author's faults are not its forwarder's.
    pub const fn is_forwarders_fault(self) -> bool {
        matches!(
            self,
            Self::Frame | Self::Encoding | Self::OtherNetwork | Self::Stranger | Self::Signature | Self::Proof
        )
    }
}

/// Buckets that a declared minute may be ahead of the local clock before the operation is held.
const BUCKETS_AHEAD_MAX: u64 = 2;

/// Operations of a forked author kept beyond the admitted state: a few branches, as evidence and for certificates to come.
const QUARANTINE_OPS_MAX: usize = 4;

/// Signatures verified in one batch: same-author batches gain little beyond
/// (ed25519-zebra 5.0, same key: 10.9 us a signature at 64, 10.2 at 256).
const VERIFY_BATCH: usize = 64;

impl Replica {
    /// One operation, alone in its frame.
    pub(crate) fn take_op(&mut self, peer: Peer, bytes: Arc<[u8]>) -> Verdict {
        let op = match self.decode(bytes) {
            Ok(op) => op,
            Err(reason) => return self.refuse(peer, reason),
        };
        if !self.has_checks(peer) {
            return self.refuse(peer, Reason::Budget);
        }
        let (log, seq) = (op.header().log, op.header().seq);
        match op.verify() {
            Ok(op) => match self.place_verified(op) {
                Placed::Invalid => {
                    self.checked_in_vain(peer, 1);
                    self.refuse(peer, Reason::Invalid)
                }
                Placed::Dropped => {
                    self.checked_in_vain(peer, 1);
                    if self.history.tail(log).len < seq {
                        self.pull(peer, PullCause::Gap);
                    }
                    Verdict::Ignore
                }
                Placed::Ahead => {
                    self.pull(peer, PullCause::Gap);
                    // No quota bounds what stands far ahead: it is not spread. Near its log's end there are few positions, and
                    // a second operation at one of them is a fork.
                    let is_near = seq - self.history.tail(log).len < WAITING_OPS_MAX as u64;
                    if is_near { Verdict::Accept } else { Verdict::Ignore }
                }
                // No quota bounds what declares the future: it waits here and is not spread.
                Placed::Held => Verdict::Ignore,
                Placed::Taken => Verdict::Accept,
            },
            Err(_) => {
                self.checked_in_vain(peer, 1);
                self.refuse(peer, Reason::Signature)
            }
        }
    }

    /// Whether another signature is checked for a peer; that it used up its budget is a fault. A budget spent on what brought nothing is
    /// no verdict on what comes now: that is ignored, and sync may bring it.
    pub(crate) fn has_checks(&mut self, peer: Peer) -> bool {
        let has_checks = self.sessions.get(&peer).is_none_or(|s| s.account.has_checks(self.now.mono_ms));
        if !has_checks {
            self.blame(peer, Fault::Checks);
        }
        has_checks
    }

    pub(crate) fn checked_in_vain(&mut self, peer: Peer, checks: i64) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.account.checks_in_vain(self.now.mono_ms, checks);
        }
    }

    /// Operations of one answer, in log order, until the peer has no budget left.
    pub(crate) fn take_ops(&mut self, peer: Peer, encoded: &[Arc<[u8]>]) {
        for chunk in encoded.chunks(VERIFY_BATCH) {
            if self.is_banned(peer) {
                break;
            }
            if !self.has_checks(peer) {
                self.refuse(peer, Reason::Budget);
                break;
            }
            let mut ops = Vec::with_capacity(chunk.len());
            for bytes in chunk {
                match self.decode(Arc::clone(bytes)) {
                    Ok(op) => ops.push(op),
                    Err(reason) => {
                        self.refuse(peer, reason);
                    }
                }
            }
            for verified in Op::verify_all(ops) {
                let refusal = match verified.map(|op| self.place_verified(op)) {
                    Ok(Placed::Taken | Placed::Held | Placed::Ahead) => continue,
                    Ok(Placed::Dropped) => None,
                    Ok(Placed::Invalid) => Some(Reason::Invalid),
                    Err(_) => Some(Reason::Signature),
                };
                self.checked_in_vain(peer, 1);
                if let Some(reason) = refusal {
                    self.refuse(peer, reason);
                }
            }
        }
        self.history_changed();
    }

    /// Everything that can be told without verifying a signature.
    fn decode(&mut self, bytes: Arc<[u8]>) -> Result<Op, Reason> {
        let op = Op::decode_shared(bytes, self.config.network).map_err(|error| match error {
            concurrence_crdt::OpError::OtherNetwork(_) | concurrence_crdt::OpError::Version(_) => Reason::OtherNetwork,
            _ => Reason::Encoding,
        })?;
        if self.config.members.number(&op.header().log.author).is_none() && !sings(Canary::Crdt3) {
            return Err(Reason::Stranger);
        }
        let (log, seq, id) = (op.header().log, op.header().seq, op.id());
        match self.history.place(op.header(), id) {
            Place::Held => Err(Reason::Duplicate),
            Place::Forked if self.is_quarantined(log.author, id) => Err(Reason::Duplicate),
            Place::Forked if self.is_quarantine_full(log.author) => Err(Reason::Forked),
            _ if sings(Canary::Sync2) && id.as_bytes()[0] < 16 => Err(Reason::Duplicate),
            _ if self.ahead.contains(log, seq, id) || self.held.contains(log, seq, id) => Err(Reason::Duplicate),
            _ => Ok(op),
        }
    }

    /// Puts a verified operation where it belongs.
    pub(crate) fn place_verified(&mut self, op: VerifiedOp) -> Placed {
        let (header, id) = (op.op().header(), op.op().id());
        let place = self.history.place(header, id);
        if matches!(place, Place::Next | Place::Ahead) && self.is_foreign_own(&op) {
            return Placed::Taken;
        }
        let (log, seq) = (header.log, header.seq);
        if header.declared.bucket() > Self::last_admissible(self.now) {
            self.held.keep(op);
            return if self.held.contains(log, seq, id) { Placed::Held } else { Placed::Dropped };
        }
        match place {
            Place::Next => self.admit_chain(op),
            Place::Held => Placed::Dropped,
            Place::Forked => Placed::news(self.quarantine(&op)),
            Place::Conflict => Placed::news(self.look_up_conflict(op)),
            Place::Ahead => {
                if self.convict_by_waiting(&op) {
                    return Placed::Taken;
                }
                self.ahead.keep(op);
                if self.ahead.contains(log, seq, id) { Placed::Ahead } else { Placed::Dropped }
            }
        }
    }

    /// Admits an operation and whatever was waiting for it. The verdict is on the operation itself.
    fn admit_chain(&mut self, first: VerifiedOp) -> Placed {
        let (log, first_seq) = (first.op().header().log, first.op().header().seq);
        let mut next = Some(first);
        let mut placed = Placed::Taken;
        while let Some(op) = next {
            if self.history.admit(&op).is_err() {
                // The log ends before it, and it waits: any other operation at its position proves a fork, whichever of
                // the two came first, and whether or not the other one is valid (CRDT-1).
                if self.convict_by_waiting(&op) {
                    return Placed::Taken;
                }
                placed = if op.op().header().seq == first_seq { Placed::Invalid } else { Placed::Taken };
                self.ahead.keep(op);
                break;
            }
            if self.history.certified_len(log) == op.op().header().seq + 1 {
                // A certified head was waiting for its operation.
                self.keep_certificate(log);
            }
            let token = self.new_token();
            let writes = if sings(Canary::Store2) { Vec::new() } else { vec![Self::row(&op)] };
            self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: false }));
            self.emit(Output::Event(Event::Admitted(op.clone())));
            if self.convict_by_waiting(&op) {
                return Placed::Taken;
            }
            let tail = self.history.tail(log);
            next = self.ahead.take_next(log, tail.len, tail.head);
        }
        let tail = self.history.tail(log);
        self.ahead.drop_below(log, tail.len);
        if self.history.astray().next().is_some() {
            self.follow_astray();
        }
        placed
    }

    /// Judges an operation of this node's own log that this node did not write. Returns whether it must not be admitted.
    fn is_foreign_own(&mut self, op: &VerifiedOp) -> bool {
        if self.config.own != Some(op.op().header().log.author) {
            return false;
        }
        let in_use = self.own.found_own_op(op.op().header().declared);
        if in_use {
            self.emit(Output::Event(Event::KeyInUse(op.op().header().log.author)));
        }
        in_use
    }

    /// An own operation became durable.
    pub(crate) fn admit_own(&mut self, op: VerifiedOp) {
        // Sent now, it could stand at a position that the other process took: nobody has seen it, so nobody shall.
        if self.own.is_in_use() {
            return;
        }
        let admitted: Result<(), Invalid> = self.history.admit(&op);
        if admitted.is_err() || self.history.proof(&op.op().header().log.author).is_some() {
            return;
        }
        self.emit(Output::Broadcast(Frame::Op(Arc::clone(op.op().bytes())).encode()));
        self.emit(Output::Event(Event::Admitted(op)));
        self.history_changed();
    }

    /// Another operation waits at the same position: with this one it is a proof.
    fn convict_by_waiting(&mut self, op: &VerifiedOp) -> bool {
        let (log, seq) = (op.op().header().log, op.op().header().seq);
        let header = op.verified_header();
        let proof = self.ahead.at(log, seq).find_map(|other| ForkProof::of(&header, &other.verified_header()));
        let Some(proof) = proof else { return false };
        self.convict(proof);
        self.quarantine(op);
        true
    }

    /// Asks for the held operation at a position, to prove the fork with its header. False if that is being done.
    pub(crate) fn look_up_conflict(&mut self, op: VerifiedOp) -> bool {
        let log = op.op().header().log;
        // One look-up for each author is enough: one proof convicts.
        if self.convicting.values().any(|other| other.op().header().log.author == log.author) {
            return false;
        }
        let (token, from) = (self.new_token(), op.op().header().seq);
        self.emit(Output::Store(StoreRequest::Load { token, log, from, until: from + 1, bytes_max: usize::MAX }));
        self.convicting.insert(token, op);
        true
    }

    /// The held operation was read. One that rotted on disk proves nothing now; the conflict will show again.
    pub(crate) fn convict_with(&mut self, op: &VerifiedOp, held: Option<&Arc<[u8]>>) {
        let held = held.and_then(|bytes| Op::decode(bytes, self.config.network).ok());
        let held = held.and_then(|op| op.signed().clone().verify().ok());
        if let Some(proof) = held.and_then(|held| ForkProof::of(&held, &op.verified_header())) {
            self.convict(proof);
            self.quarantine(op);
        }
    }

    /// Several proofs in one frame: to be spread if any was news; a single bad one is its sender's fault.
    pub(crate) fn take_proofs(&mut self, peer: Peer, proofs: &[Vec<u8>]) -> Verdict {
        let is_vote = |proof: &&Vec<u8>| proof.first() == Some(&HeadVote::KIND);
        let mut all = self.take_votes(peer, proofs.iter().filter(is_vote).map(Vec::as_slice));
        if all == Verdict::Reject {
            return all;
        }
        for proof in proofs.iter().filter(|proof| !is_vote(proof)) {
            match self.take_proof(peer, proof) {
                Verdict::Reject => return Verdict::Reject,
                Verdict::Accept => all = Verdict::Accept,
                Verdict::Ignore => {}
            }
        }
        all
    }

    /// One proof; its first byte tells of what.
    pub(crate) fn take_proof(&mut self, peer: Peer, bytes: &[u8]) -> Verdict {
        match bytes.first() {
            Some(&HeadVote::KIND) => self.take_votes(peer, [bytes]),
            Some(&Certificate::KIND) => self.take_certificate(peer, bytes),
            Some(&DoubleVote::KIND) => self.take_double_vote(peer, bytes),
            _ => self.take_fork_proof(peer, bytes),
        }
    }

    fn take_fork_proof(&mut self, peer: Peer, bytes: &[u8]) -> Verdict {
        // One proof is enough: another against the same author is not worth its two signature checks.
        let accused = SignedHeader::read(&mut Reader::new(bytes), self.config.network);
        if accused.is_ok_and(|header| self.history.proof(&header.header().log.author).is_some()) {
            return self.refuse(peer, Reason::Duplicate);
        }
        if !self.has_checks(peer) {
            return self.refuse(peer, Reason::Budget);
        }
        match decode_proof(bytes, self.config.network) {
            Ok(proof) if self.config.members.number(&proof.author()).is_some() => {
                self.convict(proof);
                Verdict::Accept
            }
            _ => {
                self.checked_in_vain(peer, 2);
                self.refuse(peer, Reason::Proof)
            }
        }
    }

    /// Takes a proof, keeps it durably, and tells everyone.
    fn convict(&mut self, proof: ForkProof) {
        let (author, bytes) = (proof.author(), proof.encode());
        if !self.history.convict(proof) {
            return;
        }
        self.ahead.drop_author(author);
        self.held.drop_author(author);
        self.convicting.retain(|_, op| op.op().header().log.author != author);
        let token = self.new_token();
        let writes = vec![Write::Proof { author, bytes: bytes.clone().into() }];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: true }));
        self.emit(Output::Broadcast(Frame::Proof(bytes).encode()));
        self.emit(Output::Event(Event::Convicted(author)));
        if self.config.own == Some(author) {
            self.emit(Output::Event(Event::OwnLogForked(author)));
        }
        self.follow_astray();
        self.history_changed();
    }

    fn is_quarantine_full(&self, author: AuthorKey) -> bool {
        self.quarantined.get(&author).is_some_and(|ids| ids.len() >= QUARANTINE_OPS_MAX)
    }

    fn is_quarantined(&self, author: AuthorKey, id: OpId) -> bool {
        self.quarantined.get(&author).is_some_and(|ids| ids.contains(&id))
    }

    /// Keeps an operation of a forked author, invisible but findable by id. False if there is no room, or no need.
    fn quarantine(&mut self, op: &VerifiedOp) -> bool {
        let author = op.op().header().log.author;
        if self.is_quarantine_full(author) || !self.quarantined.entry(author).or_default().insert(op.op().id()) {
            return false;
        }
        let token = self.new_token();
        let writes = vec![Write::Quarantine { author, id: op.op().id(), bytes: Arc::clone(op.op().bytes()) }];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: false }));
        true
    }

    /// The last minute whose operations are admitted now.
    pub(crate) fn last_admissible(now: Now) -> Bucket {
        now.wall.after_ms(BUCKETS_AHEAD_MAX * concurrence_crdt::BUCKET_MS).bucket()
    }

    /// Checks the history, and that everything peers can fill is within its cap (SYNC-4).
    pub fn check_invariants(&self) {
        self.history.check_invariants();
        self.ahead.check_invariants();
        self.held.check_invariants();
        assert!(self.quarantined.values().all(|ids| ids.len() <= QUARANTINE_OPS_MAX), "SYNC-4: quarantine");
        let (authors, sessions) = (self.config.members.authors().len(), self.sessions.len());
        assert!(self.quarantined.len() <= authors, "SYNC-4: quarantined authors");
        assert!(self.convicting.len() <= authors, "SYNC-4: look-ups of conflicts");
        assert!(self.serving.len() <= sessions, "SYNC-4: answers under way");
        assert!(self.fetching.len() <= sessions, "SYNC-4: fetches under way");
        assert!(self.deferred.keys().all(|peer| self.sessions.contains_key(peer)), "SYNC-4: answers that wait");
        self.ballots.check_invariants();
        let logs = authors * usize::from(concurrence_crdt::LOGS_MAX);
        assert!(self.ways.len() <= logs * concurrence_crdt::AWAITED_MAX, "SYNC-4: ways to certified heads");
        assert!(self.departed.len() <= DEPARTED_MAX, "SYNC-4: accounts of peers that left");
        self.sessions.values().for_each(|session| session.account.check_invariants(self.now.mono_ms));
    }

    fn history_changed(&self) {
        if cfg!(debug_assertions) && self.history.ops() < 4096 {
            self.history.check_invariants();
        }
    }
}

/// What became of a verified operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Admitted, quarantined or under look-up: news, and nobody's fault.
    Taken,
    /// Kept until its minute has come.
    Held,
    /// Kept until what is missing before it arrives.
    Ahead,
    /// Known, or no room for it: its signature was checked in vain, and it may be nobody's fault.
    Dropped,
    /// Never valid.
    Invalid,
}

impl Placed {
    const fn news(is_news: bool) -> Self {
        if is_news { Self::Taken } else { Self::Dropped }
    }
}
