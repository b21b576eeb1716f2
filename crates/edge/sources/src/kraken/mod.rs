//! Kraken: REST `/0/public/Ticker?pair=`, and the second version of the WebSocket API.

mod parse;
mod stream;

pub(crate) use parse::{parse, refusal};
pub(crate) use stream::{RULES, read};

use crate::Budget;

/// Public endpoints: about one request a second and address (Kraken support, "API rate limits").
pub(crate) const BUDGET: Budget = Budget::of_limit(1, 1);

/// What the base address lacks when it is given without a path; `/0` alone lacks `/public`.
pub(crate) const BASE_PATH: &str = "/0/public";

/// The key under which the answer for a requested pair comes, where it is not the request itself: Kraken's first assets carry the
/// prefixes X (crypto) and Z (fiat), later ones none, so that no rule derives it. From `/0/public/AssetPairs` (`altname` to name).
/// A pair that is not listed is answered under its own name, or refused: configure the name that the answer uses.
pub(crate) const ANSWER_KEYS: [(&str, &str); 15] = [
    ("BTCUSD", "XXBTZUSD"),
    ("ETHEUR", "XETHZEUR"),
    ("ETHUSD", "XETHZUSD"),
    ("ETHXBT", "XETHXXBT"),
    ("EURUSD", "ZEURZUSD"),
    ("LTCUSD", "XLTCZUSD"),
    ("LTCXBT", "XLTCXXBT"),
    ("USDTUSD", "USDTZUSD"),
    ("XBTEUR", "XXBTZEUR"),
    ("XBTGBP", "XXBTZGBP"),
    ("XBTJPY", "XXBTZJPY"),
    ("XBTUSD", "XXBTZUSD"),
    ("XLMUSD", "XXLMZUSD"),
    ("XMRUSD", "XXMRZUSD"),
    ("XRPUSD", "XXRPZUSD"),
];
