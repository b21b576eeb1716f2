//! Serves the made snapshot with a price that moves, for work on the page:
//! `cargo run -p concurrence-api --features testing --example page`, then open the address it prints.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use concurrence_api::testing::{EXAMPLE_MS, example_snapshot};
use concurrence_api::{ApiConfig, ApiServer, HISTORY_POINTS_MAX, HistoryPoint};
use tokio::sync::watch;

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ahead_ms = now_ms() - EXAMPLE_MS;
    let mut snapshot = example_snapshot();
    // Bring the example to the present.
    snapshot.node.started_ms += ahead_ms;
    snapshot.oracles.iter_mut().for_each(|o| o.last_slot = o.last_slot.map(|slot| slot + ahead_ms / 1_000));
    snapshot.anomalies.iter_mut().for_each(|a| Arc::make_mut(a).last_ms += ahead_ms);
    snapshot.peers.iter_mut().for_each(|p| p.last_seen_ms = p.last_seen_ms.map(|ms| ms + ahead_ms));
    snapshot.sources.iter_mut().for_each(|s| s.price_ms = s.price_ms.map(|ms| ms + ahead_ms));
    Arc::make_mut(&mut snapshot.feeds[0].history).iter_mut().for_each(|point| point.as_of_ms += ahead_ms);
    snapshot.feeds[1].price.as_of_ms += ahead_ms;

    let (publisher, receiver) = watch::channel(Arc::new(snapshot.clone()));
    let listen = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let server =
        ApiServer::start(ApiConfig { listen, metrics_listen: None, snapshot: receiver, clock: now_ms, past: None })?;
    println!("http://{}/", server.api_addr());
    let last = snapshot.feeds[0].history.last().and_then(|point| point.price.clone());
    let mut mantissa: i64 = last.ok_or("the example has a history")?.parse()?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        snapshot.seq += 1;
        snapshot.as_of_ms = now_ms();
        mantissa += i64::try_from(snapshot.seq * 7_919 % 11)? * 400_000_000 - 2_000_000_000;
        let price = &mut snapshot.feeds[0].price;
        price.price = Some(mantissa.to_string());
        price.interval = Some([(mantissa - 900_000_000).to_string(), (mantissa + 900_000_000).to_string()]);
        price.as_of_ms = snapshot.as_of_ms;
        let point = HistoryPoint {
            as_of_ms: snapshot.as_of_ms,
            price: price.price.clone(),
            interval: price.interval.clone(),
            status: price.status,
        };
        let history = Arc::make_mut(&mut snapshot.feeds[0].history);
        history.push(point);
        history.drain(..history.len().saturating_sub(HISTORY_POINTS_MAX));
        publisher.send_replace(Arc::new(snapshot.clone()));
    }
}
