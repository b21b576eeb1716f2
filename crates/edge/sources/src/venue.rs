//! The venues whose formats are known here.

use std::{fmt, str::FromStr};

use crate::{Channel, StreamRules, binance, bitstamp, bybit, coinbase, dydx, gemini, kraken, okx};

/// A venue whose formats are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// Bitstamp.
    Bitstamp,
    /// Bybit spot.
    Bybit,
    /// Coinbase: the Exchange, Advanced Trade, or the v2 spot price.
    Coinbase,
    /// dYdX v4's indexer: perpetuals, and the oracle prices of its chain.
    Dydx,
    /// Gemini.
    Gemini,
    /// Kraken spot.
    Kraken,
    /// OKX spot.
    Okx,
    /// Pyth, another oracle, as a Hermes server answers.
    Pyth,
}

impl Venue {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Binance,
        Self::Bitstamp,
        Self::Bybit,
        Self::Coinbase,
        Self::Dydx,
        Self::Gemini,
        Self::Kraken,
        Self::Okx,
        Self::Pyth,
    ];

    /// The name used in configuration and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Bitstamp => "bitstamp",
            Self::Bybit => "bybit",
            Self::Coinbase => "coinbase",
            Self::Dydx => "dydx",
            Self::Gemini => "gemini",
            Self::Kraken => "kraken",
            Self::Okx => "okx",
            Self::Pyth => "pyth",
        }
    }

    /// The address of its public market data, from its documentation.
    pub const fn public_url(self) -> &'static str {
        match self {
            Self::Binance => "https://api.binance.com/api/v3",
            Self::Bitstamp => "https://www.bitstamp.net/api/v2",
            Self::Bybit => "https://api.bybit.com/v5",
            Self::Coinbase => "https://api.exchange.coinbase.com",
            Self::Dydx => "https://indexer.dydx.trade/v4",
            Self::Gemini => "https://api.gemini.com",
            Self::Kraken => "https://api.kraken.com",
            Self::Okx => "https://www.okx.com/api/v5",
            Self::Pyth => "https://hermes.pyth.network",
        }
    }

    /// The stream that is listened to unless configured otherwise; Pyth's is not read.
    pub const fn stream(self) -> Option<Channel> {
        let stream = match self {
            Self::Binance => Channel::BinanceStream,
            Self::Bitstamp => Channel::BitstampStream,
            Self::Bybit => Channel::BybitStream,
            Self::Coinbase => Channel::CoinbaseExchangeStream,
            Self::Dydx => Channel::DydxStream,
            Self::Gemini => Channel::GeminiStream,
            Self::Kraken => Channel::KrakenStream,
            Self::Okx => Channel::OkxStream,
            Self::Pyth => return None,
        };
        Some(stream)
    }

    /// Whether its prices are other venues' prices: fit to check against, never to make up a majority. dYdX's oracle price is a
    /// median of Binance, Coinbase, Kraken and others; Pyth's publishers trade there.
    pub const fn is_derived(self) -> bool {
        matches!(self, Self::Dydx | Self::Pyth)
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
    /// How its stream is to be used; `None` for a channel that is asked.
    pub const fn stream_rules(self) -> Option<&'static StreamRules> {
        match self {
            Self::BinanceStream => Some(&binance::RULES),
            Self::BitstampStream => Some(&bitstamp::RULES),
            Self::BybitStream => Some(&bybit::RULES),
            Self::CoinbaseExchangeStream => Some(&coinbase::EXCHANGE_RULES),
            Self::CoinbaseAdvancedStream => Some(&coinbase::ADVANCED_RULES),
            Self::DydxStream => Some(&dydx::RULES),
            Self::GeminiStream => Some(&gemini::RULES),
            Self::KrakenStream => Some(&kraken::RULES),
            Self::OkxStream => Some(&okx::RULES),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn venues_have_names_and_streams() {
        for venue in Venue::ALL {
            assert_eq!(venue.to_string().parse(), Ok(venue));
            let Some(stream) = venue.stream() else { continue };
            assert_eq!(stream.venue(), venue);
            assert!(stream.stream_rules().is_some());
        }
        assert_eq!("mtgox".parse::<Venue>(), Err(()));
    }
}
