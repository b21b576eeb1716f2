//! Real transports of a whole network on loopback: when operations are where, what is sent, and what it costs.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use concurrence_crdt::{Digest, LogKey};
use concurrence_net::{Broadcast, Counters, Limits, Net, NetConfig, NetEvent, PeerAddr, PeerId, parse_listen};
use concurrence_protocol::{Config, FRAME_LEN_MAX};
use libp2p::identity::Keypair;
use tokio::sync::mpsc;

use super::{
    AIM_MS, Effort, Grown, carried, name,
    node::{Admitted, Course, Node, OP_LEN},
    percentile,
};
use crate::{
    cpu::{cpu_time, spent},
    material::{Cast, NETWORK},
    report::Row,
};

/// How often peers are told a digest, in milliseconds: the node's default.
const SYNC_INTERVAL_MS: u64 = 500;

/// Within this all nodes must be connected, and later every operation be everywhere: seconds, or far less.
const BOUND: Duration = Duration::from_secs(60);

/// What a network did while it was watched.
pub(super) struct Measured {
    nodes: usize,
    broadcast: Broadcast,
    writing: Costs,
    idle: Costs,
    /// Operations written, and for each the milliseconds until the last node held it, ascending.
    all_ms: Vec<f64>,
    /// For each operation and each other node the milliseconds until that node held it, ascending.
    each_ms: Vec<f64>,
    /// Processor time of one signature check.
    check: Duration,
}

/// What was used meanwhile, by all nodes together.
struct Costs {
    time: Duration,
    cpu: Duration,
    messages: u64,
    /// Frames and messages that a full queue or an ended connection swallowed; sync repairs.
    lost: u64,
    packets: u64,
    bytes: u64,
}

/// Starts a network, watches it once without and once with operations, and ends it.
pub(super) fn measure(nodes: usize, broadcast: Broadcast, effort: Effort) -> Result<Measured, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let check = signature_check();
    runtime.block_on(async {
        let (dir, cast) = (tempfile::tempdir()?, Cast::of(nodes));
        let nets = nets(nodes, broadcast).await?;
        let course = Arc::new(Course::default());
        let handles: Vec<_> = nets.iter().map(|(net, _)| net.clone()).collect();
        let ids: Vec<_> = handles.iter().map(Net::local_peer).collect();
        let authors: BTreeMap<_, _> = ids.iter().copied().zip(cast.authors()).collect();
        let (mut tasks, begin) = (Vec::new(), Instant::now());
        for (at, (net, key)) in nets.into_iter().zip(cast.keys()).enumerate() {
            let config = Config {
                network: NETWORK,
                registry: Digest::from_bytes([0xce; 32]),
                members: cast.membership(),
                own: cast.authors().nth(at),
                sync_interval_ms: SYNC_INTERVAL_MS,
                fresh_listen_ms: 0,
            };
            // Nodes write in turn, as ticks that began at any time do.
            let due = begin + effort.interval * u32::try_from(at)? / u32::try_from(nodes)?;
            let home = dir.path().join(at.to_string());
            let node = Node::new(net, config, key, authors.clone(), &home, (due, effort.interval))?;
            // A thread of its own for each, as in `crates/node`: it waits for the disk.
            let (course, runtime) = (Arc::clone(&course), tokio::runtime::Handle::current());
            tasks.push(tokio::task::spawn_blocking(move || runtime.block_on(node.run(course))));
        }
        let others = u64::try_from(nodes - 1)?;
        until(|| handles.iter().all(|net| net.counters().sessions >= others), "all are connected").await?;
        tokio::time::sleep(effort.settle).await;
        let (writing_time, idle_time) = effort.window;
        let idle = watch(&handles, idle_time).await?;
        course.set_writing(true);
        let writing = watch(&handles, writing_time).await?;
        course.set_writing(false);
        until(|| course.is_everywhere(others + 1), "every operation is everywhere").await?;
        course.end();
        let mut admitted = Vec::new();
        for task in tasks {
            admitted.push(task.await??);
        }
        let (all_ms, each_ms) = delays(&admitted, nodes);
        Ok(Measured { nodes, broadcast, writing, idle, all_ms, each_ms, check })
    })
}

/// Transports that listen on loopback, admit one another, and dial all before them: one connection a pair.
async fn nets(nodes: usize, broadcast: Broadcast) -> Result<Vec<(Net, mpsc::Receiver<NetEvent>)>, Box<dyn Error>> {
    let keys: Vec<_> = (0..nodes).map(|_| Keypair::generate_ed25519()).collect();
    let admitted: BTreeSet<PeerId> = keys.iter().map(|key| key.public().to_peer_id()).collect();
    let mut nets: Vec<(Net, mpsc::Receiver<NetEvent>)> = Vec::new();
    for keypair in keys {
        let started = Net::start(NetConfig {
            keypair,
            network: NETWORK.to_string(),
            listen: parse_listen(&format!("{}:0", Ipv4Addr::LOCALHOST))?,
            dial: Vec::new(),
            admitted: admitted.clone(),
            guests: BTreeSet::new(),
            broadcast,
            limits: Limits { max_frame_bytes: FRAME_LEN_MAX, ..Limits::default() },
        })
        .await?;
        for (earlier, _) in &nets {
            let tcp = earlier.listen_addrs().into_iter().find(|addr| addr.to_string().contains("/tcp/"));
            let addr = tcp.ok_or("a transport does not listen on TCP")?;
            started.0.add_dial(PeerAddr { peer: earlier.local_peer(), addr });
        }
        nets.push(started);
    }
    Ok(nets)
}

async fn until(mut is_so: impl FnMut() -> bool, what: &str) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > BOUND {
            return Err(format!("not within {BOUND:?}: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Lets time pass and reads all counters before and after.
async fn watch(nets: &[Net], time: Duration) -> Result<Costs, Box<dyn Error>> {
    let messages = |counters: &Counters| counters.frames_in + counters.gossip_in;
    let lost = |counters: &Counters| counters.frames_lost + counters.gossip_dropped + counters.busy;
    let read = || -> std::io::Result<_> {
        let counters: Vec<_> = nets.iter().map(Net::counters).collect();
        let counted: (u64, u64) = (counters.iter().map(messages).sum(), counters.iter().map(lost).sum());
        Ok((Instant::now(), cpu_time(), counted, carried()?))
    };
    let before = read()?;
    tokio::time::sleep(time).await;
    let after = read()?;
    Ok(Costs {
        time: after.0 - before.0,
        cpu: after.1 - before.1,
        messages: after.2.0 - before.2.0,
        lost: after.2.1 - before.2.1,
        bytes: after.3.0 - before.3.0,
        packets: after.3.1 - before.3.1,
    })
}

/// From an author's own admission, when the operation is durable, to that of the others: the last, and each.
fn delays(admitted: &[Vec<Admitted>], nodes: usize) -> (Vec<f64>, Vec<f64>) {
    let mut times: BTreeMap<(LogKey, u64), Vec<Instant>> = BTreeMap::new();
    for op in admitted.iter().flatten() {
        times.entry((op.log, op.seq)).or_default().push(op.at);
    }
    let (mut all_ms, mut each_ms) = (Vec::new(), Vec::new());
    for ((log, seq), mut at) in times {
        at.sort_unstable();
        assert_eq!(at.len(), nodes, "{log} {seq} is not everywhere");
        // Nobody holds it before its author does.
        each_ms.extend(at[1..].iter().map(|later| (*later - at[0]).as_secs_f64() * 1e3));
        all_ms.push((at[nodes - 1] - at[0]).as_secs_f64() * 1e3);
    }
    all_ms.sort_by(f64::total_cmp);
    each_ms.sort_by(f64::total_cmp);
    (all_ms, each_ms)
}

/// Processor time of one Ed25519 check: what a node cannot do without for an operation.
fn signature_check() -> Duration {
    let mut writer = Cast::of(1).writers().remove(0);
    let ops: Vec<_> = (0..256).map(|_| writer.plain()).collect();
    let (good, time) = spent(|| ops.into_iter().filter_map(|op| op.verify().ok()).count());
    assert_eq!(good, 256);
    time / 256
}

impl Measured {
    /// The rows of the table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let (nodes, how, ops) = (self.nodes, name(self.broadcast), self.all_ms.len() as f64);
        let (p50, p99) = (percentile(&self.all_ms, 50), percentile(&self.all_ms, 99));
        let idle_cpu = self.idle.cpu.as_secs_f64() / self.idle.time.as_secs_f64() * self.writing.time.as_secs_f64();
        let cpu = (self.writing.cpu.as_secs_f64() - idle_cpu) / (ops * nodes as f64);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let each = format!(
            "{ops} operations of {OP_LEN} bytes, {} frames lost; at any one other node: p50 {:.2} ms, p99 {:.2} ms; worst at the \
             last node {:.2} ms; all nodes together need {:.1} ms of this machine's {cores} cores for one",
            self.writing.lost,
            percentile(&self.each_ms, 50),
            percentile(&self.each_ms, 99),
            self.all_ms[self.all_ms.len() - 1],
            cpu * nodes as f64 * 1e3,
        );
        let copies = ops * (nodes - 1) as f64;
        let wire = self.writing.bytes as f64 / (copies * OP_LEN as f64);
        let at_rest = self.idle.bytes as f64 / self.idle.time.as_secs_f64() * self.writing.time.as_secs_f64();
        let added = (self.writing.bytes as f64 - at_rest) / (copies * OP_LEN as f64);
        vec![
            Row::plain(format!("append to all of {nodes} nodes, loopback, {how}, p50"), p50, "ms").beside(0.0),
            Row::plain(format!("append to all of {nodes} nodes, loopback, {how}, p99"), p99, "ms")
                .beside(0.0)
                .aiming_at_most(AIM_MS)
                .noting(each),
            Row::plain(format!("bytes on the wire by bytes of operations, {nodes} nodes, {how}"), wire, "x")
                .beside(1.0)
                .noting(format!("{added:.2} x without what flows while nobody writes")),
            Row::plain(format!("processor time an operation and node, {nodes} nodes, {how}"), cpu * 1e6, "us")
                .beside(self.check.as_secs_f64() * 1e6)
                .noting("beside one signature check; transport, replica and store, without what is used while nobody writes"),
        ]
    }

    /// A point of the growth.
    pub(super) fn grown(&self) -> Grown {
        let nodes = self.nodes as f64;
        let a_node = |costs: &Costs, amount: f64| amount / costs.time.as_secs_f64() / nodes;
        let ops = self.all_ms.len() as f64 / self.writing.time.as_secs_f64();
        Grown {
            nodes: self.nodes,
            broadcast: name(self.broadcast),
            ops,
            messages: a_node(&self.writing, self.writing.messages as f64),
            lost: self.writing.lost,
            packets: a_node(&self.writing, self.writing.packets as f64),
            bytes: a_node(&self.writing, self.writing.bytes as f64),
            bytes_least: ops * OP_LEN as f64 * (nodes - 1.0) / nodes,
            cpu_ms: a_node(&self.writing, self.writing.cpu.as_secs_f64() * 1e3),
            idle_cpu_ms: a_node(&self.idle, self.idle.cpu.as_secs_f64() * 1e3),
            all_ms: (percentile(&self.all_ms, 50), percentile(&self.all_ms, 99)),
        }
    }
}
