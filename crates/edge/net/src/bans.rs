//! Who is kept away, and until when.
//!
//! Pure: told the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// The admitted set as it was ordered, and the peers that are out of it for a time. A ban of a peer that is not admitted means nothing,
/// so there are at most as many bans as admitted peers.
#[derive(Default)]
pub(crate) struct Bans {
    ordered: BTreeSet<PeerId>,
    until: BTreeMap<PeerId, Instant>,
}

impl Bans {
    /// The admitted set is this one from now on.
    pub(crate) fn order(&mut self, admitted: BTreeSet<PeerId>) {
        self.until.retain(|peer, _| admitted.contains(peer));
        self.ordered = admitted;
    }

    /// Keeps a peer away for a time; a longer ban stays.
    pub(crate) fn ban(&mut self, peer: PeerId, time: Duration, now: Instant) {
        if self.ordered.contains(&peer) {
            let until = self.until.entry(peer).or_insert(now);
            *until = (*until).max(now + time);
        }
    }

    /// Forgets the bans that are over; true if there was one.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| now < *until);
        self.until.len() < before
    }

    /// When the next ban is over.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.until.contains_key(peer)
    }

    /// Who is to be connected.
    pub(crate) fn admitted(&self) -> BTreeSet<PeerId> {
        self.ordered.iter().filter(|peer| !self.is_banned(peer)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_end_and_the_longer_one_counts() {
        let (peer, other, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut bans = Bans::default();
        bans.ban(peer, Duration::from_secs(9), now);
        bans.order(BTreeSet::from([peer, other]));
        assert_eq!(bans.admitted(), BTreeSet::from([peer, other]), "it was not admitted when it was banned");
        bans.ban(peer, Duration::from_secs(9), now);
        bans.ban(peer, Duration::from_secs(1), now);
        assert_eq!(bans.admitted(), BTreeSet::from([other]));
        assert!(!bans.end(now + Duration::from_secs(8)));
        assert_eq!(bans.next_end(), Some(now + Duration::from_secs(9)));
        bans.order(BTreeSet::from([peer]));
        assert!(bans.is_banned(&peer), "a new set wipes nothing out");
        assert!(bans.end(now + Duration::from_secs(9)));
        assert_eq!((bans.admitted(), bans.next_end()), (BTreeSet::from([peer]), None));
    }
}
