//! `cargo xtask ci`: every check, each within its time budget.

use std::time::Duration;

use crate::{
    fuzz,
    parts::Parts,
    runner::{Limit, Runner},
    sim, test, tidy,
};

/// A part of CI. The closing table names a part that took longer than its budget; one that takes twice as long has hung: it is stopped, and fails.
struct Part {
    name: &'static str,
    /// Minutes on two cores, from an empty `target/` in the order of the table. About twice what was measured: CI machines differ.
    budget_min: u64,
    run: fn(&Runner, Limit) -> anyhow::Result<()>,
}

/// All of CI. A new part is a new row; the budgets together must stay below [`TOTAL_MIN`].
const PARTS: &[Part] = &[
    Part { name: "fmt", budget_min: 1, run: fmt },
    Part { name: "tidy", budget_min: 1, run: |runner, _| tidy::tidy(runner) },
    Part { name: "clippy", budget_min: 6, run: clippy },
    Part { name: "test", budget_min: 16, run: test::test },
    Part { name: "sim", budget_min: 10, run: sim::listed },
    Part { name: "canaries", budget_min: 2, run: sim::canaries },
    Part { name: "fuzz", budget_min: 8, run: fuzz_bounded },
];

/// The whole of CI, in minutes on two cores: longer, and people stop waiting for it.
const TOTAL_MIN: u64 = 45;

const _: () = assert!(budgets_sum() < TOTAL_MIN, "the budgets of CI's parts exceed the whole");

/// Runs all parts, prints what each took, and fails if any failed.
pub fn ci(runner: &Runner) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    for part in PARTS {
        runner.uninterrupted()?;
        let budget = Duration::from_secs(part.budget_min * 60);
        parts.run(part.name, Some(budget), || (part.run)(runner, Limit::within(budget * 2)));
    }
    parts.finish("ci")
}

fn fmt(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    runner.run(runner.cargo().args(["fmt", "--all", "--check"]), limit)?;
    runner.run(runner.cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]), limit)
}

fn clippy(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    runner.run(runner.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), limit)
}

/// The lints of `fuzz`, which is a workspace of its own, then all its targets. They share a folder, and with it what both build.
fn fuzz_bounded(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let clippy = ["clippy", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz", "--all-targets"];
    runner.run(runner.cargo().args(clippy).args(["--", "-D", "warnings"]), limit)?;
    fuzz::fuzz(runner, &fuzz::Options::default(), limit)
}

const fn budgets_sum() -> u64 {
    let (mut sum, mut at) = (0, 0);
    while at < PARTS.len() {
        sum += PARTS[at].budget_min;
        at += 1;
    }
    sum
}
