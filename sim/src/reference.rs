//! The plain model: from a set of operations to what may be admitted and what must be answered, by the words of the specification
//! and with nothing of the core but its decoders and signature checks. Slow and obvious.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, LogKey, NetworkId, Op, OpId};
use concurrence_oracle::{Attestation, Domain, Feed, KIND_PRICE_BATCH, Member, PriceBatch};

/// All operations that honest nodes heard.
pub(crate) struct Reference {
    ops: BTreeMap<OpId, Op>,
    /// Authors with two headers at one position.
    pub(crate) forked: BTreeSet<AuthorKey>,
}

/// What the oracles of some logs stated, by feed, author and slot; two different statements are none.
pub(crate) struct Statements(BTreeMap<(Feed, AuthorKey), BTreeMap<u64, Option<Attestation>>>);

/// The model's answer for a feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReferenceAnswer {
    /// `ok`, `degraded`, `stale` or `halted`.
    pub(crate) status: &'static str,
    /// In units of 1e-18; nothing when halted.
    pub(crate) price: Option<i128>,
    /// Least and greatest median of any subset of more than two thirds of all (or of half, or of any, where so much did not count).
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

const MINUTE_MS: u64 = 60_000;
const OPS_A_MINUTE: usize = 240;
const BYTES_A_MINUTE: usize = 1_048_576;

impl Reference {
    pub(crate) fn new(ops: &BTreeMap<OpId, Arc<[u8]>>, network: NetworkId) -> Self {
        let decoded = ops.values().filter_map(|bytes| Op::decode(bytes, network).ok());
        let ops: BTreeMap<OpId, Op> = decoded.map(|op| (op.id(), op)).collect();
        let mut positions: BTreeMap<(LogKey, u64), usize> = BTreeMap::new();
        for op in ops.values() {
            *positions.entry((op.header().log, op.header().seq)).or_default() += 1;
        }
        let several = positions.into_iter().filter(|&(_, count)| count > 1);
        let forked = several.map(|((log, _), _)| log.author).collect();
        Self { ops, forked }
    }

    /// The chain of a log that ends with an operation, from its first one; why there is none, if there is none.
    pub(crate) fn chain(&self, log: LogKey, len: u64, head: OpId) -> Result<Vec<&Op>, String> {
        let mut chain = Vec::new();
        let mut next = head;
        for seq in (0..len).rev() {
            let op = self.ops.get(&next).ok_or_else(|| format!("{log:?} {seq}: {next:?} was never in the world"))?;
            if (op.header().log, op.header().seq) != (log, seq) {
                return Err(format!("{next:?} does not stand at {log:?} {seq}"));
            }
            next = op.header().prev;
            chain.push(op);
        }
        if next != OpId::ZERO {
            return Err(format!("{log:?} does not begin with nothing"));
        }
        chain.reverse();
        valid(&chain).map_err(|what| format!("{log:?}: {what}"))?;
        Ok(chain)
    }
}

/// The rules along a chain: declared minutes do not fall, and no minute holds too much.
fn valid(chain: &[&Op]) -> Result<(), String> {
    let (mut minute, mut ops, mut bytes) = (0, 0, 0);
    for op in chain {
        let (header, size) = (op.header(), op.bytes().len());
        let declared = header.declared.ms() / MINUTE_MS;
        if declared < minute || header.epoch != 0 {
            return Err(format!("{} may not follow", header.seq));
        }
        (ops, bytes) = if declared == minute { (ops + 1, bytes + size) } else { (1, size) };
        minute = declared;
        if ops > OPS_A_MINUTE || bytes > BYTES_A_MINUTE {
            return Err(format!("{} is over quota", header.seq));
        }
    }
    Ok(())
}

impl Statements {
    /// What admitted chains state, as far as it was declared since `since_ms` and the registered signer signed it.
    pub(crate) fn of<'a>(
        chains: impl Iterator<Item = &'a Op>,
        members: &[Member],
        domain: &Domain,
        since_ms: u64,
    ) -> Self {
        let mut statements: BTreeMap<(Feed, AuthorKey), BTreeMap<u64, Option<Attestation>>> = BTreeMap::new();
        for op in chains {
            let (header, author) = (op.header(), op.header().log.author);
            if header.kind != KIND_PRICE_BATCH || header.declared.ms() < since_ms {
                continue;
            }
            let Ok(batch) = PriceBatch::decode(op.payload()) else { continue };
            let signer = members.iter().find(|member| member.author == author).map(|member| member.evm);
            let is_signed = signer.is_some_and(|signer| batch.verify(domain, header.epoch, signer).is_ok());
            if batch.slot().number() != header.declared.ms() / 1_000 || !is_signed {
                continue;
            }
            for &stated in batch.attestations() {
                let slots = statements.entry((stated.feed(), author)).or_default();
                let cell = slots.entry(batch.slot().number()).or_insert(Some(stated));
                if *cell != Some(stated) {
                    *cell = None;
                }
            }
        }
        Self(statements)
    }

    /// The answer for a feed; every member has a weight of one.
    pub(crate) fn answer(&self, feed: Feed, as_of_ms: u64, params: &ReferenceParams) -> ReferenceAnswer {
        let mut newest: Vec<(AuthorKey, u64, Attestation)> = Vec::new();
        for ((_, author), slots) in self.0.iter().filter(|((of, _), _)| *of == feed) {
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

/// The lower median: the middle one of the sorted prices, of two in the middle the lower.
fn median(prices: &[i128]) -> Option<i128> {
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// The least and the greatest median of all subsets with at least so many members: that of the cheapest so many, and that of the
/// dearest so many. (More of either side moves the median towards the middle.)
fn extremes(prices: &[i128], least: usize) -> Option<(i128, i128)> {
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    let (cheapest, dearest) = (sorted.get(..least)?, sorted.get(sorted.len().checked_sub(least)?..)?);
    median(cheapest).zip(median(dearest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subset, one by one.
    fn extremes_by_listing(prices: &[i128], least: usize) -> Option<(i128, i128)> {
        let subset = |mask: u32| {
            (0..prices.len()).filter(move |at| mask >> at & 1 == 1).map(|at| prices[at]).collect::<Vec<_>>()
        };
        let medians = (0..1u32 << prices.len()).map(subset).filter(|s| s.len() >= least).filter_map(|s| median(&s));
        let medians: Vec<i128> = medians.collect();
        medians.iter().copied().min().zip(medians.iter().copied().max())
    }

    #[test]
    fn the_extremes_are_those_of_all_subsets() {
        for count in 0..9 {
            let prices: Vec<i128> = (0..count).map(|n: i128| n * 7 % 11 * (n % 3)).collect();
            for least in 1..=prices.len() + 1 {
                assert_eq!(extremes(&prices, least), extremes_by_listing(&prices, least), "{prices:?} {least}");
            }
        }
    }
}
