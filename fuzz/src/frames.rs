//! Frames as bytes: what decodes is what would be encoded, within every cap; what is inside is judged by its own target.

use concurrence_crdt::{AUTHORS_MAX, Frontier, LOGS_MAX, OP_LEN_MAX, Reader, WANTED_MAX};
use concurrence_protocol::{DELTA_PROOFS_MAX, Delta, FRAME_LEN_MAX, Frame, PROOFS_MAX};

use crate::{Verdict, operations, votes};

/// Operations and proofs of one delta that are looked into: the rest are like them, and each costs a signature.
const INSIDE_MAX: usize = 4;

/// Checks one frame's bytes.
pub fn check(bytes: &[u8]) -> Verdict {
    let frame = match Frame::decode(bytes) {
        Ok(frame) => frame,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return error.into();
        }
    };
    assert!(bytes.len() <= FRAME_LEN_MAX, "a frame over the cap was read");
    assert_eq!(frame.encode(), bytes, "encode(decode(x)) = x");
    match &frame {
        Frame::Pull { frontier, .. } => check_frontier(frontier),
        Frame::Delta(delta) => check_delta(delta),
        Frame::Op(op) => {
            assert!(op.len() <= OP_LEN_MAX);
            operations::check(op);
        }
        Frame::Proof(proof) => votes::check_proof(proof),
        Frame::Proofs(proofs) => {
            assert!(proofs.len() <= PROOFS_MAX);
            proofs.iter().take(INSIDE_MAX).for_each(|proof| votes::check_proof(proof));
        }
        Frame::Hello(_) | Frame::Refuse(_) | Frame::Digest { .. } | Frame::Fetch(_) => {}
    }
    Verdict::Accepted
}

/// Every entry is found under its name, and all of them are within what a registry can have.
fn check_frontier(frontier: &Frontier) {
    assert!(frontier.entries.len() <= AUTHORS_MAX * usize::from(LOGS_MAX) && frontier.forked.len() <= AUTHORS_MAX);
    for entry in &frontier.entries {
        assert!(entry.len > 0 && entry.log < LOGS_MAX && entry.certified <= entry.len);
        assert_eq!(frontier.entry(entry.author, entry.log), Some(entry));
    }
    assert!(frontier.forked.is_sorted_by(|a, b| a < b) && frontier.double_voters.is_sorted_by(|a, b| a < b));
    assert!(frontier.wanted.is_sorted_by(|a, b| a < b) && frontier.wanted.len() <= WANTED_MAX);
    let mut encoded = Vec::new();
    frontier.encode(&mut encoded);
    assert_eq!(Frontier::read(&mut Reader::new(&encoded)).as_ref(), Ok(frontier));
}

fn check_delta(delta: &Delta) {
    assert!(delta.proofs.len() <= DELTA_PROOFS_MAX);
    assert!(delta.ops.iter().all(|op| op.len() <= OP_LEN_MAX));
    for proof in delta.proofs.iter().take(INSIDE_MAX) {
        votes::check_proof(proof);
    }
    for op in delta.ops.iter().take(INSIDE_MAX) {
        operations::check(op);
    }
}
