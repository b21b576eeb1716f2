//! Heads: what a member says of a log by itself. Votes for them, and proofs that a member voted twice.
//!
//! The byte layout, with the reason of every field, is `docs/decisions/003-certified-heads.md`.

use ed25519_zebra::SigningKey;

use crate::{
    AuthorKey, Committee, Digest, KeyError, LOGS_MAX, LogKey, Membership, NetworkId, OpId, Signature, VERSION,
    codec::{CodecError, Reader},
    hash, verify_batch,
};

/// "This log has this operation at its end": it commits to the whole chain below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The network it speaks of.
    pub network: NetworkId,
    /// Whose log it is, and which.
    pub log: LogKey,
    /// Operations up to and including the head, at least 1.
    pub len: u64,
    /// Id of the operation at `len - 1`.
    pub id: OpId,
    /// Registry epoch whose weights count.
    pub epoch: u32,
}

/// A head with one member's signature, not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadVote {
    /// What is said.
    pub head: Head,
    /// Who says it.
    pub voter: AuthorKey,
    /// Over the head's digest.
    pub signature: Signature,
}

/// A vote of a member whose signature verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedVote(HeadVote);

/// Two different heads at one length of a log, signed by one voter. Both count; an honest member never signs the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubleVote {
    // `low.head.id < high.head.id`: one form for one pair.
    low: HeadVote,
    high: HeadVote,
}

/// Why a vote, or something made of votes, says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// The bytes are not the canonical form.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Another version of the format.
    #[error("head statement has version {0}, this node speaks {VERSION}")]
    Version(u8),
    /// It speaks of another network.
    #[error("head statement belongs to network {0:?}")]
    OtherNetwork(NetworkId),
    /// It speaks of the log of someone who was never a member.
    #[error("head statement is about the log of a stranger")]
    Stranger,
    /// The registry has no such epoch.
    #[error("head statement names registry epoch {0}, which is not known")]
    UnknownEpoch(u32),
    /// The voter has no weight in the epoch that it names.
    #[error("voter is not a member of registry epoch {0}")]
    NotAMember(u32),
    /// A signature does not verify.
    #[error("vote: {0}")]
    Key(#[from] KeyError),
    /// The signers have not more than two thirds of the weight.
    #[error("certificate has {weight} of {total} weight, more than two thirds are needed")]
    NoQuorum {
        /// Weight of those who signed.
        weight: u64,
        /// Weight of the epoch.
        total: u64,
    },
    /// Two votes that contradict one another not at one length.
    #[error("double vote does not hold two different heads at one length, in order")]
    NoContradiction,
}

/// Bytes of an encoded head.
pub const HEAD_LEN: usize = 110;

/// Bytes of an encoded vote.
pub const VOTE_LEN: usize = 1 + HEAD_LEN + 32 + Signature::LEN;

impl Head {
    const DOMAIN: &'static str = "concurrence v0 head statement";

    /// What is signed.
    pub fn digest(&self) -> Digest {
        hash(Self::DOMAIN, &self.encode())
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN);
        out.push(VERSION);
        out.extend_from_slice(self.network.as_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(self.log.author.as_bytes());
        out.push(self.log.index);
        out.extend_from_slice(&self.len.to_be_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out
    }

    /// Reads a head of `network`; anything but the canonical form is refused.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId) -> Result<Self, VoteError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(VoteError::Version(version));
        }
        let found = NetworkId::from_bytes(reader.array()?);
        if found != network {
            return Err(VoteError::OtherNetwork(found));
        }
        let (epoch, author, index) = (reader.u32()?, AuthorKey::from_bytes(reader.array()?), reader.u8()?);
        if index >= LOGS_MAX {
            let (value, max) = (u64::from(index), u64::from(LOGS_MAX) - 1);
            return Err(CodecError::OverCap { field: "log index", value, max }.into());
        }
        let (len, id) = (reader.u64()?, OpId::from_bytes(reader.array()?));
        if len == 0 {
            return Err(CodecError::NotCanonical("length of a head").into());
        }
        Ok(Self { network, log: LogKey { author, index }, len, id, epoch })
    }

    /// The committee whose weights count, if the head speaks of a member's log at all.
    pub(crate) fn committee<'m>(&self, members: &'m Membership) -> Result<&'m Committee, VoteError> {
        members.number(&self.log.author).ok_or(VoteError::Stranger)?;
        members.committee(self.epoch).ok_or(VoteError::UnknownEpoch(self.epoch))
    }
}

impl HeadVote {
    /// First byte of an encoded vote, which tells it from other proofs.
    pub const KIND: u8 = 1;

    /// Signs a head.
    pub fn sign(head: Head, key: &SigningKey) -> Self {
        Self { head, voter: AuthorKey::of(key), signature: Signature::sign(key, head.digest().as_bytes()) }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::KIND];
        out.extend_from_slice(&self.head.encode());
        out.extend_from_slice(self.voter.as_bytes());
        out.extend_from_slice(self.signature.as_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote. Nothing is verified.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId) -> Result<Self, VoteError> {
        kind(reader, Self::KIND)?;
        let head = Head::read(reader, network)?;
        let (voter, signature) = (AuthorKey::from_bytes(reader.array()?), Signature::from_bytes(reader.array()?));
        Ok(Self { head, voter, signature })
    }

    /// Whether its voter has a say in it; the signature is not looked at.
    pub fn check_member(&self, members: &Membership) -> Result<(), VoteError> {
        match self.head.committee(members)?.weight(&self.voter) {
            0 => Err(VoteError::NotAMember(self.head.epoch)),
            _ => Ok(()),
        }
    }

    /// Verifies membership, then the signature.
    pub fn verify(self, members: &Membership) -> Result<VerifiedVote, VoteError> {
        self.check_member(members)?;
        self.voter.verify(self.head.digest().as_bytes(), &self.signature)?;
        Ok(VerifiedVote(self))
    }

    /// Verifies several at once, in half the time: all of them, or none if one would not verify alone.
    pub fn verify_all(votes: Vec<Self>, members: &Membership) -> Result<Vec<VerifiedVote>, VoteError> {
        votes.iter().try_for_each(|vote| vote.check_member(members))?;
        let digests: Vec<_> = votes.iter().map(|vote| vote.head.digest()).collect();
        let signed = votes.iter().zip(&digests);
        verify_batch(signed.map(|(vote, digest)| (vote.voter, &digest.as_bytes()[..], vote.signature)))?;
        Ok(votes.into_iter().map(VerifiedVote).collect())
    }
}

impl VerifiedVote {
    /// The vote.
    pub const fn vote(&self) -> &HeadVote {
        &self.0
    }

    /// A vote that a verified certificate contains.
    pub(crate) const fn certified(vote: HeadVote) -> Self {
        Self(vote)
    }
}

impl DoubleVote {
    /// First byte of an encoded double vote.
    pub const KIND: u8 = 3;

    /// Bytes of an encoded double vote.
    pub const LEN: usize = 1 + 32 + 2 * (HEAD_LEN + Signature::LEN);

    /// The proof in two verified votes, if they are one.
    pub fn of(a: &VerifiedVote, b: &VerifiedVote) -> Option<Self> {
        let (low, high) = if a.0.head.id < b.0.head.id { (a.0, b.0) } else { (b.0, a.0) };
        let proof = Self { low, high };
        (low.voter == high.voter && proof.contradicts()).then_some(proof)
    }

    /// Who voted twice.
    pub const fn voter(&self) -> AuthorKey {
        self.low.voter
    }

    /// The two votes, by ascending head.
    pub const fn votes(&self) -> (&HeadVote, &HeadVote) {
        (&self.low, &self.high)
    }

    fn contradicts(&self) -> bool {
        let (low, high) = (&self.low.head, &self.high.head);
        (low.log, low.len) == (high.log, high.len) && low.id < high.id
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::KIND];
        out.extend_from_slice(self.low.voter.as_bytes());
        for vote in [&self.low, &self.high] {
            out.extend_from_slice(&vote.head.encode());
            out.extend_from_slice(vote.signature.as_bytes());
        }
        out
    }

    /// Reads and verifies a proof.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId, members: &Membership) -> Result<Self, VoteError> {
        kind(reader, Self::KIND)?;
        let voter = AuthorKey::from_bytes(reader.array()?);
        let mut vote = || {
            let head = Head::read(reader, network)?;
            Ok::<_, VoteError>(HeadVote { head, voter, signature: Signature::from_bytes(reader.array()?) })
        };
        let proof = Self { low: vote()?, high: vote()? };
        if !proof.contradicts() {
            return Err(VoteError::NoContradiction);
        }
        proof.low.verify(members)?;
        proof.high.verify(members)?;
        Ok(proof)
    }
}

/// Reads the byte that tells what kind of proof follows.
pub(crate) fn kind(reader: &mut Reader<'_>, expected: u8) -> Result<(), VoteError> {
    if reader.u8()? == expected { Ok(()) } else { Err(CodecError::NotCanonical("kind of a proof").into()) }
}
