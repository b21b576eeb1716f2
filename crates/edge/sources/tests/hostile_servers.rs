//! Sources against servers on loopback that misbehave as scripted.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use concurrence_crdt::Time;
use concurrence_sources::{
    BODY_LEN_MAX, BreakerPolicy, BreakerState, Budget, FetchError, ParseErrorKind, PollPolicy, Poller, Source,
    SourceConfig, Target, Venue,
};

/// Bound on waiting for anything here.
const PATIENCE: Duration = Duration::from_secs(15);

/// The time that the node's clock shows in these tests.
const NOW: Time = Time::from_ms(1_700_000_000_000);

const GOOD: &str =
    r#"{"symbol":"BTCUSDT","bidPrice":"99","askPrice":"101","lastPrice":"100","volume":"5","closeTime":1700000000000}"#;

/// A server that answers the n-th request (from 0) as a script says.
struct Server {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (requests, paths) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, log) = (requests.clone(), paths.clone());
        let app = axum::Router::new().fallback(move |request: Request| {
            log.lock().unwrap().push(request.uri().to_string());
            let response = script(counter.fetch_add(1, Ordering::SeqCst));
            async move { response }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { addr, requests, paths }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn config(&self) -> SourceConfig {
        SourceConfig {
            timeout: Duration::from_secs(10),
            budget: Some(Budget { per_minute: 60_000, burst: 1_000 }),
            ..SourceConfig::new(Venue::Binance, format!("http://{}/api/v3", self.addr))
        }
    }

    fn source(&self) -> Source {
        source(self.config())
    }
}

fn source(config: SourceConfig) -> Source {
    Source::new(config, Arc::new(|| NOW)).unwrap()
}

fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body.into()).into_response()
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

async fn outcome(source: &Source) -> &'static str {
    source.fetch("BTCUSDT").await.err().map_or("ok", |error| error.outcome())
}

#[tokio::test]
async fn a_good_answer() {
    let server = Server::start(|_| json(GOOD)).await;
    let source = server.source();
    let quote = source.fetch("BTCUSDT").await.unwrap();
    assert_eq!((quote.last.unwrap().to_string(), quote.received), ("100".into(), NOW));
    assert_eq!(*server.paths.lock().unwrap(), ["/api/v3/ticker/24hr?symbol=BTCUSDT"]);
    let status = source.status();
    assert_eq!((status.outcomes.get("ok"), status.last_success, status.requests), (Some(&1), Some(NOW), 1));
    assert_eq!((status.breaker, status.waiting), (BreakerState::Closed, Duration::ZERO));
}

#[tokio::test]
async fn a_symbol_that_cannot_be_asked_for_is_not() {
    let server = Server::start(|_| json(GOOD)).await;
    let refused = server.source().fetch("BTC&symbol=ETH").await.unwrap_err();
    assert!(matches!(refused, FetchError::Symbol(_)));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn bodies_that_never_end_stop_at_the_cap() {
    let server = Server::start(|_| {
        let piece = Bytes::from(vec![b' '; 16 * 1024]);
        json(Body::from_stream(repeated(piece)))
    })
    .await;
    assert_eq!(server.source().fetch("BTCUSDT").await, Err(FetchError::BodyTooLong(BODY_LEN_MAX)));
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_cap() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    (0..64).for_each(|_| encoder.write_all(&vec![b' '; 1 << 20]).unwrap());
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < BODY_LEN_MAX, "what is sent is within the cap, what it holds is 64 MiB");
    let server = Server::start(move |_| {
        let mut response = json(bomb.clone());
        response.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        response
    })
    .await;
    assert_eq!(server.source().fetch("BTCUSDT").await, Err(FetchError::BodyTooLong(BODY_LEN_MAX)));
}

#[tokio::test]
async fn honest_gzip_is_read() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let server = Server::start(move |_| {
        let mut response = json(packed.clone());
        response.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        response
    })
    .await;
    assert!(server.source().fetch("BTCUSDT").await.is_ok());
}

#[tokio::test]
async fn slow_bodies_run_out_of_time() {
    let server = Server::start(|_| {
        // A byte now and then, for ever: no single read ever times out.
        json(Body::from_stream(dripping(Bytes::from_static(b" "))))
    })
    .await;
    let timeout = Duration::from_millis(300);
    let source = source(SourceConfig { timeout, ..server.config() });
    let began = Instant::now();
    assert_eq!(source.fetch("BTCUSDT").await, Err(FetchError::Timeout(timeout)));
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn silence_runs_out_of_time() {
    // Accepted by the system's backlog, never answered.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(200);
    let url = format!("http://{}", listener.local_addr().unwrap());
    let source = source(SourceConfig { timeout, ..SourceConfig::new(Venue::Kraken, url) });
    assert_eq!(source.fetch("XBTUSD").await, Err(FetchError::Timeout(timeout)));
}

#[tokio::test]
async fn a_closed_port_is_a_connection_error_after_retries() {
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = source(SourceConfig::new(Venue::Binance, format!("http://{addr}")));
    assert_eq!(outcome(&source).await, "connection");
    assert_eq!(source.status().requests, 3);
}

#[tokio::test]
async fn https_finds_a_crypto_provider_and_refuses_a_server_without_tls() {
    let server = Server::start(|_| json(GOOD)).await;
    let config = SourceConfig { api_url: format!("https://{}", server.addr), ..server.config() };
    match Source::new(config, Arc::new(|| NOW)) {
        Ok(source) => assert_eq!(outcome(&source).await, "connection"),
        // A machine without TLS roots cannot ask https venues, and says so at once.
        Err(error) => assert!(matches!(error, concurrence_sources::SourceConfigError::Client(_)), "{error}"),
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn other_content_types_are_refused_unread() {
    for content_type in ["text/html", "application/jsonp", "", "text/plain; application/json"] {
        let server =
            Server::start(move |_| ([(header::CONTENT_TYPE, content_type)], GOOD.to_owned()).into_response()).await;
        let refused = server.source().fetch("BTCUSDT").await.unwrap_err();
        assert_eq!(refused, FetchError::ContentType(content_type.to_owned()));
        assert_eq!(server.requests(), 1, "not retried");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server =
        Server::start(|_| (StatusCode::FOUND, [(header::LOCATION, "/api/v3/ticker/24hr")]).into_response()).await;
    assert_eq!(server.source().fetch("BTCUSDT").await, Err(FetchError::Redirect(302)));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn garbage_is_a_typed_error() {
    let server = Server::start(|_| json(&b"{\"symbol\":\"\xff"[..])).await;
    let Err(FetchError::Parse(error)) = server.source().fetch("BTCUSDT").await else { panic!("a parse error") };
    assert_eq!(error.kind, ParseErrorKind::Utf8);
}

#[tokio::test]
async fn errors_inside_a_200_mean_what_they_would_outside() {
    for (body, want) in [
        (r#"{"error":["EQuery:Unknown asset pair"]}"#, "unknown_symbol"),
        (r#"{"error":["EGeneral:Too many requests"]}"#, "rate_limited"),
        (r#"{"error":["EService:Unavailable"]}"#, "unavailable"),
        (r#"{"error":["EGeneral:Permission denied"]}"#, "status"),
    ] {
        let server = Server::start(move |_| json(body)).await;
        let config =
            SourceConfig { venue: Venue::Kraken, api_url: format!("http://{}", server.addr), ..server.config() };
        let source = source(config);
        assert_eq!(outcome(&source).await, want, "{body}");
        let waits = source.status().waiting > Duration::from_secs(50);
        assert_eq!(waits, want == "rate_limited", "{body}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_honoured() {
    let server = Server::start(|n| match n {
        0 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
        _ => json(GOOD),
    })
    .await;
    let source = server.source();
    let began = Instant::now();
    assert_eq!(source.fetch("BTCUSDT").await, Err(FetchError::RateLimited(Duration::from_secs(1))));
    assert_eq!(outcome(&source).await, "waiting");
    assert_eq!(server.requests(), 1, "nothing is sent while waiting");
    while outcome(&source).await != "ok" {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.requests(), 2);
    assert_eq!(source.status().breaker, BreakerState::Closed, "waiting is not failing");
}

#[tokio::test]
async fn statuses_that_silence_a_source() {
    for (code, retry_after, want, wait_s) in [
        (429, None, "rate_limited", 60),
        (429, Some("86400"), "rate_limited", 600),
        (429, Some("0"), "rate_limited", 1),
        (429, Some("soon"), "rate_limited", 60),
        (418, Some("120"), "banned", 120),
        (418, None, "banned", 600),
        (403, None, "banned", 600),
        (503, Some("30"), "unavailable", 30),
    ] {
        let server = Server::start(move |_| match retry_after {
            Some(value) => (StatusCode::from_u16(code).unwrap(), [(header::RETRY_AFTER, value)]).into_response(),
            None => status(code),
        })
        .await;
        let source = server.source();
        assert_eq!(outcome(&source).await, want, "{code} {retry_after:?}");
        assert_eq!(server.requests(), 1, "{code} is not retried");
        let waiting = source.status().waiting;
        let wait = Duration::from_secs(wait_s);
        assert!(waiting <= wait && waiting > wait / 2, "{code} {retry_after:?}: {waiting:?}");
    }
}

#[tokio::test]
async fn a_geo_block_lasts_until_an_operator_acts() {
    let server = Server::start(|n| if n == 0 { status(451) } else { json(GOOD) }).await;
    let source = server.source();
    assert_eq!(source.fetch("BTCUSDT").await, Err(FetchError::GeoBlocked));
    assert_eq!(source.fetch("BTCUSDT").await, Err(FetchError::GeoBlocked));
    assert_eq!((server.requests(), source.status().waiting), (1, Duration::MAX));
    source.rearm();
    assert_eq!(outcome(&source).await, "ok");
}

#[tokio::test]
async fn trouble_that_passes_is_retried() {
    let server = Server::start(|n| if n < 2 { status(502) } else { json(GOOD) }).await;
    let source = server.source();
    assert_eq!(outcome(&source).await, "ok");
    assert_eq!((server.requests(), source.status().requests), (3, 3));
}

#[tokio::test]
async fn an_unknown_symbol_is_no_failure_of_the_venue() {
    let server = Server::start(|_| {
        (StatusCode::BAD_REQUEST, r#"{"code":-1121,"msg":"Invalid symbol."}"#.to_owned()).into_response()
    })
    .await;
    let source = server.source();
    for _ in 0..10 {
        assert_eq!(outcome(&source).await, "unknown_symbol");
    }
    assert_eq!((server.requests(), source.status().breaker), (10, BreakerState::Closed));
    let server = Server::start(|_| status(400)).await;
    assert_eq!(outcome(&server.source()).await, "status");
}

#[tokio::test]
async fn the_breaker_opens_probes_once_and_closes() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = up.clone();
    let server = Server::start(move |_| if seen.load(Ordering::SeqCst) { json(GOOD) } else { json("[]") }).await;
    let breaker = BreakerPolicy { failures_to_open: 3, open_ms_min: 200, open_ms_max: 200, probe_ms: 200 };
    let source = source(SourceConfig { breaker, ..server.config() });
    for _ in 0..3 {
        assert_eq!(outcome(&source).await, "parse");
    }
    assert_eq!((outcome(&source).await, server.requests()), ("breaker_open", 3));
    up.store(true, Ordering::SeqCst);
    let began = Instant::now();
    while outcome(&source).await != "ok" {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((server.requests(), source.status().breaker), (4, BreakerState::Closed));
}

#[tokio::test]
async fn a_spent_budget_waits_and_then_refuses() {
    let server = Server::start(|_| json(GOOD)).await;
    // Two units a request, one request at once, another after 100 ms.
    let budget = Some(Budget { per_minute: 1_200, burst: 2 });
    let source = source(SourceConfig { budget, ..server.config() });
    assert_eq!((outcome(&source).await, outcome(&source).await), ("ok", "ok"));
    let status = source.status();
    assert_eq!(status.budget_waits, 1);
    assert!(status.budget_wait_total > Duration::from_millis(20), "{status:?}");

    let budget = Some(Budget { per_minute: 2, burst: 2 });
    let poor = self::source(SourceConfig { budget, ..server.config() });
    assert_eq!((outcome(&poor).await, outcome(&poor).await), ("ok", "budget"));
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn fetches_run_at_once() {
    let server = Server::start(|_| json(GOOD)).await;
    let source = Arc::new(server.source());
    let fetches: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.fetch("BTCUSDT").await })
        })
        .collect();
    for fetch in fetches {
        assert!(fetch.await.unwrap().is_ok());
    }
    assert_eq!(source.status().outcomes["ok"], 50);
}

#[tokio::test]
async fn a_silent_venue_delays_no_other() {
    let good = Server::start(|_| json(GOOD)).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let sources = [
        Arc::new(source(SourceConfig { timeout: PATIENCE * 4, ..SourceConfig::new(Venue::Kraken, silent_url) })),
        Arc::new(good.source()),
    ];
    let target = |source, symbol: &str| Target { source, symbol: symbol.into() };
    let targets = [target(0, "XBTUSD"), target(1, "BTCUSDT"), target(1, "ETHUSDT"), target(7, "NOBODY")];
    let mut poller = Poller::start(&sources, &targets, PollPolicy::every(Duration::from_millis(10)));
    let (mut quotes, mut refusals) = (0, 0);
    while quotes < 5 || refusals < 5 {
        let polled = tokio::time::timeout(PATIENCE, poller.next()).await.expect("in time").unwrap();
        assert_eq!(polled.source, 1);
        match polled.symbol.as_str() {
            "BTCUSDT" => quotes += usize::from(polled.result.is_ok()),
            // Every answer names BTCUSDT.
            _ => {
                refusals += usize::from(matches!(polled.result, Err(FetchError::Parse(_) | FetchError::BreakerOpen(_))))
            }
        }
    }
}

#[tokio::test]
async fn a_full_queue_stops_polling_and_a_dropped_poller_ends_it() {
    let server = Server::start(|_| json(GOOD)).await;
    let sources = [Arc::new(server.source())];
    let targets = [Target { source: 0, symbol: "BTCUSDT".into() }];
    let policy = PollPolicy { interval: Duration::from_millis(1), concurrency_max: 1, queue_max: 2 };
    let poller = Poller::start(&sources, &targets, policy);
    // Two in the queue and one in hand; a fourth is not asked for, however long it takes.
    until(|| server.requests() == 3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests(), 3);
    drop(poller);
    until(|| Arc::strong_count(&sources[0]) == 1).await;
}

#[tokio::test]
async fn a_poller_without_targets_ends() {
    assert_eq!(Poller::start(&[], &[], PollPolicy::every(Duration::from_secs(1))).next().await, None);
}

/// The same piece again and again, as fast as it is taken.
fn repeated(piece: Bytes) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::repeat_with(move || Ok(piece.clone()))
}

/// The same piece again and again, 20 ms apart.
fn dripping(piece: Bytes) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::unfold(piece, |piece| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok(piece.clone()), piece))
    })
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("in time");
}
