//! The wall clock of a simulated machine: off, drifting, and set by hand.

use concurrence_crdt::Time;
use concurrence_protocol::Now;

/// How a machine's wall clock differs from virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// How far it was ahead when it was last set, in milliseconds.
    offset_ms: i64,
    /// How much faster it runs, in parts per million.
    drift_ppm: i64,
    /// When it was last set, in virtual time.
    set_ms: u64,
}

/// Wall clock at the beginning of virtual time: some day in 2026.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

/// Greatest drift of a clock, in parts per million: ten times a bad quartz, so that ten minutes show it.
pub(crate) const DRIFT_PPM_MAX: i64 = 1_000;

impl Clock {
    pub(crate) const fn new(offset_ms: i64, drift_ppm: i64) -> Self {
        Self { offset_ms, drift_ppm, set_ms: 0 }
    }

    /// It is set to `offset_ms` ahead of virtual time, and drifts on from there.
    pub(crate) const fn set(&mut self, virtual_ms: u64, offset_ms: i64) {
        (self.offset_ms, self.set_ms) = (offset_ms, virtual_ms);
    }

    /// How far it is ahead now, in milliseconds.
    pub(crate) fn ahead_ms(&self, virtual_ms: u64) -> i64 {
        let since = i64::try_from(virtual_ms.saturating_sub(self.set_ms)).unwrap_or(i64::MAX);
        self.offset_ms.saturating_add(since.saturating_mul(self.drift_ppm) / 1_000_000)
    }

    /// Both clocks of a process that started at `started_ms`. The monotonic one keeps virtual time.
    pub(crate) fn now(&self, virtual_ms: u64, started_ms: u64) -> Now {
        let wall_ms = (EPOCH_MS + virtual_ms).saturating_add_signed(self.ahead_ms(virtual_ms));
        Now { mono_ms: virtual_ms - started_ms, wall: Time::from_ms(wall_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_from_where_it_was_set() {
        let mut clock = Clock::new(100, 500);
        assert_eq!(clock.ahead_ms(0), 100);
        assert_eq!(clock.ahead_ms(10_000), 105);
        clock.set(10_000, -40);
        assert_eq!(clock.ahead_ms(12_000), -39);
        assert_eq!(clock.now(12_000, 2_000).mono_ms, 10_000);
        assert_eq!(clock.now(12_000, 2_000).wall.ms(), EPOCH_MS + 12_000 - 39);
    }
}
