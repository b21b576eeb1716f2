//! Votes, certificates and proofs of double votes: taken from peers, formed here, and this node's own votes.

use concurrence_crdt::{
    AuthorKey, Certificate, Certified, Counted, DoubleVote, Head, HeadVote, LogKey, Membership, NetworkId, Reader,
    VerifiedVote, VoteError,
    canary::{Canary, sings},
};

use crate::{
    Event, Fact, FactKey, Frame, Output, Peer, Replica, StoreRequest, Token, Verdict, Write, frame::PROOFS_MAX,
    intake::Reason,
};

/// This node's own votes.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnVotes {
    /// The newest for each log: the next must extend it.
    newest: std::collections::BTreeMap<LogKey, HeadVote>,
    /// Votes being made durable. Nobody sees them before.
    pending: Option<(Token, Vec<VerifiedVote>)>,
}

/// How many checks a forged certificate costs whoever sent it: what a batch of a usual one's signatures takes, in single ones.
const CERTIFICATE_CHECKS: i64 = 4;

impl Replica {
    /// The heads that this node may sign now, of those named by log and length: held, certified no further, extending every head of their log
    /// that it signed before. None while it may not append, or its last votes are not durable.
    pub fn heads_to_sign(&self, wanted: impl IntoIterator<Item = (LogKey, u64)>) -> Vec<Head> {
        if !self.may_vote() {
            return Vec::new();
        }
        let (epoch, _) = self.config.members.newest();
        let head = |(log, len): (LogKey, u64)| {
            let held = self.history.id_at(log, len.checked_sub(1)?)?;
            let id = if sings(Canary::Cert4) { self.history.id_at(log, 0)? } else { held };
            Some(Head { network: self.config.network, log, len, id, epoch })
        };
        wanted.into_iter().filter_map(head).filter(|head| self.may_sign(head)).collect()
    }

    fn may_vote(&self) -> bool {
        let (_, committee) = self.config.members.newest();
        let is_member = self.config.own.is_some_and(|own| committee.weight(&own) > 0);
        is_member && self.own.may_append(&committee).is_ok() && self.votes.pending.is_none()
    }

    fn may_sign(&self, head: &Head) -> bool {
        let before = self.votes.newest.get(&head.log).map(|vote| vote.head);
        let extends =
            |before: Head| before.len < head.len && self.history.id_at(head.log, before.len - 1) == Some(before.id);
        let is_held = self.history.id_at(head.log, head.len - 1) == Some(head.id) || sings(Canary::Cert4);
        let is_open = head.len > self.history.certified_len(head.log) && self.history.proof(&head.log.author).is_none();
        is_held && is_open && before.is_none_or(extends)
    }

    /// Votes as this node: durable first, then counted and told. Votes that do not fit any more are dropped; nobody saw them.
    pub fn vote(&mut self, votes: Vec<HeadVote>) {
        if !self.may_vote() {
            return;
        }
        let is_own = |vote: &HeadVote| Some(vote.voter) == self.config.own && self.may_sign(&vote.head);
        let votes = votes.into_iter().filter(is_own).filter_map(|vote| vote.verify(&self.config.members).ok());
        let votes: Vec<_> = votes.collect();
        if votes.is_empty() {
            return;
        }
        self.votes.newest.extend(votes.iter().map(|vote| (vote.vote().head.log, *vote.vote())));
        let token = self.new_token();
        let writes = votes.iter().map(|vote| own_row(vote.vote())).collect();
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: true }));
        self.votes.pending = Some((token, votes));
    }

    /// A commit was that of own votes: now they count and are told.
    pub(crate) fn votes_durable(&mut self, token: Token) {
        let Some((_, votes)) = self.votes.pending.take_if(|(pending, _)| *pending == token) else { return };
        for vote in &votes {
            self.count_vote(vote);
        }
        self.broadcast_votes(votes.iter().map(|vote| vote.vote().encode()).collect());
    }

    /// Tells this node's newest vote for each log again where it is not certified: gossip may have lost it, and it says what those before it said.
    pub fn tell_votes(&mut self) {
        if self.votes.pending.is_some() {
            return;
        }
        let is_open = |vote: &&HeadVote| vote.head.len > self.history.certified_len(vote.head.log);
        let open = self.votes.newest.values().filter(is_open);
        self.broadcast_votes(open.map(HeadVote::encode).collect());
    }

    fn broadcast_votes(&mut self, votes: Vec<Vec<u8>>) {
        for some in votes.chunks(PROOFS_MAX) {
            self.emit(Output::Broadcast(Frame::Proofs(some.to_vec()).encode()));
        }
    }

    /// This node's newest vote for a log.
    pub fn own_vote(&self, log: LogKey) -> Option<&HeadVote> {
        self.votes.newest.get(&log)
    }

    /// Takes back a fact that this node's store kept: after proofs, before operations, in the order of their keys. One that does not read is left
    /// out: a store's checksum guards it, so it was written under another registry.
    pub fn restore_fact(&mut self, bytes: &[u8]) {
        match Fact::read(bytes, self.config.network, &self.config.members) {
            Ok(Fact::Vote(vote)) => {
                self.votes.newest.insert(vote.vote().head.log, *vote.vote());
                self.ballots.count(&vote, &self.config.members);
            }
            Ok(Fact::Certificate(certificate)) => _ = self.history.certify(certificate),
            Ok(Fact::DoubleVote(proof)) => _ = self.history.expose(proof),
            Ok(Fact::Conflict(conflict)) => self.history.restore_conflict(conflict),
            Err(_) => {}
        }
    }

    /// Votes from a peer, those of one frame together: a single bad one is its sender's fault, and all that were with it are refused.
    pub(crate) fn take_votes<'a>(&mut self, peer: Peer, encoded: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
        let mut fresh = Vec::new();
        for bytes in encoded {
            match read_vote(bytes, self.config.network, &self.config.members) {
                Err(_) => return self.refuse(peer, Reason::Proof),
                Ok(vote) if self.is_known(&vote) => _ = self.refuse(peer, Reason::Duplicate),
                Ok(vote) => fresh.push(vote),
            }
        }
        if fresh.is_empty() {
            return Verdict::Ignore;
        }
        if !self.has_checks(peer) {
            return self.refuse(peer, Reason::Budget);
        }
        let checks = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
        let Ok(votes) = HeadVote::verify_all(fresh, &self.config.members) else {
            self.checked_in_vain(peer, checks);
            return self.refuse(peer, Reason::Signature);
        };
        let mut verdict = Verdict::Ignore;
        for vote in votes {
            self.recall(vote.vote());
            if self.count_vote(&vote) {
                verdict = Verdict::Accept;
            } else {
                self.checked_in_vain(peer, 1);
            }
        }
        verdict
    }

    /// A vote that would change nothing.
    fn is_known(&self, vote: &HeadVote) -> bool {
        self.ballots.contains(vote) || (self.is_overtaken(vote) && self.contradicted(vote).is_none())
    }

    /// As much is certified already as the vote speaks of.
    fn is_overtaken(&self, vote: &HeadVote) -> bool {
        vote.head.len <= self.history.certified_len(vote.head.log)
    }

    /// The vote of the same member in a certificate for another head of the same length.
    fn contradicted(&self, vote: &HeadVote) -> Option<VerifiedVote> {
        let certificate = self.history.certificate(vote.head.log)?;
        let (other, is_known) = (certificate.head(), self.history.double_vote(&vote.voter).is_some());
        let contradicts = !is_known && other.len == vote.head.len && other.id != vote.head.id;
        certificate.vote_of(&vote.voter).filter(|_| contradicts)
    }

    /// Counts a verified vote. Returns whether it was news.
    fn count_vote(&mut self, vote: &VerifiedVote) -> bool {
        if self.is_overtaken(vote.vote()) {
            let other = self.contradicted(vote.vote());
            return other.and_then(|other| DoubleVote::of(vote, &other)).is_some_and(|proof| self.expose(proof));
        }
        let (counted, double) = self.ballots.count(vote, &self.config.members);
        if let Some(proof) = double {
            self.expose(proof);
        }
        match counted {
            Counted::Dropped | Counted::Crowded => false,
            Counted::Open => true,
            Counted::Certified(certificate) => {
                self.certify(certificate);
                true
            }
        }
    }

    /// A vote of this node that it does not remember was found: the next must extend it too.
    fn recall(&mut self, vote: &HeadVote) {
        let remembered = self.votes.newest.get(&vote.head.log).map_or(0, |newest| newest.head.len);
        if Some(vote.voter) != self.config.own || vote.head.len <= remembered {
            return;
        }
        self.votes.newest.insert(vote.head.log, *vote);
        let token = self.new_token();
        self.emit(Output::Store(StoreRequest::Commit { token, writes: vec![own_row(vote)], durable: true }));
    }

    /// A certificate from a peer.
    pub(crate) fn take_certificate(&mut self, peer: Peer, bytes: &[u8]) -> Verdict {
        let head = match Certificate::peek(bytes, self.config.network) {
            Ok(head) => head,
            Err(_) => return self.refuse(peer, Reason::Proof),
        };
        if !self.history.is_news(&head) {
            return self.refuse(peer, Reason::Duplicate);
        }
        if !self.has_checks(peer) {
            return self.refuse(peer, Reason::Budget);
        }
        match whole(bytes, |reader| Certificate::read(reader, self.config.network, &self.config.members)) {
            Ok(certificate) => {
                if let Some(vote) = self.config.own.and_then(|own| certificate.vote_of(&own)) {
                    self.recall(vote.vote());
                }
                self.certify(certificate);
                Verdict::Accept
            }
            Err(_) => {
                self.checked_in_vain(peer, CERTIFICATE_CHECKS);
                self.refuse(peer, Reason::Proof)
            }
        }
    }

    /// A proof from a peer that a member voted twice.
    pub(crate) fn take_double_vote(&mut self, peer: Peer, bytes: &[u8]) -> Verdict {
        let accused = bytes.get(1..33).and_then(|key| key.try_into().ok()).map(AuthorKey::from_bytes);
        if accused.is_some_and(|voter| self.history.double_vote(&voter).is_some()) {
            return self.refuse(peer, Reason::Duplicate);
        }
        if !self.has_checks(peer) {
            return self.refuse(peer, Reason::Budget);
        }
        match whole(bytes, |reader| DoubleVote::read(reader, self.config.network, &self.config.members)) {
            Ok(proof) => {
                self.expose(proof);
                Verdict::Accept
            }
            Err(_) => {
                self.checked_in_vain(peer, 2);
                self.refuse(peer, Reason::Proof)
            }
        }
    }

    /// Takes a certificate, keeps it, and goes after its head if the normal way does not lead there.
    fn certify(&mut self, certificate: Certificate) {
        let head = *certificate.head();
        if sings(Canary::Cert5) {
            return;
        }
        match self.history.certify(certificate) {
            Certified::Known => {}
            Certified::Counted => self.keep_certificate(head.log),
            Certified::Awaited => self.follow_astray(),
        }
    }

    /// The greatest certified head on a log's chain is a new one.
    pub(crate) fn keep_certificate(&mut self, log: LogKey) {
        let Some(certificate) = self.history.certificate(log) else { return };
        let (head, bytes, doubles) =
            (*certificate.head(), certificate.encode(), self.ballots.contradicting(certificate));
        for proof in doubles {
            self.expose(proof);
        }
        self.ballots.drop_to(log, head.len);
        self.commit_fact(FactKey::Certificate(log), bytes, false);
        self.emit(Output::Event(Event::Certified(head)));
    }

    /// Keeps a proof of a double vote durably, and tells everyone. Returns whether it was news.
    fn expose(&mut self, proof: DoubleVote) -> bool {
        let (voter, bytes) = (proof.voter(), proof.encode());
        if !self.history.expose(proof) {
            return false;
        }
        self.commit_fact(FactKey::DoubleVote(voter), bytes.clone(), true);
        self.emit(Output::Broadcast(Frame::Proof(bytes).encode()));
        self.emit(Output::Event(Event::DoubleVoter(voter)));
        true
    }

    pub(crate) fn commit_fact(&mut self, key: FactKey, bytes: Vec<u8>, durable: bool) {
        let token = self.new_token();
        let writes = vec![Write::Fact { key, bytes: bytes.into() }];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable }));
    }
}

/// The row of an own vote.
fn own_row(vote: &HeadVote) -> Write {
    Write::Fact { key: FactKey::Vote(vote.head.log), bytes: vote.encode().into() }
}

/// Everything that can be told of a vote without verifying its signature.
fn read_vote(bytes: &[u8], network: NetworkId, members: &Membership) -> Result<HeadVote, VoteError> {
    let vote = whole(bytes, |reader| HeadVote::read(reader, network))?;
    vote.check_member(members)?;
    Ok(vote)
}

/// Reads what fills all of the bytes.
fn whole<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, VoteError>) -> Result<T, VoteError> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}
