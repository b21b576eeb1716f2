//! The engine: a replica, the oracle's view of it, and the own publisher.

use std::collections::VecDeque;

use concurrence_crdt::{
    AuthorKey, Digest, ForkProof, Head, HeadVote, LogKey, Op, OpId, Signature, Time, VerifiedOp,
    canary::{Canary, sings},
};
use concurrence_oracle::{
    AggregateParams, EvmSignature, KIND_PRICE_BATCH, Observation, Quote, Registry, Slot, SourceId, Status,
};
use concurrence_protocol::{
    self as protocol, Ban, CannotAppend, Now, OwnStart, Reason, Refusal, Replica, StoreReply, StoreRequest, Write,
};

use crate::{
    publisher::{FeedPlan, Publisher, Stage, SubmissionParams},
    view::{Answer, View},
    voter::Voter,
};

/// One whole node without I/O. What is simulated is what ships: `node` and `sim` drive this same type.
///
/// [`handle`](Self::handle) an input, then [`poll`](Self::poll) outputs until there is none, and call again at
/// [`next_wake_ms`](Self::next_wake_ms) at the latest.
pub struct Engine {
    replica: Replica,
    view: View,
    publisher: Publisher,
    voter: Voter,
    own: Option<AuthorKey>,
    next_look_ms: u64,
    /// Why the last batch found no place in a log, if it found none.
    no_place: Option<CannotAppend>,
    outbox: VecDeque<Output>,
}

/// What an engine is made of.
pub struct EngineConfig {
    /// The registry's whole history.
    pub registry: Registry,
    /// The author whose log this node writes; `None` only follows.
    pub own: Option<AuthorKey>,
    /// What this node publishes and shows.
    pub feeds: Vec<FeedPlan>,
    /// When it publishes.
    pub submission: SubmissionParams,
    /// Parameters of its answers.
    pub aggregation: AggregateParams,
    /// How often peers are told the frontier's digest, in milliseconds.
    pub sync_interval_ms: u64,
    /// How long a never-used key listens before its first append, in milliseconds; [`FRESH_LISTEN_MS`] unless the caller
    /// knows that the key was never used.
    pub fresh_listen_ms: u64,
}

/// How long a never-used key listens before its first append: twice the usual pace of batches.
pub const FRESH_LISTEN_MS: u64 = 10_000;

/// Name of the store's value that keeps the newest slot signed for.
pub const META_WATERMARK: &str = "watermark_slot";

/// How often the engine looks at its answers for outliers, in milliseconds: once a slot, since an oracle states one price in a slot.
const LOOK_INTERVAL_MS: u64 = 1_000;

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// Something for the replica: peers, frames, the store, time.
    Net(protocol::Input),
    /// A venue answered.
    Quote {
        /// The venue.
        source: SourceId,
        /// Its symbol.
        symbol: String,
        /// What it said.
        quote: Quote,
    },
    /// From now on legs and conditions are these. The feeds are the same: which are priced is decided when an engine is made.
    Plans(Vec<FeedPlan>, SubmissionParams),
    /// The key holder signed.
    Signed(Signed),
}

/// What the key holder signed.
#[derive(Clone, Debug)]
pub enum Signed {
    /// The groups of a batch, in order.
    Groups(Vec<EvmSignature>),
    /// An operation's id.
    Op(Signature),
    /// Heads, in order.
    Heads(Vec<Signature>),
}

/// What a driver must do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a frame to one peer.
    Send(protocol::Peer, Vec<u8>),
    /// Send a frame to all peers.
    Broadcast(Vec<u8>),
    /// Tell the transport what to do with a broadcast message.
    Verdict(protocol::MessageId, protocol::Verdict),
    /// Carry to the store, in order.
    Store(StoreRequest),
    /// Have something signed; answer with [`Input::Signed`].
    Sign(SignRequest),
    /// Keep a peer disconnected for a time.
    Ban(protocol::Peer, Ban),
    /// Tell whoever is interested.
    Event(Event),
    /// Send what is queued, then end the node.
    Halt(Halt),
}

/// What is to be signed, and by which key.
#[derive(Clone, Debug)]
pub enum SignRequest {
    /// EIP-712 digests, by the EVM key.
    Groups(Vec<[u8; 32]>),
    /// An operation's id, by the author key.
    Op(OpId),
    /// Digests of heads, by the author key.
    Heads(Vec<Digest>),
}

/// What changed, for logs and metrics.
#[derive(Clone, Debug)]
pub enum Event {
    /// An operation is admitted.
    Admitted(VerifiedOp),
    /// An own batch was made.
    Published(Slot),
    /// A tick passed without a batch: the node may not append.
    Withheld(CannotAppend),
    /// A tick passed without a batch: no feed is good enough.
    NothingToPublish,
    /// An author is proven forked.
    Convicted(AuthorKey),
    /// A log's greatest certified head is a new one.
    Certified(Head),
    /// A member is proven to have voted twice.
    DoubleVoter(AuthorKey),
    /// Two certified heads of a log contradict one another: more than a third of the weight is at fault. The log is frozen where they part.
    Frozen(LogKey),
    /// Something a peer sent was refused.
    Refused(protocol::Peer, Reason),
    /// A peer was refused, or refused us.
    PeerRefused(protocol::Peer, Refusal),
}

/// Why the node must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Another process writes with the same key.
    #[error("another process signs with this node's author key {0}")]
    KeyInUse(AuthorKey),
    /// The own log is forked: two different operations of this key stand at one position.
    #[error("the log of this node's author key {0} is forked")]
    OwnLogForked(AuthorKey),
}

impl Engine {
    /// An engine at its start. `watermark` is the slot kept under [`META_WATERMARK`].
    pub fn new(config: EngineConfig, start: OwnStart, watermark: Slot, now: Now) -> Self {
        let replica = protocol::Config {
            network: config.registry.network_id(),
            registry: config.registry.digest(),
            members: config.registry.membership(),
            own: config.own,
            sync_interval_ms: config.sync_interval_ms,
            fresh_listen_ms: config.fresh_listen_ms,
        };
        let feeds = config.feeds.iter().map(|plan| plan.graph.feed()).collect();
        // The first batch waits one interval: by then venues have answered.
        let first_tick_ms = now.mono_ms + config.submission.interval_ms;
        Self {
            replica: Replica::new(replica, start, now),
            view: View::new(config.registry, feeds, config.aggregation),
            publisher: Publisher::new(config.feeds, config.submission, watermark, first_tick_ms),
            voter: Voter::new(now.mono_ms, now.wall),
            own: config.own,
            next_look_ms: now.mono_ms,
            no_place: None,
            outbox: VecDeque::new(),
        }
    }

    /// Takes back a proof from the own store; proofs come before operations.
    pub fn restore_proof(&mut self, proof: ForkProof, now: Time) {
        let headers = (proof.headers().0.id(), proof.headers().1.id());
        self.view.forked(proof.author(), headers, now);
        self.replica.restore_proof(proof);
    }

    /// Takes back a fact from the own store; facts come after proofs, before operations, in the order that the store gives them.
    pub fn restore_fact(&mut self, bytes: &[u8], now: Time) {
        self.replica.restore_fact(bytes);
        let doubles: Vec<_> = self.replica.history().double_votes().copied().collect();
        doubles.iter().for_each(|proof| self.view.voted_twice(proof, now));
    }

    /// Takes back an operation from the own store, in log order.
    pub fn restore(&mut self, op: &VerifiedOp, now: Time) {
        let is_recent = now.since_ms(op.op().header().declared) <= crate::view::CELLS_KEPT_MS;
        if self.replica.restore(op) {
            self.voter.admitted(op);
            if is_recent {
                self.view.admitted(op, now);
            }
        }
        let log = op.op().header().log;
        self.view.certified(log, self.replica.history().certified_len(log));
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Quote { source, symbol, quote } => self.publisher.quote(source, &symbol, quote),
            Input::Plans(feeds, params) => self.publisher.replan(feeds, params),
            Input::Net(protocol::Input::Store(StoreReply::Committed(token))) => {
                if !self.marked(token) {
                    self.drive_replica(now, protocol::Input::Store(StoreReply::Committed(token)));
                }
            }
            Input::Net(input) => self.drive_replica(now, input),
            Input::Signed(Signed::Groups(signatures)) => self.groups_signed(now, signatures),
            Input::Signed(Signed::Op(signature)) => self.op_signed(now, signature),
            Input::Signed(Signed::Heads(signatures)) => self.heads_signed(now, signatures),
        }
        self.on_time(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// When a tick is wanted at the latest, on the monotonic clock.
    pub fn next_wake_ms(&self) -> u64 {
        self.replica.next_wake_ms().min(self.publisher.next_tick_ms).min(self.next_look_ms).min(self.voter.next_ms)
    }

    /// The replica, for looking at.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The view, for looking at.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Digest of the frontier.
    pub fn digest(&mut self) -> concurrence_crdt::Digest {
        self.replica.digest()
    }

    /// The network's answers as of an instant.
    pub fn answers(&mut self, as_of: Time) -> Vec<Answer> {
        let cut = self.replica.history().cut();
        self.view.answers(cut, as_of)
    }

    /// The last look at each own feed: what would be published and why not.
    pub fn observations(&self) -> &[Observation] {
        self.publisher.observations()
    }

    /// The record of legs with this hash, if an own batch named it and it is still kept.
    pub fn legs(&self, hash: &concurrence_crdt::Digest) -> Option<&[u8]> {
        self.publisher.legs(hash)
    }

    /// Why this node does not append now, if it does not. A batch being made durable is no reason.
    pub fn cannot_append(&self) -> Option<CannotAppend> {
        self.replica.may_append().err().filter(|&why| why != CannotAppend::Busy).or(self.no_place)
    }

    fn drive_replica(&mut self, now: Now, input: protocol::Input) {
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll() {
            match output {
                protocol::Output::Send(peer, frame) => self.emit(Output::Send(peer, frame)),
                protocol::Output::Broadcast(frame) => self.emit(Output::Broadcast(frame)),
                protocol::Output::Verdict(id, verdict) => self.emit(Output::Verdict(id, verdict)),
                protocol::Output::Store(request) => self.emit(Output::Store(request)),
                protocol::Output::Ban(peer, ban) => self.emit(Output::Ban(peer, ban)),
                protocol::Output::Event(event) => self.on_event(now, event),
            }
        }
    }

    fn on_event(&mut self, now: Now, event: protocol::Event) {
        match event {
            protocol::Event::Admitted(op) => {
                self.voter.admitted(&op);
                self.view.admitted(&op, now.wall);
                self.emit(Output::Event(Event::Admitted(op)));
            }
            protocol::Event::Convicted(author) => {
                if let Some(proof) = self.replica.history().proof(&author) {
                    let headers = (proof.headers().0.id(), proof.headers().1.id());
                    self.view.forked(author, headers, now.wall);
                }
                self.recount(author);
                self.emit(Output::Event(Event::Convicted(author)));
            }
            protocol::Event::Certified(head) => {
                self.view.certified(head.log, head.len);
                self.emit(Output::Event(Event::Certified(head)));
            }
            protocol::Event::DoubleVoter(voter) => {
                if let Some(proof) = self.replica.history().double_vote(&voter) {
                    self.view.voted_twice(proof, now.wall);
                }
                self.emit(Output::Event(Event::DoubleVoter(voter)));
            }
            protocol::Event::Frozen(log) => {
                self.recount(log.author);
                self.emit(Output::Event(Event::Frozen(log)));
            }
            protocol::Event::Refused { peer, reason } => self.emit(Output::Event(Event::Refused(peer, reason))),
            protocol::Event::PeerRefused { peer, refusal, .. } => {
                self.emit(Output::Event(Event::PeerRefused(peer, refusal)));
            }
            protocol::Event::KeyInUse(author) => self.emit(Output::Halt(Halt::KeyInUse(author))),
            protocol::Event::OwnLogForked(author) => self.emit(Output::Halt(Halt::OwnLogForked(author))),
        }
    }

    /// Less of an author's logs counts than before.
    fn recount(&mut self, author: AuthorKey) {
        let history = self.replica.history();
        self.view.recount(author, |log| (history.tail(log).len, history.certified_len(log)));
    }

    fn on_time(&mut self, now: Now) {
        if now.mono_ms >= self.replica.next_wake_ms() {
            self.drive_replica(now, protocol::Input::Tick);
        }
        if now.mono_ms >= self.next_look_ms {
            self.next_look_ms = now.mono_ms + LOOK_INTERVAL_MS;
            let answers = self.answers(now.wall);
            self.view.inspect(&answers, now.wall);
            if self.replica.is_clock_right() {
                self.view.forget_old(now.wall);
            }
            self.look(now.wall, &answers);
            self.publisher.keep_pace();
        }
        if now.mono_ms >= self.voter.next_ms {
            self.voter.schedule(now.mono_ms, now.wall);
            self.begin_vote(now);
        }
        if now.mono_ms >= self.publisher.next_tick_ms {
            self.publisher.ticked(now.mono_ms);
            self.begin_batch(now);
        }
    }

    /// Observes all feeds, against the network's answers where those are ok.
    fn look(&mut self, wall: Time, answers: &[Answer]) {
        let ok = |answer: &&Answer| answer.aggregate.status == Status::Ok;
        let network_price = |feed| answers.iter().filter(ok).find(|a| a.aggregate.feed == feed)?.aggregate.price;
        self.publisher.observe(wall, network_price);
    }

    /// Tells again what is not certified yet, and has the heads signed that can be signed now. Signatures that never came are given up.
    fn begin_vote(&mut self, now: Now) {
        self.replica.tell_votes();
        let heads = self.replica.heads_to_sign(self.voter.ends(now.wall));
        if !heads.is_empty() {
            self.emit(Output::Sign(SignRequest::Heads(heads.iter().map(Head::digest).collect())));
            self.voter.signing = Some(heads);
        }
        self.drive_replica(now, protocol::Input::Tick);
    }

    fn heads_signed(&mut self, now: Now, signatures: Vec<Signature>) {
        let (Some(heads), Some(voter)) = (self.voter.signing.take(), self.own) else { return };
        let votes = heads.into_iter().zip(signatures).map(|(head, signature)| HeadVote { head, voter, signature });
        self.replica.vote(votes.collect());
        self.drive_replica(now, protocol::Input::Tick);
    }

    /// Begins a batch: the slot is marked as signed for before anything is signed.
    fn begin_batch(&mut self, now: Now) {
        // A batch that is stuck (a key holder that does not answer) is dropped: its slot is marked and never used again.
        self.publisher.stage = Stage::Idle;
        if sings(Canary::Sync6) && now.mono_ms > 60_000 {
            return;
        }
        if let Err(why) = self.replica.may_append() {
            return self.emit(Output::Event(Event::Withheld(why)));
        }
        let answers = self.answers(now.wall);
        self.look(now.wall, &answers);
        let Some(draft) = self.publisher.draft(now.wall) else {
            return self.emit(Output::Event(Event::NothingToPublish));
        };
        let token = self.replica.new_token();
        let value = self.publisher.watermark.number().to_be_bytes().to_vec();
        let writes = vec![Write::Meta { key: META_WATERMARK, value }];
        self.publisher.stage = Stage::Marking(token, draft);
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: true }));
    }

    /// Whether a commit was the watermark's; then the groups are signed.
    fn marked(&mut self, committed: protocol::Token) -> bool {
        let Stage::Marking(token, draft) = &self.publisher.stage else { return false };
        if *token != committed {
            return false;
        }
        let (draft, (epoch, _)) = (draft.clone(), self.view.registry().newest());
        let digests = draft.batch.digests(self.view.domain(), epoch);
        self.publisher.stage = Stage::SigningGroups(draft);
        self.emit(Output::Sign(SignRequest::Groups(digests)));
        true
    }

    fn groups_signed(&mut self, _now: Now, signatures: Vec<EvmSignature>) {
        let Stage::SigningGroups(draft) = std::mem::replace(&mut self.publisher.stage, Stage::Idle) else { return };
        let Ok(batch) = draft.batch.signed(signatures) else { return };
        let payload = batch.encode();
        let placed = self.replica.next_header(KIND_PRICE_BATCH, &payload, draft.declared);
        self.no_place = placed.as_ref().err().copied();
        let Ok(header) = placed else { return };
        let id = header.id();
        self.publisher.stage = Stage::SigningOp(Box::new(header), payload);
        self.emit(Output::Sign(SignRequest::Op(id)));
    }

    fn op_signed(&mut self, now: Now, signature: Signature) {
        let Stage::SigningOp(header, payload) = std::mem::replace(&mut self.publisher.stage, Stage::Idle) else {
            return;
        };
        let slot = Slot::of(header.declared);
        // Verifying the own signature finds a wrong key or a broken signer before anyone else does.
        let Ok(op) = Op::join(*header, &payload, signature).verify() else { return };
        if self.replica.append(op).is_ok() {
            self.emit(Output::Event(Event::Published(slot)));
        }
        self.drive_replica(now, protocol::Input::Tick);
    }

    fn emit(&mut self, output: Output) {
        self.outbox.push_back(output);
    }
}
