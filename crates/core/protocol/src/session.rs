//! Conversations: hello, digests, and pulls. Gossip only accelerates; this is what makes replicas equal.

use concurrence_crdt::{
    AuthorKey, Digest, Frontier, Time,
    canary::{Canary, sings},
};

use crate::{
    Account, Ban, Event, Fault, Frame, Output, Peer, Refusal, Replica,
    frame::{DELTA_BYTES_MAX, Delta, Hello, PROTOCOL_VERSION},
    intake::Reason,
};

/// What is known of one connected peer.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose node it is, if a member's.
    pub author: Option<AuthorKey>,
    /// Whether its hello was accepted; nothing else is read before.
    pub greeted: bool,
    /// Why the conversation ended, if it did.
    pub refusal: Option<Refusal>,
    /// Digest of its frontier, as it last said. A claim: nothing here ever follows from it but a question.
    pub digest: Option<Digest>,
    /// How many operations it has admitted, as it last said. A claim too.
    ops: u64,
    /// Our own digest when it said so.
    compared: Option<Digest>,
    /// Whether a round was let pass for it to ask first.
    was_waited_for: bool,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Until when the answer to our pull is awaited, on the monotonic clock.
    pull_until_ms: Option<u64>,
    /// Since when a pull waits for its turn, on the monotonic clock.
    pull_waits_ms: Option<u64>,
    /// When the next pull may be sent, on the monotonic clock.
    pull_after_ms: u64,
    /// Pulls in a row that brought nothing new.
    idle_pulls: u32,
    /// Whether an answer to its pull is being read.
    pub(crate) serving: bool,
    /// Whether it says that it has not heard our hello.
    wants_hello: bool,
    /// What it may cost, and how it behaved.
    pub account: Account,
}

/// Why a pull is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullCause {
    /// The peer's digest differs from ours.
    Differs,
    /// An operation arrived whose predecessors are missing.
    Gap,
    /// The last answer ended for want of credit.
    More,
}

/// How long an answer is awaited before another peer is asked, in milliseconds.
const PULL_TIMEOUT_MS: u64 = 5_000;

/// Pulls awaited at once over all peers: two, so that one liar who never answers does not stop sync, and that hardly
/// anything is fetched twice.
const PULLS_MAX: usize = 2;

/// First pause after a pull that brought nothing, in milliseconds; it doubles up to [`IDLE_PAUSE_MAX_MS`].
const IDLE_PAUSE_MS: u64 = 100;

/// Longest pause between pulls from a peer whose answers bring nothing: a lying frontier costs a question in eight seconds.
const IDLE_PAUSE_MAX_MS: u64 = 8_000;

/// Peers told our digest in one round.
const ROUND_PEERS_MAX: usize = 8;

/// Pulls in a row without news from which on empty answers are a fault: by then the pauses between them are longer than any news that
/// gossip brought first stays news.
const IDLE_PULLS_BORNE: u32 = 5;

/// Accounts of peers that left which are kept: eight times the peers of a large network.
pub(crate) const DEPARTED_MAX: usize = 1_024;

impl Session {
    fn new(author: Option<AuthorKey>, account: Account) -> Self {
        Self {
            author,
            greeted: false,
            refusal: None,
            digest: None,
            ops: 0,
            compared: None,
            was_waited_for: false,
            clock_offset_ms: None,
            pull_until_ms: None,
            pull_waits_ms: None,
            pull_after_ms: 0,
            idle_pulls: 0,
            serving: false,
            wants_hello: false,
            account,
        }
    }

    /// Whether anything is asked of it or told to it now.
    fn takes_part(&self, now_ms: u64) -> bool {
        self.greeted && self.account.banned_ms(now_ms) == 0
    }

    pub(crate) fn heard(&mut self, wall: Time, theirs: Time, digest: Digest, ours: Digest) {
        self.compared = Some(ours);
        if digest == ours {
            // Whoever agrees with us now and then is no liar to be asked rarely.
            self.idle_pulls = 0;
            self.was_waited_for = false;
        }
        let difference = i128::from(theirs.ms()) - i128::from(wall.ms());
        let clamped = difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        self.clock_offset_ms = i64::try_from(clamped).ok();
        self.digest = Some(digest);
    }
}

impl Replica {
    pub(crate) fn connected(&mut self, peer: Peer, author: Option<AuthorKey>) {
        let now_ms = self.now.mono_ms;
        let account = self.departed.remove(&peer).unwrap_or_else(|| Account::new(now_ms));
        let for_ms = account.banned_ms(now_ms);
        self.sessions.insert(peer, Session::new(author, account));
        if for_ms > 0 {
            // The transport was to keep it away.
            return self.emit(Output::Ban(peer, Ban { for_ms, fault: Fault::Refused(Reason::Banned) }));
        }
        self.say_hello(peer);
    }

    fn say_hello(&mut self, peer: Peer) {
        let (network, registry) = (self.config.network, self.config.registry);
        let (now, digest, ops) = (self.now.wall, self.history.digest(), self.history.ops());
        self.send(peer, &Frame::Hello(Hello { version: PROTOCOL_VERSION, network, registry, now, digest, ops }));
    }

    pub(crate) fn disconnected(&mut self, peer: Peer) {
        if let Some(session) = self.sessions.remove(&peer) {
            self.keep_account(peer, session.account);
        }
        self.forget_questions(peer);
        self.pull_waiting();
    }

    /// Nothing is being read for it any more.
    fn forget_questions(&mut self, peer: Peer) {
        self.serving.retain(|_, serving| serving.peer != peer);
        self.deferred.remove(&peer);
        self.fetching.retain(|_, asker| *asker != peer);
    }

    /// Keeps what a peer owes until it comes back, or until a new account would be the same.
    fn keep_account(&mut self, peer: Peer, account: Account) {
        let now_ms = self.now.mono_ms;
        self.departed.insert(peer, account);
        self.departed.retain(|_, account| !account.is_clean(now_ms));
        if self.departed.len() > DEPARTED_MAX {
            let least = self.departed.iter().min_by_key(|(_, a)| (a.banned_ms(now_ms), a.score(now_ms)));
            if let Some((&least, _)) = least {
                self.departed.remove(&least);
            }
        }
    }

    /// A peer did something wrong. One fault too many, and it is to be cut off for a time.
    pub(crate) fn blame(&mut self, peer: Peer, fault: Fault) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        let is_member = session.author.is_some();
        let Some(ban) = session.account.blame(self.now.mono_ms, fault, is_member) else { return };
        (session.pull_until_ms, session.pull_waits_ms, session.serving) = (None, None, false);
        self.forget_questions(peer);
        self.emit(Output::Ban(peer, ban));
    }

    /// Whether a peer is banned now.
    pub(crate) fn is_banned(&self, peer: Peer) -> bool {
        self.sessions.get(&peer).is_some_and(|s| s.account.banned_ms(self.now.mono_ms) > 0)
    }

    pub(crate) fn hello(&mut self, peer: Peer, hello: Hello) {
        let refusal = if hello.version != PROTOCOL_VERSION {
            Some(Refusal::Version)
        } else if hello.network != self.config.network {
            Some(Refusal::Network)
        } else if hello.registry != self.config.registry {
            Some(Refusal::Registry)
        } else {
            None
        };
        let (wall, ours) = (self.now.wall, self.history.digest());
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        session.refusal = refusal;
        session.greeted = refusal.is_none();
        match refusal {
            Some(refusal) => {
                self.send(peer, &Frame::Refuse(refusal));
                self.emit(Output::Event(Event::PeerRefused { peer, refusal, by_peer: false }));
            }
            None => {
                session.heard(wall, hello.now, hello.digest, ours);
                session.ops = hello.ops;
                // A recovering node must hear an answer even from peers that hold just what it holds.
                let must_ask = self.own.is_recovering();
                if must_ask || (hello.digest != ours && !self.is_ahead_of(hello.ops)) {
                    self.pull(peer, PullCause::Differs);
                }
            }
        }
    }

    pub(crate) fn refused_by(&mut self, peer: Peer, refusal: Refusal) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        // "no hello" only says that our hello was lost or overtaken: it is said again in the next round, and the conversation
        // goes on.
        if refusal == Refusal::NoHello {
            session.wants_hello = true;
            return;
        }
        session.greeted = false;
        session.refusal = Some(refusal);
        self.emit(Output::Event(Event::PeerRefused { peer, refusal, by_peer: true }));
    }

    /// Says hello again to who asked for it, and asks those for it whose own was lost: either side would stay deaf for ever.
    /// Once a round, so that asking cannot be used to make this node talk.
    fn greet_again(&mut self) {
        let now_ms = self.now.mono_ms;
        let takes = |(&peer, session): (&Peer, &mut Session)| std::mem::take(&mut session.wants_hello).then_some(peer);
        let wanted: Vec<_> = self.sessions.iter_mut().filter_map(takes).collect();
        wanted.into_iter().for_each(|peer| self.say_hello(peer));
        let is_silent = |s: &Session| !s.greeted && s.refusal.is_none() && s.account.banned_ms(now_ms) == 0;
        let silent = self.sessions.iter().filter(|(_, s)| is_silent(s));
        let silent: Vec<_> = silent.map(|(&peer, _)| peer).collect();
        silent.into_iter().for_each(|peer| self.send(peer, &Frame::Refuse(Refusal::NoHello)));
    }

    /// Tells some peers our digest, in turn, and gives up on pulls that were never answered.
    pub(crate) fn sync_round(&mut self) {
        let now = self.now.mono_ms;
        let mut unanswered = Vec::new();
        for (&peer, session) in &mut self.sessions {
            if session.pull_until_ms.take_if(|until| *until <= now).is_some() {
                session.pause(now);
                unanswered.push(peer);
            }
        }
        unanswered.into_iter().for_each(|peer| self.blame(peer, Fault::Silent));
        self.follow_astray();
        self.pull_waiting();
        self.greet_again();
        let after = self.last_synced.map_or(0, |p| p.0.wrapping_add(1));
        let greeted = || self.sessions.iter().filter(|(_, s)| s.takes_part(now)).map(|(&peer, _)| peer);
        let (first, second) = (greeted().filter(|p| p.0 >= after), greeted().filter(|p| p.0 < after));
        let round: Vec<_> = first.chain(second).take(ROUND_PEERS_MAX).collect();
        self.last_synced = round.last().copied();
        let (digest, ops) = (self.history.digest(), self.history.ops());
        let frame = Frame::Digest { now: self.now.wall, digest, ops };
        let recovering = self.own.is_recovering();
        for peer in round {
            self.send(peer, &frame);
            if recovering || self.is_to_be_asked(peer) {
                self.pull(peer, PullCause::Differs);
            }
        }
    }

    /// Whether a round asks a peer: it told of another digest while ours was the present one. Older news are no news: both sides go
    /// on all the time. One that has fewer operations has just been told our digest, and gets until our next round to ask first.
    fn is_to_be_asked(&mut self, peer: Peer) -> bool {
        let (ours, ops) = (self.history.digest(), self.history.ops());
        let Some(session) = self.sessions.get_mut(&peer) else { return false };
        let differs = session.digest != Some(ours) && session.compared == Some(ours);
        let is_waiting = differs && ops > session.ops && !session.was_waited_for;
        session.was_waited_for = is_waiting;
        differs && !is_waiting
    }

    /// Whether a peer with so many operations is to ask first. If it does not, because counts say little about forks or because it
    /// lies, the second round after asks all the same.
    fn is_ahead_of(&self, theirs: u64) -> bool {
        self.history.ops() > theirs
    }

    pub(crate) fn told_digest(&mut self, peer: Peer, theirs: Time, digest: Digest, ops: u64) {
        let (wall, ours) = (self.now.wall, self.history.digest());
        let recovering = self.own.is_recovering();
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.heard(wall, theirs, digest, ours);
            session.ops = ops;
            if digest == ours && !recovering {
                // Whatever it was to be asked for has come from elsewhere.
                session.pull_waits_ms = None;
            }
        }
        if recovering || (digest != ours && !self.is_ahead_of(ops)) {
            self.pull(peer, PullCause::Differs);
        }
    }

    /// Asks a peer for what we lack, unless it is being asked: at once, or when it is its turn.
    pub(crate) fn pull(&mut self, peer: Peer, cause: PullCause) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&peer).filter(|s| !sings(Canary::Sync1) && s.takes_part(now.mono_ms))
        else {
            return;
        };
        // A recovering node asks in every round: only answers let it go on.
        let may_be_early = cause == PullCause::More || self.own.is_recovering();
        let early = !may_be_early && now.mono_ms < session.pull_after_ms;
        if early || session.pull_until_ms.is_some() {
            return;
        }
        session.pull_waits_ms.get_or_insert(now.mono_ms);
        self.pull_waiting();
    }

    /// Asks those whose turn it is, longest waiting first: a peer that always has a little more keeps nobody else waiting for
    /// longer than one answer.
    fn pull_waiting(&mut self) {
        let now = self.now;
        while self.sessions.values().filter(|s| s.pull_until_ms.is_some()).count() < PULLS_MAX {
            // Who was sent more than its budget waits for our questions too (SYNC-5).
            let may_be_asked = |s: &Session| s.takes_part(now.mono_ms) && s.account.may_send(now.mono_ms);
            let waiting = self.sessions.iter().filter(|(_, s)| may_be_asked(s));
            let first = waiting.filter_map(|(&peer, s)| s.pull_waits_ms.map(|since| (since, peer))).min();
            let Some((_, peer)) = first else { return };
            if let Some(session) = self.sessions.get_mut(&peer) {
                session.pull_waits_ms = None;
                session.pull_until_ms = Some(now.mono_ms.saturating_add(PULL_TIMEOUT_MS));
                session.account.asked();
            }
            let credit = u32::try_from(DELTA_BYTES_MAX).unwrap_or(u32::MAX);
            let frontier = Frontier { wanted: self.wanted(), ..self.history.frontier() };
            self.send(peer, &Frame::Pull { now: now.wall, credit, frontier });
        }
    }

    /// An answer to our pull: proofs before operations, so that nothing of a forked author is taken. Returns whether it was expected.
    pub(crate) fn delta(&mut self, peer: Peer, delta: Delta) -> bool {
        let (now, ours) = (self.now, self.history.digest());
        let Some(session) = self.sessions.get_mut(&peer) else { return false };
        if !session.account.answered() {
            self.refuse(peer, Reason::Unasked);
            self.blame(peer, Fault::Unasked);
            return false;
        }
        // Too late, or doubled on its way: what it carries is judged like anything else, but it answers nothing.
        let was_asked = session.pull_until_ms.take().is_some();
        session.heard(now.wall, delta.now, delta.digest, ours);
        let author = session.author;
        let before = self.progress();
        for proof in &delta.proofs {
            self.take_proof(peer, proof);
        }
        let ops = self.take_wanted(peer, delta.ops);
        self.take_ops(peer, &ops);
        if self.is_banned(peer) {
            return true;
        }
        let progressed = before != self.progress();
        if let Some(session) = self.sessions.get_mut(&peer) {
            if progressed { session.idle_pulls = 0 } else { session.pause(now.mono_ms) }
        }
        if delta.more && !progressed && self.is_idle(peer) {
            self.blame(peer, Fault::Empty);
        }
        if delta.more && progressed {
            self.pull(peer, PullCause::More);
        } else if was_asked
            && !delta.more
            && let (Some(member), Some(own)) = (author, self.config.own)
            // Own operations still wait for others before them: the own log goes on elsewhere.
            && !self.ahead.has_any_of(own)
        {
            let (_, committee) = self.config.members.newest();
            self.own.answered(now, member, own, &committee);
        }
        self.pull_waiting();
        true
    }

    /// What changes when an answer brought something.
    fn progress(&self) -> (u64, usize, u64, usize, usize) {
        let history = &self.history;
        let (forks, doubles) = (history.forked().count(), history.double_votes().count());
        (history.ops(), forks, history.certified_ops(), doubles, self.passed())
    }

    /// Whether its answers have brought nothing for long.
    fn is_idle(&self, peer: Peer) -> bool {
        self.sessions.get(&peer).is_some_and(|s| s.idle_pulls > IDLE_PULLS_BORNE)
    }
}

impl Session {
    /// The pull brought nothing: wait longer before the next.
    fn pause(&mut self, now_mono_ms: u64) {
        let pause = (IDLE_PAUSE_MS << self.idle_pulls.min(16)).min(IDLE_PAUSE_MAX_MS);
        self.idle_pulls = self.idle_pulls.saturating_add(1);
        self.pull_after_ms = now_mono_ms.saturating_add(pause);
    }
}
