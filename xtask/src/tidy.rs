//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod arrows;
mod ids;
mod links;
mod rust;

use std::{collections::BTreeSet, fmt, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::runner::Runner;
use rust::RustFile;

/// Checks the repository and prints every finding.
pub fn tidy(runner: &Runner) -> anyhow::Result<()> {
    let findings = findings(runner)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: nothing found");
    Ok(())
}

/// One broken rule, where it is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// From the repository's root.
    path: String,
    /// From 1.
    line: usize,
    /// What is wrong, and what would be right.
    message: String,
}

/// A text file of the repository.
struct File {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// What is read: code, and what cites or describes it.
const EXTENSIONS: [&str; 3] = ["rs", "sol", "md"];

fn findings(runner: &Runner) -> anyhow::Result<Vec<Finding>> {
    let root = runner.root();
    let mut found = arrows::check(root, runner.cargo().get_program())?;
    let paths = repository_files(runner.command("git"))?;
    let files = read(root, &paths)?;
    let of =
        |extension| files.iter().filter(move |file| Path::new(&file.path).extension().is_some_and(|e| e == extension));

    let mut parsed = Vec::new();
    for file in of("rs") {
        match RustFile::parse(&file.path, &file.text) {
            Ok(rust) => parsed.push(rust),
            Err(finding) => found.push(finding),
        }
    }
    rust::mark_test_modules(&mut parsed);
    found.extend(parsed.iter().flat_map(RustFile::check));
    found.extend(of("sol").flat_map(|file| rust::leftovers(&file.path, &file.text)));

    let sol: Vec<_> = of("sol").collect();
    let md: Vec<_> = of("md").collect();
    found.extend(ids::check(&parsed, &sol, &md));
    found.extend(links::check(&paths, &md));
    found.sort();
    found.dedup();
    Ok(found)
}

/// What git knows or would add: never build output or installed packages.
fn repository_files(mut git: Command) -> anyhow::Result<BTreeSet<String>> {
    let output = git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output().context("git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn read(root: &Path, paths: &BTreeSet<String>) -> anyhow::Result<Vec<File>> {
    let wanted =
        |path: &&String| Path::new(path).extension().is_some_and(|e| EXTENSIONS.iter().any(|&wanted| e == wanted));
    // A file that git still lists may be deleted already.
    let present = paths.iter().filter(wanted).filter(|path| root.join(path).is_file());
    present
        .map(|path| {
            let text = std::fs::read_to_string(root.join(path)).with_context(|| path.clone())?;
            Ok(File { path: path.clone(), text })
        })
        .collect()
}
