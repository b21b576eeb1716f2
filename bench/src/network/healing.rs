//! Two halves that wrote apart, and heal: how long until both hold everything, and with how many bytes.

use concurrence_crdt::LogKey;
use concurrence_sim::{Cut, Fault, World};

use super::virtual_time::{calm, op_len, since, told, totals};
use crate::{cpu::spent, report::Row};

/// Nodes, three of them on one side.
const NODES: usize = 7;

/// One-way delay of every link, in milliseconds: across an ocean.
const DELAY_MS: u64 = 50;

/// Virtual time before the cut.
const WARM_MS: u64 = 30_000;

/// Within this everything must be everywhere.
const HEAL_MS_MAX: u64 = 60_000;

/// Heals a network of seven after so many minutes.
pub(super) fn heal(minutes: u64) -> Vec<Row> {
    let mut world = calm(NODES, DELAY_MS);
    world.run_until(WARM_MS);
    let groups: Vec<u8> = (0..NODES).map(|node| u8::from(node < NODES / 2)).collect();
    world.partition(&groups, Cut::Closed);
    world.run_until(WARM_MS + minutes * 60_000);

    let logs: Vec<_> = (0..NODES).map(|node| LogKey { author: world.author(node), index: 0 }).collect();
    let ends: Vec<_> = logs.iter().zip(0..).map(|(log, node)| len(&mut world, node, *log)).collect();
    let held = |world: &mut _| -> u64 {
        let each = |node: usize, world: &mut _| {
            logs.iter().zip(&ends).map(|(log, end)| len(world, node, *log).min(*end)).sum::<u64>()
        };
        (0..NODES).map(|node| each(node, world)).sum()
    };
    let all = ends.iter().sum::<u64>() * NODES as u64;
    let missing = all - held(&mut world);
    assert!(missing > 0, "the halves did not write apart");

    let (sent, healed_ms) = (totals(&world), world.now_ms());
    world.cause(Fault::Heal);
    let ((), cpu) = spent(|| {
        while held(&mut world) < all {
            assert!(world.now_ms() < healed_ms + HEAL_MS_MAX, "{} of {all} are held", held(&mut world));
            world.run_until(world.now_ms() + 1);
        }
    });
    let took_ms = world.now_ms() - healed_ms;
    let sent = since(totals(&world), sent);
    let bytes: u64 = sent.iter().map(|traffic| traffic.bytes).sum();
    let least = missing as f64 * op_len(&totals(&world));
    let name = format!("{NODES} nodes apart for {minutes} min, links of {DELAY_MS} ms");
    // The least time: a dial's round trip is not simulated; hello, question and answer are one delay each.
    vec![
        Row::plain(format!("heal {name}, simulated"), took_ms as f64, "ms").beside((3 * DELAY_MS) as f64).noting(
            format!("{missing} operations are missing somewhere; links have no bandwidth; dials take up to 500 ms"),
        ),
        Row::plain(format!("bytes to heal {name}, by bytes of missing operations"), bytes as f64 / least, "x")
            .beside(1.0)
            .noting(told(&sent)),
        Row::plain(
            "processor time to heal, an operation that is missing somewhere",
            cpu.as_secs_f64() * 1e6 / missing as f64,
            "us",
        ),
    ]
}

/// Length of a log as a node sees it.
fn len(world: &mut World, node: usize, log: LogKey) -> u64 {
    world.engine(node).map_or(0, |engine| engine.replica().history().tail(log).len)
}
