//! The cases every kind of network must pass.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use concurrence_net::{Broadcast, Busy, Limits, RefusalReason, identity::Keypair};

use crate::harness::{Kind, Node, PATIENCE, Setup, Transport, all_connected, connected, numbered, some, until};

pub async fn frames_arrive_in_order_both_ways(kind: Kind) {
    let mut nodes = connected(kind, some(2)).await;
    let (a, b) = (nodes[0].peer, nodes[1].peer);
    // Lengths that mix one-frame requests with full ones, up to the cap.
    let cap = Limits::default().max_frame_bytes;
    let frames: Vec<Bytes> = (0..400).map(|n| numbered(n, if n % 97 == 0 { cap } else { n as usize * 7 })).collect();
    let mut sent = [0, 0];
    until("all frames arrived", &mut nodes, |nodes| {
        for (node, to, sent) in [(&nodes[0], b, 0), (&nodes[1], a, 1)].map(|(node, to, at)| (node, to, at)) {
            while sent_one(node, to, &frames, &mut [0; 0], sent) {}
        }
        let _ = &mut sent;
        nodes[0].frames.len() == frames.len() && nodes[1].frames.len() == frames.len()
    })
    .await;
}
