//! Why a venue's answer gave no quote.

use std::fmt;

/// A refused answer: what kind of thing is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct ParseError {
    /// The class of what is wrong; a bounded set, fit for a metric's label.
    pub kind: ParseErrorKind,
    /// The field or text in question, at most [`DETAIL_LEN_MAX`] characters, control characters replaced.
    pub detail: String,
}

/// Longest detail kept: enough for a field name and a venue's message, too short to flood a log.
pub const DETAIL_LEN_MAX: usize = 160;

/// The classes of refused answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ParseErrorKind {
    /// The body has no bytes, or only white space.
    #[error("empty body")]
    Empty,
    /// The body is not UTF-8.
    #[error("body is not utf-8")]
    Utf8,
    /// The body is not JSON.
    #[error("body is not json")]
    Syntax,
    /// Arrays and objects nest deeper than [`DEPTH_MAX`](crate::DEPTH_MAX).
    #[error("json nests too deep")]
    TooDeep,
    /// JSON of another shape: an array for an object, a string for an array, too many members.
    #[error("unexpected json shape")]
    Shape,
    /// An object names a key twice, so that two readers could see two answers.
    #[error("duplicate key")]
    DuplicateKey,
    /// A field that the quote needs is absent.
    #[error("field missing")]
    Missing,
    /// The answer is about another market than the one asked for.
    #[error("another symbol")]
    Symbol,
    /// A price is `null`.
    #[error("null price")]
    Null,
    /// A price is a JSON number where the venue sends strings.
    #[error("number where the venue sends a string")]
    NotText,
    /// A price's text is `NaN` or an infinity.
    #[error("price is not finite")]
    NotFinite,
    /// A price's text carries separators: `46,707.03`.
    #[error("separator in a price")]
    Separator,
    /// A price's text is not a decimal number for another reason: empty, `$1`, letters.
    #[error("price is not a decimal number")]
    NotDecimal,
    /// A price is zero, or so small that it is zero in units of 1e-18.
    #[error("zero price")]
    Zero,
    /// A price, or a volume, is below zero.
    #[error("negative price")]
    Negative,
    /// A price's text is too long, or its value does not fit the price type.
    #[error("price out of range")]
    Range,
    /// The best bid is above the best ask.
    #[error("crossed book")]
    Crossed,
    /// The venue's time is not a time in the venue's unit.
    #[error("venue time is not a time")]
    Time,
    /// The market, or the venue, is open to no trade: what it still answers is not a price anyone can trade at.
    #[error("not trading")]
    Halted,
    /// The price is older than its own source promises.
    #[error("stale price")]
    Stale,
    /// The price stands at a bound beyond which its source cannot go.
    #[error("price pinned at a bound")]
    Pinned,
    /// Too little liquidity stands behind the price.
    #[error("too thin")]
    Thin,
    /// There is no contract at the address.
    #[error("no contract")]
    NoContract,
    /// A well-formed message that is about something else than a price: an acknowledgement, a heartbeat.
    #[error("no price in the message")]
    NoPrice,
    /// The venue answered with an error of its own in place of a price, perhaps with HTTP status 200.
    #[error("venue refused ({0})")]
    Refused(Refusal),
}

/// What a venue's own error means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The market does not exist there: a configuration error, never retried fast.
    #[error("unknown symbol")]
    UnknownSymbol,
    /// Too many requests: wait.
    #[error("rate limit")]
    RateLimit,
    /// The venue is overloaded or down: retry with backoff.
    #[error("unavailable")]
    Unavailable,
    /// The venue does not serve this place: nothing helps until an operator acts.
    #[error("location")]
    Location,
    /// Any other error.
    #[error("other")]
    Other,
}

impl ParseError {
    /// An error of a kind, its detail cut to [`DETAIL_LEN_MAX`].
    pub(crate) fn new(kind: ParseErrorKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: short(&detail.to_string()) }
    }
}

impl ParseErrorKind {
    /// A stable word for metrics: `zero`, `crossed`, `refused_rate_limit`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Utf8 => "utf8",
            Self::Syntax => "syntax",
            Self::TooDeep => "too_deep",
            Self::Shape => "shape",
            Self::DuplicateKey => "duplicate_key",
            Self::Missing => "missing",
            Self::Symbol => "symbol",
            Self::Null => "null",
            Self::NotText => "not_text",
            Self::NotFinite => "not_finite",
            Self::Separator => "separator",
            Self::NotDecimal => "not_decimal",
            Self::Zero => "zero",
            Self::Negative => "negative",
            Self::Range => "range",
            Self::Crossed => "crossed",
            Self::Time => "time",
            Self::Halted => "halted",
            Self::NoPrice => "no_price",
            Self::Stale => "stale",
            Self::Pinned => "pinned",
            Self::Thin => "thin",
            Self::NoContract => "no_contract",
            Self::Refused(Refusal::UnknownSymbol) => "refused_unknown_symbol",
            Self::Refused(Refusal::RateLimit) => "refused_rate_limit",
            Self::Refused(Refusal::Unavailable) => "refused_unavailable",
            Self::Refused(Refusal::Location) => "refused_location",
            Self::Refused(Refusal::Other) => "refused_other",
        }
    }
}

/// Foreign text made fit for a log line: bounded, one line, printable.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(DETAIL_LEN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_flood_or_break_a_log_line() {
        let error = ParseError::new(ParseErrorKind::Zero, format!("\n\u{1b}[2J{}", "é".repeat(1000)));
        assert_eq!(error.detail.chars().count(), DETAIL_LEN_MAX);
        assert!(error.detail.chars().all(|c| !c.is_control()));
    }
}
