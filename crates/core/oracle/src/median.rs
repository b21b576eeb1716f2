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
    let share = weight_of(votes) * u128::from(numerator);
    if share == 0 {
        return None;
    }
    reach(ascending(votes), |below| below * u128::from(denominator) >= share)
}

/// The arithmetic mean by weight, rounded toward negative infinity. Not canonical: one liar moves it anywhere.
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
    let low = reach(ascending(votes), |below| 2 * below >= quorum)?;
    let mut descending = ascending(votes);
    descending.reverse();
    let high = reach(descending, |above| 2 * above > quorum)?;
    Some((low, high))
}

/// The first price, in the given order, at which the weight gathered so far is enough.
fn reach(ordered: Vec<Vote>, enough: impl Fn(u128) -> bool) -> Option<Price> {
    let mut gathered = 0u128;
    ordered.into_iter().find_map(|(price, weight)| {
        gathered += u128::from(weight);
        (weight > 0 && enough(gathered)).then_some(price)
    })
}

fn ascending(votes: &[Vote]) -> Vec<Vote> {
    let mut sorted = votes.to_vec();
    sorted.sort_unstable();
    sorted
}

fn weight_of(votes: &[Vote]) -> u128 {
    votes.iter().map(|&(_, weight)| u128::from(weight)).sum()
}
