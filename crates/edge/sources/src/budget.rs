//! How often a venue may be asked.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};

/// A request budget, in the venue's own units of weight (one a request, except Binance's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Units that come back each minute, at least 1.
    pub per_minute: u32,
    /// Units that may be spent at once, at least the weight of one request.
    pub burst: u32,
}

/// Share of a vendor's documented limit that comes back over its window, in percent. The rest is the burst: whatever window the vendor
/// slides over our requests, it never sees more than the limit.
const RATE_PERCENT: u32 = 90;

impl Budget {
    /// The budget that stays within `limit` units in every window of `window_s` seconds.
    pub const fn of_limit(limit: u32, window_s: u32) -> Self {
        let burst = limit * (100 - RATE_PERCENT) / 100;
        Self { per_minute: limit * RATE_PERCENT * 60 / (100 * window_s), burst: if burst == 0 { 1 } else { burst } }
    }
}

/// Spends a [`Budget`].
pub(crate) struct Pacer {
    limiter: DefaultDirectRateLimiter,
    weight: NonZeroU32,
}

impl Pacer {
    /// `None` if the budget could never pay for one request of `weight`.
    pub(crate) fn new(budget: Budget, weight: u32) -> Option<Self> {
        let (per_minute, burst) = (NonZeroU32::new(budget.per_minute)?, NonZeroU32::new(budget.burst)?);
        let weight = NonZeroU32::new(weight).filter(|weight| *weight <= burst)?;
        Some(Self { limiter: RateLimiter::direct(Quota::per_minute(per_minute).allow_burst(burst)), weight })
    }

    /// Pays for one request, or says how long until it could be paid.
    pub(crate) fn spend(&self) -> Result<(), Duration> {
        match self.limiter.check_n(self.weight) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(self.limiter.clock().now())),
            // `new` refused a weight above the burst.
            Err(_) => Err(Duration::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    #[test]
    fn rate_and_burst_together_stay_within_the_vendors_limit() {
        for (limit, window_s) in [(6_000, 60), (10, 1), (10_000, 3_600)] {
            let budget = Budget::of_limit(limit, window_s);
            assert!(budget.burst * 60 + budget.per_minute * window_s <= limit * 60, "{budget:?}");
        }
        assert_eq!(Budget::of_limit(1, 1), Budget { per_minute: 54, burst: 1 });
    }

    #[test]
    fn every_channel_can_pay_for_a_request() {
        for channel in Channel::all() {
            assert!(Pacer::new(channel.budget(), channel.weight()).is_some(), "{channel:?}");
        }
    }

    #[test]
    fn a_spent_budget_says_how_long() {
        let pacer = Pacer::new(Budget { per_minute: 60, burst: 2 }, 2).unwrap();
        assert_eq!(pacer.spend(), Ok(()));
        let wait = pacer.spend().unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(2), "{wait:?}");
        assert!(Pacer::new(Budget { per_minute: 60, burst: 1 }, 2).is_none());
        assert!(Pacer::new(Budget { per_minute: 0, burst: 1 }, 1).is_none());
    }
}
