//! A run: faults everywhere (safety), then everything heals and progress is demanded (liveness), then quiet and all checks.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use concurrence_crdt::{AuthorKey, Digest};

use crate::{
    ScenarioConfig, World,
    check::{SETTLE_MS_MAX, Violation, hold},
    evidence::{FRAME_KINDS, Traffic},
    scenario::{Expect, Fault},
};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Events of the world.
    pub events: u64,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Milliseconds that engines ran for, added up over nodes.
    pub engine_ms: u64,
    /// Operations admitted in the end.
    pub ops: u64,
    /// Bytes that all nodes sent.
    pub bytes: u64,
    /// Frames and bytes that honest nodes sent one another, by kind.
    pub honest_frames: [Traffic; FRAME_KINDS.len()],
    /// Virtual time from the moment nobody wrote any more until all honest nodes were equal, in milliseconds.
    pub settle_ms: u64,
    /// Faults that took effect, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Refusals at honest nodes, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// How often each actor did what it is for, by node.
    pub injected: BTreeMap<usize, u64>,
    /// Authors proven forked.
    pub forked: usize,
    /// BLAKE3 of all inputs and outputs in order.
    pub trace_hash: Digest,
}

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {violation}\nto see it again: {command}")]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Which promise, and how.
    pub violation: Violation,
    /// What to type.
    pub command: String,
}

/// Least virtual time with an open market after the last fault, in milliseconds: two ticks of the slowest oracles, so that answers
/// name who is far off.
const RECOVERY_MS: u64 = 20_000;

/// Longest time until everyone writes and every answer is `ok`, in milliseconds: a lost disk asks more than two thirds of all, two at a
/// time, and waits five seconds for each answer that is lost on the way.
const PROGRESS_MS_MAX: u64 = 120_000;

/// Time in which every node has asked its venues again and the last batches are out, in milliseconds: two polls.
const CLOSING_MS: u64 = 5_000;

/// Time in which the slowest disk has written what it was given, in milliseconds.
const WRITTEN_MS: u64 = 2_000;

/// Longest time after the quiet until everything is certified, in milliseconds: some rounds of votes, over links that lose frames.
const CERTIFIED_MS_MAX: u64 = 180_000;

impl World {
    /// Runs a scenario to its end and checks everything. An engine's failed assertion is a broken promise like any other.
    pub fn run(config: ScenarioConfig) -> Result<Report, Failure> {
        let (seed, command) = (config.seed, config.command.clone());
        let run = catch_unwind(AssertUnwindSafe(|| Self::new(config).finish()));
        let violation = match run {
            Ok(Ok(report)) => return Ok(report),
            Ok(Err(violation)) => violation,
            Err(panic) => panicked(panic.as_ref()),
        };
        Err(Failure { seed, violation, command })
    }

    /// Runs on to the end of the faults, heals, demands progress, and checks everything.
    pub fn finish(&mut self) -> Result<Report, Violation> {
        let settle_ms = self.judged(|outcome| outcome)?;
        self.check_expected()?;
        Ok(self.report(settle_ms))
    }

    /// All promises that a world breaks from its making to its end, instead of the first.
    pub fn all_broken(scene: impl FnOnce() -> Self) -> BTreeMap<&'static str, String> {
        let mut broken = BTreeMap::new();
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut world = scene();
            world.watch.goes_on = true;
            // Every outcome is taken: it always goes on, and how long it took to settle does not matter here.
            world
                .judged(|outcome| {
                    broken.extend(outcome.err().map(|violation| (violation.id, violation.what)));
                    Ok(())
                })
                .ok();
            world.watch.broken
        }));
        match run {
            Ok(running) => broken.extend(running),
            Err(panic) => {
                let violation = panicked(panic.as_ref());
                broken.insert(violation.id, violation.what);
            }
        }
        broken
    }

    /// All phases, each outcome handed to `judge`, which decides whether to go on. Returns how long it took until all were equal.
    fn judged(
        &mut self,
        mut judge: impl FnMut(Result<(), Violation>) -> Result<(), Violation>,
    ) -> Result<u64, Violation> {
        let until_ms = self.config.duration_ms.max(self.now_ms());
        self.run_until(until_ms);
        self.heal_everything();
        let healed_ms = self.now_ms();
        self.run_until(healed_ms + RECOVERY_MS);
        self.run_while(PROGRESS_MS_MAX, |world| world.check_progress(healed_ms).is_err());
        judge(self.check_unbroken())?;
        judge(self.check_progress(healed_ms))?;
        self.set_market_open(false);
        self.actors_rest = true;
        self.run_until(self.now_ms() + CLOSING_MS);
        let closed_ms = self.now_ms();
        judge(self.check_settles(SETTLE_MS_MAX))?;
        let settle_ms = self.now_ms() - closed_ms;
        judge(self.check_quiet())?;
        // Before the wait for certificates, after which every price is too old to count.
        judge(self.check_model())?;
        judge(self.check_answers())?;
        self.run_while(CERTIFIED_MS_MAX, |world| world.check_certified().is_err());
        judge(self.check_certified())?;
        judge(self.check_settles(SETTLE_MS_MAX))?;
        // What was certified last is on its way to the disks.
        self.run_until(self.now_ms() + WRITTEN_MS);
        judge(self.check_unbroken())?;
        self.check_all(judge)?;
        Ok(settle_ms)
    }

    fn heal_everything(&mut self) {
        self.cause(Fault::Heal);
        for node in 0..self.nodes.len() {
            // What a run's last faults had still in store for it.
            self.nodes[node].dies_in = None;
            self.cause(Fault::HealDisk(node));
            if self.nodes[node].clock.ahead_ms(self.now_ms()).abs() > self.config.clock_offset_ms_max.max(1) {
                self.cause(Fault::StepClock(node, 0));
            }
            self.cause(Fault::Start(node));
        }
    }

    /// What the scenario says must have happened did.
    fn check_expected(&self) -> Result<(), Violation> {
        let expect = &self.config.expect;
        let Expect { injected, refused, faults, halted, .. } = expect;
        let expected = |holds: bool, what: String| hold(holds, "EXPECTED", || what);
        for (&node, &least) in injected {
            let done = self.injected().get(&node).copied().unwrap_or(0);
            expected(done >= least, format!("node {node} did its worst {done} times, {least} were wanted"))?;
        }
        for (counts, wanted, what) in
            [(&self.evidence.refused, refused, "refusals"), (&self.evidence.faults, faults, "faults")]
        {
            for (name, &least) in wanted {
                let count = counts.get(name.as_str()).copied().unwrap_or(0);
                expected(count >= least, format!("{count} {what} of {name}, {least} were wanted; all: {counts:?}"))?;
            }
        }
        for &node in halted {
            expected(self.nodes[node].halted.is_some(), format!("node {node} went on"))?;
        }
        for node in self.honest() {
            self.check_expected_at(node, expect)?;
        }
        Ok(())
    }

    fn check_expected_at(&self, node: usize, expect: &Expect) -> Result<(), Violation> {
        let Expect { forked, findings, absent, present, .. } = expect;
        let Some(engine) = &self.nodes[node].engine else { return Ok(()) };
        let number = |author: AuthorKey| self.nodes.iter().position(|n| n.keys.author_key() == author);
        if let Some(wanted) = forked {
            let proven = engine.replica().history().forked().filter_map(|proof| number(proof.author()));
            let mut proven: Vec<_> = proven.collect();
            proven.sort_unstable();
            hold(proven == *wanted, "EXPECTED", || {
                format!("node {node} has proofs against {proven:?}, not {wanted:?}")
            })?;
        }
        for (kind, about) in findings {
            let mut made = engine.view().findings();
            let is_made = made.any(|f| f.kind.name() == kind && f.author == self.author(*about));
            hold(is_made, "EXPECTED", || format!("node {node} did not find {kind} about node {about}"))?;
        }
        for (&about, is_wanted) in
            absent.iter().map(|about| (about, false)).chain(present.iter().map(|about| (about, true)))
        {
            let (ops, certified) = self.ops_of(node, self.author(about));
            let holds = if is_wanted { ops > 0 } else { ops == certified };
            hold(holds, "EXPECTED", || {
                format!("node {node} counts {ops} operations of node {about}, {certified} of them certified")
            })?;
        }
        Ok(())
    }

    fn injected(&self) -> BTreeMap<usize, u64> {
        let actors = self.nodes.iter().enumerate();
        actors.filter_map(|(node, n)| Some((node, n.actor.as_ref()?.injected()))).collect()
    }

    /// What the run came to so far.
    pub fn report(&self, settle_ms: u64) -> Report {
        let histories = self.honest().into_iter().filter_map(|node| self.nodes[node].engine.as_ref());
        let (ops, forked) = histories
            .map(|engine| (engine.replica().history().ops(), engine.replica().history().forked().count()))
            .max()
            .unwrap_or_default();
        Report {
            seed: self.config.seed,
            nodes: self.nodes.len(),
            events: self.trace.events(),
            virtual_ms: self.now_ms(),
            engine_ms: self.evidence.engine_ms,
            ops,
            bytes: self.evidence.frames.iter().map(|traffic| traffic.bytes).sum(),
            honest_frames: self.evidence.honest_frames,
            settle_ms,
            faults: self.evidence.faults.clone(),
            refused: self.evidence.refused.clone(),
            injected: self.injected(),
            forked,
            trace_hash: self.trace.hash(),
        }
    }
}

impl Report {
    /// Hours that engines ran for, added up over nodes.
    pub fn node_hours(&self) -> f64 {
        let seconds = u32::try_from(self.engine_ms / 1_000).unwrap_or(u32::MAX);
        f64::from(seconds) / 3_600.0
    }

    /// Bytes that honest nodes sent one another for each operation admitted in the end.
    pub fn bytes_per_op(&self) -> u64 {
        let bytes: u64 = self.honest_frames.iter().map(|traffic| traffic.bytes).sum();
        bytes / self.ops.max(1)
    }
}

/// A panic as a broken promise: assertions of the engines begin with the id of what they guard.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Violation {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without words");
    let id = ASSERTED.iter().find(|id| text.contains(&format!("{id}:"))).copied();
    Violation { id: id.unwrap_or("CORE-1"), what: text.to_owned() }
}

/// What engines assert by themselves. Any other panic breaks CORE-1.
const ASSERTED: [&str; 5] = ["CRDT-2", "CRDT-3", "CRDT-4", "SYNC-4", "CERT-1"];
