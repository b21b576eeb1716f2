//! Every recorded, documented or constructed body of data/venues, with the quote it gives or the kind of its refusal (SRC-1).

use std::{collections::BTreeSet, fs, path::PathBuf};

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};
use concurrence_sources::{Channel, ParseErrorKind as Kind, Refusal, Says};
use serde::Deserialize;
use serde_json::value::RawValue;

const RECEIVED: Time = Time::from_ms(1_719_792_001_000);

/// The folders of venues.
const VENUES: [&str; 9] = ["binance", "bitstamp", "bybit", "coinbase", "dydx", "gemini", "kraken", "okx", "pyth"];

/// File, channel, market asked for (empty: none), and bid, ask, last, volume, venue time as text, `-` for none.
type Good = (&'static str, Channel, &'static str, [&'static str; 5]);

use Channel as C;

const GOOD: &[Good] = &[
    (
        "binance/rest_ticker_24hr_BTCUSDT.json",
        C::BinanceTicker24hr,
        "BTCUSDT",
        ["62099.56", "62099.57", "62099.57", "18734.55012", "1719792000123"],
    ),
    (
        "binance/rest_ticker_24hr_ETHUSDT.json",
        C::BinanceTicker24hr,
        "",
        ["3418.1", "3418.11", "3418.11", "204511.7731", "1719792000456"],
    ),
    ("binance/rest_ticker_price_LTCBTC.json", C::BinanceTickerPrice, "LTCBTC", ["-", "-", "0.001187", "-", "-"]),
    ("binance/rest_book_ticker_LTCBTC.json", C::BinanceBookTicker, "", ["0.001186", "0.001187", "-", "-", "-"]),
    (
        "binance/ws_24hrTicker.json",
        C::BinanceStream,
        "BNBBTC",
        ["0.0024", "0.0026", "0.0025", "10000", "1672515782136"],
    ),
    ("binance/ws_bookTicker.json", C::BinanceStream, "", ["25.3519", "25.3652", "-", "-", "-"]),
    ("binance/ws_trade.json", C::BinanceStream, "", ["-", "-", "0.001", "-", "1672515782136"]),
    (
        "bitstamp/rest_v2_ticker_btcusd.json",
        C::BitstampTicker,
        "btcusd",
        ["26208", "26211", "26216", "3563.13819902", "1686068944000"],
    ),
    (
        "bitstamp/rest_ticker_2013.json",
        C::BitstampTicker,
        "",
        ["134.89", "134.92", "134.89", "21982.44926674", "1381787133000"],
    ),
    (
        "bitstamp/rest_v2_ticker_all.json",
        C::BitstampTicker,
        "ethusd",
        ["3438.3", "3438.9", "3438.6", "1903.9556064", "1719792000000"],
    ),
    ("bitstamp/ws_trade_2020.json", C::BitstampStream, "btcusd", ["-", "-", "8302.92", "-", "1583691851934"]),
    (
        "bybit/rest_v5_tickers_spot_BTCUSDT.json",
        C::BybitTickers,
        "",
        ["20517.96", "20527.77", "20533.13", "11801.27771", "1673859087947"],
    ),
    (
        "bybit/rest_v5_tickers_spot_two.json",
        C::BybitTickers,
        "ETHUSDT",
        ["3438.1", "3438.11", "3438.1", "7400.5", "1719792000417"],
    ),
    (
        "bybit/ws_v5_tickers_spot_snapshot.json",
        C::BybitStream,
        "BTCUSDT",
        ["-", "-", "21109.77", "6780.866843", "1673853746002"],
    ),
    (
        "bybit/ws_v5_tickers_linear_snapshot.json",
        C::BybitStream,
        "",
        ["62089.9", "62090", "62090", "91705.276", "1719792000417"],
    ),
    (
        "coinbase/rest_exchange_ticker_BTC-USD.json",
        C::CoinbaseTicker,
        "BTC-USD",
        ["62104.19", "62104.2", "62104.19", "8120.45117003", "1719792000417"],
    ),
    (
        "coinbase/rest_exchange_ticker_2020.json",
        C::CoinbaseTicker,
        "",
        ["0.997094", "0.998", "0.997999", "1903188.0375", "1580177613012"],
    ),
    ("coinbase/rest_v2_prices_BTC-USD_spot.json", C::CoinbaseSpot, "BTC-USD", ["-", "-", "48691.23", "-", "-"]),
    ("coinbase/rest_v2_prices_spot_2016.json", C::CoinbaseSpot, "", ["-", "-", "755.96", "-", "-"]),
    (
        "coinbase/rest_advanced_ticker_BTC-USD.json",
        C::CoinbaseAdvanced,
        "BTC-USD",
        ["62104.18", "62104.2", "62104.19", "-", "1719792000417"],
    ),
    (
        "coinbase/rest_advanced_product_BTC-USD.json",
        C::CoinbaseProduct,
        "BTC-USD",
        ["-", "-", "62104.19", "8120.45117003", "-"],
    ),
    (
        "coinbase/ws_advanced_ticker.json",
        C::CoinbaseAdvancedStream,
        "BTC-USD",
        ["62104.18", "62104.2", "62104.19", "8120.45117003", "1719792000417"],
    ),
    (
        "coinbase/ws_advanced_ticker_2023.json",
        C::CoinbaseAdvancedStream,
        "",
        ["-", "-", "21932.98", "16038.28770938", "1675974637167"],
    ),
    ("dydx/rest_v4_perpetualMarkets_BTC-USD.json", C::DydxMarkets, "BTC-USD", ["-", "-", "62103.9", "-", "-"]),
    ("dydx/rest_v4_perpetualMarkets_two.json", C::DydxMarkets, "ETH-USD", ["-", "-", "3438.42", "-", "-"]),
    ("dydx/rest_v4_orderbook.json", C::DydxOrderbook, "BTC-USD", ["62098", "62108", "-", "-", "-"]),
    ("dydx/ws_v4_markets_subscribed.json", C::DydxStream, "BTC-USD", ["-", "-", "62103.9", "-", "-"]),
    ("dydx/ws_v4_markets_update.json", C::DydxStream, "", ["-", "-", "62104.3", "-", "1719792000417"]),
    ("dydx/ws_v4_trades_update.json", C::DydxStream, "", ["-", "-", "62107", "-", "1719792001500"]),
    (
        "gemini/rest_v1_pubticker_btcusd.json",
        C::GeminiTicker,
        "btcusd",
        ["9117.95", "9117.96", "9115.23", "1615.46861748", "1594982700000"],
    ),
    ("gemini/rest_v2_ticker_btcusd.json", C::GeminiDay, "btcusd", ["9115.86", "9115.87", "9116.08", "-", "-"]),
    ("gemini/rest_v1_pricefeed.json", C::GeminiPriceFeed, "BATUSD", ["-", "-", "0.20687", "-", "-"]),
    ("gemini/ws_v2_trade.json", C::GeminiStream, "BTCUSD", ["-", "-", "22530.8", "-", "1655335880981"]),
    (
        "kraken/rest_Ticker_XBTUSD.json",
        C::KrakenTicker,
        "XBTUSD",
        ["62109.9", "62110", "62109.9", "2480.10933571", "-"],
    ),
    ("kraken/rest_Ticker_XBTUSDT.json", C::KrakenTicker, "", ["62101.1", "62101.2", "62098.7", "204.55103912", "-"]),
    (
        "kraken/rest_Ticker_XBTUSDT_warning.json",
        C::KrakenTicker,
        "XBTUSDT",
        ["62101.1", "62101.2", "62098.7", "204.55103912", "-"],
    ),
    (
        "kraken/rest_Ticker_XXBTZEUR_2014.json",
        C::KrakenTicker,
        "XBTEUR",
        ["560.466", "562.26651", "560.87711", "600.91850325", "-"],
    ),
    (
        "kraken/ws_v2_ticker_2025.json",
        C::KrakenStream,
        "BTC/USD",
        ["108359.8", "108359.9", "108359.8", "2158.32346723", "-"],
    ),
    (
        "kraken/ws_v2_ticker_timestamp.json",
        C::KrakenStream,
        "",
        ["62109.9", "62110", "62109.9", "2480.10933571", "1719792000417"],
    ),
    (
        "okx/rest_ticker_BTC-USDT.json",
        C::OkxTicker,
        "BTC-USDT",
        ["62101", "62101.2", "62101.1", "7411.25", "1719792000417"],
    ),
    ("okx/rest_ticker_empty_book.json", C::OkxTicker, "", ["-", "-", "1.5", "0", "1719792000417"]),
    ("pyth/rest_hermes_latest_BTC_USD.json", C::PythLatest, "", ["-", "-", "62103.88123456", "-", "1719792000000"]),
    ("okx/rest_index_BTC-USD.json", C::OkxIndex, "BTC-USD", ["-", "-", "62103.4", "-", "1719792000417"]),
];

const fn refused(refusal: Refusal) -> Kind {
    Kind::Refused(refusal)
}

/// File, channel, market asked for (empty: none), and the kind of the refusal.
const BAD: &[(&str, Channel, &str, Kind)] = &[
    ("binance/error_400_illegal_chars.json", C::BinanceTicker24hr, "", refused(Refusal::Other)),
    ("binance/error_400_invalid_symbol.json", C::BinanceTicker24hr, "", refused(Refusal::UnknownSymbol)),
    ("binance/error_400_mandatory_param.json", C::BinanceTicker24hr, "", refused(Refusal::Other)),
    ("binance/error_418_ip_banned.json", C::BinanceTicker24hr, "", refused(Refusal::RateLimit)),
    ("binance/error_429_too_many_requests.json", C::BinanceTicker24hr, "", refused(Refusal::RateLimit)),
    ("binance/error_503_unknown.json", C::BinanceTicker24hr, "", refused(Refusal::Unavailable)),
    ("binance/rest_server_time.json", C::BinanceTicker24hr, "BTCUSDT", Kind::Missing),
    ("binance/rest_ticker_price_multi.json", C::BinanceTickerPrice, "BTCUSDT", Kind::Shape),
    ("binance/ws_serverShutdown.json", C::BinanceStream, "", Kind::NoPrice),
    ("binance/ws_serverShutdown_combined.json", C::BinanceStream, "", Kind::NoPrice),
    ("binance/ws_subscribe_ack.json", C::BinanceStream, "", Kind::NoPrice),
    ("binance/ws_trade.json", C::BinanceStream, "BTCUSDT", Kind::Symbol),
    ("bitstamp/rest_error_code.json", C::BitstampTicker, "", refused(Refusal::RateLimit)),
    ("bitstamp/rest_error_object.json", C::BitstampTicker, "", refused(Refusal::UnknownSymbol)),
    ("bitstamp/rest_error_status.json", C::BitstampTicker, "", refused(Refusal::Other)),
    ("bitstamp/rest_v2_ticker_all.json", C::BitstampTicker, "", Kind::Symbol),
    ("bitstamp/rest_v2_ticker_all.json", C::BitstampTicker, "ltcusd", Kind::Symbol),
    ("bitstamp/ws_error_4009.json", C::BitstampStream, "", refused(Refusal::Other)),
    ("bitstamp/ws_heartbeat.json", C::BitstampStream, "", Kind::NoPrice),
    ("bitstamp/ws_request_reconnect.json", C::BitstampStream, "", Kind::NoPrice),
    ("bitstamp/ws_subscription_succeeded.json", C::BitstampStream, "", Kind::NoPrice),
    ("bybit/rest_error_10001.json", C::BybitTickers, "", refused(Refusal::UnknownSymbol)),
    ("bybit/rest_error_10006.json", C::BybitTickers, "", refused(Refusal::RateLimit)),
    ("bybit/rest_error_10032.json", C::BybitTickers, "", refused(Refusal::Other)),
    ("bybit/rest_v5_tickers_spot_two.json", C::BybitTickers, "", Kind::Symbol),
    ("bybit/ws_invalid_topic.json", C::BybitStream, "", refused(Refusal::UnknownSymbol)),
    ("bybit/ws_pong.json", C::BybitStream, "", Kind::NoPrice),
    ("bybit/ws_subscribed.json", C::BybitStream, "", Kind::NoPrice),
    ("bybit/ws_v5_tickers_linear_delta.json", C::BybitStream, "BTCUSDT", Kind::Missing),
    ("coinbase/rest_advanced_product_BTC-USDC_alias.json", C::CoinbaseProduct, "BTC-USDC", Kind::Symbol),
    ("coinbase/rest_advanced_product_auction.json", C::CoinbaseProduct, "BTC-USD", Kind::Halted),
    ("coinbase/rest_advanced_ticker_BTC-USD.json", C::CoinbaseAdvanced, "BTC-USDC", Kind::Symbol),
    ("coinbase/rest_exchange_error_404.json", C::CoinbaseTicker, "", refused(Refusal::UnknownSymbol)),
    ("coinbase/rest_exchange_error_429.json", C::CoinbaseAdvanced, "", refused(Refusal::RateLimit)),
    ("coinbase/rest_v2_error_404.json", C::CoinbaseSpot, "", refused(Refusal::UnknownSymbol)),
    ("coinbase/ws_advanced_heartbeat.json", C::CoinbaseAdvancedStream, "", Kind::NoPrice),
    ("coinbase/ws_advanced_subscriptions.json", C::CoinbaseAdvancedStream, "", Kind::NoPrice),
    ("coinbase/ws_advanced_ticker_empty.json", C::CoinbaseAdvancedStream, "", Kind::NoPrice),
    ("coinbase/ws_exchange_error.json", C::CoinbaseExchangeStream, "", refused(Refusal::UnknownSymbol)),
    ("dydx/rest_v4_error_404.json", C::DydxMarkets, "", refused(Refusal::UnknownSymbol)),
    ("dydx/rest_v4_error_429.json", C::DydxMarkets, "", refused(Refusal::RateLimit)),
    ("dydx/rest_v4_perpetualMarkets_paused.json", C::DydxMarkets, "BTC-USD", Kind::Halted),
    ("dydx/ws_v4_connected.json", C::DydxStream, "", Kind::NoPrice),
    ("dydx/ws_v4_error.json", C::DydxStream, "", refused(Refusal::Other)),
    ("dydx/ws_v4_markets_status.json", C::DydxStream, "", Kind::NoPrice),
    ("gemini/rest_error.json", C::GeminiTicker, "", refused(Refusal::UnknownSymbol)),
    ("gemini/rest_error_429.json", C::GeminiPriceFeed, "", refused(Refusal::RateLimit)),
    ("gemini/ws_v2_heartbeat.json", C::GeminiStream, "", Kind::NoPrice),
    ("gemini/ws_v2_l2_updates.json", C::GeminiStream, "", Kind::NoPrice),
    ("kraken/rest_Ticker_ETHUSD_XBTUSD.json", C::KrakenTicker, "XBTUSD", Kind::Symbol),
    ("kraken/rest_error_rate_limit.json", C::KrakenTicker, "", refused(Refusal::RateLimit)),
    ("kraken/rest_error_unavailable.json", C::KrakenTicker, "", refused(Refusal::Unavailable)),
    ("kraken/rest_error_unknown_pair.json", C::KrakenTicker, "", refused(Refusal::UnknownSymbol)),
    ("kraken/ws_v2_error.json", C::KrakenStream, "", refused(Refusal::UnknownSymbol)),
    ("kraken/ws_v2_heartbeat.json", C::KrakenStream, "", Kind::NoPrice),
    ("kraken/ws_v2_pong.json", C::KrakenStream, "", Kind::NoPrice),
    ("kraken/ws_v2_status.json", C::KrakenStream, "", Kind::NoPrice),
    ("kraken/ws_v2_status_maintenance.json", C::KrakenStream, "", Kind::Halted),
    ("kraken/ws_v2_subscribed.json", C::KrakenStream, "", Kind::NoPrice),
    ("okx/rest_error_50011_429.json", C::OkxTicker, "", refused(Refusal::RateLimit)),
    ("okx/rest_error_51001.json", C::OkxTicker, "", refused(Refusal::UnknownSymbol)),
    ("okx/rest_ticker_one_sided.json", C::OkxTicker, "", Kind::Missing),
    ("okx/ws_error_60018.json", C::OkxStream, "", refused(Refusal::UnknownSymbol)),
    ("okx/ws_notice_reconnect.json", C::OkxStream, "", Kind::NoPrice),
    ("okx/ws_subscribe_ack.json", C::OkxStream, "", Kind::NoPrice),
];

/// Captured streams: file, channel, messages, and prices in them.
const CAPTURES: [(&str, Channel, usize, usize); 3] = [
    ("binance/capture_ws_bookTicker_2021-10-12.jsonl", C::BinanceStream, 86, 84),
    ("coinbase/capture_ws_exchange_ticker_2021-04-17.jsonl", C::CoinbaseExchangeStream, 80, 38),
    ("okx/capture_ws_BTC-USDT_2022-05-13.jsonl", C::OkxStream, 99, 25),
];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../data/venues"))
}

fn read(channel: Channel, asked: &str, body: &[u8]) -> Result<Quote, Kind> {
    let quote = match asked {
        "" => channel.parse_any(body, RECEIVED),
        asked => channel.parse(body, asked, RECEIVED),
    };
    quote.map_err(|error| error.kind)
}

fn shown(quote: &Quote) -> [String; 5] {
    let price = |price: Option<Price>| price.map_or("-".to_owned(), |price| price.to_string());
    let time = quote.venue_time.map_or("-".to_owned(), |time| time.ms().to_string());
    [price(quote.bid), price(quote.ask), price(quote.last), price(quote.volume), time]
}

#[test]
fn every_good_body_gives_its_quote() {
    for (file, channel, asked, want) in GOOD {
        let body = fs::read(folder().join(file)).unwrap();
        let quote = read(*channel, asked, &body).unwrap_or_else(|kind| panic!("{file}: {kind}"));
        assert_eq!(shown(&quote), want.map(str::to_owned), "{file}");
        assert_eq!(quote.received, RECEIVED);
    }
}

#[test]
fn every_other_body_is_refused_by_its_kind() {
    for (file, channel, asked, want) in BAD {
        let body = fs::read(folder().join(file)).unwrap();
        assert_eq!(read(*channel, asked, &body).map(|quote| shown(&quote)), Err(*want), "{file}");
    }
}

#[test]
fn every_file_is_listed() {
    let listed: BTreeSet<String> = GOOD
        .iter()
        .map(|row| row.0)
        .chain(BAD.iter().map(|row| row.0))
        .chain(CAPTURES.iter().map(|row| row.0))
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    for venue in VENUES {
        for entry in fs::read_dir(folder().join(venue)).unwrap() {
            found.insert(format!("{venue}/{}", entry.unwrap().file_name().into_string().unwrap()));
        }
    }
    assert_eq!(listed, found);
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    msg: &'a RawValue,
}

/// What venues really sent: every message is understood, and the prices of each market are sane and never go back in time.
#[test]
fn captured_streams_are_understood() {
    for (file, channel, messages, prices) in CAPTURES {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        let (mut seen, mut priced) = (0, 0);
        let mut newest = std::collections::BTreeMap::new();
        for line in text.lines() {
            let line: Line<'_> = serde_json::from_str(line).unwrap();
            let message = channel.read_message(line.msg.get().as_bytes(), RECEIVED).unwrap_or_else(|e| panic!("{e}"));
            seen += 1;
            let Says::Prices(tickers) = message.says else { continue };
            for ticker in tickers {
                priced += 1;
                assert!(ticker.quote.bid.unwrap() <= ticker.quote.ask.unwrap());
                let before = newest.insert(ticker.symbol, (ticker.quote.venue_time, ticker.order));
                assert!(before.is_none_or(|before| before <= (ticker.quote.venue_time, ticker.order)), "{file}");
            }
        }
        assert_eq!((seen, priced), (messages, prices), "{file}");
    }
}

/// What costs a market its price without a body being malformed: the states in which a venue answers but does not trade.
#[test]
fn a_venue_in_maintenance_says_so() {
    let body = fs::read(folder().join("kraken/ws_v2_status_maintenance.json")).unwrap();
    assert_eq!(C::KrakenStream.read_message(&body, RECEIVED).unwrap().says, Says::Trading(false));
    let body = fs::read(folder().join("kraken/ws_v2_status.json")).unwrap();
    assert_eq!(C::KrakenStream.read_message(&body, RECEIVED).unwrap().says, Says::Trading(true));
    for (file, channel) in [
        ("binance/ws_serverShutdown_combined.json", C::BinanceStream),
        ("bitstamp/ws_request_reconnect.json", C::BitstampStream),
        ("okx/ws_notice_reconnect.json", C::OkxStream),
    ] {
        let body = fs::read(folder().join(file)).unwrap();
        assert_eq!(channel.read_message(&body, RECEIVED).unwrap().says, Says::Closing, "{file}");
    }
}
