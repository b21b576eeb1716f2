//! What libp2p is configured to.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, Swarm, SwarmBuilder, identify, noise, ping, quic, tcp, yamux};
use libp2p_gossipsub as gossipsub;

use crate::codec::FrameCodec;
use crate::config::{Broadcast, NetConfig, NetError};
use crate::dial_guard::DialGuard;
use crate::doors::Doors;
use crate::event::MessageId;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::protocols::Protocols;

/// All protocols of a node. Order matters: the first to deny a connection is the reason that is reported.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) dial_guard: DialGuard,
    pub(crate) allowed: allow_block_list::Behaviour<AllowedPeers>,
    pub(crate) gate: Gate,
    pub(crate) connection_limits: connection_limits::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) frames: request_response::Behaviour<FrameCodec>,
    pub(crate) gossip: Toggle<Gossip>,
}

/// Gossipsub restricted to our one topic: peers could otherwise have us remember any number of topics.
pub(crate) type Gossip = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>,
>;

/// The topic of `protocols`.
pub(crate) fn topic(protocols: &Protocols) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(&protocols.topic)
}

/// A swarm with both transports and every protocol; nobody is admitted yet and nothing is listened on or dialled.
pub(crate) fn swarm(config: &NetConfig, protocols: &Protocols) -> Result<Swarm<Behaviour>, NetError> {
    let build = |error: String| NetError::Build(error);
    let limits = config.limits.clone();
    let swarm = SwarmBuilder::with_existing_identity(config.keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || {
            let mut muxer = yamux::Config::default();
            muxer.set_max_num_streams(limits.streams);
            muxer
        })
        .map_err(|error| build(error.to_string()))?
        .with_quic_config(|quic| quic_config(quic, &limits))
        .with_dns()
        .map_err(NetError::Dns)?
        .with_behaviour(|key| behaviour(key, config, protocols))
        .map_err(|error| build(error.to_string()))?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(KEPT_OPEN).with_max_negotiating_inbound_streams(limits.streams)
        })
        .with_connection_timeout(limits.handshake_timeout)
        .build();
    Ok(swarm)
}

/// Admits exactly `now`, where `before` were admitted. Connections of the others close by themselves.
pub(crate) fn admit(behaviour: &mut Behaviour, before: &BTreeSet<PeerId>, now: &BTreeSet<PeerId>) {
    for peer in before.difference(now) {
        behaviour.allowed.disallow_peer(*peer);
        if let Some(gossip) = behaviour.gossip.as_mut() {
            gossip.remove_explicit_peer(peer);
        }
    }
    for peer in now.difference(before) {
        behaviour.allowed.allow_peer(*peer);
        if let Some(gossip) = behaviour.gossip.as_mut() {
            gossip.add_explicit_peer(peer);
        }
    }
}

fn behaviour(
    key: &Keypair,
    config: &NetConfig,
    protocols: &Protocols,
) -> Result<Behaviour, Box<dyn std::error::Error + Send + Sync>> {
    let limits = &config.limits;
    let connections = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_established_incoming(Some(limits.established_incoming))
        .with_max_established_per_peer(Some(limits.per_peer));
    // No cache and no listen addresses: peers learn and pass on nothing that could be dialled.
    let identify = identify::Config::new(protocols.family.clone(), key.public())
        .with_agent_version(agent()?)
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let ping = ping::Config::new().with_interval(limits.ping_interval).with_timeout(limits.ping_timeout);
    let frames = request_response::Config::default()
        .with_request_timeout(limits.request_timeout)
        .with_max_concurrent_streams(limits.concurrent_requests);
    let gossip = match config.broadcast {
        Broadcast::FullMesh => None,
        Broadcast::Gossipsub => Some(gossip(limits, protocols)?),
    };
    Ok(Behaviour {
        dial_guard: DialGuard::default(),
        allowed: allow_block_list::Behaviour::default(),
        gate: Gate(Doors::new(limits, config.guests.clone(), Instant::now())),
        connection_limits: connection_limits::Behaviour::new(connections),
        ping: ping::Behaviour::new(ping),
        identify: identify::Behaviour::new(identify),
        frames: request_response::Behaviour::with_codec(
            FrameCodec::new(limits),
            [(protocols.frames.clone(), ProtocolSupport::Full)],
            frames,
        ),
        gossip: Toggle::from(gossip),
    })
}

/// Gossipsub for messages that are signed inside: no author and no sequence number of its own, the id is the content's hash,
/// and nothing is forwarded before the layer above accepted it.
fn gossip(limits: &Limits, protocols: &Protocols) -> Result<Gossip, Box<dyn std::error::Error + Send + Sync>> {
    let topic = topic(protocols);
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id(protocols.gossip.to_string(), gossipsub::Version::V1_1)
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(|message| gossipsub::MessageId::new(&MessageId::of(&message.data).0))
        .validate_messages()
        .max_transmit_size(limits.gossip_transmit_bytes())
        .flood_publish(true)
        .connection_handler_queue_len(limits.publish_queue)
        .publish_queue_duration(GOSSIP_QUEUE_TIME)
        .forward_queue_duration(GOSSIP_QUEUE_TIME)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .build()?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
        max_subscribed_topics: 1,
        max_subscriptions_per_request: SUBSCRIPTIONS_PER_REQUEST,
    };
    let mut gossip = Gossip::new_with_subscription_filter(gossipsub::MessageAuthenticity::Anonymous, config, filter)?;
    gossip.with_peer_score(score_params(&topic), score_thresholds())?;
    gossip.subscribe(&topic)?;
    Ok(gossip)
}

/// Of gossipsub's scores only two say something here. All our peers are explicit peers, which are never in the mesh, so that what is
/// counted of a mesh stays at zero; oracles may share a host, and a slow peer may have a bad link. What is left are rejected messages
/// and broken rules of the protocol. The layer above bans for the former, sooner; this holds while it is busy.
fn score_params(topic: &gossipsub::IdentTopic) -> gossipsub::PeerScoreParams {
    let topic_params = gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: SCORE_DECAY,
        ..Default::default()
    };
    gossipsub::PeerScoreParams {
        topics: [(topic.hash(), topic_params)].into(),
        app_specific_weight: 0.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: SCORE_DECAY,
        slow_peer_weight: 0.0,
        ..Default::default()
    }
}

/// The score of a peer is minus the square of its rejected messages. Below minus 400, which are twenty at once, nothing of it is read.
fn score_thresholds() -> gossipsub::PeerScoreThresholds {
    gossipsub::PeerScoreThresholds {
        gossip_threshold: -100.0,
        publish_threshold: -200.0,
        graylist_threshold: -400.0,
        ..Default::default()
    }
}

fn quic_config(mut quic: quic::Config, limits: &Limits) -> quic::Config {
    // A stream's window holds one largest request, a connection's two of them: what a peer can make us buffer.
    let window = u32::try_from(limits.batch_bytes()).unwrap_or(u32::MAX);
    quic.max_stream_data = window;
    quic.max_connection_data = window.saturating_mul(2);
    quic.max_concurrent_stream_limit = u32::try_from(limits.streams).unwrap_or(u32::MAX);
    quic.handshake_timeout = limits.handshake_timeout;
    quic.keep_alive_interval = limits.ping_interval;
    let idle_ms = (limits.ping_interval + limits.ping_timeout).as_millis();
    quic.max_idle_timeout = u32::try_from(idle_ms).unwrap_or(u32::MAX);
    quic
}

/// What identify calls us: program, version, and a number drawn for this process, by which two processes that use one peer id
/// are told apart.
fn agent() -> Result<String, getrandom::Error> {
    let process = getrandom::u64()?;
    Ok(format!("concurrence/{} {process:016x}", env!("CARGO_PKG_VERSION")))
}

/// Connections with admitted peers stay open while they answer pings; libp2p's own idle rule must not close them. A year.
const KEPT_OPEN: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How long a gossip message may wait in a peer's send queue. 5 s: as long as gossipsub remembers a message for forwarding.
const GOSSIP_QUEUE_TIME: Duration = Duration::from_secs(5);
/// What is left of a count in gossipsub's score after a second: half of it after seven.
const SCORE_DECAY: f64 = 0.9;
/// Subscriptions in one gossip message. 4: an honest peer sends one, and resubscribing may add a few.
const SUBSCRIPTIONS_PER_REQUEST: usize = 4;
