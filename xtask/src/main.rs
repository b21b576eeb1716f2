//! The house's own tasks: `cargo xtask test`, `cargo xtask ci`, `cargo xtask tidy`,
//! `cargo xtask fuzz`.

mod ci;
mod fuzz;
mod parts;
mod runner;
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
    /// What CI runs: formatting, lints, tidy, tests and bounded fuzzing, each within a time budget; a table of them at the end.
    Ci,
    /// Check what the compiler does not: arrows between crates, lengths, unexplained panics, ids of invariants, links.
    Tidy,
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
        Task::Tidy => tidy::tidy(&runner),
        Task::Fuzz(options) => fuzz::fuzz(&runner, options, Limit::NONE),
    }
}

/// The folder above this crate's: tasks work from any folder of the repository.
fn repository_root() -> anyhow::Result<PathBuf> {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").context("start it as `cargo xtask`")?;
    let root = PathBuf::from(manifest_dir).parent().context("xtask lies in no repository")?.to_path_buf();
    Ok(root)
}
