//! Seven nodes in one thread and virtual time: who polls, publishes and hears whom, and when.

use std::collections::BTreeMap;

use concurrence_crdt::{Digest, NetworkId, Time, hash};
use concurrence_engine::{FindingKind, Halt, Input, Output};
use concurrence_exchanges::{BAR_MS, Tape};
use concurrence_oracle::{Aggregate, Feed, Leg, Registry};
use concurrence_protocol::{self as protocol, Frame, Now, Peer};

use super::{
    Setting,
    dice::Dice,
    node::{Identity, Node, Role},
    rules::Rule,
    store::Shelf,
    venues::QUOTE_AGE_MS_MAX,
};

/// The whole network.
pub(super) struct Network<'t> {
    tape: &'t Tape,
    setting: &'t Setting,
    /// The registry all nodes share.
    pub(super) registry: Registry,
    /// The nodes, by number: peers call one another by it.
    pub(super) nodes: Vec<Node>,
    /// Other rules, told what each node would state.
    pub(super) rules: Vec<Rule>,
    /// Frames that were sent, and those of them that were lost.
    pub(super) frames: (u64, u64),
    /// Nodes that ended themselves.
    pub(super) halted: Vec<(usize, Halt)>,
    shelf: Shelf,
    /// What is to happen, by time and then in the order it was scheduled.
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    now_ms: u64,
    dice: Dice,
}

/// Something at an instant.
enum Happening {
    /// All connections come up.
    Connect,
    /// A node asks its venues.
    Poll(usize),
    /// A node's engine wants to be woken.
    Wake(usize),
    /// A frame arrives.
    Arrival { from: usize, to: usize, bytes: Vec<u8> },
}

/// An accusation that a node makes: of whom, and what.
pub(super) type Accusation = (usize, FindingKind);

/// How many nodes there are.
pub(super) const NODES: usize = 7;

/// How long before a batch a node asks its venues, milliseconds: answers are there, and hardly older than the batch.
const POLL_LEAD_MS: u64 = 1_000;

/// Least and greatest time of a frame between two nodes, milliseconds: a datacentre and half the world. A guess.
const LATENCY_MS: (u64, u64) = (5, 250);

/// How long after the last quote the network may take to become quiet, milliseconds: two hundred rounds of sync at the longest
/// tick.
const QUIET_MS_MAX: u64 = 3_000_000;

impl<'t> Network<'t> {
    /// A network that is up and has polled before the first instant compared.
    pub(super) fn new(
        tape: &'t Tape,
        setting: &'t Setting,
        (feed, legs): (Feed, &[Leg]),
        rules: Vec<Rule>,
    ) -> anyhow::Result<Self> {
        let identities: Vec<_> = (0..NODES).map(|n| Identity::new(setting.seed, n)).collect::<Result<_, _>>()?;
        let members = identities.iter().map(|identity| identity.member.clone()).collect();
        let network = NetworkId::from_bytes(*hash("concurrence replay network", b"").as_bytes());
        let registry = Registry::new("replay".to_owned(), network, vec![members])?;

        let mut dice = Dice::new(setting.seed, "network");
        let roles = permuted_roles(&mut dice);
        // Two ticks are enough for all to start, connect and listen.
        let begin_ms = setting.from_ms.saturating_sub(2 * setting.tick_ms);
        let mut nodes = Vec::with_capacity(NODES);
        for (identity, role) in identities.into_iter().zip(roles) {
            let start = now_at(begin_ms + dice.below(setting.tick_ms));
            nodes.push(Node::new(identity, role, &registry, (feed, legs), setting, start)?);
        }
        let mut network = Self {
            tape,
            setting,
            registry,
            nodes,
            rules,
            frames: (0, 0),
            halted: Vec::new(),
            shelf: Shelf::default(),
            queue: BTreeMap::new(),
            scheduled: 0,
            now_ms: begin_ms,
            dice,
        };
        network.schedule(begin_ms + setting.tick_ms, Happening::Connect);
        for n in 0..NODES {
            let publish_ms = network.nodes[n].next_publish_ms;
            network.schedule(publish_ms.saturating_sub(POLL_LEAD_MS), Happening::Poll(n));
        }
        Ok(network)
    }

    /// Lets everything happen up to and including an instant.
    pub(super) fn run_until(&mut self, until_ms: u64) {
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= until_ms) {
            let ((at_ms, _), happening) = next.remove_entry();
            self.now_ms = at_ms;
            self.happen(happening);
        }
        self.now_ms = until_ms;
    }

    /// What each honest node answers as of now.
    pub(super) fn answers(&mut self) -> Vec<Aggregate> {
        let as_of = Time::from_ms(self.now_ms);
        let honest = self.nodes.iter_mut().filter(|node| node.role == Role::Honest);
        honest.filter_map(|node| node.engine.answers(as_of).pop()).map(|answer| answer.aggregate).collect()
    }

    /// Lets the nodes go on until their quotes are too old to publish and all has been said; whether the honest ones then hold the
    /// same, and the first one's digest.
    pub(super) fn settle(&mut self) -> (bool, Digest) {
        let silent_ms = self.setting.until_ms() + QUOTE_AGE_MS_MAX + self.setting.tick_ms;
        self.run_until(silent_ms);
        loop {
            let honest = self.nodes.iter_mut().filter(|node| node.role == Role::Honest);
            let digests: Vec<_> = honest.map(|node| node.engine.digest()).collect();
            let is_equal = digests.windows(2).all(|pair| pair[0] == pair[1]);
            if is_equal || self.now_ms > silent_ms + QUIET_MS_MAX {
                return (is_equal, digests.first().copied().unwrap_or_else(|| hash("no honest node", b"")));
            }
            self.run_until(self.now_ms + self.setting.tick_ms);
        }
    }

    /// Whom each honest node accuses.
    pub(super) fn accusations(&self) -> Vec<Vec<Accusation>> {
        let number = |author| self.nodes.iter().position(|node| node.author == author);
        let of = |node: &Node| {
            let findings = node.engine.view().findings();
            findings.filter_map(|finding| Some((number(finding.author)?, finding.kind))).collect()
        };
        self.nodes.iter().filter(|node| node.role == Role::Honest).map(of).collect()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect => self.connect(),
            Happening::Poll(n) => {
                let came = self.nodes[n].venues.poll(self.tape, Time::from_ms(self.now_ms));
                for (source, symbol, quote) in came {
                    self.input(n, Input::Quote { source, symbol, quote });
                }
                let next_ms = self.now_ms + self.setting.tick_ms;
                if next_ms <= self.setting.until_ms() {
                    self.schedule(next_ms, Happening::Poll(n));
                }
            }
            Happening::Wake(n) => {
                self.input(n, Input::Net(protocol::Input::Tick));
                let now = Time::from_ms(self.now_ms);
                if self.nodes[n].published(now, self.setting.tick_ms) && self.is_last_of_minute() {
                    self.tell_rules(n);
                }
                let wake_ms = self.nodes[n].next_wake_ms().max(self.now_ms + 1);
                self.schedule(wake_ms, Happening::Wake(n));
            }
            Happening::Arrival { from, to, bytes } => {
                let bytes = match &mut self.nodes[to].twin {
                    Some(twin) => twin.inbound(&bytes),
                    None => Some(bytes),
                };
                if let Some(bytes) = bytes {
                    self.input(to, Input::Net(protocol::Input::Frame { peer: peer(from), bytes }));
                }
            }
        }
    }

    fn connect(&mut self) {
        for n in 0..NODES {
            for other in (0..NODES).filter(|&other| other != n) {
                let author = Some(self.nodes[other].author);
                self.input(n, Input::Net(protocol::Input::Connected { peer: peer(other), author }));
            }
            self.schedule(self.now_ms, Happening::Wake(n));
        }
    }

    /// Gives an engine an input and carries out what follows from it.
    fn input(&mut self, n: usize, input: Input) {
        let now = now_at(self.now_ms);
        self.nodes[n].engine.handle(now, input);
        while let Some(output) = self.nodes[n].poll(now, &mut self.shelf) {
            match output {
                Output::Send(Peer(to), bytes) => self.send(n, usize::try_from(to).unwrap_or(usize::MAX), &bytes),
                Output::Broadcast(bytes) => (0..NODES).filter(|&to| to != n).for_each(|to| self.send(n, to, &bytes)),
                Output::Halt(why) => self.halted.push((n, why)),
                // No transport waits for verdicts; stores and signatures are the node's own affair.
                Output::Verdict(..) | Output::Ban(..) | Output::Event(_) | Output::Store(_) | Output::Sign(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &[u8]) {
        // Half of the peers, always the same.
        let is_victim = to.is_multiple_of(2);
        let bytes = match &mut self.nodes[from].twin {
            Some(twin) => twin.outbound(is_victim, bytes),
            None => bytes.to_vec(),
        };
        self.frames.0 += 1;
        // A hello is part of connecting, which is reliable; anything after it can be lost.
        let is_hello = matches!(Frame::decode(&bytes), Ok(Frame::Hello(_)));
        if !is_hello && self.dice.happens(self.setting.frame_loss_percent) {
            self.frames.1 += 1;
            return;
        }
        let (least, greatest) = LATENCY_MS;
        let latency_ms = if is_hello { least } else { least + 1 + self.dice.below(greatest - least) };
        self.schedule(self.now_ms + latency_ms, Happening::Arrival { from, to, bytes });
    }

    fn schedule(&mut self, at_ms: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at_ms, self.scheduled), happening);
    }

    /// Whether the next batch comes after the next instant compared.
    fn is_last_of_minute(&self) -> bool {
        let into_minute_ms = self.now_ms.saturating_sub(self.setting.from_ms) % BAR_MS;
        self.now_ms >= self.setting.from_ms && into_minute_ms + self.setting.tick_ms >= BAR_MS
    }

    /// Other rules take what the node would state; forked authors count nowhere.
    fn tell_rules(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.role != Role::Equivocator {
            let now = Time::from_ms(self.now_ms);
            self.rules.iter_mut().for_each(|rule| rule.state(node.author, &node.venues.quotes, now));
        }
    }
}

/// Who plays which part: one high reporter, one equivocator, in random places.
fn permuted_roles(dice: &mut Dice) -> [Role; NODES] {
    let mut roles = [Role::Honest; NODES];
    (roles[0], roles[1]) = (Role::HighReporter, Role::Equivocator);
    for last in (1..NODES).rev() {
        let other = dice.below(last as u64 + 1);
        roles.swap(last, usize::try_from(other).unwrap_or(last));
    }
    roles
}

/// Both clocks show the replayed time.
const fn now_at(ms: u64) -> Now {
    Now { mono_ms: ms, wall: Time::from_ms(ms) }
}

fn peer(n: usize) -> Peer {
    Peer(u32::try_from(n).unwrap_or(u32::MAX))
}
