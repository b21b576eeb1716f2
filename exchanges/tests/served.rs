//! Simulated venues over real sockets: their paths, times and faults, and that our own client reads the very closes of the tape.

use std::{sync::Arc, time::Duration};

use concurrence_crdt::Time;
use concurrence_exchanges::{
    Endpoint, Exchange, ExchangeConfig, ExchangeError, Fault, Moment, ReplayClock, Tape, TimeMode, Venue, decimal,
};
use concurrence_sources::{self as sources, Channel, Source, SourceConfig};
use serde_json::Value;

/// 2023-03-11 07:00:00 UTC, USDC far off its peg.
const START_S: u64 = 1_678_518_000;

/// Bound on waiting for anything here.
const PATIENCE: Duration = Duration::from_secs(15);

async fn start(venue: Venue, time_mode: TimeMode, speed: u32) -> Exchange {
    let clock = ReplayClock::start(START_S, speed);
    let tape = Arc::new(Tape::usdc_depeg());
    let listen = "127.0.0.1:0".parse().unwrap();
    Exchange::start(ExchangeConfig { venue, listen, tape, clock, time_mode, price_ppm: 1_000_000 }).await.unwrap()
}

fn client() -> reqwest::Client {
    let _ = rustls_provider();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// The source under test installs the crypto provider that any client in this process needs.
fn rustls_provider() -> Source {
    Source::new(SourceConfig::new(sources::Venue::Kraken, "http://127.0.0.1:1"), Arc::new(|| Time::from_ms(0))).unwrap()
}

async fn get(exchange: &Exchange, path: &str) -> (u16, Value) {
    let response = client().get(format!("http://{}{path}", exchange.addr())).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn each_venue_answers_on_its_own_paths() {
    let binance = start(Venue::Binance, TimeMode::Replayed, 1).await;
    assert_eq!(get(&binance, "/api/v3/ticker/24hr?symbol=BTCUSDT").await.1["symbol"], "BTCUSDT");
    assert!(get(&binance, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.1["bidPrice"].is_string());
    assert!(get(&binance, "/api/v3/ticker/price?symbol=BTCUSDC").await.1["price"].is_string());
    assert!(get(&binance, "/api/v3/time").await.1["serverTime"].as_u64().unwrap() >= START_S * 1_000);
    assert_eq!(get(&binance, "/api/v3/ticker/24hr").await.1["code"], -1102);
    assert_eq!(get(&binance, "/api/v3/ticker/24hr?symbol=ETHUSDT").await.1["code"], -1121);
    assert_eq!(get(&binance, "/products/BTC-USD/ticker").await.0, 404, "another venue's path");

    let coinbase = start(Venue::Coinbase, TimeMode::Replayed, 1).await;
    assert_eq!(get(&coinbase, "/products/BTC-USD/ticker").await.1["time"], "2023-03-11T07:00:00.000000Z");
    assert_eq!(get(&coinbase, "/v2/prices/BTC-USD/spot").await.1["data"]["base"], "BTC");
    assert_eq!(get(&coinbase, "/products/ETH-USD/ticker").await, (404, serde_json::json!({"message": "NotFound"})));

    let kraken = start(Venue::Kraken, TimeMode::Replayed, 1).await;
    assert!(get(&kraken, "/0/public/Ticker?pair=XBTUSD").await.1["result"]["XXBTZUSD"].is_object());
    assert!(get(&kraken, "/0/public/Time").await.1["result"]["unixtime"].as_u64().unwrap() >= START_S);
    assert_eq!(get(&kraken, "/0/public/Ticker?pair=ETHUSD").await.1["error"][0], "EQuery:Unknown asset pair");
    assert_eq!(kraken.requests(), 3);
}

#[tokio::test]
async fn a_venue_that_is_too_high_keeps_the_rates_true() {
    let clock = ReplayClock::start(START_S, 1);
    let (tape, listen) = (Arc::new(Tape::usdc_depeg()), "127.0.0.1:0".parse().unwrap());
    let config = ExchangeConfig {
        venue: Venue::Binance,
        listen,
        tape,
        clock,
        time_mode: TimeMode::Replayed,
        price_ppm: 1_200_000,
    };
    let high = Exchange::start(config).await.unwrap();
    let truth = start(Venue::Binance, TimeMode::Replayed, 1).await;
    let price = async |exchange: &Exchange, symbol: &str| {
        let answer = get(exchange, &format!("/api/v3/ticker/price?symbol={symbol}")).await.1;
        answer["price"].as_str().unwrap().parse::<f64>().unwrap()
    };
    let raised = price(&high, "BTCUSDT").await / price(&truth, "BTCUSDT").await;
    assert!((raised - 1.2).abs() < 1e-6, "{raised}");
    assert!((price(&high, "USDCUSDT").await - price(&truth, "USDCUSDT").await).abs() < 1e-9);
}

#[tokio::test]
async fn our_client_reads_the_closes_of_every_market() {
    for venue in Venue::ALL {
        let exchange = start(venue, TimeMode::Wall, 1).await;
        let clock = Arc::new(|| Time::from_ms(now_ms()));
        let venue_name = venue.name().parse().unwrap();
        let config = SourceConfig {
            budget: Some(sources::Budget { per_minute: 6_000, burst: 100 }),
            ..SourceConfig::new(venue_name, exchange.api_url())
        };
        let source = Source::new(config, clock).unwrap();
        let tape = Tape::usdc_depeg();
        for market in tape.markets().into_iter().filter(|market| market.venue == venue) {
            let before = now_ms();
            let quote = source.fetch(&market.symbol).await.unwrap_or_else(|error| panic!("{market:?}: {error}"));
            // A minute of replayed time lasts a minute: the close is the one at the start.
            let close = tape.close_at(venue, &market.symbol, START_S * 1_000).unwrap();
            assert_eq!(quote.last.unwrap().to_string(), decimal(close.units), "{market:?}");
            assert_eq!(quote.bid.unwrap().midpoint(quote.ask.unwrap()), quote.last.unwrap(), "{market:?}");
            if let Some(time) = quote.venue_time {
                assert!(before.saturating_sub(360_000) <= time.ms() && time.ms() <= quote.received.ms(), "{market:?}");
            }
        }
        let unknown = source.fetch("NOPE-X").await.unwrap_err();
        assert_eq!(unknown.outcome(), "unknown_symbol", "{venue}");
    }
}

#[test]
fn every_body_of_the_tape_parses_to_its_close() {
    let tape = Tape::usdc_depeg();
    let channel = |venue| match venue {
        Venue::Binance => Channel::BinanceTicker24hr,
        Venue::Coinbase => Channel::CoinbaseTicker,
        Venue::Kraken => Channel::KrakenTicker,
    };
    let mut read = 0;
    for market in tape.markets() {
        // Every seventh minute: all minutes of the week's days are met, in a seventh of the time.
        for at_ms in (tape.start_ms()..=tape.end_ms()).step_by(7 * 60_000) {
            let Some(close) = tape.close_at(market.venue, &market.symbol, at_ms) else { continue };
            let body = tape.body(market.venue, &market.symbol, at_ms);
            let quote = channel(market.venue).parse(&body, &market.symbol, Time::from_ms(at_ms)).unwrap();
            assert_eq!(quote.last.unwrap().to_string(), decimal(close.units));
            assert!(quote.venue_time.is_none_or(|time| time.ms() == close.bar_end_ms));
            read += 1;
        }
    }
    assert!(read > 11 * 800, "{read} bodies");
}

#[test]
fn the_smaller_endpoints_parse_too() {
    let tape = Tape::usdc_depeg();
    for (endpoint, channel, symbol) in [
        (Endpoint::BinanceBookTicker, Channel::BinanceBookTicker, "USDCUSDT"),
        (Endpoint::BinanceTickerPrice, Channel::BinanceTickerPrice, "USDCUSDT"),
        (Endpoint::CoinbaseSpot, Channel::CoinbaseSpot, "USDT-USD"),
    ] {
        let answer = tape.answer(endpoint, symbol, Moment::replayed(START_S * 1_000), 1_200_000);
        let quote = channel.parse(&answer.body, symbol, Time::from_ms(0)).unwrap();
        let close = tape.close_at(endpoint.venue(), symbol, START_S * 1_000).unwrap();
        let price = quote.last.unwrap_or_else(|| quote.bid.unwrap().midpoint(quote.ask.unwrap()));
        assert_eq!(price.to_string(), decimal(close.units * 6 / 5), "{endpoint:?}: 20 % high");
    }
}

#[tokio::test]
async fn faults_by_handle() {
    let exchange = start(Venue::Kraken, TimeMode::Wall, 1).await;
    let url = format!("{}/Ticker?pair=XBTUSD", exchange.api_url());
    let ask = async || client().get(&url).send().await.unwrap();

    exchange.set_fault(Fault::Status429 { retry_after_s: 7 });
    let limited = ask().await;
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "7"));

    exchange.set_fault(Fault::Status { status: 502 });
    assert_eq!(ask().await.status().as_u16(), 502);
    exchange.set_fault(Fault::Status { status: 200 });
    assert_eq!(exchange.fault(), Fault::Status { status: 500 });

    exchange.set_fault(Fault::Garbage);
    let garbage = ask().await;
    assert_eq!(garbage.headers()["content-type"], "application/json");
    assert!(serde_json::from_slice::<Value>(&garbage.bytes().await.unwrap()).is_err());

    exchange.set_fault(Fault::Lag { ms: 150 });
    let began = std::time::Instant::now();
    assert_eq!(ask().await.status().as_u16(), 200);
    assert!(began.elapsed() >= Duration::from_millis(150));

    exchange.set_fault(Fault::Nothing);
    let waiting = tokio::time::timeout(Duration::from_millis(200), client().get(&url).send()).await;
    assert!(waiting.is_err(), "no answer, and no error either");

    exchange.set_fault(Fault::None);
    assert_eq!(ask().await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_frozen_venue_repeats_itself() {
    // A recorded hour in a real second: unfrozen, every answer differs.
    let exchange = start(Venue::Binance, TimeMode::Wall, 3_600).await;
    let path = "/api/v3/ticker/24hr?symbol=BTCUSDT";
    exchange.set_fault(Fault::Freeze);
    let first = get(&exchange, path).await;
    let tape_ms = exchange.tape_ms();
    until(|| exchange.tape_ms() > tape_ms + 600_000).await;
    assert_eq!(get(&exchange, path).await, first);
    exchange.set_fault(Fault::None);
    assert_ne!(get(&exchange, path).await, first);
}

#[tokio::test]
async fn faults_over_the_admin_path() {
    let exchange = start(Venue::Coinbase, TimeMode::Wall, 1).await;
    let url = format!("http://{}/_sim/fault", exchange.addr());
    let set = async |body: &'static str| client().post(&url).body(body).send().await.unwrap().status().as_u16();
    assert_eq!(set(r#"{"fault":"status","status":503}"#).await, 200);
    assert_eq!(exchange.fault(), Fault::Status { status: 503 });
    assert_eq!(get(&exchange, "/_sim/fault").await.1["status"], 503, "the admin path itself never fails");
    for bad in ["", "{}", r#"{"fault":"fire"}"#, r#"{"fault":"status","status":404}"#, r#"{"fault":"lag","ms":600001}"#]
    {
        assert_eq!(set(bad).await, 400, "{bad}");
    }
    assert_eq!(exchange.fault(), Fault::Status { status: 503 }, "a refused fault changes nothing");
    assert_eq!(exchange.requests(), 0);
}

#[tokio::test]
async fn stopping_ends_what_waits_and_frees_the_port() {
    let exchange = start(Venue::Binance, TimeMode::Wall, 1).await;
    exchange.set_fault(Fault::Nothing);
    let url = format!("{}/ticker/24hr?symbol=BTCUSDT", exchange.api_url());
    let hanging = tokio::spawn(client().get(url).send());
    until(|| exchange.requests() == 1).await;
    let addr = exchange.addr();
    tokio::time::timeout(PATIENCE, exchange.stop()).await.expect("stops");
    let ended = tokio::time::timeout(PATIENCE, hanging).await.expect("the hanging request ends").unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|response| response.status() == 503));
    std::net::TcpListener::bind(addr).expect("the port is free");
}

#[tokio::test]
async fn impossible_settings_are_refused() {
    let config = |start_unix_s, speed, listen: &str| ExchangeConfig {
        venue: Venue::Binance,
        listen: listen.parse().unwrap(),
        tape: Arc::new(Tape::usdc_depeg()),
        clock: ReplayClock::start(start_unix_s, speed),
        time_mode: TimeMode::Wall,
        price_ppm: 1_000_000,
    };
    for outside in [0, 1_678_406_459, 1_678_752_001, u64::MAX] {
        let refused = Exchange::start(config(outside, 1, "127.0.0.1:0")).await.err().unwrap();
        assert!(matches!(refused, ExchangeError::OutsideTape { .. }), "{outside}");
    }
    let refused = Exchange::start(config(START_S, 0, "127.0.0.1:0")).await.err().unwrap();
    assert!(matches!(refused, ExchangeError::Speed));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let refused = Exchange::start(config(START_S, 1, &listen)).await.err().unwrap();
    assert!(refused.to_string().contains(&listen));
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("in time");
}
