//! One simulated process: an engine, its keys, clock and disk, and the loop that carries out what the engine asks for.

use concurrence_crdt::{AuthorKey, LOGS_MAX, Op, Signature, SigningKey, Time, VerifiedOp};
use concurrence_engine::{
    Engine, EngineConfig, FeedPlan, Halt, Input, META_WATERMARK, Output, SignRequest, Signed, SubmissionParams,
};
use concurrence_oracle::{
    Address, AggregateParams, ConversionGraph, EXPO_DEFAULT, HOPS_DEFAULT, Member, ObserveParams, Registry, Slot,
    default_feeds, default_legs, sign,
};
use concurrence_protocol::{self as protocol, Now, OwnStart, StoreReply, StoreRequest, Write, decode_proof};
use concurrence_store::{OwnLog, Store, StoreId, start_state};

use crate::{Equivocator, dice::Dice, disk::Disk, trace::Trace};

/// What a node is in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the protocol and sees the market as it is.
    Honest,
    /// Follows the protocol, but its venues show a multiple of the true prices, in parts per million.
    Reporter {
        /// The multiple; 1,200,000 is 20 % high.
        factor_ppm: i128,
    },
    /// An [`Equivocator`] stands between it and the others.
    Equivocator,
    /// An honest process with the keys of an earlier node, on another disk, told to append at once.
    TwinOf(usize),
}

/// A simulated process and what outlives it: keys and disk.
pub(crate) struct SimNode {
    pub(crate) keys: Keys,
    pub(crate) role: Role,
    /// `None` while it does not run.
    pub(crate) engine: Option<Engine>,
    pub(crate) disk: Disk,
    /// An older state of the disk, for scenarios that restore one.
    pub(crate) backup: Option<Disk>,
    pub(crate) actor: Option<Equivocator>,
    /// How far its wall clock is ahead of virtual time, in milliseconds.
    pub(crate) clock_offset_ms: i64,
    /// Counts processes: what was meant for an earlier one is void.
    pub(crate) process: u32,
    pub(crate) halted: Option<Halt>,
    /// When it is to be woken, in virtual time; an alarm for another time is void.
    pub(crate) wake_ms: u64,
    started_ms: u64,
    /// The process's copy of what the sidecar says.
    own_next: OwnNext,
    tick_ms: u64,
    /// Requests that the disk has not begun.
    pub(crate) requests: Vec<StoreRequest>,
    pub(crate) is_disk_busy: bool,
}

/// The keys of an oracle.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) author: SigningKey,
    pub(crate) evm: k256::ecdsa::SigningKey,
}

/// Wall clock at the beginning of virtual time: some day in 2026.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

/// How often peers are told a digest, in milliseconds: the node's default.
const SYNC_INTERVAL_MS: u64 = 500;

/// How long a never-used key listens, in milliseconds: shorter than the node's ten seconds, so that short runs publish.
const FRESH_LISTEN_MS: u64 = 2_000;

impl Keys {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let author = SigningKey::from(dice.bytes32());
        // All but one in 2^128 of 32-byte strings are keys.
        let evm = std::iter::repeat_with(|| dice.bytes32()).find_map(|b| k256::ecdsa::SigningKey::from_slice(&b).ok());
        Self { author, evm: evm.unwrap_or_else(|| unreachable!("the iterator never ends")) }
    }

    pub(crate) fn author_key(&self) -> AuthorKey {
        AuthorKey::of(&self.author)
    }

    pub(crate) fn member(&self, number: usize) -> Member {
        Member {
            name: format!("oracle_{number}"),
            author: self.author_key(),
            evm: Address::of(self.evm.verifying_key()),
            peer: format!("peer_{number}"),
            weight: 1,
        }
    }
}

/// What all nodes publish: the default feeds from the default legs.
pub(crate) fn feed_plans() -> Vec<FeedPlan> {
    let graph = |feed| ConversionGraph::new(feed, default_legs(feed), HOPS_DEFAULT).ok();
    default_feeds().into_iter().filter_map(graph).map(|graph| FeedPlan { graph, expo: EXPO_DEFAULT }).collect()
}

impl SimNode {
    pub(crate) fn new(keys: Keys, role: Role, store: StoreId, clock_offset_ms: i64, tick_ms: u64) -> Self {
        Self {
            keys,
            role,
            engine: None,
            disk: Disk::new(store),
            backup: None,
            actor: None,
            clock_offset_ms,
            process: 0,
            halted: None,
            wake_ms: u64::MAX,
            started_ms: 0,
            own_next: OwnNext::default(),
            tick_ms,
            requests: Vec::new(),
            is_disk_busy: false,
        }
    }

    /// Whether it runs, and runs the engine as it ships, with a key that nobody else runs.
    pub(crate) fn is_honest(&self) -> bool {
        matches!(self.role, Role::Honest | Role::Reporter { .. })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some() && self.halted.is_none()
    }

    /// Whether it has accepted a peer's hello: it reads nothing else before.
    pub(crate) fn listens_to(&self, peer: protocol::Peer) -> bool {
        let mut peers = self.engine.iter().flat_map(|engine| engine.replica().peers());
        self.is_running() && peers.any(|(number, session)| number == peer && session.greeted)
    }

    /// Both clocks of the process.
    pub(crate) fn now(&self, virtual_ms: u64) -> Now {
        let wall_ms = (EPOCH_MS + virtual_ms).saturating_add_signed(self.clock_offset_ms);
        Now { mono_ms: virtual_ms - self.started_ms, wall: Time::from_ms(wall_ms) }
    }

    /// When the engine wants to be woken, in virtual time.
    pub(crate) fn next_wake_ms(&self) -> u64 {
        self.engine.as_ref().map_or(u64::MAX, |engine| self.started_ms + engine.next_wake_ms())
    }

    /// Starts a process from what the disk holds, as `oracle-node run` does.
    pub(crate) fn start(&mut self, registry: &Registry, virtual_ms: u64) {
        self.started_ms = virtual_ms;
        self.process += 1;
        (self.requests, self.is_disk_busy) = (Vec::new(), false);
        self.own_next = self.disk.lens(self.keys.author_key());
        self.engine = Some(self.rebuilt(registry, virtual_ms));
    }

    /// An engine made of what the disk holds now.
    pub(crate) fn rebuilt(&self, registry: &Registry, virtual_ms: u64) -> Engine {
        let (own, now) = (self.keys.author_key(), self.now(virtual_ms));
        let start = match start_state(self.disk.sidecar.as_ref(), own, self.disk.id(), self.disk.lens(own)) {
            // The operator's override, which is what makes a twin dangerous.
            _ if matches!(self.role, Role::TwinOf(_)) => OwnStart::Append,
            OwnLog::Append => OwnStart::Append,
            OwnLog::Fresh => OwnStart::Fresh,
            OwnLog::Recovering(_) => OwnStart::Recover,
        };
        let watermark = self.disk.meta(META_WATERMARK).ok().flatten().and_then(|bytes| bytes.try_into().ok());
        let config = EngineConfig {
            registry: registry.clone(),
            own: Some(own),
            feeds: feed_plans(),
            submission: SubmissionParams { interval_ms: self.tick_ms, observe: ObserveParams::default() },
            aggregation: AggregateParams::default(),
            sync_interval_ms: SYNC_INTERVAL_MS,
            fresh_listen_ms: FRESH_LISTEN_MS,
        };
        let mut engine = Engine::new(config, start, Slot::from_number(watermark.map_or(0, u64::from_be_bytes)), now);
        for bytes in self.disk.proofs().unwrap_or_default() {
            if let Ok(proof) = decode_proof(&bytes, registry.network_id()) {
                engine.restore_proof(proof, now.wall);
            }
        }
        for (log, len) in self.disk.logs().unwrap_or_default() {
            for bytes in self.disk.range(log, 0, len, usize::MAX).unwrap_or_default() {
                if let Ok(op) = Op::decode(&bytes, registry.network_id()) {
                    engine.restore(&VerifiedOp::from_own_store(op), now.wall);
                }
            }
        }
        engine
    }

    /// The process is gone at once, and the power with it.
    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        self.engine = None;
        self.process += 1;
        self.wake_ms = u64::MAX;
        (self.requests, self.is_disk_busy) = (Vec::new(), false);
        self.disk.crash(dice);
    }

    /// Gives the engine one input and carries out what it then wants of its own process: signatures at once, requests to the
    /// disk by noting them. What concerns others is returned.
    pub(crate) fn handle(&mut self, virtual_ms: u64, input: Input, trace: &mut Trace) -> Vec<Output> {
        let now = self.now(virtual_ms);
        let Some(engine) = self.engine.as_mut().filter(|_| self.halted.is_none()) else { return Vec::new() };
        trace.input(now, &input);
        engine.handle(now, input);
        let mut others = Vec::new();
        while let Some(output) = engine.poll() {
            trace.output(&output);
            match output {
                Output::Sign(request) => {
                    let signed = self.keys.signed(request);
                    engine.handle(now, Input::Signed(signed));
                }
                Output::Store(request) => self.requests.push(request),
                Output::Halt(why) => self.halted = Some(why),
                Output::Verdict(..) => {}
                other => others.push(other),
            }
        }
        others
    }

    /// The disk takes up all requests that wait, if it is idle: they share a commit.
    pub(crate) fn begin_disk(&mut self) -> Option<Vec<StoreRequest>> {
        if self.is_disk_busy || self.requests.is_empty() {
            return None;
        }
        self.is_disk_busy = true;
        Some(std::mem::take(&mut self.requests))
    }

    /// The disk carries out requests. The replies are for later; own positions that became durable are to be noted first.
    pub(crate) fn serve(&mut self, requests: Vec<StoreRequest>) -> Result<(Vec<StoreReply>, OwnNext), String> {
        let own = self.own_rows(&requests);
        let replies = self.disk.serve(requests).map_err(|error| error.to_string())?;
        Ok((replies, own))
    }

    /// Own operations are in the store now: it is noted beside the key before anyone is told.
    pub(crate) fn record_own(&mut self, next: OwnNext) {
        for (kept, new) in self.own_next.iter_mut().zip(next) {
            *kept = (*kept).max(new);
        }
        self.disk.save_sidecar(self.keys.author_key(), self.own_next);
    }

    /// The next position of each own log that these requests reach. Only what the node appends is durable; own operations that
    /// peers gave back are not, and leave the sidecar as it is, as in the production driver.
    fn own_rows(&self, requests: &[StoreRequest]) -> OwnNext {
        let own = self.keys.author_key();
        let mut next = [0; LOGS_MAX as usize];
        let commits = requests.iter().filter_map(|request| match request {
            StoreRequest::Commit { writes, durable: true, .. } => Some(writes),
            _ => None,
        });
        for write in commits.flatten() {
            if let Write::Op { log, seq, .. } = write
                && log.author == own
                && let Some(slot) = next.get_mut(usize::from(log.index))
            {
                *slot = (*slot).max(seq + 1);
            }
        }
        next
    }
}

/// The next position of each own log; zero where nothing is new.
pub(crate) type OwnNext = [u64; LOGS_MAX as usize];

impl Keys {
    fn signed(&self, request: SignRequest) -> Signed {
        match request {
            SignRequest::Groups(digests) => Signed::Groups(digests.iter().map(|d| sign(d, &self.evm)).collect()),
            SignRequest::Op(id) => Signed::Op(Signature::sign(&self.author, id.as_bytes())),
        }
    }
}

/// The replies as inputs.
pub(crate) fn stored(reply: StoreReply) -> Input {
    Input::Net(protocol::Input::Store(reply))
}
