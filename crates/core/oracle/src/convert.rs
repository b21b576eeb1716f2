//! From what venues trade to what a feed is priced in: legs typed by currency, and the graph that converts them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Currency, Feed, Price, median::lower_weighted_median};

/// A market of a venue, as a source of a price or of a conversion rate. Its price is that of `base` in `quote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The source (venue) it belongs to.
    pub source: SourceId,
    /// The venue's name, for people.
    pub venue: String,
    /// The venue's own symbol; 1 to [`SYMBOL_LEN_MAX`] printable ASCII characters.
    pub symbol: String,
    /// What is priced.
    pub base: Currency,
    /// What it is priced in.
    pub quote: Currency,
    /// Weight in the median, at least 1.
    pub weight: u32,
    /// Legs of one group mirror one another (Coinbase answers `-USDC` products with the `-USD` book) and count once.
    pub mirror: Option<u8>,
}

/// The network-wide index of a source, 0 to 15: a bit of an attestation's bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u8);

/// How legs become prices of one feed. A graph that exists composes: units reach the feed's quote currency, and nothing is
/// defined by itself.
///
/// Legs that price the feed's base are price legs; all others give conversion rates of their base. Only real markets convert:
/// nothing is assumed to be a dollar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionGraph {
    feed: Feed,
    base: Currency,
    quote: Currency,
    legs: Vec<Leg>,
    hops_max: u8,
}

/// Why a graph was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// There is no leg, or there are more than [`LEGS_MAX`].
    #[error("{feed} has {legs} legs, allowed are 1 to {LEGS_MAX}")]
    Legs {
        /// The feed.
        feed: Feed,
        /// Its legs.
        legs: usize,
    },
    /// No leg prices the feed's base.
    #[error("no leg prices the base of {0}")]
    NoPriceLeg(Feed),
    /// More conversions in a row than [`HOPS_MAX`] are asked for.
    #[error("{0} conversions in a row are asked for, at most {HOPS_MAX} are allowed")]
    Hops(u8),
    /// A venue's symbol is empty, too long, or has other characters.
    #[error("symbol {0:?} is not 1 to {SYMBOL_LEN_MAX} printable characters without spaces")]
    Symbol(String),
    /// A leg weighs nothing.
    #[error("leg {0} has weight zero")]
    Weight(String),
    /// A leg prices a currency in itself.
    #[error("leg {symbol} prices {currency} in itself")]
    SelfPriced {
        /// The leg.
        symbol: String,
        /// The currency.
        currency: Currency,
    },
    /// A source gives the same symbol twice.
    #[error("leg {symbol} of {venue} is given twice")]
    Repeated {
        /// The venue.
        venue: String,
        /// The leg.
        symbol: String,
    },
    /// The rate of a currency would depend on itself, or on the price that is to be found.
    #[error("the conversion of {0} goes in a circle")]
    Cycle(Currency),
    /// No real market leads from a price leg's quote currency to the feed's within the allowed conversions.
    #[error("leg {symbol} is priced in {from}, which no leg converts to {to} within {hops} conversions")]
    Unconvertible {
        /// The leg.
        symbol: String,
        /// Its quote currency.
        from: Currency,
        /// The feed's quote currency.
        to: Currency,
        /// Conversions allowed in a row.
        hops: u8,
    },
}

/// Sources of a network: bits of the bitmap.
pub const SOURCES_MAX: u8 = 16;

/// Most legs of a feed: four of each source.
pub const LEGS_MAX: usize = 64;

/// Longest venue symbol in bytes; real ones stay below 20.
pub const SYMBOL_LEN_MAX: usize = 32;

/// Conversions in a row unless configured: each adds its market's noise.
pub const HOPS_DEFAULT: u8 = 1;

/// Most conversions in a row that can be configured; a price with more steps is mostly other markets' noise.
pub const HOPS_MAX: u8 = 2;

impl SourceId {
    /// A source index, below [`SOURCES_MAX`].
    pub const fn new(index: u8) -> Option<Self> {
        if index < SOURCES_MAX { Some(Self(index)) } else { None }
    }

    /// A source index known when compiling; refused there if out of range.
    pub const fn fixed<const INDEX: u8>() -> Self {
        const { assert!(INDEX < SOURCES_MAX) };
        Self(INDEX)
    }

    /// The index.
    pub const fn index(self) -> u8 {
        self.0
    }

    /// The source's bit in an attestation's bitmap.
    pub const fn bit(self) -> u16 {
        1 << self.0
    }
}

impl ConversionGraph {
    /// Checks the legs of a feed. Their order does not matter.
    pub fn new(feed: Feed, mut legs: Vec<Leg>, hops_max: u8) -> Result<Self, GraphError> {
        let (Some(base), Some(quote)) = (feed.base(), feed.quote()) else { return Err(GraphError::NoPriceLeg(feed)) };
        if hops_max > HOPS_MAX {
            return Err(GraphError::Hops(hops_max));
        }
        if !(1..=LEGS_MAX).contains(&legs.len()) {
            return Err(GraphError::Legs { feed, legs: legs.len() });
        }
        legs.sort_by(|a, b| (a.source, &a.symbol).cmp(&(b.source, &b.symbol)));
        let graph = Self { feed, base, quote, legs, hops_max };
        graph.check_legs()?;
        graph.check_cycles()?;
        graph.check_reach()?;
        Ok(graph)
    }

    /// The feed.
    pub const fn feed(&self) -> Feed {
        self.feed
    }

    /// All legs, by source and symbol.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// Whether a leg prices the feed's base, rather than converting.
    pub fn is_price_leg(&self, leg: &Leg) -> bool {
        leg.base == self.base
    }

    /// Whether a leg's price can be converted to the feed's quote currency within the allowed conversions. Every price leg can; a
    /// conversion leg that cannot is kept for comparison only.
    pub fn is_within_reach(&self, leg: &Leg) -> bool {
        let hops = if self.is_price_leg(leg) { Some(self.hops_max) } else { self.hops_max.checked_sub(1) };
        hops.is_some_and(|hops| self.reaches(leg.quote, hops))
    }

    /// The price of each leg in the feed's quote currency, in the order of [`legs`](Self::legs); `None` where the leg has no
    /// price or no rate is known. A price leg may take all allowed conversions, a conversion leg is itself one of them.
    ///
    /// A rate known from one leg is that leg's, from two their midpoint, from more their lower weighted median.
    pub fn convert(&self, prices: &[Option<Price>]) -> Vec<Option<Price>> {
        let onward = |leg: &Leg| {
            let hops = if self.is_price_leg(leg) { Some(self.hops_max) } else { self.hops_max.checked_sub(1) };
            self.rate(leg.quote, hops?, prices)
        };
        let convert =
            |(leg, price): (&Leg, &Option<Price>)| (*price)?.times(onward(leg)?).ok().filter(|p| p.is_positive());
        self.legs.iter().zip(prices).map(convert).collect()
    }

    /// What one unit of a currency is worth in the feed's quote currency.
    fn rate(&self, currency: Currency, hops: u8, prices: &[Option<Price>]) -> Option<Price> {
        if currency == self.quote {
            return Some(Price::ONE);
        }
        let fewer = hops.checked_sub(1)?;
        let mut votes = Vec::new();
        for (leg, price) in self.legs.iter().zip(prices).filter(|(leg, _)| leg.base == currency) {
            let converted = price.and_then(|price| price.times(self.rate(leg.quote, fewer, prices)?).ok());
            votes.extend(converted.map(|rate| (rate, u64::from(leg.weight))));
        }
        match votes[..] {
            [] => None,
            [(rate, _)] => Some(rate),
            [(one, _), (other, _)] => Some(one.midpoint(other)),
            _ => lower_weighted_median(&votes),
        }
    }

    fn check_legs(&self) -> Result<(), GraphError> {
        let mut seen = BTreeSet::new();
        for leg in &self.legs {
            let symbol = || leg.symbol.chars().take(SYMBOL_LEN_MAX).collect();
            let plain = leg.symbol.bytes().all(|b| b.is_ascii_graphic());
            if !plain || !(1..=SYMBOL_LEN_MAX).contains(&leg.symbol.len()) {
                return Err(GraphError::Symbol(symbol()));
            }
            if leg.weight == 0 {
                return Err(GraphError::Weight(symbol()));
            }
            if leg.base == leg.quote {
                return Err(GraphError::SelfPriced { symbol: symbol(), currency: leg.base });
            }
            if !seen.insert((leg.source, &leg.symbol)) {
                return Err(GraphError::Repeated { venue: leg.venue.clone(), symbol: symbol() });
            }
        }
        if self.legs.iter().any(|leg| self.is_price_leg(leg)) { Ok(()) } else { Err(GraphError::NoPriceLeg(self.feed)) }
    }

    /// No currency may lead back to itself; the feed's quote currency needs no rate and its base is what is to be found, so
    /// neither may be converted from or through.
    fn check_cycles(&self) -> Result<(), GraphError> {
        let mut onward: BTreeMap<Currency, BTreeSet<Currency>> = BTreeMap::new();
        for leg in self.legs.iter().filter(|leg| !self.is_price_leg(leg)) {
            if leg.base == self.quote || leg.quote == self.base {
                return Err(GraphError::Cycle(leg.base));
            }
            onward.entry(leg.base).or_default().insert(leg.quote);
        }
        // Take out, again and again, what leads nowhere that is still in: what remains leads round.
        loop {
            let ends = |(_, to): &(&Currency, &BTreeSet<Currency>)| !to.iter().any(|next| onward.contains_key(next));
            match onward.iter().find(ends).map(|(&currency, _)| currency) {
                Some(end) => onward.remove(&end),
                None => break,
            };
        }
        onward.keys().next().map_or(Ok(()), |&currency| Err(GraphError::Cycle(currency)))
    }

    fn check_reach(&self) -> Result<(), GraphError> {
        let stuck = self.legs.iter().find(|leg| self.is_price_leg(leg) && !self.is_within_reach(leg));
        stuck.map_or(Ok(()), |leg| {
            let (symbol, from) = (leg.symbol.clone(), leg.quote);
            Err(GraphError::Unconvertible { symbol, from, to: self.quote, hops: self.hops_max })
        })
    }

    fn reaches(&self, currency: Currency, hops: u8) -> bool {
        let onward = |fewer| self.legs.iter().any(|leg| leg.base == currency && self.reaches(leg.quote, fewer));
        currency == self.quote || hops.checked_sub(1).is_some_and(onward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{btc_usd, price};

    /// A leg of source `n` for a market such as `BTC/USDT`, which is its symbol too.
    fn leg(n: u8, market: &str) -> Leg {
        let (base, quote) = market.split_once('/').unwrap();
        let (base, quote) = (base.parse().unwrap(), quote.parse().unwrap());
        Leg {
            source: SourceId::new(n).unwrap(),
            venue: format!("venue_{n}"),
            symbol: market.to_owned(),
            base,
            quote,
            weight: 1,
            mirror: None,
        }
    }

    fn graph(legs: &[(u8, &str)], hops: u8) -> Result<ConversionGraph, GraphError> {
        ConversionGraph::new(btc_usd(), legs.iter().map(|&(n, market)| leg(n, market)).collect(), hops)
    }

    /// Prices of the legs of a graph in the feed's currency, by source and market.
    fn converted(legs: &[(u8, &str, &str)], hops: u8) -> Vec<Option<String>> {
        let graph = graph(&legs.iter().map(|&(n, market, _)| (n, market)).collect::<Vec<_>>(), hops).unwrap();
        let stated = |leg: &Leg| {
            let (_, _, text) = legs.iter().find(|&&(n, market, _)| n == leg.source.index() && market == leg.symbol)?;
            (*text != "-").then(|| price(text))
        };
        let prices: Vec<_> = graph.legs().iter().map(stated).collect();
        graph.convert(&prices).into_iter().map(|p| p.map(|p| p.to_string())).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|&t| (t != "-").then(|| t.to_owned())).collect()
    }

    #[test]
    fn units_must_compose() {
        assert!(graph(&[(0, "BTC/USD")], 0).is_ok());
        // A dollar stablecoin is not a dollar.
        for quote in ["USDT", "USDC", "EUR"] {
            let market = format!("BTC/{quote}");
            assert!(
                matches!(graph(&[(0, "BTC/USD"), (1, &market)], 2), Err(GraphError::Unconvertible { .. })),
                "{quote}"
            );
        }
        assert!(matches!(graph(&[(0, "BTC/USDT"), (1, "USDT/USD")], 0), Err(GraphError::Unconvertible { .. })));
        assert!(graph(&[(0, "BTC/USDT"), (1, "USDT/USD")], 1).is_ok());
        let two = [(0, "BTC/USDC"), (0, "USDC/USDT"), (1, "USDT/USD")];
        assert!(matches!(graph(&two, 1), Err(GraphError::Unconvertible { .. })));
        assert!(graph(&two, 2).is_ok());
        assert!(matches!(graph(&two, 3), Err(GraphError::Hops(3))));
        assert!(matches!(graph(&[(0, "USDT/USD")], 1), Err(GraphError::NoPriceLeg(_))));
        // The other way round it is another rate: 1/x is not what the market states.
        assert!(matches!(graph(&[(0, "BTC/USDT"), (1, "USD/USDT")], 1), Err(GraphError::Cycle(_))));
    }

    #[test]
    fn circles_are_refused() {
        for legs in [
            vec![(0, "BTC/USDT"), (1, "USDT/USD"), (2, "USDT/USDC"), (3, "USDC/USDT")],
            vec![(0, "BTC/USD"), (1, "A/B"), (1, "B/C"), (1, "C/A")],
            vec![(0, "BTC/USD"), (1, "USD/USDT"), (1, "USDT/USD")],
            // USDT by what BTC costs in it: the very price that is looked for.
            vec![(0, "BTC/USDT"), (1, "USDT/BTC"), (2, "USDT/USD")],
        ] {
            assert!(matches!(graph(&legs, 2), Err(GraphError::Cycle(_))), "{legs:?}");
        }
        // Two ways to the same end are no circle.
        assert!(graph(&[(0, "BTC/USDC"), (1, "USDC/USD"), (1, "USDC/USDT"), (2, "USDT/USD")], 2).is_ok());
    }

    #[test]
    fn bad_legs_are_refused() {
        let with = |change: fn(&mut Leg)| {
            let mut legs = vec![leg(0, "BTC/USD"), leg(1, "BTC/USD")];
            change(&mut legs[1]);
            ConversionGraph::new(btc_usd(), legs, 1).unwrap_err()
        };
        assert!(matches!(with(|l| l.weight = 0), GraphError::Weight(_)));
        assert!(matches!(with(|l| l.quote = l.base), GraphError::SelfPriced { .. }));
        assert!(matches!(with(|l| l.source = SourceId::fixed::<0>()), GraphError::Repeated { .. }));
        assert!(matches!(with(|l| l.symbol.clear()), GraphError::Symbol(_)));
        assert!(matches!(with(|l| l.symbol = "é".to_owned()), GraphError::Symbol(_)));
        assert_eq!(graph(&[], 1), Err(GraphError::Legs { feed: btc_usd(), legs: 0 }));
        let many = vec![leg(0, "BTC/USD"); LEGS_MAX + 1];
        assert!(matches!(ConversionGraph::new(btc_usd(), many, 1), Err(GraphError::Legs { .. })));
        assert_eq!(SourceId::new(SOURCES_MAX), None);
    }

    #[test]
    fn rates_are_one_legs_or_a_midpoint_or_a_median() {
        assert_eq!(converted(&[(0, "BTC/USDT", "100"), (1, "USDT/USD", "0.5")], 1), some(&["50", "0.5"]));
        let two = [(0, "BTC/USDT", "100"), (1, "USDT/USD", "0.5"), (2, "USDT/USD", "0.7")];
        assert_eq!(converted(&two, 1), some(&["60", "0.5", "0.7"]));
        let three = [(0, "BTC/USDT", "100"), (1, "USDT/USD", "0.5"), (2, "USDT/USD", "0.9"), (3, "USDT/USD", "0.7")];
        assert_eq!(converted(&three, 1)[0], some(&["70"])[0]);
        let gone = [(0, "BTC/USDT", "100"), (1, "USDT/USD", "-"), (2, "BTC/USD", "60")];
        assert_eq!(converted(&gone, 1), some(&["-", "-", "60"]));
    }

    #[test]
    fn a_second_hop_counts_only_where_it_is_allowed() {
        let legs = [(0, "BTC/USDC", "100"), (0, "USDC/USDT", "0.8"), (1, "USDC/USD", "0.9"), (2, "USDT/USD", "1")];
        assert_eq!(converted(&legs, 1), some(&["90", "-", "0.9", "1"]));
        assert_eq!(converted(&legs, 2), some(&["85", "0.8", "0.9", "1"]));
    }

    #[test]
    fn products_that_do_not_fit_or_vanish_are_no_price() {
        let huge = "170141183460469231731";
        assert_eq!(converted(&[(0, "BTC/USDT", huge), (1, "USDT/USD", "2")], 1)[0], None);
        assert_eq!(converted(&[(0, "BTC/USDT", "1e-18"), (1, "USDT/USD", "0.5")], 1)[0], None);
    }
}
