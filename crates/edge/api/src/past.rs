//! What is asked about the past. The snapshot does not hold it: the node reads it from its store, a few questions at a time.

use std::{fmt, future::Future, pin::Pin};

use axum::{
    extract::{
        OriginalUri, Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    explanation::Explanation,
    problem::{Problem, ProblemKind, Refusal},
    routes::{Shared, feed_named, parsed},
    snapshot::FeedStatus,
};

/// Answers questions about the past; the node's side of these routes.
pub trait Past: fmt::Debug + Send + Sync {
    /// Answers a question with a JSON document.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<String, NoPast>> + Send>>;
}

/// A question about the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Everything about an answer: an [`Explanation`].
    Explain {
        /// The feed's name.
        feed: String,
        /// The instant; now without one.
        at_ms: Option<u64>,
    },
    /// The answer as of an instant: a [`PastPrice`].
    At {
        /// The feed's name.
        feed: String,
        /// The instant.
        at_ms: u64,
    },
    /// Opening, highest, lowest and closing answers: [`Candles`].
    Candles {
        /// The feed's name.
        feed: String,
        /// Where the first begins.
        from_ms: u64,
        /// Where the last ends, at the latest.
        until_ms: u64,
        /// Length of each.
        step_ms: u64,
    },
    /// A time-weighted average: an [`Average`].
    Average {
        /// The feed's name.
        feed: String,
        /// The end of the window.
        until_ms: u64,
        /// Its length.
        window_ms: u64,
    },
    /// What members did over closed windows: [`Conducts`].
    Conduct {
        /// How many windows, the newest closed ones.
        windows: u64,
    },
    /// An own record of legs by its hash: [`Legs`].
    Legs {
        /// The hash, hex.
        hash: String,
    },
}

/// Why a question about the past has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPast {
    /// It cannot be asked like this.
    Question(String),
    /// Nothing is kept of what it asks for.
    Unavailable(String),
    /// As many questions as allowed are being answered.
    Busy,
    /// The node could not answer.
    Failed(String),
}

/// `GET /v1/prices/{feed}/at/{t}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PastPrice {
    /// The feed's name.
    pub feed: String,
    /// The instant.
    pub as_of_ms: u64,
    /// Exact decimal; null when halted.
    pub price: Option<String>,
    /// Least and greatest price that any admissible subset could give.
    pub interval: Option<[String; 2]>,
    /// What the answer was worth then.
    pub status: FeedStatus,
    /// When the newest slot that counted began.
    pub newest_ms: Option<u64>,
    /// Weight that counted.
    pub counted_weight: u64,
    /// Weight of the whole registry.
    pub total_weight: u64,
    /// Digest of all that was held up to the minute of the instant.
    pub cut: String,
    /// Hash of cut, instant, registry and parameters.
    pub result_id: String,
}

/// `GET /v1/prices/{feed}/history` with a range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candles {
    /// The feed's name.
    pub feed: String,
    /// Length of each candle.
    pub step_ms: u64,
    /// Oldest first. One without an `ok` answer is left out.
    pub candles: Vec<Candle>,
}

/// The `ok` answers of a stretch of time, one a second; exact decimals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candle {
    /// Where it begins.
    pub from_ms: u64,
    /// The first.
    pub open: String,
    /// The highest.
    pub high: String,
    /// The lowest.
    pub low: String,
    /// The last.
    pub close: String,
    /// How many there were.
    pub answers: u64,
}

/// `GET /v1/prices/{feed}/twap`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Average {
    /// The feed's name.
    pub feed: String,
    /// The end of the window.
    pub until_ms: u64,
    /// Its length.
    pub window_ms: u64,
    /// Exact decimal.
    pub price: String,
}

/// `GET /v1/legs/{hash}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Legs {
    /// The hash asked for, hex.
    pub hash: String,
    /// The record that has it, hex.
    pub record: String,
}

/// `GET /v1/oracles/conduct`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Conducts {
    /// The instant as of which windows are closed.
    pub as_of_ms: u64,
    /// Length of a window.
    pub window_ms: u64,
    /// Windows looked at.
    pub windows: u64,
    /// One entry a member, by author key.
    pub oracles: Vec<Conduct>,
}

/// What one member did, and the weight that it would earn. The canonical answer keeps to the registry's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Conduct {
    /// Author key, hex.
    pub oracle: String,
    /// The registry's name.
    pub name: String,
    /// Answers it could have been part of: windows x feeds with an `ok` answer.
    pub chances: u64,
    /// Of those, how many it was part of.
    pub counted: u64,
    /// In how many it doubted its own price.
    pub doubtful: u64,
    /// In how many it had stated two prices for one slot.
    pub conflicts: u64,
    /// In how many it was an outlier.
    pub outliers: u64,
    /// Mean distance from the answers it was part of, in millionths; null if it was part of none.
    pub deviation_ppm: Option<u64>,
    /// The greatest of those distances.
    pub deviation_ppm_max: u64,
    /// Proven forked.
    pub forked: bool,
    /// Share of chances in which it counted, in millionths; null without any.
    pub uptime_ppm: Option<u64>,
    /// Share of chances in which it counted and was no outlier, in millionths; 0 if forked.
    pub score_ppm: u64,
    /// Its weight by the registry, capped.
    pub weight: u64,
    /// Weight x score, capped below a third of all: on a scale of its own.
    pub earned_weight: u64,
}

type Name = Result<Path<String>, PathRejection>;

/// The query of `GET /v1/prices/{feed}/explain`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainQuery {
    /// The instant; now without it.
    at_ms: Option<u64>,
}

/// The query of `GET /v1/oracles/conduct`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConductQuery {
    /// How many closed windows, 1 to 1,440; 10 without it.
    windows: Option<u64>,
}

/// Windows looked at unless asked otherwise.
const WINDOWS_DEFAULT: u64 = 10;

/// The query of `GET /v1/prices/{feed}/twap`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AverageQuery {
    /// Length of the window.
    window_ms: u64,
    /// Its end; now without it.
    until_ms: Option<u64>,
}

/// Everything about an answer: the signed inputs, the legs behind them, who counted and who did not, and the arithmetic.
///
/// `oracle-node verify` makes the same bytes from the inputs and the registry. Legs are those of the answering node; where there are
/// none the answer says so.
#[utoipa::path(get, path = "/v1/prices/{feed}/explain",
    params(("feed" = String, Path, description = "as BTC-USD"), ExplainQuery), responses((status = 200, body = Explanation),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn explain(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    name: Name,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let feed = known_feed(&shared, uri.path(), name)?;
    let at_ms = parsed(uri.path(), query)?.at_ms;
    ask(&shared, uri.path(), Question::Explain { feed, at_ms }).await
}

/// The answer as of an instant, from what the node holds now.
#[utoipa::path(get, path = "/v1/prices/{feed}/at/{t}",
    params(("feed" = String, Path, description = "as BTC-USD"), ("t" = u64, Path, description = "milliseconds since the Unix epoch")),
    responses((status = 200, body = PastPrice),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn at(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<(String, u64)>, PathRejection>,
) -> Result<Response, Refusal> {
    let Path((name, at_ms)) =
        path.map_err(|rejection| ProblemKind::BadRequest.at(uri.path(), rejection.body_text()))?;
    let feed = known_feed(&shared, uri.path(), Ok(Path(name)))?;
    ask(&shared, uri.path(), Question::At { feed, at_ms }).await
}

/// The time-weighted average of the `ok` answers of a window. A window that they do not cover has none: a shorter one never stands in.
#[utoipa::path(get, path = "/v1/prices/{feed}/twap",
    params(("feed" = String, Path, description = "as BTC-USD"), AverageQuery), responses((status = 200, body = Average),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn average(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    name: Name,
    query: Result<Query<AverageQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let feed = known_feed(&shared, uri.path(), name)?;
    let AverageQuery { window_ms, until_ms } = parsed(uri.path(), query)?;
    let until_ms = until_ms.unwrap_or_else(|| shared.now_ms());
    ask(&shared, uri.path(), Question::Average { feed, until_ms, window_ms }).await
}

/// What members did over the newest closed windows, counted from what the node holds: whoever holds the same counts the same.
#[utoipa::path(get, path = "/v1/oracles/conduct", params(ConductQuery), responses((status = 200, body = Conducts),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn conduct(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    query: Result<Query<ConductQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let windows = parsed(uri.path(), query)?.windows.unwrap_or(WINDOWS_DEFAULT);
    ask(&shared, uri.path(), Question::Conduct { windows }).await
}

/// A record of legs that this node's own price batches name, by its hash.
#[utoipa::path(get, path = "/v1/legs/{hash}", params(("hash" = String, Path, description = "32 bytes hex")),
    responses((status = 200, body = Legs),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn legs(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    hash: Name,
) -> Result<Response, Refusal> {
    let Path(hash) = hash.map_err(|rejection| ProblemKind::BadRequest.at(uri.path(), rejection.body_text()))?;
    ask(&shared, uri.path(), Question::Legs { hash }).await
}

/// Asks the node; what it answers is sent as it is.
pub(crate) async fn ask(shared: &Shared, path: &str, question: Question) -> Result<Response, Refusal> {
    let unavailable = |why: String| ProblemKind::Unavailable.at(path, why);
    let past = shared.past.as_ref().ok_or_else(|| unavailable("this server has no past to ask".to_owned()))?;
    match past.ask(question).await {
        Ok(json) => Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response()),
        Err(NoPast::Question(why)) => Err(ProblemKind::BadRequest.at(path, why)),
        Err(NoPast::Unavailable(why)) => Err(unavailable(why)),
        Err(NoPast::Busy) => {
            Err(ProblemKind::Busy.at(path, "as many questions about the past as allowed are being answered"))
        }
        Err(NoPast::Failed(why)) => {
            tracing::error!(why, "a question about the past could not be answered");
            Err(ProblemKind::Internal.at(path, "the past could not be read"))
        }
    }
}

/// The feed's own name, if the node carries it.
pub(crate) fn known_feed(shared: &Shared, path: &str, name: Name) -> Result<String, Refusal> {
    let Path(name) = name.map_err(|rejection| ProblemKind::BadRequest.at(path, rejection.body_text()))?;
    Ok(feed_named(&shared.newest(), &name, path)?.price.feed.clone())
}
