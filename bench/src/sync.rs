//! Two nodes, one of them without the newest operations of every log: what they send one another until both are equal.

use std::collections::VecDeque;

use concurrence_crdt::{Op, VerifiedOp};
use concurrence_protocol::{Frame, Input, Output, Write};
use concurrence_store::{Durability, Store};

use crate::{
    cpu::spent,
    material::{Cast, Node, PEER},
    report::{Aim, Row},
};

/// Logs of the history, one an author.
const LOGS: usize = 100;

/// Bytes a direction beside the operations that are aimed at.
const OVERHEAD_AIM: usize = 5_000;

/// Who says first that something differs.
#[derive(Clone, Copy, Debug)]
enum First {
    /// The node that has more tells its digest.
    Ahead,
    /// The node that lacks something tells its digest.
    Behind,
    /// They meet, and greet one another at the same time.
    Both,
}

/// What was carried until both were equal. Node 0 is ahead, node 1 behind.
#[derive(Debug, Default)]
struct Carried {
    /// Bytes of frames that each node sent.
    bytes: [usize; 2],
    /// Bytes of the operations within them.
    op_bytes: usize,
    /// Pulls that each node sent.
    pulls: [usize; 2],
    /// Frames in a row, each an answer to the one before, from the first pull to the last answer.
    hops: (usize, usize),
}

/// One row for each way to begin.
pub(crate) fn missing_tails(per_log: usize, missing_per_log: usize) -> Vec<Row> {
    let cast = Cast::of(LOGS);
    let (nodes, tails) = histories(&cast, per_log, missing_per_log);
    [First::Ahead, First::Behind, First::Both].map(|first| row(first, nodes.clone(), &tails)).into()
}

/// Two nodes with equal histories, and the operations that come after.
fn histories(cast: &Cast, per_log: usize, missing_per_log: usize) -> (Vec<Node>, Vec<Op>) {
    let (mut node, mut tails) = (cast.node(), Vec::new());
    for writer in &mut cast.writers() {
        let ops: Vec<_> = (missing_per_log..per_log).map(|_| writer.unsigned()).collect();
        keep(&mut node, &ops);
        tails.extend((0..missing_per_log).map(|_| writer.plain()));
    }
    (vec![node.clone(), node], tails)
}

/// Gives a node operations as if it had found them in its own store.
fn keep(node: &mut Node, ops: &[Op]) {
    let writes: Vec<_> = ops.iter().map(row_of).collect();
    // `Cast::node` gives every node a store, and callers pass each log's operations in order: the store refuses only gaps and conflicts.
    let store = node.store.as_mut().expect("nodes that sync have a store");
    store.commit(&writes, Durability::Eventual).expect("chains without gaps");
    for op in ops {
        assert!(node.replica.restore(&VerifiedOp::from_own_store(op.clone())), "every operation must count");
    }
}

fn row_of(op: &Op) -> Write {
    Write::Op { log: op.header().log, seq: op.header().seq, id: op.id(), bytes: op.bytes().clone() }
}

fn row(first: First, mut nodes: Vec<Node>, tails: &[Op]) -> Row {
    let mut wire = Wire::default();
    if matches!(first, First::Both) {
        keep(&mut nodes[0], tails);
    }
    wire.connect(&mut nodes);
    if !matches!(first, First::Both) {
        wire.carry(&mut nodes);
        keep(&mut nodes[0], tails);
        wire.carried = Carried::default();
        wire.tick(&mut nodes, matches!(first, First::Behind).into());
    }
    let ((), time) = spent(|| {
        wire.carry(&mut nodes);
        // Told of fewer operations than it has, the node ahead says nothing until its own round.
        if nodes[0].replica.digest() != nodes[1].replica.digest() {
            wire.tick(&mut nodes, 0);
            wire.carry(&mut nodes);
        }
    });
    assert_eq!(nodes[0].replica.digest(), nodes[1].replica.digest(), "both must end equal");
    assert_eq!(nodes[0].replica.history().ops(), nodes[1].replica.history().ops(), "both must end equal");
    wire.carried.row(first, nodes[0].replica.history().ops(), tails.len(), time.as_secs_f64() * 1e3)
}

/// Carries frames between two nodes and counts them.
#[derive(Default)]
struct Wire {
    carried: Carried,
    /// To whom, its place in the chain of answers, and the bytes.
    queue: VecDeque<(usize, usize, Vec<u8>)>,
}

impl Wire {
    fn connect(&mut self, nodes: &mut [Node]) {
        for at in 0..2 {
            self.take(nodes, at, 0, Input::Connected { peer: PEER, author: None });
        }
    }

    /// A node's timer: it tells its digest.
    fn tick(&mut self, nodes: &mut [Node], at: usize) {
        nodes[at].now.mono_ms = nodes[at].replica.next_wake_ms();
        self.take(nodes, at, 0, Input::Tick);
    }

    fn carry(&mut self, nodes: &mut [Node]) {
        while let Some((to, hop, bytes)) = self.queue.pop_front() {
            self.take(nodes, to, hop, Input::Frame { peer: PEER, bytes });
        }
    }

    /// Gives a node an input that is the `hop`th of a chain; what it sends in answer is the next.
    fn take(&mut self, nodes: &mut [Node], at: usize, hop: usize, input: Input) {
        let (carried, queue) = (&mut self.carried, &mut self.queue);
        nodes[at].drive(input, |output| match output {
            Output::Send(_, bytes) => {
                carried.count(at, hop + 1, &bytes);
                queue.push_back((1 - at, hop + 1, bytes));
            }
            Output::Event(_) => {}
            // Reads are served inside `drive` and nobody appends: anything else would mean that something else is measured.
            other => panic!("nothing but frames to the peer is expected: {other:?}"),
        });
    }
}

impl Carried {
    fn count(&mut self, from: usize, hop: usize, bytes: &[u8]) {
        self.bytes[from] += bytes.len();
        // The bytes come from `Frame::encode` in the replica, never from outside.
        match Frame::decode(bytes).expect("a replica sends frames") {
            Frame::Pull { .. } => {
                self.pulls[from] += 1;
                self.hops.0 = if self.hops.0 == 0 { hop } else { self.hops.0.min(hop) };
            }
            Frame::Delta(delta) => {
                self.op_bytes += delta.ops.iter().map(|op| op.len()).sum::<usize>();
                self.hops.1 = self.hops.1.max(hop);
            }
            _ => {}
        }
    }

    fn row(&self, first: First, ops: u64, missing: usize, cpu_ms: f64) -> Row {
        let Self { bytes: [ahead, behind], op_bytes, pulls, hops } = self;
        let beside = ahead - op_bytes;
        let how = match first {
            First::Ahead => "the one ahead speaks first",
            First::Behind => "the one behind speaks first",
            First::Both => "they meet",
        };
        let name = format!("sync {missing} missing of {} k ops, {how}", ops / 1_000);
        let round_trips = (hops.1 + 1 - hops.0) as f64 / 2.0;
        let requests = pulls[0] + pulls[1];
        let note = format!(
            "{LOGS} logs; {op_bytes} bytes of ops; beside them {beside} there, {behind} back; pulls: {} by the one ahead, {} by \
             the other; {round_trips} round trips; {cpu_ms:.0} ms of both nodes",
            pulls[0], pulls[1]
        );
        let mut row = Row::plain(name, beside.max(*behind) as f64, "bytes").noting(note);
        let what = format!("<= {OVERHEAD_AIM} bytes either way, 1 request");
        row.aim = Some(Aim { what, is_met: beside <= OVERHEAD_AIM && *behind <= OVERHEAD_AIM && requests == 1 });
        row
    }
}
