//! The way down from a certified head that the normal way does not lead to, until the counted chain is met.

use crate::{Certificate, History, LogKey, OpId, VerifiedOp};

/// Follows a chain from its certified head downwards. Each step is the operation whose hash the step before names: whoever hands it over,
/// it is the right one.
#[derive(Clone, Debug)]
pub struct Descent {
    certificate: Certificate,
    /// Ids of the operations passed, from the head downwards: 32 bytes an operation, as everything admitted costs.
    ids: Vec<OpId>,
    /// How many operations are below what was passed, and the id of the uppermost of these.
    below: (u64, OpId),
}

impl Descent {
    /// Stands above a certified head.
    pub fn new(certificate: Certificate) -> Self {
        let below = (certificate.head().len, certificate.head().id);
        Self { certificate, ids: Vec::new(), below }
    }

    /// Where it began.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Which log it follows.
    pub const fn log(&self) -> LogKey {
        self.certificate.head().log
    }

    /// Position and id of the next operation; `None` at the bottom of the log.
    pub fn wanted(&self) -> Option<(u64, OpId)> {
        self.below.0.checked_sub(1).map(|seq| (seq, self.below.1))
    }

    /// Passes the wanted operation; any other changes nothing. Returns whether it was the one.
    pub fn pass(&mut self, op: &VerifiedOp) -> bool {
        let (header, id) = (op.op().header(), op.op().id());
        if header.log != self.log() || self.wanted() != Some((header.seq, id)) {
            return false;
        }
        self.ids.push(id);
        self.below = (header.seq, header.prev);
        true
    }

    /// How many operations the chain shares with what is counted, once it has been followed down to there.
    pub fn met(&self, history: &History) -> Option<u64> {
        let ((len, id), log) = (self.below, self.log());
        if len > 0 && history.id_at(log, len - 1) != Some(id) {
            return None;
        }
        // Another way up the same chain may have come further meanwhile.
        let is_shared = |&seq: &u64| self.id_at(seq).is_some_and(|id| history.id_at(log, seq) == Some(id));
        Some((len..).find(|seq| !is_shared(seq)).unwrap_or(len))
    }

    /// The operation of the chain at a position, if it was passed.
    pub fn id_at(&self, seq: u64) -> Option<OpId> {
        let from_top = self.certificate.head().len.checked_sub(1)?.checked_sub(seq)?;
        self.ids.get(usize::try_from(from_top).ok()?).copied()
    }

    /// How many operations were passed.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has not moved yet.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
