//! Peer ids and the small numbers by which the engine knows peers.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AuthorKey, Time};
use concurrence_net::PeerId;
use concurrence_oracle::Registry;
use concurrence_protocol::Peer;

/// Everyone this node may talk to. Bounded: members and configured observers, plus whoever the transport admitted.
pub(crate) struct Peers {
    numbers: BTreeMap<PeerId, Peer>,
    known: Vec<Known>,
}

/// What the node knows of a peer beside the engine's session.
pub(crate) struct Known {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    pub(crate) author: Option<AuthorKey>,
    pub(crate) is_connected: bool,
    pub(crate) last_seen: Option<Time>,
}

impl Peers {
    /// The members of the newest epoch and the observers, but not this node itself.
    pub(crate) fn new(registry: &Registry, observers: &BTreeSet<PeerId>, own: PeerId) -> Self {
        let mut peers = Self { numbers: BTreeMap::new(), known: Vec::new() };
        let (_, epoch) = registry.newest();
        for member in epoch.members() {
            // The registry file was refused if this were no peer id.
            if let Ok(id) = member.peer.parse::<PeerId>()
                && id != own
            {
                peers.add(id, member.name.clone(), Some(member.author));
            }
        }
        for &id in observers.iter().filter(|&&id| id != own) {
            peers.number(id);
        }
        peers
    }

    /// The number of a peer, given to it now if it has none.
    pub(crate) fn number(&mut self, id: PeerId) -> Peer {
        match self.numbers.get(&id) {
            Some(&number) => number,
            None => self.add(id, String::new(), None),
        }
    }

    /// The number of a peer that has one. Strangers, who can have any number of ids, are given none.
    pub(crate) fn find(&self, id: PeerId) -> Option<Peer> {
        self.numbers.get(&id).copied()
    }

    /// The peer of a number.
    pub(crate) fn known(&self, peer: Peer) -> Option<&Known> {
        self.known.get(peer.0 as usize)
    }

    /// The peer of a number, to note what it did.
    pub(crate) fn known_mut(&mut self, peer: Peer) -> Option<&mut Known> {
        self.known.get_mut(peer.0 as usize)
    }

    /// All peers with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Peer, &Known)> {
        (0..).map(Peer).zip(&self.known)
    }

    /// Ids of all: whom the transport admits.
    pub(crate) fn ids(&self) -> BTreeSet<PeerId> {
        self.numbers.keys().copied().collect()
    }

    /// Ids of those that are no members.
    pub(crate) fn guests(&self) -> BTreeSet<PeerId> {
        self.known.iter().filter(|known| known.author.is_none()).map(|known| known.id).collect()
    }

    fn add(&mut self, id: PeerId, name: String, author: Option<AuthorKey>) -> Peer {
        let number = Peer(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        self.numbers.insert(id, number);
        self.known.push(Known { id, name, author, is_connected: false, last_seen: None });
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stranger can come with a new peer id each time: looking for them must not make them known (SYNC-4).
    #[test]
    fn strangers_are_given_no_number() {
        let mut peers = Peers { numbers: BTreeMap::new(), known: Vec::new() };
        let observer = PeerId::random();
        peers.number(observer);
        for _ in 0..1_000 {
            assert_eq!(peers.find(PeerId::random()), None);
        }
        assert_eq!((peers.find(observer), peers.all().count()), (Some(Peer(0)), 1));
    }
}
