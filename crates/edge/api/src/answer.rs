//! The bodies of answers: a part of the snapshot, with ages computed at the moment of answering.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::snapshot::{
    AnomalyView, AttestationView, FeedStatus, FeedView, FrontierView, HistoryPoint, LocalView, NodeView, OracleView,
    PeerView, PriceView, Readiness, Reason, Snapshot, SourceView,
};

/// Older than this, a snapshot means that the node's loop hangs: it publishes several times a second.
pub const SNAPSHOT_AGE_MS_MAX_READY: u64 = 10_000;

/// Older than this, the process is taken for dead and an orchestrator may restart it; far above any pause of a disk or a machine.
pub const SNAPSHOT_AGE_MS_MAX_LIVE: u64 = 60_000;

/// `GET /v1/prices/{feed}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriceAnswer {
    /// The network's answer.
    #[serde(flatten)]
    pub price: PriceView,
    /// Time of answering minus `as_of_ms`.
    pub age_ms: u64,
    /// What the answering node's own sources say; no part of the network's answer.
    pub local: LocalView,
}

impl PriceAnswer {
    pub(crate) fn new(feed: &FeedView, now_ms: u64) -> Self {
        Self {
            price: feed.price.clone(),
            age_ms: now_ms.saturating_sub(feed.price.as_of_ms),
            local: feed.local.clone(),
        }
    }
}

/// `GET /v1/prices`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriceList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// The feeds asked for, each once; all of them if none was named.
    pub prices: Vec<PriceAnswer>,
}

/// `GET /v1/prices/{feed}/history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryAnswer {
    /// The feed's name.
    pub feed: String,
    /// Power of ten of every point.
    pub expo: i32,
    /// Oldest first.
    pub points: Arc<Vec<HistoryPoint>>,
}

/// A feed in a line: `GET /v1/feeds` and the stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeedSummary {
    /// The feed's name.
    pub feed: String,
    /// Integer mantissa; null exactly when halted.
    pub price: Option<String>,
    /// Power of ten of `price` and `interval`.
    pub expo: i32,
    /// Least and greatest answer that any admissible subset of oracles could give; null when halted.
    pub interval: Option<[String; 2]>,
    /// How far the answer may be relied on.
    pub status: FeedStatus,
    /// The instant the answer is for. When stale: that of the last good value.
    pub as_of_ms: u64,
    /// Time of answering minus `as_of_ms`.
    pub age_ms: u64,
    /// Oracles that counted.
    pub oracle_count: usize,
    /// Oracles that were left out.
    pub left_out_count: usize,
    /// Distinct sources behind the counted attestations.
    pub source_count: usize,
    /// Registry weight that counted.
    pub counted_weight: u64,
    /// Weight of the whole registry.
    pub total_weight: u64,
    /// False in registries of fewer than four members.
    pub fault_tolerance: bool,
    /// Hash of cut, instant, registry and parameters, hex.
    pub result_id: String,
    /// Fresh sources of the answering node itself.
    pub active_sources: u32,
}

impl FeedSummary {
    pub(crate) fn new(feed: &FeedView, now_ms: u64) -> Self {
        let price = &feed.price;
        Self {
            feed: price.feed.clone(),
            price: price.price.clone(),
            expo: price.expo,
            interval: price.interval.clone(),
            status: price.status,
            as_of_ms: price.as_of_ms,
            age_ms: now_ms.saturating_sub(price.as_of_ms),
            oracle_count: price.oracles.len(),
            left_out_count: price.left_out.len(),
            source_count: price.sources.len(),
            counted_weight: price.counted_weight,
            total_weight: price.total_weight,
            fault_tolerance: price.fault_tolerance,
            result_id: price.result_id.clone(),
            active_sources: feed.local.active_sources,
        }
    }
}

/// `GET /v1/feeds`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeedList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Every feed the node carries.
    pub feeds: Vec<FeedSummary>,
}

/// `GET /v1/attestations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttestationList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Newest first.
    pub attestations: Vec<Arc<AttestationView>>,
}

/// `GET /v1/oracles`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OracleList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Members of the registry and other authors held.
    pub oracles: Vec<OracleView>,
}

/// `GET /v1/anomalies`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Newest first.
    pub anomalies: Vec<Arc<AnomalyView>>,
}

/// `GET /v1/frontier`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontierAnswer {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// What the node holds.
    #[serde(flatten)]
    pub frontier: FrontierView,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Every peer configured or connected.
    pub peers: Vec<PeerView>,
}

/// One source of `GET /v1/sources`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceAnswer {
    /// The source.
    #[serde(flatten)]
    pub source: SourceView,
    /// Time of answering minus `price_ms`.
    pub price_age_ms: Option<u64>,
}

impl SourceAnswer {
    pub(crate) fn new(source: &SourceView, now_ms: u64) -> Self {
        Self { source: source.clone(), price_age_ms: source.price_ms.map(|at| now_ms.saturating_sub(at)) }
    }
}

/// `GET /v1/sources`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceList {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// Every source configured.
    pub sources: Vec<SourceAnswer>,
}

/// `GET /v1/node`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeAnswer {
    /// When the snapshot answered from was made.
    pub as_of_ms: u64,
    /// The node.
    #[serde(flatten)]
    pub node: NodeView,
}

/// `GET /livez`: 200 when `live`, else 503.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveAnswer {
    /// The node's loop turns.
    pub live: bool,
    /// Age of the newest snapshot; null before the first.
    pub snapshot_age_ms: Option<u64>,
}

impl LiveAnswer {
    /// `publishing` is false once the node has let go of its end of the channel.
    pub(crate) fn new(snapshot: &Snapshot, publishing: bool, now_ms: u64) -> Self {
        let snapshot_age_ms = (snapshot.seq > 0).then(|| now_ms.saturating_sub(snapshot.as_of_ms));
        Self { live: publishing && snapshot_age_ms.is_none_or(|age| age <= SNAPSHOT_AGE_MS_MAX_LIVE), snapshot_age_ms }
    }
}

/// `GET /readyz`: the node's own reasons, and those only the server can see. 200 when ready, else 503.
pub(crate) fn readiness(snapshot: &Snapshot, publishing: bool, now_ms: u64) -> Readiness {
    let mut reasons = snapshot.readiness.reasons.clone();
    // The node's own reasons may be notes only: it says itself whether they keep it from being ready.
    let (noted, mut ready) = (reasons.len(), snapshot.readiness.ready);
    let age_ms = now_ms.saturating_sub(snapshot.as_of_ms);
    if !publishing {
        reasons.push(reason("stopped", "the node has stopped publishing".to_owned()));
    } else if snapshot.seq == 0 {
        reasons.push(reason("starting", "the node has not published anything yet".to_owned()));
    } else if age_ms > SNAPSHOT_AGE_MS_MAX_READY {
        let detail = format!("the newest snapshot is {age_ms} ms old, at most {SNAPSHOT_AGE_MS_MAX_READY} is expected");
        reasons.push(reason("snapshot_old", detail));
    } else if reasons.is_empty() && !snapshot.readiness.ready {
        reasons.push(reason("not_ready", "the node reports that it is not ready".to_owned()));
    }
    ready &= reasons.len() == noted;
    Readiness { ready, reasons }
}

fn reason(code: &str, detail: String) -> Reason {
    Reason { code: code.to_owned(), detail }
}

/// The `snapshot` event of `GET /v1/stream`: all of a snapshot but attestations, legs, histories, signed payloads and logs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// The snapshot's number; the event's id.
    pub seq: u64,
    /// When the snapshot was made.
    pub as_of_ms: u64,
    /// The node.
    pub node: NodeView,
    /// As `GET /readyz`.
    pub readiness: Readiness,
    /// As `GET /v1/feeds`.
    pub feeds: Vec<FeedSummary>,
    /// As `GET /v1/oracles`, with `logs` left empty.
    pub oracles: Vec<OracleView>,
    /// As `GET /v1/peers`.
    pub peers: Vec<PeerView>,
    /// As `GET /v1/sources`.
    pub sources: Vec<SourceAnswer>,
    /// The newest `LIVE_ANOMALIES_MAX` of `GET /v1/anomalies`.
    pub anomalies: Vec<Arc<AnomalyView>>,
    /// As `GET /v1/frontier`, with `logs` left empty.
    pub frontier: FrontierView,
}

/// Anomalies in an event: what a page shows without scrolling; the rest is at `/v1/anomalies`.
pub const LIVE_ANOMALIES_MAX: usize = 32;

impl LiveView {
    pub(crate) fn new(snapshot: &Snapshot, publishing: bool, now_ms: u64) -> Self {
        let frontier = &snapshot.frontier;
        Self {
            seq: snapshot.seq,
            as_of_ms: snapshot.as_of_ms,
            node: snapshot.node.clone(),
            readiness: readiness(snapshot, publishing, now_ms),
            feeds: snapshot.feeds.iter().map(|feed| FeedSummary::new(feed, now_ms)).collect(),
            oracles: snapshot.oracles.iter().map(|o| OracleView { logs: Vec::new(), ..o.clone() }).collect(),
            peers: snapshot.peers.clone(),
            sources: snapshot.sources.iter().map(|source| SourceAnswer::new(source, now_ms)).collect(),
            anomalies: snapshot.anomalies.iter().take(LIVE_ANOMALIES_MAX).cloned().collect(),
            frontier: FrontierView { logs: Vec::new(), ..frontier.clone() },
        }
    }
}
