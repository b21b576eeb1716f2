use concurrence_sim::*;
use concurrence_crdt::*;
#[test]
fn dbg() {
    let log_len = |world: &mut World, node: usize, author: usize| { let log = LogKey { author: world.author(author), index: 0 };
    world.engine(node).map(|e| e.replica().history().tail(log).len) };
        let mut config = ScenarioConfig { tick_ms: 1_000, ..ScenarioConfig::calm(13, 7) };
        config.link.latency_ms = (100, 400);
        config.faults =
            vec![(10_000, Fault::Backup(0)), (60_000, Fault::Crash(0)), (65_000, Fault::RestoreBackup(0)), (65_001, Fault::Start(0))];
        config.duration_ms = 100_000;
        let mut world = World::new(config);
        world.run_until(65_001);
        println!("{:?} {:?}", log_len(&mut world, 1, 0), log_len(&mut world, 0, 0));
        world.run_while(5_000, |world| log_len(world, 0, 0) < Some(20));
        println!("{:?} {:?}", log_len(&mut world, 1, 0), log_len(&mut world, 0, 0));
            world.cause(Fault::Crash(0));
            world.cause(Fault::Start(0));
        for _ in 0..4 {
            let t = world.now_ms();
            world.run_until(t + 250);
            println!("{t} {:?} {:?} {:?}", log_len(&mut world, 1, 0), log_len(&mut world, 0, 0), world.engine(0).and_then(|e| e.cannot_append()));
        }

        world.dump(); let fin = world.finish(); println!("{fin:?}");
        let key = world.author(0);
        for n in 1..7 { let e = world.engine(n).unwrap(); let r = e.replica().history();
          if let Some(p) = r.proof(&key) { let (a,b) = p.headers(); println!("{n} {:?} {} {} | {} {}", a.header().log, a.header().seq, a.header().declared, b.header().seq, b.header().declared); } }
}
