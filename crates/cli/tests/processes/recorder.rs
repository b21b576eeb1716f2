//! A recording peer: connects like any follower and keeps every operation that a node sends it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::Bytes;
use concurrence_crdt::{Op, Time};
use concurrence_net::{Broadcast, Limits, Net, NetConfig, NetEvent, PeerId, parse_listen, parse_peer};
use concurrence_node::RegistryFile;
use concurrence_protocol::{
    Config, FRAME_LEN_MAX, Frame, Input, MessageId, Now, Output, OwnStart, Peer, Replica, StoreReply, StoreRequest,
};

use crate::harness::{Bench, Member};

/// Operations received, by author and position: all ids ever seen there.
pub type Seen = BTreeMap<(String, u8, u64), BTreeSet<String>>;

/// A follower that writes down what it receives before it is judged.
pub struct Recorder {
    pub seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Recorder {
    /// A new peer key; its id must be among a node's observers before it can connect.
    pub fn key() -> libp2p::identity::Keypair {
        libp2p::identity::Keypair::generate_ed25519()
    }

    /// Connects to one member and follows it.
    pub async fn start(key: libp2p::identity::Keypair, bench: &Bench, member: &Member) -> Self {
        let path = bench.dir.path().join("registry.toml");
        let registry = RegistryFile::load(&path).unwrap().registry(&path).unwrap();
        let peer: PeerId = member.peer.parse().unwrap();
        let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", member.dialled_port, member.peer);
        let (net, mut events) = Net::start(NetConfig {
            keypair: key,
            network: registry.network_id().to_string(),
            listen: parse_listen("127.0.0.1:0").unwrap(),
            dial: vec![parse_peer(&addr).unwrap()],
            admitted: BTreeSet::from([peer]),
            broadcast: Broadcast::Gossipsub,
            limits: Limits { max_frame_bytes: FRAME_LEN_MAX, ..Limits::default() },
        })
        .await
        .unwrap();
        let seen = Arc::new(Mutex::new(Seen::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let (started, network) = (Instant::now(), registry.network_id());
            let now = || Now {
                mono_ms: started.elapsed().as_millis().try_into().unwrap(),
                wall: Time::from_ms(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()),
            };
            let config = Config {
                network,
                registry: registry.digest(),
                members: registry.membership(),
                own: None,
                sync_interval_ms: 200,
                fresh_listen_ms: 0,
            };
            let mut replica = Replica::new(config, OwnStart::Append, now());
            loop {
                let event = tokio::time::timeout(std::time::Duration::from_millis(100), events.recv()).await;
                let input = match event {
                    Err(_) => Input::Tick,
                    Ok(None) => break,
                    Ok(Some(NetEvent::Connected(_))) => Input::Connected { peer: Peer(0), author: None },
                    Ok(Some(NetEvent::Disconnected(_))) => Input::Disconnected(Peer(0)),
                    Ok(Some(NetEvent::Frame { frame, .. })) => {
                        record(&kept, &frame, network);
                        Input::Frame { peer: Peer(0), bytes: frame.to_vec() }
                    }
                    Ok(Some(NetEvent::Gossip { id, message, .. })) => {
                        record(&kept, &message, network);
                        Input::Broadcast { peer: Peer(0), id: MessageId(id.0), bytes: message.to_vec() }
                    }
                    Ok(Some(NetEvent::Refused { .. })) => continue,
                };
                replica.handle(now(), input);
                while let Some(output) = replica.poll() {
                    match output {
                        Output::Send(_, frame) => drop(net.send(peer, Bytes::from(frame))),
                        Output::Verdict(id, _) => {
                            net.report(concurrence_net::MessageId(id.0), concurrence_net::Verdict::Accept);
                        }
                        Output::Store(StoreRequest::Commit { token, .. }) => {
                            replica.handle(now(), Input::Store(StoreReply::Committed(token)));
                        }
                        Output::Store(StoreRequest::Load { token, .. }) => {
                            replica.handle(now(), Input::Store(StoreReply::Loaded(token, Vec::new())));
                        }
                        _ => {}
                    }
                }
            }
        });
        Self { seen, task }
    }

    /// How many operations of an author were received so far.
    pub fn count_of(&self, author: &str) -> usize {
        self.seen.lock().unwrap().keys().filter(|(a, _, _)| a == author).count()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes down every operation in a frame.
fn record(seen: &Mutex<Seen>, frame: &[u8], network: concurrence_crdt::NetworkId) {
    let ops = match Frame::decode(frame) {
        Ok(Frame::Op(op)) => vec![op],
        Ok(Frame::Delta(delta)) => delta.ops,
        _ => return,
    };
    for op in ops.iter().filter_map(|bytes| Op::decode(bytes, network).ok()) {
        let header = op.header();
        let at = (header.log.author.to_string(), header.log.index, header.seq);
        seen.lock().unwrap().entry(at).or_default().insert(op.id().to_string());
    }
}
