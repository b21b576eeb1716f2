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

/// A venue's clock may be this far ahead of ours: the bound on clock error that notes on exchange practice give.
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
