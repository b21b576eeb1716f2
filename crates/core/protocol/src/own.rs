//! This node's own log: when it may append to it, and how it notices that someone else does.
//!
//! An honest node never forks itself. What is on disk decides how it starts; what peers hold decides whether it may go on.

use std::collections::BTreeSet;

use concurrence_crdt::{
    AuthorKey, Committee, Time,
    canary::{Canary, sings},
};

use crate::{CannotAppend, Now};

/// What this node's disk says of its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnStart {
    /// Key and store agree: nothing that was sent is missing.
    Append,
    /// The key was never used here.
    Fresh,
    /// Restored, rolled back or lost: the log may be longer elsewhere.
    Recover,
}

/// The state of the own log.
#[derive(Clone, Debug)]
pub struct OwnLog {
    state: State,
    /// When this process started: an own operation declared later was written by another one.
    started: Time,
}

#[derive(Clone, Debug)]
enum State {
    Append,
    /// Another process writes with the key: nothing is appended any more.
    InUse,
    Listen {
        until_mono_ms: u64,
    },
    Recover {
        /// Members that sent everything they hold beyond our frontier.
        answered: BTreeSet<AuthorKey>,
        /// From when answers count: another process may be writing with the key, and what it wrote since we started tells.
        from_mono_ms: u64,
    },
}

/// How much later than this process's start an own operation must be declared to have been written by another process.
/// A guess: above the steps by which clocks are corrected, below a human's patience.
const STARTED_SLACK_MS: u64 = 2_000;

impl OwnLog {
    /// The state at start.
    pub fn new(start: OwnStart, now: Now, fresh_listen_ms: u64) -> Self {
        let state = match start {
            OwnStart::Recover if sings(Canary::Node1) => State::Append,
            OwnStart::Append => State::Append,
            OwnStart::Fresh => State::Listen { until_mono_ms: now.mono_ms.saturating_add(fresh_listen_ms) },
            OwnStart::Recover => State::recover(now.mono_ms.saturating_add(fresh_listen_ms)),
        };
        Self { state, started: now.wall }
    }

    /// Whether the node is waiting for its peers to tell it about its own log.
    pub const fn is_recovering(&self) -> bool {
        matches!(self.state, State::Recover { .. })
    }

    /// Ends listening when its time has come.
    pub fn on_time(&mut self, now: Now) {
        if matches!(self.state, State::Listen { until_mono_ms } if now.mono_ms >= until_mono_ms) {
            self.state = State::Append;
        }
    }

    /// A member was reached and hung up: while that happens a fresh key listens on. Where two processes use one key, members talk to
    /// them in turn, and only in its turn can this one hear that the log exists.
    pub fn turned_away(&mut self, now: Now, fresh_listen_ms: u64) {
        if let State::Listen { until_mono_ms } = &mut self.state {
            *until_mono_ms = (*until_mono_ms).max(now.mono_ms.saturating_add(fresh_listen_ms));
        }
    }

    /// An own operation came from a peer. Returns whether that means that the key is in use elsewhere.
    pub fn found_own_op(&mut self, declared: Time) -> bool {
        let is_appending = matches!(self.state, State::Append | State::InUse);
        if is_appending || declared > self.started.after_ms(STARTED_SLACK_MS) {
            self.state = State::InUse;
        } else if let State::Listen { until_mono_ms } = self.state {
            self.state = State::recover(until_mono_ms);
        }
        self.is_in_use()
    }

    /// Whether another process was found to write with the key.
    pub const fn is_in_use(&self) -> bool {
        matches!(self.state, State::InUse)
    }

    /// A member has sent everything it holds beyond our frontier.
    pub fn answered(&mut self, now: Now, member: AuthorKey, own: AuthorKey, committee: &Committee) {
        let State::Recover { answered, from_mono_ms } = &mut self.state else { return };
        if member != own && now.mono_ms >= *from_mono_ms {
            answered.insert(member);
        }
        if committee.is_quorum(weight_of(answered, committee)) {
            self.state = State::Append;
        }
    }

    /// Whether the own log may be appended to.
    pub fn may_append(&self, committee: &Committee) -> Result<(), CannotAppend> {
        match &self.state {
            State::Append => Ok(()),
            State::InUse => Err(CannotAppend::KeyInUse),
            State::Listen { .. } => Err(CannotAppend::Listening),
            State::Recover { answered, .. } => {
                let answered = weight_of(answered, committee);
                let needed = u64::try_from(u128::from(committee.total()) * 2 / 3 + 1).unwrap_or(u64::MAX);
                Err(CannotAppend::Recovering { answered, needed })
            }
        }
    }
}

impl State {
    fn recover(from_mono_ms: u64) -> Self {
        Self::Recover { answered: BTreeSet::new(), from_mono_ms }
    }
}

fn weight_of(members: &BTreeSet<AuthorKey>, committee: &Committee) -> u64 {
    members.iter().fold(0, |sum, member| sum.saturating_add(committee.weight(member)))
}
