//! The transport between oracle nodes: libp2p over TCP (Noise, Yamux) and QUIC.
//!
//! It carries opaque frames and broadcast messages between *admitted* peers and knows nothing of their meaning.
//!
//! * **Who.** Only peers of the admitted set get a connection, in either direction; [`Net::set_admitted`] replaces
//!   the set and closes every connection outside it. Only configured addresses are dialled: there is no discovery.
//!   [`Net::ban`] takes a peer out of the set for a time. Handshakes are let in by where they come from, so that strangers
//!   use up no room that members need, and guests (observers) have room of their own.
//! * **Directed frames** ([`Net::send`]) arrive in order. A session runs from [`NetEvent::Connected`] to
//!   [`NetEvent::Disconnected`]; within it a frame is lost only when the peer refuses it, and that is reported. What is
//!   queued when a session ends is dropped: the layer above starts anew with the next session.
//! * **Broadcast** ([`Net::broadcast`]) goes to every connected peer directly, or through gossipsub
//!   ([`Broadcast`]); both arrive as [`NetEvent::Gossip`]. It may be lost; whoever needs completeness syncs.
//! * **Bounds.** One request is in flight per peer, a bounded queue waits behind it, beyond that the caller is told
//!   [`Busy`]. A request is acknowledged only when its frames are in the reader's event channel, so a slow reader
//!   slows its senders. Every bound is a field of [`Limits`].
//!
//! Code map: `net` is the handle, `driver` the task that owns the swarm. Between them `mailbox` (outwards) and
//! `delivery` (inwards). `sessions`, `dialer`, `doors` and `bans` decide who is connected, who is dialled next, who is let in
//! and who is kept away; all are told the time. `codec` holds the bytes of a request, `behaviour` what libp2p is configured to, `addr` how addresses are written.

mod addr;
mod bans;
mod behaviour;
mod codec;
mod config;
mod counters;
mod delivery;
mod dial_guard;
mod dialer;
mod doors;
mod driver;
mod event;
mod gate;
mod limits;
mod mailbox;
mod net;
mod protocols;
mod sessions;
mod verdicts;

pub use addr::{AddrError, PeerAddr, parse_listen, parse_peer};
pub use config::{Broadcast, NetConfig, NetError};
pub use counters::Counters;
pub use event::{Busy, MessageId, NetEvent, RefusalReason, Verdict};
pub use libp2p::{Multiaddr, PeerId, identity};
pub use limits::Limits;
pub use net::Net;
