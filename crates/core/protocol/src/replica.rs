//! A replica: one [`History`] and the conversations that keep it equal to its peers'.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use concurrence_crdt::{
    AuthorKey, Ballots, Digest, ForkProof, Head, Header, History, LogKey, Membership, NetworkId, Op, OpId, Place, Time,
    VerifiedOp,
    canary::{Canary, sings},
};

use crate::{
    Account, Ban, Fault, Frame, Refusal, StoreReply, StoreRequest, Token,
    answer::Serving,
    certify::OwnVotes,
    descents::{Way, WayKey},
    intake::Reason,
    own::{OwnLog, OwnStart},
    session::{DEPARTED_MAX, Session},
    waiting::Waiting,
};

/// One whole replica without I/O: [`handle`](Self::handle) an input, then [`poll`](Self::poll) outputs until there is none.
///
/// Operations reach the [`History`] only through here: decoded, verified, judged. Foreign ones count at once and are written
/// behind; own ones are durable before anyone, this replica's views included, sees them.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) now: Now,
    pub(crate) history: History,
    pub(crate) own: OwnLog,
    /// Verified, but further on than their log reaches.
    pub(crate) ahead: Waiting,
    /// Verified, but from minutes that have not begun here.
    pub(crate) held: Waiting,
    pub(crate) sessions: BTreeMap<Peer, Session>,
    /// Operations in conflict with a held one whose header is being read.
    pub(crate) convicting: BTreeMap<Token, VerifiedOp>,
    /// Answers being read together.
    pub(crate) serving: BTreeMap<Token, Serving>,
    pub(crate) fetching: BTreeMap<Token, Peer>,
    /// Answers that begin when their askers' budgets allow, and when that is.
    pub(crate) deferred: BTreeMap<Peer, (u64, Serving)>,
    /// Accounts of peers that left and are not forgiven yet.
    pub(crate) departed: BTreeMap<Peer, Account>,
    /// The own operation being made durable.
    pub(crate) appending: Option<(Token, VerifiedOp)>,
    /// Which operations of each forked author are quarantined.
    pub(crate) quarantined: BTreeMap<AuthorKey, BTreeSet<OpId>>,
    /// Votes for heads that are not certified yet.
    pub(crate) ballots: Ballots,
    pub(crate) votes: OwnVotes,
    /// Certified heads that the normal way does not lead to, and how far each was followed down.
    pub(crate) ways: BTreeMap<WayKey, Way>,
    pub(crate) next_sync_ms: u64,
    pub(crate) last_synced: Option<Peer>,
    tokens: u64,
    outbox: VecDeque<Output>,
}

/// What a replica is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network it belongs to.
    pub network: NetworkId,
    /// Digest of the registry's whole history: peers with another one are refused.
    pub registry: Digest,
    /// Who may write.
    pub members: Membership,
    /// The author whose log this node writes; `None` only follows.
    pub own: Option<AuthorKey>,
    /// How often peers are told the frontier's digest, in milliseconds (`performance.merge_interval_ms`).
    pub sync_interval_ms: u64,
    /// How long a never-used key listens before its first append, in milliseconds.
    pub fresh_listen_ms: u64,
}

/// A peer, by the number its driver gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub u32);

/// The time of an input, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never falls: timers run on it.
    pub mono_ms: u64,
    /// The wall clock: what operations declare and peers compare.
    pub wall: Time,
}

/// Names a broadcast message to the transport: BLAKE3 of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 32]);

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// A peer connected; `author` if the registry says whose node it is.
    Connected {
        /// Its number.
        peer: Peer,
        /// Whose node it is.
        author: Option<AuthorKey>,
    },
    /// A peer is gone.
    Disconnected(Peer),
    /// A member's node that was reached hung up before it could be talked to. It may be talking to another process with this node's key.
    TurnedAway,
    /// A peer sent what the transport could not read, or would not for its size.
    Malformed(Peer),
    /// A frame for this node alone.
    Frame {
        /// Who sent it.
        peer: Peer,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A frame broadcast to all, which the transport wants judged before it forwards it.
    Broadcast {
        /// Who handed it on.
        peer: Peer,
        /// Its name.
        id: MessageId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The store's answer to a request.
    Store(StoreReply),
    /// Time has passed.
    Tick,
}

/// What a driver must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a frame to one peer. It may be lost: sync repairs.
    Send(Peer, Vec<u8>),
    /// Send a frame to all peers, directly or by gossip.
    Broadcast(Vec<u8>),
    /// Tell the transport what to do with a broadcast message.
    Verdict(MessageId, Verdict),
    /// Carry to the store.
    Store(StoreRequest),
    /// Close the connections with a peer, and keep them closed for as long as it says. Until then nothing it sends is read.
    Ban(Peer, Ban),
    /// Tell whoever is interested.
    Event(Event),
}

/// What to do with a broadcast message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Drop it; its forwarder is not to blame.
    Ignore,
    /// Drop it; its forwarder could have known.
    Reject,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An operation is admitted.
    Admitted(VerifiedOp),
    /// An author is proven forked: what is not certified of it counts no more.
    Convicted(AuthorKey),
    /// A log's greatest certified head is a new one.
    Certified(Head),
    /// A member is proven to have voted twice.
    DoubleVoter(AuthorKey),
    /// Two certified heads of a log contradict one another: it is frozen where they part, and what was counted beyond goes.
    Frozen(LogKey),
    /// Something of a peer was refused; nothing changed by it.
    Refused {
        /// Whose frame it was.
        peer: Peer,
        /// Why.
        reason: Reason,
    },
    /// A conversation ended before it began.
    PeerRefused {
        /// The peer.
        peer: Peer,
        /// Why.
        refusal: Refusal,
        /// Whether it was the peer who refused.
        by_peer: bool,
    },
    /// Someone else writes with this node's key: the node must stop.
    KeyInUse(AuthorKey),
    /// This node's own log is forked: the node must stop.
    OwnLogForked(AuthorKey),
}

/// Why this node cannot append now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotAppend {
    /// It has no key, or its key is no member.
    #[error("this node's author key is not in the registry's newest epoch")]
    NotAMember,
    /// A never-used key listens first.
    #[error("listening whether the key is in use elsewhere")]
    Listening,
    /// The own log may be longer elsewhere.
    #[error("recovering: {answered} of {needed} weight answered for the own log")]
    Recovering {
        /// Weight of the members that answered.
        answered: u64,
        /// Weight that must have answered.
        needed: u64,
    },
    /// The last append is not durable yet.
    #[error("the operation before is not durable yet")]
    Busy,
    /// The clock is off.
    #[error("clock is {0} ms off the median of its peers, at most {CLOCK_OFFSET_MAX_MS} is allowed")]
    Clock(i64),
    /// All logs are stuck in the future, or their quota of this minute is used up; or the payload is longer than one may be.
    #[error("no log can take the operation in this minute")]
    NoLog,
    /// The author is forked.
    #[error("the own log is forked")]
    Forked,
    /// An operation of the own key came from elsewhere.
    #[error("another process writes with this node's key")]
    KeyInUse,
}

/// A wall clock that moves so much more than the monotonic one between two inputs was set, in milliseconds. Less is slewing, or the
/// two clocks being read one after the other.
const JUMP_MS_MIN: u64 = 1_000;

/// How far a clock may be off its peers' median before the node stops appending.
pub const CLOCK_OFFSET_MAX_MS: i64 = 30_000;

impl Replica {
    /// A replica with nothing admitted; see [`restore`](Self::restore).
    pub fn new(config: Config, start: OwnStart, now: Now) -> Self {
        let own = OwnLog::new(start, now, config.fresh_listen_ms);
        Self {
            history: History::new(config.members.clone()),
            own,
            now,
            ahead: Waiting::default(),
            held: Waiting::default(),
            sessions: BTreeMap::new(),
            convicting: BTreeMap::new(),
            serving: BTreeMap::new(),
            fetching: BTreeMap::new(),
            deferred: BTreeMap::new(),
            departed: BTreeMap::new(),
            appending: None,
            quarantined: BTreeMap::new(),
            ballots: Ballots::default(),
            votes: OwnVotes::default(),
            ways: BTreeMap::new(),
            next_sync_ms: now.mono_ms,
            last_synced: None,
            tokens: 0,
            outbox: VecDeque::new(),
            config,
        }
    }

    /// Takes back a proof that this node's store kept. Proofs come before operations.
    pub fn restore_proof(&mut self, proof: ForkProof) {
        self.history.convict(proof);
    }

    /// Takes back an operation that this node's store kept, in log order. Returns whether it counts.
    pub fn restore(&mut self, op: &VerifiedOp) -> bool {
        let (before, log) = (self.history.ops(), op.op().header().log);
        // What the store holds of a forked author below a certified head was followed down from it.
        let is_forked = self.history.proof(&log.author).is_some();
        let counts = match is_forked {
            true => self.history.admit_certified(op),
            false => self.history.admit(op).is_ok() && self.history.ops() > before,
        };
        self.ballots.drop_to(log, self.history.certified_len(log));
        counts
    }

    /// Takes one input. Bytes inside are a peer's: whatever they are, the answer is an output.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.notice_jump(now);
        self.now = now;
        match input {
            Input::Connected { peer, author } => self.connected(peer, author),
            Input::Disconnected(peer) => self.disconnected(peer),
            Input::Malformed(peer) => self.blame(peer, Fault::Malformed),
            Input::TurnedAway => self.own.turned_away(now, self.config.fresh_listen_ms),
            Input::Frame { peer, bytes } => {
                self.frame(peer, &bytes);
            }
            Input::Broadcast { peer, id, bytes } => {
                let verdict = self.frame(peer, &bytes);
                self.emit(Output::Verdict(id, verdict));
            }
            Input::Store(reply) => self.stored(reply),
            Input::Tick => {}
        }
        self.on_time();
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// When [`Input::Tick`] is wanted at the latest, on the monotonic clock.
    pub fn next_wake_ms(&self) -> u64 {
        self.deferred.values().map(|(due_ms, _)| *due_ms).fold(self.next_sync_ms, u64::min)
    }

    /// The admitted state.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Digest of the frontier.
    pub fn digest(&mut self) -> Digest {
        self.history.digest()
    }

    /// The header under which `payload` may be appended now: position and commitment filled in. `declared` is the time the
    /// payload speaks of, the present or a little before.
    pub fn next_header(&self, kind: u16, payload: &[u8], declared: Time) -> Result<Header, CannotAppend> {
        let author = self.may_append()?;
        if payload.len() > concurrence_crdt::PAYLOAD_LEN_MAX {
            return Err(CannotAppend::NoLog);
        }
        let (epoch, _) = self.config.members.newest();
        let refs = Vec::new();
        let draft = |log: LogKey| {
            let tail = self.history.tail(log);
            let network = self.config.network;
            let zero = Digest::from_bytes([0; 32]);
            let (seq, prev) = (tail.len, tail.head);
            let mut header = Header {
                network,
                log,
                seq,
                prev,
                epoch,
                declared,
                kind,
                payload_len: 0,
                payload_hash: zero,
                refs: refs.clone(),
            };
            header.commit(payload);
            let size = header.encode().len() + concurrence_crdt::Signature::LEN + payload.len();
            tail.extended(&header, OpId::ZERO, size, &self.config.members).ok().map(|_| header)
        };
        // A log stuck in a future minute refuses the present one: the author goes on in its next log.
        (0..concurrence_crdt::LOGS_MAX).find_map(|index| draft(LogKey { author, index })).ok_or(CannotAppend::NoLog)
    }

    /// Whether this node may append now, and as whom.
    pub fn may_append(&self) -> Result<AuthorKey, CannotAppend> {
        let author = self.config.own.ok_or(CannotAppend::NotAMember)?;
        let (_, committee) = self.config.members.newest();
        if committee.weight(&author) == 0 {
            return Err(CannotAppend::NotAMember);
        }
        if self.history.proof(&author).is_some() {
            return Err(CannotAppend::Forked);
        }
        self.own.may_append(&committee)?;
        if let Some(offset) = self.clock_offset_ms().filter(|_| !self.is_clock_right()) {
            return Err(CannotAppend::Clock(offset));
        }
        if self.appending.is_some() {
            return Err(CannotAppend::Busy);
        }
        Ok(author)
    }

    /// Appends an own operation made from [`next_header`](Self::next_header): durable first, then admitted and broadcast.
    /// One that no longer fits (time passed, the log moved) is dropped, which forks nothing since nobody saw it.
    pub fn append(&mut self, op: VerifiedOp) -> Result<(), CannotAppend> {
        let author = self.may_append()?;
        let (header, id, bytes) = (op.op().header(), op.op().id(), op.op().bytes());
        if header.log.author != author || self.history.place(header, id) != Place::Next {
            return Err(CannotAppend::Busy);
        }
        // What any peer would refuse must never stand in the own log: nothing could follow it.
        let extended = self.history.tail(header.log).extended(header, id, bytes.len(), &self.config.members);
        if extended.is_err() || Op::decode(bytes, self.config.network).is_err() {
            return Err(CannotAppend::NoLog);
        }
        let token = self.new_token();
        let writes = vec![Self::row(&op)];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: true }));
        if sings(Canary::Store1) {
            self.admit_own(op.clone());
        }
        self.appending = Some((token, op));
        Ok(())
    }

    /// How far the median peer's clock is ahead of this node's, in milliseconds; `None` without peers. Members' clocks count, and
    /// others' only while there are none. Of two in the middle the one nearer to this node's own clock: half of its peers cannot
    /// talk it out of appending.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        let heard = |s: &&Session| s.clock_offset_ms.is_some();
        let has_members = self.sessions.values().filter(heard).any(|s| s.author.is_some());
        let counted = self.sessions.values().filter(|s| !has_members || s.author.is_some());
        let mut offsets: Vec<_> = counted.filter_map(|s| s.clock_offset_ms).collect();
        offsets.sort_unstable();
        let low = offsets.len().saturating_sub(1) / 2;
        offsets.get(low..=offsets.len() / 2)?.iter().copied().min_by_key(|o| o.unsigned_abs())
    }

    /// Whether the wall clock is near its peers' median, or nobody is there to tell.
    pub fn is_clock_right(&self) -> bool {
        self.clock_offset_ms().is_none_or(|offset| offset.unsigned_abs() <= CLOCK_OFFSET_MAX_MS.unsigned_abs())
    }

    /// A wall clock that is set while the node runs is as far off its peers' at once, not only when they speak next: until then the
    /// node would append under a wrong time.
    fn notice_jump(&mut self, now: Now) {
        let passed = |from: u64, to: u64| i128::from(to) - i128::from(from);
        let jump_ms = passed(self.now.wall.ms(), now.wall.ms()) - passed(self.now.mono_ms, now.mono_ms);
        let jump_ms = i64::try_from(jump_ms).unwrap_or(if jump_ms > 0 { i64::MAX } else { i64::MIN });
        if jump_ms.unsigned_abs() < JUMP_MS_MIN {
            return;
        }
        for offset in self.sessions.values_mut().filter_map(|s| s.clock_offset_ms.as_mut()) {
            *offset = offset.saturating_sub(jump_ms);
        }
    }

    /// What is known of each connected peer.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, &Session)> {
        self.sessions.iter().map(|(&peer, session)| (peer, session))
    }

    /// What a peer owes, connected or not; `None` if it never came, or owes nothing.
    pub fn account(&self, peer: Peer) -> Option<&Account> {
        self.sessions.get(&peer).map(|session| &session.account).or_else(|| self.departed.get(&peer))
    }

    /// Entries in each bounded buffer, and the bound: what gauges show.
    pub fn buffers(&self) -> [(&'static str, usize, usize); 8] {
        let authors = self.config.members.authors().len();
        let logs = authors * usize::from(concurrence_crdt::LOGS_MAX);
        let waiting_max = authors * crate::WAITING_OPS_MAX;
        [
            ("ahead", self.ahead.len(), waiting_max),
            ("held", self.held.len(), waiting_max),
            ("convicting", self.convicting.len(), authors),
            ("serving", self.serving.len(), self.sessions.len()),
            ("deferred", self.deferred.len(), self.sessions.len()),
            ("departed", self.departed.len(), DEPARTED_MAX),
            ("votes", self.ballots.len(), authors * logs * concurrence_crdt::OPEN_VOTES_MAX),
            ("descents", self.ways.len(), logs * concurrence_crdt::AWAITED_MAX),
        ]
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outbox.push_back(output);
    }

    pub(crate) fn send(&mut self, peer: Peer, frame: &Frame) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.account.banned_ms(self.now.mono_ms) > 0 {
            return;
        }
        let bytes = frame.encode();
        session.account.sent(self.now.mono_ms, bytes.len());
        self.emit(Output::Send(peer, bytes));
    }

    /// A token for a request that the caller of this replica makes itself, so that no two requests share one.
    pub fn new_token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn on_time(&mut self) {
        self.own.on_time(self.now);
        if sings(Canary::Crdt7) && self.history.ops() > 50 {
            self.history = History::new(self.config.members.clone());
        }
        let due = self.held.take_due(Self::last_admissible(self.now));
        due.into_iter().for_each(|op| {
            self.place_verified(op);
        });
        self.begin_deferred();
        if self.now.mono_ms >= self.next_sync_ms {
            self.next_sync_ms = self.now.mono_ms.saturating_add(self.config.sync_interval_ms);
            self.sync_round();
        }
    }

    fn stored(&mut self, reply: StoreReply) {
        match reply {
            StoreReply::Committed(token) => {
                if let Some((_, op)) = self.appending.take_if(|(t, _)| *t == token) {
                    self.admit_own(op);
                }
                self.votes_durable(token);
            }
            StoreReply::Loaded(token, ops) => {
                if let Some(op) = self.convicting.remove(&token) {
                    self.convict_with(&op, ops.first());
                } else if let Some(serving) = self.serving.remove(&token) {
                    self.serve_on(serving, ops);
                }
            }
            StoreReply::Found(token, op) if self.found_on_way(token, op.as_ref()) => {}
            StoreReply::Found(token, op) => {
                if let (Some(peer), Some(op)) = (self.fetching.remove(&token), op) {
                    self.send(peer, &Frame::Op(op));
                }
            }
        }
    }

    /// Handles a frame; the verdict matters only for broadcast ones. Of a peer that is banned, or over its budget of frames that bring
    /// nothing, none is read.
    fn frame(&mut self, peer: Peer, bytes: &[u8]) -> Verdict {
        let now_ms = self.now.mono_ms;
        let has_frames = self.sessions.get(&peer).is_none_or(|s| s.account.has_frames(now_ms));
        if self.is_banned(peer) {
            return self.refuse(peer, Reason::Banned);
        }
        if !has_frames {
            self.blame(peer, Fault::Flood);
            return self.refuse(peer, Reason::Budget);
        }
        let (verdict, is_news) = self.read(peer, bytes);
        if let Some(session) = self.sessions.get_mut(&peer).filter(|_| !is_news) {
            session.account.frame_in_vain(now_ms, bytes.len());
        }
        verdict
    }

    /// Reads a frame. Returns the verdict, and whether it brought something, or was asked for.
    fn read(&mut self, peer: Peer, bytes: &[u8]) -> (Verdict, bool) {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(_) => {
                assert!(!sings(Canary::Core1), "no frame");
                return (self.refuse(peer, Reason::Frame), false);
            }
        };
        let judged = |verdict| (verdict, verdict == Verdict::Accept);
        match (frame, self.sessions.get(&peer).map(|s| s.greeted)) {
            (Frame::Hello(hello), Some(_)) => self.hello(peer, hello),
            (Frame::Refuse(refusal), Some(_)) => self.refused_by(peer, refusal),
            (_, None) => {}
            // Frames overtake one another on some transports: what came before the hello is lost like any lost frame.
            (_, Some(false)) => return (self.refuse(peer, Reason::NoHello), false),
            (Frame::Digest { now, digest, ops }, _) => self.told_digest(peer, now, digest, ops),
            (Frame::Pull { now, credit, frontier }, _) => self.pulled(peer, now, credit, frontier),
            (Frame::Delta(delta), _) => return (Verdict::Ignore, self.delta(peer, delta)),
            (Frame::Op(bytes), _) => return judged(self.take_op(peer, bytes)),
            (Frame::Proof(bytes), _) => return judged(self.take_proof(peer, &bytes)),
            (Frame::Proofs(proofs), _) => return judged(self.take_proofs(peer, &proofs)),
            (Frame::Fetch(id), _) => self.fetch(peer, id),
        }
        (Verdict::Ignore, false)
    }

    pub(crate) fn refuse(&mut self, peer: Peer, reason: Reason) -> Verdict {
        self.emit(Output::Event(Event::Refused { peer, reason }));
        if sings(Canary::Crdt6) {
            self.history = History::new(self.config.members.clone());
        }
        if !reason.is_forwarders_fault() {
            return Verdict::Ignore;
        }
        self.blame(peer, Fault::Refused(reason));
        Verdict::Reject
    }

    pub(crate) fn row(op: &VerifiedOp) -> crate::Write {
        let op = op.op();
        crate::Write::Op { log: op.header().log, seq: op.header().seq, id: op.id(), bytes: Arc::clone(op.bytes()) }
    }
}
