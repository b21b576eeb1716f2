//! What a forked author's certified head stands upon, fetched back: downwards from the head, then admitted upwards.

use std::{collections::BTreeSet, sync::Arc};

use concurrence_crdt::{Certificate, Descent, LogKey, Op, OpId, Place, VerifiedOp, WANTED_MAX, Wanted};

use crate::{Event, FactKey, Output, Peer, Replica, StoreRequest, Token, Write, intake::Reason, session::PullCause};

/// One log's way down, and up again.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    descent: Descent,
    stage: Stage,
    /// Who gave the last step.
    giver: Option<Peer>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The own store is asked for the next operation downwards.
    Looking(Token),
    /// The own store has it not: peers are asked.
    Asking,
    /// The chain was met; the next operation upwards is being read.
    Rising(Token),
    /// Met, but the author is not convicted yet: the other branch's header is being read.
    Waiting,
}

impl Way {
    fn new(certificate: Certificate) -> Self {
        Self { descent: Descent::new(certificate), stage: Stage::Waiting, giver: None }
    }
}

/// Which way: its log, length and head.
pub(crate) type WayKey = (LogKey, u64, OpId);

const fn key_of(certificate: &Certificate) -> WayKey {
    (certificate.head().log, certificate.head().len, certificate.head().id)
}

impl Replica {
    /// Goes after every certified head that the normal way does not lead to, and gives up ways that lost their end.
    pub(crate) fn follow_astray(&mut self) {
        let history = &self.history;
        self.ways.retain(|_, way| history.is_awaited(way.descent.certificate().head()));
        let astray: Vec<Certificate> = self.history.astray().cloned().collect();
        for certificate in astray {
            let key = key_of(&certificate);
            let way = self.ways.entry(key).or_insert_with(|| Way::new(certificate));
            if matches!(way.stage, Stage::Waiting) {
                self.step(key);
            }
        }
    }

    /// Asks for what the way needs next.
    fn step(&mut self, key: WayKey) {
        let Some(way) = self.ways.get(&key) else { return };
        let is_forked = self.history.proof(&key.0.author).is_some();
        let rises = |(other, way): (&WayKey, &Way)| other.0 == key.0 && matches!(way.stage, Stage::Rising(_));
        match (way.descent.met(&self.history), way.descent.wanted()) {
            // One after another, lest they stand in one another's way.
            (Some(met), _) if is_forked && !self.ways.iter().any(rises) => self.rise(key, met),
            (None, Some((_, id))) => {
                let token = self.find(id);
                self.set_stage(key, Stage::Looking(token));
            }
            _ => self.set_stage(key, Stage::Waiting),
        }
    }

    fn find(&mut self, id: OpId) -> Token {
        let token = self.new_token();
        self.emit(Output::Store(StoreRequest::Find { token, id }));
        token
    }

    fn set_stage(&mut self, key: WayKey, stage: Stage) {
        if let Some(way) = self.ways.get_mut(&key) {
            way.stage = stage;
        }
    }

    /// The counted chain was met: what is above is read and admitted, one after another; or the two contradict one another.
    fn rise(&mut self, key: WayKey, met: u64) {
        let Some(head) = self.ways.get(&key).map(|way| *way.descent.certificate().head()) else { return };
        if let Some(conflict) = self.history.meet(&head, met) {
            let bytes = conflict.encode();
            self.ways.retain(|other, _| other.0 != key.0);
            self.commit_fact(FactKey::Conflict(key.0), bytes, true);
            return self.emit(Output::Event(Event::Frozen(key.0)));
        }
        self.rise_on(key, met);
    }

    /// Reads the operation of the way at a position.
    fn rise_on(&mut self, key: WayKey, seq: u64) {
        match self.ways.get(&key).and_then(|way| way.descent.id_at(seq)) {
            Some(id) => {
                let token = self.find(id);
                self.set_stage(key, Stage::Rising(token));
            }
            None => drop(self.ways.remove(&key)),
        }
    }

    /// The store answered a look-up of a way. Returns false if the look-up was none.
    pub(crate) fn found_on_way(&mut self, token: Token, bytes: Option<&Arc<[u8]>>) -> bool {
        let is_its = |stage| matches!(stage, Stage::Looking(t) | Stage::Rising(t) if t == token);
        let Some((&key, way)) = self.ways.iter().find(|(_, way)| is_its(way.stage)) else { return false };
        let op = bytes.and_then(|bytes| Op::decode_shared(Arc::clone(bytes), self.config.network).ok());
        match (way.stage, op.map(VerifiedOp::from_own_store)) {
            (Stage::Rising(_), Some(op)) => self.admit_certified(key, &op),
            (Stage::Rising(_), None) => {
                // A row that rotted: down again from the top, until somebody has it.
                let certificate = way.descent.certificate().clone();
                self.ways.insert(key, Way::new(certificate));
                self.step(key);
            }
            (_, Some(op)) => {
                self.pass(key, &op);
                self.step(key);
            }
            (_, None) => {
                let giver = way.giver;
                self.set_stage(key, Stage::Asking);
                // Whoever gave a piece of the chain has the next one too; without one the rounds ask whose digest differs.
                giver.into_iter().for_each(|peer| self.pull(peer, PullCause::More));
            }
        }
        true
    }

    fn admit_certified(&mut self, key: WayKey, op: &VerifiedOp) {
        let (log, seq) = (key.0, op.op().header().seq);
        if !self.history.admit_certified(op) {
            // What was met is not the end any more: to be met again.
            return self.set_stage(key, Stage::Waiting);
        }
        let token = self.new_token();
        let (id, bytes) = (op.op().id(), Arc::clone(op.op().bytes()));
        let writes = vec![Write::Certified { log, seq, id, bytes }];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: false }));
        self.emit(Output::Event(Event::Admitted(op.clone())));
        if self.history.certified_len(log) == seq + 1 {
            self.keep_certificate(log);
        }
        self.rise_on(key, seq + 1);
    }

    /// Takes a step down. Where another operation is counted at its position, the author forked.
    fn pass(&mut self, key: WayKey, op: &VerifiedOp) {
        let has_passed = self.ways.get_mut(&key).is_some_and(|way| way.descent.pass(op));
        if has_passed && self.history.place(op.op().header(), op.op().id()) == Place::Conflict {
            self.look_up_conflict(op.clone());
        }
    }

    /// Takes out of an answer what ways want. They stand in it upwards, and are wanted downwards.
    pub(crate) fn take_wanted(&mut self, peer: Peer, ops: Vec<Arc<[u8]>>) -> Vec<Arc<[u8]>> {
        if self.ways.is_empty() {
            return ops;
        }
        let (mut rest, mut moved) = (Vec::new(), BTreeSet::new());
        for bytes in ops.into_iter().rev() {
            match self.take_if_wanted(peer, &bytes) {
                Some(ways) => moved.extend(ways),
                None => rest.push(bytes),
            }
        }
        rest.reverse();
        moved.into_iter().for_each(|key| self.step(key));
        rest
    }

    /// Lets all ways pass an operation that want it; `None` if there is none.
    fn take_if_wanted(&mut self, peer: Peer, bytes: &Arc<[u8]>) -> Option<Vec<WayKey>> {
        let op = Op::decode_shared(Arc::clone(bytes), self.config.network).ok()?;
        let (log, seq, id) = (op.header().log, op.header().seq, op.id());
        let wants = |(key, way): (&WayKey, &Way)| {
            key.0 == log
                && matches!(way.stage, Stage::Asking)
                && way.descent.wanted() == Some((seq, id))
                && way.descent.met(&self.history).is_none()
        };
        let ways: Vec<WayKey> = self.ways.iter().filter(|&entry| wants(entry)).map(|(&key, _)| key).collect();
        if ways.is_empty() || !self.has_checks(peer) {
            return None;
        }
        let Ok(op) = op.verify() else {
            self.checked_in_vain(peer, 1);
            self.refuse(peer, Reason::Signature);
            return None;
        };
        let token = self.new_token();
        let writes = vec![Write::Quarantine { author: log.author, id, bytes: Arc::clone(bytes) }];
        self.emit(Output::Store(StoreRequest::Commit { token, writes, durable: false }));
        for key in &ways {
            if let Some(way) = self.ways.get_mut(key) {
                way.giver = Some(peer);
            }
            self.pass(*key, &op);
        }
        Some(ways)
    }

    /// What peers are asked for, in turn if there is more than fits.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let asking = self.ways.iter().filter(|(_, way)| matches!(way.stage, Stage::Asking));
        let wanted = asking.filter_map(|((log, ..), way)| {
            let (author, (seq, id)) = (self.history.members().number(&log.author)?, way.descent.wanted()?);
            Some(Wanted { author, log: log.index, seq, id })
        });
        let mut wanted: Vec<Wanted> = wanted.collect::<BTreeSet<_>>().into_iter().collect();
        if wanted.len() > WANTED_MAX {
            let turn = usize::try_from(self.now.mono_ms / TURN_MS).unwrap_or(0) % wanted.len();
            wanted.rotate_left(turn);
            wanted.truncate(WANTED_MAX);
            wanted.sort_unstable();
        }
        wanted
    }

    /// How far all ways have come: grows while anything is fetched.
    pub(crate) fn passed(&self) -> usize {
        self.ways.values().map(|way| way.descent.len()).sum()
    }
}

/// How long one choice of wanted operations is asked for, in milliseconds: a few answers.
const TURN_MS: u64 = 1_000;
