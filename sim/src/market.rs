//! A synthetic market: prices that walk at random, and venues that each see them a little differently.

use std::collections::BTreeMap;

use concurrence_crdt::Time;
use concurrence_engine::FeedPlan;
use concurrence_oracle::{
    ConversionGraph, Currency, EXPO_DEFAULT, Feed, HOPS_DEFAULT, Leg, Price, Quote, SourceId, default_feeds,
    default_legs,
};

use crate::dice::Dice;

/// What the world's prices are, second by second.
pub(crate) struct Market {
    /// Price of each currency in dollars, in units of 1e-18.
    dollars: BTreeMap<Currency, i128>,
    /// What venues trade.
    pub(crate) books: Vec<Book>,
    walked_s: u64,
    dice: Dice,
    /// A closed market gives crossed books, of which no node makes a price.
    pub(crate) is_open: bool,
}

/// One symbol at one venue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Book {
    pub(crate) source: SourceId,
    pub(crate) symbol: String,
    base: Currency,
    quote: Currency,
}

/// Greatest step of a price in a second, in parts per million: 1 bp, so that a minute moves about as much as a lively one does.
const STEP_PPM_MAX: i64 = 100;

/// How far a venue is off at most, in parts per million: far less than the source gate allows.
const VENUE_NOISE_PPM_MAX: i64 = 100;

/// Half the spread of a venue's book, in parts per million.
const HALF_SPREAD_PPM: i128 = 50;

const MILLION: i128 = 1_000_000;

/// What all nodes publish. Up to two feeds are the default ones from their default legs, with conversions; more are made up, each
/// of three dollar markets.
pub(crate) fn feed_plans(feeds: usize) -> Vec<FeedPlan> {
    let plan = |feed, legs| {
        let graph = ConversionGraph::new(feed, legs, HOPS_DEFAULT).ok()?;
        Some(FeedPlan { graph, expo: EXPO_DEFAULT })
    };
    if feeds <= default_feeds().len() {
        return default_feeds().into_iter().take(feeds).filter_map(|feed| plan(feed, default_legs(feed))).collect();
    }
    let made_up = (0..feeds).filter_map(|n| {
        let (base, quote): (Currency, Currency) = (format!("C{n:02}").parse().ok()?, "USD".parse().ok()?);
        let venues = ["binance", "coinbase", "kraken"].iter().enumerate();
        let leg = |(index, venue): (usize, &&str)| {
            let source = SourceId::new(u8::try_from(index).ok()?)?;
            let (venue, symbol) = ((*venue).to_owned(), format!("{base}-{quote}"));
            Some(Leg { source, venue, symbol, base, quote, weight: 1, mirror: None })
        };
        plan(Feed::of(base, quote).ok()?, venues.filter_map(leg).collect())
    });
    made_up.collect()
}

impl Market {
    /// The venues that some feeds need.
    pub(crate) fn new(seed: u64, plans: &[FeedPlan]) -> Self {
        let legs = plans.iter().flat_map(|plan| plan.graph.legs());
        let mut books: Vec<_> =
            legs.map(|l| Book { source: l.source, symbol: l.symbol.clone(), base: l.base, quote: l.quote }).collect();
        books.sort();
        books.dedup();
        let mut dollars = BTreeMap::new();
        for currency in books.iter().flat_map(|book| [book.base, book.quote]) {
            dollars.insert(currency, first_price(currency.as_str()) * Price::ONE.units());
        }
        Self { dollars, books, walked_s: 0, dice: Dice::new(seed, "market"), is_open: true }
    }

    /// What a venue says of a book at an instant of virtual time, `factor_ppm` of the truth. Conversions are left true: what is
    /// reported wrong is the price itself.
    pub(crate) fn quote(&mut self, book: usize, now_ms: u64, received: Time, factor_ppm: i128) -> Option<Quote> {
        self.walk(now_ms / 1_000);
        let book = self.books.get(book)?;
        let price = |currency| self.dollars.get(&currency).copied().map(Price::from_units);
        let (base, quote) = (price(book.base)?, price(book.quote)?);
        let factor_ppm = if is_pegged(book.base.as_str()) { MILLION } else { factor_ppm };
        let noise = MILLION + i128::from(self.dice.around_zero(VENUE_NOISE_PPM_MAX));
        let seen = base.over(quote).ok()?.scaled(noise, MILLION).ok()?.scaled(factor_ppm, MILLION).ok()?;
        let (low, high) = (
            seen.scaled(MILLION - HALF_SPREAD_PPM, MILLION).ok()?,
            seen.scaled(MILLION + HALF_SPREAD_PPM, MILLION).ok()?,
        );
        let (bid, ask) = if self.is_open { (low, high) } else { (high, low) };
        Some(Quote { bid: Some(bid), ask: Some(ask), last: Some(seen), volume: None, venue_time: None, received })
    }

    fn walk(&mut self, until_s: u64) {
        for _ in self.walked_s..until_s {
            for (currency, price) in &mut self.dollars {
                let step = match currency.as_str() {
                    "USD" => 0,
                    // Stablecoins move too, a hundredth as much.
                    pegged if is_pegged(pegged) => self.dice.around_zero(STEP_PPM_MAX / 100),
                    _ => self.dice.around_zero(STEP_PPM_MAX),
                };
                *price += *price / MILLION * i128::from(step);
            }
        }
        self.walked_s = self.walked_s.max(until_s);
    }
}

fn is_pegged(currency: &str) -> bool {
    matches!(currency, "USD" | "USDT" | "USDC")
}

/// In dollars.
fn first_price(currency: &str) -> i128 {
    match currency {
        "BTC" => 27_000,
        "ETH" => 1_700,
        pegged if is_pegged(pegged) => 1,
        _ => 100,
    }
}
