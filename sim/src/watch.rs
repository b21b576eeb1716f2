//! What is checked while a world runs: after every input, or every so many events. What can only be said in the end is in
//! `check.rs`.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, LogKey, OpId, Time};
use concurrence_engine::{Event, Output};
use concurrence_protocol::{DELTA_BYTES_MAX, Frame};

use crate::{Role, Violation, World, check::check_hull, dice::Dice, evidence::Admission};

/// The running checkers' memory.
pub(crate) struct Watch {
    /// The first broken promise.
    pub(crate) violation: Option<Violation>,
    /// All that were broken, by id.
    pub(crate) broken: BTreeMap<&'static str, String>,
    /// A world goes on although something is broken.
    pub(crate) goes_on: bool,
    /// Nothing is checked or traced.
    pub(crate) is_off: bool,
    dice: Dice,
    /// What each node's history was when it was last looked at, in its present process.
    last: Vec<Seen>,
    /// What a peer asked an honest node for and was not answered yet, by (node, peer).
    asked: BTreeMap<(usize, usize), Asked>,
}

/// A history at some moment.
#[derive(Clone, Default)]
struct Seen {
    logs: BTreeMap<LogKey, (u64, OpId)>,
    /// Certified lengths and heads.
    certified: BTreeMap<LogKey, (u64, OpId)>,
    forked: BTreeSet<AuthorKey>,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    pulls: u32,
    credit_max: usize,
}

/// How much a history holds: enough to see whether an input changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    ops: u64,
    forked: usize,
}

/// Events between two looks at an engine's own invariants, one engine after another: each costs about as much as an event.
const ENGINE_EVERY: u64 = 8;

/// Events between two looks at what must only grow.
const GROWTH_EVERY: u64 = 1_024;

/// Events between two looks at answers.
const ANSWERS_EVERY: u64 = 4_096;

/// Of so many own operations one is looked for on the disk itself, as a power cut would leave it.
const DISK_LOOKS_ONE_IN: usize = 32;

impl Watch {
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        Self {
            violation: None,
            broken: BTreeMap::new(),
            goes_on: false,
            is_off: false,
            dice: Dice::new(seed, "watch"),
            last: vec![Seen::default(); nodes],
            asked: BTreeMap::new(),
        }
    }

    /// Notes a broken promise; what the first one was is kept.
    pub(crate) fn broken(&mut self, id: &'static str, what: String) {
        self.broken.entry(id).or_insert_with(|| what.clone());
        self.violation.get_or_insert(Violation { id, what });
    }

    /// Whether a world is to stop.
    pub(crate) const fn stops(&self) -> bool {
        self.violation.is_some() && !self.goes_on
    }

    pub(crate) fn looks_at_disk(&mut self) -> bool {
        self.dice.below(DISK_LOOKS_ONE_IN) == 0
    }

    /// A process starts: what its disk lost it may lack for a while.
    pub(crate) fn restarted(&mut self, node: usize) {
        self.last[node] = Seen::default();
    }

    pub(crate) fn disconnected(&mut self, node: usize, peer: usize) {
        self.asked.remove(&(node, peer));
    }

    /// An honest node reads a frame.
    pub(crate) fn heard(&mut self, node: usize, from: usize, bytes: &[u8]) {
        if let Ok(Frame::Pull { credit, .. }) = Frame::decode(bytes) {
            let asked = self.asked.entry((node, from)).or_default();
            asked.pulls += 1;
            asked.credit_max = asked.credit_max.max(usize::try_from(credit).unwrap_or(usize::MAX));
        }
    }
}

impl World {
    pub(crate) fn facts(&self, node: usize) -> Facts {
        let history = self.nodes[node].engine.as_ref().map(|engine| engine.replica().history());
        Facts { ops: history.map_or(0, |h| h.ops()), forked: history.map_or(0, |h| h.forked().count()) }
    }

    /// CRDT-6, NODE-1: a refusal changed nothing, and nobody honest is convicted. Notes what happened.
    pub(crate) fn watch_outputs(&mut self, node: usize, before: Facts, outputs: &[Output]) {
        let (mut refused, mut changed) = (None, false);
        let is_honest = self.nodes[node].is_honest();
        for output in outputs {
            match output {
                Output::Event(Event::Refused(_, reason)) if is_honest => {
                    refused = Some(reason.name());
                    self.evidence.refusal(reason.name());
                }
                Output::Event(Event::Admitted(op)) => {
                    changed = true;
                    let (log, seq) = (op.op().header().log, op.op().header().seq);
                    let admission = Admission { at_ms: self.now_ms(), node, log, seq };
                    self.evidence.admissions.iter_mut().for_each(|noted| noted.push(admission));
                }
                Output::Event(Event::Frozen(_)) => changed = true,
                Output::Event(Event::Convicted(author)) => {
                    changed = true;
                    self.watch_conviction(node, *author);
                }
                _ => {}
            }
        }
        let after = self.facts(node);
        if let Some(reason) = refused.filter(|_| !changed && after != before && !self.watch.is_off) {
            self.watch
                .broken("CRDT-6", format!("node {node} refused ({reason}) and went from {before:?} to {after:?}"));
        }
    }

    fn watch_conviction(&mut self, node: usize, author: AuthorKey) {
        let misused = self.misused();
        let is_innocent = |n: &crate::node::SimNode| n.is_honest() && n.keys.author_key() == author;
        if !misused.contains(&author) && self.nodes.iter().any(is_innocent) && self.nodes[node].is_honest() {
            self.watch.broken("NODE-1", format!("node {node} convicted the honest {author:?}"));
        }
    }

    /// SYNC-5: an answer was asked for, and carries no more than that.
    pub(crate) fn watch_answer(&mut self, node: usize, to: usize, bytes: &[u8]) {
        if self.watch.is_off {
            return;
        }
        let Ok(Frame::Delta(delta)) = Frame::decode(bytes) else { return };
        let size: usize = delta.ops.iter().map(|op| op.len()).sum();
        let asked = self.watch.asked.entry((node, to)).or_default();
        let (was_asked, credit) = (asked.pulls > 0, asked.credit_max.min(DELTA_BYTES_MAX));
        asked.pulls = asked.pulls.saturating_sub(1);
        if !was_asked || (size > credit && delta.ops.len() > 1) {
            let (count, asked) = (delta.ops.len(), if was_asked { "asked" } else { "unasked" });
            let what =
                format!("node {node} sent {to}, {asked}, {count} operations of {size} bytes for a credit of {credit}");
            self.watch.broken("SYNC-5", what);
        }
    }

    /// The looks that are taken now and then.
    pub(crate) fn look_around(&mut self) {
        if self.watch.is_off {
            return;
        }
        let events = self.trace.events();
        if events.is_multiple_of(ENGINE_EVERY) {
            let turn = usize::try_from(events / ENGINE_EVERY).unwrap_or(0) % self.nodes.len();
            self.nodes[turn].engine.iter().for_each(|engine| engine.replica().check_invariants());
        }
        if events.is_multiple_of(GROWTH_EVERY) {
            self.check_growth();
        }
        if events.is_multiple_of(ANSWERS_EVERY) {
            self.check_running_answers();
        }
    }

    /// The engines' own checks: CRDT-2, CRDT-3, CRDT-4 and SYNC-4 panic with their id.
    pub fn check_engines(&self) {
        for engine in self.nodes.iter().filter_map(|node| node.engine.as_ref()) {
            engine.replica().check_invariants();
        }
    }

    /// CRDT-7: within a process's life a log only grows, unless its author is forked, and a forked author stays forked. CERT-1: what is certified
    /// stays, forked author or not.
    fn check_growth(&mut self) {
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let history = engine.replica().history();
            let before = &self.watch.last[node];
            let shrunk = before.logs.iter().find(|(log, (len, head))| {
                history.proof(&log.author).is_none() && history.id_at(**log, len - 1) != Some(*head)
            });
            let returned = before.forked.iter().find(|author| history.proof(author).is_none());
            let broken = shrunk
                .map(|(log, (len, _))| format!("node {node} no longer holds {log:?} up to {len}"))
                .or_else(|| returned.map(|author| format!("node {node} took {author:?} back")));
            let logs = history.logs().map(|(log, tail)| (log, (tail.len, tail.head))).collect();
            let forked = history.forked().map(|proof| proof.author()).collect();
            let gone = before.certified.iter().find(|(log, (len, head))| {
                history.conflict(**log).is_none() && history.id_at(**log, len - 1) != Some(*head)
            });
            let gone = gone.map(|(log, (len, _))| format!("node {node} no longer holds {log:?} certified up to {len}"));
            let certified = history.logs().filter_map(|(log, _)| {
                let len = history.certified_len(log);
                Some((log, (len, history.id_at(log, len.checked_sub(1)?)?)))
            });
            self.watch.last[node] = Seen { certified: certified.collect(), logs, forked };
            if let Some(what) = broken {
                self.watch.broken("CRDT-7", what);
            }
            if let Some(what) = gone {
                self.watch.broken("CERT-1", what);
            }
        }
    }

    /// ORACLE-2 at some node, now.
    fn check_running_answers(&mut self) {
        let honest = self.honest();
        if honest.is_empty() || !self.liars_are_few() {
            return;
        }
        let node = honest[self.watch.dice.below(honest.len())];
        let (now, truthful) = (Time::from_ms(self.wall_ms()), self.truthful());
        let Some(engine) = self.engine(node) else { return };
        let answers = engine.answers(now);
        if let Some(violation) = answers.iter().find_map(|answer| check_hull(answer, &truthful).err()) {
            self.watch.broken(violation.id, violation.what);
        }
    }

    /// Authors that say what they saw.
    pub(crate) fn truthful(&self) -> BTreeSet<AuthorKey> {
        self.nodes.iter().filter(|n| n.role == Role::Honest).map(|n| n.keys.author_key()).collect()
    }

    /// Whether less than a third of the weight is faulty: only then is an `ok` answer worth anything.
    pub(crate) fn liars_are_few(&self) -> bool {
        let (members, misused) = (self.registry.newest().1.members().len(), self.misused().len());
        let truthful = self.truthful().len();
        3 * (members - truthful + misused) < members
    }
}
