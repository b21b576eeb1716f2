//! scratch
#[path = "../src/replay/mod.rs"]
mod replay;
use clap::Parser;
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    replay: replay::ReplayArgs,
}
fn main() -> std::process::ExitCode {
    replay::run(Cli::parse().replay).unwrap_or_else(|e| {
        eprintln!("error: {e:#}");
        std::process::ExitCode::FAILURE
    })
}
