//! Byzantine actors that speak the real wire format. (One that merely reports a wrong price needs no actor: its market does.)

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{AuthorKey, Frontier, Header, LogKey, NetworkId, Op, OpId, Reader, SigningKey};
use concurrence_oracle::{Attestation, BatchDraft, Domain, KIND_PRICE_BATCH, PriceBatch, Registry, sign};
use concurrence_protocol::{Delta, Frame};

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

/// The same statement with another price.
fn other_price(attestation: &Attestation) -> Option<Attestation> {
    let raised = attestation.mantissa().checked_add((attestation.mantissa() / 100 * SECOND_PRICE_PERCENT).max(1))?;
    let number = (raised, attestation.expo());
    let (half_width, sources) = (attestation.half_width(), attestation.sources());
    Attestation::new(attestation.feed(), number, half_width, sources, attestation.is_doubtful()).ok()
}
