//! Curve pools: `price_oracle()`, an exponential moving average that trades cannot move within a block.
//!
//! `get_dy`, `last_price` and `get_p` are prices of the moment and are not read: UwU Lend, 10 June 2024, took five of eleven from them.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};

use super::{abi::Words, rpc};
use crate::{ParseError, ParseErrorKind as Kind};

/// A pool whose moving average is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurvePool {
    /// When it was made.
    pub created: Time,
    /// Whether it is of the `stableswap-ng` kind.
    pub is_stableswap_ng: bool,
    /// Whether all its coins have 18 decimals and none has a rate oracle.
    pub is_plain: bool,
    /// Which price: 0 is that of the second coin in units of the first. `None` for a pool of two, whose function takes no argument.
    pub coin: Option<u8>,
    /// One over the price is wanted: the first coin in units of the other.
    pub invert: bool,
}

/// When the factory's fault was mended: 2023-12-12 09:39:35 UTC (Curve docs, "Stableswap-NG: Oracles").
const MENDED: Time = Time::from_ms(1_702_373_975_000);

/// Why a pool is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stableswap-ng pool made before 2023-12-12 09:39:35 UTC with rates or other than 18 decimals: its price_oracle jumps"
)]
pub struct FaultyPool;

impl CurvePool {
    /// Refuses a pool with the known fault; to be asked when the configuration is loaded.
    pub fn check(&self) -> Result<(), FaultyPool> {
        if self.is_stableswap_ng && !self.is_plain && self.created < MENDED { Err(FaultyPool) } else { Ok(()) }
    }

    /// The call that gives the price.
    pub fn call(&self) -> String {
        self.coin.map_or_else(|| "0x86fc88d3".to_owned(), |coin| format!("0x68727653{coin:064x}"))
    }

    /// Reads the price as of a block.
    pub fn parse(&self, body: &[u8], block_time: Time, received: Time) -> Result<Quote, ParseError> {
        let data = rpc::parse_call(body)?;
        let words = Words::new(&data)?;
        if words.len() != 1 {
            return Err(ParseError::new(Kind::Shape, format_args!("{} words for one", words.len())));
        }
        let units = words.uint(0, 127)?.to::<u128>();
        let price = Price::from_units(units.cast_signed()); // below 2^127
        let price = if self.invert { Price::ONE.over(price).unwrap_or(Price::ZERO) } else { price };
        if !price.is_positive() {
            return Err(ParseError::new(Kind::Zero, "price_oracle"));
        }
        let venue_time = Some(block_time);
        Ok(Quote { bid: None, ask: None, last: Some(price), volume: None, venue_time, received })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(1_719_792_000_000);
    const TWO: CurvePool =
        CurvePool { created: NOW, is_stableswap_ng: false, is_plain: true, coin: None, invert: false };

    fn read(pool: CurvePool, units: u128) -> Result<String, Kind> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{units:064x}"}}"#);
        let quote = pool.parse(body.as_bytes(), NOW, NOW).map_err(|error| error.kind)?;
        Ok(quote.last.unwrap().to_string())
    }

    /// The documentation's examples: TriCRV and CVG/ETH.
    #[test]
    fn the_documented_prices() {
        assert_eq!(read(TWO, 3_670_949_576_287_168_254_655).as_deref(), Ok("3670.949576287168254655"));
        assert_eq!(read(TWO, 724_988_309_167_051_066).as_deref(), Ok("0.724988309167051066"));
        assert_eq!(read(TWO, 74_644_221_911_389).as_deref(), Ok("0.000074644221911389"));
        let inverse = read(CurvePool { invert: true, ..TWO }, 74_644_221_911_389).unwrap();
        assert!(inverse.starts_with("13396.88"), "{inverse}");
        assert_eq!(read(TWO, 0), Err(Kind::Zero));
        assert_eq!(read(CurvePool { invert: true, ..TWO }, 0), Err(Kind::Zero));
        assert_eq!(read(TWO, u128::MAX), Err(Kind::Range));
        assert_eq!(CurvePool { coin: Some(1), ..TWO }.call().len(), 2 + 8 + 64);
    }

    /// December 2023: `price_oracle` of such pools jumped.
    #[test]
    fn curve_2023_pools_with_the_known_fault_are_refused() {
        let faulty =
            CurvePool { created: Time::from_ms(1_702_373_974_999), is_stableswap_ng: true, is_plain: false, ..TWO };
        assert_eq!(faulty.check(), Err(FaultyPool));
        for sound in [
            CurvePool { created: MENDED, ..faulty },
            CurvePool { is_plain: true, ..faulty },
            CurvePool { is_stableswap_ng: false, ..faulty },
        ] {
            assert_eq!(sound.check(), Ok(()));
        }
    }
}
