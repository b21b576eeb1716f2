//! Every path of the API: a function from the newest snapshot and the request to an answer. None of them waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{OriginalUri, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tower_http::cors::{Any, CorsLayer};
use utoipa::{IntoParams, OpenApi};

use crate::answer::{
    AnomalyList, AttestationList, FeedList, FeedSummary, FrontierAnswer, HistoryAnswer, LiveAnswer, NodeAnswer,
    OracleList, PeerList, PriceAnswer, PriceList, SourceAnswer, SourceList, readiness,
};
use crate::cache;
use crate::metrics;
use crate::page;
use crate::past::{self, Past, Question};
use crate::problem::{Problem, ProblemKind, Refusal};
use crate::snapshot::{ATTESTATIONS_MAX, FeedView, Readiness, Snapshot};
use crate::stream;

/// What every handler may see.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The newest snapshot.
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Now, in milliseconds since the Unix epoch.
    pub(crate) clock: fn() -> u64,
    /// Turns true once, when the server is to stop: what ends the streams.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Places for streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Who answers questions about the past, if anyone does.
    pub(crate) past: Option<Arc<dyn Past>>,
}

impl Shared {
    pub(crate) fn newest(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// False once the node has dropped its end of the channel.
    pub(crate) fn publishing(&self) -> bool {
        self.snapshot.has_changed().is_ok()
    }
}

/// Longest path and query answered: 64 feeds of 21 bytes fit.
const URI_BYTES_MAX: usize = 2_048;

/// Most feeds named in one request for prices.
const FEEDS_ASKED_MAX: usize = 64;

/// Attestations answered when no limit is given.
const ATTESTATIONS_DEFAULT: usize = 100;

/// Everything: REST, stream, health, metrics, OpenAPI and the page.
pub(crate) fn api_router(shared: Shared) -> Router {
    let router = health_routes()
        .route("/v1/node", get(node))
        .route("/v1/feeds", get(feeds))
        .route("/v1/prices", get(prices))
        .route("/v1/prices/{feed}", get(price))
        .route("/v1/prices/{feed}/history", get(history))
        .route("/v1/prices/{feed}/at/{t}", get(past::at))
        .route("/v1/prices/{feed}/twap", get(past::average))
        .route("/v1/prices/{feed}/explain", get(past::explain))
        .route("/v1/legs/{hash}", get(past::legs))
        .route("/v1/attestations", get(attestations))
        .route("/v1/oracles", get(oracles))
        .route("/v1/oracles/conduct", get(past::conduct))
        .route("/v1/anomalies", get(anomalies))
        .route("/v1/frontier", get(frontier))
        .route("/v1/peers", get(peers))
        .route("/v1/sources", get(sources))
        .route("/v1/stream", get(stream::stream))
        .route("/openapi.json", get(openapi))
        .route("/problems/{slug}", get(problem))
        .merge(page::routes());
    finish(router, shared)
}

/// `/metrics` and health only, for the monitoring port.
pub(crate) fn metrics_router(shared: Shared) -> Router {
    finish(health_routes(), shared)
}

fn health_routes() -> Router<Shared> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(scrape))
}

fn finish(router: Router<Shared>, shared: Shared) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(Any)
        .expose_headers([header::ETAG, header::RETRY_AFTER]);
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(guard))
        .layer(cors)
        .with_state(shared)
}

/// Refuses what no request of this API looks like, and gives every answer its security headers.
async fn guard(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let uri_bytes = path.len() + request.uri().query().map_or(0, str::len);
    let mut response = if uri_bytes > URI_BYTES_MAX {
        let detail = format!("path and query have {uri_bytes} bytes, at most {URI_BYTES_MAX} are read");
        let instance: String = path.chars().take(64).collect();
        ProblemKind::UriTooLong.at(&instance, detail).into_response()
    } else if has_body(request.headers()) {
        let mut refusal = ProblemKind::BodyTooLarge.at(path, "the request has a body").into_response();
        // The body is not read, so what follows on this connection could not be told from it.
        refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        refusal
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"), // all of it is public
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Refusal {
    ProblemKind::NotFound.at(uri.path(), "nothing is at this path; /openapi.json lists what is")
}

async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Refusal {
    ProblemKind::MethodNotAllowed.at(uri.path(), format!("{method} is not answered here; use GET"))
}

/// Is the node's loop turning.
#[utoipa::path(get, path = "/livez", responses((status = 200, body = LiveAnswer), (status = 503, body = LiveAnswer)))]
async fn livez(State(shared): State<Shared>) -> Response {
    let answer = LiveAnswer::new(&shared.newest(), shared.publishing(), shared.now_ms());
    (health_status(answer.live), Json(answer)).into_response()
}

/// May this node be counted on, and if not why.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
async fn readyz(State(shared): State<Shared>) -> Response {
    let answer = readiness(&shared.newest(), shared.publishing(), shared.now_ms());
    (health_status(answer.ready), Json(answer)).into_response()
}

fn health_status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
async fn scrape(State(shared): State<Shared>, OriginalUri(uri): OriginalUri) -> Response {
    match metrics::render(shared.newest(), shared.publishing(), shared.now_ms()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            ProblemKind::Internal.at(uri.path(), "the metrics could not be written").into_response()
        }
    }
}

/// Who the answering node is.
#[utoipa::path(get, path = "/v1/node", responses((status = 200, body = NodeAnswer)))]
async fn node(State(shared): State<Shared>) -> Json<NodeAnswer> {
    let snapshot = shared.newest();
    Json(NodeAnswer { as_of_ms: snapshot.as_of_ms, node: snapshot.node.clone() })
}

/// Every feed, in a line each.
#[utoipa::path(get, path = "/v1/feeds", responses((status = 200, body = FeedList)))]
async fn feeds(State(shared): State<Shared>) -> Json<FeedList> {
    let (snapshot, now_ms) = (shared.newest(), shared.now_ms());
    let feeds = snapshot.feeds.iter().map(|feed| FeedSummary::new(feed, now_ms)).collect();
    Json(FeedList { as_of_ms: snapshot.as_of_ms, feeds })
}

/// The query of `GET /v1/prices`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct PricesQuery {
    /// Names separated by commas, as `BTC-USD,ETH-USD`; all feeds without it.
    feeds: Option<String>,
}

/// The network's answers, with who counted, who was left out and what they signed.
///
/// A feed that is halted is answered with 200, status `halted` and a null price: not having an answer is the answer.
#[utoipa::path(get, path = "/v1/prices", params(PricesQuery), responses(
    (status = 200, body = PriceList),
    (status = 304, description = "the answers are those of If-None-Match"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn prices(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    query: Result<Query<PricesQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let query = parsed(uri.path(), query)?;
    let (snapshot, now_ms) = (shared.newest(), shared.now_ms());
    let chosen = match &query.feeds {
        None => snapshot.feeds.iter().collect(),
        Some(names) => feeds_named(&snapshot, names, uri.path())?,
    };
    let etag = cache::weak_etag(chosen.iter().map(|feed| feed.price.result_id.as_str()));
    Ok(cache::fresh_or(&headers, etag, || {
        let prices = chosen.iter().map(|feed| PriceAnswer::new(feed, now_ms)).collect();
        Json(PriceList { as_of_ms: snapshot.as_of_ms, prices })
    }))
}

/// The network's answer for one feed, with who counted, who was left out and what they signed.
///
/// The feed is named `BTC-USD` or `BTC%2FUSD` in any case. A feed that is halted is answered with 200, status `halted` and a null price.
#[utoipa::path(get, path = "/v1/prices/{feed}", params(("feed" = String, Path, description = "as BTC-USD")), responses(
    (status = 200, body = PriceAnswer),
    (status = 304, description = "the answer is that of If-None-Match"),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn price(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let Path(name) = name.map_err(|rejection| ProblemKind::BadRequest.at(uri.path(), rejection.body_text()))?;
    let snapshot = shared.newest();
    let feed = feed_named(&snapshot, &name, uri.path())?;
    let etag = cache::weak_etag([feed.price.result_id.as_str()]);
    Ok(cache::fresh_or(&headers, etag, || Json(PriceAnswer::new(feed, shared.now_ms()))))
}

/// The query of `GET /v1/prices/{feed}/history`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    /// Where the first candle begins; without it the points of the last minutes are answered.
    from_ms: Option<u64>,
    /// Where the last candle ends; now without it.
    until_ms: Option<u64>,
    /// Length of a candle, a minute without it.
    step_ms: Option<u64>,
}

/// Length of a candle unless asked otherwise.
const CANDLE_MS: u64 = 60_000;

/// What this node answered for the feed in the last minutes, for a chart; with `from_ms`, candles of `ok` answers computed from the store.
#[utoipa::path(get, path = "/v1/prices/{feed}/history",
    params(("feed" = String, Path, description = "as BTC-USD"), HistoryQuery),
    responses((status = 200, body = HistoryAnswer, description = "without from_ms; with it, Candles"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn history(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let HistoryQuery { from_ms, until_ms, step_ms } = parsed(uri.path(), query)?;
    if let Some(from_ms) = from_ms {
        let feed = past::known_feed(&shared, uri.path(), name)?;
        let (until_ms, step_ms) = (until_ms.unwrap_or_else(|| shared.now_ms()), step_ms.unwrap_or(CANDLE_MS));
        return past::ask(&shared, uri.path(), Question::Candles { feed, from_ms, until_ms, step_ms }).await;
    }
    let Path(name) = name.map_err(|rejection| ProblemKind::BadRequest.at(uri.path(), rejection.body_text()))?;
    let snapshot = shared.newest();
    let feed = feed_named(&snapshot, &name, uri.path())?;
    let (name, points) = (feed.price.feed.clone(), feed.history.clone());
    Ok(Json(HistoryAnswer { feed: name, expo: feed.price.expo, points }).into_response())
}

/// The query of `GET /v1/attestations`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AttestationsQuery {
    /// Only this feed, as `BTC-USD`.
    feed: Option<String>,
    /// Only this oracle: author key, EVM signer or the registry's name.
    oracle: Option<String>,
    /// At most this many, 1 to 1,000; 100 without it.
    limit: Option<usize>,
}

/// The newest attestations, with what was signed.
#[utoipa::path(get, path = "/v1/attestations", params(AttestationsQuery), responses(
    (status = 200, body = AttestationList),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn attestations(
    State(shared): State<Shared>,
    OriginalUri(uri): OriginalUri,
    query: Result<Query<AttestationsQuery>, QueryRejection>,
) -> Result<Json<AttestationList>, Refusal> {
    let query = parsed(uri.path(), query)?;
    let limit = query.limit.unwrap_or(ATTESTATIONS_DEFAULT);
    if limit == 0 || limit > ATTESTATIONS_MAX {
        let detail = format!("limit is {limit}; it may be 1 to {ATTESTATIONS_MAX}");
        return Err(ProblemKind::BadRequest.at(uri.path(), detail));
    }
    let snapshot = shared.newest();
    let feed = query.feed.as_deref().map(|name| feed_named(&snapshot, name, uri.path())).transpose()?;
    let oracle = query.oracle.as_deref().map(|asked| author_of(&snapshot, asked));
    let attestations = snapshot
        .attestations
        .iter()
        .filter(|attestation| feed.is_none_or(|feed| attestation.feed == feed.price.feed))
        .filter(|attestation| oracle.is_none_or(|oracle| attestation.oracle.eq_ignore_ascii_case(oracle)))
        .take(limit)
        .cloned()
        .collect();
    Ok(Json(AttestationList { as_of_ms: snapshot.as_of_ms, attestations }))
}

/// Who is an oracle, and how each behaves.
#[utoipa::path(get, path = "/v1/oracles", responses((status = 200, body = OracleList)))]
async fn oracles(State(shared): State<Shared>) -> Json<OracleList> {
    let snapshot = shared.newest();
    Json(OracleList { as_of_ms: snapshot.as_of_ms, oracles: snapshot.oracles.clone() })
}

/// Evidence against oracles: forks, outliers, bad signatures.
#[utoipa::path(get, path = "/v1/anomalies", responses((status = 200, body = AnomalyList)))]
async fn anomalies(State(shared): State<Shared>) -> Json<AnomalyList> {
    let snapshot = shared.newest();
    Json(AnomalyList { as_of_ms: snapshot.as_of_ms, anomalies: snapshot.anomalies.clone() })
}

/// What this node holds: nodes with equal digests hold the same.
#[utoipa::path(get, path = "/v1/frontier", responses((status = 200, body = FrontierAnswer),
    (status = 304, description = "the digest is that of If-None-Match")))]
async fn frontier(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let snapshot = shared.newest();
    let etag = cache::weak_etag([snapshot.frontier.digest.as_str()]);
    cache::fresh_or(&headers, etag, || {
        Json(FrontierAnswer { as_of_ms: snapshot.as_of_ms, frontier: snapshot.frontier.clone() })
    })
}

/// Whom this node talks to.
#[utoipa::path(get, path = "/v1/peers", responses((status = 200, body = PeerList)))]
async fn peers(State(shared): State<Shared>) -> Json<PeerList> {
    let snapshot = shared.newest();
    Json(PeerList { as_of_ms: snapshot.as_of_ms, peers: snapshot.peers.clone() })
}

/// The venues this node asks, and how they do.
#[utoipa::path(get, path = "/v1/sources", responses((status = 200, body = SourceList)))]
async fn sources(State(shared): State<Shared>) -> Json<SourceList> {
    let (snapshot, now_ms) = (shared.newest(), shared.now_ms());
    let sources = snapshot.sources.iter().map(|source| SourceAnswer::new(source, now_ms)).collect();
    Json(SourceList { as_of_ms: snapshot.as_of_ms, sources })
}

async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDoc::openapi())
}

/// Explains a kind of problem: where a problem document's `type` leads.
async fn problem(OriginalUri(uri): OriginalUri, slug: Result<Path<String>, PathRejection>) -> Response {
    let kind = slug.ok().and_then(|Path(slug)| ProblemKind::ALL.into_iter().find(|kind| kind.slug() == slug));
    match kind {
        Some(kind) => kind.explanation().into_response(),
        None => ProblemKind::NotFound.at(uri.path(), "no problem has this name").into_response(),
    }
}

/// The API as OpenAPI 3.1, derived from the handlers and the types they answer with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Concurrence node",
        description = "Prices are strings of an integer mantissa beside `expo`: price = mantissa * 10^expo. Times are milliseconds \
            since the Unix epoch. Errors are RFC 9457 problem documents. No request changes anything.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        livez,
        readyz,
        scrape,
        node,
        feeds,
        prices,
        price,
        history,
        past::at,
        past::average,
        past::explain,
        past::legs,
        past::conduct,
        attestations,
        oracles,
        anomalies,
        frontier,
        peers,
        sources,
        stream::stream
    ),
    components(schemas(past::Candles))
)]
pub(crate) struct ApiDoc;

pub(crate) fn parsed<T>(path: &str, query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    query.map(|Query(query)| query).map_err(|rejection| ProblemKind::BadRequest.at(path, rejection.body_text()))
}

/// `btc-usd`, `BTC-USD` and `BTC/USD` are one name.
fn canonical(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "/")
}

pub(crate) fn feed_named<'a>(snapshot: &'a Snapshot, name: &str, path: &str) -> Result<&'a FeedView, Refusal> {
    let wanted = canonical(name);
    snapshot
        .feeds
        .iter()
        .find(|feed| canonical(&feed.price.feed) == wanted)
        .ok_or_else(|| unknown_feeds(snapshot, &[name], path))
}

/// Each feed once, in the order asked for.
fn feeds_named<'a>(snapshot: &'a Snapshot, names: &str, path: &str) -> Result<Vec<&'a FeedView>, Refusal> {
    let asked = names.split(',').count();
    if asked > FEEDS_ASKED_MAX {
        let detail = format!("{asked} feeds are named; at most {FEEDS_ASKED_MAX} are answered at once");
        return Err(ProblemKind::BadRequest.at(path, detail));
    }
    let (mut seen, mut found, mut unknown) = (BTreeSet::new(), Vec::new(), Vec::new());
    for name in names.split(',') {
        match feed_named(snapshot, name, path) {
            Ok(feed) if seen.insert(&feed.price.feed) => found.push(feed),
            Ok(_) => {}
            Err(_) => unknown.push(name),
        }
    }
    if unknown.is_empty() { Ok(found) } else { Err(unknown_feeds(snapshot, &unknown, path)) }
}

fn unknown_feeds(snapshot: &Snapshot, names: &[&str], path: &str) -> Refusal {
    let known = snapshot.feeds.iter().map(|feed| feed.price.feed.clone()).collect();
    ProblemKind::UnknownFeed.at(path, format!("this node does not carry {}", names.join(", "))).with_known_feeds(known)
}

/// An oracle may be asked for by author key, EVM signer or name.
fn author_of<'a>(snapshot: &'a Snapshot, asked: &'a str) -> &'a str {
    snapshot
        .oracles
        .iter()
        .find(|oracle| oracle.evm.eq_ignore_ascii_case(asked) || (!oracle.name.is_empty() && oracle.name == asked))
        .map_or(asked, |oracle| oracle.author.as_str())
}
