//! Whole nodes in virtual time, over links that take exactly so long: what the protocol itself costs, without any machine.

use std::collections::BTreeMap;

use concurrence_sim::{FRAME_KINDS, LinkConfig, ScenarioConfig, Traffic, World};

use super::{AIM_MS, percentile};
use crate::{cpu::spent, report::Row};

/// Decides every draw; nothing here depends on which.
const SEED: u64 = 1;

/// Feeds of every batch: one signing group.
const FEEDS: usize = 16;

/// Virtual time until all nodes are connected and write.
const WARM_MS: u64 = 30_000;

/// Virtual time that the last operation is given to arrive.
const ARRIVAL_MS: u64 = 2_000;

/// A calm network: links of one delay, disks that take a millisecond, clocks that agree; nothing checks what it does.
pub(super) fn calm(nodes: usize, delay_ms: u64) -> World {
    let link = LinkConfig {
        latency_ms: (delay_ms, delay_ms),
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        reorder_per_mille: 0,
        bytes_per_s: 0,
    };
    let calm = ScenarioConfig::calm(SEED, nodes);
    let mut world = World::new(ScenarioConfig { link, feeds: FEEDS, disk_ms: (1, 1), clock_offset_ms_max: 0, ..calm });
    world.leave_unwatched();
    world
}

/// Runs a network for some minutes and follows every operation.
pub(super) fn spread(nodes: usize, delay_ms: u64, minutes: u64) -> Vec<Row> {
    let mut world = calm(nodes, delay_ms);
    world.run_until(WARM_MS);
    world.record_admissions();
    let (before, until_ms) = (totals(&world), WARM_MS + minutes * 60_000);
    let ((), cpu) = spent(|| world.run_until(until_ms));
    let sent = since(totals(&world), before);
    world.run_until(until_ms + ARRIVAL_MS);
    let all_ms = delays(&world, nodes, until_ms);

    let (ops, name) = (all_ms.len() as f64, format!("{nodes} nodes, links of {delay_ms} ms"));
    let (p50, p99) = (percentile(&all_ms, 50), percentile(&all_ms, 99));
    let least = ops * (nodes - 1) as f64 * op_len(&sent);
    let bytes: u64 = sent.iter().map(|traffic| traffic.bytes).sum();
    let cpu_us = cpu.as_secs_f64() * 1e6 / (ops * nodes as f64);
    vec![
        Row::plain(format!("append to all of {name}, simulated, p50"), p50, "ms").beside(delay_ms as f64),
        Row::plain(format!("append to all of {name}, simulated, p99"), p99, "ms")
            .beside(delay_ms as f64)
            .aiming_at_most(delay_ms as f64 + AIM_MS)
            .noting(format!("{ops} operations; {cpu_us:.0} us of processor an operation and node, simulator included")),
        Row::plain(format!("bytes of frames by bytes of operations, {name}, simulated"), bytes as f64 / least, "x")
            .beside(1.0)
            .noting(told(&sent)),
    ]
}

/// For every operation that its author made durable by then: milliseconds from that to the last node's admission, ascending.
fn delays(world: &World, nodes: usize, until_ms: u64) -> Vec<f64> {
    let authors: Vec<_> = (0..nodes).map(|node| world.author(node)).collect();
    let (mut begun, mut ways): (BTreeMap<_, _>, BTreeMap<_, Vec<u64>>) = (BTreeMap::new(), BTreeMap::new());
    for op in world.admissions() {
        let at = (op.log, op.seq);
        if authors[op.node] != op.log.author {
            ways.entry(at).or_default().push(op.at_ms);
        } else if op.at_ms <= until_ms {
            begun.insert(at, op.at_ms);
        }
    }
    let mut all_ms = Vec::new();
    for (op, begun_ms) in begun {
        let arrived = ways.remove(&op).unwrap_or_default();
        assert_eq!(arrived.len(), nodes - 1, "{op:?} is not everywhere");
        all_ms.extend(arrived.iter().max().map(|last_ms| (last_ms - begun_ms) as f64));
    }
    all_ms.sort_by(f64::total_cmp);
    all_ms
}

/// Place of the frames with one operation among [`FRAME_KINDS`].
const OP_KIND: usize = 5;

/// Frames by kind.
pub(super) type Sent = [Traffic; FRAME_KINDS.len()];

/// Bytes of an operation in a frame of its own, on average.
pub(super) fn op_len(sent: &Sent) -> f64 {
    sent[OP_KIND].bytes as f64 / sent[OP_KIND].frames as f64
}

/// What was sent so far.
pub(super) fn totals(world: &World) -> Sent {
    std::array::from_fn(|kind| world.honest_frames()[kind])
}

/// What came between two readings.
pub(super) fn since(now: Sent, before: Sent) -> Sent {
    std::array::from_fn(|at| Traffic {
        frames: now[at].frames - before[at].frames,
        bytes: now[at].bytes - before[at].bytes,
    })
}

/// The kinds that were sent, as people read them.
pub(super) fn told(sent: &Sent) -> String {
    let kinds = FRAME_KINDS.iter().zip(sent).filter(|(_, traffic)| traffic.frames > 0);
    let kinds =
        kinds.map(|(kind, traffic)| format!("{} {kind} of {} bytes", traffic.frames, traffic.bytes / traffic.frames));
    kinds.collect::<Vec<_>>().join(", ")
}
