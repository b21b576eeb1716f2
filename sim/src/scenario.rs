//! Scenarios: which nodes, which links, which faults, and what must have happened in the end.

use std::collections::BTreeMap;

use crate::{
    actors::ActorKind,
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
    /// How long faults go on (safety), in milliseconds of virtual time. After that everything heals, and progress is demanded
    /// (liveness).
    pub duration_ms: u64,
    /// Time between a node's batches, in milliseconds.
    pub tick_ms: u64,
    /// Feeds that every node publishes.
    pub feeds: usize,
    /// How often a node asks its venues, in milliseconds.
    pub poll_ms: u64,
    /// How frames travel.
    pub link: LinkConfig,
    /// Least and greatest time that a store takes to serve what it was given, in milliseconds.
    pub disk_ms: (u64, u64),
    /// Quotes that a venue fails to give, in a thousand.
    pub quote_loss_per_mille: u32,
    /// Greatest distance of a node's wall clock from virtual time at the start, in milliseconds.
    pub clock_offset_ms_max: i64,
    /// Greatest drift of a node's wall clock, in parts per million.
    pub clock_drift_ppm_max: i64,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
    /// What must have happened in the end.
    pub expect: Expect,
    /// How to repeat the run, when it fails.
    pub command: String,
}

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process starts, from what its disk holds.
    Start(usize),
    /// A process is killed: what it had written stays.
    Kill(usize),
    /// The power of a process's machine goes: what it had not synced is lost in part, sector by sector.
    PowerCut(usize),
    /// A process is killed when it has taken so many more inputs, before what follows from the last one is carried out.
    KillAfter(usize, u32),
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
    /// After so many more writes and syncs every one fails as if the device were broken; the process dies of the first.
    BreakDisk(usize, u64),
    /// The same, as if the disk were full.
    FillDisk(usize, u64),
    /// The disk works again.
    HealDisk(usize),
    /// A bit of a stored operation flips: one of another author's.
    Rot(usize),
    /// A new, empty disk in the place of a broken one, if the process does not run.
    ReplaceDisk(usize),
}

/// What must have happened in a run. What is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Exactly these nodes' authors are proven forked, by every honest node.
    pub forked: Option<Vec<usize>>,
    /// Actors did what they are for at least so often, by node.
    pub injected: BTreeMap<usize, u64>,
    /// Honest nodes refused something at least so often, by the reason's name.
    pub refused: BTreeMap<String, u64>,
    /// Faults took effect at least so often, by name.
    pub faults: BTreeMap<String, u64>,
    /// These nodes ended by themselves, because their key is used elsewhere or their log is forked.
    pub halted: Vec<usize>,
    /// Findings that every honest node made, as (kind, node).
    pub findings: Vec<(String, usize)>,
    /// Nothing of these nodes' authors counts in the end.
    pub absent: Vec<usize>,
    /// Something of these nodes' authors counts in the end, at every honest node.
    pub present: Vec<usize>,
}

impl ScenarioConfig {
    /// A calm network of honest nodes that tick every five seconds: what targeted scenarios start from.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            roles: vec![Role::Honest; nodes],
            duration_ms: 30_000,
            tick_ms: 5_000,
            feeds: 2,
            poll_ms: 2_500,
            link: LinkConfig {
                latency_ms: (5, 50),
                loss_per_mille: 0,
                duplicate_per_mille: 0,
                reorder_per_mille: 0,
                bytes_per_s: 0,
            },
            disk_ms: (0, 10),
            quote_loss_per_mille: 0,
            clock_offset_ms_max: 10_000,
            clock_drift_ppm_max: 0,
            faults: Vec::new(),
            expect: Expect::default(),
            command: "cargo test -p concurrence-sim".to_owned(),
        }
    }

    /// Makes a node an actor.
    #[must_use]
    pub fn with_liar(mut self, node: usize, kind: ActorKind) -> Self {
        self.roles[node] = Role::Liar(kind);
        self
    }
}
