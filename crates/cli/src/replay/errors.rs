//! How far answers were from the reference.

use concurrence_oracle::Price;
use serde::Serialize;

/// One error for each point compared, in parts per billion of the reference: a hundred thousandth of a basis point.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors(Vec<u64>);

/// Errors summed up, in basis points, to three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct ErrorBps {
    /// The greatest.
    pub(super) max: f64,
    /// The least error that 99 % of all points do not exceed.
    pub(super) p99: f64,
    /// The arithmetic mean.
    pub(super) mean: f64,
}

/// 1e-18 of a price in the tape's 1e-8.
const PRICE_UNITS_OF_UNIT: i128 = 10_000_000_000;

/// Parts per billion in a basis point.
const PPB_OF_BPS: f64 = 100_000.0;

impl Errors {
    /// Adds a point.
    pub(super) fn push(&mut self, error_ppb: u64) {
        self.0.push(error_ppb);
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The summary; `None` without points.
    pub(super) fn summary(&self) -> Option<ErrorBps> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 99).div_ceil(100);
        let (max, p99) = (*sorted.last()?, *sorted.get(rank.checked_sub(1)?)?);
        let sum: u128 = sorted.iter().map(|&ppb| u128::from(ppb)).sum();
        // Output only: nothing is decided by these floats.
        let mean = sum as f64 / sorted.len() as f64;
        Some(ErrorBps { max: bps(max as f64), p99: bps(p99 as f64), mean: bps(mean) })
    }
}

/// Distance of an answer from the reference (units of the tape, above zero), in parts per billion of the reference; at most
/// `u64::MAX`.
pub(super) fn error_ppb(answer: Price, reference_units: i128) -> u64 {
    // At most 2^94, so a billion times the distance fits.
    let distance = (answer.units() / PRICE_UNITS_OF_UNIT - reference_units).unsigned_abs();
    u64::try_from(distance * 1_000_000_000 / reference_units.unsigned_abs().max(1)).unwrap_or(u64::MAX)
}

fn bps(ppb: f64) -> f64 {
    (ppb / PPB_OF_BPS * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative_to_the_reference() {
        let answer = |text| Price::parse(text).expect("a price");
        assert_eq!(error_ppb(answer("20002"), 20_000 * 100_000_000), 100_000, "one basis point");
        assert_eq!(error_ppb(answer("19998"), 20_000 * 100_000_000), 100_000);
        assert_eq!(error_ppb(Price::MAX, 1), u64::MAX);
    }

    #[test]
    fn units_are_those_of_price_and_tape() {
        let decimals = concurrence_oracle::PRICE_DECIMALS as usize - concurrence_exchanges::UNIT_DECIMALS;
        assert_eq!(PRICE_UNITS_OF_UNIT.to_string(), format!("1{}", "0".repeat(decimals)));
    }

    #[test]
    fn the_summary_is_by_nearest_rank() {
        let mut errors = Errors::default();
        assert_eq!(errors.summary(), None);
        (1..=200).for_each(|bps| errors.push(bps * 100_000));
        assert_eq!(errors.summary(), Some(ErrorBps { max: 200.0, p99: 198.0, mean: 100.5 }));
        let one = Errors(vec![123_456]);
        assert_eq!(one.summary(), Some(ErrorBps { max: 1.235, p99: 1.235, mean: 1.235 }));
    }
}
