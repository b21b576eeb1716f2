//! The registry as a TOML file: `registry.toml`.

use std::path::{Path, PathBuf};

use concurrence_crdt::{AuthorKey, NetworkId};
use concurrence_oracle::{Member, Registry, RegistryError};
use serde::{Deserialize, Serialize};

use crate::PublicKeys;

/// Why a registry file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFileError {
    /// There is no such file.
    #[error(
        "registry {0} does not exist: copy it from another member of the network, or begin one with `oracle-node registry init`"
    )]
    Missing(PathBuf),
    /// The file could not be read or written.
    #[error("registry {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is there already.
    #[error("{0} exists already; registry init never overwrites a network")]
    Exists(PathBuf),
    /// The text is not a registry.
    #[error("registry {path}: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// A value is not what its field asks for.
    #[error("registry {path}, member {member}: {detail}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The member's name.
        member: String,
        /// What is wrong.
        detail: String,
    },
    /// The registry breaks a rule.
    #[error("registry {path}: {source}")]
    Rule {
        /// The file.
        path: PathBuf,
        /// Which rule.
        source: RegistryError,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
}

/// What `registry.toml` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryFile {
    /// Name of the network, for people.
    pub network: String,
    /// The 32 bytes that name it for everyone else, hex; drawn when the registry was made.
    pub network_id: String,
    /// The epochs, oldest first; the position is the number.
    #[serde(default, rename = "epoch")]
    pub epochs: Vec<EpochEntry>,
}

/// One epoch of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    /// Its members.
    #[serde(default, rename = "member")]
    pub members: Vec<MemberEntry>,
}

/// One member of the file: the line that `show-pubkey` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Name for people.
    pub name: String,
    /// Author key, hex.
    pub author: String,
    /// EVM address, 0x hex.
    pub evm: String,
    /// libp2p peer id.
    pub peer: String,
    /// Weight, 1 unless given.
    #[serde(default = "one")]
    pub weight: u64,
}

const fn one() -> u64 {
    1
}

/// Longest registry file read: 256 epochs of 255 members at 300 bytes stay below.
const REGISTRY_LEN_MAX: u64 = 32 << 20;

impl RegistryFile {
    /// A new network without members.
    pub fn init(network: &str) -> Result<Self, RegistryFileError> {
        let mut id = [0u8; 32];
        getrandom::fill(&mut id).map_err(RegistryFileError::Randomness)?;
        Ok(Self { network: network.to_owned(), network_id: hex::encode(id), epochs: vec![EpochEntry::default()] })
    }

    /// Adds a member to the newest epoch.
    pub fn add(&mut self, name: &str, keys: &PublicKeys, weight: u64) {
        let PublicKeys { author, peer, evm } = keys.clone();
        if self.epochs.is_empty() {
            self.epochs.push(EpochEntry::default());
        }
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.members.push(MemberEntry { name: name.to_owned(), author, evm, peer, weight });
        }
    }

    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, RegistryFileError> {
        let io = |source| RegistryFileError::Io { path: path.to_owned(), source };
        let syntax = |detail: String| RegistryFileError::Syntax { path: path.to_owned(), detail };
        let missing = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => RegistryFileError::Missing(path.to_owned()),
            _ => io(error),
        };
        let len = std::fs::metadata(path).map_err(missing)?.len();
        if len > REGISTRY_LEN_MAX {
            return Err(syntax(format!("{len} bytes, at most {REGISTRY_LEN_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        toml::from_str(&text).map_err(|error| syntax(error.to_string()))
    }

    /// Writes the file, whole or not at all; `new` refuses to replace one.
    pub fn save(&self, path: &Path, new: bool) -> Result<(), RegistryFileError> {
        let io = |source| RegistryFileError::Io { path: path.to_owned(), source };
        if new && path.exists() {
            return Err(RegistryFileError::Exists(path.to_owned()));
        }
        let syntax = |e: toml::ser::Error| RegistryFileError::Syntax { path: path.to_owned(), detail: e.to_string() };
        let text = toml::to_string(self).map_err(syntax)?;
        let temporary = path.with_extension("toml.new");
        std::fs::write(&temporary, text).map_err(io)?;
        std::fs::rename(&temporary, path).map_err(io)
    }

    /// The registry it describes.
    pub fn registry(&self, path: &Path) -> Result<Registry, RegistryFileError> {
        let syntax = |detail: &str| RegistryFileError::Syntax { path: path.to_owned(), detail: detail.to_owned() };
        let id: [u8; 32] = bytes(&self.network_id).ok_or_else(|| syntax("network_id is not 64 hex digits"))?;
        if self.epochs.iter().all(|epoch| epoch.members.is_empty()) {
            return Err(syntax("has no members yet: add them with `oracle-node registry add`"));
        }
        let member = |entry: &MemberEntry| {
            let value =
                |detail: String| RegistryFileError::Value { path: path.to_owned(), member: entry.name.clone(), detail };
            let author = bytes(&entry.author).ok_or_else(|| value("author is not 64 hex digits".to_owned()))?;
            let author = AuthorKey::register(author).map_err(|e| value(e.to_string()))?;
            let evm = entry.evm.parse().map_err(|e| value(format!("evm {:?}: {e}", entry.evm)))?;
            entry.peer.parse::<concurrence_net::PeerId>().map_err(|e| value(format!("peer {:?}: {e}", entry.peer)))?;
            Ok(Member { name: entry.name.clone(), author, evm, peer: entry.peer.clone(), weight: entry.weight })
        };
        let epoch = |e: &EpochEntry| e.members.iter().map(member).collect::<Result<Vec<_>, _>>();
        let epochs = self.epochs.iter().map(epoch).collect::<Result<Vec<_>, _>>()?;
        Registry::new(self.network.clone(), NetworkId::from_bytes(id), epochs)
            .map_err(|source| RegistryFileError::Rule { path: path.to_owned(), source })
    }
}

impl PublicKeys {
    /// The block to add to `registry.toml`.
    pub fn registry_block(&self, name: &str) -> String {
        let Self { author, peer, evm } = self;
        format!("[[epoch.member]]\nname = {name:?}\nauthor = {author:?}\nevm = {evm:?}\npeer = {peer:?}\nweight = 1\n")
    }
}

fn bytes<const N: usize>(hex_digits: &str) -> Option<[u8; N]> {
    hex::decode(hex_digits).ok()?.try_into().ok()
}
