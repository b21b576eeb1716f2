//! Every bound of the transport, with the reason for its default.

use std::time::Duration;

/// Bounds. The defaults suit a network of up to about a hundred nodes; tests shrink them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest directed frame, in bytes. 512 KiB: twice the 256 KiB of operations a sync answer may carry.
    pub max_frame_bytes: usize,
    /// Largest broadcast message, in bytes. 64 KiB: the size gossipsub networks are tuned for.
    pub max_broadcast_bytes: usize,
    /// Frames that may wait for one peer before [`crate::Busy::QueueFull`]. 1,024: some seconds of a busy node.
    pub queue_frames: usize,
    /// Bytes that may wait for one peer. 4 MiB: eight largest frames, so a hundred stalled peers cost at most 400 MiB.
    pub queue_bytes: usize,
    /// Frames put into one request when several wait. 256: amortises the round trip, keeps the receiver's burst small.
    pub batch_frames: usize,
    /// Broadcast messages waiting for gossipsub. 256 of 64 KiB are 16 MiB.
    pub publish_queue: usize,
    /// Events waiting in the channel of [`crate::Net::start`]. 64 of the largest frame are 32 MiB.
    pub event_queue: usize,
    /// Gossip messages and refusals waiting before that channel; later ones are dropped and counted. 256, as above.
    pub notice_queue: usize,
    /// Gossip messages whose verdict is awaited; the oldest is forgotten first. 4,096: gossipsub itself forgets after 5 s.
    pub pending_verdicts: usize,
    /// How long a request may take until it is acknowledged. 10 s: a reader stalled for longer is as good as gone, and
    /// its session is closed.
    pub request_timeout: Duration,
    /// How long a connection may take to be made, and then to show that it speaks our protocols. 5 s each: several round
    /// trips around the world with losses, and a link that swallowed a dial is tried again within 10 s of its mending.
    pub handshake_timeout: Duration,
    /// Time between pings on an open connection. 5 s: a peer that is silent for this and the timeout together, 10 s, is dead.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered. 5 s, see the interval.
    pub ping_timeout: Duration,
    /// First wait before dialling a peer again; doubled each time. 250 ms: a restarting peer is back within a second or two.
    pub redial_min: Duration,
    /// Longest wait before dialling a peer again. 5 s: a healed partition is noticed within that time.
    pub redial_max: Duration,
    /// Incoming connections still in their handshake. 64: a stranger costs one handshake, no more than 64 at once.
    pub pending_incoming: u32,
    /// Of these, from all hosts together where no member is known to be. 24: 40 are left for members whatever strangers do.
    pub pending_strangers: u32,
    /// Of these, from one such host. 8: a stranger's handshake that hangs takes 5 s; a member that moved still gets in.
    pub pending_other_host: u32,
    /// From one host of members. 32: a member's host that is taken over leaves room for another, and all of a network of 30 may run on one.
    pub pending_known_host: u32,
    /// Incoming connections established. 256: two for each of 128 peers.
    pub established_incoming: u32,
    /// Of these, with guests. 64: the rest is enough for 64 members with their three.
    pub guest_connections: u32,
    /// Connections with one peer. 3: two when both sides dial at once, and one more so that a peer that restarted is not
    /// locked out by its own dead ones.
    pub per_peer: u32,
    /// Streams open on one connection, in both directions together. 32: frames need 2, gossipsub 2, identify and ping
    /// 2 each.
    pub streams: usize,
    /// Frame requests in progress on one connection, in both directions together. 4: an honest peer has one each way.
    pub concurrent_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 512 * 1024,
            max_broadcast_bytes: 64 * 1024,
            queue_frames: 1_024,
            queue_bytes: 4 * 1024 * 1024,
            batch_frames: 256,
            publish_queue: 256,
            event_queue: 64,
            notice_queue: 256,
            pending_verdicts: 4_096,
            request_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            redial_min: Duration::from_millis(250),
            redial_max: Duration::from_secs(5),
            pending_incoming: 64,
            pending_strangers: 24,
            pending_other_host: 8,
            pending_known_host: 32,
            established_incoming: 256,
            guest_connections: 64,
            per_peer: 3,
            streams: 32,
            concurrent_requests: 4,
        }
    }
}

impl Limits {
    /// The largest body of one request, in bytes: one frame of the largest size with its header, or several smaller ones.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.max_frame_bytes.max(self.max_broadcast_bytes) + crate::codec::HEADER_BYTES
    }

    /// The cap given to gossipsub, which counts more than the message against it.
    pub(crate) fn gossip_transmit_bytes(&self) -> usize {
        self.max_broadcast_bytes + GOSSIP_FRAMING_BYTES + GOSSIP_READ_AHEAD_BYTES
    }
}

/// Room for the topic's name and the protobuf tags of one message: under 100 bytes in fact.
const GOSSIP_FRAMING_BYTES: usize = 1_024;
/// Gossipsub 0.50.1 holds everything it has read against the cap of one message, the beginning of the next included; over
/// the cap it drops the stream with all that is on it. It reads 8 KiB at a time, so this much more is never reached.
const GOSSIP_READ_AHEAD_BYTES: usize = 8 * 1_024;
/// Requests of one peer that may be received but not yet handed on; the next is refused. 2: an honest sender has one
/// in flight, and a second only when it gave up on the first.
pub(crate) const UNDELIVERED_REQUESTS: usize = 2;
/// Addresses that may be configured for dialling, all peers together. 1,024: eight for each of 128 peers.
pub(crate) const DIAL_ADDRESSES: usize = 1_024;
/// Addresses of one peer. 8: two transports over four paths, and what one dial tries at once.
pub(crate) const ADDRESSES_PER_PEER: usize = 8;
