//! A node's own batches: from quotes to a signed operation, one step at a time, never two different ones for a slot.

use std::collections::{BTreeMap, VecDeque};

use concurrence_crdt::{Digest, Header, Time};
use concurrence_oracle::{
    BatchDraft, ConversionGraph, Feed, Leg, LegsRecord, Observation, ObserveParams, Pace, Price, Prior, Quote, Slot,
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
    /// How this time follows the prices; without it, it is always the same.
    pub pace: Option<Pace>,
    /// When a feed is good enough.
    pub observe: ObserveParams,
}

/// The own side of a node.
pub(crate) struct Publisher {
    pub(crate) feeds: Vec<FeedPlan>,
    pub(crate) params: SubmissionParams,
    pub(crate) stage: Stage,
    pub(crate) next_tick_ms: u64,
    last_tick_ms: u64,
    /// The newest slot for which anything may have been signed. Durable before it is signed for.
    pub(crate) watermark: Slot,
    /// The newest answer for each symbol that some leg uses: nothing else is kept, so that the table is bounded.
    quotes: BTreeMap<SourceId, BTreeMap<String, Option<Quote>>>,
    last_prices: BTreeMap<Feed, (Time, Price)>,
    /// What the last batch said of each feed, doubtful or not: what a move is measured from.
    published: BTreeMap<Feed, Price>,
    observations: Vec<Observation>,
    legs: KeptLegs,
}

/// Records of legs that own batches name, newest last.
#[derive(Default)]
struct KeptLegs {
    records: VecDeque<(Digest, Vec<u8>)>,
    bytes: usize,
}

/// Most bytes of records kept: an hour of fifty feeds of eight legs at a batch every five seconds, and days of two. They are kept in
/// memory only: after a restart those of before are unavailable, which is an answer.
pub(crate) const LEGS_BYTES_MAX: usize = 16 << 20;

impl KeptLegs {
    fn keep(&mut self, hash: Digest, record: Vec<u8>) {
        self.bytes += record.len();
        self.records.push_back((hash, record));
        while self.bytes > LEGS_BYTES_MAX {
            let Some((_, oldest)) = self.records.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
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
            last_tick_ms: first_tick_ms.saturating_sub(params.interval_ms),
            watermark,
            quotes,
            last_prices: BTreeMap::new(),
            published: BTreeMap::new(),
            observations: Vec::new(),
            legs: KeptLegs::default(),
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

    /// Sets when the next tick is, by what was observed last.
    pub(crate) fn keep_pace(&mut self) {
        if let Some(pace) = self.params.pace {
            self.next_tick_ms = self.last_tick_ms.saturating_add(pace.due_ms(self.moved_ppm()));
        }
    }

    /// A tick is being carried out. At a fixed interval ticks keep their phase; those missed while asleep are not made up for.
    pub(crate) fn ticked(&mut self, mono_ms: u64) {
        let interval_ms = self.params.interval_ms.max(1);
        let late_ms = (mono_ms - self.next_tick_ms) % interval_ms;
        self.next_tick_ms = match self.params.pace {
            None => mono_ms - late_ms + interval_ms,
            Some(pace) => mono_ms.saturating_add(pace.due_ms(0)),
        };
        self.last_tick_ms = mono_ms;
    }

    /// How far the price that moved most is from what was last published, in parts per million; a price never published before has
    /// moved as far as can be.
    fn moved_ppm(&self) -> u64 {
        let moved = |observation: &Observation| {
            let price = observation.outcome.as_ref().ok()?.price;
            let published = self.published.get(&observation.feed);
            Some(published.and_then(|&last| price.deviation_ppm(last)).unwrap_or(u64::MAX))
        };
        self.observations.iter().filter_map(moved).max().unwrap_or(0)
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
                // A doubtful price is no yardstick: or a jump would be doubted once, and vouch for itself from the next tick on.
                if !observed.is_doubtful() {
                    self.last_prices.insert(observation.feed, (now, observed.price));
                }
                self.published.insert(observation.feed, observed.price);
                attestations.push(attestation);
            }
        }
        attestations.sort_unstable_by_key(|a| a.feed());
        let legs = LegsRecord { feeds: self.observations.iter().map(|o| o.legs.clone()).collect() };
        let record = legs.encode();
        let hash = LegsRecord::hash_bytes(&record);
        let batch = BatchDraft::new(slot, hash, attestations).ok()?;
        self.legs.keep(hash, record);
        self.watermark = slot;
        Some(Draft { declared: now, batch })
    }

    /// The record of legs with this hash, if an own batch named it and it is still kept.
    pub(crate) fn legs(&self, hash: &Digest) -> Option<&[u8]> {
        let newest_first = self.legs.records.iter().rev();
        newest_first.into_iter().find(|(kept, _)| kept == hash).map(|(_, record)| record.as_slice())
    }

    /// The last look at each feed.
    pub(crate) fn observations(&self) -> &[Observation] {
        &self.observations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: &str = "BTC/USD";

    fn publisher() -> Publisher {
        let leg = |n: u8| Leg {
            source: SourceId::new(n).expect("below sixteen"),
            venue: format!("venue_{n}"),
            symbol: FEED.to_owned(),
            base: "BTC".parse().expect("a currency"),
            quote: "USD".parse().expect("a currency"),
            weight: 1,
            mirror: None,
        };
        let graph =
            ConversionGraph::new(FEED.parse().expect("a feed"), (0..3).map(leg).collect(), 1).expect("composes");
        let params = SubmissionParams { interval_ms: 5_000, pace: None, observe: ObserveParams::default() };
        Publisher::new(vec![FeedPlan { graph, expo: -8 }], params, Slot::default(), 0)
    }

    /// All venues state a price, and the node looks.
    fn quoted(publisher: &mut Publisher, at_s: u64, text: &str) {
        let now = Time::from_ms(at_s * 1_000);
        let last = Some(Price::parse(text).expect("a price"));
        for n in 0..3 {
            let quote = Quote { bid: None, ask: None, last, volume: None, venue_time: None, received: now };
            publisher.quote(SourceId::new(n).expect("below sixteen"), FEED, quote);
        }
        publisher.observe(now, |_| None);
    }

    /// Whether the batch of a tick at which all venues state this price is doubtful.
    fn doubted(publisher: &mut Publisher, at_s: u64, text: &str) -> bool {
        quoted(publisher, at_s, text);
        let now = Time::from_ms(at_s * 1_000);
        let draft = publisher.draft(now).expect("a new slot");
        let signed = draft.batch.signed(vec![concurrence_oracle::sign(&[1; 32], &key())]).expect("one group");
        signed.attestations()[0].is_doubtful()
    }

    fn key() -> k256::ecdsa::SigningKey {
        k256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key")
    }

    #[test]
    fn a_move_brings_the_next_batch_forward_and_rest_puts_it_off() {
        let mut publisher = publisher();
        publisher.params.pace =
            Some(Pace { fastest_ms: 1_000, usual_ms: 5_000, heartbeat_ms: 20_000, move_ppm: 2_000 });
        let mut due = |at_s: u64, text: &str, is_published: bool| {
            publisher.next_tick_ms = at_s * 1_000;
            if is_published {
                publisher.ticked(at_s * 1_000);
                assert!(!doubted(&mut publisher, at_s, text));
            } else {
                quoted(&mut publisher, at_s, text);
            }
            publisher.keep_pace();
            publisher.next_tick_ms / 1_000
        };
        assert_eq!(due(1_000, "100", true), 1_020);
        assert_eq!(due(1_001, "100.01", false), 1_020);
        assert_eq!(due(1_002, "100.05", false), 1_005);
        assert_eq!(due(1_003, "99.8", false), 1_001, "overdue: the tick is carried out at once");
        assert_eq!(due(1_003, "99.8", true), 1_023);
    }

    #[test]
    fn legs_are_kept_by_their_hash_within_a_bound() {
        let mut publisher = publisher();
        assert!(!doubted(&mut publisher, 1_000, "100"));
        let record = LegsRecord { feeds: publisher.observations().iter().map(|o| o.legs.clone()).collect() };
        assert_eq!(publisher.legs(&record.hash()), Some(&record.encode()[..]));
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        assert_eq!(publisher.legs(&digest(1)), None);
        publisher.legs.keep(digest(1), vec![0; LEGS_BYTES_MAX]);
        assert_eq!((publisher.legs(&record.hash()), publisher.legs.bytes), (None, LEGS_BYTES_MAX));
        publisher.legs.keep(digest(2), vec![0; LEGS_BYTES_MAX + 1]);
        assert_eq!((publisher.legs(&digest(2)), publisher.legs.bytes), (None, 0));
    }

    #[test]
    fn a_doubtful_price_does_not_vouch_for_the_next() {
        let mut publisher = publisher();
        assert!(!doubted(&mut publisher, 1_000, "0.038"));
        for at_s in (1_005..=1_030).step_by(5) {
            assert!(doubted(&mut publisher, at_s, "0.38"), "{at_s}");
        }
        // For the maximum age no undoubted price was known: then the jump is taken for real, unless the network knows better.
        assert!(!doubted(&mut publisher, 1_035, "0.38"));
    }
}
