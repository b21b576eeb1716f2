//! Answers to pulls: what the asker lacks, read from the store and paced by its budget.

use std::{collections::VecDeque, sync::Arc};

use concurrence_crdt::{
    AuthorKey, Certificate, Entry, Frontier, LOGS_MAX, LogKey, OpId, Time, Wanted,
    canary::{Canary, sings},
};

use crate::{
    Frame, Output, Peer, Replica, StoreRequest,
    frame::{DELTA_BYTES_MAX, DELTA_PROOF_BYTES_MAX, DELTA_PROOFS_MAX, Delta},
    intake::Reason,
    session::PullCause,
};

/// An answer being put together, one stretch of a log after another.
#[derive(Clone, Debug)]
pub struct Serving {
    pub(crate) peer: Peer,
    stretches: VecDeque<Stretch>,
    credit: usize,
    delta: Delta,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    log: LogKey,
    from: u64,
    until: u64,
    /// Whether the asker wants its end above all: it follows a certified head down.
    is_wanted: bool,
}

/// Operations given to an asker that follows a certified head down; and fewer, if these are too long for an answer: as many of the longest
/// always fit.
const WANTED_OPS: u64 = 64;
const WANTED_OPS_FEW: u64 = (DELTA_BYTES_MAX / concurrence_crdt::OP_LEN_MAX) as u64;

impl Replica {
    /// Begins to answer a pull. One answer a peer at a time bounds what an asker can cost.
    pub(crate) fn pulled(&mut self, peer: Peer, theirs: Time, credit: u32, frontier: Frontier) {
        let (wall, ours) = (self.now.wall, self.history.digest());
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        session.heard(wall, theirs, session.digest.unwrap_or(ours), ours);
        if std::mem::replace(&mut session.serving, true) {
            session.account.asked_too_soon(self.now.mono_ms);
            self.refuse(peer, Reason::Busy);
            return;
        }
        let asker = session.author;
        let (mut stretches, behind) = self.compare(&frontier);
        // Its own log first: an author that lost its store must hear of it before it has listened long enough to append.
        stretches.make_contiguous().sort_by_key(|stretch| Some(stretch.log.author) != asker);
        let (proofs, more) = self.proofs_for(asker, &frontier);
        let delta = Delta { now: wall, digest: ours, more, proofs, ops: Vec::new() };
        let credit = usize::try_from(credit).unwrap_or(usize::MAX).min(DELTA_BYTES_MAX);
        self.begin_answer(Serving { peer, stretches, credit, delta });
        if behind {
            self.pull(peer, PullCause::Differs);
        }
    }

    /// The proofs that the asker lacks, most important first, and whether there are more than fit: of forks, of double votes, certificates, and
    /// the open votes of the asker itself, which may have lost them.
    fn proofs_for(&self, asker: Option<AuthorKey>, theirs: &Frontier) -> (Vec<Vec<u8>>, bool) {
        let members = self.history.members();
        let knows = |numbers: &[u16], author: AuthorKey| {
            members.number(&author).is_none_or(|number| numbers.binary_search(&number).is_ok())
        };
        let forks = self.history.forked().filter(|proof| !knows(&theirs.forked, proof.author())).map(|p| p.encode());
        let doubles = self.history.double_votes().filter(|proof| !knows(&theirs.double_voters, proof.voter()));
        let conflicts = self.history.conflicts().flat_map(|conflict| [conflict.low.encode(), conflict.high.encode()]);
        let lacked = self.history.logs().filter_map(|(log, tail)| self.certificate_for(theirs, log, tail.len));
        let votes = asker.into_iter().flat_map(|asker| self.ballots.of(asker, self.config.network));
        let mut all = forks
            .chain(doubles.map(|proof| proof.encode()))
            .chain(conflicts)
            .chain(lacked.map(|certificate| certificate.encode()))
            .chain(votes.map(|vote| vote.encode()));
        let (mut proofs, mut bytes) = (Vec::new(), 0);
        for proof in all.by_ref() {
            bytes += proof.len();
            if proofs.len() == DELTA_PROOFS_MAX || bytes > DELTA_PROOF_BYTES_MAX {
                return (proofs, true);
            }
            proofs.push(proof);
        }
        (proofs, false)
    }

    /// The certificate of a log, if the asker can use it: it has come as far, or it will hear that the author forked and needs the head to follow
    /// down from. One that is still on its way up gets it when it has arrived.
    fn certificate_for(&self, theirs: &Frontier, log: LogKey, len: u64) -> Option<&Certificate> {
        let certificate = self.history.certificate(log).filter(|_| self.history.conflict(log).is_none())?;
        let number = self.history.members().number(&log.author)?;
        let entry = theirs.entry(number, log.index);
        let (their_len, certified) = entry.map_or((0, 0), |entry| (entry.len, entry.certified));
        let is_astray = entry.is_some_and(|e| e.len <= len && self.history.id_at(log, e.len - 1) != Some(e.head));
        let is_forked = self.history.proof(&log.author).is_some();
        let can_use = is_forked || their_len >= certificate.head().len;
        let is_lacked = certified < certificate.head().len || (is_astray && certified > 0);
        (is_lacked && can_use).then_some(certificate)
    }

    /// What the asker lacks, and whether it claims to have what we lack.
    ///
    /// Where its head is not on our chain the operation at its last position is sent alone: with its own it is a fork proof.
    fn compare(&self, theirs: &Frontier) -> (VecDeque<Stretch>, bool) {
        let members = self.history.members();
        let mut stretches = self.wanted_stretches(theirs);
        for (log, tail) in self.history.logs() {
            let Some(number) = members.number(&log.author) else { continue };
            // Of a forked author only what is wanted below a certified head is of use, here or there.
            if theirs.forked.binary_search(&number).is_ok() || self.history.proof(&log.author).is_some() {
                continue;
            }
            let mut push = |from, until| stretches.push_back(Stretch { log, from, until, is_wanted: false });
            match theirs.entry(number, log.index) {
                None => push(0, tail.len),
                Some(entry) if self.history.id_at(log, entry.len - 1) == Some(entry.head) => {
                    if entry.len < tail.len {
                        push(entry.len, tail.len);
                    }
                }
                // Shorter than ours and not on our chain. Where it is the longer one, it will find the same when we pull.
                Some(entry) if entry.len <= tail.len => push(entry.len - 1, entry.len),
                Some(_) => {}
            }
        }
        (stretches, self.is_behind(theirs))
    }

    /// Certified operations that the asker wants, each with some that precede it.
    fn wanted_stretches(&self, theirs: &Frontier) -> VecDeque<Stretch> {
        let stretch = |wanted: &Wanted| {
            let author = self.history.members().author(wanted.author)?;
            let log = LogKey { author, index: wanted.log };
            let until = wanted.seq.checked_add(1)?;
            // Of a frozen log the store has one of the chains beyond what is counted; the asker finds out which.
            let is_held =
                self.history.id_at(log, wanted.seq) == Some(wanted.id) || self.history.conflict(log).is_some();
            is_held.then_some(Stretch { log, from: until.saturating_sub(WANTED_OPS), until, is_wanted: true })
        };
        theirs.wanted.iter().filter_map(stretch).collect()
    }

    /// Whether the other side claims to have what we lack.
    fn is_behind(&self, theirs: &Frontier) -> bool {
        let members = self.history.members();
        let is_longer = |entry: &Entry| {
            let Some(author) = members.author(entry.author).filter(|_| entry.log < LOGS_MAX) else { return false };
            let log = LogKey { author, index: entry.log };
            let is_astray = self.history.id_at(log, entry.len - 1) != Some(entry.head);
            (self.history.proof(&author).is_none() && is_astray) || entry.certified > self.history.certified_len(log)
        };
        let unknown_fork = |&n: &u16| members.author(n).is_some_and(|author| self.history.proof(&author).is_none());
        let unknown_double =
            |&n: &u16| members.author(n).is_some_and(|voter| self.history.double_vote(&voter).is_none());
        theirs.entries.iter().any(is_longer)
            || theirs.forked.iter().any(unknown_fork)
            || theirs.double_voters.iter().any(unknown_double)
    }

    /// Begins to read an answer, now or when the asker's budget allows: it is paced, not refused (SYNC-5).
    fn begin_answer(&mut self, serving: Serving) {
        let (peer, now_ms) = (serving.peer, self.now.mono_ms);
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if !session.account.may_send(now_ms) {
            self.deferred.insert(peer, (session.account.may_send_at_ms(now_ms), serving));
            return;
        }
        if let Some(&Stretch { log, from, .. }) = serving.stretches.front() {
            session.account.begins_answer(now_ms, log, from, serving.credit);
        }
        self.serve(serving);
    }

    /// Begins the answers whose time has come.
    pub(crate) fn begin_deferred(&mut self) {
        let now_ms = self.now.mono_ms;
        let due: Vec<_> = self.deferred.iter().filter(|(_, (due_ms, _))| *due_ms <= now_ms).map(|(&p, _)| p).collect();
        for peer in due {
            if let Some((_, serving)) = self.deferred.remove(&peer) {
                self.begin_answer(serving);
            }
        }
    }

    /// Reads the next stretch, or sends the answer.
    fn serve(&mut self, mut serving: Serving) {
        match serving.stretches.front() {
            Some(&Stretch { log, from, until, .. }) if serving.credit > 0 => {
                let token = self.new_token();
                let bytes_max = serving.credit;
                self.serving.insert(token, serving);
                self.emit(Output::Store(StoreRequest::Load { token, log, from, until, bytes_max }));
            }
            rest => {
                serving.delta.more |= rest.is_some();
                let peer = serving.peer;
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.serving = false;
                }
                if sings(Canary::Sync5) {
                    self.send(peer, &Frame::Delta(serving.delta.clone()));
                }
                self.send(peer, &Frame::Delta(serving.delta));
            }
        }
    }

    /// A stretch was read: take of it what the credit allows.
    pub(crate) fn serve_on(&mut self, mut serving: Serving, ops: Vec<Arc<[u8]>>) {
        let Some(stretch) = serving.stretches.pop_front() else { return };
        let has_end = ops.len() as u64 == stretch.until - stretch.from;
        if stretch.is_wanted && !has_end {
            // They were too long to reach the end; or a row of them rotted, and the end is of use without it.
            let few = stretch.until.saturating_sub(WANTED_OPS_FEW);
            if few > stretch.from {
                serving.stretches.push_front(Stretch { from: few, ..stretch });
            } else {
                serving.delta.more = true;
            }
            return self.serve(serving);
        }
        // Rows that cannot be read end their log in this answer; what follows could not be admitted.
        let is_read = !ops.is_empty();
        let mut sent = 0;
        for op in ops {
            if op.len() > serving.credit && !serving.delta.ops.is_empty() {
                break;
            }
            serving.credit = serving.credit.saturating_sub(op.len());
            serving.delta.ops.push(op);
            sent += 1;
        }
        if is_read && stretch.from + sent < stretch.until {
            // The credit is used up within this stretch, or before it; the asker pulls again from where it then stands.
            serving.stretches.push_front(Stretch { from: stretch.from + sent, ..stretch });
            serving.credit = 0;
        }
        self.serve(serving);
    }

    pub(crate) fn fetch(&mut self, peer: Peer, id: OpId) {
        // One look-up a peer at a time bounds what an asker can cost.
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if self.fetching.values().any(|&asker| asker == peer) {
            session.account.asked_too_soon(self.now.mono_ms);
            self.refuse(peer, Reason::Busy);
            return;
        }
        if !session.account.may_send(self.now.mono_ms) {
            self.refuse(peer, Reason::Budget);
            return;
        }
        let token = self.new_token();
        self.fetching.insert(token, peer);
        self.emit(Output::Store(StoreRequest::Find { token, id }));
    }
}
