//! The seam between the driver and the network.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use concurrence_net::{Busy, MessageId, Net, NetEvent, PeerId, Verdict};

/// What carries frames. In production it is [`Net`]; demonstrations of Byzantine behaviour put an actor in between, so that
/// the node behind it stays the honest one that ships.
pub trait Transport: Send + 'static {
    /// Sends a frame to one peer; it may be lost.
    fn send(&mut self, peer: PeerId, frame: Bytes) -> Result<(), Busy>;
    /// Sends a frame to all peers.
    fn broadcast(&mut self, message: Bytes) -> Result<(), Busy>;
    /// Tells what to do with a broadcast message that arrived.
    fn report(&mut self, id: MessageId, verdict: Verdict);
    /// Admits these peers and no others.
    fn set_admitted(&mut self, peers: BTreeSet<PeerId>);
    /// Keeps a peer disconnected for a time.
    fn ban(&mut self, peer: PeerId, time: Duration);
    /// Looks at what arrives before the node does.
    fn arrived(&mut self, event: NetEvent) -> Option<NetEvent> {
        Some(event)
    }
}

impl Transport for Net {
    fn send(&mut self, peer: PeerId, frame: Bytes) -> Result<(), Busy> {
        Self::send(self, peer, frame)
    }

    fn broadcast(&mut self, message: Bytes) -> Result<(), Busy> {
        Self::broadcast(self, message)
    }

    fn report(&mut self, id: MessageId, verdict: Verdict) {
        Self::report(self, id, verdict);
    }

    fn set_admitted(&mut self, peers: BTreeSet<PeerId>) {
        Self::set_admitted(self, peers);
    }

    fn ban(&mut self, peer: PeerId, time: Duration) {
        Self::ban(self, peer, time);
    }
}
