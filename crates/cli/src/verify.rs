//! `oracle-node verify`

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use concurrence_node::{EXPLANATION_BYTES_MAX, RegistryFile, verify_explanation};

/// Make a saved explanation again, from its signed inputs and the registry alone, and compare every byte.
///
/// What is verified: each operation's signature, that the operations of each log are one chain up to its end in the cut and reach back to
/// before the window, each price group's EVM signature, the answer, its arithmetic and its id. That the cut is what the network held is
/// for whoever holds it to say: compare its digest with another node's.
///
/// Exit code 1 if anything differs, with the first line that does.
#[derive(clap::Args)]
pub struct Args {
    /// A file that `oracle-node explain --save` wrote, or `/v1/prices/{feed}/explain` answered.
    file: PathBuf,
    /// The registry of the network.
    #[arg(long, default_value = "./registry.toml")]
    registry: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let registry = RegistryFile::load(&self.registry)?.registry(&self.registry)?;
        let named = || format!("file {}", self.file.display());
        let size = std::fs::metadata(&self.file).with_context(named)?.len();
        anyhow::ensure!(size <= EXPLANATION_BYTES_MAX as u64, "{} has {size} bytes, which no explanation has", named());
        let file = std::fs::read_to_string(&self.file).with_context(named)?;
        let view = verify_explanation(&file, &registry).with_context(named)?.view;
        let (price, status) = (&view.answer.price, &view.answer.status);
        if self.json {
            let said = serde_json::json!({
                "verified": true, "feed": view.feed, "as_of_ms": view.as_of_ms, "price": price, "status": status,
                "cut": view.cut, "registry": view.registry, "result_id": view.result_id,
            });
            println!("{said}");
        } else {
            let price = price.as_deref().unwrap_or("no price");
            println!("verified: {} as of {} is {price}, {status}; result {}", view.feed, view.as_of_ms, view.result_id);
        }
        Ok(ExitCode::SUCCESS)
    }
}
