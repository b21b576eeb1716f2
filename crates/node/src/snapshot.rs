//! What the node shows: counts what happens, remembers the recent past, and makes snapshots for the API.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use concurrence_api as dto;
use concurrence_crdt::{AuthorKey, OpId, Time, VerifiedOp};
use concurrence_engine::{Answer, Engine, Event, Evidence, Finding, View};
use concurrence_net::{Busy, RefusalReason};
use concurrence_oracle::{
    Attestation, EvmSignature, Feed, KIND_PRICE_BATCH, LeftOut, Observation, Price, PriceBatch, PriceGroup, Shortfall,
    Slot, Status, Verdict,
};
use concurrence_protocol::{Ban, CannotAppend, Now};
use concurrence_sources::BreakerState;
use concurrence_store::Store;

use crate::{config::Unsupported, peers::Peers, reload::Reload, watch::Seen};

/// Keeps what snapshots need beside the engine's own state.
pub(crate) struct Scribe {
    pub(crate) node: dto::NodeView,
    /// Names of sources, by network-wide index.
    pub(crate) source_names: BTreeMap<u8, String>,
    pub(crate) sources: Vec<Seen>,
    pub(crate) unsupported: Vec<Unsupported>,
    pub(crate) sources_min: u8,
    pub(crate) expos: BTreeMap<Feed, i8>,
    recent: BTreeMap<(Slot, AuthorKey, Feed), Arc<dto::AttestationView>>,
    newest: VecDeque<Arc<dto::AttestationView>>,
    history: BTreeMap<Feed, Arc<Vec<dto::HistoryPoint>>>,
    forked: BTreeSet<AuthorKey>,
    counters: dto::Counters,
    seq: u64,
}

/// Slots of which signed payloads are kept for the answers: above the longest usual window.
const RECENT_SLOTS: u64 = 300;

/// Time between two points of a feed's history, in milliseconds.
const HISTORY_STEP_MS: u64 = 1_000;

impl Scribe {
    pub(crate) fn new(node: dto::NodeView, source_names: BTreeMap<u8, String>) -> Self {
        Self {
            node,
            source_names,
            sources: Vec::new(),
            unsupported: Vec::new(),
            sources_min: 0,
            expos: BTreeMap::new(),
            recent: BTreeMap::new(),
            newest: VecDeque::new(),
            history: BTreeMap::new(),
            forked: BTreeSet::new(),
            counters: dto::Counters::default(),
            seq: 0,
        }
    }

    /// Counts an event; keeps what admitted operations said.
    pub(crate) fn event(&mut self, event: &Event, now: Time, view: &View) {
        match event {
            Event::Admitted(op) => {
                count(&mut self.counters.ops, "admitted");
                self.counters.merges += 1;
                self.admitted(op, now, view);
            }
            Event::Published(_) => count(&mut self.counters.attestations, "published"),
            Event::Withheld(why) => count(&mut self.counters.attestations, cannot_append_word(*why)),
            Event::NothingToPublish => count(&mut self.counters.attestations, "nothing_to_publish"),
            Event::Convicted(author) => {
                count(&mut self.counters.ops, "author_convicted");
                self.recent.retain(|(_, a, _), _| a != author);
            }
            Event::Certified(_) => count(&mut self.counters.ops, "head_certified"),
            Event::DoubleVoter(_) => count(&mut self.counters.ops, "double_voter"),
            Event::Frozen(log) => {
                count(&mut self.counters.ops, "log_frozen");
                self.recent.retain(|(_, a, _), _| *a != log.author);
            }
            Event::Refused(_, reason) => {
                count(&mut self.counters.ops, reason.name());
                count(&mut self.counters.refusals, reason.name());
            }
            Event::PeerRefused(_, _) => count(&mut self.counters.refusals, "peer"),
        }
    }

    pub(crate) fn refused_connection(&mut self, reason: &RefusalReason) {
        let word = match reason {
            RefusalReason::NotAdmitted => "not_admitted",
            RefusalReason::OtherNetwork { .. } => "other_network",
            RefusalReason::Banned => "banned",
            RefusalReason::ConnectionLimit(_) => "connection_limit",
            RefusalReason::Malformed(_) | RefusalReason::FrameTooLarge { .. } => "malformed",
            _ => "connection",
        };
        count(&mut self.counters.refusals, word);
    }

    pub(crate) fn banned(&mut self, ban: Ban) {
        count(&mut self.counters.bans, ban.fault.name());
    }

    pub(crate) fn dropped_frame(&mut self, _busy: &Busy) {
        count(&mut self.counters.refusals, "frame_not_sent");
    }

    /// Keeps the attestations of an operation taken back from the store, too.
    pub(crate) fn admitted(&mut self, op: &VerifiedOp, now: Time, view: &View) {
        let header = op.op().header();
        if header.kind != KIND_PRICE_BATCH {
            return;
        }
        let Ok(batch) = PriceBatch::decode(op.op().payload()) else { return };
        let member = view.registry().epoch(header.epoch).and_then(|epoch| epoch.member(&header.log.author));
        let evm = member.map(|m| m.evm.to_string()).unwrap_or_default();
        for (group, signature) in batch.groups(header.epoch) {
            let network = view.registry().network_id();
            let signed = Arc::new(signed_group(&group, &signature, header.log.author, &evm, &network.to_string()));
            for attestation in group.attestations {
                let shown = self.attestation_view(op, attestation, batch.slot(), now, &signed);
                self.recent.insert((batch.slot(), header.log.author, attestation.feed()), Arc::clone(&shown));
                self.newest.push_front(shown);
            }
        }
        self.newest.truncate(dto::ATTESTATIONS_MAX);
        let floor = Slot::from_number(Slot::of(now).number().saturating_sub(RECENT_SLOTS));
        while self.recent.first_key_value().is_some_and(|((slot, _, _), _)| *slot < floor) {
            self.recent.pop_first();
        }
    }

    /// A snapshot of everything, now.
    pub(crate) fn snapshot(
        &mut self,
        engine: &mut Engine,
        peers: &Peers,
        store: &dyn Store,
        now: Now,
    ) -> dto::Snapshot {
        self.seq += 1;
        let answers = engine.answers(now.wall);
        self.forked = engine.replica().history().forked().map(|proof| proof.author()).collect();
        answers.iter().for_each(|answer| self.remember(answer));
        let observations: BTreeMap<Feed, &Observation> = engine.observations().iter().map(|o| (o.feed, o)).collect();
        let feeds = answers.iter().map(|a| self.feed_view(a, observations.get(&a.aggregate.feed).copied())).collect();
        let readiness = self.readiness(engine, &answers, now);
        let stats = store.stats();
        let buffers = engine.replica().buffers();
        self.node.recovering = matches!(engine.cannot_append(), Some(CannotAppend::Recovering { .. }));
        self.node.clock_offset_ms = engine.replica().clock_offset_ms().map(|theirs| -theirs);
        let mut counters = self.counters.clone();
        for finding in engine.view().findings() {
            *counters.anomalies.entry(finding.kind.name().to_owned()).or_default() += finding.count;
        }
        counters.store_ops = stats.ops;
        counters.store_bytes = stats.file_bytes;
        counters.buffers = buffers
            .map(|(buffer, entries, limit)| dto::BufferView {
                buffer: buffer.to_owned(),
                entries: entries as u64,
                limit: limit as u64,
            })
            .to_vec();
        dto::Snapshot {
            seq: self.seq,
            as_of_ms: now.wall.ms(),
            node: self.node.clone(),
            feeds,
            attestations: self.newest.iter().cloned().collect(),
            oracles: oracle_views(engine, now.wall),
            anomalies: engine.view().findings().take(dto::ANOMALIES_MAX).map(|f| Arc::new(anomaly_view(f))).collect(),
            frontier: frontier_view(engine),
            peers: peer_views(engine, peers, now.mono_ms),
            readiness,
            sources: self.sources.iter().map(|seen| self.source_view(seen)).collect(),
            counters,
        }
    }

    /// Adds an answer to its feed's history.
    fn remember(&mut self, answer: &Answer) {
        let aggregate = &answer.aggregate;
        let expo = self.expo(aggregate.feed);
        let history = Arc::make_mut(self.history.entry(aggregate.feed).or_default());
        let as_of_ms = aggregate.as_of.ms();
        if history.last().is_some_and(|last| last.as_of_ms + HISTORY_STEP_MS > as_of_ms) {
            return;
        }
        if history.len() >= dto::HISTORY_POINTS_MAX {
            history.remove(0);
        }
        history.push(dto::HistoryPoint {
            as_of_ms,
            price: aggregate.price.map(|p| mantissa(p, expo)),
            interval: aggregate.interval.map(|(low, high)| [mantissa(low, expo), mantissa(high, expo)]),
            status: status(aggregate.status),
        });
    }

    fn expo(&self, feed: Feed) -> i8 {
        self.expos.get(&feed).copied().unwrap_or(concurrence_oracle::EXPO_DEFAULT)
    }

    fn feed_view(&self, answer: &Answer, observation: Option<&Observation>) -> dto::FeedView {
        let aggregate = &answer.aggregate;
        let (feed, expo) = (aggregate.feed, self.expo(aggregate.feed));
        let shown: Vec<_> = aggregate.counted.iter().map(|c| self.recent.get(&(c.slot, c.author, feed))).collect();
        let oracles = aggregate.counted.iter().zip(&shown).map(|(counted, shown)| dto::CountedOracle {
            oracle: counted.author.to_string(),
            slot: counted.slot.number(),
            price: mantissa(counted.price, expo),
            half_width_ppm: shown.map_or(0, |s| s.half_width_ppm),
            sources: self.names(counted.sources),
            op: shown.map(|s| s.op.clone()).unwrap_or_default(),
            doubtful: false,
        });
        let left_out = aggregate.left_out.iter().map(|(author, why)| dto::LeftOut {
            oracle: author.to_string(),
            reason: if self.forked.contains(author) { "forked" } else { left_out_word(*why) }.to_owned(),
        });
        let price = dto::PriceView {
            feed: feed.to_string(),
            price: aggregate.price.map(|p| mantissa(p, expo)),
            expo: i32::from(expo),
            interval: aggregate.interval.map(|(low, high)| [mantissa(low, expo), mantissa(high, expo)]),
            as_of_ms: aggregate.newest.filter(|_| aggregate.status == Status::Stale).unwrap_or(aggregate.as_of).ms(),
            status: status(aggregate.status),
            oracles: oracles.collect(),
            left_out: left_out.collect(),
            counted_weight: aggregate.counted_weight,
            total_weight: aggregate.total_weight,
            sources: self.names(aggregate.sources),
            fault_tolerance: aggregate.fault_tolerance,
            result_id: answer.result_id.to_string(),
            cut: answer.cut.to_string(),
            certified: answer.is_certified,
            newest_ms: aggregate.newest.map(Time::ms),
            signed: shown.iter().flatten().map(|s| Arc::clone(&s.signed)).collect(),
        };
        let local = observation.map(|o| self.local_view(o, expo)).unwrap_or_default();
        dto::FeedView { price, local, history: self.history.get(&feed).cloned().unwrap_or_default() }
    }

    fn local_view(&self, observation: &Observation, expo: i8) -> dto::LocalView {
        let own = observation.outcome.as_ref().ok();
        // Conversion rates are no prices of the feed.
        let priced = observation.legs.legs.iter().filter(|leg| leg.verdict != Verdict::Rate);
        let legs = priced.filter_map(|leg| {
            let price = leg.converted?;
            let deviation = own.and_then(|o| price.deviation_ppm(o.price).map(|d| (d, price < o.price)));
            Some(dto::LegView {
                source: self.name(leg.source.index()),
                path: leg.symbol.clone(),
                price: mantissa(price, expo),
                observed_ms: 0,
                deviation_ppm: deviation.map(|(ppm, below)| {
                    let ppm = i64::try_from(ppm).unwrap_or(i64::MAX);
                    if below { -ppm } else { ppm }
                }),
                verdict: if leg.verdict == Verdict::Counted { "used" } else { leg.verdict.as_str() }.to_owned(),
            })
        });
        dto::LocalView {
            active_sources: u32::from(observation.active_sources()),
            min_sources: u32::from(self.sources_min),
            price: own.map(|o| mantissa(o.price, expo)),
            half_width_ppm: own.map(|o| 1_000_000 - o.confidence_ppm),
            legs: legs.collect(),
        }
    }

    fn attestation_view(
        &self,
        op: &VerifiedOp,
        attestation: &Attestation,
        slot: Slot,
        now: Time,
        signed: &Arc<dto::SignedGroup>,
    ) -> Arc<dto::AttestationView> {
        let header = op.op().header();
        Arc::new(dto::AttestationView {
            op: op.op().id().to_string(),
            oracle: header.log.author.to_string(),
            log: header.log.index,
            seq: header.seq,
            feed: attestation.feed().to_string(),
            slot: slot.number(),
            price: attestation.mantissa().to_string(),
            expo: i32::from(attestation.expo()),
            half_width_ppm: u32::from(attestation.half_width()) * 10,
            sources: self.names(attestation.sources()),
            doubtful: attestation.is_doubtful(),
            received_ms: now.ms(),
            signed: Arc::clone(signed),
        })
    }

    /// Why this node should not be counted on, if so.
    fn readiness(&self, engine: &Engine, answers: &[Answer], now: Now) -> dto::Readiness {
        let mut reasons = Vec::new();
        let mut add = |code: &str, detail: String| reasons.push(dto::Reason { code: code.to_owned(), detail });
        if let Some(why) = engine.cannot_append() {
            add(cannot_append_word(why), why.to_string());
        }
        for observation in engine.observations() {
            if let Err(refused) = &observation.outcome {
                add("too_few_sources", format!("{}: {refused}; nothing is published", observation.feed));
            }
        }
        for answer in answers.iter().filter(|a| a.aggregate.status != Status::Ok) {
            let why: Vec<_> = answer.aggregate.shortfalls.iter().map(shortfall_text).collect();
            let status = answer.aggregate.status.as_str();
            add("answer_not_ok", format!("{} is {status}: {}", answer.aggregate.feed, why.join(", ")));
        }
        for conflict in engine.replica().history().conflicts() {
            let (log, parted) = (conflict.log(), conflict.parted);
            add("certificate_conflict", format!("two certified heads of {log} part at {parted}: it is frozen there"));
        }
        for source in &self.unsupported {
            add(
                "unsupported_source",
                format!(
                    "{} {:?} is not built, or names no second node, and counts as inactive",
                    source.section, source.name
                ),
            );
        }
        let _ = now;
        dto::Readiness { ready: reasons.iter().all(|r| r.code == "unsupported_source"), reasons }
    }

    /// Sources are others from now on.
    pub(crate) fn reloaded(&mut self, reload: &Reload) {
        self.sources.clone_from(&reload.sources);
        self.source_names.clone_from(&reload.source_names);
        self.unsupported.clone_from(&reload.unsupported);
        self.sources_min = reload.submission.observe.sources_min;
    }

    fn source_view(&self, seen: &Seen) -> dto::SourceView {
        let status = seen.source.status();
        let streamed = seen.stream.as_ref().and_then(|stream| stream.last_price());
        let last_success = status.last_success.max(streamed);
        let mut failed = status.outcomes.iter().filter(|(outcome, _)| **outcome != "ok").map(|(outcome, _)| *outcome);
        dto::SourceView {
            source: self.name(seen.id.index()),
            venue: seen.source.venue().to_string(),
            up: last_success.is_some() && status.breaker == BreakerState::Closed,
            breaker: match status.breaker {
                BreakerState::Closed => dto::BreakerState::Closed,
                BreakerState::HalfOpen => dto::BreakerState::HalfOpen,
                BreakerState::Open => dto::BreakerState::Open,
            },
            last_success_ms: last_success.map(Time::ms),
            price_ms: last_success.map(Time::ms),
            last_error: failed.next_back().map(str::to_owned),
            requests: status.outcomes.iter().map(|(outcome, n)| ((*outcome).to_owned(), *n)).collect(),
        }
    }

    fn names(&self, sources: u16) -> Vec<String> {
        (0u8..16).filter(|bit| sources & (1 << bit) != 0).map(|bit| self.name(bit)).collect()
    }

    fn name(&self, index: u8) -> String {
        self.source_names.get(&index).cloned().unwrap_or_else(|| format!("source{index}"))
    }
}

fn count(counts: &mut BTreeMap<String, u64>, word: &str) {
    match counts.get_mut(word) {
        Some(n) => *n += 1,
        None => drop(counts.insert(word.to_owned(), 1)),
    }
}

fn signed_group(
    group: &PriceGroup<'_>,
    signature: &EvmSignature,
    author: AuthorKey,
    evm: &str,
    network_id: &str,
) -> dto::SignedGroup {
    let feeds = group.attestations.iter().flat_map(|a| {
        let mut bytes = a.feed().as_bytes().to_vec();
        bytes.extend(a.expo().to_be_bytes());
        bytes
    });
    dto::SignedGroup {
        oracle: author.to_string(),
        evm: evm.to_owned(),
        network_id: format!("0x{network_id}"),
        epoch: group.epoch,
        slot: group.slot.number(),
        feeds: format!("0x{}", hex::encode(feeds.collect::<Vec<_>>())),
        words: format!("0x{}", hex::encode(group.words())),
        signature: format!("0x{}", hex::encode(signature.as_bytes())),
    }
}

fn oracle_views(engine: &Engine, now: Time) -> Vec<dto::OracleView> {
    let (history, view) = (engine.replica().history(), engine.view());
    let (_, epoch) = view.registry().newest();
    let window_ms = view.params().window_ms;
    let members = epoch.members().iter().map(|member| {
        let logs = history.logs().filter(|(key, _)| key.author == member.author);
        let logs: Vec<_> = logs
            .map(|(key, tail)| dto::LogView { log: key.index, len: tail.len, head: Some(tail.head.to_string()) })
            .collect();
        let last_slot = view.last_slot(&member.author);
        let heard = last_slot.is_some_and(|slot| now.since_ms(slot.start()) < window_ms);
        dto::OracleView {
            author: member.author.to_string(),
            name: member.name.clone(),
            evm: member.evm.to_string(),
            peer: member.peer.clone(),
            weight: epoch.committee().weight(&member.author),
            status: match (history.proof(&member.author).is_some(), heard) {
                (true, _) => dto::OracleStatus::Forked,
                (false, true) => dto::OracleStatus::Active,
                (false, false) => dto::OracleStatus::Silent,
            },
            last_slot: last_slot.map(Slot::number),
            ops: logs.iter().map(|log| log.len).sum(),
            logs,
        }
    });
    members.collect()
}

fn frontier_view(engine: &mut Engine) -> dto::FrontierView {
    let digest = engine.digest().to_string();
    let history = engine.replica().history();
    let logs = history.logs().map(|(key, tail)| dto::FrontierLog {
        author: key.author.to_string(),
        log: key.index,
        len: tail.len,
        head: Some(tail.head.to_string()),
        certified_len: history.certified_len(key),
    });
    let forked = history.forked().map(|proof| proof.author().to_string()).collect();
    let double_voters = history.double_votes().map(|proof| proof.voter().to_string()).collect();
    let conflicts = history.conflicts().map(|conflict| dto::ConflictView {
        author: conflict.log().author.to_string(),
        log: conflict.log().index,
        parted: conflict.parted,
        heads: [&conflict.low, &conflict.high].map(|certificate| certificate.head().id.to_string()),
        signed_both: conflict.signed_both().map(|voter| voter.to_string()).collect(),
    });
    let conflicts = conflicts.collect();
    let cut = history.cut().to_string();
    dto::FrontierView { digest, cut, logs: logs.collect(), forked, double_voters, conflicts, ops: history.ops() }
}

fn peer_views(engine: &mut Engine, peers: &Peers, mono_ms: u64) -> Vec<dto::PeerView> {
    let digest = engine.digest();
    let sessions: BTreeMap<_, _> = engine.replica().peers().collect();
    let views = peers.all().map(|(number, known)| {
        let session = sessions.get(&number);
        let account = engine.replica().account(number);
        dto::PeerView {
            peer: known.id.to_string(),
            name: known.name.clone(),
            connected: known.is_connected,
            admitted: session.is_none_or(|s| s.refusal.is_none()),
            rtt_ms: None,
            clock_offset_ms: session.and_then(|s| s.clock_offset_ms),
            in_sync: session.is_some_and(|s| s.digest == Some(digest)),
            last_seen_ms: known.last_seen.map(Time::ms),
            score: account.and_then(|a| u32::try_from(a.score(mono_ms)).ok()).unwrap_or(0),
            banned_ms: account.map_or(0, |a| a.banned_ms(mono_ms)),
        }
    });
    views.collect()
}

fn anomaly_view(finding: &Finding) -> dto::AnomalyView {
    let mut evidence = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(evidence.insert(key.to_owned(), value));
    let id = |op: &OpId| op.to_string();
    match &finding.evidence {
        Evidence::Fork(low, high) => {
            put("header_a", id(low));
            put("header_b", id(high));
        }
        Evidence::DoubleVote(low, high) => {
            put("head_a", id(low));
            put("head_b", id(high));
        }
        Evidence::Outlier(anomaly) => {
            put("slot", anomaly.slot.number().to_string());
            put("price", anomaly.price.to_string());
            put("reference", anomaly.reference.to_string());
            put("deviation_ppm", anomaly.deviation_ppm.to_string());
            put("rule", format!("deviation_ppm > {}", concurrence_oracle::OUTLIER_PPM));
        }
        Evidence::Op(op) => put("op", id(op)),
    }
    dto::AnomalyView {
        kind: finding.kind.name().to_owned(),
        oracle: finding.author.to_string(),
        feed: finding.feed.map(|f| f.to_string()),
        first_ms: finding.first.ms(),
        last_ms: finding.last.ms(),
        count: finding.count,
        evidence,
    }
}

/// The mantissa of a price at an exponent of -18 to 0, rounded toward zero.
fn mantissa(price: Price, expo: i8) -> String {
    let unit = 10i128.pow(u32::from((i16::from(expo) + 18).clamp(0, 18).unsigned_abs()));
    (price.units() / unit).to_string()
}

pub(crate) const fn status(status: Status) -> dto::FeedStatus {
    match status {
        Status::Ok => dto::FeedStatus::Ok,
        Status::Degraded => dto::FeedStatus::Degraded,
        Status::Stale => dto::FeedStatus::Stale,
        Status::Halted => dto::FeedStatus::Halted,
    }
}

pub(crate) const fn left_out_word(why: LeftOut) -> &'static str {
    match why {
        LeftOut::Silent => "silent",
        LeftOut::Conflict => "conflict",
        LeftOut::Doubtful => "doubtful",
        LeftOut::Stranger => "stranger",
    }
}

const fn cannot_append_word(why: CannotAppend) -> &'static str {
    match why {
        CannotAppend::NotAMember => "not_a_member",
        CannotAppend::Listening => "listening",
        CannotAppend::Recovering { .. } => "recovering",
        CannotAppend::Busy => "busy",
        CannotAppend::Clock(_) => "clock_off",
        CannotAppend::NoLog => "no_log",
        CannotAppend::Forked => "forked",
        CannotAppend::KeyInUse => "key_in_use",
    }
}

pub(crate) fn shortfall_text(shortfall: &Shortfall) -> String {
    match shortfall {
        Shortfall::NoMajority => "not more than half of the weight counted".to_owned(),
        Shortfall::NoQuorum => "not more than two thirds of the weight counted".to_owned(),
        Shortfall::Sources { have, need } => format!("{have} distinct sources, {need} are needed"),
        Shortfall::Width => "the interval is too wide".to_owned(),
        Shortfall::Age { age_ms } => format!("the newest attestation is {age_ms} ms old"),
    }
}
