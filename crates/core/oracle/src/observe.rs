//! From quotes to one price: what a node does for a feed in a tick.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{
    Time,
    canary::{Canary, sings},
};
use ruint::aliases::U256;

use crate::{
    Attestation, AttestationError, ConversionGraph, Feed, FeedLegs, Leg, LegPrice, LegRecord, Point, Price, Quote,
    SourceId, Verdict,
    gate::gate,
    median::{Vote, lower_weighted_median, quartile_distance, three_votes},
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
    /// The node's own last price that was not doubtful, and its time; ignored once older than the maximum age.
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

    let record = |(at, leg): (usize, &Leg)| LegRecord {
        source: leg.source,
        symbol: leg.symbol.clone(),
        raw: raw[at],
        converted: converted[at],
        verdict: verdicts[at],
    };
    let legs = graph.legs().iter().enumerate().map(record).collect();
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
    let price = lower_weighted_median(&votes);
    let price = price.filter(|_| have >= params.sources_min || sings(Canary::Oracle5)).ok_or(refused)?;

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
    let votes = candidates.iter().zip(weights).flat_map(|(c, &weight)| three_votes(c.price, c.half_spread, weight));
    from.max(quartile_distance(price, &votes.collect::<Vec<_>>()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        fixtures::{book, btc_usd, last, price},
        median::lower_quantile,
    };

    const NOW: Time = Time::from_ms(1_000_000);

    /// Source, market, weight.
    type Row = (u8, &'static str, u32);

    const USD: [Row; 3] = [(0, "BTC/USD", 1), (1, "BTC/USD", 1), (2, "BTC/USD", 1)];

    fn leg(&(n, market, weight): &Row) -> Leg {
        let (base, quote) = market.split_once('/').unwrap();
        let (base, quote) = (base.parse().unwrap(), quote.parse().unwrap());
        Leg {
            source: SourceId::new(n).unwrap(),
            venue: "v".to_owned(),
            symbol: market.to_owned(),
            base,
            quote,
            weight,
            mirror: None,
        }
    }

    fn seen(legs: Vec<Leg>, quotes: &[Option<Quote>], prior: &Prior) -> Observation {
        let asked = legs.clone();
        let graph = ConversionGraph::new(btc_usd(), legs, 1).unwrap();
        let quote_of = |leg: &Leg| quotes[asked.iter().position(|l| l == leg).unwrap()].as_ref();
        observe(&graph, NOW, quote_of, prior, &ObserveParams::default())
    }

    fn seen_usd(prices: [&str; 3]) -> Observation {
        seen(USD.iter().map(leg).collect(), &prices.map(|p| Some(last(p, NOW))), &Prior::default())
    }

    fn verdicts(observation: &Observation) -> Vec<Verdict> {
        observation.legs.legs.iter().map(|leg| leg.verdict).collect()
    }

    #[test]
    fn a_price_of_enough_sources() {
        let observation = seen_usd(["100", "101", "100.5"]);
        let observed = observation.outcome.clone().unwrap();
        assert_eq!((observed.price, observed.sources, observed.legs_used), (price("100.5"), 0b111, 3));
        assert_eq!(observed.half_width, price("0.5"));
        assert_eq!(observed.confidence_ppm, 995_024);
        assert!(!observed.is_doubtful());
        assert_eq!(observation.active_sources(), 3);
        let attestation = observed.attest(btc_usd(), -8).unwrap();
        assert_eq!((attestation.price(), attestation.half_width()), (price("100.5"), 498));
    }

    #[test]
    fn below_the_source_quorum_nothing_is_published() {
        let quotes = [Some(last("100", NOW)), None, Some(last("100", Time::from_ms(1)))];
        let observation = seen(USD.iter().map(leg).collect(), &quotes, &Prior::default());
        assert_eq!(observation.outcome, Err(Refused::TooFewSources { have: 1, need: 3 }));
        assert_eq!(observation.active_sources(), 1);
        assert_eq!(verdicts(&observation), [Verdict::Counted, Verdict::NoQuote, Verdict::TooOld]);
        // Two legs of one venue are one source.
        let rows = [(0, "BTC/USD", 1), (0, "BTC/USDT", 1), (0, "USDT/USD", 1), (1, "BTC/USD", 1)];
        let quotes = ["100", "100", "1", "100"].map(|p| Some(last(p, NOW)));
        let observation = seen(rows.iter().map(leg).collect(), &quotes, &Prior::default());
        assert_eq!(observation.outcome, Err(Refused::TooFewSources { have: 2, need: 3 }));
    }

    #[test]
    fn every_leg_has_a_verdict() {
        let rows = [
            (0, "BTC/USD", 1),
            (1, "BTC/USD", 1),
            (2, "BTC/USD", 1),
            (3, "BTC/USD", 1),
            (4, "BTC/USDT", 1),
            (5, "BTC/USDC", 1),
            (5, "USDC/USD", 1),
            (6, "USDT/USD", 1),
            (7, "BTC/USD", 1),
            (8, "USDC/USDT", 1),
        ];
        let quotes = [
            Some(last("100", NOW)),
            Some(last("100.1", NOW)),
            Some(book("102", "100", NOW)),
            Some(last("120", NOW)),
            Some(last("100", NOW)),
            Some(last("100", NOW)),
            Some(last("0", NOW)),
            Some(last("1", NOW)),
            Some(last("100", NOW.after_ms(SKEWED_MS))),
            Some(last("1", NOW)),
        ];
        let observation = seen(rows.iter().map(leg).collect(), &quotes, &Prior::default());
        use Verdict::{BeyondHops, Counted, Crossed, FromFuture, NoRate, NotPositive, Outlier, Rate};
        let want = [Counted, Counted, Crossed, Outlier, Counted, NoRate, NotPositive, Rate, FromFuture, BeyondHops];
        assert_eq!(verdicts(&observation), want);
        assert_eq!(observation.outcome.unwrap().sources, 0b10011);
    }

    const SKEWED_MS: u64 = crate::SKEW_MAX_MS + 1;

    #[test]
    fn mirrors_count_once() {
        let mut legs: Vec<Leg> =
            [(0, "BTC/USD", 1), (0, "BTC/USDC", 9), (1, "BTC/USD", 1), (2, "BTC/USD", 1), (2, "USDC/USD", 1)]
                .iter()
                .map(leg)
                .collect();
        legs[0].mirror = Some(1);
        legs[1].mirror = Some(1);
        let quotes = ["100", "100", "101", "102", "1"].map(|p| Some(last(p, NOW)));
        let observation = seen(legs.clone(), &quotes, &Prior::default());
        // The first by symbol is the one that counts.
        assert_eq!(verdicts(&observation)[..2], [Verdict::Counted, Verdict::Mirror]);
        assert_eq!(observation.outcome.unwrap().legs_used, 3);
        // Where it is away, the other stands in.
        let mut quotes = quotes;
        quotes[0] = None;
        assert_eq!(verdicts(&seen(legs, &quotes, &Prior::default()))[..2], [Verdict::NoQuote, Verdict::Counted]);
    }

    #[test]
    fn a_venue_counts_for_half_at_most() {
        let rows = [(0, "BTC/USD", 1), (1, "BTC/USD", 1), (2, "BTC/USD", 100)];
        let quotes = ["100", "101", "102"].map(|p| Some(last(p, NOW)));
        let observation = seen(rows.iter().map(leg).collect(), &quotes, &Prior::default());
        assert_eq!(observation.outcome.unwrap().price, price("101"));
    }

    #[test]
    fn doubt() {
        let doubts = |prior: Prior| {
            let quotes = ["100", "100", "100"].map(|p| Some(last(p, NOW)));
            seen(USD.iter().map(leg).collect(), &quotes, &prior).outcome.unwrap().doubts
        };
        let own = |at: u64, text: &str| Prior { own: Some((Time::from_ms(at), price(text))), peers: None };
        let peers = |text: &str| Prior { own: None, peers: Some(price(text)) };
        assert_eq!(doubts(Prior::default()), []);
        assert_eq!(doubts(own(990_000, "84")), []);
        assert_eq!(doubts(own(990_000, "83")), [Doubt::Moved { ppm: 204_819 }]);
        assert_eq!(doubts(own(969_999, "83")), []);
        assert_eq!(doubts(peers("124")), []);
        assert_eq!(doubts(peers("126")), [Doubt::FarFromPeers { ppm: 206_349 }]);

        // Books so wide that the price is off by 6 %.
        let wide = [(); 3].map(|()| Some(book("94", "106", NOW)));
        let observed = seen(USD.iter().map(leg).collect(), &wide, &Prior::default()).outcome.unwrap();
        assert_eq!((observed.confidence_ppm, observed.doubts.clone()), (940_000, vec![Doubt::LowConfidence]));
        assert!(observed.attest(btc_usd(), -8).unwrap().is_doubtful());
    }

    #[test]
    fn a13_what_does_not_fit_is_refused_and_never_clamped() {
        let huge = seen_usd(["9e19", "9e19", "9e19"]).outcome.unwrap();
        assert!(matches!(huge.attest(btc_usd(), -8), Err(AttestationError::TooLarge(_))));
        let tiny = seen_usd(["1e-18", "1e-18", "1e-18"]).outcome.unwrap();
        assert!(matches!(tiny.attest(btc_usd(), -8), Err(AttestationError::Vanishes(_))));
        assert_eq!(tiny.confidence_ppm, 1_000_000);
    }

    proptest! {
        #[test]
        fn a9_the_price_is_within_the_quartiles_of_the_votes(legs in prop::collection::vec((1i128..1_000, 0i128..50, 1u32..9), 1..12)) {
            let candidates: Vec<_> = legs.iter().enumerate().map(|(at, &(p, half, weight))| Candidate {
                leg: at,
                source: SourceId::new(u8::try_from(at).unwrap()).unwrap(),
                price: Price::from_units(p),
                half_spread: Price::from_units(half.min(p)),
                weight,
            }).collect();
            let weights = capped_weights(&candidates);
            let votes: Vec<Vote> = candidates.iter().zip(&weights).map(|(c, &w)| (c.price, w)).collect();
            let price = lower_weighted_median(&votes).unwrap();
            let thrice: Vec<Vote> = candidates.iter().zip(&weights).flat_map(|(c, &w)| three_votes(c.price, c.half_spread, w)).collect();
            let (low, high) = (lower_quantile(&thrice, 1, 4).unwrap(), lower_quantile(&thrice, 3, 4).unwrap());
            prop_assert!(low <= price && price <= high);
            let width = half_width(&candidates, &weights, price);
            prop_assert!(price.minus(width).unwrap() <= low && high <= price.plus(width).unwrap());
        }

        #[test]
        fn a19_no_venue_outweighs_the_others(legs in prop::collection::vec((0u8..4, 1u32..=u32::MAX), 1..40)) {
            let candidates: Vec<_> = legs.iter().map(|&(n, weight)| Candidate {
                leg: 0, source: SourceId::new(n).unwrap(), price: Price::ONE, half_spread: Price::ZERO, weight,
            }).collect();
            let mut venues: BTreeMap<SourceId, u64> = BTreeMap::new();
            for (candidate, weight) in candidates.iter().zip(capped_weights(&candidates)) {
                *venues.entry(candidate.source).or_default() += weight;
            }
            let total: u64 = venues.values().sum();
            // Scaling rounds each leg down by less than one of 2^20 parts of a weight.
            let rounding = legs.len() as u64;
            prop_assert!(venues.len() == 1 || venues.values().all(|&w| 2 * w <= total + rounding));
        }

        #[test]
        fn any_quotes_give_an_answer(units in prop::collection::vec((any::<i128>(), any::<i128>(), any::<i128>(), any::<u64>()), 5)) {
            let rows = [(0, "BTC/USD", 1), (1, "BTC/USDT", 1), (2, "BTC/USD", u32::MAX), (2, "USDT/USD", 1), (3, "USDT/USD", 1)];
            let quotes: Vec<_> = units.iter().map(|&(bid, ask, last, at)| Some(Quote {
                bid: Some(Price::from_units(bid)),
                ask: Some(Price::from_units(ask)),
                last: Some(Price::from_units(last)),
                volume: None,
                venue_time: (at % 2 == 0).then(|| Time::from_ms(at)),
                received: NOW,
            })).collect();
            let observation = seen(rows.iter().map(leg).collect(), &quotes, &Prior { own: Some((NOW, Price::MAX)), peers: Some(Price::ZERO) });
            prop_assert_eq!(observation.legs.legs.len(), rows.len());
        }
    }
}
