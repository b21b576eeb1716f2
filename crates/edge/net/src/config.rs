//! What a transport is started with, and why it would not start.

use std::collections::BTreeSet;
use std::io;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use crate::addr::PeerAddr;
use crate::limits::Limits;

/// Everything [`crate::Net::start`] needs.
#[derive(Clone)]
pub struct NetConfig {
    /// The peer key, Ed25519; its public half is the peer id.
    pub keypair: Keypair,
    /// The network id in lowercase hex, at least 16 digits. The first 16 are part of every protocol name and of the
    /// gossip topic, so that a peer of another network is told apart before any frame.
    pub network: String,
    /// Addresses to listen on (see [`crate::parse_listen`]); port 0 takes a free one. May be empty.
    pub listen: Vec<Multiaddr>,
    /// The only addresses that are ever dialled, together with those of [`crate::Net::add_dial`].
    pub dial: Vec<PeerAddr>,
    /// The peers that may be connected; everyone else is refused.
    pub admitted: BTreeSet<PeerId>,
    /// Those of them that are no members: all together have [`Limits::guest_connections`], so that they never take the room
    /// that members need.
    pub guests: BTreeSet<PeerId>,
    /// How broadcast messages travel. All nodes of a network use the same.
    pub broadcast: Broadcast,
    /// Every bound.
    pub limits: Limits,
}

/// How a broadcast message reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// Straight to every connected admitted peer, nobody forwards. For up to about 30 nodes: n² connections, no
    /// moving parts.
    FullMesh,
    /// By gossipsub: peers forward what the layer above accepted ([`crate::Net::report`]).
    Gossipsub,
}

/// Why a transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The peer key is not Ed25519, the only kind the registry knows.
    #[error("the peer key is of kind {kind}, it must be ed25519")]
    KeyKind {
        /// The kind of the key given.
        kind: String,
    },
    /// The network id is not lowercase hex of at least 16 digits.
    #[error("the network id {network:?} is not lowercase hex of at least 16 digits")]
    Network {
        /// The id as given.
        network: String,
    },
    /// A listen address could not be bound: taken, not ours, or of a kind that is not supported.
    #[error("cannot listen on {addr}: {reason}")]
    Listen {
        /// The address as configured.
        addr: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// The system's resolver configuration could not be read.
    #[error("the system's DNS configuration cannot be read: {0}")]
    Dns(#[source] io::Error),
    /// A part of libp2p refused its configuration.
    #[error("the transport cannot be built: {0}")]
    Build(String),
}
