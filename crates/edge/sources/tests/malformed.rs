//! The hostile bodies of data/venues/malformed, each as the body of a Binance REST answer: a typed error and no price (SRC-1).

use std::{fs, path::Path};

use concurrence_crdt::Time;
use concurrence_sources::{Channel, ParseError, ParseErrorKind as Kind, Refusal};
use proptest::prelude::*;

/// The channel that the folder's README speaks of, and its siblings.
const BINANCE: [Channel; 3] = [Channel::BinanceTicker24hr, Channel::BinanceBookTicker, Channel::BinanceTickerPrice];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../data/venues/malformed"))
}

fn parse(channel: Channel, body: &[u8]) -> Result<concurrence_oracle::Quote, ParseError> {
    channel.parse(body, "BTCUSDT", Time::from_ms(0))
}

#[test]
fn each_hostile_body_has_its_kind() {
    let wanted = [
        ("binance_451_restricted_location.json", Kind::Refused(Refusal::Location)),
        ("crossed_book.json", Kind::Crossed),
        ("deep_nesting.txt", Kind::TooDeep),
        ("empty_array.json", Kind::Shape),
        ("empty_body.txt", Kind::Empty),
        ("html_429_nginx.txt", Kind::Syntax),
        ("invalid_utf8.bin", Kind::Utf8),
        ("nan_string.json", Kind::NotFinite),
        ("negative_price.json", Kind::Negative),
        ("null_price.json", Kind::Null),
        ("number_instead_of_string.json", Kind::NotText),
        ("thousands_separator.json", Kind::Separator),
        ("trailing_comma.txt", Kind::Syntax),
        ("zero_price.json", Kind::Zero),
    ];
    for (name, kind) in wanted {
        let body = fs::read(folder().join(name)).unwrap();
        for channel in BINANCE {
            assert_eq!(parse(channel, &body).map_err(|error| error.kind), Err(kind), "{name}");
        }
    }
    let mut names: Vec<String> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "README.md" && name != "exponent_valid.json");
    names.sort();
    assert_eq!(names, wanted.map(|(name, _)| name), "every file of the folder is listed here");
}

#[test]
fn the_control_parses_exactly() {
    let body = fs::read(folder().join("exponent_valid.json")).unwrap();
    let last = parse(Channel::BinanceTicker24hr, &body).unwrap().last.unwrap();
    assert_eq!(last.units(), 46_707_030_000_000_000_000_000);
}

#[test]
fn no_hostile_body_gives_another_venues_parser_a_price() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let body = fs::read(&path).unwrap();
        for channel in Channel::all().filter(|channel| !BINANCE.contains(channel)) {
            assert!(parse(channel, &body).is_err(), "{path:?} as {channel:?}");
        }
    }
}

/// Good bodies of every venue, to be damaged.
const GOOD: [(&str, Channel, &str); 20] = [
    (
        include_str!("../../../../data/venues/binance/rest_ticker_24hr_BTCUSDT.json"),
        Channel::BinanceTicker24hr,
        "BTCUSDT",
    ),
    (
        include_str!("../../../../data/venues/binance/rest_book_ticker_LTCBTC.json"),
        Channel::BinanceBookTicker,
        "LTCBTC",
    ),
    (include_str!("../../../../data/venues/binance/ws_24hrTicker.json"), Channel::BinanceStream, "BNBBTC"),
    (include_str!("../../../../data/venues/bitstamp/rest_v2_ticker_btcusd.json"), Channel::BitstampTicker, "btcusd"),
    (include_str!("../../../../data/venues/bitstamp/ws_trade_2020.json"), Channel::BitstampStream, "btcusd"),
    (include_str!("../../../../data/venues/bybit/rest_v5_tickers_spot_two.json"), Channel::BybitTickers, "BTCUSDT"),
    (include_str!("../../../../data/venues/bybit/ws_v5_tickers_linear_snapshot.json"), Channel::BybitStream, "BTCUSDT"),
    (
        include_str!("../../../../data/venues/coinbase/rest_exchange_ticker_BTC-USD.json"),
        Channel::CoinbaseTicker,
        "BTC-USD",
    ),
    (
        include_str!("../../../../data/venues/coinbase/rest_v2_prices_BTC-USD_spot.json"),
        Channel::CoinbaseSpot,
        "BTC-USD",
    ),
    (
        include_str!("../../../../data/venues/coinbase/rest_advanced_ticker_BTC-USD.json"),
        Channel::CoinbaseAdvanced,
        "BTC-USD",
    ),
    (
        include_str!("../../../../data/venues/coinbase/ws_advanced_ticker.json"),
        Channel::CoinbaseAdvancedStream,
        "BTC-USD",
    ),
    (include_str!("../../../../data/venues/dydx/rest_v4_perpetualMarkets_two.json"), Channel::DydxMarkets, "BTC-USD"),
    (include_str!("../../../../data/venues/dydx/rest_v4_orderbook.json"), Channel::DydxOrderbook, "BTC-USD"),
    (include_str!("../../../../data/venues/dydx/ws_v4_markets_update.json"), Channel::DydxStream, "BTC-USD"),
    (include_str!("../../../../data/venues/gemini/rest_v1_pubticker_btcusd.json"), Channel::GeminiTicker, "btcusd"),
    (include_str!("../../../../data/venues/gemini/ws_v2_trade.json"), Channel::GeminiStream, "BTCUSD"),
    (include_str!("../../../../data/venues/kraken/rest_Ticker_XBTUSD.json"), Channel::KrakenTicker, "XBTUSD"),
    (include_str!("../../../../data/venues/kraken/ws_v2_ticker_timestamp.json"), Channel::KrakenStream, "BTC/USD"),
    (include_str!("../../../../data/venues/okx/rest_ticker_BTC-USDT.json"), Channel::OkxTicker, "BTC-USDT"),
    (include_str!("../../../../data/venues/okx/rest_index_BTC-USD.json"), Channel::OkxIndex, "BTC-USD"),
];

proptest! {
    /// Whatever a body is: no panic, and a quote that came out of it is positive and uncrossed.
    #[test]
    fn any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for channel in Channel::all() {
            prop_assert!(parse(channel, &body).is_err());
        }
    }

    /// A good body with one byte changed, inserted or cut is refused or still gives a sane quote.
    #[test]
    fn damaged_bodies(which in 0..GOOD.len(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3u8) {
        let (text, channel, symbol) = GOOD[which];
        let mut body = text.as_bytes().to_vec();
        let at = at.index(body.len());
        match how {
            0 => body[at] = byte,
            1 => body.insert(at, byte),
            _ => body.truncate(at),
        }
        if let Ok(quote) = channel.parse(&body, symbol, Time::from_ms(0)) {
            for price in [quote.bid, quote.ask, quote.last].into_iter().flatten() {
                prop_assert!(price.is_positive());
            }
            prop_assert!(quote.bid.is_none() || quote.bid <= quote.ask);
        }
    }

    /// A body cut anywhere before its last brace is refused.
    #[test]
    fn cut_bodies(which in 0..GOOD.len(), at in any::<prop::sample::Index>()) {
        let (text, channel, symbol) = GOOD[which];
        let cut = &text[..at.index(text.rfind('}').unwrap())];
        prop_assert!(channel.parse(cut.as_bytes(), symbol, Time::from_ms(0)).is_err());
    }
}
