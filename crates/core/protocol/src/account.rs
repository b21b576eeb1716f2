//! What a peer may cost, and how it behaved: three budgets and a score, in integers on the monotonic clock.
//!
//! What brings something new is free, however much it is: budgets bound what is in vain. Nothing here is part of the replicated
//! state; two nodes may think differently of a third.

use concurrence_crdt::{
    LogKey,
    canary::{Canary, sings},
};

use crate::{frame::FRAME_LEN_MAX, intake::Reason};

/// The account of one peer. It outlives the session: who hangs up and comes back owes what it owed.
#[derive(Clone, Debug)]
pub struct Account {
    /// Frames that brought nothing.
    frames: Bucket,
    /// Signature checks that brought nothing.
    checks: Bucket,
    /// Bytes sent to it.
    out: Bucket,
    /// Misconduct, in points; empty is banned.
    patience: Bucket,
    /// Answers that may still come, beside the one that was asked for last.
    answers_due: u32,
    /// Where the last answer began, and when.
    served: Option<(LogKey, u64, u64)>,
    /// Bans that are not forgotten.
    bans: u32,
    banned_until_ms: u64,
    /// What it was sent since this account was opened, for [`check_invariants`](Self::check_invariants).
    sent_bytes: u64,
    opened_ms: u64,
}

/// What a peer did that costs it patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It handed on what it must have known to be wrong.
    Refused(Reason),
    /// The transport could not read what it sent.
    Malformed,
    /// It sent more frames that bring nothing than its budget allows.
    Flood,
    /// It caused more signature checks that bring nothing than its budget allows.
    Checks,
    /// It sent more answers than it was asked for.
    Unasked,
    /// It left a pull unanswered.
    Silent,
    /// Its answers bring nothing, one after another, and it claims to have something.
    Empty,
}

/// A peer is to be cut off for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// The fault that was one too many.
    pub fault: Fault,
}

/// Frames in vain a peer may send: 200 a second is a hundred times what an honest one sends (digests, hellos, pulls, copies of what is
/// known), and reading them takes about a thousandth of a core. 2,000 at once: what queued up in the transport while this node was busy.
const FRAMES: Rate = Rate { burst: 2_000, per_s: 200 };

/// Bytes of a frame in vain that count as one more: reading 4 KiB costs about what handling a small frame does.
const FRAME_COST_BYTES: usize = 4_096;

/// What a question costs in frames that comes while the last one is being answered: it is read whole, and for nothing. 25 a second are
/// still borne, more than a link that doubles every frame makes of an honest peer's.
pub(crate) const BUSY_COST: i64 = 8;

/// Signature checks in vain: 64 a second at 50 us are a third of a percent of a core. 1,024 at once: 16 batches.
const CHECKS: Rate = Rate { burst: 1_024, per_s: 64 };

/// Bytes to a peer: after 8 MiB at once 4 MB a second. A newcomer asks two peers at a time: a month of seven oracles (2.5 GB) in five
/// minutes; and a hundred askers at once are still within what one disk reads.
const OUT: Rate = Rate { burst: 8 << 20, per_s: 4_000_000 };

/// How long an answer that begins where the last one did is charged double, in milliseconds: an honest asker whose answer was lost comes
/// back after five seconds and is paced, not refused.
const REPEATED_MS: u64 = 10_000;

/// Patience: ten faults that only malice or a broken program makes; a fault each ten seconds is borne for ever.
const PATIENCE: Rate = Rate { burst: 1_000, per_s: 10 };

/// Answers expected for each pull. Four: on a link that doubles every frame the pull arrives twice, and so does each answer.
const ANSWERS_PER_PULL: u32 = 4;

/// Most answers expected at any time: those of eight pulls, whose answers a slow link may deliver together.
const ANSWERS_DUE_MAX: u32 = 8 * ANSWERS_PER_PULL;

/// First and longest ban of a member, in milliseconds. Short: its operations reach us through others all the same, and the network
/// needs two thirds of its members connected.
const MEMBER_BAN_MS: (u64, u64) = (5_000, 60_000);

/// First and longest ban of anyone else, in milliseconds.
const OTHER_BAN_MS: (u64, u64) = (30_000, 600_000);

/// How long after a ban's end it takes until one ban is forgotten, in milliseconds: three of the longest bans.
const BAN_FORGOTTEN_MS: u64 = 1_800_000;

/// Most of what may be sent beyond [`OUT`]: one frame that was begun while there was something left, and small frames in that time.
const OUT_SLACK: u64 = FRAME_LEN_MAX as u64 + 64 * 1024;

impl Account {
    pub(crate) fn new(now_ms: u64) -> Self {
        let full = |rate| Bucket::full(rate, now_ms);
        Self {
            frames: full(FRAMES),
            checks: full(CHECKS),
            out: full(OUT),
            patience: full(PATIENCE),
            // What was under way when the session before ended.
            answers_due: ANSWERS_PER_PULL,
            served: None,
            bans: 0,
            banned_until_ms: 0,
            sent_bytes: 0,
            opened_ms: now_ms,
        }
    }

    /// Misconduct that is not forgotten, in points; at [`score_max`](Self::score_max) it is banned.
    pub fn score(&self, now_ms: u64) -> i64 {
        PATIENCE.burst - self.patience.level(now_ms)
    }

    /// The score at which a peer is banned.
    pub const fn score_max() -> i64 {
        PATIENCE.burst
    }

    /// How long it is still banned, in milliseconds; zero if it is not.
    pub const fn banned_ms(&self, now_ms: u64) -> u64 {
        self.banned_until_ms.saturating_sub(now_ms)
    }

    /// Bytes that may be sent to it at once; negative while it must wait.
    pub fn out_left(&self, now_ms: u64) -> i64 {
        self.out.level(now_ms)
    }

    /// Whether a new account would be the same.
    pub(crate) fn is_clean(&self, now_ms: u64) -> bool {
        let full = |bucket: &Bucket| bucket.level(now_ms) >= bucket.rate.burst;
        let is_forgotten = self.bans == 0 || now_ms >= self.banned_until_ms.saturating_add(BAN_FORGOTTEN_MS);
        is_forgotten && [&self.frames, &self.checks, &self.out, &self.patience].into_iter().all(full)
    }

    /// Whether another frame of it is read.
    pub(crate) fn has_frames(&self, now_ms: u64) -> bool {
        self.frames.level(now_ms) > 0
    }

    /// A frame of so many bytes brought nothing.
    pub(crate) fn frame_in_vain(&mut self, now_ms: u64, len: usize) {
        let cost = i64::try_from(len / FRAME_COST_BYTES).unwrap_or(i64::MAX);
        self.frames.draw(now_ms, cost.saturating_add(1));
    }

    /// A question came while the last one is being answered.
    pub(crate) fn asked_too_soon(&mut self, now_ms: u64) {
        self.frames.draw(now_ms, BUSY_COST);
    }

    /// Whether a signature is checked for it.
    pub(crate) fn has_checks(&self, now_ms: u64) -> bool {
        self.checks.level(now_ms) > 0
    }

    /// So many signature checks brought nothing.
    pub(crate) fn checks_in_vain(&mut self, now_ms: u64, checks: i64) {
        self.checks.draw(now_ms, checks);
    }

    /// Whether an answer or a question to it may begin.
    pub(crate) fn may_send(&self, now_ms: u64) -> bool {
        self.out.level(now_ms) > 0
    }

    /// When [`may_send`](Self::may_send) will hold.
    pub(crate) fn may_send_at_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.out.wait_ms(now_ms, 1))
    }

    /// It is being sent so many bytes.
    pub(crate) fn sent(&mut self, now_ms: u64, bytes: usize) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u64);
        self.out.draw(now_ms, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// An answer that begins here is about to be read. One that began here a moment ago counts twice, this time and the last.
    pub(crate) fn begins_answer(&mut self, now_ms: u64, log: LogKey, from: u64, credit: usize) {
        let again = |&(l, f, at_ms): &(LogKey, u64, u64)| (l, f) == (log, from) && now_ms < at_ms + REPEATED_MS;
        if self.served.as_ref().is_some_and(again) {
            self.out.draw(now_ms, i64::try_from(credit).unwrap_or(i64::MAX));
        }
        self.served = Some((log, from, now_ms));
    }

    /// A pull was sent to it.
    pub(crate) fn asked(&mut self) {
        self.answers_due = (self.answers_due + ANSWERS_PER_PULL).min(ANSWERS_DUE_MAX);
    }

    /// An answer came; whether it may have been asked for.
    pub(crate) fn answered(&mut self) -> bool {
        let is_due = self.answers_due > 0;
        self.answers_due = self.answers_due.saturating_sub(1);
        is_due
    }

    /// It did something wrong; how long it is to be banned for it, if that was one too many.
    pub(crate) fn blame(&mut self, now_ms: u64, fault: Fault, is_member: bool) -> Option<Ban> {
        self.patience.draw(now_ms, if sings(Canary::Net2) { PATIENCE.burst } else { fault.points() });
        if self.patience.level(now_ms) > 0 || self.banned_ms(now_ms) > 0 {
            return None;
        }
        let forgotten = now_ms.saturating_sub(self.banned_until_ms) / BAN_FORGOTTEN_MS;
        self.bans = self.bans.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        let (first_ms, longest_ms) = if is_member { MEMBER_BAN_MS } else { OTHER_BAN_MS };
        let for_ms = (first_ms << self.bans.min(16)).min(longest_ms);
        self.bans = self.bans.saturating_add(1);
        self.banned_until_ms = now_ms.saturating_add(for_ms);
        self.patience = Bucket::full(PATIENCE, now_ms);
        Some(Ban { for_ms, fault })
    }

    /// Checks that it was not sent more than its budget (SYNC-5).
    pub fn check_invariants(&self, now_ms: u64) {
        let seconds_up = now_ms.saturating_sub(self.opened_ms) / 1_000 + 1;
        let (burst, per_s) = (OUT.burst.unsigned_abs(), OUT.per_s.unsigned_abs());
        let bound = per_s.saturating_mul(seconds_up).saturating_add(burst + OUT_SLACK);
        assert!(self.sent_bytes <= bound, "SYNC-5: {} bytes sent, at most {bound} may be", self.sent_bytes);
        assert!(self.answers_due <= ANSWERS_DUE_MAX, "SYNC-4: answers expected");
    }
}

impl Fault {
    /// A short stable name, as metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.name(),
            Self::Malformed => "malformed",
            Self::Flood => "flood",
            Self::Checks => "checks",
            Self::Unasked => "unasked",
            Self::Silent => "silent",
            Self::Empty => "empty",
        }
    }

    /// What it costs of [`PATIENCE`]. What a bad link can make of an honest peer (silence at most each five seconds, empty answers at most
    /// each second and a half) is forgiven faster than it comes.
    const fn points(self) -> i64 {
        match self {
            Self::Refused(_) | Self::Malformed => 100,
            Self::Unasked => 50,
            Self::Checks => 10,
            Self::Silent | Self::Empty => 10,
            Self::Flood => 1,
        }
    }
}

/// How a bucket fills.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// The most it holds.
    burst: i64,
    /// What flows in each second; the same number in thousandths each millisecond.
    per_s: i64,
}

/// A bucket that fills with time and may be drawn into debt, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    milli: i64,
    at_ms: u64,
}

impl Bucket {
    const fn full(rate: Rate, now_ms: u64) -> Self {
        Self { rate, milli: rate.burst * 1_000, at_ms: now_ms }
    }

    fn milli(&self, now_ms: u64) -> i64 {
        let elapsed = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        self.milli.saturating_add(elapsed.saturating_mul(self.rate.per_s)).min(self.rate.burst * 1_000)
    }

    /// What it holds, rounded down.
    fn level(&self, now_ms: u64) -> i64 {
        self.milli(now_ms).div_euclid(1_000)
    }

    fn draw(&mut self, now_ms: u64, units: i64) {
        self.milli = self.milli(now_ms).saturating_sub(units.saturating_mul(1_000));
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// How long until it holds so much, in milliseconds.
    fn wait_ms(&self, now_ms: u64, units: i64) -> u64 {
        let missing = units.saturating_mul(1_000).saturating_sub(self.milli(now_ms)).max(0);
        missing.unsigned_abs().div_ceil(self.rate.per_s.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: Fault = Fault::Refused(Reason::Signature);

    #[test]
    fn a_bucket_fills_exactly_and_not_beyond() {
        let mut bucket = Bucket::full(Rate { burst: 5, per_s: 3 }, 1_000);
        bucket.draw(1_000, 7);
        assert_eq!((bucket.level(1_000), bucket.wait_ms(1_000, 1)), (-2, 1_000));
        assert_eq!((bucket.level(1_999), bucket.level(2_000)), (0, 1));
        assert_eq!(bucket.level(0), -2, "a clock that falls gives nothing");
        assert_eq!(bucket.level(1_000_000), 5);
        assert_eq!(bucket.level(u64::MAX), 5);
    }

    #[test]
    fn the_tenth_fault_bans_and_time_forgives() {
        let mut account = Account::new(0);
        for _ in 0..9 {
            assert_eq!(account.blame(0, FORGED, false), None);
        }
        assert_eq!(account.score(0), 900);
        let mut later = account.clone();
        assert_eq!(account.blame(0, FORGED, false), Some(Ban { for_ms: 30_000, fault: FORGED }));
        assert_eq!((account.banned_ms(0), account.banned_ms(29_999), account.banned_ms(30_000)), (30_000, 1, 0));
        // Ten seconds forgive one.
        assert_eq!(later.blame(10_100, FORGED, false), None);
    }

    #[test]
    fn bans_double_to_a_cap_and_are_forgotten() {
        for (is_member, lengths) in [
            (false, [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]),
            (true, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]),
        ] {
            let (mut account, mut now) = (Account::new(0), 0);
            let ban = |account: &mut Account, now| (0..10).find_map(|_| account.blame(now, FORGED, is_member)).unwrap();
            for for_ms in lengths {
                assert_eq!(ban(&mut account, now).for_ms, for_ms);
                assert_eq!(account.blame(now, FORGED, is_member), None, "banned already");
                now += for_ms;
            }
            let bans = account.bans;
            now += 2 * BAN_FORGOTTEN_MS;
            ban(&mut account, now);
            assert_eq!(account.bans, bans - 2 + 1);
            assert!(!account.is_clean(now + 60_000) && account.is_clean(now + 2 * BAN_FORGOTTEN_MS));
        }
    }

    /// What loss, delay and doubling can make of an honest peer never bans it, however long it goes on.
    #[test]
    fn silence_and_empty_answers_alone_never_ban() {
        let mut account = Account::new(0);
        for second in 0..100_000 {
            let now = second * 1_000;
            let silent = (second % 5 == 0).then_some(Fault::Silent);
            let empty = (second % 2 == 0).then_some(Fault::Empty);
            for fault in silent.into_iter().chain(empty) {
                assert_eq!(account.blame(now, fault, true), None);
            }
        }
    }

    #[test]
    fn budgets_end_where_they_say() {
        let mut account = Account::new(0);
        for _ in 0..2_000 {
            assert!(account.has_frames(0));
            account.frame_in_vain(0, 49);
        }
        assert!(!account.has_frames(0) && !account.has_frames(4) && account.has_frames(5));
        account.frame_in_vain(1_000, 100 * FRAME_COST_BYTES);
        account.frame_in_vain(1_000, 98 * FRAME_COST_BYTES);
        assert!(!account.has_frames(1_000), "long frames cost more");

        account.checks_in_vain(0, 1_023);
        assert!(account.has_checks(0));
        account.checks_in_vain(0, 1);
        assert!(!account.has_checks(0) && account.has_checks(16));

        account.sent(0, (8 << 20) - 1);
        assert!(account.may_send(0));
        account.sent(0, 1_000_001);
        assert_eq!((account.may_send(0), account.may_send_at_ms(0)), (false, 251));
        assert!(!account.may_send(249) && account.may_send(251));
        account.check_invariants(0);
    }

    #[test]
    fn the_same_answer_again_is_charged_double() {
        let log =
            LogKey { author: concurrence_crdt::AuthorKey::of(&concurrence_crdt::SigningKey::from([1; 32])), index: 0 };
        let mut account = Account::new(0);
        account.begins_answer(0, log, 5, 1_000);
        account.begins_answer(0, log, 6, 1_000);
        assert_eq!(account.out_left(0), 8 << 20);
        account.begins_answer(REPEATED_MS - 1, log, 6, 1_000);
        assert_eq!(account.out_left(REPEATED_MS - 1), (8 << 20) - 1_000);
        account.begins_answer(3 * REPEATED_MS, log, 6, 1_000);
        assert_eq!(account.out_left(3 * REPEATED_MS), 8 << 20);
    }

    #[test]
    fn answers_are_due_for_what_was_asked() {
        let mut account = Account::new(0);
        let taken = |account: &mut Account| (0..1_000).take_while(|_| account.answered()).count();
        assert_eq!(taken(&mut account), 4);
        account.asked();
        assert_eq!(taken(&mut account), 4);
        (0..100).for_each(|_| account.asked());
        assert_eq!(taken(&mut account), 32);
        account.check_invariants(0);
    }
}
