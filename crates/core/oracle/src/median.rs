//! Weighted order statistics over integers: the arithmetic of every aggregate.

use crate::Price;

/// A price and the weight behind it. Votes of weight zero are absent.
pub type Vote = (Price, u64);

/// The lower weighted median: the smallest price m with `2 W(<= m) >= W`. It is one of the votes. With unit weights and n odd it
/// breaks at (n+1)/2 corrupted votes; with n even downward at n/2 and upward at n/2 + 1.
pub fn lower_weighted_median(votes: &[Vote]) -> Option<Price> {
    lower_quantile(votes, 1, 2)
}

/// The smallest price m with `W(<= m) >= W * numerator / denominator`; `None` without votes or for a fraction of 0.
pub fn lower_quantile(votes: &[Vote], numerator: u32, denominator: u32) -> Option<Price> {
    quantile_of(&ascending(votes), numerator, denominator)
}

/// The same of votes that are in ascending order.
fn quantile_of(ascending: &[Vote], numerator: u32, denominator: u32) -> Option<Price> {
    let share = weight_of(ascending) * u128::from(numerator);
    if share == 0 {
        return None;
    }
    reach(ascending.iter(), |below| below * u128::from(denominator) >= share)
}

/// The median absolute deviation by weight: the lower weighted median of the votes' distances from their lower weighted median.
/// Distances that do not fit count as the greatest price.
pub fn median_deviation(votes: &[Vote]) -> Option<Price> {
    let median = lower_weighted_median(votes)?;
    let distances: Vec<Vote> =
        votes.iter().map(|&(price, weight)| (price.distance(median).unwrap_or(Price::MAX), weight)).collect();
    lower_weighted_median(&distances)
}

/// The three votes of a source that states a price and how far off it may be: the price, and the price less and plus that (Pyth's
/// aggregation). Whatever it states, it has three votes of its weight: a claim of certainty buys nothing.
pub fn three_votes(price: Price, half_spread: Price, weight: u64) -> [Vote; 3] {
    let (low, high) = (price.minus(half_spread).unwrap_or(Price::ZERO), price.plus(half_spread).unwrap_or(Price::MAX));
    [(price, weight), (low, weight), (high, weight)]
}

/// The greater distance of a price from the quartiles of some votes; with [`three_votes`] Pyth's confidence. A quarter of the weight
/// can make it as wide as it likes, which is the safe side; not even three quarters can make it narrower than the others are apart.
pub fn quartile_distance(price: Price, votes: &[Vote]) -> Price {
    let ascending = ascending(votes);
    let distance =
        |part| quantile_of(&ascending, part, 4).and_then(|vote| price.distance(vote).ok()).unwrap_or(Price::ZERO);
    distance(1).max(distance(3))
}

/// The interval that holds the lower weighted median of every subset of the votes whose weight is at least `quorum`; `None` if
/// there is no such subset.
///
/// Derivation. The median of a subset S is at most m exactly if `2 W_S(<= m) >= W(S)`. Whoever chooses S and wants this keeps all
/// votes at or below m and only as many others as the quorum asks for: `W(S) = max(quorum, W(<= m))`. So some S gives a median
/// of at most m only if `2 W(<= m) >= quorum`, and the smallest such m is the lower end. The median of S is at least m exactly if
/// `2 W_S(< m) < W(S)`, which is `2 W_S(>= m) > W(S)`; by the same argument some S gives that only if `2 W(>= m) > quorum`, and
/// the largest such m is the upper end. With unit weights the others can be chosen to meet the quorum exactly, so both ends are
/// reached by some subset; with other weights the interval is a hull.
pub fn admissible_interval(votes: &[Vote], quorum: u64) -> Option<(Price, Price)> {
    let quorum = u128::from(quorum);
    if quorum == 0 || weight_of(votes) < quorum {
        return None;
    }
    let ascending = ascending(votes);
    let low = reach(ascending.iter(), |below| 2 * below >= quorum)?;
    let high = reach(ascending.iter().rev(), |above| 2 * above > quorum)?;
    Some((low, high))
}

/// The first price, in the given order, at which the weight gathered so far is enough.
fn reach<'v>(mut ordered: impl Iterator<Item = &'v Vote>, enough: impl Fn(u128) -> bool) -> Option<Price> {
    let mut gathered = 0u128;
    ordered.find_map(|&(price, weight)| {
        gathered += u128::from(weight);
        (weight > 0 && enough(gathered)).then_some(price)
    })
}

pub(crate) fn ascending(votes: &[Vote]) -> Vec<Vote> {
    let mut sorted = votes.to_vec();
    sorted.sort_unstable();
    sorted
}

pub(crate) fn weight_of(votes: &[Vote]) -> u128 {
    votes.iter().map(|&(_, weight)| u128::from(weight)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::whole;

    fn units(values: &[i64]) -> Vec<Vote> {
        values.iter().map(|&v| (whole(v), 1)).collect()
    }

    fn median(values: &[i64]) -> Price {
        lower_weighted_median(&units(values)).unwrap()
    }

    /// All ascending lists of `len` of these values, each as often as one likes.
    fn multisets(values: &[i64], len: usize) -> Vec<Vec<i64>> {
        match (values, len) {
            (_, 0) => vec![Vec::new()],
            ([], _) => Vec::new(),
            ([first, rest @ ..], _) => {
                let with = multisets(values, len - 1).into_iter().map(|mut m| {
                    m.insert(0, *first);
                    m
                });
                with.chain(multisets(rest, len)).collect()
            }
        }
    }

    fn votes() -> impl Strategy<Value = Vec<Vote>> {
        let vote = (-50i64..50, 0u64..9).prop_map(|(v, w)| (whole(v), w));
        proptest::collection::vec(vote, 1..12).prop_filter("some weight", |v| weight_of(v) > 0)
    }

    /// Medians of all subsets of weight `quorum` or more.
    fn medians_of_subsets(votes: &[Vote], quorum: u64) -> Vec<Price> {
        let subset =
            |bits: u32| (0..votes.len()).filter(|at| bits >> at & 1 == 1).map(|at| votes[at]).collect::<Vec<_>>();
        let all = (1u32..1 << votes.len()).map(subset).filter(|s| weight_of(s) >= u128::from(quorum));
        all.filter_map(|s| lower_weighted_median(&s)).collect()
    }

    #[test]
    fn the_lower_of_two_middles() {
        assert_eq!(median(&[1, 2]), whole(1));
        assert_eq!(median(&[3, 1, 2]), whole(2));
        assert_eq!(median(&[4, 1, 3, 2]), whole(2));
        assert_eq!(lower_weighted_median(&[]), None);
        assert_eq!(lower_weighted_median(&[(whole(1), 0)]), None);
        assert_eq!(lower_weighted_median(&[(whole(1), 3), (whole(2), 2), (whole(3), 2)]), Some(whole(2)));
        assert_eq!(lower_weighted_median(&[(whole(1), 4), (whole(2), 2), (whole(3), 2)]), Some(whole(1)));
        assert_eq!(lower_weighted_median(&[(Price::MAX, u64::MAX), (Price::ZERO, u64::MAX)]), Some(Price::ZERO));
    }

    #[test]
    fn a3_hull_exhaustive_up_to_seven() {
        let far = 1_000_000;
        let mut cases = 0;
        for n in 1..=7usize {
            for liars in 0..=(n - 1) / 2 {
                for honest in multisets(&[10, 15, 20], n - liars) {
                    for lies in multisets(&[-far, 10, 15, 20, far], liars) {
                        let out = median(&[honest.clone(), lies].concat());
                        let hull = whole(honest[0])..=whole(honest[honest.len() - 1]);
                        assert!(hull.contains(&out), "{honest:?} {out}");
                        cases += 1;
                    }
                }
            }
        }
        assert!(cases > 1_000);
    }

    #[test]
    fn a4_exact_breakdown() {
        let breaks = |n: usize, far: i64| {
            (0..=n).find(|&liars| {
                let values: Vec<i64> = (0..n).map(|at| if at < liars { far } else { 0 }).collect();
                median(&values) == whole(far)
            })
        };
        for n in 1..=15 {
            assert_eq!(breaks(n, 1_000), Some(if n % 2 == 1 { n.div_ceil(2) } else { n / 2 + 1 }), "upward, {n}");
            assert_eq!(breaks(n, -1_000), Some(if n % 2 == 1 { n.div_ceil(2) } else { n / 2 }), "downward, {n}");
        }
    }

    /// ORACLE-3.
    #[test]
    fn a11_interval_is_exact_for_unit_weights() {
        for counted in 1..=7usize {
            for values in multisets(&[1, 2, 3, 4], counted) {
                for quorum in 1..=counted as u64 + 1 {
                    let medians = medians_of_subsets(&units(&values), quorum);
                    let range = medians.iter().min().copied().zip(medians.iter().max().copied());
                    assert_eq!(admissible_interval(&units(&values), quorum), range, "{values:?} {quorum}");
                }
            }
        }
    }

    #[test]
    fn a11_honest_hull_exactly_if_the_quorum_is_at_least_2f_plus_1() {
        for f in 1..=2usize {
            for honest_votes in multisets(&[10, 15, 20], 2 * f + 1) {
                for lie in [-1_000, 1_000] {
                    let lies = vec![lie; f];
                    let votes = units(&[honest_votes.clone(), lies].concat());
                    let (low, high) = admissible_interval(&votes, 2 * f as u64 + 1).unwrap();
                    assert!(low >= whole(10) && high <= whole(20));
                }
            }
            // One less, and some subset that holds all the liars leaves the hull.
            let lies = vec![-1_000; f];
            let votes = units(&[vec![10; 2 * f + 1], lies].concat());
            assert!(admissible_interval(&votes, 2 * f as u64).unwrap().0 < whole(10));
        }
    }

    proptest! {
        #[test]
        fn a1_order_does_not_matter(votes in votes(), seed: u64) {
            let mut shuffled = votes.clone();
            shuffled.sort_by_key(|&(p, w)| (p.units() ^ i128::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(w.into()));
            prop_assert_eq!(lower_weighted_median(&votes), lower_weighted_median(&shuffled));
            prop_assert_eq!(admissible_interval(&votes, 5), admissible_interval(&shuffled, 5));
        }

        #[test]
        fn a3_hull_by_weight(one in votes(), other in votes()) {
            prop_assume!(weight_of(&one) != weight_of(&other));
            let (honest, lies) = if weight_of(&one) > weight_of(&other) { (one, other) } else { (other, one) };
            let out = lower_weighted_median(&[honest.clone(), lies].concat()).unwrap();
            let weighty = honest.iter().filter(|v| v.1 > 0).map(|v| v.0);
            prop_assert!(weighty.clone().min().unwrap() <= out && out <= weighty.max().unwrap());
        }

        #[test]
        fn a5_translation_and_scale(votes in votes(), shift in -1_000i64..1_000, scale in 1i64..1_000) {
            let moved: Vec<Vote> = votes.iter().map(|&(p, w)| (p.scaled(scale.into(), 1).unwrap().plus(whole(shift)).unwrap(), w)).collect();
            let want = lower_weighted_median(&votes).unwrap().scaled(scale.into(), 1).unwrap().plus(whole(shift)).unwrap();
            prop_assert_eq!(lower_weighted_median(&moved), Some(want));
        }

        #[test]
        fn a6_monotone_in_every_input(votes in votes(), at: prop::sample::Index, up in 0i64..100) {
            let mut raised = votes.clone();
            let at = at.index(votes.len());
            raised[at].0 = raised[at].0.plus(whole(up)).unwrap();
            prop_assert!(lower_weighted_median(&raised) >= lower_weighted_median(&votes));
        }

        #[test]
        fn a7_one_input_moves_to_the_neighbour_at_most(values in prop::collection::vec(-50i64..50, 3..12), at: prop::sample::Index, to in -200i64..200) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let middle = (values.len() - 1) / 2;
            let mut changed = values.clone();
            changed[at.index(values.len())] = to;
            let (low, high) = (whole(sorted[middle - 1]), whole(sorted[middle + 1]));
            prop_assert!((low..=high).contains(&median(&changed)));
        }

        #[test]
        fn a8_output_is_an_input(votes in votes()) {
            let out = lower_weighted_median(&votes).unwrap();
            prop_assert!(votes.iter().any(|&(p, w)| w > 0 && p == out));
        }

        #[test]
        fn a11_interval_holds_every_subset(votes in prop::collection::vec((-9i64..9, 1u64..6).prop_map(|(v, w)| (whole(v), w)), 1..9), quorum in 1u64..30) {
            let medians = medians_of_subsets(&votes, quorum);
            let interval = admissible_interval(&votes, quorum);
            prop_assert_eq!(medians.is_empty(), interval.is_none());
            if let Some((low, high)) = interval {
                prop_assert!(medians.iter().all(|m| (low..=high).contains(m)));
            }
        }

        #[test]
        fn a19_zero_weight_is_absent(votes in votes(), ghost in -100i64..100) {
            let haunted = [votes.clone(), vec![(whole(ghost), 0)]].concat();
            prop_assert_eq!(lower_weighted_median(&votes), lower_weighted_median(&haunted));
            prop_assert_eq!(admissible_interval(&votes, 3), admissible_interval(&haunted, 3));
        }
    }
}
