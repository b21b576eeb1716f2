//! The endpoints and streams of venues that are read, and the requests to them. Pure.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
#[cfg(feature = "transport")]
use reqwest::Url;

use crate::{
    Budget, Message, ParseError, ParseErrorKind, Refusal, Venue, binance, bitstamp, bybit, coinbase, dydx, gemini,
    json, kraken, okx, pyth,
};

/// One endpoint or stream of a venue: how to ask for a symbol, and how to read what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Binance `ticker/24hr`: bid, ask, last, volume and time. The default.
    BinanceTicker24hr,
    /// Binance `ticker/bookTicker`: bid and ask, no time.
    BinanceBookTicker,
    /// Binance `ticker/price`: last, no time.
    BinanceTickerPrice,
    /// Binance's streams: the day ticker, the book ticker, trades.
    BinanceStream,
    /// Bitstamp `ticker/{pair}/`: bid, ask, last, volume and time. The default.
    BitstampTicker,
    /// Bitstamp's stream: live trades.
    BitstampStream,
    /// Bybit `market/tickers`: bid, ask, last, volume and time. The default.
    BybitTickers,
    /// Bybit's stream: tickers.
    BybitStream,
    /// Coinbase Exchange `products/{id}/ticker`: bid, ask, last, volume and time. The default.
    CoinbaseTicker,
    /// Coinbase `v2/prices/{pair}/spot`: one price, no time.
    CoinbaseSpot,
    /// Coinbase Advanced Trade `market/products/{id}/ticker`: bid, ask, last and time.
    CoinbaseAdvanced,
    /// Coinbase Advanced Trade `market/products/{id}`: last and volume of a product that can be traded.
    CoinbaseProduct,
    /// Coinbase Exchange's stream: tickers.
    CoinbaseExchangeStream,
    /// Coinbase Advanced Trade's stream: tickers.
    CoinbaseAdvancedStream,
    /// dYdX `perpetualMarkets`: the chain's oracle price, no time. The default.
    DydxMarkets,
    /// dYdX `orderbooks/perpetualMarket/{ticker}`: bid and ask of the perpetual, no time.
    DydxOrderbook,
    /// dYdX's stream: markets, trades.
    DydxStream,
    /// Gemini `v1/pubticker/{symbol}`: bid, ask, last, volume and time. The default.
    GeminiTicker,
    /// Gemini `v2/ticker/{symbol}`: bid, ask and last, no time.
    GeminiDay,
    /// Gemini `v1/pricefeed`: last, no time.
    GeminiPriceFeed,
    /// Gemini's stream: trades.
    GeminiStream,
    /// Kraken `0/public/Ticker`: bid, ask, last and volume, no time. The default.
    KrakenTicker,
    /// Kraken's second WebSocket API: tickers.
    KrakenStream,
    /// OKX `market/ticker`: bid, ask, last, volume and time. The default.
    OkxTicker,
    /// OKX `market/index-tickers`: an index of several venues, with time.
    OkxIndex,
    /// OKX's stream: tickers.
    OkxStream,
    /// Hermes `v2/updates/price/latest`: one price, with time. The default.
    PythLatest,
}

/// Longest venue symbol accepted: a price feed id of Pyth with its `0x`. Binance's own bound is 20 characters, the longest Kraken name
/// seen has 16.
pub const SYMBOL_LEN_MAX: usize = 66;

/// Which venue, and the name within it.
type Named = (Channel, Venue, &'static str);

/// Every channel, by venue.
const NAMES: [Named; 27] = [
    (Channel::BinanceTicker24hr, Venue::Binance, "ticker_24hr"),
    (Channel::BinanceBookTicker, Venue::Binance, "book_ticker"),
    (Channel::BinanceTickerPrice, Venue::Binance, "ticker_price"),
    (Channel::BinanceStream, Venue::Binance, "ws"),
    (Channel::BitstampTicker, Venue::Bitstamp, "ticker"),
    (Channel::BitstampStream, Venue::Bitstamp, "ws"),
    (Channel::BybitTickers, Venue::Bybit, "tickers"),
    (Channel::BybitStream, Venue::Bybit, "ws"),
    (Channel::CoinbaseTicker, Venue::Coinbase, "exchange_ticker"),
    (Channel::CoinbaseSpot, Venue::Coinbase, "v2_spot"),
    (Channel::CoinbaseAdvanced, Venue::Coinbase, "advanced_ticker"),
    (Channel::CoinbaseProduct, Venue::Coinbase, "advanced_product"),
    (Channel::CoinbaseExchangeStream, Venue::Coinbase, "ws_exchange"),
    (Channel::CoinbaseAdvancedStream, Venue::Coinbase, "ws_advanced"),
    (Channel::DydxMarkets, Venue::Dydx, "perpetual_markets"),
    (Channel::DydxOrderbook, Venue::Dydx, "orderbook"),
    (Channel::DydxStream, Venue::Dydx, "ws"),
    (Channel::GeminiTicker, Venue::Gemini, "v1_pubticker"),
    (Channel::GeminiDay, Venue::Gemini, "v2_ticker"),
    (Channel::GeminiPriceFeed, Venue::Gemini, "v1_pricefeed"),
    (Channel::GeminiStream, Venue::Gemini, "ws"),
    (Channel::KrakenTicker, Venue::Kraken, "ticker"),
    (Channel::KrakenStream, Venue::Kraken, "ws"),
    (Channel::OkxTicker, Venue::Okx, "ticker"),
    (Channel::OkxIndex, Venue::Okx, "index_ticker"),
    (Channel::OkxStream, Venue::Okx, "ws"),
    (Channel::PythLatest, Venue::Pyth, "hermes_latest"),
];

impl Channel {
    /// All of them, by venue.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(channel, _, _)| *channel)
    }

    /// A venue's channel by its name.
    pub fn named(venue: Venue, name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, owner, known)| *owner == venue && *known == name).map(|(channel, _, _)| *channel)
    }

    /// The channel that a configured address means. An address whose path ends in `/v2` is Coinbase's spot price, one that ends in
    /// `/api/v3/brokerage` Advanced Trade, any other Coinbase address its Exchange; the other venues have one default each.
    #[cfg(feature = "transport")]
    pub fn for_url(venue: Venue, api_url: &Url) -> Self {
        let path = api_url.path().trim_end_matches('/');
        match venue {
            Venue::Binance => Self::BinanceTicker24hr,
            Venue::Bitstamp => Self::BitstampTicker,
            Venue::Bybit => Self::BybitTickers,
            Venue::Coinbase if path.ends_with(coinbase::SPOT_PATH) => Self::CoinbaseSpot,
            Venue::Coinbase if path.ends_with(coinbase::ADVANCED_PATH) => Self::CoinbaseAdvanced,
            Venue::Coinbase => Self::CoinbaseTicker,
            Venue::Dydx => Self::DydxMarkets,
            Venue::Gemini => Self::GeminiTicker,
            Venue::Kraken => Self::KrakenTicker,
            Venue::Okx => Self::OkxTicker,
            Venue::Pyth => Self::PythLatest,
        }
    }

    /// Whose channel it is.
    pub fn venue(self) -> Venue {
        self.row().1
    }

    /// Its name within the venue, for configuration and tools.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The table has every channel; a test reads it whole.
    fn row(self) -> &'static Named {
        NAMES.iter().find(|(channel, _, _)| *channel == self).unwrap_or(&NAMES[0])
    }

    /// Reads an answer, or a stream's message, for `symbol`, received at `received` by this node's clock. Pure: the same bytes give the
    /// same result.
    pub fn parse(self, body: &[u8], symbol: &str, received: Time) -> Result<Quote, ParseError> {
        self.read(body, Some(symbol), received)
    }

    /// Reads an answer, or a stream's message, for whichever market it is about. One that is about several is refused.
    pub fn parse_any(self, body: &[u8], received: Time) -> Result<Quote, ParseError> {
        self.read(body, None, received)
    }

    /// Reads a stream's message; one of a channel that is asked says nothing.
    pub fn read_message(self, body: &[u8], received: Time) -> Result<Message, ParseError> {
        let read = match self {
            Self::BinanceStream => binance::read,
            Self::BitstampStream => bitstamp::read,
            Self::BybitStream => bybit::read,
            Self::CoinbaseExchangeStream => coinbase::read_exchange,
            Self::CoinbaseAdvancedStream => coinbase::read_advanced,
            Self::DydxStream => dydx::read,
            Self::GeminiStream => gemini::read,
            Self::KrakenStream => kraken::read,
            Self::OkxStream => okx::read,
            _ => return Err(ParseError::new(ParseErrorKind::NoPrice, "not a stream")),
        };
        read(json::text(body)?, received)
    }

    fn read(self, body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
        match self {
            Self::BinanceTicker24hr | Self::BinanceBookTicker | Self::BinanceTickerPrice => {
                binance::parse(body, asked, received)
            }
            Self::BitstampTicker => bitstamp::parse(body, asked, received),
            Self::BybitTickers => bybit::parse(body, asked, received),
            Self::CoinbaseTicker => coinbase::parse_ticker(body, received),
            Self::CoinbaseSpot => coinbase::parse_spot(body, asked, received),
            Self::CoinbaseAdvanced => coinbase::parse_trades(body, asked, received),
            Self::CoinbaseProduct => coinbase::parse_product(body, asked, received),
            Self::DydxMarkets => dydx::parse_markets(body, asked, received),
            Self::DydxOrderbook => dydx::parse_book(body, received),
            Self::GeminiTicker => gemini::parse_ticker(body, asked, received),
            Self::GeminiDay => gemini::parse_day(body, asked, received),
            Self::GeminiPriceFeed => gemini::parse_feed(body, asked, received),
            Self::KrakenTicker => kraken::parse(body, asked, received),
            Self::OkxTicker => okx::parse_ticker(body, asked, received),
            Self::OkxIndex => okx::parse_index(body, asked, received),
            Self::PythLatest => pyth::parse(body, asked, received),
            Self::BinanceStream
            | Self::BitstampStream
            | Self::BybitStream
            | Self::CoinbaseExchangeStream
            | Self::CoinbaseAdvancedStream
            | Self::DydxStream
            | Self::GeminiStream
            | Self::KrakenStream
            | Self::OkxStream => self.read_message(body, received)?.into_quote(asked),
        }
    }

    /// The address to ask for a symbol, below a base address: `https://api.binance.com/api/v3` as the deployment guide writes it, or
    /// the host alone. A stream has none: the base comes back.
    #[cfg(feature = "transport")]
    pub fn request_url(self, api_url: &Url, symbol: &str) -> Url {
        let given = api_url.path().trim_end_matches('/');
        let below = |base: &'static str, path: String| format!("{}{path}", if given.is_empty() { base } else { given });
        let (path, query): (String, &[(&str, &str)]) = match self {
            Self::BinanceTicker24hr => (below(binance::BASE_PATH, "/ticker/24hr".into()), &[("symbol", symbol)]),
            Self::BinanceBookTicker => (below(binance::BASE_PATH, "/ticker/bookTicker".into()), &[("symbol", symbol)]),
            Self::BinanceTickerPrice => (below(binance::BASE_PATH, "/ticker/price".into()), &[("symbol", symbol)]),
            Self::BitstampTicker => {
                (below(bitstamp::BASE_PATH, format!("/ticker/{}/", symbol.to_ascii_lowercase())), &[])
            }
            Self::BybitTickers => {
                (below(bybit::BASE_PATH, "/market/tickers".into()), &[("category", "spot"), ("symbol", symbol)])
            }
            Self::CoinbaseTicker => (format!("{given}/products/{symbol}/ticker"), &[]),
            Self::CoinbaseSpot => (format!("{given}/prices/{symbol}/spot"), &[]),
            Self::CoinbaseAdvanced => {
                (below(coinbase::ADVANCED_PATH, format!("/market/products/{symbol}/ticker")), &[("limit", "1")])
            }
            Self::CoinbaseProduct => (below(coinbase::ADVANCED_PATH, format!("/market/products/{symbol}")), &[]),
            Self::DydxMarkets => (below(dydx::BASE_PATH, "/perpetualMarkets".into()), &[("ticker", symbol)]),
            Self::DydxOrderbook => (below(dydx::BASE_PATH, format!("/orderbooks/perpetualMarket/{symbol}")), &[]),
            Self::GeminiTicker => (format!("{given}/v1/pubticker/{}", symbol.to_ascii_lowercase()), &[]),
            Self::GeminiDay => (format!("{given}/v2/ticker/{}", symbol.to_ascii_lowercase()), &[]),
            Self::GeminiPriceFeed => (format!("{given}/v1/pricefeed"), &[]),
            Self::KrakenTicker => (kraken_path(given), &[("pair", symbol)]),
            Self::OkxTicker => (below(okx::BASE_PATH, "/market/ticker".into()), &[("instId", symbol)]),
            Self::OkxIndex => (below(okx::BASE_PATH, "/market/index-tickers".into()), &[("instId", symbol)]),
            Self::PythLatest => (
                format!("{given}/v2/updates/price/latest"),
                &[("ids[]", symbol), ("encoding", "hex"), ("parsed", "true")],
            ),
            _ => (given.to_owned(), &[]),
        };
        let mut url = api_url.clone();
        url.set_path(&path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// What the venue's own error body says, if the body is one.
    pub(crate) fn refusal(self, body: &[u8]) -> Option<(Refusal, String)> {
        match self.venue() {
            Venue::Binance => binance::refusal(body),
            Venue::Bitstamp => bitstamp::refusal(body),
            Venue::Bybit => bybit::refusal(body),
            Venue::Coinbase => coinbase::refusal(body),
            Venue::Dydx => dydx::refusal(body),
            Venue::Gemini => gemini::refusal(body),
            Venue::Kraken => kraken::refusal(body),
            Venue::Okx => okx::refusal(body),
            Venue::Pyth => pyth::refusal(body),
        }
    }

    /// The request budget that keeps within the vendor's documented limit.
    pub fn budget(self) -> Budget {
        match self.venue() {
            Venue::Binance => binance::BUDGET,
            Venue::Bitstamp => bitstamp::BUDGET,
            Venue::Bybit => bybit::BUDGET,
            Venue::Coinbase if self == Self::CoinbaseSpot => coinbase::SPOT_BUDGET,
            Venue::Coinbase => coinbase::TICKER_BUDGET,
            Venue::Dydx => dydx::BUDGET,
            Venue::Gemini => gemini::BUDGET,
            Venue::Kraken => kraken::BUDGET,
            Venue::Okx => okx::BUDGET,
            Venue::Pyth => pyth::BUDGET,
        }
    }

    /// What one request costs of the budget.
    pub(crate) fn weight(self) -> u32 {
        if self.venue() == Venue::Binance { binance::WEIGHT } else { 1 }
    }

    /// Whether `Retry-After` counts milliseconds there, as dYdX's indexer has it, instead of the standard's seconds.
    pub(crate) fn waits_in_ms(self) -> bool {
        self.venue() == Venue::Dydx
    }
}

/// Whether a text may stand in a request: 1 to [`SYMBOL_LEN_MAX`] ASCII letters, digits and `-_.`, and not only dots. Nothing that
/// could leave its place in a path or a query.
pub(crate) fn symbol_is_plain(symbol: &str) -> bool {
    (1..=SYMBOL_LEN_MAX).contains(&symbol.len())
        && symbol.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && symbol.bytes().any(|b| b.is_ascii_alphanumeric())
}

#[cfg(feature = "transport")]
fn kraken_path(base: &str) -> String {
    match base {
        "" => format!("{}/Ticker", kraken::BASE_PATH),
        base if base.ends_with("/public") => format!("{base}/Ticker"),
        base => format!("{base}/public/Ticker"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_is_named_once() {
        for channel in Channel::all() {
            assert_eq!(Channel::named(channel.venue(), channel.name()), Some(channel));
            let streams = channel.name().starts_with("ws");
            assert_eq!(channel.stream_rules().is_some(), streams, "{channel:?}");
        }
        assert_eq!(Channel::named(Venue::Kraken, "v2_spot"), None);
    }

    /// An address, the venue it is of, a symbol, and the whole address of the request.
    const ADDRESSES: [(Venue, &str, &str, &str); 15] = [
        (
            Venue::Binance,
            "https://api.binance.com/api/v3",
            "ETHUSDT",
            "https://api.binance.com/api/v3/ticker/24hr?symbol=ETHUSDT",
        ),
        (
            Venue::Binance,
            "https://data-api.binance.vision",
            "BTCUSDT",
            "https://data-api.binance.vision/api/v3/ticker/24hr?symbol=BTCUSDT",
        ),
        (Venue::Bitstamp, "https://www.bitstamp.net", "BTCUSD", "https://www.bitstamp.net/api/v2/ticker/btcusd/"),
        (
            Venue::Bybit,
            "https://api.bybit.com/v5",
            "BTCUSDT",
            "https://api.bybit.com/v5/market/tickers?category=spot&symbol=BTCUSDT",
        ),
        (Venue::Coinbase, "https://api.coinbase.com/v2/", "BTC-USD", "https://api.coinbase.com/v2/prices/BTC-USD/spot"),
        (
            Venue::Coinbase,
            "https://api.coinbase.com/api/v3/brokerage",
            "BTC-USD",
            "https://api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/ticker?limit=1",
        ),
        (
            Venue::Coinbase,
            "https://api.exchange.coinbase.com",
            "BTC-USD",
            "https://api.exchange.coinbase.com/products/BTC-USD/ticker",
        ),
        (
            Venue::Dydx,
            "https://indexer.dydx.trade/v4",
            "BTC-USD",
            "https://indexer.dydx.trade/v4/perpetualMarkets?ticker=BTC-USD",
        ),
        (Venue::Gemini, "https://api.gemini.com", "BTCUSD", "https://api.gemini.com/v1/pubticker/btcusd"),
        (Venue::Kraken, "https://api.kraken.com", "XBTUSD", "https://api.kraken.com/0/public/Ticker?pair=XBTUSD"),
        (Venue::Kraken, "https://api.kraken.com/0", "XBTUSD", "https://api.kraken.com/0/public/Ticker?pair=XBTUSD"),
        (Venue::Kraken, "http://127.0.0.1:9/0/public/", "USDTUSD", "http://127.0.0.1:9/0/public/Ticker?pair=USDTUSD"),
        (Venue::Okx, "https://www.okx.com", "BTC-USDT", "https://www.okx.com/api/v5/market/ticker?instId=BTC-USDT"),
        (Venue::Okx, "http://127.0.0.1:9/x", "A-B", "http://127.0.0.1:9/x/market/ticker?instId=A-B"),
        (
            Venue::Pyth,
            "http://127.0.0.1:9",
            "0xab",
            "http://127.0.0.1:9/v2/updates/price/latest?ids%5B%5D=0xab&encoding=hex&parsed=true",
        ),
    ];

    #[cfg(feature = "transport")]
    #[test]
    fn addresses_as_operators_write_them() {
        for (venue, api_url, symbol, want) in ADDRESSES {
            let base: Url = api_url.parse().unwrap();
            let channel = Channel::for_url(venue, &base);
            assert_eq!(channel.venue(), venue);
            assert_eq!(channel.request_url(&base, symbol).as_str(), want);
        }
        for venue in Venue::ALL {
            let url: Url = venue.public_url().parse().unwrap();
            assert_ne!(Channel::for_url(venue, &url).request_url(&url, "A").path(), url.path(), "{venue}");
        }
    }

    #[test]
    fn symbols_cannot_leave_their_place() {
        for good in ["BTCUSDT", "BTC-USD", "XXBTZUSD", "a.b_c"] {
            assert!(symbol_is_plain(good), "{good}");
        }
        let long = "A".repeat(SYMBOL_LEN_MAX + 1);
        for bad in ["", "..", "A/../B", "A&b=c", "A?", "A#", "A B", "Ä", "A%2f", &long] {
            assert!(!symbol_is_plain(bad), "{bad}");
        }
    }
}
