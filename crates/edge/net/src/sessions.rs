//! Which peers are connected, and whether they have shown that they speak our protocols.
//!
//! A session is *ready* when the peer's identify answer names our protocols (or a frame of ours arrived, which proves the
//! same) and, with gossipsub, when it subscribed to our topic. Only then is it announced.
//!
//! Pure: told the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use crate::limits::Limits;

/// Every peer with at least one connection.
pub(crate) struct Sessions {
    sessions: BTreeMap<PeerId, Session>,
    /// Processes that made way for another one with the same peer id, and until when they are turned away. At most one a peer.
    yielding: BTreeMap<PeerId, (String, Instant)>,
    needs_subscription: bool,
    handshake_timeout: Duration,
    silence_max: Duration,
}

struct Session {
    since: Instant,
    /// Which process of the peer this is, as it says itself; `None` until it says so.
    process: Option<String>,
    /// When anything was last heard from the peer, pongs included.
    heard: Instant,
    /// The first connection was made by us.
    dialled: bool,
    /// There was a second connection, made the other way round.
    crossed: bool,
    identified: bool,
    subscribed: bool,
    ready_since: Option<Instant>,
    /// We are closing it; nothing of it counts any more.
    closing: bool,
}

/// What a new connection means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The first with this peer.
    First,
    /// Both sides dialled at once; both connections stay.
    AtOnce,
    /// The peer connects although we hold a connection: it lost its side of it, by a restart for example. All are to be closed,
    /// so that both sides begin anew.
    Again,
    /// The peer connects although its session has only just begun: this connection alone is to be closed.
    TooSoon,
}

/// Why a peer's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It did not become ready.
    Handshake,
    /// It was ready and has fallen silent. libp2p's own ping does not suffice: it forgives a first failure and then
    /// waits for a new stream, and takes 20 s where we promise 10.
    Silence,
}

/// What ended with the last connection of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// It had been announced.
    pub(crate) was_ready: bool,
    /// It was ready for long enough to trust the peer with a quick redial.
    pub(crate) stable: bool,
    /// We dialled, and the peer hung up before the session was ready.
    pub(crate) turned_away: bool,
}

impl Sessions {
    pub(crate) fn new(needs_subscription: bool, limits: &Limits) -> Self {
        let handshake_timeout = limits.handshake_timeout;
        let silence_max = limits.ping_interval + limits.ping_timeout;
        let (sessions, yielding) = (BTreeMap::new(), BTreeMap::new());
        Self { sessions, yielding, needs_subscription, handshake_timeout, silence_max }
    }

    pub(crate) fn joined(&mut self, peer: PeerId, dialled: bool, now: Instant) -> Joined {
        let Some(session) = self.sessions.get_mut(&peer) else {
            self.sessions.insert(peer, Session::new(dialled, now));
            return Joined::First;
        };
        let is_crossing = dialled != session.dialled && now - session.since <= DIALLED_AT_ONCE;
        if is_crossing && !session.crossed && !session.closing {
            session.crossed = true;
            return Joined::AtOnce;
        }
        if !session.closing && now - session.since < TURN {
            return Joined::TooSoon;
        }
        session.closing = true;
        if let Some(process) = session.process.take() {
            self.yielding.insert(peer, (process, now + TURN));
        }
        Joined::Again
    }

    /// The peer said which process of it this is; true if it is one that made way for another and must wait its turn.
    ///
    /// Two processes with one peer id (a key that is used twice) would otherwise throw each other out so quickly that neither
    /// is ever told so. Taking turns, both hear of what the other wrote.
    pub(crate) fn must_wait(&mut self, peer: PeerId, process: &str, now: Instant) -> bool {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.process = Some(process.to_owned());
        }
        self.yielding.retain(|_, (_, until)| now < *until);
        self.yielding.get(&peer).is_some_and(|(yielded, _)| yielded == process)
    }

    /// The peer showed that it speaks our protocols; true if this made it ready.
    pub(crate) fn identified(&mut self, peer: PeerId, now: Instant) -> bool {
        self.advance(peer, now, |session| session.identified = true)
    }

    /// The peer subscribed to our topic; true if this made it ready.
    pub(crate) fn subscribed(&mut self, peer: PeerId, now: Instant) -> bool {
        self.advance(peer, now, |session| session.subscribed = true)
    }

    fn advance(&mut self, peer: PeerId, now: Instant, step: impl FnOnce(&mut Session)) -> bool {
        let Some(session) = self.sessions.get_mut(&peer).filter(|session| !session.closing) else { return false };
        step(session);
        let complete = session.identified && (session.subscribed || !self.needs_subscription);
        let is_new = complete && session.ready_since.is_none();
        if is_new {
            session.ready_since = Some(now);
        }
        is_new
    }

    /// The peer gave a sign of life.
    pub(crate) fn heard(&mut self, peer: PeerId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.heard = now;
        }
    }

    /// We close the peer's connections; what it sends from now on does not count.
    pub(crate) fn closing(&mut self, peer: PeerId) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.closing = true;
        }
    }

    /// The last connection with the peer is gone.
    pub(crate) fn ended(&mut self, peer: PeerId, now: Instant) -> Option<Ended> {
        let session = self.sessions.remove(&peer)?;
        Some(Ended {
            was_ready: session.ready_since.is_some(),
            stable: session.ready_since.is_some_and(|since| now - since >= STABLE),
            turned_away: session.dialled && session.ready_since.is_none() && !session.closing,
        })
    }

    /// Peers whose time is over; each is marked as closing.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<(PeerId, Overdue)> {
        let (handshake, silence) = (self.handshake_timeout, self.silence_max);
        let mut overdue = Vec::new();
        for (peer, session) in &mut self.sessions {
            if let Some((at, why)) = session.deadline(handshake, silence)
                && at <= now
            {
                session.closing = true;
                overdue.push((*peer, why));
            }
        }
        overdue
    }

    /// When [`Self::take_overdue`] will next have something.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.sessions.values().filter_map(|s| s.deadline(self.handshake_timeout, self.silence_max));
        deadlines.map(|(at, _)| at).min()
    }

    /// True while the peer is connected and not being closed.
    pub(crate) fn is_open(&self, peer: PeerId) -> bool {
        self.sessions.get(&peer).is_some_and(|session| !session.closing)
    }

    /// True while the peer is open and was announced.
    pub(crate) fn is_ready(&self, peer: PeerId) -> bool {
        self.sessions.get(&peer).is_some_and(|session| !session.closing && session.ready_since.is_some())
    }

    /// True while any connection with the peer exists, closing ones included.
    pub(crate) fn is_connected(&self, peer: PeerId) -> bool {
        self.sessions.contains_key(&peer)
    }

    /// All connected peers.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.sessions.keys().copied().collect()
    }
}

impl Session {
    fn new(dialled: bool, since: Instant) -> Self {
        let (crossed, identified, subscribed, closing) = (false, false, false, false);
        let (process, ready_since) = (None, None);
        Self { since, process, heard: since, dialled, crossed, identified, subscribed, ready_since, closing }
    }

    fn deadline(&self, handshake: Duration, silence: Duration) -> Option<(Instant, Overdue)> {
        match self.ready_since {
            _ if self.closing => None,
            None => Some((self.since + handshake, Overdue::Handshake)),
            Some(ready) => Some((self.heard.max(ready) + silence, Overdue::Silence)),
        }
    }
}

/// Two connections made within this time of each other are a simultaneous dial. 2 s: both handshakes over a slow link.
const DIALLED_AT_ONCE: Duration = Duration::from_secs(2);
/// How long a session is safe from another connection of the same peer, and how long a process waits that made way. 4 s: time to
/// connect, greet and exchange what the other lacks.
const TURN: Duration = Duration::from_secs(4);
/// A session that lasted this long resets the patience of the dialer. 5 s: the longest wait between two dials.
const STABLE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const SILENCE: Duration = Duration::from_secs(10);

    fn setup(needs_subscription: bool) -> (Sessions, PeerId, Instant) {
        (Sessions::new(needs_subscription, &Limits::default()), PeerId::random(), Instant::now())
    }

    #[test]
    fn ready_needs_identify_and_with_gossip_a_subscription() {
        let (mut mesh, peer, now) = setup(false);
        assert!(!mesh.identified(peer, now), "not connected");
        assert_eq!(mesh.joined(peer, true, now), Joined::First);
        assert!(mesh.identified(peer, now));
        assert!(!mesh.identified(peer, now), "only once");

        let (mut gossip, peer, now) = setup(true);
        gossip.joined(peer, true, now);
        assert!(!gossip.subscribed(peer, now));
        assert!(!gossip.is_ready(peer));
        assert!(gossip.identified(peer, now));
        assert!(gossip.is_ready(peer));
    }

    #[test]
    fn a_late_second_connection_restarts_the_session() {
        let (mut sessions, peer, now) = setup(false);
        sessions.joined(peer, true, now);
        assert_eq!(sessions.joined(peer, false, now + DIALLED_AT_ONCE), Joined::AtOnce);
        sessions.identified(peer, now);
        assert_eq!(sessions.joined(peer, false, now + DIALLED_AT_ONCE), Joined::TooSoon, "a third");
        assert!(sessions.is_open(peer));
        assert_eq!(sessions.joined(peer, false, now + TURN), Joined::Again, "a third, later");
        assert!(!sessions.is_open(peer) && sessions.is_connected(peer));
        let ended = sessions.ended(peer, now + STABLE);
        assert_eq!(ended, Some(Ended { was_ready: true, stable: true, turned_away: false }));
        assert_eq!(sessions.ended(peer, now), None);

        for (dialled, after) in [(true, TURN), (false, TURN * 2)] {
            let other = PeerId::random();
            sessions.joined(other, true, now);
            assert_eq!(sessions.joined(other, dialled, now + after), Joined::Again, "same way, or too late");
        }
    }

    #[test]
    fn two_processes_with_one_peer_id_take_turns() {
        let (mut sessions, peer, now) = setup(false);
        sessions.joined(peer, true, now);
        assert!(!sessions.must_wait(peer, "first", now));
        assert_eq!(sessions.joined(peer, false, now + TURN), Joined::Again);
        sessions.ended(peer, now + TURN);
        sessions.joined(peer, true, now + TURN);
        assert!(sessions.must_wait(peer, "first", now + TURN), "it had its turn");
        sessions.ended(peer, now + TURN);
        sessions.joined(peer, false, now + TURN);
        assert!(!sessions.must_wait(peer, "second", now + TURN));
        assert_eq!(sessions.joined(peer, false, now + TURN + TURN / 2), Joined::TooSoon);
        assert!(!sessions.must_wait(peer, "first", now + TURN * 2), "its turn again");
    }

    #[test]
    fn the_silent_are_closed_and_the_curt_are_told_apart() {
        let (mut sessions, peer, now) = setup(false);
        sessions.joined(peer, true, now);
        assert_eq!(sessions.next_deadline(), Some(now + TIMEOUT));
        assert_eq!(sessions.take_overdue(now), vec![]);
        assert_eq!(sessions.take_overdue(now + TIMEOUT), vec![(peer, Overdue::Handshake)]);
        assert_eq!(sessions.next_deadline(), None);
        assert!(!sessions.identified(peer, now), "it is being closed");
        assert_eq!(sessions.ended(peer, now), Some(Ended { was_ready: false, stable: false, turned_away: false }));

        sessions.joined(peer, true, now);
        assert_eq!(sessions.ended(peer, now), Some(Ended { was_ready: false, stable: false, turned_away: true }));
    }

    #[test]
    fn who_falls_silent_is_closed_and_who_is_heard_stays() {
        let (mut sessions, peer, now) = setup(false);
        sessions.joined(peer, true, now);
        sessions.identified(peer, now);
        sessions.heard(peer, now + TIMEOUT);
        assert_eq!(sessions.next_deadline(), Some(now + TIMEOUT + SILENCE));
        assert_eq!(sessions.take_overdue(now + SILENCE), vec![]);
        assert_eq!(sessions.take_overdue(now + TIMEOUT + SILENCE), vec![(peer, Overdue::Silence)]);
    }
}
