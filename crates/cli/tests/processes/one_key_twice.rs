//! One key, two processes: refused where it can be known, proven where it cannot.

use crate::{
    harness::{Bench, Extra, Process, copy_files, free_port, oracle_node, wait},
    proxy::Proxy,
};

const EXIT_HALTED: i32 = 4;

/// STORE: a second process with a running node's key and store is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_key_and_store_is_refused() {
    let bench = Bench::new(1).await;
    let _first = bench.start(0, &Extra::default());
    wait("the first runs", || async { bench.digest(0).await.is_some() }).await;
    let mut second =
        Process::start(oracle_node().args(["run", "--config"]).arg(bench.members[0].home.join("config.toml")));
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.said().contains("in use by process"), "{}", second.said());
}

/// NODE-1: a twin with the same key and another store refuses while peers are reachable, and names the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_with_another_store_refuses_while_peers_are_reachable() {
    let mut bench = Bench::new(4).await;
    let _nodes: Vec<_> = (0..4).map(|m| bench.start(m, &Extra::default())).collect();
    let author = bench.members[1].author.clone();
    wait("the original publishes", || async { bench.len_of(0, &author).await >= 2 }).await;
    let config = twin_config(&mut bench, &Extra::default());
    let mut twin = Process::start(oracle_node().args(["run", "--config"]).arg(config));
    assert_eq!(twin.ended().await.code(), Some(EXIT_HALTED), "{}", twin.said());
    assert!(twin.said().contains(&author), "the key is named: {}", twin.said());
    let anomalies = bench.get(0, "/v1/anomalies").await.unwrap();
    assert_eq!(anomalies["anomalies"].as_array().map(Vec::len), Some(0), "{anomalies}");
}

/// SYNC-3, NODE-1: started cut off with the operator's override and then joined: both halt, every honest node proves the fork, and
/// nothing later of that author is admitted anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_was_cut_off_and_overridden_is_proven() {
    let mut bench = Bench::new(4).await;
    let mut nodes: Vec<_> = (0..4).map(|m| bench.start(m, &Extra::default())).collect();
    let author = bench.members[1].author.clone();
    wait("the original publishes", || async { bench.len_of(0, &author).await >= 3 }).await;

    // The twin reaches the others only through proxies that are closed at first.
    let mut extra = Extra::default();
    let mut proxies = Vec::new();
    for m in [0, 2, 3] {
        let proxy = Proxy::start(bench.members[m].p2p_port).await;
        proxy.set_open(false);
        extra.dial_ports.insert(m, proxy.port);
        proxies.push(proxy);
    }
    let api = bench.members[1].api_port;
    let config = twin_config(&mut bench, &extra);
    let twin_api = bench.members[1].api_port;
    let mut twin = Process::start(oracle_node().args(["run", "--override-recovery", "--config"]).arg(config));
    wait("the twin writes alone", || async { bench.len_of(1, &author).await >= 2 }).await;
    assert_ne!(api, twin_api);
    proxies.iter().for_each(|proxy| proxy.set_open(true));

    assert_eq!(twin.ended().await.code(), Some(EXIT_HALTED), "{}", twin.said());
    assert_eq!(nodes[1].ended().await.code(), Some(EXIT_HALTED), "{}", nodes[1].said());
    for m in [0, 2, 3] {
        wait(&format!("node {m} has proven the fork"), || async {
            let frontier = bench.get(m, "/v1/frontier").await;
            frontier.is_some_and(|f| f["forked"] == serde_json::json!([author]))
        })
        .await;
        assert_eq!(bench.len_of(m, &author).await, 0, "node {m} still admits something of it");
    }
}

/// Makes member 1's twin: the same key in another directory, its own store and ports. The bench's member 1 is the twin from then on.
fn twin_config(bench: &mut Bench, extra: &Extra) -> std::path::PathBuf {
    let home = bench.dir.path().join("twin");
    std::fs::create_dir(&home).unwrap();
    let original = bench.members[1].home.clone();
    std::fs::copy(original.join("oracle-key.json"), home.join("oracle-key.json")).unwrap();
    let member = &mut bench.members[1];
    (member.home, member.p2p_port, member.api_port) = (home, free_port(), free_port());
    bench.write_config(1, extra)
}

/// A restored backup: the store is older than the sidecar says. The node recovers its log from its peers before it appends again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_recovers_from_its_peers_and_does_not_fork() {
    let bench = Bench::new(4).await;
    let mut nodes: Vec<_> = (0..4).map(|m| bench.start(m, &Extra::default())).collect();
    let author = bench.members[1].author.clone();
    wait("it publishes", || async { bench.len_of(0, &author).await >= 2 }).await;
    let (data, backup) = (bench.members[1].home.join("data"), bench.dir.path().join("backup"));
    nodes[1].signal(rustix::process::Signal::TERM);
    nodes[1].ended().await;
    copy_files(&data, &backup);
    nodes[1] = bench.start_plainly(1, &Extra::default());
    let at_backup = bench.len_of(0, &author).await;
    wait("it publishes more", || async { bench.len_of(0, &author).await >= at_backup + 3 }).await;
    nodes[1].signal(rustix::process::Signal::TERM);
    nodes[1].ended().await;
    let sent = bench.len_of(0, &author).await;
    std::fs::remove_dir_all(&data).unwrap();
    copy_files(&backup, &data);
    nodes[1] = bench.start_plainly(1, &Extra::default());
    wait("it goes on where it was", || async { bench.len_of(0, &author).await > sent }).await;
    assert!(nodes[1].said().contains("recovering"), "{}", nodes[1].said());
    let anomalies = bench.get(2, "/v1/anomalies").await.unwrap();
    assert_eq!(anomalies["anomalies"].as_array().map(Vec::len), Some(0), "{anomalies}");
}
