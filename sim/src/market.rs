//! A synthetic market: prices that walk at random, and venues that each see them a little differently.

use std::collections::BTreeMap;

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};

use crate::dice::Dice;

/// What the world's prices are, second by second.
pub(crate) struct Market {
    /// Price of each currency in dollars, in units of 1e-18.
    dollars: BTreeMap<&'static str, i128>,
    walked_s: u64,
    dice: Dice,
    /// A closed market gives crossed books, of which no node makes a price.
    pub(crate) is_open: bool,
}

/// Greatest step of a price in a second, in parts per million: 1 bp, so that a minute moves about as much as a lively one does.
const STEP_PPM_MAX: i64 = 100;

/// How far a venue is off at most, in parts per million: far less than the source gate allows.
const VENUE_NOISE_PPM_MAX: i64 = 100;

/// Half the spread of a venue's book, in parts per million.
const HALF_SPREAD_PPM: i128 = 50;

const MILLION: i128 = 1_000_000;

impl Market {
    pub(crate) fn new(seed: u64) -> Self {
        let units = |dollars: i128| dollars * Price::ONE.units();
        let dollars =
            [("BTC", units(27_000)), ("ETH", units(1_700)), ("USDT", units(1)), ("USDC", units(1)), ("USD", units(1))];
        Self { dollars: BTreeMap::from(dollars), walked_s: 0, dice: Dice::new(seed, "market"), is_open: true }
    }

    /// What a venue says of a market at an instant of virtual time, `factor_ppm` of the truth; `None` for an unknown currency.
    pub(crate) fn quote(
        &mut self,
        (base, quote): (&str, &str),
        now_ms: u64,
        received: Time,
        factor_ppm: i128,
    ) -> Option<Quote> {
        self.walk(now_ms / 1_000);
        let (base, quote) = (Price::from_units(*self.dollars.get(base)?), Price::from_units(*self.dollars.get(quote)?));
        let noise = MILLION + i128::from(self.dice.around_zero(VENUE_NOISE_PPM_MAX));
        let seen = base.over(quote).ok()?.scaled(noise, MILLION).ok()?.scaled(factor_ppm, MILLION).ok()?;
        let (low, high) = (
            seen.scaled(MILLION - HALF_SPREAD_PPM, MILLION).ok()?,
            seen.scaled(MILLION + HALF_SPREAD_PPM, MILLION).ok()?,
        );
        let (bid, ask) = if self.is_open { (low, high) } else { (high, low) };
        Some(Quote { bid: Some(bid), ask: Some(ask), last: Some(seen), volume: None, venue_time: None, received })
    }

    fn walk(&mut self, until_s: u64) {
        for _ in self.walked_s..until_s {
            for (currency, price) in &mut self.dollars {
                let step = match *currency {
                    "USD" => 0,
                    // Stablecoins move too, a hundredth as much.
                    "USDT" | "USDC" => self.dice.around_zero(STEP_PPM_MAX / 100),
                    _ => self.dice.around_zero(STEP_PPM_MAX),
                };
                *price += *price / MILLION * i128::from(step);
            }
        }
        self.walked_s = self.walked_s.max(until_s);
    }
}
