//! A replica with its store, driven as a node drives it, and checked after every input.

use std::collections::VecDeque;

use concurrence_crdt::{Digest, Op, VerifiedOp};
use concurrence_protocol::{
    CannotAppend, Config, DELTA_BYTES_MAX, Event, Frame, Hello, Input, MessageId, Now, Output, OwnStart,
    PROTOCOL_VERSION, Peer, Reason, Replica, StoreRequest, Verdict, decode_proof,
};
use concurrence_store::{MemoryStore, Store, StoreId, serve};

use crate::material::{NETWORK, REGISTRY, author, key, members};

/// How often digests are told, in milliseconds.
pub const SYNC_INTERVAL_MS: u64 = 500;

/// A replica, its store and what came out of it.
pub struct Node {
    pub replica: Replica,
    pub store: MemoryStore,
    pub now: Now,
    /// Frames to one peer, in order.
    pub sent: VecDeque<(Peer, Vec<u8>)>,
    /// Frames to all.
    pub broadcast: VecDeque<Vec<u8>>,
    /// Why something was refused since this was last emptied.
    pub refused: Vec<Reason>,
    /// Whether the store answers later.
    pub is_store_slow: bool,
    requests: VecDeque<StoreRequest>,
    own: Option<u8>,
    /// Own operations that became visible.
    pub own_admitted: Vec<VerifiedOp>,
    /// Peers that it wants to be cut off.
    pub banned: Vec<Peer>,
    /// The number of the next newcomer.
    next_newcomer: u32,
}

/// Numbers from here on are those of peers that are no nodes.
pub const NEWCOMERS: u32 = 100;

impl Node {
    /// A node with an empty store; `own` writes a log.
    pub fn new(own: Option<u8>, now: Now) -> Self {
        Self::with_store(own, now, MemoryStore::new(StoreId::from_bytes([own.unwrap_or(0); 16])))
    }

    /// A node that starts on what its store holds (STORE-2).
    pub fn with_store(own: Option<u8>, now: Now, store: MemoryStore) -> Self {
        let config = Config {
            network: NETWORK,
            registry: REGISTRY,
            members: members(),
            own: own.map(author),
            sync_interval_ms: SYNC_INTERVAL_MS,
            fresh_listen_ms: 0,
        };
        let mut replica = Replica::new(config, OwnStart::Append, now);
        for proof in store.proofs().expect("memory does not fail") {
            replica.restore_proof(decode_proof(&proof, NETWORK).expect("what was stored was a proof"));
        }
        for fact in store.facts().expect("memory does not fail") {
            replica.restore_fact(&fact);
        }
        for (log, len) in store.logs().expect("memory does not fail") {
            for bytes in store.range(log, 0, len, usize::MAX).expect("memory does not fail") {
                let op = Op::decode(&bytes, NETWORK).expect("what was stored was an operation");
                replica.restore(&VerifiedOp::from_own_store(op));
            }
        }
        Self {
            replica,
            store,
            now,
            sent: VecDeque::new(),
            broadcast: VecDeque::new(),
            refused: Vec::new(),
            is_store_slow: false,
            requests: VecDeque::new(),
            own,
            own_admitted: Vec::new(),
            banned: Vec::new(),
            next_newcomer: NEWCOMERS,
        }
    }

    /// The process ends; what the store had not been given is lost, and a new one starts on what it holds.
    pub fn restart(&mut self) {
        let digest = self.replica.digest();
        let nothing_is_under_way = self.requests.is_empty();
        let own_admitted = std::mem::take(&mut self.own_admitted);
        let next_newcomer = self.next_newcomer;
        *self = Self { own_admitted, next_newcomer, ..Self::with_store(self.own, self.now, self.store.clone()) };
        if nothing_is_under_way {
            assert_eq!(self.replica.digest(), digest, "STORE-2: restarting changed the state");
        }
    }

    /// Gives an input, carries out what comes of it, checks every bound.
    pub fn handle(&mut self, input: Input) {
        self.replica.handle(self.now, input);
        self.drain();
    }

    /// The same for a frame; returns what the transport is to do with it, had it been broadcast.
    pub fn frame(&mut self, peer: Peer, bytes: Vec<u8>, is_broadcast: bool) -> Option<Verdict> {
        let input = match is_broadcast {
            true => Input::Broadcast { peer, id: MessageId([0; 32]), bytes },
            false => Input::Frame { peer, bytes },
        };
        self.replica.handle(self.now, input);
        self.drain()
    }

    /// A peer connects and says hello as one of this network.
    fn greet(&mut self, peer: Peer, digest: Digest, ops: u64) {
        self.handle(Input::Connected { peer, author: None });
        let now = self.now.wall;
        let hello = Hello { version: PROTOCOL_VERSION, network: NETWORK, registry: REGISTRY, now, digest, ops };
        self.frame(peer, Frame::Hello(hello).encode(), false);
    }

    /// A peer comes that was never here.
    pub fn newcomer(&mut self) -> Peer {
        let peer = Peer(self.next_newcomer);
        self.next_newcomer += 1;
        let digest = self.digest();
        self.greet(peer, digest, 0);
        peer
    }

    /// Moves both clocks on.
    pub fn wait(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall: self.now.wall.after_ms(ms) };
        self.handle(Input::Tick);
    }

    /// Appends an own operation, if it may.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), CannotAppend> {
        let header = self.replica.next_header(1, payload, self.now.wall)?;
        let own = self.own.expect("whoever may append has a key");
        let op = Op::sign(header, payload, key(own)).verify().expect("the own key signs");
        self.replica.append(op)?;
        self.drain();
        Ok(())
    }

    /// The store answers everything it was asked.
    pub fn serve_store(&mut self) {
        self.is_store_slow = false;
        while let Some(request) = self.requests.pop_front() {
            self.serve_one(request);
            self.drain();
        }
    }

    fn serve_one(&mut self, request: StoreRequest) {
        // A correct replica never asks for a gap or a second operation at a position.
        let reply = serve(&mut self.store, request).expect("STORE-2: the store refused what the replica asked for");
        self.replica.handle(self.now, Input::Store(reply));
    }

    fn drain(&mut self) -> Option<Verdict> {
        let mut verdict = None;
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Send(peer, bytes) => {
                    check_sent(&bytes);
                    self.sent.push_back((peer, bytes));
                }
                Output::Broadcast(bytes) => self.broadcast.push_back(bytes),
                Output::Verdict(_, said) => verdict = Some(said),
                Output::Event(event) => self.note(event),
                Output::Ban(peer, _) => self.banned.push(peer),
                Output::Store(request) if self.is_store_slow || !self.requests.is_empty() => {
                    self.requests.push_back(request);
                }
                Output::Store(request) => self.serve_one(request),
            }
        }
        self.replica.check_invariants();
        for (name, used, max) in self.replica.buffers() {
            assert!(used <= max, "SYNC-4: {name} holds {used} of {max}");
        }
        verdict
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Refused { reason, .. } => self.refused.push(reason),
            Event::Admitted(op) if self.own.map(author) == Some(op.op().header().log.author) => {
                self.own_admitted.push(op);
            }
            Event::OwnLogForked(author) => panic!("NODE-1: {author:?} is said to have forked"),
            _ => {}
        }
    }

    /// What is counted: equal for nodes that hold the same.
    pub fn digest(&mut self) -> Digest {
        self.replica.digest()
    }
}

/// Whatever a node sends its peers can read; and an answer is within its bound, whatever was asked (SYNC-5).
fn check_sent(bytes: &[u8]) {
    let frame = Frame::decode(bytes).expect("own frames are frames");
    if let Frame::Delta(delta) = frame {
        let sum: usize = delta.ops.iter().map(|op| op.len()).sum();
        assert!(sum <= DELTA_BYTES_MAX || delta.ops.len() == 1, "SYNC-5: an answer of {sum} bytes");
    }
}
