//! What each oracle stated about each feed in each slot: a lattice, `absent < value < CONFLICT`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use concurrence_crdt::AuthorKey;

use crate::{Attestation, Feed, PriceBatch, Slot};

/// `(feed, slot) -> oracle -> absent < value < CONFLICT`. Joins are order-free and idempotent: the same statements give the same
/// cells, however they came.
///
/// Only chosen feeds are kept and only slots from a floor on. With the clock limits on what an operation may declare, that bounds
/// the memory: feeds x slots x oracles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    floor: Slot,
    feeds: BTreeMap<Feed, BTreeMap<AuthorKey, BTreeMap<Slot, Cell>>>,
}

/// What one oracle stated about one feed in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// One statement.
    Value(Attestation),
    /// Two different statements: none of them counts.
    Conflict,
}

/// What a join did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The cell was absent and has a value now.
    New,
    /// Nothing changed.
    Same,
    /// The cell had another value and is a conflict now.
    Conflict,
    /// The slot is below the floor: dropped.
    BelowFloor,
    /// The feed is not among those kept: dropped.
    Untracked,
}

impl Cell {
    /// The least cell above both.
    pub fn join(self, other: Self) -> Self {
        if self == other { self } else { Self::Conflict }
    }
}

impl Cells {
    /// No statements yet, and the feeds whose statements are kept.
    pub fn tracking(feeds: BTreeSet<Feed>) -> Self {
        Self { floor: Slot::default(), feeds: feeds.into_iter().map(|feed| (feed, BTreeMap::new())).collect() }
    }

    /// The feeds whose statements are kept, ascending.
    pub fn tracked(&self) -> impl Iterator<Item = Feed> {
        self.feeds.keys().copied()
    }

    /// The least slot kept.
    pub const fn floor(&self) -> Slot {
        self.floor
    }

    /// Joins one statement.
    pub fn join(&mut self, author: AuthorKey, slot: Slot, attestation: Attestation) -> Joined {
        self.join_cell(author, slot, attestation.feed(), Cell::Value(attestation))
    }

    /// Joins all statements of a batch; how many cells became a conflict.
    pub fn join_batch(&mut self, author: AuthorKey, batch: &PriceBatch) -> usize {
        let joined = batch.attestations().iter().map(|&a| self.join(author, batch.slot(), a));
        joined.filter(|&j| j == Joined::Conflict).count()
    }

    /// Joins all of another's statements about the feeds kept here, from the higher of both floors on.
    pub fn merge(&mut self, other: &Self) {
        self.drop_below(other.floor);
        for (&feed, oracles) in &other.feeds {
            for (&author, slots) in oracles {
                for (&slot, &cell) in slots {
                    self.join_cell(author, slot, feed, cell);
                }
            }
        }
    }

    /// Drops all slots below this one, for good. The floor never goes back.
    pub fn drop_below(&mut self, floor: Slot) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        for oracles in self.feeds.values_mut() {
            oracles.retain(|_, slots| {
                if slots.first_key_value().is_some_and(|(&first, _)| first < floor) {
                    *slots = slots.split_off(&floor);
                }
                !slots.is_empty()
            });
        }
    }

    /// Takes out everything an author stated: it is forked. The caller joins again what of it is certified.
    pub fn remove_author(&mut self, author: &AuthorKey) {
        for oracles in self.feeds.values_mut() {
            oracles.remove(author);
        }
    }

    /// One cell; `None` is absent.
    pub fn cell(&self, feed: Feed, slot: Slot, author: &AuthorKey) -> Option<Cell> {
        self.feeds.get(&feed)?.get(author)?.get(&slot).copied()
    }

    /// Each author's cells of a feed with slots in a range (bounds included), newest slot first; authors ascending.
    pub fn by_author(
        &self,
        feed: Feed,
        range: RangeInclusive<Slot>,
    ) -> impl Iterator<Item = (AuthorKey, impl Iterator<Item = (Slot, Cell)>)> {
        // BTreeMap::range panics on an inverted range.
        let kept = self.feeds.get(&feed).filter(|_| range.start() <= range.end());
        kept.into_iter()
            .flatten()
            .map(move |(&author, slots)| (author, slots.range(range.clone()).rev().map(|(&slot, &cell)| (slot, cell))))
    }

    fn join_cell(&mut self, author: AuthorKey, slot: Slot, feed: Feed, cell: Cell) -> Joined {
        if slot < self.floor {
            return Joined::BelowFloor;
        }
        let Some(oracles) = self.feeds.get_mut(&feed) else { return Joined::Untracked };
        let slots = oracles.entry(author).or_default();
        let Some(held) = slots.get_mut(&slot) else {
            slots.insert(slot, cell);
            return if cell == Cell::Conflict { Joined::Conflict } else { Joined::New };
        };
        let joined = held.join(cell);
        if joined == *held {
            return Joined::Same;
        }
        *held = joined;
        Joined::Conflict
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{attests, author, btc_usd, doubts};

    fn slot(n: u64) -> Slot {
        Slot::from_number(n)
    }

    fn tracking() -> Cells {
        Cells::tracking(BTreeSet::from([btc_usd()]))
    }

    fn cells(statements: &[(u8, u64, u64)]) -> Cells {
        let mut cells = tracking();
        for &(who, at, price) in statements {
            cells.join(author(who), slot(at), attests(price));
        }
        cells
    }

    #[test]
    fn a_second_statement_is_a_conflict_for_good() {
        let mut cells = tracking();
        assert_eq!(cells.join(author(1), slot(5), attests(10)), Joined::New);
        assert_eq!(cells.join(author(1), slot(5), attests(10)), Joined::Same);
        assert_eq!(cells.join(author(1), slot(6), attests(11)), Joined::New);
        assert_eq!(cells.join(author(1), slot(5), doubts(10)), Joined::Conflict);
        assert_eq!(cells.join(author(1), slot(5), attests(10)), Joined::Same);
        assert_eq!(cells.cell(btc_usd(), slot(5), &author(1)), Some(Cell::Conflict));
        assert_eq!(cells.cell(btc_usd(), slot(6), &author(1)), Some(Cell::Value(attests(11))));
    }

    #[test]
    fn slots_below_the_floor_and_other_feeds_are_dropped() {
        let mut cells = cells(&[(1, 5, 10), (1, 6, 10)]);
        cells.drop_below(slot(6));
        assert_eq!(cells.join(author(2), slot(5), attests(10)), Joined::BelowFloor);
        assert_eq!(cells.cell(btc_usd(), slot(5), &author(1)), None);
        cells.drop_below(slot(3));
        assert_eq!(cells.floor(), slot(6));
        let other = Attestation::new("XRP/USD".parse().unwrap(), (1, 0), 0, 0, false).unwrap();
        assert_eq!(cells.join(author(1), slot(7), other), Joined::Untracked);
        assert_eq!(cells.by_author(btc_usd(), slot(9)..=slot(2)).count(), 0);
    }

    #[test]
    fn an_author_is_removed_wholly() {
        let mut removed = cells(&[(1, 5, 10), (1, 6, 10), (2, 6, 11), (1, 6, 12)]);
        removed.remove_author(&author(1));
        assert_eq!(removed, cells(&[(2, 6, 11)]));
    }

    fn statements() -> impl proptest::strategy::Strategy<Value = Vec<(u8, u64, u64)>> {
        prop::collection::vec((0u8..4, 0u64..4, 1u64..4), 0..24)
    }

    proptest! {
        #[test]
        fn a1_a2_order_and_repetition_do_not_matter(all in statements(), order in any::<u64>(), again in any::<u64>()) {
            let mut shuffled = [all.clone(), all.iter().copied().filter(|s| (again >> s.1) & 1 == 1).collect()].concat();
            shuffled.sort_by_key(|&(a, b, c)| (order ^ (u64::from(a) << 4 | b << 2 | c)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            prop_assert_eq!(cells(&all), cells(&shuffled));
        }

        #[test]
        fn a2_merge_is_a_join(a in statements(), b in statements(), c in statements(), floor in 0u64..4) {
            let (a, mut b, c) = (cells(&a), cells(&b), cells(&c));
            b.drop_below(slot(floor));
            let merged = |one: &Cells, other: &Cells| {
                let mut out = one.clone();
                out.merge(other);
                out
            };
            prop_assert_eq!(&merged(&a, &a), &a);
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }
    }
}
