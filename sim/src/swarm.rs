//! Swarm testing: each seed draws its own kinds of faults as well as their times, because uniform faults hide what only shows when
//! some are absent (Groce and others, "Swarm Testing", ISSTA 2012).

use crate::{
    ScenarioConfig,
    actors::ActorKind,
    clock::DRIFT_PPM_MAX,
    dice::Dice,
    faults::LOSS_DOWN_MS,
    link::{Cut, LinkConfig},
    node::Role,
    scenario::Fault,
};

const MINUTE_MS: u64 = 60_000;

/// Every so many seeds one is of a large network.
const LARGE_ONE_IN: u64 = 6;

/// Nodes of a large network: the most that one expects of an oracle's committee.
const LARGE: usize = 31;

/// Nodes of the others, least and greatest.
const SMALL: (u64, u64) = (4, 15);

impl ScenarioConfig {
    /// A mix of faults that the seed draws, over so many minutes. The number of nodes is drawn too, unless it is given.
    pub fn drawn(seed: u64, nodes: Option<usize>, minutes: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario");
        let drawn = usize::try_from(dice.between(SMALL.0, SMALL.1)).unwrap_or(7);
        let count = nodes.unwrap_or(if seed.is_multiple_of(LARGE_ONE_IN) { LARGE } else { drawn });
        let mut config = Self { duration_ms: minutes.max(1) * MINUTE_MS, ..Self::calm(seed, count) };
        config.command = format!("cargo xtask sim --seed {seed} --minutes {minutes}");
        if nodes.is_some() {
            config.command += &format!(" --nodes {count}");
        }
        config.draw_machines(&mut dice);
        config.draw_liars(&mut dice);
        let is_cut = dice.chance(700);
        if is_cut {
            config.draw_partitions(&mut dice);
        }
        if dice.chance(700) {
            config.draw_ends(&mut dice);
        }
        if dice.chance(500) {
            config.draw_disks(&mut dice, is_cut);
        }
        if dice.chance(250) && !is_cut {
            config.draw_losses(&mut dice);
        }
        if dice.chance(300) {
            config.draw_clocks(&mut dice);
        }
        config
    }

    fn draw_machines(&mut self, dice: &mut Dice) {
        let some = |dice: &mut Dice, most: u64| if dice.chance(500) { dice.between(1, most) } else { 0 };
        let per_mille = |value: u64| u32::try_from(value).unwrap_or(0);
        self.link = LinkConfig {
            latency_ms: (1, dice.between(10, 400)),
            loss_per_mille: per_mille(some(dice, 300)),
            duplicate_per_mille: per_mille(some(dice, 200)),
            reorder_per_mille: per_mille(some(dice, 200)),
            // From a narrow line to a wide one; what the digests and operations of a large network need is below either.
            bytes_per_s: if dice.chance(250) { dice.between(20_000, 1_000_000) } else { 0 },
        };
        self.disk_ms = (0, dice.between(1, 100));
        self.quote_loss_per_mille = per_mille(some(dice, 100));
        self.feeds = [1, 2, 2, 16][dice.below(4)];
        self.tick_ms = [2_000, 5_000, 5_000, 10_000][dice.below(4)];
        if self.roles.len() >= LARGE {
            // What a large network costs to simulate grows with the square of its nodes.
            (self.feeds, self.tick_ms) = (self.feeds.min(2), 10_000);
        }
        self.clock_drift_ppm_max = if dice.chance(500) { DRIFT_PPM_MAX } else { 0 };
    }

    fn draw_liars(&mut self, dice: &mut Dice) {
        let most = (self.roles.len().saturating_sub(1) / 3) as u64;
        for _ in 0..dice.between(0, most) {
            let at = dice.below(self.roles.len());
            self.roles[at] = if dice.chance(200) {
                Role::Reporter { factor_ppm: 1_150_000 }
            } else {
                Role::Liar(ActorKind::ALL[dice.below(ActorKind::ALL.len())])
            };
        }
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
            at_ms += dice.between(3_000, 60_000);
            self.faults.push((at_ms.min(self.duration_ms), Fault::Heal));
            at_ms += dice.between(1_000, 60_000);
        }
    }

    /// Only honest processes end: a liar's actor lives in its process.
    fn honest_node(&self, dice: &mut Dice) -> Option<usize> {
        Some(dice.below(self.roles.len())).filter(|&node| !matches!(self.roles[node], Role::Liar(_)))
    }

    fn draw_ends(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(1, 8) {
            let Some(node) = self.honest_node(dice) else { continue };
            let at_ms = dice.between(0, self.duration_ms);
            let end = match dice.below(3) {
                0 => Fault::Kill(node),
                1 => Fault::PowerCut(node),
                _ => Fault::KillAfter(node, u32::try_from(dice.between(1, 400)).unwrap_or(1)),
            };
            self.faults.push((at_ms, end));
            self.faults.push((at_ms + dice.between(10, 20_000), Fault::Start(node)));
        }
    }

    /// Where rows rotted and the process then ends, the store is given up: a loss of what was confirmed, and not promised to go well
    /// while its peers cannot tell one another what only one of them has heard. So nothing rots where there are partitions.
    fn draw_disks(&mut self, dice: &mut Dice, is_cut: bool) {
        for _ in 0..dice.between(1, 4) {
            let Some(node) = self.honest_node(dice) else { continue };
            let at_ms = dice.between(5_000, self.duration_ms);
            let calls = dice.between(0, 30);
            match dice.below(3) {
                0 => self.faults.push((at_ms, Fault::BreakDisk(node, calls))),
                2 if is_cut => self.faults.push((at_ms, Fault::BreakDisk(node, calls))),
                1 => self.faults.push((at_ms, Fault::FillDisk(node, calls))),
                _ => {
                    (0..dice.between(1, 5)).for_each(|n| self.faults.push((at_ms + n, Fault::Rot(node))));
                    self.faults.push((at_ms + 10, Fault::Kill(node)));
                }
            }
            let healed_ms = at_ms + dice.between(1_000, 30_000);
            self.faults.push((healed_ms, Fault::HealDisk(node)));
            self.faults.push((healed_ms + 1, Fault::Start(node)));
        }
    }

    /// A disk is replaced, or an old backup put back: one node only, and only where peers can reach one another meanwhile.
    fn draw_losses(&mut self, dice: &mut Dice) {
        let Some(node) = self.honest_node(dice) else { return };
        let least = self.duration_ms.saturating_sub(LOSS_DOWN_MS).max(10_000);
        let at_ms = dice.between(10_000, least);
        // Nothing else may end the only ones that know of its last operations.
        self.faults.retain(|(_, fault)| matches!(fault, Fault::StepClock(..)));
        self.faults.push((at_ms / 2, Fault::Backup(node)));
        self.faults.push((at_ms, Fault::PowerCut(node)));
        let loss = if dice.chance(500) { Fault::ReplaceDisk(node) } else { Fault::RestoreBackup(node) };
        self.faults.push((at_ms + LOSS_DOWN_MS - 1_000, loss));
        self.faults.push((at_ms + LOSS_DOWN_MS, Fault::Start(node)));
        self.duration_ms = self.duration_ms.max(at_ms + LOSS_DOWN_MS + 1_000);
    }

    fn draw_clocks(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(1, 3) {
            let (at_ms, node) = (dice.between(0, self.duration_ms), dice.below(self.roles.len()));
            // Within what is promised; or an hour off, where peers are there to tell: then the node must stop by itself. (One that
            // starts with a wrong clock and hears nobody writes under a wrong time, and cannot know.)
            let is_told = self.faults.iter().all(|(_, fault)| matches!(fault, Fault::StepClock(..)));
            let most = if is_told && dice.chance(500) { 3_600_000 } else { self.clock_offset_ms_max };
            self.faults.push((at_ms, Fault::StepClock(node, dice.around_zero(most))));
        }
    }
}
