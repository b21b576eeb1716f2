//! An answer with everything it follows from: whoever knows the registry computes it again, and sees that nothing was left out.

use std::{cmp::Ordering, collections::BTreeSet};

use concurrence_crdt::{AuthorKey, Digest, ForkProof, LogKey, Time, VerifiedOp, frontier_digest};
use concurrence_oracle::{
    Aggregate, AggregateParams, Attestation, Cell, Feed, KIND_PRICE_BATCH, Registry, Slot, aggregate, result_id,
};

use crate::view::{FindingKind, View};

/// The inputs of one answer: of every log of a cut its end, as far back as the answer reaches, and the proofs against whoever forked.
///
/// A log's head commits to all before it, and declared minutes never fall along a log. So a run of operations up to the head that begins
/// before the window holds all that the log says in the window: whoever hides an operation changes the cut, and with it the result's id.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What is priced.
    pub feed: Feed,
    /// The instant of the answer.
    pub as_of: Time,
    /// Its parameters.
    pub params: AggregateParams,
    /// Of each log of the cut, ascending by log, its last operations, oldest first; none is empty.
    pub logs: Vec<Vec<VerifiedOp>>,
    /// Against each forked author, ascending; of their logs what was certified is in the cut.
    pub proofs: Vec<ForkProof>,
}

/// What follows from an explanation's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Digest of the cut.
    pub cut: Digest,
    /// Id of the result.
    pub result_id: Digest,
    /// The answer.
    pub answer: Aggregate,
    /// Everything said about the feed in the window, by log and position.
    pub statements: Vec<Statement>,
}

/// What one operation said about the feed within the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The operation.
    pub op: VerifiedOp,
    /// Its second.
    pub slot: Slot,
    /// The statement, and the hash of the legs it was made of; `None` if the operation cannot be read or says nothing of the feed.
    pub said: Option<(Attestation, Digest)>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is its author's price in the answer.
    Counted,
    /// Its author said something newer that counts.
    Superseded,
    /// Its author doubts it.
    Doubtful,
    /// Its author said something else in the same slot.
    Conflict,
    /// Its author is no member of the newest registry epoch.
    Stranger,
    /// The operation is no batch that counts.
    Unreadable(FindingKind),
}

/// Why an answer does not follow from these inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Underivable {
    /// A log has no operations, or the logs are not strictly ascending.
    #[error("the logs are not strictly ascending, or one has no operation")]
    Logs,
    /// Two neighbours are not consecutive operations of one log.
    #[error("{log} is not one chain at position {seq}")]
    Chain {
        /// The log.
        log: LogKey,
        /// Position of the second of them.
        seq: u64,
    },
    /// The log begins within the window, so that something before may have been left out.
    #[error("{log} begins at position {seq}, within the answer's window: what is before it may matter")]
    Short {
        /// The log.
        log: LogKey,
        /// Its first position here.
        seq: u64,
    },
    /// An author was no member of the epoch under which it wrote.
    #[error("{0} was no member of the registry epoch that its operation declares")]
    NoMember(AuthorKey),
    /// The proofs are not strictly ascending by author.
    #[error("the proofs of forks are not strictly ascending")]
    Proofs,
}

impl Fate {
    /// A short stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Superseded => "superseded",
            Self::Doubtful => "doubtful",
            Self::Conflict => "conflict",
            Self::Stranger => "stranger",
            Self::Unreadable(kind) => kind.name(),
        }
    }
}

impl Explanation {
    /// The first instant that is within the window.
    pub fn window_start(as_of: Time, params: &AggregateParams) -> Time {
        Time::from_ms(as_of.ms().saturating_sub(params.window_ms))
    }

    /// Computes the answer from its inputs.
    pub fn derive(&self, registry: &Registry) -> Result<Derived, Underivable> {
        let cut = self.cut(registry)?;
        let mut view = View::new(registry.clone(), BTreeSet::from([self.feed]), self.params);
        let within: Vec<&VerifiedOp> = self.logs.iter().flatten().filter(|op| self.is_within(op)).collect();
        within.iter().for_each(|op| view.admitted(op, self.as_of));
        let (_, epoch) = registry.newest();
        let answer = aggregate(view.cells(), epoch, self.feed, self.as_of, &self.params);
        let statements = within.into_iter().filter_map(|op| self.statement(op, &view, &answer)).collect();
        let result_id = result_id(cut, self.as_of, registry.digest(), self.feed, &self.params);
        Ok(Derived { cut, result_id, answer, statements })
    }

    /// Checks that the logs are chains that reach back far enough; the digest of their ends.
    fn cut(&self, registry: &Registry) -> Result<Digest, Underivable> {
        let mut ends = Vec::with_capacity(self.logs.len());
        for ops in &self.logs {
            let (Some(first), Some(last)) = (ops.first(), ops.last()) else { return Err(Underivable::Logs) };
            let (log, seq) = (first.op().header().log, first.op().header().seq);
            let start = Self::window_start(self.as_of, &self.params);
            if seq > 0 && first.op().header().declared.bucket() >= start.bucket() {
                return Err(Underivable::Short { log, seq });
            }
            for pair in ops.windows(2) {
                check_link(&pair[0], &pair[1])?;
            }
            for op in ops {
                let header = op.op().header();
                let member = registry.epoch(header.epoch).and_then(|epoch| epoch.member(&log.author));
                member.ok_or(Underivable::NoMember(log.author))?;
            }
            ends.push((log, last.op().header().seq.saturating_add(1), last.op().id()));
        }
        if !ends.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Underivable::Logs);
        }
        let forked: Vec<AuthorKey> = self.proofs.iter().map(ForkProof::author).collect();
        if !forked.is_sorted_by(|a, b| a < b) {
            return Err(Underivable::Proofs);
        }
        Ok(frontier_digest(ends.into_iter(), forked.into_iter()))
    }

    /// Whether what an operation says can be within the window: as the aggregate has it, by the start of its slot.
    fn is_within(&self, op: &VerifiedOp) -> bool {
        let header = op.op().header();
        let begun = Slot::of(header.declared).start();
        let first = self.as_of.ms().checked_sub(self.params.window_ms);
        header.kind == KIND_PRICE_BATCH && begun <= self.as_of && first.is_none_or(|first| begun.ms() > first)
    }

    fn statement(&self, op: &VerifiedOp, view: &View, answer: &Aggregate) -> Option<Statement> {
        let (author, slot) = (op.op().header().log.author, Slot::of(op.op().header().declared));
        let batch = match view.read(op) {
            Ok(batch) => batch,
            Err(kind) => return Some(Statement { op: op.clone(), slot, said: None, fate: Fate::Unreadable(kind) }),
        };
        let attestation = *batch.attestations().iter().find(|a| a.feed() == self.feed)?;
        let is_member = view.registry().newest().1.member(&author).is_some();
        let counted = answer.counted.iter().find(|c| c.author == author).map(|c| c.slot.cmp(&slot));
        let fate = match (view.cells().cell(self.feed, slot, &author), counted) {
            _ if !is_member => Fate::Stranger,
            (Some(Cell::Conflict), _) => Fate::Conflict,
            (_, Some(Ordering::Equal)) => Fate::Counted,
            _ if attestation.is_doubtful() => Fate::Doubtful,
            _ => Fate::Superseded,
        };
        Some(Statement { op: op.clone(), slot, said: Some((attestation, batch.legs_hash())), fate })
    }
}

fn check_link(before: &VerifiedOp, after: &VerifiedOp) -> Result<(), Underivable> {
    let (earlier, later) = (before.op().header(), after.op().header());
    let follows = later.log == earlier.log
        && Some(later.seq) == earlier.seq.checked_add(1)
        && later.prev == before.op().id()
        && later.declared.bucket() >= earlier.declared.bucket();
    if follows { Ok(()) } else { Err(Underivable::Chain { log: later.log, seq: later.seq }) }
}
