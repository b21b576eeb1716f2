//! The configuration file: one TOML, every key with default, unit and bound.

mod text;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::resolve::{ExchangeSource, Resolved, Unsupported};

mod resolve;

/// A configuration as written. [`resolve`](Self::resolve) makes of it what a node runs with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    pub oracle: OracleSection,
    /// How it reaches its peers.
    pub network: NetworkSection,
    /// Where its prices come from.
    #[serde(default)]
    pub data_sources: DataSourcesSection,
    /// When it publishes.
    #[serde(default)]
    pub submission: SubmissionSection,
    /// How it answers.
    #[serde(default)]
    pub aggregation: AggregationSection,
    /// What it shows to its operator.
    #[serde(default)]
    pub monitoring: MonitoringSection,
    /// What it shows to clients.
    #[serde(default)]
    pub api: ApiSection,
    /// How much it takes on.
    #[serde(default)]
    pub performance: PerformanceSection,
    /// Where it keeps its log.
    #[serde(default)]
    pub storage: StorageSection,
    /// What it prices; BTC/USD and ETH/USD over the configured exchanges unless given.
    #[serde(default)]
    pub feeds: Vec<FeedSection>,
}

/// `[oracle]`
#[derive(Clone, Debug, Deserialize)]
pub struct OracleSection {
    /// Name in logs and in the page. Required.
    pub id: String,
    /// The key file of `oracle-node keygen`. Relative paths begin at the configuration file. Required.
    pub key_file: PathBuf,
    /// Passphrase of an encrypted key file; also taken from `ORACLE_KEY_PASSPHRASE`. None by default.
    pub key_passphrase: Option<Secret>,
    /// The registry file. Default `registry.toml`.
    #[serde(default = "default_registry")]
    pub registry: PathBuf,
}

/// `[network]`
#[derive(Clone, Debug, Deserialize)]
pub struct NetworkSection {
    /// Socket address (TCP and QUIC) or multiaddr to listen on. Required.
    pub listen_addr: String,
    /// Multiaddrs of peers, each ending in `/p2p/<peer id>`. The only addresses ever dialled. Default: none.
    #[serde(default)]
    pub bootstrap_peers: Vec<String>,
    /// How operations spread: `gossipsub` (default) or `full_mesh`. All nodes of a network choose the same.
    #[serde(default)]
    pub broadcast: BroadcastSection,
    /// Peer ids that may connect without being members: followers that publish nothing. Default: none.
    #[serde(default)]
    pub observers: Vec<String>,
}

/// How operations spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BroadcastSection {
    /// By gossipsub.
    #[default]
    Gossipsub,
    /// Directly to every peer.
    FullMesh,
}

/// `[data_sources]`
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DataSourcesSection {
    /// Exchanges.
    #[serde(default)]
    pub exchanges: Vec<ExchangeSection>,
    /// On-chain sources. None is built yet: listed as unsupported, counted as inactive.
    #[serde(default)]
    pub on_chain: Vec<OnChainSection>,
    /// Other oracles, for cross-checks. None is built yet: listed as unsupported, counted as inactive.
    #[serde(default)]
    pub oracles: Vec<OtherOracleSection>,
}

/// `[[data_sources.exchanges]]`
#[derive(Clone, Debug, Deserialize)]
pub struct ExchangeSection {
    /// `binance`, `coinbase` or `kraken`. Required.
    pub name: String,
    /// Base URL; the venue's public one unless given. Its path chooses between APIs of one venue.
    pub api_url: Option<String>,
    /// Accepted for other venues to come; the public market data used now needs none.
    pub api_key: Option<Secret>,
    /// Accepted for other venues to come; the public market data used now needs none.
    pub api_secret: Option<Secret>,
    /// Weight of the venue against the others, 1 to 10,000. Default 25.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Time between two requests for one market, in milliseconds, 100 to 600,000. Default: half the submission interval, at
    /// least 1,000.
    pub poll_interval_ms: Option<u64>,
    /// Requests a minute that the venue allows this node, 1 to 1,000,000; for endpoints of one's own. Default: nine tenths of what the
    /// vendor documents.
    pub requests_per_minute: Option<u32>,
    /// Time a request may take, in milliseconds, 100 to 60,000. Default 3,000 (dYdX v4's price daemon uses the same).
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

/// `[[data_sources.on_chain]]`
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "sources of this kind are listed, not run, until they are built")]
pub struct OnChainSection {
    /// Which protocol.
    pub name: String,
    /// Which chain.
    pub chain: String,
    /// JSON-RPC endpoint.
    pub rpc_url: Secret,
    /// Weight against other sources.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// `[[data_sources.oracles]]`
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "sources of this kind are listed, not run, until they are built")]
pub struct OtherOracleSection {
    /// Which oracle.
    pub name: String,
    /// Which chain.
    pub chain: Option<String>,
    /// Its contract.
    pub contract: Option<String>,
    /// Weight against other sources.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// `[submission]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct SubmissionSection {
    /// Distinct sources needed to publish a feed, 1 to 16. Default 3.
    pub min_sources: u8,
    /// Greatest age of a quote, and of the newest attestation of an answer that is not stale, in seconds, 1 to 3,600. Default 30.
    pub max_price_age_seconds: u64,
    /// Time between batches, in seconds, 1 to 3,600. Default 5.
    pub submission_interval_seconds: u64,
    /// Least confidence (1 - half-width / price) of a price that is not doubtful, 0 to 1. Default 0.95.
    pub confidence_threshold: f64,
}

/// `[aggregation]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AggregationSection {
    /// Window of attestations behind an answer, in seconds, at least the maximum price age. Default: twice that age.
    pub window_seconds: Option<u64>,
    /// Greatest width of the admissible interval of an `ok` answer, as a fraction of the price, 0 to 1. Default 0.02.
    pub max_width: Option<f64>,
}

/// `[monitoring]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct MonitoringSection {
    /// Port of `/metrics`, `/livez` and `/readyz`. Default 9091.
    pub metrics_port: u16,
    /// Address they listen on. Default 127.0.0.1; set it to be scraped from elsewhere.
    pub metrics_addr: IpAddr,
    /// Least severity that is logged: error, warn, info, debug or trace. Default info.
    pub log_level: String,
}

/// `[api]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ApiSection {
    /// Socket address of the REST API and the page. Default 127.0.0.1:8080.
    pub listen_addr: SocketAddr,
}

/// `[performance]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct PerformanceSection {
    /// Most feeds in one batch, 1 to 100. Default 100.
    pub attestation_batch_size: usize,
    /// How often peers are told the digest of what this node holds, in milliseconds, 50 to 60,000. Default 500.
    pub merge_interval_ms: u64,
    /// Accepted for compatibility: answers are computed anew for each snapshot and cached nowhere. Default 30.
    pub cache_ttl_seconds: u64,
    /// Accepted; history is pruned once checkpoints exist. Default 8.
    pub max_memory_gb: u64,
}

/// `[storage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct StorageSection {
    /// Directory of the embedded store, made if absent. Relative paths begin at the configuration file. Default `data`.
    pub path: PathBuf,
}

/// `[[feeds]]`
#[derive(Clone, Debug, Deserialize)]
pub struct FeedSection {
    /// `BASE/QUOTE`. Required.
    pub name: String,
    /// Decimals of its attestations, 0 to 18; the same at all nodes of a network. Default 8.
    #[serde(default = "default_decimals")]
    pub decimals: u8,
    /// Its markets; those known for BTC/USD and ETH/USD unless given.
    #[serde(default)]
    pub legs: Vec<LegSection>,
}

/// `[[feeds.legs]]`
#[derive(Clone, Debug, Deserialize)]
pub struct LegSection {
    /// Name of a configured exchange. Required.
    pub source: String,
    /// The venue's own symbol. Required.
    pub symbol: String,
    /// What it prices. Required.
    pub base: String,
    /// What it prices it in. USDT and USDC are not USD. Required.
    pub quote: String,
    /// Weight within the venue, 1 to 10,000. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Legs with the same number mirror one another and count once. None by default.
    pub mirror: Option<u8>,
}

/// Text that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not TOML, or a value of another type.
    #[error("line {line}: {detail}")]
    Syntax {
        /// The line, from 1; 0 if unknown.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// A key that does not exist.
    #[error("line {line}: unknown key `{key}` in [{section}]; the nearest known key is `{nearest}`")]
    UnknownKey {
        /// The line, from 1.
        line: usize,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// The most similar key of that section.
        nearest: String,
    },
    /// A `${VAR}` that is not set.
    #[error("line {line}: environment variable {name} is not set")]
    UnsetVariable {
        /// The line, from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A value that its field does not take.
    #[error("{field}: {detail}")]
    Value {
        /// The field, by its path.
        field: String,
        /// What is wrong and what would be right.
        detail: String,
    },
}

impl Config {
    /// Reads a file; `${VAR}` comes from the environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &|name| std::env::var(name).ok())
    }

    /// Reads a text with given variables.
    pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let expanded = text::prepare(text, variable)?;
        // The parser's own display quotes the line, which may hold an expanded secret: only its message is kept.
        toml::from_str(&expanded).map_err(|error: toml::de::Error| ConfigError::Syntax {
            line: error.span().map_or(0, |span| text::line_of(&expanded, span.start)),
            detail: error.message().to_owned(),
        })
    }
}

impl Secret {
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for SubmissionSection {
    fn default() -> Self {
        Self { min_sources: 3, max_price_age_seconds: 30, submission_interval_seconds: 5, confidence_threshold: 0.95 }
    }
}

impl Default for MonitoringSection {
    fn default() -> Self {
        Self { metrics_port: 9091, metrics_addr: IpAddr::V4(Ipv4Addr::LOCALHOST), log_level: "info".to_owned() }
    }
}

impl Default for ApiSection {
    fn default() -> Self {
        Self { listen_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)) }
    }
}

impl Default for PerformanceSection {
    fn default() -> Self {
        Self { attestation_batch_size: 100, merge_interval_ms: 500, cache_ttl_seconds: 30, max_memory_gb: 8 }
    }
}

impl Default for StorageSection {
    fn default() -> Self {
        Self { path: "data".into() }
    }
}

fn default_registry() -> PathBuf {
    "registry.toml".into()
}

const fn default_weight() -> u32 {
    25
}

const fn default_timeout_ms() -> u64 {
    3_000
}

const fn default_decimals() -> u8 {
    8
}

const fn one() -> u32 {
    1
}

/// Names of venues by their network-wide source index.
pub type SourceNames = BTreeMap<u8, String>;
