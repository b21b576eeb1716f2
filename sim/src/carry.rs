//! What nodes do to one another: connections, frames on links, and the actors that stand between an engine and its peers.

use std::sync::Arc;

use concurrence_engine::Input;
use concurrence_protocol::{self as protocol, Ban, MessageId};

use crate::{
    Role, World,
    actors::{self, NOBODY, Scene},
    node::SimNode,
    world::{Happening, number},
};

/// Longest time until two nodes that may talk are connected, in milliseconds.
const DIAL_MS_MAX: u64 = 500;

impl World {
    /// Closes what may not be connected and dials what may.
    pub(crate) fn reconnect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let both_run = self.nodes[a].engine.is_some() && self.nodes[b].engine.is_some();
                let wanted = both_run && self.links.may_connect(a, b, self.now_ms);
                match (wanted, self.links.is_up(a, b)) {
                    (true, false) => {
                        let at_ms = self.now_ms + self.dice.between(10, DIAL_MS_MAX);
                        self.schedule(at_ms, Happening::Connect(a, b));
                    }
                    (false, true) => {
                        self.links.disconnect(a, b);
                        for (node, peer) in [(a, b), (b, a)] {
                            self.watch.disconnected(node, peer);
                            self.drive(node, Input::Net(protocol::Input::Disconnected(number(peer))));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let both_run = self.nodes[a].is_running() && self.nodes[b].is_running();
        if !both_run || !self.links.may_connect(a, b, self.now_ms) || self.links.is_up(a, b) {
            return;
        }
        self.links.connect(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            let is_member = self.nodes[peer].role.is_member() || matches!(self.nodes[peer].role, Role::TwinOf(_));
            let author = is_member.then(|| self.author(peer));
            self.drive(node, Input::Net(protocol::Input::Connected { peer: number(peer), author }));
        }
    }

    /// A node wants nothing to do with a peer for a time. NET-2: no honest one with another, whatever their links and disks did.
    pub(crate) fn ban(&mut self, node: usize, peer: usize, ban: Ban) {
        if self.nodes[node].is_honest() && self.nodes[peer].is_honest() {
            self.watch.broken("NET-2", format!("honest node {node} banned honest {peer} for {:?}", ban.fault));
        }
        if self.nodes[node].is_honest() {
            self.evidence.fault("ban");
        }
        let until_ms = self.now_ms + ban.for_ms;
        self.links.ban(node, peer, until_ms);
        self.schedule(until_ms, Happening::Reconnect);
        self.reconnect();
    }

    pub(crate) fn broadcast(&mut self, node: usize, bytes: &[u8]) {
        self.witness_own(node, bytes);
        // A second story grows even if nobody is connected.
        self.acting(node, |actor, scene| actor.outbound(scene, NOBODY, bytes));
        for peer in (0..self.nodes.len()).filter(|&peer| peer != node) {
            self.send(node, peer, bytes, true);
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, bytes: &[u8], is_broadcast: bool) {
        if to >= self.nodes.len() || !self.links.is_up(from, to) {
            return;
        }
        match self.acting(from, |actor, scene| actor.outbound(scene, to, bytes)) {
            Some(instead) => instead.iter().for_each(|bytes| self.carry(from, to, bytes, is_broadcast)),
            None => self.carry(from, to, bytes, is_broadcast),
        }
    }

    /// Puts a frame on a link.
    fn carry(&mut self, from: usize, to: usize, bytes: &[u8], is_broadcast: bool) {
        if to >= self.nodes.len() || !self.links.is_up(from, to) {
            return;
        }
        let (is_honest, is_between) =
            (self.nodes[from].is_honest(), self.nodes[from].is_honest() && self.nodes[to].is_honest());
        self.evidence.sent_frame(from, bytes, is_between);
        if is_honest {
            self.watch_answer(from, to, bytes);
        }
        let (connection, arrivals) = self.links.send(from, to, self.now_ms, bytes.len());
        let bytes: Arc<[u8]> = bytes.into();
        for at_ms in arrivals.into_iter().flatten() {
            let bytes = Arc::clone(&bytes);
            self.schedule(at_ms, Happening::Deliver { from, to, connection, is_broadcast, bytes });
        }
    }

    pub(crate) fn deliver(&mut self, from: usize, to: usize, is_broadcast: bool, bytes: &[u8]) {
        let bytes = match self.acting(to, |actor, scene| actor.inbound(scene, from, bytes)) {
            Some(heard) => heard,
            None => Some(bytes.to_vec()),
        };
        let Some(bytes) = bytes else { return };
        if !self.watch.is_off && self.nodes[to].is_honest() && self.nodes[to].listens_to(self.now_ms, number(from)) {
            self.evidence.heard_frame(&bytes, self.registry.network_id());
            self.watch.heard(to, from, &bytes);
        }
        let peer = number(from);
        let input = if is_broadcast {
            let id = MessageId(*blake3::hash(&bytes).as_bytes());
            protocol::Input::Broadcast { peer, id, bytes }
        } else {
            protocol::Input::Frame { peer, bytes }
        };
        self.drive(to, Input::Net(input));
    }

    /// Lets a node's actor do something, if it has one and runs.
    fn acting<T>(&mut self, node: usize, act: impl FnOnce(&mut dyn actors::Actor, &mut Scene<'_>) -> T) -> Option<T> {
        let mut actor = self.nodes[node].actor.take()?;
        let peers: Vec<_> = (0..self.nodes.len()).filter(|&n| n != node && self.links.is_up(node, n)).collect();
        let SimNode { keys, engine, .. } = &self.nodes[node];
        let acted = engine.as_ref().map(|engine| {
            let mut scene = Scene {
                keys,
                registry: &self.registry,
                now: self.nodes[node].now(self.now_ms),
                peers: &peers,
                victims: &self.victims[node],
                fellows: &self.fellows[node],
                history: engine.replica().history(),
                dice: &mut self.dice,
            };
            act(actor.as_mut(), &mut scene)
        });
        self.nodes[node].actor = Some(actor);
        acted
    }

    /// An actor says something of its own.
    pub(crate) fn act(&mut self, node: usize) {
        self.schedule(self.now_ms + actors::TICK_MS, Happening::Act(node));
        if self.actors_rest {
            return;
        }
        let frames = self.acting(node, |actor, scene| actor.tick(scene)).unwrap_or_default();
        frames.iter().for_each(|(to, bytes)| self.carry(node, *to, bytes, false));
    }
}
