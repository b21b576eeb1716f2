//! The equivocator's network: between an honest node and real sockets, with the simulator's actor in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use concurrence_node::{
    Transport,
    net::{Busy, MessageId, Net, NetEvent, PeerId, Verdict},
};
use concurrence_sim::Equivocator;

/// Sends one history to some peers and another to the rest.
pub struct TwoFaced {
    net: Net,
    actor: Equivocator,
    victims: BTreeSet<PeerId>,
    connected: BTreeMap<PeerId, ()>,
}

impl TwoFaced {
    /// An equivocating transport; `victims` get the second history.
    pub fn new(net: Net, actor: Equivocator, victims: BTreeSet<PeerId>) -> Self {
        Self { net, actor, victims, connected: BTreeMap::new() }
    }
}

impl Transport for TwoFaced {
    fn send(&mut self, peer: PeerId, frame: Bytes) -> Result<(), Busy> {
        let frame = self.actor.outbound(self.victims.contains(&peer), &frame);
        self.net.send(peer, frame.into())
    }

    /// Each peer gets its own version, directly: gossip would spread one to all.
    fn broadcast(&mut self, message: Bytes) -> Result<(), Busy> {
        let truth = self.actor.outbound(false, &message);
        let lie = self.actor.outbound(true, &message);
        for &peer in self.connected.keys() {
            let frame = if self.victims.contains(&peer) { &lie } else { &truth };
            self.net.send(peer, Bytes::copy_from_slice(frame)).ok(); // a frame to a peer that is gone is lost
        }
        Ok(())
    }

    fn report(&mut self, id: MessageId, verdict: Verdict) {
        self.net.report(id, verdict);
    }

    fn set_admitted(&mut self, peers: BTreeSet<PeerId>) {
        self.net.set_admitted(peers);
    }

    fn ban(&mut self, peer: PeerId, time: Duration) {
        self.net.ban(peer, time);
    }

    /// What would tell the node behind that it is found out is kept from it.
    fn arrived(&mut self, event: NetEvent) -> Option<NetEvent> {
        match event {
            NetEvent::Connected(peer) => {
                self.connected.insert(peer, ());
                Some(event)
            }
            NetEvent::Disconnected(peer) => {
                self.connected.remove(&peer);
                Some(event)
            }
            NetEvent::Frame { peer, frame } => {
                let frame = self.actor.inbound(&frame)?;
                Some(NetEvent::Frame { peer, frame: frame.into() })
            }
            NetEvent::Gossip { peer, id, message } => {
                let message = self.actor.inbound(&message)?;
                Some(NetEvent::Gossip { peer, id, message: message.into() })
            }
            refused @ NetEvent::Refused { .. } => Some(refused),
        }
    }
}
