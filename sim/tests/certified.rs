//! Certified history in whole networks: forks that come too late, nodes that come too late, and more liars than are allowed for
//! (CERT-1, CERT-3, CRDT-4).

use concurrence_crdt::{Head, LogKey, Op, OpId, Time};
use concurrence_protocol::Frame;
use concurrence_sim::{Cut, Fault, Role, ScenarioConfig, World};

/// Honest nodes, and members that never run and whose keys sign what a test likes.
fn with_absent(seed: u64, honest: usize, absent: usize) -> ScenarioConfig {
    let mut config = ScenarioConfig::calm(seed, honest);
    config.roles.extend((0..absent).map(|_| Role::Absent));
    config.tick_ms = 2_000;
    config
}

/// The next operations of a member that does not run.
fn write(world: &World, author: usize, behind: (u64, OpId), payloads: &[&[u8]]) -> Vec<Op> {
    let (mut end, now) = (behind, Time::from_ms(world.wall_ms()));
    let mut ops = Vec::new();
    for payload in payloads {
        let op = world.forge(author, end, now, payload);
        end = (end.0 + 1, op.id());
        ops.push(op);
    }
    ops
}

/// Hands operations to a node as frames of another one.
fn tell(world: &mut World, from: usize, to: usize, ops: &[Op]) {
    for op in ops {
        world.inject(from, to, Frame::Op(op.bytes().clone()).encode());
    }
    world.run_until(world.now_ms() + 1_000);
}

fn run_for(world: &mut World, ms: u64) {
    world.run_until(world.now_ms() + ms);
}

fn finish(world: &mut World) {
    world.finish().unwrap_or_else(|violation| panic!("{violation}"));
}

/// A log of five operations of which the last is told to some only when the first four are certified, then forked at its beginning.
#[test]
fn a_late_fork_changes_nothing_that_is_certified_and_a_newcomer_gets_it_all() {
    let mut world = World::new(with_absent(21, 6, 1));
    run_for(&mut world, 10_000);
    let ops = write(&world, 6, (0, OpId::ZERO), &[b"a", b"b", b"c", b"d", b"e"]);
    tell(&mut world, 1, 0, &ops[..4]);
    run_for(&mut world, 100_000);
    let author = world.author(6);
    for node in 0..6 {
        assert_eq!(world.ops_of(node, author), (4, 4), "CERT-5: at node {node}");
    }
    tell(&mut world, 1, 0, &ops[4..]);
    let other = world.forge(6, (0, OpId::ZERO), Time::from_ms(world.wall_ms()), b"late");
    tell(&mut world, 2, 3, &[other]);
    run_for(&mut world, 5_000);
    for node in 0..6 {
        assert_eq!(world.ops_of(node, author), (4, 4), "CERT-1, CRDT-4: at node {node}");
    }
    // A node that lost its disk has heard of nothing: the proof comes first, and the certified past all the same.
    world.cause(Fault::Kill(5));
    run_for(&mut world, 61_000);
    world.cause(Fault::ReplaceDisk(5));
    world.cause(Fault::Start(5));
    let lacks = |world: &mut World| world.ops_of(5, author) != (4, 4);
    assert!(world.run_while(60_000, lacks), "CERT-1: node 5 counts {:?}", world.ops_of(5, author));
    finish(&mut world);
    assert_eq!(world.ops_of(5, author), (4, 4));
}

/// Clocks of members are up to 50 s apart, and each log is certified as it grows all the same (CERT-5): where it is cut is said by its chain.
#[test]
fn logs_are_certified_as_they_grow_though_clocks_differ() {
    let mut config = ScenarioConfig::calm(23, 7);
    config.clock_offset_ms_max = 25_000;
    let mut world = World::new(config);
    run_for(&mut world, 300_000);
    for (node, of) in (0..7).flat_map(|node| (0..7).map(move |of| (node, of))) {
        let (ops, certified) = world.ops_of(node, world.author(of));
        // A batch in five seconds: those of two minutes may be open.
        assert!(
            ops > 50 && certified + 24 > ops,
            "CERT-5: node {node} holds {ops} of node {of}, certified are {certified}"
        );
    }
    finish(&mut world);
}

/// Two sides of a cut hold two chains of a forked member; members of each side and a third that lies certify theirs. More than a third of the
/// weight lies, so both are certified: the log is frozen where they part, on all sides, and everything else goes on.
#[test]
fn more_than_a_third_that_vote_twice_freeze_the_log() {
    let mut world = World::new(with_absent(22, 4, 3));
    run_for(&mut world, 8_000);
    let trunk = write(&world, 4, (0, OpId::ZERO), &[b"a", b"b"]);
    let end = (2, trunk[1].id());
    let sides = [write(&world, 4, end, &[b"left"]), write(&world, 4, end, &[b"right", b"right"])];
    world.partition(&[0, 0, 1, 1, 0, 0, 0], Cut::Closed);
    run_for(&mut world, 2_000);
    let log = LogKey { author: world.author(4), index: 0 };
    for (at, side) in [(0, &sides[0]), (2, &sides[1])] {
        let all = [&trunk[..], side].concat();
        tell(&mut world, at, at + 1, &all);
        tell(&mut world, at + 1, at, &all);
        let last = side.last().unwrap();
        let len = last.header().seq + 1;
        let head = Head { network: last.header().network, log, len, id: last.id(), epoch: 0 };
        let votes: Vec<_> = [4, 5, 6].map(|liar| world.forge_vote(liar, head).encode()).into();
        for node in [at, at + 1] {
            world.inject(if node == at { at + 1 } else { at }, node, Frame::Proofs(votes.clone()).encode());
        }
    }
    run_for(&mut world, 100_000);
    let author = world.author(4);
    assert_eq!([world.ops_of(0, author), world.ops_of(2, author)], [(3, 3), (4, 4)], "both are certified");
    world.cause(Fault::Heal);
    run_for(&mut world, 100_000);
    for node in 0..4 {
        let engine = world.engine(node).unwrap();
        let conflict = engine.replica().history().conflict(log).expect("CERT-3: the state has a name");
        assert_eq!(conflict.parted, 2, "CERT-3: where they part");
        assert_eq!(conflict.signed_both().count(), 3, "CERT-3: who is at fault");
        assert_eq!(world.ops_of(node, author), (2, 2), "CERT-3: frozen there");
    }
    finish(&mut world);
}
