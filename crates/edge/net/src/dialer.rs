//! Who is dialled when: one schedule per peer, doubling waits with jitter, nobody who is not admitted.
//!
//! Pure: told the time, never dials itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::addr::PeerAddr;
use crate::limits::{ADDRESSES_PER_PEER, DIAL_ADDRESSES, Limits};

/// The schedule of all configured peers.
pub(crate) struct Dialer {
    local: PeerId,
    wait_min: Duration,
    wait_max: Duration,
    targets: BTreeMap<PeerId, Target>,
    addresses: usize,
}

struct Target {
    addrs: Vec<Multiaddr>,
    admitted: bool,
    connected: bool,
    /// Attempts since the last stable session.
    attempts: u32,
    /// When to dial; none while dialling, connected or not admitted.
    due: Option<Instant>,
}

impl Dialer {
    pub(crate) fn new(local: PeerId, limits: &Limits) -> Self {
        let (wait_min, wait_max) = (limits.redial_min, limits.redial_max);
        Self { local, wait_min, wait_max, targets: BTreeMap::new(), addresses: 0 }
    }

    /// Takes one more address; false if there are too many.
    pub(crate) fn add(&mut self, target: PeerAddr, admitted: bool, connected: bool, now: Instant) -> bool {
        if self.addresses == DIAL_ADDRESSES {
            return false;
        }
        let first = self.first_due(target.peer, now);
        let entry = self.targets.entry(target.peer).or_insert_with(|| Target {
            addrs: Vec::new(),
            admitted,
            connected,
            attempts: 0,
            due: (admitted && !connected).then_some(first),
        });
        if entry.addrs.contains(&target.addr) {
            return true;
        }
        if entry.addrs.len() == ADDRESSES_PER_PEER {
            return false;
        }
        entry.addrs.push(target.addr);
        self.addresses += 1;
        true
    }

    /// Replaces the admitted set: the newly admitted are due at once, with the patience of a first attempt.
    pub(crate) fn admit(&mut self, admitted: &BTreeSet<PeerId>, now: Instant) {
        let local = self.local;
        for (peer, target) in &mut self.targets {
            let is_admitted = admitted.contains(peer);
            if is_admitted && !target.admitted {
                target.attempts = 0;
                target.due = (!target.connected).then(|| first_due(local, *peer, now));
            }
            if !is_admitted {
                target.due = None;
            }
            target.admitted = is_admitted;
        }
    }

    /// A connection with the peer exists, whoever made it.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.connected = true;
            target.due = None;
        }
    }

    /// The last connection with the peer is gone. After a stable session patience starts anew; otherwise a peer that
    /// takes connections and drops them is asked ever more rarely.
    pub(crate) fn disconnected(&mut self, peer: PeerId, stable: bool, now: Instant) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.connected = false;
            if stable {
                target.attempts = 0;
            }
        }
        self.schedule(peer, now);
    }

    /// A dial failed.
    pub(crate) fn failed(&mut self, peer: PeerId, now: Instant) {
        self.schedule(peer, now);
    }

    /// The peers to dial now; each is marked as being dialled.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self.targets.iter_mut().filter(|(_, target)| target.due.is_some_and(|due| due <= now));
        due.map(|(peer, target)| {
            target.due = None;
            (*peer, target.addrs.clone())
        })
        .collect()
    }

    /// When [`Self::take_due`] will next have something.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.targets.values().filter_map(|target| target.due).min()
    }

    fn schedule(&mut self, peer: PeerId, now: Instant) {
        let local = self.local;
        let (wait_min, wait_max) = (self.wait_min, self.wait_max);
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if !target.admitted || target.connected {
            return;
        }
        let wait = wait_min.saturating_mul(1 << target.attempts.min(MAX_DOUBLINGS)).min(wait_max);
        target.due = Some(now + wait.mul_f64(jitter(local, peer, target.attempts)));
        target.attempts = target.attempts.saturating_add(1);
    }

    fn first_due(&self, peer: PeerId, now: Instant) -> Instant {
        first_due(self.local, peer, now)
    }
}

/// Of two peers that know each other the one with the smaller id dials first; the other gives it a moment, so that
/// usually one connection is made and not two.
fn first_due(local: PeerId, peer: PeerId, now: Instant) -> Instant {
    if local < peer { now } else { now + YIELD_TO_PEER }
}

/// A factor in [1/2, 1) that differs for every pair of peers and attempt. No random numbers needed: what matters is
/// that peers do not dial in step.
fn jitter(local: PeerId, peer: PeerId, attempt: u32) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&local.to_bytes()).update(&peer.to_bytes()).update(&attempt.to_be_bytes());
    f64::from(hasher.finalize().as_bytes()[0]) / 512.0 + 0.5
}

/// The head start of the smaller id. 150 ms: most round trips, far below what an operator notices.
const YIELD_TO_PEER: Duration = Duration::from_millis(150);
/// Where doubling stops mattering: 2^16 times the first wait is beyond every longest wait.
const MAX_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Dialer, PeerId, Instant) {
        let (local, peer, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut dialer = Dialer::new(local, &Limits::default());
        assert!(dialer.add(at(peer, 1), true, false, now));
        (dialer, peer, now)
    }

    fn at(peer: PeerId, port: u16) -> PeerAddr {
        PeerAddr { peer, addr: format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap() }
    }

    #[test]
    fn waits_double_with_jitter_and_stay_bounded() {
        let (mut dialer, peer, mut now) = setup();
        now += YIELD_TO_PEER;
        for attempt in 0..12_u32 {
            assert_eq!(dialer.take_due(now).len(), 1);
            assert_eq!(dialer.next_due(), None, "one dial at a time");
            dialer.failed(peer, now);
            let wait = dialer.next_due().unwrap() - now;
            let full = Duration::from_millis(250 << attempt.min(10)).min(Duration::from_secs(5));
            assert!(wait >= full / 2 && wait < full, "attempt {attempt}: {wait:?}");
            now += wait;
        }
    }

    #[test]
    fn patience_starts_anew_after_a_stable_session_only() {
        let (mut dialer, peer, now) = setup();
        for _ in 0..6 {
            dialer.failed(peer, now);
        }
        for (stable, longest) in [(false, Duration::from_secs(5)), (true, Duration::from_millis(250))] {
            dialer.connected(peer);
            assert_eq!(dialer.next_due(), None);
            dialer.disconnected(peer, stable, now);
            let wait = dialer.next_due().unwrap() - now;
            assert!(wait >= longest / 2 && wait < longest, "{stable}: {wait:?}");
        }
    }

    #[test]
    fn the_not_admitted_are_never_dialled_and_the_readmitted_at_once() {
        let (mut dialer, peer, now) = setup();
        for _ in 0..6 {
            dialer.failed(peer, now);
        }
        dialer.admit(&BTreeSet::new(), now);
        dialer.failed(peer, now);
        dialer.connected(peer);
        dialer.disconnected(peer, true, now);
        let stranger = PeerId::random();
        assert!(dialer.add(at(stranger, 2), false, false, now));
        assert_eq!(dialer.next_due(), None);
        dialer.admit(&BTreeSet::from([peer]), now);
        assert_eq!(dialer.take_due(now + YIELD_TO_PEER), vec![(peer, vec![at(peer, 1).addr])]);
    }

    /// Fifty peers that are not there, or that take connections and drop them: no more than 22 dials a minute for each, once patience
    /// has run out, and never two at once.
    #[test]
    fn redials_are_no_storm() {
        for is_flapping in [false, true] {
            let (local, started) = (PeerId::random(), Instant::now());
            let mut dialer = Dialer::new(local, &Limits::default());
            for port in 1..=50 {
                dialer.add(at(PeerId::random(), port), true, false, started);
            }
            let mut dials = [0; 3];
            while let Some(due) = dialer.next_due().filter(|due| *due < started + Duration::from_secs(180)) {
                for (peer, _) in dialer.take_due(due) {
                    dials[usize::try_from((due - started).as_secs() / 60).unwrap()] += 1;
                    if is_flapping {
                        dialer.connected(peer);
                        dialer.disconnected(peer, false, due);
                    } else {
                        dialer.failed(peer, due);
                    }
                }
            }
            assert!(dials[0] <= 50 * 24 && dials[1..].iter().all(|&n| n <= 50 * 22), "{dials:?}");
            assert!(dials.iter().all(|&n| n >= 50 * 12), "a healed link is found soon: {dials:?}");
        }
    }

    #[test]
    fn addresses_are_bounded_and_unique() {
        let (mut dialer, peer, now) = setup();
        assert!(dialer.add(at(peer, 1), true, false, now));
        let taken = (2..100).filter(|port| dialer.add(at(peer, *port), true, false, now)).count();
        assert_eq!(taken, ADDRESSES_PER_PEER - 1);
    }
}
