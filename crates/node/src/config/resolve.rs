//! From what is written to what a node runs with: every value checked, every default filled in, every path made absolute.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use concurrence_engine::{FeedPlan, SubmissionParams};
use concurrence_net::{Multiaddr, PeerAddr, PeerId, parse_listen, parse_peer};
use concurrence_oracle::{
    AggregateParams, BINANCE, BITSTAMP, BYBIT, COINBASE, DYDX, GEMINI, KRAKEN, OKX, ObserveParams, PYTH, Pace, SLOT_MS,
    SourceId,
};
use concurrence_sources::{Channel, Venue};

use super::{BroadcastSection, ChainSource, Config, ConfigError, ExchangeSection, MarketUse, Secret, markets::Sources};

/// A configuration that a node can run with.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Name of the node.
    pub id: String,
    /// The key file.
    pub key_file: PathBuf,
    /// Its passphrase.
    pub key_passphrase: Option<Secret>,
    /// The registry file.
    pub registry: PathBuf,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Where peers are listened for.
    pub listen: Vec<Multiaddr>,
    /// Whom to dial.
    pub dial: Vec<PeerAddr>,
    /// How operations spread.
    pub broadcast: BroadcastSection,
    /// Who may connect without being a member.
    pub observers: BTreeSet<PeerId>,
    /// The exchanges to ask.
    pub exchanges: Vec<ExchangeSource>,
    /// The sources on chains that are read.
    pub chains: Vec<ChainSource>,
    /// Configured sources of kinds that are not built, or without a second node.
    pub unsupported: Vec<Unsupported>,
    /// What is priced, and how.
    pub feeds: Vec<FeedPlan>,
    /// When it is published.
    pub submission: SubmissionParams,
    /// Parameters of answers.
    pub aggregation: AggregateParams,
    /// How often peers are told the digest, in milliseconds.
    pub sync_interval_ms: u64,
    /// Where metrics are served.
    pub metrics_addr: SocketAddr,
    /// Where the API is served.
    pub api_addr: SocketAddr,
    /// Least severity logged.
    pub log_level: String,
}

/// An exchange and what is asked of it.
#[derive(Clone, Debug)]
pub struct ExchangeSource {
    /// Its network-wide index.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// Base URL, if not the venue's public one.
    pub api_url: Option<String>,
    /// The symbols that some feed uses, in the venue's spelling, ascending.
    pub symbols: Vec<String>,
    /// What each of them is used for, in the same order.
    pub markets: Vec<MarketUse>,
    /// Its stream, if it is listened to.
    pub stream: Option<StreamSource>,
    /// Time between two requests for one symbol, in milliseconds.
    pub poll_interval_ms: u64,
    /// Requests a minute, if not what the vendor documents.
    pub requests_per_minute: Option<u32>,
    /// Time a request may take, in milliseconds.
    pub timeout_ms: u64,
}

/// A stream to listen to.
#[derive(Clone, Debug)]
pub struct StreamSource {
    /// The channel.
    pub channel: Channel,
    /// Its address, if not the venue's public one.
    pub url: Option<String>,
}

/// A configured source that this version cannot ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: String,
}

/// An exchange as written, and as it will be asked.
pub(super) type Configured<'a> = (&'a ExchangeSection, ExchangeSource);

/// Exchanges that can be asked, with their network-wide index.
pub(super) const VENUES: [(&str, SourceId); 9] = [
    ("binance", BINANCE),
    ("bitstamp", BITSTAMP),
    ("bybit", BYBIT),
    ("coinbase", COINBASE),
    ("dydx", DYDX),
    ("gemini", GEMINI),
    ("kraken", KRAKEN),
    ("okx", OKX),
    ("pyth", PYTH),
];

impl Config {
    /// Checks and completes. Relative paths begin at `base`, the directory of the configuration file.
    pub fn resolve(&self, base: &Path) -> Result<Resolved, ConfigError> {
        self.resolve_values(base).map_err(|error| match error {
            ConfigError::Value { field, detail } => ConfigError::Value { field, detail: self.variables.mask(&detail) },
            other => other,
        })
    }

    fn resolve_values(&self, base: &Path) -> Result<Resolved, ConfigError> {
        let submission = self.submission()?;
        let (exchanges, mut unsupported) = self.exchanges(submission.interval_ms)?;
        let (mut chains, without_nodes) = self.chains()?;
        unsupported.extend(without_nodes);
        let (feeds, uses, mut reads) = self.feeds(Sources { exchanges: &exchanges, chains: &chains })?;
        for chain in &mut chains {
            chain.reads = reads.remove(&chain.source).unwrap_or_default();
            crate::chain_watch::chain(chain).map_err(|error| ConfigError::Value {
                field: format!("source {}", chain.name),
                detail: error.to_string(),
            })?;
        }
        let exchanges = exchanges.into_iter().map(|(_, mut exchange)| {
            exchange.markets = uses.get(&exchange.source).cloned().unwrap_or_default();
            exchange.symbols = exchange.markets.iter().map(|market| market.symbol.clone()).collect();
            exchange
        });
        let exchanges: Vec<_> = exchanges.collect();
        let value = |field: &str, detail: String| ConfigError::Value { field: field.to_owned(), detail };
        for exchange in exchanges.iter().filter(|exchange| exchange.api_url.is_some()) {
            let field = format!("data_sources.exchanges[{}]", exchange.name);
            crate::node::source(exchange).map_err(|error| value(&field, format!("{error:#}")))?;
        }
        let listen =
            parse_listen(&self.network.listen_addr).map_err(|e| value("network.listen_addr", e.to_string()))?;
        let dial = self.network.bootstrap_peers.iter().map(|peer| parse_peer(peer));
        let dial = dial.collect::<Result<_, _>>().map_err(|e| value("network.bootstrap_peers", e.to_string()))?;
        let observers = self.network.observers.iter().map(|peer| {
            peer.parse().map_err(|e| value("network.observers", format!("{peer:?} is not a peer id: {e}")))
        });
        let merge_ms = self.performance.merge_interval_ms;
        within("performance.merge_interval_ms", merge_ms, 50, 60_000)?;
        Ok(Resolved {
            id: self.oracle.id.clone(),
            key_file: below(base, &self.oracle.key_file),
            key_passphrase: self.oracle.key_passphrase.clone(),
            registry: below(base, &self.oracle.registry),
            data_dir: below(base, &self.storage.path),
            listen,
            dial,
            broadcast: self.network.broadcast,
            observers: observers.collect::<Result<_, _>>()?,
            exchanges,
            chains,
            unsupported,
            aggregation: self.aggregation(&submission)?,
            feeds,
            submission,
            sync_interval_ms: merge_ms,
            metrics_addr: SocketAddr::new(self.monitoring.metrics_addr, self.monitoring.metrics_port),
            api_addr: self.api.listen_addr,
            log_level: self.log_level()?,
        })
    }

    fn log_level(&self) -> Result<String, ConfigError> {
        let level = self.monitoring.log_level.to_lowercase();
        if ["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
            return Ok(level);
        }
        let detail = format!("{level:?} is not error, warn, info, debug or trace");
        Err(ConfigError::Value { field: "monitoring.log_level".to_owned(), detail })
    }

    fn submission(&self) -> Result<SubmissionParams, ConfigError> {
        let s = &self.submission;
        within("submission.min_sources", u64::from(s.min_sources), 1, 16)?;
        within("submission.max_price_age_seconds", s.max_price_age_seconds, 1, 3_600)?;
        within("submission.submission_interval_seconds", s.submission_interval_seconds, 1, 3_600)?;
        let observe = ObserveParams {
            max_age_ms: s.max_price_age_seconds * 1_000,
            sources_min: s.min_sources,
            confidence_min_ppm: fraction("submission.confidence_threshold", s.confidence_threshold)?,
            ..ObserveParams::default()
        };
        let interval_ms = s.submission_interval_seconds * 1_000;
        Ok(SubmissionParams { interval_ms, pace: self.pace()?, observe })
    }

    /// How batches follow the prices, if a heartbeat is configured.
    fn pace(&self) -> Result<Option<Pace>, ConfigError> {
        let s = &self.submission;
        let Some(heartbeat_s) = s.heartbeat_seconds else { return Ok(None) };
        // A quiet feed must not go stale between two batches.
        within("submission.heartbeat_seconds", heartbeat_s, s.submission_interval_seconds, s.max_price_age_seconds)?;
        let move_ppm = u64::from(fraction("submission.move_threshold", s.move_threshold)?);
        let (usual_ms, heartbeat_ms) = (s.submission_interval_seconds * 1_000, heartbeat_s * 1_000);
        Ok(Some(Pace { fastest_ms: SLOT_MS, usual_ms, heartbeat_ms, move_ppm }))
    }

    fn aggregation(&self, submission: &SubmissionParams) -> Result<AggregateParams, ConfigError> {
        let max_age_ms = submission.observe.max_age_ms;
        let window_s = self.aggregation.window_seconds.unwrap_or(max_age_ms / 500);
        within("aggregation.window_seconds", window_s, max_age_ms / 1_000, 3_600)?;
        let width = self.aggregation.max_width.map(|w| fraction("aggregation.max_width", w)).transpose()?;
        let defaults = AggregateParams::default();
        Ok(AggregateParams {
            window_ms: window_s * 1_000,
            max_age_ms,
            sources_min: submission.observe.sources_min,
            width_max_ppm: width.unwrap_or(defaults.width_max_ppm),
        })
    }

    fn exchanges(&self, interval_ms: u64) -> Result<(Vec<Configured<'_>>, Vec<Unsupported>), ConfigError> {
        let (mut known, mut unsupported) = (Vec::new(), Vec::new());
        for section in &self.data_sources.exchanges {
            let field = |key: &str| format!("data_sources.exchanges[{}].{key}", section.name);
            within(&field("weight"), u64::from(section.weight), 1, 10_000)?;
            within(&field("timeout_ms"), section.timeout_ms, 100, 60_000)?;
            let poll_interval_ms = section.poll_interval_ms.unwrap_or((interval_ms / 2).max(1_000));
            within(&field("poll_interval_ms"), poll_interval_ms, 100, 600_000)?;
            let Some(&(_, source)) = VENUES.iter().find(|(name, _)| *name == section.name) else {
                unsupported.push(Unsupported { section: "data_sources.exchanges", name: section.name.clone() });
                continue;
            };
            if known.iter().any(|(_, k): &Configured<'_>| k.source == source) {
                return Err(ConfigError::Value { field: field("name"), detail: "is configured twice".to_owned() });
            }
            let requests_per_minute = section.requests_per_minute;
            if let Some(requests) = requests_per_minute {
                within(&field("requests_per_minute"), u64::from(requests), 1, 1_000_000)?;
            }
            let exchange = ExchangeSource {
                source,
                name: section.name.clone(),
                api_url: section.api_url.clone(),
                symbols: Vec::new(),
                markets: Vec::new(),
                stream: stream(section)?,
                poll_interval_ms,
                requests_per_minute,
                timeout_ms: section.timeout_ms,
            };
            known.push((section, exchange));
        }
        Ok((known, unsupported))
    }
}

/// The stream of an exchange. Who names another address for requests alone has none there.
fn stream(section: &ExchangeSection) -> Result<Option<StreamSource>, ConfigError> {
    let wanted = section.stream.unwrap_or(section.api_url.is_none() || section.ws_url.is_some());
    let Some(venue) = section.name.parse::<Venue>().ok().filter(|_| wanted) else { return Ok(None) };
    if let Some(url) = section.ws_url.as_ref().filter(|url| !["ws://", "wss://"].iter().any(|s| url.starts_with(s))) {
        let field = format!("data_sources.exchanges[{}].ws_url", section.name);
        return Err(ConfigError::Value { field, detail: format!("{url:?} begins with neither ws:// nor wss://") });
    }
    Ok(venue.stream().map(|channel| StreamSource { channel, url: section.ws_url.clone() }))
}

/// A path below a directory, without needless dots.
fn below(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}

pub(super) fn within(field: &str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Value { field: field.to_owned(), detail: format!("{value} is not within {low} and {high}") })
}

/// A fraction as parts per million.
fn fraction(field: &str, value: f64) -> Result<u32, ConfigError> {
    if (0.0..=1.0).contains(&value) {
        // Within 0 and 1,000,000, so nothing is cut off.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        return Ok((value * 1e6).round() as u32);
    }
    Err(ConfigError::Value { field: field.to_owned(), detail: format!("{value} is not within 0 and 1") })
}
