//! The trace: a hash over everything that went into and came out of every engine, in order. Equal hashes are equal runs.

use std::fmt::Debug;

use concurrence_crdt::Digest;
use concurrence_engine::{Input, Output};
use concurrence_protocol::{self as protocol, Now};

/// The hash so far.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    events: u64,
}

impl Trace {
    /// Something the world did.
    pub(crate) fn event(&mut self, virtual_ms: u64, what: &impl Debug) {
        self.events += 1;
        self.hasher.update(format!("{virtual_ms} {what:?}\n").as_bytes());
    }

    pub(crate) fn input(&mut self, now: Now, input: &Input) {
        self.hasher.update(&now.mono_ms.to_be_bytes()).update(&now.wall.ms().to_be_bytes());
        match input {
            Input::Net(protocol::Input::Frame { peer, bytes } | protocol::Input::Broadcast { peer, bytes, .. }) => {
                self.frame(b'<', peer.0, bytes);
            }
            other => _ = self.hasher.update(format!("{other:?}\n").as_bytes()),
        }
    }

    pub(crate) fn output(&mut self, output: &Output) {
        match output {
            Output::Send(peer, bytes) => self.frame(b'>', peer.0, bytes),
            Output::Broadcast(bytes) => self.frame(b'*', u32::MAX, bytes),
            other => _ = self.hasher.update(format!("{other:?}\n").as_bytes()),
        }
    }

    /// How many events happened.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn hash(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }

    fn frame(&mut self, direction: u8, peer: u32, bytes: &[u8]) {
        self.hasher.update(&[direction]).update(&peer.to_be_bytes()).update(&(bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }
}
