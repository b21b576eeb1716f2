//! The task that owns the swarm: it carries orders and frames out, and what happens in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionDenied, ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, allow_block_list, connection_limits, identify, ping};
use libp2p_gossipsub as gossipsub;
use tokio::sync::mpsc;

use crate::addr::PeerAddr;
use crate::bans::Bans;
use crate::behaviour::{self, Behaviour, BehaviourEvent};
use crate::codec::{Answer, Request};
use crate::config::{Broadcast, NetConfig, NetError};
use crate::counters::Counter;
use crate::delivery::Delivery;
use crate::dialer::Dialer;
use crate::doors::Shut;
use crate::event::{MessageId, NetEvent, RefusalReason, Verdict};
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Orders};
use crate::protocols::Protocols;
use crate::sessions::{Joined, Overdue, Sessions};
use crate::verdicts::Verdicts;

/// The swarm and everything known about its peers.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    mailbox: Arc<Mailbox>,
    events: mpsc::Sender<NetEvent>,
    protocols: Protocols,
    limits: Limits,
    /// Who may be connected now: the admitted without the banned.
    admitted: BTreeSet<PeerId>,
    bans: Bans,
    sessions: Sessions,
    dialer: Dialer,
    delivery: Delivery<ResponseChannel<Answer>>,
    /// The one request in flight to each peer.
    in_flight: BTreeMap<PeerId, (OutboundRequestId, usize)>,
    verdicts: Verdicts,
    /// Listeners that did not report an address yet.
    unbound: Vec<(ListenerId, Multiaddr)>,
}

impl Driver {
    pub(crate) fn new(
        config: NetConfig,
        mailbox: Arc<Mailbox>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let protocols = Protocols::new(&config.network, config.broadcast)?;
        let swarm = behaviour::swarm(&config, &protocols)?;
        let limits = config.limits;
        let mut driver = Self {
            sessions: Sessions::new(config.broadcast == Broadcast::Gossipsub, &limits),
            dialer: Dialer::new(*swarm.local_peer_id(), &limits),
            delivery: Delivery::new(limits.notice_queue),
            admitted: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            bans: Bans::default(),
            verdicts: Verdicts::new(limits.pending_verdicts),
            unbound: Vec::new(),
            swarm,
            mailbox,
            events,
            protocols,
            limits,
        };
        driver.bans.order(config.admitted);
        driver.admit();
        config.dial.into_iter().for_each(|addr| driver.add_dial(addr));
        Ok(driver)
    }

    /// Binds every listen address and returns when each has reported where it listens.
    pub(crate) async fn listen(&mut self, addrs: &[Multiaddr]) -> Result<(), NetError> {
        for addr in addrs {
            let failed = |reason: String| NetError::Listen { addr: addr.clone(), reason };
            probe_tcp(addr).map_err(|error| failed(error.to_string()))?;
            let listener = self.swarm.listen_on(addr.clone()).map_err(|error| failed(error.to_string()))?;
            self.unbound.push((listener, addr.clone()));
        }
        while let Some((listener, addr)) = self.unbound.first().cloned() {
            let waiting = tokio::time::timeout(LISTEN_TIME, self.swarm.select_next_some());
            let failed = |reason: String| NetError::Listen { addr: addr.clone(), reason };
            match waiting.await.map_err(|_| failed("no address came up".to_owned()))? {
                SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                    return Err(failed(format!("the listener closed: {reason:?}")));
                }
                event => self.on_swarm_event(event),
            }
        }
        Ok(())
    }

    /// Runs until it is told to close, or until nobody reads the events any more.
    pub(crate) async fn run(mut self) {
        let events = self.events.clone();
        let mailbox = self.mailbox.clone();
        loop {
            let orders = mailbox.take_orders();
            if orders.close {
                break;
            }
            self.carry_out(orders);
            if self.bans.end(Instant::now()) {
                self.admit();
            }
            self.close_overdue();
            self.dial_due();
            self.send_batches();
            let wake_at = tokio::time::sleep_until(self.next_wake().into());
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                place = events.reserve(), if !self.delivery.is_empty() => match place {
                    Ok(place) => self.deliver(place),
                    Err(_) => break,
                },
                () = mailbox.wake.notified() => {}
                () = wake_at => {}
                () = events.closed() => break,
            }
        }
        self.close().await;
    }

    fn next_wake(&self) -> Instant {
        let due = [self.dialer.next_due(), self.sessions.next_deadline(), self.bans.next_end()];
        due.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + IDLE_WAKE)
    }

    fn carry_out(&mut self, orders: Orders) {
        let is_news = orders.admitted.is_some() || !orders.bans.is_empty();
        if let Some(admitted) = orders.admitted {
            self.bans.order(admitted);
        }
        for (peer, time) in orders.bans {
            tracing::info!(%peer, ?time, "peer is banned");
            self.mailbox.counters.add(Counter::Bans, 1);
            self.bans.ban(peer, time, Instant::now());
        }
        if is_news {
            self.admit();
        }
        orders.dial.into_iter().for_each(|addr| self.add_dial(addr));
        orders.publish.into_iter().for_each(|message| self.publish(message));
        orders.verdicts.into_iter().for_each(|(id, verdict)| self.judge(id, verdict));
    }

    /// Closes whoever is not, or no longer, to be connected, and dials whoever is.
    fn admit(&mut self) {
        let mut admitted = self.bans.admitted();
        admitted.remove(self.swarm.local_peer_id());
        behaviour::admit(self.swarm.behaviour_mut(), &self.admitted, &admitted);
        for peer in self.admitted.difference(&admitted) {
            tracing::debug!(%peer, "peer is no longer admitted");
            self.sessions.closing(*peer);
            self.mailbox.end(*peer);
        }
        self.dialer.admit(&admitted, Instant::now());
        self.admitted = admitted;
    }

    fn add_dial(&mut self, target: PeerAddr) {
        // Operators share one list of peers; our own line in it is no mistake.
        if target.peer == *self.swarm.local_peer_id() {
            return;
        }
        let shown = target.to_string();
        let (admitted, connected) = (self.admitted.contains(&target.peer), self.sessions.is_connected(target.peer));
        self.swarm.behaviour_mut().dial_guard.allow(target.addr.clone());
        self.swarm.behaviour_mut().gate.0.know(&target.addr, Instant::now());
        if !self.dialer.add(target, admitted, connected, Instant::now()) {
            tracing::warn!(addr = %shown, "too many addresses to dial, this one is not used");
        }
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        for (peer, addrs) in self.dialer.take_due(now) {
            // Never the listening port: redials would meet their own closed connections (TIME_WAIT).
            let dial = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addrs)
                .allocate_new_port()
                .build();
            match self.swarm.dial(dial) {
                Ok(()) => self.mailbox.counters.add(Counter::Dials, 1),
                // Connected or being dialled: its end schedules the next.
                Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(error) => {
                    tracing::debug!(%peer, %error, "dial refused");
                    self.dialer.failed(peer, now);
                }
            }
        }
    }

    fn close_overdue(&mut self) {
        for (peer, why) in self.sessions.take_overdue(Instant::now()) {
            match why {
                Overdue::Handshake => {
                    let ours = self.protocols.frames.to_string();
                    let reason = RefusalReason::UnsupportedProtocol { ours, theirs: "nothing in time".to_owned() };
                    self.turn_away(peer, reason);
                }
                Overdue::Silence => {
                    tracing::debug!(%peer, "peer fell silent, its connections are closed");
                    self.drop_peer(peer);
                }
            }
        }
    }

    fn send_batches(&mut self) {
        for (peer, records) in self.mailbox.take_batches() {
            let bytes: usize = records.iter().map(|record| record.body.len()).sum();
            let frames = records.len();
            self.mailbox.counters.add(Counter::FramesOut, frames);
            self.mailbox.counters.add(Counter::BytesOut, bytes);
            let request = self.swarm.behaviour_mut().frames.send_request(&peer, Request::Records(records));
            self.in_flight.insert(peer, (request, frames));
        }
    }

    fn deliver(&mut self, place: mpsc::Permit<'_, NetEvent>) {
        let Some((event, ack)) = self.delivery.pop() else { return };
        place.send(event);
        if let Some(channel) = ack {
            self.answer(channel, Answer::Taken);
        }
    }

    fn answer(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        // Fails only if the connection is gone, and then nobody waits for it.
        self.swarm.behaviour_mut().frames.send_response(channel, answer).ok();
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Frames(event)) => self.on_frames_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, connection_id, .. } => {
                self.on_connected(peer_id, endpoint.is_dialer(), connection_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = cause.map(tracing::field::display), "last connection closed");
                self.on_disconnected(peer_id);
            }
            SwarmEvent::IncomingConnectionError { peer_id, error, .. } => self.on_incoming_error(peer_id, error),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => self.on_dial_error(peer, error),
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(addr = %address, "listening");
                self.unbound.retain(|(unbound, _)| *unbound != listener_id);
                self.mailbox.set_listening(address, true);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.mailbox.set_listening(address, false),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a listener closed");
                addresses.into_iter().for_each(|address| self.mailbox.set_listening(address, false));
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, dialled: bool, connection: ConnectionId) {
        self.dialer.connected(peer);
        match self.sessions.joined(peer, dialled, Instant::now()) {
            Joined::First | Joined::AtOnce => {}
            Joined::Again => {
                tracing::debug!(%peer, "peer connects anew, the old connections are closed too");
                self.drop_peer(peer);
            }
            Joined::TooSoon => drop(self.swarm.close_connection(connection)),
        }
    }

    fn on_disconnected(&mut self, peer: PeerId) {
        let now = Instant::now();
        let Some(ended) = self.sessions.ended(peer, now) else { return };
        if ended.was_ready {
            tracing::info!(%peer, "disconnected");
        }
        if ended.turned_away {
            self.refused(Some(peer), RefusalReason::ClosedByPeer);
        }
        self.mailbox.end(peer);
        if let Some((_, frames)) = self.in_flight.remove(&peer) {
            self.mailbox.counters.add(Counter::FramesLost, frames);
        }
        self.delivery.disconnected(peer, ended.was_ready);
        self.dialer.disconnected(peer, ended.stable, now);
    }

    fn on_ready(&mut self, peer: PeerId) {
        tracing::info!(%peer, "connected");
        self.mailbox.counters.add(Counter::Sessions, 1);
        self.mailbox.open(peer);
        self.delivery.connected(peer);
    }

    fn on_identify_event(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, info, .. } = event else { return };
        if !self.sessions.is_open(peer) {
            return;
        }
        if self.sessions.must_wait(peer, &info.agent_version, Instant::now()) {
            tracing::warn!(%peer, "two processes use this peer id; they take turns");
            return self.drop_peer(peer);
        }
        match self.protocols.judge(&info.protocols) {
            Ok(()) if self.sessions.identified(peer, Instant::now()) => self.on_ready(peer),
            Ok(()) => {}
            Err(reason) => self.turn_away(peer, reason),
        }
    }

    fn on_ping_event(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) => self.sessions.heard(event.peer, Instant::now()),
            Err(error) => {
                tracing::debug!(peer = %event.peer, %error, "ping failed, the connection is closed");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_frames_event(&mut self, event: request_response::Event<Request, Answer>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_request(peer, request, channel);
            }
            Event::Message { peer, message: Message::Response { request_id, .. }, .. } => {
                self.sessions.heard(peer, Instant::now());
                self.take_in_flight(peer, request_id);
            }
            Event::OutboundFailure { peer, request_id, error, .. } => self.on_lost_request(peer, request_id, error),
            Event::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "acknowledgement not sent"),
            Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(&mut self, peer: PeerId, request: Request, channel: ResponseChannel<Answer>) {
        if !self.sessions.is_open(peer) {
            return;
        }
        let records = match request {
            Request::Records(records) => records,
            Request::Refused(reason) => {
                self.answer(channel, Answer::Refused);
                return self.refused(Some(peer), reason);
            }
        };
        self.sessions.heard(peer, Instant::now());
        // The request came under our protocol's name, which says the same as an identify answer.
        if self.sessions.identified(peer, Instant::now()) {
            self.on_ready(peer);
        }
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        let frames = records.len();
        if let Err(channel) = self.delivery.arrived(peer, self.sessions.is_ready(peer), records, channel) {
            self.answer(channel, Answer::Refused);
            return self.refused(Some(peer), RefusalReason::TooFast);
        }
        self.mailbox.counters.add(Counter::FramesIn, frames);
        self.mailbox.counters.add(Counter::BytesIn, bytes);
    }

    fn on_lost_request(&mut self, peer: PeerId, request: OutboundRequestId, error: OutboundFailure) {
        let Some(frames) = self.take_in_flight(peer, request) else { return };
        self.mailbox.counters.add(Counter::FramesLost, frames);
        match error {
            // The peer reset the stream and keeps the connection: it refused this request, and the next may do.
            OutboundFailure::Io(error) => {
                self.refused(Some(peer), RefusalReason::RefusedByPeer(error.to_string()));
            }
            // Frames of this session are lost without a word to its reader, so the session ends.
            error => {
                tracing::debug!(%peer, %error, frames, "request lost, the session ends");
                self.drop_peer(peer);
            }
        }
    }

    /// Forgets the request in flight if it is this one, so that the next may go; gives the number of its frames.
    fn take_in_flight(&mut self, peer: PeerId, request: OutboundRequestId) -> Option<usize> {
        let (_, frames) = self.in_flight.get(&peer).filter(|(id, _)| *id == request).copied()?;
        self.in_flight.remove(&peer);
        self.mailbox.settled(peer);
        Some(frames)
    }

    fn on_gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_gossip(propagation_source, message_id, message.data);
            }
            gossipsub::Event::Subscribed { peer_id, .. } if self.sessions.subscribed(peer_id, Instant::now()) => {
                self.on_ready(peer_id);
            }
            gossipsub::Event::SlowPeer { peer_id, failed_messages } => {
                tracing::debug!(peer = %peer_id, ?failed_messages, "peer is slow to take gossip");
            }
            _ => {}
        }
    }

    fn on_gossip(&mut self, peer: PeerId, gossip_id: gossipsub::MessageId, data: Vec<u8>) {
        self.mailbox.counters.add(Counter::GossipIn, 1);
        self.mailbox.counters.add(Counter::BytesIn, data.len());
        let id = <[u8; 32]>::try_from(gossip_id.0.as_slice()).map_or_else(|_| MessageId::of(&data), MessageId);
        self.verdicts.remember(id, peer);
        let (len, cap) = (data.len(), self.limits.max_broadcast_bytes);
        if len > cap {
            self.refused(Some(peer), RefusalReason::FrameTooLarge { claimed: len as u64, cap: cap as u64 });
            return self.judge(id, Verdict::Reject);
        }
        if self.sessions.is_open(peer) {
            if self.sessions.identified(peer, Instant::now()) {
                self.on_ready(peer);
            }
            if self.delivery.notice(NetEvent::Gossip { peer, id, message: Bytes::from(data) }) {
                return;
            }
        }
        self.mailbox.counters.add(Counter::GossipDropped, 1);
        self.judge(id, Verdict::Ignore);
    }

    fn judge(&mut self, id: MessageId, verdict: Verdict) {
        let Some(source) = self.verdicts.source(&id) else { return };
        let acceptance = match verdict {
            Verdict::Accept => gossipsub::MessageAcceptance::Accept,
            Verdict::Ignore => gossipsub::MessageAcceptance::Ignore,
            Verdict::Reject => gossipsub::MessageAcceptance::Reject,
        };
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.report_message_validation_result(&gossipsub::MessageId::new(&id.0), &source, acceptance);
        }
    }

    fn publish(&mut self, message: Bytes) {
        let bytes = message.len();
        let topic = behaviour::topic(&self.protocols);
        let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() else { return };
        match gossip.publish(topic, message) {
            Ok(_) => {
                self.mailbox.counters.add(Counter::GossipOut, 1);
                self.mailbox.counters.add(Counter::BytesOut, bytes);
            }
            // Nobody there, said before, or all queues full: syncing brings it across.
            Err(error) => tracing::debug!(%error, bytes, "not published"),
        }
    }

    fn on_incoming_error(&mut self, peer: Option<PeerId>, error: ListenError) {
        match error {
            ListenError::Denied { cause } => match denial(cause) {
                Some(_) if peer.is_some_and(|peer| self.bans.is_banned(&peer)) => {
                    self.refused(peer, RefusalReason::Banned);
                }
                Some(reason) => self.refused(peer, reason),
                None => tracing::debug!(?peer, "incoming connection denied"),
            },
            error => tracing::debug!(?peer, %error, "incoming connection failed"),
        }
    }

    fn on_dial_error(&mut self, peer: PeerId, error: DialError) {
        self.mailbox.counters.add(Counter::DialFailures, 1);
        self.dialer.failed(peer, Instant::now());
        match error {
            DialError::WrongPeerId { obtained, address } => {
                let reason = RefusalReason::WrongPeer { found: obtained, addr: address.to_string() };
                self.refused(Some(peer), reason);
            }
            error => tracing::debug!(%peer, %error, "dial failed"),
        }
    }

    /// Closes the peer's connections for a reason that is told.
    fn turn_away(&mut self, peer: PeerId, reason: RefusalReason) {
        self.refused(Some(peer), reason);
        self.drop_peer(peer);
    }

    fn drop_peer(&mut self, peer: PeerId) {
        self.sessions.closing(peer);
        self.swarm.disconnect_peer_id(peer).ok();
    }

    fn refused(&mut self, peer: Option<PeerId>, reason: RefusalReason) {
        let shown = peer.map(tracing::field::display);
        match reason {
            // What an operator has to put right; the others strangers can cause at will.
            RefusalReason::OtherNetwork { .. }
            | RefusalReason::UnsupportedProtocol { .. }
            | RefusalReason::WrongPeer { .. } => tracing::warn!(peer = shown, %reason, "refused"),
            _ => tracing::debug!(peer = shown, %reason, "refused"),
        }
        self.mailbox.counters.refused(&reason);
        self.delivery.notice(NetEvent::Refused { peer, reason });
    }

    /// Says goodbye to everyone, for a bounded time.
    async fn close(mut self) {
        self.mailbox.set_closed();
        for peer in self.sessions.peers() {
            self.drop_peer(peer);
        }
        let farewell = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(FAREWELL_TIME, farewell).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }
}

/// Why one of our rules denied a connection.
fn denial(cause: ConnectionDenied) -> Option<RefusalReason> {
    let cause = match cause.downcast::<allow_block_list::NotAllowed>() {
        Ok(_) => return Some(RefusalReason::NotAdmitted),
        Err(cause) => cause,
    };
    let cause = match cause.downcast::<Shut>() {
        Ok(shut) => return Some(RefusalReason::ConnectionLimit(shut.to_string())),
        Err(cause) => cause,
    };
    let exceeded = cause.downcast::<connection_limits::Exceeded>().ok()?;
    Some(RefusalReason::ConnectionLimit(exceeded.to_string()))
}

/// libp2p listens with `SO_REUSEPORT`, under which a second process of the same user would share the port in silence and
/// take half of the connections. An ordinary bind finds out.
fn probe_tcp(addr: &Multiaddr) -> std::io::Result<()> {
    use libp2p::multiaddr::Protocol;
    let mut parts = addr.iter();
    let host: std::net::IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind((host, port)).map(drop),
        _ => Ok(()),
    }
}

/// How long a listener may take to report its address. 5 s: binding is immediate, only the list of interfaces is waited for.
const LISTEN_TIME: Duration = Duration::from_secs(5);
/// Wake-up when nothing is due. A minute; it costs nothing.
const IDLE_WAKE: Duration = Duration::from_secs(60);
/// How long closing connections may take. 500 ms: half of what shutting down may.
const FAREWELL_TIME: Duration = Duration::from_millis(500);
