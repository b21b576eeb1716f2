//! Coinbase, REST: the Exchange's `/products/{id}/ticker`, and the v2 spot price `/v2/prices/{pair}/spot`.

mod parse;

pub(crate) use parse::{parse_spot, parse_ticker, refusal};

use crate::Budget;

/// The Exchange's public endpoints: 10 requests a second and address (Coinbase Exchange docs, "Rate limits").
pub(crate) const TICKER_BUDGET: Budget = Budget::of_limit(10, 1);

/// The v2 API: 10,000 requests an hour (Coinbase App docs, "Rate limiting").
pub(crate) const SPOT_BUDGET: Budget = Budget::of_limit(10_000, 3_600);

/// The path by which an address names the v2 API; any other is read as the Exchange's.
pub(crate) const SPOT_PATH: &str = "/v2";
