//! What needs to be shown once, in one kind of network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concurrence_net::{
    Broadcast, Limits, Multiaddr, Net, NetConfig, NetError, PeerAddr, RefusalReason, identity::Keypair, parse_listen,
};
use libp2p::multiaddr::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::{Kind, NETWORK, Node, PATIENCE, Setup, Transport, connected, numbered, some, until};

const MESH: Kind = Kind { broadcast: Broadcast::FullMesh, transport: Transport::Tcp };
const GOSSIP: Kind = Kind { broadcast: Broadcast::Gossipsub, transport: Transport::Tcp };

fn config(listen: &str) -> NetConfig {
    NetConfig {
        keypair: Keypair::generate_ed25519(),
        network: NETWORK.to_owned(),
        listen: parse_listen(listen).unwrap(),
        dial: vec![],
        admitted: [].into(),
        guests: [].into(),
        broadcast: Broadcast::FullMesh,
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let (first, _events) = Net::start(config(listen)).await.unwrap();
        let taken = first.listen_addrs()[0].to_string();
        match Net::start(config(&taken)).await {
            Err(error @ NetError::Listen { .. }) => assert!(error.to_string().contains(&taken), "{error}"),
            other => panic!("{taken} could be bound twice: {:?}", other.map(|_| ())),
        }
        first.shutdown().await;
        let (again, _events) = Net::start(config(&taken)).await.expect("the port is free after shutdown");
        assert_eq!(again.listen_addrs()[0].to_string(), taken);
    }
}

#[tokio::test]
async fn a_socket_address_listens_on_both_transports_with_real_ports() {
    let (net, _events) = Net::start(config("127.0.0.1:0")).await.unwrap();
    let addrs: Vec<String> = net.listen_addrs().iter().map(ToString::to_string).collect();
    assert_eq!(addrs.len(), 2, "{addrs:?}");
    assert!(addrs.iter().any(|addr| addr.contains("/tcp/")) && addrs.iter().any(|addr| addr.ends_with("/quic-v1")));
    assert!(addrs.iter().all(|addr| !addr.contains("/0")), "{addrs:?}");
}

#[tokio::test]
async fn a_bad_network_id_does_not_start() {
    let bad = NetConfig { network: "mainnet".to_owned(), ..config("127.0.0.1:0") };
    assert!(matches!(Net::start(bad).await, Err(NetError::Network { .. })));
}

#[tokio::test]
async fn another_way_of_broadcasting_is_refused_by_name() {
    let mut nodes = vec![Node::start(MESH, Setup::default()).await, Node::start(GOSSIP, Setup::default()).await];
    nodes.iter().for_each(|node| node.admit(&nodes));
    nodes[0].net.add_dial(nodes[1].addr());
    let mesh = nodes[0].peer;
    until("gossipsub is missed by name", &mut nodes, |nodes| {
        nodes[1].was_refused(mesh, |reason| {
            matches!(reason, RefusalReason::UnsupportedProtocol { .. }) && reason.to_string().contains("/gossip/0")
        })
    })
    .await;
}

#[tokio::test]
async fn another_peer_at_the_address_is_named() {
    let mut nodes = vec![Node::start(MESH, Setup::default()).await, Node::start(MESH, Setup::default()).await];
    let expected = Keypair::generate_ed25519().public().to_peer_id();
    nodes[0].net.set_admitted([expected, nodes[1].peer].into());
    nodes[1].admit(&nodes);
    nodes[0].net.add_dial(PeerAddr { peer: expected, ..nodes[1].addr() });
    let found = nodes[1].peer;
    until("the one who answered is named", &mut nodes, |nodes| {
        nodes[0]
            .was_refused(expected, |reason| matches!(reason, RefusalReason::WrongPeer { found: f, .. } if *f == found))
    })
    .await;
    assert!(nodes[0].sessions.is_empty());
}

#[tokio::test]
async fn strangers_in_their_handshake_are_bounded() {
    let limits = Limits { pending_incoming: 4, ..Limits::default() };
    let node = Node::start(MESH, Setup { limits, ..Setup::default() }).await;
    let port = port_of(&node);
    let mut nodes = vec![node];
    let mut strangers = Vec::new();
    for _ in 0..12 {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n").await.ok();
        strangers.push(stranger);
    }
    for _ in 0..12 {
        strangers.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    until("the limit is reached", &mut nodes, |nodes| nodes[0].net.counters().refused_connection_limit > 0).await;
    drop(strangers);

    let member = Node::start(MESH, Setup::default()).await;
    nodes[0].admit([&member]);
    member.admit(&nodes);
    member.net.add_dial(nodes[0].addr());
    nodes.push(member);
    until("a member connects all the same", &mut nodes, |nodes| nodes.iter().all(|node| node.connected.len() == 1))
        .await;
}

#[tokio::test]
async fn a_link_that_falls_silent_is_noticed_and_mended() {
    let limits = Limits {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(700),
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let setup = || Setup { limits: limits.clone(), ..Setup::default() };
    let mut nodes = vec![Node::start(MESH, setup()).await, Node::start(MESH, setup()).await];
    nodes.iter().for_each(|node| node.admit(&nodes));
    let cable = Cable::lay(port_of(&nodes[1])).await;
    let addr = format!("/ip4/127.0.0.1/tcp/{}", cable.port).parse().unwrap();
    nodes[0].net.add_dial(PeerAddr { peer: nodes[1].peer, addr });
    let up = |nodes: &[Node]| nodes.iter().all(|node| node.connected.len() == 1);
    until("connected through the cable", &mut nodes, up).await;
    cable.is_cut.store(true, Ordering::Relaxed);
    until("both notice the silence", &mut nodes, |nodes| nodes.iter().all(|node| node.connected.is_empty())).await;
    cable.is_cut.store(false, Ordering::Relaxed);
    until("connected again", &mut nodes, up).await;
}

#[tokio::test]
async fn dropping_the_events_stops_the_node() {
    let mut nodes = connected(MESH, some(2)).await;
    let Node { net, events, .. } = nodes.remove(0);
    drop(events);
    until("the other sees it go", &mut nodes, |nodes| nodes[0].connected.is_empty()).await;
    let closed = async {
        while net.send(nodes[0].peer, numbered(0, 4)) != Err(concurrence_net::Busy::Closed) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("it says that it is closed");
}

fn port_of(node: &Node) -> u16 {
    let addr = node.net.listen_addrs()[0].to_string();
    addr.rsplit('/').next().and_then(|port| port.parse().ok()).unwrap()
}

/// A TCP proxy that can swallow what passes through it, without closing anything.
struct Cable {
    port: u16,
    is_cut: Arc<AtomicBool>,
}

impl Cable {
    async fn lay(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = is_cut.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
                    let cut = cut.clone();
                    tokio::spawn(async move {
                        let mut buffer = vec![0; 4_096];
                        while let Ok(read @ 1..) = from.read(&mut buffer).await {
                            if !cut.load(Ordering::Relaxed) && to.write_all(&buffer[..read]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Self { port, is_cut }
    }
}

/// NET-1: half-open connections from hosts of no member fill the room of strangers and no other: a member that comes meanwhile gets in.
#[tokio::test]
async fn a_flood_of_half_open_connections_keeps_no_member_out() {
    let setup = || Setup { listen: Some("127.0.0.1:0".to_owned()), ..Setup::default() };
    let mut nodes = connected(MESH, vec![setup(), setup()]).await;
    let door: SocketAddr = socket_of(&nodes[0].net.listen_addrs());
    let mut held = Vec::new();
    for n in 0..400u16 {
        let socket = TcpSocket::new_v4().unwrap();
        let host = if n < 100 { [127, 0, 0, 2] } else { [127, 0, 1, (n % 200) as u8 + 1] };
        socket.bind((host, 0).into()).unwrap();
        // One that the queue of the listener does not take any more is as good.
        if let Ok(Ok(open)) = tokio::time::timeout(PATIENCE / 50, socket.connect(door)).await {
            held.push(open);
        }
    }
    let late = Node::start(MESH, setup()).await;
    nodes.push(late);
    for node in &nodes {
        node.admit(&nodes);
    }
    // It alone dials: node 0 must let it in.
    let addr = nodes[0].addr();
    nodes[2].net.add_dial(addr);
    let late = nodes[2].peer;
    until("the late member is connected", &mut nodes, |nodes| nodes[0].connected.contains(&late)).await;
    let refused = nodes[0].net.counters().refused_connection_limit;
    assert!(refused >= 200, "{refused} of {} connections were refused", held.len());
    assert!(nodes[0].connected.contains(&nodes[1].peer), "who was there stayed");
}

fn socket_of(addrs: &[Multiaddr]) -> SocketAddr {
    let parts = addrs.iter().map(|addr| addr.iter().collect::<Vec<_>>());
    let tcp = parts.filter_map(|parts| match parts[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] => Some(SocketAddr::from((ip, port))),
        _ => None,
    });
    tcp.into_iter().next().unwrap()
}

/// Eclipse: however many observers there are, members get their connections, whoever dials.
#[tokio::test]
async fn observers_never_use_up_the_room_of_members() {
    for broadcast in [MESH, GOSSIP] {
        let limits = Limits { established_incoming: 6, guest_connections: 2, ..Limits::default() };
        let mut nodes = Vec::new();
        for _ in 0..8 {
            nodes.push(Node::start(broadcast, Setup::default()).await);
        }
        let guests = nodes[..6].iter().map(|node| node.peer).collect();
        let middle = Node::start(broadcast, Setup { limits, guests, ..Setup::default() }).await;
        nodes.push(middle);
        nodes.iter().for_each(|node| node.admit(&nodes));
        let addr = nodes[8].addr();
        nodes[..6].iter().for_each(|node| node.net.add_dial(addr.clone()));
        until("observers have all the room there is for them", &mut nodes, |nodes| {
            nodes[8].connected.len() == 2 && nodes[8].net.counters().refused_connection_limit >= 4
        })
        .await;
        // One member dials, the other is dialled.
        nodes[6].net.add_dial(addr);
        let called = nodes[7].addr();
        nodes[8].net.add_dial(called);
        let members = [nodes[6].peer, nodes[7].peer];
        until("members are connected", &mut nodes, |nodes| members.iter().all(|m| nodes[8].connected.contains(m)))
            .await;
        assert_eq!(nodes[8].connected.len(), 4);
    }
}
