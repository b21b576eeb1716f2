//! A peer that was let in as an observer and misuses it, over the real transport.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use concurrence_crdt::{Digest, Frontier, Time};
use concurrence_net::{Broadcast, Limits, Net, NetConfig, NetEvent, PeerAddr, PeerId, identity::Keypair};
use concurrence_oracle::Registry;
use concurrence_protocol::{FRAME_LEN_MAX, Frame, Hello, PROTOCOL_VERSION};
use tokio::{sync::mpsc, time::timeout};

/// What it does once it is greeted.
#[derive(Clone, Copy, Debug)]
pub enum Misuse {
    /// Frames that are none.
    Garbage,
    /// Operations that everyone has, again and again.
    StaleOps,
    /// Questions without waiting for the answers.
    Pulls,
}

/// Longest time until it must have been thrown out.
const BOUND: Duration = Duration::from_secs(20);

/// Connects to a node, says hello, does its worst until it is thrown out. Returns how many frames it sent.
pub async fn misuse(key: Keypair, registry: &Registry, target: PeerAddr, misuse: Misuse) -> u64 {
    let peer = target.peer;
    let (net, mut events) = Net::start(NetConfig {
        keypair: key,
        network: registry.network_id().to_string(),
        listen: Vec::new(),
        dial: vec![target],
        admitted: BTreeSet::from([peer]),
        guests: BTreeSet::new(),
        broadcast: Broadcast::Gossipsub,
        limits: Limits { max_frame_bytes: FRAME_LEN_MAX, ..Limits::default() },
    })
    .await
    .unwrap();
    timeout(BOUND, connected(&mut events)).await.expect("the intruder is let in");
    let wall = Time::from_ms(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap());
    let hello = Hello {
        version: PROTOCOL_VERSION,
        network: registry.network_id(),
        registry: registry.digest(),
        now: wall,
        digest: Digest::from_bytes([0; 32]),
        ops: 0,
    };
    let pull = Frame::Pull { now: wall, credit: u32::MAX, frontier: Frontier::default() };
    net.send(peer, Frame::Hello(hello).encode().into()).unwrap();
    net.send(peer, pull.encode().into()).unwrap();
    let ops = timeout(BOUND, answer(&mut events)).await.expect("the intruder gets its answer");
    let worst: Bytes = match misuse {
        Misuse::Garbage => Bytes::from_static(&[99; 100]),
        Misuse::StaleOps => Frame::Op(Arc::clone(&ops[0])).encode().into(),
        Misuse::Pulls => pull.encode().into(),
    };
    let sent = timeout(BOUND, flood(&net, &mut events, peer, &worst)).await;
    let sent = sent.unwrap_or_else(|_| panic!("{misuse:?}: not thrown out within {BOUND:?}"));
    net.shutdown().await;
    sent
}

async fn connected(events: &mut mpsc::Receiver<NetEvent>) {
    while !matches!(events.recv().await.expect("the transport runs"), NetEvent::Connected(_)) {}
}

/// The operations of the first answer.
async fn answer(events: &mut mpsc::Receiver<NetEvent>) -> Vec<Arc<[u8]>> {
    loop {
        if let NetEvent::Frame { frame, .. } = events.recv().await.expect("the transport runs")
            && let Ok(Frame::Delta(delta)) = Frame::decode(&frame)
            && !delta.ops.is_empty()
        {
            return delta.ops;
        }
    }
}

/// Sends a frame as fast as the transport takes it, until the session ends.
async fn flood(net: &Net, events: &mut mpsc::Receiver<NetEvent>, peer: PeerId, frame: &Bytes) -> u64 {
    let mut sent = 0;
    loop {
        while net.send(peer, frame.clone()).is_ok() {
            sent += 1;
        }
        if let Ok(Some(NetEvent::Disconnected(_))) = timeout(Duration::from_millis(5), events.recv()).await {
            return sent;
        }
    }
}
