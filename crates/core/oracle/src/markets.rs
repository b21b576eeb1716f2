//! The markets a node uses unless configured otherwise.

use crate::{Currency, Feed, Leg, SourceId};

/// Network-wide index of Binance.
pub const BINANCE: SourceId = SourceId::fixed::<0>();

/// Network-wide index of Coinbase (the Exchange API).
pub const COINBASE: SourceId = SourceId::fixed::<1>();

/// Network-wide index of Kraken.
pub const KRAKEN: SourceId = SourceId::fixed::<2>();

/// Network-wide index of Bitstamp.
pub const BITSTAMP: SourceId = SourceId::fixed::<3>();

/// Network-wide index of Bybit.
pub const BYBIT: SourceId = SourceId::fixed::<4>();

/// Network-wide index of dYdX, whose prices are other venues'.
pub const DYDX: SourceId = SourceId::fixed::<5>();

/// Network-wide index of Gemini.
pub const GEMINI: SourceId = SourceId::fixed::<6>();

/// Network-wide index of OKX.
pub const OKX: SourceId = SourceId::fixed::<7>();

/// Network-wide index of Uniswap v3 pools.
pub const UNISWAP_V3: SourceId = SourceId::fixed::<8>();

/// Network-wide index of Curve pools.
pub const CURVE: SourceId = SourceId::fixed::<9>();

/// Network-wide index of Chainlink, whose answers are other venues' prices.
pub const CHAINLINK: SourceId = SourceId::fixed::<10>();

/// Network-wide index of Pyth, whose prices are other venues'.
pub const PYTH: SourceId = SourceId::fixed::<11>();

/// Feeds of a configuration without a feeds table.
pub fn default_feeds() -> Vec<Feed> {
    PRICED.iter().filter_map(|priced| format!("{}/USD", priced.base).parse().ok()).collect()
}

/// The default legs of a default feed, weights included; empty for any other feed.
///
/// Weights, by what the market is priced in: USD 4 (two legs); USDT 3 at Binance, by far the deepest, and 2 at Coinbase and
/// Kraken; USDC 1, for a de-pegged USDC was the noisiest way to a dollar. Binance has 4 of 17, Coinbase 6, Kraken 7: none above
/// half. Conversions: USDT by the midpoint of Coinbase and Kraken, USDC by Kraken; `USDCUSDT` would take two conversions in a row,
/// so with the default of one it is watched only.
///
/// Measured on the USDC de-peg of 10 to 13 March 2023 (5,760 minutes, 7 BTC markets, closes seen at the end of their minute and
/// kept for 300 s), against the mean of Coinbase BTC-USD and Kraken XBT/USD, one node that sees every leg: worst
/// 26.9 bps, 99th percentile 11.0, mean 1.9. The reference's own two markets are up to 58 bps apart, so no median of them and
/// others can be much nearer than half of that. Equal weights: 27.7, 12.5, 2.4. With a tenth of all legs lost at random: 43, 12.4,
/// 2.1 for one node alone, and 26.9, 11.3 for the lower median of six nodes with independent losses, one of them 20 % high. ETH has the same weights by analogy; it was not measured.
pub fn default_legs(feed: Feed) -> Vec<Leg> {
    let usd = feed.quote().is_some_and(|quote| quote.as_str() == "USD");
    let priced = PRICED.iter().find(|p| usd && feed.base().is_some_and(|base| base.as_str() == p.base));
    priced.into_iter().flat_map(|p| p.legs.iter().chain(CONVERSIONS)).filter_map(leg).collect()
}

struct Priced {
    base: &'static str,
    legs: &'static [Market],
}

/// Source, its name, its symbol, base, quote, weight.
type Market = (SourceId, &'static str, &'static str, &'static str, &'static str, u32);

const PRICED: &[Priced] = &[
    Priced {
        base: "BTC",
        legs: &[
            (BINANCE, "binance", "BTCUSDT", "BTC", "USDT", 3),
            (BINANCE, "binance", "BTCUSDC", "BTC", "USDC", 1),
            (COINBASE, "coinbase", "BTC-USD", "BTC", "USD", 4),
            (COINBASE, "coinbase", "BTC-USDT", "BTC", "USDT", 2),
            (KRAKEN, "kraken", "XBTUSD", "BTC", "USD", 4),
            (KRAKEN, "kraken", "XBTUSDC", "BTC", "USDC", 1),
            (KRAKEN, "kraken", "XBTUSDT", "BTC", "USDT", 2),
        ],
    },
    Priced {
        base: "ETH",
        legs: &[
            (BINANCE, "binance", "ETHUSDT", "ETH", "USDT", 3),
            (BINANCE, "binance", "ETHUSDC", "ETH", "USDC", 1),
            (COINBASE, "coinbase", "ETH-USD", "ETH", "USD", 4),
            (COINBASE, "coinbase", "ETH-USDT", "ETH", "USDT", 2),
            (KRAKEN, "kraken", "ETHUSD", "ETH", "USD", 4),
            (KRAKEN, "kraken", "ETHUSDC", "ETH", "USDC", 1),
            (KRAKEN, "kraken", "ETHUSDT", "ETH", "USDT", 2),
        ],
    },
];

const CONVERSIONS: &[Market] = &[
    (BINANCE, "binance", "USDCUSDT", "USDC", "USDT", 1),
    (COINBASE, "coinbase", "USDT-USD", "USDT", "USD", 1),
    (KRAKEN, "kraken", "USDCUSD", "USDC", "USD", 1),
    (KRAKEN, "kraken", "USDTUSD", "USDT", "USD", 1),
];

/// The table holds only names that parse; a test reads every row.
fn leg(&(source, venue, symbol, base, quote, weight): &Market) -> Option<Leg> {
    let (base, quote): (Currency, Currency) = (base.parse().ok()?, quote.parse().ok()?);
    Some(Leg { source, venue: venue.to_owned(), symbol: symbol.to_owned(), base, quote, weight, mirror: None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ConversionGraph, HOPS_DEFAULT, HOPS_MAX};

    #[test]
    fn every_row_is_a_leg_and_composes() {
        assert_eq!(default_feeds().len(), PRICED.len());
        for (feed, priced) in default_feeds().into_iter().zip(PRICED) {
            let legs = default_legs(feed);
            assert_eq!(legs.len(), priced.legs.len() + CONVERSIONS.len());
            for hops in HOPS_DEFAULT..=HOPS_MAX {
                let graph = ConversionGraph::new(feed, legs.clone(), hops).unwrap();
                let watched: Vec<_> = graph.legs().iter().filter(|leg| !graph.is_within_reach(leg)).collect();
                assert_eq!(watched.len(), usize::from(hops == 1), "{watched:?}");
            }
        }
        assert!(default_legs("BTC/EUR".parse().unwrap()).is_empty());
        assert!(default_legs("SOL/USD".parse().unwrap()).is_empty());
    }

    #[test]
    fn no_venue_weighs_more_than_half() {
        for priced in PRICED {
            let mut venues: BTreeMap<SourceId, u32> = BTreeMap::new();
            for &(source, _, _, _, _, weight) in priced.legs {
                *venues.entry(source).or_default() += weight;
            }
            let total: u32 = venues.values().sum();
            assert!(venues.values().all(|&w| 2 * w <= total), "{venues:?}");
        }
    }
}
