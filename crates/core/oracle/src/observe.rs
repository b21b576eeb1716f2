//! From quotes to one price: what a node does for a feed in a tick.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::Time;
use ruint::aliases::U256;

use crate::{
    Attestation, AttestationError, ConversionGraph, Feed, FeedLegs, Leg, LegPrice, LegRecord, Point, Price, Quote, SourceId, Verdict,
    gate::gate,
    median::{Vote, lower_quantile, lower_weighted_median},
    sanity::leg_price,
};

/// What a node made of its sources for one feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The feed.
    pub feed: Feed,
    /// The price, or why there is none.
    pub outcome: Result<Observed, Refused>,
    /// Every leg with what became of it, by source and symbol.
    pub legs: FeedLegs,
}

/// A price made of enough sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The lower weighted median of the legs that counted.
    pub price: Price,
    /// How far off it may be: the greater of the median leg's half spread and the three-vote quartile distance.
    pub half_width: Price,
    /// Bitmap of the sources whose legs counted.
    pub sources: u16,
    /// How many legs counted.
    pub legs_used: usize,
    /// 1 - half-width / price, in parts per million.
    pub confidence_ppm: u32,
    /// Why the price is doubtful; empty if it is not. A doubtful price is published for the record and counts nowhere.
    pub doubts: Vec<Doubt>,
}

/// Why nothing is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Fewer distinct sources gave a usable price than are asked for.
    #[error("{have} active sources, {need} are needed")]
    TooFewSources {
        /// Distinct sources with a usable price.
        have: u8,
        /// Sources asked for.
        need: u8,
    },
}

/// Why a price is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The confidence is below the threshold.
    LowConfidence,
    /// Too far from the node's own last price.
    Moved {
        /// How far, in parts per million of the last price.
        ppm: u64,
    },
    /// Too far from the network's answer.
    FarFromPeers {
        /// How far, in parts per million of the network's answer.
        ppm: u64,
    },
}

/// What a new price is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prior {
    /// The node's own last price and its time; ignored once older than the maximum age.
    pub own: Option<(Time, Price)>,
    /// The network's present answer, if it is ok.
    pub peers: Option<Price>,
}

/// Parameters of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserveParams {
    /// Greatest age of a quote, and of the node's own last price as a yardstick, in milliseconds.
    pub max_age_ms: u64,
    /// Distinct sources needed.
    pub sources_min: u8,
    /// Least confidence of a price that is not doubtful, in parts per million.
    pub confidence_min_ppm: u32,
    /// Greatest distance from the node's own last price and from the network's answer, in parts per million.
    pub move_max_ppm: u64,
}

impl Default for ObserveParams {
    /// The deployment guide's `max_price_age_seconds = 30`, `min_sources = 3` and `confidence_threshold = 0.95`; 20 % as
    /// greatest move within that age is a guess (the greatest minute in the recorded USDC de-peg moved BTC by 1.94 %).
    fn default() -> Self {
        Self { max_age_ms: 30_000, sources_min: 3, confidence_min_ppm: 950_000, move_max_ppm: 200_000 }
    }
}

impl Observation {
    /// Distinct sources that counted: the metric `oracle_active_sources`.
    pub fn active_sources(&self) -> u8 {
        match &self.outcome {
            Ok(observed) => u8::try_from(observed.sources.count_ones()).unwrap_or(u8::MAX),
            Err(Refused::TooFewSources { have, .. }) => *have,
        }
    }
}

impl Observed {
    /// Whether the oracle doubts the price itself.
    pub fn is_doubtful(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// The statement to sign about this price.
    pub fn attest(&self, feed: Feed, expo: i8) -> Result<Attestation, AttestationError> {
        Attestation::of_price(feed, (self.price, self.half_width), expo, self.sources, self.is_doubtful())
    }
}

/// One tick of one feed: sanity, conversion, gate, weighted median, half-width, plausibility. `quote_of` gives the newest answer
/// held for a leg.
pub fn observe<'q>(
    graph: &ConversionGraph,
    now: Time,
    quote_of: impl Fn(&Leg) -> Option<&'q Quote>,
    prior: &Prior,
    params: &ObserveParams,
) -> Observation {
    let sane = sane_legs(graph, |leg| {
        quote_of(leg).ok_or(Verdict::NoQuote).and_then(|quote| leg_price(quote, now, params.max_age_ms))
    });
    let raw: Vec<_> = sane.iter().map(|s| s.as_ref().ok().map(|p| p.price)).collect();
    let converted = graph.convert(&raw);

    let mut verdicts = Vec::with_capacity(sane.len());
    let mut candidates = Vec::new();
    for (at, leg) in graph.legs().iter().enumerate() {
        let verdict = match (sane[at], converted[at]) {
            (Err(verdict), _) => verdict,
            (Ok(_), _) if !graph.is_within_reach(leg) => Verdict::BeyondHops,
            (Ok(_), None) => Verdict::NoRate,
            (Ok(_), Some(_)) if !graph.is_price_leg(leg) => Verdict::Rate,
            (Ok(leg_price), Some(price)) => {
                candidates.push(Candidate::new(at, leg, leg_price, price));
                Verdict::Counted
            }
        };
        verdicts.push(verdict);
    }

    let points: Vec<_> = candidates.iter().map(|c| Point { source: c.source, price: c.price }).collect();
    let mut kept = gate(&points, params.sources_min).into_iter();
    candidates.retain(|candidate| {
        let stays = kept.next().unwrap_or(true);
        if !stays {
            verdicts[candidate.leg] = Verdict::Outlier;
        }
        stays
    });

    let record = |((leg, raw), (converted, verdict)): ((&Leg, Option<Price>), (Option<Price>, Verdict))| LegRecord {
        source: leg.source,
        symbol: leg.symbol.clone(),
        raw,
        converted,
        verdict,
    };
    let legs = graph.legs().iter().zip(raw).zip(converted.into_iter().zip(verdicts)).map(record).collect();
    let feed = graph.feed();
    Observation { feed, outcome: conclude(&candidates, now, prior, params), legs: FeedLegs { feed, legs } }
}

/// A price leg that may count.
struct Candidate {
    leg: usize,
    source: SourceId,
    price: Price,
    half_spread: Price,
    weight: u32,
}

impl Candidate {
    fn new(at: usize, leg: &Leg, stated: LegPrice, price: Price) -> Self {
        // The spread is scaled by the price, so that it is in the feed's currency too; the rates' own spreads are left out.
        let half_spread = stated.half_spread.scaled(price.units(), stated.price.units().max(1)).unwrap_or(Price::MAX);
        Self { leg: at, source: leg.source, price, half_spread, weight: leg.weight }
    }
}

/// The stated price of each leg. Of legs that mirror one another the first usable one is taken.
fn sane_legs(
    graph: &ConversionGraph,
    stated: impl Fn(&Leg) -> Result<LegPrice, Verdict>,
) -> Vec<Result<LegPrice, Verdict>> {
    let mut mirrored = BTreeSet::new();
    let once = |leg: &Leg| {
        let price = stated(leg)?;
        match leg.mirror {
            Some(group) if !mirrored.insert(group) => Err(Verdict::Mirror),
            _ => Ok(price),
        }
    };
    graph.legs().iter().map(once).collect()
}

fn conclude(candidates: &[Candidate], now: Time, prior: &Prior, params: &ObserveParams) -> Result<Observed, Refused> {
    let sources = candidates.iter().fold(0, |bits, c| bits | c.source.bit());
    let have = u8::try_from(u16::count_ones(sources)).unwrap_or(u8::MAX);
    let refused = Refused::TooFewSources { have, need: params.sources_min };
    let weights = capped_weights(candidates);
    let votes: Vec<Vote> = candidates.iter().zip(&weights).map(|(c, &w)| (c.price, w)).collect();
    let price = lower_weighted_median(&votes).filter(|_| have >= params.sources_min).ok_or(refused)?;

    let half_width = half_width(candidates, &weights, price);
    let confidence_ppm = confidence_ppm(half_width, price);
    let mut doubts = Vec::new();
    if confidence_ppm < params.confidence_min_ppm {
        doubts.push(Doubt::LowConfidence);
    }
    let own = prior.own.filter(|&(at, _)| now.since_ms(at) <= params.max_age_ms).map(|(_, last)| last);
    let too_far = |reference: Option<Price>| price.deviation_ppm(reference?).filter(|&ppm| ppm > params.move_max_ppm);
    doubts.extend(too_far(own).map(|ppm| Doubt::Moved { ppm }));
    doubts.extend(too_far(prior.peers).map(|ppm| Doubt::FarFromPeers { ppm }));
    Ok(Observed { price, half_width, sources, legs_used: candidates.len(), confidence_ppm, doubts })
}

/// The greater of two doubts about a price: half the spread of the leg it came from, and how far the quartiles are if each leg
/// votes three times, for its price and for its price less and plus its half spread (Pyth's aggregation: the greater distance
/// to the 25 % and 75 % votes).
fn half_width(candidates: &[Candidate], weights: &[u64], price: Price) -> Price {
    let from = candidates.iter().filter(|c| c.price == price).map(|c| c.half_spread).max().unwrap_or(Price::ZERO);
    let mut votes: Vec<Vote> = Vec::new();
    for (candidate, &weight) in candidates.iter().zip(weights) {
        let Candidate { price, half_spread, .. } = candidate;
        votes.push((*price, weight));
        votes.push((price.minus(*half_spread).unwrap_or(Price::ZERO), weight));
        votes.push((price.plus(*half_spread).unwrap_or(Price::MAX), weight));
    }
    let distance = |part| lower_quantile(&votes, part, 4).and_then(|vote| price.distance(vote).ok());
    from.max(distance(1).unwrap_or(Price::ZERO)).max(distance(3).unwrap_or(Price::ZERO))
}

/// The candidates' weights with each source capped at half of the whole: sources above the largest c for which
/// `2c <= sum of min(V, c)` over the sources' weights V have all their legs scaled down to c. Configured weights respect the cap;
/// it binds when other venues are away. A lone source is not capped.
fn capped_weights(candidates: &[Candidate]) -> Vec<u64> {
    let mut venues: BTreeMap<SourceId, u64> = BTreeMap::new();
    for candidate in candidates {
        *venues.entry(candidate.source).or_default() += u64::from(candidate.weight);
    }
    // Only the greatest can exceed half of the whole; it is then cut to the sum of the others.
    let greatest = venues.iter().max_by_key(|&(_, &weight)| weight).map(|(&source, &weight)| (source, weight));
    let (source, weight) = greatest.unwrap_or((SourceId::fixed::<0>(), 0));
    let others = venues.values().sum::<u64>() - weight;
    let scale = |candidate: &Candidate| {
        let fine = u64::from(candidate.weight) * WEIGHT_SCALE;
        if candidate.source != source || others == 0 || weight <= others {
            return fine;
        }
        // At most `fine`, so it fits.
        u64::try_from(u128::from(fine) * u128::from(others) / u128::from(weight)).unwrap_or(fine)
    };
    candidates.iter().map(scale).collect()
}

/// Weights are multiplied by this before they are scaled down, so that rounding does not matter: 2^20, and 32-bit weights of 64
/// legs still sum below 2^58.
const WEIGHT_SCALE: u64 = 1 << 20;

/// 1 - half-width / price in parts per million, rounded down; zero if the half-width is the price or more.
fn confidence_ppm(half_width: Price, price: Price) -> u32 {
    let share = U256::from(half_width.units().unsigned_abs()) * U256::from(1_000_000u32);
    let off = share.div_ceil(U256::from(price.units().unsigned_abs().max(1)));
    1_000_000u32.saturating_sub(u32::try_from(off).unwrap_or(u32::MAX))
}
