//! Whether a venue's answer can be used at all, and which price it states.

use concurrence_crdt::Time;

use crate::{Price, Quote, Verdict};

/// The price a leg states, in its own quote currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegPrice {
    /// The price; positive.
    pub price: Price,
    /// Half the distance between bid and ask; zero if the venue sent no book.
    pub half_spread: Price,
}

/// A venue's clock may be this far ahead of ours: two clocks kept by NTP are well within it. A guess.
pub const SKEW_MAX_MS: u64 = 2_000;

/// The price of a quote that is fresh, uncrossed and positive, or why there is none.
///
/// Fresh: the venue's own time, or where it gives none the time of receipt, is at most `max_age_ms` old and at most
/// [`SKEW_MAX_MS`] ahead. A venue that gives no time and repeats an old answer looks fresh: the gate and the source quorum are what
/// stands against that.
///
/// The price is the median of bid, ask and last trade where all are there (as dYdX v4's price daemon takes it: no single order or
/// trade moves it out of the book), else the middle of bid and ask, else the last trade.
pub fn leg_price(quote: &Quote, now: Time, max_age_ms: u64) -> Result<LegPrice, Verdict> {
    let stated = quote.venue_time.unwrap_or(quote.received);
    if stated > now.after_ms(SKEW_MAX_MS) {
        return Err(Verdict::FromFuture);
    }
    if now.since_ms(stated) > max_age_ms {
        return Err(Verdict::TooOld);
    }
    if [quote.bid, quote.ask, quote.last].into_iter().flatten().any(|p| !p.is_positive()) {
        return Err(Verdict::NotPositive);
    }
    let Some((bid, ask)) = quote.bid.zip(quote.ask) else {
        let price = quote.last.ok_or(Verdict::NoPrice)?;
        return Ok(LegPrice { price, half_spread: Price::ZERO });
    };
    if bid > ask {
        return Err(Verdict::Crossed);
    }
    // The median of three of which two are in order is the third, held between them.
    let price = quote.last.map_or_else(|| bid.midpoint(ask), |last| last.clamp(bid, ask));
    let half_spread = Price::from_units((ask.units() - bid.units() + 1) / 2); // both positive: the difference fits
    Ok(LegPrice { price, half_spread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{book, last, price};

    const NOW: Time = Time::from_ms(100_000);
    const MAX_AGE_MS: u64 = 30_000;

    fn stated(quote: &Quote) -> Result<String, Verdict> {
        leg_price(quote, NOW, MAX_AGE_MS).map(|p| p.price.to_string())
    }

    #[test]
    fn the_price_is_the_median_of_bid_ask_and_last() {
        let with_last = |text: &str| Quote { last: Some(price(text)), ..book("10", "12", NOW) };
        assert_eq!(stated(&with_last("11.5")), Ok("11.5".to_owned()));
        assert_eq!(stated(&with_last("50")), Ok("12".to_owned()));
        assert_eq!(stated(&with_last("1")), Ok("10".to_owned()));
        assert_eq!(stated(&book("10", "12", NOW)), Ok("11".to_owned()));
        assert_eq!(stated(&last("7", NOW)), Ok("7".to_owned()));
        assert_eq!(stated(&Quote { bid: None, ..with_last("9") }), Ok("9".to_owned()));
        assert_eq!(stated(&Quote { bid: None, ..book("10", "12", NOW) }), Err(Verdict::NoPrice));
        assert_eq!(leg_price(&book("10", "12", NOW), NOW, 0).unwrap().half_spread, price("1"));
    }

    #[test]
    fn crossed_and_not_positive_is_refused() {
        assert_eq!(stated(&book("12", "10", NOW)), Err(Verdict::Crossed));
        assert_eq!(stated(&book("10", "10", NOW)), Ok("10".to_owned()));
        for bad in ["0", "-1"] {
            assert_eq!(stated(&last(bad, NOW)), Err(Verdict::NotPositive));
            assert_eq!(stated(&book(bad, "10", NOW)), Err(Verdict::NotPositive));
            assert_eq!(stated(&Quote { last: Some(price(bad)), ..book("10", "12", NOW) }), Err(Verdict::NotPositive));
        }
        let limit = Quote { bid: Some(Price::from_units(1)), ask: Some(Price::MAX), ..last("1", NOW) };
        assert!(leg_price(&limit, NOW, 0).is_ok());
    }

    #[test]
    fn freshness_is_by_the_venues_time_where_it_gives_one() {
        let at = |received: u64, venue: Option<u64>| {
            let quote = Quote { venue_time: venue.map(Time::from_ms), ..last("1", Time::from_ms(received)) };
            stated(&quote).err()
        };
        assert_eq!(at(70_000, None), None);
        assert_eq!(at(69_999, None), Some(Verdict::TooOld));
        // A frozen exchange that still answers.
        assert_eq!(at(100_000, Some(69_999)), Some(Verdict::TooOld));
        assert_eq!(at(100_000, Some(102_000)), None);
        assert_eq!(at(100_000, Some(102_001)), Some(Verdict::FromFuture));
        assert_eq!(at(100_000, Some(u64::MAX)), Some(Verdict::FromFuture));
        assert_eq!(at(100_000, Some(0)), Some(Verdict::TooOld));
    }
}
