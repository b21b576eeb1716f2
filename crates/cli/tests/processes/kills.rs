//! SIGKILL at random moments, many times: a node under load loses nothing it sent and never forks its own log (STORE-1, NODE-1).

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use concurrence_crdt::{LogKey, Op};
use concurrence_store::{RedbStore, Sidecar, Store as _};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

use crate::{
    flood::Flood,
    harness::{Bench, Extra, Process, copy_files, done, oracle_node, wait},
    recorder::Recorder,
};

/// Real nodes; the first is killed. The members after them write the flood.
const NODES: [usize; 3] = [0, 1, 2];

/// Members altogether: four of them, with four logs each, write 60 operations a second to the node that is killed.
const MEMBERS: usize = 7;

/// Kills unless `CONCURRENCE_KILLS` says otherwise: a good minute.
const KILLS: usize = 30;

/// Three feeds, so that a batch has more than one price. The tape has no other market with two venues.
const FEEDS: &str = r#"
[[feeds]]
name = "BTC/USD"

[[feeds]]
name = "BTC/USDT"
legs = [
    { source = "binance", symbol = "BTCUSDT", base = "BTC", quote = "USDT" },
    { source = "coinbase", symbol = "BTC-USDT", base = "BTC", quote = "USDT" },
    { source = "kraken", symbol = "XBTUSDT", base = "BTC", quote = "USDT" },
]

[[feeds]]
name = "USDT/USD"
legs = [
    { source = "coinbase", symbol = "USDT-USD", base = "USDT", quote = "USD" },
    { source = "kraken", symbol = "USDTUSD", base = "USDT", quote = "USD" },
]
"#;

/// STORE-1, NODE-1, STORE-2: killed again and again under load; `cargo xtask kill --kills 200` does it more often.
#[tokio::test(flavor = "multi_thread")]
async fn sigkill_at_random_moments_loses_no_operation_that_was_sent() {
    let kills = number("CONCURRENCE_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("CONCURRENCE_KILL_SEED").unwrap_or(fresh);
    println!("the same moments again: cargo xtask kill --kills {kills} --seed {seed}");
    let mut soak = Soak::start(ChaCha8Rng::seed_from_u64(seed)).await;
    while soak.tally.killed() < kills {
        soak.kill_once().await;
    }
    soak.finish().await;
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// So long after its start: while it repairs its store, reads it, connects.
    Starting(Duration),
    /// So long after it was heard to append: about when the next operation is made durable and sent.
    Appending(Duration),
    /// So long after it was heard to append: anywhere between two ticks.
    Running(Duration),
    /// So long after it was asked to stop: while it closes its store.
    Stopping(Duration),
}

impl Moment {
    /// Starts and stops are over in some ten milliseconds on a quiet machine and take ten times as long on a busy one: every
    /// doubling is as likely. Ticks are a second apart; two commits and the sidecar come between a tick and what is heard of it.
    fn drawn(dice: &mut ChaCha8Rng) -> Self {
        let kind = dice.next_u32() % 4;
        let doublings = dice.next_u32();
        let mut below = |us: u64| Duration::from_micros(dice.next_u64() % us);
        match kind {
            0 => Self::Starting(below(1_000 << (doublings % 9))),
            1 => Self::Appending(Duration::from_millis(970) + below(35_000)),
            2 => Self::Running(below(1_500_000)),
            _ => Self::Stopping(below(1_000 << (doublings % 7))),
        }
    }
}

/// What the kills came to.
#[derive(Default)]
struct Tally {
    starting: usize,
    /// Of those while starting: before the store was read.
    unread: usize,
    appending: usize,
    running: usize,
    stopping: usize,
    /// Stopped before the kill came; not counted as a kill.
    stopped: usize,
    /// Operations found in the store after a kill that nobody had received: durable, and not yet sent.
    unsent: usize,
    /// Starts after which the first operation was awaited, and the longest wait.
    goes_on: usize,
    goes_on_max: Duration,
}

impl Tally {
    fn killed(&self) -> usize {
        self.starting + self.appending + self.running + self.stopping
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { starting, unread, appending, running, stopping, stopped, unsent, goes_on, goes_on_max } = self;
        let killed = self.killed();
        write!(
            f,
            "{killed} kills: {starting} while starting ({unread} before the store was read), {appending} about an append, \
             {running} between ticks, {stopping} while stopping ({stopped} more had stopped before); {unsent} operations were \
             durable and unsent; it went on {goes_on} times, after {} ms at most",
            goes_on_max.as_millis()
        )
    }
}

/// A network whose first node is killed.
struct Soak {
    bench: Bench,
    recorder: Recorder,
    extra: Extra,
    author: String,
    node: Process,
    started: Instant,
    others: Vec<Process>,
    /// Operations in the killed node's own logs when it was last looked at: by log and position.
    held: BTreeMap<(u8, u64), String>,
    dice: ChaCha8Rng,
    tally: Tally,
}

impl Soak {
    async fn start(dice: ChaCha8Rng) -> Self {
        let bench = Bench::new(MEMBERS).await;
        let flood = Flood::of(&bench, &bench.members[NODES.len()..]);
        let key = Recorder::key();
        let observers = vec![key.public().to_peer_id().to_string()];
        let recorder = Recorder::start(key, &bench, &bench.members[0], Some(flood)).await;
        let extra = Extra {
            observers,
            dial_only: Some(NODES.to_vec()),
            dial_also: vec![recorder.addr.clone()],
            min_sources: Some(2),
            feeds: Some(FEEDS),
            ..Extra::default()
        };
        let others_extra = Extra { observers: Vec::new(), dial_also: Vec::new(), ..extra.clone() };
        let others = NODES[1..].iter().map(|&m| bench.start(m, &others_extra)).collect();
        let node = bench.start(0, &extra);
        let author = bench.members[0].author.clone();
        let (held, tally, started) = (BTreeMap::new(), Tally::default(), Instant::now());
        let mut soak = Self { bench, recorder, extra, author, node, started, others, held, dice, tally };
        soak.goes_on().await;
        soak
    }

    /// Kills the node at a moment, looks at what it left, and starts it again.
    async fn kill_once(&mut self) {
        let moment = Moment::drawn(&mut self.dice);
        if !matches!(moment, Moment::Starting(_)) {
            self.goes_on().await;
        }
        let heard = || self.recorder.newest_of(&self.author).unwrap_or(self.started);
        let at = match moment {
            Moment::Starting(after) => self.started + after,
            Moment::Appending(after) | Moment::Running(after) => heard() + after,
            Moment::Stopping(after) => {
                self.node.signal(Signal::TERM);
                Instant::now() + after
            }
        };
        tokio::time::sleep_until(at.into()).await; // the moment itself is what is tested
        self.node.signal(Signal::KILL);
        let status = self.node.ended().await;
        let said = self.node.said();
        match moment {
            Moment::Stopping(_) if status.success() => self.tally.stopped += 1,
            _ => assert_eq!(status.signal(), Some(9), "{moment:?}: it ended by itself: {said}"),
        }
        match moment {
            _ if status.success() => {}
            Moment::Starting(_) => {
                self.tally.starting += 1;
                self.tally.unread += usize::from(!said.contains("store read"));
            }
            Moment::Appending(_) => self.tally.appending += 1,
            Moment::Running(_) => self.tally.running += 1,
            Moment::Stopping(_) => self.tally.stopping += 1,
        }
        self.look(&format!("{moment:?}")).await;
        self.started = Instant::now();
        self.node = self.bench.start_plainly(0, &self.extra);
    }

    /// Waits until the node is heard to append beyond what its store held when it was started.
    async fn goes_on(&mut self) {
        let (held, recorder) = (self.held.len(), &self.recorder);
        wait("it goes on", || async { recorder.count_of(&self.author) > held }).await;
        self.tally.goes_on += 1;
        self.tally.goes_on_max = self.tally.goes_on_max.max(self.started.elapsed());
    }

    /// Compares what the stopped node left on disk with everything that anybody ever had of it.
    async fn look(&mut self, moment: &str) {
        let held = self.stored();
        for (at, id) in &self.held {
            assert_eq!(held.get(at), Some(id), "STORE-2: {moment}: {at:?} is not what it was after the kill before");
        }
        let mut sent = 0;
        for ((author, log, seq), ids) in self.recorder.seen() {
            if author != self.author {
                continue;
            }
            sent += 1;
            assert_eq!(
                ids.len(),
                1,
                "NODE-1: {moment}: two operations were sent for log {log} position {seq}: {ids:?}"
            );
            let id = held.get(&(log, seq));
            assert_eq!(id, ids.first(), "STORE-1: {moment}: log {log} position {seq} was sent and is not in the store");
        }
        for &other in &NODES[1..] {
            let len = self.bench.len_of(other, &self.author).await;
            assert!(len <= held.len() as u64, "STORE-1: {moment}: node {other} holds {len}, its author {}", held.len());
        }
        self.tally.unsent += held.len().saturating_sub(sent);
        self.held = held;
    }

    /// The own operations in the store, by log and position. A copy is opened, so that the node itself repairs its store.
    fn stored(&self) -> BTreeMap<(u8, u64), String> {
        let home = &self.bench.members[0].home;
        let (copy, registry) = (self.bench.dir.path().join("copy"), self.bench.registry());
        if copy.exists() {
            std::fs::remove_dir_all(&copy).unwrap();
        }
        copy_files(&home.join("data"), &copy);
        let store = RedbStore::open(&copy).unwrap();
        let mut held = BTreeMap::new();
        for (log, len) in store.logs().unwrap() {
            if log.author.to_string() == self.author {
                let ops = store.range(log, 0, len, usize::MAX).unwrap();
                assert_eq!(ops.len() as u64, len, "STORE-1: a row of {log} rotted");
                let ops = ops.iter().map(|bytes| Op::decode(bytes, registry.network_id()).unwrap());
                held.extend(ops.zip(0..).map(|(op, at)| ((log.index, at), checked(&op, log, at))));
            }
        }
        held
    }

    /// Ends the load: all are equal, each store verifies from its bytes up, and the sidecar says what the store holds.
    async fn finish(mut self) {
        self.goes_on().await;
        self.recorder.end_flood();
        self.bench.set_venues(false);
        tokio::time::sleep(Duration::from_secs(5)).await; // quotes age out; what follows waits for a condition
        self.bench.wait_equal(&NODES).await;
        let anomalies = self.bench.get(1, "/v1/anomalies").await.unwrap();
        assert_eq!(anomalies["anomalies"].as_array().map(Vec::len), Some(0), "{anomalies}");
        let mut verified = Vec::new();
        for (m, node) in std::iter::once(&mut self.node).chain(&mut self.others).enumerate() {
            node.signal(Signal::TERM);
            assert!(node.ended().await.success(), "{}", node.said());
            verified.push(audited(&self.bench.members[m].home.join("config.toml")));
        }
        assert!(verified.iter().all(|&count| count == verified[0]), "{verified:?} operations in the nodes' stores");
        let before = self.recorder.count_of(&self.author);
        self.look("in the end").await;
        assert_eq!(self.held.len(), before, "everything durable was sent in the end");
        let sidecar = Sidecar::load(&self.bench.members[0].home.join("oracle-key.json")).unwrap().unwrap();
        assert_eq!(sidecar.next.iter().sum::<u64>(), before as u64, "STORE-1: the sidecar says what the store holds");
        println!("{}", self.tally);
        println!(
            "{before} own operations sent, none lost, none twice; {} operations verified in each store",
            verified[0]
        );
    }
}

/// The id of a stored operation, which stands where it says.
fn checked(op: &Op, log: LogKey, at: u64) -> String {
    assert_eq!((op.header().log, op.header().seq), (log, at), "an operation stands at another one's position");
    op.id().to_string()
}

/// Audits a stopped node's store, which must be without findings; how many operations it verified.
fn audited(config: &PathBuf) -> u64 {
    let report = done(oracle_node().args(["audit", "--verify-attestations", "--json", "--config"]).arg(config));
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{report}");
    report["verified"].as_u64().unwrap()
}
