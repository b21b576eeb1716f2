//! The trace: a hash over everything that went into and came out of every engine, in order. Equal hashes are equal runs.

use std::fmt::Debug;

use concurrence_crdt::Digest;
use concurrence_engine::{Event, Input, Output};
use concurrence_oracle::Quote;
use concurrence_protocol::{self as protocol, Now, StoreReply, StoreRequest, Write};

/// The hash so far. It is fed in fixed forms, not in words: a run of ten minutes has a million inputs and outputs.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    /// What is not hashed yet.
    buffer: Vec<u8>,
    events: u64,
    /// Nothing is noted.
    pub(crate) is_off: bool,
}

/// Bytes gathered before they are hashed: long pieces are hashed several times faster than short ones.
const PIECE_LEN: usize = 1 << 16;

impl Trace {
    /// Something the world did.
    pub(crate) fn event(&mut self, virtual_ms: u64, what: &impl Debug) {
        let text = format!("{what:?}");
        self.happened(virtual_ms);
        self.bytes(b'e', text.as_bytes());
    }

    /// A frame arrives, or a timer runs out: the many events, in a form without words.
    pub(crate) fn step(&mut self, virtual_ms: u64, kind: u8, a: usize, b: usize) {
        self.happened(virtual_ms);
        self.buffer.push(kind);
        self.number(a as u64);
        self.number(b as u64);
    }

    pub(crate) fn input(&mut self, now: Now, input: &Input) {
        if self.is_off {
            return;
        }
        self.number(now.mono_ms);
        self.number(now.wall.ms());
        match input {
            Input::Net(protocol::Input::Frame { peer, bytes }) => self.frame(b'<', peer.0, bytes),
            Input::Net(protocol::Input::Broadcast { peer, bytes, .. }) => self.frame(b'(', peer.0, bytes),
            Input::Net(protocol::Input::Tick) => self.buffer.push(b't'),
            Input::Net(protocol::Input::Store(reply)) => self.reply(reply),
            Input::Quote { source, symbol, quote } => self.quote(source.index(), symbol, quote),
            other => self.bytes(b'i', format!("{other:?}").as_bytes()),
        }
    }

    pub(crate) fn output(&mut self, output: &Output) {
        if self.is_off {
            return;
        }
        match output {
            Output::Send(peer, bytes) => self.frame(b'>', peer.0, bytes),
            Output::Broadcast(bytes) => self.frame(b'*', u32::MAX, bytes),
            Output::Store(request) => self.request(request),
            Output::Event(Event::Admitted(op)) => self.bytes(b'a', op.op().id().as_bytes()),
            other => self.bytes(b'o', format!("{other:?}").as_bytes()),
        }
    }

    /// How many events happened.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn hash(&self) -> Digest {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    fn happened(&mut self, virtual_ms: u64) {
        self.events += 1;
        if self.buffer.len() > PIECE_LEN {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        self.number(virtual_ms);
    }

    fn request(&mut self, request: &StoreRequest) {
        match request {
            StoreRequest::Commit { token, writes, durable } => {
                self.bytes(b'c', &token.0.to_be_bytes());
                self.buffer.push(u8::from(*durable));
                writes.iter().for_each(|write| self.write(write));
            }
            other => self.bytes(b's', format!("{other:?}").as_bytes()),
        }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Op { id, .. } => self.bytes(b'w', id.as_bytes()),
            Write::Quarantine { id, .. } => self.bytes(b'q', id.as_bytes()),
            Write::Certified { id, .. } => self.bytes(b'z', id.as_bytes()),
            Write::Proof { bytes, .. } | Write::Fact { bytes, .. } => self.bytes(b'p', bytes),
            Write::Meta { value, .. } => self.bytes(b'm', value),
        }
    }

    fn reply(&mut self, reply: &StoreReply) {
        match reply {
            StoreReply::Committed(token) => self.bytes(b'r', &token.0.to_be_bytes()),
            StoreReply::Loaded(token, ops) => {
                self.bytes(b'l', &token.0.to_be_bytes());
                ops.iter().for_each(|op| self.bytes(b'+', op));
            }
            StoreReply::Found(token, op) => {
                self.bytes(b'f', &token.0.to_be_bytes());
                self.bytes(b'+', op.as_deref().unwrap_or_default());
            }
        }
    }

    fn quote(&mut self, source: u8, symbol: &str, quote: &Quote) {
        self.buffer.extend([b'$', source]);
        self.bytes(b'y', symbol.as_bytes());
        for price in [quote.bid, quote.ask, quote.last] {
            self.buffer.extend(price.map_or(0, |price| price.units()).to_be_bytes());
        }
    }

    fn frame(&mut self, direction: u8, peer: u32, bytes: &[u8]) {
        self.number(u64::from(peer));
        self.bytes(direction, bytes);
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.buffer.push(kind);
        self.number(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.buffer.extend_from_slice(&number.to_be_bytes());
    }
}
