//! Venues' answers: a body gives a quote that passes its checks, or a typed error that is fit for a log line (SRC-1).

use concurrence_crdt::Time;
use concurrence_oracle::{Quote, leg_price};
use concurrence_sources::{Channel, DETAIL_LEN_MAX};

use crate::Verdict;

/// What is asked for by name; beside it every channel is given every body for whichever market it is about.
const ASKED: [(Channel, &str); 10] = [
    (Channel::BinanceTicker24hr, "BTCUSDT"),
    (Channel::BinanceTicker24hr, "ETHUSDT"),
    (Channel::BinanceBookTicker, "LTCBTC"),
    (Channel::BinanceTickerPrice, "LTCBTC"),
    (Channel::CoinbaseTicker, "BTC-USD"),
    (Channel::CoinbaseSpot, "BTC-USD"),
    (Channel::KrakenTicker, "XBTUSD"),
    (Channel::KrakenTicker, "XBTUSDT"),
    (Channel::KrakenTicker, "XXBTZEUR"),
    (Channel::KrakenTicker, "a"),
];

/// When the answer came, by the node's clock: shortly after those that were recorded.
const RECEIVED: Time = Time::from_ms(1_719_792_001_000);

/// How old an answer may be, in milliseconds: the default of the deployment guide's `max_age`.
const MAX_AGE_MS: u64 = 30_000;

/// Gives a body to every channel; accepted if any of them reads a quote.
pub fn check(body: &[u8]) -> Verdict {
    let mut verdict = Verdict::Refused("everywhere");
    let whichever = Channel::all().map(|channel| (channel, None));
    for (channel, symbol) in ASKED.map(|(channel, symbol)| (channel, Some(symbol))).into_iter().chain(whichever) {
        let parse = || match symbol {
            Some(symbol) => channel.parse(body, symbol, RECEIVED),
            None => channel.parse_any(body, RECEIVED),
        };
        let parsed = parse();
        assert_eq!(parsed, parse(), "SRC-1: the same bytes give the same result");
        match parsed {
            Ok(quote) => {
                check_quote(&quote);
                verdict = Verdict::Accepted;
            }
            Err(error) => {
                assert!(error.detail.chars().count() <= DETAIL_LEN_MAX, "SRC-1: a detail floods the log");
                assert!(!error.detail.chars().any(char::is_control), "SRC-1: a detail breaks the line");
                let label = error.kind.label();
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{label}");
            }
        }
    }
    verdict
}

/// SRC-1: positive, uncrossed, with a price in it; and what is made of it stays within its book.
fn check_quote(quote: &Quote) {
    let prices = [quote.bid, quote.ask, quote.last];
    assert!(prices.into_iter().flatten().all(|p| p.is_positive()), "SRC-1: {quote:?}");
    assert!(quote.volume.is_none_or(|v| v.units() >= 0), "SRC-1: {quote:?}");
    assert_eq!(quote.bid.is_some(), quote.ask.is_some(), "SRC-1: one side of a book");
    assert!(quote.bid.is_none() || quote.bid <= quote.ask, "SRC-1: {quote:?}");
    assert!(quote.bid.is_some() || quote.last.is_some(), "SRC-1: a quote without a price");
    assert_eq!(quote.received, RECEIVED);
    if let (Ok(leg), Some(bid), Some(ask)) = (leg_price(quote, RECEIVED, MAX_AGE_MS), quote.bid, quote.ask) {
        assert!(bid <= leg.price && leg.price <= ask, "SRC-1: {leg:?} of {quote:?}");
    }
}
