//! `oracle-node keygen`

use std::{path::PathBuf, process::ExitCode};

use concurrence_node::Keys;

/// Make a node's three keys: author (its log), peer (its connections), EVM (its prices on chain).
///
/// The file is readable by its owner alone, encrypted if ORACLE_KEY_PASSPHRASE is set, and never overwritten. Keep a backup of it, but
/// never run two nodes with one key: their logs would fork, and the key would be worthless from then on.
#[derive(clap::Args)]
pub struct Args {
    /// Where to write the keys.
    #[arg(long, default_value = "oracle-key.json")]
    output: PathBuf,
    /// Print the public keys as JSON.
    #[arg(long)]
    json: bool,
}

/// The environment variable that holds a key file's passphrase.
const PASSPHRASE: &str = "ORACLE_KEY_PASSPHRASE";

/// The passphrase of the environment. An empty one is none: a variable that something left unset must not pass for encryption.
pub fn passphrase() -> Option<String> {
    std::env::var(PASSPHRASE).ok().filter(|passphrase| !passphrase.is_empty())
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let keys = Keys::generate()?;
        let passphrase = passphrase();
        keys.create(&self.output, passphrase.as_deref())?;
        let sealed = if passphrase.is_some() { ", encrypted" } else { "" };
        eprintln!("keys written to {}{sealed}", self.output.display());
        super::show_pubkey::print(&keys.public(), "new-node", self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}
