//! When a connection may be opened: within the venue's limits, after a wait that grows with failures and is drawn by lot.

use std::collections::VecDeque;

use super::StreamRules;

/// Keeps the times of past connections and failures.
pub(super) struct Pace {
    rules: &'static StreamRules,
    /// When connections were opened, within the venue's window.
    opened_ms: VecDeque<u64>,
    /// Failures in a row.
    failures: u32,
    /// No connection before this.
    not_before_ms: u64,
    dice: u64,
}

/// Longest wait after the first failure, in milliseconds; doubled by each.
const WAIT_MS_FIRST: u64 = 500;

/// Longest wait after any number of failures, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// Failures after which the wait no longer grows: 500 ms doubled seven times is above the greatest.
const DOUBLINGS_MAX: u32 = 7;

impl Pace {
    /// `seed` decides the waits; nodes should differ.
    pub(super) fn new(rules: &'static StreamRules, seed: u64) -> Self {
        Self { rules, opened_ms: VecDeque::new(), failures: 0, not_before_ms: 0, dice: seed }
    }

    /// When the next connection may be opened; not before `now_ms`. `u64::MAX`: never, until someone acts.
    pub(super) fn next_ms(&self, now_ms: u64) -> u64 {
        let gap = self.opened_ms.back().map_or(0, |last| last + self.rules.connect_gap_ms);
        let full = self.opened_ms.len() >= self.rules.connects_max;
        let window = self.opened_ms.front().filter(|_| full).map_or(0, |first| first + self.rules.connects_window_ms);
        now_ms.max(self.not_before_ms).max(gap).max(window)
    }

    /// A connection is being opened.
    pub(super) fn opened(&mut self, now_ms: u64) {
        if self.opened_ms.len() >= self.rules.connects_max {
            self.opened_ms.pop_front();
        }
        self.opened_ms.push_back(now_ms);
    }

    /// A connection ended. One that was healthy begins the waits anew.
    pub(super) fn failed(&mut self, now_ms: u64, was_healthy: bool) {
        self.failures = if was_healthy { 0 } else { (self.failures + 1).min(DOUBLINGS_MAX) };
        let longest = (WAIT_MS_FIRST << self.failures).min(WAIT_MS_MAX);
        let wait_ms = self.below(longest + 1);
        self.hold_until(now_ms + wait_ms);
    }

    /// The venue asked for a wait.
    pub(super) fn hold_until(&mut self, until_ms: u64) {
        self.not_before_ms = self.not_before_ms.max(until_ms);
    }

    /// A number below a bound, by SplitMix64 (Steele, Lea, Flood 2014): it spreads nodes' attempts and decides nothing else.
    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    fn pace(seed: u64) -> Pace {
        Pace::new(Channel::BinanceStream.stream_rules().unwrap(), seed)
    }

    #[test]
    fn waits_grow_are_drawn_by_lot_and_begin_anew() {
        let wait = |pace: &mut Pace, healthy| {
            pace.failed(1_000_000, healthy);
            let wait = pace.not_before_ms.saturating_sub(1_000_000);
            pace.not_before_ms = 0;
            wait
        };
        let greatest = |failures| {
            (0..200)
                .map(|seed| {
                    let mut pace = pace(seed);
                    (0..failures).map(|_| wait(&mut pace, false)).last().unwrap()
                })
                .max()
                .unwrap()
        };
        for (failures, longest) in [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (30, 60_000)] {
            let found = greatest(failures);
            assert!(found <= longest && found > longest * 9 / 10, "{failures} failures: {found}");
        }
        let mut pace = pace(1);
        (0..9).for_each(|_| pace.failed(0, false));
        assert!(wait(&mut pace, true) <= WAIT_MS_FIRST);
    }

    #[test]
    fn no_window_has_more_connections_than_allowed() {
        let mut pace = pace(3);
        let (max, window) = (pace.rules.connects_max, pace.rules.connects_window_ms);
        let mut opened = Vec::new();
        let mut now = 5;
        for _ in 0..3 * max {
            now = pace.next_ms(now);
            pace.opened(now);
            opened.push(now);
        }
        for (at, first) in opened.iter().enumerate() {
            assert!(opened[at..].iter().take_while(|t| **t < first + window).count() <= max);
        }
        pace.hold_until(u64::MAX);
        assert_eq!(pace.next_ms(now), u64::MAX);
    }
}
