//! What the world saw, independently of what any engine believes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use concurrence_crdt::{AuthorKey, HeadVote, LogKey, NetworkId, Op, OpId, Reader, SignedHeader};
use concurrence_protocol::Frame;

/// Operations and frames as they were on the wire, and how often each fault really happened.
#[derive(Default)]
pub(crate) struct Evidence {
    /// Every operation that reached an honest node, its signature verified.
    pub(crate) ops: BTreeMap<OpId, Arc<[u8]>>,
    /// Authors against whom a proof reached an honest node: two different headers of one position, both signatures verified. What a
    /// liar heard, and told in a proof only, is in no operation here.
    pub(crate) proven: BTreeSet<AuthorKey>,
    /// Every head that a vote which reached an honest node named, its signature verified: by voter and log, length and id.
    pub(crate) votes: BTreeMap<(AuthorKey, LogKey), BTreeSet<(u64, OpId)>>,
    /// Hashes of encoded operations and votes that were looked at already: each is verified once, not at each of its receivers.
    seen: BTreeSet<[u8; 32]>,
    /// Operations of honest authors that were sent.
    pub(crate) sent: BTreeMap<(LogKey, u64), OpId>,
    /// Frames and their bytes as sent, by the frame's tag.
    pub(crate) frames: [Traffic; FRAME_KINDS.len()],
    /// Of these, what honest nodes said to honest nodes.
    pub(crate) honest_frames: [Traffic; FRAME_KINDS.len()],
    /// Frames and bytes that each node sent.
    pub(crate) sent_by: Vec<Traffic>,
    /// Milliseconds that engines ran for, added up.
    pub(crate) engine_ms: u64,
    /// Refusals at honest nodes, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Faults that took effect, by name.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// When which node admitted which operation, if that is wanted.
    pub(crate) admissions: Option<Vec<Admission>>,
}

/// A node admitted an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// When, in virtual time.
    pub at_ms: u64,
    /// Which node.
    pub node: usize,
    /// The operation's log.
    pub log: LogKey,
    /// Its position.
    pub seq: u64,
}

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Names of the frames, by tag.
pub const FRAME_KINDS: [&str; 9] = ["hello", "refuse", "digest", "pull", "delta", "op", "proof", "fetch", "proofs"];

impl Evidence {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { sent_by: vec![Traffic::default(); nodes], ..Self::default() }
    }

    /// A frame is sent, whether it arrives or not.
    pub(crate) fn sent_frame(&mut self, from: usize, bytes: &[u8], is_between_honest: bool) {
        let kind = usize::from(bytes.first().copied().unwrap_or(0)).min(FRAME_KINDS.len() - 1);
        self.frames[kind].count(bytes);
        self.sent_by[from].count(bytes);
        if is_between_honest {
            self.honest_frames[kind].count(bytes);
        }
    }

    /// A frame reaches an honest node that listens to its sender: whatever operations and proofs it carries are in the world.
    pub(crate) fn heard_frame(&mut self, bytes: &[u8], network: NetworkId) {
        let (ops, proofs) = match Frame::decode(bytes) {
            Ok(Frame::Op(op)) => (vec![op], Vec::new()),
            Ok(Frame::Proof(proof)) => (Vec::new(), vec![proof]),
            Ok(Frame::Proofs(proofs)) => (Vec::new(), proofs),
            Ok(Frame::Delta(delta)) => (delta.ops, delta.proofs),
            _ => return,
        };
        ops.iter().for_each(|op| self.heard_op(op, network));
        self.proven.extend(proofs.iter().filter_map(|proof| forked_by(proof, network)));
        proofs.iter().for_each(|proof| self.heard_vote(proof, network));
    }

    fn heard_vote(&mut self, bytes: &[u8], network: NetworkId) {
        let Ok(vote) = HeadVote::read(&mut Reader::new(bytes), network) else { return };
        let is_new = self.seen.insert(*blake3::hash(bytes).as_bytes());
        if is_new && vote.voter.verify(vote.head.digest().as_bytes(), &vote.signature).is_ok() {
            self.votes.entry((vote.voter, vote.head.log)).or_default().insert((vote.head.len, vote.head.id));
        }
    }

    fn heard_op(&mut self, bytes: &Arc<[u8]>, network: NetworkId) {
        if !self.seen.insert(*blake3::hash(bytes).as_bytes()) {
            return;
        }
        let Ok(op) = Op::decode(bytes, network) else { return };
        if op.signed().clone().verify().is_ok() {
            self.ops.entry(op.id()).or_insert_with(|| Arc::clone(bytes));
        }
    }

    /// What an author sent, nobody heard, and it then lost with its disk was never there for anyone.
    pub(crate) fn forget_unheard(&mut self, author: AuthorKey) {
        let ops = &self.ops;
        self.sent.retain(|(log, _), id| log.author != author || ops.contains_key(id));
    }

    /// A fault took effect.
    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// Something was refused by an honest node.
    pub(crate) fn refusal(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

/// Whom a proof convicts, if it does.
fn forked_by(proof: &[u8], network: NetworkId) -> Option<AuthorKey> {
    let mut reader = Reader::new(proof);
    let (a, b) = (SignedHeader::read(&mut reader, network).ok()?, SignedHeader::read(&mut reader, network).ok()?);
    let is_one_position = (a.header().log, a.header().seq) == (b.header().log, b.header().seq) && a.id() != b.id();
    let author = a.header().log.author;
    (is_one_position && a.verify().is_ok() && b.verify().is_ok()).then_some(author)
}

impl Traffic {
    fn count(&mut self, bytes: &[u8]) {
        self.frames += 1;
        self.bytes += bytes.len() as u64;
    }
}
