//! One of the seven: an engine with its keys, its store and its venues.

use anyhow::Context as _;
use concurrence_crdt::{AuthorKey, Signature, SigningKey, Time};
use concurrence_engine::{Engine, EngineConfig, FeedPlan, Input, Output, SignRequest, Signed, SubmissionParams};
use concurrence_oracle::{
    Address, ConversionGraph, EXPO_DEFAULT, EvmSignature, Feed, HOPS_DEFAULT, Leg, Member, ObserveParams, Registry,
    Slot, sign,
};
use concurrence_protocol::{self as protocol, Now, OwnStart};
use concurrence_sim::Equivocator;

use super::{
    Setting,
    dice::{Dice, secret},
    store::{Shelf, Store},
    venues::{QUOTE_AGE_MS_MAX, Venues},
};

/// A node of the replay.
pub(super) struct Node {
    /// Its name in the registry.
    pub(super) name: String,
    /// Key of its log.
    pub(super) author: AuthorKey,
    /// What it does to the others.
    pub(super) role: Role,
    /// The engine.
    pub(super) engine: Engine,
    /// What it hears of the venues.
    pub(super) venues: Venues,
    /// When it publishes next, milliseconds.
    pub(super) next_publish_ms: u64,
    evm: k256::ecdsa::SigningKey,
    key: SigningKey,
    store: Store,
    /// What stands between an equivocator's engine and its peers.
    pub(super) twin: Option<Equivocator>,
}

/// What a node does to the others. The engines are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Honest,
    /// Its markets are [`HIGH_PPM`] of the real ones.
    HighReporter,
    /// Signs one history for half of its peers and another one for the rest.
    Equivocator,
}

/// The high reporter's prices in millionths of the real ones: a fifth too high.
pub(super) const HIGH_PPM: u32 = 1_200_000;

/// The secret keys of a node, and how it is registered.
pub(super) struct Identity {
    key: SigningKey,
    evm: k256::ecdsa::SigningKey,
    /// The row of the registry.
    pub(super) member: Member,
}

impl Identity {
    /// The node with this number, of a replay with this seed.
    pub(super) fn new(seed: u64, number: usize) -> anyhow::Result<Self> {
        let name = format!("oracle_{number}");
        let key = SigningKey::from(secret(seed, &format!("author key of {name}")));
        let evm = secret(seed, &format!("EVM key of {name}"));
        let evm = k256::ecdsa::SigningKey::from_slice(&evm)
            .with_context(|| format!("seed {seed} gives {name} no EVM key; choose another seed"))?;
        let (author, address) = (AuthorKey::of(&key), Address::of(evm.verifying_key()));
        // Peer ids are opaque to the registry; no peer is dialled here.
        let member = Member { peer: format!("peer_{number}"), name, author, evm: address, weight: 1 };
        Ok(Self { key, evm, member })
    }
}

impl Node {
    /// A node that has just started.
    pub(super) fn new(
        identity: Identity,
        role: Role,
        registry: &Registry,
        (feed, legs): (Feed, &[Leg]),
        setting: &Setting,
        start: Now,
    ) -> anyhow::Result<Self> {
        let Identity { key, evm, member: Member { name, author, .. } } = identity;
        let observe = ObserveParams { max_age_ms: QUOTE_AGE_MS_MAX, ..ObserveParams::default() };
        // A liar does not doubt itself because its price is far from its peers'.
        let is_high = role == Role::HighReporter;
        let observe = if is_high { ObserveParams { move_max_ppm: u64::MAX, ..observe } } else { observe };
        let config = EngineConfig {
            registry: registry.clone(),
            own: Some(author),
            feeds: vec![FeedPlan {
                graph: ConversionGraph::new(feed, legs.to_vec(), HOPS_DEFAULT)?,
                expo: EXPO_DEFAULT,
            }],
            submission: SubmissionParams { interval_ms: setting.tick_ms, pace: None, observe },
            aggregation: setting.aggregation(),
            sync_interval_ms: setting.tick_ms / 2,
            fresh_listen_ms: concurrence_engine::FRESH_LISTEN_MS,
        };
        let twin = (role == Role::Equivocator).then(|| Equivocator::new(key, evm.clone(), registry.clone()));
        // Only the base's markets: rates that were too high as well would raise converted prices twice.
        let price_ppm = |leg: &Leg| if is_high && feed.base() == Some(leg.base) { HIGH_PPM } else { 1_000_000 };
        let dice = Dice::new(setting.seed, &format!("polls of {name}"));
        Ok(Self {
            venues: Venues::new(legs, price_ppm, dice, setting.poll_loss_percent),
            engine: Engine::new(config, OwnStart::Fresh, Slot::default(), start),
            next_publish_ms: start.mono_ms + setting.tick_ms,
            store: Store::default(),
            name,
            author,
            role,
            evm,
            key,
            twin,
        })
    }

    /// Carries out what the engine asks of its own node; the next output that concerns others.
    pub(super) fn poll(&mut self, now: Now, shelf: &mut Shelf) -> Option<Output> {
        loop {
            let input = match self.engine.poll()? {
                Output::Store(request) => Input::Net(protocol::Input::Store(self.store.serve(shelf, request))),
                Output::Sign(request) => Input::Signed(self.sign(&request)),
                other => return Some(other),
            };
            self.engine.handle(now, input);
        }
    }

    /// When the engine must be woken next. Its looks for outliers need no waking: whatever arrives makes it look.
    pub(super) fn next_wake_ms(&self) -> u64 {
        self.engine.replica().next_wake_ms().min(self.next_publish_ms)
    }

    /// Whether this was the moment of a batch; the next one is set.
    pub(super) fn published(&mut self, now: Time, tick_ms: u64) -> bool {
        let is_due = now.ms() >= self.next_publish_ms;
        if is_due {
            self.next_publish_ms += tick_ms;
        }
        is_due
    }

    fn sign(&self, request: &SignRequest) -> Signed {
        match request {
            SignRequest::Groups(digests) => {
                let signed: Vec<EvmSignature> = digests.iter().map(|digest| sign(digest, &self.evm)).collect();
                Signed::Groups(signed)
            }
            SignRequest::Op(id) => Signed::Op(Signature::sign(&self.key, id.as_bytes())),
            SignRequest::Heads(heads) => {
                Signed::Heads(heads.iter().map(|head| Signature::sign(&self.key, head.as_bytes())).collect())
            }
        }
    }
}
