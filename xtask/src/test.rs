//! `cargo xtask test`: installs what the tests need and runs everything. Nothing is ever skipped.
//!
//! A C compiler is needed too; without one Cargo could not have linked this program.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::{
    parts::Parts,
    runner::{Limit, Runner},
};

/// Runs the tests of all crates, the independent decoder over the golden vectors, then the contracts' tests, and prints what each took.
pub fn test(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    parts.run("crates: tools", None, || install_network_tools(runner, limit));
    parts.run("crates", None, || runner.run(runner.cargo().args(["test", "--workspace", "--no-fail-fast"]), limit));
    parts.run("vectors: decoder", None, || decode_vectors(runner, limit));
    parts.run("contracts: tools", None, || install_contract_tools(runner, limit));
    parts.run("contracts: vectors", None, || {
        let mut node = runner.command("node");
        runner.run(node.current_dir(contracts(runner)).args(["script/price-group-vectors.mjs", "--check"]), limit)
    });
    parts.run("contracts: forge test", None, || {
        runner.run(runner.command(forge(runner.root())?).current_dir(contracts(runner)).arg("test"), limit)
    });
    runner.uninterrupted()?;
    parts.finish("test")
}

/// Reads the golden vectors with the decoder that shares no code with the crates.
fn decode_vectors(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    if !is_installed(runner, "python3") {
        install(runner, limit, "the golden vectors' decoder needs Python", &["python3"])?;
    }
    runner.run(runner.command("python3").arg("vectors/check.py"), limit)
}

fn contracts(runner: &Runner) -> PathBuf {
    runner.root().join("contracts")
}

/// Node with npm, then the pinned compiler and test runner of `contracts/package-lock.json`.
fn install_contract_tools(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    if !is_installed(runner, "node") || !is_installed(runner, "npm") {
        install(runner, limit, "the contracts' tests need Node.js and npm", &["nodejs", "npm"])?;
    }
    // The binaries are in the packages themselves: no install script is needed, so none is run.
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    runner.run(runner.command("npm").current_dir(contracts(runner)).args(arguments), limit)
}

/// What makes hosts of their own for the tests of processes: they fail without it, and without root.
fn install_network_tools(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    let is_there = |program| runner.command(program).arg("-V").output().is_ok_and(|output| output.status.success());
    if is_there("ip") && is_there("nft") {
        return Ok(());
    }
    install(runner, limit, "tests make network namespaces and faults between them", &["iproute2", "nftables"])
}

/// Installs packages of Debian. Whoever may not, or has no Debian, is told what is needed and why.
fn install(runner: &Runner, limit: Limit, why: &str, packages: &[&str]) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() || !is_installed(runner, "apt-get") {
        bail!("{why}: install it and run this again (on Debian: apt-get install {})", packages.join(" "));
    }
    runner.run(runner.command("apt-get").args(["update"]), limit)?;
    let mut apt = runner.command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes", "--no-install-recommends"]).args(packages);
    runner.run(&mut apt, limit)
}

fn is_installed(runner: &Runner, program: &str) -> bool {
    runner.command(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The forge binary in the npm package of this platform. The `.bin/` entry is a script around it, which would survive it when stopped.
fn forge(root: &Path) -> anyhow::Result<PathBuf> {
    let package = forge_package(std::env::consts::OS, std::env::consts::ARCH);
    let package = package.context("forge has no npm package for this platform")?;
    let path = root.join("contracts/node_modules/@foundry-rs").join(package).join("bin/forge");
    anyhow::ensure!(path.is_file(), "{} is missing after `npm ci`", path.display());
    Ok(path)
}

/// Name of forge's npm package for a platform in Rust's words.
fn forge_package(os: &str, arch: &str) -> Option<String> {
    let os = match os {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("forge-{os}-{arch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forge_is_named_as_npm_names_it() {
        assert_eq!(forge_package("linux", "x86_64").as_deref(), Some("forge-linux-amd64"));
        assert_eq!(forge_package("macos", "aarch64").as_deref(), Some("forge-darwin-arm64"));
        assert_eq!(forge_package("plan9", "x86_64"), None);
    }

    #[test]
    fn a_missing_forge_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(forge(folder.path()).is_err());
    }
}
