//! What members did, counted over closed windows: how often they answered, how far off, and what weight that would earn them.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, Time};

use crate::{Aggregate, AggregateParams, Cells, Epoch, LeftOut, Status, aggregate, aggregate::outliers, cap_weights};

/// What one member did. A pure function of the cells of the windows looked at: whoever holds the same cut counts the same, in
/// whatever order it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// Whose.
    pub author: AuthorKey,
    /// Answers it could have been part of: closed windows x feeds for which the network had an `ok` answer.
    pub chances: u64,
    /// Of those, how many it was part of: its uptime.
    pub counted: u64,
    /// In how many it was left out because it doubted its own price.
    pub doubtful: u64,
    /// In how many it was left out because it stated two prices for one slot.
    pub conflicts: u64,
    /// In how many it was counted and further from the answer than [`OUTLIER_PPM`](crate::OUTLIER_PPM).
    pub outliers: u64,
    /// Sum over all it was part of of its distance from the answer, in parts per million; saturating.
    pub deviation_ppm_sum: u64,
    /// The greatest of those distances.
    pub deviation_ppm_max: u64,
    /// Whether it is proven forked.
    pub forked: bool,
}

/// Windows that have closed: window k lasts from `k * length` to `(k + 1) * length` since the epoch, whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    length_ms: u64,
    /// Number of the window after the last closed one.
    end: u64,
    count: u64,
}

/// How long after its end a window closes: clocks of nodes that converge are within 30 s of one another (docs/threat-model.md), so
/// whoever declared a time in it has said so by then. What comes even later still counts, once it is in the cut.
pub const SETTLE_MS: u64 = 30_000;

/// Most windows looked at: a day of minutes.
pub const WINDOWS_MAX: u64 = 1_440;

/// A whole in parts per million.
const WHOLE_PPM: u64 = 1_000_000;

impl Windows {
    /// The last `count` windows (at most [`WINDOWS_MAX`]) of this length (at least 1 ms) that are closed as of an instant.
    pub fn closed(as_of: Time, length_ms: u64, count: u64) -> Self {
        let length_ms = length_ms.max(1);
        let end = as_of.ms().saturating_sub(SETTLE_MS) / length_ms;
        Self { length_ms, end, count: count.min(WINDOWS_MAX).min(end) }
    }

    /// The ends of the windows, oldest first.
    pub fn ends(self) -> impl Iterator<Item = Time> {
        (self.end - self.count + 1..=self.end).map(move |k| Time::from_ms(k * self.length_ms))
    }
}

impl Conduct {
    fn new(author: AuthorKey, forked: bool) -> Self {
        Self {
            author,
            chances: 0,
            counted: 0,
            doubtful: 0,
            conflicts: 0,
            outliers: 0,
            deviation_ppm_sum: 0,
            deviation_ppm_max: 0,
            forked,
        }
    }

    /// Share of its chances in which it counted, in parts per million; `None` without any.
    pub fn uptime_ppm(&self) -> Option<u64> {
        share_ppm(self.counted, self.chances)
    }

    /// Mean distance from the answers it was part of, in parts per million; `None` if it was part of none.
    pub fn deviation_ppm(&self) -> Option<u64> {
        self.deviation_ppm_sum.checked_div(self.counted)
    }

    /// Share of its chances in which it counted and was no outlier, in parts per million; zero for a forked author, whole for one
    /// that had no chance yet.
    pub fn score_ppm(&self) -> u64 {
        if self.forked { 0 } else { share_ppm(self.counted - self.outliers, self.chances).unwrap_or(WHOLE_PPM) }
    }

    fn take(&mut self, answer: &Aggregate, left_out: Option<LeftOut>, deviation_ppm: Option<u64>, outlier: bool) {
        debug_assert_eq!(answer.status, Status::Ok);
        self.chances += 1;
        match left_out {
            Some(LeftOut::Doubtful) => self.doubtful += 1,
            Some(LeftOut::Conflict) => self.conflicts += 1,
            Some(LeftOut::Silent | LeftOut::Stranger) => {}
            None => {
                let deviation_ppm = deviation_ppm.unwrap_or(0);
                self.counted += 1;
                self.outliers += u64::from(outlier);
                self.deviation_ppm_sum = self.deviation_ppm_sum.saturating_add(deviation_ppm);
                self.deviation_ppm_max = self.deviation_ppm_max.max(deviation_ppm);
            }
        }
    }
}

/// What each member of an epoch did in closed windows, ascending by author. A window is judged by the answer as of its end, and only an
/// `ok` answer judges anyone: while the network itself has no answer nobody can be wrong.
pub fn conduct(
    cells: &Cells,
    epoch: &Epoch,
    forked: &BTreeSet<AuthorKey>,
    windows: Windows,
    params: &AggregateParams,
) -> Vec<Conduct> {
    let mut members: BTreeMap<AuthorKey, Conduct> =
        epoch.members().iter().map(|m| (m.author, Conduct::new(m.author, forked.contains(&m.author)))).collect();
    for end in windows.ends() {
        for feed in cells.tracked() {
            judge(&mut members, &aggregate(cells, epoch, feed, end, params));
        }
    }
    members.into_values().collect()
}

fn judge(members: &mut BTreeMap<AuthorKey, Conduct>, answer: &Aggregate) {
    let Some(price) = answer.price.filter(|_| answer.status == Status::Ok) else { return };
    let far: BTreeSet<AuthorKey> = outliers(answer).into_iter().map(|anomaly| anomaly.author).collect();
    for counted in &answer.counted {
        if let Some(member) = members.get_mut(&counted.author) {
            let deviation_ppm = counted.price.deviation_ppm(price);
            member.take(answer, None, deviation_ppm, far.contains(&counted.author));
        }
    }
    for &(author, why) in &answer.left_out {
        if let Some(member) = members.get_mut(&author) {
            member.take(answer, Some(why), None, false);
        }
    }
}

/// The weights that conduct earns: registry weight x score, capped below a third of their sum like all weights. Forked authors have none.
///
/// They are shown, and a reader may aggregate by them ([`Aggregate::votes_by`]). The canonical answer never does: whoever can
/// cut honest members off would raise its own share, and the bound on faulty weight is one on the registry's.
pub fn earned_weights(epoch: &Epoch, conduct: &[Conduct]) -> BTreeMap<AuthorKey, u64> {
    // A weight is at most 2^32 and a score 10^6, so the product stays below 2^52.
    let earned = |c: &Conduct| epoch.committee().weight(&c.author) * c.score_ppm();
    let capped = cap_weights(&conduct.iter().map(earned).collect::<Vec<_>>());
    conduct.iter().map(|c| c.author).zip(capped).collect()
}

fn share_ppm(part: u64, whole: u64) -> Option<u64> {
    u64::try_from(u128::from(part) * u128::from(WHOLE_PPM) / u128::from((whole > 0).then_some(whole)?)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Attestation, Slot,
        fixtures::{attests, author, btc_usd, doubts, epoch},
    };

    /// 1970-01-01 00:16:40, in the 17th minute.
    const AS_OF: Time = Time::from_ms(1_000_000);

    fn cells(statements: &[(u8, u64, Attestation)]) -> Cells {
        let mut cells = Cells::tracking(BTreeSet::from([btc_usd()]));
        for &(who, slot, attestation) in statements {
            cells.join(author(who), Slot::from_number(slot), attestation);
        }
        cells
    }

    fn of(statements: &[(u8, u64, Attestation)], forked: &[u8]) -> Vec<Conduct> {
        let forked = forked.iter().map(|&n| author(n)).collect();
        let windows = Windows::closed(AS_OF, 60_000, 3);
        conduct(&cells(statements), &epoch(&[1; 7]), &forked, windows, &AggregateParams::default())
    }

    /// Everyone states 10,000 every ten seconds, but for what `change` says of an oracle and slot.
    fn all(change: impl Fn(u8, u64) -> Option<Option<Attestation>>) -> Vec<(u8, u64, Attestation)> {
        let stated = |n: u8, slot: u64| change(n, slot).unwrap_or_else(|| Some(attests(10_000))).map(|a| (n, slot, a));
        let places = (0..7).flat_map(|n| (700..1_000).step_by(10).map(move |slot| (n, slot)));
        places.filter_map(|(n, slot)| stated(n, slot)).collect()
    }

    #[test]
    fn windows_close_half_a_minute_after_their_end() {
        let ends = |as_of: u64, count: u64| {
            Windows::closed(Time::from_ms(as_of), 60_000, count).ends().map(Time::ms).collect::<Vec<_>>()
        };
        assert_eq!(ends(1_000_000, 3), [840_000, 900_000, 960_000]);
        assert_eq!(ends(989_999, 3), [780_000, 840_000, 900_000]);
        assert_eq!(ends(990_000, 1), [960_000]);
        assert_eq!(ends(100_000, 9), [60_000]);
        assert_eq!(ends(0, 9), [0u64; 0]);
        assert_eq!(Windows::closed(Time::from_ms(u64::MAX), 0, u64::MAX).ends().count(), 1_440);
    }

    #[test]
    fn each_is_counted_by_what_it_did() {
        let statements = all(|n, slot| match n {
            // Away in the last of the three minutes, and its words of before are old by then.
            1 if slot >= 890 => Some(None),
            2 => Some(Some(attests(10_100))),
            3 => Some(Some(attests(12_000))),
            4 => Some(Some(doubts(10_000))),
            _ => None,
        });
        let conduct = of(&statements, &[5]);
        let told: Vec<_> =
            conduct.iter().map(|c| (c.chances, c.counted, c.outliers, c.doubtful, c.score_ppm())).collect();
        let whole = 1_000_000;
        assert_eq!(
            told,
            [
                (3, 3, 0, 0, whole),
                (3, 2, 0, 0, 666_666),
                (3, 3, 0, 0, whole),
                (3, 3, 3, 0, 0),
                (3, 0, 0, 3, 0),
                (3, 3, 0, 0, 0),
                (3, 3, 0, 0, whole),
            ]
        );
        assert_eq!((conduct[2].deviation_ppm(), conduct[2].deviation_ppm_max), (Some(10_000), 10_000));
        assert_eq!((conduct[1].uptime_ppm(), conduct[4].deviation_ppm()), (Some(666_666), None));
        let weights: Vec<_> = earned_weights(&epoch(&[1; 7]), &conduct).into_values().collect();
        // Four have any, and each of them less than a third of all.
        assert_eq!(weights, [whole, 666_666, whole, 0, 0, 0, whole]);
    }

    #[test]
    fn a_network_without_an_answer_judges_nobody() {
        let statements = all(|n, _| (n < 3).then_some(None));
        assert!(
            of(&statements, &[]).iter().all(|c| (c.chances, c.score_ppm(), c.uptime_ppm()) == (0, 1_000_000, None))
        );
    }

    #[test]
    fn a_window_that_is_open_does_not_count() {
        let calm = all(|_, _| None);
        let liar_now = all(|n, slot| (n == 6 && slot > 960).then_some(Some(attests(20_000))));
        assert_eq!(of(&calm, &[]), of(&liar_now, &[]));
    }

    proptest! {
        #[test]
        fn a1_a2_order_and_repetition_do_not_matter(all in prop::collection::vec((0u8..8, 750u64..1_000, 9_000u64..11_000), 0..60), seed: u64) {
            let statements: Vec<_> = all.iter().map(|&(who, slot, p)| (who, slot, attests(p))).collect();
            let mut other = [statements.clone(), statements.clone()].concat();
            other.sort_by_key(|&(who, slot, a)| (seed ^ (u64::from(who) << 40) ^ (slot << 20) ^ a.mantissa()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            prop_assert_eq!(of(&statements, &[]), of(&other, &[]));
        }

        #[test]
        fn a19_earned_weights_are_capped(counted in prop::collection::vec(1u64..=100, 4..20)) {
            let conduct: Vec<_> = (0u8..).zip(&counted).map(|(n, &counted)| Conduct { chances: 100, counted, ..Conduct::new(author(n), false) }).collect();
            let weights = earned_weights(&epoch(&vec![5; counted.len()]), &conduct);
            let total: u64 = weights.values().sum();
            prop_assert!(weights.values().all(|&w| w > 0 && 3 * w < total));
        }
    }
}
