//! The venues, the endpoints of theirs that we ask, and the requests to them. Pure.

use std::{fmt, str::FromStr};

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
#[cfg(feature = "transport")]
use reqwest::Url;

use crate::{Budget, ParseError, Refusal, binance, coinbase, kraken};

/// A venue whose formats are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// Coinbase: the Exchange, or the v2 spot price.
    Coinbase,
    /// Kraken spot.
    Kraken,
}

/// One endpoint of a venue: how to ask for a symbol, and how to read the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Binance `ticker/24hr`: bid, ask, last, volume and time. The default.
    BinanceTicker24hr,
    /// Binance `ticker/bookTicker`: bid and ask, no time.
    BinanceBookTicker,
    /// Binance `ticker/price`: last, no time.
    BinanceTickerPrice,
    /// Coinbase Exchange `products/{id}/ticker`: bid, ask, last, volume and time.
    CoinbaseTicker,
    /// Coinbase `v2/prices/{pair}/spot`: one price, no time.
    CoinbaseSpot,
    /// Kraken `0/public/Ticker`: bid, ask, last and volume, no time.
    KrakenTicker,
}

/// Longest venue symbol accepted: Binance's own bound is 20 characters, the longest Kraken name seen has 16.
pub const SYMBOL_LEN_MAX: usize = 32;

impl Venue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Binance, Self::Coinbase, Self::Kraken];

    /// The name used in configuration and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
        }
    }
}

impl FromStr for Venue {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|venue| venue.name() == name).ok_or(())
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Channel {
    /// The channel that a configured address means: an address whose path ends in `/v2` is Coinbase's spot price, any other
    /// Coinbase address its Exchange; the other venues have one default each.
    #[cfg(feature = "transport")]
    pub fn for_url(venue: Venue, api_url: &Url) -> Self {
        match venue {
            Venue::Binance => Self::BinanceTicker24hr,
            Venue::Coinbase if api_url.path().trim_end_matches('/').ends_with(coinbase::SPOT_PATH) => {
                Self::CoinbaseSpot
            }
            Venue::Coinbase => Self::CoinbaseTicker,
            Venue::Kraken => Self::KrakenTicker,
        }
    }

    /// Whose channel it is.
    pub const fn venue(self) -> Venue {
        match self {
            Self::BinanceTicker24hr | Self::BinanceBookTicker | Self::BinanceTickerPrice => Venue::Binance,
            Self::CoinbaseTicker | Self::CoinbaseSpot => Venue::Coinbase,
            Self::KrakenTicker => Venue::Kraken,
        }
    }

    /// Reads an answer for `symbol`, received at `received` by this node's clock. Pure: the same bytes give the same result.
    pub fn parse(self, body: &[u8], symbol: &str, received: Time) -> Result<Quote, ParseError> {
        match self {
            Self::BinanceTicker24hr | Self::BinanceBookTicker | Self::BinanceTickerPrice => {
                binance::parse(body, symbol, received)
            }
            Self::CoinbaseTicker => coinbase::parse_ticker(body, received),
            Self::CoinbaseSpot => coinbase::parse_spot(body, symbol, received),
            Self::KrakenTicker => kraken::parse(body, symbol, received),
        }
    }

    /// The address to ask for a symbol, below a base address: `https://api.binance.com/api/v3` as the deployment guide writes it, or
    /// the host alone.
    #[cfg(feature = "transport")]
    pub fn request_url(self, api_url: &Url, symbol: &str) -> Url {
        let base = api_url.path().trim_end_matches('/');
        let mut url = api_url.clone();
        let (path, query) = match self {
            Self::BinanceTicker24hr => (binance_path(base, "/ticker/24hr"), Some("symbol")),
            Self::BinanceBookTicker => (binance_path(base, "/ticker/bookTicker"), Some("symbol")),
            Self::BinanceTickerPrice => (binance_path(base, "/ticker/price"), Some("symbol")),
            Self::CoinbaseTicker => (format!("{base}/products/{symbol}/ticker"), None),
            Self::CoinbaseSpot => (format!("{base}/prices/{symbol}/spot"), None),
            Self::KrakenTicker => (kraken_path(base), Some("pair")),
        };
        url.set_path(&path);
        if let Some(name) = query {
            url.query_pairs_mut().append_pair(name, symbol);
        }
        url
    }

    /// What the venue's own error body says, if the body is one.
    pub(crate) fn refusal(self, body: &[u8]) -> Option<(Refusal, String)> {
        match self.venue() {
            Venue::Binance => binance::refusal(body),
            Venue::Coinbase => coinbase::refusal(body),
            Venue::Kraken => kraken::refusal(body),
        }
    }

    /// The request budget that keeps within the vendor's documented limit.
    pub const fn budget(self) -> Budget {
        match self {
            Self::CoinbaseTicker => coinbase::TICKER_BUDGET,
            Self::CoinbaseSpot => coinbase::SPOT_BUDGET,
            Self::KrakenTicker => kraken::BUDGET,
            _ => binance::BUDGET,
        }
    }

    /// What one request costs of the budget.
    pub(crate) const fn weight(self) -> u32 {
        match self.venue() {
            Venue::Binance => binance::WEIGHT,
            Venue::Coinbase | Venue::Kraken => 1,
        }
    }
}

/// Whether a text may stand in a request: 1 to [`SYMBOL_LEN_MAX`] ASCII letters, digits and `-_.`, and not only dots. Nothing that
/// could leave its place in a path or a query.
pub(crate) fn symbol_is_plain(symbol: &str) -> bool {
    (1..=SYMBOL_LEN_MAX).contains(&symbol.len())
        && symbol.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && symbol.bytes().any(|b| b.is_ascii_alphanumeric())
}

fn binance_path(base: &str, endpoint: &str) -> String {
    let base = if base.is_empty() { binance::BASE_PATH } else { base };
    format!("{base}{endpoint}")
}

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
    fn addresses_as_operators_write_them() {
        for (venue, api_url, symbol, want) in [
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
            (
                Venue::Coinbase,
                "https://api.coinbase.com/v2/",
                "BTC-USD",
                "https://api.coinbase.com/v2/prices/BTC-USD/spot",
            ),
            (
                Venue::Coinbase,
                "https://api.exchange.coinbase.com",
                "BTC-USD",
                "https://api.exchange.coinbase.com/products/BTC-USD/ticker",
            ),
            (Venue::Kraken, "https://api.kraken.com", "XBTUSD", "https://api.kraken.com/0/public/Ticker?pair=XBTUSD"),
            (Venue::Kraken, "https://api.kraken.com/0", "XBTUSD", "https://api.kraken.com/0/public/Ticker?pair=XBTUSD"),
            (
                Venue::Kraken,
                "http://127.0.0.1:9/0/public/",
                "USDTUSD",
                "http://127.0.0.1:9/0/public/Ticker?pair=USDTUSD",
            ),
        ] {
            let base: Url = api_url.parse().unwrap();
            let channel = Channel::for_url(venue, &base);
            assert_eq!(channel.venue(), venue);
            assert_eq!(channel.request_url(&base, symbol).as_str(), want);
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

    #[test]
    fn venues_have_names() {
        for venue in Venue::ALL {
            assert_eq!(venue.to_string().parse(), Ok(venue));
        }
        assert_eq!("mtgox".parse::<Venue>(), Err(()));
    }
}
