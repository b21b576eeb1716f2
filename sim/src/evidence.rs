//! What the world saw, independently of what any engine believes.

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{AuthorKey, LogKey, NetworkId, Op, OpId};
use concurrence_protocol::Frame;

/// Operations and frames, as they were on the wire.
#[derive(Default)]
pub(crate) struct Evidence {
    /// Every operation that reached an honest node.
    pub(crate) ops: BTreeMap<OpId, Arc<[u8]>>,
    /// Operations of honest authors that were sent.
    pub(crate) sent: BTreeMap<(LogKey, u64), OpId>,
    /// Frames and their bytes as sent, by the frame's tag.
    pub(crate) frames: [Traffic; FRAME_KINDS.len()],
    /// Of these, what honest nodes said to honest nodes.
    pub(crate) honest_frames: [Traffic; FRAME_KINDS.len()],
    /// Milliseconds that engines ran for, added up.
    pub(crate) engine_ms: u64,
    /// Crashes of running nodes.
    pub(crate) crashes: u64,
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
pub const FRAME_KINDS: [&str; 8] = ["hello", "refuse", "digest", "pull", "delta", "op", "proof", "fetch"];

impl Evidence {
    /// A frame is sent, whether it arrives or not.
    pub(crate) fn sent_frame(&mut self, bytes: &[u8], is_between_honest: bool) {
        let kind = usize::from(bytes.first().copied().unwrap_or(0)).min(FRAME_KINDS.len() - 1);
        self.frames[kind].count(bytes);
        if is_between_honest {
            self.honest_frames[kind].count(bytes);
        }
    }

    /// A frame reaches an honest node that listens to its sender: whatever operations it carries are in the world.
    pub(crate) fn heard_frame(&mut self, bytes: &[u8], network: NetworkId) {
        let ops = match Frame::decode(bytes) {
            Ok(Frame::Op(op)) => vec![op],
            Ok(Frame::Delta(delta)) => delta.ops,
            _ => return,
        };
        for op in ops.iter().filter_map(|op| Op::decode(op, network).ok()) {
            if op.signed().clone().verify().is_ok() {
                self.ops.entry(op.id()).or_insert_with(|| Arc::clone(op.bytes()));
            }
        }
    }

    /// What an author sent, nobody heard, and it then lost with its store was never there for anyone.
    pub(crate) fn forget_unheard(&mut self, author: AuthorKey) {
        let ops = &self.ops;
        self.sent.retain(|(log, _), id| log.author != author || ops.contains_key(id));
    }
}

impl Traffic {
    fn count(&mut self, bytes: &[u8]) {
        self.frames += 1;
        self.bytes += bytes.len() as u64;
    }
}
