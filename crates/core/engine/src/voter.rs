//! When this node signs heads, and which: the last operation of each log in an interval that the log has left.

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

/// Time between two votes for a log that moves, in milliseconds. Each of n members tells n - 1 others of each log, so that at 31 members a vote of
/// 207 bytes in 30 s adds twice to a log what ten feeds of an oracle take in that time; more often it would be most of what a node checks and sends. A guess.
pub const VOTE_INTERVAL_MS: u64 = 30_000;

/// How long after a boundary votes are signed, in milliseconds: by then a log that is written every five seconds has left the interval before it, and
/// gossip has told. A guess.
pub const VOTE_DELAY_MS: u64 = 10_000;

/// From when on a log that was not written any more counts as having left its last interval, in milliseconds after it: clocks may be so far apart.
/// Should its author go on all the same, the votes were for a shorter head, and do no harm.
const SILENT_MS: u64 = 30_000;

/// Intervals of a log that are remembered: a minute of a clock ahead, and the present.
const MARKS_MAX: usize = 8;

/// Heads of a log signed at once. Clocks of members that are a minute apart sign two intervals apart: without the heads in between the two would
/// never sign the same.
const HEADS_MAX: usize = 3;

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

    /// For each log how long it was when it left the last intervals, ascending. It left one when it was written in a later one, which its chain says
    /// and no clock: members hold the same operations and name the same heads, however far their clocks and the author's are apart.
    pub(crate) fn ends(&self, wall: Time) -> Vec<(LogKey, u64)> {
        let silent = wall.ms().saturating_sub(SILENT_MS) / VOTE_INTERVAL_MS;
        let left = |marks: &VecDeque<Mark>| match marks.back() {
            Some(last) if last.interval >= silent => marks.len() - 1,
            _ => marks.len(),
        };
        let newest = |marks: &VecDeque<Mark>| left(marks).saturating_sub(HEADS_MAX)..left(marks);
        self.marks.iter().flat_map(|(&log, m)| m.range(newest(m)).map(move |mark| (log, mark.len))).collect()
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
    fn a_log_is_cut_where_it_left_an_interval() {
        let mut voter = Voter::new(0, Time::from_ms(0));
        voter.admitted(&op(0, 91_000));
        voter.admitted(&op(1, 119_999));
        assert_eq!(lens(&voter, 149_999), [0; 0], "it may go on in this interval");
        assert_eq!(lens(&voter, 150_000), [2], "CERT-5: it was silent since");
        voter.admitted(&op(2, 120_000));
        assert_eq!(lens(&voter, 0), [2], "CERT-5: it left, whatever the clock says");
        voter.admitted(&op(3, 118_000));
        voter.admitted(&op(4, 155_000));
        assert_eq!(
            lens(&voter, 0),
            [2, 4],
            "an operation that declares less than the one before it belongs to its interval"
        );
        for seq in 5..8 {
            voter.admitted(&op(seq, seq * 36_000));
        }
        assert_eq!(lens(&voter, 0), [5, 6, 7], "the newest three");
    }

    #[test]
    fn votes_fall_on_the_same_instants_everywhere_and_memory_is_bounded() {
        let mut voter = Voter::new(7, Time::from_ms(1_028_000));
        assert_eq!(voter.next_ms, 7 + 2_000);
        voter.schedule(2_007, Time::from_ms(1_030_000));
        assert_eq!(voter.next_ms, 32_007);
        (0..1_000).for_each(|seq| voter.admitted(&op(seq, seq * 60_000)));
        assert!(voter.marks.values().all(|marks| marks.len() <= MARKS_MAX), "SYNC-4: marks of a log");
        assert_eq!(lens(&voter, 999 * 60_000), [997, 998, 999]);
    }
}
