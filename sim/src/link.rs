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
    /// Bytes that a link carries in a second, each way; 0 for no limit. Frames queue, and those that would wait for longer than
    /// [`QUEUE_MS_MAX`] are lost.
    pub bytes_per_s: u64,
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

/// Longest time that a frame waits for its turn on a narrow link, in milliseconds: what a queue of the transport holds before it
/// gives frames up.
pub const QUEUE_MS_MAX: u64 = 10_000;

/// All connections and cuts.
pub(crate) struct Links {
    config: LinkConfig,
    dice: Dice,
    nodes: usize,
    /// Number of the present connection of each pair; 0 for none.
    up: Vec<u64>,
    connections: u64,
    /// When the last frame that keeps its order arrives, by sender and receiver.
    last_arrival_ms: Vec<u64>,
    /// Until when a link is busy with what was sent, in microseconds; empty without a limit.
    busy_until_us: BTreeMap<(usize, usize), u64>,
    groups: Vec<u8>,
    cut: Option<Cut>,
    /// Until when a pair is not to be connected, in virtual time.
    banned_until_ms: Vec<u64>,
    /// Frames that were lost, by chance or behind a cut.
    pub(crate) lost: u64,
}

impl Links {
    pub(crate) fn new(config: LinkConfig, nodes: usize, seed: u64) -> Self {
        Self {
            config,
            dice: Dice::new(seed, "links"),
            nodes,
            up: vec![0; nodes * nodes],
            connections: 0,
            last_arrival_ms: vec![0; nodes * nodes],
            busy_until_us: BTreeMap::new(),
            groups: vec![0; nodes],
            cut: None,
            banned_until_ms: vec![0; nodes * nodes],
            lost: 0,
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
    pub(crate) fn may_connect(&self, a: usize, b: usize, now_ms: u64) -> bool {
        let is_apart = self.cut == Some(Cut::Closed) && self.groups[a] != self.groups[b];
        !is_apart && self.banned_until_ms[self.pair(a, b)] <= now_ms
    }

    /// Two nodes are not to be connected for a time.
    pub(crate) fn ban(&mut self, a: usize, b: usize, until_ms: u64) {
        let pair = self.pair(a, b);
        self.banned_until_ms[pair] = self.banned_until_ms[pair].max(until_ms);
    }

    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.up[self.pair(a, b)] != 0
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.connections += 1;
        let pair = self.pair(a, b);
        self.up[pair] = self.connections;
    }

    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        let pair = self.pair(a, b);
        self.up[pair] = 0;
    }

    /// Sends a frame: the connection it travels on, and when its copies arrive.
    pub(crate) fn send(&mut self, from: usize, to: usize, now_ms: u64, len: usize) -> (u64, [Option<u64>; 2]) {
        let connection = self.up[self.pair(from, to)];
        let queued_ms = self.queued_ms(from, to, now_ms, len);
        if connection == 0
            || self.is_cut(from, to)
            || self.dice.chance(self.config.loss_per_mille)
            || queued_ms > QUEUE_MS_MAX
        {
            self.lost += 1;
            return (connection, [None, None]);
        }
        let first = self.arrival(from, to, now_ms + queued_ms);
        let again = self.dice.chance(self.config.duplicate_per_mille);
        (connection, [Some(first), again.then(|| self.arrival(from, to, now_ms + queued_ms))])
    }

    fn arrival(&mut self, from: usize, to: usize, sent_ms: u64) -> u64 {
        let (least, greatest) = self.config.latency_ms;
        let plain = sent_ms + if greatest > least { self.dice.between(least, greatest) } else { least };
        if self.dice.chance(self.config.reorder_per_mille) {
            return plain + self.dice.between(0, DELAY_MS_MAX);
        }
        let last = &mut self.last_arrival_ms[from * self.nodes + to];
        *last = plain.max(*last);
        *last
    }

    /// How long a frame waits until its last byte is on the link.
    fn queued_ms(&mut self, from: usize, to: usize, now_ms: u64, len: usize) -> u64 {
        if self.config.bytes_per_s == 0 {
            return 0;
        }
        let now_us = now_ms * 1_000;
        let busy = self.busy_until_us.entry((from, to)).or_default();
        let until = (*busy).max(now_us) + len as u64 * 1_000_000 / self.config.bytes_per_s;
        if until - now_us <= QUEUE_MS_MAX * 1_000 {
            *busy = until;
        }
        (until - now_us) / 1_000
    }

    /// Whether a frame that was sent on a connection still arrives.
    pub(crate) fn arrives(&self, from: usize, to: usize, connection: u64) -> bool {
        self.up[self.pair(from, to)] == connection && !self.is_cut(from, to)
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        match self.cut {
            None => false,
            Some(Cut::OneWay) => self.groups[from] < self.groups[to],
            Some(_) => self.groups[from] != self.groups[to],
        }
    }

    const fn pair(&self, a: usize, b: usize) -> usize {
        if a < b { a * self.nodes + b } else { b * self.nodes + a }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes_per_s: u64) -> LinkConfig {
        LinkConfig {
            latency_ms: (50, 50),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            bytes_per_s,
        }
    }

    #[test]
    fn a_narrow_link_makes_frames_wait_and_gives_up_what_waits_too_long() {
        let mut links = Links::new(plain(1_000), 2, 1);
        links.connect(0, 1);
        let arrivals: Vec<_> = (0..12).map(|_| links.send(0, 1, 100, 1_000).1[0]).collect();
        assert_eq!(arrivals[..3], [Some(1_150), Some(2_150), Some(3_150)]);
        assert_eq!(arrivals[9..], [Some(10_150), None, None]);
        assert_eq!(links.lost, 2);
        // The other way is another link.
        assert_eq!(links.send(1, 0, 100, 1_000).1[0], Some(1_150));
    }

    #[test]
    fn a_one_way_cut_leaves_the_other_way() {
        let mut links = Links::new(plain(0), 2, 1);
        links.connect(0, 1);
        links.partition(&[0, 1], Cut::OneWay);
        assert_eq!((links.send(0, 1, 0, 9).1[0], links.send(1, 0, 0, 9).1[0]), (None, Some(50)));
    }
}
