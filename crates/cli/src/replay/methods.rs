//! Ways to make one price of the recorded markets, ours beside those of others, with neither losses nor liars: what each is wrong by.

use std::fmt::Write as _;

use anyhow::Context as _;
use concurrence_crdt::Time;
use concurrence_exchanges::{BAR_MS, Close, FORWARD_FILL_MS, Tape, Venue};
use concurrence_oracle::{
    ConversionGraph, Feed, HOPS_DEFAULT, HOPS_MAX, Leg, ObserveParams, Price, Prior, Quote, default_legs, mean, median,
    observe,
};
use serde::Serialize;

use super::{
    FEED, Setting,
    errors::{ErrorBps, Errors, error_ppb},
};

/// The table, as `--methods --json` prints it.
#[derive(Serialize)]
pub(super) struct Methods {
    feed: &'static str,
    /// Minutes that have a reference.
    points: usize,
    methods: Vec<Row>,
    /// Our methods that were further off than promised.
    pub(super) failures: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    meaning: &'static str,
    points: usize,
    error_bps: ErrorBps,
    /// Minutes further off than [`FAR_PPB`].
    above_100_bps: usize,
    /// What is promised of ours on the whole tape.
    bound_bps: Option<Bound>,
}

/// The most a method may be off on the embedded tape, basis points.
#[derive(Clone, Copy, Serialize)]
struct Bound {
    max: f64,
    p99: f64,
}

/// A minute's closes, each at most [`FORWARD_FILL_MS`] old.
#[derive(Clone, Copy)]
struct Minute<'t> {
    tape: &'t Tape,
    at_ms: u64,
}

struct Method {
    name: &'static str,
    meaning: &'static str,
    bound: Option<Bound>,
    price: Box<dyn Fn(Minute<'_>) -> Option<Price>>,
}

/// 1 %, in parts per billion: an error that liquidates.
const FAR_PPB: u64 = 10_000_000;

/// A price's 1e-18 in the tape's 1e-8.
const PRICE_UNITS_OF_UNIT: i128 = 10_000_000_000;

/// Where bitcoin is priced, and in what.
const BITCOIN: [(Venue, &str, Coin); 7] = [
    (Venue::Binance, "BTCUSDT", Coin::Usdt),
    (Venue::Binance, "BTCUSDC", Coin::Usdc),
    (Venue::Coinbase, "BTC-USD", Coin::Usd),
    (Venue::Coinbase, "BTC-USDT", Coin::Usdt),
    (Venue::Kraken, "XBTUSD", Coin::Usd),
    (Venue::Kraken, "XBTUSDC", Coin::Usdc),
    (Venue::Kraken, "XBTUSDT", Coin::Usdt),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coin {
    Usd,
    Usdt,
    Usdc,
}

/// Runs every method over the part of the tape asked for. Bounds are held against the whole embedded tape only.
pub(super) fn methods(tape: &Tape, setting: &Setting, has_bounds: bool) -> anyhow::Result<Methods> {
    let minutes: Vec<_> = (1..=setting.minutes)
        .map(|minute| setting.from_ms + minute * BAR_MS - 1)
        .filter_map(|at_ms| Some((Minute { tape, at_ms }, tape.reference(at_ms)?)))
        .collect();
    let mut rows = Vec::new();
    for Method { name, meaning, bound, price } in all()? {
        let (mut errors, mut above_100_bps) = (Errors::default(), 0);
        for &(minute, reference) in &minutes {
            if let Some(price) = price(minute) {
                let error_ppb = error_ppb(price, reference);
                errors.push(error_ppb);
                above_100_bps += usize::from(error_ppb > FAR_PPB);
            }
        }
        let error_bps = errors.summary().with_context(|| format!("{name} has no price in any minute"))?;
        let bound_bps = bound.filter(|_| has_bounds);
        rows.push(Row { name, meaning, points: errors.len(), error_bps, above_100_bps, bound_bps });
    }
    let failures = rows.iter().filter_map(Row::failure).collect();
    Ok(Methods { feed: FEED, points: minutes.len(), methods: rows, failures })
}

/// All methods: first those of others, then ours.
fn all() -> anyhow::Result<Vec<Method>> {
    let plain = |name, meaning, price: fn(Minute<'_>) -> Option<Price>| Method {
        name,
        meaning,
        bound: None,
        price: Box::new(price),
    };
    Ok(vec![
        plain("usdc_book_as_usd", "Binance BTCUSDC, one USDC taken as one dollar", |minute| {
            minute.close(Venue::Binance, "BTCUSDC")
        }),
        plain("mean_as_dollar", "mean of the seven markets, stablecoins taken as dollars", |minute| {
            mean::weighted_mean(&minute.bitcoin(Minute::as_dollar))
        }),
        plain("median_as_dollar", "their median, in minutes in which all seven have a price", |minute| {
            let votes = minute.bitcoin(Minute::as_dollar);
            median::lower_weighted_median(&votes).filter(|_| votes.len() == BITCOIN.len())
        }),
        plain(
            "median_with_gaps",
            "the same in all minutes: with a dollar market away, a stablecoin's is the median",
            |minute| median::lower_weighted_median(&minute.bitcoin(Minute::as_dollar)),
        ),
        plain("usdt_through_usdc", "the three USDT markets, USDT taken as 1 / USDCUSDT dollars", |minute| {
            median::lower_weighted_median(&minute.bitcoin(Minute::tether_through_usdc))
        }),
        plain("usdt_real", "the three USDT markets, by USDT's own dollar markets", |minute| {
            median::lower_weighted_median(&minute.bitcoin(|m, coin| m.real(coin).filter(|_| coin == Coin::Usdt)))
        }),
        plain("all_real", "median of the seven markets, each coin by its own dollar markets", |minute| {
            median::lower_weighted_median(&minute.bitcoin(Minute::real))
        }),
        unweighted()?,
        ours(
            "ours_unweighted",
            "a node's observation with weights of 1: the gate costs less than a basis point",
            None,
            |leg| Leg { weight: 1, ..leg },
        )?,
        ours(
            "ours",
            "a node's observation as shipped: checks, conversion, gate, weighted median",
            Some((30.0, 13.0)),
            |leg| leg,
        )?,
    ])
}

/// The bare median of all eleven markets after conversion: neither weights nor gate.
fn unweighted() -> anyhow::Result<Method> {
    let feed: Feed = FEED.parse()?;
    let graph = ConversionGraph::new(feed, default_legs(feed), HOPS_MAX)?;
    let price = move |minute: Minute<'_>| {
        let raw: Vec<_> = graph.legs().iter().map(|leg| minute.quote(leg)?.last).collect();
        let priced = graph.legs().iter().zip(graph.convert(&raw)).filter(|(leg, _)| graph.is_price_leg(leg));
        median::lower_weighted_median(&priced.filter_map(|(_, price)| Some((price?, 1))).collect::<Vec<_>>())
    };
    let meaning = "the bare median of all eleven markets, USDC by USDCUSDT too";
    Ok(Method { name: "unweighted", meaning, bound: Some(Bound { max: 27.1, p99: 12.9 }), price: Box::new(price) })
}

/// What a node makes of all eleven markets.
fn ours(
    name: &'static str,
    meaning: &'static str,
    bound: Option<(f64, f64)>,
    change: impl Fn(Leg) -> Leg,
) -> anyhow::Result<Method> {
    let feed: Feed = FEED.parse()?;
    let legs = default_legs(feed).into_iter().map(change).collect();
    let graph = ConversionGraph::new(feed, legs, HOPS_DEFAULT)?;
    let params = ObserveParams { max_age_ms: FORWARD_FILL_MS, ..ObserveParams::default() };
    let price = move |minute: Minute<'_>| {
        let quotes: Vec<_> = graph.legs().iter().map(|leg| minute.quote(leg)).collect();
        let quote_of = |leg: &Leg| quotes[graph.legs().iter().position(|l| l == leg)?].as_ref();
        let now = Time::from_ms(minute.at_ms);
        observe(&graph, now, quote_of, &Prior::default(), &params).outcome.ok().map(|observed| observed.price)
    };
    let bound = bound.map(|(max, p99)| Bound { max, p99 });
    Ok(Method { name, meaning, bound, price: Box::new(price) })
}

impl Minute<'_> {
    fn newest(self, venue: Venue, symbol: &str) -> Option<Close> {
        let close = self.tape.close_at(venue, symbol, self.at_ms)?;
        (self.at_ms - close.bar_end_ms <= FORWARD_FILL_MS).then_some(close)
    }

    fn close(self, venue: Venue, symbol: &str) -> Option<Price> {
        self.newest(venue, symbol).map(|close| Price::from_units(close.units * PRICE_UNITS_OF_UNIT))
    }

    /// The same as a leg's quote, received when its bar ended.
    fn quote(self, leg: &Leg) -> Option<Quote> {
        let venue = leg.venue.parse().ok()?;
        let received = Time::from_ms(self.newest(venue, &leg.symbol)?.bar_end_ms);
        let last = self.close(venue, &leg.symbol);
        Some(Quote { bid: None, ask: None, last, volume: None, venue_time: None, received })
    }

    /// Bitcoin's markets as votes of one each, converted at the rate that a method has for each coin; markets without one are left out.
    fn bitcoin(self, rate: impl Fn(Self, Coin) -> Option<Price>) -> Vec<median::Vote> {
        let vote = |(venue, symbol, coin)| Some((self.close(venue, symbol)?.times(rate(self, coin)?).ok()?, 1));
        BITCOIN.into_iter().filter_map(vote).collect()
    }

    fn as_dollar(self, _coin: Coin) -> Option<Price> {
        Some(Price::ONE)
    }

    fn tether_through_usdc(self, coin: Coin) -> Option<Price> {
        match coin {
            Coin::Usdt => Price::ONE.over(self.close(Venue::Binance, "USDCUSDT")?).ok(),
            Coin::Usd | Coin::Usdc => None,
        }
    }

    /// What a coin's own dollar markets say: the midpoint of two, or the one that there is.
    fn real(self, coin: Coin) -> Option<Price> {
        match coin {
            Coin::Usd => Some(Price::ONE),
            Coin::Usdc => self.close(Venue::Kraken, "USDCUSD"),
            Coin::Usdt => match (self.close(Venue::Coinbase, "USDT-USD"), self.close(Venue::Kraken, "USDTUSD")) {
                (Some(one), Some(other)) => Some(one.midpoint(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

impl Row {
    fn failure(&self) -> Option<String> {
        let (Bound { max, p99 }, error) = (self.bound_bps?, self.error_bps);
        let is_kept = error.max <= max && error.p99 <= p99;
        let (name, found) = (self.name, format!("{} worst and {} at the 99th percentile", error.max, error.p99));
        (!is_kept).then(|| format!("{name} is off by {found} basis points; promised are {max} and {p99}"))
    }
}

impl Methods {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}: {} minutes with a reference, no losses, no liars\n\n", self.feed, self.points);
        let head = ["max", "p99", "mean", "> 100 bps"];
        // Writing to a string cannot fail.
        writeln!(text, "{:<20}{:>9}{:>9}{:>9}{:>11}  ", "error, basis points", head[0], head[1], head[2], head[3]).ok();
        for row in &self.methods {
            let ErrorBps { max, p99, mean } = row.error_bps;
            let Row { name, meaning, above_100_bps, .. } = row;
            write!(text, "{name:<20}{max:>9.2}{p99:>9.2}{mean:>9.2}{above_100_bps:>11}  {meaning}").ok();
            if let Some(Bound { max, p99 }) = row.bound_bps {
                write!(text, " (promised: {max} and {p99})").ok();
            }
            text.push('\n');
        }
        text
    }
}
