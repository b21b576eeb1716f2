//! `cargo xtask sim`: the simulator, built as it is fast.

use crate::runner::{Limit, Runner};

/// Runs the simulator with these arguments.
pub fn sim(runner: &Runner, arguments: &[String], limit: Limit) -> anyhow::Result<()> {
    let mut cargo = runner.cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "concurrence-sim", "--"]).args(arguments);
    runner.run(&mut cargo, limit)
}

/// What CI runs: the listed seeds, ten simulated minutes each.
pub fn listed(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    sim(runner, &["--list".to_owned(), "--json".to_owned()], limit)
}

/// Every canary must be caught by the checker of its own id. They need a build of their own, in which they can sing.
pub fn canaries(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let canaries = ["--features", "canary", "--test", "canaries"];
    runner.run(runner.cargo().args(["test", "--release", "--package", "concurrence-sim"]).args(canaries), limit)
}
