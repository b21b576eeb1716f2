//! Fork proofs: two different signed headers at one position.

use crate::{AuthorKey, KeyError, NetworkId, OpError, SignedHeader, VerifiedHeader, codec::Reader};

/// Two different headers that one author signed for one (log, seq). Whatever their `prev` says: an honest author never signs
/// a second header for a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkProof {
    // `low.id() < high.id()`: one form for one pair.
    low: SignedHeader,
    high: SignedHeader,
}

/// Why two headers prove nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// A header could not be read.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The headers stand at different positions.
    #[error("fork proof names two positions")]
    DifferentPositions,
    /// The headers are one and the same, or not in ascending order of their ids.
    #[error("fork proof does not hold two different headers in order of their ids")]
    NotOrdered,
    /// A signature does not verify.
    #[error("fork proof: {0}")]
    Key(#[from] KeyError),
}

impl ForkProof {
    /// The proof in two verified headers, if they are one.
    pub fn of(a: &VerifiedHeader, b: &VerifiedHeader) -> Option<Self> {
        let (a, b) = (a.signed(), b.signed());
        let (low, high) = if a.id() < b.id() { (a, b) } else { (b, a) };
        let same_position = low.header().log == high.header().log && low.header().seq == high.header().seq;
        (same_position && low.id() != high.id()).then(|| Self { low: low.clone(), high: high.clone() })
    }

    /// Who forked.
    pub fn author(&self) -> AuthorKey {
        self.low.header().log.author
    }

    /// The two headers, by ascending id.
    pub const fn headers(&self) -> (&SignedHeader, &SignedHeader) {
        (&self.low, &self.high)
    }

    /// The canonical bytes: both signed headers, by ascending id.
    pub fn encode(&self) -> Vec<u8> {
        [self.low.encode(), self.high.encode()].concat()
    }

    /// Reads and verifies a proof.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId) -> Result<Self, ForkError> {
        let (low, high) = (SignedHeader::read(reader, network)?, SignedHeader::read(reader, network)?);
        if low.header().log != high.header().log || low.header().seq != high.header().seq {
            return Err(ForkError::DifferentPositions);
        }
        if low.id() >= high.id() {
            return Err(ForkError::NotOrdered);
        }
        low.clone().verify()?;
        high.clone().verify()?;
        Ok(Self { low, high })
    }
}
