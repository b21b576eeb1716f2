//! The Foundry project in `contracts/`: its tools, from npm, and its test runner.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    packages,
    runner::{Limit, Runner},
};

/// The project's folder.
pub fn folder(runner: &Runner) -> PathBuf {
    runner.root().join("contracts")
}

/// Node with npm, then the pinned compiler and test runner of `contracts/package-lock.json`.
pub fn install_tools(runner: &Runner, limit: Limit) -> anyhow::Result<()> {
    if !packages::is_installed(runner, "node") || !packages::is_installed(runner, "npm") {
        packages::install(runner, limit, "the contracts' tests need Node.js and npm", &["nodejs", "npm"])?;
    }
    // The binaries are in the packages themselves: no install script is needed, so none is run.
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    runner.run(runner.command("npm").current_dir(folder(runner)).args(arguments), limit)
}

/// Runs forge in the project with these arguments.
pub fn forge(runner: &Runner, arguments: &[&str], limit: Limit) -> anyhow::Result<()> {
    runner.run(runner.command(forge_binary(runner.root())?).current_dir(folder(runner)).args(arguments), limit)
}

/// Runs a script of the project that says whether the files it writes are still what it would write.
pub fn check(runner: &Runner, script: &str, limit: Limit) -> anyhow::Result<()> {
    runner.run(runner.command("node").current_dir(folder(runner)).args([script, "--check"]), limit)
}

/// The forge binary in the npm package of this platform. The `.bin/` entry is a script around it, which would survive it when stopped.
fn forge_binary(root: &Path) -> anyhow::Result<PathBuf> {
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
        assert!(forge_binary(folder.path()).is_err());
    }
}
