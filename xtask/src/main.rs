//! The house's own tasks: `cargo xtask test`, `ci`, `tidy`, `sim`, `fuzz`, `kill`, `gas`.

mod ci;
mod contracts;
mod fuzz;
mod gas;
mod kill;
mod packages;
mod parts;
mod runner;
mod sim;
mod test;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use runner::{Limit, Runner};

/// Tests, checks and CI of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need and run all of them: every crate's, then the contracts'.
    Test,
    /// What CI runs: formatting, lints, tidy, tests, the simulator's listed seeds and its canaries, bounded fuzzing, each within a time
    /// budget; a table of them at the end.
    Ci,
    /// Run the simulator, optimised: seeds, scenarios, a night of them. `cargo xtask sim --help` lists its options.
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed to the simulator as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kill a real node under load at random moments: nothing it sent is lost, and its log is not forked.
    Kill(kill::Kills),
    /// Check what the compiler does not: arrows between crates, lengths, unexplained panics, ids of invariants, links.
    Tidy,
    /// Measure what an update costs on chain, and show it beside the aims and other oracles.
    Gas(gas::Options),
    /// Install cargo-fuzz if need be, and run every fuzz target for a bounded time.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let runner = Runner::new(repository_root()?)?;
    match &cli.task {
        Task::Test => test::test(&runner, Limit::NONE),
        Task::Ci => ci::ci(&runner),
        Task::Sim { arguments } => sim::sim(&runner, arguments, Limit::NONE),
        Task::Kill(kills) => kill::kill(&runner, kills),
        Task::Tidy => tidy::tidy(&runner),
        Task::Gas(options) => gas::gas(&runner, options),
        Task::Fuzz(options) => fuzz::fuzz(&runner, options, Limit::NONE),
    }
}

/// The folder above this crate's: tasks work from any folder of the repository.
fn repository_root() -> anyhow::Result<PathBuf> {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").context("start it as `cargo xtask`")?;
    let root = PathBuf::from(manifest_dir).parent().context("xtask lies in no repository")?.to_path_buf();
    Ok(root)
}
