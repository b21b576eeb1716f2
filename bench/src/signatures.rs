//! Checks of the secp256k1 signatures that contracts will check too.

use std::hint::black_box;

use concurrence_crdt::{Digest, NetworkId};
use concurrence_oracle::{Address, Attestation, BatchDraft, Domain, GROUP_FEEDS_MAX, PriceBatch, Slot, sign};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId as RawRecoveryId},
};

use crate::{
    cpu::{Pair, spent},
    report::Row,
};

/// Registry epoch of the batches.
const EPOCH: u32 = 3;

/// One signed group with what each of the three ways to check it needs.
struct Group {
    batch: PriceBatch,
    digest: [u8; 32],
    raw: RecoverableSignature,
    rival: (Signature, RecoveryId),
}

/// Full groups: beside the bare recovery of the library that is used, and of a pure one.
pub(crate) fn groups(count: usize, rounds: usize) -> Vec<Row> {
    let key = SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let domain = Domain::of(&NetworkId::from_bytes([9; 32]));
    let registered = Address::of(key.verifying_key());
    let groups: Vec<_> = (0..count as u64).map(|slot| group(slot, &domain, &key)).collect();
    let (mut raw, mut rival) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (good, ours) =
            spent(|| groups.iter().filter(|g| g.batch.verify(&domain, EPOCH, registered).is_ok()).count());
        let (raw_good, raw_time) = spent(|| groups.iter().filter(|g| recovers(g)).count());
        let (rival_good, rival_time) = spent(|| groups.iter().filter(|g| rival_recovers(g, &key)).count());
        assert_eq!([good, raw_good, rival_good], [count; 3], "all three must accept what is measured");
        raw.push(Pair { ours, raw: raw_time });
        rival.push(Pair { ours, raw: rival_time });
    }
    let name = format!("verify a price group of {GROUP_FEEDS_MAX}");
    let row = |name: &str, pairs: &[Pair], note: &str| Row::rates(name, pairs, count, "groups/s").noting(note);
    let attestations = Row::rates(format!("{name}, in attestations"), &raw, count * GROUP_FEEDS_MAX, "attestations/s");
    vec![
        row(&name, &raw, "raw: libsecp256k1 recovery of a digest"),
        attestations,
        row(&format!("{name}, beside k256"), &rival, "raw: the recovery of the pure library that signs"),
    ]
}

fn recovers(group: &Group) -> bool {
    black_box(group.raw.recover_ecdsa(Message::from_digest(group.digest))).is_ok()
}

fn rival_recovers(group: &Group, key: &SigningKey) -> bool {
    let (signature, id) = &group.rival;
    let recovered = VerifyingKey::recover_from_prehash(&group.digest, signature, *id);
    recovered.is_ok_and(|recovered| recovered == *key.verifying_key())
}

fn group(slot: u64, domain: &Domain, key: &SigningKey) -> Group {
    let feed = |at: usize| format!("A{at:03}/USD").parse().expect("a feed's name");
    let state = |at| Attestation::new(feed(at), (100_000_000 + slot, -8), 10, 0b111, false).expect("in range");
    let attestations = (0..GROUP_FEEDS_MAX).map(state).collect();
    let draft = BatchDraft::new(Slot::from_number(slot), Digest::from_bytes([5; 32]), attestations);
    let draft = draft.expect("feeds ascend");
    let digest = draft.digests(domain, EPOCH)[0];
    let batch = draft.signed(vec![sign(&digest, key)]).expect("one group, one signature");
    let rival = key.sign_prehash_recoverable(&digest);
    let raw_id = RawRecoveryId::try_from(i32::from(rival.1.to_byte())).expect("a recovery id");
    let raw = RecoverableSignature::from_compact(&rival.0.to_bytes(), raw_id).expect("in range");
    Group { batch, digest, raw, rival }
}
