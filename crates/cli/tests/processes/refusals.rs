//! Bad input gets a clear error and loses nothing.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::harness::{Bench, Extra, Process, done, fails, oracle_node, wait};

fn said_one_of(said: &str, words: &[&str]) {
    assert!(words.iter().all(|word| said.contains(word)), "wanted {words:?} in: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_keys_ports_and_stores_are_clear_errors() {
    let bench = Bench::new(2).await;
    let config = bench.write_config(0, &Extra::default());
    let key = bench.members[0].home.join("oracle-key.json");
    let run = || fails(oracle_node().args(["run", "--config"]).arg(&config));
    let whole = fs::read(&key).unwrap();

    fs::write(&key, &whole[..whole.len() / 2]).unwrap();
    let (code, said) = run();
    assert_eq!(code, 1);
    said_one_of(&said, &["oracle-key.json", "damaged", "backup"]);

    fs::write(&key, &whole).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    said_one_of(&run().1, &["read by others", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let taken = std::net::TcpListener::bind(("127.0.0.1", bench.members[0].p2p_port)).unwrap();
    said_one_of(&run().1, &["cannot listen", &bench.members[0].p2p_port.to_string()]);
    drop(taken);
    let taken = std::net::TcpListener::bind(("127.0.0.1", bench.members[0].api_port)).unwrap();
    said_one_of(&run().1, &[&bench.members[0].api_port.to_string()]);
    drop(taken);

    // A store directory that cannot be one, and a store file cut short.
    let data = bench.members[0].home.join("data");
    fs::remove_dir_all(&data).ok();
    fs::write(&data, b"not a directory").unwrap();
    said_one_of(&run().1, &["data"]);
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("ops.redb"), vec![7u8; 5_000]).unwrap();
    said_one_of(&run().1, &["ops.redb"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen_never_overwrites_and_public_keys_register() {
    let bench = Bench::new(1).await;
    let key = bench.members[0].home.join("oracle-key.json");
    let before = fs::read(&key).unwrap();
    let (code, said) = fails(oracle_node().args(["keygen", "--output"]).arg(&key));
    assert_eq!(code, 1);
    said_one_of(&said, &["exists already"]);
    assert_eq!(fs::read(&key).unwrap(), before);
    let shown = done(oracle_node().args(["show-pubkey", "--key"]).arg(&key));
    let shown = String::from_utf8(shown).unwrap();
    said_one_of(&shown, &["author", "peer", "12D3Koo", "evm", "0x", "[[epoch.member]]"]);
    assert!(!shown.contains("secret"));
    let registry = bench.dir.path().join("registry.toml");
    let before = fs::read(&registry).unwrap();
    let add = fails(
        oracle_node().args(["registry", "add", "--name", "again", "--key"]).arg(&key).arg("--file").arg(&registry),
    );
    assert_eq!(add.0, 1, "a repeated key is refused: {}", add.1);
    assert_eq!(fs::read(&registry).unwrap(), before, "and the file is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_refused_by_line_and_nearest_key() {
    let bench = Bench::new(1).await;
    let path = bench.write_config(0, &Extra::default());
    let good = fs::read_to_string(&path).unwrap();
    let check = |text: String| {
        fs::write(&path, text).unwrap();
        fails(oracle_node().args(["check-config", "--config"]).arg(&path)).1
    };
    said_one_of(&check(good.replace("min_sources", "min_source")), &["line", "min_source", "min_sources"]);
    said_one_of(
        &check(good.replace("\"node-0\"", "\"${NO_SUCH_VARIABLE}\"")),
        &["line 2", "NO_SUCH_VARIABLE", "not set"],
    );
    said_one_of(
        &check(good.replace(
            "bootstrap_peers = []",
            "bootstrap_peers = [\"/ip4/oracle1.network.com/tcp/9000/p2p/QmPeerId1\"]",
        )),
        &["/dns4/oracle1.network.com"],
    );
    said_one_of(
        &check(good.replace("submission_interval_seconds = 1", "submission_interval_seconds = 0")),
        &["0 is not within"],
    );
    fs::write(&path, good + "# ${NO_SUCH_VARIABLE} in a comment is no variable\n").unwrap();
    done(oracle_node().args(["check-config", "--json", "--config"]).arg(&path));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_verifies_what_is_stored_and_finds_what_is_wrong() {
    let bench = Bench::new(1).await;
    let config = bench.write_config(0, &Extra::default());
    let audit = |what: &str| {
        let output = oracle_node().args(["audit", what, "--json", "--config"]).arg(&config).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = audit("--verify-attestations");
    assert_eq!(code, Some(3), "nothing to verify: {report}");

    let mut node = bench.start(0, &Extra::default());
    let author = bench.members[0].author.clone();
    wait("it publishes", || async { bench.len_of(0, &author).await >= 3 }).await;
    node.signal(rustix::process::Signal::TERM);
    node.ended().await;
    let (code, report) = audit("--verify-attestations");
    assert_eq!((code, report["ok"].as_bool()), (Some(0), Some(true)), "{report}");
    assert!(report["verified"].as_u64() >= Some(3), "{report}");

    let (code, report) = audit("--check-sources");
    assert_eq!(code, Some(0), "{report}");
    bench.venues[0].set_fault(concurrence_exchanges::Fault::Garbage);
    let (code, report) = audit("--check-sources");
    assert_eq!((code, report["ok"].as_bool()), (Some(1), Some(false)), "{report}");
    said_one_of(&report.to_string(), &["source", "binance"]);

    // A bit of a stored operation turns over on disk.
    let file = bench.members[0].home.join("data").join("ops.redb");
    let mut bytes = fs::read(&file).unwrap();
    let id: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&author[2 * n..2 * n + 2], 16).unwrap()).collect();
    // Pages that are no longer used hold old copies: every copy is changed, one byte into each key's position.
    let copies: Vec<_> = (0..bytes.len() - 32).filter(|&at| bytes[at..at + 32] == id).collect();
    copies.iter().for_each(|at| bytes[at + 60] ^= 1);
    fs::write(&file, bytes).unwrap();
    let (code, said) = fails(oracle_node().args(["audit", "--verify-attestations", "--config"]).arg(&config));
    assert_eq!(code, 1, "a damaged store is found: {said}");
}

/// A clock an hour wrong: the node says so and does not append; peers hold its operations back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_an_hour_wrong_does_not_append() {
    let bench = Bench::new(4).await;
    let _nodes: Vec<_> = [0, 1, 2].iter().map(|&m| bench.start(m, &Extra::default())).collect();
    wait("the others publish", || async { bench.len_of(0, &bench.members[1].author).await >= 2 }).await;
    let config = bench.write_config(3, &Extra::default());
    let mut command = oracle_node();
    command.args(["run", "--override-recovery", "--clock-offset-ms", "3600000", "--config"]).arg(config);
    let _late = Process::start(&mut command);
    wait("readiness names the clock", || async {
        bench.get(3, "/readyz").await.is_some_and(|r| r.to_string().contains("clock_off"))
    })
    .await;
    assert_eq!(bench.len_of(0, &bench.members[3].author).await, 0, "nothing of the wrong hour is admitted");
}
