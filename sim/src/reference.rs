//! The plain model: from a set of operations to what must be admitted and answered, by the words of the specification and with
//! nothing of the core but its decoders. Slow and obvious.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, LogKey, NetworkId, Op, OpId};
use concurrence_oracle::{Attestation, Feed, KIND_PRICE_BATCH, PriceBatch};

/// What the model makes of a set of operations.
pub(crate) struct Reference {
    /// Admitted operations of each log, in order.
    pub(crate) logs: BTreeMap<LogKey, Vec<Op>>,
    /// Authors with two headers at one position.
    pub(crate) forked: BTreeSet<AuthorKey>,
    /// Everything admitted oracles stated, by feed, author and slot; two different statements are none.
    statements: BTreeMap<(Feed, AuthorKey), BTreeMap<u64, Option<Attestation>>>,
}

/// The model's answer for a feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReferenceAnswer {
    /// `ok`, `degraded`, `stale` or `halted`.
    pub(crate) status: &'static str,
    /// In units of 1e-18; nothing when halted.
    pub(crate) price: Option<i128>,
    /// Least and greatest median of any subset of more than two thirds (or half) of all.
    pub(crate) interval: Option<(i128, i128)>,
    /// Who counted.
    pub(crate) counted: Vec<AuthorKey>,
}

/// Parameters of the answers, as numbers.
pub(crate) struct ReferenceParams {
    pub(crate) members: usize,
    pub(crate) window_ms: u64,
    pub(crate) max_age_ms: u64,
    pub(crate) sources_min: u32,
    pub(crate) width_max_ppm: i128,
}

/// Subsets are listed one by one; 2^12 of them are still few.
const MEMBERS_MAX: usize = 12;

impl Reference {
    pub(crate) fn new(ops: &BTreeMap<OpId, Arc<[u8]>>, network: NetworkId) -> Self {
        let ops: Vec<Op> = ops.values().filter_map(|bytes| Op::decode(bytes, network).ok()).collect();
        let mut positions: BTreeMap<(LogKey, u64), Vec<&Op>> = BTreeMap::new();
        for op in &ops {
            positions.entry((op.header().log, op.header().seq)).or_default().push(op);
        }
        let several = positions.iter().filter(|(_, ops)| ops.len() > 1);
        let forked: BTreeSet<AuthorKey> = several.map(|((log, _), _)| log.author).collect();

        let mut logs: BTreeMap<LogKey, Vec<Op>> = BTreeMap::new();
        // Ascending by log and position: each operation either follows directly or nothing more of its log counts.
        for ((log, seq), ops) in positions.iter().filter(|((log, _), _)| !forked.contains(&log.author)) {
            let chain = logs.entry(*log).or_default();
            let head = chain.last().map_or(OpId::ZERO, Op::id);
            if chain.len() as u64 == *seq && ops[0].header().prev == head {
                chain.push(ops[0].clone());
            }
        }
        logs.retain(|_, chain| !chain.is_empty());
        let statements = statements(&logs);
        Self { logs, forked, statements }
    }

    /// Who is a member does not matter here: every author of a scenario is one, with a weight of one.
    pub(crate) fn answer(&self, feed: Feed, as_of_ms: u64, params: &ReferenceParams) -> ReferenceAnswer {
        let mut newest: Vec<(AuthorKey, u64, Attestation)> = Vec::new();
        for ((_, author), slots) in self.statements.iter().filter(|((of, _), _)| *of == feed) {
            let in_window = |slot: u64| slot * 1_000 <= as_of_ms && slot * 1_000 + params.window_ms > as_of_ms;
            let countable = slots.iter().filter_map(|(&slot, stated)| stated.map(|stated| (slot, stated)));
            let countable = countable.filter(|&(slot, stated)| in_window(slot) && !stated.is_doubtful());
            if let Some((slot, stated)) = countable.max_by_key(|&(slot, _)| slot) {
                newest.push((*author, slot, stated));
            }
        }
        let prices: Vec<i128> = newest.iter().map(|(_, _, stated)| stated.price().units()).collect();
        let (counted, total) = (prices.len(), params.members);
        let sources = newest.iter().fold(0u16, |all, (_, _, stated)| all | stated.sources()).count_ones();
        let is_quorate = 3 * counted > 2 * total;
        let needed = match (is_quorate, 2 * counted > total) {
            (true, _) => 2 * total / 3 + 1,
            (false, true) => total / 2 + 1,
            (false, false) => 1,
        };
        let (price, interval) = (median(&prices), extremes(&prices, needed));
        let is_wide = price.zip(interval).is_some_and(|(price, (low, high))| {
            (high - low) / 1_000 * 1_000_000 > price / 1_000 * params.width_max_ppm
        });
        let age_ms = as_of_ms - newest.iter().map(|&(_, slot, _)| slot * 1_000).max().unwrap_or(as_of_ms);
        let is_good = is_quorate && sources >= params.sources_min && !is_wide;
        let status = match (age_ms <= params.max_age_ms, is_good) {
            (true, true) => "ok",
            (false, true) => "stale",
            (true, false) if counted > 0 => "degraded",
            _ => "halted",
        };
        let shown = status != "halted";
        ReferenceAnswer {
            status,
            price: price.filter(|_| shown),
            interval: interval.filter(|_| shown),
            counted: newest.iter().map(|&(author, _, _)| author).collect(),
        }
    }
}

fn statements(logs: &BTreeMap<LogKey, Vec<Op>>) -> BTreeMap<(Feed, AuthorKey), BTreeMap<u64, Option<Attestation>>> {
    let mut statements: BTreeMap<(Feed, AuthorKey), BTreeMap<u64, Option<Attestation>>> = BTreeMap::new();
    for op in logs.values().flatten().filter(|op| op.header().kind == KIND_PRICE_BATCH) {
        let Ok(batch) = PriceBatch::decode(op.payload()) else { continue };
        if batch.slot().number() != op.header().declared.ms() / 1_000 {
            continue;
        }
        for &stated in batch.attestations() {
            let slots = statements.entry((stated.feed(), op.header().log.author)).or_default();
            let cell = slots.entry(batch.slot().number()).or_insert(Some(stated));
            if *cell != Some(stated) {
                *cell = None;
            }
        }
    }
    statements
}

/// The lower median: the middle one of the sorted prices, of two in the middle the lower.
fn median(prices: &[i128]) -> Option<i128> {
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// The least and the greatest median of all subsets with at least so many members.
fn extremes(prices: &[i128], least: usize) -> Option<(i128, i128)> {
    let prices = &prices[..prices.len().min(MEMBERS_MAX)];
    let subset = |mask: u32| (0..prices.len()).filter(move |at| mask >> at & 1 == 1).map(|at| prices[at]).collect();
    let subsets = (0..1u32 << prices.len()).map(subset).filter(|subset: &Vec<i128>| subset.len() >= least.max(1));
    let medians: Vec<i128> = subsets.filter_map(|subset| median(&subset)).collect();
    medians.iter().copied().min().zip(medians.iter().copied().max())
}
