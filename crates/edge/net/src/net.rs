//! The handle.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libp2p::identity::KeyType;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::addr::PeerAddr;
use crate::config::{NetConfig, NetError};
use crate::counters::Counters;
use crate::driver::Driver;
use crate::event::{Busy, MessageId, NetEvent, Verdict};
use crate::mailbox::Mailbox;

/// A running transport. Clones share it. It stops on [`Net::shutdown`], and when the receiver of its events is dropped.
#[derive(Clone)]
pub struct Net {
    local: PeerId,
    mailbox: Arc<Mailbox>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Net {
    /// Starts the transport. Returns once every listen address is bound; a port that is taken is an error.
    ///
    /// The receiver is to be read without long pauses: unread frames hold back their senders, and a sender that waits
    /// longer than [`crate::Limits::request_timeout`] ends the session.
    pub async fn start(config: NetConfig) -> Result<(Self, mpsc::Receiver<NetEvent>), NetError> {
        let kind = config.keypair.key_type();
        if kind != KeyType::Ed25519 {
            return Err(NetError::KeyKind { kind: kind.to_string() });
        }
        let local = config.keypair.public().to_peer_id();
        let listen = config.listen.clone();
        let (sender, receiver) = mpsc::channel(config.limits.event_queue);
        let mailbox = Arc::new(Mailbox::new(config.broadcast, config.limits.clone()));
        let mut driver = Driver::new(config, mailbox.clone(), sender)?;
        driver.listen(&listen).await?;
        let task = Arc::new(Mutex::new(Some(tokio::spawn(driver.run()))));
        Ok((Self { local, mailbox, task }, receiver))
    }

    /// Our own peer id.
    pub fn local_peer(&self) -> PeerId {
        self.local
    }

    /// Queues a frame for one connected peer. Frames to one peer arrive in the order of these calls.
    pub fn send(&self, peer: PeerId, frame: Bytes) -> Result<(), Busy> {
        self.mailbox.send(peer, frame)
    }

    /// Queues a message for the whole network. In a full mesh this is one copy for every connected peer; peers whose queue
    /// is full miss it, and the caller is told only if that is all of them.
    pub fn broadcast(&self, message: Bytes) -> Result<(), Busy> {
        self.mailbox.broadcast(message)
    }

    /// Gives the verdict on a gossip message; without one it is not forwarded. Does nothing in a full mesh, where
    /// nobody forwards.
    pub fn report(&self, id: MessageId, verdict: Verdict) {
        self.mailbox.report(id, verdict);
    }

    /// Replaces the set of admitted peers. Connections of everyone else are closed and refused, both ways; peers that
    /// are new in the set are dialled at once.
    pub fn set_admitted(&self, peers: BTreeSet<PeerId>) {
        self.mailbox.set_admitted(peers);
    }

    /// Keeps an admitted peer away for a time: its connections are closed, it is refused and not dialled until then.
    pub fn ban(&self, peer: PeerId, time: Duration) {
        self.mailbox.ban(peer, time);
    }

    /// Adds an address to dial, while and whenever its peer is admitted and not connected.
    pub fn add_dial(&self, addr: PeerAddr) {
        self.mailbox.add_dial(addr);
    }

    /// The addresses listened on, with the real ports and interfaces.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.mailbox.listening().into_iter().collect()
    }

    /// A reading of all counters.
    pub fn counters(&self) -> Counters {
        self.mailbox.counters.read()
    }

    /// Closes every connection and stops, in under a second. Frames still queued are dropped.
    pub async fn shutdown(self) {
        self.mailbox.close();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(SHUTDOWN_TIME, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// How long an orderly end may take before the task is cut off.
const SHUTDOWN_TIME: Duration = Duration::from_millis(900);
