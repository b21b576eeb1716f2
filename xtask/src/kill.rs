//! `cargo xtask kill`: kills a real node under load at random moments, more often than the tests do.

use clap::Args;

use crate::runner::{Limit, Runner};

/// How often, and when.
#[derive(Args)]
pub struct Kills {
    /// How often the node is killed; each time takes about two seconds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Decides the moments; a new one unless given, and printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// The test, which reads how often and when from its environment.
const TEST: &str = "kills::sigkill_at_random_moments_loses_no_operation_that_was_sent";

/// Runs the test with these numbers; its figures are the last lines it prints.
pub fn kill(runner: &Runner, kills: &Kills) -> anyhow::Result<()> {
    let mut cargo = runner.cargo();
    // The whole workspace's features, so that what `cargo xtask test` has built serves here too.
    cargo.args(["test", "--workspace", "--test", "processes", "--", "--exact", TEST, "--nocapture"]);
    cargo.env("CONCURRENCE_KILLS", kills.kills.to_string());
    if let Some(seed) = kills.seed {
        cargo.env("CONCURRENCE_KILL_SEED", seed.to_string());
    }
    runner.run(&mut cargo, Limit::NONE)
}
