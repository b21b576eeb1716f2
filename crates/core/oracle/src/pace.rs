//! How soon to publish again: sooner when a price moves, later when nothing does, never later than the heartbeat.

/// When the next batch is due, by how far prices have moved since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time between batches, in milliseconds; at least a slot, so that even a price that never rests costs sixty operations a
    /// minute, a quarter of an author's quota.
    pub fastest_ms: u64,
    /// Time between batches while prices move a little, in milliseconds.
    pub usual_ms: u64,
    /// The heartbeat: time between batches while nothing moves, in milliseconds. Below the greatest age of an answer, or quiet feeds
    /// go stale.
    pub heartbeat_ms: u64,
    /// A move that is worth a batch at once, in parts per million of the last price published.
    pub move_ppm: u64,
}

/// From this part of the move on the threshold nears, and batches come twice as fast as usual.
const NEAR_DIVISOR: u64 = 2;

/// Below this part of the move nothing moves. Both parts are guesses.
const QUIET_DIVISOR: u64 = 10;

impl Pace {
    /// Time from the last batch to the next, in milliseconds, if some price has moved by at most `moved_ppm`. Never longer for a greater
    /// move.
    pub fn due_ms(&self, moved_ppm: u64) -> u64 {
        let usual_ms = self.usual_ms.clamp(self.fastest_ms, self.heartbeat_ms.max(self.fastest_ms));
        if moved_ppm >= self.move_ppm {
            self.fastest_ms
        } else if moved_ppm >= self.move_ppm / NEAR_DIVISOR {
            (usual_ms / 2).max(self.fastest_ms)
        } else if moved_ppm >= self.move_ppm / QUIET_DIVISOR {
            usual_ms
        } else {
            self.heartbeat_ms.max(usual_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn faster_when_it_moves_slower_when_it_rests() {
        let pace = Pace { fastest_ms: 1_000, usual_ms: 5_000, heartbeat_ms: 20_000, move_ppm: 2_000 };
        let due = [0, 199, 200, 999, 1_000, 1_999, 2_000, u64::MAX].map(|moved| pace.due_ms(moved));
        assert_eq!(due, [20_000, 20_000, 5_000, 5_000, 2_500, 2_500, 1_000, 1_000]);
    }

    proptest! {
        #[test]
        fn within_its_bounds_and_monotone(fastest in 1u64..9_000, usual in 1u64..9_000, heartbeat in 1u64..9_000, move_ppm in 0u64..9_000, a: u16, b: u16) {
            let pace = Pace { fastest_ms: fastest, usual_ms: usual, heartbeat_ms: heartbeat, move_ppm };
            let (less, more) = (u64::from(a.min(b)), u64::from(a.max(b)));
            prop_assert!(pace.due_ms(more) <= pace.due_ms(less));
            prop_assert!((fastest..=heartbeat.max(fastest)).contains(&pace.due_ms(less)));
        }
    }
}
