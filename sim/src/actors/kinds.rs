//! The list of actors and attacks: numbers, names, and what is made for each.

use concurrence_oracle::Registry;

use super::{Actor, Equivocator, attacks, claims, conduct, forgers, forkers, voters};
use crate::node::Keys;

/// All actors (B) and attacks (A). What each does and what answers it is listed in `docs/invariants.md`, with the numbers of those
/// that need no actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorKind {
    /// B01: signs different histories for different peers.
    Equivocator,
    /// B02: forks positions that everyone has long built upon.
    LateForker,
    /// B03: lets some peers hear of its operations, and hands on nobody's.
    Withholder,
    /// B04: sends more than anyone can use.
    Flooder,
    /// B05: dates its operations into the future.
    FutureDater,
    /// B06: dates its operations into the past.
    PastDater,
    /// B07: refers to operations that do not exist.
    GhostReferrer,
    /// B08: claims to have what it has not.
    LyingFrontier,
    /// B09: repeats what was said long ago.
    StaleReplayer,
    /// B10: answers nothing and takes nothing.
    SlowLoris,
    /// B11: asks for everything, again and again.
    Amplifier,
    /// B12: damages what it passes on.
    Corrupter,
    /// B13: a stranger with any number of keys.
    SybilJoiner,
    /// B14: one of several that tell two halves two stories, and stand by one another's.
    Islander,
    /// B15: votes for two heads of one length.
    DoubleVoter,
    /// B16: accuses honest authors of forks.
    ProofForger,
    /// B17: other contents under the ids of true operations.
    IdCollider,
    /// B18: numbers at the ends of their types.
    Overflower,
    /// A01: operations in the name of others.
    ForgedAuthor,
    /// A02: two operations for one position, in opposite order for different peers.
    CrossedOrders,
    /// A03: two statements about one feed in one slot, in two logs.
    TwoStatements,
    /// A04: the greatest position and the greatest time.
    LastNumber,
    /// A05: a price operation that lacks a field.
    MissingField,
    /// A06: a long chain, delivered in reverse.
    ReversedChain,
    /// A07: another encoding of the same batch.
    OtherEncoding,
    /// A08: one signature under another position, log or network.
    MovedSignature,
    /// A09: operations behind one that is over quota.
    InvalidParent,
    /// A10: operations whose predecessors nobody has.
    Orphans,
    /// A11: the same operation a thousand times.
    DuplicateStorm,
    /// A12: a long chain, then as many siblings with falling positions.
    FallingSiblings,
}

impl ActorKind {
    /// Every actor and every attack.
    pub const ALL: [Self; 30] = [
        Self::Equivocator,
        Self::LateForker,
        Self::Withholder,
        Self::Flooder,
        Self::FutureDater,
        Self::PastDater,
        Self::GhostReferrer,
        Self::LyingFrontier,
        Self::StaleReplayer,
        Self::SlowLoris,
        Self::Amplifier,
        Self::Corrupter,
        Self::SybilJoiner,
        Self::Islander,
        Self::DoubleVoter,
        Self::ProofForger,
        Self::IdCollider,
        Self::Overflower,
        Self::ForgedAuthor,
        Self::CrossedOrders,
        Self::TwoStatements,
        Self::LastNumber,
        Self::MissingField,
        Self::ReversedChain,
        Self::OtherEncoding,
        Self::MovedSignature,
        Self::InvalidParent,
        Self::Orphans,
        Self::DuplicateStorm,
        Self::FallingSiblings,
    ];

    /// Its number and name, as scenario files write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equivocator => "b01-equivocator",
            Self::LateForker => "b02-late-forker",
            Self::Withholder => "b03-withholder",
            Self::Flooder => "b04-flooder",
            Self::FutureDater => "b05-future-dater",
            Self::PastDater => "b06-past-dater",
            Self::GhostReferrer => "b07-ghost-refs",
            Self::LyingFrontier => "b08-lying-frontier",
            Self::StaleReplayer => "b09-stale-replayer",
            Self::SlowLoris => "b10-slow-loris",
            Self::Amplifier => "b11-amplifier",
            Self::Corrupter => "b12-corrupter",
            Self::SybilJoiner => "b13-sybil-joiner",
            Self::Islander => "b14-colluding-islands",
            Self::DoubleVoter => "b15-double-voter",
            Self::ProofForger => "b16-forged-proof",
            Self::IdCollider => "b17-id-collider",
            Self::Overflower => "b18-overflower",
            Self::ForgedAuthor => "a01-forged-author",
            Self::CrossedOrders => "a02-crossed-orders",
            Self::TwoStatements => "a03-two-statements",
            Self::LastNumber => "a04-last-number",
            Self::MissingField => "a05-missing-field",
            Self::ReversedChain => "a06-reversed-chain",
            Self::OtherEncoding => "a07-other-encoding",
            Self::MovedSignature => "a08-moved-signature",
            Self::InvalidParent => "a09-invalid-parent",
            Self::Orphans => "a10-orphans",
            Self::DuplicateStorm => "a11-duplicate-storm",
            Self::FallingSiblings => "a12-falling-siblings",
        }
    }

    /// Whether its node is no member: its keys are in no registry.
    pub const fn is_stranger(self) -> bool {
        matches!(self, Self::SybilJoiner)
    }

    /// An actor at its start.
    pub(crate) fn made(self, keys: &Keys, registry: &Registry) -> Box<dyn Actor> {
        match self {
            Self::Equivocator => Box::new(Equivocator::new(keys.author, keys.evm.clone(), registry.clone())),
            Self::LateForker => Box::new(forkers::LateForker::default()),
            Self::Withholder => Box::new(conduct::Withholder::default()),
            Self::Flooder => Box::new(conduct::Flooder::default()),
            Self::FutureDater => Box::new(claims::FutureDater::default()),
            Self::PastDater => Box::new(claims::PastDater::default()),
            Self::GhostReferrer => Box::new(claims::GhostReferrer::default()),
            Self::LyingFrontier => Box::new(conduct::LyingFrontier::default()),
            Self::StaleReplayer => Box::new(conduct::StaleReplayer::default()),
            Self::SlowLoris => Box::new(conduct::SlowLoris::default()),
            Self::Amplifier => Box::new(conduct::Amplifier::default()),
            Self::Corrupter => Box::new(forgers::Corrupter::default()),
            Self::SybilJoiner => Box::new(forgers::SybilJoiner::default()),
            Self::Islander => Box::new(forkers::Islander::new(keys, registry)),
            Self::DoubleVoter => Box::new(voters::DoubleVoter::default()),
            Self::ProofForger => Box::new(forgers::ProofForger::default()),
            Self::IdCollider => Box::new(forgers::IdCollider::default()),
            Self::Overflower => Box::new(claims::Overflower::default()),
            Self::ForgedAuthor => Box::new(forgers::ForgedAuthor::default()),
            Self::CrossedOrders => Box::new(forkers::CrossedOrders::default()),
            Self::TwoStatements => Box::new(attacks::TwoStatements::default()),
            Self::LastNumber => Box::new(claims::LastNumber::default()),
            Self::MissingField => Box::new(attacks::MissingField::default()),
            Self::ReversedChain => Box::new(attacks::ReversedChain::default()),
            Self::OtherEncoding => Box::new(attacks::OtherEncoding::default()),
            Self::MovedSignature => Box::new(forgers::MovedSignature::default()),
            Self::InvalidParent => Box::new(attacks::InvalidParent::default()),
            Self::Orphans => Box::new(attacks::Orphans::default()),
            Self::DuplicateStorm => Box::new(attacks::DuplicateStorm::default()),
            Self::FallingSiblings => Box::new(forkers::FallingSiblings::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ActorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ActorKind::ALL.len());
        let kinds: BTreeSet<_> = ActorKind::ALL.into_iter().collect();
        assert_eq!(kinds.len(), ActorKind::ALL.len());
    }
}
