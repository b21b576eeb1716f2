//! `oracle-node registry`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use concurrence_node::{PublicKeys, RegistryFile};

/// Say who belongs to a network. All its nodes must hold the same file; nodes whose registries differ refuse one another by name.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Begin a network: a new file with a new network id and no members.
    Init {
        /// Name of the network, for people.
        #[arg(long)]
        network: String,
        /// The file to make.
        #[arg(long, default_value = "registry.toml")]
        file: PathBuf,
    },
    /// Add a member to the newest epoch, from its key file or from what `show-pubkey --json` printed.
    Add {
        /// Name of the member, for people.
        #[arg(long)]
        name: String,
        /// The member's key file, or a file with its public keys as JSON.
        #[arg(long)]
        key: PathBuf,
        /// Its weight against the others'; capped below a third of the total.
        #[arg(long, default_value_t = 1)]
        weight: u64,
        /// The registry file.
        #[arg(long, default_value = "registry.toml")]
        file: PathBuf,
    },
    /// Check the file and show what it says.
    Show {
        /// The registry file.
        #[arg(long, default_value = "registry.toml")]
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Init { network, file } => {
                let registry = RegistryFile::init(&network)?;
                registry.save(&file, true)?;
                println!("network {network} {} begun in {}", registry.network_id, file.display());
            }
            Command::Add { name, key, weight, file } => {
                let mut registry = RegistryFile::load(&file)?;
                registry.add(&name, &public_keys(&key)?, weight);
                // Checked before it is written: a refused member leaves the file as it was.
                let checked = registry.registry(&file)?;
                registry.save(&file, false)?;
                println!("{name} added; registry digest {}", checked.digest());
            }
            Command::Show { file, json } => show(&file, json)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Public keys from a key file, or from their JSON.
fn public_keys(path: &PathBuf) -> anyhow::Result<PublicKeys> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    if let Ok(public) = serde_json::from_str::<PublicKeys>(&text) {
        return Ok(public);
    }
    let is_key_file = text.contains("\"public\"");
    anyhow::ensure!(is_key_file, "{} is neither a key file nor what show-pubkey --json prints", path.display());
    Ok(PublicKeys::load(path)?)
}

fn show(file: &Path, json: bool) -> anyhow::Result<()> {
    let stored = RegistryFile::load(file)?;
    let registry = stored.registry(file)?;
    let (number, epoch) = registry.newest();
    if json {
        let value = serde_json::json!({
            "network": registry.network(), "network_id": registry.network_id().to_string(),
            "digest": registry.digest().to_string(), "epoch": number, "epochs": stored.epochs,
            "total_weight": epoch.committee().total(), "fault_tolerance": epoch.has_fault_tolerance(),
        });
        println!("{value}");
        return Ok(());
    }
    println!("network {}  {}", registry.network(), registry.network_id());
    println!("digest  {}", registry.digest());
    println!("epoch   {number}, {} members, weight {}", epoch.members().len(), epoch.committee().total());
    if !epoch.has_fault_tolerance() {
        println!("        fewer than four members: one faulty oracle can already move an answer");
    }
    for member in epoch.members() {
        let weight = epoch.committee().weight(&member.author);
        println!("  {:<16} weight {weight:<4} {}  {}  {}", member.name, member.author, member.evm, member.peer);
    }
    Ok(())
}
