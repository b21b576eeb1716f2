//! The same quotes under other rules: what each rule of the pipeline is worth.
//!
//! A rule is computed from what the nodes polled, by the pure functions of the oracle and without signatures. Forked authors count
//! nowhere, the high reporter counts everywhere.

use std::collections::BTreeSet;

use concurrence_crdt::{AuthorKey, Time};
use concurrence_oracle::{
    AggregateParams, Attestation, BINANCE, Cells, ConversionGraph, Currency, EXPO_DEFAULT, Epoch, Feed, GraphError,
    HOPS_DEFAULT, Leg, Observation, ObserveParams, Price, Prior, Quote, Slot, Strategy, Verdict, aggregate, mean,
    observe,
};

use super::venues::{QUOTE_AGE_MS_MAX, Quotes};

/// A rule, and what the nodes stated under it.
pub(super) struct Rule {
    /// A short stable name.
    pub(super) name: &'static str,
    /// What it changes, for people.
    pub(super) meaning: &'static str,
    graph: ConversionGraph,
    change: Change,
    params: ObserveParams,
    cells: Cells,
}

/// What a rule computes differently; changed legs and weights are in its graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing.
    Graph,
    /// Arithmetic means in place of both medians.
    Mean,
    /// The market of USDC in USDT, turned over, as the rate of USDT.
    TurnedOver,
}

/// The market that gives the turned-over rate: USDC priced in USDT.
const USDC_IN_USDT: &str = "USDCUSDT";

/// How long statements are kept: longer than any window of a replay.
const KEPT_MS: u64 = 300_000;

impl Rule {
    /// The rules of the table, for a feed and its default legs.
    pub(super) fn all(feed: Feed, legs: &[Leg]) -> anyhow::Result<Vec<Self>> {
        let usd: Currency = "USD".parse()?;
        let usdt: Currency = "USDT".parse()?;
        let usdc: Currency = "USDC".parse()?;
        let bitcoin = |leg: &&Leg| feed.base() == Some(leg.base);
        let in_dollars = |leg: &Leg| Leg { quote: usd, ..leg.clone() };
        let usdc_in_dollars = |leg: &Leg| if leg.quote == usdc { in_dollars(leg) } else { leg.clone() };
        let turned_over = legs
            .iter()
            .filter(|leg| leg.source == BINANCE && leg.symbol == USDC_IN_USDT)
            .map(|leg| Leg { base: usdt, quote: usd, ..leg.clone() });
        let through_usdc = legs.iter().filter(bitcoin).map(usdc_in_dollars).chain(turned_over.clone()).collect();
        let tether_markets = legs.iter().filter(bitcoin).filter(|leg| leg.quote == usdt);
        let tether_through_usdc = tether_markets.cloned().chain(turned_over).collect();
        let unweighted = legs.iter().map(|leg| Leg { weight: 1, ..leg.clone() }).collect();
        let rules = [
            (
                "mean",
                "means instead of both medians: of a node's markets by weight, and of the oracles",
                Change::Mean,
                legs.to_vec(),
            ),
            (
                "stablecoins_as_dollar",
                "one USDT and one USDC are taken as one dollar",
                Change::Graph,
                legs.iter().filter(bitcoin).map(in_dollars).collect(),
            ),
            (
                "through_usdc",
                "USDT is converted as 1 / USDCUSDT (Binance), one USDC taken as one dollar",
                Change::TurnedOver,
                through_usdc,
            ),
            (
                "through_usdc_usdt_markets",
                "the same, with the three USDT markets as only sources",
                Change::TurnedOver,
                tether_through_usdc,
            ),
            ("unweighted", "every market has weight 1", Change::Graph, unweighted),
        ];
        let rule = |(name, meaning, change, legs)| Self::new(name, meaning, change, feed, legs);
        Ok(rules.into_iter().map(rule).collect::<Result<_, GraphError>>()?)
    }

    fn new(
        name: &'static str,
        meaning: &'static str,
        change: Change,
        feed: Feed,
        legs: Vec<Leg>,
    ) -> Result<Self, GraphError> {
        let graph = ConversionGraph::new(feed, legs, HOPS_DEFAULT)?;
        // A rule is not to be saved by another guard: nothing is too doubtful to count.
        let params = ObserveParams {
            max_age_ms: QUOTE_AGE_MS_MAX,
            confidence_min_ppm: 0,
            move_max_ppm: u64::MAX,
            ..ObserveParams::default()
        };
        Ok(Self { name, meaning, graph, change, params, cells: Cells::tracking(BTreeSet::from([feed])) })
    }

    /// Takes what an oracle would state now, from what it has polled.
    pub(super) fn state(&mut self, author: AuthorKey, quotes: &Quotes, now: Time) {
        let turned = quotes.get(&(BINANCE, USDC_IN_USDT.to_owned())).and_then(turned_over);
        let quote_of = |leg: &Leg| match self.change {
            Change::TurnedOver if leg.symbol == USDC_IN_USDT => turned.as_ref(),
            _ => quotes.get(&(leg.source, leg.symbol.clone())),
        };
        let observation = observe(&self.graph, now, quote_of, &Prior::default(), &self.params);
        let Ok(observed) = &observation.outcome else { return };
        let price = if self.change == Change::Mean { self.mean(&observation) } else { Some(observed.price) };
        let numbers = price.map(|price| (price, observed.half_width));
        let feed = self.graph.feed();
        let attested = numbers.map(|n| Attestation::of_price(feed, n, EXPO_DEFAULT, observed.sources, false));
        if let Some(Ok(attestation)) = attested {
            self.cells.join(author, Slot::of(now), attestation);
        }
        self.cells.drop_below(Slot::of(Time::from_ms(now.ms().saturating_sub(KEPT_MS))));
    }

    /// The network's price under this rule.
    pub(super) fn price(&self, epoch: &Epoch, as_of: Time, params: &AggregateParams) -> Option<Price> {
        let strategy = if self.change == Change::Mean { Strategy::Mean } else { Strategy::LowerWeightedMedian };
        aggregate(&self.cells, epoch, self.graph.feed(), as_of, params).by(strategy)
    }

    /// The mean, by weight, of the legs that counted.
    fn mean(&self, observation: &Observation) -> Option<Price> {
        // Records are in the order of the graph's legs.
        let legs = self.graph.legs().iter().zip(&observation.legs.legs);
        let counted = legs.filter(|(_, record)| record.verdict == Verdict::Counted);
        let votes: Vec<_> =
            counted.filter_map(|(leg, record)| Some((record.converted?, u64::from(leg.weight)))).collect();
        mean::weighted_mean(&votes)
    }
}

/// A market seen from its other side.
fn turned_over(quote: &Quote) -> Option<Quote> {
    let over = |price: Option<Price>| price.map(|price| Price::ONE.over(price)).transpose().ok();
    Some(Quote { bid: over(quote.ask)?, ask: over(quote.bid)?, last: over(quote.last)?, ..quote.clone() })
}

#[cfg(test)]
mod tests {
    use concurrence_oracle::{COINBASE, KRAKEN, Member, Registry, SourceId, default_legs};

    use super::*;

    const NOW: Time = Time::from_ms(1_000_000);

    fn price(text: &str) -> Price {
        Price::parse(text).expect("a price")
    }

    /// BTC is worth 20,000 dollars everywhere; USDC is worth 0.8 dollars and USDT one.
    fn quotes() -> Quotes {
        let at = |source: SourceId, symbol: &str, text: &str| {
            let last = Some(price(text));
            let quote = Quote { bid: None, ask: None, last, volume: None, venue_time: None, received: NOW };
            ((source, symbol.to_owned()), quote)
        };
        Quotes::from([
            at(BINANCE, "BTCUSDT", "20000"),
            at(BINANCE, "BTCUSDC", "25000"),
            at(BINANCE, "USDCUSDT", "0.8"),
            at(COINBASE, "BTC-USD", "20000"),
            at(COINBASE, "BTC-USDT", "20000"),
            at(COINBASE, "USDT-USD", "1"),
            at(KRAKEN, "XBTUSD", "20000"),
            at(KRAKEN, "XBTUSDC", "25000"),
            at(KRAKEN, "XBTUSDT", "20000"),
            at(KRAKEN, "USDCUSD", "0.8"),
            at(KRAKEN, "USDTUSD", "1"),
        ])
    }

    #[test]
    fn each_rule_makes_its_own_mistake() {
        let feed: Feed = "BTC/USD".parse().expect("a feed");
        let member = |n: u8| Member {
            name: format!("oracle_{n}"),
            author: AuthorKey::from_bytes([n; 32]),
            evm: concurrence_oracle::Address::from_bytes([n; 20]),
            peer: format!("peer_{n}"),
            weight: 1,
        };
        let network = concurrence_crdt::NetworkId::from_bytes([1; 32]);
        let registry = Registry::new("test".into(), network, vec![(0..6).map(member).collect()]).expect("a registry");
        let epoch = registry.newest().1;
        for mut rule in Rule::all(feed, &default_legs(feed)).expect("rules") {
            for n in 0..6 {
                let ppm = if n == 0 { 1_200_000 } else { 1_000_000 };
                let mut quotes = quotes();
                for ((_, symbol), quote) in &mut quotes {
                    let is_price = symbol.contains("BTC-") || symbol.contains("BTCUS") || symbol.contains("XBT");
                    let scaled = quote.last.map(|p| p.scaled(if is_price { ppm } else { 1_000_000 }, 1_000_000));
                    quote.last = scaled.transpose().expect("in range");
                }
                rule.state(AuthorKey::from_bytes([n; 32]), &quotes, NOW);
            }
            let params = AggregateParams::default();
            let made = rule.price(epoch, NOW, &params).expect("a price").to_string();
            let want = match rule.name {
                // (5 x 20,000 + 24,000) / 6
                "mean" => "20666.6666",
                // 20,000 / 0.8: the USDT and USDC markets, all wrong alike, outvote the dollar markets.
                "through_usdc" | "through_usdc_usdt_markets" => "25000",
                _ => "20000",
            };
            assert_eq!(made.get(..want.len()), Some(want), "{}", rule.name);
            assert_eq!(rule.price(epoch, NOW.after_ms(params.window_ms), &params), None);
        }
    }
}
