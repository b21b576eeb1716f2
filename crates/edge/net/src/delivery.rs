//! What arrived and waits for a place in the reader's event channel.
//!
//! Frames wait with their acknowledgement, which is given back when the last of a request is handed on: this is what
//! slows a sender to the pace of its reader. Everything else that waits is bounded by dropping (gossip, refusals) or by
//! coalescing (a session that began and ended unseen leaves no trace).

use std::collections::{BTreeMap, VecDeque};

use libp2p::PeerId;

use crate::codec::{Kind, Record};
use crate::event::{MessageId, NetEvent};
use crate::limits::UNDELIVERED_REQUESTS;

/// The waiting events, with acknowledgements of type `A`.
pub(crate) struct Delivery<A> {
    queue: VecDeque<Item<A>>,
    /// Requests that came before their peer was ready.
    early: BTreeMap<PeerId, Vec<Arrival<A>>>,
    /// Requests of each peer in the two above.
    undelivered: BTreeMap<PeerId, usize>,
    /// Gossip messages and refusals in the queue.
    notices: usize,
    notices_max: usize,
}

struct Item<A> {
    event: NetEvent,
    part: Part<A>,
}

/// What an event is part of.
enum Part<A> {
    /// The beginning or end of a session.
    Session,
    /// Gossip or a refusal, counted against the cap of notices.
    Notice,
    /// A request, and not its end.
    Request,
    /// The end of a request of this peer.
    RequestEnd(PeerId, A),
}

struct Arrival<A> {
    records: Vec<Record>,
    ack: A,
}

impl<A> Delivery<A> {
    pub(crate) fn new(notices_max: usize) -> Self {
        let (queue, early, undelivered) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { queue, early, undelivered, notices: 0, notices_max }
    }

    /// The peer is ready: announces it, then what it sent before.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.queue.push_back(Item { event: NetEvent::Connected(peer), part: Part::Session });
        for arrival in self.early.remove(&peer).unwrap_or_default() {
            self.enqueue(peer, arrival);
        }
    }

    /// The session ended. What the reader has not seen the beginning of is forgotten whole.
    pub(crate) fn disconnected(&mut self, peer: PeerId, was_ready: bool) {
        for _ in self.early.remove(&peer).unwrap_or_default() {
            self.settle(peer);
        }
        if !was_ready {
            return;
        }
        let unseen = self.queue.iter().rposition(|item| matches!(item.event, NetEvent::Connected(p) if p == peer));
        let Some(unseen) = unseen else {
            self.queue.push_back(Item { event: NetEvent::Disconnected(peer), part: Part::Session });
            return;
        };
        for item in self.queue.split_off(unseen) {
            match item.part {
                Part::RequestEnd(from, _) if from == peer => self.settle(peer),
                Part::Session | Part::Request if item.event.peer() == Some(peer) => {}
                _ => self.queue.push_back(item),
            }
        }
    }

    /// A request arrived. Gives the acknowledgement back if the peer already has too many waiting.
    pub(crate) fn arrived(&mut self, peer: PeerId, ready: bool, records: Vec<Record>, ack: A) -> Result<(), A> {
        let waiting = self.undelivered.entry(peer).or_default();
        if *waiting == UNDELIVERED_REQUESTS {
            return Err(ack);
        }
        *waiting += 1;
        let arrival = Arrival { records, ack };
        if ready {
            self.enqueue(peer, arrival);
        } else {
            self.early.entry(peer).or_default().push(arrival);
        }
        Ok(())
    }

    /// A gossip message or a refusal; false if it was dropped because too many wait.
    pub(crate) fn notice(&mut self, event: NetEvent) -> bool {
        if self.notices == self.notices_max {
            return false;
        }
        self.notices += 1;
        self.queue.push_back(Item { event, part: Part::Notice });
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next event, with the acknowledgement to give once it is handed on.
    pub(crate) fn pop(&mut self) -> Option<(NetEvent, Option<A>)> {
        let Item { event, part } = self.queue.pop_front()?;
        let ack = match part {
            Part::Session | Part::Request => None,
            Part::Notice => {
                self.notices -= 1;
                None
            }
            Part::RequestEnd(peer, ack) => {
                self.settle(peer);
                Some(ack)
            }
        };
        Some((event, ack))
    }

    fn enqueue(&mut self, peer: PeerId, Arrival { records, ack }: Arrival<A>) {
        self.queue.extend(records.into_iter().map(|Record { kind, body }| {
            let event = match kind {
                Kind::Direct => NetEvent::Frame { peer, frame: body },
                Kind::Broadcast => NetEvent::Gossip { peer, id: MessageId::of(&body), message: body },
            };
            Item { event, part: Part::Request }
        }));
        // The codec yields no request without records, so the last item is this request's own.
        if let Some(last) = self.queue.back_mut() {
            last.part = Part::RequestEnd(peer, ack);
        }
    }

    fn settle(&mut self, peer: PeerId) {
        if let Some(waiting) = self.undelivered.get_mut(&peer) {
            *waiting -= 1;
            if *waiting == 0 {
                self.undelivered.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::RefusalReason;

    fn records(bodies: &[&'static str]) -> Vec<Record> {
        bodies.iter().map(|body| Record { kind: Kind::Direct, body: Bytes::from_static(body.as_bytes()) }).collect()
    }

    fn drain(delivery: &mut Delivery<u32>) -> Vec<(String, Option<u32>)> {
        std::iter::from_fn(|| delivery.pop())
            .map(|(event, ack)| {
                let name = match event {
                    NetEvent::Connected(_) => "connected".to_owned(),
                    NetEvent::Disconnected(_) => "disconnected".to_owned(),
                    NetEvent::Frame { frame, .. } => String::from_utf8(frame.to_vec()).unwrap(),
                    NetEvent::Gossip { .. } => "gossip".to_owned(),
                    NetEvent::Refused { .. } => "refused".to_owned(),
                };
                (name, ack)
            })
            .collect()
    }

    fn seen(names: &[(&str, Option<u32>)]) -> Vec<(String, Option<u32>)> {
        names.iter().map(|(name, ack)| ((*name).to_owned(), *ack)).collect()
    }

    #[test]
    fn early_frames_follow_their_announcement_and_the_last_acknowledges() {
        let (mut delivery, peer) = (Delivery::new(4), PeerId::random());
        delivery.arrived(peer, false, records(&["a", "b"]), 1).unwrap();
        assert!(delivery.is_empty());
        delivery.connected(peer);
        delivery.arrived(peer, true, records(&["c"]), 2).unwrap();
        assert_eq!(drain(&mut delivery), seen(&[("connected", None), ("a", None), ("b", Some(1)), ("c", Some(2))]));
    }

    #[test]
    fn a_peer_may_have_few_requests_waiting() {
        let (mut delivery, peer, other) = (Delivery::new(4), PeerId::random(), PeerId::random());
        for n in 0..UNDELIVERED_REQUESTS {
            delivery.arrived(peer, n % 2 == 0, records(&["a"]), 0).unwrap();
        }
        assert_eq!(delivery.arrived(peer, true, records(&["b"]), 7), Err(7));
        assert_eq!(delivery.arrived(other, true, records(&["c"]), 8), Ok(()));
        drain(&mut delivery);
        assert_eq!(delivery.arrived(peer, true, records(&["d"]), 9), Ok(()));
    }

    #[test]
    fn a_session_unseen_leaves_no_trace_and_one_seen_ends() {
        let (mut delivery, peer, other) = (Delivery::new(4), PeerId::random(), PeerId::random());
        for n in 0..100 {
            delivery.connected(peer);
            delivery.arrived(peer, true, records(&["a", "b"]), n).unwrap();
            delivery.arrived(other, true, records(&["c"]), n).ok();
            delivery.disconnected(peer, true);
        }
        assert_eq!(drain(&mut delivery), seen(&[("c", Some(0)), ("c", Some(1))]));

        delivery.connected(peer);
        delivery.pop();
        delivery.arrived(peer, true, records(&["a"]), 5).unwrap();
        delivery.disconnected(peer, true);
        assert_eq!(drain(&mut delivery), seen(&[("a", Some(5)), ("disconnected", None)]));
    }

    #[test]
    fn notices_are_dropped_beyond_their_cap() {
        let mut delivery = Delivery::<u32>::new(3);
        let refused = || NetEvent::Refused { peer: None, reason: RefusalReason::NotAdmitted };
        let taken = (0..10).filter(|_| delivery.notice(refused())).count();
        assert_eq!(taken, 3);
        drain(&mut delivery);
        assert!(delivery.notice(refused()));
    }
}
