//! `oracle-node`: runs, checks and demonstrates nodes of a Concurrence network.

mod audit;
mod check_config;
mod demo;
mod exchange_sim;
mod explain;
mod keygen;
mod registry;
mod replay;
mod run;
mod show_pubkey;
mod sources;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An oracle network without consensus: run a node, check it, or watch seven of them agree.
///
/// First steps: `keygen` makes a node's keys, `registry init` and `registry add` say who belongs to the network,
/// `check-config` tells whether a configuration will run, `run` runs it. `demo` needs none of them.
///
/// Exit codes: 0 done; 1 failed, with the reason on standard error; 2 wrong usage, or a body that `sources parse` refuses; 3 an audit had nothing to verify;
/// 4 a running node halted because another process signs with its key or its log is forked; 5 its disk failed.
#[derive(Parser)]
#[command(name = "oracle-node", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Keygen(keygen::Args),
    ShowPubkey(show_pubkey::Args),
    Registry(registry::Args),
    CheckConfig(check_config::Args),
    Run(run::Args),
    Audit(audit::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    Demo(demo::Args),
    ExchangeSim(exchange_sim::Args),
    Sources(sources::Args),
    Replay(replay::ReplayArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Keygen(args) => args.run(),
        Command::ShowPubkey(args) => args.run(),
        Command::Registry(args) => args.run(),
        Command::CheckConfig(args) => args.run(),
        Command::Run(args) => args.run(),
        Command::Audit(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::ExchangeSim(args) => args.run(),
        Command::Sources(args) => args.run(),
        Command::Replay(args) => replay::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", told(&error));
        ExitCode::FAILURE
    })
}

/// An error with its causes, each said once: some errors quote their cause in their own text.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_told_once() {
        let error = std::io::Error::other("the disk is full");
        let error = Err::<(), _>(error).context("registry r.toml: the disk is full").context("node-1").unwrap_err();
        assert_eq!(super::told(&error), "node-1: registry r.toml: the disk is full");
    }
}
