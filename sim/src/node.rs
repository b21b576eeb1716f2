//! One simulated process: an engine, its keys, clock and disk, and the loop that carries out what the engine asks for.

use concurrence_crdt::{AuthorKey, LOGS_MAX, Op, Signature, SigningKey, VerifiedOp};
use concurrence_engine::{
    Engine, EngineConfig, FeedPlan, Halt, Input, META_WATERMARK, Output, SignRequest, Signed, SubmissionParams,
};
use concurrence_oracle::{Address, AggregateParams, Member, ObserveParams, Registry, Slot, sign};
use concurrence_protocol::{self as protocol, Now, OwnStart, StoreReply, StoreRequest, Write, decode_proof};
use concurrence_store::{OwnLog, READ_AT_ONCE, Store, StoreError, StoreId, own_lens, start_state};

use crate::{
    Actor, ActorKind,
    clock::Clock,
    dice::Dice,
    disk::{Backup, Disk, End},
    trace::Trace,
};

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
    /// An actor stands between it and the others.
    Liar(ActorKind),
    /// A member whose process never runs: its key signs what a test likes.
    Absent,
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
    pub(crate) backup: Option<Backup>,
    pub(crate) actor: Option<Box<dyn Actor>>,
    pub(crate) clock: Clock,
    /// Counts processes: what was meant for an earlier one is void.
    pub(crate) process: u32,
    pub(crate) halted: Option<Halt>,
    /// When it is to be woken, in virtual time; an alarm for another time is void.
    pub(crate) wake_ms: u64,
    /// After so many more inputs the process dies, before what follows from the last one is carried out.
    pub(crate) dies_in: Option<u32>,
    /// Until when its operator is busy with a lost disk, in virtual time.
    pub(crate) down_until_ms: u64,
    /// Whether something on its present disk rotted.
    pub(crate) has_rotten: bool,
    started_ms: u64,
    /// The process's copy of what the sidecar says.
    own_next: OwnNext,
    settings: Settings,
    /// Requests that the disk has not begun.
    pub(crate) requests: Vec<StoreRequest>,
    pub(crate) is_disk_busy: bool,
}

/// What all nodes of a world are configured with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) registry: Registry,
    pub(crate) feeds: Vec<FeedPlan>,
    pub(crate) tick_ms: u64,
}

/// The keys of an oracle.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) author: SigningKey,
    pub(crate) evm: k256::ecdsa::SigningKey,
}

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

    fn signed(&self, request: SignRequest) -> Signed {
        match request {
            SignRequest::Groups(digests) => Signed::Groups(digests.iter().map(|d| sign(d, &self.evm)).collect()),
            SignRequest::Op(id) => Signed::Op(Signature::sign(&self.author, id.as_bytes())),
            SignRequest::Heads(heads) => {
                Signed::Heads(heads.iter().map(|head| Signature::sign(&self.author, head.as_bytes())).collect())
            }
        }
    }
}

impl Role {
    /// Whether the registry names it.
    pub(crate) const fn is_member(self) -> bool {
        match self {
            Self::Honest | Self::Reporter { .. } | Self::Absent => true,
            Self::Liar(kind) => !kind.is_stranger(),
            Self::TwinOf(_) => false,
        }
    }
}

impl SimNode {
    pub(crate) fn new(keys: Keys, role: Role, store: StoreId, clock: Clock, settings: Settings) -> Self {
        let actor = if let Role::Liar(kind) = role { Some(kind.made(&keys, &settings.registry)) } else { None };
        Self {
            keys,
            role,
            engine: None,
            disk: Disk::new(store),
            backup: None,
            actor,
            clock,
            process: 0,
            halted: None,
            wake_ms: u64::MAX,
            dies_in: None,
            down_until_ms: 0,
            has_rotten: false,
            started_ms: 0,
            own_next: OwnNext::default(),
            settings,
            requests: Vec::new(),
            is_disk_busy: false,
        }
    }

    /// Whether it runs the engine as it ships, with a key that nobody else runs.
    pub(crate) const fn is_honest(&self) -> bool {
        matches!(self.role, Role::Honest | Role::Reporter { .. })
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.engine.is_some() && self.halted.is_none()
    }

    /// Whether it has accepted a peer's hello and has not banned it: it reads nothing else before.
    pub(crate) fn listens_to(&self, virtual_ms: u64, peer: protocol::Peer) -> bool {
        let now_ms = self.now(virtual_ms).mono_ms;
        let hears = |session: &protocol::Session| session.greeted && session.account.banned_ms(now_ms) == 0;
        let mut peers = self.engine.iter().flat_map(|engine| engine.replica().peers());
        self.is_running() && peers.any(|(number, session)| number == peer && hears(session))
    }

    /// Both clocks of the process.
    pub(crate) fn now(&self, virtual_ms: u64) -> Now {
        self.clock.now(virtual_ms, self.started_ms)
    }

    /// When the engine wants to be woken, in virtual time.
    pub(crate) fn next_wake_ms(&self) -> u64 {
        self.engine.as_ref().map_or(u64::MAX, |engine| self.started_ms + engine.next_wake_ms())
    }

    /// Starts a process from what the disk holds, as `oracle-node run` does.
    pub(crate) fn start(&mut self, virtual_ms: u64) -> Result<(), StoreError> {
        self.started_ms = virtual_ms;
        self.process += 1;
        (self.requests, self.is_disk_busy, self.dies_in) = (Vec::new(), false, None);
        let own = self.keys.author_key();
        self.own_next = own_lens(self.disk.open()?, own)?;
        let Some(store) = self.disk.store() else { return Ok(()) };
        self.engine = Some(self.rebuilt(store, virtual_ms)?);
        Ok(())
    }

    /// An engine made of what a store holds.
    pub(crate) fn rebuilt(&self, store: &dyn Store, virtual_ms: u64) -> Result<Engine, StoreError> {
        let (own, now, registry) = (self.keys.author_key(), self.now(virtual_ms), &self.settings.registry);
        let start = match start_state(self.disk.sidecar.as_ref(), own, store.id(), own_lens(store, own)?) {
            // The operator's override, which is what makes a twin dangerous.
            _ if matches!(self.role, Role::TwinOf(_)) => OwnStart::Append,
            OwnLog::Append => OwnStart::Append,
            OwnLog::Fresh => OwnStart::Fresh,
            OwnLog::Recovering(_) => OwnStart::Recover,
        };
        let watermark = store.meta(META_WATERMARK)?.and_then(|bytes| bytes.try_into().ok());
        let config = EngineConfig {
            registry: registry.clone(),
            own: Some(own),
            feeds: self.settings.feeds.clone(),
            submission: SubmissionParams {
                interval_ms: self.settings.tick_ms,
                pace: None,
                observe: ObserveParams::default(),
            },
            aggregation: AggregateParams::default(),
            sync_interval_ms: SYNC_INTERVAL_MS,
            fresh_listen_ms: FRESH_LISTEN_MS,
        };
        let mut engine = Engine::new(config, start, Slot::from_number(watermark.map_or(0, u64::from_be_bytes)), now);
        for bytes in store.proofs()? {
            if let Ok(proof) = decode_proof(&bytes, registry.network_id()) {
                engine.restore_proof(proof, now.wall);
            }
        }
        for fact in store.facts()? {
            engine.restore_fact(&fact, now.wall);
        }
        for (log, len) in store.logs()? {
            let mut from = 0;
            while from < len {
                let ops = store.range(log, from, len, READ_AT_ONCE)?;
                if ops.is_empty() {
                    break;
                }
                from += ops.len() as u64;
                for op in ops.iter().filter_map(|bytes| Op::decode(bytes, registry.network_id()).ok()) {
                    engine.restore(&VerifiedOp::from_own_store(op), now.wall);
                }
            }
        }
        Ok(engine)
    }

    /// The process is gone at once.
    pub(crate) fn end(&mut self, how: End, dice: &mut Dice) {
        self.engine = None;
        self.process += 1;
        (self.wake_ms, self.dies_in) = (u64::MAX, None);
        (self.requests, self.is_disk_busy) = (Vec::new(), false);
        self.disk.end(how, dice);
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

    /// Counts down to the death that a scenario wants in the midst of things. Whether it is now.
    pub(crate) fn dies_now(&mut self) -> bool {
        self.dies_in = self.dies_in.map(|left| left.saturating_sub(1));
        self.dies_in == Some(0)
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
    pub(crate) fn serve(&mut self, requests: Vec<StoreRequest>) -> Result<(Vec<StoreReply>, OwnNext), StoreError> {
        let own = self.own_rows(&requests);
        Ok((self.disk.serve(requests)?, own))
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

/// The replies as inputs.
pub(crate) fn stored(reply: StoreReply) -> Input {
    Input::Net(protocol::Input::Store(reply))
}
