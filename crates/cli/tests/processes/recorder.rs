//! A recording peer: connects like any follower and keeps every operation that a node sends it. It can write as other members do, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use concurrence_crdt::{NetworkId, Op, Time};
use concurrence_net::{Broadcast, Limits, Net, NetConfig, NetEvent, PeerId, parse_listen, parse_peer};
use concurrence_oracle::Registry;
use concurrence_protocol::{
    Config, FRAME_LEN_MAX, Frame, Input, MessageId, Now, Output, OwnStart, Peer, Replica, StoreRequest, Write,
};
use concurrence_store::{Durability, MemoryStore, Store as _, StoreId, serve_all};
use tokio::sync::mpsc;

use crate::{
    flood::Flood,
    harness::{Bench, Member},
};

/// Operations received, by author and position: all ids ever seen there.
pub type Seen = BTreeMap<(String, u8, u64), BTreeSet<String>>;

/// A follower that writes down what it receives before it is judged.
pub struct Recorder {
    /// Where it can be dialled.
    pub addr: String,
    heard: Arc<Mutex<Heard>>,
    task: tokio::task::JoinHandle<()>,
}

/// What was received.
#[derive(Default)]
struct Heard {
    seen: Seen,
    /// When the newest operation of each author came.
    newest: BTreeMap<String, Instant>,
    is_flooding: bool,
}

/// The one node that is followed, as the replica numbers it.
const NODE: Peer = Peer(0);

impl Recorder {
    /// A new peer key; its id must be among a node's observers before it can connect.
    pub fn key() -> libp2p::identity::Keypair {
        libp2p::identity::Keypair::generate_ed25519()
    }

    /// Connects to one member and follows it; with a flood it sends that member the flood's operations as well.
    pub async fn start(key: libp2p::identity::Keypair, bench: &Bench, member: &Member, flood: Option<Flood>) -> Self {
        let registry = bench.registry();
        let own = key.public().to_peer_id();
        let node: PeerId = member.peer.parse().unwrap();
        let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", member.dialled_port, member.peer);
        let (net, events) = Net::start(NetConfig {
            keypair: key,
            network: registry.network_id().to_string(),
            listen: parse_listen("127.0.0.1:0").unwrap(),
            dial: vec![parse_peer(&addr).unwrap()],
            admitted: BTreeSet::from([node]),
            guests: BTreeSet::new(),
            broadcast: Broadcast::Gossipsub,
            limits: Limits { max_frame_bytes: FRAME_LEN_MAX, ..Limits::default() },
        })
        .await
        .unwrap();
        let listens = net.listen_addrs().into_iter().map(|addr| addr.to_string());
        let addr = listens.into_iter().find(|addr| addr.contains("/tcp/")).unwrap();
        let heard = Arc::new(Mutex::new(Heard { is_flooding: flood.is_some(), ..Heard::default() }));
        let follower = Follower::new(net, node, &registry, Arc::clone(&heard), flood);
        Self { addr: format!("{addr}/p2p/{own}"), heard, task: tokio::spawn(follower.run(events)) }
    }

    /// Everything received so far.
    pub fn seen(&self) -> Seen {
        self.heard.lock().unwrap().seen.clone()
    }

    /// How many operations of an author were received so far.
    pub fn count_of(&self, author: &str) -> usize {
        self.heard.lock().unwrap().seen.keys().filter(|(a, _, _)| a == author).count()
    }

    /// When the newest operation of an author came.
    pub fn newest_of(&self, author: &str) -> Option<Instant> {
        self.heard.lock().unwrap().newest.get(author).copied()
    }

    /// Writes nothing any more.
    pub fn end_flood(&self) {
        self.heard.lock().unwrap().is_flooding = false;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The replica behind a recorder and what it touches.
struct Follower {
    net: Net,
    node: PeerId,
    network: NetworkId,
    replica: Replica,
    store: MemoryStore,
    started: Instant,
    heard: Arc<Mutex<Heard>>,
    flood: Option<Flood>,
}

impl Follower {
    fn new(net: Net, node: PeerId, registry: &Registry, heard: Arc<Mutex<Heard>>, flood: Option<Flood>) -> Self {
        let config = Config {
            network: registry.network_id(),
            registry: registry.digest(),
            members: registry.membership(),
            own: None,
            sync_interval_ms: 200,
            fresh_listen_ms: 0,
        };
        let started = Instant::now();
        let replica = Replica::new(config, OwnStart::Append, Now { mono_ms: 0, wall: wall() });
        let store = MemoryStore::new(StoreId::from_bytes([1; 16]));
        Self { net, node, network: registry.network_id(), replica, store, started, heard, flood }
    }

    async fn run(mut self, mut events: mpsc::Receiver<NetEvent>) {
        loop {
            let pause = self.flood.as_ref().map_or(Duration::from_millis(100), Flood::pause);
            match tokio::time::timeout(pause, events.recv()).await {
                Ok(None) => return,
                Ok(Some(event)) => self.event(event),
                Err(_) => self.drive(Input::Tick),
            }
            if self.heard.lock().unwrap().is_flooding {
                self.write();
            }
        }
    }

    fn event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected(_) => self.drive(Input::Connected { peer: NODE, author: None }),
            NetEvent::Disconnected(_) => self.drive(Input::Disconnected(NODE)),
            NetEvent::Frame { frame, .. } => {
                self.record(&frame);
                self.drive(Input::Frame { peer: NODE, bytes: frame.to_vec() });
            }
            NetEvent::Gossip { id, message, .. } => {
                self.record(&message);
                self.drive(Input::Broadcast { peer: NODE, id: MessageId(id.0), bytes: message.to_vec() });
            }
            NetEvent::Refused { .. } => {}
        }
    }

    fn drive(&mut self, input: Input) {
        let mono_ms = self.started.elapsed().as_millis().try_into().unwrap();
        let now = Now { mono_ms, wall: wall() };
        self.replica.handle(now, input);
        loop {
            let mut requests: Vec<StoreRequest> = Vec::new();
            while let Some(output) = self.replica.poll() {
                match output {
                    Output::Send(_, frame) => self.net.send(self.node, Bytes::from(frame)).unwrap_or(()),
                    Output::Verdict(id, _) => {
                        self.net.report(concurrence_net::MessageId(id.0), concurrence_net::Verdict::Accept);
                    }
                    Output::Store(request) => requests.push(request),
                    _ => {}
                }
            }
            if requests.is_empty() {
                return;
            }
            for reply in serve_all(&mut self.store, requests).unwrap() {
                self.replica.handle(now, Input::Store(reply));
            }
        }
    }

    /// Writes the flood's next operation, if it is time. What does not reach the node at once, it pulls.
    fn write(&mut self) {
        let Some(op) = self.flood.as_mut().and_then(|flood| flood.next(wall())) else { return };
        let header = op.op().header();
        let (log, seq, id, bytes) = (header.log, header.seq, op.op().id(), Arc::clone(op.op().bytes()));
        self.store.commit(&[Write::Op { log, seq, id, bytes: Arc::clone(&bytes) }], Durability::Immediate).unwrap();
        assert!(self.replica.restore(&op), "the flood breaks a rule: {header:?}");
        if self.replica.peers().any(|(_, session)| session.greeted) {
            self.net.send(self.node, Bytes::from(Frame::Op(bytes).encode())).ok();
        }
    }

    /// Writes down every operation in a frame.
    fn record(&self, frame: &[u8]) {
        let ops = match Frame::decode(frame) {
            Ok(Frame::Op(op)) => vec![op],
            Ok(Frame::Delta(delta)) => delta.ops,
            _ => return,
        };
        let mut heard = self.heard.lock().unwrap();
        for op in ops.iter().filter_map(|bytes| Op::decode(bytes, self.network).ok()) {
            let header = op.header();
            let author = header.log.author.to_string();
            let at = (author.clone(), header.log.index, header.seq);
            if heard.seen.entry(at).or_default().insert(op.id().to_string()) {
                heard.newest.insert(author, Instant::now());
            }
        }
    }
}

fn wall() -> Time {
    Time::from_ms(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap())
}
