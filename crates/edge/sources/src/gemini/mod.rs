//! Gemini: REST `/v1/pubticker/{symbol}`, `/v2/ticker/{symbol}` and `/v1/pricefeed`, and the market data stream's trades.

mod parse;
mod stream;

pub(crate) use parse::{parse_day, parse_feed, parse_ticker, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// 120 requests a minute and address, one a second advised (Gemini REST docs, "Rate limits").
pub(crate) const BUDGET: Budget = Budget { per_minute: 60, burst: 5 };
