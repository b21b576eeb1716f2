//! OKX, API v5: REST `/market/ticker` and `/market/index-tickers`, and the public stream's `tickers`.

mod parse;
mod stream;

pub(crate) use parse::{parse_index, parse_ticker, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// Market data: 20 requests in 2 seconds and address (OKX API v5 docs, "Get ticker").
pub(crate) const BUDGET: Budget = Budget::of_limit(20, 2);

/// What the base address lacks when it is given without a path.
pub(crate) const BASE_PATH: &str = "/api/v5";
