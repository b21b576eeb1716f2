//! How a node is seen from outside: REST, server-sent events, OpenAPI, metrics and the embedded page.
//!
//! The node publishes a whole [`Snapshot`] through a watch channel, several times a second; [`ApiServer`] answers from
//! the newest one, on a thread of its own. Reading never takes a lock of the node's and never waits for it, so that no
//! request, however many or slow, holds up an attestation. Only questions about the [`Past`] are handed to the node, a few at a
//! time: what is asked about then is in its store.

mod answer;
mod cache;
pub mod explanation;
mod metrics;
mod page;
mod past;
mod problem;
mod routes;
mod server;
mod snapshot;
mod stall;
mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use answer::{
    AnomalyList, AttestationList, FeedList, FeedSummary, FrontierAnswer, HistoryAnswer, LIVE_ANOMALIES_MAX, LiveAnswer,
    LiveView, NodeAnswer, OracleList, PeerList, PriceAnswer, PriceList, SNAPSHOT_AGE_MS_MAX_LIVE,
    SNAPSHOT_AGE_MS_MAX_READY, SourceAnswer, SourceList,
};
pub use past::{Average, Candle, Candles, Conduct, Conducts, Legs, NoPast, Past, PastPrice, Question};
pub use problem::Problem;
pub use server::{ApiConfig, ApiError, ApiServer, Serves};
pub use snapshot::{
    ANOMALIES_MAX, ATTESTATIONS_MAX, AnomalyView, AttestationView, BreakerState, BufferView, ConflictView,
    CountedOracle, Counters, FeedStatus, FeedView, FrontierLog, FrontierView, HISTORY_POINTS_MAX, HistoryPoint,
    LeftOut, LegView, LocalView, LogView, NodeView, OracleStatus, OracleView, PeerView, PriceView, Readiness, Reason,
    SignedGroup, Snapshot, SourceView,
};
