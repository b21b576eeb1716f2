//! Means by weight, of all votes and of the inner ones. None is canonical: a mean answers with a price that nobody stated, and every one
//! of them breaks with fewer liars than the median does.

use crate::{
    Price,
    median::{Vote, ascending, lower_quantile, weight_of},
};

/// How far from the quartiles a vote may be and still count in [`iqr_mean`], in halves of the distance between them: three halves,
/// as usual (Tukey, Exploratory Data Analysis, 1977).
pub const FENCE_HALVES: i128 = 3;

/// The arithmetic mean by weight, rounded toward negative infinity. One liar moves it anywhere.
pub fn weighted_mean(votes: &[Vote]) -> Option<Price> {
    let total = i128::try_from(weight_of(votes)).ok().filter(|&w| w > 0)?;
    let (mut whole, mut rest) = (0i128, 0i128);
    for &(price, weight) in votes {
        // Dividing first keeps every term within the range of the prices; the remainders, below 2^72 each, are summed apart.
        let (quotient, remainder) = (price.units().div_euclid(total), price.units().rem_euclid(total));
        whole = whole.checked_add(quotient.checked_mul(i128::from(weight))?)?;
        rest = rest.checked_add(remainder.checked_mul(i128::from(weight))?)?;
    }
    whole.checked_add(rest.div_euclid(total)).map(Price::from_units)
}

/// The mean of the middle third of the weight: a third, which is what may be faulty, is cut off at each end, and a vote at a cut
/// counts with what is left of it. While not more than a third lies, everything outside the honest votes is cut off, so the result
/// is within them. `None` without votes, and where three times their weight does not fit 64 bits.
pub fn trimmed_mean(votes: &[Vote]) -> Option<Price> {
    let total = u64::try_from(weight_of(votes)).ok()?;
    // Counted in thirds of a unit of weight the cuts fall on whole numbers.
    let (first_cut, second_cut, _end) = (total, total.checked_mul(2)?, total.checked_mul(3)?);
    let mut below = 0u64;
    let inner = ascending(votes).into_iter().map(|(price, weight)| {
        let (from, until) = (below, below + 3 * weight); // at most the end
        below = until;
        (price, until.min(second_cut).saturating_sub(from.max(first_cut)))
    });
    weighted_mean(&inner.collect::<Vec<_>>())
}

/// The mean by weight of the votes that are not further outside the quartiles than one and a half times the distance between them (the
/// interquartile range; the rule of the project's first description). A quarter of the weight on one side makes the quartile itself a
/// lie, and then nothing is left out: two liars of seven, fewer than a third, go through whole.
pub fn iqr_mean(votes: &[Vote]) -> Option<Price> {
    let (low, high) = (lower_quantile(votes, 1, 4)?, lower_quantile(votes, 3, 4)?);
    let reach = high.minus(low).and_then(|range| range.scaled(FENCE_HALVES, 2)).unwrap_or(Price::MAX);
    let least = low.minus(reach).unwrap_or(Price::from_units(i128::MIN));
    let greatest = high.plus(reach).unwrap_or(Price::MAX);
    let within = votes.iter().filter(|(price, _)| (least..=greatest).contains(price));
    weighted_mean(&within.copied().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::whole;

    fn units(values: &[i64]) -> Vec<Vote> {
        values.iter().map(|&v| (whole(v), 1)).collect()
    }

    fn votes() -> impl Strategy<Value = Vec<Vote>> {
        let vote = (-50i64..50, 0u64..9).prop_map(|(v, w)| (whole(v), w));
        proptest::collection::vec(vote, 1..12).prop_filter("some weight", |v| weight_of(v) > 0)
    }

    #[test]
    fn means_do_not_overflow() {
        let huge = Price::from_units(i128::MAX / 2);
        assert_eq!(weighted_mean(&[(huge, u64::MAX / 2), (huge, u64::MAX / 2)]), Some(huge));
        assert_eq!(weighted_mean(&units(&[1, 2, 6])), Some(whole(3)));
        let negative = [(Price::from_units(-1), 1), (Price::from_units(0), 1)];
        assert_eq!(weighted_mean(&negative), Some(Price::from_units(-1)));
        assert_eq!(weighted_mean(&[]), None);
        assert_eq!(trimmed_mean(&[(huge, u64::MAX / 3)]), Some(huge));
        assert_eq!(trimmed_mean(&[(huge, u64::MAX / 3 + 1)]), None);
        let ends = [(Price::from_units(i128::MIN), 1), (Price::MAX, 1)];
        assert_eq!(iqr_mean(&ends), weighted_mean(&ends));
    }

    #[test]
    fn a_third_is_cut_off_at_each_end() {
        assert_eq!(trimmed_mean(&units(&[1, 5, 900])), Some(whole(5)));
        // Of four, a third of one vote is left at each end of the two in the middle: their mean, with two thirds of each.
        assert_eq!(trimmed_mean(&units(&[1, 4, 6, 900])), Some(whole(5)));
        // Of weight 6 the third and fourth count: all that is left of the heavy vote.
        assert_eq!(trimmed_mean(&[(whole(1), 1), (whole(2), 1), (whole(3), 4)]), Some(whole(3)));
        assert_eq!(trimmed_mean(&[]), None);
        assert_eq!(trimmed_mean(&units(&[7])), Some(whole(7)));
    }

    #[test]
    fn far_votes_are_fenced_off_until_a_quartile_is_one_of_them() {
        assert_eq!(iqr_mean(&units(&[100, 101, 102, 103, 150])), Some(whole(101).midpoint(whole(102))));
        // Two of seven 20 % high, the very case of the first description's demonstration: they count in full.
        assert_eq!(
            iqr_mean(&units(&[100, 100, 100, 100, 100, 120, 120])),
            weighted_mean(&units(&[100, 100, 100, 100, 100, 120, 120]))
        );
        assert_eq!(trimmed_mean(&units(&[100, 100, 100, 100, 100, 120, 120])), Some(whole(100)));
        assert_eq!(iqr_mean(&[]), None);
    }

    proptest! {
        #[test]
        fn a1_order_does_not_matter(votes in votes(), seed: u64) {
            let mut shuffled = votes.clone();
            shuffled.sort_by_key(|&(p, w)| (p.units() ^ i128::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(w.into()));
            prop_assert_eq!(weighted_mean(&votes), weighted_mean(&shuffled));
            prop_assert_eq!(trimmed_mean(&votes), trimmed_mean(&shuffled));
            prop_assert_eq!(iqr_mean(&votes), iqr_mean(&shuffled));
        }

        /// Not more than a third of the weight lies.
        #[test]
        fn a3_a_trimmed_mean_is_within_the_honest_votes(honest in votes(), lies in prop::collection::vec(-9_000i64..9_000, 0..5)) {
            let share = weight_of(&honest) / 2 / lies.len().max(1) as u128;
            let lies: Vec<Vote> = lies.iter().map(|&lie| (whole(lie), u64::try_from(share).unwrap())).collect();
            let out = trimmed_mean(&[honest.clone(), lies].concat()).unwrap();
            let weighty = honest.iter().filter(|v| v.1 > 0).map(|v| v.0);
            prop_assert!(weighty.clone().min().unwrap() <= out && out <= weighty.max().unwrap());
        }

        #[test]
        fn a5_translation(votes in votes(), shift in -1_000i64..1_000) {
            let moved: Vec<Vote> = votes.iter().map(|&(p, w)| (p.plus(whole(shift)).unwrap(), w)).collect();
            for mean in [weighted_mean, trimmed_mean, iqr_mean] {
                prop_assert_eq!(mean(&moved), Some(mean(&votes).unwrap().plus(whole(shift)).unwrap()));
            }
        }

        #[test]
        fn a6_a_trimmed_mean_is_monotone(votes in votes(), at: prop::sample::Index, up in 0i64..100) {
            let mut raised = votes.clone();
            let at = at.index(votes.len());
            raised[at].0 = raised[at].0.plus(whole(up)).unwrap();
            prop_assert!(trimmed_mean(&raised) >= trimmed_mean(&votes));
            prop_assert!(weighted_mean(&raised) >= weighted_mean(&votes));
        }

        #[test]
        fn a19_zero_weight_is_absent(votes in votes(), ghost in -100i64..100) {
            let haunted = [votes.clone(), vec![(whole(ghost), 0)]].concat();
            for mean in [weighted_mean, trimmed_mean, iqr_mean] {
                prop_assert_eq!(mean(&votes), mean(&haunted));
            }
        }

        #[test]
        fn any_votes_do_not_panic(votes in prop::collection::vec((any::<i128>(), any::<u64>()), 0..9)) {
            let votes: Vec<Vote> = votes.into_iter().map(|(units, weight)| (Price::from_units(units), weight)).collect();
            for mean in [weighted_mean, trimmed_mean, iqr_mean] {
                mean(&votes);
            }
        }
    }
}
