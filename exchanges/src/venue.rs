//! The venues, their endpoints and how they spell markets.

use std::{fmt, str::FromStr};

/// A venue that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// Coinbase: the Exchange and the v2 spot price.
    Coinbase,
    /// Kraken spot.
    Kraken,
}

/// An endpoint that answers with a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /api/v3/ticker/24hr?symbol=`
    BinanceTicker24hr,
    /// `GET /api/v3/ticker/bookTicker?symbol=`
    BinanceBookTicker,
    /// `GET /api/v3/ticker/price?symbol=`
    BinanceTickerPrice,
    /// `GET /products/{id}/ticker`
    CoinbaseTicker,
    /// `GET /v2/prices/{pair}/spot`
    CoinbaseSpot,
    /// `GET /0/public/Ticker?pair=`
    KrakenTicker,
}

/// Kraken's pairs whose answer has another key than the request (`altname` and name in `/0/public/AssetPairs`).
const KRAKEN_NAMES: [(&str, &str); 2] = [("XBTUSD", "XXBTZUSD"), ("USDTUSD", "USDTZUSD")];

impl Venue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Binance, Self::Coinbase, Self::Kraken];

    /// The name used on the tape and in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
        }
    }

    /// The endpoint that tells the most: what [`Tape::body`](crate::Tape::body) answers as.
    pub const fn endpoint(self) -> Endpoint {
        match self {
            Self::Binance => Endpoint::BinanceTicker24hr,
            Self::Coinbase => Endpoint::CoinbaseTicker,
            Self::Kraken => Endpoint::KrakenTicker,
        }
    }

    /// The one spelling of a market under which the tape keeps it: the venue's request symbol. The tape file, and Kraken's requests,
    /// have more than one.
    pub(crate) fn spelling(self, symbol: &str) -> String {
        if self != Self::Kraken {
            return symbol.to_owned();
        }
        let plain = symbol.replace('/', "");
        match KRAKEN_NAMES.iter().find(|(_, key)| *key == plain) {
            Some((altname, _)) => (*altname).to_owned(),
            None => plain.strip_prefix("BTC").map(|rest| format!("XBT{rest}")).unwrap_or(plain),
        }
    }
}

/// The key under which Kraken answers for a pair.
pub(crate) fn kraken_key(altname: &str) -> &str {
    KRAKEN_NAMES.iter().find(|(name, _)| *name == altname).map_or(altname, |(_, key)| key)
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

impl Endpoint {
    /// Whose endpoint it is.
    pub const fn venue(self) -> Venue {
        match self {
            Self::BinanceTicker24hr | Self::BinanceBookTicker | Self::BinanceTickerPrice => Venue::Binance,
            Self::CoinbaseTicker | Self::CoinbaseSpot => Venue::Coinbase,
            Self::KrakenTicker => Venue::Kraken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kraken_has_many_names_for_one_market() {
        for symbol in ["XBT/USD", "XBTUSD", "XXBTZUSD", "BTCUSD", "BTC/USD"] {
            assert_eq!(Venue::Kraken.spelling(symbol), "XBTUSD");
        }
        assert_eq!(Venue::Kraken.spelling("USDTZUSD"), "USDTUSD");
        assert_eq!(Venue::Kraken.spelling("USDC/USD"), "USDCUSD");
        assert_eq!((kraken_key("XBTUSD"), kraken_key("XBTUSDT")), ("XXBTZUSD", "XBTUSDT"));
        assert_eq!(Venue::Coinbase.spelling("BTC-USD"), "BTC-USD");
    }
}
