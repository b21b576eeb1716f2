//! Bybit, API v5: REST `/market/tickers` and the public stream's `tickers`, spot.

mod parse;
mod stream;

pub(crate) use parse::{parse, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// 600 requests in 5 seconds and address; beyond it HTTP 403 for ten minutes (Bybit API v5 docs, "Rate Limit Rules").
pub(crate) const BUDGET: Budget = Budget::of_limit(600, 5);

/// What the base address lacks when it is given without a path.
pub(crate) const BASE_PATH: &str = "/v5";
