//! How many sources stand behind an answer, whatever less than a third of the weight claims to have asked.

use crate::SOURCES_MAX;

/// A lower bound of the distinct sources that honest members used, from what each counted member says it used (its weight and bitmap),
/// while faulty members weigh at most a third of `total`. It is the greater of
///
/// * the sources that more than a third of the weight names, each of which an honest member named; and
/// * the greatest k for which members that name k sources or more weigh more than a third: an honest one is among them.
///
/// The plain union would believe a single liar that claims all sources.
pub(crate) fn vouched_sources(claims: &[(u64, u16)], total: u64) -> u8 {
    let is_vouched = |claimed: &dyn Fn(u16) -> bool| {
        let weight: u128 = claims.iter().filter(|&&(_, bits)| claimed(bits)).map(|&(w, _)| u128::from(w)).sum();
        3 * weight > u128::from(total)
    };
    let each = (0..SOURCES_MAX).filter(|&source| is_vouched(&|bits| bits >> source & 1 == 1)).count();
    let together = (1..=SOURCES_MAX).rev().find(|&k| is_vouched(&|bits| bits.count_ones() >= u32::from(k)));
    u8::try_from(each).unwrap_or(SOURCES_MAX).max(together.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn liars_add_no_source() {
        let honest = |n: usize, bits: u16| vec![(1, bits); n];
        assert_eq!(vouched_sources(&honest(5, 0b11), 7), 2);
        assert_eq!(vouched_sources(&[honest(5, 0b11), vec![(1, u16::MAX); 2]].concat(), 7), 2);
        assert_eq!(vouched_sources(&[honest(5, 0b11), vec![(1, u16::MAX); 3]].concat(), 7), 16);
        assert_eq!(vouched_sources(&[], 7), 0);
        assert_eq!(vouched_sources(&[(1, 0b111)], 1), 3);
        assert_eq!(vouched_sources(&[(u64::MAX, u16::MAX)], u64::MAX), 16);
    }

    #[test]
    fn oracles_with_sources_of_their_own_vouch_for_as_many_as_each_has() {
        let apart: Vec<_> = (0..7).map(|n| (1, 0b11 << (2 * n))).collect();
        assert_eq!(vouched_sources(&apart, 7), 2);
        // Each of three sources is named by three of seven, though nobody has more than two of them.
        assert_eq!(vouched_sources(&[(1, 0b011), (1, 0b101), (1, 0b110), (1, 0b011), (1, 0b101), (1, 0b110)], 7), 3);
    }

    proptest! {
        #[test]
        fn never_more_than_the_honest_used(honest in prop::collection::vec(any::<u16>(), 5), lies in prop::collection::vec(any::<u16>(), 0..=2)) {
            let claims: Vec<_> = honest.iter().chain(&lies).map(|&bits| (1, bits)).collect();
            let used = honest.iter().fold(0, |union, bits| union | bits).count_ones();
            prop_assert!(u32::from(vouched_sources(&claims, 7)) <= used);
        }
    }
}
