//! Time-weighted averages: of any prices that hold for a while each, and of the network's answers.

use std::collections::BTreeMap;

use concurrence_crdt::Time;

use crate::{AggregateParams, Cells, Epoch, Feed, Price, SLOT_MS, Slot, Status, aggregate, mean::weighted_mean};

/// Why there is no time-weighted average. A shorter window or the newest price never stands in for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAverage {
    /// The window ends where it begins, or before.
    #[error("the window from {from:?} to {until:?} is empty")]
    Empty {
        /// Its beginning.
        from: Time,
        /// Its end.
        until: Time,
    },
    /// The window is longer than [`AVERAGE_MS_MAX`].
    #[error("the window has {0} ms, at most {AVERAGE_MS_MAX} are averaged")]
    Long(u64),
    /// At this instant no price is known that still holds.
    #[error("no price holds at {0:?}")]
    Gap(Time),
    /// The sum does not fit.
    #[error("the prices are too great to be averaged")]
    Overflow,
}

/// Longest window averaged: a day, which is 86,400 answers to look at.
pub const AVERAGE_MS_MAX: u64 = 86_400_000;

/// The average of prices over `from..until`, each holding from its time until the next one's, and for at most `hold_ms_max`. Exact, and
/// rounded once, toward negative infinity.
///
/// Whoever sets the price wrong by d for t of T milliseconds moves the average by at most d t / T. That is worth nothing if a shorter
/// window may stand in for the asked one (Inverse Finance, April 2022), so every instant of it must be covered.
pub fn time_weighted(
    prices: &BTreeMap<Time, Price>,
    (from, until): (Time, Time),
    hold_ms_max: u64,
) -> Result<Price, NoAverage> {
    if from >= until {
        return Err(NoAverage::Empty { from, until });
    }
    let standing = prices.range(..=from).next_back().ok_or(NoAverage::Gap(from))?;
    let begun = prices.range(from..until).filter(|&(&at, _)| at > from);
    let steps: Vec<(Time, Price)> = std::iter::once(standing).chain(begun).map(|(&at, &price)| (at, price)).collect();
    let ends = steps.iter().skip(1).map(|&(at, _)| at).chain([until]);
    let mut votes = Vec::with_capacity(steps.len());
    for (&(at, price), end) in steps.iter().zip(ends) {
        let holds_until = at.after_ms(hold_ms_max);
        if holds_until < end {
            return Err(NoAverage::Gap(holds_until.max(from)));
        }
        votes.push((price, end.since_ms(at.max(from))));
    }
    weighted_mean(&votes).ok_or(NoAverage::Overflow)
}

/// The time-weighted average of the network's answers over the window that ends at `as_of`, one answer a slot. Only `ok` answers
/// count, and each holds until the next, for the greatest age of an answer at most: while the network has none for longer, there is no
/// average either.
pub fn time_weighted_answers(
    cells: &Cells,
    epoch: &Epoch,
    feed: Feed,
    (window_ms, as_of): (u64, Time),
    params: &AggregateParams,
) -> Result<Price, NoAverage> {
    if window_ms > AVERAGE_MS_MAX {
        return Err(NoAverage::Long(window_ms));
    }
    let from = Time::from_ms(as_of.ms().saturating_sub(window_ms));
    let first = Slot::of(Time::from_ms(from.ms().saturating_sub(params.max_age_ms))).number();
    let instants = (first..=Slot::of(as_of).number()).map(|number| Time::from_ms(number.saturating_mul(SLOT_MS)));
    let ok = instants.filter_map(|at| {
        let answer = aggregate(cells, epoch, feed, at, params);
        Some((at, answer.price.filter(|_| answer.status == Status::Ok)?))
    });
    time_weighted(&ok.collect(), (from, as_of), params.max_age_ms)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{attests, author, btc_usd, epoch, whole};

    const MS: fn(u64) -> Time = Time::from_ms;

    fn steps(of: &[(u64, i64)]) -> BTreeMap<Time, Price> {
        of.iter().map(|&(at, price)| (MS(at), whole(price))).collect()
    }

    #[test]
    fn each_price_weighs_as_long_as_it_held() {
        let prices = steps(&[(0, 100), (10, 200), (40, 50)]);
        assert_eq!(time_weighted(&prices, (MS(0), MS(40)), 100), Ok(whole(175)));
        assert_eq!(time_weighted(&prices, (MS(5), MS(15)), 100), Ok(whole(150)));
        assert_eq!(time_weighted(&prices, (MS(10), MS(40)), 100), Ok(whole(200)));
        assert_eq!(time_weighted(&prices, (MS(40), MS(41)), 100), Ok(whole(50)));
    }

    #[test]
    fn a_window_that_is_not_covered_has_no_average() {
        let prices = steps(&[(10, 100), (20, 100), (60, 100)]);
        let of = |from, until| time_weighted(&prices, (MS(from), MS(until)), 30);
        assert_eq!(of(9, 50), Err(NoAverage::Gap(MS(9))));
        assert_eq!(of(10, 50), Ok(whole(100)));
        assert_eq!(of(10, 51), Err(NoAverage::Gap(MS(50))));
        assert_eq!(of(10, 70), Err(NoAverage::Gap(MS(50))));
        assert_eq!(of(60, 90), Ok(whole(100)));
        assert_eq!(of(55, 90), Err(NoAverage::Gap(MS(55))));
        assert_eq!(of(20, 20), Err(NoAverage::Empty { from: MS(20), until: MS(20) }));
        assert_eq!(time_weighted(&BTreeMap::new(), (MS(0), MS(1)), 9), Err(NoAverage::Gap(MS(0))));
        let end = MS(u64::MAX);
        assert_eq!(time_weighted(&steps(&[(0, 1)]), (MS(0), end), u64::MAX), Ok(whole(1)));
    }

    /// Seven oracles state a price every five slots from slot 100 on; from `jump` on four of them state twice of it.
    fn network(jump: u64, until: u64) -> Cells {
        let mut cells = Cells::tracking(BTreeSet::from([btc_usd()]));
        for slot in (100..until).step_by(5) {
            for n in 0..7 {
                let price = if slot >= jump && n < 4 { 200 } else { 100 };
                cells.join(author(n), Slot::from_number(slot), attests(price));
            }
        }
        cells
    }

    #[test]
    fn a16_who_holds_the_median_for_a_tenth_moves_the_average_by_a_tenth() {
        let params = AggregateParams { width_max_ppm: u32::MAX, ..AggregateParams::default() };
        let average = |cells: &Cells, window_ms, as_of| {
            time_weighted_answers(cells, &epoch(&[1; 7]), btc_usd(), (window_ms, MS(as_of)), &params)
        };
        assert_eq!(average(&network(190, 200), 100_000, 200_000), Ok(whole(110)));
        assert_eq!(average(&network(999, 200), 100_000, 200_000), Ok(whole(100)));
        // Before slot 100 nobody stated anything.
        assert_eq!(average(&network(190, 200), 100_001, 200_000), Err(NoAverage::Gap(MS(99_999))));
        // The last answer is of slot 195; answers are ok until they are 30 s old, and the last of them holds 30 s more.
        assert_eq!(average(&network(999, 200), 60_000, 255_000), Ok(whole(100)));
        assert_eq!(average(&network(999, 200), 60_000, 256_000), Err(NoAverage::Gap(MS(255_000))));
        assert_eq!(average(&network(999, 200), AVERAGE_MS_MAX + 1, 0), Err(NoAverage::Long(AVERAGE_MS_MAX + 1)));
    }

    proptest! {
        #[test]
        fn a16_bounded_by_share_of_time_and_by_the_prices(
            values in prop::collection::vec((1u64..50, 100i64..200), 1..20), at: prop::sample::Index, off in -50i64..50,
        ) {
            let mut prices = BTreeMap::new();
            let (mut time, mut spans) = (0, Vec::new());
            for &(span, value) in &values {
                prices.insert(MS(time), whole(value));
                spans.push((time, span));
                time += span;
            }
            let average = |prices: &BTreeMap<Time, Price>| time_weighted(prices, (MS(0), MS(time)), 50).unwrap();
            let honest = average(&prices);
            let (begin, span) = spans[at.index(spans.len())];
            let held = prices[&MS(begin)];
            prices.insert(MS(begin), held.plus(whole(off)).unwrap());
            let moved = average(&prices).distance(honest).unwrap();
            let most = whole(off.abs()).scaled(i128::from(span), i128::from(time)).unwrap();
            // Each average is rounded by less than one unit.
            prop_assert!(moved <= most.plus(Price::from_units(1)).unwrap());
            prop_assert!(prices.values().min().unwrap() <= &average(&prices) && &average(&prices) <= prices.values().max().unwrap());
        }
    }
}
