//! The source gate: prices too far from the others do not count.

use std::cmp::Reverse;

use ruint::aliases::U256;

use crate::{Price, SourceId, median::lower_weighted_median};

/// One price as the gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Whose.
    pub source: SourceId,
    /// The price, in the feed's quote currency.
    pub price: Price,
}

/// The deviation scale never falls below this share of the median, 1 basis point: where most prices agree to the last digit, an
/// honest one that differs by a tick stays.
pub const MAD_FLOOR_PPM: i128 = 100;

/// Which of the points stay. A point goes if `0.6745 |x - median| / MAD > 3.5`, the modified z-score and its limit (Iglewicz and
/// Hoaglin, How to Detect and Handle Outliers, 1993); MAD is the median absolute deviation, at least 1e-18 and
/// [`MAD_FLOOR_PPM`] of the median. Every point has one vote here, whatever it weighs later.
///
/// The furthest goes first (of equally far ones the last), and none goes that would leave fewer than `sources_min` sources. The
/// median itself always stays.
pub fn gate(points: &[Point], sources_min: u8) -> Vec<bool> {
    let mut kept = vec![true; points.len()];
    let Some(median) = median_of(points.iter().map(|p| p.price)) else { return kept };
    let distances: Vec<U256> = points.iter().map(|p| U256::from(p.price.units().abs_diff(median.units()))).collect();
    let floor = median.scaled(MAD_FLOOR_PPM, 1_000_000).unwrap_or(Price::ZERO).units().unsigned_abs().max(1);
    let scale = lower_median(&distances).max(U256::from(floor));
    let is_far = |at: usize| distances[at] * U256::from(6_745u32) > scale * U256::from(35_000u32);

    let mut far: Vec<usize> = (0..points.len()).filter(|&at| is_far(at)).collect();
    far.sort_by_key(|&at| Reverse((distances[at], at)));
    for at in far {
        kept[at] = false;
        let bits = points.iter().zip(&kept).filter(|&(_, &stays)| stays).fold(0, |bits, (p, _)| bits | p.source.bit());
        if u16::count_ones(bits) < u32::from(sources_min) {
            kept[at] = true;
        }
    }
    kept
}

fn median_of(prices: impl Iterator<Item = Price>) -> Option<Price> {
    lower_weighted_median(&prices.map(|price| (price, 1)).collect::<Vec<_>>())
}

fn lower_median(values: &[U256]) -> U256 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(U256::ZERO)
}
