//! Open votes: heads that are not certified yet, and who voted for them. Bounded; a vote that falls out is made good by the certificate
//! that another replica formed with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{AuthorKey, Certificate, DoubleVote, Head, HeadVote, LogKey, Membership, OpId, Signature, VerifiedVote};

/// Open votes of one voter for one log. A few: a new one comes every thirty seconds, and a head that is not certified by the third next has
/// been overtaken.
pub const OPEN_VOTES_MAX: usize = 4;

/// Votes for heads that are not certified yet.
#[derive(Clone, Debug, Default)]
pub struct Ballots {
    open: BTreeMap<Key, BTreeMap<AuthorKey, Signature>>,
    shares: BTreeMap<(AuthorKey, LogKey), BTreeSet<Key>>,
}

/// A head without its network, in the order that longer ones come later in their log.
type Key = (LogKey, u64, OpId, u32);

/// What became of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It was known, or there is no room for it.
    Dropped,
    /// It is kept.
    Open,
    /// It is kept in the place of a shorter one of its voter: whoever votes on and on brings nothing new.
    Crowded,
    /// With it the head is certified; its votes are not open any more.
    Certified(Certificate),
}

impl Ballots {
    /// Counts a vote; a second one of its voter at the same length is a proof.
    pub fn count(&mut self, vote: &VerifiedVote, members: &Membership) -> (Counted, Option<DoubleVote>) {
        let HeadVote { head, voter, signature } = *vote.vote();
        let key = key_of(&head);
        if self.contains(vote.vote()) {
            return (Counted::Dropped, None);
        }
        let double = self.other(vote);
        self.open.entry(key).or_default().insert(voter, signature);
        let share = self.shares.entry((voter, head.log)).or_default();
        share.insert(key);
        let shortest = share.first().copied().filter(|_| share.len() > OPEN_VOTES_MAX);
        if let Some(shortest) = shortest {
            self.remove(shortest, voter);
        }
        let Some(votes) = self.open.get(&key).filter(|votes| votes.contains_key(&voter)) else {
            return (Counted::Dropped, double);
        };
        let votes: Vec<_> = votes.iter().map(|(&voter, &signature)| (voter, signature)).collect();
        match Certificate::of(head, &votes, members) {
            Some(certificate) => {
                votes.iter().for_each(|&(voter, _)| self.remove(key, voter));
                (Counted::Certified(certificate), double)
            }
            None if shortest.is_some() => (Counted::Crowded, double),
            None => (Counted::Open, double),
        }
    }

    /// Whether this very vote is open: another copy is not worth a signature check.
    pub fn contains(&self, vote: &HeadVote) -> bool {
        self.open.get(&key_of(&vote.head)).is_some_and(|votes| votes.contains_key(&vote.voter))
    }

    /// Open votes of one voter.
    pub fn of(&self, voter: AuthorKey, network: crate::NetworkId) -> impl Iterator<Item = HeadVote> {
        let logs = self.shares.range((voter, FIRST)..).take_while(move |((of, _), _)| *of == voter);
        logs.flat_map(|(_, keys)| keys).filter_map(move |&key| {
            let signature = *self.open.get(&key)?.get(&voter)?;
            let (log, len, id, epoch) = key;
            Some(HeadVote { head: Head { network, log, len, id, epoch }, voter, signature })
        })
    }

    /// Forgets votes for heads of a log up to a length: something at least as long is certified.
    pub fn drop_to(&mut self, log: LogKey, len: u64) {
        let overtaken = (log, 0, LOW, 0)..=(log, len, HIGH, u32::MAX);
        let gone: Vec<_> =
            self.open.range(overtaken).flat_map(|(&k, votes)| votes.keys().map(move |&v| (k, v))).collect();
        gone.into_iter().for_each(|(key, voter)| self.remove(key, voter));
    }

    /// Open votes of a certificate's signers for another head of the same length: each with the one in the certificate is a proof.
    pub fn contradicting(&self, certificate: &Certificate) -> Vec<DoubleVote> {
        let signed = certificate.signers().filter_map(|voter| certificate.vote_of(&voter));
        signed.filter_map(|vote| self.other(&vote)).collect()
    }

    /// How many votes are open.
    pub fn len(&self) -> usize {
        self.shares.values().map(BTreeSet::len).sum()
    }

    /// Whether no vote is open.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Checks that no voter is over its share and that the shares are what is open (SYNC-4).
    pub fn check_invariants(&self) {
        assert!(self.shares.values().all(|keys| keys.len() <= OPEN_VOTES_MAX), "SYNC-4: open votes of a voter");
        let open: usize = self.open.values().map(BTreeMap::len).sum();
        assert_eq!(open, self.len(), "SYNC-4: shares of open votes");
    }

    /// Another open vote of the same voter at the same length.
    fn other(&self, vote: &VerifiedVote) -> Option<DoubleVote> {
        let HeadVote { head, voter, .. } = *vote.vote();
        let same_len = (head.log, head.len, LOW, 0)..=(head.log, head.len, HIGH, u32::MAX);
        self.open.range(same_len).find_map(|(&(log, len, id, epoch), votes)| {
            let head = Head { network: head.network, log, len, id, epoch };
            let other = HeadVote { head, voter, signature: *votes.get(&voter)? };
            DoubleVote::of(vote, &VerifiedVote::certified(other))
        })
    }

    fn remove(&mut self, key: Key, voter: AuthorKey) {
        if let Some(votes) = self.open.get_mut(&key) {
            votes.remove(&voter);
            if votes.is_empty() {
                self.open.remove(&key);
            }
        }
        if let Some(share) = self.shares.get_mut(&(voter, key.0)) {
            share.remove(&key);
            if share.is_empty() {
                self.shares.remove(&(voter, key.0));
            }
        }
    }
}

const LOW: OpId = OpId::from_bytes([0; 32]);
const HIGH: OpId = OpId::from_bytes([0xff; 32]);
const FIRST: LogKey = LogKey { author: AuthorKey::from_bytes([0; 32]), index: 0 };

const fn key_of(head: &Head) -> Key {
    (head.log, head.len, head.id, head.epoch)
}
