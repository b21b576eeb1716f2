//! What the admitted operations say: the cells of recent slots, the network's answers, and who is far off.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, Digest, DoubleVote, LogKey, OpId, Time, VerifiedOp};
use concurrence_oracle::{
    Aggregate, AggregateParams, Anomaly, BatchError, Cells, Domain, Feed, KIND_PRICE_BATCH, PriceBatch, Registry, Slot,
    aggregate, outliers, result_id,
};

/// The oracle's side of a node: fed with admitted operations, asked for answers. Everything it says is a function of the cut,
/// the instant, the registry and the parameters.
pub struct View {
    registry: Registry,
    registry_digest: Digest,
    domain: Domain,
    params: AggregateParams,
    cells: Cells,
    findings: BTreeMap<(FindingKind, AuthorKey, Option<Feed>), Finding>,
    last_slots: BTreeMap<AuthorKey, Slot>,
    /// The batches that cells were made of, as long as these are kept: of a forked author some of them stay.
    batches: BTreeMap<LogKey, BTreeMap<u64, PriceBatch>>,
    /// How much of each log is certified.
    certified: BTreeMap<LogKey, u64>,
}

/// An answer with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub aggregate: Aggregate,
    /// Hash of cut, instant, registry and parameters.
    pub result_id: Digest,
    /// The frontier's digest that the answer is for.
    pub cut: Digest,
    /// Whether all that counted is below certified heads: no fork that is proven later changes it.
    pub is_certified: bool,
}

/// What an author was found to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Signed two headers for one position.
    Fork,
    /// Attested a price further from an `ok` answer than the rule allows.
    Outlier,
    /// Wrote a price operation whose payload is no price batch.
    BadPayload,
    /// Wrote a price batch that its registered EVM signer did not sign.
    BadSignature,
    /// Wrote a price batch for another slot than the operation's own.
    WrongSlot,
    /// Stated two prices for one feed in one slot.
    Conflict,
    /// Signed two heads at one length of a log.
    DoubleVote,
}

/// A finding: the first and last time, how often, and the newest evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Who.
    pub author: AuthorKey,
    /// About which feed, where it is about one.
    pub feed: Option<Feed>,
    /// When it was first found here.
    pub first: Time,
    /// When it was last found here.
    pub last: Time,
    /// How often.
    pub count: u64,
    /// The newest evidence.
    pub evidence: Evidence,
}

/// What anyone can check a finding by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The ids of the two headers, by ascending id.
    Fork(OpId, OpId),
    /// The two heads, by ascending id.
    DoubleVote(OpId, OpId),
    /// The attestation and the answer it is far from.
    Outlier(Anomaly),
    /// The operation.
    Op(OpId),
}

impl Evidence {
    fn is_same_offence(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Outlier(a), Self::Outlier(b)) => a.slot == b.slot,
            _ => self == other,
        }
    }
}

/// How long cells are kept behind the clock, in milliseconds: five windows of the default minute, so that answers of the recent
/// past can still be recomputed.
pub const CELLS_KEPT_MS: u64 = 300_000;

impl FindingKind {
    /// A short stable name, as the API and metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Outlier => "outlier",
            Self::BadPayload => "bad_payload",
            Self::BadSignature => "bad_signature",
            Self::WrongSlot => "wrong_slot",
            Self::Conflict => "conflict",
            Self::DoubleVote => "double_vote",
        }
    }
}

impl View {
    /// A view of some feeds.
    pub fn new(registry: Registry, feeds: BTreeSet<Feed>, params: AggregateParams) -> Self {
        Self {
            registry_digest: registry.digest(),
            domain: Domain::of(&registry.network_id()),
            cells: Cells::tracking(feeds),
            findings: BTreeMap::new(),
            last_slots: BTreeMap::new(),
            batches: BTreeMap::new(),
            certified: BTreeMap::new(),
            registry,
            params,
        }
    }

    /// Takes an admitted operation. Payloads never decide validity: one that is no price batch is a finding and counts for nothing.
    pub fn admitted(&mut self, op: &VerifiedOp, now: Time) {
        let (header, id) = (op.op().header(), op.op().id());
        if header.kind != KIND_PRICE_BATCH {
            return;
        }
        let author = header.log.author;
        let batch = match self.read(op) {
            Ok(batch) => batch,
            Err(kind) => return self.find(kind, author, None, now, Evidence::Op(id)),
        };
        let last = self.last_slots.entry(author).or_default();
        *last = (*last).max(batch.slot());
        if self.cells.join_batch(author, &batch) > 0 {
            self.find(FindingKind::Conflict, author, None, now, Evidence::Op(id));
        }
        self.batches.entry(header.log).or_default().insert(header.seq, batch);
    }

    /// A price operation's batch, if it counts: canonical, of the operation's own slot, signed by the registered signer.
    pub fn read(&self, op: &VerifiedOp) -> Result<PriceBatch, FindingKind> {
        let header = op.op().header();
        let batch = PriceBatch::decode(op.op().payload()).map_err(|error| match error {
            BatchError::Signature { .. } => FindingKind::BadSignature,
            _ => FindingKind::BadPayload,
        })?;
        if batch.slot() != Slot::of(header.declared) {
            return Err(FindingKind::WrongSlot);
        }
        // The operation is valid, so its author is a member of the epoch it declares.
        let member = self.registry.epoch(header.epoch).and_then(|epoch| epoch.member(&header.log.author));
        let registered = member.ok_or(FindingKind::BadSignature)?.evm;
        batch.verify(&self.domain, header.epoch, registered).map_err(|_| FindingKind::BadSignature)?;
        Ok(batch)
    }

    /// An author is proven forked.
    pub fn forked(&mut self, author: AuthorKey, headers: (OpId, OpId), now: Time) {
        self.find(FindingKind::Fork, author, None, now, Evidence::Fork(headers.0, headers.1));
    }

    /// A member is proven to have voted twice.
    pub fn voted_twice(&mut self, proof: &DoubleVote, now: Time) {
        let (low, high) = proof.votes();
        let evidence = Evidence::DoubleVote(low.head.id, high.head.id);
        self.find(FindingKind::DoubleVote, proof.voter(), None, now, evidence);
    }

    /// So much of a log is certified.
    pub fn certified(&mut self, log: LogKey, len: u64) {
        self.certified.insert(log, len);
    }

    /// Less of an author's logs counts than before: what it stated beyond goes. `lens` says how many operations of a log count, and how many
    /// are certified.
    pub fn recount(&mut self, author: AuthorKey, lens: impl Fn(LogKey) -> (u64, u64)) {
        self.cells.remove_author(&author);
        let first = LogKey { author, index: 0 };
        for (&log, batches) in self.batches.range_mut(first..=LogKey { author, index: u8::MAX }) {
            let (len, certified) = lens(log);
            batches.retain(|&seq, _| seq < len);
            self.certified.insert(log, certified);
            for batch in batches.values() {
                self.cells.join_batch(author, batch);
            }
        }
    }

    /// The answers to all feeds as of an instant, from the present cells; `cut` is the frontier's digest.
    pub fn answers(&self, cut: Digest, as_of: Time) -> Vec<Answer> {
        let (_, epoch) = self.registry.newest();
        let answer = |feed| {
            let aggregate = aggregate(&self.cells, epoch, feed, as_of, &self.params);
            let counted = aggregate.counted.iter();
            let is_certified = counted.len() > 0 && counted.clone().all(|c| self.is_certified(c.author, c.slot));
            let result_id = result_id(cut, as_of, self.registry_digest, feed, &self.params);
            Answer { aggregate, result_id, cut, is_certified }
        };
        self.cells.tracked().map(answer).collect()
    }

    /// Whether what an author stated in a slot is below a certified head.
    fn is_certified(&self, author: AuthorKey, slot: Slot) -> bool {
        let logs = self.batches.range(LogKey { author, index: 0 }..=LogKey { author, index: u8::MAX });
        logs.into_iter().any(|(log, batches)| {
            let certified = self.certified.get(log).copied().unwrap_or(0);
            batches.range(..certified).any(|(_, batch)| batch.slot() == slot)
        })
    }

    /// Looks for outliers in answers.
    pub fn inspect(&mut self, answers: &[Answer], now: Time) {
        for anomaly in answers.iter().flat_map(|answer| outliers(&answer.aggregate)) {
            self.find(FindingKind::Outlier, anomaly.author, Some(anomaly.feed), now, Evidence::Outlier(anomaly));
        }
    }

    /// Forgets what is too old: by the clock, but not by more than what was stated since. A clock that was set far ahead for a while
    /// must not make a node blind until that time has come.
    pub fn forget_old(&mut self, now: Time) {
        let newest = self.last_slots.values().max().map_or(Time::from_ms(0), |slot| slot.start());
        let floor = Slot::of(Time::from_ms(now.min(newest).ms().saturating_sub(CELLS_KEPT_MS)));
        self.cells.drop_below(floor);
        for batches in self.batches.values_mut() {
            batches.retain(|_, batch| batch.slot() >= floor);
        }
    }

    /// All findings. Bounded: kinds x members x feeds.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values()
    }

    /// The newest slot of each author's admitted batches.
    pub fn last_slot(&self, author: &AuthorKey) -> Option<Slot> {
        self.last_slots.get(author).copied()
    }

    /// The cells of recent slots.
    pub const fn cells(&self) -> &Cells {
        &self.cells
    }

    /// The registry.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The EIP-712 domain of the network.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The parameters of the answers.
    pub const fn params(&self) -> &AggregateParams {
        &self.params
    }

    fn find(&mut self, kind: FindingKind, author: AuthorKey, feed: Option<Feed>, now: Time, evidence: Evidence) {
        let finding = self.findings.entry((kind, author, feed)).or_insert_with(|| Finding {
            kind,
            author,
            feed,
            first: now,
            last: now,
            count: 0,
            evidence: evidence.clone(),
        });
        // The same attestation seen again in a later look is not another offence.
        if finding.count == 0 || !finding.evidence.is_same_offence(&evidence) {
            finding.count += 1;
            finding.last = now;
            finding.evidence = evidence;
        }
    }
}
