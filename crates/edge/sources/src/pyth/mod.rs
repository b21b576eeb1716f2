//! Pyth, as a Hermes server answers: `/v2/updates/price/latest`. Another oracle: its publishers are exchanges and traders, so that it is
//! good for cross-checks and no source of its own. Markets are named by their price feed id, 64 hexadecimal digits.

mod parse;

pub(crate) use parse::{parse, refusal};

use crate::Budget;

/// 30 requests in 10 seconds and address, then 429 for a minute (Pyth docs, "Hermes", "Rate limits").
pub(crate) const BUDGET: Budget = Budget::of_limit(30, 10);
