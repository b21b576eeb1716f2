//! What the transport tells the layer above, and the answers it takes.

use std::fmt;

use bytes::Bytes;
use libp2p::PeerId;

/// Something that happened on the network.
///
/// For one peer the order is always `Connected`, then frames, then `Disconnected`.
#[derive(Debug)]
pub enum NetEvent {
    /// A session with an admitted peer of this network began; frames may be sent.
    Connected(PeerId),
    /// That session ended; frames still queued for the peer are gone.
    Disconnected(PeerId),
    /// A directed frame.
    Frame {
        /// Who sent it.
        peer: PeerId,
        /// The frame, at most `max_frame_bytes` long, nothing else is known of it.
        frame: Bytes,
    },
    /// A broadcast message; in gossipsub mode it waits for [`crate::Net::report`].
    Gossip {
        /// Who handed it to us: the publisher in a full mesh, any forwarder in gossipsub.
        peer: PeerId,
        /// The hash of the message.
        id: MessageId,
        /// The message, at most `max_broadcast_bytes` long.
        message: Bytes,
    },
    /// A connection or a frame was refused, by us or by the peer.
    Refused {
        /// The other side, if it got far enough to be known.
        peer: Option<PeerId>,
        /// Why.
        reason: RefusalReason,
    },
}

impl NetEvent {
    /// The peer it is about, if known.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Connected(peer) | Self::Disconnected(peer) => Some(*peer),
            Self::Frame { peer, .. } | Self::Gossip { peer, .. } => Some(*peer),
            Self::Refused { peer, .. } => *peer,
        }
    }
}

/// The id of a broadcast message: BLAKE3 of the whole message, signature included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 32]);

impl MessageId {
    /// The id of `message`.
    pub fn of(message: &[u8]) -> Self {
        Self(*blake3::hash(message).as_bytes())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// What the layer above thinks of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Do not forward it, and blame nobody: the forwarder could not have known.
    Ignore,
    /// Do not forward it; the forwarder should have seen that it is bad.
    Reject,
}

/// Why a frame or message was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The peer's queue is full: it does not take frames as fast as they come.
    #[error("the queue of the peer is full")]
    QueueFull,
    /// There is no session with the peer.
    #[error("the peer is not connected")]
    NotConnected,
    /// The frame or message is over the cap.
    #[error("the message of {len} bytes is over the cap of {cap} bytes")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The cap in bytes.
        cap: usize,
    },
    /// The transport was shut down.
    #[error("the transport is shut down")]
    Closed,
}

/// Why a connection or a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The peer is not in the admitted set.
    #[error("the peer is not admitted")]
    NotAdmitted,
    /// The peer is banned for a time ([`crate::Net::ban`]).
    #[error("the peer is banned for a time")]
    Banned,
    /// A connection limit was reached.
    #[error("a connection limit was reached: {0}")]
    ConnectionLimit(String),
    /// The peer belongs to another network.
    #[error("the peer is of another network: it speaks {theirs}, we speak {ours}")]
    OtherNetwork {
        /// Our protocol.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The peer is of our network, or of none, and speaks no version of the protocols that we speak.
    #[error("the peer speaks {theirs}, we speak {ours}")]
    UnsupportedProtocol {
        /// Our protocols.
        ours: String,
        /// The peer's; "none of ours" when it has none of this family.
        theirs: String,
    },
    /// Another peer than the configured one answered at the address.
    #[error("at {addr} answered {found}, not the configured peer")]
    WrongPeer {
        /// Who answered.
        found: PeerId,
        /// Where.
        addr: String,
    },
    /// The peer closed our connection before it said who it is: most likely it does not admit us.
    #[error("the peer closed the connection at once, it may not admit us")]
    ClosedByPeer,
    /// A frame claims a length over the cap; it was not read.
    #[error("a frame of {claimed} bytes is over the cap of {cap} bytes")]
    FrameTooLarge {
        /// The length the peer announced, in bytes.
        claimed: u64,
        /// The cap, in bytes.
        cap: u64,
    },
    /// A request is not made of whole frames.
    #[error("a request is malformed: {0}")]
    Malformed(&'static str),
    /// The peer sent more requests than it may before earlier ones were taken.
    #[error("the peer sends faster than it may")]
    TooFast,
    /// The peer refused a request of ours; its frames are lost.
    #[error("the peer refused a request: {0}")]
    RefusedByPeer(String),
}
