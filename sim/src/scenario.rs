//! Scenarios: which nodes, which links, which faults; drawn from a seed, run to the end, checked, reported.

use concurrence_crdt::Digest;

use crate::{
    World,
    check::{SETTLE_MS_MAX, Violation},
    dice::Dice,
    evidence::{FRAME_KINDS, Traffic},
    link::{Cut, LinkConfig},
    node::Role,
};

/// All that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioConfig {
    /// Decides every draw.
    pub seed: u64,
    /// What each node is.
    pub roles: Vec<Role>,
    /// How long faults go on, in milliseconds of virtual time.
    pub duration_ms: u64,
    /// Time between a node's batches, in milliseconds.
    pub tick_ms: u64,
    /// How frames travel.
    pub link: LinkConfig,
    /// Longest time that a store takes to serve what it was given, in milliseconds.
    pub disk_ms_max: u64,
    /// Quotes that a venue fails to give, in a thousand.
    pub quote_loss_per_mille: u32,
    /// Greatest distance of a node's wall clock from virtual time, in milliseconds.
    pub clock_offset_ms_max: i64,
    /// Offsets of the first nodes, where a scenario chooses them.
    pub clock_offsets_ms: Vec<i64>,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
}

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process starts, from what its disk holds.
    Start(usize),
    /// A process is gone at once.
    Crash(usize),
    /// Nodes of different groups cannot talk.
    Partition(Vec<u8>, Cut),
    /// All nodes can talk.
    Heal,
    /// A wall clock is set to this many milliseconds ahead of virtual time.
    StepClock(usize, i64),
    /// A copy of a disk is put aside.
    Backup(usize),
    /// The copy is put back, if the process does not run.
    RestoreBackup(usize),
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Events of the world.
    pub events: u64,
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
    /// Crashes.
    pub crashes: u64,
    /// Authors proven forked.
    pub forked: usize,
    /// BLAKE3 of all inputs and outputs in order.
    pub trace_hash: Digest,
}

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, {minutes} min, {nodes} nodes: {violation}\nto see it again: {command}")]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Length of the faulty part, in minutes.
    pub minutes: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Which promise, and how.
    pub violation: Violation,
    /// What to type.
    pub command: String,
}

/// Virtual time with an open market after the last fault, in milliseconds: three ticks of the usual five seconds, so that answers
/// are `ok` again and name who is far off.
const RECOVERY_MS: u64 = 20_000;

/// Time in which every node has asked its venues again and the last batches are out, in milliseconds: three polls.
const CLOSING_MS: u64 = 3_000;

const MINUTE_MS: u64 = 60_000;

impl ScenarioConfig {
    /// A calm network of honest nodes that tick every five seconds: what targeted scenarios start from.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            roles: vec![Role::Honest; nodes],
            duration_ms: 30_000,
            tick_ms: 5_000,
            link: LinkConfig { latency_ms: (5, 50), loss_per_mille: 0, duplicate_per_mille: 0, reorder_per_mille: 0 },
            disk_ms_max: 10,
            quote_loss_per_mille: 0,
            clock_offset_ms_max: 10_000,
            clock_offsets_ms: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// A mix of faults that the seed draws. Each seed draws its own kinds as well as their times, because uniform faults hide
    /// what only shows when some are absent (swarm testing).
    pub fn drawn(seed: u64, nodes: usize, minutes: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario");
        let duration_ms = minutes.max(1) * MINUTE_MS;
        let mut config = Self { duration_ms, ..Self::calm(seed, nodes) };
        let some = |dice: &mut Dice, most: u64| if dice.chance(500) { dice.between(1, most) } else { 0 };
        let per_mille = |value: u64| u32::try_from(value).unwrap_or(0);
        config.link = LinkConfig {
            latency_ms: (1, dice.between(10, 400)),
            loss_per_mille: per_mille(some(&mut dice, 300)),
            duplicate_per_mille: per_mille(some(&mut dice, 200)),
            reorder_per_mille: per_mille(some(&mut dice, 200)),
        };
        config.disk_ms_max = dice.between(1, 100);
        config.quote_loss_per_mille = per_mille(some(&mut dice, 100));

        let liars = dice.between(0, (nodes.saturating_sub(1) / 3) as u64);
        for _ in 0..liars {
            let role = if dice.chance(600) { Role::Equivocator } else { Role::Reporter { factor_ppm: 1_150_000 } };
            let at = dice.below(nodes);
            config.roles[at] = role;
        }
        if dice.chance(700) {
            config.draw_partitions(&mut dice);
        }
        if dice.chance(700) {
            config.draw_crashes(&mut dice);
        }
        if dice.chance(300) {
            let (at_ms, node) = (dice.between(0, duration_ms), dice.below(nodes));
            config.faults.push((at_ms, Fault::StepClock(node, dice.around_zero(config.clock_offset_ms_max))));
        }
        config
    }

    fn draw_partitions(&mut self, dice: &mut Dice) {
        let mut at_ms = dice.between(5_000, 20_000);
        while at_ms < self.duration_ms {
            let mut order: Vec<usize> = (0..self.roles.len()).collect();
            dice.shuffle(&mut order);
            let cut_off = 1 + dice.below(self.roles.len().div_ceil(2));
            let mut groups = vec![0; self.roles.len()];
            // Either side may be the lower one, which is the mute one of a one-way cut.
            let (inside, outside) = if dice.chance(500) { (1, 0) } else { (0, 1) };
            groups.fill(outside);
            order.iter().take(cut_off).for_each(|&node| groups[node] = inside);
            let cut = [Cut::Closed, Cut::Closed, Cut::Silent, Cut::OneWay][dice.below(4)];
            self.faults.push((at_ms, Fault::Partition(groups, cut)));
            at_ms += dice.between(3_000, 30_000);
            self.faults.push((at_ms.min(self.duration_ms), Fault::Heal));
            at_ms += dice.between(1_000, 20_000);
        }
    }

    fn draw_crashes(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(1, 6) {
            let node = dice.below(self.roles.len());
            let down_ms = dice.between(0, self.duration_ms);
            // A liar's actor lives in its process; only honest processes crash.
            if self.roles[node] != Role::Equivocator {
                self.faults.push((down_ms, Fault::Crash(node)));
                self.faults.push((down_ms + dice.between(10, 20_000), Fault::Start(node)));
            }
        }
    }
}

impl World {
    /// Runs a scenario to its end and checks everything.
    pub fn run(config: ScenarioConfig) -> Result<Report, Failure> {
        let (seed, minutes, nodes) = (config.seed, config.duration_ms / MINUTE_MS, config.roles.len());
        let mut world = Self::new(config);
        world.finish().map_err(|violation| {
            let command = format!("cargo run -p concurrence-sim -- --seed {seed} --nodes {nodes} --minutes {minutes}");
            Failure { seed, minutes, nodes, violation, command }
        })
    }

    /// Runs on to the end of the faults, heals, lets everyone recover, and checks everything.
    pub fn finish(&mut self) -> Result<Report, Violation> {
        let until_ms = self.config.duration_ms.max(self.now_ms());
        self.run_until(until_ms);
        self.cause(Fault::Heal);
        for node in 0..self.nodes.len() {
            self.cause(Fault::Start(node));
        }
        self.run_until(self.now_ms() + RECOVERY_MS);
        self.close_market();
        self.run_until(self.now_ms() + CLOSING_MS);
        let closed_ms = self.now_ms();
        self.check_settles(SETTLE_MS_MAX)?;
        let settle_ms = self.now_ms() - closed_ms;
        self.check_quiet()?;
        self.check_all()?;
        Ok(self.report(settle_ms))
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
            events: self.trace.events(),
            engine_ms: self.evidence.engine_ms,
            ops,
            bytes: self.evidence.frames.iter().map(|traffic| traffic.bytes).sum(),
            honest_frames: self.evidence.honest_frames,
            settle_ms,
            crashes: self.evidence.crashes,
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
