//! What contracts check: EIP-712 digests of price groups, EIP-2098 signatures over them, and the addresses that signed.

use std::{fmt, str::FromStr};

use concurrence_crdt::NetworkId;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest, Keccak256};

use crate::{Attestation, Slot};

/// The unit an oracle signs with secp256k1: its attestations of one slot for 1 to 16 feeds, in ascending order of feed.
///
/// EIP-712 type `PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)`.
#[derive(Clone, Copy, Debug)]
pub struct PriceGroup<'a> {
    /// Registry epoch under which the oracle signs.
    pub epoch: u32,
    /// Slot of all the attestations.
    pub slot: Slot,
    /// The attestations, strictly ascending by feed.
    pub attestations: &'a [Attestation],
}

/// The EIP-712 domain of a network: name "Concurrence", version "0", salt = network id. It binds no chain and no contract: a
/// signed price is a fact about the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain([u8; 32]);

/// An EVM address: the last 20 bytes of the Keccak-256 of a secp256k1 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

/// An ECDSA signature in EIP-2098 form, `r || yParityAndS`, with r and s in range and s low.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EvmSignature([u8; 64]);

/// Why a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// r or s is zero or not below the order of the curve.
    #[error("signature's r or s is out of range")]
    OutOfRange,
    /// s is in the upper half of its range: a second form of another signature (EIP-2).
    #[error("signature's s is in the upper half of its range")]
    HighS,
    /// No public key makes this signature of this digest.
    #[error("no key recovers from the signature")]
    Unrecoverable,
}

/// The text is not an EVM address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `0x` and 40 hexadecimal digits.
    #[error("{0:?} is not an address: 0x and 40 hexadecimal digits")]
    Form(String),
    /// Mixed case that is not the EIP-55 checksum.
    #[error("{0:?} fails its EIP-55 checksum")]
    Checksum(String),
}

const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,bytes32 salt)";
const DOMAIN_NAME: &[u8] = b"Concurrence";
const DOMAIN_VERSION: &[u8] = b"0";
const GROUP_TYPE: &[u8] = b"PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)";

impl PriceGroup<'_> {
    /// Keccak-256 over (feed, exponent) of each attestation: the same for all who sign the same feeds, so that a contract
    /// computes or stores it once.
    pub fn feeds_hash(&self) -> [u8; 32] {
        hash_feeds(self.attestations.iter().map(|a| (*a.feed().as_bytes(), a.expo())))
    }

    /// The words of the attestations, joined.
    pub fn words(&self) -> Vec<u8> {
        self.attestations.iter().flat_map(Attestation::word).collect()
    }

    /// EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> [u8; 32] {
        hash_struct(self.epoch, self.slot, self.feeds_hash(), &self.words())
    }

    /// What is signed: `keccak256(0x1901 || domain separator || struct hash)`.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        domain.digest(&self.struct_hash())
    }
}

impl Domain {
    /// The domain of a network.
    pub fn of(network: &NetworkId) -> Self {
        let parts = [keccak(DOMAIN_TYPE), keccak(DOMAIN_NAME), keccak(DOMAIN_VERSION), *network.as_bytes()];
        Self(keccak(parts.as_flattened()))
    }

    /// The domain separator.
    pub const fn separator(&self) -> &[u8; 32] {
        &self.0
    }

    fn digest(&self, struct_hash: &[u8; 32]) -> [u8; 32] {
        Keccak256::new().chain_update([0x19, 0x01]).chain_update(self.0).chain_update(struct_hash).finalize().into()
    }
}

impl EvmSignature {
    /// Bytes of a signature.
    pub const LEN: usize = 64;

    /// Checks the 64 bytes of a signature: r and s in range, s low. Whether it recovers is asked of [`recover`].
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Result<Self, SignatureError> {
        let signature = Self(bytes);
        let parsed = signature.parse()?;
        if parsed.normalize_s() == parsed { Ok(signature) } else { Err(SignatureError::HighS) }
    }

    /// The 64 bytes, `r || yParityAndS`.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    const fn is_y_odd(&self) -> bool {
        self.0[32] & 0x80 != 0
    }

    fn parse(&self) -> Result<Signature, SignatureError> {
        let mut plain = self.0;
        plain[32] &= 0x7f;
        Signature::from_slice(&plain).map_err(|_| SignatureError::OutOfRange)
    }
}

/// The address whose key signed a digest.
pub fn recover(digest: &[u8; 32], signature: &EvmSignature) -> Result<Address, SignatureError> {
    let id = RecoveryId::new(signature.is_y_odd(), false);
    let key = VerifyingKey::recover_from_prehash(digest, &signature.parse()?, id);
    key.map(|key| Address::of(&key)).map_err(|_| SignatureError::Unrecoverable)
}

/// Signs a digest; deterministic (RFC 6979 with SHA-256) and of low s.
///
/// EIP-2098 has no bit for an r whose x-coordinate exceeds the order of the curve. One signature in 2^127 is such; it would not
/// recover to its signer and would count as a bad one.
pub fn sign(digest: &[u8; 32], key: &SigningKey) -> EvmSignature {
    let (signature, id) = key.sign_prehash_recoverable(digest);
    let mut bytes: [u8; EvmSignature::LEN] = signature.to_bytes().into();
    if id.is_y_odd() {
        bytes[32] |= 0x80;
    }
    EvmSignature(bytes)
}

impl Address {
    /// The address of a public key.
    pub fn of(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        let hash = keccak(point.as_bytes().get(1..).unwrap_or_default());
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&hash[12..]);
        Self(bytes)
    }

    /// An address from its 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `0x` and 40 digits: all lower case, all upper case, or with the EIP-55 checksum.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.chars().take(64).collect());
        let digits = text.strip_prefix("0x").filter(|d| d.len() == 40 && d.is_ascii()).ok_or_else(form)?;
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2).filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(form)?, 16).map_err(|_| form())?;
        }
        let address = Self(bytes);
        let one_case = !digits.bytes().any(|b| b.is_ascii_lowercase()) || !digits.bytes().any(|b| b.is_ascii_uppercase());
        if one_case || address.to_string() == text { Ok(address) } else { Err(AddressError::Checksum(text.to_owned())) }
    }
}

fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

fn hash_feeds(feeds: impl Iterator<Item = ([u8; crate::Feed::LEN], i8)>) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for (feed, expo) in feeds {
        hasher.update(feed);
        hasher.update(expo.to_be_bytes());
    }
    hasher.finalize().into()
}

fn hash_struct(epoch: u32, slot: Slot, feeds: [u8; 32], words: &[u8]) -> [u8; 32] {
    let mut parts = [[0; 32]; 5];
    parts[0] = keccak(GROUP_TYPE);
    parts[1][28..].copy_from_slice(&epoch.to_be_bytes());
    parts[2][24..].copy_from_slice(&slot.number().to_be_bytes());
    parts[3] = feeds;
    parts[4] = keccak(words);
    keccak(parts.as_flattened())
}

impl fmt::Display for Address {
    /// With the EIP-55 checksum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        let hash = keccak(digits.as_bytes());
        f.write_str("0x")?;
        for (at, digit) in digits.chars().enumerate() {
            let nibble = hash[at / 2] >> (4 * (1 - at % 2)) & 0xf;
            write!(f, "{}", if nibble >= 8 { digit.to_ascii_uppercase() } else { digit })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for EvmSignature {
    /// The first four bytes: enough to follow in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
