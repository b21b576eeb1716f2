//! The world: virtual time, one heap of events, and everything that nodes do to one another.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, Head, HeadVote, LogKey, NetworkId, Op, OpId, SigningKey, Time};
use concurrence_engine::{Engine, Halt, Input, Output};
use concurrence_oracle::{KIND_PRICE_BATCH, ObserveParams, PriceBatch, Registry};
use concurrence_protocol::{self as protocol, Frame, Peer, StoreReply, StoreRequest};
use concurrence_store::StoreId;

use crate::{
    Role, ScenarioConfig, Violation, actors,
    clock::{Clock, EPOCH_MS},
    dice::Dice,
    evidence::{Admission, Evidence, Traffic},
    link::{Cut, Links},
    market::{Market, feed_plans},
    node::{Keys, OwnNext, Settings, SimNode, stored},
    scenario::Fault,
    trace::Trace,
    watch::Watch,
};

/// Many nodes in virtual time. A scenario's faults happen by themselves; tests may also cause them one by one.
pub struct World {
    pub(crate) config: ScenarioConfig,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    market: Market,
    pub(crate) dice: Dice,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub(crate) now_ms: u64,
    pub(crate) trace: Trace,
    pub(crate) evidence: Evidence,
    pub(crate) watch: Watch,
    /// For each node those that it tells its second story, if it has two.
    pub(crate) victims: Vec<BTreeSet<usize>>,
    /// For each node others with an actor of the same kind.
    pub(crate) fellows: Vec<BTreeSet<usize>>,
    /// Actors say nothing of their own any more.
    pub(crate) actors_rest: bool,
}

struct Scheduled {
    at_ms: u64,
    number: u64,
    event: Happening,
}

/// Something that happens at an instant.
#[derive(Debug)]
pub(crate) enum Happening {
    Fault(Fault),
    Connect(usize, usize),
    Deliver {
        from: usize,
        to: usize,
        connection: u64,
        is_broadcast: bool,
        bytes: Arc<[u8]>,
    },
    Wake(usize),
    Poll(usize),
    Act(usize),
    /// A ban is over.
    Reconnect,
    Disk {
        node: usize,
        process: u32,
        stage: DiskStage,
    },
    Stop {
        node: usize,
        process: u32,
    },
}

/// A commit is durable, then noted in the sidecar, then answered; a crash may come between any two.
#[derive(Debug)]
pub(crate) enum DiskStage {
    Commit(Vec<StoreRequest>),
    Note(Vec<StoreReply>, OwnNext),
    Reply(Vec<StoreReply>),
}

/// How long a halted process still sends, in milliseconds: as `oracle-node` does.
const HALT_FLUSH_MS: u64 = 1_500;

/// The whole truth, in parts per million.
const TRUE_PPM: i128 = 1_000_000;

impl World {
    /// A world at its start; all nodes start within the first two seconds.
    pub fn new(config: ScenarioConfig) -> Self {
        let seed = config.seed;
        let (mut dice, mut key_dice) = (Dice::new(seed, "world"), Dice::new(seed, "keys"));
        let mut keys: Vec<Keys> = Vec::new();
        for role in &config.roles {
            let twin = if let Role::TwinOf(other) = role { keys.get(*other).cloned() } else { None };
            keys.push(twin.unwrap_or_else(|| Keys::draw(&mut key_dice)));
        }
        let members = keys.iter().zip(&config.roles).enumerate().filter(|(_, (_, role))| role.is_member());
        let members = members.map(|(number, (keys, _))| keys.member(number)).collect();
        let network = NetworkId::from_bytes(key_dice.bytes32());
        let registry = Registry::new("sim".to_owned(), network, vec![members]);
        // Keys are drawn at random and names numbered: none repeats, and scenarios have few nodes.
        let registry = registry.unwrap_or_else(|error| unreachable!("{error}"));

        let settings =
            Settings { registry: registry.clone(), feeds: feed_plans(config.feeds), tick_ms: config.tick_ms };
        let mut nodes = Vec::new();
        for (keys, &role) in keys.into_iter().zip(&config.roles) {
            let offset_ms = dice.around_zero(config.clock_offset_ms_max);
            let clock = Clock::new(offset_ms, dice.around_zero(config.clock_drift_ppm_max));
            let store = StoreId::from_bytes(dice.bytes32()[..16].try_into().unwrap_or_default());
            nodes.push(SimNode::new(keys, role, store, clock, settings.clone()));
        }
        let mut world = Self {
            links: Links::new(config.link, nodes.len(), seed),
            market: Market::new(seed, &settings.feeds),
            queue: BinaryHeap::new(),
            scheduled: 0,
            now_ms: 0,
            trace: Trace::default(),
            evidence: Evidence::new(nodes.len()),
            watch: Watch::new(nodes.len(), seed),
            victims: vec![BTreeSet::new(); nodes.len()],
            fellows: (0..nodes.len()).map(|node| fellows(&config.roles, node)).collect(),
            actors_rest: false,
            registry,
            nodes,
            dice,
            config,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.draw_victims();
        for (at_ms, fault) in self.config.faults.clone() {
            self.schedule(at_ms, Happening::Fault(fault));
        }
        for node in 0..self.nodes.len() {
            let (start_ms, poll_ms) = (self.dice.between(0, 2_000), self.dice.between(0, self.config.poll_ms));
            self.schedule(start_ms, Happening::Fault(Fault::Start(node)));
            self.schedule(poll_ms, Happening::Poll(node));
            if self.nodes[node].actor.is_some() {
                self.schedule(start_ms + actors::TICK_MS, Happening::Act(node));
            }
        }
    }

    /// A liar with two stories tells one honest node the first, one the second, and the others either.
    fn draw_victims(&mut self) {
        for liar in (0..self.nodes.len()).filter(|&n| self.nodes[n].actor.is_some()) {
            let mut others: Vec<_> = (0..self.nodes.len()).filter(|&n| n != liar).collect();
            self.dice.shuffle(&mut others);
            others.sort_by_key(|&n| !self.nodes[n].is_honest());
            for (place, &other) in others.iter().enumerate() {
                if place == 0 || place > 1 && self.dice.chance(500) {
                    self.victims[liar].insert(other);
                }
            }
        }
    }

    /// Virtual time since the beginning, in milliseconds.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Runs until an instant of virtual time, or until a promise is broken.
    pub fn run_until(&mut self, until_ms: u64) {
        while !self.watch.stops() && self.queue.peek().is_some_and(|Reverse(next)| next.at_ms <= until_ms) {
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.advance(next.at_ms);
            self.happen(next.event);
        }
        self.advance(until_ms);
    }

    /// Runs until a condition holds; whether it did within so many milliseconds.
    pub fn run_while(&mut self, bound_ms: u64, mut is_wanted: impl FnMut(&mut Self) -> bool) -> bool {
        let until_ms = self.now_ms + bound_ms;
        while is_wanted(self) {
            if self.now_ms >= until_ms || self.watch.stops() {
                return false;
            }
            self.run_until(self.now_ms + 250);
        }
        true
    }

    /// Causes a fault now.
    pub fn cause(&mut self, fault: Fault) {
        self.trace.event(self.now_ms, &fault);
        self.fault(fault);
    }

    /// Causes a cut between groups of nodes now.
    pub fn partition(&mut self, groups: &[u8], cut: Cut) {
        self.cause(Fault::Partition(groups.to_vec(), cut));
    }

    /// Gives a node a frame as if a connected peer had sent it.
    pub fn inject(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.evidence.heard_frame(&bytes, self.registry.network_id());
        self.watch.heard(to, from, &bytes);
        let input = protocol::Input::Frame { peer: number(from), bytes };
        self.drive(to, Input::Net(input));
    }

    /// An operation signed with a node's key behind the node's back, as only a Byzantine one makes it.
    pub fn forge(&self, node: usize, (seq, prev): (u64, OpId), declared: Time, payload: &[u8]) -> Op {
        let (key, log) = (&self.nodes[node].keys.author, LogKey { author: self.author(node), index: 0 });
        actors::forged(key, &self.registry, (log, seq, prev), declared, actors::UNKNOWN_KIND, payload)
    }

    /// The same, signed with any key.
    pub fn forge_by(
        &self,
        key: &SigningKey,
        index: u8,
        (seq, prev): (u64, OpId),
        declared: Time,
        payload: &[u8],
    ) -> Op {
        let log = LogKey { author: AuthorKey::of(key), index };
        actors::forged(key, &self.registry, (log, seq, prev), declared, actors::UNKNOWN_KIND, payload)
    }

    /// A vote signed with a node's key behind the node's back.
    pub fn forge_vote(&self, node: usize, head: Head) -> HeadVote {
        HeadVote::sign(head, &self.nodes[node].keys.author)
    }

    /// Venues give no usable answer from now on, so that nobody writes; or they do again.
    pub const fn set_market_open(&mut self, is_open: bool) {
        self.market.is_open = is_open;
    }

    /// Notes from now on when which node admits which operation.
    pub fn record_admissions(&mut self) {
        self.evidence.admissions = Some(Vec::new());
    }

    /// What was noted.
    pub fn admissions(&self) -> &[Admission] {
        self.evidence.admissions.as_deref().unwrap_or_default()
    }

    /// Leaves out what only checks: the trace, the running checkers and the evidence that the final ones need. For measuring what
    /// the engines cost.
    pub const fn leave_unwatched(&mut self) {
        self.watch.is_off = true;
        self.trace.is_off = true;
    }

    /// Frames and bytes that each node sent so far.
    pub fn sent_by(&self) -> &[Traffic] {
        &self.evidence.sent_by
    }

    /// Frames and bytes that honest nodes sent one another so far, by tag.
    pub const fn honest_frames(&self) -> &[Traffic] {
        &self.evidence.honest_frames
    }

    /// The engine of a node, if it runs.
    pub fn engine(&mut self, node: usize) -> Option<&mut Engine> {
        self.nodes.get_mut(node)?.engine.as_mut()
    }

    /// Why a node halted, if it did.
    pub fn halted(&self, node: usize) -> Option<Halt> {
        self.nodes.get(node)?.halted
    }

    /// The author key of a node.
    pub fn author(&self, node: usize) -> AuthorKey {
        self.nodes[node].keys.author_key()
    }

    /// The honest nodes that run.
    pub fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&n| self.nodes[n].is_honest() && self.nodes[n].is_running()).collect()
    }

    /// The wall clock that an observer without offset has now.
    pub const fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now_ms
    }

    fn advance(&mut self, to_ms: u64) {
        let running = self.nodes.iter().filter(|node| node.is_running()).count() as u64;
        self.evidence.engine_ms += running * (to_ms - self.now_ms);
        self.now_ms = to_ms;
    }

    pub(crate) fn schedule(&mut self, at_ms: u64, event: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at_ms, number: self.scheduled, event }));
    }

    fn happen(&mut self, event: Happening) {
        if !self.watch.is_off {
            self.trace_event(&event);
        }
        match event {
            Happening::Fault(fault) => self.fault(fault),
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Deliver { from, to, connection, is_broadcast, bytes } => {
                if self.links.arrives(from, to, connection) {
                    self.deliver(from, to, is_broadcast, &bytes);
                }
            }
            Happening::Wake(node) => {
                if self.nodes[node].wake_ms == self.now_ms {
                    self.nodes[node].wake_ms = u64::MAX;
                    self.drive(node, Input::Net(protocol::Input::Tick));
                }
            }
            Happening::Poll(node) => self.poll_venues(node),
            Happening::Act(node) => self.act(node),
            Happening::Reconnect => self.reconnect(),
            Happening::Disk { node, process, stage } => {
                if self.nodes[node].process == process {
                    self.disk(node, stage);
                }
            }
            Happening::Stop { node, process } => {
                if self.nodes[node].process == process {
                    self.nodes[node].engine = None;
                    self.reconnect();
                }
            }
        }
        self.look_around();
    }

    fn trace_event(&mut self, event: &Happening) {
        match event {
            // Bytes are traced as the input of whoever gets them.
            Happening::Deliver { from, to, .. } => self.trace.step(self.now_ms, b'd', *from, *to),
            Happening::Wake(node) => self.trace.step(self.now_ms, b'w', *node, 0),
            Happening::Poll(node) => self.trace.step(self.now_ms, b'v', *node, 0),
            Happening::Act(node) => self.trace.step(self.now_ms, b'x', *node, 0),
            Happening::Disk { node, .. } => self.trace.step(self.now_ms, b's', *node, 0),
            other => self.trace.event(self.now_ms, other),
        }
    }

    /// Gives a node an input and carries out what follows.
    pub(crate) fn drive(&mut self, node: usize, input: Input) {
        let was_halted = self.nodes[node].halted.is_some();
        let before = self.facts(node);
        let outputs = self.nodes[node].handle(self.now_ms, input, &mut self.trace);
        if self.nodes[node].dies_now() {
            return self.fault(Fault::Kill(node));
        }
        self.watch_outputs(node, before, &outputs);
        for output in outputs {
            match output {
                Output::Send(peer, bytes) => self.send(node, peer.0 as usize, &bytes, false),
                Output::Broadcast(bytes) => self.broadcast(node, &bytes),
                Output::Ban(peer, ban) => self.ban(node, peer.0 as usize, ban),
                _ => {}
            }
        }
        if let Some(requests) = self.nodes[node].begin_disk() {
            let process = self.nodes[node].process;
            let (least, greatest) = self.config.disk_ms;
            let at_ms = self.now_ms + self.dice.between(least, greatest);
            self.schedule(at_ms, Happening::Disk { node, process, stage: DiskStage::Commit(requests) });
        }
        if self.nodes[node].halted.is_some() && !was_halted {
            let process = self.nodes[node].process;
            self.schedule(self.now_ms + HALT_FLUSH_MS, Happening::Stop { node, process });
        }
        self.set_alarm(node);
    }

    pub(crate) fn set_alarm(&mut self, node: usize) {
        let wake_ms = self.nodes[node].next_wake_ms().max(self.now_ms + 1);
        if self.nodes[node].engine.is_some() && wake_ms < self.nodes[node].wake_ms {
            self.nodes[node].wake_ms = wake_ms;
            self.schedule(wake_ms, Happening::Wake(node));
        }
    }

    /// Notes an own operation when its author tells of it. STORE-1: it is durable, and the sidecar covers it. ORACLE-5: each price in it
    /// has enough sources.
    pub(crate) fn witness_own(&mut self, node: usize, frame: &[u8]) {
        if self.watch.is_off || !self.nodes[node].is_honest() {
            return;
        }
        let Ok(Frame::Op(bytes)) = Frame::decode(frame) else { return };
        let Ok(op) = Op::decode(&bytes, self.registry.network_id()) else { return };
        let (log, seq, id) = (op.header().log, op.header().seq, op.id());
        if log.author != self.author(node) {
            return;
        }
        self.evidence.sent.insert((log, seq), id);
        let disk = &self.nodes[node].disk;
        // Where something rotted redb gives up the whole file after a power cut, and its owner replaces it.
        let is_looked_up = self.watch.looks_at_disk() && !self.nodes[node].has_rotten;
        let sources_min = ObserveParams::default().sources_min;
        if let Some(sources) = least_sources(&op).filter(|&sources| sources < u32::from(sources_min)) {
            self.watch.broken("ORACLE-5", format!("node {node} stated a price of {sources} sources"));
        }
        if !disk.notes(log.index, seq) || (is_looked_up && !disk.survives(id)) {
            self.watch.broken("STORE-1", format!("node {node} sent {log:?} {seq} before it was durable"));
        }
    }

    fn disk(&mut self, node: usize, stage: DiskStage) {
        let next = match stage {
            DiskStage::Commit(requests) => match self.nodes[node].serve(requests) {
                Ok((replies, own)) if own.iter().any(|&next| next > 0) => DiskStage::Note(replies, own),
                Ok((replies, _)) => DiskStage::Reply(replies),
                // As in production: state and disk would part ways, so the process ends.
                Err(error) if error.is_fatal() => return self.fault(Fault::PowerCut(node)),
                Err(error) => return self.watch.broken("STORE-2", format!("node {node}: {error}")),
            },
            DiskStage::Note(replies, own) => {
                self.nodes[node].record_own(own);
                DiskStage::Reply(replies)
            }
            DiskStage::Reply(replies) => {
                self.nodes[node].is_disk_busy = false;
                let process = self.nodes[node].process;
                for reply in replies {
                    // It may die of the first.
                    if self.nodes[node].process == process {
                        self.drive(node, stored(reply));
                    }
                }
                return;
            }
        };
        let (process, at_ms) = (self.nodes[node].process, self.now_ms + self.dice.between(0, 2));
        self.schedule(at_ms, Happening::Disk { node, process, stage: next });
    }

    /// A node asks its venues for every market; now and then one does not answer.
    fn poll_venues(&mut self, node: usize) {
        self.schedule(self.now_ms + self.config.poll_ms, Happening::Poll(node));
        let received = self.nodes[node].now(self.now_ms).wall;
        let factor_ppm = if let Role::Reporter { factor_ppm } = self.nodes[node].role { factor_ppm } else { TRUE_PPM };
        for book in 0..self.market.books.len() {
            if !self.nodes[node].is_running() {
                return;
            }
            if self.dice.chance(self.config.quote_loss_per_mille) {
                continue;
            }
            let quote = self.market.quote(book, self.now_ms, received, factor_ppm);
            let (source, symbol) = (self.market.books[book].source, self.market.books[book].symbol.clone());
            if let Some(quote) = quote {
                self.drive(node, Input::Quote { source, symbol, quote });
            }
        }
    }

    /// The first promise that was broken while the world ran.
    pub fn violation(&self) -> Option<&Violation> {
        self.watch.violation.as_ref()
    }
}

/// Other nodes with an actor of the same kind as this one's.
fn fellows(roles: &[Role], node: usize) -> BTreeSet<usize> {
    let is_fellow =
        |&other: &usize| other != node && roles[other] == roles[node] && matches!(roles[node], Role::Liar(_));
    (0..roles.len()).filter(is_fellow).collect()
}

/// Fewest sources of any price in an operation that carries prices.
fn least_sources(op: &Op) -> Option<u32> {
    let batch = PriceBatch::decode(op.payload()).ok().filter(|_| op.header().kind == KIND_PRICE_BATCH)?;
    batch.attestations().iter().map(|stated| stated.sources().count_ones()).min()
}

pub(crate) fn number(node: usize) -> Peer {
    Peer(u32::try_from(node).unwrap_or(u32::MAX))
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.number) == (other.at_ms, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}
