//! Verified operations that cannot be admitted yet: ahead of their log, or ahead of the clock. Bounded; what falls out is
//! fetched again by sync.

use std::collections::BTreeMap;

use concurrence_crdt::{
    AuthorKey, Bucket, LogKey, OpId, VerifiedOp,
    canary::{Canary, sings},
};

/// Most waiting operations of one author: a few seconds of an author at quota.
pub const WAITING_OPS_MAX: usize = 64;

/// Most waiting bytes of one author.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Waiting operations, by log, position and id.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    ops: BTreeMap<(LogKey, u64, OpId), VerifiedOp>,
    used: BTreeMap<AuthorKey, Used>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    ops: usize,
    bytes: usize,
}

impl Waiting {
    /// Keeps an operation; if its author's share is full the one furthest from its log's start goes, which may be this one.
    pub fn keep(&mut self, op: VerifiedOp) {
        let (log, seq, id) = key_of(&op);
        if self.ops.contains_key(&(log, seq, id)) {
            return;
        }
        let used = self.used.entry(log.author).or_default();
        used.ops += 1;
        used.bytes += op.op().bytes().len();
        self.ops.insert((log, seq, id), op);
        while self.is_over(log.author) && !sings(Canary::Sync4) {
            let all = first_of(log.author)..=last_of(log.author);
            let Some(&furthest) = self.ops.range(all).map(|(key, _)| key).max_by_key(|key| (key.1, *key)) else {
                return;
            };
            self.remove(furthest);
        }
    }

    /// Other operations at a position.
    pub fn at(&self, log: LogKey, seq: u64) -> impl Iterator<Item = &VerifiedOp> {
        self.ops.range((log, seq, LOW)..=(log, seq, HIGH)).map(|(_, op)| op)
    }

    /// Takes out an operation that follows `prev` at `seq`.
    pub fn take_next(&mut self, log: LogKey, seq: u64, prev: OpId) -> Option<VerifiedOp> {
        let key = self.at(log, seq).find(|op| op.op().header().prev == prev).map(key_of)?;
        self.remove(key)
    }

    /// Takes out all operations whose minute is at most `bucket`.
    pub fn take_due(&mut self, bucket: Bucket) -> Vec<VerifiedOp> {
        let due = self.ops.iter().filter(|(_, op)| op.op().header().declared.bucket() <= bucket);
        let due: Vec<_> = due.map(|(&key, _)| key).collect();
        due.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Forgets an author's operations.
    pub fn drop_author(&mut self, author: AuthorKey) {
        let gone: Vec<_> = self.ops.range(first_of(author)..=last_of(author)).map(|(&key, _)| key).collect();
        gone.into_iter().for_each(|key| drop(self.remove(key)));
    }

    /// Forgets operations of a log below a position: they were admitted, or lost to others.
    pub fn drop_below(&mut self, log: LogKey, seq: u64) {
        let gone: Vec<_> = self.ops.range((log, 0, LOW)..(log, seq, LOW)).map(|(&key, _)| key).collect();
        gone.into_iter().for_each(|key| drop(self.remove(key)));
    }

    /// Whether this very operation waits: another copy of it is not worth a signature check.
    pub fn contains(&self, log: LogKey, seq: u64, id: OpId) -> bool {
        self.ops.contains_key(&(log, seq, id))
    }

    /// Whether any operation of an author waits.
    pub fn has_any_of(&self, author: AuthorKey) -> bool {
        self.used.contains_key(&author)
    }

    /// Checks that no author is over its share, and that the shares add up (SYNC-4).
    pub fn check_invariants(&self) {
        for (&author, used) in &self.used {
            let ops: Vec<_> = self.ops.range(first_of(author)..=last_of(author)).map(|(_, op)| op).collect();
            let bytes: usize = ops.iter().map(|op| op.op().bytes().len()).sum();
            assert_eq!((used.ops, used.bytes), (ops.len(), bytes), "SYNC-4: share of {author:?}");
            assert!(!self.is_over(author), "SYNC-4: {author:?} is over its share");
        }
        assert_eq!(self.used.values().map(|u| u.ops).sum::<usize>(), self.ops.len(), "SYNC-4: shares");
    }

    /// How many operations wait.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    fn is_over(&self, author: AuthorKey) -> bool {
        self.used.get(&author).is_some_and(|u| u.ops > WAITING_OPS_MAX || u.bytes > WAITING_BYTES_MAX)
    }

    fn remove(&mut self, key: (LogKey, u64, OpId)) -> Option<VerifiedOp> {
        let op = self.ops.remove(&key)?;
        if let Some(used) = self.used.get_mut(&key.0.author) {
            used.ops -= 1;
            used.bytes -= op.op().bytes().len();
            if used.ops == 0 {
                self.used.remove(&key.0.author);
            }
        }
        Some(op)
    }
}

const LOW: OpId = OpId::from_bytes([0; 32]);
const HIGH: OpId = OpId::from_bytes([0xff; 32]);

fn first_of(author: AuthorKey) -> (LogKey, u64, OpId) {
    (LogKey { author, index: 0 }, 0, LOW)
}

fn last_of(author: AuthorKey) -> (LogKey, u64, OpId) {
    (LogKey { author, index: u8::MAX }, u64::MAX, HIGH)
}

fn key_of(op: &VerifiedOp) -> (LogKey, u64, OpId) {
    (op.op().header().log, op.op().header().seq, op.op().id())
}
