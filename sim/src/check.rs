//! What must hold, checked from outside: replicas against one another, against what the world saw, and against the plain model.
//! Each check names the invariant of docs/invariants.md that it stands for.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, Frontier, Time};
use concurrence_engine::{Answer, Engine, FindingKind};
use concurrence_oracle::{AggregateParams, Status};

use crate::{
    Role, World,
    reference::{Reference, ReferenceAnswer, ReferenceParams},
};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} is broken: {what}")]
pub struct Violation {
    /// The invariant's id.
    pub id: &'static str,
    /// By whom, and how.
    pub what: String,
}

/// Longest virtual time that replicas may take to become equal once nobody writes, in milliseconds. With three of ten frames lost
/// a pull and its answer need two tries on average, each followed by a timeout of five seconds and a pause of up to eight.
pub const SETTLE_MS_MAX: u64 = 60_000;

/// How long the quiet after that is watched, in milliseconds: twenty rounds of digests.
const QUIET_MS: u64 = 10_000;

/// Time for the last stale digests to be replaced before the quiet counts, in milliseconds.
const SLACK_MS: u64 = 10_000;

/// Instants before the last one at which answers are compared, in milliseconds.
const LOOKED_BACK_MS: [u64; 5] = [0, 1_000, 15_000, 35_000, 70_000];

/// Tags of frames that carry or ask for operations.
const PULL: usize = 3;
const DELTA: usize = 4;
const OP: usize = 5;

impl World {
    /// Everything but the passing of time.
    pub fn check_all(&mut self) -> Result<(), Violation> {
        self.check_engines();
        self.check_disks()?;
        self.check_nobody_halted()?;
        self.check_converged()?;
        self.check_no_op_lost()?;
        self.check_forks()?;
        self.check_model()?;
        self.check_answers()?;
        self.check_findings()?;
        self.check_restore()
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
            let frontier = engine.replica().history().frontier();
            let entry = states.entry(engine.digest()).or_insert((frontier.clone(), Vec::new()));
            hold(entry.0 == frontier, "SYNC-1", || format!("node {node} has the digest of another frontier"))?;
            entry.1.push(node);
        }
        hold(states.len() <= 1, "SYNC-1", || {
            let all: Vec<_> =
                states.values().map(|(frontier, nodes)| format!("{nodes:?}: {}", brief(frontier))).collect();
            format!("{} different states: {}", states.len(), all.join(" | "))
        })
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

    /// SYNC-3, CRDT-4, NODE-1: forked are exactly the authors of which honest nodes saw two operations at one position; these
    /// are exactly the equivocators that told honest nodes both stories and the keys run twice.
    pub fn check_forks(&self) -> Result<(), Violation> {
        let liars = self.nodes.iter().filter(|node| node.actor.as_ref().is_some_and(|actor| actor.positions() > 0));
        let guilty: BTreeSet<_> = liars.map(|node| node.keys.author_key()).chain(self.misused()).collect();
        let seen = Reference::new(&self.evidence.ops, self.registry.network_id()).forked;
        hold(seen == guilty, "SYNC-3", || {
            format!("both stories of {guilty:?} were to be told, of {seen:?} they were")
        })?;
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let proven: BTreeSet<_> = engine.replica().history().forked().map(|proof| proof.author()).collect();
            let innocent: Vec<_> = proven.difference(&guilty).collect();
            hold(innocent.is_empty(), "NODE-1", || format!("node {node} has a proof against honest {innocent:?}"))?;
            hold(proven == guilty, "SYNC-3", || format!("node {node} has proofs against {proven:?} of {guilty:?}"))?;
        }
        Ok(())
    }

    /// NODE-1: no process halted but those that share a key.
    pub fn check_nobody_halted(&self) -> Result<(), Violation> {
        let misused = self.misused();
        for (number, node) in self.nodes.iter().enumerate() {
            let halt = node.halted.filter(|_| !misused.contains(&node.keys.author_key()));
            hold(halt.is_none(), "NODE-1", || format!("node {number} halted: {halt:?}"))?;
        }
        Ok(())
    }

    /// STORE-1, STORE-2: nothing was sent before it was durable, and no store was asked for what no correct replica asks for.
    pub fn check_disks(&self) -> Result<(), Violation> {
        hold(self.disk_failure.is_none(), "STORE-2", || format!("a store failed: {:?}", self.disk_failure))
    }

    /// CRDT-1, ORACLE-1, ORACLE-4: admitted logs and answers are those of the plain model.
    pub fn check_model(&mut self) -> Result<(), Violation> {
        let model = Reference::new(&self.evidence.ops, self.registry.network_id());
        let (wall_ms, members) = (self.wall_ms(), self.registry.newest().1.members().len());
        let AggregateParams { window_ms, max_age_ms, sources_min, width_max_ppm } = AggregateParams::default();
        let (sources_min, width_max_ppm) = (u32::from(sources_min), i128::from(width_max_ppm));
        let params = ReferenceParams { members, window_ms, max_age_ms, sources_min, width_max_ppm };
        for node in self.honest() {
            let Some(engine) = self.engine(node) else { continue };
            let held: Vec<_> =
                engine.replica().history().logs().map(|(log, tail)| (log, tail.len, tail.head)).collect();
            let expected = model.logs.iter().filter_map(|(&log, ops)| Some((log, ops.len() as u64, ops.last()?.id())));
            let expected: Vec<_> = expected.collect();
            hold(held == expected, "CRDT-1", || format!("node {node} admitted {held:?}, the model {expected:?}"))?;
            for back_ms in LOOKED_BACK_MS {
                for answer in engine.answers(Time::from_ms(wall_ms - back_ms)) {
                    let said = plain(&answer);
                    let expected = model.answer(answer.aggregate.feed, wall_ms - back_ms, &params);
                    hold(said == expected, "ORACLE-1", || {
                        format!(
                            "node {node} answers {said:?} for {} {back_ms} ms ago, the model {expected:?}",
                            answer.aggregate.feed
                        )
                    })?;
                }
            }
        }
        Ok(())
    }

    /// ORACLE-1, ORACLE-2: the same cut and instant give the same bytes everywhere, and an `ok` price lies within the honest ones.
    pub fn check_answers(&mut self) -> Result<(), Violation> {
        let wall_ms = self.wall_ms();
        let truthful: BTreeSet<_> =
            self.nodes.iter().filter(|n| n.role == Role::Honest).map(|n| n.keys.author_key()).collect();
        for back_ms in LOOKED_BACK_MS {
            let mut first: Option<(usize, Vec<Answer>)> = None;
            for node in self.honest() {
                let Some(engine) = self.engine(node) else { continue };
                let answers = engine.answers(Time::from_ms(wall_ms - back_ms));
                for answer in &answers {
                    check_hull(answer, &truthful)?;
                }
                let (other, expected) = first.get_or_insert((node, answers.clone()));
                hold(*expected == answers, "ORACLE-1", || {
                    format!(
                        "nodes {other} and {node} answer differently {back_ms} ms ago: {expected:?} and {answers:?}"
                    )
                })?;
            }
        }
        Ok(())
    }

    /// ORACLE-4, SYNC-3: of the others every honest node names the equivocators and the wrong reporters, and nobody else.
    pub fn check_findings(&self) -> Result<(), Violation> {
        let misused = self.misused();
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let named = |kind| engine.view().findings().filter(move |f| f.kind == kind).map(|f| f.author).collect();
            let (forked, outliers): (BTreeSet<AuthorKey>, BTreeSet<AuthorKey>) =
                (named(FindingKind::Fork), named(FindingKind::Outlier));
            for (number, other) in self.nodes.iter().enumerate() {
                let author = other.keys.author_key();
                let is_guilty = other.role == Role::Equivocator || misused.contains(&author);
                hold(forked.contains(&author) == is_guilty, "SYNC-3", || {
                    format!("node {node} names {number} ({:?}) as forked: {}", other.role, !is_guilty)
                })?;
                let is_far = matches!(other.role, Role::Reporter { .. });
                // An equivocator's second prices differ too little to be named; if one were, it would be no false accusation.
                hold(is_guilty || outliers.contains(&author) == is_far, "ORACLE-4", || {
                    format!("node {node} names {number} ({:?}) as outlier: {}", other.role, !is_far)
                })?;
            }
            let others = engine.view().findings().find(|f| !matches!(f.kind, FindingKind::Fork | FindingKind::Outlier));
            hold(others.is_none(), "CRDT-6", || format!("node {node} found {others:?}"))?;
        }
        Ok(())
    }

    /// STORE-2: an engine rebuilt from the disk equals the running one.
    pub fn check_restore(&mut self) -> Result<(), Violation> {
        let (now_ms, wall_ms) = (self.now_ms(), self.wall_ms());
        for node in self.honest() {
            let mut rebuilt = self.nodes[node].rebuilt(&self.registry, now_ms);
            let Some(live) = self.engine(node) else { continue };
            let as_of = Time::from_ms(wall_ms);
            let facts = |engine: &mut Engine| {
                let history = engine.replica().history();
                let proofs: Vec<_> = history.forked().map(|proof| proof.author()).collect();
                (history.frontier(), proofs, engine.digest(), engine.answers(as_of))
            };
            let (kept, lives) = (facts(&mut rebuilt), facts(live));
            hold(kept == lives, "STORE-2", || {
                format!("node {node} would restart with {}, runs with {}", brief(&kept.0), brief(&lives.0))
            })?;
        }
        Ok(())
    }

    /// SYNC-1: equal nodes say nothing to one another but digests.
    pub fn check_quiet(&mut self) -> Result<(), Violation> {
        self.run_until(self.now_ms() + SLACK_MS);
        let before = self.evidence.honest_frames;
        self.run_until(self.now_ms() + QUIET_MS);
        for kind in [PULL, DELTA, OP] {
            let more = self.evidence.honest_frames[kind].frames - before[kind].frames;
            hold(more == 0, "SYNC-1", || format!("equal nodes sent {more} frames of kind {kind} in {QUIET_MS} ms"))?;
        }
        Ok(())
    }

    /// Authors whose keys two processes ran.
    fn misused(&self) -> BTreeSet<AuthorKey> {
        self.nodes.iter().filter(|n| matches!(n.role, Role::TwinOf(_))).map(|n| n.keys.author_key()).collect()
    }
}

/// ORACLE-2: an `ok` price lies between the least and the greatest honest price that counted.
fn check_hull(answer: &Answer, truthful: &BTreeSet<AuthorKey>) -> Result<(), Violation> {
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
    let logs = frontier.entries.iter().map(|e| format!("{}/{}:{}@{:?}", e.author, e.log, e.len, e.head));
    format!("{} forked {:?}", logs.collect::<Vec<_>>().join(" "), frontier.forked)
}

fn hold(holds: bool, id: &'static str, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { id, what: what() }) }
}
