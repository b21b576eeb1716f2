//! The configuration file: one TOML, every key with default, unit and bound.

mod text;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::{
    chains::{ChainRead, ChainSource},
    markets::{LegUse, MarketUse},
    resolve::{ExchangeSource, Resolved, StreamSource, Unsupported},
};

mod chains;
mod markets;
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
    /// What `${VAR}` was replaced by.
    #[serde(skip)]
    variables: text::Variables,
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
    /// Contracts that hold prices of their own. One without a second node to confirm the first is listed as unsupported, counted as
    /// inactive.
    #[serde(default)]
    pub on_chain: Vec<OnChainSection>,
    /// Other oracles, for cross-checks. As above.
    #[serde(default)]
    pub oracles: Vec<OtherOracleSection>,
}

/// `[[data_sources.exchanges]]`
#[derive(Clone, Debug, Deserialize)]
pub struct ExchangeSection {
    /// `binance`, `bitstamp`, `bybit`, `coinbase`, `dydx`, `gemini`, `kraken`, `okx` or `pyth`. Required.
    pub name: String,
    /// Base URL; the venue's public one unless given. Its path chooses between APIs of one venue.
    pub api_url: Option<String>,
    /// Address of its stream, `ws` or `wss`; the venue's public one unless given.
    pub ws_url: Option<String>,
    /// Whether its stream is listened to, with requests only for what the stream does not give. Default: yes, unless `api_url` is given
    /// without `ws_url`.
    pub stream: Option<bool>,
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
#[allow(dead_code, reason = "the chain's name is for who reads the file")]
pub struct OnChainSection {
    /// Which protocol: `uniswap_v3` or `curve`. Required.
    pub name: String,
    /// Which chain, for people. Required.
    pub chain: String,
    /// JSON-RPC endpoint. Required.
    pub rpc_url: Secret,
    /// JSON-RPC endpoint of another node of the same chain: what the two do not agree on is not read. None by default.
    pub second_rpc_url: Option<Secret>,
    /// How many blocks below the newest one is read, 0 to 64. Default 1.
    #[serde(default = "default_depth")]
    pub depth: u64,
    /// Time between two readings, in milliseconds, 1,000 to 600,000. Default 6,000: half of Ethereum's time between blocks.
    #[serde(default = "default_chain_interval_ms")]
    pub poll_interval_ms: u64,
    /// Weight of the source against the others, 1 to 10,000. Default 25.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// `[[data_sources.oracles]]`
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "the chain's name is for who reads the file, contracts are written beside their legs")]
pub struct OtherOracleSection {
    /// Which oracle: `chainlink`. Required.
    pub name: String,
    /// Which chain, for people.
    pub chain: Option<String>,
    /// Accepted; each leg names its own contract.
    pub contract: Option<String>,
    /// JSON-RPC endpoint.
    pub rpc_url: Option<Secret>,
    /// JSON-RPC endpoint of another node of the same chain.
    pub second_rpc_url: Option<Secret>,
    /// How many blocks below the newest one is read, 0 to 64. Default 1.
    #[serde(default = "default_depth")]
    pub depth: u64,
    /// Time between two readings, in milliseconds, 1,000 to 600,000. Default 6,000.
    #[serde(default = "default_chain_interval_ms")]
    pub poll_interval_ms: u64,
    /// Weight of the source against the others, 1 to 10,000. Default 25. Below half of every feed's.
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
    /// With it, batches follow the prices: one a second after a move of `move_threshold`, and one in so many seconds while nothing moves,
    /// from the submission interval to the maximum price age. Without it one an interval. No default.
    pub heartbeat_seconds: Option<u64>,
    /// A move since the last batch that is worth a batch at once, as a fraction of the price, 0 to 1. Counts only with a heartbeat. Default 0.002.
    pub move_threshold: f64,
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
    /// Independent groups its price legs must have, 1 to 16: venues, with mirrors counted once and derived prices not at all. Default 1.
    #[serde(default = "one_group")]
    pub min_groups: u8,
    /// Its markets; those known for BTC/USD and ETH/USD unless given.
    #[serde(default)]
    pub legs: Vec<LegSection>,
}

/// `[[feeds.legs]]`
#[derive(Clone, Debug, Deserialize)]
pub struct LegSection {
    /// Name of a configured source. Required.
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
    /// The venue quotes it the other way round: `USDCUSDT` taken as the price of USDT in USDC. Default false.
    #[serde(default)]
    pub invert: bool,
    /// Least volume of a day, in units of the market's own base currency, as a decimal in a string. A market below it counts as
    /// silent. None by default.
    pub min_volume: Option<String>,
    /// The stream's spelling of the symbol. Default: the symbol; for Kraken `BASE/QUOTE`.
    pub ws_symbol: Option<String>,
    /// What the venue is asked by, where that is longer than a symbol: Pyth's price feed id. Default: the symbol.
    pub venue_id: Option<String>,
    /// What is read, for a source on a chain; required there.
    pub contract: Option<ContractSection>,
}

/// `contract` of `[[feeds.legs]]`
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContractSection {
    /// Its address, `0x` and 40 hexadecimal digits. Required.
    pub address: String,
    /// Uniswap v3: decimals of token0, the one with the lower address, 0 to 18. Required there.
    pub decimals0: Option<u8>,
    /// Uniswap v3: decimals of token1, 0 to 18. Required there.
    pub decimals1: Option<u8>,
    /// Uniswap v3: window of the mean, in seconds, 60 to 86,400. Default 1,800.
    pub window_seconds: Option<u32>,
    /// Uniswap v3: least liquidity in range over the window, as an integer in a string. Required there.
    pub min_liquidity: Option<String>,
    /// Curve: which price of a pool of three or more, 0 to 7; none for a pool of two.
    pub coin: Option<u8>,
    /// Curve: when the pool was made, in seconds since 1970. Required there.
    pub created_seconds: Option<u64>,
    /// Curve: whether the pool is of the stableswap-ng kind. Required there.
    pub stableswap_ng: Option<bool>,
    /// Curve: whether all its coins have 18 decimals and none has a rate oracle. Required there.
    pub plain: Option<bool>,
    /// Chainlink: decimals of its answers, 0 to 18. Default 8.
    pub decimals: Option<u8>,
    /// Chainlink: longest time between two updates, in seconds, 1 to 172,800. Default 3,600.
    pub heartbeat_seconds: Option<u64>,
    /// Chainlink: the aggregator's `minAnswer()`, as an integer in a string, where it has one.
    pub min_answer: Option<String>,
    /// Chainlink: the aggregator's `maxAnswer()`, likewise. Both or neither.
    pub max_answer: Option<String>,
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
    #[error("line {line}: unknown key `{key}` {}; the nearest known key is `{nearest}`", place(.section))]
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

/// Where a key stands, in words.
fn place(section: &str) -> String {
    if section.is_empty() { "at the top level".to_owned() } else { format!("in [{section}]") }
}

impl Config {
    /// Reads a file; `${VAR}` comes from the environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &|name| std::env::var(name).ok())
    }

    /// Reads a text with given variables.
    pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text::Prepared { text: expanded, variables } = text::prepare(text, variable)?;
        // The parser's own display quotes the line, which may hold an expanded secret: only its message is kept, and masked.
        let read: Result<Self, toml::de::Error> = toml::from_str(&expanded);
        let config = read.map_err(|error| {
            let line = error.span().map_or(0, |span| text::line_of(&expanded, span.start));
            let detail = in_words(&variables.mask(error.message()));
            let key = text::key_on(text, line).map(|key| format!("`{key}`: ")).unwrap_or_default();
            ConfigError::Syntax { line, detail: format!("{key}{detail}") }
        })?;
        Ok(Self { variables, ..config })
    }
}

/// A parser's message with Rust's names of types in an operator's words.
fn in_words(message: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("expected u8", "expected a whole number, at most 255"),
        ("expected u16", "expected a whole number, at most 65535"),
        ("expected u32", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected usize", "expected a whole number"),
        ("expected f64", "expected a number"),
    ];
    let ending = WORDS.iter().find(|(rust, _)| message.ends_with(rust));
    ending.map_or_else(|| message.to_owned(), |(rust, words)| message.replace(rust, words))
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
        Self {
            min_sources: 3,
            max_price_age_seconds: 30,
            submission_interval_seconds: 5,
            heartbeat_seconds: None,
            move_threshold: 0.002,
            confidence_threshold: 0.95,
        }
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

const fn default_depth() -> u64 {
    1
}

const fn default_chain_interval_ms() -> u64 {
    6_000
}

const fn default_timeout_ms() -> u64 {
    3_000
}

const fn default_decimals() -> u8 {
    8
}

const fn one_group() -> u8 {
    1
}

const fn one() -> u32 {
    1
}

/// Names of venues by their network-wide source index.
pub type SourceNames = BTreeMap<u8, String>;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
[oracle]
id = "a"
key_file = "./k.json"
[network]
listen_addr = "127.0.0.1:0"
[[data_sources.exchanges]]
name = "kraken"
api_key = "${KEY}"
[submission]
min_sources = 1
"#;

    fn refused(text: &str) -> String {
        let variable = |name: &str| (name == "KEY").then(|| "se\"cret-123".to_owned());
        let resolved = Config::parse(text, &variable).and_then(|config| config.resolve(Path::new(".")));
        resolved.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn no_message_and_no_debug_shows_what_a_variable_held() {
        assert_eq!(refused(SMALL), "");
        let places = [
            ("min_sources = 1", "min_sources = \"${KEY}\""),
            ("id = \"a\"", "id = [\"${KEY}\"]"),
            ("[submission]", "[monitoring]\nlog_level = \"${KEY}\"\n[submission]"),
            ("listen_addr = \"127.0.0.1:0\"", "listen_addr = \"${KEY}\""),
            ("name = \"kraken\"", "name = \"kraken\"\napi_url = \"${KEY}\""),
        ];
        for (from, to) in places {
            let said = refused(&SMALL.replace(from, to));
            assert!(!said.is_empty() && !said.contains("cret-123"), "{to}: {said}");
        }
        let config = Config::parse(SMALL, &|_| Some("se\"cret-123".to_owned())).unwrap();
        assert!(!format!("{config:?}").contains("cret-123"));
    }

    #[test]
    fn messages_name_line_key_and_what_would_be_right() {
        let said = |from: &str, to: &str| refused(&SMALL.replace(from, to));
        assert_eq!(
            said("min_sources = 1", "min_sources = 300"),
            "line 11: `min_sources`: invalid value: integer `300`, expected a whole number, at most 255"
        );
        assert_eq!(
            said("[submission]", "[submision]"),
            "line 10: unknown key `submision` at the top level; the nearest known key is `submission`"
        );
        assert!(said("api_key", "api_kez").contains("line 9: unknown key `api_kez` in [data_sources.exchanges]"));
        assert!(said("${KEY}", "${OTHER}").contains("line 9: environment variable OTHER is not set"));
        assert!(said("\"kraken\"", "\"kraken\"\napi_url = \"nowhere\"").contains("api_url \"nowhere\""));
    }

    #[test]
    fn paths_begin_at_the_file_and_comments_hold_no_variables() {
        let text = format!("# ${{OTHER}}\n{SMALL}");
        let config = Config::parse(&text, &|_| Some(String::new())).and_then(|c| c.resolve(Path::new("/etc/oracle")));
        let config = config.unwrap();
        assert_eq!(config.key_file, Path::new("/etc/oracle/k.json"));
        assert_eq!(config.data_dir, Path::new("/etc/oracle/data"));
    }

    #[test]
    fn batches_follow_prices_only_with_a_heartbeat() {
        let pace = |line: &str| {
            let text = SMALL.replace("min_sources = 1", &format!("min_sources = 1\n{line}"));
            Config::parse(&text, &|_| Some(String::new()))
                .and_then(|c| c.resolve(Path::new(".")))
                .map(|c| c.submission.pace)
        };
        assert_eq!(pace("").unwrap(), None);
        let followed = pace("heartbeat_seconds = 20\nmove_threshold = 0.005").unwrap().unwrap();
        assert_eq!(
            (followed.fastest_ms, followed.usual_ms, followed.heartbeat_ms, followed.move_ppm),
            (1_000, 5_000, 20_000, 5_000)
        );
        for line in ["heartbeat_seconds = 4", "heartbeat_seconds = 31", "heartbeat_seconds = 20\nmove_threshold = 2.0"]
        {
            assert!(pace(line).is_err(), "{line}");
        }
    }
}
