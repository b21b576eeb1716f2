//! `oracle-node show-pubkey`

use std::{path::PathBuf, process::ExitCode};

use concurrence_node::PublicKeys;

/// Print a key file's public keys, and the block that registers them. Needs no passphrase.
#[derive(clap::Args)]
pub struct Args {
    /// The key file.
    #[arg(long, default_value = "oracle-key.json")]
    key: PathBuf,
    /// Name of the member in the registry block.
    #[arg(long, default_value = "my-node")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        print(&PublicKeys::load(&self.key)?, &self.name, self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints public keys for people or programs.
pub fn print(keys: &PublicKeys, name: &str, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(keys)?);
        return Ok(());
    }
    println!("author  {}\npeer    {}\nevm     {}\n", keys.author, keys.peer, keys.evm);
    println!("# for registry.toml\n{}", keys.registry_block(name));
    Ok(())
}
