//! Nodes for the tests: each remembers what it saw, and every wait is for a condition, within a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use concurrence_net::{
    Broadcast, Limits, Net, NetConfig, NetEvent, PeerAddr, PeerId, RefusalReason, Verdict, identity::Keypair,
    parse_listen,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// The network of all nodes but the one that is of another.
pub const NETWORK: &str = "0123456789abcdef0123456789abcdef";

/// One of the four kinds of network every case runs in.
#[derive(Clone, Copy)]
pub struct Kind {
    pub broadcast: Broadcast,
    pub transport: Transport,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Transport {
    Tcp,
    Quic,
}

/// A node and everything it saw so far.
pub struct Node {
    pub net: Net,
    pub peer: PeerId,
    pub events: mpsc::Receiver<NetEvent>,
    pub connected: BTreeSet<PeerId>,
    /// Sessions begun with each peer.
    pub sessions: BTreeMap<PeerId, usize>,
    pub frames: Vec<(PeerId, Bytes)>,
    pub gossip: Vec<Bytes>,
    pub refused: Vec<(Option<PeerId>, RefusalReason)>,
}

/// What a node is started with; the rest follows from the kind.
pub struct Setup {
    pub keypair: Keypair,
    pub network: &'static str,
    pub listen: Option<String>,
    pub limits: Limits,
    pub guests: BTreeSet<PeerId>,
}

impl Default for Setup {
    fn default() -> Self {
        let keypair = Keypair::generate_ed25519();
        Self { keypair, network: NETWORK, listen: None, limits: Limits::default(), guests: BTreeSet::new() }
    }
}

impl Node {
    pub async fn start(kind: Kind, setup: Setup) -> Self {
        let any_port = match kind.transport {
            Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
            Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        let peer = setup.keypair.public().to_peer_id();
        let config = NetConfig {
            keypair: setup.keypair,
            network: setup.network.to_owned(),
            listen: parse_listen(&setup.listen.unwrap_or_else(|| any_port.to_owned())).unwrap(),
            dial: vec![],
            admitted: BTreeSet::new(),
            guests: setup.guests,
            broadcast: kind.broadcast,
            limits: setup.limits,
        };
        let (net, events) = Net::start(config).await.unwrap();
        Self {
            net,
            peer,
            events,
            connected: BTreeSet::new(),
            sessions: BTreeMap::new(),
            frames: vec![],
            gossip: vec![],
            refused: vec![],
        }
    }

    pub fn addr(&self) -> PeerAddr {
        PeerAddr { peer: self.peer, addr: self.net.listen_addrs()[0].clone() }
    }

    pub fn admit<'a>(&self, peers: impl IntoIterator<Item = &'a Node>) {
        self.net.set_admitted(peers.into_iter().map(|node| node.peer).collect());
    }

    /// Takes in what arrived, without waiting.
    pub fn look(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.see(event);
        }
    }

    fn see(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected(peer) => {
                assert!(self.connected.insert(peer), "connected twice");
                *self.sessions.entry(peer).or_default() += 1;
            }
            NetEvent::Disconnected(peer) => assert!(self.connected.remove(&peer), "disconnected, but never connected"),
            NetEvent::Frame { peer, frame } => {
                assert!(self.connected.contains(&peer), "a frame outside a session");
                self.frames.push((peer, frame));
            }
            NetEvent::Gossip { id, message, .. } => {
                self.net.report(id, Verdict::Accept);
                self.gossip.push(message);
            }
            NetEvent::Refused { peer, reason } => self.refused.push((peer, reason)),
        }
    }

    pub fn frames_from(&self, peer: PeerId) -> Vec<Bytes> {
        self.frames.iter().filter(|(from, _)| *from == peer).map(|(_, frame)| frame.clone()).collect()
    }

    pub fn was_refused(&self, peer: PeerId, is: impl Fn(&RefusalReason) -> bool) -> bool {
        self.refused.iter().any(|(from, reason)| *from == Some(peer) && is(reason))
    }
}

/// Waits until `holds` is true of the nodes, and panics with `what` when it takes too long.
pub async fn until(what: &str, nodes: &mut [Node], mut holds: impl FnMut(&[Node]) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        nodes.iter_mut().for_each(Node::look);
        if holds(nodes) {
            return;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        let news = nodes.iter_mut().map(|node| {
            Box::pin(async move {
                if let Some(event) = node.events.recv().await {
                    node.see(event);
                }
            })
        });
        // Counters and refusals of calls are not events: the condition is looked at again after a moment in any case.
        tokio::time::timeout(Duration::from_millis(20), futures::future::select_all(news)).await.ok();
    }
}

/// Nodes that admit and dial one another, all connected.
pub async fn connected(kind: Kind, setups: Vec<Setup>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for setup in setups {
        nodes.push(Node::start(kind, setup).await);
    }
    for node in &nodes {
        node.admit(&nodes);
        nodes.iter().for_each(|other| node.net.add_dial(other.addr()));
    }
    until("everyone is connected with everyone", &mut nodes, all_connected).await;
    nodes
}

pub fn all_connected(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| node.connected.len() == nodes.len() - 1)
}

pub fn some(count: usize) -> Vec<Setup> {
    (0..count).map(|_| Setup::default()).collect()
}

/// A frame of `len` bytes that begins with its number (and so has at least eight).
pub fn numbered(n: usize, len: usize) -> Bytes {
    let mut frame = vec![0xab; len.max(8)];
    frame[..8].copy_from_slice(&(n as u64).to_be_bytes());
    Bytes::from(frame)
}
