//! Replicas in one thread: each with a store in memory, joined by wires that carry real frames in order.
#![allow(dead_code)] // each test file uses a part

#[path = "../../../crdt/tests/support/mod.rs"]
pub mod ops;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, Digest, Frontier, LogKey, Op, OpId, Reader, VerifiedOp};
use concurrence_protocol::{
    Ban, CannotAppend, Config, Event, FactKey, Frame, Hello, Input, MessageId, Now, Output, OwnStart, PROTOCOL_VERSION,
    Peer, Reason, Replica, StoreReply, StoreRequest, Token, Verdict, Write,
};
use ops::{NETWORK, START, key, members};

/// Digest of the registry of all tests.
pub const REGISTRY: Digest = Digest::from_bytes([3; 32]);

/// How often nodes tell their digests, in milliseconds.
pub const SYNC_INTERVAL_MS: u64 = 1_000;

/// How long a fresh key listens, in milliseconds.
pub const FRESH_LISTEN_MS: u64 = 10_000;

/// A network of these authors; `own` writes.
pub fn config(authors: &[u8], own: Option<u8>) -> Config {
    Config {
        network: NETWORK,
        registry: REGISTRY,
        members: members(authors),
        own: own.map(ops::author),
        sync_interval_ms: SYNC_INTERVAL_MS,
        fresh_listen_ms: FRESH_LISTEN_MS,
    }
}

/// What a store wrote. Rows of a log stand without gaps and are never replaced: that is checked with each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub logs: BTreeMap<LogKey, Vec<Arc<[u8]>>>,
    pub by_id: BTreeMap<OpId, Arc<[u8]>>,
    pub quarantine: BTreeMap<AuthorKey, BTreeSet<OpId>>,
    pub proofs: BTreeMap<AuthorKey, Arc<[u8]>>,
    pub facts: BTreeMap<[u8; FactKey::LEN], Arc<[u8]>>,
    /// Rows that rotted: reads end before them.
    pub lost: BTreeSet<(LogKey, u64)>,
}

impl Store {
    fn write(&mut self, write: Write) {
        match write {
            Write::Op { log, seq, id, bytes } => {
                let rows = self.logs.entry(log).or_default();
                assert_eq!(rows.len() as u64, seq, "rows of {log:?} stand without gaps");
                rows.push(Arc::clone(&bytes));
                assert_eq!(self.by_id.insert(id, bytes), None, "an operation is written once");
            }
            Write::Certified { log, seq, id, bytes } => {
                let rows = self.logs.entry(log).or_default();
                let at = usize::try_from(seq).unwrap();
                assert!(at <= rows.len(), "rows of {log:?} stand without gaps");
                if rows.get(at) != Some(&bytes) {
                    rows.truncate(at);
                    rows.push(Arc::clone(&bytes));
                }
                self.by_id.insert(id, bytes);
            }
            Write::Fact { key, bytes } => drop(self.facts.insert(key.encode(), bytes)),
            Write::Quarantine { author, id, bytes } => {
                self.quarantine.entry(author).or_default().insert(id);
                let held = self.by_id.insert(id, Arc::clone(&bytes));
                assert!(held.is_none_or(|held| held == bytes), "one id, one operation");
            }
            Write::Proof { author, bytes } => {
                assert_eq!(self.proofs.insert(author, bytes), None, "one proof an author")
            }
            Write::Meta { .. } => {}
        }
    }

    fn load(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Vec<Arc<[u8]>> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for seq in from..until {
            let row = self.logs.get(&log).and_then(|rows| rows.get(usize::try_from(seq).unwrap()));
            let Some(row) = row.filter(|_| !self.lost.contains(&(log, seq))) else { break };
            bytes += row.len();
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(Arc::clone(row));
        }
        out
    }
}

/// A replica and everything that came out of it.
#[derive(Clone, Debug)]
pub struct Node {
    pub replica: Replica,
    pub now: Now,
    pub store: Store,
    pub sent: VecDeque<(Peer, Vec<u8>)>,
    pub broadcast: VecDeque<Vec<u8>>,
    pub verdicts: Vec<Verdict>,
    pub events: Vec<Event>,
    pub bans: Vec<(u32, Ban)>,
    /// Whether durable commits wait for [`confirm`](Self::confirm).
    pub holds_durable: bool,
    unconfirmed: VecDeque<Token>,
    /// Whether reads wait for [`read`](Self::read).
    pub holds_reads: bool,
    unread: VecDeque<StoreRequest>,
}

impl Node {
    pub fn new(config: Config, start: OwnStart) -> Self {
        Self::at(config, start, Now { mono_ms: 1_000_000, wall: START })
    }

    pub fn at(config: Config, start: OwnStart, now: Now) -> Self {
        Self {
            replica: Replica::new(config, start, now),
            now,
            store: Store::default(),
            sent: VecDeque::new(),
            broadcast: VecDeque::new(),
            verdicts: Vec::new(),
            events: Vec::new(),
            bans: Vec::new(),
            holds_durable: false,
            unconfirmed: VecDeque::new(),
            holds_reads: false,
            unread: VecDeque::new(),
        }
    }

    /// A follower in a network of these authors.
    pub fn follower(authors: &[u8]) -> Self {
        Self::new(config(authors, None), OwnStart::Append)
    }

    pub fn handle(&mut self, input: Input) {
        self.replica.handle(self.now, input);
        self.drain();
    }

    /// Carries out outputs until there is none; the store answers at once.
    pub fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Send(peer, bytes) => self.sent.push_back((peer, bytes)),
                Output::Broadcast(bytes) => self.broadcast.push_back(bytes),
                Output::Verdict(_, verdict) => self.verdicts.push(verdict),
                Output::Event(event) => self.events.push(event),
                Output::Ban(peer, ban) => self.bans.push((peer.0, ban)),
                Output::Store(request) => {
                    if let Some(reply) = self.stored(request) {
                        self.replica.handle(self.now, Input::Store(reply));
                    }
                }
            }
        }
        self.replica.check_invariants();
    }

    fn stored(&mut self, request: StoreRequest) -> Option<StoreReply> {
        match request {
            StoreRequest::Commit { token, writes, durable } => {
                writes.into_iter().for_each(|write| self.store.write(write));
                if durable && self.holds_durable {
                    self.unconfirmed.push_back(token);
                    return None;
                }
                Some(StoreReply::Committed(token))
            }
            request if self.holds_reads => {
                self.unread.push_back(request);
                None
            }
            StoreRequest::Load { token, log, from, until, bytes_max } => {
                Some(StoreReply::Loaded(token, self.store.load(log, from, until, bytes_max)))
            }
            StoreRequest::Find { token, id } => Some(StoreReply::Found(token, self.store.by_id.get(&id).cloned())),
        }
    }

    /// The disk says that what was held back is durable.
    pub fn confirm(&mut self) {
        for token in std::mem::take(&mut self.unconfirmed) {
            self.handle(Input::Store(StoreReply::Committed(token)));
        }
    }

    /// The disk answers the reads that waited.
    pub fn read(&mut self) {
        self.holds_reads = false;
        for request in std::mem::take(&mut self.unread) {
            if let Some(reply) = self.stored(request) {
                self.handle(Input::Store(reply));
            }
        }
    }

    /// Moves both clocks on and ticks.
    pub fn wait(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall: self.now.wall.after_ms(ms) };
        self.handle(Input::Tick);
    }

    /// Connects a peer that says hello as one of this network whose clock is `ahead_ms` ahead of this node's.
    pub fn greet(&mut self, peer: u32, author: Option<u8>, ahead_ms: i64) {
        self.handle(Input::Connected { peer: Peer(peer), author: author.map(ops::author) });
        let hello = self.hello(ahead_ms);
        self.frame(peer, &Frame::Hello(hello));
    }

    /// A hello that this node accepts, with its own digest.
    pub fn hello(&mut self, ahead_ms: i64) -> Hello {
        let now = concurrence_crdt::Time::from_ms(self.now.wall.ms().saturating_add_signed(ahead_ms));
        let (digest, ops) = (self.replica.digest(), self.replica.history().ops());
        Hello { version: PROTOCOL_VERSION, network: NETWORK, registry: REGISTRY, now, digest, ops }
    }

    pub fn frame(&mut self, peer: u32, frame: &Frame) {
        self.handle(Input::Frame { peer: Peer(peer), bytes: frame.encode() });
    }

    /// Hands it an operation in a frame of its own.
    pub fn give(&mut self, peer: u32, op: &VerifiedOp) {
        self.give_bytes(peer, op.op());
    }

    /// The same with one that was not verified.
    pub fn give_bytes(&mut self, peer: u32, op: &Op) {
        self.frame(peer, &Frame::Op(Arc::clone(op.bytes())));
    }

    /// Hands it a frame as broadcast; returns what the transport is to do with it.
    pub fn overhear(&mut self, peer: u32, frame: &Frame) -> Verdict {
        let id = MessageId([0; 32]);
        self.handle(Input::Broadcast { peer: Peer(peer), id, bytes: frame.encode() });
        self.verdicts.pop().expect("every broadcast gets a verdict")
    }

    /// Appends an own operation.
    pub fn append(&mut self, own: u8, payload: &[u8]) -> Result<VerifiedOp, CannotAppend> {
        let header = self.replica.next_header(1, payload, self.now.wall)?;
        let op = Op::sign(header, payload, &key(own)).verify().expect("the own key signs");
        self.replica.append(op.clone())?;
        self.drain();
        Ok(op)
    }

    /// The frames sent since the last call, decoded.
    pub fn take_sent(&mut self) -> Vec<(u32, Frame)> {
        self.sent
            .drain(..)
            .map(|(peer, bytes)| (peer.0, Frame::decode(&bytes).expect("own frames are frames")))
            .collect()
    }

    pub fn take_broadcast(&mut self) -> Vec<Frame> {
        self.broadcast.drain(..).map(|bytes| Frame::decode(&bytes).expect("own frames are frames")).collect()
    }

    /// Reasons of what was refused since the last call.
    pub fn take_refused(&mut self) -> Vec<Reason> {
        let reason = |event: Event| if let Event::Refused { reason, .. } = event { Some(reason) } else { None };
        std::mem::take(&mut self.events).into_iter().filter_map(reason).collect()
    }

    pub fn digest(&mut self) -> Digest {
        self.replica.digest()
    }

    pub fn len(&self, author: u8, index: u8) -> u64 {
        self.replica.history().tail(LogKey { author: ops::author(author), index }).len
    }

    pub fn is_forked(&self, author: u8) -> bool {
        self.replica.history().proof(&ops::author(author)).is_some()
    }

    /// What is counted, as bytes.
    pub fn state(&mut self) -> State {
        let (digest, frontier) = (self.replica.digest(), self.replica.history().frontier());
        let mut encoded = Vec::new();
        frontier.encode(&mut encoded);
        assert_eq!(Frontier::read(&mut Reader::new(&encoded)), Ok(frontier), "frontiers are canonical");
        let forked = self.replica.history().forked().map(|proof| proof.author()).collect();
        State { digest, frontier: encoded, forked }
    }

    /// How many operations wait for others before them.
    pub fn ahead(&self) -> usize {
        self.buffer("ahead")
    }

    /// How many operations wait for their minute.
    pub fn held(&self) -> usize {
        self.buffer("held")
    }

    fn buffer(&self, name: &str) -> usize {
        self.replica.buffers().iter().find(|b| b.0 == name).expect("the buffer is listed").1
    }
}

/// What is counted, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub digest: Digest,
    pub frontier: Vec<u8>,
    pub forked: Vec<AuthorKey>,
}

/// Nodes on wires. Node `i` knows node `j` as `Peer(j)`.
#[derive(Clone)]
pub struct Net {
    pub nodes: Vec<Node>,
    /// Pairs that hear nothing of one another.
    pub cut: BTreeSet<(usize, usize)>,
    /// Frames carried, by sender and receiver.
    pub carried: Vec<(usize, usize, Vec<u8>)>,
    /// Whether to keep what was carried.
    pub records: bool,
}

impl Net {
    /// A full mesh, all connected; nothing is carried yet. Node `i` runs author `authors[i]`.
    pub fn mesh(nodes: Vec<Node>, authors: &[u8]) -> Self {
        let mut net = Self { nodes, cut: BTreeSet::new(), carried: Vec::new(), records: false };
        for i in 0..net.nodes.len() {
            for j in (0..net.nodes.len()).filter(|&j| j != i) {
                let author = authors.get(j).map(|&n| ops::author(n));
                net.nodes[i].handle(Input::Connected { peer: peer(j), author });
            }
        }
        net
    }

    /// Carries frames until none is left. Returns whether there was any but digests.
    pub fn carry(&mut self) -> bool {
        let mut busy = false;
        let mut carried = 0;
        while let Some((from, to, bytes)) = self.next_frame() {
            carried += 1;
            assert!(carried < 100_000, "frames answer one another for ever");
            if self.cut.contains(&(from.min(to), from.max(to))) {
                continue;
            }
            // Peers that are no nodes never answer.
            let Some(node) = self.nodes.get_mut(to) else { continue };
            busy |= bytes.first() != Some(&2);
            if self.records {
                self.carried.push((from, to, bytes.clone()));
            }
            node.handle(Input::Frame { peer: peer(from), bytes });
        }
        busy
    }

    fn next_frame(&mut self) -> Option<(usize, usize, Vec<u8>)> {
        for from in 0..self.nodes.len() {
            while let Some(bytes) = self.nodes[from].broadcast.pop_front() {
                for to in (0..self.nodes.len()).filter(|&to| to != from) {
                    self.nodes[from].sent.push_back((peer(to), bytes.clone()));
                }
            }
            if let Some((to, bytes)) = self.nodes[from].sent.pop_front() {
                return Some((from, usize::try_from(to.0).unwrap(), bytes));
            }
        }
        None
    }

    /// One sync interval: every node ticks, then frames are carried until none is left.
    pub fn round(&mut self) -> bool {
        self.nodes.iter_mut().for_each(|node| node.wait(SYNC_INTERVAL_MS));
        self.carry()
    }

    /// Rounds until one carries nothing but equal digests; returns how many there were. Bounded: it fails rather than hang.
    pub fn settle(&mut self, rounds_max: usize) -> usize {
        self.carry();
        for round in 0..rounds_max {
            let busy = self.round();
            if !busy && self.is_equal() {
                return round;
            }
        }
        panic!("not quiet after {rounds_max} rounds");
    }

    pub fn is_equal(&mut self) -> bool {
        let first = self.nodes[0].digest();
        self.nodes.iter_mut().all(|node| node.digest() == first)
    }
}

pub fn peer(node: usize) -> Peer {
    Peer(u32::try_from(node).unwrap())
}
