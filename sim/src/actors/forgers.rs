//! Actors that pass off as signed what is not: damaged, moved, in another's name.

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{AuthorKey, Header, LogKey, NetworkId, Op, OpId, Signature, SigningKey};
use concurrence_protocol::Frame;

use super::{Actor, Scene, UNKNOWN_KIND, forged, op_frame};

/// B12: sends a damaged copy of each operation and answer ahead of the true one: a bit flipped, a byte too many, a signature in another
/// form. It hurts where a damaged copy is taken for the operation, or hides the true one that comes behind it. There is one form of
/// everything, signatures are checked strictly, an id counts as seen only once its signature verified; and who hands on what it must
/// know to be wrong is banned.
#[derive(Default)]
pub(super) struct Corrupter {
    injected: u64,
}

impl Actor for Corrupter {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        let Ok(Frame::Op(_) | Frame::Delta(_)) = Frame::decode(frame) else { return vec![frame.to_vec()] };
        self.injected += 1;
        let malleated = scene.op_in(frame).map(|op| op_frame(&with_signature(&op, malleated(op.signed().signature()))));
        let mut damaged = frame.to_vec();
        match (self.injected % 3, malleated) {
            (0, _) => damaged.push(0),
            (1, Some(malleated)) => damaged = malleated,
            _ => damaged[scene.dice.below(frame.len())] ^= 1 << scene.dice.below(8),
        }
        vec![damaged, frame.to_vec()]
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// The group order of Ed25519, little-endian (RFC 8032, section 5.1): a scalar and the scalar plus this are the same, and only the
/// lesser one is a signature.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The signature in its other form, which a check without the strict rule would take too.
fn malleated(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0u16;
    for (byte, order) in bytes[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        let [high, low] = sum.to_be_bytes();
        (*byte, carry) = (low, u16::from(high));
    }
    Signature::from_bytes(bytes)
}

fn with_signature(op: &Op, signature: Signature) -> Op {
    Op::join(op.header().clone(), op.payload(), signature)
}

/// B13: a stranger to the registry that follows the conversation and writes under any number of new keys. It hurts where a voice costs
/// nothing. Only members' operations are admitted, which is asked before the signature; and strangers are banned longer than members.
#[derive(Default)]
pub(super) struct SybilJoiner {
    injected: u64,
}

/// New keys each tick.
const JOINED: usize = 4;

impl Actor for SybilJoiner {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut keys: Vec<_> = (0..JOINED).map(|_| SigningKey::from(scene.dice.bytes32())).collect();
        keys.push(scene.keys.author);
        let joined = |key: &SigningKey| {
            let log = LogKey { author: AuthorKey::of(key), index: 0 };
            op_frame(&forged(key, scene.registry, (log, 0, OpId::ZERO), scene.now.wall, UNKNOWN_KIND, b"let me in"))
        };
        let frames: Vec<_> = keys.iter().map(joined).collect();
        self.injected += (frames.len() * scene.peers.len()) as u64;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// B16: accuses honest authors with proofs that prove nothing: two headers of different positions, one header twice, two headers signed
/// by itself in another's name. It hurts where an accusation silences. A proof is two verified signatures at one position; nothing less
/// convicts, and who hands on less is banned.
#[derive(Default)]
pub(super) struct ProofForger {
    heard: BTreeMap<AuthorKey, Vec<Op>>,
    injected: u64,
}

/// Operations of each author that it remembers.
const HEARD_MAX: usize = 2;

impl Actor for ProofForger {
    fn inbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Option<Vec<u8>> {
        if let Some(op) = scene.op_in(frame) {
            let heard = self.heard.entry(op.header().log.author).or_default();
            if heard.len() < HEARD_MAX && heard.iter().all(|other| other.header().seq != op.header().seq) {
                heard.push(op);
            }
        }
        scene.without_own(frame)
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let accused: Vec<_> = self.heard.values().filter(|heard| heard.len() == HEARD_MAX).collect();
        if accused.is_empty() {
            return Vec::new();
        }
        let heard = accused[scene.dice.below(accused.len())];
        let proof = |a: &Op, b: &Op| {
            let (low, high) = if a.id() < b.id() { (a, b) } else { (b, a) };
            Frame::Proof([low.signed().encode(), high.signed().encode()].concat()).encode()
        };
        let invented = invented(scene, &heard[0]);
        let frames = [proof(&heard[0], &heard[1]), proof(&heard[0], &heard[0]), proof(&heard[0], &invented)];
        self.injected += (frames.len() * scene.peers.len()) as u64;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// Another operation at the place of one, in its author's name and with this actor's signature.
fn invented(scene: &Scene<'_>, op: &Op) -> Op {
    Op::sign(Header { kind: UNKNOWN_KIND, ..op.header().clone() }, b"never said", &scene.keys.author)
}

/// B17: sends other contents under the ids of its operations, ahead of the true ones: another payload under the same header, and the
/// true one with a signature of noise. It hurts where an id is believed before its content is checked: the true operation would be a
/// duplicate. A header commits to its payload, and an id counts as seen only once its signature verified.
#[derive(Default)]
pub(super) struct IdCollider {
    injected: u64,
}

impl Actor for IdCollider {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        let Some(op) = scene.own_op(frame) else { return vec![frame.to_vec()] };
        let mut payload = op.payload().to_vec();
        payload.iter_mut().for_each(|byte| *byte = !*byte);
        let other = Op::join(op.header().clone(), &payload, *op.signed().signature());
        let noise = with_signature(&op, Signature::from_bytes([7; 64]));
        self.injected += 2;
        vec![op_frame(&other), op_frame(&noise), frame.to_vec()]
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A01: operations in the name of others, signed by itself: the author in the header is not the signer. In the original only the outer
/// author was compared. Here the signature is checked against the header's author, whose forks nobody can invent.
#[derive(Default)]
pub(super) struct ForgedAuthor {
    injected: u64,
}

impl Actor for ForgedAuthor {
    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let others = scene.history.logs().filter(|(log, _)| log.author != scene.keys.author_key());
        let forge = |(log, tail): (LogKey, concurrence_crdt::Tail)| {
            let position = (log, tail.len, tail.head);
            let key = &scene.keys.author;
            op_frame(&forged(key, scene.registry, position, scene.now.wall, UNKNOWN_KIND, b"in your name"))
        };
        let frames: Vec<_> = others.map(forge).collect();
        self.injected += (frames.len() * scene.peers.len()) as u64;
        scene.to_all(&frames)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

/// A08: the signature of a true operation under another position, another log, and another network. In the original one id stood at two
/// paths. Here the id covers every field of the header, the network included.
#[derive(Default)]
pub(super) struct MovedSignature {
    /// The last operation that any author wrote.
    last: Option<Arc<Op>>,
    injected: u64,
}

impl Actor for MovedSignature {
    fn outbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        self.last = scene.own_op(frame).map(Arc::new).or_else(|| self.last.take());
        vec![frame.to_vec()]
    }

    fn inbound(&mut self, scene: &mut Scene<'_>, _: usize, frame: &[u8]) -> Option<Vec<u8>> {
        self.last = scene.op_in(frame).map(Arc::new).or_else(|| self.last.take());
        scene.without_own(frame)
    }

    fn tick(&mut self, scene: &mut Scene<'_>) -> Vec<(usize, Vec<u8>)> {
        let Some(op) = &self.last else { return Vec::new() };
        let header = op.header();
        let (signature, payload) = (*op.signed().signature(), op.payload());
        let further = Header { seq: header.seq + 1, prev: op.id(), ..header.clone() };
        let elsewhere = Header { log: LogKey { index: 3, ..header.log }, ..header.clone() };
        let abroad = Header { network: NetworkId::from_bytes([0xaa; 32]), ..header.clone() };
        let moved = [further, elsewhere, abroad].map(|header| op_frame(&Op::join(header, payload, signature)));
        self.injected += (moved.len() * scene.peers.len()) as u64;
        scene.to_all(&moved)
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malleated_signature_is_another_one_and_does_not_verify() {
        let key = SigningKey::from([1; 32]);
        let signature = Signature::sign(&key, b"text");
        let other = malleated(&signature);
        assert_ne!(signature.as_bytes(), other.as_bytes());
        assert!(AuthorKey::of(&key).verify(b"text", &signature).is_ok());
        assert!(AuthorKey::of(&key).verify(b"text", &other).is_err());
    }
}
