//! Where everything meets: opens the store, checks the own log, starts network, sources and API, and ends them again.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use concurrence_api::{self as dto, ApiConfig, ApiServer, Snapshot};
use concurrence_crdt::{LogKey, Op, VerifiedOp};
use concurrence_engine::{Engine, EngineConfig, FRESH_LISTEN_MS, META_WATERMARK};
use concurrence_net::{Broadcast, Limits, Multiaddr, Net, NetConfig, PeerAddr, PeerId};
use concurrence_oracle::{Registry, Slot};
use concurrence_protocol::{FRAME_LEN_MAX, OwnStart, decode_proof};
use concurrence_sources::{Budget, Source, SourceConfig, Venue};
use concurrence_store::{KeyLock, OwnLog, READ_AT_ONCE, RedbStore, Sidecar, Store, own_lens, start_state};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::{info, warn};

use crate::{
    Keys, RegistryFile, Resolved, chain_watch,
    config::{BroadcastSection, ExchangeSource},
    driver::{Clock, Command, Driver, Ended, wall_ms},
    past::Archive,
    peers::Peers,
    reload::{self, Reload},
    snapshot::Scribe,
    transport::Transport,
    watch::Watch,
};

/// A running node.
pub struct Node {
    commands: mpsc::Sender<Command>,
    driver: JoinHandle<Ended>,
    tasks: Vec<JoinHandle<()>>,
    /// One an exchange.
    watches: JoinSet<()>,
    config: Resolved,
    /// Spreads attempts at venues.
    spread: u64,
    /// It ended by a halt: what it has to say about it must still leave.
    halted: bool,
    net: Net,
    api: ApiServer,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    _key_lock: KeyLock,
}

/// What a configuration file does not say.
pub struct Options {
    /// Append although the own log may be longer elsewhere: the operator vouches that no other process uses the key.
    pub override_recovery: bool,
    /// How long a never-used key listens before its first append, in milliseconds.
    pub fresh_listen_ms: u64,
    /// Milliseconds added to the wall clock, to try out what a wrong clock does.
    pub clock_offset_ms: i64,
    /// Puts an actor between node and network; [`std::convert::identity`]-like in production.
    pub transport: Box<dyn FnOnce(Net) -> Box<dyn Transport> + Send>,
}

/// Why a running node ended.
#[derive(Debug)]
pub enum Exit {
    /// It was asked to.
    Shutdown,
    /// Another process uses its key, or its log is forked.
    Halt(concurrence_engine::Halt),
    /// Store or sidecar failed.
    Disk(String),
}

/// Commands waiting for the loop: a burst beyond this waits in the transport. Each may be a frame of 1 MiB.
const COMMANDS_MAX: usize = 64;

/// How long frames queued at a halt may take to leave: the proof that the own log is forked must reach the others.
const HALT_FLUSH: Duration = Duration::from_millis(1_500);

impl Default for Options {
    fn default() -> Self {
        Self {
            override_recovery: false,
            fresh_listen_ms: FRESH_LISTEN_MS,
            clock_offset_ms: 0,
            transport: Box::new(|net| Box::new(net)),
        }
    }
}

impl Node {
    /// Starts a node. Everything that can be wrong on this machine (key, registry, store, ports) is found here.
    pub async fn start(config: Resolved, options: Options) -> anyhow::Result<Self> {
        // Two TLS providers are compiled in through dependencies; rustls wants one named. A second call changes nothing.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let passphrase = config.key_passphrase.as_ref().map(crate::config::Secret::expose);
        let keys = Arc::new(Keys::load(&config.key_file, passphrase)?);
        let key_lock = KeyLock::acquire(&config.key_file)?;
        let registry = RegistryFile::load(&config.registry)?.registry(&config.registry)?;
        let store = RedbStore::open(&config.data_dir)?;
        let clock = Clock::new(options.clock_offset_ms);

        let (start, sidecar) = own_log(&keys, &config, &store, options.override_recovery)?;
        let mut scribe = scribe(&config, &keys, &registry);
        let engine = engine(&config, &keys, &registry, &store, (start, options.fresh_listen_ms), clock, &mut scribe)?;
        let peers = Peers::new(&registry, &config.observers, keys.peer_id());

        let (net, mut net_events) = Net::start(net_config(&config, &keys, &registry, &peers)).await?;
        let spread = spread(&keys);
        let watching = Watch::all(&config.exchanges, spread)?;
        scribe.sources = watching.iter().map(Watch::seen).collect();

        let (snapshot_tx, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (commands, command_rx) = mpsc::channel(COMMANDS_MAX);
        let api = ApiServer::start(ApiConfig {
            listen: config.api_addr,
            metrics_listen: Some(config.metrics_addr),
            snapshot: snapshots.clone(),
            clock: wall_ms,
            past: Some(Arc::new(Archive::new(commands.clone(), registry, &config))),
        })?;

        let driver = Driver {
            engine,
            store: Box::new(store),
            sidecar,
            key_file: config.key_file.clone(),
            own: keys.author_key(),
            keys,
            transport: (options.transport)(net.clone()),
            peers,
            scribe,
            snapshots: snapshot_tx,
            clock,
        };
        // A thread of its own: it waits for the disk, and no socket may wait with it.
        let runtime = tokio::runtime::Handle::current();
        let driver = tokio::task::spawn_blocking(move || runtime.block_on(driver.run(command_rx)));
        let to_driver = commands.clone();
        let tasks = vec![tokio::spawn(async move {
            while let Some(event) = net_events.recv().await {
                if to_driver.send(Command::Net(event)).await.is_err() {
                    break;
                }
            }
        })];
        let mut watches: JoinSet<()> = watching.into_iter().map(|watch| watch.run(commands.clone())).collect();
        watch_chains(&config, &mut watches, &commands)?;
        Ok(Self {
            commands,
            driver,
            tasks,
            watches,
            config,
            spread,
            halted: false,
            net,
            api,
            snapshots,
            _key_lock: key_lock,
        })
    }

    /// The newest snapshot, and word of newer ones.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Where the API and the page are served.
    pub fn api_addr(&self) -> SocketAddr {
        self.api.api_addr()
    }

    /// Where peers are listened for.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.net.listen_addrs()
    }

    /// Adds an address to dial, for networks whose ports are known only once they are bound.
    pub fn add_dial(&self, addr: PeerAddr) {
        self.net.add_dial(addr);
    }

    /// Admits these peers and no others: connections of everyone else are closed and refused.
    pub async fn set_admitted(&self, peers: BTreeSet<PeerId>) {
        // A node that has ended admits nobody anyway.
        self.commands.send(Command::SetAdmitted(peers)).await.ok();
    }

    /// Takes another configuration without a stop: exchanges, legs, weights, and when to publish. Everything else must be as it was. It is
    /// checked whole before anything changes; gives what changed, in words.
    pub async fn reload(&mut self, config: Resolved) -> anyhow::Result<Vec<String>> {
        reload::check(&self.config, &config)?;
        let watching = Watch::all(&config.exchanges, self.spread)?;
        let reload = Reload::new(&config, watching.iter().map(Watch::seen).collect());
        // The old ones end first, and the loop takes commands in order: no price of theirs meets the new legs.
        self.watches.abort_all();
        while self.watches.join_next().await.is_some() {}
        self.commands.send(Command::Reload(Box::new(reload))).await.context("the node has ended")?;
        for watch in watching {
            self.watches.spawn(watch.run(self.commands.clone()));
        }
        watch_chains(&config, &mut self.watches, &self.commands)?;
        let changes = reload::changes(&self.config, &config);
        self.config = config;
        Ok(changes)
    }

    /// Waits until the node ends by itself.
    pub async fn ended(&mut self) -> Exit {
        let exit = match (&mut self.driver).await {
            Ok(Ended::Shutdown) => Exit::Shutdown,
            Ok(Ended::Halt(halt)) => Exit::Halt(halt),
            Ok(Ended::Store(detail)) => Exit::Disk(detail),
            Err(panic) => Exit::Disk(panic.to_string()),
        };
        self.halted = matches!(exit, Exit::Halt(_));
        exit
    }

    /// Stops: no new input, everything written, sockets closed. Well under two seconds.
    pub async fn shutdown(mut self) {
        let (done, written) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() {
            written.await.ok();
        }
        if self.halted {
            tokio::time::sleep(HALT_FLUSH).await;
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.watches.abort_all();
        tokio::join!(self.net.shutdown(), self.api.shutdown());
        info!("stopped");
    }
}

/// What disk says of the own log, and the sidecar to go on with.
fn own_log(
    keys: &Keys,
    config: &Resolved,
    store: &RedbStore,
    override_recovery: bool,
) -> anyhow::Result<(OwnStart, Sidecar)> {
    let own = keys.author_key();
    let lens = own_lens(store, own)?;
    let sidecar = Sidecar::load(&config.key_file)?;
    let start = match start_state(sidecar.as_ref(), own, store.id(), lens) {
        OwnLog::Append => OwnStart::Append,
        OwnLog::Recovering(reason) if override_recovery => {
            warn!(%reason, "recovery overridden by the operator");
            OwnStart::Append
        }
        OwnLog::Fresh if override_recovery => OwnStart::Append,
        OwnLog::Fresh => OwnStart::Fresh,
        OwnLog::Recovering(reason) => {
            warn!(%reason, "recovering the own log: nothing is appended until members of more than two thirds answered");
            OwnStart::Recover
        }
    };
    Ok((start, Sidecar { store: store.id(), author: own, next: lens }))
}

/// The engine with everything that the store holds taken back.
fn engine(
    config: &Resolved,
    keys: &Keys,
    registry: &Registry,
    store: &RedbStore,
    (start, fresh_listen_ms): (OwnStart, u64),
    clock: Clock,
    scribe: &mut Scribe,
) -> anyhow::Result<Engine> {
    let now = clock.now();
    let watermark = store.meta(META_WATERMARK)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let engine_config = EngineConfig {
        registry: registry.clone(),
        own: Some(keys.author_key()),
        feeds: config.feeds.clone(),
        submission: config.submission,
        aggregation: config.aggregation,
        sync_interval_ms: config.sync_interval_ms,
        fresh_listen_ms,
    };
    let mut engine = Engine::new(engine_config, start, Slot::from_number(watermark), now);
    for bytes in store.proofs()? {
        let proof = decode_proof(&bytes, registry.network_id())
            .context("a fork proof in the store does not verify: run audit")?;
        engine.restore_proof(proof, now.wall);
    }
    for fact in store.facts()? {
        engine.restore_fact(&fact, now.wall);
    }
    if engine.replica().history().proof(&keys.author_key()).is_some() {
        bail!("the log of this key ({}) is proven forked; register a new key", keys.author_key());
    }
    for (log, len) in store.logs()? {
        for_each_op(store, log, len, registry, |op| {
            engine.restore(op, now.wall);
            if now.wall.since_ms(op.op().header().declared) <= concurrence_engine::CELLS_KEPT_MS {
                scribe.admitted(op, now.wall, engine.view());
            }
        })?;
    }
    info!(ops = engine.replica().history().ops(), digest = %engine.digest(), "store read");
    Ok(engine)
}

/// Reads a whole log. A row that rotted ends it: what follows is fetched from peers again.
pub(crate) fn for_each_op(
    store: &dyn Store,
    log: LogKey,
    len: u64,
    registry: &Registry,
    mut each: impl FnMut(&VerifiedOp),
) -> anyhow::Result<()> {
    let mut from = 0;
    while from < len {
        let ops = store.range(log, from, len, READ_AT_ONCE)?;
        if ops.is_empty() {
            warn!(%log, from, len, "the rest of a log is unreadable and will be fetched again");
            break;
        }
        for bytes in &ops {
            let op = Op::decode(bytes, registry.network_id()).with_context(|| format!("{log} at {from}: run audit"))?;
            each(&VerifiedOp::from_own_store(op));
            from += 1;
        }
    }
    Ok(())
}

fn scribe(config: &Resolved, keys: &Keys, registry: &Registry) -> Scribe {
    let public = keys.public();
    let node = dto::NodeView {
        id: config.id.clone(),
        author: public.author,
        evm: public.evm,
        peer: public.peer,
        network_id: registry.network_id().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: wall_ms(),
        recovering: false,
        clock_offset_ms: None,
    };
    let mut scribe = Scribe::new(node, reload::source_names(config));
    scribe.unsupported.clone_from(&config.unsupported);
    scribe.sources_min = config.submission.observe.sources_min;
    scribe.expos = config.feeds.iter().map(|plan| (plan.graph.feed(), plan.expo)).collect();
    scribe
}

fn net_config(config: &Resolved, keys: &Keys, registry: &Registry, peers: &Peers) -> NetConfig {
    NetConfig {
        keypair: keys.peer_keypair(),
        network: registry.network_id().to_string(),
        listen: config.listen.clone(),
        dial: config.dial.clone(),
        admitted: peers.ids(),
        guests: peers.guests(),
        broadcast: match config.broadcast {
            BroadcastSection::Gossipsub => Broadcast::Gossipsub,
            BroadcastSection::FullMesh => Broadcast::FullMesh,
        },
        limits: Limits { max_frame_bytes: FRAME_LEN_MAX, ..Limits::default() },
    }
}

/// Reads the sources on chains from now on. Their addresses were checked when the configuration was resolved.
fn watch_chains(config: &Resolved, watches: &mut JoinSet<()>, commands: &mpsc::Sender<Command>) -> anyhow::Result<()> {
    for source in config.chains.iter().filter(|source| !source.reads.is_empty()) {
        let chain = chain_watch::chain(source).with_context(|| format!("source {}", source.name))?;
        watches.spawn(chain_watch::run(source.clone(), chain, commands.clone()));
    }
    Ok(())
}

/// A number that differs between nodes and starts, so that not all of them come back to a venue at once.
fn spread(keys: &Keys) -> u64 {
    let own = keys.author_key().to_string();
    own.bytes().fold(wall_ms(), |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

/// The exchanges, ready to be asked.
pub(crate) fn sources(exchanges: &[ExchangeSource]) -> anyhow::Result<Vec<(ExchangeSource, Arc<Source>)>> {
    let make = |exchange: &ExchangeSource| {
        let source = source(exchange).with_context(|| format!("source {}", exchange.name))?;
        Ok((exchange.clone(), Arc::new(source)))
    };
    exchanges.iter().map(make).collect()
}

/// One exchange, ready to be asked.
pub(crate) fn source(exchange: &ExchangeSource) -> anyhow::Result<Source> {
    let clock: concurrence_sources::Clock = Arc::new(|| concurrence_crdt::Time::from_ms(wall_ms()));
    let venue: Venue = exchange.name.parse().map_err(|_| anyhow::anyhow!("unknown venue {:?}", exchange.name))?;
    let url = exchange.api_url.clone().unwrap_or_else(|| venue.public_url().to_owned());
    let budget = exchange.requests_per_minute.map(|per_minute| Budget { per_minute, burst: per_minute.div_ceil(60) });
    let timeout = Duration::from_millis(exchange.timeout_ms);
    let config = SourceConfig { timeout, budget, ..SourceConfig::new(venue, url) };
    Ok(Source::new(config, clock)?)
}

#[cfg(test)]
mod tests {
    use concurrence_crdt::{AuthorKey, OpId};
    use concurrence_protocol::Write;
    use concurrence_store::{Durability, SimulatedDisk, StoreId};

    use super::*;

    /// NODE-1: with a rotten row in the middle the store still counts the whole log, but the engine takes back what is before the
    /// row. To append there would fork the log.
    #[test]
    fn an_own_log_with_a_rotten_row_is_recovered() {
        let (own, id) = (AuthorKey::from_bytes([7; 32]), StoreId::from_bytes([1; 16]));
        let log = LogKey { author: own, index: 0 };
        let row = |seq: u8| Write::Op {
            log,
            seq: seq.into(),
            id: OpId::from_bytes([seq; 32]),
            bytes: format!("<operation {seq}>").into_bytes().into(),
        };
        let disk = SimulatedDisk::new();
        let mut store = RedbStore::with_backend(disk.clone(), id).unwrap();
        store.commit(&(0..5).map(row).collect::<Vec<_>>(), Durability::Immediate).unwrap();
        assert_eq!(own_lens(&store, own).unwrap(), [5, 0, 0, 0]);
        drop(store);
        disk.tamper(|content| {
            let text = b"<operation 3>";
            let at = content.windows(text.len()).position(|window| window == text).unwrap();
            content[at] ^= 1;
        });
        let store = RedbStore::with_backend(disk, id).unwrap();
        assert_eq!(store.logs().unwrap(), [(log, 5)]);
        let lens = own_lens(&store, own).unwrap();
        assert_eq!(lens, [3, 0, 0, 0]);
        let sidecar = Sidecar { store: id, author: own, next: [5, 0, 0, 0] };
        assert!(matches!(start_state(Some(&sidecar), own, id, lens), OwnLog::Recovering(_)));
    }
}
