//! Who may write, and with what weight: committees, one for each registry epoch.

use std::collections::BTreeMap;

use crate::AuthorKey;

/// The members of one registry epoch and their weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committee {
    weights: BTreeMap<AuthorKey, u64>,
    total: u64,
}

/// The committees of all registry epochs, from epoch 0.
///
/// It also gives every author that was ever a member a small number, by which frontiers name it. Peers whose histories
/// differ refuse one another before any frontier is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    epochs: Vec<Committee>,
    authors: Vec<AuthorKey>,
}

impl Committee {
    /// A committee; members of weight zero are absent. Weights are bounded by the registry far below overflow of the sum.
    pub fn new(weights: BTreeMap<AuthorKey, u64>) -> Self {
        let weights: BTreeMap<_, _> = weights.into_iter().filter(|&(_, w)| w > 0).collect();
        let total = weights.values().fold(0u64, |sum, &w| sum.saturating_add(w));
        Self { weights, total }
    }

    /// An author's weight; zero for a stranger.
    pub fn weight(&self, author: &AuthorKey) -> u64 {
        self.weights.get(author).copied().unwrap_or(0)
    }

    /// W: the weight of all members, silent and forked ones included.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Members and weights, by author.
    pub fn members(&self) -> impl Iterator<Item = (AuthorKey, u64)> {
        self.weights.iter().map(|(&author, &weight)| (author, weight))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether nobody is a member.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whether `weight` is more than two thirds of the total: what any two of intersect in an honest member while less than
    /// a third is faulty.
    pub const fn is_quorum(&self, weight: u64) -> bool {
        weight as u128 * 3 > self.total as u128 * 2
    }

    /// Whether `weight` is more than half of the total.
    pub const fn is_majority(&self, weight: u64) -> bool {
        weight as u128 * 2 > self.total as u128
    }
}

impl Membership {
    /// A history of committees; the first is epoch 0.
    pub fn new(epochs: Vec<Committee>) -> Self {
        let mut authors: Vec<_> = epochs.iter().flat_map(|e| e.members().map(|(author, _)| author)).collect();
        authors.sort_unstable();
        authors.dedup();
        Self { epochs, authors }
    }

    /// The committee of an epoch.
    pub fn committee(&self, epoch: u32) -> Option<&Committee> {
        self.epochs.get(epoch as usize)
    }

    /// The newest epoch's number and committee; an empty one for an empty history.
    pub fn newest(&self) -> (u32, Committee) {
        let number = self.epochs.len().saturating_sub(1);
        (u32::try_from(number).unwrap_or(u32::MAX), self.epochs.last().cloned().unwrap_or_default())
    }

    /// Everyone who was ever a member, ascending.
    pub fn authors(&self) -> &[AuthorKey] {
        &self.authors
    }

    /// The number of an author.
    pub fn number(&self, author: &AuthorKey) -> Option<u16> {
        self.authors.binary_search(author).ok().and_then(|at| u16::try_from(at).ok())
    }

    /// The author of a number.
    pub fn author(&self, number: u16) -> Option<AuthorKey> {
        self.authors.get(usize::from(number)).copied()
    }
}
