//! A node's own batches: from quotes to a signed operation, one step at a time, never two different ones for a slot.

use std::collections::BTreeMap;

use concurrence_crdt::{Header, Time};
use concurrence_oracle::{
    BatchDraft, ConversionGraph, Feed, Leg, LegsRecord, Observation, ObserveParams, Price, Prior, Quote, Slot,
    SourceId, observe,
};
use concurrence_protocol::Token;

/// What a node publishes about one feed.
#[derive(Clone, Debug)]
pub struct FeedPlan {
    /// How its legs become one price.
    pub graph: ConversionGraph,
    /// Exponent of its attestations.
    pub expo: i8,
}

/// When and under which conditions a node publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmissionParams {
    /// Time between batches, in milliseconds (`submission.submission_interval_seconds`), at least one slot.
    pub interval_ms: u64,
    /// When a feed is good enough.
    pub observe: ObserveParams,
}

/// The own side of a node.
pub(crate) struct Publisher {
    pub(crate) feeds: Vec<FeedPlan>,
    pub(crate) params: SubmissionParams,
    pub(crate) stage: Stage,
    pub(crate) next_tick_ms: u64,
    /// The newest slot for which anything may have been signed. Durable before it is signed for.
    pub(crate) watermark: Slot,
    /// The newest answer for each symbol that some leg uses: nothing else is kept, so that the table is bounded.
    quotes: BTreeMap<SourceId, BTreeMap<String, Option<Quote>>>,
    last_prices: BTreeMap<Feed, (Time, Price)>,
    observations: Vec<Observation>,
}

/// How far the present batch has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Between batches.
    Idle,
    /// The watermark is being made durable.
    Marking(Token, Draft),
    /// The groups are being signed.
    SigningGroups(Draft),
    /// The operation is being signed.
    SigningOp(Box<Header>, Vec<u8>),
}

/// A batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) declared: Time,
    pub(crate) batch: BatchDraft,
}

impl Publisher {
    pub(crate) fn new(feeds: Vec<FeedPlan>, params: SubmissionParams, watermark: Slot, first_tick_ms: u64) -> Self {
        let mut quotes: BTreeMap<SourceId, BTreeMap<String, Option<Quote>>> = BTreeMap::new();
        for leg in feeds.iter().flat_map(|plan| plan.graph.legs()) {
            quotes.entry(leg.source).or_default().insert(leg.symbol.clone(), None);
        }
        Self {
            feeds,
            params,
            stage: Stage::Idle,
            next_tick_ms: first_tick_ms,
            watermark,
            quotes,
            last_prices: BTreeMap::new(),
            observations: Vec::new(),
        }
    }

    /// Takes other legs and conditions for the same feeds. What is known of a market that stays is kept; a batch that is being signed is
    /// finished as it was begun.
    pub(crate) fn replan(&mut self, mut feeds: Vec<FeedPlan>, params: SubmissionParams) {
        feeds.retain(|plan| self.feeds.iter().any(|known| known.graph.feed() == plan.graph.feed()));
        let mut quotes: BTreeMap<SourceId, BTreeMap<String, Option<Quote>>> = BTreeMap::new();
        for leg in feeds.iter().flat_map(|plan| plan.graph.legs()) {
            let known = self.quotes.get(&leg.source).and_then(|symbols| symbols.get(&leg.symbol)).cloned().flatten();
            quotes.entry(leg.source).or_default().insert(leg.symbol.clone(), known);
        }
        (self.feeds, self.params, self.quotes) = (feeds, params, quotes);
        self.observations.clear();
    }

    /// Keeps a venue's newest answer for a symbol that some leg uses; any other is dropped.
    pub(crate) fn quote(&mut self, source: SourceId, symbol: &str, quote: Quote) {
        if let Some(kept) = self.quotes.get_mut(&source).and_then(|symbols| symbols.get_mut(symbol)) {
            *kept = Some(quote);
        }
    }

    /// Looks at all feeds: what could be published now, and why what cannot.
    pub(crate) fn observe(&mut self, now: Time, network_price: impl Fn(Feed) -> Option<Price>) {
        let quotes = &self.quotes;
        let observe_feed = |plan: &FeedPlan| {
            let feed = plan.graph.feed();
            let prior = Prior { own: self.last_prices.get(&feed).copied(), peers: network_price(feed) };
            let quote_of = |leg: &Leg| quotes.get(&leg.source)?.get(&leg.symbol)?.as_ref();
            observe(&plan.graph, now, quote_of, &prior, &self.params.observe)
        };
        self.observations = self.feeds.iter().map(observe_feed).collect();
    }

    /// The batch of what was observed, if anything may be published in this slot.
    pub(crate) fn draft(&mut self, now: Time) -> Option<Draft> {
        let slot = Slot::of(now);
        if slot <= self.watermark {
            return None;
        }
        let mut attestations = Vec::new();
        for (plan, observation) in self.feeds.iter().zip(&self.observations) {
            let Ok(observed) = &observation.outcome else { continue };
            // A price that no attestation can carry (zero, above 63 bits of mantissa) is not published.
            if let Ok(attestation) = observed.attest(observation.feed, plan.expo) {
                self.last_prices.insert(observation.feed, (now, observed.price));
                attestations.push(attestation);
            }
        }
        attestations.sort_unstable_by_key(|a| a.feed());
        let legs = LegsRecord { feeds: self.observations.iter().map(|o| o.legs.clone()).collect() };
        let batch = BatchDraft::new(slot, legs.hash(), attestations).ok()?;
        self.watermark = slot;
        Some(Draft { declared: now, batch })
    }

    /// The last look at each feed.
    pub(crate) fn observations(&self) -> &[Observation] {
        &self.observations
    }
}
