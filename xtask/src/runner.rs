//! Child processes: started in a group of their own, so that a hang or Ctrl-C ends all that a command started and nothing else.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Starts commands in the repository and waits for them.
pub struct Runner {
    root: PathBuf,
    interrupted: Arc<AtomicBool>,
}

/// Until when a command may run.
#[derive(Clone, Copy)]
pub struct Limit(Option<Instant>);

/// How often a running child is looked at: far below the shortest task, and no load.
const POLL: Duration = Duration::from_millis(50);

/// How long a child that was asked to stop may take. The programs under test stop in two seconds.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// `cargo run` sets these for us. Handed on, they differ from those of a `cargo` started by hand, and every build script
/// that watches them (and all that depends on it) would be built again at each change between the two.
const CARGO_RUN_VARIABLES: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

impl Limit {
    /// Waits for ever.
    pub const NONE: Self = Self(None);

    /// From now on for `time`.
    pub fn within(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

impl Runner {
    /// A runner for the repository at `root`. From now on SIGINT and SIGTERM stop the running command, then this program.
    pub fn new(root: PathBuf) -> anyhow::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("signal handler")?;
        }
        Ok(Self { root, interrupted })
    }

    /// The repository's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The `cargo` that started this program.
    pub fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// A command in the repository's root. It cannot read from the terminal.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if CARGO_RUN_VARIABLES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end; its output goes to ours.
    pub fn run(&self, command: &mut Command, limit: Limit) -> anyhow::Result<()> {
        let line = shown(command);
        self.uninterrupted()?;
        anyhow::ensure!(!limit.is_over(), "no time left for `{line}`");
        eprintln!("$ {line}");
        let mut child = command.process_group(0).spawn().with_context(|| format!("cannot start `{line}`"))?;
        let status = self.wait(&mut child, limit).with_context(|| format!("`{line}`"))?;
        if !status.success() {
            bail!("`{line}` ended with {status}");
        }
        Ok(())
    }

    /// Fails once the user has asked to stop.
    pub fn uninterrupted(&self) -> anyhow::Result<()> {
        if self.interrupted.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn wait(&self, child: &mut Child, limit: Limit) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if limit.is_over() {
                stop(child)?;
                bail!("hung, and was stopped");
            }
            if self.interrupted.load(Ordering::SeqCst) {
                stop(child)?;
                bail!("interrupted");
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Ends a child and everything in its group: politely, then not.
fn stop(child: &mut Child) -> anyhow::Result<()> {
    let group = Pid::from_child(child);
    let grace = Limit::within(STOP_GRACE);
    kill_process_group(group, Signal::TERM).ok();
    while child.try_wait()?.is_none() && !grace.is_over() {
        std::thread::sleep(POLL);
    }
    // The group outlives its leader as long as anyone is in it; when nobody is, this does nothing.
    kill_process_group(group, Signal::KILL).ok();
    child.wait()?;
    Ok(())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> Runner {
        Runner { root: std::env::temp_dir(), interrupted: Arc::default() }
    }

    fn shell(script: &str) -> Command {
        let mut command = runner().command("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn success_and_failure_are_told_apart() {
        runner().run(&mut shell("exit 0"), Limit::NONE).unwrap();
        let error = runner().run(&mut shell("exit 3"), Limit::NONE).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = runner().run(&mut Command::new("no-such-program-here"), Limit::NONE).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }

    #[test]
    fn a_hang_is_stopped_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        // The grandchild ignores the polite signal.
        let script =
            format!("sh -c 'trap \"\" TERM; echo $$ > {0}; while :; do sleep 1; done' & wait", pid_file.display());
        let mut command = shell(&script);
        let mut child = command.process_group(0).spawn().unwrap();
        let start = Limit::within(Duration::from_secs(15));
        let grandchild = loop {
            match std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) {
                Some(pid) => break Pid::from_raw(pid).unwrap(),
                None => assert!(!start.is_over(), "the grandchild never started"),
            }
            std::thread::sleep(POLL);
        };
        let error = runner().wait(&mut child, Limit::within(Duration::ZERO)).unwrap_err();
        assert!(error.to_string().contains("hung"));
        let end = Limit::within(Duration::from_secs(15));
        while is_running(grandchild) {
            assert!(!end.is_over(), "the grandchild still runs");
            std::thread::sleep(POLL);
        }
    }

    /// Whether a process exists and is not a zombie that nobody has reaped yet.
    fn is_running(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    }

    #[test]
    fn after_an_interrupt_nothing_is_started() {
        let runner = runner();
        runner.interrupted.store(true, Ordering::SeqCst);
        assert!(runner.run(&mut shell("exit 0"), Limit::NONE).is_err());
    }
}
