//! Price batches, their EVM signatures and the record of their legs: what decodes is what would be encoded; signers recover or are
//! refused, and nothing panics on a payload that a member signed.

use std::sync::LazyLock;

use concurrence_oracle::{
    Address, Attestation, BATCH_FEEDS_MAX, BatchDraft, BatchError, Domain, EvmSignature, GROUP_FEEDS_MAX, LegsRecord,
    PriceBatch, SignatureError, recover, sign,
};
use k256::ecdsa::SigningKey;

use crate::{Verdict, material::NETWORK};

/// The registry epoch that signatures are checked under.
pub(crate) const EPOCH: u32 = 3;

/// Half the order of secp256k1, rounded down (SEC 2, section 2.4.1): the greatest s that EIP-2 allows.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

static SIGNER: LazyLock<(SigningKey, Address)> = LazyLock::new(|| {
    let key = SigningKey::from_slice(&[1; 32]).expect("a small number is a scalar");
    let address = Address::of(key.verifying_key());
    (key, address)
});

/// The key that accepted batches are signed with.
pub(crate) fn signing_key() -> &'static SigningKey {
    &SIGNER.0
}

/// Checks one payload's bytes.
pub fn check(bytes: &[u8]) -> Verdict {
    check_signature(bytes);
    check_legs(bytes);
    let batch = match PriceBatch::decode(bytes) {
        Ok(batch) => batch,
        Err(error) => return verdict(&error),
    };
    assert_eq!(batch.encode(), bytes, "encode(decode(x)) = x");
    let attestations = batch.attestations();
    assert!((1..=BATCH_FEEDS_MAX).contains(&attestations.len()));
    assert!(attestations.is_sorted_by(|a, b| a.feed() < b.feed()), "each feed once, in order");
    assert_eq!(batch.groups(EPOCH).count(), attestations.len().div_ceil(GROUP_FEEDS_MAX));
    attestations.iter().for_each(check_attestation);
    let domain = Domain::of(&NETWORK);
    let verified = batch.verify(&domain, EPOCH, SIGNER.1).is_ok();
    sign_again(&batch, &domain);
    if verified { Verdict::Accepted } else { Verdict::Refused("signer") }
}

fn check_attestation(attestation: &Attestation) {
    let (feed, expo) = (attestation.feed(), attestation.expo());
    assert_eq!(Attestation::from_word(feed, expo, attestation.word()), Ok(*attestation));
    assert!(attestation.price().units() > 0, "an attested price is positive");
}

/// The same prices, signed by a known key: accepted under its own address, epoch and network, and under no other.
fn sign_again(batch: &PriceBatch, domain: &Domain) {
    let draft = BatchDraft::new(batch.slot(), batch.legs_hash(), batch.attestations().to_vec());
    let draft = draft.expect("it was read from a batch");
    // One group stands for all: each costs a signature and three recoveries.
    if batch.attestations().len() > GROUP_FEEDS_MAX {
        return;
    }
    let signatures = draft.digests(domain, EPOCH).iter().map(|digest| sign(digest, &SIGNER.0)).collect();
    let signed = draft.signed(signatures).expect("one signature a group");
    assert_eq!(PriceBatch::decode(&signed.encode()).as_ref(), Ok(&signed));
    assert_eq!(signed.verify(domain, EPOCH, SIGNER.1), Ok(()));
    assert!(signed.verify(domain, EPOCH + 1, SIGNER.1).is_err(), "another epoch is another digest");
    assert!(signed.verify(domain, EPOCH, Address::from_bytes([9; 20])).is_err(), "another signer");
}

/// A signature that is read has a low s (one form for one signature), and recovering from it ends.
fn check_signature(bytes: &[u8]) {
    let Some((signature, digest)) = bytes.split_first_chunk::<{ EvmSignature::LEN }>() else { return };
    let Ok(read) = EvmSignature::from_bytes(*signature) else { return };
    assert_eq!(read.as_bytes(), signature);
    let mut s = [0; 32];
    s.copy_from_slice(&signature[32..]);
    s[0] &= 0x7f; // the bit above s is the parity of y
    assert!(s <= HALF_ORDER && s != [0; 32] && signature[..32] != [0; 32], "r and s in range, s low");
    if let Some(digest) = digest.first_chunk::<32>() {
        let recovered = recover(digest, &read);
        assert!(matches!(recovered, Ok(_) | Err(SignatureError::Unrecoverable)), "{recovered:?}");
    }
}

/// Legs are served by their hash: bytes of another form would have another one.
fn check_legs(bytes: &[u8]) {
    if let Ok(record) = LegsRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes, "encode(decode(x)) = x");
        assert_eq!(record.hash(), LegsRecord::hash_bytes(bytes));
    }
}

fn verdict(error: &BatchError) -> Verdict {
    assert!(!error.to_string().is_empty());
    Verdict::Refused(match error {
        BatchError::Codec(error) => return (*error).into(),
        BatchError::Feeds(_) | BatchError::Groups(_) | BatchError::Grouping { .. } | BatchError::Signatures { .. } => {
            "count"
        }
        BatchError::Repeated(_) | BatchError::OutOfOrder(_) => "order",
        BatchError::Feed(_) => "feed",
        BatchError::Attestation { .. } => "attestation",
        BatchError::Signature { .. } => "signature",
        BatchError::Signer { .. } => "signer",
    })
}
