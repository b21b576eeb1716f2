//! A made snapshot for tests: seven oracles, one of them forked and one reporting 20 % high.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::{
    AnomalyView, AttestationView, BreakerState, BufferView, CountedOracle, Counters, FeedStatus, FeedView, FrontierLog,
    FrontierView, HistoryPoint, LeftOut, LegView, LocalView, LogView, NodeView, OracleStatus, OracleView, PeerView,
    PriceView, Readiness, SignedGroup, Snapshot, SourceView,
};

/// When the example is: a second in the USDC de-peg of March 2023.
pub const EXAMPLE_MS: u64 = 1_678_500_000_000;

/// Members of the example's registry.
const MEMBERS: u64 = 7;

/// The member proven forked.
const FORKED: u64 = 6;

/// The member that reports high.
const HIGH: u64 = 5;

/// A node's whole state as of `EXAMPLE_MS`: BTC/USD is ok, ETH/USD is halted.
pub fn example_snapshot() -> Snapshot {
    let halted = PriceView {
        feed: "ETH/USD".to_owned(),
        expo: -8,
        as_of_ms: EXAMPLE_MS,
        left_out: (0..MEMBERS).map(|i| left_out(i, "silent")).collect(),
        total_weight: 100 * MEMBERS,
        fault_tolerance: true,
        result_id: id(901),
        cut: id(500),
        certified: false,
        ..PriceView::default()
    };
    let ethereum = FeedView {
        price: halted,
        local: LocalView { active_sources: 1, min_sources: 3, ..LocalView::default() },
        history: Arc::default(),
    };
    Snapshot {
        seq: 42,
        as_of_ms: EXAMPLE_MS,
        node: node(),
        feeds: vec![bitcoin(), ethereum],
        attestations: (0..MEMBERS).rev().map(|i| Arc::new(attestation(i))).collect(),
        oracles: (0..MEMBERS).map(oracle).collect(),
        anomalies: anomalies(),
        frontier: frontier(),
        peers: (1..MEMBERS).map(peer).collect(),
        readiness: Readiness { ready: true, reasons: Vec::new() },
        sources: vec![source("binance", BreakerState::Open), source("coinbase", BreakerState::Closed)],
        counters: counters(),
    }
}

fn node() -> NodeView {
    NodeView {
        id: "oracle_0".to_owned(),
        author: id(0),
        evm: evm(0),
        peer: peer_id(0),
        network_id: id(999),
        version: "0.1.0".to_owned(),
        started_ms: EXAMPLE_MS - 60_000,
        recovering: false,
        clock_offset_ms: Some(-12),
    }
}

fn bitcoin() -> FeedView {
    let counted = || 0..FORKED;
    let price = PriceView {
        feed: "BTC/USD".to_owned(),
        price: Some("2045678000000".to_owned()),
        expo: -8,
        interval: Some(["2045100000000".to_owned(), "2046200000000".to_owned()]),
        as_of_ms: EXAMPLE_MS - 1_000,
        status: FeedStatus::Ok,
        oracles: counted().map(counted_oracle).collect(),
        left_out: vec![left_out(FORKED, "forked")],
        counted_weight: 100 * FORKED,
        total_weight: 100 * MEMBERS,
        sources: sources(),
        fault_tolerance: true,
        result_id: id(900),
        cut: id(500),
        certified: false,
        newest_ms: Some(EXAMPLE_MS - 1_500),
        signed: counted().map(signed).collect(),
    };
    let leg = |source: &str, path: &str, deviation_ppm: i64| LegView {
        source: source.to_owned(),
        path: path.to_owned(),
        price: "2045678000000".to_owned(),
        observed_ms: EXAMPLE_MS - 900,
        deviation_ppm: Some(deviation_ppm),
        verdict: "used".to_owned(),
    };
    let local = LocalView {
        active_sources: 3,
        min_sources: 3,
        price: Some("2045678000000".to_owned()),
        half_width_ppm: Some(120),
        legs: vec![leg("binance", "BTC/USDT * USDT/USD", -2_500), leg("coinbase", "BTC/USD", 0)],
    };
    FeedView { price, local, history: Arc::new((0..120).map(history_point).collect()) }
}

/// A line that moves, with an interval, a degraded stretch and a gap: what a chart has to cope with.
fn history_point(i: u64) -> HistoryPoint {
    let as_of_ms = EXAMPLE_MS - 1_000 * (120 - i);
    if (60..66).contains(&i) {
        return HistoryPoint { as_of_ms, ..HistoryPoint::default() };
    }
    let price = 2_045_000_000_000 + 1_500_000_000 * ((i * i * 31 + i * 7) % 11) + 4_000_000_000 * (i / 10);
    let spread = 400_000_000 + if (30..40).contains(&i) { 20_000_000_000 } else { 900_000_000 };
    let status = if (30..40).contains(&i) { FeedStatus::Degraded } else { FeedStatus::Ok };
    let interval = Some([(price - spread).to_string(), (price + spread).to_string()]);
    HistoryPoint { as_of_ms, price: Some(price.to_string()), interval, status }
}

fn counted_oracle(i: u64) -> CountedOracle {
    CountedOracle {
        oracle: id(i),
        slot: EXAMPLE_MS / 1_000 - 2,
        price: mantissa(i),
        half_width_ppm: 120,
        sources: sources(),
        op: id(100 + i),
        doubtful: false,
    }
}

fn left_out(i: u64, reason: &str) -> LeftOut {
    LeftOut { oracle: id(i), reason: reason.to_owned() }
}

fn attestation(i: u64) -> AttestationView {
    AttestationView {
        op: id(100 + i),
        oracle: id(i),
        log: 0,
        seq: 12,
        feed: if i.is_multiple_of(2) { "BTC/USD" } else { "ETH/USD" }.to_owned(),
        slot: EXAMPLE_MS / 1_000 - 2,
        price: mantissa(i),
        expo: -8,
        half_width_ppm: 120,
        sources: sources(),
        doubtful: false,
        received_ms: EXAMPLE_MS - 1_400 - i,
        signed: signed(i),
    }
}

fn signed(i: u64) -> Arc<SignedGroup> {
    Arc::new(SignedGroup {
        oracle: id(i),
        evm: evm(i),
        network_id: format!("0x{}", id(999)),
        epoch: 0,
        slot: EXAMPLE_MS / 1_000 - 2,
        feeds: "0x014254432f55534400000000000000000000000000f8".to_owned(),
        words: "0x000001db77a88b40000c0007".to_owned(),
        signature: format!("0x{}{}", id(200 + i), id(300 + i)),
    })
}

fn oracle(i: u64) -> OracleView {
    OracleView {
        author: id(i),
        name: format!("oracle_{i}"),
        evm: evm(i),
        peer: peer_id(i),
        weight: 100,
        status: if i == FORKED { OracleStatus::Forked } else { OracleStatus::Active },
        last_slot: Some(EXAMPLE_MS / 1_000 - 2),
        ops: if i == FORKED { 0 } else { 13 },
        logs: vec![LogView { log: 0, len: 13, head: Some(id(400 + i)) }],
    }
}

fn anomalies() -> Vec<Arc<AnomalyView>> {
    let evidence = |entries: &[(&str, String)]| {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let fork = AnomalyView {
        kind: "fork".to_owned(),
        oracle: id(FORKED),
        feed: None,
        first_ms: EXAMPLE_MS - 9_000,
        last_ms: EXAMPLE_MS - 9_000,
        count: 1,
        evidence: evidence(&[("op_a", id(500)), ("op_b", id(501)), ("log", "0".to_owned()), ("seq", "3".to_owned())]),
    };
    let outlier = AnomalyView {
        kind: "outlier".to_owned(),
        oracle: id(HIGH),
        feed: Some("BTC/USD".to_owned()),
        first_ms: EXAMPLE_MS - 50_000,
        last_ms: EXAMPLE_MS - 1_400,
        count: 10,
        evidence: evidence(&[("op", id(100 + HIGH)), ("deviation_ppm", "200000".to_owned())]),
    };
    vec![Arc::new(outlier), Arc::new(fork)]
}

fn frontier() -> FrontierView {
    let log = |i| FrontierLog { author: id(i), log: 0, len: 13, head: Some(id(400 + i)), certified_len: 0 };
    FrontierView {
        digest: id(800),
        cut: id(801),
        logs: (0..FORKED).map(log).collect(),
        forked: vec![id(FORKED)],
        double_voters: Vec::new(),
        conflicts: Vec::new(),
        ops: 13 * FORKED,
    }
}

fn peer(i: u64) -> PeerView {
    PeerView {
        peer: peer_id(i),
        name: format!("oracle_{i}"),
        connected: i != 4,
        admitted: true,
        rtt_ms: (i != 4).then_some(3),
        clock_offset_ms: (i != 4).then_some(-7),
        in_sync: i != 4,
        last_seen_ms: Some(EXAMPLE_MS - 400),
        score: if i == 4 { 0 } else { 20 },
        banned_ms: if i == 4 { 30_000 } else { 0 },
    }
}

fn source(name: &str, breaker: BreakerState) -> SourceView {
    SourceView {
        source: name.to_owned(),
        venue: name.to_owned(),
        up: breaker == BreakerState::Closed,
        breaker,
        last_success_ms: Some(EXAMPLE_MS - 800),
        price_ms: Some(EXAMPLE_MS - 2_000),
        requests: BTreeMap::from([("ok".to_owned(), 40), ("http_429".to_owned(), 2)]),
        last_error: (breaker == BreakerState::Open).then(|| "status 429".to_owned()),
    }
}

fn counters() -> Counters {
    let words = |words: &[(&str, u64)]| words.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
    Counters {
        attestations: words(&[("published", 12), ("too_few_sources", 1)]),
        ops: words(&[("admitted", 78), ("duplicate", 30)]),
        refusals: words(&[("bad_signature", 3)]),
        bans: words(&[("flood", 2)]),
        anomalies: words(&[("fork", 1), ("outlier", 10)]),
        merges: 66,
        store_ops: 91,
        store_bytes: 1_589_248,
        buffers: vec![BufferView { buffer: "held".to_owned(), entries: 2, limit: 4_096 }],
    }
}

fn sources() -> Vec<String> {
    ["binance", "coinbase", "kraken"].map(str::to_owned).to_vec()
}

/// The member's price: 20 % high for the one that lies.
fn mantissa(i: u64) -> String {
    let honest = 2_045_678_000_000 + i * 1_000_000;
    (if i == HIGH { honest / 5 * 6 } else { honest }).to_string()
}

/// 32 bytes in hex, different for each number.
fn id(n: u64) -> String {
    let seed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..4u32).map(|i| format!("{:016x}", seed.rotate_left(13 * i).wrapping_add(u64::from(i)))).collect()
}

fn evm(i: u64) -> String {
    format!("0x{}", &id(600 + i)[..40])
}

fn peer_id(i: u64) -> String {
    format!("12D3KooW{}", &id(700 + i)[..44])
}
