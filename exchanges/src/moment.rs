//! Replayed time, and what time a venue's answers show.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::BAR_MS;

/// Runs through recorded time, a whole number of times faster than real time. Copies agree with one another.
#[derive(Clone, Copy, Debug)]
pub struct ReplayClock {
    /// Recorded time at `epoch`, unix seconds.
    pub start_unix_s: u64,
    /// Recorded seconds in a real one.
    pub speed: u32,
    /// The real instant at which the replay starts.
    pub epoch: Instant,
}

/// What time the answers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeMode {
    /// Recorded time: the end of the bar whose close is shown. For replays whose nodes live in recorded time.
    Replayed,
    /// The wall clock's time, for live nodes, whose checks of freshness use it: as long as no bar is missing the market counts as having
    /// traded this instant; after a bar went missing, as having last traded when the missing one should have ended, in real time.
    Wall,
}

/// One moment of a replay: all that an answer depends on besides the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Recorded time, milliseconds since the epoch: what is known by then is answered.
    pub tape_ms: u64,
    /// The wall clock, milliseconds since the epoch, and the speed of the replay, if answers show the wall clock's time.
    wall: Option<(u64, u32)>,
}

impl ReplayClock {
    /// A replay that starts now.
    pub fn start(start_unix_s: u64, speed: u32) -> Self {
        Self { start_unix_s, speed, epoch: Instant::now() }
    }

    /// Recorded time now, milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// Recorded time at a real instant, milliseconds since the epoch; the start for instants before `epoch`.
    pub fn ms_at(&self, instant: Instant) -> u64 {
        let real_ms = u64::try_from(instant.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        self.start_unix_s.saturating_mul(1_000).saturating_add(real_ms.saturating_mul(u64::from(self.speed)))
    }

    /// This moment.
    pub fn moment(&self, mode: TimeMode) -> Moment {
        let wall = (mode == TimeMode::Wall).then(|| (wall_ms(), self.speed));
        Moment { tape_ms: self.now_ms(), wall }
    }
}

impl Moment {
    /// A moment of recorded time whose answers show recorded time.
    pub const fn replayed(tape_ms: u64) -> Self {
        Self { tape_ms, wall: None }
    }

    /// A moment of recorded time whose answers show the wall clock's.
    pub const fn wall(tape_ms: u64, wall_ms: u64, speed: u32) -> Self {
        Self { tape_ms, wall: Some((wall_ms, speed)) }
    }

    /// The venue's clock.
    pub(crate) fn server_ms(self) -> u64 {
        self.wall.map_or(self.tape_ms, |(wall_ms, _)| wall_ms)
    }

    /// The venue's time of a price whose bar ended at `bar_end_ms`.
    pub(crate) fn venue_time_ms(self, bar_end_ms: u64) -> u64 {
        let Some((wall_ms, speed)) = self.wall else { return bar_end_ms };
        let missing_ms = self.tape_ms.saturating_sub(bar_end_ms).saturating_sub(BAR_MS);
        wall_ms.saturating_sub(missing_ms / u64::from(speed.max(1)))
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn recorded_time_runs_at_the_chosen_speed() {
        let clock = ReplayClock::start(1_000, 60);
        assert_eq!(clock.ms_at(clock.epoch), 1_000_000);
        assert_eq!(clock.ms_at(clock.epoch + Duration::from_millis(1_500)), 1_090_000);
        let fastest = ReplayClock { start_unix_s: u64::MAX, speed: u32::MAX, ..clock };
        assert_eq!(fastest.ms_at(clock.epoch + Duration::from_secs(1 << 40)), u64::MAX);
    }

    #[test]
    fn venue_times() {
        assert_eq!(Moment::replayed(90_000).venue_time_ms(60_000), 60_000);
        let at = |tape_ms| Moment::wall(tape_ms, 5_000_000, 10).venue_time_ms(60_000);
        assert_eq!(at(60_000), 5_000_000);
        assert_eq!(at(120_000), 5_000_000, "the next bar is only due");
        assert_eq!(at(180_000), 5_000_000 - 6_000, "a minute missing is six real seconds at tenfold speed");
    }
}
