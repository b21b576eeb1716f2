//! What contracts check: EIP-712 digests of price groups, EIP-2098 signatures over them, and the addresses that signed.

use std::{fmt, str::FromStr};

use concurrence_crdt::NetworkId;
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId},
};
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
        Signature::from_slice(&self.plain()).map_err(|_| SignatureError::OutOfRange)
    }

    /// r and s without the parity.
    const fn plain(&self) -> [u8; Self::LEN] {
        let mut plain = self.0;
        plain[32] &= 0x7f;
        plain
    }
}

/// The address whose key signed a digest. By libsecp256k1, in half the time that `k256` takes: these checks bound how many prices a node takes in.
pub fn recover(digest: &[u8; 32], signature: &EvmSignature) -> Result<Address, SignatureError> {
    let id = if signature.is_y_odd() { RecoveryId::One } else { RecoveryId::Zero };
    let signature =
        RecoverableSignature::from_compact(&signature.plain(), id).map_err(|_| SignatureError::OutOfRange)?;
    let key = signature.recover_ecdsa(Message::from_digest(*digest)).map_err(|_| SignatureError::Unrecoverable)?;
    Ok(Address::of_point(&key.serialize_uncompressed()))
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
        Self::of_point(key.to_sec1_point(false).as_bytes())
    }

    /// The address of a point in its uncompressed form, 65 bytes.
    fn of_point(point: &[u8]) -> Self {
        let hash = keccak(point.get(1..).unwrap_or_default());
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
        let one_case =
            !digits.bytes().any(|b| b.is_ascii_lowercase()) || !digits.bytes().any(|b| b.is_ascii_uppercase());
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

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, U256 as AlloyU256};
    use alloy_sol_types::{SolStruct, eip712_domain};
    use proptest::prelude::*;

    use super::*;
    use crate::Feed;

    mod rival {
        alloy_sol_types::sol! {
            struct PriceGroup {
                uint32 epoch;
                uint64 slot;
                bytes32 feeds;
                bytes words;
            }
        }
    }

    /// The digest as the EVM client library computes it, from the hash and bytes that go into the structure.
    fn rival_digest(network: [u8; 32], group: &PriceGroup<'_>) -> [u8; 32] {
        let domain = eip712_domain! { name: "Concurrence", version: "0", salt: B256::from(network), };
        let mut joined = Vec::new();
        for attestation in group.attestations {
            joined.extend(attestation.feed().as_bytes());
            joined.push(attestation.expo().to_be_bytes()[0]);
        }
        let rival = rival::PriceGroup {
            epoch: group.epoch,
            slot: group.slot.number(),
            feeds: alloy_primitives::keccak256(joined),
            words: group.words().into(),
        };
        rival.eip712_signing_hash(&domain).0
    }

    fn attestations() -> impl Strategy<Value = Vec<Attestation>> {
        let fields = (1u64..1 << 63, -18i8..=0, any::<u16>(), any::<u16>(), any::<bool>());
        proptest::collection::vec(fields, 1..=16).prop_map(|all| {
            let make = |(at, (m, expo, half, sources, doubtful))| {
                let feed: Feed = format!("A{at:02}/USD").parse().unwrap();
                Attestation::new(feed, (m, expo), half, sources, doubtful).unwrap()
            };
            all.into_iter().enumerate().map(make).collect()
        })
    }

    fn key(bytes: [u8; 32]) -> Option<SigningKey> {
        SigningKey::from_slice(&bytes).ok()
    }

    proptest! {
        #[test]
        fn digest_and_signatures_agree_with_alloy(
            network: [u8; 32],
            epoch: u32,
            slot: u64,
            attestations in attestations(),
            secret in any::<[u8; 32]>().prop_filter("a scalar", |s| key(*s).is_some()),
        ) {
            let group = PriceGroup { epoch, slot: Slot::from_number(slot), attestations: &attestations };
            let digest = group.digest(&Domain::of(&NetworkId::from_bytes(network)));
            prop_assert_eq!(digest, rival_digest(network, &group));

            let ours = sign(&digest, &key(secret).unwrap());
            let address = Address::of(key(secret).unwrap().verifying_key());
            prop_assert_eq!(EvmSignature::from_bytes(*ours.as_bytes()), Ok(ours));
            prop_assert_eq!(recover(&digest, &ours), Ok(address));
            let read = alloy_primitives::Signature::from_erc2098(ours.as_bytes());
            prop_assert_eq!(read.recover_address_from_prehash(&B256::from(digest)).unwrap().into_array(), *address.as_bytes());
        }

        #[test]
        fn recovery_agrees_with_alloy_on_any_signature(digest: [u8; 32], bytes in proptest::array::uniform32(any::<u8>()), s: [u8; 32]) {
            let mut raw = [0; 64];
            raw[..32].copy_from_slice(&bytes);
            raw[32..].copy_from_slice(&s);
            raw[32] &= 0xbf; // about half of all s are low then
            let Ok(parsed) = EvmSignature::from_bytes(raw) else { return Ok(()) };
            let rival = alloy_primitives::Signature::from_erc2098(&raw).recover_address_from_prehash(&B256::from(digest));
            prop_assert_eq!(recover(&digest, &parsed).ok().map(|a| *a.as_bytes()), rival.ok().map(|a| a.into_array()));
        }

        #[test]
        fn addresses_are_shown_as_alloy_shows_them(bytes: [u8; 20]) {
            let (address, rival) = (Address::from_bytes(bytes), alloy_primitives::Address::from(bytes));
            prop_assert_eq!(address.to_string(), rival.to_string());
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert_eq!(address.to_string().to_lowercase().parse(), Ok(address));
        }
    }

    #[test]
    fn signatures_made_with_alloys_own_signer_recover() {
        let rival = k256_of_alloy::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let address = Address::of(key([7; 32]).unwrap().verifying_key());
        for round in 0..32u8 {
            let digest = keccak(&[round]);
            let made: alloy_primitives::Signature = rival.sign_prehash_recoverable(&digest).unwrap().into();
            let read = EvmSignature::from_bytes(made.as_erc2098()).unwrap();
            assert_eq!(recover(&digest, &read), Ok(address));
            assert_eq!(read, sign(&digest, &key([7; 32]).unwrap()));
        }
    }

    #[test]
    fn the_wrong_parity_recovers_to_somebody_else() {
        let address = Address::of(key([7; 32]).unwrap().verifying_key());
        for round in 0..32u8 {
            let digest = keccak(&[round]);
            let mut flipped = *sign(&digest, &key([7; 32]).unwrap()).as_bytes();
            flipped[32] ^= 0x80;
            assert_ne!(recover(&digest, &EvmSignature::from_bytes(flipped).unwrap()), Ok(address));
        }
    }

    #[test]
    fn malformed_signatures_are_refused() {
        let order = k256_order();
        let digest = keccak(b"x");
        let good = *sign(&digest, &key([7; 32]).unwrap()).as_bytes();
        let with = |r: [u8; 32], s: [u8; 32]| {
            let mut raw = [0; 64];
            raw[..32].copy_from_slice(&r);
            raw[32..].copy_from_slice(&s);
            EvmSignature::from_bytes(raw)
        };
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&good[..32]);
        s.copy_from_slice(&good[32..]);
        s[0] &= 0x7f;
        assert_eq!(with([0; 32], s), Err(SignatureError::OutOfRange));
        assert_eq!(with(r, [0; 32]), Err(SignatureError::OutOfRange));
        assert_eq!(with(order, s), Err(SignatureError::OutOfRange));
        assert_eq!(with([0xff; 32], [0xff; 32]), Err(SignatureError::OutOfRange));
        // (order - 1) / 2 is the greatest low s; one more is the least high one.
        let half = AlloyU256::from_be_bytes(order) / AlloyU256::from(2);
        assert!(with(r, half.to_be_bytes()).is_ok());
        assert_eq!(with(r, (half + AlloyU256::from(1)).to_be_bytes()), Err(SignatureError::HighS));
        // Some r are no x-coordinate of the curve.
        let unrecoverable = (1..64u8).any(|x| {
            let mut r = [0; 32];
            r[31] = x;
            recover(&digest, &with(r, s).unwrap()) == Err(SignatureError::Unrecoverable)
        });
        assert!(unrecoverable);
    }

    fn k256_order() -> [u8; 32] {
        let hex = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    #[test]
    fn addresses_of_other_forms_are_refused() {
        for text in [
            "",
            "0x",
            "0x00",
            "d133cfc0abb0b1c85356bf88fba8a9d93e7445d1",
            "0xg133cfc0abb0b1c85356bf88fba8a9d93e7445d1",
            "0x+133cfc0abb0b1c85356bf88fba8a9d93e7445d1",
        ] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Form(_))), "{text}");
        }
        // An example of EIP-55, and the same with one letter in the other case.
        assert!("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse::<Address>().is_ok());
        let wrong = "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(wrong.parse::<Address>(), Err(AddressError::Checksum(wrong.to_owned())));
    }

    /// The vectors that the contracts' tests read too; written by neither side.
    #[test]
    fn golden_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/eip712_price_group.json");
        let text = std::fs::read_to_string(path).unwrap();
        let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert!(vectors.len() >= 6);
        for vector in &vectors {
            check_vector(vector);
        }
    }

    fn bytes<const N: usize>(value: &serde_json::Value) -> [u8; N] {
        hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap().try_into().unwrap()
    }

    fn check_vector(vector: &serde_json::Value) {
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let (epoch, slot) =
            (u32::try_from(number(&vector["epoch"])).unwrap(), Slot::from_number(number(&vector["slot"])));
        let (mut made, mut heads, mut words) = (Vec::new(), Vec::new(), Vec::new());
        for feed in vector["feeds"].as_array().unwrap() {
            let expo = i8::try_from(feed["expo"].as_i64().unwrap()).unwrap();
            let mantissa: u64 = feed["mantissa"].as_str().unwrap().parse().unwrap();
            let (half, sources) =
                (number(&feed["half_width"]).try_into().unwrap(), number(&feed["sources"]).try_into().unwrap());
            let doubtful = feed["doubtful"].as_bool().unwrap();
            let name = Feed::from_bytes(bytes(&feed["feed"])).unwrap();
            heads.push((*name.as_bytes(), expo));
            // The signed form has room for exponents above 0, which no attestation of ours has; the hashes are checked all the same.
            let held = Attestation::new(name, (mantissa, expo.min(0)), half, sources, doubtful).unwrap();
            words.extend(held.word());
            made.extend(Attestation::new(name, (mantissa, expo), half, sources, doubtful));
        }
        let joined = hex::decode(vector["words"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        assert_eq!(words, joined);
        let feeds = hash_feeds(heads.iter().copied());
        assert_eq!(feeds, bytes(&vector["feeds_hash"]));
        let struct_hash = hash_struct(epoch, slot, feeds, &words);
        assert_eq!(struct_hash, bytes(&vector["struct_hash"]));
        let domain = Domain::of(&NetworkId::from_bytes(bytes(&vector["network_id"])));
        let digest = domain.digest(&struct_hash);
        assert_eq!(digest, bytes(&vector["digest"]));
        if made.len() == heads.len() {
            assert_eq!(PriceGroup { epoch, slot, attestations: &made }.digest(&domain), digest);
        }

        let (secret, address) =
            (key(bytes(&vector["private_key"])).unwrap(), Address::from_bytes(bytes(&vector["address"])));
        let signature = EvmSignature::from_bytes(bytes(&vector["signature"])).unwrap();
        assert_eq!(Address::of(secret.verifying_key()), address);
        assert_eq!(sign(&digest, &secret), signature);
        assert_eq!(recover(&digest, &signature), Ok(address));
    }
}
