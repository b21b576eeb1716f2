//! The world: virtual time, one heap of events, and everything that nodes do to one another.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, Digest, Header, LogKey, NetworkId, Op, OpId, Time};
use concurrence_engine::{Engine, Halt, Input, Output};
use concurrence_oracle::{Currency, Registry, SourceId};
use concurrence_protocol::{self as protocol, Frame, MessageId, Peer, StoreReply, StoreRequest};
use concurrence_store::StoreId;

use crate::{
    Equivocator, Role, ScenarioConfig,
    dice::Dice,
    evidence::Evidence,
    link::{Cut, Links},
    market::Market,
    node::{EPOCH_MS, Keys, OwnNext, SimNode, feed_plans, stored},
    scenario::Fault,
    trace::Trace,
};

/// Many nodes in virtual time. A scenario's faults happen by themselves; tests may also cause them one by one.
pub struct World {
    pub(crate) config: ScenarioConfig,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    market: Market,
    /// The markets that nodes ask for: source, symbol, base, quote.
    markets: Vec<(SourceId, String, Currency, Currency)>,
    dice: Dice,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    now_ms: u64,
    pub(crate) trace: Trace,
    pub(crate) evidence: Evidence,
    /// Whether an operation of node `.0` goes to node `.1` in its second form.
    victims: BTreeSet<(usize, usize)>,
    /// What a disk did that a disk must not do.
    pub(crate) disk_failure: Option<String>,
}

struct Scheduled {
    at_ms: u64,
    number: u64,
    event: Happening,
}

#[derive(Debug)]
enum Happening {
    Fault(Fault),
    Connect(usize, usize),
    Deliver { from: usize, to: usize, connection: u64, is_broadcast: bool, bytes: Arc<[u8]> },
    Wake(usize),
    Poll(usize),
    Disk { node: usize, process: u32, stage: DiskStage },
    Stop { node: usize, process: u32 },
}

/// A commit is durable, then noted in the sidecar, then answered; a crash may come between any two.
#[derive(Debug)]
enum DiskStage {
    Commit(Vec<StoreRequest>),
    Note(Vec<StoreReply>, OwnNext),
    Reply(Vec<StoreReply>),
}

/// How often a node asks its venues, in milliseconds.
const POLL_INTERVAL_MS: u64 = 1_000;

/// Longest time until two nodes that may talk are connected, in milliseconds.
const DIAL_MS_MAX: u64 = 500;

/// How long a halted process still sends, in milliseconds: as `oracle-node` does.
const HALT_FLUSH_MS: u64 = 1_500;

/// Events between two looks at all invariants: each costs about as much as an event.
const CHECK_EVERY: u64 = 64;

impl World {
    /// A world at its start; all nodes start within the first tick.
    pub fn new(config: ScenarioConfig) -> Self {
        let seed = config.seed;
        let (mut dice, mut key_dice) = (Dice::new(seed, "world"), Dice::new(seed, "keys"));
        let mut keys: Vec<Keys> = Vec::new();
        for role in &config.roles {
            let twin = if let Role::TwinOf(other) = role { keys.get(*other).cloned() } else { None };
            keys.push(twin.unwrap_or_else(|| Keys::draw(&mut key_dice)));
        }
        let members = keys.iter().zip(&config.roles).enumerate();
        let members = members.filter(|(_, (_, role))| !matches!(role, Role::TwinOf(_)));
        let members = members.map(|(number, (keys, _))| keys.member(number)).collect();
        let network = NetworkId::from_bytes(key_dice.bytes32());
        let registry = Registry::new("sim".to_owned(), network, vec![members]);
        // Keys are drawn at random and names numbered: none repeats, and scenarios have few nodes.
        let registry = registry.unwrap_or_else(|error| unreachable!("{error}"));

        let mut nodes = Vec::new();
        for (number, (keys, &role)) in keys.into_iter().zip(&config.roles).enumerate() {
            let offset_ms = config.clock_offsets_ms.get(number).copied();
            let offset_ms = offset_ms.unwrap_or_else(|| dice.around_zero(config.clock_offset_ms_max));
            let store = StoreId::from_bytes(dice.bytes32()[..16].try_into().unwrap_or_default());
            let mut node = SimNode::new(keys, role, store, offset_ms, config.tick_ms);
            if role == Role::Equivocator {
                let (author, evm) = (node.keys.author, node.keys.evm.clone());
                node.actor = Some(Equivocator::new(author, evm, registry.clone()));
            }
            nodes.push(node);
        }
        let plans = feed_plans();
        let legs = plans.iter().flat_map(|plan| plan.graph.legs());
        let markets: BTreeSet<_> = legs.map(|leg| (leg.source, leg.symbol.clone(), leg.base, leg.quote)).collect();
        let mut world = Self {
            links: Links::new(config.link, nodes.len(), seed),
            market: Market::new(seed),
            markets: markets.into_iter().collect(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            now_ms: 0,
            trace: Trace::default(),
            evidence: Evidence::default(),
            victims: BTreeSet::new(),
            disk_failure: None,
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
            let (start_ms, poll_ms) = (self.dice.between(0, 2_000), self.dice.between(0, POLL_INTERVAL_MS));
            self.schedule(start_ms, Happening::Fault(Fault::Start(node)));
            self.schedule(poll_ms, Happening::Poll(node));
        }
    }

    /// Each equivocator tells one honest node the first story, one the second, and the others either.
    fn draw_victims(&mut self) {
        for liar in (0..self.nodes.len()).filter(|&n| self.nodes[n].actor.is_some()) {
            let mut others: Vec<_> = (0..self.nodes.len()).filter(|&n| n != liar).collect();
            self.dice.shuffle(&mut others);
            others.sort_by_key(|&n| !self.nodes[n].is_honest());
            for (place, &other) in others.iter().enumerate() {
                if place == 0 || place > 1 && self.dice.chance(500) {
                    self.victims.insert((liar, other));
                }
            }
        }
    }

    /// Virtual time since the beginning, in milliseconds.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Runs until an instant of virtual time.
    pub fn run_until(&mut self, until_ms: u64) {
        while self.queue.peek().is_some_and(|Reverse(next)| next.at_ms <= until_ms) {
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
            if self.now_ms >= until_ms {
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

    /// Gives a node a frame as if a connected peer had sent it.
    pub fn inject(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let input = protocol::Input::Frame { peer: number(from), bytes };
        self.drive(to, Input::Net(input));
    }

    /// An operation signed with a node's key behind the node's back, as only a Byzantine one makes it.
    pub fn forge(&self, node: usize, (seq, prev): (u64, OpId), declared: Time, payload: &[u8]) -> Op {
        let zero = Digest::from_bytes([0; 32]);
        let header = Header {
            network: self.registry.network_id(),
            log: LogKey { author: self.author(node), index: 0 },
            seq,
            prev,
            epoch: 0,
            declared,
            kind: FORGED_KIND,
            payload_len: 0,
            payload_hash: zero,
            refs: Vec::new(),
        };
        Op::sign(header, payload, &self.nodes[node].keys.author)
    }

    /// Venues give no usable answer from now on, so that nobody writes.
    pub fn close_market(&mut self) {
        self.market.is_open = false;
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

    fn schedule(&mut self, at_ms: u64, event: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at_ms, number: self.scheduled, event }));
    }

    fn happen(&mut self, event: Happening) {
        match &event {
            // Its bytes are traced as the input of whoever gets them.
            Happening::Deliver { from, to, .. } => self.trace.event(self.now_ms, &(from, to)),
            event => self.trace.event(self.now_ms, event),
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
        if self.trace.events().is_multiple_of(CHECK_EVERY) {
            self.check_engines();
        }
    }

    /// The engines' own checks: CRDT-2, CRDT-3, CRDT-4 and SYNC-4 panic with their id.
    pub fn check_engines(&self) {
        for engine in self.nodes.iter().filter_map(|node| node.engine.as_ref()) {
            engine.replica().check_invariants();
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Start(node) => {
                if self.nodes[node].engine.is_none() && self.nodes[node].halted.is_none() {
                    self.nodes[node].start(&self.registry, self.now_ms);
                    self.set_alarm(node);
                }
            }
            Fault::Crash(node) => {
                if self.nodes[node].is_running() {
                    self.nodes[node].crash(&mut self.dice);
                    self.evidence.crashes += 1;
                }
            }
            Fault::Partition(groups, cut) => self.links.partition(&groups, cut),
            Fault::Heal => self.links.heal(),
            Fault::StepClock(node, offset_ms) => self.nodes[node].clock_offset_ms = offset_ms,
            Fault::Backup(node) => self.nodes[node].backup = Some(self.nodes[node].disk.clone()),
            Fault::RestoreBackup(node) => {
                if let Some(backup) = self.nodes[node].backup.take().filter(|_| self.nodes[node].engine.is_none()) {
                    self.nodes[node].disk.restore_backup(&backup);
                    self.evidence.forget_unheard(self.author(node));
                }
            }
        }
        self.reconnect();
    }

    /// Closes what may not be connected and dials what may.
    fn reconnect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let both_run = self.nodes[a].engine.is_some() && self.nodes[b].engine.is_some();
                let wanted = both_run && self.links.may_connect(a, b);
                match (wanted, self.links.is_up(a, b)) {
                    (true, false) => {
                        let at_ms = self.now_ms + self.dice.between(10, DIAL_MS_MAX);
                        self.schedule(at_ms, Happening::Connect(a, b));
                    }
                    (false, true) => {
                        self.links.disconnect(a, b);
                        for (node, peer) in [(a, b), (b, a)] {
                            self.drive(node, Input::Net(protocol::Input::Disconnected(number(peer))));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let both_run = self.nodes[a].is_running() && self.nodes[b].is_running();
        if !both_run || !self.links.may_connect(a, b) || self.links.is_up(a, b) {
            return;
        }
        self.links.connect(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let input = protocol::Input::Connected { peer: number(peer), author: Some(self.author(peer)) };
            self.drive(node, Input::Net(input));
        }
    }

    /// Gives a node an input and carries out what follows.
    fn drive(&mut self, node: usize, input: Input) {
        let was_halted = self.nodes[node].halted.is_some();
        let outputs = self.nodes[node].handle(self.now_ms, input, &mut self.trace);
        for output in outputs {
            match output {
                Output::Send(peer, bytes) => self.send(node, peer.0 as usize, &bytes, false),
                Output::Broadcast(bytes) => self.broadcast(node, &bytes),
                _ => {}
            }
        }
        if let Some(requests) = self.nodes[node].begin_disk() {
            let process = self.nodes[node].process;
            let at_ms = self.now_ms + self.dice.between(0, self.config.disk_ms_max);
            self.schedule(at_ms, Happening::Disk { node, process, stage: DiskStage::Commit(requests) });
        }
        if self.nodes[node].halted.is_some() && !was_halted {
            let process = self.nodes[node].process;
            self.schedule(self.now_ms + HALT_FLUSH_MS, Happening::Stop { node, process });
        }
        self.set_alarm(node);
    }

    fn set_alarm(&mut self, node: usize) {
        let wake_ms = self.nodes[node].next_wake_ms().max(self.now_ms + 1);
        if self.nodes[node].engine.is_some() && wake_ms < self.nodes[node].wake_ms {
            self.nodes[node].wake_ms = wake_ms;
            self.schedule(wake_ms, Happening::Wake(node));
        }
    }

    fn broadcast(&mut self, node: usize, bytes: &[u8]) {
        self.witness_own(node, bytes);
        if let Some(actor) = &mut self.nodes[node].actor {
            actor.outbound(false, bytes); // the second chain grows even if nobody is connected
        }
        for peer in (0..self.nodes.len()).filter(|&peer| peer != node) {
            self.send(node, peer, bytes, true);
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &[u8], is_broadcast: bool) {
        if to >= self.nodes.len() || !self.links.is_up(from, to) {
            return;
        }
        let is_victim = self.victims.contains(&(from, to));
        let bytes: Arc<[u8]> = match &mut self.nodes[from].actor {
            Some(actor) => actor.outbound(is_victim, bytes).into(),
            None => bytes.into(),
        };
        self.evidence.sent_frame(&bytes, self.nodes[from].is_honest() && self.nodes[to].is_honest());
        let (connection, arrivals) = self.links.send(from, to, self.now_ms);
        for at_ms in arrivals {
            let bytes = Arc::clone(&bytes);
            self.schedule(at_ms, Happening::Deliver { from, to, connection, is_broadcast, bytes });
        }
    }

    fn deliver(&mut self, from: usize, to: usize, is_broadcast: bool, bytes: &[u8]) {
        let bytes = match &mut self.nodes[to].actor {
            Some(actor) => actor.inbound(bytes),
            None => Some(bytes.to_vec()),
        };
        let Some(bytes) = bytes else { return };
        if self.nodes[to].is_honest() && self.nodes[to].listens_to(number(from)) {
            self.evidence.heard_frame(&bytes, self.registry.network_id());
        }
        let peer = number(from);
        let input = if is_broadcast {
            let id = MessageId(*blake3::hash(&bytes).as_bytes());
            protocol::Input::Broadcast { peer, id, bytes }
        } else {
            protocol::Input::Frame { peer, bytes }
        };
        self.drive(to, Input::Net(input));
    }

    /// Notes an own operation when its author tells of it. STORE-1: it is durable, and the sidecar covers it.
    fn witness_own(&mut self, node: usize, frame: &[u8]) {
        let Ok(Frame::Op(bytes)) = Frame::decode(frame) else { return };
        let Ok(op) = Op::decode(&bytes, self.registry.network_id()) else { return };
        let Header { log, seq, .. } = *op.header();
        if log.author != self.author(node) || !self.nodes[node].is_honest() {
            return;
        }
        self.evidence.sent.insert((log, seq), op.id());
        if !self.nodes[node].disk.covers(log.index, seq, op.id()) {
            self.disk_failure = Some(format!("STORE-1: node {node} sent {log:?} {seq} before it was durable"));
        }
    }

    fn disk(&mut self, node: usize, stage: DiskStage) {
        let next = match stage {
            DiskStage::Commit(requests) => match self.nodes[node].serve(requests) {
                Ok((replies, own)) if own.iter().any(|&next| next > 0) => DiskStage::Note(replies, own),
                Ok((replies, _)) => DiskStage::Reply(replies),
                Err(error) => {
                    self.disk_failure = Some(format!("node {node}: {error}"));
                    return;
                }
            },
            DiskStage::Note(replies, own) => {
                self.nodes[node].record_own(own);
                DiskStage::Reply(replies)
            }
            DiskStage::Reply(replies) => {
                self.nodes[node].is_disk_busy = false;
                replies.into_iter().for_each(|reply| self.drive(node, stored(reply)));
                return;
            }
        };
        let (process, at_ms) = (self.nodes[node].process, self.now_ms + self.dice.between(0, 2));
        self.schedule(at_ms, Happening::Disk { node, process, stage: next });
    }

    /// A node asks its venues for every market; now and then one does not answer.
    fn poll_venues(&mut self, node: usize) {
        self.schedule(self.now_ms + POLL_INTERVAL_MS, Happening::Poll(node));
        if !self.nodes[node].is_running() {
            return;
        }
        let received = self.nodes[node].now(self.now_ms).wall;
        let Role::Reporter { factor_ppm: wrong_ppm } = self.nodes[node].role else {
            return self.take_quotes(node, received, TRUE_PPM);
        };
        self.take_quotes(node, received, wrong_ppm);
    }

    fn take_quotes(&mut self, node: usize, received: Time, factor_ppm: i128) {
        for (source, symbol, base, quote) in self.markets.clone() {
            // Conversions are left true: what is reported wrong is the price itself.
            let is_price = ["BTC", "ETH"].contains(&base.as_str());
            let factor_ppm = if is_price { factor_ppm } else { TRUE_PPM };
            if self.dice.chance(self.config.quote_loss_per_mille) {
                continue;
            }
            let quote = self.market.quote((base.as_str(), quote.as_str()), self.now_ms, received, factor_ppm);
            if let Some(quote) = quote {
                self.drive(node, Input::Quote { source, symbol, quote });
            }
        }
    }
}

/// A kind of operation that nobody knows: stored and relayed, and no view reads it.
const FORGED_KIND: u16 = 999;

/// The whole truth, in parts per million.
const TRUE_PPM: i128 = 1_000_000;

fn number(node: usize) -> Peer {
    Peer(u32::try_from(node).unwrap_or(u32::MAX))
}

impl World {
    /// Causes a cut between groups of nodes now.
    pub fn partition(&mut self, groups: &[u8], cut: Cut) {
        self.cause(Fault::Partition(groups.to_vec(), cut));
    }
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
