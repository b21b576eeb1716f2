//! Author keys and signatures: Ed25519 under ZIP-215, where single and batch verification always agree.

use std::fmt;

use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::id::bytes32;

/// An author's Ed25519 public key: canonical and not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorKey([u8; 32]);
bytes32!(AuthorKey);

/// An Ed25519 signature, not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// Why a key or a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no point of the curve, or not the canonical encoding of one.
    #[error("author key is not a canonical Ed25519 public key")]
    NotCanonical,
    /// The point is of small order: anyone could sign for it.
    #[error("author key is of small order")]
    SmallOrder,
    /// The signature does not verify under ZIP-215.
    #[error("signature does not verify")]
    BadSignature,
}

impl AuthorKey {
    /// The public key of a signing key.
    pub fn of(key: &SigningKey) -> Self {
        Self(VerificationKey::from(key).into())
    }

    /// Checks a key as registration must: a canonical encoding, not of small order. Replicas compare keys as bytes, so a point
    /// must have one encoding only; a small-order key would make every message verify.
    pub fn register(bytes: [u8; 32]) -> Result<Self, KeyError> {
        VerificationKey::try_from(bytes).map_err(|_| KeyError::NotCanonical)?;
        if !is_canonical(&bytes) {
            return Err(KeyError::NotCanonical);
        }
        if SMALL_ORDER_Y.contains(&without_sign(bytes)) {
            return Err(KeyError::SmallOrder);
        }
        Ok(Self(bytes))
    }

    /// Verifies one signature under ZIP-215.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        let key = VerificationKey::try_from(self.0).map_err(|_| KeyError::NotCanonical)?;
        key.verify(&signature.0.into(), message).map_err(|_| KeyError::BadSignature)
    }
}

impl Signature {
    /// Bytes of a signature.
    pub const LEN: usize = 64;

    /// From its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Signs; deterministic (RFC 8032).
    pub fn sign(key: &SigningKey, message: &[u8]) -> Self {
        Self(key.sign(message).into())
    }
}

/// Verifies many signatures at once: `Ok` if and only if each verifies alone (ZIP-215 is cofactored on both paths).
///
/// The random coefficients that the method needs are drawn from a hash of everything that is verified, so that the answer is
/// a pure function of the input and cannot be prepared for by a signer.
pub fn verify_batch<'a>(items: impl Iterator<Item = (AuthorKey, &'a [u8], Signature)>) -> Result<(), KeyError> {
    let mut seed = blake3::Hasher::new_derive_key("concurrence v0 batch verification coefficients");
    let mut verifier = batch::Verifier::new();
    for (key, message, signature) in items {
        seed.update(&key.0).update(&signature.0).update(&(message.len() as u64).to_be_bytes()).update(message);
        verifier.queue((VerificationKeyBytes::from(key.0), signature.0.into(), &message));
    }
    let rng = ChaCha20Rng::from_seed(*seed.finalize().as_bytes());
    verifier.verify(rng).map_err(|_| KeyError::BadSignature)
}

/// The y coordinates, sign bit cleared, of the eight points whose order divides the cofactor, in canonical encoding.
/// Source: RFC 7748 section 7's list carried to the Edwards form; the test derives them again from the curve.
const SMALL_ORDER_Y: [[u8; 32]; 5] = {
    let mut zero = [0; 32];
    zero[0] = 0;
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [
        zero,
        one,
        minus_one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

/// Clears the sign of x, which the last bit carries.
fn without_sign(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes[31] &= 0x7f;
    bytes
}

/// Whether y is below p = 2^255 - 19. (An x of zero with its sign set is of small order and refused as that.)
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let y = without_sign(*bytes);
    !(y[31] == 0x7f && y[1..31].iter().all(|&b| b == 0xff) && y[0] >= 0xed)
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from([n; 32])
    }

    #[test]
    fn small_order_and_other_encodings_are_refused_at_registration() {
        for y in SMALL_ORDER_Y {
            for sign in [0, 0x80] {
                let mut bytes = y;
                bytes[31] |= sign;
                // Some combinations are no points at all; none may register.
                assert!(AuthorKey::register(bytes).is_err(), "{bytes:02x?}");
            }
        }
        // y = p + 1 is another encoding of the identity, y = p of (0, .).
        for first in [0xed, 0xee, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (first, 0x7f);
            assert_eq!(AuthorKey::register(bytes), Err(KeyError::NotCanonical));
        }
        let good = AuthorKey::of(&key(1));
        assert_eq!(AuthorKey::register(*good.as_bytes()), Ok(good));
    }

    #[test]
    fn every_listed_point_really_is_of_small_order() {
        // A key of small order lets R = sB verify for some messages whoever signs: with A of order 8, k mod 8 = 0 makes kA vanish
        // even without the cofactor, and ZIP-215 multiplies by it, so every message verifies with R = identity, s = 0.
        let mut signature = [0; 64];
        signature[0] = 1;
        for y in SMALL_ORDER_Y {
            assert_eq!(AuthorKey(y).verify(b"anything", &Signature(signature)), Ok(()), "{y:02x?}");
        }
        assert!(AuthorKey::of(&key(1)).verify(b"anything", &Signature(signature)).is_err());
    }

    /// A signature whose R carries a point of order two: cofactorless rules reject it alone and accept it in some batches.
    #[test]
    fn batch_and_single_agree_on_torsioned_signatures() {
        use std::iter::once;
        let honest = key(2);
        let mut small_r = [0; 64];
        small_r[..32].copy_from_slice(&SMALL_ORDER_Y[2]); // the point of order two
        let weak = AuthorKey(SMALL_ORDER_Y[2]);
        let torsioned = Signature(small_r);
        assert_eq!(weak.verify(b"m", &torsioned), Ok(()));
        for n in 0u32..200 {
            let message = n.to_be_bytes();
            let good = (AuthorKey::of(&honest), &message[..], Signature::sign(&honest, &message));
            assert_eq!(verify_batch(once(good).chain(once((weak, &b"m"[..], torsioned)))), Ok(()));
            let wrong = (AuthorKey::of(&honest), &message[..], Signature::sign(&honest, b"other"));
            assert!(verify_batch(once(good).chain(once(wrong))).is_err());
        }
        assert_eq!(verify_batch(std::iter::empty()), Ok(()));
    }
}
