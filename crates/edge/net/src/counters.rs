//! What the transport counts. No metrics library here: the driver above publishes these.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::RefusalReason;

/// A reading of every counter; all grow from zero at the start and never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames and full-mesh broadcasts received, each peer's copy counted.
    pub frames_in: u64,
    /// Frames and full-mesh broadcasts handed to a connection.
    pub frames_out: u64,
    /// Frames handed to a connection and never acknowledged.
    pub frames_lost: u64,
    /// Payload bytes received, gossip included.
    pub bytes_in: u64,
    /// Payload bytes handed to a connection or to gossipsub.
    pub bytes_out: u64,
    /// Gossip messages received, each once.
    pub gossip_in: u64,
    /// Messages published by gossip.
    pub gossip_out: u64,
    /// Gossip messages dropped because the reader was behind.
    pub gossip_dropped: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Frames or messages refused to the caller because a queue was full.
    pub busy: u64,
    /// Refusals: peer not admitted.
    pub refused_not_admitted: u64,
    /// Bans begun.
    pub bans: u64,
    /// Refusals: peer banned.
    pub refused_banned: u64,
    /// Refusals: connection limit.
    pub refused_connection_limit: u64,
    /// Refusals: other network.
    pub refused_other_network: u64,
    /// Refusals: unsupported protocol.
    pub refused_unsupported_protocol: u64,
    /// Refusals: another peer answered.
    pub refused_wrong_peer: u64,
    /// Refusals: closed by the peer before it said who it is.
    pub refused_closed_by_peer: u64,
    /// Refusals: frame over the cap.
    pub refused_frame_too_large: u64,
    /// Refusals: malformed request.
    pub refused_malformed: u64,
    /// Refusals: peer too fast.
    pub refused_too_fast: u64,
    /// Refusals: by the peer.
    pub refused_by_peer: u64,
}

/// One counter; the number is its place in [`CounterCells`].
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Counter {
    FramesIn,
    FramesOut,
    FramesLost,
    BytesIn,
    BytesOut,
    GossipIn,
    GossipOut,
    GossipDropped,
    Dials,
    DialFailures,
    Sessions,
    Busy,
    Bans,
    NotAdmitted,
    Banned,
    ConnectionLimit,
    OtherNetwork,
    UnsupportedProtocol,
    WrongPeer,
    ClosedByPeer,
    FrameTooLarge,
    Malformed,
    TooFast,
    RefusedByPeer,
}

/// How many counters there are: the last variant's place plus one.
const COUNTERS: usize = Counter::RefusedByPeer as usize + 1;

/// The counters themselves, shared by the handle and the task.
#[derive(Default)]
pub(crate) struct CounterCells([AtomicU64; COUNTERS]);

impl CounterCells {
    pub(crate) fn add(&self, counter: Counter, amount: usize) {
        self.0[counter as usize].fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: &RefusalReason) {
        let counter = match reason {
            RefusalReason::NotAdmitted => Counter::NotAdmitted,
            RefusalReason::Banned => Counter::Banned,
            RefusalReason::ConnectionLimit(_) => Counter::ConnectionLimit,
            RefusalReason::OtherNetwork { .. } => Counter::OtherNetwork,
            RefusalReason::UnsupportedProtocol { .. } => Counter::UnsupportedProtocol,
            RefusalReason::WrongPeer { .. } => Counter::WrongPeer,
            RefusalReason::ClosedByPeer => Counter::ClosedByPeer,
            RefusalReason::FrameTooLarge { .. } => Counter::FrameTooLarge,
            RefusalReason::Malformed(_) => Counter::Malformed,
            RefusalReason::TooFast => Counter::TooFast,
            RefusalReason::RefusedByPeer(_) => Counter::RefusedByPeer,
        };
        self.add(counter, 1);
    }

    pub(crate) fn read(&self) -> Counters {
        let at = |counter: Counter| self.0[counter as usize].load(Ordering::Relaxed);
        Counters {
            frames_in: at(Counter::FramesIn),
            frames_out: at(Counter::FramesOut),
            frames_lost: at(Counter::FramesLost),
            bytes_in: at(Counter::BytesIn),
            bytes_out: at(Counter::BytesOut),
            gossip_in: at(Counter::GossipIn),
            gossip_out: at(Counter::GossipOut),
            gossip_dropped: at(Counter::GossipDropped),
            dials: at(Counter::Dials),
            dial_failures: at(Counter::DialFailures),
            sessions: at(Counter::Sessions),
            busy: at(Counter::Busy),
            refused_not_admitted: at(Counter::NotAdmitted),
            bans: at(Counter::Bans),
            refused_banned: at(Counter::Banned),
            refused_connection_limit: at(Counter::ConnectionLimit),
            refused_other_network: at(Counter::OtherNetwork),
            refused_unsupported_protocol: at(Counter::UnsupportedProtocol),
            refused_wrong_peer: at(Counter::WrongPeer),
            refused_closed_by_peer: at(Counter::ClosedByPeer),
            refused_frame_too_large: at(Counter::FrameTooLarge),
            refused_malformed: at(Counter::Malformed),
            refused_too_fast: at(Counter::TooFast),
            refused_by_peer: at(Counter::RefusedByPeer),
        }
    }
}
