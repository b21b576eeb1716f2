//! What rows are measured on: authors with known keys, their operations, and a node in memory that takes them.

use std::collections::BTreeMap;

use concurrence_crdt::{
    AuthorKey, Committee, Digest, Header, LogKey, Membership, NetworkId, Op, OpId, Signature, SigningKey, Time,
    VerifiedOp, hash,
};
use concurrence_protocol::{
    Config, Event, Frame, Hello, Input, Now, Output, OwnStart, PROTOCOL_VERSION, Peer, Replica, StoreReply,
    StoreRequest,
};
use concurrence_store::{MemoryStore, StoreId, serve_all};

/// The only network here.
pub(crate) const NETWORK: NetworkId = NetworkId::from_bytes([0xbe; 32]);

/// Bytes of a plain operation: the size that the sync row names.
pub(crate) const OP_LEN: usize = 300;

/// Payload that makes an operation of [`OP_LEN`] bytes.
const PAYLOAD_LEN: usize = OP_LEN - concurrence_crdt::HEADER_LEN_MIN - Signature::LEN;

/// A kind nobody knows: stored and relayed, never read.
const KIND_PLAIN: u16 = 0xbe;

/// When the first operation is declared, in milliseconds: a whole minute.
const START_MS: u64 = 29_000_000 * 60_000;

/// Between two operations of a log, in milliseconds: one a slot, a quarter of what quotas allow.
const PACE_MS: u64 = 1_000;

/// The registry's history, as peers compare it.
const REGISTRY: Digest = Digest::from_bytes([0xce; 32]);

/// Authors of equal weight.
pub(crate) struct Cast {
    keys: Vec<SigningKey>,
}

/// Writes one author's log 0.
pub(crate) struct Writer {
    key: SigningKey,
    log: LogKey,
    seq: u64,
    prev: OpId,
}

/// One node without a network: a replica, driven as a node's loop drives it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) replica: Replica,
    /// Without one, requests to write are answered at once and what was to be written is dropped.
    pub(crate) store: Option<MemoryStore>,
    pub(crate) now: Now,
}

impl Cast {
    pub(crate) fn of(authors: usize) -> Self {
        let secret = |at: usize| *hash("concurrence bench author", &at.to_be_bytes()).as_bytes();
        Self { keys: (0..authors).map(|at| SigningKey::from(secret(at))).collect() }
    }

    pub(crate) fn authors(&self) -> impl Iterator<Item = AuthorKey> {
        self.keys.iter().map(AuthorKey::of)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = SigningKey> {
        self.keys.iter().copied()
    }

    pub(crate) fn writers(&self) -> Vec<Writer> {
        self.keys.iter().map(Writer::new).collect()
    }

    pub(crate) fn membership(&self) -> Membership {
        let weights: BTreeMap<_, _> = self.authors().map(|author| (author, 1)).collect();
        Membership::new(vec![Committee::new(weights)])
    }

    /// An empty follower with an empty store that has never met anyone.
    pub(crate) fn node(&self) -> Node {
        let config = Config {
            network: NETWORK,
            registry: REGISTRY,
            members: self.membership(),
            own: None,
            sync_interval_ms: 1_000,
            fresh_listen_ms: 0,
        };
        // Late enough for all operations that any row declares.
        let now = Now { mono_ms: 0, wall: Time::from_ms(START_MS).after_ms(86_400_000) };
        let store = Some(MemoryStore::new(StoreId::from_bytes([1; 16])));
        Node { replica: Replica::new(config, OwnStart::Append, now), store, now }
    }

    /// An empty follower without a store that has greeted [`PEER`].
    pub(crate) fn greeted_node(&self) -> Node {
        let mut node = self.node();
        node.store = None;
        let (digest, ops) = (node.replica.digest(), node.replica.history().ops());
        node.handle(Input::Connected { peer: PEER, author: None }, drop);
        let hello =
            Hello { version: PROTOCOL_VERSION, network: NETWORK, registry: REGISTRY, now: node.now.wall, digest, ops };
        node.frame(Frame::Hello(hello).encode(), drop);
        node
    }
}

/// The one peer of a node.
pub(crate) const PEER: Peer = Peer(0);

impl Writer {
    fn new(key: &SigningKey) -> Self {
        Self { key: *key, log: LogKey { author: AuthorKey::of(key), index: 0 }, seq: 0, prev: OpId::ZERO }
    }

    /// The next operation of [`OP_LEN`] bytes.
    pub(crate) fn plain(&mut self) -> Op {
        let payload = self.plain_payload();
        self.next(KIND_PLAIN, &payload)
    }

    /// The same without the cost of a signature: for histories that are given, not verified.
    pub(crate) fn unsigned(&mut self) -> Op {
        let payload = self.plain_payload();
        let mut header = self.header(KIND_PLAIN);
        header.commit(&payload);
        self.went_on(Op::join(header, &payload, Signature::from_bytes([0; 64])))
    }

    /// The next operation, signed.
    pub(crate) fn next(&mut self, kind: u16, payload: &[u8]) -> Op {
        let op = Op::sign(self.header(kind), payload, &self.key);
        self.went_on(op)
    }

    /// When the next operation will be declared.
    pub(crate) fn declares(&self) -> Time {
        Time::from_ms(START_MS + self.seq * PACE_MS)
    }

    fn plain_payload(&self) -> [u8; PAYLOAD_LEN] {
        let mut payload = [0x5a; PAYLOAD_LEN];
        payload[..8].copy_from_slice(&self.seq.to_be_bytes());
        payload
    }

    fn header(&self, kind: u16) -> Header {
        Header {
            network: NETWORK,
            log: self.log,
            seq: self.seq,
            prev: self.prev,
            epoch: 0,
            declared: self.declares(),
            kind,
            payload_len: 0,
            payload_hash: Digest::from_bytes([0; 32]),
            refs: Vec::new(),
        }
    }

    fn went_on(&mut self, op: Op) -> Op {
        (self.seq, self.prev) = (self.seq + 1, op.id());
        op
    }
}

impl Node {
    /// Takes a frame of [`PEER`] and carries out what follows; `admitted` sees every operation that came to count.
    pub(crate) fn frame(&mut self, bytes: Vec<u8>, admitted: impl FnMut(VerifiedOp)) {
        self.handle(Input::Frame { peer: PEER, bytes }, admitted);
    }

    /// Takes an input and carries out what follows, except for frames, which nobody hears.
    pub(crate) fn handle(&mut self, input: Input, mut admitted: impl FnMut(VerifiedOp)) {
        self.drive(input, |output| {
            if let Output::Event(Event::Admitted(op)) = output {
                admitted(op);
            }
        });
    }

    /// Takes an input and carries out what follows in the store; `others` gets every other output.
    pub(crate) fn drive(&mut self, input: Input, mut others: impl FnMut(Output)) {
        self.replica.handle(self.now, input);
        loop {
            let mut requests = Vec::new();
            while let Some(output) = self.replica.poll() {
                match output {
                    Output::Store(request) => requests.push(request),
                    other => others(other),
                }
            }
            if requests.is_empty() {
                return;
            }
            let replies = self.serve(requests);
            replies.into_iter().for_each(|reply| self.replica.handle(self.now, Input::Store(reply)));
        }
    }
    fn serve(&mut self, requests: Vec<StoreRequest>) -> Vec<StoreReply> {
        match &mut self.store {
            Some(store) => serve_all(store, requests).expect("a store in memory takes what a replica admits"),
            None => requests.into_iter().map(forget).collect(),
        }
    }
}

fn forget(request: StoreRequest) -> StoreReply {
    match request {
        StoreRequest::Commit { token, .. } => StoreReply::Committed(token),
        read => panic!("a node without a store was asked for {read:?}"),
    }
}
