//! Scenarios with a name, and a handful of drawn ones. Longer series: `cargo xtask sim --seeds 0..300`.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use concurrence_crdt::{LogKey, OpId, Time};
use concurrence_engine::{FindingKind, Halt};
use concurrence_oracle::Status;
use concurrence_protocol::{CannotAppend, Frame, WAITING_OPS_MAX};
use concurrence_sim::{ActorKind, Cut, Fault, LinkConfig, Report, Role, ScenarioConfig, World, scenario_from_toml};

/// Runs to the end of the faults, through healing and quiet, and through every check.
fn finish(world: &mut World) -> Report {
    world.finish().unwrap_or_else(|violation| panic!("{violation}"))
}

/// The status that a node gives to its first feed now.
fn status(world: &mut World, node: usize) -> Status {
    let now = Time::from_ms(world.wall_ms());
    world.engine(node).unwrap().answers(now)[0].aggregate.status
}

fn log_len(world: &mut World, node: usize, author: usize) -> u64 {
    let log = LogKey { author: world.author(author), index: 0 };
    world.engine(node).unwrap().replica().history().tail(log).len
}

fn lossy(loss_per_mille: u32) -> LinkConfig {
    LinkConfig { latency_ms: (5, 100), loss_per_mille, duplicate_per_mille: 50, reorder_per_mille: 50, bytes_per_s: 0 }
}

/// Every file of `scenarios/`: it says itself what must have happened.
#[test]
fn every_scenario_file_holds() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let hold = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (about, config) = scenario_from_toml(name, &fs::read_to_string(path).unwrap()).unwrap();
        let report = World::run(config).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        println!("{name}: {about}: {:?}, {:?}, {:?}", report.injected, report.faults, report.refused);
    };
    // As many at a time as CI has processors.
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            hold(path);
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}

/// Whatever lies has a scenario of its name and is described.
#[test]
fn every_actor_and_attack_has_a_scenario_and_a_line() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(here.join("../docs/invariants.md")).unwrap();
    for name in ActorKind::ALL.map(ActorKind::name) {
        let text = fs::read_to_string(here.join(format!("scenarios/{name}.toml"))).expect(name);
        let (_, config) = scenario_from_toml(name, &text).unwrap();
        let liars: Vec<_> = (0..config.roles.len()).filter(|&n| matches!(config.roles[n], Role::Liar(_))).collect();
        let is_named = |&node: &usize| matches!(config.roles[node], Role::Liar(kind) if kind.name() == name);
        assert!(!liars.is_empty() && liars.iter().all(is_named), "{name} is another's scenario");
        assert!(liars.iter().all(|node| config.expect.injected.contains_key(node)), "{name} may do nothing");
        assert!(list.contains(&format!("| `{name}` |")), "{name} is not in docs/invariants.md");
    }
}

#[test]
fn drawn_seeds_keep_every_promise() {
    let reports =
        (0..8).map(|seed| World::run(ScenarioConfig::drawn(seed, Some(5), 1)).unwrap_or_else(|f| panic!("{f}")));
    let reports: Vec<_> = reports.collect();
    assert!(reports.iter().any(|r| r.faults.contains_key("kill")), "nothing went wrong at all");
    assert!(reports.iter().all(|r| r.ops > 20), "{reports:?}");
}

/// The same seed in two processes gives the same trace; another seed another one.
#[test]
fn a_seed_reproduces_its_trace() {
    let trace = |seed: &str| {
        let arguments = ["--seed", seed, "--nodes", "5", "--minutes", "1", "--json"];
        let output = Command::new(env!("CARGO_BIN_EXE_concurrence-sim")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, hash) = text.lines().last().unwrap().split_once("\"trace_hash\":\"").unwrap();
        hash.to_owned()
    };
    assert_eq!(trace("3"), trace("3"));
    assert_ne!(trace("3"), trace("4"));
}

/// SYNC-1, ORACLE-4: both sides go on, say what they are worth, and become equal.
#[test]
fn a_partition_heals() {
    for (seed, groups, statuses, cut) in [
        (1, [0, 0, 0, 1, 1, 1, 1], [Status::Degraded, Status::Degraded], Cut::Closed),
        (2, [1, 1, 0, 0, 0, 0, 0], [Status::Degraded, Status::Ok], Cut::Closed),
        (3, [0, 0, 0, 1, 1, 1, 1], [Status::Degraded, Status::Degraded], Cut::Silent),
    ] {
        let mut world = World::new(ScenarioConfig::calm(seed, 7));
        world.run_until(15_000);
        world.partition(&groups, cut);
        // Past the window: what was known of the other side counts no more.
        world.run_until(85_000);
        let told = [status(&mut world, 0), status(&mut world, 6)];
        assert_eq!(told, statuses, "seed {seed}");
        let before = [log_len(&mut world, 0, 0), log_len(&mut world, 6, 6)];
        assert!(before.iter().all(|&len| len > 10), "a side stopped appending: {before:?}");
        world.cause(Fault::Heal);
        let healed_ms = world.now_ms();
        assert!(world.run_while(10_000, |world| log_len(world, 0, 6) < before[1] || log_len(world, 6, 0) < before[0]));
        println!("{cut:?}: each side had the other's operations {} ms after healing", world.now_ms() - healed_ms);
        finish(&mut world);
    }
}

/// STORE-1, STORE-2, SYNC-2, NODE-1: at no instant does a crash lose what was sent, or fork the log.
#[test]
fn crashes_while_publishing_lose_nothing() {
    let mut config = ScenarioConfig { tick_ms: 1_000, disk_ms: (0, 150), ..ScenarioConfig::calm(5, 7) };
    // A prime period against a tick of a second meets every phase of making a batch.
    for n in 0..40 {
        config.faults.push((8_000 + n * 2_707, Fault::PowerCut(0)));
        config.faults.push((8_000 + n * 2_707 + 211, Fault::Start(0)));
    }
    config.duration_ms = 120_000;
    let mut world = World::new(config);
    let report = finish(&mut world);
    assert_eq!(report.faults["power_cut"], 40);
    let published = log_len(&mut world, 1, 0);
    assert!(published > 40, "{published}");
}

/// SYNC-3, CRDT-4: whoever tells two stories is proven forked everywhere, and nothing of it counts any more.
#[test]
fn an_equivocator_is_convicted_by_all() {
    let mut config = ScenarioConfig { link: lossy(100), ..ScenarioConfig::calm(6, 7) };
    config.roles[2] = Role::Liar(ActorKind::Equivocator);
    let mut world = World::new(config);
    let report = finish(&mut world);
    assert_eq!(report.forked, 1);
    let liar = world.author(2);
    for node in world.honest() {
        let engine = world.engine(node).unwrap();
        assert!(engine.replica().history().logs().all(|(log, _)| log.author != liar), "node {node}");
    }
    // The engine behind the actor never learned of it.
    assert!(world.engine(2).unwrap().replica().history().proof(&liar).is_none());
    assert!(log_len(&mut world, 2, 2) > 5);
}

/// One story a side of a partition: as long as it lasts both sides believe, afterwards nobody does.
#[test]
fn an_equivocator_is_found_when_the_partition_heals() {
    let mut config = ScenarioConfig { link: lossy(0), ..ScenarioConfig::calm(7, 4) };
    config.roles[3] = Role::Liar(ActorKind::Equivocator);
    let mut world = World::new(config);
    // Whoever got which story, nobody can compare: the honest nodes hear only the liar.
    world.partition(&[0, 1, 2, 3], Cut::Closed);
    world.run_until(5_000);
    assert_eq!(world.honest().len(), 3);
    finish(&mut world);
}

#[test]
fn a_wrong_reporter_is_named_and_nobody_else() {
    let mut config = ScenarioConfig::calm(8, 7);
    config.roles[4] = Role::Reporter { factor_ppm: 1_200_000 };
    let mut world = World::new(config);
    finish(&mut world);
    let (liar, node) = (world.author(4), world.honest()[0]);
    let engine = world.engine(node).unwrap();
    let named: BTreeSet<_> = engine.view().findings().map(|f| (f.kind, f.author)).collect();
    assert_eq!(named, BTreeSet::from([(FindingKind::Outlier, liar)]));
}

/// NODE-1 cannot hold for a key that runs twice; then both stop, all know, and nothing of it counts.
#[test]
fn a_twin_process_halts_both() {
    let mut config = ScenarioConfig { link: lossy(50), ..ScenarioConfig::calm(9, 7) };
    config.roles.push(Role::TwinOf(0));
    let mut world = World::new(config);
    world.partition(&[0, 0, 0, 0, 1, 1, 1, 1], Cut::Closed);
    world.run_until(25_000);
    let key = world.author(0);
    assert!(log_len(&mut world, 0, 0) > 2 && log_len(&mut world, 7, 0) > 2, "both wrote");
    world.cause(Fault::Heal);
    assert!(world.run_while(10_000, |world| world.halted(0).is_none() || world.halted(7).is_none()), "one went on");
    for node in [0, 7] {
        let halt = world.halted(node).unwrap();
        assert!(halt == Halt::OwnLogForked(key) || halt == Halt::KeyInUse(key), "{halt:?}");
    }
    let report = finish(&mut world);
    assert_eq!((report.forked, world.honest().len()), (1, 6));
    assert!((1..7).all(|node| log_len(&mut world, node, 0) == 0), "something of the key still counts");
}

/// SYNC-4: what declares the future waits, bounded and uncounted, and counts when its minute has come.
#[test]
fn future_operations_are_held() {
    let mut config = ScenarioConfig { clock_offset_ms_max: 0, ..ScenarioConfig::calm(10, 4) };
    config.roles[3] = Role::Absent;
    let mut world = World::new(config);
    world.run_until(3_000);
    let minute = world.wall_ms() / 60_000 + 3;
    let (mut prev, mut ops) = (OpId::ZERO, Vec::new());
    for seq in 0..200 {
        ops.push(world.forge(3, (seq, prev), Time::from_ms(minute * 60_000), b"tomorrow"));
        prev = ops.last().unwrap().id();
    }
    for op in &ops {
        world.inject(1, 0, Frame::Op(op.bytes().clone()).encode());
    }
    let held = |world: &mut World| world.engine(0).unwrap().replica().buffers().into_iter().find(|b| b.0 == "held");
    assert_eq!(held(&mut world).unwrap().1, WAITING_OPS_MAX);
    assert_eq!(log_len(&mut world, 0, 3), 0);
    // Two minutes ahead of the clock is soon enough.
    let due_ms = (minute - 2) * 60_000 - (world.wall_ms() - world.now_ms());
    world.run_until(due_ms - 100);
    assert_eq!((log_len(&mut world, 0, 3), log_len(&mut world, 1, 3)), (0, 0));
    world.run_until(due_ms + 5_000);
    assert_eq!(held(&mut world).unwrap().1, 0);
    let held_max = u64::try_from(WAITING_OPS_MAX).unwrap();
    assert_eq!((log_len(&mut world, 0, 3), log_len(&mut world, 1, 3)), (held_max, held_max));
    world.check_converged().unwrap();
    world.check_engines();
}

/// SYNC-4, CRDT-6: a member that floods fills no more than its share, and changes nothing for the others.
#[test]
fn a_flood_stays_within_its_share() {
    let mut config = ScenarioConfig { link: lossy(50), ..ScenarioConfig::calm(11, 5) };
    config.roles[3] = Role::Liar(ActorKind::SlowLoris);
    config.roles[4] = Role::Absent;
    let mut world = World::new(config);
    world.run_until(10_000);
    let now = Time::from_ms(world.wall_ms());
    for n in 0..1_000u64 {
        // Further and further ahead of a log that never begins; then frames of noise, then frames cut short.
        let ahead = world.forge(4, (9_000 - n, OpId::from_bytes([1; 32])), now, &n.to_be_bytes());
        world.inject(3, 0, Frame::Op(ahead.bytes().clone()).encode());
        world.inject(3, 0, vec![u8::try_from(n % 9).unwrap(); usize::try_from(n).unwrap()]);
        world.inject(3, 0, Frame::Op(ahead.bytes().clone()).encode()[..usize::try_from(n % 200).unwrap()].to_vec());
        world.check_engines();
    }
    let waiting = world.engine(0).unwrap().replica().buffers();
    assert!(waiting.iter().all(|&(_, len, max)| len <= max && len <= WAITING_OPS_MAX), "{waiting:?}");
    assert!(world.honest().len() == 3 && log_len(&mut world, 1, 0) > 0);
    finish(&mut world);
}

/// NODE-1: a node whose store was rolled back appends nothing until its peers have given back its log; also if it crashes
/// again while they do.
#[test]
fn a_restored_backup_does_not_fork() {
    for (seed, crash_again) in [(12, false), (13, true), (14, true)] {
        let mut config = ScenarioConfig { tick_ms: 1_000, ..ScenarioConfig::calm(seed, 7) };
        config.link.latency_ms = (100, 400);
        config.faults = vec![
            (10_000, Fault::Backup(0)),
            (60_000, Fault::PowerCut(0)),
            (65_000, Fault::RestoreBackup(0)),
            (65_001, Fault::Start(0)),
        ];
        config.duration_ms = 100_000;
        let mut world = World::new(config);
        world.run_until(65_001);
        let before = log_len(&mut world, 1, 0);
        assert!(before > 40 && log_len(&mut world, 0, 0) < 20);
        let why = world.engine(0).unwrap().cannot_append();
        assert!(matches!(why, Some(CannotAppend::Recovering { .. })), "{why:?}");
        if crash_again {
            assert!(world.run_while(5_000, |world| log_len(world, 0, 0) < 20), "nothing came back");
            world.cause(Fault::PowerCut(0));
            world.cause(Fault::Start(0));
        }
        assert!(world.run_while(20_000, |world| log_len(world, 1, 0) < before + 5), "it never wrote again");
        finish(&mut world);
    }
}

/// Silent peers, whose last digests differ for ever, do not keep the others from syncing.
#[test]
fn mute_peers_do_not_stop_sync() {
    let mut world = World::new(ScenarioConfig { link: lossy(200), ..ScenarioConfig::calm(15, 7) });
    world.run_until(20_000);
    world.partition(&[0, 0, 0, 0, 0, 1, 2], Cut::Silent);
    world.run_until(60_000);
    world.set_market_open(false);
    let equal = |world: &mut World| {
        let digests: BTreeSet<_> = (0..5).map(|node| *world.engine(node).unwrap().digest().as_bytes()).collect();
        digests.len() == 1
    };
    assert!(world.run_while(30_000, |world| !equal(world)), "five nodes never became equal");
    world.set_market_open(true);
    finish(&mut world);
}

/// Hellos that were lost are said again: otherwise either side would stay deaf for as long as the connection lasts.
#[test]
fn lost_hellos_are_said_again() {
    let mut world = World::new(ScenarioConfig::calm(17, 4));
    world.partition(&[0, 1, 2, 3], Cut::Silent);
    world.run_until(10_000);
    let deaf = |world: &mut World| {
        (0..4)
            .map(|node| world.engine(node).unwrap().replica().peers().filter(|(_, s)| !s.greeted).count())
            .sum::<usize>()
    };
    assert_eq!(deaf(&mut world), 12, "a hello came through");
    world.cause(Fault::Heal);
    assert!(world.run_while(5_000, |world| deaf(world) > 0), "somebody stayed deaf");
    finish(&mut world);
}

#[test]
fn a_wrong_clock_keeps_a_node_from_appending() {
    let mut config = ScenarioConfig::calm(16, 4);
    config.clock_offset_ms_max = 2_000;
    config.faults = vec![(30_000, Fault::StepClock(0, 45_000)), (60_000, Fault::StepClock(0, 0))];
    config.duration_ms = 120_000;
    let mut world = World::new(config);
    world.run_until(32_000);
    let why = world.engine(0).unwrap().cannot_append();
    assert!(matches!(why, Some(CannotAppend::Clock(offset)) if offset < -40_000), "{why:?}");
    let before = log_len(&mut world, 1, 0);
    world.run_until(59_000);
    assert_eq!(log_len(&mut world, 1, 0), before);
    world.run_until(115_000);
    assert!(log_len(&mut world, 1, 0) > before, "it never wrote again");
    finish(&mut world);
}
