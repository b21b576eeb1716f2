//! Verify and insert in memory: frames in, operations admitted and kept, beside the bare signature checks.

use concurrence_crdt::{AuthorKey, Digest, Op, OpId, VerifiedOp};
use concurrence_oracle::{
    Attestation, BatchDraft, Cells, EvmSignature, Feed, KIND_PRICE_BATCH, PriceBatch, Slot, sign,
};
use concurrence_protocol::{Delta, Frame};
use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch};
use k256::ecdsa::SigningKey as EvmKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{
    cpu::{Pair, spent},
    material::{Cast, Node, Writer},
    report::{Row, Spread},
};

/// Authors of every row here.
const AUTHORS: usize = 100;

/// Operations between two looks at the clock: ours and raw take turns this often, so that what disturbs the machine disturbs both.
const SLICE: usize = 250;

/// Signatures of one raw batch: the size at which same-key batches have nearly stopped gaining.
const BATCH: usize = 64;

/// Operations of one author in one answer to a pull: eight batches of 64.
const DELTA_OPS: usize = 512;

/// Attestations of one operation in the attestation rows.
const ATTESTATIONS: usize = 64;

/// Of 64 attestations an operation has 2.7 kB, and an answer carries at most half a MiB.
const DELTA_BATCH_OPS: usize = 128;

/// Operations one by one, as they are gossiped, for several sizes of history.
pub(crate) fn one_by_one(sizes: &[(usize, usize)]) -> Vec<Row> {
    let cast = Cast::of(AUTHORS);
    let mut writers = cast.writers();
    let most = sizes.iter().map(|&(ops, _)| ops).max().unwrap_or(0);
    let ops: Vec<_> = (0..most).map(|at| writers[at % AUTHORS].plain()).collect();
    let mut rows: Vec<Row> = Vec::new();
    for &(count, rounds) in sizes {
        let pairs: Vec<_> = (0..rounds).map(|_| one_by_one_round(&cast, &ops[..count])).collect();
        let name = format!("insert one by one, {} k ops", count / 1_000);
        let note = "raw: VerificationKey::verify of each signature, keys parsed before";
        rows.push(Row::rates(name, &pairs, count, "ops/s").aiming_at_ratio(0.8).noting(note));
    }
    rows.push(flatness(&rows));
    rows
}

/// How much of the smallest history's speed is left at the largest, the machine's own ups and downs taken out.
fn flatness(rows: &[Row]) -> Row {
    let ratios = || rows.iter().filter_map(|row| row.ratio.map(|ratio: Spread| ratio.median));
    let (first, last) = (ratios().next().unwrap_or(f64::NAN), ratios().next_back().unwrap_or(f64::NAN));
    Row::plain("ratio of the last row by that of the first", last / first, "x").aiming_at_least(0.95)
}

fn one_by_one_round(cast: &Cast, ops: &[Op]) -> Pair {
    let mut node = cast.greeted_node();
    let keys = parsed_keys(cast);
    let (mut pair, mut admitted) = (Pair::default(), 0);
    for (number, slice) in ops.chunks(SLICE).enumerate() {
        let frames: Vec<_> = slice.iter().map(|op| Frame::Op(op.bytes().clone()).encode()).collect();
        let ((), time) = spent(|| frames.into_iter().for_each(|frame| node.frame(frame, |_| admitted += 1)));
        pair.ours += time;
        let signed: Vec<_> = slice.iter().map(|op| (op.id(), signature(op))).collect();
        let (good, time) = spent(|| verify_singly(&keys, number * SLICE, &signed));
        pair.raw += time;
        assert_eq!(good, slice.len(), "the raw library must accept what is measured");
    }
    assert_eq!(admitted, ops.len(), "every operation must be admitted");
    pair
}

/// How many of the signatures verify, each alone. Not inlined, so that the loop around it does not change what it measures.
#[inline(never)]
fn verify_singly(keys: &[VerificationKey], first: usize, signed: &[(OpId, Signature)]) -> usize {
    let verifies = |(at, (id, signature)): &(usize, &(OpId, Signature))| {
        keys[(first + at) % AUTHORS].verify(signature, id.as_bytes()).is_ok()
    };
    signed.iter().enumerate().filter(verifies).count()
}

/// Whether all signatures of one key verify, together.
#[inline(never)]
fn verify_batch(key: VerificationKeyBytes, signed: &[(OpId, Signature)]) -> bool {
    let mut verifier = batch::Verifier::new();
    signed.iter().for_each(|(id, signature)| verifier.queue((key, *signature, id.as_bytes())));
    verifier.verify(ChaCha20Rng::from_seed([0; 32])).is_ok()
}

/// Operations of one author in one answer after another, as they are fetched after an absence.
pub(crate) fn by_author(per_author: usize, rounds: usize) -> Row {
    let cast = Cast::of(AUTHORS);
    let logs: Vec<Vec<Op>> = cast.writers().iter_mut().map(|w| (0..per_author).map(|_| w.plain()).collect()).collect();
    let pairs: Vec<_> = (0..rounds).map(|_| by_author_round(&cast, &logs, DELTA_OPS, |_| {})).collect();
    let name = format!("insert by author, {} k ops", AUTHORS * per_author / 1_000);
    let note = format!("raw: batch::Verifier, one key, {BATCH} signatures a batch");
    Row::rates(name, &pairs, AUTHORS * per_author, "ops/s").aiming_at_ratio(0.8).noting(note)
}

/// The same with operations of 64 attestations, with and without reading them into the cells of the oracle's view.
pub(crate) fn attestations(per_author: usize, rounds: usize) -> Vec<Row> {
    let cast = Cast::of(AUTHORS);
    let feeds: Vec<Feed> = (0..ATTESTATIONS).map(feed).collect();
    let signature = sign(&[7; 32], &EvmKey::from_slice(&[7; 32]).expect("a scalar"));
    let write = |writer: &mut Writer| {
        let payload = price_batch(&feeds, Slot::of(writer.declares()), signature).encode();
        writer.next(KIND_PRICE_BATCH, &payload)
    };
    let logs: Vec<Vec<Op>> = cast.writers().iter_mut().map(|w| (0..per_author).map(|_| write(w)).collect()).collect();
    let count = AUTHORS * per_author * ATTESTATIONS;
    let row = |name: &str, pairs: &[Pair]| {
        let name = format!("{name}, {ATTESTATIONS} attestations an op, {} ops", AUTHORS * per_author);
        Row::rates(name, pairs, count, "attestations/s").aiming_at_least(1e6)
    };
    let inserted: Vec<_> = (0..rounds).map(|_| by_author_round(&cast, &logs, DELTA_BATCH_OPS, |_| {})).collect();
    let join_round = |_| {
        let mut cells = Cells::tracking(feeds.iter().copied().collect());
        by_author_round(&cast, &logs, DELTA_BATCH_OPS, |op| join(&mut cells, op))
    };
    let joined: Vec<_> = (0..rounds).map(join_round).collect();
    vec![
        row("insert by author", &inserted).noting("raw as above; no EVM signature checked"),
        row("insert and join into cells", &joined).noting("payloads decoded; the cells of all slots kept"),
    ]
}

/// What a view does with an admitted price operation, the check of its EVM signatures aside.
fn join(cells: &mut Cells, op: &VerifiedOp) {
    let batch = PriceBatch::decode(op.op().payload()).expect("it was encoded here");
    assert_eq!(cells.join_batch(op.op().header().log.author, &batch), 0, "no cell is stated twice");
}

fn by_author_round(cast: &Cast, logs: &[Vec<Op>], delta_ops: usize, mut view: impl FnMut(&VerifiedOp)) -> Pair {
    let mut node = cast.greeted_node();
    let (mut pair, mut admitted) = (Pair::default(), 0);
    for ops in logs.iter().flat_map(|log| log.chunks(delta_ops)) {
        // An answer counts only where it was asked for.
        node.frame(tempting(&node).encode(), |_| unreachable!("a digest carries no operation"));
        let frame = delta(&mut node, ops).encode();
        let ((), time) = spent(|| {
            node.frame(frame, |op| {
                admitted += 1;
                view(&op);
            })
        });
        pair.ours += time;
        let signed: Vec<_> = ops.iter().map(|op| (op.id(), signature(op))).collect();
        let key = VerificationKeyBytes::from(*ops[0].header().log.author.as_bytes());
        let (is_good, time) = spent(|| signed.chunks(BATCH).all(|batch| verify_batch(key, batch)));
        pair.raw += time;
        assert!(is_good, "the raw library must accept what is measured");
    }
    assert_eq!(admitted, logs.iter().map(Vec::len).sum::<usize>(), "every operation must be admitted");
    pair
}

/// A digest of someone who has more: the node asks.
fn tempting(node: &Node) -> Frame {
    Frame::Digest { now: node.now.wall, digest: Digest::from_bytes([0; 32]), ops: u64::MAX }
}

/// An answer to a pull; its digest is the node's own, so that it asks nothing in return.
fn delta(node: &mut Node, ops: &[Op]) -> Frame {
    let (now, digest) = (node.now.wall, node.replica.digest());
    let ops = ops.iter().map(|op| op.bytes().clone()).collect();
    Frame::Delta(Delta { now, digest, more: false, proofs: Vec::new(), ops })
}

fn parsed_keys(cast: &Cast) -> Vec<VerificationKey> {
    let parse = |author: AuthorKey| VerificationKey::try_from(*author.as_bytes()).expect("a key made here");
    cast.authors().map(parse).collect()
}

fn signature(op: &Op) -> Signature {
    Signature::from(*op.signed().signature().as_bytes())
}

fn feed(at: usize) -> Feed {
    format!("A{at:03}/USD").parse().expect("a feed's name")
}

/// A batch in the right form. Its signatures are of something else: nothing here checks more than their form.
fn price_batch(feeds: &[Feed], slot: Slot, signature: EvmSignature) -> PriceBatch {
    let state = |(at, &feed): (usize, &Feed)| {
        let mantissa = 100_000_000 + at as u64 + slot.number();
        Attestation::new(feed, (mantissa, -8), 10, 0b111, false).expect("in range")
    };
    let attestations: Vec<_> = feeds.iter().enumerate().map(state).collect();
    let groups = attestations.len().div_ceil(concurrence_oracle::GROUP_FEEDS_MAX);
    let draft = BatchDraft::new(slot, Digest::from_bytes([5; 32]), attestations);
    draft.and_then(|draft| draft.signed(vec![signature; groups])).expect("feeds ascend")
}
