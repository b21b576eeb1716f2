//! Actors whose operations are signed in order and say what cannot be: times, references and numbers.

use concurrence_crdt::{BUCKET_MS, Entry, Frontier, LOGS_MAX, Op, OpId, Time, Wanted};
use concurrence_oracle::{Attestation, EXPO_MAX, EXPO_MIN, Feed, KIND_PRICE_BATCH};
use concurrence_protocol::Frame;

use super::{
    Actor, Branch, SPARE_LOGS, Scene, UNKNOWN_KIND,
    conduct::{LAST_TIME, NO_DIGEST},
    op_frame,
};

/// B05: dates operations into the future: first by the one minute more than is let in at once, then by a day and by centuries. It hurts
/// where the future counts, or crowds out the present. Such operations wait in a bounded buffer outside the state, are not spread, and
/// count when their minute has come.
pub(super) struct FutureDater {
    near: Branch,
    far: Branch,
    injected: u64,
}

/// How long it dates near, in milliseconds: all of that has come due well before a run ends.
const NEAR_UNTIL_MS: u64 = 20_000;

/// A day, in milliseconds: beyond any run.
const DAY_MS: u64 = 86_400_000;

impl Default for FutureDater {
    fn default() -> Self {
        Self { near: Branch::new(SPARE_LOGS[0]), far: Branch::new(SPARE_LOGS[1]), injected: 0 }
    }
}

impl Actor for FutureDater {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let wall = scene.now.wall;
        let mut frames = Vec::new();
        if scene.now.mono_ms < NEAR_UNTIL_MS {
            frames.push(op_frame(self.near.grow(scene, wall.after_ms(3 * BUCKET_MS), UNKNOWN_KIND, b"soon")));
        }
        let ahead_ms = DAY_MS.saturating_mul(1 + self.injected * self.injected);
        frames.push(op_frame(self.far.grow(scene, wall.after_ms(ahead_ms), UNKNOWN_KIND, b"one day")));
        self.injected += frames.len() as u64;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B06: dates prices into the past, within the window that answers look at, and operations behind the minute of the one before. It
/// hurts where a late statement changes what was answered, or where the past has no end. Declared minutes never fall along a log, for
/// anyone; and an answer about the past is bound to what was known, by its id.
pub(super) struct PastDater {
    late: Branch,
    injected: u64,
}

/// How old its prices are, in milliseconds: within the window.
const LATE_MS: u64 = 45_000;

impl Default for PastDater {
    fn default() -> Self {
        Self { late: Branch::new(SPARE_LOGS[0]), injected: 0 }
    }
}

impl Actor for PastDater {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.late.log >= LOGS_MAX || scene.peers.is_empty() {
            return Vec::new();
        }
        let before = |ms: u64| Time::from_ms(scene.now.wall.ms().saturating_sub(ms));
        let (late, fallen) = (before(LATE_MS), before(10 * BUCKET_MS));
        let stated = feed("BTC/USD").and_then(|feed| Attestation::new(feed, (7, 0), 1, 7, false).ok());
        let Some(payload) = stated.and_then(|stated| scene.batch(late, vec![stated])) else { return Vec::new() };
        let mut frames = vec![op_frame(self.late.grow(scene, late, KIND_PRICE_BATCH, &payload))];
        if self.late.ops.len() == LATE_OPS {
            // Nothing can follow it: the next prices go to the next log.
            frames.push(op_frame(&scene.op(self.late.end(), fallen, UNKNOWN_KIND, b"long ago")));
            self.late = Branch::new(self.late.log + 1);
        }
        self.injected += 1;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// Late prices in a log before one that falls behind its minute.
const LATE_OPS: usize = 10;

fn feed(name: &str) -> Option<Feed> {
    name.parse().ok()
}

/// B07: refers to operations that do not exist. It hurts where an operation waits for what it refers to: it would wait for ever, or
/// be asked for without end. References are hints and never a condition.
pub(super) struct GhostReferrer {
    branch: Branch,
    injected: u64,
}

impl Default for GhostReferrer {
    fn default() -> Self {
        Self { branch: Branch::new(SPARE_LOGS[0]), injected: 0 }
    }
}

impl Actor for GhostReferrer {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut header = scene.header(self.branch.end(), scene.now.wall, UNKNOWN_KIND);
        header.refs = (0..4).map(|_| OpId::from_bytes(scene.dice.bytes32())).collect();
        header.refs.sort_unstable();
        let op = Op::sign(header, b"as was said before", &scene.keys.author);
        let frame = op_frame(&op);
        self.branch.ops.push(op);
        self.injected += 1;
        scene.to_all(&[frame])
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B18: numbers at the ends of their types, in every frame and in prices: lengths, counts, credits, times, epochs, mantissas. It hurts
/// by overflow, and by memory that is given before it is earned. Every count is capped before anything is allocated, arithmetic is
/// checked, and numbers that no value may have are refused.
#[derive(Default)]
pub(super) struct Overflower {
    /// Its operations, each at a position of its own: they are signed once.
    ops: Vec<Vec<u8>>,
    injected: u64,
}

impl Actor for Overflower {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.ops.is_empty() {
            self.ops = greatest_ops(scene);
        }
        let frames = [self.ops.clone(), greatest_claims(), broken_counts()].concat();
        let at = usize::try_from(self.injected).unwrap_or(0) % frames.len();
        self.injected += 1;
        scene.to_all(&frames[at..=at])
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// The greatest and the least price, a price operation without a byte, and the last epoch of the last kind.
fn greatest_ops(scene: &Scene<'_>) -> Vec<Vec<u8>> {
    let declared = scene.now.wall;
    let stated = |name, number| Attestation::new(feed(name)?, number, u16::MAX, u16::MAX, false).ok();
    let extremes = [stated("BTC/USD", (u64::MAX >> 1, EXPO_MAX)), stated("ETH/USD", (1, EXPO_MIN))];
    let prices = scene.batch(declared, extremes.into_iter().flatten().collect()).unwrap_or_default();
    let first = |log: u8| (log, 0, OpId::ZERO);
    let mut epoch = scene.header(first(SPARE_LOGS[2]), declared, u16::MAX);
    epoch.epoch = u32::MAX;
    vec![
        op_frame(&scene.op(first(SPARE_LOGS[0]), declared, KIND_PRICE_BATCH, &prices)),
        op_frame(&scene.op(first(SPARE_LOGS[1]), declared, KIND_PRICE_BATCH, &[])),
        op_frame(&Op::sign(epoch, &[], &scene.keys.author)),
    ]
}

/// Frames in canonical form that claim the most.
fn greatest_claims() -> Vec<Vec<u8>> {
    let head = OpId::from_bytes([0xff; 32]);
    let longest = |author| Entry { author, log: LOGS_MAX - 1, len: u64::MAX, head, certified: u64::MAX };
    let wanted = |author| Wanted { author, log: LOGS_MAX - 1, seq: u64::MAX, id: head };
    let frontier = Frontier {
        entries: (0..4).map(longest).collect(),
        forked: vec![u16::MAX],
        double_voters: vec![0, u16::MAX],
        wanted: (0..4).map(wanted).collect(),
    };
    vec![
        Frame::Digest { now: LAST_TIME, digest: NO_DIGEST, ops: u64::MAX }.encode(),
        Frame::Digest { now: Time::from_ms(0), digest: NO_DIGEST, ops: 0 }.encode(),
        Frame::Pull { now: LAST_TIME, credit: u32::MAX, frontier }.encode(),
    ]
}

/// Frames with counts that nothing stands behind, and a tag that is none.
fn broken_counts() -> Vec<Vec<u8>> {
    let counted = |tag: u8, before: usize| [vec![tag], vec![0; before], vec![0xff; 8]].concat();
    // A pull's frontier after time and credit; an answer's proofs after time, digest and flag.
    vec![counted(3, 12), counted(4, 41), counted(0xff, 3)]
}

/// A04: the greatest position there is, and the greatest time. In the original a register was captured for ever by it. Here a position
/// far ahead waits in a bounded buffer and is not spread, the end of time does not come, and the author's own log goes on.
pub(super) struct LastNumber {
    endless: Branch,
    injected: u64,
}

impl Default for LastNumber {
    fn default() -> Self {
        Self { endless: Branch::new(SPARE_LOGS[1]), injected: 0 }
    }
}

impl Actor for LastNumber {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let (last, before) = (u64::MAX - self.injected, OpId::from_bytes(scene.dice.bytes32()));
        let last_seq =
            op_frame(&scene.op((SPARE_LOGS[0], last, before), scene.now.wall, UNKNOWN_KIND, b"the last one"));
        let last_time = op_frame(self.endless.grow(scene, LAST_TIME, UNKNOWN_KIND, b"the last day"));
        self.injected += 1;
        scene.to_all(&[last_seq, last_time])
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_with_nothing_behind_them_are_refused_and_the_greatest_claims_are_not() {
        assert!(broken_counts().iter().all(|frame| Frame::decode(frame).is_err()));
        assert!(greatest_claims().iter().all(|frame| Frame::decode(frame).is_ok()));
    }
}
