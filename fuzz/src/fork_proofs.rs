//! Fork proofs as bytes: what decodes is what two verified headers prove, and nothing else does.

use concurrence_crdt::{ForkError, ForkProof, Reader, SignedHeader, VerifiedHeader};
use concurrence_protocol::decode_proof;

use crate::{
    Verdict,
    material::{NETWORK, key, number_of},
};

/// Checks one proof's bytes, and the proof that its two headers would be if their authors had signed them.
pub fn check(bytes: &[u8]) -> Verdict {
    sign_what_reads(bytes);
    match decode_proof(bytes, NETWORK) {
        Ok(proof) => {
            assert_eq!(proof.encode(), bytes, "encode(decode(x)) = x");
            let (low, high) = proof.headers();
            assert!(low.id() < high.id(), "two different headers, in order");
            assert_eq!(low.header().log.author, proof.author());
            let (low, high) = (low.clone().verify(), high.clone().verify());
            let (Ok(low), Ok(high)) = (low, high) else { panic!("a proof whose headers do not verify") };
            check_both_ways(&low, &high, &proof);
            Verdict::Accepted
        }
        Err(ForkError::Op(error)) => error.into(),
        Err(ForkError::DifferentPositions) => Verdict::Refused("positions"),
        Err(ForkError::NotOrdered) => Verdict::Refused("order"),
        Err(ForkError::Key(_)) => Verdict::Refused("signature"),
    }
}

fn check_both_ways(one: &VerifiedHeader, two: &VerifiedHeader, proof: &ForkProof) {
    for found in [ForkProof::of(one, two), ForkProof::of(two, one)] {
        assert_eq!(found.as_ref(), Some(proof), "which header came first does not matter");
    }
}

/// Two headers in the bytes, signed anew by the authors they name: decoding accepts exactly what `ForkProof::of` makes.
fn sign_what_reads(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut next = || {
        let header = SignedHeader::read(&mut reader, NETWORK).ok()?.header().clone();
        let signer = number_of(&header.log.author)?;
        SignedHeader::sign(header, key(signer)).verify().ok()
    };
    let (Some(one), Some(two)) = (next(), next()) else { return };
    let encoded = |a: &VerifiedHeader, b: &VerifiedHeader| [a.signed().encode(), b.signed().encode()].concat();
    let (forwards, backwards) = (encoded(&one, &two), encoded(&two, &one));
    match ForkProof::of(&one, &two) {
        Some(proof) => {
            check_both_ways(&one, &two, &proof);
            let is_forwards = one.signed().id() < two.signed().id();
            let (right, wrong) = if is_forwards { (forwards, backwards) } else { (backwards, forwards) };
            assert_eq!(proof.encode(), right);
            assert_eq!(decode_proof(&right, NETWORK), Ok(proof));
            assert_eq!(decode_proof(&wrong, NETWORK), Err(ForkError::NotOrdered));
        }
        None => {
            for bytes in [forwards, backwards] {
                let refused = decode_proof(&bytes, NETWORK);
                assert!(matches!(refused, Err(ForkError::DifferentPositions | ForkError::NotOrdered)), "{refused:?}");
            }
        }
    }
}
