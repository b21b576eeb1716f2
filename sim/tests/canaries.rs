//! Each canary is a one-line fault in production code, and must be caught by the checker of its own id:
//! `cargo test -p concurrence-sim --features canary --test canaries`.

use concurrence_crdt::{
    LOGS_MAX, LogKey, OpId, SigningKey, Time,
    canary::{Canary, release},
};
use concurrence_protocol::Frame;
use concurrence_sim::{Cut, Fault, Role, ScenarioConfig, World};

/// What goes on while the canary sings.
type Scene = fn() -> World;

/// All canaries: what must catch them, and where.
const CANARIES: [(Canary, &str, Scene); 28] = [
    (Canary::Crdt1, "CRDT-1", lively),
    (Canary::Crdt2, "CRDT-2", lively),
    (Canary::Crdt3, "CRDT-3", with_a_stranger),
    (Canary::Crdt4, "CRDT-4", with_a_fork),
    (Canary::Crdt5, "CRDT-5", with_a_flood),
    (Canary::Crdt6, "CRDT-6", with_garbage),
    (Canary::Crdt7, "CRDT-7", lively),
    (Canary::Cert1, "CERT-1", with_a_late_fork),
    (Canary::Cert2, "CERT-2", lively),
    (Canary::Cert4, "CERT-4", lively),
    (Canary::Cert5, "CERT-5", lively),
    (Canary::Sync1, "SYNC-1", lively),
    (Canary::Sync2, "SYNC-2", lively),
    (Canary::Sync3, "SYNC-3", with_a_twin),
    (Canary::Sync4, "SYNC-4", with_a_flood),
    (Canary::Sync5, "SYNC-5", lively),
    (Canary::Sync6, "SYNC-6", lively),
    (Canary::Oracle1, "ORACLE-1", lively),
    (Canary::Oracle2, "ORACLE-2", lively),
    (Canary::Oracle3, "ORACLE-3", lively),
    (Canary::Oracle4, "ORACLE-4", lively),
    (Canary::Oracle5, "ORACLE-5", with_few_quotes),
    (Canary::Store1, "STORE-1", lively),
    (Canary::Store2, "STORE-2", lively),
    (Canary::Store3, "STORE-3", with_rot),
    (Canary::Node1, "NODE-1", with_a_restored_backup),
    (Canary::Net2, "NET-2", lively),
    (Canary::Core1, "CORE-1", with_garbage),
];

#[test]
fn every_canary_is_caught_by_its_own_checker() {
    let mut missed = Vec::new();
    for (canary, id, scene) in CANARIES {
        release(Some(canary));
        let broken = World::all_broken(scene);
        release(None);
        println!("{canary:?} breaks {:?}", broken.keys());
        if !broken.contains_key(id) {
            missed.push((id, broken));
        }
    }
    assert!(missed.is_empty(), "not caught by their own checkers: {missed:?}");
}

/// Without a canary the same scenes break nothing.
#[test]
fn the_scenes_themselves_break_nothing() {
    for (_, id, scene) in CANARIES {
        let broken = World::all_broken(scene);
        assert!(broken.is_empty(), "scene of {id}: {broken:?}");
    }
}

fn config(seed: u64) -> ScenarioConfig {
    let mut config = ScenarioConfig { tick_ms: 2_000, duration_ms: 70_000, feeds: 1, ..ScenarioConfig::calm(seed, 4) };
    config.link.loss_per_mille = 200;
    config
}

/// Loss, and a node that is cut off for a while.
fn lively() -> World {
    let mut config = config(1);
    config.faults = vec![(20_000, Fault::Partition(vec![1], Cut::Closed)), (40_000, Fault::Heal)];
    World::new(config)
}

fn with_few_quotes() -> World {
    let mut config = config(2);
    config.quote_loss_per_mille = 700;
    config.faults = vec![(60_000, Fault::Heal)];
    World::new(config)
}

fn with_a_twin() -> World {
    let mut config = config(3);
    config.roles.push(Role::TwinOf(0));
    config.faults = vec![(100, Fault::Partition(vec![0, 0, 0, 1, 1], Cut::Closed)), (30_000, Fault::Heal)];
    World::new(config)
}

fn with_a_restored_backup() -> World {
    let mut config = config(4);
    config.faults = vec![
        (15_000, Fault::Backup(0)),
        (40_000, Fault::Kill(0)),
        (60_000, Fault::RestoreBackup(0)),
        (60_001, Fault::Start(0)),
    ];
    World::new(config)
}

fn with_rot() -> World {
    let mut config = config(5);
    config.faults = (0..40).map(|n| (65_000 + n, Fault::Rot(usize::try_from(n % 4).unwrap_or(0)))).collect();
    World::new(config)
}

/// A member that never runs, and whose key signs what honest nodes are given in its name.
fn with_a_member_down() -> World {
    let mut config = config(6);
    config.roles.push(Role::Absent);
    let mut world = World::new(config);
    world.run_until(20_000);
    world
}

fn with_a_fork() -> World {
    let mut world = with_a_member_down();
    let now = Time::from_ms(world.wall_ms());
    let first = world.forge(4, (0, OpId::ZERO), now, b"one");
    let second = world.forge(4, (0, OpId::ZERO), now, b"other");
    world.inject(1, 0, Frame::Op(first.bytes().clone()).encode());
    world.run_until(world.now_ms() + 1_000);
    world.inject(1, 0, Frame::Op(second.bytes().clone()).encode());
    world
}

/// A fork of a position that has been certified meanwhile.
fn with_a_late_fork() -> World {
    let mut world = with_a_member_down();
    let now = Time::from_ms(world.wall_ms());
    let first = world.forge(4, (0, OpId::ZERO), now, b"one");
    world.inject(1, 0, Frame::Op(first.bytes().clone()).encode());
    world.run_until(world.now_ms() + 100_000);
    let second = world.forge(4, (0, OpId::ZERO), now, b"other");
    world.inject(1, 0, Frame::Op(second.bytes().clone()).encode());
    world
}

/// More in a minute than a quota allows, and far ahead of the log more than is kept.
fn with_a_flood() -> World {
    let mut world = with_a_member_down();
    let now = Time::from_ms(world.wall_ms());
    let mut prev = OpId::ZERO;
    for seq in 0..300 {
        let op = world.forge(4, (seq, prev), now, b"more");
        prev = op.id();
        world.inject(1, 0, Frame::Op(op.bytes().clone()).encode());
    }
    for seq in 0..200 {
        let op = world.forge(4, (10_000 - seq, OpId::from_bytes([1; 32])), now, b"ahead");
        world.inject(1, 0, Frame::Op(op.bytes().clone()).encode());
    }
    world
}

fn with_garbage() -> World {
    let mut world = with_a_member_down();
    world.inject(1, 0, vec![99, 1, 2, 3]);
    world
}

fn with_a_stranger() -> World {
    let mut world = with_a_member_down();
    let now = Time::from_ms(world.wall_ms());
    for index in 0..LOGS_MAX {
        let key = SigningKey::from([7; 32]);
        let op = world.forge_by(&key, index, (0, OpId::ZERO), now, b"let me in");
        assert_eq!(op.header().log, LogKey { author: concurrence_crdt::AuthorKey::of(&key), index });
        world.inject(1, 0, Frame::Op(op.bytes().clone()).encode());
    }
    world
}
