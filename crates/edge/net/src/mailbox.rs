//! What the handle leaves for the task: frames by peer, and orders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::Notify;

use crate::addr::PeerAddr;
use crate::codec::{HEADER_BYTES, Kind, Record};
use crate::config::Broadcast;
use crate::counters::{Counter, CounterCells};
use crate::event::{Busy, MessageId, Verdict};
use crate::limits::{DIAL_ADDRESSES, Limits};

/// Shared by every clone of the handle and by the task. Its lock is held for moments, never across an await.
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    /// Rung whenever there is something for the task.
    pub(crate) wake: Notify,
    pub(crate) counters: CounterCells,
    broadcast: Broadcast,
    limits: Limits,
}

#[derive(Default)]
struct Mail {
    outboxes: BTreeMap<PeerId, Outbox>,
    orders: Orders,
    listening: BTreeSet<Multiaddr>,
    closed: bool,
}

/// Orders for the task; each is small and bounded.
#[derive(Default)]
pub(crate) struct Orders {
    /// The newest admitted set, if it changed: only the last one matters.
    pub(crate) admitted: Option<BTreeSet<PeerId>>,
    /// Peers to keep away, and for how long: the newest order for each.
    pub(crate) bans: BTreeMap<PeerId, Duration>,
    /// Addresses to dial from now on.
    pub(crate) dial: Vec<PeerAddr>,
    /// Messages to publish by gossipsub.
    pub(crate) publish: VecDeque<Bytes>,
    /// Verdicts on gossip messages.
    pub(crate) verdicts: VecDeque<(MessageId, Verdict)>,
    /// Stop.
    pub(crate) close: bool,
}

#[derive(Default)]
struct Outbox {
    queue: VecDeque<Record>,
    bytes: usize,
    in_flight: bool,
}

impl Mailbox {
    pub(crate) fn new(broadcast: Broadcast, limits: Limits) -> Self {
        let (mail, wake, counters) = (Mutex::default(), Notify::new(), CounterCells::default());
        Self { mail, wake, counters, broadcast, limits }
    }

    pub(crate) fn send(&self, peer: PeerId, frame: Bytes) -> Result<(), Busy> {
        self.check_size(&frame, self.limits.max_frame_bytes)?;
        let mut mail = self.open_mail()?;
        let outbox = mail.outboxes.get_mut(&peer).ok_or(Busy::NotConnected)?;
        let taken = outbox.push(Record { kind: Kind::Direct, body: frame }, &self.limits);
        drop(mail);
        self.rung(taken)
    }

    pub(crate) fn broadcast(&self, message: Bytes) -> Result<(), Busy> {
        self.check_size(&message, self.limits.max_broadcast_bytes)?;
        let mut mail = self.open_mail()?;
        let taken = match self.broadcast {
            Broadcast::FullMesh => {
                let record = Record { kind: Kind::Broadcast, body: message };
                let peers = mail.outboxes.len();
                let full =
                    mail.outboxes.values_mut().filter_map(|o| o.push(record.clone(), &self.limits).err()).count();
                self.counters.add(Counter::Busy, full);
                // A peer that is behind catches up by syncing; only when nobody took it is the caller too fast.
                if full > 0 && full == peers { Err(Busy::QueueFull) } else { Ok(()) }
            }
            Broadcast::Gossipsub if mail.orders.publish.len() == self.limits.publish_queue => {
                self.counters.add(Counter::Busy, 1);
                Err(Busy::QueueFull)
            }
            Broadcast::Gossipsub => {
                mail.orders.publish.push_back(message);
                Ok(())
            }
        };
        drop(mail);
        self.wake.notify_one();
        taken
    }

    pub(crate) fn report(&self, id: MessageId, verdict: Verdict) {
        if self.broadcast == Broadcast::FullMesh {
            return;
        }
        let mut mail = self.lock();
        if mail.orders.verdicts.len() == self.limits.pending_verdicts {
            mail.orders.verdicts.pop_front();
        }
        mail.orders.verdicts.push_back((id, verdict));
        drop(mail);
        self.wake.notify_one();
    }

    pub(crate) fn set_admitted(&self, peers: BTreeSet<PeerId>) {
        self.lock().orders.admitted = Some(peers);
        self.wake.notify_one();
    }

    pub(crate) fn ban(&self, peer: PeerId, time: Duration) {
        self.lock().orders.bans.insert(peer, time);
        self.wake.notify_one();
    }

    pub(crate) fn add_dial(&self, addr: PeerAddr) {
        let mut mail = self.lock();
        if mail.orders.dial.len() == DIAL_ADDRESSES {
            tracing::warn!(%addr, cap = DIAL_ADDRESSES, "too many addresses to dial, one is dropped");
            return;
        }
        mail.orders.dial.push(addr);
        drop(mail);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().orders.close = true;
        self.wake.notify_one();
    }

    pub(crate) fn listening(&self) -> BTreeSet<Multiaddr> {
        self.lock().listening.clone()
    }

    /// For the task: everything ordered since the last time.
    pub(crate) fn take_orders(&self) -> Orders {
        std::mem::take(&mut self.lock().orders)
    }

    /// For the task: frames for this peer are taken from now on.
    pub(crate) fn open(&self, peer: PeerId) {
        self.lock().outboxes.insert(peer, Outbox::default());
    }

    /// For the task: the session with this peer is over, and what waited for it is dropped.
    pub(crate) fn end(&self, peer: PeerId) {
        self.lock().outboxes.remove(&peer);
    }

    /// For the task: the peer's last request was answered or given up.
    pub(crate) fn settled(&self, peer: PeerId) {
        if let Some(outbox) = self.lock().outboxes.get_mut(&peer) {
            outbox.in_flight = false;
        }
    }

    /// For the task: the next request of every peer that has frames waiting and nothing in flight.
    pub(crate) fn take_batches(&self) -> Vec<(PeerId, Vec<Record>)> {
        let mut mail = self.lock();
        let idle = mail.outboxes.iter_mut().filter(|(_, outbox)| !outbox.in_flight && !outbox.queue.is_empty());
        idle.map(|(peer, outbox)| (*peer, outbox.take_batch(&self.limits))).collect()
    }

    /// For the task: an address we listen on came or went.
    pub(crate) fn set_listening(&self, addr: Multiaddr, listens: bool) {
        let mut mail = self.lock();
        if listens {
            mail.listening.insert(addr);
        } else {
            mail.listening.remove(&addr);
        }
    }

    /// For the task: it stops; nothing is taken any more.
    pub(crate) fn set_closed(&self) {
        let mut mail = self.lock();
        mail.closed = true;
        mail.outboxes.clear();
        mail.listening.clear();
    }

    fn check_size(&self, message: &Bytes, cap: usize) -> Result<(), Busy> {
        let len = message.len();
        if len > cap { Err(Busy::TooLarge { len, cap }) } else { Ok(()) }
    }

    fn open_mail(&self) -> Result<MutexGuard<'_, Mail>, Busy> {
        let mail = self.lock();
        if mail.closed { Err(Busy::Closed) } else { Ok(mail) }
    }

    fn rung(&self, taken: Result<(), Busy>) -> Result<(), Busy> {
        match taken {
            Ok(()) => self.wake.notify_one(),
            Err(_) => self.counters.add(Counter::Busy, 1),
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Nothing under the lock panics half-way, so a poisoned lock still guards a whole value.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn push(&mut self, record: Record, limits: &Limits) -> Result<(), Busy> {
        let bytes = self.bytes + HEADER_BYTES + record.body.len();
        if self.queue.len() == limits.queue_frames || bytes > limits.queue_bytes {
            return Err(Busy::QueueFull);
        }
        self.bytes = bytes;
        self.queue.push_back(record);
        Ok(())
    }

    /// As many frames from the front as one request holds: at least one, since any frame within its cap fits.
    fn take_batch(&mut self, limits: &Limits) -> Vec<Record> {
        let mut total = 0;
        let fits = |record: &&Record| {
            total += HEADER_BYTES + record.body.len();
            total <= limits.batch_bytes()
        };
        let count = self.queue.iter().take(limits.batch_frames).take_while(fits).count().max(1).min(self.queue.len());
        let batch: Vec<Record> = self.queue.drain(..count).collect();
        self.bytes -= batch.iter().map(|record| HEADER_BYTES + record.body.len()).sum::<usize>();
        self.in_flight = true;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(broadcast: Broadcast) -> Mailbox {
        let limits = Limits {
            max_frame_bytes: 100,
            max_broadcast_bytes: 50,
            queue_frames: 10,
            queue_bytes: 400,
            batch_frames: 4,
            publish_queue: 2,
            ..Limits::default()
        };
        Mailbox::new(broadcast, limits)
    }

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![0; len])
    }

    #[test]
    fn a_queue_is_bounded_in_frames_and_in_bytes() {
        let (mailbox, peer) = (mailbox(Broadcast::FullMesh), PeerId::random());
        assert_eq!(mailbox.send(peer, frame(1)), Err(Busy::NotConnected));
        mailbox.open(peer);
        assert_eq!(mailbox.send(peer, frame(101)), Err(Busy::TooLarge { len: 101, cap: 100 }));
        let taken = |len| (0..100).filter(|_| mailbox.send(peer, frame(len)).is_ok()).count();
        assert_eq!(taken(1), 10);
        mailbox.open(peer);
        assert_eq!(taken(100), 3);
        assert_eq!(taken(0), 7);
    }

    #[test]
    fn one_request_at_a_time_in_order_and_within_its_bounds() {
        let (mailbox, peer) = (mailbox(Broadcast::FullMesh), PeerId::random());
        mailbox.open(peer);
        for len in [90, 1, 100, 0, 1, 2, 3, 4] {
            mailbox.send(peer, frame(len)).unwrap();
        }
        let batch = || -> Vec<usize> {
            let batches = mailbox.take_batches();
            batches.iter().flat_map(|(_, records)| records.iter().map(|record| record.body.len())).collect()
        };
        for expected in [vec![90, 1], vec![100], vec![0, 1, 2, 3], vec![4], vec![]] {
            assert_eq!(batch(), expected);
            assert_eq!(batch(), Vec::<usize>::new(), "one in flight");
            mailbox.settled(peer);
        }
    }

    #[test]
    fn a_broadcast_is_busy_only_when_nobody_takes_it() {
        let mesh = mailbox(Broadcast::FullMesh);
        assert_eq!(mesh.broadcast(frame(50)), Ok(()), "nobody is there");
        assert!(matches!(mesh.broadcast(frame(51)), Err(Busy::TooLarge { .. })));
        let (slow, fast) = (PeerId::random(), PeerId::random());
        mesh.open(slow);
        while mesh.send(slow, frame(0)).is_ok() {}
        assert_eq!(mesh.broadcast(frame(1)), Err(Busy::QueueFull));
        mesh.open(fast);
        assert_eq!(mesh.broadcast(frame(1)), Ok(()));

        let gossip = mailbox(Broadcast::Gossipsub);
        let taken = (0..10).filter(|_| gossip.broadcast(frame(1)).is_ok()).count();
        assert_eq!(taken, 2);
        gossip.take_orders();
        assert_eq!(gossip.broadcast(frame(1)), Ok(()));
    }

    #[test]
    fn nothing_is_taken_after_a_session_or_after_the_end() {
        let (mailbox, peer) = (mailbox(Broadcast::FullMesh), PeerId::random());
        mailbox.open(peer);
        mailbox.end(peer);
        assert_eq!(mailbox.send(peer, frame(1)), Err(Busy::NotConnected));
        mailbox.open(peer);
        mailbox.set_closed();
        assert_eq!(mailbox.send(peer, frame(1)), Err(Busy::Closed));
        assert_eq!(mailbox.broadcast(frame(1)), Err(Busy::Closed));
    }
}
