//! Runs seeds and scenarios: `cargo xtask sim --seeds 0..2000`.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZero,
    ops::Range,
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Parser;
use concurrence_crdt::Digest;
use concurrence_sim::{Failure, Report, ScenarioConfig, World, scenario_from_toml};

/// Runs many engines in virtual time with drawn faults and checks what must hold. Exits with 1 if anything did not.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// One seed.
    #[arg(long, conflicts_with_all = ["seeds", "list", "scenario"])]
    seed: Option<u64>,
    /// Seeds A..B, without B.
    #[arg(long, value_parser = seeds, conflicts_with_all = ["list", "scenario"])]
    seeds: Option<Range<u64>>,
    /// The seeds of sim/seeds.txt: what CI runs.
    #[arg(long, conflicts_with = "scenario")]
    list: bool,
    /// A night's run on two processors: seeds 0..20000, two minutes each.
    #[arg(long, conflicts_with_all = ["seeds", "seed", "list", "scenario"])]
    night: bool,
    /// One scenario of sim/scenarios, by the name of its file, or `all`.
    #[arg(long)]
    scenario: Option<String>,
    /// Nodes, instead of what each seed draws (4 to 15, one seed in six 31).
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=63))]
    nodes: Option<u64>,
    /// Minutes of virtual time with faults; 10 unless given, 2 in a night's run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: Option<u64>,
    /// Runs at the same time; as many as there are processors unless given.
    #[arg(long)]
    jobs: Option<usize>,
    /// The network that speed is stated for, and no faults: 7 nodes, a tick of 5 s, 16 feeds; one on each core (--jobs).
    #[arg(long, conflicts_with_all = ["seeds", "list", "scenario", "night"])]
    speed: bool,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Seeds of a night's run.
const NIGHT: Range<u64> = 0..20_000;

/// Minutes of faults in each of them: the same mix as in ten, closer together; twenty thousand times ten would last for days.
const NIGHT_MINUTES: u64 = 2;

/// Minutes of faults in any other run.
const MINUTES: u64 = 10;

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("seeds are given as A..B")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no seed"));
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything asked for and returns how much failed.
fn run(args: &Args) -> anyhow::Result<usize> {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(NonZero::get)).unwrap_or(1);
    let runs = runs(args, jobs)?;
    // A failed assertion is reported as the failure of its run, once and with its command.
    panic::set_hook(Box::new(|_| {}));
    let (next, total, started) = (AtomicUsize::new(0), Mutex::new(Total::default()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, runs.len().max(1)) {
            scope.spawn(|| {
                while let Some((name, config)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = World::run(config.clone());
                    total.lock().unwrap_or_else(PoisonError::into_inner).take(name, result);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.print(started.elapsed().as_secs_f64(), args.json);
    Ok(total.failed)
}

/// What each run is called, and how it runs. So many can run at once.
fn runs(args: &Args, jobs: usize) -> anyhow::Result<Vec<(String, ScenarioConfig)>> {
    if let Some(name) = &args.scenario {
        return scenarios(name);
    }
    let nodes = args.nodes.map(usize::try_from).transpose()?;
    let minutes = args.minutes.unwrap_or(if args.night { NIGHT_MINUTES } else { MINUTES });
    if args.speed {
        let first = args.seed.unwrap_or(0);
        let calm = |seed| ScenarioConfig {
            feeds: 16,
            duration_ms: minutes * 60_000,
            ..ScenarioConfig::calm(seed, nodes.unwrap_or(7))
        };
        return Ok((first..).take(jobs).map(|seed| (format!("speed, seed {seed}"), calm(seed))).collect());
    }
    let seeds: Vec<u64> = match (args.seed, &args.seeds) {
        (Some(seed), _) => vec![seed],
        (None, Some(seeds)) => seeds.clone().collect(),
        _ if args.list => listed()?,
        _ if args.night => NIGHT.collect(),
        _ => (0..20).collect(),
    };
    let drawn = |seed| (format!("seed {seed}"), ScenarioConfig::drawn(seed, nodes, minutes));
    Ok(seeds.into_iter().map(drawn).collect())
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A seed a line, and behind it why it is there.
fn listed() -> anyhow::Result<Vec<u64>> {
    let text = fs::read_to_string(here("seeds.txt")).context("sim/seeds.txt")?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().with_context(|| format!("{line:?}"))).collect()
}

fn scenarios(name: &str) -> anyhow::Result<Vec<(String, ScenarioConfig)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(here("scenarios")).context("sim/scenarios")? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "all" || name == stem {
            let text = fs::read_to_string(&path)?;
            let (_, config) = scenario_from_toml(&stem, &text).with_context(|| stem.clone())?;
            found.push((stem, config));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!found.is_empty(), "no scenario {name:?} in sim/scenarios");
    Ok(found)
}

/// All runs so far.
#[derive(Default)]
struct Total {
    runs: usize,
    failed: usize,
    node_hours: f64,
    virtual_s: f64,
    /// Traces by the run's name: their hash does not depend on which run ended first.
    traces: BTreeMap<String, Digest>,
}

impl Total {
    fn take(&mut self, name: &str, result: Result<Report, Failure>) {
        self.runs += 1;
        match result {
            Ok(report) => {
                self.node_hours += report.node_hours();
                self.virtual_s += f64::from(u32::try_from(report.virtual_ms / 1_000).unwrap_or(u32::MAX));
                self.traces.insert(name.to_owned(), report.trace_hash);
                println!("{name}: {}", line(&report));
            }
            Err(failure) => {
                self.failed += 1;
                println!("{name}: FAILED\n{failure}");
            }
        }
    }

    fn print(&self, wall_s: f64, json: bool) {
        let Self { runs, failed, node_hours, virtual_s, traces } = self;
        let speedup = virtual_s / wall_s.max(f64::MIN_POSITIVE);
        let mut hasher = blake3::Hasher::new();
        traces.values().for_each(|trace| _ = hasher.update(trace.as_bytes()));
        let trace_hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        println!("{runs} runs, {failed} failed, {node_hours:.2} node-hours simulated, {speedup:.0} times real time");
        if json {
            println!(
                r#"{{"seeds":{runs},"failed":{failed},"node_hours":{node_hours:.3},"speedup":{speedup:.1},"trace_hash":"{trace_hash}"}}"#
            );
        }
    }
}

fn line(report: &Report) -> String {
    let named = |counts: &BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{} nodes, {} ops, {} events, settled in {} ms, {} forked, {} bytes an op; faults: {}; refused: {}; trace {:?}",
        report.nodes,
        report.ops,
        report.events,
        report.settle_ms,
        report.forked,
        report.bytes_per_op(),
        named(&report.faults),
        named(&report.refused),
        report.trace_hash,
    )
}
