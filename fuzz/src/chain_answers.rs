//! Answers of a chain's nodes: bytes as every call that is read give a positive price or a typed error (SRC-1).

use concurrence_crdt::Time;
use concurrence_sources::onchain::{
    chainlink::{ChainlinkFeed, parse_round},
    curve::CurvePool,
    parse_block,
    uniswap::UniswapPool,
};

use crate::Verdict;

/// Shortly after the recorded rounds.
const NOW: Time = Time::from_ms(1_678_406_500_000);

/// Gives a body to every reader; accepted if any of them reads something.
pub fn check(body: &[u8]) -> Verdict {
    let pool = UniswapPool { decimals0: 8, decimals1: 6, invert: false, window_s: 1_800, liquidity_min: 1 };
    let curve = CurvePool { created: NOW, is_stableswap_ng: true, is_plain: true, coin: None, invert: false };
    let feed = ChainlinkFeed { decimals: 8, heartbeat_s: 3_600, bounds: Some((1, i128::MAX)) };
    let quotes = [
        pool.parse_observe(body, NOW, NOW),
        pool.parse_slot0(body, NOW),
        UniswapPool { invert: true, ..pool }.parse_observe(body, NOW, NOW),
        UniswapPool { invert: true, ..pool }.parse_slot0(body, NOW),
        curve.parse(body, NOW, NOW),
        CurvePool { invert: true, ..curve }.parse(body, NOW, NOW),
        parse_round(body, &feed, NOW).map(|(quote, _)| quote),
    ];
    let mut verdict = Verdict::Refused("everywhere");
    for quote in quotes.into_iter().flatten() {
        assert!(quote.last.is_some_and(|price| price.is_positive()), "SRC-1: {quote:?}");
        assert!(quote.bid.is_none() && quote.ask.is_none() && quote.received == NOW, "SRC-1: {quote:?}");
        verdict = Verdict::Accepted;
    }
    if let Ok(block) = parse_block(body) {
        assert_eq!(block.hash.len(), 66, "SRC-1: {block:?}");
        verdict = Verdict::Accepted;
    }
    verdict
}
