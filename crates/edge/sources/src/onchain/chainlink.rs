//! Chainlink price feeds: `latestRoundData()`, for cross-checks.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote, SKEW_MAX_MS};

use super::{abi::Words, rpc};
use crate::{ParseError, ParseErrorKind as Kind};

/// The call `latestRoundData()`.
pub const LATEST_ROUND_DATA: &str = "0xfeaf968c";

/// One feed, as its contract describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainlinkFeed {
    /// `decimals()`: 8 for prices in dollars, 18 for such in ether; at most 18.
    pub decimals: u8,
    /// Longest time between two updates, in seconds (ETH/USD on Ethereum: 3,600).
    pub heartbeat_s: u64,
    /// `minAnswer()` and `maxAnswer()` of the aggregator, where it has them: it cannot answer beyond.
    pub bounds: Option<(i128, i128)>,
}

/// What a round says beside its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The aggregator behind the proxy, counted from 1.
    pub phase: u16,
    /// The aggregator's own round.
    pub round: u64,
}

/// A feed may be this much later than its heartbeat, in percent: blocks are not made to order.
const HEARTBEAT_PERCENT: u64 = 110;

/// How near to a bound an answer is no price any more, as a divisor of the bound: one percent.
const BOUND_SHARE: i128 = 100;

/// Reads a round: positive, complete, neither ahead of our clock nor older than the heartbeat allows, and away from the bounds at which
/// an aggregator stands still while the market goes on (LUNA, 12 May 2022).
///
/// `answeredInRound` is deprecated and not read.
pub fn parse_round(body: &[u8], feed: &ChainlinkFeed, received: Time) -> Result<(Quote, Round), ParseError> {
    let data = rpc::parse_call(body)?;
    let words = Words::new(&data)?;
    if words.len() != 5 {
        return Err(ParseError::new(Kind::Shape, format_args!("{} words for five", words.len())));
    }
    let id = words.uint(0, 80)?.to::<u128>();
    let round = split(id);
    let answer = words.int(1, 128)?;
    let last = price(answer, feed.decimals)?;
    if let Some((min, max)) = feed.bounds
        && (answer <= min.saturating_add(min / BOUND_SHARE) || answer >= max.saturating_sub(max / BOUND_SHARE))
    {
        return Err(ParseError::new(Kind::Pinned, format_args!("answer {answer} at the bounds {min} and {max}")));
    }
    let venue_time = updated_at(&words, feed, received)?;
    let quote = Quote { bid: None, ask: None, last: Some(last), volume: None, venue_time: Some(venue_time), received };
    Ok((quote, round))
}

/// Phase and round of a round id, whose 80 bits are 16 and 64.
fn split(id: u128) -> Round {
    let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    Round { phase: u16::try_from(id >> 64).unwrap_or(u16::MAX), round: low }
}

fn price(answer: i128, decimals: u8) -> Result<Price, ParseError> {
    let refuse = |kind| ParseError::new(kind, format_args!("answer is {answer}"));
    if answer < 0 {
        return Err(refuse(Kind::Negative));
    }
    let missing = 18u32.checked_sub(u32::from(decimals)).ok_or_else(|| refuse(Kind::Range))?;
    let units = answer.checked_mul(10i128.pow(missing)).ok_or_else(|| refuse(Kind::Range))?;
    if units == 0 { Err(refuse(Kind::Zero)) } else { Ok(Price::from_units(units)) }
}

fn updated_at(words: &Words<'_>, feed: &ChainlinkFeed, received: Time) -> Result<Time, ParseError> {
    let seconds = words.uint(3, 64)?.to::<u64>();
    let refuse = |kind| ParseError::new(kind, format_args!("updatedAt is {seconds}"));
    let at = seconds.checked_mul(1_000).filter(|ms| *ms > 0).map(Time::from_ms).ok_or_else(|| refuse(Kind::Time))?;
    if at > received.after_ms(SKEW_MAX_MS) {
        return Err(refuse(Kind::Time));
    }
    let age_ms_max = feed.heartbeat_s.saturating_mul(1_000 * HEARTBEAT_PERCENT) / 100;
    if received.since_ms(at) > age_ms_max { Err(refuse(Kind::Stale)) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH_USD: ChainlinkFeed = ChainlinkFeed { decimals: 8, heartbeat_s: 3_600, bounds: None };

    /// Shortly after the recorded rounds.
    const NOW: Time = Time::from_ms(1_678_406_500_000);

    fn round(name: &str, feed: &ChainlinkFeed, now: Time) -> Result<(String, Round), Kind> {
        let path =
            format!("{}/../../../data/venues/onchain/rpc_latestRoundData_{name}.json", env!("CARGO_MANIFEST_DIR"));
        let parsed = parse_round(&std::fs::read(path).unwrap(), feed, now);
        parsed.map(|(quote, round)| (quote.last.unwrap().to_string(), round)).map_err(|error| error.kind)
    }

    #[test]
    fn rounds_are_prices_or_refused_each_with_its_kind() {
        let good = Ok(("1861.53".to_owned(), Round { phase: 6, round: 25_000 }));
        assert_eq!(round("ok_ETH_USD", &ETH_USD, NOW), good);
        assert_eq!(round("zero_answer", &ETH_USD, NOW), Err(Kind::Zero));
        assert_eq!(round("negative_answer", &ETH_USD, NOW), Err(Kind::Negative));
        assert_eq!(round("incomplete_round_updatedAt_0", &ETH_USD, NOW), Err(Kind::Time));
        assert_eq!(round("stale_5h", &ETH_USD, NOW), Err(Kind::Stale));
        assert_eq!(round("future_updatedAt", &ETH_USD, NOW), Err(Kind::Time));
        let eighteen = ChainlinkFeed { decimals: 19, ..ETH_USD };
        assert_eq!(round("ok_ETH_USD", &eighteen, NOW), Err(Kind::Range));
    }

    /// The heartbeat, to the millisecond: 3,600 s and a tenth after 1678406423.
    #[test]
    fn staleness_is_by_the_feeds_own_heartbeat() {
        let last = Time::from_ms(1_678_406_423_000 + 3_960_000);
        assert!(round("ok_ETH_USD", &ETH_USD, last).is_ok());
        assert_eq!(round("ok_ETH_USD", &ETH_USD, last.after_ms(1)), Err(Kind::Stale));
    }

    /// Venus and Blizz, 12 May 2022: the feed stood at its lower bound of 0.10 while LUNA went to a cent.
    #[test]
    fn luna_2022_an_answer_pinned_at_its_bound_is_no_price() {
        let luna = |bounds| ChainlinkFeed { decimals: 8, heartbeat_s: 86_400, bounds };
        let now = Time::from_ms(1_652_400_001_000);
        let name = "pinned_at_minAnswer_LUNA";
        assert_eq!(round(name, &luna(Some((10_000_000, 100_000_000_000))), now), Err(Kind::Pinned));
        assert_eq!(
            round(name, &luna(Some((9_900_991, 100_000_000_000))), now),
            Err(Kind::Pinned),
            "within one percent"
        );
        assert!(round(name, &luna(Some((9_800_000, 100_000_000_000))), now).is_ok());
        assert_eq!(round(name, &luna(Some((1, 10_000_000))), now), Err(Kind::Pinned), "at the upper one");
    }

    /// The documentation's example of a round id.
    #[test]
    fn round_ids_hold_phase_and_round() {
        assert_eq!(split(92_233_720_368_547_771_158), Round { phase: 5, round: 13_078 });
    }
}
