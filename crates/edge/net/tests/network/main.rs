//! The transport over real sockets on loopback: one list of cases, run for both ways of broadcasting and both transports.

mod cases;
mod harness;
mod single;

use concurrence_net::Broadcast;
use harness::{Kind, Transport};

/// Runs each case of the list in each of the four kinds of network, as a test of its own.
macro_rules! in_every_kind {
    ($($case:ident),* $(,)?) => {
        mod mesh_tcp { in_every_kind!(@one Broadcast::FullMesh, Transport::Tcp, $($case),*); }
        mod mesh_quic { in_every_kind!(@one Broadcast::FullMesh, Transport::Quic, $($case),*); }
        mod gossip_tcp { in_every_kind!(@one Broadcast::Gossipsub, Transport::Tcp, $($case),*); }
        mod gossip_quic { in_every_kind!(@one Broadcast::Gossipsub, Transport::Quic, $($case),*); }
    };
    (@one $broadcast:expr, $transport:expr, $($case:ident),*) => {
        use super::*;
        $(#[tokio::test]
        async fn $case() {
            cases::$case(Kind { broadcast: $broadcast, transport: $transport }).await;
        })*
    };
}

in_every_kind![
    frames_arrive_in_order_both_ways,
    a_broadcast_reaches_everyone_once,
    a_stranger_is_refused_both_ways,
    a_partition_cuts_and_heals,
    a_frame_over_the_cap_is_refused_and_harms_nobody,
    another_network_is_refused_by_name,
    a_peer_that_does_not_read_makes_its_sender_busy,
    a_restarted_peer_begins_a_new_session,
    a_banned_peer_is_kept_away_for_its_time,
    shutdown_is_quick_and_seen,
];
