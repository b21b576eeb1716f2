//! Coinbase. Three APIs: the Exchange (`/products/{id}/ticker`), the v2 spot price (`/v2/prices/{pair}/spot`), and Advanced Trade
//! (`/api/v3/brokerage/market/products/{id}` and its `ticker`); the Exchange and Advanced Trade have a stream each.
//!
//! Advanced Trade answers `-USDC` products with the `-USD` book: such a market is no source of its own.

mod advanced;
mod advanced_stream;
mod exchange_stream;
mod parse;

pub(crate) use advanced::{parse_product, parse_trades};
pub(crate) use advanced_stream::{RULES as ADVANCED_RULES, read as read_advanced};
pub(crate) use exchange_stream::{RULES as EXCHANGE_RULES, read as read_exchange};
pub(crate) use parse::{parse_spot, parse_ticker, refusal};

use crate::Budget;

/// The Exchange's public endpoints: 10 requests a second and address (Coinbase Exchange docs, "Rate limits"). Advanced Trade's public
/// endpoints have the same.
pub(crate) const TICKER_BUDGET: Budget = Budget::of_limit(10, 1);

/// The v2 API: 10,000 requests an hour (Coinbase App docs, "Rate limiting").
pub(crate) const SPOT_BUDGET: Budget = Budget::of_limit(10_000, 3_600);

/// The path by which an address names the v2 API.
pub(crate) const SPOT_PATH: &str = "/v2";

/// The path by which an address names Advanced Trade; any other is read as the Exchange's.
pub(crate) const ADVANCED_PATH: &str = "/api/v3/brokerage";
