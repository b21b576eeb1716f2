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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::whole;

    /// Points of sources 0, 1, 2, ... at these prices.
    fn points(prices: &[i64]) -> Vec<Point> {
        let point = |(at, &price)| Point { source: SourceId::new(at).unwrap(), price: whole(price) };
        (0u8..).zip(prices).map(point).collect()
    }

    fn kept(prices: &[i64], sources_min: u8) -> Vec<i64> {
        let stays = gate(&points(prices), sources_min);
        prices.iter().zip(stays).filter_map(|(&p, stays)| stays.then_some(p)).collect()
    }

    #[test]
    fn far_points_go() {
        assert_eq!(kept(&[10_000, 10_001, 9_999, 12_000], 3), [10_000, 10_001, 9_999]);
        assert_eq!(kept(&[10_000, 10_001, 9_999, 10_003], 3), [10_000, 10_001, 9_999, 10_003]);
        assert!(gate(&[], 3).is_empty());
    }

    #[test]
    fn a15_without_deviation_the_floor_decides() {
        // MAD is 0: the floor of 1 bp of 10,000 is 1; 3.5 / 0.6745 of it is 5.19.
        assert_eq!(kept(&[10_000, 10_000, 10_000, 10_005], 1), [10_000, 10_000, 10_000, 10_005]);
        assert_eq!(kept(&[10_000, 10_000, 10_000, 10_006], 1), [10_000, 10_000, 10_000]);
    }

    #[test]
    fn a15_breaks_at_half() {
        for n in 3..=9usize {
            for liars in 0..n {
                let prices: Vec<i64> = (0..n).map(|at| if at < liars { 99_000 } else { 10_000 }).collect();
                let honest_stay = kept(&prices, 1).contains(&10_000);
                let lies_stay = kept(&prices, 1).contains(&99_000);
                assert_eq!(!lies_stay, 2 * liars <= n, "{liars} of {n}");
                assert_eq!(honest_stay, 2 * liars <= n, "{liars} of {n}");
            }
        }
    }

    #[test]
    fn never_below_the_source_quorum_and_the_furthest_first() {
        assert_eq!(kept(&[10_000, 10_000, 10_100, 10_200, 9_000], 4), [10_000, 10_000, 10_100, 10_200]);
        assert_eq!(kept(&[10_000, 10_000, 10_000, 20_000], 4), [10_000, 10_000, 10_000, 20_000]);
        // Two legs of one source: one may go, for the source stays.
        let mut two = points(&[10_000, 10_000, 10_000, 20_000]);
        two[3].source = two[0].source;
        assert_eq!(gate(&two, 3), [true, true, true, false]);
    }

    proptest! {
        #[test]
        fn a15_the_median_and_the_quorum_stay(prices in prop::collection::vec(-500i64..500, 1..14), sources_min in 0u8..8) {
            let median = median_of(points(&prices).iter().map(|p| p.price)).unwrap();
            let left = kept(&prices, sources_min);
            prop_assert!(left.iter().any(|&p| whole(p) == median));
            prop_assert!(left.len() >= usize::from(sources_min).min(prices.len()));
        }

        #[test]
        fn prices_at_the_limits_do_not_panic(units in prop::collection::vec(any::<i128>(), 0..14)) {
            let points: Vec<_> = units.iter().map(|&u| Point { source: SourceId::fixed::<0>(), price: Price::from_units(u) }).collect();
            prop_assert_eq!(gate(&points, 3).len(), units.len());
        }
    }
}
