//! The cases every kind of network must pass.

use std::time::Duration;

use bytes::Bytes;
use concurrence_net::{Busy, Limits, RefusalReason, identity::Keypair};

use crate::harness::{Kind, Node, PATIENCE, Setup, all_connected, connected, numbered, some, until};

pub async fn frames_arrive_in_order_both_ways(kind: Kind) {
    let mut nodes = connected(kind, some(2)).await;
    let ends = [(0, nodes[1].peer), (1, nodes[0].peer)];
    // Lengths that mix requests of one frame with full ones, up to the cap.
    let cap = Limits::default().max_frame_bytes;
    let frames: Vec<Bytes> = (0..400).map(|n| numbered(n, if n % 97 == 0 { cap } else { n * 7 })).collect();
    let mut sent = [0; 2];
    until("all frames arrived", &mut nodes, |nodes| {
        for (from, to) in ends {
            while sent[from] < frames.len() && nodes[from].net.send(to, frames[sent[from]].clone()).is_ok() {
                sent[from] += 1;
            }
        }
        nodes.iter().all(|node| node.frames.len() == frames.len())
    })
    .await;
    for (from, to) in ends {
        assert!(nodes[from].frames_from(to) == frames, "frames differ from those sent, or are out of order");
        let counters = nodes[from].net.counters();
        assert_eq!((counters.frames_in, counters.frames_out, counters.frames_lost), (400, 400, 0));
    }
}

pub async fn a_broadcast_reaches_everyone_once(kind: Kind) {
    let mut nodes = connected(kind, some(4)).await;
    let cap = Limits::default().max_broadcast_bytes;
    let mut said = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        for n in 0..20 {
            let message = numbered(at * 100 + n, if n == 0 { cap } else { 300 });
            node.net.broadcast(message.clone()).unwrap();
            said.push((at, message));
        }
        assert!(matches!(node.net.broadcast(numbered(0, cap + 1)), Err(Busy::TooLarge { .. })));
    }
    until("every message reached every other node", &mut nodes, |nodes| nodes.iter().all(|n| n.gossip.len() >= 60))
        .await;
    for (at, node) in nodes.iter_mut().enumerate() {
        let others = said.iter().filter(|(from, _)| *from != at).map(|(_, message)| message.clone());
        let mut expected: Vec<Bytes> = others.collect();
        expected.sort();
        node.gossip.sort();
        assert!(node.gossip == expected, "node {at} got other messages than were said");
    }
}

/// NET-1.
pub async fn a_stranger_is_refused_both_ways(kind: Kind) {
    let mut nodes = connected(kind, some(2)).await;
    let stranger = Node::start(kind, Setup::default()).await;
    nodes[1].net.add_dial(stranger.addr());
    stranger.admit(&nodes);
    stranger.net.add_dial(nodes[0].addr());
    nodes.push(stranger);
    let (member, stranger) = (nodes[1].peer, nodes[2].peer);
    let dials = nodes[1].net.counters().dials;
    until("the stranger is refused, and notices", &mut nodes, |nodes| {
        let counters = nodes[2].net.counters();
        nodes[0].was_refused(stranger, |reason| *reason == RefusalReason::NotAdmitted)
            && counters.refused_closed_by_peer + counters.dial_failures > 0
    })
    .await;
    assert!(nodes[2].connected.is_empty());
    assert!(nodes[0].net.counters().refused_not_admitted > 0);
    assert_eq!(nodes[0].net.send(stranger, numbered(0, 4)), Err(Busy::NotConnected));
    // The other member has the stranger's address and does not use it, until the stranger is admitted.
    assert_eq!(nodes[1].net.counters().dials, dials);
    nodes[1].admit(&nodes);
    until("the admitted stranger is connected", &mut nodes, |nodes| {
        nodes[1].connected.contains(&stranger) && nodes[2].connected.contains(&member)
    })
    .await;
}

pub async fn a_partition_cuts_and_heals(kind: Kind) {
    let mut nodes = connected(kind, some(4)).await;
    for (round, cut) in [3, 2].into_iter().enumerate() {
        let (left, right) = nodes.split_at(cut);
        left.iter().for_each(|node| node.admit(left));
        right.iter().for_each(|node| node.admit(right));
        until("each side is connected with itself only", &mut nodes, |nodes| {
            let size = |at| if at < cut { cut } else { nodes.len() - cut };
            nodes.iter().enumerate().all(|(at, node)| node.connected.len() == size(at) - 1)
        })
        .await;
        let across = nodes[cut].peer;
        assert_eq!(nodes[0].net.send(across, numbered(0, 4)), Err(Busy::NotConnected));

        let inside = numbered(round * 10 + 1, 100);
        nodes[0].net.broadcast(inside.clone()).unwrap();
        let mut left = nodes;
        let mut right = left.split_off(cut);
        until("its own side hears it", &mut left, |nodes| nodes[1..].iter().all(|n| n.gossip.contains(&inside))).await;
        right.iter_mut().for_each(Node::look);
        assert!(right.iter().all(|node| !node.gossip.contains(&inside)), "heard across the cut");
        nodes = left;
        nodes.append(&mut right);

        nodes.iter().for_each(|node| node.admit(&nodes));
        until("everyone is connected again", &mut nodes, all_connected).await;
        let after = numbered(round * 10 + 2, 100);
        nodes[0].net.broadcast(after.clone()).unwrap();
        nodes[0].net.send(across, after.clone()).unwrap();
        let from = nodes[0].peer;
        until("everyone hears everyone again", &mut nodes, |nodes| {
            nodes[1..].iter().all(|node| node.gossip.contains(&after)) && nodes[cut].frames_from(from).contains(&after)
        })
        .await;
    }
}

pub async fn a_frame_over_the_cap_is_refused_and_harms_nobody(kind: Kind) {
    let generous = Limits { max_frame_bytes: 4 << 20, queue_bytes: 8 << 20, ..Limits::default() };
    let setups = vec![Setup { limits: generous, ..Setup::default() }, Setup::default(), Setup::default()];
    let mut nodes = connected(kind, setups).await;
    let (generous, strict) = (nodes[0].peer, nodes[1].peer);
    let cap = Limits::default().max_frame_bytes;
    assert_eq!(nodes[2].net.send(strict, numbered(0, cap + 1)), Err(Busy::TooLarge { len: cap + 1, cap }));

    nodes[0].net.send(strict, numbered(1, 3 << 20)).unwrap();
    until("both sides name the refusal", &mut nodes, |nodes| {
        nodes[1].was_refused(generous, |reason| matches!(reason, RefusalReason::FrameTooLarge { .. }))
            && nodes[0].was_refused(strict, |reason| matches!(reason, RefusalReason::RefusedByPeer(_)))
    })
    .await;
    nodes[0].net.send(strict, numbered(2, 100)).unwrap();
    nodes[2].net.send(strict, numbered(3, cap)).unwrap();
    until("frames within the cap still arrive", &mut nodes, |nodes| nodes[1].frames.len() == 2).await;
    assert_eq!(nodes[1].net.counters().refused_frame_too_large, 1);
    assert!(nodes.iter().all(|node| node.sessions.values().all(|count| *count == 1)), "a session was lost");
}

pub async fn another_network_is_refused_by_name(kind: Kind) {
    let other = Setup { network: "fedcba98765432100123456789abcdef", ..Setup::default() };
    let mut nodes = vec![Node::start(kind, Setup::default()).await, Node::start(kind, other).await];
    for node in &nodes {
        node.admit(&nodes);
        nodes.iter().for_each(|other| node.net.add_dial(other.addr()));
    }
    let names_both = |reason: &RefusalReason| {
        let text = reason.to_string();
        matches!(reason, RefusalReason::OtherNetwork { .. })
            && text.contains("0123456789abcdef")
            && text.contains("fedcba9876543210")
    };
    until("the other network is named", &mut nodes, |nodes| {
        nodes.iter().any(|node| node.refused.iter().any(|(_, reason)| names_both(reason)))
    })
    .await;
    assert!(nodes.iter().all(|node| node.sessions.is_empty()));
    assert!(nodes.iter().map(|node| node.net.counters().refused_other_network).sum::<u64>() > 0);
}

pub async fn a_peer_that_does_not_read_makes_its_sender_busy(kind: Kind) {
    let limits = Limits { event_queue: 4, queue_frames: 32, batch_frames: 8, ..Limits::default() };
    let setups = (0..2).map(|_| Setup { limits: limits.clone(), ..Setup::default() }).collect();
    let mut nodes = connected(kind, setups).await;
    let (from, to) = (nodes[0].peer, nodes[1].peer);
    // The queue, a request acknowledged into the reader's channel, one that waits before it, and the channel itself.
    let most = limits.queue_frames + 2 * limits.batch_frames + limits.event_queue;
    let (mut accepted, mut busy_in_a_row) = (0, 0);
    while busy_in_a_row < 50 {
        match nodes[0].net.send(to, numbered(accepted, 1_000)) {
            Ok(()) => (accepted, busy_in_a_row) = (accepted + 1, 0),
            Err(error) => {
                assert_eq!(error, Busy::QueueFull);
                busy_in_a_row += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        assert!(accepted <= most, "{accepted} frames were accepted, nobody reads");
    }
    assert!(nodes[0].net.counters().busy >= 50);

    until("what was accepted arrives", &mut nodes, |nodes| nodes[1].frames.len() == accepted).await;
    let expected: Vec<Bytes> = (0..accepted).map(|n| numbered(n, 1_000)).collect();
    assert!(nodes[1].frames_from(from) == expected);
    until("the sender is free again", &mut nodes, |nodes| nodes[0].net.send(to, numbered(accepted, 4)).is_ok()).await;
    until("and its frame arrives", &mut nodes, |nodes| nodes[1].frames.len() == accepted + 1).await;
}

pub async fn a_restarted_peer_begins_a_new_session(kind: Kind) {
    let key = Keypair::generate_ed25519();
    let member = Node::start(kind, Setup::default()).await;
    let member_addr = member.addr();
    member.net.set_admitted([key.public().to_peer_id()].into());
    let mut nodes = vec![member];
    for life in 1..=2 {
        // A runtime of its own that is thrown away: the peer ends as a killed process does, without a word.
        let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let setup = Setup { keypair: key.clone(), ..Setup::default() };
        let peer = process.spawn(Node::start(kind, setup)).await.unwrap();
        peer.admit(&nodes);
        peer.net.add_dial(member_addr.clone());
        nodes.push(peer);
        let (member, peer) = (nodes[0].peer, nodes[1].peer);
        until("both see the session of this life", &mut nodes, |nodes| {
            nodes[0].sessions.get(&peer) == Some(&life)
                && nodes[0].connected.contains(&peer)
                && nodes[1].connected.contains(&member)
        })
        .await;
        nodes[0].net.send(peer, numbered(life, 10)).unwrap();
        nodes[1].net.send(member, numbered(life, 10)).unwrap();
        until("frames flow in it", &mut nodes, |nodes| nodes[0].frames.len() == life && nodes[1].frames.len() == 1)
            .await;
        nodes.truncate(1);
        process.shutdown_background();
    }
}

/// NET-2: cut off at once, refused while it lasts whoever dials, and back soon after.
pub async fn a_banned_peer_is_kept_away_for_its_time(kind: Kind) {
    let mut nodes = connected(kind, some(3)).await;
    let (banned, other, time) = (nodes[1].peer, nodes[2].peer, Duration::from_secs(3));
    let began = std::time::Instant::now();
    nodes[0].net.ban(banned, time);
    until("the banned is cut off", &mut nodes, |nodes| !nodes[0].connected.contains(&banned)).await;
    until("it knocks, and is refused by name", &mut nodes, |nodes| {
        nodes[0].was_refused(banned, |reason| *reason == RefusalReason::Banned)
    })
    .await;
    assert_eq!(nodes[0].net.send(banned, numbered(0, 8)), Err(Busy::NotConnected));
    assert!(nodes[0].connected.contains(&other) && nodes[1].connected.contains(&other), "nobody else is touched");
    until("it is back", &mut nodes, all_connected).await;
    assert!(began.elapsed() >= time, "too early");
    assert_eq!((nodes[0].net.counters().bans, nodes[0].sessions[&other]), (1, 1));
}

pub async fn shutdown_is_quick_and_seen(kind: Kind) {
    let mut nodes = connected(kind, some(3)).await;
    let mut leaver = nodes.remove(0);
    let to = nodes[0].peer;
    let net = leaver.net.clone();
    tokio::time::timeout(Duration::from_secs(2), net.shutdown()).await.expect("shutdown within two seconds");
    assert_eq!(leaver.net.send(to, numbered(0, 4)), Err(Busy::Closed));
    assert_eq!(leaver.net.broadcast(numbered(0, 4)), Err(Busy::Closed));
    assert!(leaver.net.listen_addrs().is_empty());
    leaver.look();
    let rest = tokio::time::timeout(PATIENCE, leaver.events.recv()).await.expect("the events end");
    assert!(rest.is_none());
    let gone = leaver.peer;
    until("the others see it leave", &mut nodes, |nodes| nodes.iter().all(|node| !node.connected.contains(&gone)))
        .await;
    assert!(all_connected(&nodes));
    let message = numbered(9, 100);
    nodes[0].net.broadcast(message.clone()).unwrap();
    until("and go on", &mut nodes, |nodes| nodes[1].gossip.contains(&message)).await;
}
