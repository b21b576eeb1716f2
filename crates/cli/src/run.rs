//! `oracle-node run`

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use concurrence_node::{Exit, Node, Options};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// Run a node until it is told to stop (Ctrl-C or SIGTERM). SIGHUP makes it read its configuration again: exchanges, legs, weights and the
/// submission interval change without a stop, if all else is as it was and the whole file is right.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "./config.toml")]
    config: PathBuf,
    /// Append although this node's own log may be longer elsewhere (restored or lost store). Only when you are certain that no other
    /// process uses this key: if one does, the log forks and the key is worthless.
    #[arg(long)]
    override_recovery: bool,
    /// Run as if the clock were this many milliseconds ahead, to try out what a wrong clock does.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, hide = true)]
    clock_offset_ms: i64,
}

/// Another process signs with the key, or its log is forked.
const EXIT_HALTED: u8 = 4;
/// Store or sidecar failed.
const EXIT_DISK: u8 = 5;

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::check_config::load(&self.config)?;
        log_to_stderr(&config.log_level);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let options = Options {
            override_recovery: self.override_recovery,
            clock_offset_ms: self.clock_offset_ms,
            ..Options::default()
        };
        let code = runtime.block_on(run(config, options, &self.config))?;
        // Lookups of names run on threads that cannot be interrupted; nothing waits for them.
        runtime.shutdown_background();
        Ok(code)
    }
}

async fn run(config: concurrence_node::Resolved, options: Options, path: &Path) -> anyhow::Result<ExitCode> {
    let told_to_stop = told_to_stop();
    let mut told_to_reload = signal(SignalKind::hangup())?;
    tokio::pin!(told_to_stop);
    let mut node = Node::start(config, options).await?;
    eprintln!("running; the page is at http://{}", node.api_addr());
    let exit = loop {
        tokio::select! {
            exit = node.ended() => break exit,
            told = &mut told_to_stop => break told.map(|()| Exit::Shutdown)?,
            _ = told_to_reload.recv() => reload(&mut node, path).await,
        }
    };
    let code = match exit {
        Exit::Shutdown => ExitCode::SUCCESS,
        Exit::Halt(halt) => {
            eprintln!("error: {halt}; this node has stopped so as not to make it worse");
            ExitCode::from(EXIT_HALTED)
        }
        Exit::Disk(detail) => {
            eprintln!("error: {detail}");
            ExitCode::from(EXIT_DISK)
        }
    };
    node.shutdown().await;
    Ok(code)
}

/// Reads the file again and takes it over, or says why not and goes on as before.
async fn reload(node: &mut Node, path: &Path) {
    let changed = match super::check_config::load(path) {
        Ok(config) => node.reload(config).await,
        Err(error) => Err(error),
    };
    match changed {
        Ok(changes) if changes.is_empty() => info!("configuration read again: nothing differs"),
        Ok(changes) => changes.iter().for_each(|change| info!(%change, "configuration changed")),
        Err(error) => error!(error = format!("{error:#}"), "configuration not taken over"),
    }
}

/// Waits for Ctrl-C or SIGTERM. Both are caught from the call on, not only from the first wait.
pub fn told_to_stop() -> impl Future<Output = anyhow::Result<()>> {
    let signals = signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
    async move {
        let (mut interrupt, mut terminate) = signals?;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    }
}

/// Logs for people on a terminal, as JSON elsewhere. `RUST_LOG` overrides the level.
pub fn log_to_stderr(level: &str) {
    let noisy = "libp2p_gossipsub=warn,libp2p_swarm=warn,libp2p_tcp=warn,libp2p_quic=warn,hickory_resolver=warn";
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{level},{noisy}")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    drop(set); // a second subscriber in one process: the first stays
}
