//! Frames as an enemy sends them (CRDT-6). Whatever the bytes are, a replica does not panic, and what it accepts is canonical.
//!
//! 1. an unknown tag, an empty frame
//! 2. a frame over the cap
//! 3. a frame cut off anywhere, or with bytes behind its end
//! 4. counts that claim more than a frame can hold
//! 5. a refusal, or a `more`, of no known value
//! 6. random bytes, and real frames with a few bytes changed, given to a replica
mod support;

use std::sync::Arc;

use concurrence_crdt::{CodecError, Digest, DoubleVote, OpId, Time};
use concurrence_protocol::{
    DELTA_PROOFS_MAX, Delta, FRAME_LEN_MAX, Frame, FrameError, Hello, PROTOCOL_VERSION, Refusal, decode_proof,
};
use proptest::prelude::*;
use support::{
    Node, REGISTRY,
    ops::{Chain, NETWORK, START, certificate_bytes, head_of, members, vote},
};

/// One frame of each kind, with something in it.
fn frames() -> Vec<Frame> {
    let mut node = Node::follower(&[1, 2, 3]);
    node.greet(9, None, 0);
    let mut fork = Chain::new(3, 0);
    let twin = fork.clone().op(b"twin");
    for op in Chain::new(1, 0).ops(3, "a").iter().chain(&fork.ops(2, "b")).chain([&twin]) {
        node.give(9, op);
    }
    assert!(node.is_forked(3));
    let proof = node.replica.history().forked().next().unwrap().encode();
    let ops: Vec<_> = Chain::new(1, 0).ops(3, "a").iter().map(|op| Arc::clone(op.op().bytes())).collect();
    let digest = Digest::from_bytes([5; 32]);
    let (left, right) = (head_of(&Chain::new(1, 0).ops(3, "a")), head_of(&Chain::new(1, 0).ops(3, "b")));
    let verified = |head| vote(head, 2).verify(&members(&[1, 2, 3])).unwrap();
    let double = DoubleVote::of(&verified(left), &verified(right)).unwrap();
    let proofs = vec![vote(left, 1).encode(), certificate_bytes(left, &[1, 2, 3]), double.encode()];
    vec![
        Frame::Hello(Hello {
            version: PROTOCOL_VERSION,
            network: NETWORK,
            registry: REGISTRY,
            now: START,
            digest,
            ops: 7,
        }),
        Frame::Refuse(Refusal::Registry),
        Frame::Digest { now: Time::from_ms(u64::MAX), digest, ops: u64::MAX },
        Frame::Pull { now: START, credit: 1, frontier: node.replica.history().frontier() },
        Frame::Delta(Delta { now: START, digest, more: true, proofs: vec![proof.clone()], ops: ops.clone() }),
        Frame::Op(ops[0].clone()),
        Frame::Proof(proof),
        Frame::Fetch(OpId::from_bytes([6; 32])),
        Frame::Proofs(proofs),
    ]
}

#[test]
fn frames_round_trip() {
    for frame in frames() {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn case_1_unknown_tags() {
    assert!(matches!(Frame::decode(&[]), Err(FrameError::Codec(CodecError::Truncated { .. }))));
    for tag in 9..=u8::MAX {
        assert_eq!(Frame::decode(&[tag]), Err(FrameError::Tag(tag)));
    }
}

#[test]
fn case_2_over_the_cap() {
    assert_eq!(Frame::decode(&vec![5; FRAME_LEN_MAX + 1]), Err(FrameError::TooLong(FRAME_LEN_MAX + 1)));
    // Below the frame's cap, but longer than any operation or proof.
    for tag in [5, 6] {
        let refused = Frame::decode(&vec![tag; FRAME_LEN_MAX]);
        assert!(matches!(refused, Err(FrameError::Codec(CodecError::OverCap { .. }))), "{refused:?}");
    }
}

#[test]
fn case_3_cut_off_and_trailing() {
    for frame in frames() {
        let bytes = frame.encode();
        let carries_the_rest = matches!(frame, Frame::Op(_) | Frame::Proof(_));
        for len in 0..bytes.len() {
            let cut = Frame::decode(&bytes[..len]);
            assert!(cut.is_err() || (carries_the_rest && len > 0), "{len} of {frame:?}");
        }
        let longer = Frame::decode(&[&bytes[..], &[0]].concat());
        assert!(longer.is_err() || carries_the_rest, "{frame:?}");
        if let Frame::Proof(proof) = frame {
            assert!(decode_proof(&proof, NETWORK).is_ok());
            assert!(decode_proof(&[&proof[..], &[0]].concat(), NETWORK).is_err());
            assert!((0..proof.len()).all(|len| decode_proof(&proof[..len], NETWORK).is_err()));
        }
    }
}

#[test]
fn case_4_claimed_counts() {
    let delta = |proofs: u32, ops: u32| {
        let mut bytes = vec![4];
        bytes.extend_from_slice(&[0; 41]);
        bytes.extend_from_slice(&proofs.to_be_bytes());
        if proofs == 0 {
            bytes.extend_from_slice(&ops.to_be_bytes());
        }
        Frame::decode(&bytes)
    };
    let proofs_max = u32::try_from(DELTA_PROOFS_MAX).unwrap();
    let over = |result| matches!(result, Err(FrameError::Codec(CodecError::OverCap { .. })));
    assert!(delta(0, 0).is_ok());
    assert!(over(delta(u32::MAX, 0)) && over(delta(proofs_max + 1, 0)) && over(delta(0, u32::MAX)));
    let pull = [&[3][..], &[0; 12], &u32::MAX.to_be_bytes()].concat();
    assert!(over(Frame::decode(&pull)));
}

#[test]
fn case_5_unknown_values() {
    assert!((0..4).all(|code| Frame::decode(&[1, code]).is_ok()));
    assert!((4..=u8::MAX).all(|code| Frame::decode(&[1, code]).is_err()));
    let mut delta = [&[4][..], &[0; 41], &[0; 8]].concat();
    assert!(Frame::decode(&delta).is_ok());
    delta[41] = 2;
    assert_eq!(Frame::decode(&delta), Err(FrameError::Codec(CodecError::NotCanonical("more"))));
}

/// Frames of all kinds, with up to three bytes changed.
fn hostile() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let frames: Vec<_> = frames().iter().map(Frame::encode).collect();
    let mutated =
        (prop::sample::select(frames), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4));
    let mutated = mutated.prop_map(|(mut bytes, changes)| {
        let len = bytes.len();
        changes.iter().for_each(|(at, with)| bytes[at.index(len)] = *with);
        bytes
    });
    let random =
        (0..9u8, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(tag, rest)| [vec![tag], rest].concat());
    prop::collection::vec(prop_oneof![3 => mutated, 1 => random], 1..12)
}

proptest! {
    #[test]
    fn case_6_any_bytes(frames in hostile()) {
        let mut node = Node::follower(&[1, 2, 3]);
        node.greet(9, None, 0);
        for bytes in frames {
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes.clone());
            }
            let before = (node.state(), node.store.clone());
            node.take_refused();
            node.handle(concurrence_protocol::Input::Frame { peer: concurrence_protocol::Peer(9), bytes: bytes.clone() });
            // What carries several is judged one by one: the rest may be good.
            let is_single = !matches!(bytes.first(), Some(4 | 8));
            if !node.take_refused().is_empty() && is_single {
                prop_assert_eq!(before, (node.state(), node.store.clone()));
            }
        }
        node.wait(600_000);
    }
}
