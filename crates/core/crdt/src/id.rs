//! Identifiers: fixed arrays of bytes, each of its own type.

use std::fmt;

/// The 32 bytes that name a network; part of every header and the salt of every EVM-signed digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 32]);

/// `BLAKE3(domain, header)` of an operation. No signature is part of it: a signer can make many valid ones for one header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId([u8; 32]);

/// A BLAKE3 hash of something that is not an operation: a payload, a frontier, a registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

macro_rules! bytes32 {
    ($($name:ident),*) => {$(
        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        /// Lower-case hex, whole.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        /// The first four bytes: enough to follow in a log.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    )*};
}
pub(crate) use bytes32;
bytes32!(NetworkId, OpId, Digest);

impl OpId {
    /// `prev` of the first operation of a log.
    pub const ZERO: Self = Self([0; 32]);
}

/// Hashes bytes under a domain, so that no two kinds of thing ever share a hash.
pub fn hash(domain: &'static str, bytes: &[u8]) -> Digest {
    Digest(blake3::derive_key(domain, bytes))
}
