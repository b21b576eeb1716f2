//! Bitstamp: REST `/api/v2/ticker/{pair}/`, and the stream's live trades.

mod parse;
mod stream;

pub(crate) use parse::{parse, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// 10,000 requests in 10 minutes and address (Bitstamp API docs, "Request limits"); the 400 a second beside it are never reached.
pub(crate) const BUDGET: Budget = Budget::of_limit(10_000, 600);

/// What the base address lacks when it is given without a path.
pub(crate) const BASE_PATH: &str = "/api/v2";
