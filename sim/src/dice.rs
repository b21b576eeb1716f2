//! Randomness from a seed, in the three forms that the simulator draws it.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of draws; equal seeds give equal streams on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of a seed. Different purposes take different streams, so that one more draw here changes nothing there.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let key =
            blake3::derive_key("concurrence simulator draws", &[&seed.to_be_bytes(), purpose.as_bytes()].concat());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high.saturating_sub(low).saturating_add(1)).max(1)
    }

    /// An index below `count`, which is at least 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.between(0, count.saturating_sub(1) as u64)).unwrap_or(0)
    }

    /// True in so many of a thousand draws.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.between(0, 999) < u64::from(per_mille)
    }

    /// A number in `-bound..=bound`.
    pub(crate) fn around_zero(&mut self, bound: i64) -> i64 {
        let bound = bound.unsigned_abs();
        i64::try_from(self.between(0, 2 * bound)).unwrap_or(0) - i64::try_from(bound).unwrap_or(0)
    }

    /// 32 bytes: a secret key.
    pub(crate) fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Puts a list in a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}
