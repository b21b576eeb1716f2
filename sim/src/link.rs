//! Links between nodes: who is connected, and what becomes of a frame on its way.

use std::collections::BTreeMap;

use crate::dice::Dice;

/// How frames travel between any two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Least and greatest time on the way, in milliseconds.
    pub latency_ms: (u64, u64),
    /// Frames that are lost, in a thousand.
    pub loss_per_mille: u32,
    /// Frames that arrive twice, in a thousand.
    pub duplicate_per_mille: u32,
    /// Frames that may be overtaken by later ones, in a thousand; they take up to [`DELAY_MS_MAX`] longer.
    pub reorder_per_mille: u32,
}

/// How a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Connections between the groups are closed, as `set_admitted` closes them.
    Closed,
    /// Connections stay and nothing comes through, as behind a dead router.
    Silent,
    /// As [`Silent`](Self::Silent), but only from the lower to the higher group.
    OneWay,
}

/// Longest extra time of a frame that is overtaken, in milliseconds: longer than a sync interval.
pub const DELAY_MS_MAX: u64 = 1_500;

/// All connections and cuts.
pub(crate) struct Links {
    config: LinkConfig,
    dice: Dice,
    /// Number of the present connection of each connected pair (lower node first).
    up: BTreeMap<(usize, usize), u64>,
    connections: u64,
    /// When the last frame that keeps its order arrives.
    last_arrival_ms: BTreeMap<(usize, usize), u64>,
    groups: Vec<u8>,
    cut: Option<Cut>,
}

impl Links {
    pub(crate) fn new(config: LinkConfig, nodes: usize, seed: u64) -> Self {
        Self {
            config,
            dice: Dice::new(seed, "links"),
            up: BTreeMap::new(),
            connections: 0,
            last_arrival_ms: BTreeMap::new(),
            groups: vec![0; nodes],
            cut: None,
        }
    }

    /// Cuts between groups; nodes without an entry are in group 0.
    pub(crate) fn partition(&mut self, groups: &[u8], cut: Cut) {
        self.groups.iter_mut().enumerate().for_each(|(at, group)| *group = groups.get(at).copied().unwrap_or(0));
        self.cut = Some(cut);
    }

    pub(crate) fn heal(&mut self) {
        self.cut = None;
    }

    /// Whether two nodes may be connected now.
    pub(crate) fn may_connect(&self, a: usize, b: usize) -> bool {
        self.cut != Some(Cut::Closed) || self.groups[a] == self.groups[b]
    }

    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.up.contains_key(&pair(a, b))
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.connections += 1;
        self.up.insert(pair(a, b), self.connections);
    }

    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        self.up.remove(&pair(a, b));
    }

    /// Sends a frame: the connection it travels on, and when its copies arrive.
    pub(crate) fn send(&mut self, from: usize, to: usize, now_ms: u64) -> (u64, Vec<u64>) {
        let Some(&connection) = self.up.get(&pair(from, to)) else { return (0, Vec::new()) };
        if self.is_cut(from, to) || self.dice.chance(self.config.loss_per_mille) {
            return (connection, Vec::new());
        }
        let (least, greatest) = self.config.latency_ms;
        let copies = 1 + u64::from(self.dice.chance(self.config.duplicate_per_mille));
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            let plain = now_ms + self.dice.between(least, greatest).max(1);
            let last = self.last_arrival_ms.entry((from, to)).or_default();
            if self.dice.chance(self.config.reorder_per_mille) {
                arrivals.push(plain + self.dice.between(0, DELAY_MS_MAX));
            } else {
                *last = plain.max(*last);
                arrivals.push(*last);
            }
        }
        (connection, arrivals)
    }

    /// Whether a frame that was sent on a connection still arrives.
    pub(crate) fn arrives(&self, from: usize, to: usize, connection: u64) -> bool {
        self.up.get(&pair(from, to)) == Some(&connection) && !self.is_cut(from, to)
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        match self.cut {
            None => false,
            Some(Cut::OneWay) => self.groups[from] < self.groups[to],
            Some(_) => self.groups[from] != self.groups[to],
        }
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
