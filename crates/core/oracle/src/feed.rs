//! Names of what is priced: currencies and feeds.

use std::{fmt, str::FromStr};

/// A currency or asset symbol, 1 to 10 upper-case ASCII letters or digits: `USD`, `USDT`, `BTC`.
///
/// Stablecoins are currencies of their own: `USDT` and `USDC` are never `USD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; Currency::LEN_MAX]);

/// A feed: category byte and ASCII name padded with zeros, 21 bytes, the FTSOv2 form. Shown as `ETH/USD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed([u8; Feed::LEN]);

/// Why a currency or feed name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A currency is not 1 to 10 upper-case ASCII letters or digits.
    #[error("currency {0:?} is not 1 to 10 upper-case letters or digits")]
    Currency(String),
    /// A feed name is not `BASE/QUOTE`.
    #[error("feed {0:?} is not of the form BASE/QUOTE, such as ETH/USD")]
    Feed(String),
    /// Feed bytes carry another category, stray bytes after the padding, or a name that is not `BASE/QUOTE`.
    #[error("feed bytes are not category 01 and a zero-padded BASE/QUOTE name")]
    FeedBytes,
}

impl Currency {
    const LEN_MAX: usize = 10;

    /// The symbol.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(Self::LEN_MAX);
        // Only ASCII is ever stored; an empty string for anything else keeps this total.
        std::str::from_utf8(&self.0[..len]).unwrap_or("")
    }
}

impl FromStr for Currency {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = (1..=Self::LEN_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !good {
            return Err(NameError::Currency(text.chars().take(32).collect()));
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl Feed {
    /// Bytes of a feed id.
    pub const LEN: usize = 21;
    /// FTSOv2's category of crypto currencies, the only one so far.
    pub const CATEGORY_CRYPTO: u8 = 1;

    /// The feed that prices `base` in `quote`; at most 20 bytes of name, so two 10-byte symbols do not fit with the slash.
    pub fn of(base: Currency, quote: Currency) -> Result<Self, NameError> {
        format!("{}/{}", base.as_str(), quote.as_str()).parse()
    }

    /// A feed from its 21 bytes; only the canonical form is accepted.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Result<Self, NameError> {
        let len = bytes.iter().position(|&b| b == 0).unwrap_or(Self::LEN);
        let name = bytes.get(1..len).and_then(|n| std::str::from_utf8(n).ok()).ok_or(NameError::FeedBytes)?;
        let feed: Self = name.parse().map_err(|_| NameError::FeedBytes)?;
        if feed.0 == bytes { Ok(feed) } else { Err(NameError::FeedBytes) }
    }

    /// The 21 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The name without its padding.
    pub fn name(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(Self::LEN);
        self.0.get(1..len).and_then(|n| std::str::from_utf8(n).ok()).unwrap_or("")
    }

    /// The currency that is priced.
    pub fn base(&self) -> Option<Currency> {
        self.name().split_once('/').and_then(|(base, _)| base.parse().ok())
    }

    /// The currency the price is expressed in.
    pub fn quote(&self) -> Option<Currency> {
        self.name().split_once('/').and_then(|(_, quote)| quote.parse().ok())
    }
}

impl FromStr for Feed {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Feed(text.chars().take(32).collect());
        let (base, quote) = text.split_once('/').ok_or_else(refuse)?;
        let (_, _): (Currency, Currency) = (base.parse()?, quote.parse()?);
        if base == quote || text.len() >= Self::LEN {
            return Err(refuse());
        }
        let mut bytes = [0; Self::LEN];
        bytes[0] = Self::CATEGORY_CRYPTO;
        bytes[1..=text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_bytes_are_the_ftso_form() {
        let feed: Feed = "ETH/USD".parse().unwrap();
        let mut want = [0u8; 21];
        want[..8].copy_from_slice(b"\x01ETH/USD");
        assert_eq!(feed.as_bytes(), &want);
        assert_eq!(Feed::from_bytes(want), Ok(feed));
        assert_eq!((feed.base().unwrap().as_str(), feed.quote().unwrap().as_str()), ("ETH", "USD"));
    }

    #[test]
    fn other_forms_are_refused() {
        for name in ["ETHUSD", "eth/usd", "/USD", "ETH/", "USD/USD", "ABCDEFGHIJ/KLMNOPQRST", "A/B/C", "ETH /USD"] {
            assert!(name.parse::<Feed>().is_err(), "{name}");
        }
        let mut stray = *"ETH/USD".parse::<Feed>().unwrap().as_bytes();
        stray[20] = 1;
        assert_eq!(Feed::from_bytes(stray), Err(NameError::FeedBytes));
        assert_eq!(Feed::from_bytes([0; 21]), Err(NameError::FeedBytes));
        assert_eq!(Feed::from_bytes([1; 21]), Err(NameError::FeedBytes));
    }
}
