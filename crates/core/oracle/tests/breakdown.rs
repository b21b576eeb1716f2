//! Breakdown points, found by search: the least number of liars that carries a rule as far as they like equals its formula.

use concurrence_oracle::{
    Price, Strategy,
    median::{Vote, lower_weighted_median, quartile_distance, three_votes},
};

/// Most voters searched.
const VOTERS_MAX: usize = 15;

/// Where liars are; honest voters are within 5 % of 100.
const FAR: i64 = 1_000_000_000;

fn whole(price: i64) -> Price {
    Price::ONE.scaled(price.into(), 1).expect("small")
}

/// Honest prices from 95 to 105, evenly.
fn honest(n: usize) -> Vec<Price> {
    let step = |at: usize| Price::ONE.scaled(10 * at as i128, n.max(2) as i128 - 1).expect("small");
    (0..n).map(|at| whole(95).plus(step(at)).expect("small")).collect()
}

fn is_far(price: Price) -> bool {
    price.distance(whole(100)).is_ok_and(|distance| distance > whole(1_000_000))
}

/// The least number of `n` voters who, by stating `lie`, make `is_carried` true of all their prices.
fn least(n: usize, lie: i64, is_carried: impl Fn(&[Price]) -> bool) -> Option<usize> {
    (0..=n).find(|&liars| is_carried(&[honest(n - liars), vec![whole(lie); liars]].concat()))
}

fn one_vote_each(prices: &[Price]) -> Vec<Vote> {
    prices.iter().map(|&price| (price, 1)).collect()
}

/// Liars needed upward and downward, in this order.
fn formula(strategy: Strategy, n: usize) -> (usize, usize) {
    match strategy {
        Strategy::LowerWeightedMedian | Strategy::LowerMedian => (n / 2 + 1, n.div_ceil(2)),
        // More than the third that is cut off; while it is that far apart, the volatility-adjusted price is the trimmed mean.
        Strategy::TrimmedMean | Strategy::VolatilityAdjusted => (n / 3 + 1, n / 3 + 1),
        // A quartile must be a lie, then nothing is outside the fences.
        Strategy::IqrMean => (n / 4 + 1, n.div_ceil(4)),
        Strategy::Mean => (1, 1),
    }
}

#[test]
fn a4_every_strategy_breaks_exactly_where_its_formula_says() {
    for &strategy in Strategy::ALL {
        // Of one or two voters none is far from their lower median, so those are never volatile.
        let least_n = if strategy == Strategy::VolatilityAdjusted { 3 } else { 1 };
        for n in least_n..=VOTERS_MAX {
            // No answer at all counts as carried: a median that is not positive measures no dispersion.
            let carried = |prices: &[Price]| strategy.price(&one_vote_each(prices)).is_none_or(is_far);
            let found = (least(n, FAR, carried), least(n, -FAR, carried));
            let (up, down) = formula(strategy, n);
            assert_eq!(found, (Some(up), Some(down)), "{strategy} of {n}");
        }
    }
}

/// Only strategies that no third of the voters carries away are fit to be quoted: with f of 3f + 1 lying, that leaves these.
#[test]
fn a4_who_withstands_a_third() {
    let withstands = |strategy: &Strategy| {
        (1..=4).all(|f| {
            let (up, down) = formula(*strategy, 3 * f + 1);
            up > f && down > f
        })
    };
    let fit: Vec<_> = Strategy::ALL.iter().filter(|s| withstands(s)).map(|s| s.as_str()).collect();
    assert_eq!(fit, ["median", "median_unweighted", "trimmed_mean", "volatility_adjusted"]);
}

/// A quarter of the voters can make Pyth's confidence wide, which is the safe side, and nobody can make it narrow by claiming certainty.
#[test]
fn a9_the_confidence_breaks_wide_at_a_quarter_and_the_price_at_half() {
    for n in 2..=VOTERS_MAX {
        let width = |prices: &[Price]| {
            let votes: Vec<Vote> = prices.iter().flat_map(|&price| three_votes(price, Price::ZERO, 1)).collect();
            let price = lower_weighted_median(&votes).expect("votes");
            (price, quartile_distance(price, &votes))
        };
        let is_wide = |prices: &[Price]| width(prices).1 > whole(1_000_000);
        assert_eq!(least(n, FAR, is_wide), Some(n / 4 + 1), "upward, {n}");
        assert_eq!(least(n, -FAR, is_wide), Some(n.div_ceil(4)), "downward, {n}");
        assert_eq!(least(n, FAR, |prices| is_far(width(prices).0)), Some(n / 2 + 1));
    }
}

/// The mean that weighs by claimed certainty (one over the variance), as a warning: one liar of any number takes all.
#[test]
fn a9_weighing_by_claimed_certainty_hands_one_liar_everything() {
    let stated: Vec<(Price, u64)> =
        honest(14).into_iter().map(|price| (price, 1_000)).chain([(whole(FAR), 1)]).collect();
    let by_variance: Vec<Vote> = stated.iter().map(|&(price, half)| (price, 1_000_000_000 / (half * half))).collect();
    assert!(Strategy::Mean.price(&by_variance).is_some_and(|out| out > whole(FAR - FAR / 1_000)));
    let thrice: Vec<Vote> =
        stated.iter().flat_map(|&(price, half)| three_votes(price, Price::from_units(half.into()), 1)).collect();
    assert!(lower_weighted_median(&thrice).is_some_and(|out| (whole(95)..=whole(105)).contains(&out)));
}

/// A median of medians, as a warning: the majorities of a majority of groups are enough, down to a quarter.
#[test]
fn a10_two_levels_of_medians_break_with_fewer() {
    for (groups, size) in [(3, 3), (3, 5), (5, 3), (5, 5)] {
        let of_medians = |liars: &[usize]| {
            let medians: Vec<Price> = liars
                .iter()
                .map(|&liars| {
                    let prices = [honest(size - liars), vec![whole(FAR); liars]].concat();
                    lower_weighted_median(&one_vote_each(&prices)).expect("votes")
                })
                .collect();
            lower_weighted_median(&one_vote_each(&medians)).expect("votes")
        };
        let placements = (0..(size + 1).pow(groups))
            .map(|code| (0..groups).map(|group| code / (size + 1).pow(group) % (size + 1)).collect::<Vec<usize>>());
        let found = placements.filter(|liars| is_far(of_medians(liars))).map(|liars| liars.iter().sum()).min();
        let (n, half) = (groups as usize * size, |of: usize| of.div_ceil(2));
        assert_eq!(found, Some(half(groups as usize) * half(size)), "{groups} groups of {size}");
        assert!(found < Some(formula(Strategy::LowerWeightedMedian, n).0), "flat, {n} withstand more");
    }
}
