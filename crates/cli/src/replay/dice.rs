//! Chance that a seed reproduces.

use concurrence_crdt::hash;

/// A stream of pseudo-random numbers: SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014,
/// figure 17). For losses and delays, never for anything that must not be guessed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of one purpose, such as `polls of oracle_3`: streams of different purposes know nothing of one another.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = secret(seed, purpose);
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be zero. The bias of the remainder, below `end` / 2^64, does not matter here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something of this likelihood happens.
    pub(super) fn happens(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// 32 bytes for one purpose: keys that nothing but a replay uses.
pub(super) fn secret(seed: u64, purpose: &str) -> [u8; 32] {
    let mut bytes = seed.to_be_bytes().to_vec();
    bytes.extend(purpose.as_bytes());
    *hash("concurrence replay seed", &bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // The reference implementation's first outputs from state 0.
        let mut dice = Dice(0);
        assert_eq!(dice.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(dice.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn purposes_do_not_share_numbers() {
        assert_ne!(Dice::new(1, "a").next(), Dice::new(1, "b").next());
        assert_ne!(Dice::new(1, "a").next(), Dice::new(2, "a").next());
        assert_eq!(Dice::new(1, "a").next(), Dice::new(1, "a").next());
    }
}
