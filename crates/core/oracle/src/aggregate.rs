//! The network's answer for a feed: the canonical aggregate over a window of attestations, its guarantee, and who is far off.

use std::collections::BTreeMap;

use concurrence_crdt::{
    AuthorKey, Digest, Time,
    canary::{Canary, sings},
    hash,
};
use ruint::aliases::U256;

use crate::{
    Attestation, Cell, Cells, Epoch, Feed, Price, Slot, Strategy,
    diversity::vouched_sources,
    median::{Vote, admissible_interval, lower_weighted_median},
};

/// The answer for one feed as of one instant: a pure function of the cells, the registry epoch, the instant and the parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What is priced.
    pub feed: Feed,
    /// The lower weighted median of what counted; `None` when [`Status::Halted`].
    pub price: Option<Price>,
    /// Least and greatest price that any admissible subset of what counted would have given; `None` when halted.
    pub interval: Option<(Price, Price)>,
    /// What the answer is worth.
    pub status: Status,
    /// Why the status is not [`Status::Ok`]; empty if it is.
    pub shortfalls: Vec<Shortfall>,
    /// The instant the answer is for.
    pub as_of: Time,
    /// When the slot of the newest attestation that counted began.
    pub newest: Option<Time>,
    /// What counted, one attestation an oracle, ascending by author.
    pub counted: Vec<Counted>,
    /// Who did not count, and why; ascending by author. Every member is in one of the two lists.
    pub left_out: Vec<(AuthorKey, LeftOut)>,
    /// C: the capped weight of what counted.
    pub counted_weight: u64,
    /// W: the capped weight of all members, silent and forked ones included.
    pub total_weight: u64,
    /// Bitmap of the sources behind what counted.
    pub sources: u16,
    /// Whether the registry can tolerate a fault at all (four members or more).
    pub fault_tolerance: bool,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Within the honest answers while less than a third of the registry's weight is faulty.
    Ok,
    /// Something fresh counted, but too little or too far apart: shown without guarantee, never certified, never put on chain. The
    /// shortfalls say how little.
    Degraded,
    /// Was ok, and is older than the maximum age.
    Stale,
    /// No answer: nothing counted, or nothing fresh and too little for [`Status::Stale`].
    Halted,
}

/// One attestation that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose.
    pub author: AuthorKey,
    /// Of which slot.
    pub slot: Slot,
    /// Its price.
    pub price: Price,
    /// Capped weight of the author.
    pub weight: u64,
    /// Bitmap of its sources.
    pub sources: u16,
}

/// Why an oracle did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A member of which no statement about the feed in the window is held.
    Silent,
    /// It stated two different things in its newest slot, and nothing countable in another.
    Conflict,
    /// It doubts its newest price itself, and stated nothing countable in another slot.
    Doubtful,
    /// Not a member of the registry epoch.
    Stranger,
}

/// What an answer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// Not more than half of the weight counted.
    NoMajority,
    /// More than half of the weight counted, but not more than two thirds.
    NoQuorum,
    /// Fewer distinct sources than asked for.
    Sources {
        /// Distinct sources behind what counted that honest members are sure to have used; with [`Shortfall::NoQuorum`] or
        /// [`Shortfall::NoMajority`], those that anyone claims.
        have: u8,
        /// Sources asked for.
        need: u8,
    },
    /// The interval is wider than allowed.
    Width,
    /// The newest attestation that counted is older than the maximum age.
    Age {
        /// Its age in milliseconds.
        age_ms: u64,
    },
}

/// Parameters of the canonical aggregate. They are part of a result's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateParams {
    /// Length of the window before `as_of`, in milliseconds.
    pub window_ms: u64,
    /// Greatest age of the newest attestation for an answer that is not stale, in milliseconds. Below the window, else stale
    /// answers are halted ones.
    pub max_age_ms: u64,
    /// Distinct sources needed for `ok`.
    pub sources_min: u8,
    /// Greatest width of the interval for `ok`, in parts per million of the price.
    pub width_max_ppm: u32,
}

/// An attestation further from the network's answer than the rule allows. Anyone who holds the same cut derives the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Whose attestation.
    pub author: AuthorKey,
    /// About what.
    pub feed: Feed,
    /// Of which slot.
    pub slot: Slot,
    /// The attested price.
    pub price: Price,
    /// The answer it is compared with.
    pub reference: Price,
    /// Distance in parts per million of the answer.
    pub deviation_ppm: u64,
}

/// An attestation further than this from an `ok` answer is an outlier: the deployment guide's HighPriceDeviation, 0.05.
pub const OUTLIER_PPM: u64 = 50_000;

const RESULT_DOMAIN: &str = "concurrence v0 aggregate result";

impl Default for AggregateParams {
    /// A maximum age of 30 s (the guide's `max_price_age_seconds`), twice that as window, 3 sources (the guide's `min_sources`),
    /// and 2 %: in the recorded USDC de-peg the two USD markets were 0.58 % apart at most, so 2 % is out of honest reach.
    fn default() -> Self {
        Self { window_ms: 60_000, max_age_ms: 30_000, sources_min: 3, width_max_ppm: 20_000 }
    }
}

impl Status {
    /// The status in the words of the API: `ok`, `degraded`, `stale`, `halted`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Stale => "stale",
            Self::Halted => "halted",
        }
    }
}

/// The canonical aggregate: the lower weighted median over each member's newest countable attestation with the start of its slot
/// in (`as_of` - window, `as_of`]. A conflict and a doubtful price count as absent; an oracle counts once.
pub fn aggregate(cells: &Cells, epoch: &Epoch, feed: Feed, as_of: Time, params: &AggregateParams) -> Aggregate {
    let (newest, mut left_out) = newest_countable(cells, feed, as_of, params.window_ms);
    let committee = epoch.committee();
    let mut counted = Vec::new();
    for (author, (slot, attestation)) in newest {
        let weight = committee.weight(&author);
        if weight == 0 {
            left_out.insert(author, LeftOut::Stranger);
            continue;
        }
        left_out.remove(&author);
        counted.push(Counted { author, slot, price: attestation.price(), weight, sources: attestation.sources() });
    }
    if sings(Canary::Oracle1) {
        counted.extend(counted.first().copied());
    }
    for (author, _) in committee.members() {
        if counted.binary_search_by_key(&author, |c| c.author).is_err() {
            left_out.entry(author).or_insert(LeftOut::Silent);
        }
    }
    let left_out = left_out
        .into_iter()
        .map(|(author, why)| (author, if committee.weight(&author) == 0 { LeftOut::Stranger } else { why }));
    Aggregate {
        feed,
        price: None,
        interval: None,
        status: Status::Halted,
        shortfalls: Vec::new(),
        as_of,
        newest: counted.iter().map(|c| c.slot.start()).max(),
        left_out: left_out.collect(),
        counted_weight: counted.iter().map(|c| c.weight).sum(),
        total_weight: committee.total(),
        sources: counted.iter().fold(0, |union, c| union | c.sources),
        fault_tolerance: epoch.has_fault_tolerance(),
        counted,
    }
    .judged(params)
}

impl Aggregate {
    /// One price of what counted, by another strategy; `None` if nothing did.
    pub fn by(&self, strategy: Strategy) -> Option<Price> {
        strategy.price(&self.votes())
    }

    /// Milliseconds between the newest attestation that counted and `as_of`.
    pub fn age_ms(&self) -> Option<u64> {
        self.newest.map(|newest| self.as_of.since_ms(newest))
    }

    /// What counted, as votes.
    pub fn votes(&self) -> Vec<Vote> {
        self.counted.iter().map(|c| (c.price, c.weight)).collect()
    }

    /// What counted, as votes of other weights; whoever has none is absent.
    pub fn votes_by(&self, weights: &BTreeMap<AuthorKey, u64>) -> Vec<Vote> {
        self.counted.iter().filter_map(|c| Some((c.price, *weights.get(&c.author)?))).collect()
    }

    /// Least weight of the subsets of what counted over which the interval is taken: a quorum if one counted, else a majority, else
    /// anything, since any part of what counted could have been all that was heard.
    pub fn subset_weight(&self) -> u64 {
        let (counted, total) = (u128::from(self.counted_weight), u128::from(self.total_weight));
        match (3 * counted > 2 * total, 2 * counted > total) {
            (true, _) => quorum(self.total_weight),
            (false, true) => half(self.total_weight),
            (false, false) => 1,
        }
    }

    /// Fills in price, interval, status and shortfalls.
    fn judged(mut self, params: &AggregateParams) -> Self {
        let (counted, total) = (u128::from(self.counted_weight), u128::from(self.total_weight));
        let (quorate, majority) = (3 * counted > 2 * total, 2 * counted > total);
        let votes = self.votes();
        let (price, interval) = (lower_weighted_median(&votes), admissible_interval(&votes, self.subset_weight()));
        let price = if sings(Canary::Oracle2) { price.and_then(|p| p.plus(p).ok()) } else { price };
        let interval = if sings(Canary::Oracle3) { price.zip(price) } else { interval };
        let claims: Vec<_> = self.counted.iter().map(|c| (c.weight, c.sources)).collect();
        // Without a quorum nothing is guaranteed, and a third of all could not vouch for anything.
        let have = if quorate { vouched_sources(&claims, self.total_weight) } else { union_len(self.sources) };
        let age_ms = self.age_ms().unwrap_or(0);

        let lacks = [
            (!majority, Shortfall::NoMajority),
            (majority && !quorate, Shortfall::NoQuorum),
            (have < params.sources_min, Shortfall::Sources { have, need: params.sources_min }),
            (is_wide(price, interval, params.width_max_ppm), Shortfall::Width),
        ];
        self.shortfalls = lacks.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect();
        let old = age_ms > params.max_age_ms && !sings(Canary::Oracle4);
        self.status = match (old, self.shortfalls.is_empty()) {
            (false, true) => Status::Ok,
            (true, true) => Status::Stale,
            (false, false) if price.is_some() => Status::Degraded,
            _ => Status::Halted,
        };
        if old {
            self.shortfalls.push(Shortfall::Age { age_ms });
        }
        if self.status != Status::Halted {
            (self.price, self.interval) = (price, interval);
        }
        self
    }
}

/// Least weight that is more than two thirds of the total.
pub fn quorum(total: u64) -> u64 {
    u64::try_from(u128::from(total) * 2 / 3 + 1).unwrap_or(u64::MAX)
}

/// Which attestations are further than [`OUTLIER_PPM`] from the answer. Only an `ok` answer accuses anyone.
pub fn outliers(aggregate: &Aggregate) -> Vec<Anomaly> {
    let Some(reference) = aggregate.price.filter(|_| aggregate.status == Status::Ok) else { return Vec::new() };
    let far = |counted: &Counted| {
        let deviation_ppm = counted.price.deviation_ppm(reference)?;
        let &Counted { author, slot, price, .. } = counted;
        let anomaly = Anomaly { author, feed: aggregate.feed, slot, price, reference, deviation_ppm };
        (deviation_ppm > OUTLIER_PPM).then_some(anomaly)
    };
    aggregate.counted.iter().filter_map(far).collect()
}

/// The id of an answer: a hash of the cut it was computed from, the instant, the registry, and the parameters (of which the feed is
/// one). Whoever has the same four computes the same answer.
pub fn result_id(cut: Digest, as_of: Time, registry: Digest, feed: Feed, params: &AggregateParams) -> Digest {
    let mut bytes = Vec::new();
    bytes.extend(cut.as_bytes());
    bytes.extend(as_of.ms().to_be_bytes());
    bytes.extend(registry.as_bytes());
    bytes.extend(feed.as_bytes());
    bytes.extend(params.window_ms.to_be_bytes());
    bytes.extend(params.max_age_ms.to_be_bytes());
    bytes.push(params.sources_min);
    bytes.extend(params.width_max_ppm.to_be_bytes());
    hash(RESULT_DOMAIN, &bytes)
}

/// Each author's newest countable attestation in the window, and why others have none.
fn newest_countable(
    cells: &Cells,
    feed: Feed,
    as_of: Time,
    window_ms: u64,
) -> (BTreeMap<AuthorKey, (Slot, Attestation)>, BTreeMap<AuthorKey, LeftOut>) {
    let (mut newest, mut barred) = (BTreeMap::new(), BTreeMap::new());
    // Slots that begin after as_of - window, at most at as_of; a window that reaches the epoch takes slot 0 in.
    let first = as_of
        .ms()
        .checked_sub(window_ms)
        .map_or(Slot::from_number(0), |ms| Slot::from_number(Slot::of(Time::from_ms(ms)).number() + 1));
    for (author, cells) in cells.by_author(feed, first..=Slot::of(as_of)) {
        for (slot, cell) in cells {
            let why = match cell {
                Cell::Value(attestation) if !attestation.is_doubtful() => {
                    newest.insert(author, (slot, attestation));
                    break;
                }
                Cell::Value(_) => LeftOut::Doubtful,
                Cell::Conflict => LeftOut::Conflict,
            };
            barred.entry(author).or_insert(why);
        }
    }
    (newest, barred)
}

/// Least weight that is more than half of the total.
fn half(total: u64) -> u64 {
    total / 2 + 1
}

fn union_len(sources: u16) -> u8 {
    u8::try_from(sources.count_ones()).unwrap_or(u8::MAX)
}

fn is_wide(price: Option<Price>, interval: Option<(Price, Price)>, max_ppm: u32) -> bool {
    let (Some(price), Some((low, high))) = (price, interval) else { return false };
    let wide = U256::from(high.units().abs_diff(low.units())) * U256::from(1_000_000u32);
    wide > U256::from(price.units().unsigned_abs()) * U256::from(max_ppm)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Strategy, *};
    use crate::fixtures::{attests, author, btc_usd, doubts, epoch, whole};

    const AS_OF: Time = Time::from_ms(1_000_000);
    const NOW: u64 = 1_000;

    fn params() -> AggregateParams {
        AggregateParams { window_ms: 60_000, max_age_ms: 30_000, sources_min: 3, width_max_ppm: 20_000 }
    }

    fn cells(statements: &[(u8, u64, Attestation)]) -> Cells {
        let mut cells = Cells::tracking(BTreeSet::from([btc_usd()]));
        for &(who, slot, attestation) in statements {
            cells.join(author(who), Slot::from_number(slot), attestation);
        }
        cells
    }

    /// Oracle n states the n-th price in the newest slot.
    fn now(prices: &[u64]) -> Vec<(u8, u64, Attestation)> {
        (0u8..).zip(prices).map(|(n, &p)| (n, NOW, attests(p))).collect()
    }

    fn of(statements: &[(u8, u64, Attestation)], weights: &[u64]) -> Aggregate {
        aggregate(&cells(statements), &epoch(weights), btc_usd(), AS_OF, &params())
    }

    #[test]
    fn a_price_with_its_interval() {
        let answer = of(&now(&[100, 101, 102, 103, 104, 120]), &[1; 7]);
        assert_eq!((answer.status, answer.price), (Status::Ok, Some(whole(102))));
        assert_eq!(answer.interval, Some((whole(102), whole(103))));
        assert_eq!((answer.counted_weight, answer.total_weight, answer.sources), (6, 7, 0b111));
        assert_eq!(answer.left_out, [(author(6), LeftOut::Silent)]);
        assert_eq!(answer.newest, Some(AS_OF));
        assert!(answer.fault_tolerance);
    }

    #[test]
    fn statuses() {
        let status = |statements: &[(u8, u64, Attestation)], weights: &[u64]| {
            let answer = of(statements, weights);
            assert_eq!(answer.price.is_none(), answer.status == Status::Halted);
            assert_eq!(answer.price.is_none(), answer.interval.is_none());
            (answer.status, answer.shortfalls)
        };
        use Shortfall::{Age, NoMajority, NoQuorum, Sources, Width};
        let at = |slot: u64, prices: &[u64]| now(prices).into_iter().map(|(n, _, a)| (n, slot, a)).collect::<Vec<_>>();
        // More than two thirds of 6 is 5; of 7 it is 5 as well.
        assert_eq!(status(&now(&[100; 5]), &[1; 6]), (Status::Ok, vec![]));
        assert_eq!(status(&now(&[100; 4]), &[1; 6]), (Status::Degraded, vec![NoQuorum]));
        assert_eq!(status(&now(&[100; 3]), &[1; 6]), (Status::Degraded, vec![NoMajority]));
        assert_eq!(status(&now(&[100]), &[1; 6]).0, Status::Degraded);
        assert_eq!(status(&[], &[1; 6]).0, Status::Halted);
        let wide = now(&[100, 100, 100, 103, 103, 103, 103]);
        assert_eq!(status(&wide, &[1; 7]), (Status::Degraded, vec![Width]));
        let narrow: Vec<_> = now(&[100; 7])
            .into_iter()
            .map(|(n, slot, a)| {
                (n, slot, Attestation::new(btc_usd(), (a.mantissa(), a.expo()), 0, 0b11, false).unwrap())
            })
            .collect();
        assert_eq!(status(&narrow, &[1; 7]), (Status::Degraded, vec![Sources { have: 2, need: 3 }]));
        // Less than a third claims to have asked everyone: that is no source more.
        let all = Attestation::new(btc_usd(), (10_000_000_000, -8), 0, u16::MAX, false).unwrap();
        let boasting = [&narrow[..5], &[(5, NOW, all), (6, NOW, all)]].concat();
        assert_eq!(status(&boasting, &[1; 7]), (Status::Degraded, vec![Sources { have: 2, need: 3 }]));
        // 30 s is the greatest age, 60 s the window.
        assert_eq!(status(&at(970, &[100; 7]), &[1; 7]), (Status::Ok, vec![]));
        assert_eq!(status(&at(969, &[100; 7]), &[1; 7]), (Status::Stale, vec![Age { age_ms: 31_000 }]));
        assert_eq!(status(&at(969, &[100; 4]), &[1; 7]), (Status::Halted, vec![NoQuorum, Age { age_ms: 31_000 }]));
        assert_eq!(status(&at(941, &[100; 7]), &[1; 7]).0, Status::Stale);
        assert_eq!(status(&at(940, &[100; 7]), &[1; 7]).0, Status::Halted);
        assert_eq!(status(&at(1_001, &[100; 7]), &[1; 7]).0, Status::Halted);
        assert_eq!(Status::Stale.as_str(), "stale");
    }

    #[test]
    fn one_oracle_counts_once_with_its_newest() {
        let mut statements = now(&[100, 100, 100, 100]);
        statements.extend((950..1_000).map(|slot| (3, slot, attests(500))));
        let answer = of(&statements, &[1; 4]);
        assert_eq!((answer.counted.len(), answer.counted_weight, answer.price), (4, 4, Some(whole(100))));
        // A liar alone, however often, makes no majority, and the answer says so.
        let alone: Vec<_> = (950..=1_000).map(|slot| (3, slot, attests(500))).collect();
        let answer = of(&alone, &[1; 4]);
        assert_eq!((answer.status, answer.shortfalls), (Status::Degraded, vec![Shortfall::NoMajority]));
    }

    /// ORACLE-3: below a majority the interval spans all that counted, since any of it could have been all that was heard.
    #[test]
    fn a_minority_shows_how_far_apart_it_is() {
        let answer = of(&now(&[100, 101, 109]), &[1; 7]);
        assert_eq!((answer.status, answer.price), (Status::Degraded, Some(whole(101))));
        assert_eq!(answer.interval, Some((whole(100), whole(109))));
        assert_eq!(answer.shortfalls, [Shortfall::NoMajority, Shortfall::Width]);
    }

    #[test]
    fn conflicts_and_doubts_count_as_absent() {
        let mut statements = now(&[100, 100, 100, 100, 100]);
        statements.extend([(4, NOW, attests(101)), (5, NOW, doubts(100))]);
        let answer = of(&statements, &[1; 7]);
        assert_eq!(answer.counted_weight, 4);
        let why = [(author(4), LeftOut::Conflict), (author(5), LeftOut::Doubtful), (author(6), LeftOut::Silent)];
        assert_eq!(answer.left_out, why);
        // What they stated before stands in.
        statements.extend([(4, NOW - 1, attests(99)), (5, NOW - 2, attests(98))]);
        let answer = of(&statements, &[1; 7]);
        assert_eq!(answer.counted_weight, 6);
        assert_eq!(answer.counted[4].slot, Slot::from_number(NOW - 1));
        assert_eq!(answer.left_out, [(author(6), LeftOut::Silent)]);
    }

    #[test]
    fn strangers_do_not_count() {
        let statements = [now(&[100; 4]), vec![(77, NOW, attests(900)), (78, NOW, doubts(900))]].concat();
        let answer = of(&statements, &[1; 4]);
        assert_eq!(answer.counted_weight, 4);
        assert_eq!(answer.left_out, [(author(77), LeftOut::Stranger), (author(78), LeftOut::Stranger)]);
    }

    #[test]
    fn a_registry_under_four_says_so() {
        let answer = of(&now(&[100, 100, 100]), &[1; 3]);
        assert_eq!((answer.status, answer.fault_tolerance), (Status::Ok, false));
    }

    #[test]
    fn a19_weights_are_capped() {
        // The heavy one alone is no third: the four others outvote it.
        let answer = of(&now(&[100, 100, 100, 100, 500]), &[1, 1, 1, 1, 1_000]);
        assert_eq!((answer.price, answer.total_weight), (Some(whole(100)), 5));
    }

    #[test]
    fn only_an_ok_answer_accuses() {
        let named = |statements: &[(u8, u64, Attestation)], weights: &[u64]| {
            outliers(&of(statements, weights)).into_iter().map(|a| (a.author, a.deviation_ppm)).collect::<Vec<_>>()
        };
        let prices = [10_000, 10_000, 10_000, 10_500, 10_501, 9_499];
        assert_eq!(named(&now(&prices), &[1; 6]), [(author(4), 50_100), (author(5), 50_100)]);
        assert_eq!(named(&now(&prices), &[1; 9]), []);
        assert_eq!(named(&[], &[1; 4]), []);
    }

    #[test]
    fn strategies() {
        // Capped: 1, 1, 1, 2, 2.
        let answer = of(&now(&[100, 100, 106, 108, 110]), &[1, 1, 1, 9, 9]);
        assert_eq!(answer.by(Strategy::LowerMedian), Some(whole(106)));
        assert_eq!(answer.by(Strategy::Mean), Some(whole(106)));
        assert_eq!(answer.by(Strategy::LowerWeightedMedian), Some(whole(108)));
        assert_eq!(of(&[], &[1; 4]).by(Strategy::Mean), None);
    }

    #[test]
    fn a_result_id_covers_all_it_depends_on() {
        let digest = |n| Digest::from_bytes([n; 32]);
        let eth: Feed = "ETH/USD".parse().unwrap();
        let base = params();
        let ids = [
            result_id(digest(1), AS_OF, digest(2), btc_usd(), &base),
            result_id(digest(3), AS_OF, digest(2), btc_usd(), &base),
            result_id(digest(1), Time::from_ms(1), digest(2), btc_usd(), &base),
            result_id(digest(1), AS_OF, digest(3), btc_usd(), &base),
            result_id(digest(1), AS_OF, digest(2), eth, &base),
            result_id(digest(1), AS_OF, digest(2), btc_usd(), &AggregateParams { window_ms: 1, ..base }),
            result_id(digest(1), AS_OF, digest(2), btc_usd(), &AggregateParams { max_age_ms: 1, ..base }),
            result_id(digest(1), AS_OF, digest(2), btc_usd(), &AggregateParams { sources_min: 1, ..base }),
            result_id(digest(1), AS_OF, digest(2), btc_usd(), &AggregateParams { width_max_ppm: 1, ..base }),
        ];
        assert_eq!(ids.iter().map(|id| *id.as_bytes()).collect::<BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn instants_at_the_limits_of_time() {
        let cells = cells(&now(&[100; 4]));
        for (ms, window_ms) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (1_000_000, u64::MAX)] {
            let params = AggregateParams { window_ms, ..params() };
            let answer = aggregate(&cells, &epoch(&[1; 4]), btc_usd(), Time::from_ms(ms), &params);
            assert_eq!(answer.counted.len(), if ms >= 1_000_000 && window_ms > 0 { 4 } else { 0 }, "{ms} {window_ms}");
        }
    }

    proptest! {
        #[test]
        fn a3_an_ok_price_is_within_the_honest_ones(
            honest in prop::collection::vec(90u64..110, 5),
            lies in prop::collection::vec((1u64..1_000, 955u64..1_003, any::<bool>()), 0..12),
        ) {
            // Seven oracles; 5 and 6 say what they like, as often as they like.
            let mut statements = now(&honest);
            statements.extend(lies.iter().map(|&(p, slot, sixth)| (if sixth { 6 } else { 5 }, slot, attests(p))));
            let answer = aggregate(&cells(&statements), &epoch(&[1; 7]), btc_usd(), AS_OF, &AggregateParams { width_max_ppm: u32::MAX, ..params() });
            prop_assert_eq!(answer.status, Status::Ok);
            let (low, high) = answer.interval.unwrap();
            let hull = whole(*honest.iter().min().unwrap() as i64)..=whole(*honest.iter().max().unwrap() as i64);
            prop_assert!(hull.contains(&low) && hull.contains(&high) && hull.contains(&answer.price.unwrap()));
            prop_assert!((low..=high).contains(&answer.price.unwrap()));
            prop_assert_eq!(answer.counted.len() + answer.left_out.len(), 7);
        }

        #[test]
        fn a1_a2_equal_statements_equal_answers(all in prop::collection::vec((0u8..8, 930u64..1_005, 90u64..110), 0..40), seed: u64) {
            let statements: Vec<_> = all.iter().map(|&(who, slot, p)| (who, slot, attests(p))).collect();
            let mut other = [statements.clone(), statements.clone()].concat();
            other.sort_by_key(|&(who, slot, a)| (seed ^ (u64::from(who) << 40) ^ (slot << 20) ^ a.mantissa()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            prop_assert_eq!(of(&statements, &[1, 2, 3, 4, 5, 6, 7]), of(&other, &[1, 2, 3, 4, 5, 6, 7]));
        }
    }
}
