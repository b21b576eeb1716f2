//! `cargo xtask fuzz`: libFuzzer runs every target of `fuzz/` for a bounded time, from the seeds in the repository.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::runner::{Limit, Runner};

/// Which targets run, and for how long.
#[derive(Args)]
pub struct Options {
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = SECONDS_DEFAULT)]
    seconds: u64,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
}

/// Long enough for all seeds and some ten thousand inputs from them; a hunt is `--seconds 3600`.
const SECONDS_DEFAULT: u64 = 15;

/// The one version that is installed, and with which the flags below were tried.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Targets that run at the same time: one a core of the machine that CI has.
const AT_ONCE: usize = 2;

/// After so many seconds one input has hung. The slowest seed takes a tenth of a second.
const INPUT_SECONDS_MAX: u64 = 30;

/// Memory of one target, in MiB. The largest input is some MiB; what needs a gigabyte was made to by its input.
const MEMORY_MIB_MAX: u64 = 1_024;

/// Lines of a failed target's log that are shown: its panic and where it was.
const LOG_LINES_SHOWN: usize = 40;

/// Recorded answers that are seeds of these targets, beside their own.
const RECORDED: [(&str, &[&str]); 2] = [
    (
        "venue_answers",
        &["binance", "bitstamp", "bybit", "coinbase", "dydx", "gemini", "kraken", "malformed", "okx", "pyth"],
    ),
    ("chain_answers", &["onchain"]),
];

impl Default for Options {
    fn default() -> Self {
        Self { seconds: SECONDS_DEFAULT, target: None }
    }
}

/// Checks that the seeds are what they claim to be, builds all targets and runs them. Fails with the input that broke a promise.
pub fn fuzz(runner: &Runner, options: &Options, limit: Limit) -> anyhow::Result<()> {
    let all = targets(runner.root())?;
    let wanted: Vec<_> = all.iter().filter(|name| options.target.as_ref().is_none_or(|t| t == *name)).collect();
    anyhow::ensure!(!wanted.is_empty(), "there is no such target; there are: {}", all.join(", "));
    let cargo_fuzz = install(runner, limit)?;
    // Without a sanitizer: our code is safe Rust, whose faults are panics, and runs about twice as fast.
    let build = ["fuzz", "build", "--sanitizer", "none", "--target-dir"];
    let mut command = runner.command(&cargo_fuzz);
    command.args(build).arg(build_folder(runner.root()));
    runner.run(if let Some(target) = &options.target { command.arg(target) } else { &mut command }, limit)?;
    let check = ["test", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"];
    runner.run(runner.cargo().args(check).arg(build_folder(runner.root())), limit)?;

    let programs = build_folder(runner.root()).join(host(runner)?).join("release");
    let queue = Mutex::new(wanted.into_iter().collect::<VecDeque<_>>());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = lock(&queue).pop_front() {
                    let result = run(runner, &programs, target, options.seconds, limit);
                    lock(&results).push((target.as_str(), result));
                }
            });
        }
    });
    finish(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A panic of the other thread leaves plain values behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of all targets, ascending.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Instrumented code has a folder of its own, below the one that is ignored anyway.
fn build_folder(root: &Path) -> PathBuf {
    root.join("target/fuzz")
}

/// The pinned cargo-fuzz, in the repository's own folder: whatever the user has installed stays as it is.
fn install(runner: &Runner, limit: Limit) -> anyhow::Result<PathBuf> {
    let tools = runner.root().join("target/tools");
    let program = tools.join("bin/cargo-fuzz");
    let version = runner.command(&program).arg("--version").output();
    if version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(CARGO_FUZZ_VERSION)) {
        return Ok(program);
    }
    let version = format!("={CARGO_FUZZ_VERSION}");
    let install = ["install", "cargo-fuzz", "--locked", "--version", version.as_str(), "--root"];
    runner.run(runner.cargo().args(install).arg(&tools), limit)?;
    Ok(program)
}

/// The platform that cargo-fuzz builds for.
fn host(runner: &Runner) -> anyhow::Result<String> {
    let output = runner.command("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// What one run did.
#[derive(Debug, PartialEq, Eq)]
struct Stats {
    /// Inputs tried.
    inputs: u64,
    /// Of them each second, on the average.
    inputs_per_second: u64,
    /// Edges of the program that any input went over.
    edges: u64,
}

/// Runs one target. New inputs of interest go to a folder that is not kept; what broke a promise goes to `fuzz/artifacts`.
fn run(runner: &Runner, programs: &Path, target: &str, seconds: u64, limit: Limit) -> anyhow::Result<Stats> {
    let root = runner.root();
    let (found, logs) = (build_folder(root).join("corpus").join(target), build_folder(root).join("logs"));
    let (seeds, artifacts) = (root.join("fuzz/corpus").join(target), root.join("fuzz/artifacts").join(target));
    for folder in [&found, &logs, &artifacts] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let known = files(&artifacts)?;
    let log = logs.join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = runner.command(programs.join(target));
    command.stdout(output.try_clone()?).stderr(output);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg("-print_final_stats=1").args([&found, &seeds]);
    for folders in RECORDED.iter().filter(|(of, _)| *of == target).map(|(_, folders)| folders) {
        command.args(folders.iter().map(|folder| root.join("data/venues").join(folder)));
    }
    let ended = runner.run(&mut command, limit);
    let text = fs::read(&log).with_context(|| log.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    if let Err(error) = ended {
        let new = files(&artifacts)?.difference(&known).next().cloned();
        let lines: Vec<_> = text.lines().collect();
        eprintln!("\n{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"));
        let Some(input) = new else { return Err(error) };
        let repeat = "target/tools/bin/cargo-fuzz fuzz run --sanitizer none --target-dir target/fuzz";
        bail!("{target} failed on {input}; repeat it with `{repeat} {target} {input}`", input = input.display());
    }
    stats(&text).with_context(|| format!("{} does not end with statistics", log.display()))
}

fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

/// Reads the closing lines of a log.
fn stats(log: &str) -> Option<Stats> {
    let after = |name: &str| {
        let (_, rest) = log.rsplit_once(name)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some(Stats {
        inputs: after("stat::number_of_executed_units:")?,
        inputs_per_second: after("stat::average_exec_per_sec:")?,
        edges: after(" cov: ")?,
    })
}

/// Prints what every target did, and fails with what any of them found.
fn finish(mut results: Vec<(&str, anyhow::Result<Stats>)>) -> anyhow::Result<()> {
    results.sort_by_key(|(target, _)| *target);
    println!("\n{:<16}  {:>9}  {:>8}  {:>6}", "target", "inputs", "a second", "edges");
    let mut failures = Vec::new();
    for (target, result) in results {
        match result {
            Ok(s) => println!("{target:<16}  {:>9}  {:>8}  {:>6}", s.inputs, s.inputs_per_second, s.edges),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#1024	pulse  cov: 90 ft: 100 corp: 9/99b lim: 4 exec/s: 341 rss: 29Mb
#1534	DONE   cov: 101 ft: 118 corp: 10/100b lim: 4 exec/s: 383 rss: 29Mb
Done 1534 runs in 4 second(s)
stat::number_of_executed_units: 1534
stat::average_exec_per_sec:     383
stat::new_units_added:          10
";

    #[test]
    fn statistics_are_read_from_the_end() {
        assert_eq!(stats(LOG), Some(Stats { inputs: 1534, inputs_per_second: 383, edges: 101 }));
        assert_eq!(stats("==1== ERROR: libFuzzer: deadly signal"), None);
    }

    #[test]
    fn a_failure_is_not_lost_among_those_that_passed() {
        let passed = || Ok(Stats { inputs: 1, inputs_per_second: 1, edges: 1 });
        assert!(finish(vec![("b", passed()), ("a", passed())]).is_ok());
        let error = finish(vec![("b", passed()), ("a", Err(anyhow::anyhow!("a failed on x")))]).unwrap_err();
        assert_eq!(error.to_string(), "a failed on x");
    }

    #[test]
    fn every_target_of_the_repository_is_found_and_has_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let targets = targets(root).unwrap();
        assert!(targets.len() >= 9, "{targets:?}");
        for target in targets {
            assert!(!files(&root.join("fuzz/corpus").join(&target)).unwrap().is_empty(), "{target} has no seeds");
        }
    }
}
