//! What must hold when a run is over, by the ids of `docs/invariants.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, Digest, Frontier, LogKey, Op, Time};
use concurrence_engine::{Answer, Engine, FindingKind};
use concurrence_oracle::{AggregateParams, Domain, Status};
use concurrence_protocol::{self as protocol, CannotAppend, Now, OwnStart, Replica};
use concurrence_store::{Store, StoreError};

use crate::{
    Role, World,
    clock::EPOCH_MS,
    reference::{Reference, ReferenceAnswer, ReferenceParams, Statements},
    world::number,
};

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} does not hold: {what}")]
pub struct Violation {
    /// Which, by its id in `docs/invariants.md`.
    pub id: &'static str,
    /// How it showed.
    pub what: String,
}

/// Longest time from the moment nobody writes any more until all honest nodes are equal, in milliseconds: some rounds of pulls, each
/// with a timeout of five seconds and a pause of up to eight.
pub const SETTLE_MS_MAX: u64 = 60_000;

/// How long the quiet after that is watched, in milliseconds: twenty rounds of digests.
const QUIET_MS: u64 = 10_000;

/// How often the quiet may begin anew: each liar's ban ends once.
const QUIET_TRIES: usize = 12;

/// Time for the last stale digests to be replaced before the quiet counts, in milliseconds.
const SLACK_MS: u64 = 10_000;

/// Instants around the last one for which answers are compared, in milliseconds: one at which everything is too old already, and some
/// of the past.
const LOOKED_AT_MS: [i64; 6] = [20_000, 0, -1_000, -15_000, -35_000, -70_000];

/// How far before the last instant the model reads statements, in milliseconds: beyond every window looked at.
const STATEMENTS_MS: u64 = 150_000;

/// Nodes whose disk is read back: each takes as long as a restart.
const REBUILT_NODES: usize = 2;

/// Positions of a log within which operations come in any order: as many as wait.
const DISORDER: u64 = 64;

/// Tags of frames that carry or ask for operations.
const PULL: usize = 3;
const DELTA: usize = 4;
const OP: usize = 5;

impl World {
    /// Everything but the passing of time and the answers, which age; `judge` decides after each check whether to go on.
    pub(crate) fn check_all(
        &mut self,
        mut judge: impl FnMut(Result<(), Violation>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.check_engines();
        judge(self.check_nobody_halted())?;
        judge(self.check_converged())?;
        judge(self.check_no_op_lost())?;
        judge(self.check_forks())?;
        judge(self.check_any_order())?;
        judge(self.check_findings())?;
        judge(self.check_certificates())?;
        judge(self.check_votes())?;
        judge(self.check_restore())
    }

    /// Nothing was broken while the world ran.
    pub fn check_unbroken(&self) -> Result<(), Violation> {
        self.violation().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// SYNC-1: runs until all honest nodes are equal.
    pub fn check_settles(&mut self, bound_ms: u64) -> Result<(), Violation> {
        if self.run_while(bound_ms, |world| world.check_converged().is_err()) {
            return Ok(());
        }
        self.check_converged()
    }

    /// SYNC-1: all honest nodes have one digest, one frontier, one set of forked authors.
    pub fn check_converged(&mut self) -> Result<(), Violation> {
        let mut states: BTreeMap<_, (Frontier, Vec<usize>)> = BTreeMap::new();
        for node in self.honest() {
            let Some(engine) = self.engine(node) else { continue };
            let digest = engine.digest();
            if let Some((_, nodes)) = states.get_mut(&digest) {
                nodes.push(node);
                continue;
            }
            states.insert(digest, (engine.replica().history().frontier(), vec![node]));
        }
        hold(states.len() <= 1, "SYNC-1", || {
            let all: Vec<_> =
                states.values().map(|(frontier, nodes)| format!("{nodes:?}: {}", brief(frontier))).collect();
            format!("{} different states: {}", states.len(), all.join(" | "))
        })?;
        let frontiers: BTreeSet<_> = self.honest().iter().map(|&node| brief(&self.frontier(node))).collect();
        hold(frontiers.len() <= 1, "SYNC-1", || format!("one digest of different frontiers: {frontiers:?}"))
    }

    /// SYNC-2, STORE-1: what an honest author sent is held by every honest node.
    pub fn check_no_op_lost(&self) -> Result<(), Violation> {
        let misused = self.misused();
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            for (&(log, seq), &id) in self.evidence.sent.iter().filter(|((log, _), _)| !misused.contains(&log.author)) {
                let held = engine.replica().history().id_at(log, seq);
                hold(held == Some(id), "SYNC-2", || {
                    format!("node {node} holds {held:?} at {log:?} {seq}, sent was {id:?}")
                })?;
            }
        }
        Ok(())
    }

    /// SYNC-3, NODE-1: only authors of which honest nodes saw two operations at one position, or a proof, are forked, nobody honest
    /// among them; where a key ran twice and both wrote, it is.
    pub fn check_forks(&self) -> Result<(), Violation> {
        let seen = Reference::new(&self.evidence.ops, self.registry.network_id()).forked;
        let misused = self.misused();
        let honest: BTreeSet<_> = self.nodes.iter().filter(|n| n.is_honest()).map(|n| n.keys.author_key()).collect();
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let proven: BTreeSet<_> = engine.replica().history().forked().map(|proof| proof.author()).collect();
            let innocent: Vec<_> = proven.intersection(&honest).filter(|author| !misused.contains(author)).collect();
            hold(innocent.is_empty(), "NODE-1", || format!("node {node} has a proof against honest {innocent:?}"))?;
            let unseen: Vec<_> =
                proven.difference(&seen).filter(|author| !self.evidence.proven.contains(author)).collect();
            hold(unseen.is_empty(), "SYNC-3", || format!("node {node} convicted {unseen:?} of what nobody saw"))?;
            let missed: Vec<_> = misused.intersection(&seen).filter(|author| !proven.contains(author)).collect();
            hold(missed.is_empty(), "SYNC-3", || format!("node {node} has no proof against {missed:?}"))?;
        }
        Ok(())
    }

    /// NODE-1: no process halted but those that share a key.
    pub fn check_nobody_halted(&self) -> Result<(), Violation> {
        let misused = self.misused();
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_honest()) {
            let halt = node.halted.filter(|_| !misused.contains(&node.keys.author_key()));
            hold(halt.is_none(), "NODE-1", || format!("node {number} halted: {halt:?}"))?;
        }
        Ok(())
    }

    /// CRDT-5, ORACLE-1, ORACLE-3, ORACLE-4: every admitted log is a valid chain of operations that were in the world, and the answers are
    /// those of the plain model.
    pub fn check_model(&mut self) -> Result<(), Violation> {
        let model = Reference::new(&self.evidence.ops, self.registry.network_id());
        let (wall_ms, members) = (self.wall_ms(), self.registry.newest().1.members().to_vec());
        let AggregateParams { window_ms, max_age_ms, sources_min, width_max_ppm } = AggregateParams::default();
        let (sources_min, width_max_ppm) = (u32::from(sources_min), i128::from(width_max_ppm));
        let params = ReferenceParams { members: members.len(), window_ms, max_age_ms, sources_min, width_max_ppm };
        let domain = Domain::of(&self.registry.network_id());
        // All honest nodes hold the same (SYNC-1) and answer alike (ORACLE-1): the model is asked once.
        let Some(&node) = self.honest().first() else { return Ok(()) };
        let logs = self.logs(node);
        let chains: Result<Vec<_>, _> = logs.iter().map(|&(log, len, head)| model.chain(log, len, head)).collect();
        let chains = chains.map_err(|what| Violation { id: "CRDT-5", what: format!("node {node}: {what}") })?;
        let ops = chains.into_iter().flatten();
        let statements = Statements::of(ops, &members, &domain, wall_ms - STATEMENTS_MS);
        let Some(engine) = self.engine(node) else { return Ok(()) };
        for off_ms in LOOKED_AT_MS {
            for answer in engine.answers(Time::from_ms(wall_ms.saturating_add_signed(off_ms))) {
                let said = plain(&answer);
                let feed = answer.aggregate.feed;
                let expected = statements.answer(feed, wall_ms.saturating_add_signed(off_ms), &params);
                let is_status = said.counted == expected.counted && said.interval == expected.interval;
                let id = match (said.counted == expected.counted, is_status) {
                    (false, _) => "ORACLE-1",
                    (true, false) => "ORACLE-3",
                    (true, true) => "ORACLE-4",
                };
                hold(said == expected, id, || {
                    format!("node {node} answers {said:?} for {feed} {off_ms} ms from the end, the model {expected:?}")
                })?;
            }
        }
        Ok(())
    }

    /// CRDT-1: all that honest nodes heard, given to a new replica in a drawn order and partly twice, leads to their state. Only what
    /// still waits for something, or was heard of a liar and given up, may make a difference: its author is left out.
    pub fn check_any_order(&mut self) -> Result<(), Violation> {
        let Some(&node) = self.honest().first() else { return Ok(()) };
        let held: Vec<_> = self.logs(node);
        let honest: BTreeSet<_> = self.nodes.iter().filter(|n| n.is_honest()).map(|n| n.keys.author_key()).collect();
        let network = self.registry.network_id();
        let members = self.registry.membership();
        let of_member = |bytes: &&Arc<[u8]>| {
            Op::decode(bytes, network).is_ok_and(|op| members.number(&op.header().log.author).is_some())
        };
        let mut frames: Vec<_> = self.evidence.ops.values().filter(of_member).cloned().collect();
        self.dice.shuffle(&mut frames);
        // Disorder beyond what waits for its predecessors is only refused until it comes again.
        let seq = |bytes: &Arc<[u8]>| Op::decode(bytes, network).map_or(0, |op| op.header().seq);
        frames.sort_by_cached_key(|bytes| seq(bytes) / DISORDER);
        let again: Vec<_> = frames.iter().step_by(5).cloned().collect();
        frames.extend(again);
        let mut replica = self.fresh_replica();
        let mut now = Now { mono_ms: 0, wall: Time::from_ms(self.wall_ms()) };
        // What stands further ahead than a replica keeps is lost: it is told everything until nothing is news.
        let mut before = u64::MAX;
        while before != replica.history().ops() {
            before = replica.history().ops();
            for bytes in &frames {
                // Budgets fill with time: none is to decide here.
                now.mono_ms += 1_000;
                let bytes = protocol::Frame::Op(bytes.clone()).encode();
                replica.handle(now, protocol::Input::Frame { peer: number(0), bytes });
                while let Some(output) = replica.poll() {
                    self.serve_evidence(&mut replica, now, output);
                }
            }
        }
        for (log, len, head) in held.into_iter().filter(|(log, _, _)| honest.contains(&log.author)) {
            let tail = replica.history().tail(log);
            let is_equal = (tail.len, tail.head) == (len, head) || replica.history().proof(&log.author).is_some();
            hold(is_equal, "CRDT-1", || {
                format!("{log:?} has {len} operations at node {node}, and {} in another order", tail.len)
            })?;
        }
        Ok(())
    }

    /// A replica without a log that has greeted one peer.
    fn fresh_replica(&self) -> Replica {
        let config = protocol::Config {
            network: self.registry.network_id(),
            registry: self.registry.digest(),
            members: self.registry.membership(),
            own: None,
            sync_interval_ms: u64::MAX / 2,
            fresh_listen_ms: 0,
        };
        let hello = protocol::Hello {
            version: protocol::PROTOCOL_VERSION,
            network: config.network,
            registry: config.registry,
            now: Time::from_ms(self.wall_ms()),
            digest: concurrence_crdt::Digest::from_bytes([0; 32]),
            ops: 0,
        };
        let now = Now { mono_ms: 0, wall: Time::from_ms(self.wall_ms()) };
        let mut replica = Replica::new(config, OwnStart::Append, now);
        replica.handle(now, protocol::Input::Connected { peer: number(0), author: None });
        let bytes = protocol::Frame::Hello(hello).encode();
        replica.handle(now, protocol::Input::Frame { peer: number(0), bytes });
        while replica.poll().is_some() {}
        replica
    }

    /// Answers a look-up for a conflict out of the evidence; commits need no answer.
    fn serve_evidence(&self, replica: &mut Replica, now: Now, output: protocol::Output) {
        let protocol::Output::Store(protocol::StoreRequest::Load { token, log, from, .. }) = output else { return };
        let id = replica.history().id_at(log, from);
        let found = id.and_then(|id| self.evidence.ops.get(&id)).cloned();
        let reply = protocol::StoreReply::Loaded(token, found.into_iter().collect());
        replica.handle(now, protocol::Input::Store(reply));
    }

    /// ORACLE-1, ORACLE-2: the same cut and instant give the same bytes everywhere, and an `ok` price lies within the honest ones.
    pub fn check_answers(&mut self) -> Result<(), Violation> {
        let (wall_ms, truthful, are_few) = (self.wall_ms(), self.truthful(), self.liars_are_few());
        for off_ms in LOOKED_AT_MS {
            let mut first: Option<(usize, Vec<Answer>)> = None;
            for node in self.honest() {
                let Some(engine) = self.engine(node) else { continue };
                let mut answers = engine.answers(Time::from_ms(wall_ms.saturating_add_signed(off_ms)));
                // How much of an answer is certified is no part of it, and some votes are still on their way.
                answers.iter_mut().for_each(|answer| answer.is_certified = false);
                for answer in answers.iter().filter(|_| are_few) {
                    check_hull(answer, &truthful)?;
                }
                let (other, expected) = first.get_or_insert((node, answers.clone()));
                hold(*expected == answers, "ORACLE-1", || {
                    format!(
                        "nodes {other} and {node} answer differently {off_ms} ms from the end: {expected:?} and {answers:?}"
                    )
                })?;
            }
        }
        Ok(())
    }

    /// ORACLE-4: every honest node names those whose venues are far off as outliers, and accuses nobody who is honest.
    pub fn check_findings(&self) -> Result<(), Violation> {
        let (misused, are_few) = (self.misused(), self.liars_are_few());
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let named: BTreeSet<_> = engine.view().findings().map(|finding| (finding.author, finding.kind)).collect();
            for (number, other) in self.nodes.iter().enumerate().filter(|(_, other)| other.is_honest()) {
                let author = other.keys.author_key();
                let is_far = matches!(other.role, Role::Reporter { .. });
                let of_it: Vec<_> = named.iter().filter(|(of, _)| *of == author).map(|(_, kind)| *kind).collect();
                let false_ones: Vec<_> =
                    of_it.iter().filter(|&&kind| !(is_far && kind == FindingKind::Outlier)).collect();
                hold(false_ones.is_empty() || misused.contains(&author), "ORACLE-4", || {
                    format!("node {node} accuses {number} ({:?}) of {false_ones:?}", other.role)
                })?;
                let is_named = of_it.contains(&FindingKind::Outlier);
                hold(!is_far || is_named || !are_few, "ORACLE-4", || {
                    format!("node {node} does not name {number} ({:?}) as outlier", other.role)
                })?;
            }
        }
        Ok(())
    }

    /// STORE-2, STORE-3: an engine rebuilt from the disk, after an orderly end as after SIGKILL, equals the running one; and the store
    /// gives nothing that nobody signed.
    pub fn check_restore(&mut self) -> Result<(), Violation> {
        let mut nodes = self.honest();
        self.dice.shuffle(&mut nodes);
        for node in nodes.into_iter().take(REBUILT_NODES) {
            let broken = |error: StoreError| Violation { id: "STORE-2", what: format!("node {node}: {error}") };
            // Where something rotted redb gives up the whole file after SIGKILL, and its owner replaces it.
            if !self.nodes[node].has_rotten {
                let killed = self.nodes[node].disk.reopened().map_err(broken)?;
                self.check_rebuilt(node, &killed)?;
            }
            self.nodes[node].disk.reopen().map_err(broken)?;
            let Some(ended) = self.nodes[node].disk.store() else { continue };
            self.check_stored(node, ended)?;
            if ended.stats().rotten_rows == 0 {
                self.check_rebuilt(node, ended)?;
            }
        }
        Ok(())
    }

    fn check_rebuilt(&self, node: usize, store: &dyn Store) -> Result<(), Violation> {
        let as_of = Time::from_ms(self.wall_ms());
        let rebuilt = self.nodes[node].rebuilt(store, self.now_ms());
        let rebuilt = rebuilt.map_err(|error| Violation { id: "STORE-2", what: format!("node {node}: {error}") })?;
        let Some(live) = &self.nodes[node].engine else { return Ok(()) };
        let facts = |engine: &Engine| {
            let history = engine.replica().history();
            let proofs: Vec<_> = history.forked().map(|proof| proof.author()).collect();
            (history.frontier(), proofs, engine.view().answers(Digest::from_bytes([0; 32]), as_of))
        };
        let (kept, lives) = (facts(&rebuilt), facts(live));
        hold(kept == lives, "STORE-2", || {
            format!("node {node} would restart with {}, runs with {}", brief(&kept.0), brief(&lives.0))
        })
    }

    /// SYNC-1: equal nodes say nothing to one another but digests. A liar whose ban ends meanwhile may bring what only it had, to one of
    /// them first: then the quiet begins anew. It counts from when all were equal for long enough to have told one another so. A node that
    /// waits for answers about its own log asks on.
    pub fn check_quiet(&mut self) -> Result<(), Violation> {
        if self.honest().into_iter().any(|node| self.is_left_alone(node)) {
            return Ok(());
        }
        for _ in 0..QUIET_TRIES {
            let equal = self.honest_digests();
            self.run_until(self.now_ms() + SLACK_MS);
            let before = self.evidence.honest_frames;
            self.run_until(self.now_ms() + QUIET_MS);
            let more: u64 =
                [PULL, DELTA, OP].iter().map(|&k| self.evidence.honest_frames[k].frames - before[k].frames).sum();
            if more == 0 {
                return Ok(());
            }
            let is_same = equal.len() == 1 && self.honest_digests() == equal;
            hold(!is_same, "SYNC-1", || format!("equal nodes sent {more} frames that carry or ask in {QUIET_MS} ms"))?;
            self.check_settles(SETTLE_MS_MAX)?;
        }
        hold(false, "SYNC-1", || format!("nodes never fell silent in {QUIET_TRIES} times {QUIET_MS} ms"))
    }

    fn honest_digests(&mut self) -> BTreeSet<Digest> {
        let honest = self.honest();
        honest.into_iter().filter_map(|node| Some(self.engine(node)?.digest())).collect()
    }

    /// SYNC-6: after healing every honest member that ran on has written again, and where few lie every answer is `ok` again.
    pub fn check_progress(&mut self, since_ms: u64) -> Result<(), Violation> {
        let (misused, wall_ms) = (self.misused(), self.wall_ms());
        let are_few = self.liars_are_few() && !self.honest().into_iter().any(|node| self.is_left_alone(node));
        let down = self.nodes.iter().position(|n| n.is_honest() && n.engine.is_none() && n.halted.is_none());
        hold(down.is_none(), "SYNC-6", || format!("node {down:?} never started again"))?;
        for node in self.honest() {
            let author = self.author(node);
            if misused.contains(&author) || self.is_left_alone(node) {
                continue;
            }
            let Some(engine) = self.engine(node) else { continue };
            let last = engine.view().last_slot(&author).map_or(0, |slot| slot.start().ms());
            let why = engine.cannot_append();
            hold(last >= EPOCH_MS + since_ms, "SYNC-6", || {
                format!("node {node} wrote nothing in {} ms after healing: {why:?}", wall_ms - EPOCH_MS - since_ms)
            })?;
            let answers = engine.answers(Time::from_ms(wall_ms));
            let bad = answers.iter().find(|answer| answer.aggregate.status != Status::Ok);
            hold(!are_few || bad.is_none(), "SYNC-6", || {
                let aggregate = bad.map(|answer| &answer.aggregate);
                format!("node {node} answers {:?}", aggregate.map(|a| (a.feed, a.status, &a.shortfalls)))
            })?;
        }
        Ok(())
    }

    /// Whether a node lost its log where the honest others are too few to tell it how long it was: it may not write before its operator says so.
    pub(crate) fn is_left_alone(&self, node: usize) -> bool {
        let why = self.nodes[node].engine.as_ref().and_then(|engine| engine.cannot_append());
        let others = self.honest().into_iter().filter(|&other| other != node).count();
        matches!(why, Some(CannotAppend::Recovering { .. })) && !self.are_two_thirds(others)
    }

    /// Whether so many nodes are more than two thirds of the members.
    pub(crate) fn are_two_thirds(&self, nodes: usize) -> bool {
        3 * nodes > 2 * self.registry.newest().1.members().len()
    }

    /// Authors whose keys two processes ran.
    pub(crate) fn misused(&self) -> BTreeSet<AuthorKey> {
        self.nodes.iter().filter(|n| matches!(n.role, Role::TwinOf(_))).map(|n| n.keys.author_key()).collect()
    }

    fn frontier(&self, node: usize) -> Frontier {
        self.nodes[node].engine.as_ref().map(|engine| engine.replica().history().frontier()).unwrap_or_default()
    }

    fn logs(&self, node: usize) -> Vec<(LogKey, u64, concurrence_crdt::OpId)> {
        let history = self.nodes[node].engine.as_ref().map(|engine| engine.replica().history());
        history.into_iter().flat_map(|h| h.logs()).map(|(log, tail)| (log, tail.len, tail.head)).collect()
    }

    /// Operations of an author in an honest node's history, and how many of them are certified.
    pub fn ops_of(&self, node: usize, author: AuthorKey) -> (u64, u64) {
        let Some(history) = self.nodes[node].engine.as_ref().map(|engine| engine.replica().history()) else {
            return (0, 0);
        };
        let of_author = history.logs().filter(|(log, _)| log.author == author);
        of_author.fold((0, 0), |(all, certified), (log, tail)| (all + tail.len, certified + history.certified_len(log)))
    }

    /// STORE-3: every operation that a store gives is one that was in the world, or the node's own.
    fn check_stored(&self, node: usize, store: &dyn Store) -> Result<(), Violation> {
        let network = self.registry.network_id();
        for (log, len) in store.logs().unwrap_or_default() {
            for bytes in store.range(log, 0, len, usize::MAX).unwrap_or_default() {
                let op = Op::decode(&bytes, network).ok();
                let is_known = |op: &Op| self.evidence.ops.contains_key(&op.id()) || self.is_own(node, op);
                hold(op.as_ref().is_some_and(is_known), "STORE-3", || {
                    format!("node {node} stores at {log:?} what nobody signed")
                })?;
            }
        }
        Ok(())
    }

    fn is_own(&self, node: usize, op: &Op) -> bool {
        op.header().log.author == self.author(node) && op.signed().clone().verify().is_ok()
    }
}

/// ORACLE-2: an `ok` price lies between the least and the greatest honest price that counted.
pub(crate) fn check_hull(answer: &Answer, truthful: &BTreeSet<AuthorKey>) -> Result<(), Violation> {
    let aggregate = &answer.aggregate;
    let honest = aggregate.counted.iter().filter(|counted| truthful.contains(&counted.author)).map(|c| c.price);
    let hull = honest.clone().min().zip(honest.max());
    let is_inside = aggregate.price.zip(hull).is_some_and(|(price, (low, high))| low <= price && price <= high);
    hold(aggregate.status != Status::Ok || is_inside, "ORACLE-2", || {
        format!("{} is {:?}, honest are {hull:?}", aggregate.feed, aggregate.price)
    })
}

/// An answer in the words of the model.
fn plain(answer: &Answer) -> ReferenceAnswer {
    let aggregate = &answer.aggregate;
    ReferenceAnswer {
        status: aggregate.status.as_str(),
        price: aggregate.price.map(|price| price.units()),
        interval: aggregate.interval.map(|(low, high)| (low.units(), high.units())),
        counted: aggregate.counted.iter().map(|counted| counted.author).collect(),
    }
}

/// A frontier as lengths.
fn brief(frontier: &Frontier) -> String {
    let logs =
        frontier.entries.iter().map(|e| format!("{}/{}:{}@{:?} ({})", e.author, e.log, e.len, e.head, e.certified));
    let (forked, double) = (&frontier.forked, &frontier.double_voters);
    format!("{} forked {forked:?} double voters {double:?}", logs.collect::<Vec<_>>().join(" "))
}

pub(crate) fn hold(holds: bool, id: &'static str, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { id, what: what() }) }
}
