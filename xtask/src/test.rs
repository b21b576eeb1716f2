//! `cargo xtask test`: installs what the tests need and runs everything. Nothing is ever skipped.
//!
//! A C compiler is needed too; without one Cargo could not have linked this program.

use crate::{
    contracts, packages,
    parts::Parts,
    runner::{Limit, Runner},
};

/// What writes the golden vectors that contracts and crates share, and says whether they are still what it would write.
const VECTOR_SCRIPTS: [&str; 2] = ["script/price-group-vectors.mjs", "script/report-vectors.mjs"];

/// Runs the tests of all crates, the independent decoder over the golden vectors, then the contracts' tests, and prints what each took.
pub fn test(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    parts.run("crates: tools", None, || install_network_tools(runner, limit));
    parts.run("crates", None, || runner.run(runner.cargo().args(["test", "--workspace", "--no-fail-fast"]), limit));
    parts.run("vectors: decoder", None, || decode_vectors(runner, limit));
    parts.run("contracts: tools", None, || contracts::install_tools(runner, limit));
    parts.run("contracts: vectors", None, || {
        VECTOR_SCRIPTS.iter().try_for_each(|script| contracts::check(runner, script, limit))
    });
    parts.run("contracts: forge test", None, || contracts::forge(runner, &["test"], limit));
    parts.run("contracts: artifacts", None, || contracts::check(runner, "script/artifacts.mjs", limit));
    runner.uninterrupted()?;
    parts.finish("test")
}

/// Reads the golden vectors with the decoder that shares no code with the crates.
fn decode_vectors(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    if !packages::is_installed(runner, "python3") {
        packages::install(runner, limit, "the golden vectors' decoder needs Python", &["python3"])?;
    }
    runner.run(runner.command("python3").arg("vectors/check.py"), limit)
}

/// What makes hosts of their own for the tests of processes: they fail without it, and without root.
fn install_network_tools(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let is_there = |program| runner.command(program).arg("-V").output().is_ok_and(|output| output.status.success());
    if is_there("ip") && is_there("nft") {
        return Ok(());
    }
    packages::install(runner, limit, "tests make network namespaces and faults between them", &["iproute2", "nftables"])
}
