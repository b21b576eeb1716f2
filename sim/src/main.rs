//! Runs seeds: `concurrence-sim --seeds 0..300 --minutes 30`.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use concurrence_crdt::Digest;
use concurrence_sim::{FRAME_KINDS, Report, ScenarioConfig, World};

/// Runs many engines in virtual time with drawn faults and checks what must hold. Exits with 1 if anything did not.
#[derive(Parser)]
struct Args {
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds A..B, without B.
    #[arg(long, value_parser = seeds, default_value = "0..20")]
    seeds: Range<u64>,
    /// Nodes, at most a third of which lie.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(2..=12))]
    nodes: u64,
    /// Minutes of virtual time with faults.
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("seeds are given as A..B")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no seed"));
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.seeds.clone(), |seed| seed..seed.saturating_add(1));
    let started = Instant::now();
    let (mut failed, mut node_hours, mut count) = (0, 0.0, 0);
    let mut traces = blake3::Hasher::new();
    for seed in seeds {
        count += 1;
        let config = ScenarioConfig::drawn(seed, usize::try_from(args.nodes).unwrap_or(7), args.minutes);
        // The engines check themselves by assertions; one that fails is a failure of its seed.
        match catch_unwind(AssertUnwindSafe(|| World::run(config))) {
            Ok(Ok(report)) => {
                node_hours += report.node_hours();
                traces.update(report.trace_hash.as_bytes());
                println!("{}", line(&report));
            }
            Ok(Err(failure)) => {
                failed += 1;
                println!("{failure}");
            }
            Err(_) => {
                failed += 1;
                println!(
                    "seed {seed} panicked\nto see it again: cargo run -p concurrence-sim -- --seed {seed} --nodes {} --minutes {}",
                    args.nodes, args.minutes
                );
            }
        }
    }
    let speedup = node_hours * 3_600.0 / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let trace_hash = Digest::from_bytes(*traces.finalize().as_bytes());
    println!("{count} seeds, {failed} failed, {node_hours:.2} node-hours, {speedup:.0} times real time");
    if args.json {
        println!(
            r#"{{"seeds":{count},"failed":{failed},"node_hours":{node_hours:.3},"speedup":{speedup:.1},"trace_hash":"{trace_hash}"}}"#
        );
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(report: &Report) -> String {
    let by_kind = FRAME_KINDS.iter().zip(report.honest_frames).filter(|(_, traffic)| traffic.frames > 0);
    let by_kind: Vec<_> = by_kind.map(|(kind, t)| format!("{kind} {}x{}", t.frames, t.bytes / t.frames)).collect();
    format!(
        "seed {}: {} ops, {} events, settled in {} ms, {} crashes, {} forked, {} bytes an op ({}), trace {:?}",
        report.seed,
        report.ops,
        report.events,
        report.settle_ms,
        report.crashes,
        report.forked,
        report.bytes_per_op(),
        by_kind.join(", "),
        report.trace_hash,
    )
}
