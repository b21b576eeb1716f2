//! Prices explained by one node and verified elsewhere; the past asked about.

use std::{path::Path, time::SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Bench, Extra, Process, done, fails, oracle_node, wait};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// A network that published for some seconds and is quiet now, and an instant at which its answer was ok.
async fn quiet_network() -> (Bench, Vec<Process>, u64) {
    let bench = Bench::new(4).await;
    let nodes: Vec<_> = ALL.iter().map(|&m| bench.start(m, &Extra::default())).collect();
    for m in ALL {
        let author = &bench.members[m].author;
        wait(&format!("node 0 holds ten operations of {m}"), || async { bench.len_of(0, author).await >= 10 }).await;
    }
    wait("an ok answer", || async {
        bench.get(0, "/v1/prices/BTC-USD").await.is_some_and(|price| price["status"] == "ok")
    })
    .await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    bench.set_venues(false);
    wait("readiness names the sources", || async {
        bench.get(2, "/readyz").await.is_some_and(|ready| ready.to_string().contains("too_few_sources"))
    })
    .await;
    bench.wait_equal(&ALL).await;
    (bench, nodes, u64::try_from(now.as_millis()).unwrap())
}

fn explained(bench: &Bench, m: usize, more: &[&str]) -> Vec<u8> {
    let config = bench.members[m].home.join("config.toml");
    done(oracle_node().args(["explain", "BTC/USD", "--json", "--config"]).arg(config).args(more))
}

fn verify(file: &Path, registry: &Path) -> std::process::Command {
    let mut command = oracle_node();
    command.arg("verify").arg(file).arg("--registry").arg(registry);
    command
}

/// With nothing but the file and the registry, in a directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_explained_by_one_node_and_verified_elsewhere() {
    let (bench, nodes, at_ms) = quiet_network().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let (file, registry) = (elsewhere.path().join("saved.json"), elsewhere.path().join("registry.toml"));
    std::fs::copy(bench.dir.path().join("registry.toml"), &registry).unwrap();

    let at = at_ms.to_string();
    let urls = bench.members.iter().map(|member| format!("http://127.0.0.1:{}", member.api_port)).collect::<Vec<_>>();
    let legs_from: Vec<&str> = urls.iter().flat_map(|url| ["--legs-from", url]).collect();
    let saved = ["--at", &at, "--save", file.to_str().unwrap()];
    let text = explained(&bench, 0, &[&saved[..], &legs_from].concat());
    assert_eq!(text, std::fs::read(&file).unwrap());
    let whole: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(whole["answer"]["status"], "ok");
    let counted = |of: &Value| {
        let statements = of["statements"].as_array().unwrap();
        statements.iter().filter(|said| said["fate"] == "counted").cloned().collect::<Vec<_>>()
    };
    assert_eq!(counted(&whole).len(), 4);
    assert!(counted(&whole).iter().all(|said| said["legs"].as_array().is_some_and(|legs| legs.len() == 11)), "{whole}");
    let said = String::from_utf8(done(&mut verify(&file, &registry))).unwrap();
    assert!(said.contains("verified: BTC/USD") && said.contains(whole["answer"]["price"].as_str().unwrap()), "{said}");

    // Every node says the same of it, but for the legs that only the author keeps (and whoever saw exactly the same).
    for m in ALL {
        let other: Value = serde_json::from_slice(&explained(&bench, m, &["--at", &at])).unwrap();
        for part in ["cut", "result_id", "answer", "arithmetic", "left_out"] {
            assert_eq!(other[part], whole[part], "{part} of node {m}");
        }
        assert!(counted(&other).iter().any(|said| !said["legs"].is_null()), "its own legs");
    }
    for mut node in nodes {
        node.signal(Signal::TERM);
        assert!(node.ended().await.success(), "{}", node.said());
    }
    let stored = ALL.map(|m| explained(&bench, m, &["--stored", "--at", &at]));
    assert!(stored.iter().all(|one| *one == stored[0]), "stores of the same history give the same bytes");
    std::fs::write(&file, &stored[0]).unwrap();
    done(&mut verify(&file, &registry));
    tampering(&elsewhere.path().join("tampered.json"), &registry, &String::from_utf8(text).unwrap());
}

/// Whatever is changed in a saved explanation is found.
fn tampering(file: &Path, registry: &Path, text: &str) {
    let whole: Value = serde_json::from_str(text).unwrap();
    let refused = |changed: String, why: &str| {
        assert_ne!(changed, text, "{why}");
        std::fs::write(file, changed).unwrap();
        let (code, said) = fails(&mut verify(file, registry));
        assert!(code == 1 && said.contains(why), "{why}: {said}");
    };
    let price = whole["answer"]["price"].as_str().unwrap();
    refused(text.replacen(price, "1", 1), "differs from the file at line");
    let cut = whole["cut"].as_str().unwrap();
    refused(text.replace(cut, &cut.chars().rev().collect::<String>()), "differs from the file at line");
    refused(text.replace("\"counted\"", "\"doubtful\""), "differs from the file at line");
    refused(text.replace("  ", " "), "differs from the file at line");
    refused(text.replacen("\"as_of_ms\": ", "\"as_of_ms\": 1", 1), "");
    let op = whole["inputs"]["logs"][0][0].as_str().unwrap();
    let flipped = format!("{}{}", &op[..op.len() - 1], if op.ends_with('0') { '1' } else { '0' });
    refused(text.replace(op, &flipped), "an operation among the inputs");
    let legs = whole["inputs"]["legs"][0].as_str().unwrap();
    refused(text.replace(legs, "00"), "a record of legs");
    refused(text.replace(whole["registry"].as_str().unwrap(), cut), "is of the registry");
    refused("{}".to_owned(), "no explanation");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_answered_from_the_store() {
    let (bench, _nodes, at_ms) = quiet_network().await;
    let now = bench.get(1, &format!("/v1/prices/btc-usd/at/{at_ms}")).await.unwrap();
    assert_eq!((&now["status"], now["as_of_ms"].as_u64()), (&Value::from("ok"), Some(at_ms)));
    let long_ago = bench.get(1, "/v1/prices/BTC-USD/at/60000").await.unwrap();
    assert_eq!((&long_ago["status"], &long_ago["price"]), (&Value::from("halted"), &Value::Null));

    let from_ms = at_ms - 5_000;
    let range = format!("/v1/prices/BTC-USD/history?from_ms={from_ms}&until_ms={at_ms}&step_ms=2500");
    let candles = bench.get(2, &range).await.unwrap()["candles"].clone();
    let last = candles.as_array().unwrap().last().unwrap().clone();
    let number = |field: &str| last[field].as_str().unwrap().parse::<f64>().unwrap();
    assert!(number("low") <= number("open") && number("close") <= number("high"), "{candles}");
    assert!(last["answers"].as_u64() > Some(0));
    assert!(bench.get(2, "/v1/prices/BTC-USD/history").await.unwrap()["points"].is_array());

    let average = bench.get(3, &format!("/v1/prices/BTC-USD/twap?window_ms=2000&until_ms={at_ms}")).await.unwrap();
    assert!(average["price"].as_str().is_some_and(|price| price.starts_with("2")), "{average}");
    // Before the network began there was no answer: no shorter window stands in.
    let long = bench.get(3, &format!("/v1/prices/BTC-USD/twap?window_ms=3600000&until_ms={at_ms}")).await.unwrap();
    assert_eq!(long["status"], 404, "{long}");
    // Windows close half a minute after their end: few of this short life have, if any.
    let conduct = bench.get(3, "/v1/oracles/conduct?windows=3").await.unwrap();
    let oracles = conduct["oracles"].as_array().unwrap();
    assert_eq!((oracles.len(), conduct["windows"].as_u64()), (4, Some(3)));
    assert!(oracles.iter().all(|oracle| oracle["counted"].as_u64() <= oracle["chances"].as_u64()), "{conduct}");
    assert!(oracles.iter().all(|oracle| oracle["forked"] == false && oracle["weight"] == 1), "{conduct}");
    for (path, status) in [
        ("/v1/oracles/conduct?windows=0", 400),
        ("/v1/prices/BTC-USD/twap?window_ms=0", 400),
        ("/v1/prices/BTC-USD/history?from_ms=5&until_ms=5", 400),
        ("/v1/prices/BTC-USD/history?from_ms=0&until_ms=99999999999999", 400),
        ("/v1/prices/DOGE-USD/at/1", 404),
        ("/v1/prices/BTC-USD/at/soon", 400),
        ("/v1/legs/00", 400),
        ("/v1/legs/0000000000000000000000000000000000000000000000000000000000000000", 404),
    ] {
        assert_eq!(bench.get(0, path).await.unwrap()["status"], status, "{path}");
    }
}
