//! The payload of a price operation: an oracle's attestations of one tick, in groups that are signed for contracts.

use concurrence_crdt::{CodecError, Digest, Reader};

use crate::{
    Address, Attestation, AttestationError, Domain, EvmSignature, Feed, NameError, PriceGroup, SignatureError, Slot,
    WORD_LEN, eip712::recover,
};

/// An oracle's attestations of one slot, strictly ascending by feed, with one secp256k1 signature for each group of up to 16.
///
/// The grouping is not a choice: feeds ascending, each group filled to [`GROUP_FEEDS_MAX`] before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBatch {
    draft: BatchDraft,
    signatures: Vec<EvmSignature>,
}

/// A batch before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDraft {
    slot: Slot,
    legs_hash: Digest,
    attestations: Vec<Attestation>,
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes are truncated or trail.
    #[error("price batch: {0}")]
    Codec(#[from] CodecError),
    /// There is no feed, or there are more than [`BATCH_FEEDS_MAX`].
    #[error("price batch has {0} feeds, allowed are 1 to {BATCH_FEEDS_MAX}")]
    Feeds(usize),
    /// The number of groups is outside 1 to [`BATCH_GROUPS_MAX`].
    #[error("price batch has {0} groups, allowed are 1 to {BATCH_GROUPS_MAX}")]
    Groups(u8),
    /// A group other than the last is not full, is empty, or has more than [`GROUP_FEEDS_MAX`] feeds.
    #[error("group {group} of a price batch has {feeds} feeds: groups are filled to {GROUP_FEEDS_MAX} in order")]
    Grouping {
        /// Which group, from 0.
        group: u8,
        /// Its feeds.
        feeds: u8,
    },
    /// A feed appears twice.
    #[error("price batch repeats {0}")]
    Repeated(Feed),
    /// A feed follows a greater one.
    #[error("price batch has {0} out of order")]
    OutOfOrder(Feed),
    /// A feed is not in canonical form.
    #[error("price batch: {0}")]
    Feed(#[from] NameError),
    /// A mantissa or exponent is out of range.
    #[error("price batch, {feed}: {error}")]
    Attestation {
        /// Of which feed.
        feed: Feed,
        /// What is wrong.
        error: AttestationError,
    },
    /// A signature is malformed.
    #[error("price batch, signature of group {group}: {error}")]
    Signature {
        /// Of which group, from 0.
        group: usize,
        /// What is wrong.
        error: SignatureError,
    },
    /// The number of signatures is not the number of groups.
    #[error("price batch of {groups} groups got {signatures} signatures")]
    Signatures {
        /// Groups of the batch.
        groups: usize,
        /// Signatures given.
        signatures: usize,
    },
    /// A signature recovers to another address than the registered one.
    #[error("group {group} of a price batch is signed by {signer}, registered is {registered}")]
    Signer {
        /// Which group, from 0.
        group: usize,
        /// Who signed.
        signer: Address,
        /// Who should have.
        registered: Address,
    },
}

/// The operation kind whose payload is a [`PriceBatch`].
pub const KIND_PRICE_BATCH: u16 = 1;

/// Most feeds of a batch: the deployment guide's `attestation_batch_size`.
pub const BATCH_FEEDS_MAX: usize = 100;

/// Most feeds of one signed group. A contract that wants one feed must be given the words of its whole group, 12 bytes each:
/// 16 keep that below 200 bytes of calldata and still share one signature check between many feeds.
pub const GROUP_FEEDS_MAX: usize = 16;

/// Most groups of a batch, 100 feeds in sixteens.
pub const BATCH_GROUPS_MAX: u8 = 7;

impl BatchDraft {
    /// A batch to be signed: 1 to 100 attestations, strictly ascending by feed; `legs_hash` commits to how they came about.
    pub fn new(slot: Slot, legs_hash: Digest, attestations: Vec<Attestation>) -> Result<Self, BatchError> {
        if !(1..=BATCH_FEEDS_MAX).contains(&attestations.len()) {
            return Err(BatchError::Feeds(attestations.len()));
        }
        for pair in attestations.windows(2) {
            check_order(pair[0].feed(), pair[1].feed())?;
        }
        Ok(Self { slot, legs_hash, attestations })
    }

    /// The groups as EIP-712 structures, under a registry epoch.
    pub fn groups(&self, epoch: u32) -> impl Iterator<Item = PriceGroup<'_>> {
        let slot = self.slot;
        self.attestations.chunks(GROUP_FEEDS_MAX).map(move |attestations| PriceGroup { epoch, slot, attestations })
    }

    /// What is to be signed, one digest a group.
    pub fn digests(&self, domain: &Domain, epoch: u32) -> Vec<[u8; 32]> {
        self.groups(epoch).map(|group| group.digest(domain)).collect()
    }

    /// The batch with its signatures, in the order of [`digests`](Self::digests). Whether they are the right ones is asked of
    /// [`PriceBatch::verify`].
    pub fn signed(self, signatures: Vec<EvmSignature>) -> Result<PriceBatch, BatchError> {
        let groups = self.attestations.len().div_ceil(GROUP_FEEDS_MAX);
        if signatures.len() != groups {
            return Err(BatchError::Signatures { groups, signatures: signatures.len() });
        }
        Ok(PriceBatch { draft: self, signatures })
    }
}

impl PriceBatch {
    /// Slot of all the attestations. That it is the operation's own (`declared_ms / 1,000`) is for the caller to check.
    pub const fn slot(&self) -> Slot {
        self.draft.slot
    }

    /// Hash of the [legs](crate::LegsRecord) from which the prices were made.
    pub const fn legs_hash(&self) -> Digest {
        self.draft.legs_hash
    }

    /// The attestations, strictly ascending by feed.
    pub fn attestations(&self) -> &[Attestation] {
        &self.draft.attestations
    }

    /// The groups with their signatures, under a registry epoch.
    pub fn groups(&self, epoch: u32) -> impl Iterator<Item = (PriceGroup<'_>, EvmSignature)> {
        self.draft.groups(epoch).zip(self.signatures.iter().copied())
    }

    /// Checks that every group is signed by the registered address, under the epoch that the operation declares.
    pub fn verify(&self, domain: &Domain, epoch: u32, registered: Address) -> Result<(), BatchError> {
        for (number, (group, signature)) in self.groups(epoch).enumerate() {
            let signer = recover(&group.digest(domain), &signature)
                .map_err(|error| BatchError::Signature { group: number, error })?;
            if signer != registered {
                return Err(BatchError::Signer { group: number, signer, registered });
            }
        }
        Ok(())
    }

    /// The payload: `slot u64 | legs hash 32 | groups u8 | per group: n u8, n x (feed 21 | expo i8), n x word 12, signature 64`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.draft.slot.number().to_be_bytes());
        out.extend(self.draft.legs_hash.as_bytes());
        out.push(small(self.signatures.len()));
        for (group, signature) in self.draft.attestations.chunks(GROUP_FEEDS_MAX).zip(&self.signatures) {
            out.push(small(group.len()));
            for attestation in group {
                out.extend(attestation.feed().as_bytes());
                out.extend(attestation.expo().to_be_bytes());
            }
            out.extend(group.iter().flat_map(Attestation::word));
            out.extend(signature.as_bytes());
        }
        out
    }

    /// Reads a payload. Only what [`encode`](Self::encode) writes is accepted; signatures are checked for form, not yet for signer.
    pub fn decode(payload: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(payload);
        let slot = Slot::from_number(reader.u64()?);
        let legs_hash = Digest::from_bytes(reader.array()?);
        let groups = reader.u8()?;
        if groups > BATCH_GROUPS_MAX {
            return Err(BatchError::Groups(groups));
        }
        let (mut attestations, mut signatures) = (Vec::new(), Vec::new());
        for group in 0..groups {
            read_group(&mut reader, group, group + 1 == groups, &mut attestations)?;
            let error = |error| BatchError::Signature { group: usize::from(group), error };
            signatures.push(EvmSignature::from_bytes(reader.array()?).map_err(error)?);
        }
        reader.finish()?;
        BatchDraft::new(slot, legs_hash, attestations)?.signed(signatures)
    }
}

fn read_group(
    reader: &mut Reader<'_>,
    group: u8,
    is_last: bool,
    attestations: &mut Vec<Attestation>,
) -> Result<(), BatchError> {
    let feeds = reader.u8()?;
    let full = usize::from(feeds) == GROUP_FEEDS_MAX;
    if !full && (!is_last || feeds == 0 || usize::from(feeds) > GROUP_FEEDS_MAX) {
        return Err(BatchError::Grouping { group, feeds });
    }
    let mut heads = reader.slice(usize::from(feeds) * HEAD_LEN).map(Reader::new)?;
    for _ in 0..feeds {
        let feed = Feed::from_bytes(heads.array()?)?;
        let expo = i8::from_be_bytes(heads.array()?);
        let attestation = Attestation::from_word(feed, expo, reader.array::<WORD_LEN>()?)
            .map_err(|error| BatchError::Attestation { feed, error })?;
        attestations.push(attestation);
    }
    Ok(())
}

/// Bytes of a feed and its exponent.
const HEAD_LEN: usize = Feed::LEN + 1;

fn check_order(earlier: Feed, later: Feed) -> Result<(), BatchError> {
    match earlier.cmp(&later) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(BatchError::Repeated(later)),
        std::cmp::Ordering::Greater => Err(BatchError::OutOfOrder(later)),
    }
}

/// A count below 256: groups and feeds of a group are bounded by 7 and 16.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use concurrence_crdt::NetworkId;
    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::eip712::sign;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_slice(&[n; 32]).unwrap()
    }

    fn domain() -> Domain {
        Domain::of(&NetworkId::from_bytes([9; 32]))
    }

    fn feeds(count: usize) -> Vec<Attestation> {
        let feed = |at: usize| format!("A{at:03}/USD").parse().unwrap();
        (0..count).map(|at| Attestation::new(feed(at), (at as u64 + 1, -8), 3, 7, at % 2 == 1).unwrap()).collect()
    }

    fn draft(attestations: Vec<Attestation>) -> Result<BatchDraft, BatchError> {
        BatchDraft::new(Slot::from_number(77), Digest::from_bytes([5; 32]), attestations)
    }

    fn batch(count: usize) -> PriceBatch {
        let draft = draft(feeds(count)).unwrap();
        let signatures = draft.digests(&domain(), 3).iter().map(|digest| sign(digest, &key(1))).collect();
        draft.signed(signatures).unwrap()
    }

    /// Offset of the first group's first feed.
    const FIRST_FEED: usize = 8 + 32 + 1 + 1;

    #[test]
    fn batches_round_trip_and_verify() {
        let registered = Address::of(key(1).verifying_key());
        for count in [1, 15, 16, 17, 32, 33, 100] {
            let batch = batch(count);
            assert_eq!(PriceBatch::decode(&batch.encode()), Ok(batch.clone()));
            assert_eq!(batch.verify(&domain(), 3, registered), Ok(()));
            assert_eq!(batch.groups(3).count(), count.div_ceil(16));
        }
        let batch = batch(17);
        let stranger = Address::of(key(2).verifying_key());
        assert_eq!(
            batch.verify(&domain(), 3, stranger),
            Err(BatchError::Signer { group: 0, signer: registered, registered: stranger })
        );
        // Another epoch, network or slot is another digest.
        assert!(batch.verify(&domain(), 4, registered).is_err());
        assert!(batch.verify(&Domain::of(&NetworkId::from_bytes([8; 32])), 3, registered).is_err());
        let mut bytes = batch.encode();
        bytes[7] ^= 1;
        assert!(PriceBatch::decode(&bytes).unwrap().verify(&domain(), 3, registered).is_err());
    }

    #[test]
    fn the_number_and_order_of_feeds_is_checked() {
        assert_eq!(draft(Vec::new()), Err(BatchError::Feeds(0)));
        assert_eq!(draft(feeds(101)), Err(BatchError::Feeds(101)));
        let mut repeated = feeds(3);
        repeated[1] = repeated[0];
        assert_eq!(draft(repeated.clone()), Err(BatchError::Repeated(repeated[0].feed())));
        let mut swapped = feeds(20);
        swapped.swap(15, 16);
        assert_eq!(draft(swapped.clone()), Err(BatchError::OutOfOrder(swapped[16].feed())));
        let signatures = |n| vec![sign(&[1; 32], &key(1)); n];
        let error = draft(feeds(17)).unwrap().signed(signatures(1));
        assert_eq!(error, Err(BatchError::Signatures { groups: 2, signatures: 1 }));
    }

    /// The bytes of a batch with `count` feeds, changed.
    fn changed(count: usize, change: impl FnOnce(&mut Vec<u8>)) -> BatchError {
        let mut bytes = batch(count).encode();
        change(&mut bytes);
        PriceBatch::decode(&bytes).unwrap_err()
    }

    #[test]
    fn every_other_form_is_refused() {
        let word = FIRST_FEED + 2 * HEAD_LEN;
        assert_eq!(changed(2, |b| b.push(0)), CodecError::Trailing(1).into());
        assert_eq!(changed(2, |b| b[40] = 0), CodecError::Trailing(1 + 2 * (HEAD_LEN + WORD_LEN) + 64).into());
        assert_eq!(changed(2, |b| b[40] = 8), BatchError::Groups(8));
        assert!(matches!(changed(2, |b| b[40] = 2), BatchError::Grouping { group: 0, feeds: 2 }));
        assert_eq!(changed(2, |b| b[41] = 0), BatchError::Grouping { group: 0, feeds: 0 });
        assert_eq!(changed(2, |b| b[41] = 17), BatchError::Grouping { group: 0, feeds: 17 });
        assert!(matches!(changed(2, |b| b[FIRST_FEED] = 2), BatchError::Feed(NameError::FeedBytes)));
        let repeat = |b: &mut Vec<u8>| b.copy_within(FIRST_FEED..FIRST_FEED + 21, FIRST_FEED + HEAD_LEN);
        assert!(matches!(changed(2, repeat), BatchError::Repeated(_)));
        assert!(matches!(changed(2, |b| b[FIRST_FEED + 4] = b'9'), BatchError::OutOfOrder(_)));
        for expo in [1i8, -19, i8::MAX, i8::MIN] {
            let error = changed(2, |b| b[FIRST_FEED + 21] = expo.to_be_bytes()[0]);
            assert!(
                matches!(error, BatchError::Attestation { error: AttestationError::Expo(e), .. } if e == expo),
                "{error}"
            );
        }
        let error = changed(2, |b| b[word..word + 8].fill(0));
        assert!(matches!(error, BatchError::Attestation { error: AttestationError::Mantissa(0), .. }), "{error}");
        // The doubtful flag alone is a mantissa of zero too.
        let error = changed(2, |b| b[word..word + 8].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0]));
        assert!(matches!(error, BatchError::Attestation { error: AttestationError::Mantissa(0), .. }), "{error}");
        let signature = word + 2 * WORD_LEN;
        let error = changed(2, |b| b[signature..signature + 32].fill(0));
        assert_eq!(error, BatchError::Signature { group: 0, error: SignatureError::OutOfRange });
        let error = changed(2, |b| {
            b[signature + 32] = 0x7f;
            b[signature + 33..signature + 64].fill(0xff);
        });
        assert_eq!(error, BatchError::Signature { group: 0, error: SignatureError::HighS });
    }

    #[test]
    fn a_hundred_and_one_feeds_are_refused_as_bytes_too() {
        // Seven full groups: 112 feeds, more than a batch may have.
        let mut bytes = batch(1).encode()[..40].to_vec();
        bytes.push(7);
        let all = feeds(112);
        for group in all.chunks(16) {
            bytes.push(16);
            group.iter().for_each(|a| bytes.extend(a.feed().as_bytes().iter().chain(&a.expo().to_be_bytes())));
            group.iter().for_each(|a| bytes.extend(a.word()));
            bytes.extend(sign(&[1; 32], &key(1)).as_bytes());
        }
        assert_eq!(PriceBatch::decode(&bytes), Err(BatchError::Feeds(112)));
    }

    #[test]
    fn truncation_is_refused_everywhere() {
        let bytes = batch(18).encode();
        for len in 0..bytes.len() {
            assert!(
                matches!(PriceBatch::decode(&bytes[..len]), Err(BatchError::Codec(CodecError::Truncated { .. }))),
                "{len}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(batch) = PriceBatch::decode(&bytes) {
                prop_assert_eq!(batch.encode(), bytes);
            }
        }

        #[test]
        fn changed_bytes_are_refused_or_canonical(count in 1usize..40, at: prop::sample::Index, to: u8) {
            let mut bytes = batch(count).encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(batch) = PriceBatch::decode(&bytes) {
                prop_assert_eq!(batch.encode(), bytes);
            }
        }
    }
}
