//! Binance spot: REST `/api/v3/ticker/24hr`, `/ticker/bookTicker`, `/ticker/price`, and the market streams.

mod parse;
mod stream;

pub(crate) use parse::{parse, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// REQUEST_WEIGHT of 6,000 a minute and address (Binance spot API docs, "Limits"; `rateLimits` of `/api/v3/exchangeInfo`).
pub(crate) const BUDGET: Budget = Budget::of_limit(6_000, 60);

/// Request weight of each of the three endpoints asked for one symbol (Binance spot API docs, "Market Data endpoints").
pub(crate) const WEIGHT: u32 = 2;

/// What the base address lacks when it is given without a path.
pub(crate) const BASE_PATH: &str = "/api/v3";
