//! The deployment guide's own commands and configuration, word by word; only its placeholder peers are made real.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Process, done, fails, free_port, get, oracle_node, wait};

/// The guide's `config.toml`.
const CONFIG: &str = include_str!("guide.toml");

/// What the guide exports, and the one that it forgets.
const VARIABLES: [(&str, &str); 3] = [
    ("COINBASE_API_KEY", "coinbase-key-71c3"),
    ("COINBASE_API_SECRET", "coinbase-secret-\"a9\\f0"),
    ("ETH_RPC_URL", "https://eth-mainnet.example/v2/rpc-key-55d2"),
];

/// The program as an operator calls it: in the directory of its files.
fn here(directory: &Path) -> Command {
    let mut command = oracle_node();
    command.current_dir(directory).envs(VARIABLES);
    command
}

/// The guide's text with peers that exist: it writes host names behind `/ip4/`, and ids that end in dots.
fn with_real_peers(directory: &Path) -> String {
    (1..=3).fold(CONFIG.to_owned(), |text, n| {
        let keys = done(here(directory).args(["keygen", "--json", "--output", &format!("peer-{n}.json")]));
        let keys: Value = serde_json::from_slice(&keys).unwrap();
        let name = format!("oracle{n}");
        done(here(directory).args(["registry", "add", "--name", &name, "--key", &format!("peer-{n}.json")]));
        text.replace(
            &format!("/ip4/oracle{n}.network.com/tcp/9000/p2p/QmPeerId{n}..."),
            &format!("/dns4/oracle{n}.network.com/tcp/9000/p2p/{}", keys["peer"].as_str().unwrap()),
        )
    })
}

fn shows_no_secret(said: &str) {
    for secret in ["coinbase-key-71c3", "coinbase-secret-", "rpc-key-55d2"] {
        assert!(!said.contains(secret), "{secret} is shown in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_works_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    done(here(home).args(["keygen", "--output", "oracle-key.json"]));
    done(here(home).args(["show-pubkey", "--key", "oracle-key.json"]));
    done(here(home).args(["registry", "init", "--network", "prod"]));
    done(here(home).args(["registry", "add", "--name", "oracle_prod_1", "--key", "oracle-key.json"]));

    fs::write(home.join("config.toml"), CONFIG).unwrap();
    let (code, said) = fails(here(home).arg("check-config"));
    assert_eq!(code, 1);
    assert!(said.contains("/dns4/oracle1.network.com"), "{said}");
    let text = with_real_peers(home);
    fs::write(home.join("config.toml"), &text).unwrap();
    let (code, said) = fails(here(home).arg("check-config").env_remove("COINBASE_API_SECRET"));
    assert_eq!(code, 1);
    assert!(said.contains("line 25: environment variable COINBASE_API_SECRET is not set"), "{said}");

    let checked = String::from_utf8(done(here(home).args(["check-config", "--json"]))).unwrap();
    shows_no_secret(&checked);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    let of = |status: &str| {
        let sources = checked["sources"].as_array().unwrap().iter().filter(|s| s["status"] == status);
        sources.map(|s| s["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("supported"), ["binance", "coinbase"]);
    assert_eq!(of("unsupported"), ["uniswap_v3", "curve", "chainlink"]);
    assert_eq!(checked["missing"].as_array().map(Vec::len), Some(0), "{checked}");
    let feeds: Vec<_> = checked["feeds"].as_array().unwrap().iter().map(|f| f["feed"].clone()).collect();
    assert_eq!(feeds, ["BTC/USD", "ETH/USD"]);

    runs_and_stops(home, &text).await;
}

/// The ports alone are changed, so that tests may run side by side.
async fn runs_and_stops(home: &Path, text: &str) {
    let (peers, metrics, api) = (free_port(), free_port(), free_port());
    let text = text.replace("0.0.0.0:9000", &format!("127.0.0.1:{peers}")).replace("9091", &metrics.to_string());
    fs::write(home.join("config.toml"), format!("{text}\n[api]\nlisten_addr = \"127.0.0.1:{api}\"\n")).unwrap();
    let mut node = Process::start(here(home).args(["run", "--config", "config.toml"]));
    wait("readiness names what is missing", || async {
        let Some(ready) = get(metrics, "/readyz").await else { return false };
        let said = ready.to_string();
        ["too_few_sources", "3 are needed", "uniswap_v3", "curve", "chainlink"].iter().all(|word| said.contains(word))
    })
    .await;
    node.signal(Signal::TERM);
    assert!(node.ended().await.success(), "{}", node.said());
    shows_no_secret(&node.said());
    assert!(!node.said().contains(&secret_of(&home.join("oracle-key.json"))), "the key is in the log");

    let output = here(home).args(["audit", "--check-sources", "--verify-attestations"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "sources that cannot be asked are findings: {said}");
    assert!(said.contains("unsupported_source chainlink"), "{said}");
    shows_no_secret(&said);
}

/// Sixteen digits of a key file's secret.
fn secret_of(key: &Path) -> String {
    let key: Value = serde_json::from_slice(&fs::read(key).unwrap()).unwrap();
    key["secret"].as_str().unwrap()[..16].to_owned()
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let said = |arguments: &[&str]| fails(here(home).args(arguments)).1;
    assert!(said(&["run"]).contains("./config.toml") && said(&["run"]).contains("--config"));
    assert!(said(&["show-pubkey"]).contains("oracle-node keygen --output oracle-key.json"));
    assert!(said(&["registry", "show"]).contains("oracle-node registry init"));
    fs::write(home.join("other.json"), "{}").unwrap();
    done(here(home).args(["registry", "init", "--network", "x"]));
    assert!(said(&["registry", "show"]).contains("oracle-node registry add"));
    assert!(said(&["registry", "add", "--name", "a", "--key", "other.json"]).contains("neither a key file"));
    let twice = said(&["registry", "show"]);
    assert_eq!(twice.matches("no members yet").count(), 1, "a cause is told once: {twice}");
}

#[test]
fn an_encrypted_key_needs_its_passphrase_and_check_config_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let with = |passphrase: &str, arguments: &[&str]| {
        let output = here(home).args(arguments).env("ORACLE_KEY_PASSPHRASE", passphrase).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    assert!(with("correct horse", &["keygen"]).contains("encrypted"));
    assert!(!with("", &["keygen", "--output", "open.json"]).contains("encrypted"), "an empty passphrase is none");
    done(here(home).args(["registry", "init", "--network", "x"]));
    done(here(home).args(["registry", "add", "--name", "a", "--key", "oracle-key.json"]));
    let text = "[oracle]\nid = \"a\"\nkey_file = \"oracle-key.json\"\n[network]\nlisten_addr = \"127.0.0.1:0\"\n\
                [[data_sources.exchanges]]\nname = \"kraken\"\n";
    fs::write(home.join("config.toml"), text).unwrap();
    assert!(with("correct horse", &["check-config"]).contains("a will run"));
    for (passphrase, why) in [("", "set ORACLE_KEY_PASSPHRASE"), ("wrong horse", "does not open with this passphrase")]
    {
        let said = with(passphrase, &["check-config"]);
        assert!(said.contains("will not start") && said.contains(why) && !said.contains("wrong horse"), "{said}");
        let (code, said) = fails(here(home).arg("run").env("ORACLE_KEY_PASSPHRASE", passphrase));
        assert!(code == 1 && said.contains(why), "{said}");
    }
}
