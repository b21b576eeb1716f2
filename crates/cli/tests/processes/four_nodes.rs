//! Four processes on loopback: publishing and stopping, a minute cut off.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    harness::{Bench, Extra, Process, wait},
    proxy::Proxy,
};

const ALL: [usize; 4] = [0, 1, 2, 3];

async fn publishing(bench: &Bench, nodes: &[usize], at_least: u64) {
    for &m in nodes {
        for &of in nodes {
            let author = &bench.members[of].author;
            wait(&format!("{m} holds {at_least} operations of {of}"), || async {
                bench.len_of(m, author).await >= at_least
            })
            .await;
        }
    }
}

/// SYNC-1: publishing stops, digests become equal. NODE: SIGTERM stops in under two seconds and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_agree_once_publishing_stops_and_stop_cleanly() {
    let bench = Bench::new(4).await;
    let nodes: Vec<_> = ALL.iter().map(|&m| bench.start(m, &Extra::default())).collect();
    publishing(&bench, &ALL, 3).await;
    wait("an ok answer", || async {
        bench.get(0, "/v1/prices/BTC-USD").await.is_some_and(|price| price["status"] == "ok")
    })
    .await;
    bench.set_venues(false);
    wait("readiness names the sources", || async {
        let ready = bench.get(2, "/readyz").await;
        ready.is_some_and(|r| r.to_string().contains("too_few_sources"))
    })
    .await;
    let took = bench.wait_equal(&ALL).await;
    println!("digests equal {} ms after publishing stopped (aim 2000)", took.as_millis());
    let digest = bench.digest(0).await;

    for mut node in nodes {
        let asked = Instant::now();
        node.signal(Signal::TERM);
        assert!(node.ended().await.success(), "{}", node.said());
        println!("stopped in {} ms (aim 2000)", asked.elapsed().as_millis());
    }
    let _again: Vec<Process> = ALL.iter().map(|&m| bench.start_plainly(m, &Extra::default())).collect();
    wait("the same digest after a restart", || async { bench.digest(3).await == digest }).await;
}

/// SYNC-2: cut off for a while by a proxy while all publish; after healing digests are equal and nothing of either side is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_for_a_minute_catches_up_and_is_caught_up_with() {
    let mut bench = Bench::new(4).await;
    let proxy = Proxy::start(bench.members[3].p2p_port).await;
    bench.members[3].dialled_port = proxy.port;
    // Only the others dial, through the proxy: cutting it cuts node 3 off.
    let cut_off = Extra { dial_only: Some(Vec::new()), ..Extra::default() };
    let usual = Extra::default();
    let _nodes: Vec<_> = ALL.iter().map(|&m| bench.start(m, if m == 3 { &cut_off } else { &usual })).collect();
    publishing(&bench, &ALL, 2).await;
    proxy.set_open(false);
    let authors: Vec<_> = bench.members.iter().map(|m| m.author.clone()).collect();
    let before = bench.len_of(0, &authors[3]).await;
    tokio::time::sleep(Duration::from_secs(60)).await; // the minute itself is what is tested
    let (alone, others) = (bench.len_of(3, &authors[3]).await, bench.len_of(0, &authors[0]).await);
    let crossed = bench.len_of(0, &authors[3]).await;
    assert!(crossed <= before + 2, "the cut leaks: {before} then {crossed}");
    assert!(alone > before + 30 && others > 30, "both sides went on: {alone} and {others}");
    proxy.set_open(true);
    bench.set_venues(false);
    wait("the cut-off node's operations arrive", || async { bench.len_of(0, &authors[3]).await >= alone }).await;
    wait("the others' operations arrive", || async { bench.len_of(3, &authors[0]).await >= others }).await;
    let took = bench.wait_equal(&ALL).await;
    println!("digests equal {} ms later", took.as_millis());
}

/// ORACLE-5: below `min_sources` nothing is published, and readiness, metrics and the log say so.
#[tokio::test(flavor = "multi_thread")]
async fn below_min_sources_nothing_is_published() {
    let bench = Bench::new(1).await;
    let _node = bench.start(0, &Extra::default());
    let author = bench.members[0].author.clone();
    publishing(&bench, &[0], 1).await;
    bench.venues[0].set_fault(concurrence_exchanges::Fault::Status { status: 503 });
    wait("readiness says why", || async {
        let url = format!("http://127.0.0.1:{}/readyz", bench.members[0].api_port);
        let Ok(answer) = reqwest::get(url).await else { return false };
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        status == 503 && text.contains("too_few_sources") && text.contains("2 active sources, 3 are needed")
    })
    .await;
    let stopped_at = bench.len_of(0, &author).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // three intervals in which nothing may be published
    let still = bench.len_of(0, &author).await;
    assert!(still <= stopped_at + 1, "published {} more", still - stopped_at);
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", bench.members[0].api_port)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(
        metrics.lines().any(|l| l.starts_with("oracle_active_sources{") && (l.ends_with(" 2") || l.ends_with(" 2.0"))),
        "{metrics}"
    );
}
