//! Proofs of every kind as bytes: what decodes is what would be encoded, and a certificate has its weight.

use concurrence_crdt::{Certificate, CertificateConflict, DoubleVote, HeadVote, Reader, SIGNERS_MAX};

use crate::{
    fork_proofs,
    material::{NETWORK, members},
};

/// Checks the bytes of one proof, whose first byte tells its kind.
pub fn check_proof(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    match bytes.first() {
        Some(&HeadVote::KIND) => {
            let Ok(vote) = HeadVote::read(&mut reader, NETWORK) else { return };
            assert_eq!(vote.encode(), bytes[..reader.offset()], "encode(decode(x)) = x");
            if let Ok(verified) = vote.verify(&members()) {
                assert_eq!(*verified.vote(), vote);
            }
        }
        Some(&Certificate::KIND) => {
            let peeked = Certificate::peek(bytes, NETWORK);
            let Ok(certificate) = Certificate::read(&mut reader, NETWORK, &members()) else { return };
            assert_eq!(certificate.encode(), bytes[..reader.offset()], "encode(decode(x)) = x");
            assert_eq!(peeked.as_ref(), Ok(certificate.head()));
            let signers: Vec<_> = certificate.signers().collect();
            assert!(signers.is_sorted_by(|a, b| a < b) && signers.len() <= SIGNERS_MAX);
            let members = members();
            let committee = members.committee(certificate.head().epoch).expect("a certificate names a known epoch");
            assert!(committee.is_quorum(signers.iter().map(|voter| committee.weight(voter)).sum()), "CERT-2");
        }
        Some(&DoubleVote::KIND) => {
            let Ok(proof) = DoubleVote::read(&mut reader, NETWORK, &members()) else { return };
            assert_eq!(proof.encode(), bytes[..reader.offset()], "encode(decode(x)) = x");
            let (low, high) = proof.votes();
            assert!((low.head.log, low.head.len) == (high.head.log, high.head.len) && low.head.id < high.head.id);
        }
        Some(&CertificateConflict::KIND) => {
            // A form of the store, which has a checksum: reading it never panics.
            let _ = CertificateConflict::read(&mut reader, NETWORK, &members());
        }
        _ => {
            fork_proofs::check(bytes);
        }
    }
}
