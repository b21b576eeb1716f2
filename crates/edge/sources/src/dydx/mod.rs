//! dYdX v4, the public indexer: REST `/perpetualMarkets` and `/orderbooks/perpetualMarket/{ticker}`, and the stream's `v4_markets`.
//!
//! Its markets are perpetual futures, and `oraclePrice` is a median of other exchanges' prices: good for cross-checks, not a source of its own.

mod parse;
mod stream;

pub(crate) use parse::{parse_book, parse_markets, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// 100 requests in 10 seconds and address (dYdX indexer, `comlink` rate limits).
pub(crate) const BUDGET: Budget = Budget::of_limit(100, 10);

/// What the base address lacks when it is given without a path.
pub(crate) const BASE_PATH: &str = "/v4";
