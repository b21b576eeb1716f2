//! B1: two histories for different peers.

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{AuthorKey, Frontier, Header, LogKey, NetworkId, Op, OpId, Reader, SigningKey};
use concurrence_oracle::{Attestation, BatchDraft, Domain, KIND_PRICE_BATCH, PriceBatch, Registry, sign};
use concurrence_protocol::{Delta, Frame};

use super::{Actor, Scene};

/// Signs different histories for different peers. It stands between an honest engine and its peers and rewrites frames: its
/// victims get a second chain of the engine's operations, with other prices and every signature made anew; everyone else gets
/// the first. What would tell the engine of the second chain is kept from it, so that it goes on as if nothing had happened.
///
/// To whom a peer belongs is the caller's choice and must not change. A broadcast is to be given once for each peer, and once
/// even if there is none: the second chain grows with the own operations seen here.
///
/// Digests are passed on as the engine made them: they commit to nothing, a victim that finds one differing asks, and the
/// answers to that agree with what it was told. Frontiers are rewritten in both directions.
pub struct Equivocator {
    key: SigningKey,
    evm: k256::ecdsa::SigningKey,
    own: AuthorKey,
    /// The number of the own author in frontiers; `None` for a stranger to the registry.
    number: Option<u16>,
    network: NetworkId,
    domain: Domain,
    /// The second chain of each own log, from the first operation seen on; as long as the log, like the store behind it.
    seconds: BTreeMap<LogKey, BTreeMap<u64, Second>>,
}

/// One operation of the second chain.
struct Second {
    /// What stands at its position in the first chain.
    first: OpId,
    op: Op,
}

/// By how much the second chain's prices are higher, in percent: clearly another price, yet below what is named an outlier.
const SECOND_PRICE_PERCENT: u64 = 1;

impl Equivocator {
    /// An actor in front of the engine whose keys these are.
    pub fn new(key: SigningKey, evm: k256::ecdsa::SigningKey, registry: Registry) -> Self {
        let own = AuthorKey::of(&key);
        Self {
            number: registry.membership().number(&own),
            network: registry.network_id(),
            domain: Domain::of(&registry.network_id()),
            seconds: BTreeMap::new(),
            key,
            evm,
            own,
        }
    }

    /// What a peer is sent instead of a frame of the engine.
    pub fn outbound(&mut self, is_victim: bool, frame: &[u8]) -> Vec<u8> {
        let rewritten = match Frame::decode(frame) {
            Ok(Frame::Op(bytes)) => Frame::Op(self.second_of(&bytes)),
            Ok(Frame::Delta(delta)) => {
                let ops = delta.ops.iter().map(|bytes| self.second_of(bytes)).collect();
                Frame::Delta(Delta { ops, ..delta })
            }
            Ok(Frame::Pull { now, credit, mut frontier }) => {
                self.claim(&mut frontier, |second| (second.first, second.op.id()));
                Frame::Pull { now, credit, frontier }
            }
            _ => return frame.to_vec(),
        };
        if is_victim { rewritten.encode() } else { frame.to_vec() }
    }

    /// What the engine is given of a peer's frame; `None` for nothing.
    pub fn inbound(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let rewritten = match Frame::decode(frame) {
            Ok(Frame::Op(bytes)) if self.is_own(&bytes) => return None,
            Ok(Frame::Proof(bytes)) if self.is_against_us(&bytes) => return None,
            Ok(Frame::Delta(mut delta)) => {
                delta.ops.retain(|bytes| !self.is_own(bytes));
                delta.proofs.retain(|bytes| !self.is_against_us(bytes));
                Frame::Delta(delta)
            }
            Ok(Frame::Pull { now, credit, mut frontier }) => {
                self.claim(&mut frontier, |second| (second.op.id(), second.first));
                Frame::Pull { now, credit, frontier }
            }
            Ok(Frame::Fetch(id)) => Frame::Fetch(self.first_of(id)),
            _ => return Some(frame.to_vec()),
        };
        Some(rewritten.encode())
    }

    /// How many positions have two operations by now.
    pub fn positions(&self) -> usize {
        self.seconds.values().map(BTreeMap::len).sum()
    }

    /// The second chain's operation at the place of an own one, made now if need be; anything else as it is.
    fn second_of(&mut self, bytes: &Arc<[u8]>) -> Arc<[u8]> {
        let op = match Op::decode(bytes, self.network) {
            Ok(op) if op.header().log.author == self.own => op,
            _ => return Arc::clone(bytes),
        };
        let Header { log, seq, prev, .. } = *op.header();
        let chain = self.seconds.entry(log).or_default();
        // What is older than the first operation seen here is common to both chains.
        if chain.first_key_value().is_some_and(|(&split, _)| seq < split) {
            return Arc::clone(bytes);
        }
        if let Some(second) = chain.get(&seq) {
            return Arc::clone(second.op.bytes());
        }
        let prev = seq.checked_sub(1).and_then(|before| chain.get(&before)).map_or(prev, |second| second.op.id());
        let payload = self.second_payload(&op).unwrap_or_else(|| op.payload().to_vec());
        let second = Op::sign(Header { prev, ..op.header().clone() }, &payload, &self.key);
        let bytes = Arc::clone(second.bytes());
        self.seconds.entry(log).or_default().insert(seq, Second { first: op.id(), op: second });
        bytes
    }

    /// The payload of a price operation with other prices, its groups signed anew; `None` for anything else.
    fn second_payload(&self, op: &Op) -> Option<Vec<u8>> {
        let batch = PriceBatch::decode(op.payload()).ok().filter(|_| op.header().kind == KIND_PRICE_BATCH)?;
        let attestations =
            batch.attestations().iter().map(|attestation| other_price(attestation).unwrap_or(*attestation));
        let draft = BatchDraft::new(batch.slot(), batch.legs_hash(), attestations.collect()).ok()?;
        let digests = draft.digests(&self.domain, op.header().epoch);
        let signatures = digests.iter().map(|digest| sign(digest, &self.evm)).collect();
        Some(draft.signed(signatures).ok()?.encode())
    }

    /// Exchanges the heads of own logs in a frontier.
    fn claim(&self, frontier: &mut Frontier, exchange: impl Fn(&Second) -> (OpId, OpId)) {
        for entry in frontier.entries.iter_mut().filter(|entry| Some(entry.author) == self.number) {
            let chain = self.seconds.get(&LogKey { author: self.own, index: entry.log });
            let second = chain.and_then(|chain| chain.get(&entry.len.checked_sub(1)?));
            if let Some((_, to)) = second.map(&exchange).filter(|&(from, _)| from == entry.head) {
                entry.head = to;
            }
        }
    }

    /// The first chain's operation at the place of one of the second.
    fn first_of(&self, id: OpId) -> OpId {
        let mut seconds = self.seconds.values().flat_map(BTreeMap::values);
        seconds.find(|second| second.op.id() == id).map_or(id, |second| second.first)
    }

    fn is_own(&self, bytes: &[u8]) -> bool {
        Op::decode(bytes, self.network).is_ok_and(|op| op.header().log.author == self.own)
    }

    /// Whether a proof names the own author: both its headers do.
    fn is_against_us(&self, proof: &[u8]) -> bool {
        let header = Header::read(&mut Reader::new(proof), self.network);
        header.is_ok_and(|header| header.log.author == self.own)
    }
}

/// In the simulator the peers that get the second story are drawn when the world is made.
impl Actor for Equivocator {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        vec![Self::outbound(self, scene.victims.contains(&to), frame)]
    }

    fn inbound(&mut self, _: &mut Scene<'_>, _: usize, frame: &[u8]) -> Option<Vec<u8>> {
        Self::inbound(self, frame)
    }

    fn injected(&self) -> u64 {
        self.positions() as u64
    }
}

/// The same statement with another price.
pub(super) fn other_price(attestation: &Attestation) -> Option<Attestation> {
    let raised = attestation.mantissa().checked_add((attestation.mantissa() / 100 * SECOND_PRICE_PERCENT).max(1))?;
    let number = (raised, attestation.expo());
    let (half_width, sources) = (attestation.half_width(), attestation.sources());
    Attestation::new(attestation.feed(), number, half_width, sources, attestation.is_doubtful()).ok()
}

#[cfg(test)]
mod tests {
    use concurrence_crdt::{Digest, Entry, ForkProof, Time};
    use concurrence_oracle::{Address, Member, Slot};
    use concurrence_protocol::decode_proof;

    use super::*;

    struct Liar {
        actor: Equivocator,
        registry: Registry,
        key: SigningKey,
        evm: k256::ecdsa::SigningKey,
        first: Vec<Op>,
    }

    /// An actor, and the first chain of its own operations, which it has not seen.
    fn liar(len: u64) -> Liar {
        let (key, evm) = (SigningKey::from([1; 32]), k256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap());
        let evm_address = Address::of(evm.verifying_key());
        let (author, name, peer) = (AuthorKey::of(&key), "a".to_owned(), "p".to_owned());
        let member = Member { name, author, evm: evm_address, peer, weight: 1 };
        let network = NetworkId::from_bytes([7; 32]);
        let registry = Registry::new("test".to_owned(), network, vec![vec![member]]).unwrap();
        let mut first: Vec<Op> = Vec::new();
        for seq in 0..len {
            let declared = Time::from_ms(1_000_000 + seq * 1_000);
            let stated = Attestation::new("BTC/USD".parse().unwrap(), (5_000, -2), 1, 7, false).unwrap();
            let draft = BatchDraft::new(Slot::of(declared), Digest::from_bytes([0; 32]), vec![stated]).unwrap();
            let signatures = draft.digests(&Domain::of(&network), 0).iter().map(|d| sign(d, &evm)).collect();
            let payload = draft.signed(signatures).unwrap().encode();
            let prev = first.last().map_or(OpId::ZERO, Op::id);
            let (log, zero) = (LogKey { author, index: 0 }, Digest::from_bytes([0; 32]));
            let kind = KIND_PRICE_BATCH;
            let (epoch, payload_len, payload_hash, refs) = (0, 0, zero, Vec::new());
            let header = Header { network, log, seq, prev, epoch, declared, kind, payload_len, payload_hash, refs };
            first.push(Op::sign(header, &payload, &key));
        }
        Liar { actor: Equivocator::new(key, evm.clone(), registry.clone()), registry, key, evm, first }
    }

    fn op_of(frame: &[u8], network: NetworkId) -> Op {
        let Ok(Frame::Op(bytes)) = Frame::decode(frame) else { panic!("no operation") };
        Op::decode(&bytes, network).unwrap()
    }

    #[test]
    fn victims_get_a_chain_of_their_own_that_is_valid_in_every_signature() {
        let Liar { mut actor, registry, evm, first, .. } = liar(3);
        let (network, mut prev) = (registry.network_id(), OpId::ZERO);
        for op in &first {
            let frame = Frame::Op(Arc::clone(op.bytes())).encode();
            assert_eq!(actor.outbound(false, &frame), frame);
            let second = op_of(&actor.outbound(true, &frame), network);
            assert_eq!(op_of(&actor.outbound(true, &frame), network), second, "one second story, not many");
            assert_eq!((second.header().seq, second.header().prev), (op.header().seq, prev));
            prev = second.id();
            let batch = PriceBatch::decode(second.payload()).unwrap();
            let address = Address::of(evm.verifying_key());
            assert_eq!(batch.verify(&Domain::of(&network), 0, address), Ok(()));
            assert_eq!(batch.attestations()[0].mantissa(), 5_050);
            let (ours, theirs) = (op.clone().verify().unwrap(), second.verify().unwrap());
            assert!(ForkProof::of(&ours.verified_header(), &theirs.verified_header()).is_some());
        }
        assert_eq!(actor.positions(), 3);
        // Others' operations, and what is no operation, pass as they are.
        for frame in [Frame::Fetch(OpId::ZERO).encode(), Frame::Op([1, 2, 3].into()).encode(), vec![99]] {
            assert_eq!(actor.outbound(true, &frame), frame);
        }
    }

    #[test]
    fn answers_and_claims_agree_with_the_story_told() {
        let Liar { mut actor, registry, first, .. } = liar(3);
        let ops: Vec<_> = first.iter().map(|op| Arc::clone(op.bytes())).collect();
        let (now, digest) = (Time::from_ms(0), Digest::from_bytes([0; 32]));
        let delta = Frame::Delta(Delta { now, digest, more: false, proofs: Vec::new(), ops }).encode();
        let Ok(Frame::Delta(told)) = Frame::decode(&actor.outbound(true, &delta)) else { panic!("no answer") };
        let second = Op::decode(&told.ops[2], registry.network_id()).unwrap();
        assert_ne!(second.id(), first[2].id());

        let pull = |head| {
            let frontier = Frontier {
                entries: vec![Entry { author: 0, log: 0, len: 3, head, certified: 0 }],
                ..Frontier::default()
            };
            Frame::Pull { now, credit: 1, frontier }.encode()
        };
        assert_eq!(actor.outbound(true, &pull(first[2].id())), pull(second.id()));
        assert_eq!(actor.outbound(false, &pull(first[2].id())), pull(first[2].id()));
        // The engine hears of its own operations only.
        assert_eq!(actor.inbound(&pull(second.id())), Some(pull(first[2].id())));
        assert_eq!(actor.inbound(&Frame::Fetch(second.id()).encode()), Some(Frame::Fetch(first[2].id()).encode()));
    }

    #[test]
    fn the_engine_behind_it_learns_nothing() {
        let Liar { mut actor, registry, key, first, .. } = liar(1);
        let frame = Frame::Op(Arc::clone(first[0].bytes())).encode();
        let second = actor.outbound(true, &frame);
        assert_eq!(actor.inbound(&second), None);
        let ours = first[0].clone().verify().unwrap().verified_header();
        let theirs = op_of(&second, registry.network_id()).verify().unwrap().verified_header();
        let proof = ForkProof::of(&ours, &theirs).unwrap().encode();
        assert_eq!(decode_proof(&proof, registry.network_id()).unwrap().author(), AuthorKey::of(&key));
        assert_eq!(actor.inbound(&Frame::Proof(proof.clone()).encode()), None);
        let (now, digest, ops) = (Time::from_ms(0), Digest::from_bytes([0; 32]), vec![Arc::clone(first[0].bytes())]);
        let answer = Frame::Delta(Delta { now, digest, more: false, proofs: vec![proof], ops });
        let heard = Frame::Delta(Delta { now, digest, more: false, proofs: Vec::new(), ops: Vec::new() });
        assert_eq!(actor.inbound(&answer.encode()), Some(heard.encode()));
    }
}
