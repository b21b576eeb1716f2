//! Why a fetch gave no quote.

use std::time::Duration;

use crate::{ParseError, ParseErrorKind, Refusal, Verdict};

/// A fetch that gave no quote. Texts are bounded and carry no addresses of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The symbol cannot stand in a request; nothing was sent.
    #[error("symbol {0:?} is not 1 to 66 letters, digits and -_.")]
    Symbol(String),
    /// The connection could not be made, or broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// No whole answer within the configured time, retries included.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The body, after decompression, is longer than [`BODY_LEN_MAX`](crate::BODY_LEN_MAX); reading stopped there.
    #[error("body is longer than {0} bytes")]
    BodyTooLong(usize),
    /// The venue redirects. None of their APIs does; redirects are not followed.
    #[error("redirect (status {0}) not followed")]
    Redirect(u16),
    /// A success whose content type is not JSON.
    #[error("content type {0:?} is not json")]
    ContentType(String),
    /// Status 429, or the venue's rate-limit error inside another status: the source waits.
    #[error("rate limited, waiting {} s", .0.as_secs())]
    RateLimited(Duration),
    /// Status 418 (Binance: banned for ignoring 429) or 403 (firewall): the source waits.
    #[error("banned (status {status}), waiting {} s", wait.as_secs())]
    Banned {
        /// The status.
        status: u16,
        /// How long the source waits.
        wait: Duration,
    },
    /// Status 451, or the venue's own word for it: it does not serve this place. The source asks no more until an operator acts.
    #[error("not served from here; an operator must choose another address or venue")]
    GeoBlocked,
    /// Nothing was sent: an earlier rate limit, ban or `Retry-After` has not run out.
    #[error("waiting {} s more, as the venue asked", .0.as_secs())]
    Waiting(Duration),
    /// Nothing was sent: the request budget does not allow one within the configured time.
    #[error("request budget is spent for {} ms", .0.as_millis())]
    Budget(Duration),
    /// Nothing was sent: the circuit breaker is open.
    #[error("circuit breaker is open for {} ms", .0.as_millis())]
    BreakerOpen(Duration),
    /// Status 5xx, or the venue's own word for it.
    #[error("venue is unavailable: {0}")]
    Unavailable(String),
    /// The venue does not know the symbol: a configuration error.
    #[error("venue does not know {symbol}: {detail}")]
    UnknownSymbol {
        /// The symbol asked for.
        symbol: String,
        /// The venue's words.
        detail: String,
    },
    /// Any other status that is not success.
    #[error("status {status}: {detail}")]
    Status {
        /// The status.
        status: u16,
        /// The venue's words, if it had any.
        detail: String,
    },
    /// A success whose body gives no quote.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl FetchError {
    /// A stable word for metrics; a bounded set.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Symbol(_) => "symbol",
            Self::Connection(_) => "connection",
            Self::Timeout(_) => "timeout",
            Self::BodyTooLong(_) => "body_too_long",
            Self::Redirect(_) => "redirect",
            Self::ContentType(_) => "content_type",
            Self::RateLimited(_) => "rate_limited",
            Self::Banned { .. } => "banned",
            Self::GeoBlocked => "geo_blocked",
            Self::Waiting(_) => "waiting",
            Self::Budget(_) => "budget",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Unavailable(_) => "unavailable",
            Self::UnknownSymbol { .. } => "unknown_symbol",
            Self::Status { .. } => "status",
            Self::Parse(_) => "parse",
        }
    }

    /// Whether asking again shortly may help.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Unavailable(_))
    }

    /// What it says about the venue's health. A venue that knows its limits and its symbols is up.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self {
            Self::Connection(_)
            | Self::Timeout(_)
            | Self::BodyTooLong(_)
            | Self::Redirect(_)
            | Self::ContentType(_)
            | Self::Unavailable(_)
            | Self::Status { .. }
            | Self::Parse(_) => Verdict::Down,
            Self::UnknownSymbol { .. } => Verdict::Up,
            Self::Symbol(_)
            | Self::RateLimited(_)
            | Self::Banned { .. }
            | Self::GeoBlocked
            | Self::Waiting(_)
            | Self::Budget(_)
            | Self::BreakerOpen(_) => Verdict::Unknown,
        }
    }

    /// A refused answer; the venue's own errors become the class they would have by status.
    pub(crate) fn of_parse(error: ParseError, symbol: &str, wait: Duration) -> Self {
        match error.kind {
            ParseErrorKind::Refused(refusal) => Self::of_refusal(refusal, error.detail, symbol, 200, wait),
            _ => Self::Parse(error),
        }
    }

    /// A venue's own error.
    pub(crate) fn of_refusal(refusal: Refusal, detail: String, symbol: &str, status: u16, wait: Duration) -> Self {
        match refusal {
            Refusal::UnknownSymbol => Self::UnknownSymbol { symbol: symbol.to_owned(), detail },
            Refusal::RateLimit => Self::RateLimited(wait),
            Refusal::Unavailable => Self::Unavailable(detail),
            Refusal::Location => Self::GeoBlocked,
            Refusal::Other => Self::Status { status, detail },
        }
    }
}
