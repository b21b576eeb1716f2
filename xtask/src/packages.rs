//! Packages of the system that a task needs and that may be missing.

use anyhow::bail;

use crate::runner::{Limit, Runner};

/// Installs packages of Debian. Whoever may not, or has no Debian, is told what is needed and why.
pub fn install(runner: &Runner, limit: Limit, why: &str, packages: &[&str]) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() || !is_installed(runner, "apt-get") {
        bail!("{why}: install it and run this again (on Debian: apt-get install {})", packages.join(" "));
    }
    runner.run(runner.command("apt-get").args(["update"]), limit)?;
    let mut apt = runner.command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes", "--no-install-recommends"]).args(packages);
    runner.run(&mut apt, limit)
}

/// Whether a program runs at all.
pub fn is_installed(runner: &Runner, program: &str) -> bool {
    runner.command(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
