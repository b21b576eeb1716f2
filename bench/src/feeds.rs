//! What a node does with what its venues say: messages to quotes, and the quotes of all feeds to prices.

use std::{collections::BTreeMap, hint::black_box};

use concurrence_crdt::Time;
use concurrence_oracle::{ConversionGraph, Feed, Leg, ObserveParams, Price, Prior, Quote, SourceId, observe};
use concurrence_sources::Channel;

use crate::{
    cpu::spent,
    report::{Row, Spread, per_second},
};

/// Feeds of a tick.
const FEEDS: usize = 500;

/// Markets of a feed's eight legs, each of a source of its own: six in dollars or Tether, two that price Tether.
const MARKETS: [(&str, &str); 8] =
    [("", "USD"), ("", "USD"), ("", "USD"), ("", "USDT"), ("", "USDT"), ("", "USDT"), ("USDT", "USD"), ("USDT", "USD")];

/// The longest a tick of all feeds should take.
const TICK_US_AIM: f64 = 1_000.0;

/// A ticker as Coinbase Exchange sends it.
const TICKER: &[u8] = include_bytes!("../../data/venues/coinbase/rest_exchange_ticker_BTC-USD.json");

const NOW: Time = Time::from_ms(1_700_000_000_000);

type Quotes = BTreeMap<SourceId, BTreeMap<String, Quote>>;

/// Messages parsed, ticks of 500 feeds, and both together as messages a second.
pub(crate) fn rows(ticks: usize, rounds: usize) -> Vec<Row> {
    let graphs: Vec<_> = (0..FEEDS).map(graph).collect();
    let quotes = quotes(&graphs);
    let messages = ticks * FEEDS * MARKETS.len();
    assert!(parse().is_some(), "a good message is measured");
    assert_eq!(tick(&graphs, &quotes), FEEDS, "every feed has a price");

    let (mut parsing, mut ticking) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (parsed, time) = spent(|| (0..messages).filter(|_| black_box(parse()).is_some()).count());
        assert_eq!(parsed, messages);
        parsing.push(time);
        let (priced, time) = spent(|| (0..ticks).map(|_| tick(black_box(&graphs), &quotes)).sum::<usize>());
        assert_eq!(priced, ticks * FEEDS);
        ticking.push(time);
    }
    let per_tick = Spread::of(ticking.iter().map(|time| time.as_secs_f64() * 1e6 / ticks as f64)).median;
    let parsed = Spread::of(parsing.iter().map(|&time| per_second(messages, time))).median;
    let both = Spread::of(parsing.iter().zip(&ticking).map(|(&a, &b)| per_second(messages, a + b))).median;
    let legs = MARKETS.len();
    vec![
        Row::plain("parse a ticker of 200 bytes", parsed, "messages/s"),
        Row::plain(format!("observe {FEEDS} feeds of {legs} legs"), per_tick, "us")
            .aiming_at_most(TICK_US_AIM)
            .noting("sanity, conversion, gate, median, half-width and the record of legs, for all feeds once"),
        Row::plain("parse a message for each leg, and observe all", both, "messages/s"),
    ]
}

fn parse() -> Option<Quote> {
    Channel::CoinbaseTicker.parse(black_box(TICKER), "BTC-USD", NOW).ok()
}

/// How many feeds have a price.
fn tick(graphs: &[ConversionGraph], quotes: &Quotes) -> usize {
    let params = ObserveParams::default();
    let quote_of = |leg: &Leg| quotes.get(&leg.source)?.get(&leg.symbol);
    let observed = graphs.iter().map(|graph| observe(graph, NOW, quote_of, &Prior::default(), &params));
    observed.filter(|observation| black_box(observation).outcome.is_ok()).count()
}

fn graph(at: usize) -> ConversionGraph {
    let base = format!("A{at}");
    let feed: Feed = format!("{base}/USD").parse().expect("a feed's name");
    let leg = |(source, (of, quote)): (u8, (&str, &str))| {
        let of = if of.is_empty() { &base } else { of };
        Leg {
            source: SourceId::new(source).expect("below sixteen"),
            venue: format!("venue_{source}"),
            symbol: format!("{of}-{quote}"),
            base: of.parse().expect("a currency"),
            quote: quote.parse().expect("a currency"),
            weight: 1,
            mirror: None,
        }
    };
    let legs = (0u8..).zip(MARKETS).map(leg).collect();
    ConversionGraph::new(feed, legs, 1).expect("units compose")
}

/// A book and a last trade for each leg, around a hundred dollars, or one for Tether.
fn quotes(graphs: &[ConversionGraph]) -> Quotes {
    let mut quotes = Quotes::new();
    for leg in graphs.iter().flat_map(ConversionGraph::legs) {
        let middle = if leg.base.as_str() == "USDT" { 1_000 } else { 100_000 };
        let near =
            |units: u32| Price::ONE.scaled(i128::from(middle + units + u32::from(leg.source.index())), 1_000).ok();
        let quote = Quote { bid: near(0), ask: near(2), last: near(1), volume: None, venue_time: None, received: NOW };
        quotes.entry(leg.source).or_default().insert(leg.symbol.clone(), quote);
    }
    quotes
}
