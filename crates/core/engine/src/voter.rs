//! When this node signs heads, and which: the last operation of each log before a boundary that all nodes share.

use std::collections::{BTreeMap, VecDeque};

use concurrence_crdt::{Head, LogKey, Time, VerifiedOp};

/// The voting side of a node.
pub(crate) struct Voter {
    marks: BTreeMap<LogKey, VecDeque<Mark>>,
    /// When heads are signed next, on the monotonic clock.
    pub(crate) next_ms: u64,
    /// Heads being signed.
    pub(crate) signing: Option<Vec<Head>>,
}

/// The end of a log within an interval.
#[derive(Clone, Copy, Debug)]
struct Mark {
    interval: u64,
    len: u64,
}

/// Time between two votes for a log that moves, in milliseconds. With two batches a log in between a vote of 207 bytes adds a hundredth to what
/// ten feeds of an oracle take; what is certified is at most 25 s old. A guess.
pub const VOTE_INTERVAL_MS: u64 = 10_000;

/// How long before the present the boundary lies at least, in milliseconds: operations declared before it have reached whoever they reach by
/// gossip, so that members sign the same head. A guess.
pub const VOTE_DELAY_MS: u64 = 5_000;

/// Intervals of a log that are remembered: a minute of a clock ahead, and the present.
const MARKS_MAX: usize = 8;

impl Voter {
    pub(crate) fn new(mono_ms: u64, wall: Time) -> Self {
        let mut voter = Self { marks: BTreeMap::new(), next_ms: 0, signing: None };
        voter.schedule(mono_ms, wall);
        voter
    }

    /// The next vote is when the next boundary is old enough: at the same time everywhere, as far as clocks agree.
    pub(crate) fn schedule(&mut self, mono_ms: u64, wall: Time) {
        let passed_ms = wall.ms().saturating_sub(VOTE_DELAY_MS) % VOTE_INTERVAL_MS;
        self.next_ms = mono_ms + (VOTE_INTERVAL_MS - passed_ms);
    }

    /// Notes an admitted operation. One that declares less than those before it belongs to their interval: where a log is cut is a function of
    /// its chain.
    pub(crate) fn admitted(&mut self, op: &VerifiedOp) {
        let header = op.op().header();
        let (interval, len) = (header.declared.ms() / VOTE_INTERVAL_MS, header.seq + 1);
        let marks = self.marks.entry(header.log).or_default();
        match marks.back_mut().filter(|last| interval <= last.interval) {
            Some(last) => last.len = len,
            None => marks.push_back(Mark { interval, len }),
        }
        if marks.len() > MARKS_MAX {
            marks.pop_front();
        }
    }

    /// For each log how long it was at the newest boundary that is old enough.
    pub(crate) fn ends(&self, wall: Time) -> Vec<(LogKey, u64)> {
        let boundary = wall.ms().saturating_sub(VOTE_DELAY_MS) / VOTE_INTERVAL_MS;
        let end = |marks: &VecDeque<Mark>| marks.iter().rfind(|mark| mark.interval < boundary).map(|mark| mark.len);
        self.marks.iter().filter_map(|(&log, marks)| Some((log, end(marks)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use concurrence_crdt::{AuthorKey, Digest, Header, NetworkId, Op, OpId, SigningKey};

    use super::*;

    fn op(seq: u64, declared_ms: u64) -> VerifiedOp {
        let key = SigningKey::from([1; 32]);
        let header = Header {
            network: NetworkId::from_bytes([7; 32]),
            log: LogKey { author: AuthorKey::of(&key), index: 0 },
            seq,
            prev: OpId::ZERO,
            epoch: 0,
            declared: Time::from_ms(declared_ms),
            kind: 1,
            payload_len: 0,
            payload_hash: Digest::from_bytes([0; 32]),
            refs: Vec::new(),
        };
        VerifiedOp::from_own_store(Op::sign(header, b"", &key))
    }

    fn lens(voter: &Voter, wall_ms: u64) -> Vec<u64> {
        voter.ends(Time::from_ms(wall_ms)).into_iter().map(|(_, len)| len).collect()
    }

    #[test]
    fn a_log_is_cut_at_a_boundary_that_is_old_enough() {
        let mut voter = Voter::new(0, Time::from_ms(0));
        for (seq, declared_ms) in [(0, 101_000), (1, 109_999), (2, 110_000), (3, 108_000), (4, 125_000)] {
            voter.admitted(&op(seq, declared_ms));
        }
        assert_eq!(lens(&voter, 114_999), [0; 0], "the boundary at 110 s is not five seconds old");
        assert_eq!(lens(&voter, 115_000), [2], "CERT-5");
        assert_eq!(lens(&voter, 125_000), [4], "an operation that declares less than the one before it comes after it");
        assert_eq!(lens(&voter, 135_000), [5]);
    }

    #[test]
    fn votes_fall_on_the_same_instants_everywhere_and_memory_is_bounded() {
        let mut voter = Voter::new(7, Time::from_ms(1_003_000));
        assert_eq!(voter.next_ms, 7 + 2_000);
        voter.schedule(2_007, Time::from_ms(1_005_000));
        assert_eq!(voter.next_ms, 12_007);
        (0..1_000).for_each(|seq| voter.admitted(&op(seq, seq * 60_000)));
        assert!(voter.marks.values().all(|marks| marks.len() <= MARKS_MAX), "SYNC-4: marks of a log");
        assert_eq!(lens(&voter, 999 * 60_000), [999]);
    }
}
