//! Who may begin a handshake, and how many connections guests may have.
//!
//! A stranger costs a handshake before its name is known. What is known before that is where it comes from: hosts of members (their
//! configured addresses, and where they were last connected from) have room of their own, which strangers cannot use up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::limits::{DIAL_ADDRESSES, Limits};

/// Pure: told the time.
pub(crate) struct Doors {
    limits: Limits,
    /// Hosts that members were configured at or came from, and the handshakes that each may still begin.
    hosts: BTreeMap<Host, Allowance>,
    /// The same for all others together.
    strangers: Allowance,
    /// Handshakes in progress.
    pending: BTreeMap<ConnectionId, Host>,
    /// Peers that are no members.
    guests: BTreeSet<PeerId>,
    /// Their incoming connections.
    guest_connections: BTreeSet<ConnectionId>,
}

/// An IPv4 address, or the network part of an IPv6 address: whoever has one of those has all 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// No IP address: a transport of tests.
    Other,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shut {
    #[error("{0} handshakes with hosts of no member are in progress")]
    Strangers(u32),
    #[error("{0} handshakes with its host are in progress")]
    Host(u32),
    #[error("its host begins handshakes too fast")]
    Rate,
    #[error("guests have {0} connections")]
    Guests(u32),
}

/// Handshakes that may be begun, filling with time.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Doors {
    pub(crate) fn new(limits: &Limits, guests: BTreeSet<PeerId>, now: Instant) -> Self {
        let strangers = Allowance { left: HANDSHAKES_AT_ONCE, since: now };
        let (hosts, pending, guest_connections) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { limits: limits.clone(), hosts, strangers, pending, guests, guest_connections }
    }

    /// A member is or was at this address.
    pub(crate) fn know(&mut self, addr: &Multiaddr, now: Instant) {
        let host = Host::of(addr);
        if host != Host::Other && self.hosts.len() < HOSTS_MAX {
            self.hosts.entry(host).or_insert(Allowance { left: HANDSHAKES_AT_ONCE, since: now });
        }
    }

    /// Someone comes from `addr`.
    pub(crate) fn knock(&mut self, connection: ConnectionId, addr: &Multiaddr, now: Instant) -> Result<(), Shut> {
        let host = Host::of(addr);
        let from_host =
            u32::try_from(self.pending.values().filter(|&&other| other == host).count()).unwrap_or(u32::MAX);
        let allowance = match self.hosts.get_mut(&host) {
            Some(_) if from_host >= self.limits.pending_known_host => return Err(Shut::Host(from_host)),
            Some(allowance) => allowance,
            None if from_host >= self.limits.pending_other_host => return Err(Shut::Host(from_host)),
            None => {
                let strangers = self.pending.values().filter(|other| !self.hosts.contains_key(other)).count();
                let strangers = u32::try_from(strangers).unwrap_or(u32::MAX);
                if strangers >= self.limits.pending_strangers {
                    return Err(Shut::Strangers(strangers));
                }
                &mut self.strangers
            }
        };
        if !allowance.take(now) {
            return Err(Shut::Rate);
        }
        self.pending.insert(connection, host);
        Ok(())
    }

    /// The handshake ended, one way or the other.
    pub(crate) fn settled(&mut self, connection: ConnectionId) {
        self.pending.remove(&connection);
    }

    /// An incoming connection of an admitted peer is made. Members' hosts are remembered.
    pub(crate) fn enter(
        &mut self,
        connection: ConnectionId,
        peer: &PeerId,
        addr: &Multiaddr,
        now: Instant,
    ) -> Result<(), Shut> {
        if !self.guests.contains(peer) {
            self.know(addr, now);
            return Ok(());
        }
        let present = u32::try_from(self.guest_connections.len()).unwrap_or(u32::MAX);
        if present >= self.limits.guest_connections {
            return Err(Shut::Guests(present));
        }
        self.guest_connections.insert(connection);
        Ok(())
    }

    /// A connection is gone.
    pub(crate) fn left(&mut self, connection: ConnectionId) {
        self.settled(connection);
        self.guest_connections.remove(&connection);
    }
}

impl Host {
    fn of(addr: &Multiaddr) -> Self {
        match addr.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::Ip(ip.into()),
            Some(Protocol::Ip6(ip)) => match ip.to_ipv4_mapped() {
                Some(ip) => Self::Ip(ip.into()),
                None => Self::Ip((ip & NETWORK_PART).into()),
            },
            _ => Self::Other,
        }
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let gained = (now - self.since).as_millis() / HANDSHAKE_INTERVAL.as_millis();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.since += HANDSHAKE_INTERVAL.saturating_mul(gained);
        self.left = self.left.saturating_add(gained).min(HANDSHAKES_AT_ONCE);
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

/// The first 64 bits of an IPv6 address.
const NETWORK_PART: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0);
/// Handshakes that a host of members, or all other hosts together, may begin at once. 64: everyone of a network of 30 on one host.
const HANDSHAKES_AT_ONCE: u32 = 64;
/// Time until it may begin another. 31 ms: 32 a second at 0.3 ms of a core each are a hundredth of it.
const HANDSHAKE_INTERVAL: Duration = Duration::from_millis(31);
/// Hosts remembered. As many as addresses can be configured, and as many that members came from.
const HOSTS_MAX: usize = 2 * DIAL_ADDRESSES;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Multiaddr {
        format!("{host}/tcp/1").parse().unwrap()
    }

    fn doors() -> (Doors, Instant) {
        let now = Instant::now();
        (Doors::new(&Limits::default(), BTreeSet::new(), now), now)
    }

    fn connection(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn strangers_fill_their_room_and_members_still_get_in() {
        let (mut doors, mut now) = doors();
        doors.know(&at("/ip4/10.0.0.1"), now);
        let limits = Limits::default();
        // From one host, then from as many as it takes.
        let one = (0..100).filter(|&n| doors.knock(connection(n), &at("/ip4/10.9.9.9"), now).is_ok()).count();
        assert_eq!(one, limits.pending_other_host as usize);
        let many = (100..1_000).filter(|&n| {
            let host = format!("/ip4/10.1.{}.{}", n / 250, n % 250);
            doors.knock(connection(n), &at(&host), now).is_ok()
        });
        assert_eq!(one + many.count(), limits.pending_strangers as usize);
        assert_eq!(
            doors.knock(connection(1), &at("/ip4/10.8.8.8"), now),
            Err(Shut::Strangers(limits.pending_strangers))
        );
        let known = (1_000..2_000).filter(|&n| doors.knock(connection(n), &at("/ip4/10.0.0.1"), now).is_ok()).count();
        assert_eq!(known, limits.pending_known_host as usize);

        // Handshakes that end at once are limited by their rate.
        (0..2_000).for_each(|n| doors.settled(connection(n)));
        let begun = |doors: &mut Doors, now| {
            let begin = |n: &usize| {
                let is_in = doors.knock(connection(*n), &at("/ip4/10.7.7.7"), now).is_ok();
                doors.settled(connection(*n));
                is_in
            };
            (0..1_000).filter(begin).count()
        };
        assert_eq!(begun(&mut doors, now), (HANDSHAKES_AT_ONCE - limits.pending_strangers) as usize);
        now += Duration::from_secs(1);
        assert_eq!(begun(&mut doors, now), 32);
        assert_eq!(doors.knock(connection(1), &at("/ip4/10.0.0.1"), now), Ok(()), "members are not held up by it");
    }

    #[test]
    fn an_ipv6_network_is_one_host() {
        assert_eq!(Host::of(&at("/ip6/2001:db8::1")), Host::of(&at("/ip6/2001:db8::ffff:1")));
        assert_ne!(Host::of(&at("/ip6/2001:db8::1")), Host::of(&at("/ip6/2001:db8:0:1::1")));
        assert_eq!(Host::of(&at("/ip6/::ffff:10.0.0.1")), Host::of(&at("/ip4/10.0.0.1")));
    }

    #[test]
    fn guests_have_room_of_their_own_and_no_more() {
        let guest = PeerId::random();
        let now = Instant::now();
        let limits = Limits { guest_connections: 2, ..Limits::default() };
        let mut doors = Doors::new(&limits, BTreeSet::from([guest]), now);
        let addr = at("/ip4/10.0.0.1");
        assert_eq!(doors.enter(connection(1), &guest, &addr, now), Ok(()));
        assert_eq!(doors.enter(connection(2), &guest, &addr, now), Ok(()));
        assert_eq!(doors.enter(connection(3), &guest, &addr, now), Err(Shut::Guests(2)));
        assert_eq!(doors.enter(connection(4), &PeerId::random(), &addr, now), Ok(()));
        doors.left(connection(1));
        assert_eq!(doors.enter(connection(5), &guest, &addr, now), Ok(()));
    }

    #[test]
    fn where_a_member_came_from_is_remembered() {
        let (mut doors, now) = doors();
        let (addr, limits) = (at("/ip4/10.0.0.7"), Limits::default());
        let knocks = |doors: &mut Doors| (0..64).filter(|&n| doors.knock(connection(n), &addr, now).is_ok()).count();
        assert_eq!(knocks(&mut doors), limits.pending_other_host as usize);
        doors.enter(connection(0), &PeerId::random(), &addr, now).unwrap();
        (0..64).for_each(|n| doors.settled(connection(n)));
        assert_eq!(knocks(&mut doors), limits.pending_known_host as usize);
    }
}
