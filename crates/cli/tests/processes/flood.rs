//! Valid operations of members that do not run, written nearly as fast as quotas allow: load for a node's store.

use std::time::{Duration, Instant};

use concurrence_crdt::{Digest, Header, LOGS_MAX, LogKey, NetworkId, Op, OpId, SigningKey, Time, VerifiedOp};
use concurrence_node::Keys;

use crate::harness::{Bench, Member};

/// Writes the logs of some members in turn.
pub struct Flood {
    network: NetworkId,
    logs: Vec<Log>,
    turn: usize,
    due: Instant,
}

struct Log {
    key: SigningKey,
    at: LogKey,
    seq: u64,
    prev: OpId,
}

/// Between two operations of one log: 226 a minute, where quotas allow 240.
const PACE: Duration = Duration::from_millis(265);

/// Bytes of a payload: with 226 operations a quarter of what quotas allow in a minute.
const PAYLOAD_LEN: usize = 1_024;

/// A kind that no view reads: stored and relayed.
const KIND: u16 = 999;

impl Flood {
    /// Writes all logs of these members, which no process may do beside it.
    pub fn of(bench: &Bench, members: &[Member]) -> Self {
        let mut logs = Vec::new();
        for member in members {
            let keys = Keys::load(&member.home.join("oracle-key.json"), None).unwrap();
            for index in 0..LOGS_MAX {
                let (at, (key, _)) = (LogKey { author: keys.author_key(), index }, keys.signing_keys());
                logs.push(Log { key, at, seq: 0, prev: OpId::ZERO });
            }
        }
        Self { network: bench.registry().network_id(), logs, turn: 0, due: Instant::now() }
    }

    /// Time until the next operation.
    pub fn pause(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// The next operation, if it is time. What was missed is not made up for: it would exceed the quota.
    pub fn next(&mut self, declared: Time) -> Option<VerifiedOp> {
        if !self.pause().is_zero() {
            return None;
        }
        self.due = Instant::now() + PACE / u32::try_from(self.logs.len()).unwrap();
        self.turn = (self.turn + 1) % self.logs.len();
        let log = &mut self.logs[self.turn];
        let header = Header {
            network: self.network,
            log: log.at,
            seq: log.seq,
            prev: log.prev,
            epoch: 0,
            declared,
            kind: KIND,
            payload_len: 0,
            payload_hash: Digest::from_bytes([0; 32]),
            refs: Vec::new(),
        };
        let op = Op::sign(header, &[0x5a; PAYLOAD_LEN], &log.key);
        (log.seq, log.prev) = (log.seq + 1, op.id());
        Some(op.verify().unwrap())
    }
}
