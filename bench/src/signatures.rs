//! Checks of the secp256k1 signatures that contracts will check too.

use std::hint::black_box;

use concurrence_crdt::{Digest, NetworkId};
use concurrence_oracle::{Address, Attestation, BatchDraft, Domain, GROUP_FEEDS_MAX, PriceBatch, Slot, sign};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId as RivalRecoveryId},
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
    raw: (Signature, RecoveryId),
    rival: RecoverableSignature,
}

/// Full groups: beside the bare recovery of the library that is used, and of the C library that is not.
pub(crate) fn groups(count: usize, rounds: usize) -> Vec<Row> {
    let key = SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let domain = Domain::of(&NetworkId::from_bytes([9; 32]));
    let registered = Address::of(key.verifying_key());
    let groups: Vec<_> = (0..count as u64).map(|slot| group(slot, &domain, &key)).collect();
    let (mut raw, mut rival) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (good, ours) =
            spent(|| groups.iter().filter(|g| g.batch.verify(&domain, EPOCH, registered).is_ok()).count());
        let (raw_good, raw_time) = spent(|| groups.iter().filter(|g| recovers(g, &key)).count());
        let (rival_good, rival_time) = spent(|| groups.iter().filter(|g| rival_recovers(g)).count());
        assert_eq!([good, raw_good, rival_good], [count; 3], "all three must accept what is measured");
        raw.push(Pair { ours, raw: raw_time });
        rival.push(Pair { ours, raw: rival_time });
    }
    let name = format!("verify a price group of {GROUP_FEEDS_MAX}");
    let row = |name: &str, pairs: &[Pair], note: &str| Row::rates(name, pairs, count, "groups/s").noting(note);
    let attestations = Row::rates(format!("{name}, in attestations"), &raw, count * GROUP_FEEDS_MAX, "attestations/s");
    vec![
        row(&name, &raw, "raw: k256 recovery of a digest"),
        attestations,
        row(
            &format!("{name}, beside libsecp256k1"),
            &rival,
            "raw: the recovery of the C library, which nothing here uses",
        ),
    ]
}

fn recovers(group: &Group, key: &SigningKey) -> bool {
    let (signature, id) = &group.raw;
    let recovered = VerifyingKey::recover_from_prehash(&group.digest, signature, *id);
    recovered.is_ok_and(|recovered| recovered == *key.verifying_key())
}

fn rival_recovers(group: &Group) -> bool {
    black_box(group.rival.recover_ecdsa(Message::from_digest(group.digest))).is_ok()
}

fn group(slot: u64, domain: &Domain, key: &SigningKey) -> Group {
    let feed = |at: usize| format!("A{at:03}/USD").parse().expect("a feed's name");
    let state = |at| Attestation::new(feed(at), (100_000_000 + slot, -8), 10, 0b111, false).expect("in range");
    let attestations = (0..GROUP_FEEDS_MAX).map(state).collect();
    let draft = BatchDraft::new(Slot::from_number(slot), Digest::from_bytes([5; 32]), attestations);
    let draft = draft.expect("feeds ascend");
    let digest = draft.digests(domain, EPOCH)[0];
    let batch = draft.signed(vec![sign(&digest, key)]).expect("one group, one signature");
    let raw = key.sign_prehash_recoverable(&digest);
    let rival_id = RivalRecoveryId::try_from(i32::from(raw.1.to_byte())).expect("a recovery id");
    let rival = RecoverableSignature::from_compact(&raw.0.to_bytes(), rival_id).expect("in range");
    Group { batch, digest, raw, rival }
}
