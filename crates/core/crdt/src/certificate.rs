//! Certificates: one head, signed by members of more than two thirds of the weight. And what it means when two of them
//! contradict one another.

use std::sync::Arc;

use crate::{
    AuthorKey, Head, HeadVote, Membership, NetworkId, Signature, VerifiedVote, VoteError,
    canary::{Canary, sings},
    codec::{CodecError, Reader},
    head::{HEAD_LEN, kind},
    verify_batch,
};

/// A head that members of more than two thirds of its epoch's weight signed. Every value of this type is verified. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificate {
    head: Head,
    /// By voter, ascending.
    signatures: Arc<[(AuthorKey, Signature)]>,
}

/// Two certified heads of one log, neither of which extends the other: more than a third of the weight is at fault. The log is
/// frozen where they part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConflict {
    /// Operations that both chains share.
    pub parted: u64,
    /// The shorter one, or of two equally long the one with the lesser id.
    pub low: Certificate,
    /// The other one.
    pub high: Certificate,
}

/// Most signers of a certificate: the members that a registry may name.
pub const SIGNERS_MAX: usize = 255;

/// Bytes of the longest encoded certificate.
pub const CERTIFICATE_LEN_MAX: usize = 1 + HEAD_LEN + 2 + SIGNERS_MAX * (32 + Signature::LEN);

impl Certificate {
    /// First byte of an encoded certificate.
    pub const KIND: u8 = 2;

    /// A certificate of verified votes for one head, if they are enough. They come by voter, ascending.
    pub(crate) fn of(head: Head, votes: &[(AuthorKey, Signature)], members: &Membership) -> Option<Self> {
        let certificate = Self { head, signatures: votes.into() };
        certificate.check_weight(members).is_ok().then_some(certificate)
    }

    /// What is certified.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Who signed it, ascending.
    pub fn signers(&self) -> impl Iterator<Item = AuthorKey> {
        self.signatures.iter().map(|&(voter, _)| voter)
    }

    /// The vote of one of its signers.
    pub fn vote_of(&self, voter: &AuthorKey) -> Option<VerifiedVote> {
        let at = self.signatures.binary_search_by_key(voter, |&(signer, _)| signer).ok()?;
        let (voter, signature) = *self.signatures.get(at)?;
        Some(VerifiedVote::certified(HeadVote { head: self.head, voter, signature }))
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + HEAD_LEN + 2 + self.signatures.len() * 96);
        out.push(Self::KIND);
        out.extend_from_slice(&self.head.encode());
        let count = u16::try_from(self.signatures.len()).unwrap_or(u16::MAX); // members are at most SIGNERS_MAX
        out.extend_from_slice(&count.to_be_bytes());
        for (voter, signature) in self.signatures.iter() {
            out.extend_from_slice(voter.as_bytes());
            out.extend_from_slice(signature.as_bytes());
        }
        out
    }

    /// The head that encoded bytes claim to certify, unverified: enough to tell whether it is news.
    pub fn peek(bytes: &[u8], network: NetworkId) -> Result<Head, VoteError> {
        let mut reader = Reader::new(bytes);
        kind(&mut reader, Self::KIND)?;
        Head::read(&mut reader, network)
    }

    /// Reads and verifies a certificate.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId, members: &Membership) -> Result<Self, VoteError> {
        kind(reader, Self::KIND)?;
        let head = Head::read(reader, network)?;
        let count = usize::from(reader.u16()?);
        if count > SIGNERS_MAX {
            let (value, max) = (count as u64, SIGNERS_MAX as u64);
            return Err(CodecError::OverCap { field: "signers", value, max }.into());
        }
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            signatures.push((AuthorKey::from_bytes(reader.array()?), Signature::from_bytes(reader.array()?)));
        }
        if !signatures.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(CodecError::NotCanonical("order of signers").into());
        }
        let certificate = Self { head, signatures: signatures.into() };
        certificate.check_weight(members)?;
        let digest = head.digest();
        verify_batch(
            certificate.signatures.iter().map(|&(voter, signature)| (voter, &digest.as_bytes()[..], signature)),
        )?;
        Ok(certificate)
    }

    /// Whether all signers are members, and enough of them.
    fn check_weight(&self, members: &Membership) -> Result<(), VoteError> {
        let committee = self.head.committee(members)?;
        let mut weight = 0u64;
        for voter in self.signers() {
            match committee.weight(&voter) {
                0 => return Err(VoteError::NotAMember(self.head.epoch)),
                more => weight = weight.saturating_add(more),
            }
        }
        let is_enough = committee.is_quorum(weight) || (sings(Canary::Cert2) && committee.is_majority(weight + 1));
        if is_enough { Ok(()) } else { Err(VoteError::NoQuorum { weight, total: committee.total() }) }
    }
}

/// What is certified makes a certificate, not who signed it: equal heads are equal facts.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
    }
}

impl Eq for Certificate {}

impl CertificateConflict {
    /// First byte of an encoded conflict: a form of this node's store, which peers never see.
    pub const KIND: u8 = 4;

    /// The bytes that a store keeps.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::KIND];
        out.extend_from_slice(&self.parted.to_be_bytes());
        out.extend_from_slice(&self.low.encode());
        out.extend_from_slice(&self.high.encode());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId, members: &Membership) -> Result<Self, VoteError> {
        kind(reader, Self::KIND)?;
        let parted = reader.u64()?;
        let low = Certificate::read(reader, network, members)?;
        Ok(Self { parted, low, high: Certificate::read(reader, network, members)? })
    }

    /// The conflict of two certificates of one log that share `parted` operations.
    pub fn new(parted: u64, a: Certificate, b: Certificate) -> Self {
        let is_low = (a.head.len, a.head.id) <= (b.head.len, b.head.id);
        let (low, high) = if is_low { (a, b) } else { (b, a) };
        Self { parted, low, high }
    }

    /// Which log is frozen.
    pub fn log(&self) -> crate::LogKey {
        self.low.head.log
    }

    /// Who signed both heads: these members are at fault.
    pub fn signed_both(&self) -> impl Iterator<Item = AuthorKey> {
        self.low.signers().filter(|voter| self.high.vote_of(voter).is_some())
    }
}
