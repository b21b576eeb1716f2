//! What an operator sees of the sources, and another configuration taken over by a running node.

use std::{fs, path::Path};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::harness::{Bench, Extra, done, fails, oracle_node, wait};

/// A recorded body of the repository.
fn recorded(name: &str) -> String {
    format!("{}/../../data/venues/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn parse(venue: &str, channel: &str, file: &str) -> (i32, Value) {
    let mut command = oracle_node();
    command.args(["sources", "parse", "--json", "--venue", venue, "--channel", channel]).arg(recorded(file));
    let output = command.output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_recorded_body_yields_its_quote_or_the_kind_of_its_refusal() {
    let (code, quote) = parse("kraken", "ws", "kraken/ws_v2_ticker_timestamp.json");
    let wanted =
        r#"{"bid":"62109.9","ask":"62110","last":"62109.9","volume":"2480.10933571","venue_time_ms":"1719792000417"}"#;
    assert_eq!((code, quote), (0, serde_json::from_str(wanted).unwrap()));
    let (code, quote) = parse("coinbase", "v2_spot", "coinbase/rest_v2_prices_BTC-USD_spot.json");
    assert_eq!((code, &quote["bid"], &quote["venue_time_ms"]), (0, &Value::Null, &Value::Null));
    let (code, refused) = parse("binance", "book_ticker", "malformed/crossed_book.json");
    assert_eq!((code, refused["error"]["kind"].as_str()), (2, Some("crossed")));
    assert!(refused["error"]["detail"].as_str().is_some_and(|detail| detail.contains("46800")), "{refused}");

    let channels = done(oracle_node().args(["sources", "channels", "--json"]));
    let channels: Vec<Value> = serde_json::from_slice(&channels).unwrap();
    assert!(
        channels.iter().any(|row| row["venue"] == "okx" && row["channel"] == "ws" && row["transport"] == "websocket")
    );
    let said = fails(oracle_node().args(["sources", "parse", "--venue", "mtgox", "--channel", "x", "/dev/null"]));
    assert!(said.0 == 1 && said.1.contains("binance, bitstamp"), "{said:?}");
}

/// A chain's node on loopback: one block, and one answer to every call.
async fn chain_node(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                // Requests are far below this, and each comes in one or two pieces that end with the body's last brace.
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"}") {
                    match socket.read(&mut piece).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                let is_call = String::from_utf8_lossy(&request).contains("eth_call");
                let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
                let block = format!(r#"{{"hash":"0x{}","number":"0x10","timestamp":"{now_s:#x}"}}"#, "ab".repeat(32));
                let result = if is_call { format!("\"{answer}\"") } else { block };
                let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
                let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                let _ = socket.write_all(whole.as_bytes()).await;
            });
        }
    });
    url
}

/// 1.25 as Curve's `price_oracle()` says it, in units of 1e-18.
const CURVE_ANSWER: &str = "0x0000000000000000000000000000000000000000000000001158e460913d0000";

/// Appends a Curve pool that prices BTC in USD, read through two nodes.
fn add_pool(path: &Path, nodes: [&str; 2]) {
    let legs = r#"
[[feeds.legs]]
source = "kraken"
symbol = "XBTUSD"
base = "BTC"
quote = "USD"
[[feeds.legs]]
source = "curve"
symbol = "POOL"
base = "BTC"
quote = "USD"
contract = { address = "0x7F86Bf177Dd4F3494b841a37e810A34dD56c829B", created_seconds = 1700000000, stableswap_ng = false, plain = true }
"#;
    let [first, second] = nodes;
    let source = format!(
        "[[data_sources.on_chain]]\nname = \"curve\"\nchain = \"test\"\nrpc_url = \"{first}\"\nsecond_rpc_url = \"{second}\"\n"
    );
    let good = fs::read_to_string(path).unwrap();
    let text =
        good.replace("[[feeds]]\nname = \"BTC/USD\"\n", &format!("[[feeds]]\nname = \"BTC/USD\"\n{legs}{source}"));
    assert_ne!(text, good);
    fs::write(path, text).unwrap();
}

fn test_sources(config: &Path, more: &[&str]) -> (i32, Vec<Value>) {
    let output = oracle_node().args(["sources", "test", "--json", "--config"]).arg(config).args(more).output().unwrap();
    let rows = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), rows.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_leg_is_shown_with_its_price_or_why_it_has_none() {
    let bench = Bench::new(1).await;
    let config = bench.write_config(0, &Extra::default());
    let (code, legs) = tokio::task::block_in_place(|| test_sources(&config, &[]));
    assert_eq!(code, 0, "{legs:?}");
    assert_eq!(legs.len(), 11, "seven markets and four rates");
    assert!(legs.iter().all(|leg| leg["raw"].is_string()), "{legs:?}");
    let of = |symbol: &str| legs.iter().find(|leg| leg["symbol"] == symbol).unwrap();
    assert_eq!((&of("XBTUSD")["verdict"], &of("USDTUSD")["verdict"]), (&"counted".into(), &"rate".into()));
    assert_ne!(of("BTCUSDT")["raw"], of("BTCUSDT")["converted"], "converted by the rate of USDT");
    assert!(of("BTC-USD")["age_ms"].as_u64().is_some(), "Coinbase gives its time");

    bench.venues[0].set_fault(concurrence_exchanges::Fault::Garbage);
    let (code, legs) = tokio::task::block_in_place(|| test_sources(&config, &["--source", "binance"]));
    assert_eq!(code, 1);
    assert!(legs.iter().all(|leg| leg["source"] == "binance" && leg["error"].is_string()), "{legs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_read_where_two_nodes_agree() {
    let bench = Bench::new(1).await;
    let config = bench.write_config(0, &Extra::default());
    let (one, other) = (chain_node(CURVE_ANSWER).await, chain_node(CURVE_ANSWER).await);
    add_pool(&config, [&one, &other]);
    let (_, legs) = tokio::task::block_in_place(|| test_sources(&config, &["--source", "curve"]));
    assert_eq!((legs.len(), &legs[0]["raw"], &legs[0]["converted"]), (1, &"1.25".into(), &"1.25".into()), "{legs:?}");

    let liar = chain_node("0x0000000000000000000000000000000000000000000000001158e460913d0001").await;
    let config = bench.write_config(0, &Extra::default());
    add_pool(&config, [&one, &liar]);
    let (code, legs) = tokio::task::block_in_place(|| test_sources(&config, &["--source", "curve"]));
    assert_eq!((code, legs[0]["error"].as_str()), (1, Some("the two nodes disagree about a contract")), "{legs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_is_taken_over_whole_or_not_at_all() {
    let bench = Bench::new(1).await;
    let node = bench.start(0, &Extra::default());
    let author = bench.members[0].author.clone();
    wait("it publishes", || async { bench.len_of(0, &author).await >= 2 }).await;
    let path = bench.members[0].home.join("config.toml");
    let good = fs::read_to_string(&path).unwrap();
    let reloaded = |text: String, said: &'static str| {
        fs::write(&path, text).unwrap();
        node.signal(rustix::process::Signal::HUP);
        let node = &node;
        async move { wait(said, || async { node.said().contains(said) }).await }
    };
    reloaded(good.replacen("poll_interval_ms = 400", "weight = 7\npoll_interval_ms = 400", 1), "weight 21").await;
    reloaded(good.replace("min_sources = 3", "min_sources = 2"), "only a restart changes").await;
    reloaded(good.replace("[submission]", "[submision]"), "nearest known key is").await;
    let before = bench.len_of(0, &author).await;
    wait("it publishes on", || async { bench.len_of(0, &author).await >= before + 2 }).await;
    // With two of three venues there is no price: the new set is in use.
    let without = good.rfind("\n[[data_sources.exchanges]]").map(|at| good[..at].to_owned()).unwrap();
    reloaded(without, "sources binance, coinbase").await;
    wait("it lacks a source", || async {
        let ready = bench.get(0, "/readyz").await;
        ready.is_some_and(|ready| ready.to_string().contains("too_few_sources"))
    })
    .await;
    reloaded(good.clone(), "sources binance, coinbase, kraken").await;
    let before = bench.len_of(0, &author).await;
    wait("it publishes again", || async { bench.len_of(0, &author).await >= before + 2 }).await;
}
