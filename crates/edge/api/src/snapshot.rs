//! What the node publishes and the API serves: plain values, made whole several times a second and never changed after.
//!
//! Everything is already in the form a reader gets: ids are lower-case hex or base58 text, prices are strings of an
//! integer mantissa beside an `expo` (price = mantissa * 10^expo), times are milliseconds since the Unix epoch. Long
//! lists are behind `Arc`, so that a new snapshot shares what did not change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most attestations a snapshot carries: about ten minutes of two feeds and seven oracles at 5 s a tick.
pub const ATTESTATIONS_MAX: usize = 1_000;

/// Most points of a feed's history: ten minutes at one point a second, which is what the page draws.
pub const HISTORY_POINTS_MAX: usize = 600;

/// Most anomalies a snapshot carries; equal ones are one entry with a count, so this bounds distinct accusations.
pub const ANOMALIES_MAX: usize = 256;

/// Everything a node shows at one instant. `Default` is a node that has just started and knows nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Counts up by one with each snapshot of a run of the node, from 1.
    pub seq: u64,
    /// When this was made, by the clock that is also `ApiConfig::clock`.
    pub as_of_ms: u64,
    /// The node that speaks.
    pub node: NodeView,
    /// One entry a feed, in the order to show them.
    pub feeds: Vec<FeedView>,
    /// Newest first, at most `ATTESTATIONS_MAX`.
    pub attestations: Vec<Arc<AttestationView>>,
    /// Every member of the registry and every other author whose operations are held.
    pub oracles: Vec<OracleView>,
    /// Newest first, at most `ANOMALIES_MAX`.
    pub anomalies: Vec<Arc<AnomalyView>>,
    /// What this node holds.
    pub frontier: FrontierView,
    /// Every peer configured or connected.
    pub peers: Vec<PeerView>,
    /// May a load balancer or an operator count on this node.
    pub readiness: Readiness,
    /// The venues this node asks.
    pub sources: Vec<SourceView>,
    /// What `/metrics` counts.
    pub counters: Counters,
}

/// Who the answering node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// The operator's name for the node (`oracle.id` of the configuration).
    pub id: String,
    /// Its author key (Ed25519), hex.
    pub author: String,
    /// Its EVM signer, `0x` hex.
    pub evm: String,
    /// Its libp2p peer id.
    pub peer: String,
    /// The network it belongs to, 32 bytes hex.
    pub network_id: String,
    /// The program's version.
    pub version: String,
    /// When the process started.
    pub started_ms: u64,
    /// It serves and syncs, but appends nothing until its own log is known to be whole.
    pub recovering: bool,
    /// Own clock minus the peers' median; null while no peer has answered.
    pub clock_offset_ms: Option<i64>,
}

/// One feed: the network's answer, this node's own view of it, and the recent past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeedView {
    /// What the network says.
    pub price: PriceView,
    /// What this node's own sources say.
    pub local: LocalView,
    /// Oldest first, at most `HISTORY_POINTS_MAX`.
    pub history: Arc<Vec<HistoryPoint>>,
}

/// The network's answer for one feed, with all that is needed to check it without trusting this server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// The feed's name, as `BTC/USD`.
    pub feed: String,
    /// Integer mantissa; null exactly when halted.
    pub price: Option<String>,
    /// Power of ten of `price`, `interval`, the oracles' prices and the history.
    pub expo: i32,
    /// Least and greatest answer that any admissible subset of oracles could give; null when halted.
    pub interval: Option<[String; 2]>,
    /// The instant the answer is for. When stale: that of the last good value.
    pub as_of_ms: u64,
    /// How far the answer may be relied on.
    pub status: FeedStatus,
    /// The oracles whose attestation counted; the list's length is their number.
    pub oracles: Vec<CountedOracle>,
    /// The oracles that did not count, and why.
    pub left_out: Vec<LeftOut>,
    /// Registry weight of `oracles`, after capping.
    pub counted_weight: u64,
    /// Weight of the whole registry, silent and forked members included.
    pub total_weight: u64,
    /// The distinct sources behind the counted attestations; the list's length is their number.
    pub sources: Vec<String>,
    /// False in registries of fewer than four members, where one faulty oracle can already move the answer.
    pub fault_tolerance: bool,
    /// Hash of cut, instant, registry and parameters: equal ids mean equal answers on every node. Hex.
    pub result_id: String,
    /// Digest of the frontier that the answer was computed from. Hex.
    pub cut: String,
    /// Whether all that counted is below certified heads: no fork that is proven later changes the answer. The newest prices become so within
    /// a minute.
    pub certified: bool,
    /// When the newest counted attestation was declared; null when none counted.
    pub newest_ms: Option<u64>,
    /// What the counted oracles signed, one entry each, in the order of `oracles`.
    pub signed: Vec<Arc<SignedGroup>>,
}

/// How far an answer may be relied on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedStatus {
    /// More than two thirds of the weight and enough sources counted.
    Ok,
    /// More than half of the weight, or too wide an interval: shown without guarantee.
    Degraded,
    /// Nothing new enough: the last good value with its time.
    Stale,
    /// No answer; `price` is null.
    #[default]
    Halted,
}

impl FeedStatus {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Stale, Self::Halted];

    /// The word used in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Stale => "stale",
            Self::Halted => "halted",
        }
    }
}

/// One oracle's attestation that counted in an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountedOracle {
    /// The oracle's author key, hex.
    pub oracle: String,
    /// Declared time in seconds.
    pub slot: u64,
    /// Mantissa at the answer's `expo`.
    pub price: String,
    /// Half of the oracle's own uncertainty interval, in millionths of the price.
    pub half_width_ppm: u32,
    /// The sources it used.
    pub sources: Vec<String>,
    /// The operation that carries it, hex.
    pub op: String,
    /// The oracle itself doubted the price.
    pub doubtful: bool,
}

/// One oracle that did not count in an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// The oracle's author key, hex.
    pub oracle: String,
    /// A stable word: `silent`, `forked`, `conflict`, `too_old`, ...
    pub reason: String,
}

/// What an oracle signed with its EVM key: the fields of one EIP-712 `PriceGroup`, from which the digest can be made again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignedGroup {
    /// The oracle's author key, hex.
    pub oracle: String,
    /// The signer that must recover, `0x` hex.
    pub evm: String,
    /// The domain's salt, `0x` hex.
    pub network_id: String,
    /// Registry epoch signed under.
    pub epoch: u32,
    /// Declared time in seconds.
    pub slot: u64,
    /// The group's feeds in order, 22 bytes each (21 of feed, 1 of exponent), `0x` hex; the digest takes its Keccak-256.
    pub feeds: String,
    /// The group's prices in the same order, 12 bytes each, `0x` hex.
    pub words: String,
    /// EIP-2098 compact signature, 64 bytes, `0x` hex.
    pub signature: String,
}

/// A point of a feed's past, as this node answered then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    /// When this node gave the answer.
    pub as_of_ms: u64,
    /// Mantissa at the feed's `expo`; null when halted.
    pub price: Option<String>,
    /// Mantissas at the feed's `expo`; null when halted.
    pub interval: Option<[String; 2]>,
    /// The answer's status.
    pub status: FeedStatus,
}

/// What this node's own sources say of a feed; not part of the network's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LocalView {
    /// Sources that are fresh and passed the gate.
    pub active_sources: u32,
    /// Below this many the node publishes nothing.
    pub min_sources: u32,
    /// The node's own price, mantissa at the answer's `expo`; null when it has none.
    pub price: Option<String>,
    /// Half of the own uncertainty interval, in millionths of the price.
    pub half_width_ppm: Option<u32>,
    /// Each source's price after conversion to the feed's quote currency.
    pub legs: Vec<LegView>,
}

/// One source's price for a feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LegView {
    /// The source, as in `SourceView::source`.
    pub source: String,
    /// The conversion path, as `BTC/USDT * USDT/USD`.
    pub path: String,
    /// Mantissa at the answer's `expo`.
    pub price: String,
    /// When it was observed.
    pub observed_ms: u64,
    /// Distance from the cross-source median in signed millionths; null without a median.
    pub deviation_ppm: Option<i64>,
    /// `used`, or the reason why not: `stale`, `outlier`, `mirror`, ...
    pub verdict: String,
}

/// One attestation, as received.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttestationView {
    /// The operation's id, hex.
    pub op: String,
    /// The oracle's author key, hex.
    pub oracle: String,
    /// The author's log, 0..=3.
    pub log: u8,
    /// The operation's place in its log.
    pub seq: u64,
    /// The feed's name.
    pub feed: String,
    /// Declared time in seconds.
    pub slot: u64,
    /// Integer mantissa.
    pub price: String,
    /// Power of ten of `price`.
    pub expo: i32,
    /// Half of the oracle's own uncertainty interval, in millionths of the price.
    pub half_width_ppm: u32,
    /// The sources used.
    pub sources: Vec<String>,
    /// The oracle itself doubted the price.
    pub doubtful: bool,
    /// When this node first held it.
    pub received_ms: u64,
    /// The signed group it is part of.
    pub signed: Arc<SignedGroup>,
}

/// One author.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OracleView {
    /// Author key, hex.
    pub author: String,
    /// The registry's name for it; empty if it has none.
    pub name: String,
    /// EVM signer, `0x` hex.
    pub evm: String,
    /// libp2p peer id.
    pub peer: String,
    /// Weight in the registry's current epoch; 0 for an author that is no member.
    pub weight: u64,
    /// Is it heard, and is it honest about its own history.
    pub status: OracleStatus,
    /// Slot of its newest attestation.
    pub last_slot: Option<u64>,
    /// Its admitted operations.
    pub ops: u64,
    /// Its logs.
    pub logs: Vec<LogView>,
}

/// What is known of an author.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OracleStatus {
    /// Attested within the aggregation window.
    Active,
    /// Nothing within the window.
    #[default]
    Silent,
    /// Two different signed headers at one place of a log are held. For ever.
    Forked,
}

/// The admitted state of one log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogView {
    /// 0..=3.
    pub log: u8,
    /// Operations admitted.
    pub len: u64,
    /// Id of the last admitted operation, hex; null when `len` is 0.
    pub head: Option<String>,
}

/// Signed evidence about an attestation or an author, by a rule that anyone can run again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyView {
    /// `fork`, `outlier`, `bad_signature`, `bad_payload`, ...
    pub kind: String,
    /// The accused author, hex.
    pub oracle: String,
    /// The feed it is about; null when it is about the author.
    pub feed: Option<String>,
    /// When this node first saw it.
    pub first_ms: u64,
    /// When this node last saw it.
    pub last_ms: u64,
    /// How often.
    pub count: u64,
    /// What proves it, by name: operation ids, prices, the rule's numbers.
    pub evidence: BTreeMap<String, String>,
}

/// What this node holds: equal digests mean equal admitted histories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontierView {
    /// Hash over the logs, what of them is certified, the forked authors and the double voters, hex: what peers compare.
    pub digest: String,
    /// Hash over the logs and the forked authors alone, hex: the cut that answers are computed from.
    pub cut: String,
    /// One entry a log, in the digest's order.
    pub logs: Vec<FrontierLog>,
    /// Authors proven forked, hex, in order.
    pub forked: Vec<String>,
    /// Members proven to have voted twice, hex, in order.
    pub double_voters: Vec<String>,
    /// Frozen logs: two certified heads contradict one another, so more than a third of the weight is at fault.
    pub conflicts: Vec<ConflictView>,
    /// Admitted operations in all logs.
    pub ops: u64,
}

/// A frozen log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictView {
    /// Author key, hex.
    pub author: String,
    /// 0..=3.
    pub log: u8,
    /// Operations that both certified chains share: what still counts.
    pub parted: u64,
    /// The two certified heads, hex.
    pub heads: [String; 2],
    /// Members that signed both, hex.
    pub signed_both: Vec<String>,
}

/// One log of the frontier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontierLog {
    /// Author key, hex.
    pub author: String,
    /// 0..=3.
    pub log: u8,
    /// Operations admitted.
    pub len: u64,
    /// Id of the last admitted operation, hex; null when `len` is 0.
    pub head: Option<String>,
    /// Length that members of more than two thirds of the weight certified; 0 while nothing is certified.
    pub certified_len: u64,
}

/// One peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    /// libp2p peer id.
    pub peer: String,
    /// The registry's name for it; empty if it has none.
    pub name: String,
    /// A connection is open.
    pub connected: bool,
    /// The node would talk to it.
    pub admitted: bool,
    /// Last measured round trip.
    pub rtt_ms: Option<u32>,
    /// Its clock minus ours.
    pub clock_offset_ms: Option<i64>,
    /// Its last frontier digest equalled ours.
    pub in_sync: bool,
    /// When it last answered.
    pub last_seen_ms: Option<u64>,
    /// Points of misconduct that are not forgotten; a thousand are a ban.
    pub score: u32,
    /// For how long it is still banned; 0 if it is not.
    pub banned_ms: u64,
}

/// May this node be counted on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// True when `reasons` is empty.
    pub ready: bool,
    /// What is missing.
    pub reasons: Vec<Reason>,
}

/// Why a node is not ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// A stable word: `too_few_sources`, `recovering`, `clock_off`, ...
    pub code: String,
    /// A sentence for the operator, with the numbers.
    pub detail: String,
}

/// One source as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// Its name in the configuration: unique, and a metric's label.
    pub source: String,
    /// The venue whose format it speaks.
    pub venue: String,
    /// Its last request succeeded.
    pub up: bool,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// When a request last succeeded.
    pub last_success_ms: Option<u64>,
    /// Time of the newest price it gave, by the venue's clock if that gives one.
    pub price_ms: Option<u64>,
    /// Requests by outcome: `ok`, `timeout`, `http_429`, `malformed`, ... A bounded set of words: they are a metric's label.
    pub requests: BTreeMap<String, u64>,
    /// The last error, if the last request failed; never a secret.
    pub last_error: Option<String>,
}

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// One probe may pass.
    HalfOpen,
    /// Requests are withheld.
    Open,
}

/// What has been counted since the process started. The maps' keys are metric labels: words of a bounded set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Own ticks by result: `published`, `too_few_sources`, `recovering`, ...
    pub attestations: BTreeMap<String, u64>,
    /// Operations taken in by outcome: `admitted`, `duplicate`, `held`, `quarantined`, ...
    pub ops: BTreeMap<String, u64>,
    /// Operations, frames and requests refused, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Bans of peers, by the fault that was one too many.
    pub bans: BTreeMap<String, u64>,
    /// Anomalies seen, by kind.
    pub anomalies: BTreeMap<String, u64>,
    /// Times that a peer's operations changed the state.
    pub merges: u64,
    /// Operations stored.
    pub store_ops: u64,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Every bounded buffer, with its bound.
    pub buffers: Vec<BufferView>,
}

/// How full a bounded buffer is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BufferView {
    /// Its name: a metric's label.
    pub buffer: String,
    /// Entries held.
    pub entries: u64,
    /// Entries it may hold.
    pub limit: u64,
}
