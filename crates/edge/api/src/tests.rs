//! The API against a made snapshot: most through the router, what concerns sockets through a socket.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt;
use utoipa::OpenApi;

use crate::answer::{FrontierAnswer, LiveView, PriceAnswer, SNAPSHOT_AGE_MS_MAX_LIVE, SNAPSHOT_AGE_MS_MAX_READY};
use crate::routes::{ApiDoc, Shared, api_router, metrics_router};
use crate::snapshot::{Readiness, Reason, Snapshot};
use crate::stream::STREAMS_MAX;
use crate::testing::{EXAMPLE_MS, example_snapshot};
use crate::{ApiConfig, ApiError, ApiServer, NoPast, Past, Problem, Question};

/// Longest wait of a test for something that takes milliseconds.
const BOUND: Duration = Duration::from_secs(15);

/// Two and a half seconds after the example's snapshot.
fn clock() -> u64 {
    EXAMPLE_MS + 2_500
}

/// A router and what keeps its channels open.
struct Fixture {
    shared: Shared,
    publisher: watch::Sender<Arc<Snapshot>>,
    stop: watch::Sender<bool>,
}

impl Fixture {
    fn new(snapshot: Snapshot) -> Self {
        let (publisher, receiver) = watch::channel(Arc::new(snapshot));
        let (stop, stopping) = watch::channel(false);
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        let past: Option<Arc<dyn Past>> = Some(Arc::new(Echo));
        Self { shared: Shared { snapshot: receiver, clock, stopping, streams, past }, publisher, stop }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        api_router(self.shared.clone()).oneshot(request).await.unwrap()
    }

    async fn get(&self, uri: &str) -> Response {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, uri: &str) -> Value {
        let response = self.get(uri).await;
        assert_eq!(response.status(), StatusCode::OK, "{uri}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{uri}");
        body_json(response).await
    }

    /// Asserts the shape that every error has.
    async fn problem(&self, uri: &str, status: u16, slug: &str) -> Problem {
        check_problem(self.get(uri).await, status, slug).await
    }
}

/// Answers a question about the past with the question, and knows no ETH.
#[derive(Debug)]
struct Echo;

impl Past for Echo {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<String, NoPast>> + Send>> {
        let refusals = [
            ("at_ms: 1 }", NoPast::Question("too long".to_owned())),
            ("at_ms: 2 }", NoPast::Busy),
            ("at_ms: 3 }", NoPast::Failed("no disk".to_owned())),
            ("ETH", NoPast::Unavailable("nothing".to_owned())),
        ];
        let asked = format!("{question:?}");
        let refused = refusals.into_iter().find(|(part, _)| asked.contains(part)).map(|(_, why)| why);
        let answer = refused.map_or_else(|| Ok(json!({ "asked": format!("{question:?}") }).to_string()), Err);
        Box::pin(async move { answer })
    }
}

fn example() -> Fixture {
    Fixture::new(example_snapshot())
}

async fn body_text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 4 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn body_json(response: Response) -> Value {
    serde_json::from_str(&body_text(response).await).unwrap()
}

async fn check_problem(response: Response, status: u16, slug: &str) -> Problem {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let problem: Problem = serde_json::from_value(body_json(response).await).unwrap();
    assert_eq!(problem.type_uri, format!("/problems/{slug}"));
    assert_eq!(problem.status, status);
    assert!(!problem.title.is_empty() && !problem.detail.is_empty());
    problem
}

// ---- answers ----

#[tokio::test]
async fn a_price_has_the_promised_names() {
    let price = example().json("/v1/prices/BTC-USD").await;
    assert_eq!(price["feed"], "BTC/USD");
    assert_eq!(price["price"], "2045678000000");
    assert_eq!(price["expo"], -8);
    assert_eq!(price["interval"], json!(["2045100000000", "2046200000000"]));
    assert_eq!(price["as_of_ms"], EXAMPLE_MS - 1_000);
    assert_eq!(price["age_ms"], 3_500);
    assert_eq!(price["status"], "ok");
    assert_eq!(price["oracles"].as_array().unwrap().len(), 6);
    assert_eq!(price["sources"], json!(["binance", "coinbase", "kraken"]));
    assert_eq!(price["result_id"].as_str().unwrap().len(), 64);
    assert_eq!(price["left_out"][0]["reason"], "forked");
    assert_eq!(price["signed"].as_array().unwrap().len(), 6);
    for name in ["epoch", "slot", "words", "feeds", "signature", "evm", "network_id"] {
        assert!(!price["signed"][0][name].is_null(), "{name}");
    }
    assert_eq!(price["local"]["active_sources"], 3);
    let typed: PriceAnswer = serde_json::from_value(price).unwrap();
    assert_eq!(typed.price, example_snapshot().feeds[0].price);
}

#[tokio::test]
async fn a_feed_may_be_named_in_every_form() {
    let fixture = example();
    for name in ["BTC-USD", "btc-usd", "BTC%2FUSD", "btc%2fusd"] {
        assert_eq!(fixture.json(&format!("/v1/prices/{name}")).await["feed"], "BTC/USD", "{name}");
    }
}

#[tokio::test]
async fn a_halted_feed_is_answered_with_a_null_price() {
    let price = example().json("/v1/prices/ETH-USD").await;
    assert_eq!(price["status"], "halted");
    assert_eq!(price["price"], Value::Null);
    assert_eq!(price["interval"], Value::Null);
    assert_eq!(price["oracles"], json!([]));
}

#[tokio::test]
async fn an_unknown_feed_names_the_known_ones() {
    let fixture = example();
    let problem = fixture.problem("/v1/prices/DOGE-USD", 404, "unknown-feed").await;
    assert_eq!(problem.known_feeds, ["BTC/USD", "ETH/USD"]);
    assert_eq!(problem.instance, "/v1/prices/DOGE-USD");
    assert!(problem.detail.contains("DOGE-USD"));
    fixture.problem("/v1/prices/DOGE-USD/history", 404, "unknown-feed").await;
    fixture.problem("/v1/attestations?feed=DOGE-USD", 404, "unknown-feed").await;
    let problem = fixture.problem("/v1/prices?feeds=BTC-USD,DOGE-USD,X", 404, "unknown-feed").await;
    assert!(problem.detail.contains("DOGE-USD, X"));
}

#[tokio::test]
async fn several_prices_come_in_the_order_asked_each_once() {
    let fixture = example();
    let names = |list: &Value| -> Vec<String> {
        list["prices"].as_array().unwrap().iter().map(|p| p["feed"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&fixture.json("/v1/prices").await), ["BTC/USD", "ETH/USD"]);
    assert_eq!(names(&fixture.json("/v1/prices?feeds=eth-usd,BTC-USD,ETH%2FUSD").await), ["ETH/USD", "BTC/USD"]);
    let many = vec!["BTC-USD"; 65].join(",");
    fixture.problem(&format!("/v1/prices?feeds={many}"), 400, "bad-request").await;
}

#[tokio::test]
async fn attestations_are_filtered_and_bounded() {
    let fixture = example();
    let count = async |query: &str| {
        fixture.json(&format!("/v1/attestations{query}")).await["attestations"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 7);
    assert_eq!(count("?limit=2").await, 2);
    assert_eq!(count("?feed=BTC-USD").await, 4);
    assert_eq!(count("?oracle=oracle_3").await, 1);
    let evm = example_snapshot().oracles[3].evm.to_uppercase().replace("0X", "0x");
    assert_eq!(count(&format!("?oracle={evm}&feed=eth-usd")).await, 1);
    assert_eq!(count(&format!("?oracle={}&feed=btc-usd", example_snapshot().oracles[3].author)).await, 0);
    assert_eq!(count("?oracle=nobody").await, 0);
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1&limit=2", "feeds=BTC-USD"] {
        fixture.problem(&format!("/v1/attestations?{query}"), 400, "bad-request").await;
    }
}

#[tokio::test]
async fn no_limit_of_the_query_exceeds_the_default() {
    let mut snapshot = example_snapshot();
    let one = snapshot.attestations[0].clone();
    snapshot.attestations = vec![one; 300];
    let fixture = Fixture::new(snapshot);
    assert_eq!(fixture.json("/v1/attestations").await["attestations"].as_array().unwrap().len(), 100);
    assert_eq!(fixture.json("/v1/attestations?limit=1000").await["attestations"].as_array().unwrap().len(), 300);
}

#[tokio::test]
async fn the_other_lists_show_the_snapshot() {
    let (fixture, snapshot) = (example(), example_snapshot());
    assert_eq!(fixture.json("/v1/feeds").await["feeds"][0]["oracle_count"], 6);
    assert_eq!(fixture.json("/v1/oracles").await["oracles"][6]["status"], "forked");
    assert_eq!(fixture.json("/v1/anomalies").await["anomalies"][1]["evidence"]["seq"], "3");
    assert_eq!(fixture.json("/v1/peers").await["peers"][3]["connected"], false);
    assert_eq!(fixture.json("/v1/sources").await["sources"][0]["breaker"], "open");
    assert_eq!(fixture.json("/v1/sources").await["sources"][0]["price_age_ms"], 4_500);
    assert_eq!(fixture.json("/v1/node").await["id"], "oracle_0");
    assert_eq!(fixture.json("/v1/prices/BTC-USD/history").await["points"].as_array().unwrap().len(), 120);
    let frontier = fixture.json("/v1/frontier").await;
    assert_eq!(frontier["digest"].as_str(), Some(snapshot.frontier.digest.as_str()));
    assert_eq!(frontier["logs"].as_array().unwrap().len(), 6);
    let typed: FrontierAnswer = serde_json::from_value(frontier).unwrap();
    assert_eq!(typed.frontier, snapshot.frontier);
}

#[tokio::test]
async fn answers_follow_the_newest_snapshot() {
    let fixture = example();
    let mut next = example_snapshot();
    next.feeds[0].price.price = Some("1".to_owned());
    fixture.publisher.send_replace(Arc::new(next));
    assert_eq!(fixture.json("/v1/prices/BTC-USD").await["price"], "1");
}

// ---- conditional requests ----

#[tokio::test]
async fn an_unchanged_answer_is_a_304() {
    let fixture = example();
    for uri in ["/v1/prices/BTC-USD", "/v1/prices", "/v1/frontier", "/app.js"] {
        let etag = fixture.get(uri).await.headers()[header::ETAG].clone();
        let conditional = |tag: &str| Request::get(uri).header(header::IF_NONE_MATCH, tag).body(Body::empty()).unwrap();
        let response = fixture.send(conditional(etag.to_str().unwrap())).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{uri}");
        assert_eq!(response.headers()[header::ETAG], etag, "{uri}");
        assert!(body_text(response).await.is_empty(), "{uri}");
        let strong = etag.to_str().unwrap().trim_start_matches("W/").to_owned();
        assert_eq!(fixture.send(conditional(&format!("\"x\", {strong}"))).await.status(), 304, "{uri}");
        assert_eq!(fixture.send(conditional("\"other\"")).await.status(), 200, "{uri}");
    }
}

#[tokio::test]
async fn a_new_result_has_a_new_tag() {
    let fixture = example();
    let before = fixture.get("/v1/prices/BTC-USD").await.headers()[header::ETAG].clone();
    let both_before = fixture.get("/v1/prices").await.headers()[header::ETAG].clone();
    assert_eq!(before.to_str().unwrap(), format!("W/\"{}\"", example_snapshot().feeds[0].price.result_id));
    let mut next = example_snapshot();
    next.feeds[0].price.result_id = "ff".repeat(32);
    fixture.publisher.send_replace(Arc::new(next));
    assert_ne!(fixture.get("/v1/prices/BTC-USD").await.headers()[header::ETAG], before);
    assert_ne!(fixture.get("/v1/prices").await.headers()[header::ETAG], both_before);
}

// ---- health and metrics ----

#[tokio::test]
async fn readiness_gives_the_nodes_reasons() {
    assert_eq!(example().json("/readyz").await, json!({ "ready": true, "reasons": [] }));
    let reason = Reason { code: "too_few_sources".to_owned(), detail: "BTC/USD has 1 of 3 sources".to_owned() };
    let readiness = Readiness { ready: false, reasons: vec![reason] };
    let response = Fixture::new(Snapshot { readiness, ..example_snapshot() }).get("/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = body_json(response).await;
    assert_eq!(body["ready"], false);
    assert_eq!(body["reasons"][0]["code"], "too_few_sources");
    assert_eq!(body["reasons"][0]["detail"], "BTC/USD has 1 of 3 sources");
}

#[tokio::test]
async fn a_node_that_hangs_starts_or_stops_is_not_ready() {
    let codes = async |fixture: &Fixture| {
        let response = fixture.get("/readyz").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        body_json(response).await["reasons"][0]["code"].as_str().unwrap().to_owned()
    };
    let hung = Snapshot { as_of_ms: clock() - SNAPSHOT_AGE_MS_MAX_READY - 1, ..example_snapshot() };
    assert_eq!(codes(&Fixture::new(hung)).await, "snapshot_old");
    assert_eq!(codes(&Fixture::new(Snapshot::default())).await, "starting");
    let Fixture { shared, publisher, stop } = example();
    drop(publisher);
    let (publisher, _) = watch::channel(Arc::default());
    assert_eq!(codes(&Fixture { shared, publisher, stop }).await, "stopped");
}

#[tokio::test]
async fn liveness_allows_a_slow_start_but_no_long_silence() {
    assert_eq!(example().get("/livez").await.status(), StatusCode::OK);
    assert_eq!(Fixture::new(Snapshot::default()).get("/livez").await.status(), StatusCode::OK);
    let dead = Snapshot { as_of_ms: clock() - SNAPSHOT_AGE_MS_MAX_LIVE - 1, ..example_snapshot() };
    assert_eq!(Fixture::new(dead).get("/livez").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn metrics_have_the_promised_names() {
    let response = example().get("/metrics").await;
    assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = body_text(response).await;
    for line in [
        r#"oracle_active_sources{feed="BTC/USD"} 3.0"#,
        r#"oracle_active_sources{feed="ETH/USD"} 1.0"#,
        r#"oracle_price_deviation{feed="BTC/USD",source="binance"} 0.0025"#,
        r#"oracle_aggregate_price{feed="BTC/USD"} 20456.78"#,
        r#"oracle_feed_status{feed="ETH/USD",status="halted"} 1.0"#,
        r#"oracle_source_up{source="binance"} 0.0"#,
        r#"oracle_source_requests_total{source="binance",outcome="http_429"} 2"#,
        r#"oracle_source_price_age_seconds{source="coinbase"} 4.5"#,
        r#"oracle_source_circuit_state{source="binance"} 2.0"#,
        r#"oracle_attestations_total{result="published"} 12"#,
        r#"oracle_ops_total{outcome="admitted"} 78"#,
        r#"oracle_refusals_total{reason="bad_signature"} 3"#,
        r#"oracle_peer_bans_total{fault="flood"} 2"#,
        r#"oracle_anomalies_total{kind="outlier"} 10"#,
        "oracle_gossip_peers 5.0",
        "oracle_peers_banned 1.0",
        "oracle_peer_score_max 20.0",
        "oracle_gossip_merges_total 66",
        "oracle_forks_detected_total 1",
        "oracle_double_voters_detected_total 0",
        "oracle_certificate_conflicts 0.0",
        "oracle_frontier_certified_ops 0.0",
        "oracle_clock_skew_seconds -0.012",
        "oracle_snapshot_age_seconds 2.5",
        "oracle_ready 1.0",
        "oracle_store_ops 91.0",
        "oracle_store_bytes 1589248.0",
        r#"oracle_buffer_entries{buffer="held"} 2.0"#,
        r#"oracle_buffer_limit{buffer="held"} 4096.0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("oracle_build_info{version=\"0.1.0\""));
    assert!(!text.contains(r#"oracle_aggregate_price{feed="ETH/USD"}"#), "a halted feed has no price");
    assert!(text.ends_with("# EOF\n"));
}

/// What a scraper does with the text: every line is a comment of a known kind or `name{labels} number`, each family is
/// described once and its samples follow.
#[tokio::test]
async fn metrics_parse() {
    let mut hostile = example_snapshot();
    hostile.sources[0].source = "a\"b\\c\nd} 1".to_owned();
    let text = body_text(Fixture::new(hostile).get("/metrics").await).await;
    let (mut family, mut seen, mut samples) = (String::new(), Vec::new(), 0);
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap().to_owned());
            assert!(["HELP", "TYPE"].contains(&kind), "{line}");
            if kind == "HELP" {
                assert!(!seen.contains(&name), "{name} is described twice");
                seen.push(name.clone());
                family = name;
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert_eq!(name.strip_suffix("_total").unwrap_or(name), family, "{line}");
        assert!(sample == name || sample.ends_with('}'), "{line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        samples += 1;
    }
    assert!(samples >= 50, "{samples}");
}

#[tokio::test]
async fn a_snapshot_of_nothing_is_served_too() {
    let fixture = Fixture::new(Snapshot::default());
    for uri in ["/v1/feeds", "/v1/prices", "/v1/attestations", "/v1/oracles", "/v1/frontier"] {
        fixture.json(uri).await;
    }
    assert!(body_text(fixture.get("/metrics").await).await.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_monitoring_port_serves_health_and_metrics_only() {
    let fixture = example();
    let router = metrics_router(fixture.shared.clone());
    for (uri, status) in [("/metrics", 200), ("/livez", 200), ("/readyz", 200), ("/v1/prices", 404), ("/", 404)] {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status().as_u16(), status, "{uri}");
    }
}

// ---- refusals and headers ----

#[tokio::test]
async fn errors_are_problem_documents() {
    let fixture = example();
    let problem = fixture.problem("/v1/nothing", 404, "not-found").await;
    assert_eq!(problem.instance, "/v1/nothing");
    fixture.problem("/v1/prices?feed=BTC-USD", 400, "bad-request").await;
    fixture.problem("/v1/prices/%ff%fe", 400, "bad-request").await;
    fixture.problem(&format!("/v1/prices/{}", "A".repeat(4_000)), 414, "uri-too-long").await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder().method(method).uri("/v1/prices").body(Body::empty()).unwrap();
        let response = fixture.send(request).await;
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD, OPTIONS");
        check_problem(response, 405, "method-not-allowed").await;
    }
    let with_body = Request::get("/v1/prices").header(header::CONTENT_LENGTH, "3").body(Body::from("abc")).unwrap();
    check_problem(fixture.send(with_body).await, 413, "body-too-large").await;
}

#[tokio::test]
async fn every_problem_type_is_explained() {
    let fixture = example();
    for kind in crate::problem::ProblemKind::ALL {
        let response = fixture.get(&format!("/problems/{}", kind.slug())).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(body_text(response).await, kind.explanation());
    }
    fixture.problem("/problems/none", 404, "not-found").await;
}

#[tokio::test]
async fn any_origin_may_read_without_credentials() {
    let fixture = example();
    let from = |method| {
        let request = Request::builder().method(method).uri("/v1/prices").header(header::ORIGIN, "https://a.example");
        request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET").body(Body::empty()).unwrap()
    };
    for method in [Method::GET, Method::OPTIONS] {
        let response = fixture.send(from(method)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
    let allowed = fixture.send(from(Method::OPTIONS)).await.headers()[header::ACCESS_CONTROL_ALLOW_METHODS].clone();
    assert_eq!(allowed, "GET,HEAD");
}

#[tokio::test]
async fn answers_carry_security_headers() {
    let fixture = example();
    for uri in ["/", "/v1/prices", "/nothing", "/metrics"] {
        let response = fixture.get(uri).await;
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{uri}");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer", "{uri}");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{uri}");
        assert!(!policy.contains("unsafe"), "{uri}");
    }
}

// ---- page and OpenAPI ----

#[tokio::test]
async fn the_page_is_served_and_asks_nobody_else() {
    let fixture = example();
    for (uri, content_type) in
        [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")]
    {
        let response = fixture.get(uri).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with(content_type));
        let text = body_text(response).await.replace("http://www.w3.org/2000/svg", "");
        for banned in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!text.contains(banned), "{uri} contains {banned}");
        }
    }
}

#[tokio::test]
async fn the_openapi_document_lists_what_answers() {
    let fixture = example();
    let document = fixture.json("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let price = &document["components"]["schemas"]["PriceView"]["properties"];
    assert!(price["expo"]["description"].as_str().unwrap().contains("Power of ten"));
    let spec = ApiDoc::openapi();
    assert_eq!(spec.paths.paths.len(), 20);
    for (path, item) in &spec.paths.paths {
        let asked = path.replace("{feed}", "BTC-USD").replace("{t}", "9").replace("{hash}", "00");
        let query = if path.ends_with("/twap") { "?window_ms=1" } else { "" };
        let response = fixture.get(&format!("{asked}{query}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(item.get.is_some(), "{path}");
    }
}

// ---- the past ----

#[tokio::test]
async fn questions_about_the_past_are_handed_on() {
    let fixture = example();
    for (uri, question) in [
        ("/v1/prices/btc-usd/explain", "Explain { feed: \"BTC/USD\", at_ms: None }".to_owned()),
        ("/v1/prices/BTC-USD/explain?at_ms=7", "Explain { feed: \"BTC/USD\", at_ms: Some(7) }".to_owned()),
        ("/v1/prices/BTC-USD/at/7", "At { feed: \"BTC/USD\", at_ms: 7 }".to_owned()),
        (
            "/v1/prices/BTC-USD/twap?window_ms=5",
            format!("Average {{ feed: \"BTC/USD\", until_ms: {}, window_ms: 5 }}", clock()),
        ),
        (
            "/v1/prices/BTC-USD/history?from_ms=5&until_ms=9",
            "Candles { feed: \"BTC/USD\", from_ms: 5, until_ms: 9, step_ms: 60000 }".to_owned(),
        ),
        ("/v1/oracles/conduct", "Conduct { windows: 10 }".to_owned()),
        ("/v1/legs/ab", "Legs { hash: \"ab\" }".to_owned()),
    ] {
        assert_eq!(fixture.json(uri).await["asked"], question, "{uri}");
    }
    assert!(fixture.json("/v1/prices/BTC-USD/history").await["points"].is_array());
}

#[tokio::test]
async fn what_the_past_has_no_answer_for_is_a_problem() {
    let mut fixture = example();
    fixture.problem("/v1/prices/BTC-USD/at/1", 400, "bad-request").await;
    fixture.problem("/v1/prices/BTC-USD/at/2", 503, "busy").await;
    let failed = fixture.problem("/v1/prices/BTC-USD/at/3", 500, "internal").await;
    assert!(!failed.detail.contains("disk"), "what failed is for the log");
    fixture.problem("/v1/prices/ETH-USD/explain", 404, "unavailable").await;
    fixture.problem("/v1/prices/DOGE-USD/explain", 404, "unknown-feed").await;
    fixture.problem("/v1/prices/BTC-USD/at/soon", 400, "bad-request").await;
    fixture.problem("/v1/prices/BTC-USD/twap", 400, "bad-request").await;
    fixture.problem("/v1/prices/BTC-USD/explain?at=7", 400, "bad-request").await;
    fixture.shared.past = None;
    fixture.problem("/v1/prices/BTC-USD/at/7", 404, "unavailable").await;
}

// ---- stream ----

/// The next event's fields, by name.
async fn next_event(body: &mut axum::body::BodyDataStream) -> Option<Vec<(String, String)>> {
    use futures::StreamExt;
    let chunk = timeout(BOUND, body.next()).await.expect("an event within the bound")?.unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(": "));
    Some(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn field<'a>(event: &'a [(String, String)], name: &str) -> &'a str {
    &event.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {event:?}")).1
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_newest_state_and_follows_it() {
    let fixture = example();
    let response = fixture.get("/v1/stream").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let event = next_event(&mut body).await.unwrap();
    assert_eq!(field(&event, "event"), "snapshot");
    assert_eq!(field(&event, "id"), "42");
    assert_eq!(field(&event, "retry"), "2000");
    let live: LiveView = serde_json::from_str(field(&event, "data")).unwrap();
    assert_eq!(live.feeds[0].price.as_deref(), Some("2045678000000"));
    assert_eq!(live.feeds[0].age_ms, 3_500);
    assert_eq!(live.oracles.len(), 7);
    assert!(live.readiness.ready);

    // A burst is one event, half a second later, with the newest of it.
    let begun = tokio::time::Instant::now();
    for seq in 43..=60 {
        fixture.publisher.send_replace(Arc::new(Snapshot { seq, ..example_snapshot() }));
    }
    let event = next_event(&mut body).await.unwrap();
    assert_eq!(field(&event, "id"), "60");
    assert_eq!(begun.elapsed().as_millis() / 100, 5);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive_and_ends_after_a_day() {
    use futures::StreamExt;
    let fixture = example();
    let mut body = fixture.get("/v1/stream").await.into_body().into_data_stream();
    next_event(&mut body).await.unwrap();
    let begun = tokio::time::Instant::now();
    let comment = body.next().await.unwrap().unwrap();
    assert!(comment.starts_with(b":"), "{comment:?}");
    assert!(begun.elapsed() <= Duration::from_secs(15));
    while let Some(chunk) = body.next().await {
        assert!(chunk.unwrap().starts_with(b":"));
    }
    assert_eq!(begun.elapsed().as_secs() / 3_600, 24);
}

#[tokio::test]
async fn streams_are_limited_and_a_closed_one_frees_its_place() {
    let fixture = example();
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(fixture.get("/v1/stream").await);
    }
    let refused = fixture.get("/v1/stream").await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    check_problem(refused, 503, "busy").await;
    assert_eq!(fixture.get("/v1/prices").await.status(), StatusCode::OK);
    open.pop();
    assert_eq!(fixture.get("/v1/stream").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_ends_with_the_node_and_with_the_server() {
    let Fixture { shared, publisher, stop } = example();
    let open = async || {
        let request = Request::get("/v1/stream").body(Body::empty()).unwrap();
        let mut body = api_router(shared.clone()).oneshot(request).await.unwrap().into_body().into_data_stream();
        next_event(&mut body).await.unwrap();
        body
    };
    let mut body = open().await;
    drop(publisher);
    assert!(next_event(&mut body).await.is_none());
    let mut body = open().await;
    stop.send_replace(true);
    assert!(next_event(&mut body).await.is_none());
}

// ---- sockets ----

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn config(listen: SocketAddr, metrics_listen: Option<SocketAddr>) -> (ApiConfig, watch::Sender<Arc<Snapshot>>) {
    let (publisher, snapshot) = watch::channel(Arc::new(example_snapshot()));
    (ApiConfig { listen, metrics_listen, snapshot, clock, past: None }, publisher)
}

/// Sends bytes and reads until the server closes.
async fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(BOUND, socket.read_to_end(&mut answer)).await.expect("an answer within the bound").unwrap();
    String::from_utf8(answer).unwrap()
}

fn get_and_close(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_server_answers_on_both_sockets_and_frees_them() {
    // A second port that is surely another one: the API's own, plus a free one found by binding.
    let free = std::net::TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let (config, _publisher) = config(LOOPBACK, Some(free));
    let server = ApiServer::start(config.clone()).unwrap();
    assert_eq!(server.addrs().len(), 2);
    assert_eq!(server.metrics_addr(), free);
    let api = server.api_addr();
    assert!(exchange(api, &get_and_close("/v1/prices/btc-usd")).await.contains("2045678000000"));
    assert!(exchange(free, &get_and_close("/metrics")).await.contains("oracle_active_sources"));
    assert!(exchange(free, &get_and_close("/v1/prices")).await.starts_with("HTTP/1.1 404"));
    timeout(BOUND, server.shutdown()).await.expect("shutdown within the bound");
    assert!(TcpStream::connect(api).await.is_err());
    // The ports are free again.
    ApiServer::start(ApiConfig { listen: api, ..config }).unwrap().shutdown().await;
}

#[tokio::test]
async fn one_address_is_one_server() {
    let (config, _publisher) = config(LOOPBACK, Some(LOOPBACK));
    let server = ApiServer::start(config).unwrap();
    assert_eq!(server.addrs().len(), 1);
    assert_eq!(server.metrics_addr(), server.api_addr());
    assert!(exchange(server.api_addr(), &get_and_close("/metrics")).await.contains("oracle_build_info"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let addr = taken.local_addr().unwrap();
    let (first, _publisher) = config(addr, None);
    let error = ApiServer::start(first).expect_err("the port is taken");
    assert!(matches!(error, ApiError::Bind { addr: named, .. } if named == addr));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert!(error.to_string().contains("api.listen_addr"), "{error}");
    let (second, _publisher) = config(LOOPBACK, Some(addr));
    let error = ApiServer::start(second).expect_err("the port is taken");
    assert!(error.to_string().contains("monitoring.metrics_addr"), "{error}");
}

#[tokio::test]
async fn shutdown_ends_open_streams_and_idle_connections() {
    let (config, _publisher) = config(LOOPBACK, None);
    let server = ApiServer::start(config).unwrap();
    let mut streaming = TcpStream::connect(server.api_addr()).await.unwrap();
    streaming.write_all(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(BOUND, streaming.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut half_a_request = TcpStream::connect(server.api_addr()).await.unwrap();
    half_a_request.write_all(b"GET /v1/pri").await.unwrap();
    timeout(BOUND, server.shutdown()).await.expect("shutdown within the bound");
    let mut rest = Vec::new();
    timeout(BOUND, streaming.read_to_end(&mut rest)).await.expect("the stream is closed").unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ended cleanly");
}

#[tokio::test]
async fn oversized_and_malformed_requests_are_refused_and_the_server_lives() {
    let (config, _publisher) = config(LOOPBACK, None);
    let server = ApiServer::start(config).unwrap();
    let addr = server.api_addr();
    let long_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(7_000));
    assert!(
        exchange(addr, &long_header.replace("\r\nX", "\r\nConnection: close\r\nX")).await.starts_with("HTTP/1.1 200")
    );
    let too_many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(80));
    assert!(exchange(addr, &too_many).await.starts_with("HTTP/1.1 431"));
    assert!(exchange(addr, "no http at all\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let with_body = "POST /v1/prices HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    let answer = exchange(addr, with_body).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("/problems/body-too-large"), "{answer}");
    assert!(exchange(addr, &get_and_close("/livez")).await.starts_with("HTTP/1.1 200"));
    server.shutdown().await;
}
